//! How a database is addressed, and what it says it is.

use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use std::fmt;

use crate::error::{Error, ErrorKind, Result};

/// A parsed `mysql://user:password@host:port/database?option=value`.
///
/// Displays without the password.
#[derive(Debug, Clone)]
pub struct EndpointUrl {
    /// `mysql`, `mariadb`, `postgres` or `opengauss`.
    pub scheme: String,
    /// Account; empty when none was given.
    pub user: String,
    /// Password, when one was given.
    pub password: Option<SecretString>,
    /// Host name or address.
    pub host: String,
    /// Port, or the scheme's usual one.
    pub port: u16,
    /// Database, when one was given.
    pub database: Option<String>,
    /// Options after `?`, in order.
    pub options: Vec<(String, String)>,
}

impl EndpointUrl {
    /// Reads a URL. `postgresql://` is taken as `postgres://`.
    pub fn parse(text: &str) -> Result<Self> {
        let shape = "a URL looks like mysql://user:password@host:3306/database";
        // The text may hold a password, so it is never repeated.
        let bad = |why: &str| {
            Error::new(ErrorKind::Usage, "the database URL can't be read").because(why).help(shape)
        };
        let url = url::Url::parse(text).map_err(|error| bad(&error.to_string()))?;
        let scheme = match url.scheme() {
            "postgresql" => "postgres",
            known @ ("mysql" | "mariadb" | "postgres" | "opengauss") => known,
            other => {
                return Err(bad(&format!(
                    "the scheme '{other}' is none of mysql, mariadb, postgres, opengauss"
                )));
            }
        };
        let decode = |part: &str| {
            percent_decode_str(part)
                .decode_utf8()
                .map(std::borrow::Cow::into_owned)
                .map_err(|_| bad("a %-escape is not UTF-8"))
        };
        let host = match url.host_str() {
            Some(host) if !host.is_empty() => decode(host)?.trim_matches(['[', ']']).to_owned(),
            _ => return Err(bad("there is no host")),
        };
        let default_port = if matches!(scheme, "mysql" | "mariadb") { 3306 } else { 5432 };
        let database = decode(url.path().trim_start_matches('/'))?;
        if database.contains('/') {
            return Err(bad("the path must be one database name"));
        }
        Ok(Self {
            scheme: scheme.to_owned(),
            user: decode(url.username())?,
            password: url.password().map(decode).transpose()?.map(SecretString::from),
            host,
            port: url.port().unwrap_or(default_port),
            database: (!database.is_empty()).then_some(database),
            options: url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned())).collect(),
        })
    }

    /// Whether what its databases hold are schemas, and these the tables: a connection is to one database.
    pub fn has_schemas(&self) -> bool {
        matches!(self.scheme.as_str(), "postgres" | "opengauss")
    }

    /// The password's text; for handing to a driver only.
    pub fn password(&self) -> Option<&str> {
        self.password.as_ref().map(ExposeSecret::expose_secret)
    }
}

impl fmt::Display for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme)?;
        if !self.user.is_empty() {
            write!(f, "{}@", self.user)?;
        }
        write!(f, "{}:{}", self.host, self.port)?;
        match &self.database {
            Some(database) => write!(f, "/{database}"),
            None => Ok(()),
        }
    }
}

/// Attribute of a source: whether the changes that foreign keys' actions make to child rows are in
/// its log. [`UNLOGGED`] when they are not; absent when the source has no such actions.
pub const FOREIGN_KEY_CASCADES: &str = "foreign_key_cascades";
/// See [`FOREIGN_KEY_CASCADES`].
pub const UNLOGGED: &str = "unlogged";

/// Attribute of a target: [`FULLTEXT_AND_SPATIAL`] when it has such indexes and they mean what they mean in a
/// source of its kind; absent when it hasn't.
pub const INDEX_KINDS: &str = "index_kinds";
/// Attribute of a target whose tables several tasks can write to, each its own rows.
pub const SHARED_TABLES: &str = "shared_tables";
/// See [`INDEX_KINDS`].
pub const FULLTEXT_AND_SPATIAL: &str = "fulltext,spatial";

/// What a database says it is; plugins see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// `mysql`, `mariadb`, `postgres` or `opengauss`.
    pub engine: String,
    /// Its version, e.g. `9.7.4`, `10.11.6`, `15.18`.
    pub version: String,
    /// Facts a plugin may use, e.g. `lower_case_table_names`.
    pub attributes: Vec<(String, String)>,
}

impl Endpoint {
    /// The value of an attribute.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_escapes_and_defaults() {
        let url =
            EndpointUrl::parse("mysql://mig:p%40ss@db.example/shop?ssl-mode=required").expect("a good URL");
        assert_eq!((url.port, url.password(), url.database.as_deref()), (3306, Some("p@ss"), Some("shop")));
        assert_eq!(url.to_string(), "mysql://mig@db.example:3306/shop");
        assert_eq!(url.options, [("ssl-mode".to_owned(), "required".to_owned())]);
    }

    #[test]
    fn never_shows_a_password() {
        let url = EndpointUrl::parse("postgresql://a:hidden@h/b").expect("a good URL");
        assert!(!format!("{url:?}{url}").contains("hidden"));
        let error = EndpointUrl::parse("oracle://a:hidden@h/b").expect_err("an unknown scheme");
        assert!(!error.to_string().contains("hidden"));
    }
}
