//! Whether a column that is given another type keeps its values.

use engine_core::logical::LogicalType;
use engine_core::schema::ColumnSchema;

use super::parse::Parsed;

/// Fails, with the reason, unless every value that `before` can hold is the same value in `after`.
/// Under a strict SQL mode a value out of the new range fails the statement.
pub(super) fn keeps_values(before: &ColumnSchema, after: &ColumnSchema, strict: bool) -> Parsed<()> {
    use LogicalType as T;
    if before.generated.is_some() || after.generated.is_some() {
        let same = before.generated == after.generated && before.logical == after.logical;
        return if same { Ok(()) } else { Err(refusal(before, after)) };
    }
    if before.nullable && !after.nullable && !strict {
        return Err(format!(
            "column {}: NULL becomes another value where the session's SQL mode is not strict",
            before.name
        ));
    }
    let ranged = |text: &str| text.contains('(');
    let exact = match (&before.logical, &after.logical) {
        // A year below 1901 and a number are not the same thing.
        (T::Integer { .. }, T::Integer { .. } | T::Decimal { .. }) if is_year(before) || is_year(after) => {
            before.logical == after.logical && is_year(before) == is_year(after)
        }
        (T::Integer { bits: old, signed: true }, T::Integer { bits: new, signed: true })
        | (T::Integer { bits: old, signed: false }, T::Integer { bits: new, signed: false }) => {
            new >= old || strict
        }
        (T::Integer { bits: old, signed: false }, T::Integer { bits: new, signed: true }) => {
            new > old || strict
        }
        (T::Integer { .. }, T::Integer { .. }) => strict,
        (T::Integer { bits, .. }, T::Decimal { precision, scale }) => {
            let digits = match bits {
                8 => 3,
                16 => 5,
                24 => 8,
                32 => 10,
                _ => 20,
            };
            i32::from(*precision) - i32::from(*scale) >= digits && !is_unsigned(after)
        }
        (T::Decimal { precision: p, scale: s }, T::Decimal { precision: q, scale: t }) => {
            t >= s
                && i32::from(*q) - i32::from(*t) >= i32::from(*p) - i32::from(*s)
                && (!is_unsigned(after) || is_unsigned(before))
        }
        (T::Float32, T::Float32) | (T::Float64, T::Float64) => {
            !ranged(&after.native) && (!is_unsigned(after) || is_unsigned(before))
                || before.native == after.native
        }
        (T::Float32, T::Float64) => !ranged(&before.native) && !ranged(&after.native) && !is_unsigned(after),
        (
            T::Text { max_chars: old, fixed: was_fixed, charset: from, .. },
            T::Text { max_chars: new, fixed, charset: to, .. },
        ) => {
            let wider = match (old, new) {
                (_, None) => true,
                (Some(old), Some(new)) => new >= old,
                (None, Some(_)) => false,
            };
            wider && (!*fixed || *was_fixed) && holds_charset(from.as_deref(), to.as_deref())
        }
        (T::Bytes { max_bytes: old, fixed: was_fixed }, T::Bytes { max_bytes: new, fixed }) => {
            let wider = match (old, new) {
                (_, None) => true,
                (Some(old), Some(new)) => new >= old,
                (None, Some(_)) => false,
            };
            wider && (!*fixed || *was_fixed && old == new)
        }
        (T::Time { precision: old }, T::Time { precision: new }) => new >= old,
        (T::Timestamp { precision: old, zoned: was_zoned }, T::Timestamp { precision: new, zoned }) => {
            new >= old && was_zoned == zoned
        }
        // Values are converted by their label.
        (T::Enumeration { labels: old }, T::Enumeration { labels: new }) => {
            old.iter().all(|label| new.contains(label))
        }
        // The text of a set is in the order of its labels.
        (T::Set { labels: old }, T::Set { labels: new }) => {
            let mut kept = new.iter();
            old.iter().all(|label| kept.any(|candidate| candidate == label))
        }
        (T::Other(_), T::Other(_)) => before.native == after.native,
        (old, new) => old == new,
    };
    if exact { Ok(()) } else { Err(refusal(before, after)) }
}

fn refusal(before: &ColumnSchema, after: &ColumnSchema) -> String {
    format!(
        "column {}: going from {} to {} can change values",
        before.name,
        described(before),
        described(after)
    )
}

