//! Dates and times in PostgreSQL's text form, `DateStyle` ISO.

use engine_core::temporal::{
    Fields, INFINITY, MICROS_PER_DAY, NEGATIVE_INFINITY, days_from_civil, days_in_month,
};

use super::Malformed;

const NO_DATE: Malformed = "it is no date of DateStyle ISO";
const NO_TIME: Malformed = "it is no time of day";
const NO_TIMESTAMP: Malformed = "it is no timestamp of DateStyle ISO";
const TOO_LATE: Malformed = "it is later than the engine's timestamps reach (294247-01-10 04:00:54)";

/// Longest year: dates reach 5874897.
const YEAR_DIGITS: usize = 7;

/// Longest part of MySQL's time, which openGauss stores with its extension dolphin.
const LARGEST_HOUR: i64 = 838;

/// Days since 1970-01-01 of `2024-02-29`, `0044-03-15 BC`, `infinity`.
#[inline]
pub(super) fn date(text: &[u8]) -> Result<i64, Malformed> {
    if let Some(infinite) = infinite(text) {
        return Ok(infinite);
    }
    let mut rest = text;
    let date = CivilDate::read(&mut rest).ok_or(NO_DATE)?;
    let before_christ = era(&mut rest);
    if !rest.is_empty() {
        return Err(NO_DATE);
    }
    if date.is_zero() && !before_christ {
        return Ok(ZERO.to_date());
    }
    date.days(before_christ).ok_or(NO_DATE)
}

/// Microseconds since midnight of `23:59:59.999999`, `24:00:00`.
#[inline]
pub(super) fn time(text: &[u8]) -> Result<i64, Malformed> {
    let (negative, mut rest) = match text {
        [b'-', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let micros = clock(&mut rest, LARGEST_HOUR).filter(|_| rest.is_empty()).ok_or(NO_TIME)?;
    Ok(if negative { -micros } else { micros })
}

/// Microseconds since 1970-01-01T00:00:00 of `2024-02-29 12:30:00.5`, when `zoned` with an offset after
/// it that is taken off: `2024-02-29 12:30:00.5+00`.
#[inline]
pub(super) fn timestamp(text: &[u8], zoned: bool) -> Result<i64, Malformed> {
    if let Some(infinite) = infinite(text) {
        return Ok(infinite);
    }
    let mut rest = text;
    let date = CivilDate::read(&mut rest).ok_or(NO_TIMESTAMP)?;
    skip(&mut rest, b' ').ok_or(NO_TIMESTAMP)?;
    let micros = clock(&mut rest, 23).ok_or(NO_TIMESTAMP)?;
    let offset = if zoned { offset(&mut rest).ok_or(NO_TIMESTAMP)? } else { 0 };
    let before_christ = era(&mut rest);
    if !rest.is_empty() {
        return Err(NO_TIMESTAMP);
    }
    if date.is_zero() && !before_christ && micros == 0 {
        return Ok(ZERO.to_timestamp());
    }
    let days = date.days(before_christ).ok_or(NO_TIMESTAMP)?;
    let since = days.checked_mul(MICROS_PER_DAY).and_then(|since| since.checked_add(micros - offset));
    since.filter(|since| *since != INFINITY).ok_or(TOO_LATE)
}

/// What openGauss keeps of a date of zeros that MySQL allows.
const ZERO: Fields = Fields { year: 0, month: 0, day: 0, micros: 0 };

fn infinite(text: &[u8]) -> Option<i64> {
    match text {
        b"infinity" => Some(INFINITY),
        b"-infinity" => Some(NEGATIVE_INFINITY),
        _ => None,
    }
}

/// A date as written, not yet known to exist.
struct CivilDate {
    year: i64,
    month: i64,
    day: i64,
}

impl CivilDate {
    #[inline]
    fn read(rest: &mut &[u8]) -> Option<Self> {
        let year = number(rest, 4..=YEAR_DIGITS)?;
        skip(rest, b'-')?;
        let month = number(rest, 2..=2)?;
        skip(rest, b'-')?;
        let day = number(rest, 2..=2)?;
        Some(Self { year, month, day })
    }

    fn is_zero(&self) -> bool {
        self.year == 0 && self.month == 0 && self.day == 0
    }

    /// Days since 1970-01-01, if the calendar has the date.
    #[inline]
    fn days(&self, before_christ: bool) -> Option<i64> {
        if self.year == 0 {
            return None;
        }
        let year = if before_christ { 1 - self.year } else { self.year };
        let (month, day) = (u8::try_from(self.month).ok()?, u8::try_from(self.day).ok()?);
        let exists = (1..=12).contains(&month) && day >= 1 && day <= days_in_month(year, month);
        exists.then(|| days_from_civil(year, month, day))
    }
}

/// `23:59:59.999999` as microseconds; with the hour 24, midnight at the end of the day.
#[inline]
fn clock(rest: &mut &[u8], largest_hour: i64) -> Option<i64> {
    let hour = number(rest, 2..=3)?;
    skip(rest, b':')?;
    let minute = number(rest, 2..=2)?;
    skip(rest, b':')?;
    let second = number(rest, 2..=2)?;
    if hour > largest_hour || minute > 59 || second > 59 {
        return None;
    }
    let mut micros = ((hour * 60 + minute) * 60 + second) * 1_000_000;
    if skip(rest, b'.').is_some() {
        let before = rest.len();
        let fraction = number(rest, 1..=6)?;
        let places = before - rest.len();
        micros += fraction * [0, 100_000, 10_000, 1000, 100, 10, 1].get(places)?;
    }
    Some(micros)
}

/// `+00`, `-03:30`, `+00:19:32` as microseconds.
fn offset(rest: &mut &[u8]) -> Option<i64> {
    let sign = match rest.split_first()? {
        (b'+', _) => 1,
        (b'-', _) => -1,
        _ => return None,
    };
    *rest = rest.get(1..)?;
    let mut seconds = number(rest, 2..=2)? * 3600;
    for unit in [60, 1] {
        if skip(rest, b':').is_some() {
            seconds += number(rest, 2..=2).filter(|&part| part < 60)? * unit;
        }
    }
    Some(sign * seconds * 1_000_000)
}

/// Whether the date is one before Christ.
fn era(rest: &mut &[u8]) -> bool {
    match rest.strip_prefix(b" BC") {
        Some(after) => {
            *rest = after;
            true
        }
        None => false,
    }
}

#[inline]
fn skip(rest: &mut &[u8], byte: u8) -> Option<()> {
    let (first, after) = rest.split_first()?;
    if *first != byte {
        return None;
    }
    *rest = after;
    Some(())
}

/// As many digits as there are, if their number is within `digits`.
#[inline]
fn number(rest: &mut &[u8], digits: std::ops::RangeInclusive<usize>) -> Option<i64> {
    let mut value = 0_i64;
    let mut count = 0;
    while let Some(digit) = rest.get(count).filter(|digit| digit.is_ascii_digit()) {
        if count == *digits.end() {
            return None;
        }
        value = value * 10 + i64::from(digit - b'0');
        count += 1;
    }
    *rest = rest.get(count..)?;
    digits.contains(&count).then_some(value)
}
