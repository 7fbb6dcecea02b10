//! What is known of a row that was set aside.

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fmt;

/// In place of a position: the row was met in the copy.
pub const SNAPSHOT: &str = "snapshot";

/// A row that was set aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// Source table, `database.table`.
    pub table: String,
    /// The values of the source table's row key; `None` when it has none that is read.
    pub key: Option<Values>,
    /// The source transaction of the change, or `snapshot`.
    pub position: String,
    /// Number of the chunk, of a row met in the copy.
    pub chunk: Option<u64>,
    /// What the source did.
    pub operation: Operation,
    /// The source column at fault, when one is known.
    pub column: Option<String>,
    /// Machine-readable reason.
    pub code: String,
    /// Reason.
    pub reason: String,
    /// The source row's values.
    pub row: Values,
    /// Tells rows alike in everything above apart, where no key does: the first is 0.
    #[serde(default)]
    pub occurrence: u32,
    /// When it was set aside, milliseconds since 1970.
    pub at_ms: u64,
    /// What tells it from all others, of a letter whose row is not known any more: the target remembers
    /// all else of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<Lost>,
}

/// Stands for the values of a row that only the target remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost(Identity);

/// What the source did with a row that was set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// It had the row when it was copied.
    Copy,
    /// It inserted the row.
    Insert,
    /// It changed a row into this one.
    Update,
    /// It deleted the row, or changed its key.
    Delete,
}

impl Operation {
    /// The name that people and scripts see.
    pub fn name(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// A digest that stands for a letter or a key.
pub(super) type Identity = [u8; 16];

impl Letter {
    /// The same for every letter about the same row of the same change with the same reason.
    pub(super) fn identity(&self) -> Identity {
        if let Some(Lost(identity)) = self.lost {
            return identity;
        }
        let mut digest = Digester::default();
        digest.text(&self.table);
        digest.values(self.key.as_ref().unwrap_or(&self.row));
        digest.text(&self.position);
        digest.text(&self.code);
        digest.text(&self.reason);
        digest.text(&self.occurrence.to_string());
        digest.finish()
    }

    /// The letter without its row, as the target remembers it.
    pub(super) fn without_row(&self) -> Self {
        Self { lost: Some(Lost(self.identity())), row: Values::default(), ..self.clone() }
    }

    /// The same for every letter about the same row.
    pub(super) fn row_identity(&self) -> Option<Identity> {
        self.key.as_ref().map(|key| row_identity(&self.table, key))
    }
}

/// See [`Letter::row_identity`].
pub(super) fn row_identity(table: &str, key: &Values) -> Identity {
    let mut digest = Digester::default();
    digest.text(table);
    digest.values(key);
    digest.finish()
}

/// Feeds texts of any length so that no two sequences of them look alike.
#[derive(Default)]
struct Digester(Sha256);

impl Digester {
    fn text(&mut self, text: &str) {
        self.0.update((text.len() as u64).to_le_bytes());
        self.0.update(text);
    }

    fn values(&mut self, values: &Values) {
        self.0.update((values.0.len() as u64).to_le_bytes());
        for (name, value) in &values.0 {
            self.text(name);
            self.0.update([u8::from(value.is_some())]);
            self.text(value.as_deref().unwrap_or_default());
        }
    }

    fn finish(self) -> Identity {
        let mut identity = Identity::default();
        for (to, from) in identity.iter_mut().zip(self.0.finalize()) {
            *to = from;
        }
        identity
    }
}

/// Numbers the letters that nothing else tells apart, over one read of a chunk or of a transaction.
#[derive(Debug, Default)]
pub struct Occurrences(HashMap<Identity, u32>);

impl Occurrences {
    /// Numbers `letter`, if it has no key.
    pub fn number(&mut self, letter: &mut Letter) {
        if letter.key.is_none() {
            let next = self.0.entry(letter.identity()).or_default();
            letter.occurrence = *next;
            *next += 1;
        }
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// Values by column name, in canonical text; `None` for NULL. A JSON object, in the columns' order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Values(pub Vec<(String, Option<String>)>);

impl fmt::Display for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{name}={}", value.as_deref().unwrap_or("NULL"))?;
        }
        Ok(())
    }
}

impl Serialize for Values {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Values;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Values, A::Error> {
                let mut values = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    values.push(entry);
                }
                Ok(Values(values))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}
