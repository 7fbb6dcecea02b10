//! A column's type and attributes in the target's SQL.

use migration_sdk::{ColumnSchema, Finding, LogicalType};

use crate::charset;
use crate::config::{Config, Json, Uuid};
use migration_sdk::mysql::Flavor;

/// Type and attributes, and what the user should know.
pub(crate) struct Mapped {
    pub(crate) target_type: String,
    pub(crate) findings: Vec<Finding>,
}

/// Maps one column; `Err` says why there is no type for it.
pub(crate) fn map(
    ordinal: u32,
    column: &ColumnSchema,
    config: &Config,
    source: Flavor,
    target: Flavor,
) -> Result<Mapped, String> {
    let mut findings = Vec::new();
    let mut text = base(ordinal, column, config, (source, target), &mut findings)?;
    if let Some(collation) = collation(column).filter(|_| has_collation(&text)) {
        let mapped = charset::map(collation, target);
        if charset::has_double_codes(&mapped.charset) {
            let says = format!(
                "{} has two codes for some characters: of these the target gets the one that the server prefers",
                mapped.charset
            );
            findings
                .push(Finding::warning(Some(ordinal), says).with_fix("see that nothing compares the bytes"));
        }
        text = format!("{text} CHARACTER SET {} COLLATE {}", mapped.charset, mapped.name);
        findings.extend(mapped.differs.map(|differs| {
            Finding::warning(Some(ordinal), differs)
                .with_fix("set the column's type in the plugin's configuration")
        }));
    }
    if let Some(expression) = &column.generated {
        let kind = if attribute(column, "generated") == Some("stored") { "STORED" } else { "VIRTUAL" };
        text = format!("{text} GENERATED ALWAYS AS ({expression}) {kind}");
        if source.is_mariadb != target.is_mariadb {
            findings.push(
                Finding::warning(
                    Some(ordinal),
                    format!("{} computes the column by the source's expression", target.name()),
                )
                .with_fix("see that its functions mean the same there"),
            );
        }
    }
    if column.on_update_now {
        let precision = match &column.logical {
            LogicalType::Timestamp(timestamp) if timestamp.precision > 0 => {
                format!("({})", timestamp.precision)
            }
            _ => String::new(),
        };
        text = format!("{text} ON UPDATE CURRENT_TIMESTAMP{precision}");
    }
    if column.invisible {
        if target.is_mariadb || target.is_mysql_since((8, 0, 23)) {
            text.push_str(" INVISIBLE");
        } else {
            findings.push(Finding::warning(Some(ordinal), "invisible in the source, visible in the target"));
        }
    }
    Ok(Mapped { target_type: text, findings })
}

fn base(
    ordinal: u32,
    column: &ColumnSchema,
    config: &Config,
    (source, target): (Flavor, Flavor),
    findings: &mut Vec<Finding>,
) -> Result<String, String> {
    let native = column.native.trim();
    let to_mysql = source.is_mariadb && !target.is_mariadb;
    let mut note = |message: &str, fix: &str| {
        findings.push(Finding::note(Some(ordinal), message).with_fix(fix));
    };
    Ok(match &column.logical {
        LogicalType::Uuid if to_mysql => {
            note(
                "MySQL has no type for UUIDs: see the setting uuid",
                "set uuid = \"binary(16)\" or \"char(36)\"",
            );
            match config.uuid {
                Uuid::Text => "char(36) CHARACTER SET ascii COLLATE ascii_general_ci".to_owned(),
                Uuid::Bytes => "binary(16)".to_owned(),
            }
        }
        LogicalType::Uuid => "uuid".to_owned(),
        LogicalType::Text(text) if text.charset.is_none() && to_mysql => {
            note("MySQL has no type for network addresses: they become their text", "");
            format!("varchar({}) CHARACTER SET ascii COLLATE ascii_bin", text.max_chars.unwrap_or(39))
        }
        LogicalType::Json if to_mysql => match config.json {
            Json::Json => {
                note(
                    "documents are parsed: spaces, the order of keys, and all but the last of equal keys go",
                    "",
                );
                "json".to_owned()
            }
            Json::Text => {
                note("JSON stays the text that it is in MariaDB", "set json = \"json\" to have it parsed");
                "longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_bin".to_owned()
            }
        },
        LogicalType::Json => "json".to_owned(),
        LogicalType::Other(name) if name == "vector" && target.is_mariadb => {
            return Err("MariaDB's vectors are not supported".to_owned());
        }
        LogicalType::Other(_) if native == "geomcollection" && target.is_mariadb => {
            "geometrycollection".to_owned()
        }
        LogicalType::Integer(_) => integer(native, target),
        _ => native.to_owned(),
    })
}

/// Newer servers know no display widths but those that mean something.
fn integer(native: &str, target: Flavor) -> String {
    let (Some(open), Some(close)) = (native.find('('), native.find(')')) else { return native.to_owned() };
    let keeps = target.is_mariadb
        || !target.is_mysql_since((8, 0, 19))
        || native.contains("zerofill")
        || native.starts_with("tinyint(1)");
    match (native.get(..open), native.get(close + 1..)) {
        (Some(name), Some(rest)) if !keeps => format!("{name}{rest}"),
        _ => native.to_owned(),
    }
}

fn collation(column: &ColumnSchema) -> Option<&str> {
    match &column.logical {
        LogicalType::Text(text) => text.collation.as_deref(),
        _ => attribute(column, "collation"),
    }
}

/// Whether a type takes a collation and has none yet.
fn has_collation(text: &str) -> bool {
    let word = text.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
    let is_text = matches!(word, "char" | "varchar" | "enum" | "set") || word.ends_with("text");
    is_text && !text.contains("CHARACTER SET")
}

fn attribute<'a>(column: &'a ColumnSchema, name: &str) -> Option<&'a str> {
    column.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}
