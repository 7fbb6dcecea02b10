//! What openGauss refuses of later `PostgreSQL`'s SQL, and what it reads otherwise.
//!
//! The server behind is made to refuse the same: a word doubled is a syntax error (42601), a name that nobody has is
//! an unknown function, column or setting (42883, 42703, 42704). Only words outside of literals, quoted names and comments
//! are looked at.

use anyhow::Result;
use regex::{Captures, Regex};

use super::Compatibility;

/// What is no syntax there.
const NO_SYNTAX: [&str; 5] = [
    r"SELECT(?P<word>\s+FROM)\b",
    r"WITH(?P<word>\s+ORDINALITY)\b",
    r"OVERRIDING(?P<word>\s+(SYSTEM|USER))\s+VALUE\b",
    r"ADD\s+(COLUMN\s+)?IF(?P<word>\s+NOT)\s+EXISTS\b",
    r"DROP(?P<word>\s+IDENTITY)\b",
];

/// Functions that it doesn't have.
const NO_FUNCTION: &str = r"(?i)\b(to_regclass|to_regtype|scale|has_parameter_privilege|pg_blocking_pids|jsonb_agg|num_nulls)(\s*\()";

/// Settings and columns that it doesn't have.
const NO_NAME: &str = r"(?i)\b(lock_timeout|jit|backend_type|idle_session_timeout|transaction_timeout)\b";

/// Settings that are asked for by their name in a literal.
const NO_SETTING: &str = r"(?i)\bcurrent_setting\('(superuser_reserved_connections|lock_timeout|jit)'\)";

/// Makes the server behind refuse what openGauss does, and read what openGauss reads otherwise.
#[derive(Debug, Clone)]
pub(super) struct Refusals {
    no_syntax: Vec<Regex>,
    no_function: Regex,
    no_name: Regex,
    no_setting: Regex,
    unnest: Regex,
    own_setting: Regex,
    date: Option<Regex>,
    timestamp: Option<Regex>,
    extensions: Option<Regex>,
    empty_is_null: bool,
}

impl Refusals {
    pub(super) fn new(compatibility: Compatibility, dolphin: bool) -> Result<Self> {
        let is_oracle = compatibility == Compatibility::A;
        let no_syntax = NO_SYNTAX.iter().map(|pattern| Regex::new(&format!(r"(?i)\b{pattern}")));
        Ok(Self {
            no_syntax: no_syntax.collect::<Result<_, _>>()?,
            no_function: Regex::new(NO_FUNCTION)?,
            no_name: Regex::new(NO_NAME)?,
            no_setting: Regex::new(NO_SETTING)?,
            unnest: Regex::new(r"(?i)\bunnest\s*\(")?,
            own_setting: Regex::new(r"(?i)^(\s*SET\s+(SESSION\s+|LOCAL\s+)?)(behavior_compat_options)\b")?,
            date: is_oracle.then(|| Regex::new(r"(?i)(\bpg_catalog\.)?\bdate\b")).transpose()?,
            timestamp: dolphin
                .then(|| {
                    Regex::new(
                        r"(?i)\btimestamp\b(?P<digits>\s*\(\s*\d\s*\))?(?P<zone>\s+with(out)?\s+time\s+zone\b)?",
                    )
                })
                .transpose()?,
            extensions: dolphin.then(|| Regex::new(r"(?i)\bFROM\s+pg_catalog\.pg_extension\b")).transpose()?,
            empty_is_null: is_oracle,
        })
    }

    /// The statement as the server behind is to have it.
    pub(super) fn apply(&self, sql: &str) -> String {
        let sql = self.no_setting.replace_all(sql, "current_setting('absent_$1')");
        let keeps_literals = ["SET", "COMMENT", "COPY", "DO"].iter().any(|word| begins_with(&sql, word));
        let mut rewritten = String::with_capacity(sql.len());
        for piece in pieces(&sql) {
            match piece {
                Piece::Words(words) => rewritten.push_str(&self.words(words)),
                Piece::Literal("''") if self.empty_is_null && !keeps_literals => {
                    if rewritten.ends_with(['E', 'e']) {
                        rewritten.pop();
                    }
                    rewritten.push_str("NULL");
                }
                Piece::Literal(text) | Piece::Other(text) => rewritten.push_str(text),
            }
        }
        if several_arrays(&rewritten, &self.unnest) {
            return self.unnest.replace_all(&rewritten, "absent_unnest(").into_owned();
        }
        rewritten
    }

