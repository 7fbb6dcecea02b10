//! How much the copy may take.

use clap::Args;
use serde::Deserialize;

/// How much of the source the copy may take. Following is not slowed down.
#[derive(Debug, Clone, Copy, Default, Args, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
#[expect(clippy::struct_field_names, reason = "the names of the options")]
pub(crate) struct ThrottleArguments {
    /// Rows that the copy may read in a second, over all connections.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Throttle")]
    pub(crate) max_rows_per_second: Option<u64>,

    /// Millions of bytes that the copy may read in a second.
    #[arg(long, value_name = "N", value_parser = positive, help_heading = "Throttle")]
    pub(crate) max_mb_per_second: Option<f64>,

    /// Statements that the source may be working on (`Threads_running`, the copy's own among them);
    /// above that the copy waits.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Throttle")]
    pub(crate) max_load: Option<u64>,

    /// Seconds that the replica of --read-from may be behind; above that the copy waits.
    #[arg(long, value_name = "SECONDS", help_heading = "Throttle")]
    pub(crate) max_replica_lag: Option<u64>,
}

fn positive(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() && number > 0.0 => Ok(number),
        _ => Err("it is a number above 0".to_owned()),
    }
}
