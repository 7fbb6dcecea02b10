//! What the server says of itself and the account.

use engine_core::Result;
use tokio_postgres::Client;

use crate::failure::translate;
use crate::family::Family;

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) family: Family,
    /// `server_version_num`, e.g. 150018.
    pub(super) version: u32,
    pub(super) version_text: String,
    pub(super) wal_level: String,
    pub(super) encoding: String,
    pub(super) in_recovery: bool,
    pub(super) account: String,
    pub(super) database: String,
    /// Where the engine comes from, as the server sees it; `None` over a Unix socket.
    pub(super) client: Option<String>,
    /// The account may make publications in the database.
    pub(super) may_create: bool,
    pub(super) slots: Room,
    pub(super) senders: Room,
}

/// What there is of something, and how much of it is in use by others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) most: u64,
    pub(super) used: u64,
}

impl Room {
    pub(super) fn free(self) -> u64 {
        self.most.saturating_sub(self.used)
    }
}

impl Facts {
    pub(super) async fn read(client: &Client, family: Family, slot: &str) -> Result<Self> {
        // The task's own slot, and what reads from it, have their room already.
        let senders = match family {
            Family::PostgreSql => {
                "(SELECT count(*) FROM pg_catalog.pg_stat_replication r \
                  WHERE NOT EXISTS (SELECT 1 FROM pg_catalog.pg_replication_slots s \
                                    WHERE s.active_pid = r.pid AND s.slot_name = $1))"
            }
            Family::OpenGauss => {
                "GREATEST(0, (SELECT count(*) FROM pg_catalog.pg_stat_replication) \
                 - (SELECT count(*) FROM pg_catalog.pg_replication_slots s WHERE s.slot_name = $1 AND s.active))"
            }
        };
        let row = client
            .query_one(
                &format!(
                    "SELECT current_setting('server_version_num')::int4, current_setting('server_version'), \
                 current_setting('wal_level'), current_setting('server_encoding'), pg_catalog.pg_is_in_recovery(), \
                 current_user::text, pg_catalog.current_database()::text, pg_catalog.host(pg_catalog.inet_client_addr()), \
                 pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE'), \
                 current_setting('max_replication_slots')::int8, \
                 (SELECT count(*) FROM pg_catalog.pg_replication_slots s WHERE s.slot_name <> $1), \
                 current_setting('max_wal_senders')::int8, {senders}"
                ),
                &[&slot],
            )
            .await
            .map_err(|error| translate(error, "the source's settings can't be read"))?;
        let number = |column: usize| row.get::<_, i64>(column).unsigned_abs();
        let version_text: String = row.get(1);
        Ok(Self {
            family,
            version: row.get::<_, i32>(0).unsigned_abs(),
            // Packagers add their own to it.
            version_text: version_text.split_whitespace().next().unwrap_or_default().to_owned(),
            wal_level: row.get(2),
            encoding: row.get(3),
            in_recovery: row.get(4),
            account: row.get(5),
            database: row.get(6),
            client: row.get(7),
            may_create: row.get(8),
            slots: Room { most: number(9), used: number(10) },
            senders: Room { most: number(11), used: number(12) },
        })
    }

    /// The statement or command by which a setting is changed.
    pub(super) fn setting(&self, name: &str, value: &str) -> String {
        match self.family {
            Family::PostgreSql if value.bytes().all(|byte| byte.is_ascii_digit()) => {
                format!("ALTER SYSTEM SET {name} = {value}")
            }
            Family::PostgreSql => format!("ALTER SYSTEM SET {name} = '{value}'"),
            Family::OpenGauss => format!("gs_guc set -D … -c \"{name}={value}\""),
        }
    }

    #[cfg(test)]
    pub(super) fn good() -> Self {
        Self {
            family: Family::PostgreSql,
            version: 180_000,
            version_text: "18.0".to_owned(),
            wal_level: "logical".to_owned(),
            encoding: "UTF8".to_owned(),
            in_recovery: false,
            account: "mig".to_owned(),
            database: "shop".to_owned(),
            client: Some("10.0.0.7".to_owned()),
            may_create: true,
            slots: Room { most: 10, used: 0 },
            senders: Room { most: 10, used: 0 },
        }
    }
}
