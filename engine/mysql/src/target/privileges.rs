//! What the account may do, tried rather than read from its list of grants.
//!
//! Each privilege is tried by a statement about a table that isn't there, or one that the server can't carry out
//! for another reason. Both servers look at privileges first: they tell an account that it may not, and only
//! one that may what else is wrong. So nothing comes into being that could be left behind, a database that has
//! yet to be created can be tried too, and what roles, patterns and partial revokes mean is for the server to say.

use engine_core::Result;
use engine_core::finding::{Finding, Severity};
use engine_core::schema::TableName;
use mysql_async::Error as DriverFailure;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use super::control::field;
use super::failure::translate;
use super::session::Session;
use crate::{account, sql};

/// What an account may be allowed in a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Privilege {
    Select,
    Insert,
    Update,
    Delete,
    Create,
    Drop,
    Alter,
    Index,
    References,
    CreateView,
    Trigger,
    CreateRoutine,
    Event,
}

/// What the tables of a plan need.
pub(super) const OF_TABLES: [Privilege; 8] = [
    Privilege::Select,
    Privilege::Insert,
    Privilege::Update,
    Privilege::Delete,
    Privilege::Create,
    Privilege::Drop,
    Privilege::Alter,
    Privilege::Index,
];
/// What the engine's own tables need.
pub(super) const OF_RECORDS: [Privilege; 5] =
    [Privilege::Select, Privilege::Insert, Privilege::Update, Privilege::Delete, Privilege::Create];

/// The server says that the account may not: a table, a column, a database, a routine, anything at all.
const DENIED: [u16; 5] = [1142, 1143, 1044, 1370, 1227];
/// With a binlog, functions and triggers are for accounts with more rights, unless it is told to trust.
const NOT_TRUSTED: u16 = 1419;
/// More than the comment of a routine may have.
const TOO_LONG: usize = 65_536;

impl Privilege {
    /// Its name in a `GRANT`.
    fn name(self) -> &'static str {
        match self {
            Self::Select => "SELECT",
            Self::Insert => "INSERT",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
            Self::Create => "CREATE",
            Self::Drop => "DROP",
            Self::Alter => "ALTER",
            Self::Index => "INDEX",
            Self::References => "REFERENCES",
            Self::CreateView => "CREATE VIEW",
            Self::Trigger => "TRIGGER",
            Self::CreateRoutine => "CREATE ROUTINE",
            Self::Event => "EVENT",
        }
    }

    /// Whether its statement takes other privileges too.
    fn is_tried_with_others(self) -> bool {
        matches!(self, Self::References | Self::CreateView)
    }

    /// A statement that fails whoever runs it, at `there`, which isn't.
    fn statement(self, there: &str) -> String {
        match self {
            Self::Select => format!("SELECT 1 FROM {there}"),
            Self::Insert => format!("INSERT INTO {there} (a) VALUES (1)"),
            Self::Update => format!("UPDATE {there} SET a = 1"),
            Self::Delete => format!("DELETE FROM {there}"),
            // Two columns of one name.
            Self::Create => format!("CREATE TABLE {there} (a INT, a INT)"),
            Self::Drop => format!("DROP TABLE {there}"),
            Self::Alter => format!("ALTER TABLE {there} ADD a INT"),
            Self::Index => format!("CREATE INDEX a ON {there} (a)"),
            Self::References => {
                format!("CREATE TABLE {there} (a INT, a INT, FOREIGN KEY (a) REFERENCES {there} (a))")
            }
            Self::CreateView => format!("CREATE VIEW {there} AS SELECT 1 FROM {there}"),
            Self::Trigger => {
                format!("CREATE TRIGGER {there} BEFORE INSERT ON {there} FOR EACH ROW SET @a = 1")
            }
            Self::CreateRoutine => routine("", there),
            // An event that is over is not created, which is no error.
            Self::Event => format!(
                "CREATE EVENT {there} ON SCHEDULE AT '2000-01-01 00:00:00' ON COMPLETION NOT PRESERVE DISABLE DO SELECT 1"
            ),
        }
    }
}

/// A routine with a comment that is too long for one.
fn routine(definer: &str, there: &str) -> String {
    format!("CREATE {definer} PROCEDURE {there}() COMMENT '{}' SELECT 1", "c".repeat(TOO_LONG))
}

/// What came of a try.
enum Tried {
    Allowed,
    Denied,
    NotTrusted,
}

