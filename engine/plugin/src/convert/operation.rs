//! Operations that the contract has no case for: a name and JSON arguments.
//!
//! | name | arguments |
//! |---|---|
//! | `dates-within` | `first` and `last` in the column's own unit, `nearest`: whether other dates become the nearest of them, rather than NULL |
//! | `not-finite-to-null` | |
//! | `to-decimal` | `precision`, `scale` |
//! | `array-to-json` | `delimiter`, `element`: `boolean`, `number`, `json` or `text` |
//! | `interval-to-microseconds` | |

use engine_core::plan::{ArrayElement, NativeOp};
use serde::{Deserialize, Serialize};

/// The operations, in the form of their arguments.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Operation {
    DatesWithin { first: i64, last: i64, nearest: bool },
    NotFiniteToNull {},
    ToDecimal { precision: u16, scale: u16 },
    ArrayToJson { delimiter: char, element: ArrayElement },
    IntervalToMicroseconds {},
    IntervalToTime {},
}

/// The operation of this name.
pub(super) fn read(name: &str, arguments: &str) -> Result<NativeOp, String> {
    let known = [
        "dates-within",
        "not-finite-to-null",
        "to-decimal",
        "array-to-json",
        "interval-to-microseconds",
        "interval-to-time",
    ];
    if !known.contains(&name) {
        return Err(format!("this engine does not know the operation '{name}'"));
    }
    let arguments = if arguments.is_empty() { "{}" } else { arguments };
    let wrong = |error: serde_json::Error| format!("the operation '{name}' has wrong arguments: {error}");
    let arguments: serde_json::Value = serde_json::from_str(arguments).map_err(wrong)?;
    let operation = serde_json::json!({ name: arguments });
    Ok(match serde_json::from_value(operation).map_err(wrong)? {
        Operation::DatesWithin { first, last, nearest } => NativeOp::DatesWithin { first, last, nearest },
        Operation::NotFiniteToNull {} => NativeOp::NotFiniteToNull,
        Operation::ToDecimal { precision, scale } => NativeOp::ToDecimal { precision, scale },
        Operation::ArrayToJson { delimiter, element } => NativeOp::ArrayToJson { delimiter, element },
        Operation::IntervalToMicroseconds {} => NativeOp::IntervalToMicroseconds,
        Operation::IntervalToTime {} => NativeOp::IntervalToTime,
    })
}

/// Name and arguments of an operation that the contract has no case for.
pub(super) fn write(operation: &NativeOp) -> (String, String) {
    let (name, arguments) = match operation {
        NativeOp::DatesWithin { first, last, nearest } => {
            ("dates-within", serde_json::json!({ "first": first, "last": last, "nearest": nearest }))
        }
        NativeOp::ToDecimal { precision, scale } => {
            ("to-decimal", serde_json::json!({ "precision": precision, "scale": scale }))
        }
        NativeOp::ArrayToJson { delimiter, element } => {
            ("array-to-json", serde_json::json!({ "delimiter": delimiter, "element": element }))
        }
        NativeOp::IntervalToMicroseconds => ("interval-to-microseconds", serde_json::json!({})),
        NativeOp::IntervalToTime => ("interval-to-time", serde_json::json!({})),
        _ => ("not-finite-to-null", serde_json::json!({})),
    };
    (name.to_owned(), arguments.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_read_as_they_are_written() {
        for operation in [
            NativeOp::DatesWithin { first: i64::MIN, last: 5, nearest: true },
            NativeOp::NotFiniteToNull,
            NativeOp::ToDecimal { precision: 65, scale: 30 },
            NativeOp::ArrayToJson { delimiter: ';', element: ArrayElement::Json },
            NativeOp::IntervalToMicroseconds,
            NativeOp::IntervalToTime,
        ] {
            let (name, arguments) = write(&operation);
            assert_eq!(read(&name, &arguments), Ok(operation));
        }
        assert_eq!(read("not-finite-to-null", ""), Ok(NativeOp::NotFiniteToNull));
    }

    #[test]
    fn what_is_unknown_or_incomplete_is_refused() {
        for (name, arguments) in [
            ("to-roman", "{}"),
            ("to-decimal", "{}"),
            ("to-decimal", r#"{"precision": 5, "scale": 2, "round": true}"#),
            ("array-to-json", "["),
            ("interval-to-microseconds", r#"{"day": 24}"#),
        ] {
            assert!(read(name, arguments).is_err(), "{name} {arguments}");
        }
    }
}
