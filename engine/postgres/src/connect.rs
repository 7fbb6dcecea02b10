//! Opening connections.

use engine_core::endpoint::{Endpoint, EndpointUrl};
use engine_core::{Error, ErrorKind, Result};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, Connection, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::dialect::Dialect;
use crate::failure;
use crate::opengauss::compatibility::{EMPTY_STRINGS, SQL_COMPATIBILITY, empty_strings};
use crate::opengauss::shim;

/// Opens connections to one server, all alike.
#[derive(Clone)]
pub(crate) struct Connector {
    url: EndpointUrl,
    config: Config,
    tls: MakeRustlsConnect,
    /// What the server is to the task, in messages.
    role: Role,
}

/// What a server is to a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Read from.
    Source,
    /// Written to.
    Target,
}

impl Role {
    /// The word for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Target => "target",
        }
    }
}

/// Longest time from the first packet to a session that is set up.
const LOGIN: Duration = Duration::from_secs(20);

/// How the engine's sessions are named to the server.
pub(crate) const APPLICATION: &str = "migration engine";

/// What a session starts with. A role's or database's own limits on time don't apply: a long load
/// is what this connection is for. `pg_settings` knows which of them the version has. Nor does a
/// setting by which a server may lose in a crash what it said was committed: the engine goes by
/// what it was told. And a server drops an engine that it does not hear of for a minute, as the engine
/// drops it, so that the locks of a connection that broke unheard do not stay for hours.
/// In openGauss's dolphin, names are quoted as everywhere and a number that is given is the one that is stored.
const SESSION: &str = "SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = 'postgres'; \
    SET extra_float_digits = 3; SET standard_conforming_strings = on; \
    SELECT pg_catalog.set_config(name, value, false) FROM pg_catalog.pg_settings JOIN (VALUES \
    ('statement_timeout', '0'), ('lock_timeout', '0'), ('idle_in_transaction_session_timeout', '0'), \
    ('idle_session_timeout', '0'), ('session_timeout', '0'), ('transaction_timeout', '0'), ('tcp_keepalives_idle', '30'), \
    ('tcp_keepalives_interval', '10'), ('tcp_keepalives_count', '3'), ('tcp_user_timeout', '60s'), \
    ('dolphin.sql_mode', 'sql_mode_strict,sql_mode_full_group,pipes_as_concat,ansi_quotes,no_auto_value_on_zero'), \
    ('dolphin.b_compatibility_mode', 'off')) AS wanted (name, value) USING (name); \
    SELECT pg_catalog.set_config('synchronous_commit', 'on', false) \
    WHERE pg_catalog.current_setting('synchronous_commit') = 'off'";

/// What the session of a source has besides: every value has one text, the same as in its stream. No schema is searched but
/// the server's own; it is named, since openGauss can take an empty literal for NULL.
const READING: &str = "; SET bytea_output = 'hex'; SET lc_monetary = 'C'; SET search_path = pg_catalog";

impl Connector {
    /// Reads what the URL asks for; connects to nothing.
    pub(crate) fn new(url: &EndpointUrl, role: Role) -> Result<Self> {
        let (ssl_mode, tls) = crate::tls::from_url(url)?;
        let mut config = Config::new();
        config
            .host(&url.host)
            .port(url.port)
            .user(&url.user)
            .ssl_mode(ssl_mode)
            .application_name(APPLICATION)
            .connect_timeout(Duration::from_secs(10))
            .keepalives_idle(Duration::from_secs(30))
            .keepalives_interval(Duration::from_secs(10))
            .keepalives_retries(3)
            .tcp_user_timeout(Duration::from_mins(1));
        if let Some(password) = url.password() {
            config.password(password);
        }
        config.dbname(url.database.as_deref().unwrap_or("postgres"));
        Ok(Self { url: url.clone(), config, tls, role })
    }

    /// The URL, which displays without its password.
    pub(crate) fn url(&self) -> &EndpointUrl {
        &self.url
    }

    /// Opens a connection and sets its session up.
    pub(crate) async fn connect(&self) -> Result<Client> {
        // The driver's own limit is on the TCP connection; a server that is just starting or just
        // going down can accept one and then say nothing.
        let login = async {
            if self.url.scheme == "opengauss" {
                return self.connect_opengauss().await;
            }
            let (client, connection) =
                self.config.connect(self.tls.clone()).await.map_err(|error| self.refused(error))?;
            self.start(client, connection).await
        };
        match tokio::time::timeout(LOGIN, login).await {
            Ok(outcome) => outcome,
            Err(_) => {
                let role = self.role.name();
                Err(Error::new(
                    ErrorKind::Transient,
                    format!("the {role} accepts connections but doesn't answer"),
                )
                .at(role, &self.url)
                .because(format!("there was no login within {} s", LOGIN.as_secs())))
            }
        }
    }

    /// Logs in by openGauss's own ways, then goes on as with PostgreSQL.
    async fn connect_opengauss(&self) -> Result<Client> {
        let role = self.role.name();
        let stream =
            shim::connect(&self.url, APPLICATION, role).await.map_err(|error| error.at(role, &self.url))?;
        // Whether to encrypt has been settled.
        let mut config = self.config.clone();
        config.ssl_mode(SslMode::Disable);
        let (client, connection) =
            config.connect_raw(stream, NoTls).await.map_err(|error| self.refused(error))?;
        self.start(client, connection).await
    }