async fn attempt(session: &mut Session, privilege: Privilege, database: &str) -> Result<Tried> {
    match session.run(privilege.statement(&nothing(database))).await {
        Err(DriverFailure::Server(error)) if DENIED.contains(&error.code) => {
            // The statement may take another privilege too, which is tried by itself.
            let is_it = !privilege.is_tried_with_others() || error.message.contains(privilege.name());
            Ok(if is_it { Tried::Denied } else { Tried::Allowed })
        }
        Err(DriverFailure::Server(error)) if error.code == NOT_TRUSTED => Ok(Tried::NotTrusted),
        // It got as far as finding nothing there.
        Ok(()) | Err(DriverFailure::Server(_)) => Ok(Tried::Allowed),
        Err(error) => Err(translate(error, "the account's privileges can't be tried")),
    }
}

/// The name of something that isn't there, in a database.
fn nothing(database: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let name = format!("_migration_{:x}_{:x}", std::process::id(), now.as_nanos());
    sql::table(&TableName::new(database, name))
}

/// The account's name as `GRANT` takes it.
async fn current(session: &mut Session) -> Result<String> {
    let rows = session
        .query("SELECT CURRENT_USER()")
        .await
        .map_err(|error| translate(error, "the account's name can't be read"))?;
    let whole: String = match rows.into_iter().next() {
        Some(mut row) => field(&mut row, 0)?,
        None => String::new(),
    };
    Ok(account::quoted(&whole))
}

/// A finding for each database in which the account lacks some of what is needed there.
pub(super) async fn lacking(
    session: &mut Session,
    needs: &BTreeMap<&str, BTreeSet<Privilege>>,
) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (&database, privileges) in needs {
        let mut lacking = Vec::new();
        for &privilege in privileges {
            match attempt(session, privilege, database).await? {
                Tried::Allowed => {}
                Tried::Denied => lacking.push(privilege),
                Tried::NotTrusted => findings.push(Finding {
                    severity: Severity::Failed,
                    subject: "target log_bin_trust_function_creators".to_owned(),
                    message: format!("it is OFF, and so the account may not create triggers in {database}"),
                    fix: Some(
                        "SET GLOBAL log_bin_trust_function_creators = ON, for the time of the migration"
                            .to_owned(),
                    ),
                }),
            }
        }
        if lacking.is_empty() {
            continue;
        }
        let lacking = lacking.into_iter().map(Privilege::name).collect::<Vec<_>>().join(", ");
        let account = current(session).await?;
        // Rights on single tables count only there.
        let of_tables = on_single_tables(session, database).await?;
        let besides = if of_tables {
            ", though more on single tables of it; whether that is enough can't be told before they are there"
        } else {
            ""
        };
        findings.push(Finding {
            severity: if of_tables { Severity::Warning } else { Severity::Failed },
            subject: format!("target database {database}"),
            message: format!("the account {account} may not {lacking} there{besides}"),
            fix: Some(format!("GRANT {lacking} ON {}.* TO {account}", sql::identifier(database))),
        });
    }
    Ok(findings)
}

/// A finding when the account may not create routines, views, triggers and events in the name of `definer`, which
/// is written as SQL has it.
pub(super) async fn in_the_name_of(
    session: &mut Session,
    database: &str,
    definer: &str,
) -> Result<Option<Finding>> {
    let statement = routine(&format!("DEFINER = {definer}"), &nothing(database));
    let said = match session.run(&statement).await {
        Err(DriverFailure::Server(error)) if error.code == 1227 => error.message,
        Ok(()) | Err(DriverFailure::Server(_)) => return Ok(None),
        Err(error) => return Err(translate(error, "the account's privileges can't be tried")),
    };
    let account = current(session).await?;
    let privilege = if said.contains("SET_ANY_DEFINER") {
        "SET_ANY_DEFINER"
    } else if said.contains("SET_USER_ID") {
        "SET_USER_ID"
    } else {
        "SET USER"
    };
    Ok(Some(Finding {
        severity: Severity::Failed,
        subject: "target definers".to_owned(),
        message: format!("the account {account} may create nothing in the name of {definer}"),
        fix: Some(format!(
            "GRANT {privilege} ON *.* TO {account}; or set objects.definer = \"account\" in the plugin's configuration"
        )),
    }))
}

/// Whether the account has rights on tables of a database that it doesn't have on all of it.
async fn on_single_tables(session: &mut Session, database: &str) -> Result<bool> {
    let rows = session
        .query("SHOW GRANTS")
        .await
        .map_err(|error| translate(error, "the account's privileges can't be read"))?;
    let place = format!(" ON {}.", sql::identifier(database));
    for mut row in rows {
        let line: String = field(&mut row, 0)?;
        if line.starts_with("GRANT ")
            && line.split_once(&place).is_some_and(|(_, rest)| !rest.starts_with('*'))
        {
            return Ok(true);
        }
    }
    Ok(false)
}
