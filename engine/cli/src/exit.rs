//! How the process ends: exit codes, and the one place where errors are shown.

use serde_json::{Map, Value, json};

use engine_core::{Error, ErrorKind};

/// The command did what it was asked to do.
pub(crate) const DONE: u8 = 0;
/// It failed.
pub(crate) const FAILED: u8 = 1;
/// It was asked for something that makes no sense or is incomplete.
pub(crate) const USAGE: u8 = 2;
/// There are warnings and no failures.
pub(crate) const WARNINGS: u8 = 3;
/// It compared, and found differences.
pub(crate) const DIFFERENT: u8 = 4;
/// It was stopped by Ctrl-C or SIGTERM.
pub(crate) const INTERRUPTED: u8 = 130;

/// The exit code that an error leads to.
pub(crate) fn code(error: &Error) -> u8 {
    match error.kind() {
        ErrorKind::Usage => USAGE,
        ErrorKind::Interrupted => INTERRUPTED,
        ErrorKind::Connection
        | ErrorKind::Transient
        | ErrorKind::Precondition
        | ErrorKind::Unrepresentable
        | ErrorKind::Divergence
        | ErrorKind::Plugin
        | ErrorKind::State
        | ErrorKind::Internal => FAILED,
    }
}

/// The error for people: `error: what (place): why`, then a `help:` line for each way out.
pub(crate) fn text(error: &Error) -> String {
    // Stopping is what the reader wanted.
    let label = if error.kind() == ErrorKind::Interrupted { "" } else { "error: " };
    let places: Vec<String> = error.place().iter().map(|(name, value)| format!("{name} {value}")).collect();
    let place = if places.is_empty() { String::new() } else { format!(" ({})", places.join(", ")) };
    let why = error.why().map(|why| format!(": {why}")).unwrap_or_default();
    let help = error.remedy().into_iter().flat_map(str::lines).map(|line| format!("\nhelp: {line}"));
    format!("{label}{}{place}{why}{}", error.what(), help.collect::<String>())
}

/// The error for programs: the event `error`.
pub(crate) fn event(error: &Error) -> Value {
    let place: Map<String, Value> =
        error.place().iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
    json!({
        "event": "error",
        "kind": kind_name(error.kind()),
        "what": error.what(),
        "place": place,
        "why": error.why(),
        "help": error.remedy(),
        "exit_code": code(error),
    })
}

fn kind_name(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Usage => "usage",
        ErrorKind::Connection => "connection",
        ErrorKind::Transient => "transient",
        ErrorKind::Precondition => "precondition",
        ErrorKind::Unrepresentable => "unrepresentable",
        ErrorKind::Divergence => "divergence",
        ErrorKind::Plugin => "plugin",
        ErrorKind::State => "state",
        ErrorKind::Interrupted => "interrupted",
        ErrorKind::Internal => "internal",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unrepresentable() -> Error {
        Error::new(ErrorKind::Unrepresentable, "a value has no place in the target")
            .at("table", "shop.orders")
            .at("key", "id=5")
            .because("'0000-00-00' is no calendar date")
            .help("set zero_dates = \"null\" in [plugin.mysql2og]\nor mend the row in the source")
    }

    #[test]
    fn errors_for_people() {
        insta::assert_snapshot!(text(&unrepresentable()), @r#"
        error: a value has no place in the target (table shop.orders, key id=5): '0000-00-00' is no calendar date
        help: set zero_dates = "null" in [plugin.mysql2og]
        help: or mend the row in the source
        "#);
        insta::assert_snapshot!(text(&Error::new(ErrorKind::Interrupted, "stopped during the copy")), @"stopped during the copy");
    }

    #[test]
    fn errors_for_programs() {
        insta::assert_snapshot!(serde_json::to_string_pretty(&event(&unrepresentable())).expect("an object"), @r#"
        {
          "event": "error",
          "kind": "unrepresentable",
          "what": "a value has no place in the target",
          "place": {
            "table": "shop.orders",
            "key": "id=5"
          },
          "why": "'0000-00-00' is no calendar date",
          "help": "set zero_dates = \"null\" in [plugin.mysql2og]\nor mend the row in the source",
          "exit_code": 1
        }
        "#);
    }

    #[test]
    fn exit_codes() {
        assert_eq!(code(&Error::new(ErrorKind::Usage, "")), 2);
        assert_eq!(code(&Error::new(ErrorKind::Interrupted, "")), 130);
        assert_eq!(code(&Error::new(ErrorKind::Internal, "")), 1);
    }
}
