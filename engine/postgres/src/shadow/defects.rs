//! Which defects a column's type allows, and the SQL that plants them.

use engine_core::logical::LogicalType;
use engine_core::shadow::{Defect, Spoiling};

use crate::layout::TableLayout;
use crate::pg_type::PgType;

/// All defects of columns outside of the key.
pub(super) fn of(layout: &TableLayout) -> Vec<Spoiling> {
    let is_in_key = |place: &usize| layout.key.as_ref().is_some_and(|key| key.contains(place));
    let places = (0..layout.columns.len()).filter(|place| !is_in_key(place));
    places.flat_map(|place| of_column(layout, place)).collect()
}

fn of_column(layout: &TableLayout, place: usize) -> Vec<Spoiling> {
    let Some(column) = layout.columns.get(place) else { return Vec::new() };
    let logical = layout.table.columns.get(column.ordinal).map(|column| &column.logical);
    let is_json = matches!(logical, Some(LogicalType::Json));
    let name = column.name.as_str();
    let mut spoilings = Vec::new();
    let mut add = |defect, fits: String, value: String| {
        spoilings.push(Spoiling { defect, place, fits: format!("{name} IS NOT NULL AND ({fits})"), value });
    };
    let always = || "true".to_owned();
    let pg_type = &column.pg_type;
    if let Some((fits, value)) = last_digit(pg_type, name) {
        add(Defect::LastDigit, fits, value);
    }
    if let Some((fits, value)) = one_bit(pg_type, name).filter(|_| !is_json) {
        add(Defect::OneBit, fits, value);
    }
    let room = match pg_type {
        PgType::Text | PgType::Varchar(None) => Some(always()),
        PgType::Varchar(Some(most)) => Some(format!("char_length({name}) < {most}")),
        _ => None,
    };
    if let Some(room) = room.filter(|_| !is_json) {
        add(Defect::TrailingSpace, room, format!("{name} || ' '"));
    }
    match pg_type {
        PgType::Json | PgType::Jsonb => {
            add(
                Defect::OtherDocument,
                always(),
                format!("('[' || {name}::text || ']')::{}", column.type_text),
            );
        }
        PgType::Text if is_json => add(Defect::OtherDocument, always(), format!("'[' || {name} || ']'")),
        _ => {}
    }
    let is_comparable =
        !matches!(pg_type, PgType::Json | PgType::Xml | PgType::Geometry | PgType::Vector | PgType::Named(_));
    if is_comparable && !(is_json && *pg_type != PgType::Jsonb) {
        add(Defect::SwappedValues, always(), String::new());
    }
    if column.nullable {
        add(Defect::NullForValue, always(), "NULL".to_owned());
        let has_empty = matches!(pg_type, PgType::Text | PgType::Varchar(_) | PgType::Bytea)
            && !layout.dialect.empty_is_null();
        if has_empty && !is_json {
            let (fits, value) = (format!("{name} IS NULL"), "''".to_owned());
            spoilings.push(Spoiling { defect: Defect::EmptyForNull, place, fits, value });
        }
    }
    spoilings
}

/// One unit of the last digit after the point that the type keeps, of a second.
fn unit(digits: u8) -> String {
    let digits = usize::from(digits.min(6));
    let second = if digits == 0 { "1".to_owned() } else { format!("0.{:0>digits$}", 1) };
    format!("interval '{second} second'")
}

fn last_digit(pg_type: &PgType, name: &str) -> Option<(String, String)> {
    let toward_zero =
        |unit: &str| format!("CASE WHEN {name} > 0 THEN {name} - {unit} ELSE {name} + {unit} END");
    let in_time = format!("isfinite({name}) AND {name} < '5000-01-01'");
    Some(match pg_type {
        PgType::Int2 | PgType::Int4 | PgType::Int8 => (
            "true".to_owned(),
            // The greatest and the least values of no type end with a zero.
            format!("CASE WHEN {name} % 10 = 0 OR {name} < 0 THEN {name} + 1 ELSE {name} - 1 END"),
        ),
        PgType::Numeric(size) => {
            let unit = match size {
                Some((_, scale)) => format!("1e{}::numeric", -scale),
                None => format!("power(10::numeric, -length(split_part({name}::text, '.', 2)))"),
            };
            (format!("{name}::text ~ '^-?[0-9.]+$'"), toward_zero(&unit))
        }
        PgType::Float4 => (
            format!("abs({name}) BETWEEN 1e-30 AND 1e30"),
            format!("({name}::float8 * (1 + 1.2e-7::float8))::float4"),
        ),
        PgType::Float8 => {
            (format!("abs({name}) BETWEEN 1e-300 AND 1e300"), format!("{name} * (1 + 2.3e-16::float8)"))
        }
        PgType::Date => (in_time, format!("{name} + 1")),
        PgType::Timestamp(digits) | PgType::TimestampTz(digits) => {
            (in_time, format!("{name} + {}", unit(*digits)))
        }
        PgType::Time(digits) => (format!("{name} < '23:59:58'"), format!("{name} + {}", unit(*digits))),
        PgType::Interval(digits) => ("true".to_owned(), format!("{name} + {}", unit(*digits))),
        _ => return None,
    })
}

