//! Which character sets and collations the server has, and the codecs loaded so far.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use engine_core::{Error, ErrorKind, Result};
use mysql_async::Conn;
use mysql_async::prelude::Queryable;

use super::{Charset, load};
use crate::error::server_error;

/// The character sets of one source server, by name and by collation. Clones share everything,
/// later loads included.
#[derive(Clone, Default)]
pub struct Charsets(Arc<Shared>);

#[derive(Default)]
struct Shared {
    collations: HashMap<u16, Arc<str>>,
    max_bytes: HashMap<String, u32>,
    loaded: RwLock<HashMap<String, Charset>>,
}

impl Charsets {
    /// Reads the lists of character sets and collations; decoders follow with
    /// [`require`](Self::require).
    pub async fn read(conn: &mut Conn) -> Result<Self> {
        let failed = |error| server_error("the server's character sets can't be read", error);
        let max_bytes: Vec<(String, u32)> = conn
            .query("SELECT character_set_name, maxlen FROM information_schema.character_sets")
            .await
            .map_err(failed)?;
        // MariaDB 10.10 and later lists only here which ids its uca1400 collations have per set.
        let by_applicability = "SELECT id, character_set_name \
             FROM information_schema.collation_character_set_applicability WHERE id IS NOT NULL";
        let by_collation = "SELECT id, character_set_name FROM information_schema.collations \
             WHERE id IS NOT NULL AND character_set_name IS NOT NULL";
        let collations: Vec<(u16, String)> = match conn.query(by_applicability).await {
            Ok(collations) => collations,
            Err(mysql_async::Error::Server(_)) => conn.query(by_collation).await.map_err(failed)?,
            Err(other) => return Err(failed(other)),
        };
        Ok(Self(Arc::new(Shared {
            collations: collations.into_iter().map(|(id, name)| (id, name.into())).collect(),
            max_bytes: max_bytes.into_iter().collect(),
            loaded: RwLock::default(),
        })))
    }

    /// Makes the named character sets available to [`by_name`](Self::by_name), asking the server
    /// for the tables not yet there.
    pub async fn require<'a>(&self, conn: &mut Conn, names: impl IntoIterator<Item = &'a str>) -> Result<()> {
        for name in names {
            if self.by_name(name).is_some() {
                continue;
            }
            let Some(&max_bytes) = self.0.max_bytes.get(name) else {
                return Err(Error::new(
                    ErrorKind::Unrepresentable,
                    "the server does not list this character set",
                )
                .at("character set", name));
            };
            let charset = load::load(conn, name, max_bytes).await?;
            tracing::debug!(charset = name, "conversion table loaded");
            let mut loaded = self.0.loaded.write().unwrap_or_else(PoisonError::into_inner);
            loaded.insert(name.to_owned(), charset);
        }
        Ok(())
    }

    /// A character set by name; `None` when it has to be [required](Self::require) first.
    pub fn by_name(&self, name: &str) -> Option<Charset> {
        let loaded = self.0.loaded.read().unwrap_or_else(PoisonError::into_inner);
        loaded.get(name).cloned().or_else(|| Charset::native(name))
    }

    /// Name of the character set of a collation; `None` when the server has no such collation.
    pub fn name_of_collation(&self, id: u16) -> Option<&str> {
        self.0.collations.get(&id).map(AsRef::as_ref)
    }

    /// The character set of a collation; `None` when the server has no such collation or the set
    /// has to be [required](Self::require) first.
    pub fn by_collation(&self, id: u16) -> Option<Charset> {
        self.by_name(self.name_of_collation(id)?)
    }
}

impl fmt::Debug for Charsets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Charsets").field("collations", &self.0.collations.len()).finish_non_exhaustive()
    }
}
