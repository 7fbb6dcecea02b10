//! Whose a server is: it decides about its protocol and its catalogs.
//!
//! What a database of it takes in SQL is the [dialect](crate::dialect) of a target.

use crate::connect::Server;

/// PostgreSQL, or what was forked from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Family {
    /// PostgreSQL.
    #[default]
    PostgreSql,
    /// openGauss, forked from 9.2.4: another way of logging in, other layouts in the stream, its own catalogs.
    OpenGauss,
}

impl Family {
    /// Whose a server is.
    pub(crate) fn of(server: &Server) -> Self {
        if server.dialect.is_opengauss() { Self::OpenGauss } else { Self::PostgreSql }
    }

    /// Whether it is openGauss's.
    pub(crate) fn is_opengauss(self) -> bool {
        self == Self::OpenGauss
    }
}
