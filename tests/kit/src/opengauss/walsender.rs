//! Replication connections: commands, then the stream.

mod options;
mod sending;
mod translate;

use std::io;
use std::sync::LazyLock;

use regex::Regex;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use self::options::Options;
use super::Inner;
use super::message::{complete, description, error, message, read, reported, row, values};

/// Why a command is refused: SQLSTATE and text.
type Refusal = (&'static str, String);

/// A slot's name, which may be quoted.
const NAME: &str = r#""?([a-z0-9_.?-]+)"?"#;

static CREATE: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(&format!(r#"^CREATE_REPLICATION_SLOT {NAME} LOGICAL "?([a-z0-9_]+)"?\s*;?$"#)).ok()
});
static DROP: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(&format!(r"^DROP_REPLICATION_SLOT {NAME}( WAIT)?\s*;?$")).ok());
static START: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(&format!(
        r"(?s)^START_REPLICATION SLOT {NAME} LOGICAL ([0-9A-Fa-f]+/[0-9A-Fa-f]+)\s*(\(.*\))?\s*;?$"
    ))
    .ok()
});

/// Serves commands until the stream begins, an error ends the connection, or the client does.
pub(super) async fn serve(
    mut client: TcpStream,
    mut behind: TcpStream,
    database: &str,
    is_gsql: bool,
    inner: &Inner,
) -> io::Result<()> {
    loop {
        // A client that says nothing is closed without a word.
        let (kind, body) = tokio::time::timeout(inner.settings.sender_timeout, read(&mut client)).await??;
        match kind {
            b'X' => return Ok(()),
            b'P' | b'V' => continue,
            b'Q' => {}
            _ => {
                let refusal = ("08P01", "invalid standby handshake message type".to_owned());
                return refuse(&mut client, refusal).await;
            }
        }
        let text = String::from_utf8_lossy(&body);
        let command = text.trim_end_matches('\0').trim();
        let outcome = match command.split([' ', ';']).next().unwrap_or_default() {
            "START_REPLICATION" => match start(command, database, inner).await {
                Ok(Start { options, command }) => {
                    return sending::run(client, behind, database, is_gsql, inner, options, &command).await;
                }
                Err(refusal) => Err(refusal),
            },
            "IDENTIFY_VERSION" => {
                let mut answer = description(&["sversion", "pversion", "term"]);
                answer.extend_from_slice(&row(&[Some(b"90204"), Some(b"MPPDB"), Some(b"1")]));
                answer.extend_from_slice(&complete("SELECT"));
                answer.extend_from_slice(&message(b'Z', b"I"));
                client.write_all(&answer).await?;
                Ok(())
            }
            "IDENTIFY_SYSTEM" => pass(&mut client, &mut behind, command, Answer::Tagged(&["SELECT"])).await?,
            "CREATE_REPLICATION_SLOT" => match captures(&CREATE, command).as_deref() {
                Some([_, name, plugin]) => {
                    let is_ours = plugin == "mppdb_decoding";
                    if is_ours {
                        note_ddl(database, inner).await.map_err(io::Error::other)?;
                    }
                    let real = if is_ours { "test_decoding" } else { plugin };
                    let command = format!("CREATE_REPLICATION_SLOT \"{name}\" LOGICAL {real}");
                    pass(&mut client, &mut behind, &command, Answer::Slot(plugin)).await?
                }
                _ => Err(syntax()),
            },
            // Of other versions.
            "TIMELINE_HISTORY" | "READ_REPLICATION_SLOT" | "ALTER_REPLICATION_SLOT" => Err(syntax()),
            "DROP_REPLICATION_SLOT" => match captures(&DROP, command).as_deref() {
                Some([_, name, ..]) => {
                    let command = format!("DROP_REPLICATION_SLOT \"{name}\"");
                    let tags = &["DROP_REPLICATION_SLOT", "SELECT"];
                    pass(&mut client, &mut behind, &command, Answer::Tagged(tags)).await?
                }
                _ => Err(syntax()),
            },
            _ if command.trim_end_matches(';').contains(';') => {
                Err(("42601", "replication command parser returned 1".to_owned()))
            }
            _ => pass(&mut client, &mut behind, &inner.dialect.rewrite(command), Answer::Plain).await?,
        };
        if let Err(refusal) = outcome {
            return refuse(&mut client, refusal).await;
        }
    }
}

/// Has the server behind put a message into its log for each change of the catalog, of which its own decoding says
/// nothing.
async fn note_ddl(database: &str, inner: &Inner) -> anyhow::Result<()> {
    let (sql, connection) = inner.backend.config(database).connect(tokio_postgres::NoTls).await?;
    let connection = tokio::spawn(connection);
    let noted = sql
        .batch_execute(
            "CREATE OR REPLACE FUNCTION information_schema.note_ddl() RETURNS event_trigger LANGUAGE plpgsql \
             AS $$BEGIN PERFORM pg_catalog.pg_logical_emit_message(true, 'ddl', ''); END$$; \
             DROP EVENT TRIGGER IF EXISTS note_ddl; \
             CREATE EVENT TRIGGER note_ddl ON ddl_command_start EXECUTE FUNCTION information_schema.note_ddl()",
        )
        .await;
    drop(sql);
    connection.abort();
    Ok(noted?)
}

