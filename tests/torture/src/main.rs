//! `cargo xtask torture`: the crash campaign for as long as one likes.

use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use clap::Parser;
use test_kit::Product;
use torture::{Campaign, Direction, Fault, Options, Tally};

/// Breaks everything that can break, again and again, and compares every row
///
/// Starts a throw-away source and target, lets several connections change the source, and follows it with the engine
/// while the engine is killed, paused and replaced, its state directory removed or replaced by an older copy, servers are
/// killed and restarted, and the network between them is cut, held, slowed and made to lose the answers of commits. Each
/// round ends with a comparison of every row, by a comparer that shares no code with the engine.
///
/// The exit status is 0 only if every round ended with both sides equal. A failure names its round, its seed and the
/// faults that went before.
#[derive(Debug, Parser)]
#[command(
    name = "torture",
    bin_name = "cargo xtask torture",
    max_term_width = 100,
    after_help = "Examples:\n  cargo xtask torture\n  cargo xtask torture --minutes 120 --source mariadb\n  \
    cargo xtask torture --seed 7 --only kill-engine,late-commit\n  \
    cargo xtask torture --rounds 3 -- --parallelism 1\n  cargo xtask torture --direction reverse --source mariadb"
)]
struct Arguments {
    /// Ends after the round in which so many minutes have passed
    #[arg(long, default_value_t = 10, value_name = "N")]
    minutes: u64,
    /// Ends after so many rounds instead
    #[arg(long, value_name = "N", conflicts_with = "minutes")]
    rounds: Option<u64>,
    /// What everything random begins with: the same number draws the same faults and transactions. By default it is
    /// drawn from the clock, and printed
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// The source
    #[arg(long, value_enum, default_value_t = Source::Mysql)]
    source: Source,
    /// Which way is under fire. Of the way back, everything was moved over before, and PostgreSQL is written to
    #[arg(long, value_enum, default_value_t = Direction::Forward)]
    direction: Direction,
    /// Seconds of faults in each round
    #[arg(long, default_value_t = 15, value_name = "SECONDS")]
    length: u64,
    /// Rounds after which the target is emptied and copied anew
    #[arg(long, default_value_t = 4, value_name = "N")]
    rounds_per_task: u64,
    /// Connections that write to the source
    #[arg(long, default_value_t = 3, value_name = "N")]
    writers: u64,
    /// Faults to draw from, instead of all of them
    #[arg(long, value_delimiter = ',', value_name = "FAULT,…")]
    only: Vec<Fault>,
    /// A further setting of the source, as in its configuration file; may be repeated
    #[arg(long = "source-setting", value_name = "LINE")]
    lines: Vec<String>,
    /// Arguments added to each run of the engine, after `--`. Without `--parallelism` among them each run has another one
    #[arg(last = true, value_name = "ENGINE ARGUMENT")]
    passed: Vec<String>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Source {
    /// MySQL 9
    Mysql,
    /// MariaDB 10.11
    Mariadb,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = tokio::runtime::Runtime::new()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(torture(&arguments)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn torture(arguments: &Arguments) -> Result<()> {
    let seed = arguments.seed.unwrap_or_else(|| {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_secs() % 1_000_000)
    });
    let product = match arguments.source {
        Source::Mysql => Product::MySql,
        Source::Mariadb => Product::MariaDb,
    };
    let mut options = Options::new(product, seed);
    options.round = Duration::from_secs(arguments.length);
    options.rounds_per_task = arguments.rounds_per_task.max(1);
    options.direction = arguments.direction;
    options.writers = arguments.writers;
    options.arguments.clone_from(&arguments.passed);
    options.lines.clone_from(&arguments.lines);
    if !arguments.only.is_empty() {
        options.faults.clone_from(&arguments.only);
    }
    match arguments.direction {
        Direction::Forward => println!("seed {seed}, from {product} to {}", Product::Postgres15),
        Direction::Reverse => println!("seed {seed}, from {} back to {product}", Product::Postgres15),
    }
    let begin = Instant::now();
    let mut campaign = Campaign::begin(options).await?;
    loop {
        let outcome = campaign.round().await;
        let tally = campaign.tally();
        if let Err(error) = outcome {
            println!("{}", sum(tally, begin));
            println!("FAILED with seed {seed}");
            return Err(error);
        }
        println!("{}", sum(tally, begin));
        let over = arguments.rounds.map_or_else(
            || begin.elapsed() >= Duration::from_secs(60 * arguments.minutes),
            |rounds| tally.rounds >= rounds,
        );
        if over {
            let kinds: Vec<String> =
                tally.faults.iter().map(|(fault, number)| format!("{number} {fault}")).collect();
            println!("\nfaults: {}", kinds.join(", "));
            for (reason, number) in &tally.gave_up {
                println!("the engine ended by itself {number} times in {reason}");
            }
            println!("SURVIVED {} ROUNDS, 0 differences", tally.rounds);
            return Ok(());
        }
    }
}

/// One line about all that has been so far.
fn sum(tally: &Tally, begin: Instant) -> String {
    format!(
        "{:>5.0} s  {} rounds survived, {} faults, {} transactions with {} changes applied, {} rows compared, \
         engine started {} times (ended by itself {})",
        begin.elapsed().as_secs_f64(),
        tally.rounds,
        tally.faults.values().sum::<u64>(),
        tally.written.transactions,
        tally.written.changes,
        tally.compared,
        tally.starts,
        tally.gave_up.values().sum::<u64>()
    )
}
