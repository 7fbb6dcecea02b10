//! How long a guest has been running, by the CPU time of its thread.
//!
//! Real time would make the verdict on a row depend on what else the machine does.

use rustix::time::{ClockId, Timespec, clock_gettime};
use std::time::Duration;
use wasmtime::UpdateDeadline;

use crate::engine::TICK;

/// CPU time at which the running call is interrupted.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Deadline {
    ends_at: Duration,
}

impl Deadline {
    /// A deadline `budget` from now, for the calling thread.
    pub(crate) fn after(budget: Duration) -> Self {
        Self { ends_at: thread_time() + budget }
    }

    /// Decides, when the ticks given last are over, whether the guest goes on.
    pub(crate) fn decide(self) -> UpdateDeadline {
        match self.ends_at.checked_sub(thread_time()) {
            Some(left) if !left.is_zero() => UpdateDeadline::Continue(ticks(left)),
            _ => UpdateDeadline::Interrupt,
        }
    }
}

/// The ticks after which `time` may have passed, at least one.
pub(crate) fn ticks(time: Duration) -> u64 {
    u64::try_from(time.as_nanos() / TICK.as_nanos()).unwrap_or(u64::MAX >> 1).max(1)
}

fn thread_time() -> Duration {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(tv_sec.try_into().unwrap_or(0), tv_nsec.try_into().unwrap_or(0))
}