    fn words(&self, words: &str) -> String {
        let doubled = |found: &Captures<'_>| {
            let whole = found.get(0).map_or("", |whole| whole.as_str());
            let word = found.name("word").map_or("", |word| word.as_str());
            whole.replacen(word, &format!("{word}{word}"), 1)
        };
        let mut words = words.to_owned();
        for pattern in &self.no_syntax {
            words = pattern.replace_all(&words, doubled).into_owned();
        }
        words = self.no_function.replace_all(&words, "absent_$1$2").into_owned();
        words = self.no_name.replace_all(&words, "absent_$1").into_owned();
        // A setting with a dot in its name may be anything.
        words = self.own_setting.replace(&words, "${1}opengauss.$3").into_owned();
        if let Some(date) = &self.date {
            words = date.replace_all(&words, "timestamp(0)").into_owned();
        }
        if let Some(extensions) = &self.extensions {
            let dolphin =
                "FROM (SELECT extname FROM pg_catalog.pg_extension UNION ALL SELECT 'dolphin') AS extensions";
            words = extensions.replace_all(&words, dolphin).into_owned();
        }
        if let Some(timestamp) = &self.timestamp {
            let zoned = |found: &Captures<'_>| {
                let whole = found.get(0).map_or("", |whole| whole.as_str());
                let digits = found.name("digits").map_or("", |digits| digits.as_str());
                if found.name("zone").is_some() { whole.to_owned() } else { format!("timestamptz{digits}") }
            };
            words = timestamp.replace_all(&words, zoned).into_owned();
        }
        words
    }

    /// Whether an empty parameter of a type with this identifier is NULL: `varchar`, times and dates, intervals.
    pub(super) fn is_null_when_empty(&self, type_id: u32) -> bool {
        self.empty_is_null && matches!(type_id, 1043 | 1083 | 1114 | 1184 | 1186 | 1266)
    }
}

