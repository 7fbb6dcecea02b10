//! Global transaction identifiers: MySQL's sets of numbers per origin, MariaDB's last number per
//! domain.

use engine_core::ranges::Ranges;
use std::collections::BTreeMap;
use std::fmt;

/// Where a MySQL transaction got its number: a server and, since 8.3, an optional tag.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Origin {
    /// `server_uuid`.
    pub(crate) uuid: [u8; 16],
    /// Tag in lower case; empty when there is none.
    pub(crate) tag: String,
}

impl Origin {
    /// Reads what `Display` writes.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (uuid, tag) = text.split_once(':').unwrap_or((text, ""));
        Some(Self { uuid: parse_uuid(uuid)?, tag: tag.to_owned() })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_uuid(f, &self.uuid)?;
        if !self.tag.is_empty() {
            write!(f, ":{}", self.tag)?;
        }
        Ok(())
    }
}

fn write_uuid(f: &mut fmt::Formatter<'_>, uuid: &[u8; 16]) -> fmt::Result {
    for (index, byte) in uuid.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            f.write_str("-")?;
        }
        write!(f, "{byte:02x}")?;
    }
    Ok(())
}

fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let digits: String = text.chars().filter(|&c| c != '-').collect();
    let mut uuid = [0; 16];
    hex::decode_to_slice(digits, &mut uuid).ok()?;
    Some(uuid)
}

/// A set of MySQL transactions, as in `gtid_executed`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct GtidSet(BTreeMap<Origin, Ranges>);

impl GtidSet {
    /// Reads the server's text form, e.g. `uuid:1-5:7:tag:1-3,uuid:1`; white space is ignored.
    /// `None` when it isn't one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut set = Self::default();
        let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let mut fields = part.split(':');
            let mut origin = Origin { uuid: parse_uuid(fields.next()?)?, tag: String::new() };
            for field in fields {
                if !field.starts_with(|c: char| c.is_ascii_digit()) {
                    origin.tag = field.to_ascii_lowercase();
                    continue;
                }
                let (start, end) = match field.split_once('-') {
                    Some((start, end)) => (start.parse().ok()?, end.parse().ok()?),
                    None => (field.parse().ok()?, field.parse().ok()?),
                };
                if start == 0 || end < start {
                    return None;
                }
                set.insert(&origin, start, end);
            }
        }
        Some(set)
    }

    /// Adds the transactions `start ..= end` of `origin`.
    pub(crate) fn insert(&mut self, origin: &Origin, start: u64, end: u64) {
        if let Some(intervals) = self.0.get_mut(origin) {
            intervals.insert(start, end);
        } else {
            self.0.entry(origin.clone()).or_default().insert(start, end);
        }
    }

    /// Adds all of `other`.
    pub(crate) fn extend(&mut self, other: &Self) {
        for (origin, numbers) in &other.0 {
            numbers.iter().for_each(|(start, end)| self.insert(origin, start, end));
        }
    }

    /// Whether the transaction is in the set.
    pub(crate) fn contains(&self, origin: &Origin, number: u64) -> bool {
        self.0.get(origin).is_some_and(|intervals| intervals.contains(number))
    }

    /// Whether every transaction of `other` is in the set.
    pub(crate) fn contains_all(&self, other: &Self) -> bool {
        other
            .0
            .iter()
            .all(|(origin, numbers)| self.0.get(origin).is_some_and(|mine| mine.contains_all(numbers)))
    }

    /// The text of the set, one origin at a time.
    pub(crate) fn parts(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(origin, numbers)| format!("{origin}{numbers}"))
    }
}

impl fmt::Display for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (origin, intervals)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{origin}{intervals}")?;
        }
        Ok(())
    }
}

/// A MariaDB replication state: the last transaction of each domain. Within a domain, numbers only
/// grow in the order of the log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct GtidState(BTreeMap<u32, (u32, u64)>);

impl GtidState {
    /// Reads `domain-server-sequence` triples separated by commas. `None` when it isn't that.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut state = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let mut fields = part.split('-');
            let domain = fields.next()?.parse().ok()?;
            let server = fields.next()?.parse().ok()?;
            let sequence = fields.next()?.parse().ok()?;
            if fields.next().is_some() {
                return None;
            }
            state.advance(domain, server, sequence);
        }
        Some(state)
    }

    /// Records a transaction as the last of its domain.
    pub(crate) fn advance(&mut self, domain: u32, server: u32, sequence: u64) {
        self.0.insert(domain, (server, sequence));
    }

    /// Whether the domain had reached the transaction.
    pub(crate) fn contains(&self, domain: u32, sequence: u64) -> bool {
        self.0.get(&domain).is_some_and(|&(_, reached)| sequence <= reached)
    }

    /// The last transactions: domain, server, number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, u32, u64)> + '_ {
        self.0.iter().map(|(&domain, &(server, sequence))| (domain, server, sequence))
    }

    /// Whether every domain of `other` had been reached.
    pub(crate) fn contains_all(&self, other: &Self) -> bool {
        other.0.iter().all(|(&domain, &(_, sequence))| self.contains(domain, sequence))
    }
}

