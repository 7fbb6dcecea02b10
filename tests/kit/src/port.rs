//! Ports that no other test process takes.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context, Result, bail};

/// Below the range the kernel hands out to outgoing connections, so that a stopped server finds its port again.
const FIRST: u16 = 21_000;
const COUNT: u16 = 9_000;

/// A port reserved among all processes that use the kit on this machine, for as long as the value lives.
#[derive(Debug)]
pub(crate) struct Port {
    number: u16,
    _lock: File,
}

impl Port {
    /// Reserves a port on which nothing listens.
    pub(crate) fn reserve() -> Result<Self> {
        let directory = std::env::temp_dir().join("test-kit-ports");
        fs::create_dir_all(&directory).with_context(|| format!("creating {}", directory.display()))?;
        // Processes start looking at different places, so that they seldom meet.
        let start = std::process::id().wrapping_mul(7919) % u32::from(COUNT);
        for step in 0..u32::from(COUNT) {
            let offset = (start + step) % u32::from(COUNT);
            let number = FIRST + u16::try_from(offset).unwrap_or(0);
            let lock =
                File::create(directory.join(format!("{number}.lock"))).context("opening a port's lock")?;
            if lock.try_lock().is_ok() && TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok() {
                return Ok(Self { number, _lock: lock });
            }
        }
        bail!("all {COUNT} ports from {FIRST} on are taken")
    }

    pub(crate) const fn number(&self) -> u16 {
        self.number
    }
}

#[cfg(test)]
mod tests {
    use super::Port;

    #[test]
    fn two_reservations_differ_and_a_dropped_one_can_be_had_again() {
        let first = Port::reserve().expect("a port");
        let second = Port::reserve().expect("another port");
        assert_ne!(first.number(), second.number());
        let number = first.number();
        drop(first);
        assert_eq!(Port::reserve().expect("the first port again").number(), number);
    }
}
