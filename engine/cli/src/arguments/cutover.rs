//! What a cut-over is told.

use clap::Args;
use std::time::Duration;

use super::task::TaskArguments;

/// `engine cutover`
#[derive(Debug, Args)]
pub(crate) struct CutoverArguments {
    /// Task to cut over, in place of --name.
    #[arg(id = "named", value_name = "NAME", conflicts_with = "name")]
    pub(crate) named: Option<String>,

    #[command(flatten)]
    pub(crate) task: TaskArguments,

    /// Asks nothing; without --set-source-read-only, writes have to be stopped before.
    #[arg(long, help_heading = "Cut-over")]
    pub(crate) yes: bool,

    /// How far the target may be behind when writes are stopped: 500ms, 5s, 2m.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "5s", help_heading = "Cut-over")]
    pub(crate) max_lag: Duration,

    /// How long writes may be stopped before everything is undone: 30s, 5m, 1h.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "5m", help_heading = "Cut-over")]
    pub(crate) freeze_budget: Duration,

    /// Has the source refuse writes (`super_read_only` on MySQL, `read_only` on MariaDB), rather than
    /// somebody stop the applications.
    #[arg(long, help_heading = "Cut-over")]
    pub(crate) set_source_read_only: bool,

    /// Leaves out the comparison of every row before writes stop, and the count of rows after.
    #[arg(long, help_heading = "Cut-over")]
    pub(crate) skip_verify: bool,

    /// Has the target keep its log from the moment it is switched to, so that `engine reverse` can bring back
    /// what applications write there.
    ///
    /// In PostgreSQL, its tables log whole rows from then on (REPLICA IDENTITY FULL), and a replication slot keeps the
    /// log until the way back has it: take it soon, or give it up with `engine drop --way-back`. MySQL and MariaDB
    /// keep their binlog as long as they are set to.
    #[arg(long, help_heading = "Cut-over")]
    pub(crate) way_back: bool,

    /// Leaves rows behind that are set aside, and so are missing in the target.
    #[arg(long, help_heading = "Cut-over")]
    pub(crate) leave_set_aside: bool,

    /// Writes events as JSON lines on standard output: step, cut-over, error.
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,
}

/// Reads `500ms`, `5s`, `2m`, `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("it is a number with ms, s, m or h".to_owned()),
    };
    match number.parse::<u64>().ok().and_then(|number| number.checked_mul(milliseconds)) {
        Some(time @ 1..) => Ok(Duration::from_millis(time)),
        _ => Err("it is a number above 0 with ms, s, m or h".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2m"), Ok(Duration::from_mins(2)));
        for bad in ["", "5", "s", "0s", "-1s", "1.5s", "1d", "99999999999999999999h", "9999999999999999h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
