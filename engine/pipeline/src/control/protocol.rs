//! What goes over the socket.

use serde::{Deserialize, Serialize};

use engine_core::error::{Error, ErrorKind};

use crate::cut_over::{CutOverOptions, Event};

/// What a running task is asked to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub enum Request {
    /// Read and write nothing, until resumed.
    Pause,
    /// Go on.
    Resume,
    /// End as by Ctrl-C.
    Stop,
    /// Be cut over. Events follow, then the answer.
    CutOver(CutOverOptions),
    /// The answer to a question of a cut-over.
    Reply {
        /// Whether it was yes.
        yes: bool,
    },
    /// Give the cut-over up.
    Abort,
}

/// What a task does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// It goes on.
    Running,
    /// It holds; nothing is read or written.
    Paused,
    /// It was cut over; nothing goes on any more.
    CutOver,
    /// Its process has ended, or is about to with nothing left to do.
    Stopped,
}

impl Condition {
    /// The word that people and scripts see.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::CutOver => "cut-over",
            Self::Stopped => "stopped",
        }
    }
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// It has happened.
    Done {
        /// What the task does now.
        condition: Condition,
        /// Position at which the target stands.
        position: Option<String>,
    },
    /// Something is told while a task is cut over.
    Told {
        /// What.
        told: Event,
    },
    /// It has not.
    Refused(Refused),
}

/// An [`Error`] on its way to another process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Whether it was given up, rather than failed.
    #[serde(default)]
    pub given_up: bool,
    /// What failed.
    pub what: String,
    /// Where.
    #[serde(default)]
    pub place: Vec<(String, String)>,
    /// Why.
    pub why: Option<String>,
    /// The way out.
    pub help: Option<String>,
}

impl From<&Error> for Refused {
    fn from(error: &Error) -> Self {
        Self {
            given_up: error.kind() == ErrorKind::Interrupted,
            what: error.what().to_owned(),
            place: error.place().iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
            why: error.why().map(str::to_owned),
            help: error.remedy().map(str::to_owned),
        }
    }
}

/// Names of places that errors of requests have.
const PLACES: [&str; 20] = [
    "task",
    "check",
    "table",
    "column",
    "position",
    "source",
    "target",
    "directory",
    "file",
    "type",
    "key",
    "value",
    "setting",
    "slot",
    "publication",
    "partition",
    "object",
    "plugin",
    "statement",
    "server",
];

impl Refused {
    /// The error as it was, but for its kind.
    pub fn into_error(self) -> Error {
        let kind = if self.given_up { ErrorKind::Interrupted } else { ErrorKind::State };
        let mut error = Error::new(kind, self.what);
        for (name, value) in self.place {
            // Places have names of the engine's own.
            let known = PLACES.into_iter().find(|known| *known == name);
            error = match known {
                Some(known) => error.at(known, value),
                None => error.at("place", format!("{name} {value}")),
            };
        }
        if let Some(why) = self.why {
            error = error.because(why);
        }
        match self.help {
            Some(help) => error.help(help),
            None => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_as_scripts_may_write_them() {
        let line = serde_json::to_string(&Request::Pause).expect("a small value");
        assert_eq!(line, r#"{"command":"pause"}"#);
        let done = Answer::Done { condition: Condition::Paused, position: None };
        assert_eq!(
            serde_json::to_string(&done).expect("a small value"),
            r#"{"answer":"done","condition":"paused","position":null}"#
        );
    }

    #[test]
    fn an_error_arrives_as_it_was() {
        let error =
            Error::new(ErrorKind::State, "it can't be paused").at("task", "t").because("so").help("wait");
        let line = serde_json::to_string(&Answer::Refused(Refused::from(&error))).expect("a small value");
        let Ok(Answer::Refused(refused)) = serde_json::from_str(&line) else { panic!("{line}") };
        assert_eq!(refused.into_error().to_string(), error.to_string());
    }
}
