//! The servers of the MySQL family.

use crate::Endpoint;

/// A server of the family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flavor {
    /// Or `MySQL`.
    pub is_mariadb: bool,
    /// Major, minor and patch.
    pub version: (u32, u32, u32),
}

impl Flavor {
    /// What the engine says of a server.
    pub fn of(endpoint: &Endpoint) -> Self {
        let mut numbers = endpoint.version.split('.').map(|part| part.parse().unwrap_or(0));
        let mut next = || numbers.next().unwrap_or(0);
        Self { is_mariadb: endpoint.engine == "mariadb", version: (next(), next(), next()) }
    }

    /// A `MySQL` of this version or newer.
    pub fn is_mysql_since(self, version: (u32, u32, u32)) -> bool {
        !self.is_mariadb && self.version >= version
    }

    /// A `MariaDB` of this version or newer.
    pub fn is_mariadb_since(self, version: (u32, u32, u32)) -> bool {
        self.is_mariadb && self.version >= version
    }

    /// What people call it.
    pub fn name(self) -> &'static str {
        if self.is_mariadb { "MariaDB" } else { "MySQL" }
    }
}
