//! The dead-letter file of a task: one JSON object per line.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use engine_core::error::{Error, ErrorKind, Result};
use engine_core::failpoint::Failpoint;
use engine_core::target::{DeadLetterRecord, Target};

use super::letter::{Identity, Letter, Values, row_identity};
use super::memory;

/// Reads the rows set aside in the file at `path`: of each row that has a key the last letter; none
/// when there is no file.
pub fn read(path: &Path) -> Result<Vec<Letter>> {
    let mut letters = read_all(path)?;
    let mut known = HashSet::new();
    letters.reverse();
    letters.retain(|letter| letter.row_identity().is_none_or(|row| known.insert(row)));
    letters.reverse();
    Ok(letters)
}

/// Reads all letters, each once.
///
/// A process that died while it wrote leaves a line without an end, which is passed over: nothing
/// was committed without that row, which is therefore met again.
fn read_all(path: &Path) -> Result<Vec<Letter>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(Error::new(ErrorKind::State, "the rows that were set aside can't be read")
                .at("file", path.display())
                .caused_by(error));
        }
    };
    let mut known = HashSet::new();
    let mut letters = Vec::new();
    for (number, line) in text.split_inclusive('\n').enumerate() {
        match serde_json::from_str::<Letter>(line) {
            Ok(letter) => {
                if known.insert(letter.identity()) {
                    letters.push(letter);
                }
            }
            Err(_) if !line.ends_with('\n') => {}
            Err(error) => {
                return Err(Error::new(ErrorKind::State, "the rows that were set aside can't be read")
                    .at("file", path.display())
                    .at("line", number + 1)
                    .caused_by(error)
                    .help("mend or remove that line; the rows it stands for are missing in the target"));
            }
        }
    }
    Ok(letters)
}

/// The letters of a task that is being run.
pub struct DeadLetters {
    path: PathBuf,
    task: String,
    /// The most rows that may be set aside.
    limit: Option<u64>,
    state: Mutex<State>,
    /// What remembers them too.
    target: Option<Arc<dyn Target>>,
}

impl fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetters").field("path", &self.path).finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct State {
    file: Option<File>,
    letters: HashSet<Identity>,
    /// The rows they are about, as far as they have keys.
    rows: HashSet<Identity>,
    /// How many rows are set aside of each table.
    tables: BTreeMap<String, u64>,
    /// What the target does not know yet.
    untold: Untold,
}

#[derive(Debug, Clone, Default)]
struct Untold {
    gone: Vec<Identity>,
    new: Vec<DeadLetterRecord>,
}

impl Untold {
    /// Leaves what came after `told`.
    fn told(&mut self, told: &Self) {
        let gone: HashSet<&Identity> = told.gone.iter().collect();
        let new: HashSet<&Identity> = told.new.iter().map(|record| &record.identity).collect();
        self.gone.retain(|identity| !gone.contains(identity));
        self.new.retain(|record| !new.contains(&record.identity));
    }
}

impl State {
    /// Whether the letter is about a row that is not set aside yet.
    fn is_new_row(&self, letter: &Letter) -> bool {
        letter.row_identity().is_none_or(|row| !self.rows.contains(&row))
    }

    fn count(&self) -> u64 {
        self.tables.values().sum()
    }

    fn add(&mut self, letter: &Letter) {
        self.letters.insert(letter.identity());
        if self.is_new_row(letter) {
            self.rows.extend(letter.row_identity());
            *self.tables.entry(letter.table.clone()).or_default() += 1;
        }
    }
}

impl DeadLetters {
    /// The file at `path`, which need not exist, of task `task`; `limit` is the number of rows that
    /// may be set aside there.
    #[cfg(test)]
    pub fn open(path: &Path, task: &str, limit: Option<u64>) -> Result<Self> {
        Ok(Self::new(path, task, limit, &read_all(path)?))
    }

    fn new(path: &Path, task: &str, limit: Option<u64>, letters: &[Letter]) -> Self {
        let mut state = State::default();
        letters.iter().for_each(|letter| state.add(letter));
        Self { path: path.to_owned(), task: task.to_owned(), limit, state: Mutex::new(state), target: None }
    }

    /// The letters that the target remembers, with their rows as far as the file at `path` has them. The
    /// file is mended: it may be lost, or older than the target.
    ///
    /// What only the file has was never committed without its row, which is met again, or is settled.
    pub async fn restored(
        path: &Path,
        task: &str,
        limit: Option<u64>,
        target: &Arc<dyn Target>,
    ) -> Result<Self> {
        let found = read_all(path)?;
        let Some(remembered) = memory::of(target.as_ref(), task, &found).await? else {
            return Ok(Self::new(path, task, limit, &found));
        };
        let letters = Self { target: Some(Arc::clone(target)), ..Self::new(path, task, limit, &remembered) };
        if remembered != found {
            let mut lines = Vec::new();
            remembered.iter().try_for_each(|letter| put(&mut lines, letter))?;
            rewrite(path, &lines).map_err(|error| letters.unwritable(error))?;
        }
        Ok(letters)
    }

