//! Connections: what the URL asks for, the session that every reader needs, and errors that say what
//! to do. What a session that writes sets is in `target::session`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use engine_core::endpoint::EndpointUrl;
use engine_core::{Error, ErrorKind, Result};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, DriverError, Error as DriverFailure, Opts, OptsBuilder, SslOpts};

use crate::error::server_error;
use crate::{account, sql};

/// Longest wait for a connection to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// The protocol's limit for one row or statement, in bytes.
const MAX_PACKET: usize = 1 << 30;

/// The session of every connection.
///
/// - Times are UTC, so that TIMESTAMP means the same here and in the binlog.
/// - Under this `sql_mode` every stored value can be read and compared, dates that are none included, and
///   CHAR comes without its padding.
/// - `character_set_results = NULL` makes text arrive in the column's own character set, as the
///   binlog has it, so that one codec serves both.
/// - The write timeout lets a target be slow for an hour without the server giving up on the read.
///
/// Versioned comments are read by the servers that know the variable: `/*!80000` by MySQL 8 and
/// later but not by MariaDB, `/*M!` by MariaDB alone.
const SESSION: &str = "SET SESSION time_zone = '+00:00', sql_mode = 'ALLOW_INVALID_DATES', character_set_results = NULL, \
    net_write_timeout = 3600, net_read_timeout = 3600, wait_timeout = 86400, \
    sql_auto_is_null = 0, sql_select_limit = DEFAULT \
    /*!80000 , max_execution_time = 0, information_schema_stats_expiry = 0 */\
    /*!80030 , show_gipk_in_create_table_and_information_schema = ON */\
    /*M!100100 , max_statement_time = 0 */";

/// How much TLS a connection must have; the names are those of MySQL's own clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// None.
    Disabled,
    /// Where the server has it, unverified.
    Preferred,
    /// Always, unverified.
    Required,
    /// Always, with a certificate of a known authority.
    VerifyCa,
    /// Always, with a certificate of a known authority for this very host.
    VerifyIdentity,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Reader,
    Writer,
}

/// Opens connections to one server.
#[derive(Debug, Clone)]
pub struct Connector {
    url: EndpointUrl,
    tls: TlsMode,
    authority: Option<PathBuf>,
}

impl Connector {
    /// Reads the options of `url`: `ssl-mode` (`disabled`, `preferred` (the default), `required`,
    /// `verify-ca`, `verify-identity`), `ssl-ca` (a PEM file) and `server-id` (to follow changes
    /// under). Connects to nothing.
    pub fn new(url: EndpointUrl) -> Result<Self> {
        let mut mode = None;
        let mut authority = None;
        for (name, value) in &url.options {
            match name.as_str() {
                "ssl-mode" => mode = Some(tls_mode(value)?),
                "ssl-ca" => authority = Some(PathBuf::from(value)),
                // Read by the change stream.
                "server-id" => {}
                other => {
                    return Err(usage(format!("the URL option '{other}' is unknown"))
                        .help("known options are ssl-mode, ssl-ca and server-id"));
                }
            }
        }
        let tls = match (mode, &authority) {
            (Some(TlsMode::Disabled | TlsMode::Preferred | TlsMode::Required), Some(_)) => {
                return Err(usage("ssl-ca is given, but the ssl-mode verifies no certificate")
                    .help("set ssl-mode to verify-ca or verify-identity"));
            }
            (Some(mode), _) => mode,
            (None, Some(_)) => TlsMode::VerifyCa,
            (None, None) => TlsMode::Preferred,
        };
        if let Some(file) = &authority {
            readable(file)?;
        }
        // One provider for the whole process; whoever came first has set the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Ok(Self { url, tls, authority })
    }

    /// The URL, for messages; it displays without the password.
    pub fn url(&self) -> &EndpointUrl {
        &self.url
    }

    /// Opens a connection to read over, with the session set up.
    pub async fn open(&self) -> Result<Conn> {
        let statements = [SESSION, "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ"];
        self.open_as(Role::Reader, &statements).await
    }

