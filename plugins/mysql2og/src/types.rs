//! From MySQL's types to PostgreSQL's.

use migration_sdk::{ColumnSchema, Endpoint, Finding, LogicalType, NativeOp};

use crate::config::{Geometry, Json, TinyInt1, UnsignedBigint, VectorType};

/// The settings that apply to one column, its exceptions considered.
pub(crate) struct TypeSettings {
    pub(crate) tinyint1: TinyInt1,
    pub(crate) unsigned_bigint: UnsignedBigint,
    pub(crate) json: Option<Json>,
    pub(crate) geometry: Geometry,
    pub(crate) vector: VectorType,
}

/// Type, conversions and what the user should know.
pub(crate) struct Mapped {
    pub(crate) target_type: String,
    pub(crate) ops: Vec<NativeOp>,
    pub(crate) findings: Vec<Finding>,
}

impl Mapped {
    fn plain(target_type: impl Into<String>) -> Self {
        Self { target_type: target_type.into(), ops: Vec::new(), findings: Vec::new() }
    }

    fn note(mut self, ordinal: u32, message: impl Into<String>, fix: &str) -> Self {
        self.findings.push(Finding::note(Some(ordinal), message).with_fix(fix));
        self
    }
}

/// Maps one column; `Err` says why there is no type for it.
pub(crate) fn map(
    ordinal: u32,
    column: &ColumnSchema,
    settings: &TypeSettings,
    source: &Endpoint,
    target: &Endpoint,
) -> Result<Mapped, String> {
    let opengauss = target.engine == "opengauss";
    // A database of a mode that isn't known is taken for the default, A.
    let mode =
        target.attributes.iter().find(|(name, _)| name == "sql_compatibility").map(|(_, mode)| mode.as_str());
    let counts_bytes = opengauss && !matches!(mode, Some("B" | "PG"));
    Ok(match &column.logical {
        LogicalType::Boolean => Mapped::plain("boolean"),
        LogicalType::Integer(integer) => {
            map_integer(ordinal, &column.native, integer.bits, integer.signed, settings)?
        }
        LogicalType::Float32 => Mapped::plain("real"),
        LogicalType::Float64 => Mapped::plain("double precision"),
        LogicalType::Decimal(decimal) => {
            Mapped::plain(format!("numeric({},{})", decimal.precision, decimal.scale))
        }
        LogicalType::Text(text) => map_text(ordinal, &column.native, text.max_chars, counts_bytes),
        LogicalType::Bytes(_) => Mapped::plain("bytea"),
        LogicalType::Date => {
            let date = Mapped::plain("date");
            if opengauss && matches!(mode, None | Some("A")) {
                date.note(
                    ordinal,
                    "in a database of compatibility A, openGauss' date also holds a time of day",
                    "",
                )
            } else {
                date
            }
        }
        // MySQL's time is a duration of up to 838 hours either way, which no time of day holds.
        LogicalType::Time(_) => Mapped::plain("interval"),
        LogicalType::Timestamp(timestamp) if timestamp.zoned => {
            Mapped::plain(format!("timestamptz({})", timestamp.precision))
        }
        LogicalType::Timestamp(timestamp) => Mapped::plain(format!("timestamp({})", timestamp.precision)),
        LogicalType::Json => {
            let textual = if source.engine == "mariadb" { Json::Json } else { Json::Jsonb };
            Mapped::plain(match settings.json.unwrap_or(textual) {
                Json::Jsonb => "jsonb",
                Json::Json => "json",
            })
        }
        LogicalType::Uuid => Mapped::plain("uuid"),
        LogicalType::Bit(width) => Mapped::plain(format!("bit({width})")),
        LogicalType::Enumeration(labels) => Mapped::plain("text").note(
            ordinal,
            format!(
                "the enumeration of {} labels becomes text: the target accepts other values too",
                labels.len()
            ),
            "add a check constraint after the migration",
        ),
        LogicalType::Set(labels) => Mapped::plain("text").note(
            ordinal,
            format!("the set of {} labels becomes text, its labels joined by commas", labels.len()),
            "",
        ),
        LogicalType::Other(kind) => match kind.as_str() {
            "geometry" => Mapped {
                ops: vec![NativeOp::GeometryToEwkb],
                ..Mapped::plain(match settings.geometry {
                    Geometry::Bytea => "bytea",
                    Geometry::Postgis => "geometry",
                })
            },
            "vector" => match settings.vector {
                VectorType::RealArray => Mapped::plain("real[]"),
                VectorType::Pgvector => Mapped::plain(format!("vector{}", arguments(&column.native))),
            },
            _ => return Err(format!("there is no type for {}", column.native)),
        },
    })
}

fn map_integer(
    ordinal: u32,
    native: &str,
    bits: u8,
    signed: bool,
    settings: &TypeSettings,
) -> Result<Mapped, String> {
    if native.starts_with("tinyint(1)") && settings.tinyint1 == TinyInt1::Boolean {
        return Ok(Mapped { ops: vec![NativeOp::IntegerToBoolean], ..Mapped::plain("boolean") });
    }
    let mapped = Mapped::plain(match (bits, signed) {
        _ if native.starts_with("year") => "smallint",
        (8, _) | (16, true) => "smallint",
        (16, false) | (24, _) | (32, true) => "integer",
        (32, false) | (64, true) => "bigint",
        (64, false) => match settings.unsigned_bigint {
            UnsignedBigint::Numeric => "numeric(20,0)",
            UnsignedBigint::Bigint => "bigint",
        },
        _ => return Err(format!("there is no integer of {bits} bits")),
    });
    if native.contains("zerofill") {
        return Ok(mapped.note(
            ordinal,
            "zerofill is a matter of display: the target shows no leading zeros",
            "",
        ));
    }
    Ok(mapped)
}

fn map_text(ordinal: u32, native: &str, max_chars: Option<u32>, counts_bytes: bool) -> Mapped {
    let kind = ["char", "varchar"].into_iter().find(|kind| is_type(native, kind));
    match (kind, max_chars) {
        (Some(kind), Some(length)) if counts_bytes => Mapped::plain("text").note(
            ordinal,
            format!("openGauss counts the {length} of {kind}({length}) in bytes, so the column becomes text"),
            "set the column's type",
        ),
        // PostgreSQL has no zero-length type.
        (Some(_), Some(0)) => {
            Mapped::plain("varchar(1)").note(ordinal, "the shortest text type has one character", "")
        }
        (Some(kind), Some(length)) => Mapped::plain(format!("{kind}({length})")),
        _ => Mapped::plain("text"),
    }
}

/// Whether `native` is `kind`, with or without arguments.
fn is_type(native: &str, kind: &str) -> bool {
    native.strip_prefix(kind).is_some_and(|rest| rest.is_empty() || rest.starts_with(['(', ' ']))
}

/// `(3)` of `vector(3)`.
fn arguments(native: &str) -> &str {
    match (native.find('('), native.find(')')) {
        (Some(start), Some(end)) => native.get(start..=end).unwrap_or_default(),
        _ => "",
    }
}
