//! How far MySQL's dates reach, in a column's own unit.

use migration_sdk::temporal::Fields;

/// Microseconds of the last second that no precision below six digits has: of `.999999`, the part that
/// `precision` digits hold.
fn last_fraction(precision: u8) -> u64 {
    let dropped = 10_u64.pow(u32::from(6_u8.saturating_sub(precision)));
    999_999 / dropped * dropped
}

/// First and last day of a `date` column.
pub(crate) fn date() -> (i64, i64) {
    (Fields::date(1, 1, 1).to_days(), Fields::date(9999, 12, 31).to_days())
}

/// First and last microsecond of a `datetime` column.
pub(crate) fn datetime(precision: u8) -> (i64, i64) {
    let last = Fields { micros: 86_399_000_000 + last_fraction(precision), ..Fields::date(9999, 12, 31) };
    (Fields::date(1, 1, 1).to_micros(), last.to_micros())
}

/// First and last microsecond of a `timestamp` column: 1970-01-01 00:00:01 to 2038-01-19 03:14:07.
pub(crate) fn timestamp(precision: u8) -> (i64, i64) {
    (1_000_000, i64::from(i32::MAX) * 1_000_000 + last_fraction(precision).cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_that_a_precision_holds() {
        let shown = |value| Fields::from_micros(value).to_string();
        assert_eq!(shown(datetime(3).1), "9999-12-31 23:59:59.999000");
        assert_eq!(shown(datetime(0).1), "9999-12-31 23:59:59");
        assert_eq!(shown(timestamp(6).1), "2038-01-19 03:14:07.999999");
        assert_eq!(date(), (-719_162, 2_932_896));
    }
}
