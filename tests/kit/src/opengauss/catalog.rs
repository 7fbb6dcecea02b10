//! The system catalogs and functions as a fork of `PostgreSQL` 9.2.4 has them, before one that is years ahead.

use std::borrow::Cow;

use anyhow::Result;
use regex::{Captures, Regex};

/// What a statement about a snapshot's number becomes: the text of the snapshot behind this, which
/// [`Snapshots`](super::snapshots::Snapshots) makes a number of on its way back.
pub(super) const SNAPSHOT: &str = "csn-of:";

/// Functions, columns and relations of later versions than the one that openGauss began with, of which a source might
/// want to know something.
const ABSENT: &str = r"(?i)\b(pg_current_wal_\w+|pg_walfile_name|pg_size_bytes|pg_control_system|pg_copy_logical_replication_slot|pg_sequence|pg_sequence_last_value|pg_current_snapshot|pg_stat_wal|conparentid|active_pid|confirmed_flush_lsn|backend_type|backend_xid|row_security_active|make_interval|to_regclass|publish_via_partition_root|publish_generated_columns|wal_status|safe_wal_size)\b";

/// The relation of slots, and the word behind it.
const SLOTS: &str = r"(?i)\b(FROM|JOIN)\s+(?:pg_catalog\.)?pg_replication_slots\b(\s+(?:AS\s+)?[a-z_]+)?";

/// Its columns as openGauss has them, places in the log as texts.
const SLOTS_THERE: &str = "(SELECT slot_name::text, CASE plugin WHEN 'test_decoding' THEN 'mppdb_decoding' ELSE plugin::text END \
    AS plugin, slot_type::text, datoid, database, active, xmin, catalog_xmin, restart_lsn::text, false AS dummy_standby, \
    confirmed_flush_lsn::text AS confirmed_flush FROM pg_catalog.pg_replication_slots)";

/// Words that can follow a relation without being its name.
const NO_NAMES: [&str; 8] = ["where", "join", "left", "order", "group", "on", "limit", "union"];

/// Puts statements into the words of the server behind.
#[derive(Debug, Clone)]
pub(super) struct Catalog {
    absent: Regex,
    slots: Regex,
    rules: Vec<(Regex, &'static str)>,
}

impl Catalog {
    pub(super) fn new() -> Result<Self> {
        let rules = [
            (
                r"(?i)(?:pg_catalog\.)?\bpg_xlogfile_name\(((?:pg_catalog\.)?\w+\(\))\)",
                "pg_catalog.pg_walfile_name(($1)::pg_lsn)",
            ),
            (
                r"(?i)(?:pg_catalog\.)?\bpg_xlog_location_diff\(((?:pg_catalog\.)?\w+(?:\(\))?|'[^']*'),\s*((?:pg_catalog\.)?\w+(?:\(\))?|'[^']*')\)",
                "pg_catalog.pg_wal_lsn_diff(($1)::pg_lsn, ($2)::pg_lsn)",
            ),
            (
                r"(?i)(?:pg_catalog\.)?\bpg_current_xlog_insert_location\(\)",
                "pg_catalog.pg_current_wal_insert_lsn()::text",
            ),
            (r"(?i)(?:pg_catalog\.)?\bpg_current_xlog_location\(\)", "pg_catalog.pg_current_wal_lsn()::text"),
            // The text of a snapshot there says nothing of what is in progress.
            (
                r"(?i)(?:pg_catalog\.)?\btxid_current_snapshot\(\)::text",
                "pg_catalog.regexp_replace(pg_catalog.txid_current_snapshot()::text, '[^:]*$$', '')",
            ),
            (
                r"(?i)(?:pg_catalog\.)?\bencode\((?:pg_catalog\.)?txid_snapshot_send\((?:pg_catalog\.)?txid_current_snapshot\(\)\),\s*'hex'\)",
                "('csn-of:' || pg_catalog.txid_current_snapshot()::text)",
            ),
            // Partitioned tables are tables, and partitions no relations.
            (r"(?i)\b(\w+)\.relkind = 'r'", "($1.relkind IN ('r', 'p') AND NOT $1.relispartition)"),
            (r"(?i)\b(\w+)\.parttype\b", "(CASE $1.relkind WHEN 'p' THEN 'p' ELSE 'n' END)"),
            (
                r"(?i)\b(\w+)\.adgencol\b",
                "(SELECT nullif(g.attgenerated::text, '') FROM pg_catalog.pg_attribute g \
                 WHERE g.attrelid = $1.adrelid AND g.attnum = $1.adnum)",
            ),
            (r"(?i)\b(?:\w+\.)?nspblockchain\b", "false"),
            // A slot at the places of another.
            (
                r"(?i)\bpg_create_logical_replication_slot\(([^,()]+), '(?:pgoutput|test_decoding)', restart_lsn, confirmed_flush\)",
                "pg_copy_logical_replication_slot(slot_name::name, $1, false)",
            ),
            // Without its partitions.
            (
                r"(?is)\bPARTITION BY (RANGE|LIST|HASH) (\([^()]*\))\s*\(\s*PARTITION\b.*\)",
                "PARTITION BY $1 $2",
            ),
        ];
        let rules = rules.into_iter().map(|(pattern, with)| Ok((Regex::new(pattern)?, with)));
        Ok(Self {
            absent: Regex::new(ABSENT)?,
            slots: Regex::new(SLOTS)?,
            rules: rules.collect::<Result<_>>()?,
        })
    }

