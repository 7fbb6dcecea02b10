//! Dates inside the 64-bit vectors, those included that no calendar has.
//!
//! A `date` vector holds days since 1970-01-01, a `timestamp` vector microseconds since
//! 1970-01-01T00:00:00, both proleptic Gregorian. MySQL also stores dates that are no dates
//! (`0000-00-00`, `2024-00-15`, `2024-02-31`, year 0). They are kept exactly, as *irregular*
//! values far below every calendar value, until the plan decides about them: a native operation
//! replaces them, or the target refuses them by name.
//!
//! PostgreSQL reaches further than four-digit years, before the year 1 (counted astronomically: 0 is
//! 1 BC), and has dates before and after all others. These are calendar values like any other to the
//! engine: [`INFINITY`] and [`NEGATIVE_INFINITY`] lie beyond all of them, so that values keep their
//! order. [`Fields`] holds none of them, [`date_text`] and [`timestamp_text`] print all.

use std::fmt;

/// Microseconds in a day.
pub const MICROS_PER_DAY: i64 = 86_400_000_000;

/// Every value below this is irregular, in `date` and `timestamp` vectors alike.
pub const IRREGULAR_END: i64 = i64::MIN + (1 << 60);

/// PostgreSQL's `infinity`, in `date` and `timestamp` vectors alike.
pub const INFINITY: i64 = i64::MAX;

/// PostgreSQL's `-infinity`, likewise: the first value that is not irregular.
pub const NEGATIVE_INFINITY: i64 = IRREGULAR_END;

/// Days that lie within the years 1 ..= 9999.
pub const FOUR_DIGIT_DAYS: std::ops::RangeInclusive<i64> = -719_162..=2_932_896;

/// A date and time of day, field by field, whether or not a calendar has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fields {
    /// 0 ..= 9999
    pub year: u16,
    /// 0 ..= 12
    pub month: u8,
    /// 0 ..= 31
    pub day: u8,
    /// Microseconds since midnight, below [`MICROS_PER_DAY`].
    pub micros: u64,
}

impl Fields {
    /// Whether the date exists: years 1 ..= 9999, a real month and day.
    pub fn is_calendar(&self) -> bool {
        self.year >= 1
            && (1..=12).contains(&self.month)
            && self.day >= 1
            && self.day <= days_in_month(i64::from(self.year), self.month)
    }

    /// The value for a `date` vector; the time of day is ignored.
    pub fn to_date(self) -> i64 {
        let date = Self { micros: 0, ..self };
        if date.is_calendar() {
            days_from_civil(i64::from(date.year), date.month, date.day)
        } else {
            date.pack()
        }
    }

    /// The value for a `timestamp` vector.
    pub fn to_timestamp(self) -> i64 {
        if self.is_calendar() {
            days_from_civil(i64::from(self.year), self.month, self.day) * MICROS_PER_DAY + self.micros as i64
        } else {
            self.pack()
        }
    }

    fn pack(self) -> i64 {
        let date = (u64::from(self.year) * 13 + u64::from(self.month)) << 5 | u64::from(self.day);
        i64::MIN + (date << 37 | self.micros) as i64
    }

    /// The fields of an irregular value; `None` when `value` is a calendar value.
    pub fn from_irregular(value: i64) -> Option<Self> {
        if value >= IRREGULAR_END {
            return None;
        }
        let packed = value.wrapping_sub(i64::MIN) as u64;
        let (date, micros) = (packed >> 37, packed & ((1 << 37) - 1));
        let year_month = date >> 5;
        Some(Self {
            year: (year_month / 13) as u16,
            month: (year_month % 13) as u8,
            day: (date & 31) as u8,
            micros,
        })
    }

    /// The fields of a value of a `date` vector that is irregular or within [`FOUR_DIGIT_DAYS`].
    pub fn from_date(value: i64) -> Self {
        Self::from_irregular(value).unwrap_or_else(|| {
            let (year, month, day) = civil_from_days(value);
            Self { year: year as u16, month, day, micros: 0 }
        })
    }

    /// The fields of a value of a `timestamp` vector that is irregular or within [`FOUR_DIGIT_DAYS`].
    pub fn from_timestamp(value: i64) -> Self {
        Self::from_irregular(value).unwrap_or_else(|| {
            let (year, month, day) = civil_from_days(value.div_euclid(MICROS_PER_DAY));
            Self { year: year as u16, month, day, micros: value.rem_euclid(MICROS_PER_DAY) as u64 }
        })
    }
}

impl fmt::Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.micros / 1_000_000;
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)?;
        write!(f, " {:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)?;
        match self.micros % 1_000_000 {
            0 => Ok(()),
            fraction => write!(f, ".{fraction:06}"),
        }
    }
}

/// A value of a `date` vector, as PostgreSQL writes it where MySQL has none: `0044-03-15 BC`,
/// `-infinity`.
pub fn date_text(value: i64) -> String {
    if is_irregular(value) || FOUR_DIGIT_DAYS.contains(&value) {
        let mut text = Fields::from_date(value).to_string();
        text.truncate(10);
        return text;
    }
    far_text(value, value, "")
}

