//! Shows a live migration from `MySQL` to `PostgreSQL` on servers of its own: `cargo xtask demo`.

mod summary;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use test_kit::{Builder, Product, Server};
use test_support::compare::{Comparison, compare, tables_of};
use test_support::writer::Writer;
use test_support::{connect, process, shop};

use summary::Summary;

/// Migrates a small shop, live, and compares every row
///
/// Starts a throw-away MySQL and PostgreSQL on loopback, loads a shop of 300,000 rows with awkward columns, and lets
/// a writer change it while the engine migrates. Then the writer stops, the engine catches up, and both sides are
/// compared row for row by a comparer that shares no code with the engine.
#[derive(Debug, Parser)]
#[command(name = "demo", bin_name = "cargo xtask demo", max_term_width = 100)]
struct Options {
    /// Leave the servers running afterwards and print their URLs
    #[arg(long)]
    keep: bool,
    /// Migrate from MariaDB 10.11 instead of MySQL 9
    #[arg(long)]
    mariadb: bool,
    /// Transactions a second the writer commits meanwhile
    #[arg(long, default_value_t = 200, value_name = "N")]
    writes: u32,
    /// The plugin that decides about types and names
    #[arg(long, default_value = "target/guests/mysql2og.wasm", value_name = "FILE")]
    plugin: PathBuf,
}

fn main() -> ExitCode {
    match demonstrate(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn demonstrate(options: &Options) -> Result<bool> {
    let product = if options.mariadb { Product::MariaDb } else { Product::MySql };
    let source = started(product)?;
    let target = started(Product::Postgres15)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let outcome = runtime.block_on(migrate(options, &source, &target));
    if options.keep {
        keep(source, target)?;
    }
    let summary = outcome?;
    println!("{summary}");
    Ok(summary.is_equal())
}

fn started(product: Product) -> Result<Server> {
    let begin = Instant::now();
    let server = Builder::new(product).start()?;
    println!("{product} on port {} in {:.1} s", server.port(), begin.elapsed().as_secs_f64());
    Ok(server)
}

fn keep(source: Server, target: Server) -> Result<()> {
    println!("\nsource  {}\ntarget  {}", source.url_of(shop::DATABASE), target.url());
    let directories: Vec<String> = [&source, &target]
        .iter()
        .filter_map(|server| Some(server.directory()?.display().to_string()))
        .collect();
    let (first, second) = (source.leave_running()?, target.leave_running()?);
    println!("both keep running; this ends them and removes their data:");
    println!("  kill {} {} && sleep 5 && rm -rf {}", first, second, directories.join(" "));
    Ok(())
}

async fn migrate(options: &Options, source: &Server, target: &Server) -> Result<Summary> {
    let mut connection = connect::mysql(source.url()).await?;
    let begin = Instant::now();
    let rows = shop::load(&mut connection, 1).await?;
    println!("{rows} rows loaded in {:.1} s", begin.elapsed().as_secs_f64());

    let state = tempfile::tempdir()?;
    let url = source.url_of(shop::DATABASE);
    println!("\nmigrating while {} transactions a second are committed", options.writes);
    let writer = Writer::start(url.clone(), options.writes, 1);
    let first = run_engine(options, &url, target.url(), state.path()).await;
    let written = writer.stop().await;
    let copying = first?;

    println!("\nthe writer has stopped; catching up");
    let catching_up = run_engine(options, &url, target.url(), state.path()).await?;

    println!("\ncomparing row for row");
    let (comparisons, comparing) = compared(&mut connection, target.url()).await?;
    connection.disconnect().await?;
    Ok(Summary { rows, copying, written: written?, catching_up, comparisons, comparing })
}

async fn compared(source: &mut mysql_async::Conn, target: &str) -> Result<(Vec<Comparison>, Duration)> {
    let begin = Instant::now();
    let client = connect::postgres(target).await?;
    let pairs = tables_of(source, shop::DATABASE).await?;
    Ok((compare(source, &client, &pairs).await?, begin.elapsed()))
}

/// Runs the engine until it is caught up; answers how long it took.
async fn run_engine(options: &Options, source: &str, target: &str, state: &Path) -> Result<Duration> {
    let engine = process::program("engine", "ENGINE_BINARY")?;
    ensure!(
        options.plugin.is_file(),
        "no plugin {}: build it with `cargo xtask plugins`",
        options.plugin.display()
    );
    let mut command = Command::new(&engine);
    command.args(["run", "--name", "demo", "--until", "caught-up", "--source", source, "--target", target]);
    command.arg("--plugin").arg(&options.plugin).arg("--state-dir").arg(state);
    let begin = Instant::now();
    let status = tokio::task::spawn_blocking(move || command.status())
        .await?
        .with_context(|| format!("running {}", engine.display()))?;
    ensure!(status.success(), "the engine failed: {status}");
    Ok(begin.elapsed())
}