    /// The statement for the server behind, in which what openGauss hasn't is not there either.
    pub(super) fn rewrite<'a>(&self, sql: &'a str) -> Cow<'a, str> {
        let sql = self.absent.replace_all(sql, "absent_$1");
        let slots = |found: &Captures<'_>| {
            let part = |number| found.get(number).map_or("", |part| part.as_str());
            let (word, behind) = (part(1), part(2).trim());
            let name = behind.split_whitespace().next_back().unwrap_or_default();
            if name.is_empty() || NO_NAMES.contains(&name.to_lowercase().as_str()) {
                format!("{word} {SLOTS_THERE} pg_replication_slots {behind}")
            } else {
                format!("{word} {SLOTS_THERE} {behind}")
            }
        };
        let sql = take(sql, |sql| self.slots.replace_all(sql, slots));
        self.rules.iter().fold(sql, |sql, (pattern, with)| take(sql, |sql| pattern.replace_all(sql, *with)))
    }
}

/// What a rewriting makes of a text that may have been rewritten before.
fn take<'a>(sql: Cow<'a, str>, rewrite: impl for<'b> Fn(&'b str) -> Cow<'b, str>) -> Cow<'a, str> {
    match rewrite(&sql) {
        Cow::Borrowed(_) => sql,
        Cow::Owned(rewritten) => Cow::Owned(rewritten),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_names_are_there_and_new_ones_are_not() {
        let catalog = Catalog::new().expect("rules");
        for (sql, expected) in [
            (
                "SELECT pg_xlogfile_name(pg_current_xlog_insert_location())",
                "SELECT pg_catalog.pg_walfile_name((pg_catalog.pg_current_wal_insert_lsn()::text)::pg_lsn)",
            ),
            ("SELECT pg_current_wal_lsn()", "SELECT absent_pg_current_wal_lsn()"),
            ("SELECT s.active_pid FROM x", "SELECT s.absent_active_pid FROM x"),
            (
                "SELECT pg_xlog_location_diff(pg_current_xlog_location(), '0/0')",
                "SELECT pg_catalog.pg_wal_lsn_diff((pg_catalog.pg_current_wal_lsn()::text)::pg_lsn, ('0/0')::pg_lsn)",
            ),
        ] {
            assert_eq!(catalog.rewrite(sql), expected);
        }
        let slots = |sql: &str| catalog.rewrite(sql).replace(SLOTS_THERE, "…");
        assert_eq!(slots("FROM pg_replication_slots s WHERE true"), "FROM … s WHERE true");
        assert_eq!(slots("FROM pg_replication_slots WHERE true"), "FROM … pg_replication_slots WHERE true");
        assert_eq!(
            slots("(SELECT 1 FROM pg_catalog.pg_replication_slots)"),
            "(SELECT 1 FROM … pg_replication_slots )"
        );
    }
}