impl fmt::Display for GtidState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (domain, (server, sequence))) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{domain}-{server}-{sequence}")?;
        }
        Ok(())
    }
}

/// MariaDB's `gtid_binlog_state`: the last transaction of each server in each domain.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct LoggedState(BTreeMap<(u32, u32), u64>);

impl LoggedState {
    /// Reads `domain-server-sequence` triples separated by commas. `None` when it isn't that.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let triples = parts.map(|part| GtidState::parse(part)?.iter().next());
        triples
            .map(|triple| triple.map(|(domain, server, sequence)| ((domain, server), sequence)))
            .collect::<Option<_>>()
            .map(Self)
    }

    /// Whether the server had logged the transaction.
    pub(crate) fn contains(&self, domain: u32, server: u32, sequence: u64) -> bool {
        self.0.get(&(domain, server)).is_some_and(|&last| sequence <= last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    const B: &str = "4e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn set(text: &str) -> GtidSet {
        GtidSet::parse(text).expect("a set")
    }

    #[test]
    fn text_is_normalised() {
        assert_eq!(set(&format!("{B}:9,\n{A}:5:1-3:4:7-8")).to_string(), format!("{A}:1-5:7-8,{B}:9"));
        assert_eq!(set("").to_string(), "");
    }

    #[test]
    fn tags_are_origins_of_their_own() {
        let tagged = set(&format!("{A}:1-3:Mig:1-2:5"));
        assert_eq!(tagged.to_string(), format!("{A}:1-3,{A}:mig:1-2:5"));
        assert!(!set(&format!("{A}:1-9")).contains_all(&tagged));
        assert!(tagged.contains_all(&set(&format!("{A}:mig:5"))));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["x:1", &format!("{A}:0"), &format!("{A}:5-3"), &format!("{A}:1-x"), &A[1..]] {
            assert!(GtidSet::parse(text).is_none(), "{text}");
        }
        for text in ["0-1", "0-1-2-3", "a-1-2", "0-1--2"] {
            assert!(GtidState::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn states_compare_by_domain() {
        let state = GtidState::parse("0-1-10, 7-2-3").expect("a state");
        assert_eq!(state.to_string(), "0-1-10,7-2-3");
        assert!(state.contains_all(&GtidState::parse("0-9-10").expect("a state")));
        assert!(!state.contains_all(&GtidState::parse("0-1-11").expect("a state")));
        assert!(!state.contains_all(&GtidState::parse("8-1-1").expect("a state")));
    }

    #[test]
    fn logged_states_know_each_server() {
        let logged = LoggedState::parse("0-1-10,0-2-7, 3-1-4").expect("a state");
        assert!(logged.contains(0, 1, 10) && logged.contains(0, 2, 7) && logged.contains(3, 1, 1));
        assert!(!logged.contains(0, 2, 8) && !logged.contains(1, 1, 1));
        assert!(LoggedState::parse("0-1").is_none());
        assert_eq!(LoggedState::parse(""), Some(LoggedState::default()));
    }

    proptest! {
        #[test]
        fn behaves_like_a_set_of_numbers(ranges in prop::collection::vec((1u64..60, 0u64..8), 0..20), other in prop::collection::vec((1u64..60, 0u64..8), 0..4)) {
            let origin = Origin { uuid: [7; 16], tag: String::new() };
            let build = |ranges: &[(u64, u64)]| {
                let mut set = GtidSet::default();
                let mut model = BTreeSet::new();
                for &(start, more) in ranges {
                    set.insert(&origin, start, start + more);
                    model.extend(start..=start + more);
                }
                (set, model)
            };
            let (set, model) = build(&ranges);
            for number in 0..80 {
                prop_assert_eq!(set.contains(&origin, number), model.contains(&number));
            }
            prop_assert_eq!(GtidSet::parse(&set.to_string()), Some(set.clone()));
            let (other, other_model) = build(&other);
            prop_assert_eq!(set.contains_all(&other), model.is_superset(&other_model));
        }

        #[test]
        fn any_text_is_survived(text in "\\PC*") {
            let _ = (GtidSet::parse(&text), GtidState::parse(&text));
        }
    }
}
