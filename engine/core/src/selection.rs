//! Which tables a task is about.

use serde::{Deserialize, Serialize};

use crate::schema::TableName;

/// Database of the source URL and the `--include` / `--exclude` patterns.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Selection {
    /// Only this database; `None` = every one that isn't the server's own.
    pub database: Option<String>,
    /// Tables to take; empty = all.
    pub include: Vec<String>,
    /// Tables to leave out, whatever `include` says.
    pub exclude: Vec<String>,
}

impl Selection {
    /// Whether `table` is part of the task. A pattern is `table` or `database.table`, each side
    /// with `*` (any characters) and `?` (one character); letters match exactly.
    pub fn matches(&self, table: &TableName) -> bool {
        let any = |patterns: &[String]| patterns.iter().any(|pattern| matches_table(pattern, table));
        self.database.as_ref().is_none_or(|database| *database == table.namespace)
            && (self.include.is_empty() || any(&self.include))
            && !any(&self.exclude)
    }
}

fn matches_table(pattern: &str, table: &TableName) -> bool {
    match pattern.split_once('.') {
        Some((namespace, name)) => glob(namespace, &table.namespace) && glob(name, &table.name),
        None => glob(pattern, &table.name),
    }
}

/// `*` matches any run of characters, `?` exactly one.
pub fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where to go on when the run taken by the last `*` has to grow by one character.
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                retry = Some((p, t));
                p += 1;
            }
            Some(&c) if c == '?' || c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match retry {
                Some((star, taken)) => {
                    retry = Some((star, taken + 1));
                    p = star + 1;
                    t = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        assert!(glob("*", ""));
        assert!(glob("a*b*c", "a-bb-c"));
        assert!(glob("log_??", "log_24"));
        assert!(!glob("log_??", "log_2024"));
        assert!(!glob("a*b", "abc"));
    }

    #[test]
    fn exclude_wins_and_the_database_limits() {
        let selection = Selection {
            database: Some("shop".into()),
            include: vec!["shop.*".into()],
            exclude: vec!["tmp_*".into()],
        };
        assert!(selection.matches(&TableName::new("shop", "orders")));
        assert!(!selection.matches(&TableName::new("shop", "tmp_1")));
        assert!(!selection.matches(&TableName::new("crm", "orders")));
    }
}
