//! Times of commits: in the zone of the server, which they name.

use engine_core::temporal::{Fields, MICROS_PER_DAY};

use crate::replication::fields::Malformed;

const BAD: Malformed = Malformed("a time is not written as expected");
const SECOND: i64 = 1_000_000;

/// Reads `2024-03-14 20:31:12.098179+08`, as microseconds since 1970 in UTC. The zone may have minutes
/// and seconds.
pub(super) fn parse(text: &str) -> Result<i64, Malformed> {
    let (date, rest) = text.split_once(' ').ok_or(BAD)?;
    let zone = rest.find(['+', '-']).ok_or(BAD)?;
    let (clock, zone) = rest.split_at_checked(zone).ok_or(BAD)?;
    let [year, month, day] = numbers(date, '-')?;
    let (clock, micros) = match clock.split_once('.') {
        None => (clock, 0),
        Some((clock, digits)) => (clock, fraction(digits)?),
    };
    let [hour, minute, second] = numbers(clock, ':')?;
    if hour > 23 || minute > 59 || second > 60 {
        return Err(BAD);
    }
    let fields = Fields {
        year: year.try_into().map_err(|_| BAD)?,
        month: month.try_into().map_err(|_| BAD)?,
        day: day.try_into().map_err(|_| BAD)?,
        micros: 0,
    };
    if !fields.is_calendar() {
        return Err(BAD);
    }
    let of_day = i64::from(hour * 3600 + minute * 60 + second) * SECOND + i64::from(micros);
    Ok(fields.to_date() * MICROS_PER_DAY + of_day - offset(zone)?)
}

/// `+08`, `-03:30`, `+08:05:43`: how far a zone is ahead.
fn offset(zone: &str) -> Result<i64, Malformed> {
    let (sign, rest) = match zone.split_at_checked(1) {
        Some(("+", rest)) => (1, rest),
        Some(("-", rest)) => (-1, rest),
        _ => return Err(BAD),
    };
    let mut parts = rest.split(':');
    let mut seconds = 0;
    for unit in [3600, 60, 1] {
        if let Some(part) = parts.next() {
            let value = number(part)?;
            seconds += i64::from(if value < 60 { value } else { return Err(BAD) }) * unit;
        }
    }
    if parts.next().is_some() { Err(BAD) } else { Ok(sign * seconds * SECOND) }
}

fn fraction(digits: &str) -> Result<u32, Malformed> {
    let scale = 6_usize.checked_sub(digits.len()).ok_or(BAD)?;
    Ok(number(digits)? * 10_u32.pow(scale as u32))
}

fn numbers<const N: usize>(text: &str, separator: char) -> Result<[u32; N], Malformed> {
    let mut parts = text.split(separator);
    let mut numbers = [0; N];
    for slot in &mut numbers {
        *slot = number(parts.next().ok_or(BAD)?)?;
    }
    if parts.next().is_some() { Err(BAD) } else { Ok(numbers) }
}

fn number(digits: &str) -> Result<u32, Malformed> {
    let plain = (1..=6).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    if plain { digits.parse().map_err(|_| BAD) } else { Err(BAD) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_times_in_any_zone() {
        let noon = 1_710_417_600 * SECOND;
        for text in [
            "2024-03-14 12:00:00+00",
            "2024-03-14 20:00:00+08",
            "2024-03-14 08:30:00-03:30",
            "2024-03-14 20:05:43.0+08:05:43",
            "2024-03-15 00:00:00.000000+12",
        ] {
            assert_eq!(parse(text), Ok(noon), "{text}");
        }
        assert_eq!(parse("2024-03-14 20:00:00.098179+08"), Ok(noon + 98_179));
        assert_eq!(parse("2024-03-14 20:00:00.5+08"), Ok(noon + 500_000));
    }

    #[test]
    fn refuses_what_is_no_time() {
        for text in [
            "",
            "2024-03-14",
            "2024-03-14 12:00:00",
            "2024-02-30 12:00:00+00",
            "2024-03-14 24:00:00+00",
            "2024-03-14 12:00+00",
            "2024-03-14 12:00:00.1234567+00",
            "2024-03-14 12:00:00+",
            "2024-03-14 12:00:00+08:00:00:00",
            "Thu Mar 14 12:00:00 2024 PRC",
            "infinity",
        ] {
            assert_eq!(parse(text), Err(BAD), "{text}");
        }
    }
}
