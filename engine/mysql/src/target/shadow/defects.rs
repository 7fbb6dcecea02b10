//! Which defects a column's type allows, and the SQL that plants them: expressions over a row `t` of the copy.

use engine_core::logical::LogicalType;
use engine_core::shadow::{Defect, Spoiling};

use super::super::column_type::ColumnType;
use super::super::layout::TableLayout;

/// All defects of columns outside of the key.
pub(super) fn of(layout: &TableLayout) -> Vec<Spoiling> {
    let is_in_key = |place: &usize| layout.key.as_ref().is_some_and(|key| key.contains(place));
    let places = (0..layout.columns.len()).filter(|place| !is_in_key(place));
    places.flat_map(|place| of_column(layout, place)).collect()
}

fn of_column(layout: &TableLayout, place: usize) -> Vec<Spoiling> {
    let Some(column) = layout.columns.get(place) else { return Vec::new() };
    let logical = layout.table.columns.get(column.ordinal).map(|column| &column.logical);
    let column_type = &column.column_type;
    let is_json = matches!(logical, Some(LogicalType::Json)) || *column_type == ColumnType::Json;
    let name = format!("t.{}", column.name);
    let mut spoilings = Vec::new();
    let mut add = |defect, fits: String, value: String| {
        spoilings.push(Spoiling { defect, place, fits: format!("{name} IS NOT NULL AND ({fits})"), value });
    };
    let always = || "TRUE".to_owned();
    if is_json {
        add(Defect::OtherDocument, always(), format!("CONCAT('[', {name}, ']')"));
    } else {
        if let Some((fits, value)) = last_digit(column_type, &name) {
            add(Defect::LastDigit, fits, value);
        }
        if let Some((fits, value)) = one_bit(column_type, &name) {
            add(Defect::OneBit, fits, value);
        }
        let room = match column_type {
            ColumnType::Text => Some(always()),
            ColumnType::Varchar { length } => Some(format!("CHAR_LENGTH({name}) < {length}")),
            _ => None,
        };
        if let Some(room) = room {
            add(Defect::TrailingSpace, room, format!("CONCAT({name}, ' ')"));
        }
        if !matches!(column_type, ColumnType::Geometry | ColumnType::Vector | ColumnType::Unknown(_)) {
            add(Defect::SwappedValues, always(), String::new());
        }
    }
    if column.nullable {
        add(Defect::NullForValue, always(), "NULL".to_owned());
        let can_be_empty =
            matches!(column_type, ColumnType::Text | ColumnType::Varchar { .. } | ColumnType::Blob);
        if can_be_empty && !is_json {
            let (fits, value) = (format!("{name} IS NULL"), "''".to_owned());
            spoilings.push(Spoiling { defect: Defect::EmptyForNull, place, fits, value });
        }
    }
    spoilings
}

/// One unit of the last digit that is kept, as a literal.
fn unit(digits: u32) -> String {
    let digits = digits as usize;
    if digits == 0 { "1".to_owned() } else { format!("0.{:0>digits$}", 1) }
}

/// One unit of the last digit of a second, in microseconds.
fn microseconds(precision: u32) -> u64 {
    10_u64.pow(6 - precision.min(6))
}

fn last_digit(column_type: &ColumnType, name: &str) -> Option<(String, String)> {
    let toward_zero = |unit: &str| format!("IF({name} > 0, {name} - {unit}, {name} + {unit})");
    // The greatest and the least values of no type end with a zero.
    let next = format!("IF({name} % 10 = 0 OR {name} < 0, {name} + 1, {name} - 1)");
    let in_time = format!("{name} BETWEEN '1972-01-01' AND '2037-01-01'");
    Some(match column_type {
        ColumnType::Integer => ("TRUE".to_owned(), next),
        ColumnType::Year => (format!("{name} BETWEEN 1902 AND 2150"), next),
        ColumnType::Decimal { scale } => ("TRUE".to_owned(), toward_zero(&unit(*scale))),
        ColumnType::Float { digits: None } => {
            (format!("ABS({name}) BETWEEN 1e-30 AND 1e30"), format!("{name} * (1 + 1.2e-7)"))
        }
        ColumnType::Double { digits: None } => {
            (format!("ABS({name}) BETWEEN 1e-300 AND 1e300"), format!("{name} * (1 + 2.3e-16)"))
        }
        ColumnType::Float { digits: Some(digits) } => (
            format!("ABS({name}) BETWEEN {unit} AND 1e6 * {unit}", unit = unit(*digits)),
            toward_zero(&unit(*digits)),
        ),
        ColumnType::Double { digits: Some(digits) } => (
            format!("ABS({name}) BETWEEN {unit} AND 1e14 * {unit}", unit = unit(*digits)),
            toward_zero(&unit(*digits)),
        ),
        ColumnType::Date => (in_time, format!("{name} + INTERVAL 1 DAY")),
        ColumnType::Datetime { precision } | ColumnType::Timestamp { precision } => {
            (in_time, format!("{name} + INTERVAL {} MICROSECOND", microseconds(*precision)))
        }
        ColumnType::Time { precision } => (
            format!("{name} BETWEEN '-800:00:00' AND '800:00:00'"),
            format!(
                "ADDTIME({name}, '{}')",
                if *precision == 0 { "0:0:1".to_owned() } else { format!("0:0:{}", unit(*precision)) }
            ),
        ),
        _ => return None,
    })
}

