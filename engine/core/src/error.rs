//! The one error type of the engine: what failed, where, why, and the way out.

use std::fmt;

/// Shorthand for results of this crate's error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What class of thing went wrong; decides about retries and the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The user asked for something that makes no sense or is incomplete.
    Usage,
    /// A database can't be reached or refused the login.
    Connection,
    /// A connection broke, a server went away, a transaction was a victim: worth trying again.
    Transient,
    /// The account or the server's settings don't allow what the task needs.
    Precondition,
    /// A table, type, value or event that has no representation under the plan.
    Unrepresentable,
    /// Source, target and plan contradict each other, or an event makes no sense.
    Divergence,
    /// A plugin failed, trapped, ran too long, or answered nonsense.
    Plugin,
    /// The task's own records are damaged, locked, or belong to something else.
    State,
    /// The user asked to stop.
    Interrupted,
    /// A mistake in the engine.
    Internal,
}

/// An error with its place and its remedy.
///
/// Displays as one line, `what (place): why`, then `help: …` on a line of its own.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    what: String,
    place: Vec<(&'static str, String)>,
    row: Option<usize>,
    why: Option<String>,
    help: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind` that says what failed, in a sentence without a full stop.
    pub fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            what: what.into(),
            place: Vec::new(),
            row: None,
            why: None,
            help: None,
            source: None,
        }))
    }

    /// Adds where: `("table", "shop.orders")`, `("key", "id=5")`, `("position", …)`.
    /// A place already given (by somebody nearer to the failure) is kept.
    #[must_use]
    pub fn at(mut self, what: &'static str, value: impl fmt::Display) -> Self {
        if !self.0.place.iter().any(|(name, _)| *name == what) {
            self.0.place.push((what, value.to_string()));
        }
        self
    }

    /// Adds which row of the batch at hand is at fault.
    #[must_use]
    pub fn of_row(mut self, row: usize) -> Self {
        self.0.row = Some(row);
        self
    }

    /// Adds why it failed.
    #[must_use]
    pub fn because(mut self, why: impl fmt::Display) -> Self {
        self.0.why = Some(why.to_string());
        self
    }

    /// Adds what the reader can do about it.
    #[must_use]
    pub fn help(mut self, help: impl fmt::Display) -> Self {
        self.0.help = Some(help.to_string());
        self
    }

    /// Keeps the error that caused this one, and its text as the reason unless one was given.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let source = source.into();
        if self.0.why.is_none() {
            self.0.why = Some(source.to_string());
        }
        self.0.source = Some(source);
        self
    }

    /// The class of the error.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What failed, without place and reason.
    pub fn what(&self) -> &str {
        &self.0.what
    }

    /// The row of the batch at hand that is at fault, where it is known.
    pub fn row(&self) -> Option<usize> {
        self.0.row
    }

    /// The places, in the order in which they were added.
    pub fn place(&self) -> &[(&'static str, String)] {
        &self.0.place
    }

    /// Why it failed, when known.
    pub fn why(&self) -> Option<&str> {
        self.0.why.as_deref()
    }

    /// What the reader can do, when known.
    pub fn remedy(&self) -> Option<&str> {
        self.0.help.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.what)?;
        if !self.0.place.is_empty() {
            f.write_str(" (")?;
            for (index, (name, value)) in self.0.place.iter().enumerate() {
                let comma = if index == 0 { "" } else { ", " };
                write!(f, "{comma}{name} {value}")?;
            }
            f.write_str(")")?;
        }
        if let Some(why) = &self.0.why {
            write!(f, ": {why}")?;
        }
        if let Some(help) = &self.0.help {
            write!(f, "\nhelp: {help}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_where_why_and_the_way_out() {
        let error = Error::new(ErrorKind::Unrepresentable, "the value has no place in PostgreSQL")
            .at("table", "shop.orders")
            .at("key", "id=5")
            .because("it is no calendar date")
            .help("set zero_dates = \"null\"");
        assert_eq!(
            error.at("table", "the outer one").to_string(),
            "the value has no place in PostgreSQL (table shop.orders, key id=5): it is no calendar date\n\
             help: set zero_dates = \"null\""
        );
    }
}
