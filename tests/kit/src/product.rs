//! The database products the kit can start.

use std::fmt;

/// A database product, in the version the tests are written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Product {
    /// `MySQL` 9, the newest packaged.
    MySql,
    /// `MariaDB` 10.11, as in Debian 12.
    MariaDb,
    /// `PostgreSQL` 15, as in Debian 12.
    Postgres15,
    /// `PostgreSQL` 18.
    Postgres18,
}

/// Where Debian packages of a product come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Suite {
    /// Debian 12.
    Bookworm,
    /// The rolling suite, for products and versions Debian 12 has not.
    Sid,
}

impl Suite {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Sid => "sid",
        }
    }
}

impl Product {
    /// Every product, in the order they are listed to people.
    pub const ALL: [Self; 4] = [Self::MySql, Self::MariaDb, Self::Postgres15, Self::Postgres18];

    /// The product's short name, used for directories and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MySql => "mysql",
            Self::MariaDb => "mariadb",
            Self::Postgres15 => "postgres15",
            Self::Postgres18 => "postgres18",
        }
    }

    /// The environment variable that names a server to use instead of starting one.
    pub const fn variable(self) -> &'static str {
        match self {
            Self::MySql => "TEST_MYSQL_URL",
            Self::MariaDb => "TEST_MARIADB_URL",
            Self::Postgres15 => "TEST_POSTGRES_URL",
            Self::Postgres18 => "TEST_POSTGRES18_URL",
        }
    }

    /// Whether the product speaks the `PostgreSQL` protocol.
    pub const fn is_postgres(self) -> bool {
        matches!(self, Self::Postgres15 | Self::Postgres18)
    }

    pub(crate) const fn suite(self) -> Suite {
        match self {
            Self::MariaDb | Self::Postgres15 => Suite::Bookworm,
            Self::MySql | Self::Postgres18 => Suite::Sid,
        }
    }

    /// The packages that hold the server and its clients; apt adds what they depend on.
    pub(crate) const fn packages(self) -> &'static [&'static str] {
        match self {
            Self::MySql => &["mysql-server-core", "mysql-client-core", "mysql-client"],
            Self::MariaDb => {
                &["mariadb-server-core", "mariadb-server", "mariadb-client-core", "mariadb-client"]
            }
            Self::Postgres15 => &["postgresql-15"],
            Self::Postgres18 => &["postgresql-18"],
        }
    }

    /// The server program: an absolute path in an unpacked root and in a Debian installation.
    pub(crate) const fn server_program(self) -> &'static str {
        match self {
            Self::MySql => "/usr/sbin/mysqld",
            Self::MariaDb => "/usr/sbin/mariadbd",
            Self::Postgres15 => "/usr/lib/postgresql/15/bin/postgres",
            Self::Postgres18 => "/usr/lib/postgresql/18/bin/postgres",
        }
    }

    /// The program that fills an empty data directory.
    pub(crate) const fn setup_program(self) -> &'static str {
        match self {
            Self::MySql => self.server_program(),
            Self::MariaDb => "/usr/bin/mariadb-install-db",
            Self::Postgres15 => "/usr/lib/postgresql/15/bin/initdb",
            Self::Postgres18 => "/usr/lib/postgresql/18/bin/initdb",
        }
    }

    /// The command-line client.
    pub(crate) const fn client_program(self) -> &'static str {
        match self {
            Self::MySql => "/usr/bin/mysql",
            Self::MariaDb => "/usr/bin/mariadb",
            Self::Postgres15 => "/usr/lib/postgresql/15/bin/psql",
            Self::Postgres18 => "/usr/lib/postgresql/18/bin/psql",
        }
    }

    /// The tool that writes a database as statements.
    pub(crate) const fn dump_program(self) -> &'static str {
        match self {
            Self::MySql => "/usr/bin/mysqldump",
            Self::MariaDb => "/usr/bin/mariadb-dump",
            Self::Postgres15 => "/usr/lib/postgresql/15/bin/pg_dump",
            Self::Postgres18 => "/usr/lib/postgresql/18/bin/pg_dump",
        }
    }

    /// What `--version` of the right server program prints somewhere.
    pub(crate) const fn version_mark(self) -> &'static str {
        match self {
            Self::MySql => "Ver 9.",
            Self::MariaDb => "10.11.",
            Self::Postgres15 => "(PostgreSQL) 15.",
            Self::Postgres18 => "(PostgreSQL) 18.",
        }
    }
}

impl fmt::Display for Product {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::MySql => "MySQL 9",
            Self::MariaDb => "MariaDB 10.11",
            Self::Postgres15 => "PostgreSQL 15",
            Self::Postgres18 => "PostgreSQL 18",
        })
    }
}
