//! The variables of a session that a Query event carries.

use super::bytes::{Bytes, Malformed};

/// What a Query event says about its session, as pairs of a name and a value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SessionFacts {
    /// The pairs, for [`SchemaChange::session`](engine_core::change::SchemaChange::session).
    pub(crate) pairs: Vec<(String, String)>,
    /// Microseconds within the second in which the statement ran.
    pub(crate) micros: Option<u32>,
}

impl SessionFacts {
    /// `sql_mode`, as a number.
    pub(crate) const SQL_MODE: &str = "sql_mode";
    /// Number of the collation of the statement's text.
    pub(crate) const CLIENT: &str = "client_collation";
    /// The time zone, where the statement used it.
    pub(crate) const TIME_ZONE: &str = "time_zone";
    /// `explicit_defaults_for_timestamp`
    pub(crate) const EXPLICIT_TIMESTAMPS: &str = "explicit_defaults_for_timestamp";
    /// Number of `default_collation_for_utf8mb4`.
    pub(crate) const UTF8MB4: &str = "default_collation_for_utf8mb4";
    /// Number of `collation_database`, where it is not the database's own.
    pub(crate) const DATABASE: &str = "collation_database";
    /// `character_set_collations` of MariaDB, as numbers.
    pub(crate) const COLLATIONS: &str = "character_set_collations";
    /// The time of execution has microseconds.
    pub(crate) const EXACT_TIME: &str = "exact_time";
    /// Number of the error with which the statement ended.
    pub(crate) const ERROR: &str = "error";
    /// The text holds bytes that are not UTF-8, which were replaced.
    pub(crate) const REPLACED: &str = "replaced_bytes";

    /// Reads the block of variables. One that this engine doesn't know ends it: nothing says how
    /// long it is, and those that matter come before.
    pub(crate) fn read(block: &[u8]) -> Result<Self, Malformed> {
        let mut input = Bytes::new(block);
        let mut facts = Self::default();
        while !input.is_empty() {
            let code = input.u8()?;
            match code {
                // Flags, a table map, times in protocols of old, the size of an event.
                0 | 3 | 10 => drop(input.take(4)?),
                1 => {
                    let mode = input.u64()?;
                    facts.add(Self::SQL_MODE, &mode);
                }
                2 => {
                    let length = usize::from(input.u8()?);
                    input.take(length + 1)?;
                }
                4 => {
                    let client = input.u16()?;
                    facts.add(Self::CLIENT, &client);
                    input.take(4)?;
                }
                5 => {
                    let length = usize::from(input.u8()?);
                    let zone = String::from_utf8_lossy(input.take(length)?).into_owned();
                    facts.add(Self::TIME_ZONE, &zone);
                }
                6 => {
                    let length = usize::from(input.u8()?);
                    input.take(length)?;
                }
                7 | 130 => drop(input.take(2)?),
                8 => {
                    let database = input.u16()?;
                    facts.add(Self::DATABASE, &database);
                }
                9 | 17 | 129 => drop(input.take(8)?),
                11 => {
                    for _ in 0..2 {
                        let length = usize::from(input.u8()?);
                        input.take(length)?;
                    }
                }
                12 => {
                    let databases = input.u8()?;
                    // 254: too many to list.
                    for _ in 0..if databases == 254 { 0 } else { databases } {
                        while input.u8()? != 0 {}
                    }
                }
                13 | 128 => {
                    let micros = input.little_endian(3)?;
                    facts.micros = Some(micros as u32);
                    facts.add(Self::EXACT_TIME, &1);
                }
                16 => {
                    let explicit = input.u8()?;
                    facts.add(Self::EXPLICIT_TIMESTAMPS, &explicit);
                }
                18 => {
                    let collation = input.u16()?;
                    facts.add(Self::UTF8MB4, &collation);
                }
                19 | 20 => drop(input.take(1)?),
                131 => {
                    let mut pairs = Vec::new();
                    for _ in 0..input.u8()? {
                        pairs.push(format!("{}={}", input.u16()?, input.u16()?));
                    }
                    facts.add(Self::COLLATIONS, &pairs.join(","));
                }
                _ => break,
            }
        }
        Ok(facts)
    }

    fn add(&mut self, name: &str, value: &dyn ToString) {
        self.pairs.push((name.to_owned(), value.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_matters_and_skips_the_rest() {
        let mut block = vec![0, 0, 0, 0, 0, 1, 4, 0, 0, 0, 0, 0, 0, 0, 6, 3];
        block.extend(b"std");
        block.extend([4, 45, 0, 45, 0, 8, 0, 5, 6]);
        block.extend(b"+02:00");
        block.extend([12, 1, b'd', 0, 13, 1, 0, 0, 18, 255, 0, 222, 1, 2]);
        let facts = SessionFacts::read(&block).expect("well-formed");
        let text: Vec<String> = facts.pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(
            text.join(" "),
            "sql_mode=4 client_collation=45 time_zone=+02:00 exact_time=1 default_collation_for_utf8mb4=255"
        );
        assert_eq!(facts.micros, Some(1));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(block: Vec<u8>) {
            let _ = SessionFacts::read(&block);
        }
    }
}
