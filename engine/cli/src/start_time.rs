//! `--start-at`: a moment, or an hour of the day.

use jiff::civil::{DateTime, Time};
use jiff::{Span, Timestamp, Zoned};
use std::time::SystemTime;

/// Reads RFC 3339, as in `2026-12-24T02:00:00+01:00`; the same without a zone, in local time; or `HH:MM` in
/// local time: the next time that it is so late.
pub(crate) fn parse(text: &str) -> Result<SystemTime, String> {
    next(text, &Zoned::now())
}

fn next(text: &str, now: &Zoned) -> Result<SystemTime, String> {
    let shape = "it is a time such as 2026-12-24T02:00:00Z, 2026-12-24T02:00 or 02:00, both in local time";
    if let Some(moment) = moment(text, now) {
        if moment < now.timestamp() {
            return Err(format!("it is over: it is {} now", now.strftime("%Y-%m-%dT%H:%M:%S%:z")));
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

/// A day and a time, with a zone or in that of `now`.
fn moment(text: &str, now: &Zoned) -> Option<Timestamp> {
    if let Ok(moment) = text.parse() {
        return Some(moment);
    }
    let is_day_alone = !text.contains(':');
    let local: DateTime = text.parse().ok().filter(|_| !is_day_alone)?;
    Some(local.to_zoned(now.time_zone().clone()).ok()?.timestamp())
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
        assert_eq!(seconds_until("2026-11-21T20:00"), Ok(1800));
        assert_eq!(seconds_until("2026-11-21 20:00:01"), Ok(1801));
        assert_eq!(seconds_until("19:31"), Ok(60));
        assert_eq!(seconds_until("19:30"), Ok(24 * 3600));
        assert_eq!(seconds_until("02:00"), Ok(6 * 3600 + 1800));
    }

    #[test]
    fn what_is_over_or_no_time_is_refused() {
        let over = Err("it is over: it is 2026-11-21T19:30:00+01:00 now".to_owned());
        assert_eq!(seconds_until("2026-11-21T18:00:00Z"), over);
        assert_eq!(seconds_until("2026-11-21T02:00"), over);
        for text in ["", "2", "2:00", "25:00", "tomorrow", "02:00:00", "2026-11-21", "2026-11-21T25:00"] {
            assert!(seconds_until(text).is_err(), "{text}");
        }
    }
}