/// A value of a `timestamp` vector, likewise.
pub fn timestamp_text(value: i64) -> String {
    let days = value.div_euclid(MICROS_PER_DAY);
    if is_irregular(value) || FOUR_DIGIT_DAYS.contains(&days) {
        return Fields::from_timestamp(value).to_string();
    }
    let micros = value.rem_euclid(MICROS_PER_DAY) as u64;
    let clock = Fields { year: 0, month: 0, day: 0, micros }.to_string();
    far_text(value, days, clock.get(10..).unwrap_or_default())
}

/// A date outside of the years that [`Fields`] has, `clock` after it.
fn far_text(value: i64, days: i64, clock: &str) -> String {
    match value {
        INFINITY => "infinity".to_owned(),
        NEGATIVE_INFINITY => "-infinity".to_owned(),
        _ => {
            let (year, month, day) = civil_from_days(days);
            let (year, era) = if year > 0 { (year, "") } else { (1 - year, " BC") };
            format!("{year:04}-{month:02}-{day:02}{clock}{era}")
        }
    }
}

/// Whether a value of a `date` or `timestamp` vector is before or after all dates.
#[inline]
pub fn is_infinite(value: i64) -> bool {
    value == INFINITY || value == NEGATIVE_INFINITY
}

/// Whether a value of a `date` or `timestamp` vector is no calendar date.
#[inline]
pub fn is_irregular(value: i64) -> bool {
    value < IRREGULAR_END
}

/// Days of a month of the proleptic Gregorian calendar.
pub fn days_in_month(year: i64, month: u8) -> u8 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a proleptic Gregorian date.
///
/// Years are counted from March, so that the leap day ends a year, in eras of 400 years.
pub fn days_from_civil(year: i64, month: u8, day: u8) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (i64::from(month) + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Year, month and day of days since 1970-01-01.
pub fn civil_from_days(days: i64) -> (i64, u8, u8) {
    let shifted = days.saturating_add(719_468);
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month as u8, day as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(year: u16, month: u8, day: u8, micros: u64) -> Fields {
        Fields { year, month, day, micros }
    }

    #[test]
    fn known_days() {
        assert_eq!(fields(1970, 1, 1, 0).to_date(), 0);
        assert_eq!(fields(2000, 3, 1, 0).to_date(), 11_017);
        assert_eq!(fields(1, 1, 1, 0).to_date(), -719_162);
        assert_eq!(fields(9999, 12, 31, 0).to_date(), 2_932_896);
    }

    #[test]
    fn every_day_round_trips() {
        for day in -719_162..=2_932_896 {
            assert_eq!(Fields::from_date(day).to_date(), day);
        }
    }

    #[test]
    fn irregular_values_keep_their_fields() {
        for odd in [
            fields(0, 0, 0, 0),
            fields(0, 1, 1, 0),
            fields(2024, 0, 15, 1),
            fields(2024, 2, 31, 86_399_999_999),
            fields(9999, 12, 0, 5),
            fields(2023, 2, 29, 0),
        ] {
            assert!(!odd.is_calendar());
            let value = odd.to_timestamp();
            assert!(is_irregular(value));
            assert_eq!(Fields::from_timestamp(value), odd);
        }
        assert!(!is_irregular(fields(1, 1, 1, 0).to_timestamp()));
        assert_eq!(fields(0, 0, 0, 0).to_string(), "0000-00-00 00:00:00");
    }
    #[test]
    fn dates_beyond_four_digit_years_have_a_text_and_an_order() {
        let noon = MICROS_PER_DAY / 2;
        let ides = days_from_civil(-43, 3, 15);
        let far = days_from_civil(294_246, 12, 31);
        assert_eq!(date_text(ides), "0044-03-15 BC");
        assert_eq!(timestamp_text(ides * MICROS_PER_DAY + noon), "0044-03-15 12:00:00 BC");
        assert_eq!(timestamp_text(far * MICROS_PER_DAY + 1), "294246-12-31 00:00:00.000001");
        assert_eq!(date_text(days_from_civil(5_874_897, 12, 31)), "5874897-12-31");
        assert_eq!(date_text(0), "1970-01-01");
        assert_eq!(timestamp_text(fields(0, 0, 0, 0).to_timestamp()), "0000-00-00 00:00:00");
        for text in [date_text, timestamp_text] {
            assert_eq!(
                (text(INFINITY).as_str(), text(NEGATIVE_INFINITY).as_str()),
                ("infinity", "-infinity")
            );
        }
        assert!(!is_irregular(NEGATIVE_INFINITY) && fields(9999, 12, 31, 0).pack() < NEGATIVE_INFINITY);
        assert!(NEGATIVE_INFINITY < ides * MICROS_PER_DAY && far * MICROS_PER_DAY < INFINITY);
    }

    #[test]
    fn every_number_has_a_text() {
        for value in [i64::MIN, i64::MIN + 1, IRREGULAR_END - 1, i64::MAX - 1, i64::MAX / 2] {
            assert!(!date_text(value).is_empty() && !timestamp_text(value).is_empty());
        }
    }
}