    /// As [`restored`](Self::restored), to be looked at alone; nothing is written.
    pub async fn remembered(path: &Path, task: &str, target: &dyn Target) -> Result<Self> {
        let found = read_all(path)?;
        let letters = memory::of(target, task, &found).await?.unwrap_or(found);
        Ok(Self::new(path, task, None, &letters))
    }

    /// How many rows of a table are set aside.
    pub fn count(&self, table: &str) -> u64 {
        self.state().tables.get(table).copied().unwrap_or_default()
    }

    /// Whether the row of `table` with this key is set aside.
    pub fn holds(&self, table: &str, key: &Values) -> bool {
        self.state().rows.contains(&row_identity(table, key))
    }

    /// Appends those letters that are not there yet. They are on disk, and the target remembers them, when
    /// this returns.
    ///
    /// One row more than the limit is an error; as many as there may be are written before.
    pub async fn write(&self, letters: &[Letter]) -> Result<()> {
        let kept = self.keep(letters);
        self.tell().await?;
        kept
    }

    fn keep(&self, letters: &[Letter]) -> Result<()> {
        let mut state = self.state();
        let mut lines = Vec::new();
        let mut refused = None;
        for letter in letters {
            if state.letters.contains(&letter.identity()) {
                continue;
            }
            if state.is_new_row(letter) && self.limit.is_some_and(|limit| state.count() >= limit) {
                refused = Some(letter);
                break;
            }
            put(&mut lines, letter)?;
            state.add(letter);
            self.remember(&mut state, letter)?;
        }
        if !lines.is_empty() {
            self.append(&mut state, &lines).map_err(|error| self.unwritable(error))?;
        }
        refused.map_or(Ok(()), |letter| Err(self.one_too_many(letter)))
    }

    /// Takes all letters about some rows away and adds others, at once or not at all.
    pub async fn replace(&self, settled: &[&Letter], kept: &[Letter]) -> Result<()> {
        self.swap(settled, kept)?;
        self.tell().await
    }

    fn swap(&self, settled: &[&Letter], kept: &[Letter]) -> Result<()> {
        let mut state = self.state();
        let settled: HashSet<Identity> = settled.iter().filter_map(|letter| letter.row_identity()).collect();
        let mut letters = read_all(&self.path)?;
        letters.retain(|letter| letter.row_identity().is_none_or(|row| !settled.contains(&row)));
        let mut fresh = State::default();
        let mut lines = Vec::new();
        for letter in letters.iter().chain(kept) {
            if !fresh.letters.contains(&letter.identity()) {
                put(&mut lines, letter)?;
                fresh.add(letter);
            }
        }
        rewrite(&self.path, &lines).map_err(|error| self.unwritable(error))?;
        fresh.untold = std::mem::take(&mut state.untold);
        fresh.untold.gone.extend(state.letters.difference(&fresh.letters));
        for letter in kept {
            self.remember(&mut fresh, letter)?;
        }
        *state = fresh;
        Ok(())
    }

    /// Notes what the target is to be told of a letter.
    fn remember(&self, state: &mut State, letter: &Letter) -> Result<()> {
        if self.target.is_some() {
            state.untold.new.push(memory::record(letter)?);
        }
        Ok(())
    }

    /// Tells the target what it does not know yet; also what could not be told before.
    async fn tell(&self) -> Result<()> {
        let Some(target) = &self.target else { return Ok(()) };
        let untold = self.state().untold.clone();
        if untold.gone.is_empty() && untold.new.is_empty() {
            return Ok(());
        }
        Failpoint::LettersKept.reach();
        target.record_dead_letters(&untold.gone, &untold.new).await?;
        Failpoint::LettersRecorded.reach();
        self.state().untold.told(&untold);
        Ok(())
    }

