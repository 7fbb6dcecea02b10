//! Numbers as people read them.

/// `1234567` as `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut result = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            result.push(',');
        }
        result.push(digit);
    }
    result
}

/// `1 table`, `2 tables`.
pub(crate) fn plural(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// Binary multiples, as in `1.5 GiB`.
pub(crate) fn bytes(number: u64) -> String {
    let mut value = number as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            let digits = usize::from(unit != "B" && value < 10.0);
            return format!("{value:.digits$} {unit}");
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

/// The two greatest units: `0.4 s`, `12 s`, `2m 13s`, `3h 05m`, `4d 02h`.
pub(crate) fn duration_ms(milliseconds: u64) -> String {
    if milliseconds < 10_000 {
        // Tenths, cut off: a lag that rounds up to 10.0 s would look longer than it is.
        return format!("{}.{} s", milliseconds / 1000, milliseconds % 1000 / 100);
    }
    let seconds = milliseconds / 1000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h {:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d {:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// `rows` per second over `milliseconds`; `None` when the time is too short to say.
pub(crate) fn per_second(number: u64, milliseconds: u64) -> Option<u64> {
    (milliseconds >= 10).then(|| (u128::from(number) * 1000 / u128::from(milliseconds)) as u64)
}

/// `done` of `total` as `62 %`; never 100 before all is done, nor more.
pub(crate) fn percent(done: u64, total: u64) -> String {
    let percent = (u128::from(done) * 100).checked_div(u128::from(total)).unwrap_or(100);
    let most = if done < total { 99 } else { 100 };
    format!("{} %", percent.min(most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_people_read_them() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            [0, 1023, 1536, 20_000_000, 3 << 40].map(bytes),
            ["0 B", "1023 B", "1.5 KiB", "19 MiB", "3.0 TiB"]
        );
        assert_eq!(
            [0, 450, 9999, 10_000, 133_000, 11_100_000, 352_800_000].map(duration_ms),
            ["0.0 s", "0.4 s", "9.9 s", "10 s", "2m 13s", "3h 05m", "4d 02h"]
        );
        assert_eq!(percent(999, 1000), "99 %");
        assert_eq!(percent(1001, 1000), "100 %");
        assert_eq!(percent(0, 0), "100 %");
        assert_eq!(per_second(5, 0), None);
        assert_eq!(per_second(u64::MAX, 1000), Some(u64::MAX));
    }
}
