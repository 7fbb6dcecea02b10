//! Options of `START_REPLICATION`.

use std::time::Duration;

use super::super::stream::Style;
use super::Refusal;

/// What a stream was told.
#[derive(Debug, Clone)]
pub(super) struct Options {
    pub(super) style: Style,
    /// The plugin is `pgoutput`, whose messages are passed on.
    pub(super) is_pgoutput: bool,
    /// Beginnings say the number of the commit.
    pub(super) is_numbered: bool,
    pub(super) batched: bool,
    pub(super) include_xids: bool,
    pub(super) include_timestamp: bool,
    pub(super) skip_empty: bool,
    pub(super) only_local: bool,
    /// Schema and table of each pattern.
    pub(super) tables: Option<Vec<(String, String)>>,
    pub(super) sender_timeout: Option<Duration>,
}

/// Reads `("name" 'value', …)`.
pub(super) fn read(list: &str) -> Option<Vec<(String, Option<String>)>> {
    let mut options = Vec::new();
    let mut rest = match list.trim() {
        "" => return Some(options),
        list => list.strip_prefix('(')?.strip_suffix(')')?.trim(),
    };
    while !rest.is_empty() {
        let (name, behind) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => rest.split_at_checked(rest.find([' ', ',']).unwrap_or(rest.len()))?,
        };
        rest = behind.trim_start();
        let value = match rest.strip_prefix('\'') {
            Some(quoted) => {
                let (value, behind) = quoted.split_once('\'')?;
                rest = behind.trim_start();
                Some(value.to_owned())
            }
            None => None,
        };
        options.push((name.to_owned(), value));
        rest = match rest.strip_prefix(',') {
            Some(behind) => behind.trim_start(),
            None if rest.is_empty() => rest,
            None => return None,
        };
    }
    Some(options)
}

/// Whether several decoders are asked for.
pub(super) fn is_parallel(options: &[(String, Option<String>)]) -> bool {
    let number = options.iter().find(|(name, _)| name == "parallel-decode-num");
    number.is_some_and(|(_, number)| number.as_deref() != Some("1"))
}

impl Options {
    /// Reads the options of `pgoutput`; answers those too that the server behind knows.
    pub(super) fn pgoutput(given: &[(String, Option<String>)]) -> Result<(Self, String), Refusal> {
        let mut options = Self { is_pgoutput: true, ..Self::new(false) };
        let mut known = Vec::new();
        for (name, value) in given {
            match name.as_str() {
                "usesnapshot" => options.is_numbered = true,
                "proto_version" | "publication_names" | "binary" => {
                    let value = value.as_deref().unwrap_or_default().replace('\'', "''");
                    known.push(format!("{name} '{value}'"));
                }
                _ => return Err(("XX000", format!("unrecognized pgoutput option: {name}"))),
            }
        }
        Ok((options, known.join(", ")))
    }

    fn new(parallel: bool) -> Self {
        Self {
            style: if parallel { Style::Binary } else { Style::Serial },
            is_pgoutput: false,
            is_numbered: false,
            batched: false,
            include_xids: true,
            include_timestamp: !parallel,
            skip_empty: false,
            only_local: true,
            tables: None,
            sender_timeout: None,
        }
    }

    /// Reads the options, or finds the first that the server would refuse.
    pub(super) fn parse(given: &[(String, Option<String>)]) -> Result<Self, Refusal> {
        let parallel = is_parallel(given);
        let mut options = Self::new(parallel);
        for (name, value) in given {
            let text = value.as_deref().unwrap_or_default();
            let bad = || ("22023", format!("could not parse value \"{text}\" for parameter \"{name}\""));
            let unknown = || ("22023", format!("option \"{name}\" = \"{text}\" is unknown"));
            let flag = || match (value.is_some(), text) {
                (true, "true" | "on" | "1" | "t" | "yes") => Ok(true),
                (false, _) | (true, "false" | "off" | "0" | "f" | "no") => Ok(false),
                _ => Err(bad()),
            };
            let number = |range: std::ops::RangeInclusive<u32>| {
                text.parse().ok().filter(|number| range.contains(number)).ok_or_else(bad)
            };
            match name.as_str() {
                "include-xids" => options.include_xids = flag()?,
                "include-timestamp" => options.include_timestamp = flag()?,
                "skip-empty-xacts" => options.skip_empty = flag()?,
                "only-local" => options.only_local = flag()?,
                "force-binary" if parallel && flag()? => return Err(unknown()),
                "include-originid" | "force-binary" => drop(flag()?),
                "standby-connection" if flag()? => {
                    return Err(("42809", "walsender closed because of role is primary.".to_owned()));
                }
                "standby-connection" => {}
                "white-table-list" => options.tables = Some(tables(text).ok_or_else(bad)?),
                "parallel-decode-num" => drop(number(1..=20)?),
                "max-txn-in-memory" | "max-reorderbuffer-in-memory" => drop(number(0..=100)?),
                "sender-timeout" => {
                    let millis = number(0..=i32::MAX as u32)?;
                    options.sender_timeout = Some(Duration::from_millis(millis.into()));
                }
                "decode-style" if parallel => {
                    options.style = match text {
                        "j" => Style::Json,
                        "t" => Style::Text,
                        "b" => Style::Binary,
                        _ => return Err(bad()),
                    };
                }
                "sending-batch" if parallel => options.batched = number(0..=1)? == 1,
                "parallel-queue-size" if parallel => {
                    if !number(2..=1024)?.is_power_of_two() {
                        let text = "option parallel-queue-size should be a power of two".to_owned();
                        return Err(("22023", text));
                    }
                }
                _ => return Err(unknown()),
            }
        }
        Ok(options)
    }

    /// Whether changes of this table are sent.
    pub(super) fn wants(&self, schema: &str, table: &str) -> bool {
        self.tables.as_ref().is_none_or(|tables| {
            tables.iter().any(|(schemas, names)| {
                [(schemas, schema), (names, table)]
                    .iter()
                    .all(|(pattern, name)| *pattern == "*" || pattern == name)
            })
        })
    }
}

/// `schema.table`, `schema.*`, `*.table`, `*.*`, apart by commas; names can't be quoted.
fn tables(list: &str) -> Option<Vec<(String, String)>> {
    list.split(',')
        .map(|pattern| {
            let (schema, table) = pattern.trim().split_once('.')?;
            let plain = |name: &str| !name.is_empty() && !name.contains([' ', '"', '.']);
            (plain(schema) && plain(table)).then(|| (schema.to_owned(), table.to_owned()))
        })
        .collect()
}
