//! What a definition leaves to the server: which collation a character set stands for, and which
//! one a database has.

use std::collections::HashMap;

use engine_core::Result;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};

use super::parse::Parsed;
use super::session::Session;
use super::syntax::CharsetChoice;
use crate::error::server_error;
use crate::server::{Flavor, Server};

/// Collations by name and number, and the databases' own.
#[derive(Debug, Clone, Default)]
pub(super) struct Environment {
    collations: Vec<Collation>,
    /// Most bytes of a character, by character set.
    longest: HashMap<String, u64>,
    /// Collation by database.
    databases: HashMap<String, String>,
}

#[derive(Debug, Clone)]
struct Collation {
    name: String,
    charset: String,
    number: u64,
    is_default: bool,
}

impl Environment {
    /// Asks the server.
    pub(super) async fn read(conn: &mut Conn, server: &Server) -> Result<Self> {
        let failed = |error| server_error("the server's collations can't be read", error);
        // The newer collations of MariaDB belong to several character sets.
        let collations = if server.flavor == Flavor::MariaDb && server.version_number >= (10, 10, 1) {
            "SELECT full_collation_name, character_set_name, id, is_default \
             FROM information_schema.collation_character_set_applicability WHERE id IS NOT NULL"
        } else {
            "SELECT collation_name, character_set_name, id, is_default FROM information_schema.collations \
             WHERE character_set_name IS NOT NULL"
        };
        let rows: Vec<(String, String, u64, Option<String>)> =
            conn.query(collations).await.map_err(failed)?;
        let collations = rows
            .into_iter()
            .map(|(name, charset, number, default)| Collation {
                name,
                charset,
                number,
                is_default: default.as_deref() == Some("Yes"),
            })
            .collect();
        let longest: Vec<(String, u64)> = conn
            .query("SELECT character_set_name, maxlen FROM information_schema.character_sets")
            .await
            .map_err(failed)?;
        let databases: Vec<Row> = conn
            .query("SELECT schema_name, default_collation_name FROM information_schema.schemata")
            .await
            .map_err(failed)?;
        let databases = databases.iter().filter_map(|row| Some((row.get(0)?, row.get(1)?))).collect();
        Ok(Self { collations, longest: longest.into_iter().collect(), databases })
    }

    fn by_name(&self, name: &str) -> Parsed<&Collation> {
        let name = name.to_ascii_lowercase();
        let full = match name.strip_prefix("utf8_") {
            Some(rest) if self.collations.iter().all(|known| known.name != name) => format!("utf8mb3_{rest}"),
            _ => name,
        };
        self.collations
            .iter()
            .find(|known| known.name == full)
            .ok_or_else(|| format!("the server does not know the collation {full}"))
    }

    fn by_number(&self, number: u16) -> Parsed<&Collation> {
        self.collations
            .iter()
            .find(|known| known.number == u64::from(number))
            .ok_or_else(|| format!("the server does not know the collation of number {number}"))
    }

    /// Whether text under the collation is UTF-8.
    pub(super) fn is_utf8(&self, collation: u16) -> bool {
        self.by_number(collation).is_ok_and(|collation| collation.charset.starts_with("utf8"))
    }

    fn default_of(&self, charset: &str, session: &Session) -> Parsed<&Collation> {
        let charset = charset.to_ascii_lowercase();
        let charset =
            if charset == "utf8" && self.longest.contains_key("utf8mb3") { "utf8mb3" } else { &charset };
        if charset == "utf8mb4"
            && let Some(number) = session.utf8mb4
        {
            return self.by_number(number);
        }
        if session.collations.as_ref().is_some_and(|pairs| !pairs.is_empty()) {
            return Err("the session has collations of its own for character sets".to_owned());
        }
        self.collations
            .iter()
            .find(|known| known.charset == charset && known.is_default)
            .ok_or_else(|| format!("the server does not know the character set {charset}"))
    }

    /// The collation that a choice comes to, where it would else be `inherited`.
    pub(super) fn resolve(
        &self,
        choice: &CharsetChoice,
        inherited: Option<&str>,
        session: &Session,
    ) -> Parsed<(String, String)> {
        let chosen = match (&choice.collation, &choice.charset, inherited) {
            (Some(collation), Some(charset), _) if collation.eq_ignore_ascii_case("uca1400_ai_ci") => {
                return Err(format!("which collation {collation} is for {charset} is not known"));
            }
            (Some(collation), _, _) => self.by_name(collation)?,
            (None, Some(charset), _) => self.default_of(charset, session)?,
            (None, None, Some(inherited)) => self.by_name(inherited)?,
            (None, None, None) => return Err("the table's own collation is not known".to_owned()),
        };
        let chosen = if choice.binary { self.by_name(&format!("{}_bin", chosen.charset))? } else { chosen };
        Ok((chosen.charset.clone(), chosen.name.clone()))
    }

    /// The collation that a database gives to its tables.
    pub(super) fn of_database(&self, database: &str, session: &Session) -> Parsed<String> {
        if let Some(number) = session.database {
            return self.by_number(number).map(|collation| collation.name.clone());
        }
        self.databases
            .get(database)
            .cloned()
            .ok_or_else(|| format!("the collation of database {database} is not known"))
    }

    /// Most bytes of a character.
    pub(super) fn longest(&self, charset: &str) -> u64 {
        self.longest.get(charset).copied().unwrap_or(4)
    }

    #[cfg(test)]
    pub(super) fn for_tests(flavor: Flavor) -> Self {
        let collation = |name: &str, charset: &str, number, is_default| Collation {
            name: name.to_owned(),
            charset: charset.to_owned(),
            number,
            is_default,
        };
        let general = flavor == Flavor::MariaDb;
        Self {
            collations: vec![
                collation("latin1_swedish_ci", "latin1", 8, true),
                collation("latin1_bin", "latin1", 47, false),
                collation("utf8mb3_general_ci", "utf8mb3", 33, true),
                collation("utf8mb4_general_ci", "utf8mb4", 45, general),
                collation("utf8mb4_bin", "utf8mb4", 46, false),
                collation("utf8mb4_0900_ai_ci", "utf8mb4", 255, !general),
                collation("binary", "binary", 63, true),
            ],
            longest: [("latin1", 1), ("utf8mb3", 3), ("utf8mb4", 4)]
                .map(|(name, bytes)| (name.to_owned(), bytes))
                .into(),
            databases: [("d".to_owned(), "utf8mb4_general_ci".to_owned())].into(),
        }
    }
}
