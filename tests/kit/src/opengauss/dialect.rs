//! SQL on its way to the server behind: what openGauss has and `PostgreSQL` hasn't is put into the latter's words,
//! what openGauss hasn't is made an error.

use std::borrow::Cow;

use anyhow::Result;
use regex::Regex;

use super::Compatibility;
use super::catalog::Catalog;

/// What `version()` says.
pub(super) const BANNER: &str = "(openGauss 7.0.0-RC2 build 7e1fc94a) compiled at 2026-11-21 09:38:28 commit 299 \
                                 last mr 8179 release on x86_64-linux-gnu, compiled by g++ (GCC) 12.2.0, 64-bit";

/// Functions, columns and views of later versions than the one that openGauss began with.
const ABSENT: &str = r"(?i)\b(pg_current_wal_lsn|pg_wal_lsn_diff|pg_sequences|pg_matviews|jsonb_build_object|to_jsonb|attidentity|attgenerated|relispartition|pg_lsn|pg_get_wal_replay_pause_state|gen_random_uuid)\b";

/// Rewrites statements.
#[derive(Debug, Clone)]
pub(super) struct Dialect {
    catalog: Catalog,
    rules: Vec<(Regex, String)>,
}

impl Dialect {
    pub(super) fn new(compatibility: Compatibility) -> Result<Self> {
        let mode = compatibility.name();
        let rules = [
            // The server's answer is then a syntax error at the second word, which openGauss's is too.
            (r"(?i)\bON\s+CONFLICT\b", "ON ON CONFLICT".to_owned()),
            (r"(?i)\bAS\s+IDENTITY\b", "AS AS IDENTITY".to_owned()),
            (ABSENT, "absent_$1".to_owned()),
            (
                r"(?i)^\s*(DISCARD|LISTEN|NOTIFY|UNLISTEN)\b.*",
                "DO $$$$BEGIN RAISE EXCEPTION '$1 statement is not yet supported.' USING ERRCODE = '0A000'; END$$$$"
                    .to_owned(),
            ),
            (r"(?i)(\bpg_catalog\.)?\bopengauss_version\(\)", "'7.0.0-RC2'::text".to_owned()),
            (r"(?i)(\bpg_catalog\.)?\bversion\(\)", format!("'{BANNER}'::text")),
            (r"(?i)(\bpg_catalog\.)?\bcurrent_setting\('server_version_num'\)", "'90204'::text".to_owned()),
            (r"(?i)(\bpg_catalog\.)?\bcurrent_setting\('server_version'\)", "'9.2.4'::text".to_owned()),
            (r"(?i)(\bpg_catalog\.)?\bcurrent_setting\('behavior_compat_options'\)", "''::text".to_owned()),
            (r"(?i)\brolsystemadmin\b", "rolsuper".to_owned()),
            (r"(?i)\bDBCOMPATIBILITY\s*=?\s*'\w+'", String::new()),
            (r"(?i)(\bpg_catalog\.)?\bcurrent_setting\('sql_compatibility'\)", format!("'{mode}'::text")),
            (r"(?i)^\s*SHOW\s+server_version\s*;?\s*$", "SELECT '9.2.4'::text AS server_version".to_owned()),
            (
                r"(?i)^\s*SHOW\s+sql_compatibility\s*;?\s*$",
                format!("SELECT '{mode}'::text AS sql_compatibility"),
            ),
            (
                r"(?i)(create_logical_replication_slot\([^)]*)'mppdb_decoding'",
                "${1}'test_decoding'".to_owned(),
            ),
            (r"(?i)\bdatcompatibility\b", format!("'{mode}'::name")),
        ];
        let rules = rules.into_iter().map(|(pattern, with)| Ok((Regex::new(pattern)?, with)));
        Ok(Self { catalog: Catalog::new()?, rules: rules.collect::<Result<_>>()? })
    }

    /// The statement for the server behind.
    pub(super) fn rewrite<'a>(&self, sql: &'a str) -> Cow<'a, str> {
        let sql = self.rules.iter().fold(Cow::Borrowed(sql), |sql, (pattern, with)| {
            match pattern.replace_all(&sql, with.as_str()) {
                Cow::Borrowed(_) => sql,
                Cow::Owned(rewritten) => Cow::Owned(rewritten),
            }
        });
        match self.catalog.rewrite(&sql) {
            Cow::Borrowed(_) => sql,
            Cow::Owned(rewritten) => Cow::Owned(rewritten),
        }
    }
}
