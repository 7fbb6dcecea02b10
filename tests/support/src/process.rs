//! What processes cost, as the kernel counts it.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// The kernel's unit of processor time in `/proc`: 1/100 s on every Linux that Rust supports.
const TICKS_PER_SECOND: f64 = 100.0;
/// How often the peak memory of a child is read.
const INTERVAL: Duration = Duration::from_millis(20);

/// What a finished child cost.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// How it ended.
    pub status: ExitStatus,
    /// Time from start to end.
    pub wall: Duration,
    /// Processor seconds, its own children included.
    pub cpu_seconds: f64,
    /// The most memory it had resident, in bytes.
    pub peak_memory: u64,
}

/// Runs a command to its end and measures it. No other child of this process may end meanwhile.
pub fn measure(command: &mut Command) -> Result<Cost> {
    let before = times_of_children();
    let begin = Instant::now();
    let mut child =
        command.spawn().with_context(|| format!("starting {}", command.get_program().display()))?;
    let mut peak_memory = 0;
    let status = loop {
        peak_memory = peak_memory.max(peak_memory_of(child.id()).unwrap_or(0));
        if let Some(status) = child.try_wait()? {
            break status;
        }
        std::thread::sleep(INTERVAL);
    };
    let wall = begin.elapsed();
    Ok(Cost { status, wall, cpu_seconds: times_of_children() - before, peak_memory })
}

/// Processor seconds of this process's children that have ended.
pub fn times_of_children() -> f64 {
    times(std::process::id()).map_or(0.0, |times| times.children)
}

/// Processor seconds of a server so far: its own, those of its ended children and those of its living ones.
pub fn cpu_seconds_of_server(process: u32) -> f64 {
    let own = times(process).map_or(0.0, |times| times.own + times.children);
    let living: f64 = children_of(process).into_iter().filter_map(|child| Some(times(child)?.own)).sum();
    own + living
}

struct Times {
    own: f64,
    children: f64,
}

fn times(process: u32) -> Option<Times> {
    let fields = fields_of(process)?;
    let seconds =
        |field: usize| -> Option<f64> { Some(fields.get(field)?.parse::<f64>().ok()? / TICKS_PER_SECOND) };
    Some(Times { own: seconds(11)? + seconds(12)?, children: seconds(13)? + seconds(14)? })
}

/// The fields of `/proc/PID/stat` after the name, which may itself hold blanks and parentheses.
fn fields_of(process: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    Some(rest.split(' ').map(str::to_owned).collect())
}

fn children_of(process: u32) -> Vec<u32> {
    let parent = process.to_string();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|child| fields_of(*child).is_some_and(|fields| fields.get(1) == Some(&parent)))
        .collect()
}

fn peak_memory_of(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok()? * 1024)
}

/// A program of this workspace: `variable` if set, else the one of this name beside the running program or one
/// directory above it, where Cargo puts the programs when a test runs.
pub fn program(name: &str, variable: &str) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(variable) {
        return Ok(PathBuf::from(path));
    }
    let own = std::env::current_exe().context("the path of this program")?;
    own.ancestors()
        .skip(1)
        .take(2)
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
        .with_context(|| format!("no program `{name}` beside {}: build it, or set {variable}", own.display()))
}
