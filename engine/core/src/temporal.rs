//! Dates inside the 64-bit vectors, those included that no calendar has.
//!
//! A `date` vector holds days since 1970-01-01, a `timestamp` vector microseconds since
//! 1970-01-01T00:00:00, both proleptic Gregorian. MySQL also stores dates that are no dates
//! (`0000-00-00`, `2024-00-15`, `2024-02-31`, year 0). They are kept exactly, as *irregular*
//! values far below every calendar value, until the plan decides about them: a native operation
//! replaces them, or the target refuses them by name.

use std::fmt;

/// Microseconds in a day.
pub const MICROS_PER_DAY: i64 = 86_400_000_000;

/// Every value below this is irregular, in `date` and `timestamp` vectors alike.
pub const IRREGULAR_END: i64 = i64::MIN + (1 << 60);

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

    /// The fields of a value of a `date` vector.
    pub fn from_date(value: i64) -> Self {
        Self::from_irregular(value).unwrap_or_else(|| {
            let (year, month, day) = civil_from_days(value);
            Self { year: year as u16, month, day, micros: 0 }
        })
    }

    /// The fields of a value of a `timestamp` vector.
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

/// Whether a value of a `date` or `timestamp` vector is no calendar date.
#[inline]
pub fn is_irregular(value: i64) -> bool {
    value < IRREGULAR_END
}

fn days_in_month(year: i64, month: u8) -> u8 {
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
    let shifted = days + 719_468;
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
}