    /// As [`open`](Self::open), with no database selected: the one that the URL names may not be there.
    pub(crate) async fn open_unselected(&self) -> Result<Conn> {
        let statements = [SESSION, "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ"];
        self.open_as(Role::Writer, &statements).await
    }

    /// Opens a connection to write over, set up by `statements`. No database is selected: the one that
    /// the URL names may not be there yet. Statements count the rows that they find, not those whose
    /// values they change.
    pub(crate) async fn open_writer(&self, statements: &[&str]) -> Result<Conn> {
        self.open_as(Role::Writer, statements).await
    }

    async fn open_as(&self, role: Role, statements: &[&str]) -> Result<Conn> {
        let encrypted = self.tls != TlsMode::Disabled;
        let opened = match self.attempt(role, encrypted).await {
            Err(Attempt::Failed(DriverFailure::Driver(DriverError::NoClientSslFlagFromServer)))
                if self.tls == TlsMode::Preferred =>
            {
                tracing::debug!(server = %self.url, "the server has no TLS; going on without");
                self.attempt(role, false).await
            }
            other => other,
        };
        let mut conn = opened.map_err(|failure| self.explain(failure))?;
        for statement in statements {
            conn.query_drop(*statement).await.map_err(|error| {
                server_error("the session can't be set up", error).at("server", &self.url)
            })?;
        }
        Ok(conn)
    }

    async fn attempt(&self, role: Role, encrypted: bool) -> Result<Conn, Attempt> {
        let connecting = Conn::new(self.options(role, encrypted));
        match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(Ok(conn)) => Ok(conn),
            Ok(Err(error)) => Err(Attempt::Failed(error)),
            Err(_) => Err(Attempt::TimedOut),
        }
    }

    fn options(&self, role: Role, encrypted: bool) -> Opts {
        let url = &self.url;
        let tls = encrypted.then(|| {
            let verified = matches!(self.tls, TlsMode::VerifyCa | TlsMode::VerifyIdentity);
            SslOpts::default()
                .with_root_certs(self.authority.iter().cloned().map(Into::into).collect())
                .with_danger_accept_invalid_certs(!verified)
                .with_danger_skip_domain_validation(self.tls != TlsMode::VerifyIdentity)
        });
        OptsBuilder::default()
            .ip_or_hostname(url.host.clone())
            .tcp_port(url.port)
            .user((!url.user.is_empty()).then(|| url.user.clone()))
            .pass(url.password().map(str::to_owned))
            .db_name(url.database.clone().filter(|_| role == Role::Reader))
            .client_found_rows(role == Role::Writer)
            .ssl_opts(tls)
            .prefer_socket(false)
            .tcp_keepalive(Some(Duration::from_secs(30)))
            .max_allowed_packet(Some(MAX_PACKET))
            .wait_timeout(Some(86_400))
            .into()
    }

    fn explain(&self, failure: Attempt) -> Error {
        let refused = |what: &str| Error::new(ErrorKind::Connection, what).at("server", &self.url);
        let error = match failure {
            Attempt::TimedOut => {
                return refused("the server does not answer")
                    .because(format!("no connection within {} seconds", CONNECT_TIMEOUT.as_secs()))
                    .help("check host, port and firewall");
            }
            Attempt::Failed(error) => error,
        };
        match &error {
            DriverFailure::Server(server) => match server.code {
                1045 | 1698 => refused("the server refused the login")
                    .because(&server.message)
                    .help("check user and password of the URL, and from which hosts the account may log in"),
                1049 => refused("the server has no such database")
                    .because(&server.message)
                    .help("check the name after the host in the URL; SHOW DATABASES lists what there is"),
                1044 => Error::new(ErrorKind::Precondition, "the account may not use the database")
                    .at("server", &self.url)
                    .because(&server.message)
                    .help(format!(
                        "GRANT SELECT ON {}.* TO {}",
                        sql::identifier(self.url.database.as_deref().unwrap_or_default()),
                        account::denied(&server.message)
                    )),
                1040 | 1203 | 1226 => refused("the server has no connection left for the account")
                    .because(&server.message)
                    .help("lower --parallelism, or raise max_connections or the account's limit"),
                1130 => refused("the server refuses connections from this host")
                    .because(&server.message)
                    .help("create the account for this host, or for '%'"),
                _ => refused("the server refused the connection").because(&server.message),
            },
            DriverFailure::Driver(DriverError::NoClientSslFlagFromServer) => {
                refused("the server has no TLS, but the URL asks for it")
                    .help("enable TLS on the server, or set ssl-mode=disabled")
            }
            DriverFailure::Driver(DriverError::UnknownAuthPlugin { name }) => {
                refused("the account logs in by a method that is not supported")
                    .because(format!("the server asks for the plugin {name}"))
                    .help("use an account with caching_sha2_password or mysql_native_password")
            }
            DriverFailure::Io(mysql_async::IoError::Tls(tls)) => refused("the TLS handshake failed")
                .because(tls)
                .help("check ssl-mode and ssl-ca of the URL against the server's certificate"),
            DriverFailure::Io(mysql_async::IoError::Io(io))
                if io.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>) =>
            {
                refused("the TLS handshake failed")
                    .because(io)
                    .help("check ssl-mode and ssl-ca of the URL against the server's certificate")
            }
            DriverFailure::Io(io) => refused("the server can't be reached")
                .because(io)
                .help("check host and port, and that the server runs and listens there"),
            _ => server_error("the connection can't be opened", error).at("server", &self.url),
        }
    }
}

