//! Figures of runs and their medians.

use serde_json::json;

/// What one run cost.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Measure {
    /// Seconds from start to end.
    pub(crate) wall: f64,
    /// Processor seconds of the tool.
    pub(crate) tool_cpu: f64,
    /// Processor seconds of the source server.
    pub(crate) source_cpu: f64,
    /// Processor seconds of the target server.
    pub(crate) target_cpu: f64,
    /// Peak resident memory of the tool in bytes; 0 where it is several processes.
    pub(crate) peak_memory: u64,
    /// Rows or changes moved, where a run decides about it; else 0.
    pub(crate) moved: u64,
}

/// Runs of one thing.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) name: String,
    rows: u64,
    runs: Vec<Measure>,
}

impl Case {
    pub(crate) fn new(name: &str, rows: u64) -> Self {
        Self { name: name.to_owned(), rows, runs: Vec::new() }
    }

    pub(crate) fn add(&mut self, run: Measure) {
        eprintln!("{}: {:.2} s, tool {:.2} s CPU", self.name, run.wall, run.tool_cpu);
        self.runs.push(run);
    }

    /// Rows or changes per run: the median where runs differ.
    pub(crate) fn rows(&self) -> u64 {
        let moved = self.median(|run| run.moved as f64) as u64;
        if moved > 0 { moved } else { self.rows }
    }

    /// The median of one figure; the mean of the middle two of an even number.
    pub(crate) fn median(&self, figure: impl Fn(&Measure) -> f64) -> f64 {
        let mut figures: Vec<f64> = self.runs.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        let middle = figures.len() / 2;
        let at = |index: usize| figures.get(index).copied().unwrap_or(f64::NAN);
        if figures.len() % 2 == 1 {
            at(middle)
        } else {
            f64::midpoint(at(middle.wrapping_sub(1)), at(middle))
        }
    }

    /// The case as JSON, medians and single runs.
    pub(crate) fn json(&self) -> serde_json::Value {
        let one = |run: &Measure| {
            json!({"wall_s": run.wall, "tool_cpu_s": run.tool_cpu, "source_cpu_s": run.source_cpu,
                   "target_cpu_s": run.target_cpu, "peak_memory_bytes": run.peak_memory})
        };
        json!({"name": self.name, "rows": self.rows(), "median_wall_s": self.median(|run| run.wall),
               "runs": self.runs.iter().map(one).collect::<Vec<_>>()})
    }
}

#[cfg(test)]
mod tests {
    use super::{Case, Measure};

    #[test]
    fn median_of_odd_and_even_numbers_of_runs() {
        let mut case = Case::new("case", 1);
        for wall in [3.0, 1.0, 2.0] {
            case.add(Measure { wall, ..Measure::default() });
        }
        assert!((case.median(|run| run.wall) - 2.0).abs() < 1e-9);
        case.add(Measure { wall: 9.0, ..Measure::default() });
        assert!((case.median(|run| run.wall) - 2.5).abs() < 1e-9);
    }
}
