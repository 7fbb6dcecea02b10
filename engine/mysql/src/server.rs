//! What the source server is and what it can do, asked once.

use engine_core::endpoint::{Endpoint, FOREIGN_KEY_CASCADES, UNLOGGED};
use engine_core::{Error, ErrorKind, Result};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};

use crate::error::server_error;

/// Whose server it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavor {
    /// MySQL, and servers that answer like it.
    MySql,
    /// MariaDB.
    MariaDb,
}

/// How transactions of the binlog are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GtidMode {
    /// By file and position: MySQL with `gtid_mode` other than `ON`.
    Off,
    /// By MySQL's GTID sets.
    MySql,
    /// By MariaDB's domain-server-sequence triples.
    MariaDb,
}

/// The server as it described itself when the source was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Whose server it is.
    pub flavor: Flavor,
    /// Version digits, e.g. `9.7.4`.
    pub version: String,
    /// The same, to compare.
    pub version_number: (u16, u16, u16),
    /// How transactions are told apart.
    pub gtid_mode: GtidMode,
    /// `gtid_mode` as the server says it; `mariadb` on MariaDB.
    pub gtid_mode_text: String,
    /// `@@server_id`
    pub server_id: u64,
    /// `@@server_uuid` of MySQL, `@@server_uid` of MariaDB 10.11 and later.
    pub server_uuid: Option<String>,
    /// Whether there is a binlog.
    pub log_bin: bool,
    /// `@@lower_case_table_names`
    pub lower_case_table_names: u8,
    /// Whether what a foreign key's action does to a child row is in the binlog.
    pub logs_cascades: bool,
}

impl Server {
    /// `MySQL 9.7.4`
    pub(crate) fn name_and_version(&self) -> String {
        let name = match self.flavor {
            Flavor::MySql => "MySQL",
            Flavor::MariaDb => "MariaDB",
        };
        format!("{name} {}", self.version)
    }

    /// Asks the server.
    pub async fn probe(conn: &mut Conn) -> Result<Self> {
        let failed = |error| server_error("the server's settings can't be read", error);
        let text = "SELECT VERSION(), @@version_comment, @@server_id, @@log_bin, @@lower_case_table_names";
        let row: Option<(String, String, u64, u8, u8)> = conn.query_first(text).await.map_err(failed)?;
        let (version_text, comment, server_id, log_bin, lower_case_table_names) =
            row.ok_or_else(|| Error::new(ErrorKind::Internal, "the server answered nothing about itself"))?;
        let flavor = if version_text.contains("MariaDB") || comment.contains("MariaDB") {
            Flavor::MariaDb
        } else {
            Flavor::MySql
        };
        let version_number = parse_version(&version_text).ok_or_else(|| {
            Error::new(ErrorKind::Precondition, "the server's version can't be read").because(&version_text)
        })?;
        let variables: Vec<Row> = conn
            .query(
                "SHOW GLOBAL VARIABLES WHERE Variable_name IN \
                 ('gtid_mode', 'server_uuid', 'server_uid', 'innodb_native_foreign_keys')",
            )
            .await
            .map_err(failed)?;
        let variable = |name: &str| {
            variables.iter().find_map(|row| {
                let found: String = row.get_opt(0)?.ok()?;
                if found == name { row.get_opt::<String, _>(1)?.ok() } else { None }
            })
        };
        let mysql_mode = variable("gtid_mode");
        let (gtid_mode, gtid_mode_text) = match (flavor, mysql_mode) {
            (Flavor::MariaDb, _) => (GtidMode::MariaDb, "mariadb".to_owned()),
            (Flavor::MySql, Some(mode)) if mode == "ON" => (GtidMode::MySql, mode),
            (Flavor::MySql, mode) => (GtidMode::Off, mode.unwrap_or_else(|| "OFF".to_owned())),
        };
        let (major, minor, patch) = version_number;
        Ok(Self {
            flavor,
            version: format!("{major}.{minor}.{patch}"),
            version_number,
            gtid_mode,
            gtid_mode_text,
            server_id,
            server_uuid: variable("server_uuid").or_else(|| variable("server_uid")),
            log_bin: log_bin != 0,
            lower_case_table_names,
            // MySQL 9.6 moved the actions from InnoDB, which logs none of them, into SQL; the
            // variable came with that, and turns it back.
            logs_cascades: flavor == Flavor::MySql
                && variable("innodb_native_foreign_keys").is_some_and(|native| native == "OFF"),
        })
    }

    /// The statement that shows the end of the binlog: file, position, …
    pub fn binlog_status_statement(&self) -> &'static str {
        // MySQL 8.2 introduced the new words and 8.4 dropped the old ones; MariaDB keeps the old.
        if self.flavor == Flavor::MySql && self.version_number >= (8, 2, 0) {
            "SHOW BINARY LOG STATUS"
        } else {
            "SHOW MASTER STATUS"
        }
    }

    /// What plugins and messages see.
    pub fn endpoint(&self) -> Endpoint {
        let attribute = |name: &str, value: &dyn ToString| (name.to_owned(), value.to_string());
        let mut attributes = vec![
            attribute("lower_case_table_names", &self.lower_case_table_names),
            attribute("gtid_mode", &self.gtid_mode_text),
            attribute("server_id", &self.server_id),
            attribute(FOREIGN_KEY_CASCADES, &if self.logs_cascades { "logged" } else { UNLOGGED }),
        ];
        attributes.extend(self.server_uuid.as_ref().map(|uuid| attribute("server_uuid", uuid)));
        Endpoint {
            engine: match self.flavor {
                Flavor::MySql => "mysql".to_owned(),
                Flavor::MariaDb => "mariadb".to_owned(),
            },
            version: self.version.clone(),
            attributes,
        }
    }
}

/// Reads `9.7.4-2`, `10.11.19-MariaDB-…`, `5.5.5-10.4.1-MariaDB` (the prefix is for old replicas).
fn parse_version(text: &str) -> Option<(u16, u16, u16)> {
    let text = text.strip_prefix("5.5.5-").filter(|rest| rest.contains("MariaDB")).unwrap_or(text);
    let digits = text.split(|c: char| !(c.is_ascii_digit() || c == '.')).next()?;
    let mut numbers = digits.split('.').map(|part| part.parse::<u16>().ok());
    Some((numbers.next()??, numbers.next()??, numbers.next().flatten().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::parse_version;

    #[test]
    fn versions() {
        assert_eq!(parse_version("9.7.4-2"), Some((9, 7, 4)));
        assert_eq!(parse_version("8.0.36-0ubuntu0.22.04.1"), Some((8, 0, 36)));
        assert_eq!(parse_version("10.11.19-MariaDB-0+deb12u1-log"), Some((10, 11, 19)));
        assert_eq!(parse_version("5.5.5-10.4.1-MariaDB"), Some((10, 4, 1)));
        assert_eq!(parse_version("garbage"), None);
    }
}
