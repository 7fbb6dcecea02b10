//! `--start-at`: a moment, or an hour of the day.

use jiff::civil::Time;
use jiff::{Span, Timestamp, Zoned};
use std::time::SystemTime;

/// Reads RFC 3339, as in `2026-12-24T02:00:00+01:00`, or `HH:MM` in local time: the next time that it
/// is so late.
pub(crate) fn parse(text: &str) -> Result<SystemTime, String> {
    next(text, &Zoned::now())
}

fn next(text: &str, now: &Zoned) -> Result<SystemTime, String> {
    let shape = "it is a time such as 2026-12-24T02:00:00Z or 02:00";
    if let Ok(moment) = text.parse::<Timestamp>() {
        if moment < now.timestamp() {
            return Err("it is over".to_owned());
        }
        return Ok(moment.into());
    }
    let is_hour = text.len() == 5 && text.as_bytes().get(2) == Some(&b':');
    let time: Time = match text.parse() {
        Ok(time) if is_hour => time,
        _ => return Err(shape.to_owned()),
    };
    let on = |day: &Zoned| day.with().time(time).build().map_err(|error| error.to_string());
    let today = on(now)?;
    if today > *now {
        return Ok(today.timestamp().into());
    }
    let tomorrow = now.checked_add(Span::new().days(1)).map_err(|error| error.to_string())?;
    Ok(on(&tomorrow)?.timestamp().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds_until(text: &str) -> Result<u64, String> {
        let now: Zoned = "2026-11-21T19:30:00+01:00[+01:00]".parse().expect("a good time");
        let at = next(text, &now)?;
        Ok(at.duration_since(SystemTime::from(now.timestamp())).expect("later").as_secs())
    }

    #[test]
    fn moments_and_hours() {
        assert_eq!(seconds_until("2026-11-21T19:00:00Z"), Ok(1800));
        assert_eq!(seconds_until("2026-11-21T20:00:00+01:00"), Ok(1800));
        assert_eq!(seconds_until("19:31"), Ok(60));
        assert_eq!(seconds_until("19:30"), Ok(24 * 3600));
        assert_eq!(seconds_until("02:00"), Ok(6 * 3600 + 1800));
    }

    #[test]
    fn what_is_over_or_no_time_is_refused() {
        assert_eq!(seconds_until("2026-11-21T18:00:00Z"), Err("it is over".to_owned()));
        for text in ["", "2", "2:00", "25:00", "tomorrow", "02:00:00", "2026-11-21", "2026-11-21T02:00"] {
            assert!(seconds_until(text).is_err(), "{text}");
        }
    }
}