    fn append(&self, state: &mut State, lines: &[u8]) -> std::io::Result<()> {
        let file = match &mut state.file {
            Some(file) => file,
            None => {
                cut_unfinished_line(&self.path)?;
                let file = options().append(true).open(&self.path)?;
                sync_directory(&self.path)?;
                state.file.insert(file)
            }
        };
        file.write_all(lines)?;
        file.sync_data()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unwritable(&self, error: std::io::Error) -> Error {
        Error::new(ErrorKind::State, "a row can't be set aside")
            .at("file", self.path.display())
            .caused_by(error)
            .help("free some space or mend the disk, then run the same command again")
    }

    fn one_too_many(&self, letter: &Letter) -> Error {
        let mut error = Error::new(ErrorKind::Unrepresentable, "more rows are refused than may be set aside")
            .at("table", &letter.table)
            .at("limit", self.limit.unwrap_or_default())
            .at("file", self.path.display());
        if let Some(key) = &letter.key {
            error = error.at("key", key);
        }
        if let Some(column) = &letter.column {
            error = error.at("column", column);
        }
        error.because(&letter.reason).help(format_args!(
            "see them with: engine dead-letter list {0}; mend the rows on the source and settle them with: \
             engine dead-letter retry {0}; or allow more with --dead-letter-limit",
            self.task
        ))
    }
}

fn put(lines: &mut Vec<u8>, letter: &Letter) -> Result<()> {
    serde_json::to_writer(&mut *lines, letter).map_err(|error| {
        Error::new(ErrorKind::Internal, "a row that is set aside can't be written").caused_by(error)
    })?;
    lines.push(b'\n');
    Ok(())
}

/// Puts other lines in the place of a file's, at once or not at all.
fn rewrite(path: &Path, lines: &[u8]) -> std::io::Result<()> {
    let new = path.with_extension("jsonl.new");
    let mut file = options().write(true).truncate(true).open(&new)?;
    file.write_all(lines)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    sync_directory(path)
}

/// For a file that nobody else may read: it has the rows' values.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).mode(0o600);
    options
}

/// Removes what a process that died while it wrote has left of a line, or ends a line that only
/// lacks its end.
fn cut_unfinished_line(path: &Path) -> std::io::Result<()> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let end = text.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
    let rest = text.get(end..).unwrap_or_default();
    if rest.is_empty() {
        return Ok(());
    }
    let mut file = OpenOptions::new().append(true).open(path)?;
    if serde_json::from_slice::<Letter>(rest).is_ok() {
        file.write_all(b"\n")?;
    } else {
        file.set_len(end as u64)?;
    }
    file.sync_data()
}