fn described(column: &ColumnSchema) -> String {
    match &column.logical {
        LogicalType::Text { charset: Some(charset), .. } => format!("{} {charset}", column.native),
        _ => column.native.clone(),
    }
}

fn is_year(column: &ColumnSchema) -> bool {
    column.native.starts_with("year")
}

fn is_unsigned(column: &ColumnSchema) -> bool {
    column.native.contains("unsigned")
}

/// Whether every character of one character set is the same character in another.
fn holds_charset(from: Option<&str>, to: Option<&str>) -> bool {
    match (from, to) {
        (from, to) if from == to => true,
        (Some(from), Some(to)) => matches!(
            (from, to),
            ("ascii", "latin1" | "utf8mb3" | "utf8mb4")
                | ("latin1", "utf8mb3" | "utf8mb4")
                | ("utf8mb3", "utf8mb4")
        ),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(native: &str, logical: LogicalType) -> ColumnSchema {
        ColumnSchema {
            name: "c".to_owned(),
            logical,
            native: native.to_owned(),
            nullable: true,
            default: None,
            on_update_now: false,
            generated: None,
            identity: false,
            invisible: false,
            comment: String::new(),
            target_type: None,
            attributes: Vec::new(),
        }
    }

    fn keeps(before: LogicalType, after: LogicalType, strict: bool) -> bool {
        keeps_values(&column("x", before), &column("y", after), strict).is_ok()
    }

    fn integer(bits: u8, signed: bool) -> LogicalType {
        LogicalType::Integer { bits, signed }
    }

    fn varchar(length: u32, charset: &str) -> LogicalType {
        LogicalType::Text {
            max_chars: Some(length),
            fixed: false,
            charset: Some(charset.to_owned()),
            collation: None,
        }
    }

    fn labels(labels: &[&str]) -> Vec<String> {
        labels.iter().map(|&label| label.to_owned()).collect()
    }

    #[test]
    fn wider_types_keep_values() {
        assert!(keeps(integer(32, true), integer(64, true), false));
        assert!(keeps(integer(32, false), integer(64, true), false));
        assert!(keeps(varchar(10, "latin1"), varchar(20, "utf8mb4"), false));
        assert!(keeps(
            LogicalType::Decimal { precision: 5, scale: 2 },
            LogicalType::Decimal { precision: 8, scale: 4 },
            false
        ));
        assert!(keeps(LogicalType::Float32, LogicalType::Float64, false));
        assert!(keeps(
            LogicalType::Enumeration { labels: labels(&["a", "b"]) },
            LogicalType::Enumeration { labels: labels(&["b", "c", "a"]) },
            false
        ));
        assert!(keeps(
            LogicalType::Set { labels: labels(&["a", "b"]) },
            LogicalType::Set { labels: labels(&["a", "x", "b"]) },
            false
        ));
    }

    #[test]
    fn narrower_numbers_need_a_strict_mode() {
        assert!(keeps(integer(64, true), integer(32, true), true));
        assert!(!keeps(integer(64, true), integer(32, true), false));
        assert!(!keeps(integer(32, true), integer(32, false), false));
    }

    #[test]
    fn what_rounds_cuts_or_reorders_is_refused() {
        assert!(!keeps(varchar(20, "utf8mb4"), varchar(10, "utf8mb4"), true));
        assert!(!keeps(varchar(10, "utf8mb4"), varchar(10, "latin1"), true));
        assert!(!keeps(
            LogicalType::Decimal { precision: 8, scale: 4 },
            LogicalType::Decimal { precision: 8, scale: 2 },
            true
        ));
        assert!(!keeps(
            LogicalType::Timestamp { precision: 0, zoned: true },
            LogicalType::Timestamp { precision: 0, zoned: false },
            true
        ));
        assert!(!keeps(
            LogicalType::Set { labels: labels(&["a", "b"]) },
            LogicalType::Set { labels: labels(&["b", "a"]) },
            true
        ));
        assert!(!keeps(
            LogicalType::Bytes { max_bytes: Some(4), fixed: true },
            LogicalType::Bytes { max_bytes: Some(8), fixed: true },
            true
        ));
        let year = column("year", integer(16, true));
        assert!(keeps_values(&year, &column("int", integer(32, true)), true).is_err());
    }
}