fn captures(pattern: &LazyLock<Option<Regex>>, command: &str) -> Option<Vec<String>> {
    let captures = pattern.as_ref()?.captures(command)?;
    Some(captures.iter().map(|part| part.map_or(String::new(), |part| part.as_str().to_owned())).collect())
}

fn syntax() -> Refusal {
    ("42601", "replication command, syntax error.".to_owned())
}

/// Every error here is fatal; a stray `ReadyForQuery` follows it.
async fn refuse(client: &mut TcpStream, (code, text): Refusal) -> io::Result<()> {
    let answer = [error("FATAL", code, &text), message(b'Z', b"I")].concat();
    client.write_all(&answer).await
}

/// How the answer of the server behind is to be changed.
enum Answer<'a> {
    Plain,
    /// With these ends of commands.
    Tagged(&'a [&'a str]),
    /// A new slot of this plugin.
    Slot(&'a str),
}

/// Has a command run by the server behind, and passes the answer on.
async fn pass(
    client: &mut TcpStream,
    behind: &mut TcpStream,
    command: &str,
    answer: Answer<'_>,
) -> io::Result<Result<(), Refusal>> {
    behind.write_all(&message(b'Q', [command.as_bytes(), b"\0"].concat().as_slice())).await?;
    loop {
        let (kind, body) = read(behind).await?;
        let passed = match (kind, &answer) {
            (b'E', _) => {
                let refusal = [reported(b'E', &body, true), message(b'Z', b"I")].concat();
                client.write_all(&refusal).await?;
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            (b'N', _) => reported(kind, &body, false),
            (b'C', Answer::Tagged(tags)) => tags.iter().flat_map(|tag| complete(tag)).collect(),
            (b'C', Answer::Slot(_)) => complete("SELECT"),
            (b'D', Answer::Slot(plugin)) => {
                let mut values = values(&body);
                if let Some(last) = values.last_mut() {
                    *last = Some(plugin.as_bytes().to_vec());
                }
                row(&values.iter().map(Option::as_deref).collect::<Vec<_>>())
            }
            // What the server behind tells of itself is none of the client's business.
            (b'S', _) => continue,
            _ => message(kind, &body),
        };
        client.write_all(&passed).await?;
        if kind == b'Z' {
            return Ok(Ok(()));
        }
    }
}

/// A stream that can be started.
struct Start {
    options: Result<Options, Refusal>,
    /// The command for the server behind.
    command: String,
}

/// Checks the command in openGauss's order: some errors come before the stream has begun, some after.
async fn start(command: &str, database: &str, inner: &Inner) -> Result<Start, Refusal> {
    let parts = captures(&START, command).ok_or_else(syntax)?;
    let [_, name, place, list] = <[String; 4]>::try_from(parts).map_err(|_| syntax())?;
    let given = options::read(&list).ok_or_else(syntax)?;
    let parallel = options::is_parallel(&given);
    let slot = slot(&name, database, inner).await.map_err(|error| ("XX000", error.to_string()))?;
    let missing = if parallel {
        ("DB010", format!("Invalid logical replication slot {name}."))
    } else {
        ("42704", format!("replication slot \"{name}\" does not exist"))
    };
    let Slot { plugin, is_active, is_here } = slot.ok_or(missing)?;
    if plugin != "test_decoding" {
        let (options, list) = Options::pgoutput(&given)?;
        let command = format!("START_REPLICATION SLOT \"{name}\" LOGICAL {place} ({list})");
        return Ok(Start { options: Ok(options), command });
    }
    let mut options = Options::parse(&given);
    if parallel && let Err(refusal) = options {
        return Err(refusal);
    }
    if is_active {
        let busy = ("55006", format!("replication slot \"{name}\" is already active"));
        if !parallel {
            return Err(busy);
        }
        options = Err(busy);
    }
    if !is_here {
        options = Err(("55000", format!("replication slot \"{name}\" was not created in this database")));
    }
    let local = if options.as_ref().is_ok_and(|options| options.only_local) { "on" } else { "off" };
    let command = format!(
        "START_REPLICATION SLOT \"{name}\" LOGICAL {place} (\"include-xids\" 'on', \"include-timestamp\" 'on', \
         \"skip-empty-xacts\" 'off', \"only-local\" '{local}')"
    );
    Ok(Start { options, command })
}

/// A slot of the server behind.
struct Slot {
    plugin: String,
    is_active: bool,
    is_here: bool,
}

async fn slot(name: &str, database: &str, inner: &Inner) -> anyhow::Result<Option<Slot>> {
    let (sql, connection) = inner.backend.config(database).connect(tokio_postgres::NoTls).await?;
    let connection = tokio::spawn(connection);
    let found = sql
        .query_opt(
            "SELECT plugin::text, active, database = current_database() FROM pg_replication_slots \
             WHERE slot_name = $1::text AND slot_type = 'logical'",
            &[&name],
        )
        .await?;
    drop(sql);
    connection.abort();
    Ok(found.map(|row| Slot { plugin: row.get(0), is_active: row.get(1), is_here: row.get(2) }))
}