fn sync_directory(path: &Path) -> std::io::Result<()> {
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::super::letter::{Occurrences, Operation, SNAPSHOT};
    use super::*;

    fn letter(id: u64, position: &str) -> Letter {
        let key = vec![("id".to_owned(), Some(id.to_string()))];
        let row = vec![("id".to_owned(), Some(id.to_string())), ("v".to_owned(), None)];
        Letter {
            table: "shop.orders".into(),
            key: Some(Values(key)),
            position: position.into(),
            chunk: None,
            operation: Operation::Insert,
            column: Some("v".into()),
            code: "null".into(),
            reason: "the column is NOT NULL".into(),
            row: Values(row),
            occurrence: 0,
            at_ms: 1_800_000_000_000 + id,
            lost: None,
        }
    }

    fn file() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("dead-letter.jsonl");
        (directory, path)
    }

    fn open(path: &Path, limit: Option<u64>) -> DeadLetters {
        DeadLetters::open(path, "shop", limit).expect("a readable file")
    }

    #[test]
    fn a_letter_is_one_line_of_json() {
        let (_directory, path) = file();
        open(&path, None).keep(&[letter(7, "a:1")]).expect("a writable file");
        assert_eq!(
            fs::read_to_string(&path).expect("the file"),
            "{\"table\":\"shop.orders\",\"key\":{\"id\":\"7\"},\"position\":\"a:1\",\"chunk\":null,\
             \"operation\":\"insert\",\"column\":\"v\",\"code\":\"null\",\"reason\":\"the column is NOT NULL\",\
             \"row\":{\"id\":\"7\",\"v\":null},\"occurrence\":0,\"at_ms\":1800000000007}\n"
        );
        assert_eq!(read(&path).expect("the file"), [letter(7, "a:1")]);
    }

    #[test]
    fn the_same_change_met_again_is_the_same_letter() {
        let (_directory, path) = file();
        let first = open(&path, None);
        first.keep(&[letter(1, "a:1"), letter(1, "a:1")]).expect("a writable file");
        let again = Letter { at_ms: 5, ..letter(1, "a:1") };
        first.keep(std::slice::from_ref(&again)).expect("a writable file");
        let second = open(&path, None);
        second.keep(&[again.clone(), letter(2, "a:2")]).expect("a writable file");
        assert_eq!(second.count("shop.orders"), 2);
        // As a process leaves it that died after another wrote the same.
        let line = serde_json::to_string(&again).expect("JSON");
        let mut file = OpenOptions::new().append(true).open(&path).expect("the file");
        writeln!(file, "{line}").expect("a writable file");
        assert_eq!(read(&path).expect("the file"), [letter(1, "a:1"), letter(2, "a:2")]);
    }

    #[test]
    fn a_row_is_listed_once_with_what_was_last_the_matter() {
        let (_directory, path) = file();
        let first = open(&path, Some(1));
        first.keep(&[letter(1, "a:1")]).expect("a writable file");
        first.keep(&[letter(1, "a:2")]).expect("no row more than before");
        // As after a crash, when both changes are met again.
        let again = open(&path, Some(1));
        again.keep(&[letter(1, "a:1"), letter(1, "a:2")]).expect("no row more than before");
        assert_eq!(again.count("shop.orders"), 1);
        assert_eq!(read(&path).expect("the file"), [letter(1, "a:2")]);
        again.swap(&[&letter(1, "a:2")], &[]).expect("a writable file");
        assert_eq!(read_all(&path).expect("the file"), []);
    }

    #[test]
    fn rows_that_nothing_tells_apart_are_counted() {
        let keyless = || Letter { key: None, ..letter(1, SNAPSHOT) };
        let numbered = || {
            let (mut letters, mut occurrences) = ([keyless(), keyless()], Occurrences::default());
            letters.iter_mut().for_each(|letter| occurrences.number(letter));
            letters
        };
        let (_directory, path) = file();
        let letters = open(&path, None);
        letters.keep(&numbered()).expect("a writable file");
        letters.keep(&numbered()).expect("a writable file");
        assert_eq!(letters.count("shop.orders"), 2);
    }

    #[test]
    fn a_crash_in_the_middle_of_a_line_costs_only_that_line() {
        let (_directory, path) = file();
        open(&path, None).keep(&[letter(1, "a:1"), letter(2, "a:2")]).expect("a writable file");
        let whole = fs::read(&path).expect("the file");
        let first = whole.iter().position(|&byte| byte == b'\n').expect("a line") + 1;
        for cut in first..whole.len() {
            fs::write(&path, &whole[..cut]).expect("a writable file");
            // The last byte missing is a line that lacks nothing but its end.
            let left = if cut == whole.len() - 1 { 2 } else { 1 };
            assert_eq!(read(&path).expect("the file").len(), left, "cut at {cut}");
            let letters = open(&path, None);
            letters.keep(&[letter(2, "a:2"), letter(3, "a:3")]).expect("a writable file");
            let ids: Vec<_> = read(&path).expect("the file").iter().map(|letter| letter.at_ms % 10).collect();
            assert_eq!(ids, [1, 2, 3], "cut at {cut}");
        }
    }

    #[test]
    fn a_damaged_line_is_not_passed_over() {
        let (_directory, path) = file();
        fs::write(&path, "{\"table\": 1}\n").expect("a writable file");
        let error = read(&path).expect_err("a damaged file");
        assert!(error.to_string().contains("line 1"), "{error}");
        assert!(DeadLetters::open(&path, "shop", None).is_err());
    }

    #[test]
    fn no_more_letters_than_the_limit() {
        let (_directory, path) = file();
        open(&path, Some(2)).keep(&[letter(1, "a:1")]).expect("a writable file");
        // Over all runs.
        let letters = open(&path, Some(2));
        letters.keep(&[letter(1, "a:1"), letter(2, "a:2")]).expect("as many as there may be");
        let error = letters.keep(&[letter(2, "a:2"), letter(3, "a:3")]).expect_err("one too many");
        let text = error.to_string();
        for part in ["limit 2", "key id=3", "column v", "NOT NULL", "dead-letter.jsonl", "list shop"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(read(&path).expect("the file").len(), 2);
        letters.swap(&[&letter(1, "a:1")], &[]).expect("a writable file");
        letters.keep(&[letter(3, "a:3")]).expect("there is room again");
    }

    #[test]
    fn settled_letters_go_and_others_stay() {
        let (_directory, path) = file();
        let letters = open(&path, None);
        letters.keep(&[letter(1, "a:1"), letter(2, "a:2"), letter(3, "a:3")]).expect("a writable file");
        let anew = Letter { reason: "still".into(), ..letter(2, "a:2") };
        letters
            .swap(&[&letter(1, "a:1"), &letter(2, "a:2")], std::slice::from_ref(&anew))
            .expect("a writable file");
        assert_eq!(read(&path).expect("the file"), [letter(3, "a:3"), anew.clone()]);
        assert_eq!(letters.count("shop.orders"), 2);
        let key = |id: u64| Values(vec![("id".to_owned(), Some(id.to_string()))]);
        assert!(letters.holds("shop.orders", &key(2)) && !letters.holds("shop.orders", &key(1)));
        letters.keep(&[letter(4, "a:4")]).expect("a writable file");
        assert_eq!(read(&path).expect("the file").len(), 3);
    }
}