/// A part of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece<'a> {
    /// Words and signs.
    Words(&'a str),
    /// A string literal.
    Literal(&'a str),
    /// A quoted name, a comment, a string between dollars.
    Other(&'a str),
}

/// A statement in pieces.
fn pieces(sql: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let (mut begin, mut at) = (0, 0);
    while at < sql.len() {
        let rest = sql.get(at..).unwrap_or_default();
        let Some(length) = closed(rest, sql.get(..at).unwrap_or_default()) else {
            at += rest.chars().next().map_or(1, char::len_utf8);
            continue;
        };
        pieces.push(Piece::Words(sql.get(begin..at).unwrap_or_default()));
        let text = rest.get(..length).unwrap_or(rest);
        pieces.push(if text.starts_with('\'') { Piece::Literal(text) } else { Piece::Other(text) });
        at += text.len();
        begin = at;
    }
    pieces.push(Piece::Words(sql.get(begin..).unwrap_or_default()));
    pieces.retain(|piece| *piece != Piece::Words(""));
    pieces
}

/// Bytes of the literal, the quoted name, the comment or the string between dollars that `rest` begins with.
fn closed(rest: &str, before: &str) -> Option<usize> {
    let until = |end: &str| rest.find(end).map_or(rest.len(), |at| at + end.len());
    let quote = rest.chars().next()?;
    match quote {
        '\'' | '"' => {
            let escapes = quote == '\'' && before.ends_with(['E', 'e']);
            let mut characters = rest.char_indices().skip(1).peekable();
            while let Some((at, character)) = characters.next() {
                if escapes && character == '\\' {
                    characters.next();
                } else if character == quote {
                    if characters.peek().is_none_or(|(_, next)| *next != quote) {
                        return Some(at + 1);
                    }
                    characters.next();
                }
            }
            Some(rest.len())
        }
        '-' if rest.starts_with("--") => Some(until("\n")),
        '/' if rest.starts_with("/*") => Some(until("*/")),
        '$' => {
            let tag = rest.get(1..)?.split_once('$')?.0;
            let is_tag = tag.chars().all(|c| c.is_alphanumeric() || c == '_');
            if !is_tag || tag.starts_with(|c: char| c.is_ascii_digit()) {
                return None;
            }
            let mark = format!("${tag}$");
            let inside = rest.get(mark.len()..)?;
            Some(mark.len() + inside.find(&mark).map_or(inside.len(), |at| at + mark.len()))
        }
        _ => None,
    }
}

fn begins_with(sql: &str, word: &str) -> bool {
    let first = sql.trim_start().split(|c: char| !c.is_ascii_alphabetic()).next();
    first.is_some_and(|first| first.eq_ignore_ascii_case(word))
}

/// Whether an `unnest` has several arguments.
fn several_arrays(sql: &str, unnest: &Regex) -> bool {
    unnest.find_iter(sql).any(|found| {
        let mut depth = 0_i32;
        for character in sql.get(found.end()..).unwrap_or_default().chars() {
            match character {
                '(' | '[' => depth += 1,
                ')' if depth == 0 => return false,
                ')' | ']' => depth -= 1,
                ',' if depth == 0 => return true,
                _ => {}
            }
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(compatibility: Compatibility, dolphin: bool, sql: &str) -> String {
        Refusals::new(compatibility, dolphin).expect("patterns").apply(sql)
    }

    #[test]
    fn only_words_are_looked_at() {
        let sql = "SELECT 'SELECT FROM', \"jit\", $$jit$$, E'\\' jit' -- jit\n FROM t";
        assert_eq!(applied(Compatibility::Pg, false, sql), sql);
    }

    #[test]
    fn later_words_are_refused() {
        let refused = |sql: &str| applied(Compatibility::Pg, false, sql) != sql;
        for sql in [
            "SELECT FROM t",
            "SELECT * FROM unnest($1::text[], $2::text[])",
            "SELECT * FROM unnest($1::text[]) WITH ORDINALITY",
            "INSERT INTO t (a) OVERRIDING SYSTEM VALUE VALUES (1)",
            "ALTER TABLE t ADD COLUMN IF NOT EXISTS a text",
            "SELECT pg_catalog.to_regclass('t')",
            "SET LOCAL lock_timeout = '1s'",
        ] {
            assert!(refused(sql), "{sql}");
        }
        for sql in [
            "SELECT unnest($1::text[]), unnest($2::numeric[])",
            "CREATE TABLE IF NOT EXISTS t (a date)",
            "SELECT 1 FROM t",
        ] {
            assert!(!refused(sql), "{sql}");
        }
    }

    #[test]
    fn words_mean_other_types() {
        let declared = "CREATE TABLE t (\"date\" date, a timestamp(3), b timestamp(3) without time zone)";
        assert_eq!(
            applied(Compatibility::A, false, declared),
            "CREATE TABLE t (\"date\" timestamp(0), a timestamp(3), b timestamp(3) without time zone)"
        );
        assert_eq!(
            applied(Compatibility::B, true, declared),
            "CREATE TABLE t (\"date\" date, a timestamptz(3), b timestamp(3) without time zone)"
        );
    }

    #[test]
    fn an_empty_literal_is_null_in_a_alone() {
        let sql = "SELECT '', 'it''s', E''";
        assert_eq!(applied(Compatibility::A, false, sql), "SELECT NULL, 'it''s', NULL");
        assert_eq!(applied(Compatibility::B, false, sql), sql);
        assert_eq!(applied(Compatibility::A, false, "SET search_path = ''"), "SET search_path = ''");
    }
}
