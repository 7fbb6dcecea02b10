//! Dates and times in columns, those included that no calendar has.
//!
//! A `date` column holds days since 1970-01-01, a `timestamp` column microseconds since
//! 1970-01-01T00:00:00. Some databases also store dates that are no dates (`0000-00-00`,
//! `2024-02-31`); they arrive as *irregular* values, with their fields intact.

use std::fmt;

const MICROS_PER_DAY: i64 = 86_400_000_000;
const IRREGULAR_END: i64 = i64::MIN + (1 << 60);

/// A date and time of day, field by field, whether or not a calendar has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fields {
    /// 0 to 9999.
    pub year: u16,
    /// 0 to 12.
    pub month: u8,
    /// 0 to 31.
    pub day: u8,
    /// Microseconds since midnight.
    pub micros: u64,
}

impl Fields {
    /// Midnight of a date.
    pub fn date(year: u16, month: u8, day: u8) -> Self {
        Self { year, month, day, micros: 0 }
    }

    /// Reads `YYYY-MM-DD` or `YYYY-MM-DD hh:mm:ss[.ffffff]`, with a space or a `T` between; `None`
    /// when it is not a date and time of the calendar.
    pub fn parse(text: &str) -> Option<Self> {
        let (date, time) = match text.split_once([' ', 'T']) {
            Some((date, time)) => (date, Some(time)),
            None => (text, None),
        };
        let mut parts = date.split('-');
        let year = digits(parts.next()?, 4)?;
        let month = digits(parts.next()?, 2)?;
        let day = digits(parts.next()?, 2)?;
        let micros = match time {
            Some(time) => parse_time_of_day(time)?,
            None => 0,
        };
        let fields = Self { year: u16::try_from(year).ok()?, month: month as u8, day: day as u8, micros };
        (parts.next().is_none() && fields.is_calendar()).then_some(fields)
    }

    /// Whether the date exists: years 1 to 9999, a real month and day.
    pub fn is_calendar(&self) -> bool {
        self.year >= 1
            && (1..=12).contains(&self.month)
            && self.day >= 1
            && self.day <= days_in_month(i64::from(self.year), self.month)
    }

    /// The value for a `date` column; the time of day is left out.
    pub fn to_days(self) -> i64 {
        let date = Self { micros: 0, ..self };
        if date.is_calendar() {
            days_from_civil(i64::from(date.year), date.month, date.day)
        } else {
            date.pack()
        }
    }

    /// The value for a `timestamp` column.
    pub fn to_micros(self) -> i64 {
        if self.is_calendar() { self.to_days() * MICROS_PER_DAY + self.micros as i64 } else { self.pack() }
    }

    /// The fields of a value of a `date` column.
    pub fn from_days(value: i64) -> Self {
        Self::unpack(value).unwrap_or_else(|| {
            let (year, month, day) = civil_from_days(value);
            Self { year: year as u16, month, day, micros: 0 }
        })
    }

    /// The fields of a value of a `timestamp` column.
    pub fn from_micros(value: i64) -> Self {
        Self::unpack(value).unwrap_or_else(|| {
            let date = Self::from_days(value.div_euclid(MICROS_PER_DAY));
            Self { micros: value.rem_euclid(MICROS_PER_DAY) as u64, ..date }
        })
    }

    fn pack(self) -> i64 {
        let date = (u64::from(self.year) * 13 + u64::from(self.month)) << 5 | u64::from(self.day);
        i64::MIN + (date << 37 | self.micros) as i64
    }

    fn unpack(value: i64) -> Option<Self> {
        if !is_irregular(value) {
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

/// Whether a value of a `date` or `timestamp` column is no date of the calendar.
#[inline]
pub fn is_irregular(value: i64) -> bool {
    value < IRREGULAR_END
}

fn digits(text: &str, count: usize) -> Option<u64> {
    let all_digits = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    if all_digits { text.parse().ok() } else { None }
}

fn parse_time_of_day(text: &str) -> Option<u64> {
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) if (1..=6).contains(&fraction.len()) => {
            let scale = 10u64.pow(6 - fraction.len() as u32);
            (whole, digits(fraction, fraction.len())? * scale)
        }
        Some(_) => return None,
        None => (text, 0),
    };
    let mut parts = whole.split(':');
    let hours = digits(parts.next()?, 2).filter(|hours| *hours < 24)?;
    let minutes = digits(parts.next()?, 2).filter(|minutes| *minutes < 60)?;
    let seconds = digits(parts.next()?, 2).filter(|seconds| *seconds < 60)?;
    parts.next().is_none().then_some(((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + fraction)
}

fn days_in_month(year: i64, month: u8) -> u8 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Years are counted from March, so that the leap day ends a year, in eras of 400 years.
fn days_from_civil(year: i64, month: u8, day: u8) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (i64::from(month) + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn civil_from_days(days: i64) -> (i64, u8, u8) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month as u8, day as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calendar_values_round_trip() {
        for text in ["0001-01-01 00:00:00", "1970-01-01 00:00:00", "2024-02-29 12:34:56.789000"] {
            let fields = Fields::parse(text).expect("a date of the calendar");
            assert_eq!(Fields::from_micros(fields.to_micros()), fields);
            assert_eq!(fields.to_string(), text);
        }
        assert_eq!(Fields::date(1970, 1, 1).to_days(), 0);
        assert_eq!(Fields::date(2000, 3, 1).to_days(), 11_017);
    }

    #[test]
    fn irregular_values_keep_their_fields() {
        for odd in [Fields::date(0, 0, 0), Fields::date(2024, 2, 31), Fields::date(2024, 0, 15)] {
            assert!(is_irregular(odd.to_days()));
            assert_eq!(Fields::from_days(odd.to_days()), odd);
            assert_eq!(Fields::from_micros(odd.to_micros()), odd);
        }
    }

    #[test]
    fn refuses_what_is_no_date() {
        for text in ["", "2024-02-30", "0000-00-00", "2024-1-1", "2024-01-01 24:00:00", "2024-01-01x"] {
            assert_eq!(Fields::parse(text), None, "{text}");
        }
    }
}
