//! Finds `COMMIT` among the messages of a `PostgreSQL` client, but for transactions that were begun read-only.
//!
//! The messages are those of <https://www.postgresql.org/docs/current/protocol-message-formats.html>: until the startup
//! message they have no type, then a byte of type; the length that follows counts itself. After a request for TLS that
//! the server granted nothing is recognised any more.

use std::collections::{HashMap, HashSet};

/// Codes in place of a protocol version: a request for TLS, one for GSSAPI encryption, and one to cancel.
const REQUESTS: [u32; 3] = [80_877_103, 80_877_104, 80_877_102];
/// Messages that may hold a `COMMIT` are short; longer ones are passed over without being kept.
const LONGEST: usize = 4096;

/// Reads what a client sends, piece by piece.
#[derive(Debug, Default)]
pub(super) struct Commits {
    started: bool,
    /// Not the protocol, or encrypted.
    foreign: bool,
    /// The begun message: its header and, if it is short, its body.
    message: Vec<u8>,
    /// Bytes of a long message that are yet to come.
    passing: usize,
    /// Prepared statements that are a `COMMIT`.
    statements: HashSet<Vec<u8>>,
    /// Portals, and whether they are a `COMMIT`.
    portals: HashMap<Vec<u8>, bool>,
    /// The transaction was begun as one that writes nothing: nobody doubts its outcome.
    read_only: bool,
    questions: u64,
}

impl Commits {
    /// How many messages were seen that the server answers with `ReadyForQuery`, the startup included.
    pub(super) const fn questions(&self) -> u64 {
        self.questions
    }

    /// Reads one more piece; answers whether a `COMMIT` ends in it.
    pub(super) fn read(&mut self, piece: &[u8]) -> bool {
        let mut found = false;
        for &byte in piece {
            if self.foreign {
                break;
            }
            if self.passing > 0 {
                self.passing -= 1;
                continue;
            }
            self.message.push(byte);
            found |= self.take();
        }
        found
    }

    /// Ends the message if it is complete; answers whether it is a `COMMIT`.
    fn take(&mut self) -> bool {
        let kind = usize::from(self.started);
        let Some(length) = self.message.get(kind..kind + 4).and_then(|bytes| bytes.try_into().ok()) else {
            return false;
        };
        let length = u32::from_be_bytes(length) as usize + kind;
        if self.message.len() < length.min(LONGEST) {
            return false;
        }
        let message = std::mem::take(&mut self.message);
        if length > LONGEST {
            self.passing = length - message.len();
        }
        let body = message.get(kind + 4..).unwrap_or_default();
        if !self.started {
            self.start(body);
            return false;
        }
        match message.first() {
            Some(b'Q') => {
                self.questions += 1;
                let text = body.split_last().map(|(_, text)| text).unwrap_or_default();
                let commits = is_commit(text);
                let counts = commits && !self.read_only;
                // The next transaction is another one.
                self.read_only = !commits && (self.read_only || begins_read_only(text));
                counts
            }
            Some(b'S') => {
                self.questions += 1;
                false
            }
            Some(b'P') => {
                if let Some((name, rest)) = text(body) {
                    let commits = text(rest).is_some_and(|(query, _)| is_commit(query));
                    if commits {
                        self.statements.insert(name.to_vec());
                    } else {
                        self.statements.remove(name);
                    }
                }
                false
            }
            Some(b'B') => {
                if let Some((portal, rest)) = text(body)
                    && let Some((statement, _)) = text(rest)
                {
                    self.portals.insert(portal.to_vec(), self.statements.contains(statement));
                }
                false
            }
            Some(b'E') => text(body).is_some_and(|(portal, _)| self.portals.get(portal) == Some(&true)),
            _ => false,
        }
    }

    fn start(&mut self, body: &[u8]) {
        let code = body.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes));
        match code {
            Some(code) if REQUESTS.contains(&code) => {}
            Some(0x0003_0000..=0x0003_ffff) => {
                self.started = true;
                self.questions += 1;
            }
            _ => self.foreign = true,
        }
    }
}

/// A text that ends with a zero byte, and what follows it.
fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|&byte| byte == 0)?;
    Some((bytes.get(..end)?, bytes.get(end + 1..)?))
}

/// Whether the last statement of a text is `COMMIT` or `END`.
fn is_commit(statements: &[u8]) -> bool {
    let text = String::from_utf8_lossy(statements);
    let last = text.trim().trim_end_matches(';').rsplit(';').next().unwrap_or_default();
    let words: Vec<String> = last.split_whitespace().map(str::to_uppercase).collect();
    match words.first().map(String::as_str) {
        Some("COMMIT") => words.get(1).is_none_or(|word| word != "PREPARED"),
        Some("END") => true,
        _ => false,
    }
}