    /// Opens the first connection and asks the server what it is.
    pub(crate) async fn describe(&self) -> Result<Server> {
        describe(&self.connect().await?).await
    }

    async fn start<S, T>(&self, client: Client, connection: Connection<S, T>) -> Result<Client>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        tokio::spawn(async move {
            // Whoever uses the connection gets an error of its own; this is the reason behind it.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to a server ended");
            }
        });
        let role = self.role.name();
        let session = match self.role {
            Role::Source => format!("{SESSION}{READING}"),
            Role::Target => SESSION.to_owned(),
        };
        client
            .batch_execute(&session)
            .await
            .map_err(|error| failure::translate(error, format!("a session can't be set up on the {role}")))?;
        Ok(client)
    }

    fn refused(&self, error: tokio_postgres::Error) -> Error {
        let role = self.role.name();
        let at = |error: Error| error.at(role, &self.url);
        if let Some(server) = error.as_db_error() {
            let code = server.code().code().to_owned();
            let what = match code.as_str() {
                "28P01" => format!("the {role} refused the password"),
                "28000" => format!("the {role} refused the login"),
                "3D000" => format!("the {role} has no such database"),
                "42501" => format!("the account may not connect to the {role}'s database"),
                _ => format!("the {role} refused the connection"),
            };
            let help = match code.as_str() {
                "28P01" => Some(format!(
                    "check user and password of the {role} URL; a % in a password is written %25"
                )),
                "28000" => Some(
                    "check the user, and the server's pg_hba.conf for this host, user and sslmode".to_owned(),
                ),
                "3D000" => Some(format!("create the database first, or name another one in the {role} URL")),
                "42501" => Some("GRANT CONNECT ON DATABASE to the account".to_owned()),
                _ => None,
            };
            let translated = failure::translate(error, what);
            return at(match help {
                Some(help) => translated.help(help),
                None => translated,
            });
        }
        let why = causes(&error);
        if why.contains("password missing") {
            return at(Error::new(ErrorKind::Connection, format!("the {role} asks for a password"))
                .help(format!("put one into the {role} URL, or into ${{ENV}} of a task file")));
        }
        let unreachable =
            Error::new(ErrorKind::Connection, format!("the {role} can't be reached")).because(why);
        at(if self.config.get_ssl_mode() == SslMode::Require {
            unreachable
                .help("check host and port, whether the server speaks TLS, and sslmode and sslrootcert")
        } else {
            unreachable.help("check host and port, and whether the server runs and listens there")
        })
    }
}

/// An error with everything that lies behind it.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// What the server says it is.
#[derive(Debug)]
pub(crate) struct Server {
    /// For plugins.
    pub(crate) endpoint: Endpoint,
    /// `server_version_num`, e.g. 150018.
    pub(crate) version: u32,
    /// Its SQL.
    pub(crate) dialect: Dialect,
}

/// Asks the server what it is.
async fn describe(client: &Client) -> Result<Server> {
    let failed = |error| failure::translate(error, "the server can't be asked for its version");
    let row = client
        .query_one(
            "SELECT pg_catalog.version(), pg_catalog.current_setting('server_version'), \
             pg_catalog.current_setting('server_version_num'), pg_catalog.current_setting('server_encoding'), \
             (SELECT datcollate::text FROM pg_catalog.pg_database \
              WHERE datname = pg_catalog.current_database()), \
             (SELECT pg_catalog.string_agg(extname::text, ',' ORDER BY extname) FROM pg_catalog.pg_extension), \
             pg_catalog.current_database()::text",
            &[],
        )
        .await
        .map_err(failed)?;
    let banner: String = row.get(0);
    let setting = |index: usize| row.get::<_, Option<String>>(index).unwrap_or_default();
    let is_opengauss = banner.contains("openGauss") || banner.contains("GaussDB");
    let version = if is_opengauss {
        let (_, rest) = banner.split_once("openGauss ").unwrap_or(("", ""));
        rest.split_whitespace().next().unwrap_or_default().to_owned()
    } else {
        setting(1).split_whitespace().next().unwrap_or_default().to_owned()
    };
    let mut attributes = vec![
        ("server_version_num".to_owned(), setting(2)),
        ("server_encoding".to_owned(), setting(3)),
        ("collation".to_owned(), setting(4)),
        ("extensions".to_owned(), setting(5)),
        ("database".to_owned(), setting(6)),
    ];
    if is_opengauss {
        let sql = "SELECT pg_catalog.current_setting('sql_compatibility'), \
                   pg_catalog.current_setting('behavior_compat_options')";
        let row = client.query_one(sql, &[]).await.map_err(failed)?;
        let (mode, options): (String, Option<String>) = (row.get(0), row.get(1));
        let empty = empty_strings(&mode, &options.unwrap_or_default());
        attributes.push((EMPTY_STRINGS.to_owned(), empty.to_owned()));
        attributes.push((SQL_COMPATIBILITY.to_owned(), mode));
    }
    let endpoint = Endpoint {
        engine: if is_opengauss { "opengauss" } else { "postgres" }.to_owned(),
        version,
        attributes,
    };
    let dialect = Dialect::of(&endpoint);
    Ok(Server { endpoint, version: setting(2).parse().unwrap_or(0), dialect })
}