fn one_bit(column_type: &ColumnType, name: &str) -> Option<(String, String)> {
    Some(match column_type {
        // The operator takes numbers without a sign.
        ColumnType::Integer => (format!("{name} >= 0"), format!("{name} ^ 1")),
        ColumnType::Bit => ("TRUE".to_owned(), format!("{name} ^ 1")),
        ColumnType::Binary { .. } | ColumnType::Blob => {
            (format!("LENGTH({name}) > 0"), format!("CONCAT(CHAR(ASCII({name}) ^ 1), SUBSTRING({name}, 2))"))
        }
        ColumnType::Char { .. } | ColumnType::Varchar { .. } | ColumnType::Text => (
            format!("ASCII(RIGHT({name}, 1)) BETWEEN 48 AND 122"),
            format!(
                "CONCAT(LEFT({name}, CHAR_LENGTH({name}) - 1), CHAR(ASCII(RIGHT({name}, 1)) ^ 1 USING utf8mb4))"
            ),
        ),
        ColumnType::Uuid => {
            ("TRUE".to_owned(), format!("CONCAT(LEFT({name}, 35), IF(RIGHT({name}, 1) = '0', '1', '0'))"))
        }
        _ => return None,
    })
}

/// A value for the first column of a row key that comes before those that are there, or differs from them, as an
/// expression over the row `t`; what makes the row fit for it. `all` is a table with all rows.
pub(super) fn other_key(column_type: &ColumnType, column: &str, all: &str) -> Option<(String, String)> {
    let name = format!("t.{column}");
    let least = format!("(SELECT MIN({column}) FROM {all})");
    let is_new =
        |value: &str| format!("NOT EXISTS (SELECT 1 FROM {all} AS other WHERE other.{column} = {value})");
    Some(match column_type {
        // Of a type that has no lesser one, the server refuses it.
        ColumnType::Integer => ("TRUE".to_owned(), format!("{least} - 1")),
        ColumnType::Date | ColumnType::Datetime { .. } | ColumnType::Timestamp { .. } => {
            (format!("{least} > '1972-01-01'"), format!("{least} - INTERVAL 1 DAY"))
        }
        ColumnType::Blob => {
            let value = format!("LEFT({name}, LENGTH({name}) - 1)");
            (format!("LENGTH({name}) > 0 AND {}", is_new(&value)), value)
        }
        ColumnType::Binary { length } => {
            // A lesser one, since a greater might be beyond the rows that are looked at.
            let value = format!(
                "CONCAT(LEFT({name}, {}), CHAR(ASCII(RIGHT({name}, 1)) ^ 1))",
                length.saturating_sub(1)
            );
            (format!("ASCII(RIGHT({name}, 1)) % 2 = 1 AND {}", is_new(&value)), value)
        }
        ColumnType::Uuid | ColumnType::Text | ColumnType::Varchar { .. } | ColumnType::Char { .. } => {
            let (fits, value) = one_bit(column_type, &name)?;
            (format!("{fits} AND {}", is_new(&value)), value)
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_those_of_the_type() {
        assert_eq!(["1", "0.1", "0.001"].map(str::to_owned), [0, 1, 3].map(unit));
        assert_eq!([1_000_000, 1000, 1], [0, 3, 6].map(microseconds));
    }

    #[test]
    fn every_type_but_documents_and_shapes_can_be_wrong() {
        use ColumnType as C;
        let typed = [
            C::Integer,
            C::Year,
            C::Decimal { scale: 2 },
            C::Float { digits: None },
            C::Double { digits: Some(2) },
            C::Bit,
            C::Char { length: 3 },
            C::Text,
            C::Binary { length: 3 },
            C::Blob,
            C::Date,
            C::Time { precision: 3 },
            C::Timestamp { precision: 6 },
            C::Uuid,
        ];
        for column_type in typed {
            let spoilings = [last_digit(&column_type, "t.c"), one_bit(&column_type, "t.c")];
            assert!(spoilings.iter().any(Option::is_some), "{column_type:?}");
        }
    }
}
