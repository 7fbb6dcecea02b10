//! The figures, for people and for programs.

use std::fmt::Write as _;

use anyhow::Result;

use crate::latency::Latency;
use crate::measure::Case;

/// A table in Markdown, the ratios to the first case of each comparison included.
pub(crate) fn markdown(cases: &[Case], latency: Option<&Latency>, runs: usize, scale: u64) -> String {
    let mut text =
        format!("Medians of {runs} runs, side by side, servers with durable defaults on the same machine");
    let _ = writeln!(text, "{}.\n", if scale == 1 { "" } else { "; a tenth of the data, not to quote" });
    text.push_str("| case | rows | wall s | rows/s | tool CPU s per million | source CPU s | target CPU s | peak MiB | wall ratio |\n");
    text.push_str("|---|---|---|---|---|---|---|---|---|\n");
    for case in cases {
        let rows = case.rows() as f64;
        let wall = case.median(|run| run.wall);
        let memory = case.median(|run| run.peak_memory as f64) / 1_048_576.0;
        let _ = writeln!(
            text,
            "| {} | {} | {wall:.2} | {:.0} | {:.2} | {:.2} | {:.2} | {} | {:.2} |",
            case.name,
            case.rows(),
            rows / wall,
            case.median(|run| run.tool_cpu) / rows * 1e6,
            case.median(|run| run.source_cpu),
            case.median(|run| run.target_cpu),
            if memory > 0.0 { format!("{memory:.0}") } else { "–".to_owned() },
            wall / first_of_comparison(cases, case).median(|run| run.wall),
        );
    }
    if let Some(latency) = latency {
        let _ = writeln!(text, "\n{latency}");
    }
    text
}

/// The first case whose name begins alike, which the others are compared with.
fn first_of_comparison<'a>(cases: &'a [Case], case: &'a Case) -> &'a Case {
    let comparison = |case: &Case| case.name.split(':').next().map(str::to_owned);
    cases.iter().find(|other| comparison(other) == comparison(case)).unwrap_or(case)
}

/// Everything measured, as JSON.
pub(crate) fn json(cases: &[Case], latency: Option<&Latency>) -> Result<String> {
    let mut values: Vec<_> = cases.iter().map(Case::json).collect();
    values.extend(latency.map(Latency::json));
    Ok(serde_json::to_string_pretty(&values)?)
}
