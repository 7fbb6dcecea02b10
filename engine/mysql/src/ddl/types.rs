//! A column's definition into the column as the server's catalog would describe it.

use engine_core::schema::ColumnSchema;

use super::default;
use super::environment::Environment;
use super::parse::Parsed;
use super::session::Session;
use super::syntax::{Column, DataType, Default};
use crate::catalog::{NativeType, attributes, logical_type};
use crate::server::{Flavor, Server};

/// What a definition's meaning depends on.
pub(super) struct Context<'c> {
    pub(super) server: &'c Server,
    pub(super) environment: &'c Environment,
    pub(super) session: &'c Session,
}

/// The column that a definition makes, in a table of `collation`.
pub(super) fn column(
    definition: &Column,
    collation: Option<&str>,
    context: &Context<'_>,
) -> Parsed<ColumnSchema> {
    let named = |why: String| format!("column {}: {why}", definition.name);
    let native = native(definition, collation, context).map_err(named)?;
    let logical = logical_type(&native, context.server.flavor).map_err(named)?;
    let is_timestamp = native.data_type == "timestamp";
    if is_timestamp && definition.nullable.is_none() && context.session.explicit_timestamps != Some(true) {
        return Err(named(
            "a TIMESTAMP without NULL or NOT NULL means what the session's settings say".to_owned(),
        ));
    }
    let nullable = definition.nullable.unwrap_or(true) && !definition.auto_increment && !definition.primary;
    let default = match &definition.default {
        None | Some(Default::Null) => None,
        Some(given) => default::canonical(given, &logical, &native, context).map_err(named)?,
    };
    Ok(ColumnSchema {
        name: definition.name.clone(),
        attributes: attributes(&native, None),
        logical,
        native: native.column_type,
        nullable,
        default,
        on_update_now: definition.on_update_now,
        generated: None,
        identity: definition.auto_increment,
        invisible: definition.invisible,
        comment: definition.comment.clone(),
        target_type: None,
    })
}

/// The type as `information_schema` would describe it.
fn native(definition: &Column, collation: Option<&str>, context: &Context<'_>) -> Parsed<NativeType> {
    let data_type = &definition.data_type;
    let mut native = NativeType { data_type: data_type.name.to_owned(), ..NativeType::default() };
    match data_type.name {
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" => {
            native.column_type = integer(data_type, context.server);
        }
        "decimal" => {
            let precision = argument(data_type, 0).filter(|&digits| digits > 0).unwrap_or(10);
            let scale = argument(data_type, 1).unwrap_or(0);
            (native.precision, native.scale) = (Some(precision), Some(scale));
            native.column_type = signed(data_type, format!("decimal({precision},{scale})"));
        }
        "float" | "double" => {
            let (name, arguments) = match data_type.arguments.as_slice() {
                [] => (data_type.name, String::new()),
                [digits] if data_type.name == "float" => {
                    (if *digits > 24 { "double" } else { "float" }, String::new())
                }
                [width, scale] => (data_type.name, format!("({width},{scale})")),
                _ => return Err("its type has arguments that it can't have".to_owned()),
            };
            name.clone_into(&mut native.data_type);
            native.column_type = signed(data_type, format!("{name}{arguments}"));
        }
        "bit" => {
            let width = argument(data_type, 0).unwrap_or(1);
            native.precision = Some(width);
            native.column_type = format!("bit({width})");
        }
        "year" => {
            let digits =
                context.server.flavor == Flavor::MariaDb || context.server.version_number < (8, 0, 19);
            if digits { "year(4)" } else { "year" }.clone_into(&mut native.column_type);
        }
        "date" => "date".clone_into(&mut native.column_type),
        "time" | "datetime" | "timestamp" => {
            let precision = argument(data_type, 0).unwrap_or(0);
            native.datetime_precision = Some(precision);
            native.column_type = match precision {
                0 => data_type.name.to_owned(),
                digits => format!("{}({digits})", data_type.name),
            };
        }
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => {
            bytes(&mut native, data_type)?;
        }
        "json" if context.server.flavor == Flavor::MariaDb => {
            "longtext".clone_into(&mut native.data_type);
            "longtext".clone_into(&mut native.column_type);
            (native.charset, native.collation) = (Some("utf8mb4".to_owned()), Some("utf8mb4_bin".to_owned()));
            native.max_chars = Some(u64::from(u32::MAX));
            native.json_check = true;
        }
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" | "enum" | "set" => {
            text(&mut native, definition, collation, context)?;
        }
        "vector" => native.column_type = format!("vector({})", argument(data_type, 0).unwrap_or(2048)),
        "geometrycollection" if context.server.flavor == Flavor::MySql => {
            "geomcollection".clone_into(&mut native.data_type);
            native.column_type = native.data_type.clone();
        }
        other => other.clone_into(&mut native.column_type),
    }
    Ok(native)
}

fn argument(data_type: &DataType, place: usize) -> Option<u64> {
    data_type.arguments.get(place).copied()
}

