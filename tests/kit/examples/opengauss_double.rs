//! Keeps a double of openGauss up, to try things by hand: `cargo run -p test-kit --example opengauss_double -- A`.
//!
//! The argument is the compatibility of its databases, `A`, `B` or `PG`; a second one, `dolphin`, gives them the
//! extension. The server behind it is the one of `TEST_POSTGRES_URL`, else one of its own.

use anyhow::{Result, bail};
use test_kit::opengauss::{Compatibility, Double, Settings};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let compatibility = match arguments.next().as_deref() {
        None | Some("A") => Compatibility::A,
        Some("B") => Compatibility::B,
        Some("PG") => Compatibility::Pg,
        Some(other) => bail!("{other} is none of A, B, PG"),
    };
    let dolphin = arguments.next().as_deref() == Some("dolphin");
    let double =
        Double::start(test_kit::postgres()?, Settings { compatibility, dolphin, ..Settings::default() })?;
    #[expect(clippy::print_stdout, reason = "what the example is for")]
    {
        println!("{}", double.url_of("postgres"));
    }
    loop {
        std::thread::park();
    }
}
