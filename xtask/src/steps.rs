//! Runs steps one after the other, times them and sums up.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// What became of the steps.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    done: Vec<(String, Duration, Option<String>)>,
}

impl Steps {
    /// Runs one step and keeps its time and its error.
    pub(crate) fn step<T>(&mut self, name: &str, work: impl FnOnce() -> Result<T>) -> Option<T> {
        eprintln!("\n==> {name}");
        let begin = Instant::now();
        let outcome = work();
        let took = begin.elapsed();
        let (value, error) = match outcome {
            Ok(value) => (Some(value), None),
            Err(error) => {
                eprintln!("{name}: {error:#}");
                (None, Some(format!("{error:#}")))
            }
        };
        eprintln!("<== {name}: {} in {}", if error.is_none() { "ok" } else { "FAILED" }, seconds(took));
        self.done.push((name.to_owned(), took, error));
        value
    }

    /// Prints the times and answers an error if a step failed.
    pub(crate) fn sum_up(&self) -> Result<()> {
        let total: Duration = self.done.iter().map(|(_, took, _)| *took).sum();
        eprintln!();
        for (name, took, error) in &self.done {
            eprintln!("{:>9}  {:<6}  {name}", seconds(*took), if error.is_none() { "ok" } else { "FAILED" });
        }
        let failed: Vec<&str> = self
            .done
            .iter()
            .filter(|(_, _, error)| error.is_some())
            .map(|(name, _, _)| name.as_str())
            .collect();
        if failed.is_empty() {
            eprintln!("\nALL {} STEPS PASSED in {}", self.done.len(), seconds(total));
            return Ok(());
        }
        bail!("{} OF {} STEPS FAILED: {}", failed.len(), self.done.len(), failed.join(", "))
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
