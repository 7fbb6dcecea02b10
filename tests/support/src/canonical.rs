//! One text per value, whichever database it was read from.
//!
//! Each side is asked, in its own SQL, for a text that loses nothing; the rest of the difference is a matter of
//! spelling and is removed here.

use serde_json::Value;

/// How a column's text is brought to its canonical form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As it is.
    Text,
    /// Single-precision number, compared bit for bit but for the sign of zero.
    Float,
    /// Double-precision number, compared bit for bit but for the sign of zero.
    Double,
    /// Date and time without trailing zeros of the fraction and without the offset of UTC.
    Timestamp,
    /// A duration, in microseconds.
    Duration,
    /// JSON, with sorted keys and numbers without needless zeros.
    Json,
}

/// The SQL expression that reads a `MySQL` column, and the form of what it yields. `data_type` and `column_type` are
/// those of `information_schema.columns`.
pub fn of_mysql(column: &str, data_type: &str, column_type: &str) -> (String, Form) {
    let name = format!("`{}`", column.replace('`', "``"));
    match data_type {
        // Both print fewer digits of a float than it has.
        "float" => (format!("CAST({name} AS DOUBLE)"), Form::Float),
        "double" => (name, Form::Double),
        "year" => (format!("{name} + 0"), Form::Text),
        "bit" => {
            let width = column_type.trim_start_matches("bit(").trim_end_matches(')');
            (format!("LPAD(BIN({name} + 0), {width}, '0')"), Form::Text)
        }
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => {
            (format!("LOWER(HEX({name}))"), Form::Text)
        }
        "time" => (name, Form::Duration),
        "datetime" | "timestamp" => (name, Form::Timestamp),
        "json" => (name, Form::Json),
        _ if column_type.contains("zerofill") => (format!("{name} + 0"), Form::Text),
        _ => (name, Form::Text),
    }
}

/// The SQL expression that reads a `PostgreSQL` column of the type with this `typname`, and the form of its text.
pub fn of_postgres(column: &str, type_name: &str) -> (String, Form) {
    let name = format!("\"{}\"", column.replace('"', "\"\""));
    match type_name {
        "float4" => (format!("{name}::text"), Form::Float),
        "float8" => (format!("{name}::text"), Form::Double),
        "bool" => (format!("{name}::int::text"), Form::Text),
        "bytea" => (format!("encode({name}, 'hex')"), Form::Text),
        "time" | "interval" => (format!("(extract(epoch FROM {name}) * 1000000)::bigint::text"), Form::Text),
        "timestamp" | "timestamptz" => (format!("{name}::text"), Form::Timestamp),
        "json" | "jsonb" => (format!("{name}::text"), Form::Json),
        _ => (format!("{name}::text"), Form::Text),
    }
}

/// Brings a text to its canonical form; a text that is not of the form stays as it is, and so is seen to differ.
pub fn canonical(form: Form, text: String) -> String {
    match form {
        Form::Text => text,
        Form::Float => text.parse::<f64>().map_or(text, |number| format!("{:?}", number as f32 + 0.0)),
        Form::Double => text.parse::<f64>().map_or(text, |number| format!("{:?}", number + 0.0)),
        Form::Timestamp => {
            let text = text.strip_suffix("+00").unwrap_or(&text);
            if text.contains('.') {
                text.trim_end_matches('0').trim_end_matches('.').to_owned()
            } else {
                text.to_owned()
            }
        }
        Form::Duration => microseconds(&text).map_or(text, |number| number.to_string()),
        Form::Json => serde_json::from_str::<Value>(&text).map_or(text, |value| {
            let mut canonical = String::new();
            write_json(&value, &mut canonical);
            canonical
        }),
    }
}

/// `[-]H:MM:SS[.fraction]` in microseconds.
fn microseconds(text: &str) -> Option<i64> {
    let (negative, rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let mut parts = rest.splitn(3, ':');
    let hours: i64 = parts.next()?.parse().ok()?;
    let minutes: i64 = parts.next()?.parse().ok()?;
    let (seconds, fraction) = parts.next().map(|last| last.split_once('.').unwrap_or((last, "")))?;
    let fraction: i64 = format!("{fraction:0<6}").parse().ok()?;
    let total = ((hours * 60 + minutes) * 60 + seconds.parse::<i64>().ok()?) * 1_000_000 + fraction;
    Some(if negative { -total } else { total })
}

fn write_json(value: &Value, into: &mut String) {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(name, _)| *name);
            into.push('{');
            for (name, value) in members {
                into.push_str(&Value::from(name.as_str()).to_string());
                into.push(':');
                write_json(value, into);
                into.push(',');
            }
            into.push('}');
        }
        Value::Array(values) => {
            into.push('[');
            for value in values {
                write_json(value, into);
                into.push(',');
            }
            into.push(']');
        }
        Value::Number(number) => into.push_str(&plain_number(&number.to_string())),
        other => into.push_str(&other.to_string()),
    }
}

/// `1.50` and `1.5`, `1e2` and `100` are one number.
fn plain_number(text: &str) -> String {
    if text.contains(['e', 'E']) {
        return text
            .parse::<f64>()
            .map_or_else(|_| text.to_owned(), |number| plain_number(&number.to_string()));
    }
    let plain = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text };
    if plain == "-0" { "0".to_owned() } else { plain.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::{Form, canonical};

    fn same(form: Form, left: &str, right: &str) -> bool {
        canonical(form, left.to_owned()) == canonical(form, right.to_owned())
    }

    #[test]
    fn spelling_does_not_matter() {
        assert!(same(Form::Timestamp, "2024-01-31 10:00:00.120000", "2024-01-31 10:00:00.12+00"));
        assert!(same(Form::Float, "0.10000000149011612", "0.1"));
        assert!(same(Form::Double, "1e22", "1e+22"));
        assert!(same(Form::Json, r#"{"b": 1.50, "a": [1e2, null]}"#, r#"{"a":[100,null],"b":1.5}"#));
    }

    #[test]
    fn values_matter() {
        assert!(!same(Form::Timestamp, "2024-01-31 10:00:00", "2024-01-31 10:00:00.000001"));
        assert!(!same(Form::Double, "0.30000000000000004", "0.3"));
        assert!(!same(Form::Json, r#"{"a":"1"}"#, r#"{"a":1}"#));
        assert!(!same(Form::Text, "a ", "a"));
    }

    #[test]
    fn durations_are_counted_in_microseconds() {
        assert_eq!(canonical(Form::Duration, "-838:59:59".to_owned()), "-3020399000000");
        assert_eq!(canonical(Form::Duration, "-00:00:00.5".to_owned()), "-500000");
        assert_eq!(canonical(Form::Duration, "24:00:00.000001".to_owned()), "86400000001");
    }
}
