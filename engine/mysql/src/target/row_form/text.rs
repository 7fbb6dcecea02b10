//! Canonical bytes as people read them.

use engine_core::json_form;
use engine_core::temporal::{date_text, timestamp_text};
use std::net::Ipv6Addr;

use super::{NO_TEXT, Rule, integer};

/// The value as MySQL's client would show it; `None` when the bytes are no such value.
pub(super) fn text(rule: &Rule, value: &[u8]) -> Option<String> {
    let i64 = || Some(i64::from_be_bytes(value.try_into().ok()?));
    Some(match rule {
        Rule::Integer => integer(value)?.to_string(),
        Rule::Decimal => String::from_utf8_lossy(value).into_owned(),
        Rule::Float => f32::from_bits(u32::from_be_bytes(value.try_into().ok()?)).to_string(),
        Rule::Double => f64::from_bits(u64::from_be_bytes(value.try_into().ok()?)).to_string(),
        Rule::Text => match value.split_first() {
            Some((&NO_TEXT, bytes)) => format!("(no text: {})", hexadecimal(bytes)),
            _ => String::from_utf8_lossy(value).into_owned(),
        },
        Rule::Json(_) => json_form::text(value)?,
        Rule::Bytes => hexadecimal(value),
        Rule::Uuid => uuid(value)?,
        Rule::Address => {
            let address = Ipv6Addr::from(<[u8; 16]>::try_from(value).ok()?);
            address.to_ipv4_mapped().map_or_else(|| address.to_string(), |short| short.to_string())
        }
        Rule::Date => date_text(i64()?),
        Rule::Datetime => timestamp_text(i64()?),
        Rule::Time => clock(i64()?),
        Rule::Label(labels) => match usize::try_from(integer(value)?).ok()?.checked_sub(1) {
            Some(place) => labels.get(place)?.clone(),
            None => String::new(),
        },
        Rule::Labels(labels) => {
            let set = u64::try_from(integer(value)?).ok()?;
            let chosen = labels.iter().enumerate().filter(|(place, _)| *place < 64 && set >> place & 1 == 1);
            chosen.map(|(_, label)| label.as_str()).collect::<Vec<_>>().join(",")
        }
    })
}

/// `x'00ff'`
pub(super) fn hexadecimal(value: &[u8]) -> String {
    format!("x'{}'", hex::encode(value))
}

/// Thirty-two digits with hyphens between them.
pub(super) fn uuid(value: &[u8]) -> Option<String> {
    if value.len() != 16 {
        return None;
    }
    let groups = [0..4, 4..6, 6..8, 8..10, 10..16].map(|group| value.get(group).map(hex::encode));
    Some(groups.into_iter().collect::<Option<Vec<_>>>()?.join("-"))
}

/// `-838:59:59.000001`
fn clock(micros: i64) -> String {
    let sign = if micros < 0 { "-" } else { "" };
    let micros = micros.unsigned_abs();
    let seconds = micros / 1_000_000;
    let clock = format!("{sign}{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    match micros % 1_000_000 {
        0 => clock,
        fraction => format!("{clock}.{fraction:06}"),
    }
}