fn one_bit(pg_type: &PgType, name: &str) -> Option<(String, String)> {
    Some(match pg_type {
        PgType::Bool => ("true".to_owned(), format!("NOT {name}")),
        PgType::Int2 | PgType::Int4 | PgType::Int8 => ("true".to_owned(), format!("{name} # 1")),
        PgType::Bytea => {
            (format!("octet_length({name}) > 0"), format!("set_bit({name}, 0, 1 - get_bit({name}, 0))"))
        }
        PgType::Bit(_) | PgType::Varbit(_) => {
            (format!("length({name}) > 0"), format!("set_bit({name}, 0, 1 - get_bit({name}, 0))"))
        }
        PgType::Uuid => (
            "true".to_owned(),
            format!(
                "(left({name}::text, 35) || \
                 translate(right({name}::text, 1), '0123456789abcdef', '1032547698badcfe'))::uuid"
            ),
        ),
        PgType::Text | PgType::Varchar(_) | PgType::Bpchar(_) => (
            format!("ascii(right({name}::text, 1)) BETWEEN 48 AND 122"),
            format!("left({name}::text, -1) || chr(ascii(right({name}::text, 1)) # 1)"),
        ),
        _ => return None,
    })
}

/// A value for the first column of a row key that comes before those that are there, or differs from them, as an
/// expression over the row's own; what makes the row fit for it. `table` is the copy.
pub(super) fn other_key(pg_type: &PgType, name: &str, table: &str) -> Option<(String, String)> {
    let least = format!("(SELECT min({name}) FROM {table})");
    Some(match pg_type {
        PgType::Int2 => (format!("{least} > -32768"), format!("{least} - 1")),
        PgType::Int4 => (format!("{least} > -2147483648"), format!("{least} - 1")),
        PgType::Int8 => (format!("{least} > -9223372036854775808"), format!("{least} - 1")),
        PgType::Date => (format!("{least} > '0001-01-02'"), format!("{least} - 1")),
        PgType::Timestamp(_) | PgType::TimestampTz(_) => {
            (format!("{least} > '0001-01-02'"), format!("{least} - interval '1 day'"))
        }
        PgType::Bytea => (
            format!(
                "octet_length({name}) > 0 AND NOT EXISTS (SELECT 1 FROM {table} AS other \
                 WHERE other.{name} = substring(t.{name} FROM 1 FOR octet_length(t.{name}) - 1))"
            ),
            format!("substring({name} FROM 1 FOR octet_length({name}) - 1)"),
        ),
        PgType::Uuid | PgType::Text | PgType::Varchar(_) | PgType::Bpchar(_) => {
            let (fits, value) = one_bit(pg_type, &format!("t.{name}"))?;
            let fits = format!(
                "{fits} AND NOT EXISTS (SELECT 1 FROM {table} AS other WHERE other.{name} = {value})"
            );
            (fits, value)
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::sync::Arc;

    #[test]
    fn a_columns_type_says_what_can_be_wrong_with_it() {
        let table = Arc::new(crate::ddl::tests::orders());
        let types = table.columns.iter().map(|column| PgType::parse(&column.target_type)).collect();
        let layout = TableLayout::new(crate::dialect::Dialect::Postgres, &table, types)
            .expect("a table that can be written");
        let spoilings = of(&layout);
        assert!(spoilings.iter().all(|spoiling| spoiling.place != 0), "the key stays as it is");
        let kinds: BTreeSet<Defect> = spoilings.iter().map(|spoiling| spoiling.defect).collect();
        for kind in [
            Defect::LastDigit,
            Defect::OneBit,
            Defect::TrailingSpace,
            Defect::NullForValue,
            Defect::SwappedValues,
        ] {
            assert!(kinds.contains(&kind), "{kind:?}");
        }
    }

    #[test]
    fn units_are_those_of_the_type() {
        assert_eq!(unit(0), "interval '1 second'");
        assert_eq!(unit(3), "interval '0.001 second'");
        assert_eq!(unit(6), "interval '0.000001 second'");
    }
}
