//! What is asked of a server in other words, by whose it is: PostgreSQL's of today, or openGauss's, which branched off
//! at 9.2.4 and has kept its catalogs, or changed them in its own way.
//!
//! Queries that both understand are where they are used. Here are those that differ, and the parts in which others
//! do. None has an empty literal: where openGauss is compatible with Oracle, that is NULL.
//!
//! # How openGauss is followed
//! By `pgoutput`, as PostgreSQL is, unless the source's URL asks for [`mppdb_decoding`](super::mppdb). That costs more in
//! its serial style, the only one of it that is complete: it says where a transaction ends only behind its last row, so
//! that each has to be held back whole; its values are literals of another form than those of a `COPY`, booleans of a
//! database with dolphin are all `false` but for some names of clients, and it knows tables by their names. `pgoutput`
//! begins with the commit's place and number, writes values as `COPY` does, and describes a table before its rows.

use crate::family::Family;
use crate::identifier::{literal, quote};

impl Family {
    /// What is somebody's data: neither of the server's schemas, nor of the engine's own where the source is a
    /// target too. openGauss brings more schemas along than begin with `pg_`, all of them with low numbers.
    pub(super) fn user_schemas(self) -> &'static str {
        match self {
            Self::PostgreSql => {
                "n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', '_migration')"
            }
            Self::OpenGauss => {
                "n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', '_migration') \
                 AND (n.oid >= 16384 OR n.nspname = 'public')"
            }
        }
    }

    /// Which relations are tables. Partitions belong to theirs; in openGauss they are no relations at all. Its
    /// extension dolphin keeps tables of its own in `public`.
    pub(super) fn tables(self) -> &'static str {
        match self {
            Self::PostgreSql => {
                "c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'"
            }
            Self::OpenGauss => {
                "c.relkind = 'r' AND c.relpersistence NOT IN ('t', 'g') \
                 AND c.relname NOT IN ('index_statistic', 'pg_type_nonstrict_basic_value') \
                 AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend e WHERE e.deptype = 'e' \
                                 AND e.classid = 'pg_catalog.pg_class'::regclass AND e.objid = c.oid)"
            }
        }
    }

    /// How many rows a table has, and how many bytes, as far as it was analysed: two columns. What a partitioned table
    /// of PostgreSQL has is in its partitions.
    pub(super) fn estimates(self) -> &'static str {
        match self {
            Self::PostgreSql => {
                "CASE WHEN c.relkind <> 'p' THEN c.reltuples::float8 ELSE \
                 (SELECT coalesce(sum(greatest(l.reltuples, 0)), 0)::float8 \
                  FROM pg_catalog.pg_partition_tree(c.oid) p JOIN pg_catalog.pg_class l ON l.oid = p.relid \
                  WHERE p.isleaf) END, \
                 CASE WHEN c.relkind <> 'p' THEN c.relpages::bigint ELSE \
                 (SELECT coalesce(sum(l.relpages), 0)::bigint \
                  FROM pg_catalog.pg_partition_tree(c.oid) p JOIN pg_catalog.pg_class l ON l.oid = p.relid \
                  WHERE p.isleaf) END * pg_catalog.current_setting('block_size')::bigint"
            }
            Self::OpenGauss => {
                "c.reltuples::float8, c.relpages::bigint * pg_catalog.current_setting('block_size')::bigint"
            }
        }
    }

    /// Methods of indexes that are trees.
    pub(super) fn tree_indexes(self) -> &'static str {
        match self {
            Self::PostgreSql => "'btree'",
            // Of tables whose old rows are kept apart.
            Self::OpenGauss => "'btree', 'ubtree'",
        }
    }

    /// What tells a foreign key from the copy of it that a partition has.
    pub(super) fn own_foreign_key(self) -> &'static str {
        match self {
            Self::PostgreSql => "k.conparentid = 0",
            Self::OpenGauss => "true",
        }
    }

    /// The end of the log, the bytes of a segment and of a page.
    pub(super) fn end_of_log(self) -> &'static str {
        match self {
            Self::PostgreSql => {
                "SELECT pg_catalog.pg_current_wal_insert_lsn()::text, \
                 pg_catalog.pg_size_bytes(pg_catalog.current_setting('wal_segment_size'))::bigint, \
                 pg_catalog.current_setting('wal_block_size')::bigint"
            }
            // Its segments have 16 MB.
            Self::OpenGauss => {
                "SELECT pg_catalog.pg_current_xlog_insert_location(), 16777216::bigint, \
                 pg_catalog.current_setting('wal_block_size')::bigint"
            }
        }
    }

    /// How far the log is safe. openGauss tells SQL only how far it is written, which a crash of its machine may
    /// undo; but nothing is taken for certain that its stream has not got to, and that is flushed.
    pub(super) fn safe_log(self) -> &'static str {
        match self {
            Self::PostgreSql => "SELECT pg_catalog.pg_current_wal_flush_lsn()::text",
            Self::OpenGauss => "SELECT pg_catalog.pg_current_xlog_location()",
        }
    }

    /// The name of the file of the log that is written to, which begins with the timeline.
    pub(super) fn log_file(self) -> &'static str {
        match self {
            Self::PostgreSql => "SELECT pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn())",
            Self::OpenGauss => {
                "SELECT pg_catalog.pg_xlogfile_name(pg_catalog.pg_current_xlog_insert_location())"
            }
        }
    }

    /// A snapshot as text.
    ///
    /// openGauss sees by the order of commits: what has a lower number than the snapshot. The text of a snapshot there
    /// has neither that number nor the transactions in progress; the binary form has it.
    pub(super) fn snapshot(self) -> &'static str {
        match self {
            Self::PostgreSql => "pg_catalog.txid_current_snapshot()::text",
            Self::OpenGauss => {
                "pg_catalog.encode(pg_catalog.txid_snapshot_send(pg_catalog.txid_current_snapshot()), 'hex')"
            }
        }
    }

    /// Statements that are being worked on.
    pub(super) fn load(self) -> &'static str {
        match self {
            Self::PostgreSql => {
                "SELECT count(*) FROM pg_catalog.pg_stat_activity \
                 WHERE state = 'active' AND backend_type = 'client backend'"
            }
            Self::OpenGauss => {
                "SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE state = 'active' AND datname IS NOT NULL"
            }
        }
    }

    /// The command that makes a slot whose changes come by a plugin. Standbys that copy slots can take over from
    /// PostgreSQL 17 on.
    pub(super) fn create_slot(self, name: &str, plugin: &str, major_version: u32) -> String {
        match self {
            Self::PostgreSql => {
                let options =
                    if major_version >= 17 { "(SNAPSHOT 'export', FAILOVER)" } else { "EXPORT_SNAPSHOT" };
                format!("CREATE_REPLICATION_SLOT {} LOGICAL {plugin} {options}", quote(name))
            }
            Self::OpenGauss => format!("CREATE_REPLICATION_SLOT {name} LOGICAL {plugin}"),
        }
    }

    /// Whether the server sends large transactions before they are committed, if it is asked to.
    pub(super) fn sends_in_progress(self, major_version: u32) -> bool {
        self == Self::PostgreSql && major_version >= 14
    }

    /// The command that has the changes of a publication sent, also those of large transactions in progress. openGauss says
    /// the number of each commit only when it is told that snapshots are used.
    pub(super) fn start_stream(
        self,
        slot: &str,
        publication: &str,
        from: impl std::fmt::Display,
        in_progress: bool,
    ) -> String {
        let version = if in_progress { "'2', streaming 'on'" } else { "'1'" };
        let options = format!("proto_version {version}, publication_names {}", literal(&quote(publication)));
        match self {
            Self::PostgreSql => {
                format!("START_REPLICATION SLOT {} LOGICAL {from} ({options})", quote(slot))
            }
            Self::OpenGauss => {
                format!("START_REPLICATION SLOT {slot} LOGICAL {from} ({options}, usesnapshot 'on')")
            }
        }
    }

    /// Of a slot: what was given back, whether its log is gone, why, whether it is of this database, its plugin.
    pub(super) fn slot_state(self) -> &'static str {
        match self {
            Self::PostgreSql => {
                "SELECT confirmed_flush_lsn::text, restart_lsn IS NULL, \
                 coalesce(to_jsonb(s) ->> 'invalidation_reason', to_jsonb(s) ->> 'wal_status'), \
                 database = current_database(), plugin::text \
                 FROM pg_catalog.pg_replication_slots s WHERE slot_name = $1"
            }
            Self::OpenGauss => {
                "SELECT confirmed_flush, coalesce(pg_catalog.length(restart_lsn) = 0 OR restart_lsn = '0/0', true), NULL::text, \
                 database::text = current_database()::text, plugin::text \
                 FROM pg_catalog.pg_replication_slots s WHERE slot_name = $1"
            }
        }
    }

    /// How a publication is told to publish all that happens to its tables. In openGauss a partition is always
    /// published as its table; PostgreSQL's are [published as themselves](super::partition).
    pub(super) fn published(self, version: u32) -> &'static str {
        /// The first version that can publish generated columns, and that refuses updates of tables where whole rows
        /// are logged and some columns are not published.
        const GENERATED_COLUMNS: u32 = 180_000;
        match self {
            Self::PostgreSql if version >= GENERATED_COLUMNS => {
                "publish = 'insert, update, delete, truncate', publish_generated_columns = stored"
            }
            Self::PostgreSql => "publish = 'insert, update, delete, truncate'",
            Self::OpenGauss => "publish = 'insert,update,delete,truncate'",
        }
    }

    /// The tables of a publication, and the partitions that are published with them.
    pub(super) fn publication_tables(self) -> &'static str {
        match self {
            Self::PostgreSql => {
                "SELECT schemaname::text, tablename::text FROM pg_catalog.pg_publication_tables WHERE pubname = $1 \
                 UNION SELECT n.nspname::text, c.relname::text FROM pg_catalog.pg_publication p \
                 JOIN pg_catalog.pg_publication_rel r ON r.prpubid = p.oid \
                 JOIN pg_catalog.pg_class c ON c.oid = r.prrelid \
                 JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                 WHERE p.pubname = $1 AND c.relkind = 'p'"
            }
            Self::OpenGauss => {
                "SELECT n.nspname::text, c.relname::text FROM pg_catalog.pg_publication p \
                 JOIN pg_catalog.pg_publication_rel r ON r.prpubid = p.oid \
                 JOIN pg_catalog.pg_class c ON c.oid = r.prrelid \
                 JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE p.pubname = $1"
            }
        }
    }
}