/// Whether a text begins a transaction that can't write.
fn begins_read_only(statements: &[u8]) -> bool {
    let text = String::from_utf8_lossy(statements).to_uppercase();
    let text = text.trim();
    (text.starts_with("START TRANSACTION") || text.starts_with("BEGIN")) && text.contains("READ ONLY")
}

/// Counts `ReadyForQuery` in what a server sends.
#[derive(Debug, Default)]
pub(super) struct Answers {
    header: Vec<u8>,
    passing: usize,
    ready: u64,
}

impl Answers {
    /// How many there were.
    pub(super) const fn ready(&self) -> u64 {
        self.ready
    }

    /// Reads one more piece.
    pub(super) fn read(&mut self, piece: &[u8]) {
        for &byte in piece {
            if self.passing > 0 {
                self.passing -= 1;
                self.ready += u64::from(self.passing == 0 && self.header.first() == Some(&b'Z'));
                continue;
            }
            if self.header.len() == 5 {
                self.header.clear();
            }
            self.header.push(byte);
            // The answer to a request for encryption is this one byte.
            if self.header == b"N" {
                self.header.clear();
            }
            if let Some(length) = self.header.get(1..5).and_then(|bytes| bytes.try_into().ok()) {
                self.passing = (u32::from_be_bytes(length) as usize).saturating_sub(4);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Answers, Commits, LONGEST};

    fn message(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
        let body = parts.concat();
        let length = u32::try_from(body.len() + 4).expect("a short message");
        [&[kind][..], &length.to_be_bytes(), &body].concat()
    }

    fn startup() -> Vec<u8> {
        let request = [8_u32.to_be_bytes(), 80_877_103_u32.to_be_bytes()].concat();
        let version = [0, 3, 0, 0];
        [request, 13_u32.to_be_bytes().to_vec(), version.to_vec(), b"user\0".to_vec()].concat()
    }

    fn started() -> Commits {
        let mut commits = Commits::default();
        assert!(!commits.read(&startup()));
        assert_eq!(commits.questions(), 1);
        commits
    }

    #[test]
    fn a_simple_commit_is_found() {
        let begin = message(b'Q', &[b"BEGIN\0"]);
        let commit = message(b'Q', &[b"commit;\0"]);
        let mut commits = started();
        assert!(commits.read(&[&begin[..], &commit].concat()));
        assert_eq!(commits.questions(), 3);
        assert!(!commits.read(&begin));
        assert!(commits.read(&message(b'Q', &[b"UPDATE t SET n = 1; COMMIT\0"])));
    }

    #[test]
    fn a_prepared_commit_is_found_when_it_is_executed() {
        let mut commits = started();
        assert!(!commits.read(&message(b'P', &[b"s1\0", b"COMMIT\0", &[0, 0]])));
        assert!(!commits.read(&message(b'B', &[b"\0", b"s1\0", &[0; 6]])));
        assert!(commits.read(&message(b'E', &[b"\0", &[0; 4]])));
        assert!(!commits.read(&message(b'B', &[b"\0", b"s2\0", &[0; 6]])));
        assert!(!commits.read(&message(b'E', &[b"\0", &[0; 4]])));
    }

    #[test]
    fn pieces_may_be_of_any_size() {
        let rows = message(b'd', &[&[b'x'; 3 * LONGEST]]);
        let stream = [startup(), rows, message(b'Q', &[b"COMMIT\0"])].concat();
        for size in [1, 2, 7, 5000] {
            let mut commits = Commits::default();
            let found = stream.chunks(size).filter(|piece| commits.read(piece)).count();
            assert_eq!(found, 1, "in pieces of {size}");
        }
    }

    #[test]
    fn other_statements_are_none() {
        let mut commits = started();
        for text in ["INSERT INTO t VALUES ('COMMIT')\0", "COMMIT; SELECT 1\0", "COMMIT PREPARED 'x'\0", "\0"]
        {
            assert!(!commits.read(&message(b'Q', &[text.as_bytes()])), "{text}");
        }
        // Encrypted from the first byte on.
        assert!(!Commits::default().read(b"\x16\x03\x01\x02\x00\x01COMMIT and what may follow"));
    }

    #[test]
    fn what_only_reads_does_not_count() {
        let mut commits = started();
        let query = |text: &[u8]| message(b'Q', &[text]);
        assert!(!commits.read(&query(b"START TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY\0")));
        assert!(!commits.read(&query(b"COMMIT\0")));
        assert!(!commits.read(&query(b"BEGIN\0")));
        assert!(commits.read(&query(b"COMMIT\0")));
    }

    #[test]
    fn answers_are_counted() {
        let ready = message(b'Z', &[b"I"]);
        let stream =
            [b"N".to_vec(), message(b'R', &[&[0; 4]]), ready.clone(), message(b'C', &[b"COMMIT\0"]), ready];
        for size in [1, 3, 100] {
            let mut answers = Answers::default();
            stream.concat().chunks(size).for_each(|piece| answers.read(piece));
            assert_eq!(answers.ready(), 2);
        }
    }
}
