//! What an account is allowed, by the server's own list.

use engine_core::Result;
use std::collections::HashSet;

use super::control::field;
use super::failure::translate;
use super::session::Session;

/// The account's privileges on databases.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Grants {
    /// Pattern of a database's name, and privileges in upper case.
    on: Vec<(String, HashSet<String>)>,
    /// It has roles too, whose privileges are not among them.
    pub(super) has_roles: bool,
}

impl Grants {
    pub(super) async fn read(session: &mut Session) -> Result<Self> {
        let rows = session
            .query("SHOW GRANTS")
            .await
            .map_err(|error| translate(error, "the account's privileges can't be read"))?;
        let mut grants = Self::default();
        for mut row in rows {
            grants.add(&field::<String>(&mut row, 0)?);
        }
        Ok(grants)
    }

    /// Takes a line: `GRANT SELECT, INSERT ON `shop%`.* TO …`.
    fn add(&mut self, line: &str) {
        let Some(rest) = line.strip_prefix("GRANT ") else { return };
        let Some((privileges, place)) = rest.split_once(" ON ") else {
            self.has_roles = true;
            return;
        };
        let Some((object, _)) = place.split_once(" TO ") else { return };
        // Of a single table, routine or proxy is not what counts here.
        let Some(database) = object.strip_suffix(".*") else { return };
        let pattern =
            if database == "*" { "%".to_owned() } else { database.trim_matches('`').replace("``", "`") };
        let privileges = privileges.split(',').map(|name| name.trim().to_uppercase()).collect();
        self.on.push((pattern, privileges));
    }

    /// Whether the account has a privilege on a whole database.
    pub(super) fn allow(&self, privilege: &str, database: &str) -> bool {
        self.on.iter().any(|(pattern, privileges)| {
            (privileges.contains(privilege) || privileges.contains("ALL PRIVILEGES"))
                && matches(pattern, database)
        })
    }
}

/// Whether a pattern with `%`, `_` and `\` has a name.
fn matches(pattern: &str, name: &str) -> bool {
    let (mut pattern_rest, mut name_rest) = (pattern.chars(), name.chars());
    match pattern_rest.next() {
        None => name.is_empty(),
        Some('%') => {
            let rest = pattern_rest.as_str();
            name.char_indices()
                .map(|(place, _)| place)
                .chain([name.len()])
                .any(|place| name.get(place..).is_some_and(|name| matches(rest, name)))
        }
        Some('_') => name_rest.next().is_some() && matches(pattern_rest.as_str(), name_rest.as_str()),
        Some('\\') => {
            let literal = pattern_rest.next();
            literal.is_some()
                && name_rest.next() == literal
                && matches(pattern_rest.as_str(), name_rest.as_str())
        }
        Some(literal) => {
            name_rest.next() == Some(literal) && matches(pattern_rest.as_str(), name_rest.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases_by_pattern() {
        let mut grants = Grants::default();
        grants.add("GRANT SELECT, INSERT ON `shop\\_%`.* TO `mig`@`%`");
        grants.add("GRANT ALL PRIVILEGES ON `_migration`.* TO `mig`@`%`");
        grants.add("GRANT `writer`@`%` TO `mig`@`%`");
        grants.add("GRANT DELETE ON `shop_1`.`orders` TO `mig`@`%`");
        assert!(grants.allow("INSERT", "shop_1") && !grants.allow("INSERT", "shopping"));
        assert!(!grants.allow("DELETE", "shop_1"));
        assert!(grants.allow("DROP", "_migration") && grants.allow("DROP", "xmigration"));
        assert!(grants.has_roles);
    }
}