fn signed(data_type: &DataType, mut text: String) -> String {
    if data_type.unsigned {
        text.push_str(" unsigned");
    }
    if data_type.zerofill {
        text.push_str(" zerofill");
    }
    text
}

/// Widths are shown by MariaDB and by MySQL before 8.0.19; later only where they mean something.
fn integer(data_type: &DataType, server: &Server) -> String {
    let shows_width = server.flavor == Flavor::MariaDb || server.version_number < (8, 0, 19);
    let given = argument(data_type, 0);
    let boolean = data_type.name == "tinyint" && given == Some(1) && !data_type.unsigned;
    if !(shows_width || data_type.zerofill || boolean) {
        return signed(data_type, data_type.name.to_owned());
    }
    let widest = match (data_type.name, data_type.unsigned) {
        ("tinyint", true) => 3,
        ("tinyint", false) => 4,
        ("smallint", true) => 5,
        ("smallint", false) => 6,
        ("mediumint", true) => 8,
        ("mediumint", false) => 9,
        ("int", true) => 10,
        ("int", false) => 11,
        _ => 20,
    };
    signed(data_type, format!("{}({})", data_type.name, given.filter(|&width| width > 0).unwrap_or(widest)))
}

fn bytes(native: &mut NativeType, data_type: &DataType) -> Parsed<()> {
    let length = argument(data_type, 0);
    let (name, longest) = match (data_type.name, length) {
        ("binary", length) => ("binary", length.unwrap_or(1)),
        ("varbinary", Some(length)) => ("varbinary", length),
        ("varbinary", None) => return Err("its type lacks a length".to_owned()),
        ("blob", Some(length)) => sized(length, ["tinyblob", "blob", "mediumblob", "longblob"]),
        (name, _) => (name, longest_of(name)),
    };
    if longest > 65_535 && matches!(name, "binary" | "varbinary") {
        return Err("its type is longer than there is".to_owned());
    }
    name.clone_into(&mut native.data_type);
    native.max_bytes = Some(longest);
    native.column_type = match name {
        "binary" | "varbinary" => format!("{name}({longest})"),
        _ => name.to_owned(),
    };
    Ok(())
}

/// The smallest of four types that holds `bytes`, and what it holds.
fn sized(bytes: u64, names: [&'static str; 4]) -> (&'static str, u64) {
    let place = match bytes {
        0..=255 => 0,
        256..=65_535 => 1,
        65_536..=16_777_215 => 2,
        _ => 3,
    };
    let name = names.get(place).copied().unwrap_or("longblob");
    (name, longest_of(name))
}

fn longest_of(name: &str) -> u64 {
    match name {
        "tinyblob" | "tinytext" => 255,
        "blob" | "text" => 65_535,
        "mediumblob" | "mediumtext" => 16_777_215,
        _ => u64::from(u32::MAX),
    }
}

fn text(
    native: &mut NativeType,
    definition: &Column,
    collation: Option<&str>,
    context: &Context<'_>,
) -> Parsed<()> {
    let data_type = &definition.data_type;
    let (charset, collation) =
        context.environment.resolve(&definition.charset, collation, context.session)?;
    if charset == "binary" && !matches!(data_type.name, "enum" | "set") {
        let binary = match data_type.name {
            "char" => "binary",
            "varchar" => "varbinary",
            "tinytext" => "tinyblob",
            "text" => "blob",
            "mediumtext" => "mediumblob",
            _ => "longblob",
        };
        return bytes(native, &DataType { name: binary, ..data_type.clone() });
    }
    let length = argument(data_type, 0);
    let longest = context.environment.longest(&charset);
    let (name, chars) = match (data_type.name, length) {
        ("char", length) => ("char", length.unwrap_or(1)),
        ("varchar", Some(length)) if length * longest <= 65_535 => ("varchar", length),
        ("varchar", _) => return Err("its length is none that the type can have".to_owned()),
        ("text", Some(length)) => sized(length * longest, ["tinytext", "text", "mediumtext", "longtext"]),
        (name @ ("enum" | "set"), _) => (name, 0),
        (name, _) => (name, longest_of(name)),
    };
    name.clone_into(&mut native.data_type);
    native.max_chars = Some(chars);
    native.column_type = match name {
        "char" | "varchar" => format!("{name}({chars})"),
        "enum" | "set" => {
            let labels: Vec<String> = data_type.labels.iter().map(|label| quoted_label(label)).collect();
            format!("{name}({})", labels.join(","))
        }
        _ => name.to_owned(),
    };
    (native.charset, native.collation) = (Some(charset), Some(collation));
    Ok(())
}

/// A label as `information_schema` shows it.
fn quoted_label(label: &str) -> String {
    let mut quoted = String::from("'");
    for c in label.chars() {
        match c {
            '\'' => quoted.push_str("''"),
            '\\' => quoted.push_str("\\\\"),
            '\0' => quoted.push_str("\\0"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            other => quoted.push(other),
        }
    }
    quoted.push('\'');
    quoted
}