/// Why a connection was not made.
enum Attempt {
    TimedOut,
    Failed(DriverFailure),
}

fn usage(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Usage, what)
}

fn tls_mode(text: &str) -> Result<TlsMode> {
    match text.to_ascii_lowercase().replace('_', "-").as_str() {
        "disabled" => Ok(TlsMode::Disabled),
        "preferred" => Ok(TlsMode::Preferred),
        "required" => Ok(TlsMode::Required),
        "verify-ca" => Ok(TlsMode::VerifyCa),
        "verify-identity" => Ok(TlsMode::VerifyIdentity),
        _ => Err(usage(format!("the ssl-mode '{text}' is unknown"))
            .help("it is one of disabled, preferred, required, verify-ca, verify-identity")),
    }
}

fn readable(file: &Path) -> Result<()> {
    match std::fs::File::open(file) {
        Ok(_) => Ok(()),
        Err(error) => {
            Err(usage("the file of ssl-ca can't be read").at("file", file.display()).caused_by(error))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connector(options: &str) -> Result<Connector> {
        Connector::new(
            EndpointUrl::parse(&format!("mysql://u:hidden@localhost/d{options}")).expect("a good URL"),
        )
    }

    #[test]
    fn tls_is_preferred_unless_told() {
        assert_eq!(connector("").expect("no options").tls, TlsMode::Preferred);
        assert_eq!(connector("?ssl-mode=VERIFY_IDENTITY").expect("a mode").tls, TlsMode::VerifyIdentity);
    }

    #[test]
    fn options_that_mean_nothing_are_refused() {
        for options in ["?ssl-mode=maybe", "?sslmode=required", "?ssl-ca=/nonexistent/ca.pem"] {
            let error = connector(options).expect_err(options);
            assert_eq!(error.kind(), ErrorKind::Usage, "{error}");
        }
        let error = connector("?ssl-mode=required&ssl-ca=/dev/null").expect_err("an authority nobody asks");
        assert!(error.to_string().contains("verify-ca"), "{error}");
    }

    #[test]
    fn the_password_stays_inside() {
        assert!(!format!("{:?}", connector("").expect("no options")).contains("hidden"));
    }

    #[tokio::test]
    async fn a_closed_port_is_named() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        drop(listener);
        let url = EndpointUrl::parse(&format!("mysql://u@127.0.0.1:{port}/")).expect("a good URL");
        let error = Connector::new(url).expect("no options").open().await.expect_err("nobody listens");
        assert_eq!(error.kind(), ErrorKind::Connection);
        assert!(error.to_string().contains(&format!("mysql://u@127.0.0.1:{port}")), "{error}");
    }
}
