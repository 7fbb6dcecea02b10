//! Starts a double of openGauss before a `PostgreSQL` server, prints its URL, and runs until its input ends.
//!
//! `cargo run -p test-kit --example opengauss -- [A|B|PG] [dolphin] [pool]`

use std::io::Read as _;

use anyhow::{Result, bail};
use test_kit::opengauss::{Compatibility, Double, Settings};

fn main() -> Result<()> {
    let mut settings = Settings::default();
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "A" => settings.compatibility = Compatibility::A,
            "B" => settings.compatibility = Compatibility::B,
            "PG" => settings.compatibility = Compatibility::Pg,
            "dolphin" => settings.dolphin = true,
            "pool" => settings.thread_pool = true,
            other => bail!("'{other}' is none of A, B, PG, dolphin, pool"),
        }
    }
    let double = Double::start(test_kit::postgres()?, settings)?;
    println!("{}", double.url_of("postgres"));
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
