//! Rounds of writes and faults, each of which ends with a comparison of every row.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use mysql_async::prelude::Queryable as _;
use tempfile::TempDir;
use test_kit::{Builder, Product, Proxy};
use test_support::compare::{Comparison, compare, require_equal, tables_of};
use test_support::numbers::Numbers;
use test_support::{connect, eventually};
use tokio::time::sleep;

use crate::back;
use crate::chaos::Sides;
use crate::fault::Fault;
use crate::supervisor::Supervisor;
use crate::tables::{self, DATABASE};
use crate::writers::{Writers, Written};

/// Which way the changes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Direction {
    /// From MySQL or MariaDB to `PostgreSQL`
    Forward,
    /// Back again: after a cut-over, `PostgreSQL` is written to, and the old source follows
    Reverse,
}

/// What a campaign does.
#[derive(Debug, Clone)]
pub struct Options {
    /// The source, of the way there.
    pub source: Product,
    /// Which way is under fire.
    pub direction: Direction,
    /// What everything random begins with.
    pub seed: u64,
    /// Length of the part of a round in which there are faults.
    pub round: Duration,
    /// Connections that write.
    pub writers: u64,
    /// Pause of each writer between two transactions.
    pub pause: Duration,
    /// After so many rounds the task begins anew, with an empty target.
    pub rounds_per_task: u64,
    /// The faults to choose from.
    pub faults: Vec<Fault>,
    /// Further settings of the source of the way there.
    pub lines: Vec<String>,
    /// Arguments added to each run of the engine. Without `--parallelism` each run has another one.
    pub arguments: Vec<String>,
}

impl Options {
    /// What is usual, with this seed.
    pub fn new(source: Product, seed: u64) -> Self {
        use clap::ValueEnum as _;
        Self {
            source,
            direction: Direction::Forward,
            seed,
            round: Duration::from_secs(12),
            writers: 3,
            pause: Duration::from_millis(8),
            rounds_per_task: 3,
            faults: Fault::value_variants().to_vec(),
            lines: Vec::new(),
            arguments: Vec::new(),
        }
    }
}

/// What a campaign has seen.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Rounds that ended with both sides equal.
    pub rounds: u64,
    /// What was written to the source, all of which was applied.
    pub written: Written,
    /// Rows compared.
    pub compared: u64,
    /// Faults, by kind.
    pub faults: BTreeMap<Fault, u64>,
    /// How often an engine was started.
    pub starts: u64,
    /// How often it ended by itself because of a fault, by phase and reason.
    pub gave_up: BTreeMap<String, u64>,
}

/// A campaign on servers of its own.
#[derive(Debug)]
pub struct Campaign {
    options: Options,
    sides: Sides,
    numbers: Numbers,
    directory: TempDir,
    task: u64,
    engine: Option<Supervisor>,
    tally: Tally,
}

impl Campaign {
    /// Starts the servers and fills the source.
    pub async fn begin(mut options: Options) -> Result<Self> {
        if options.direction == Direction::Reverse {
            options.faults.retain(|fault| fault.is_of_mysql());
        }
        // What a process has committed must survive its death, though not that of the machine.
        let source = Builder::new(options.source).line("innodb_flush_log_at_trx_commit=2");
        let source = source.line("max_connections=200");
        let mysql = options.lines.iter().fold(source, |source, line| source.line(line.clone())).start()?;
        let postgres = Builder::new(Product::Postgres15).line("max_connections = 200").start()?;
        let (source, target) = match options.direction {
            Direction::Forward => (mysql, postgres),
            Direction::Reverse => (postgres, mysql),
        };
        let sides = Sides { to_source: Proxy::to(&source)?, to_target: Proxy::to(&target)?, source, target };
        let mut connection = connect::mysql(sides.mysql().url()).await?;
        tables::make(&mut connection).await?;
        connection.disconnect().await?;
        let numbers = Numbers::new(options.seed);
        let directory = tempfile::tempdir()?;
        Ok(Self { options, sides, numbers, directory, task: 0, engine: None, tally: Tally::default() })
    }

    /// What was seen so far.
    pub const fn tally(&self) -> &Tally {
        &self.tally
    }

    /// One round. An error is a difference, or something that the engine must not do.
    pub async fn round(&mut self) -> Result<()> {
        let mut log = Vec::new();
        let outcome = self.faults_and_comparison(&mut log).await;
        outcome.with_context(|| {
            format!(
                "in round {} of seed {}, after {}",
                self.tally.rounds + 1,
                self.options.seed,
                log.join(", ")
            )
        })
    }

    async fn faults_and_comparison(&mut self, log: &mut Vec<String>) -> Result<()> {
        let mut engine = match self.engine.take() {
            Some(engine) if !self.tally.rounds.is_multiple_of(self.options.rounds_per_task) => engine,
            last => self.new_task(last).await?,
        };
        // What was prepared before a task began can't be followed. In the second round of a task it has begun for
        // certain, and a target that forgets its last commits can't make it begin again.
        let prepare = engine.starts > 0;
        let (writers, pause) = (self.options.writers, self.options.pause);
        let seed = self.numbers.next();
        let writers = match self.options.direction {
            Direction::Forward => {
                let url = self.sides.source.url_of(DATABASE);
                Writing::Forward(Writers::start(&url, writers, pause, prepare, seed))
            }
            Direction::Reverse => {
                let url = self.sides.source.url_of(&self.postgres_database());
                Writing::Reverse(back::Writers::start(&url, writers, pause, seed))
            }
        };
        let starts = engine.starts;
        let chaos = self.chaos(&mut engine, log).await;
        self.sides.to_source.heal();
        self.sides.to_target.heal();
        let recovered = match chaos {
            Ok(()) => self.recovers(&mut engine).await.context("left alone after the faults"),
            Err(error) => Err(error),
        };
        let written = writers.stop().await?;
        recovered?;
        // Both ways to end it are as good.
        if self.numbers.below(2) == 0 {
            engine.kill().await?;
        } else {
            engine.interrupt().await?;
        }
        engine.catch_up().await.context("catching up after the round")?;
        self.tally.starts += engine.starts - starts;
        for reason in engine.gave_up.drain(..) {
            *self.tally.gave_up.entry(reason).or_default() += 1;
        }
        let comparisons = self.compare().await?;
        require_equal(&comparisons)?;
        self.tally.compared += comparisons.iter().map(|table| table.source_rows as u64).sum::<u64>();
        self.tally.written.transactions += written.transactions;
        self.tally.written.changes += written.changes;
        self.tally.rounds += 1;
        self.engine = Some(engine);
        Ok(())
    }

    /// An engine with an empty target; of the way back, after everything was moved over to one.
    async fn new_task(&mut self, last: Option<Supervisor>) -> Result<Supervisor> {
        if let Some(last) = last.filter(|_| self.options.direction == Direction::Reverse) {
            last.give_up_way_back().await?;
        }
        self.task += 1;
        let database = self.postgres_database();
        let target = connect::postgres(self.sides.postgres().url()).await?;
        if self.task > 1 {
            let last = format!("torture_{}", self.task - 1);
            target.batch_execute(&format!("DROP DATABASE IF EXISTS {last} WITH (FORCE)")).await?;
        }
        target.batch_execute(&format!("CREATE DATABASE {database}")).await?;
        let directory = self.directory.path().join(&database);
        std::fs::create_dir_all(&directory)?;
        let mut engine = Supervisor::new(
            &directory,
            self.options.direction,
            self.sides.to_mysql().url(&self.sides.mysql().url_of(DATABASE))?,
            self.sides.to_postgres().url(&self.sides.postgres().url_of(&database))?,
            self.options.arguments.clone(),
            self.numbers.next(),
        );
        if self.options.direction == Direction::Reverse {
            engine.move_over().await?;
        }
        Ok(engine)
    }

    fn postgres_database(&self) -> String {
        format!("torture_{}", self.task)
    }

    async fn chaos(&mut self, engine: &mut Supervisor, log: &mut Vec<String>) -> Result<()> {
        let begin = Instant::now();
        let database = self.postgres_database();
        while begin.elapsed() < self.options.round {
            engine.keep_running().await?;
            sleep(Duration::from_millis(20 + self.numbers.below(1500))).await;
            if self.numbers.below(4) == 0 {
                engine.copy_state()?;
            }
            let fault = Fault::draw(&self.options.faults, &mut self.numbers);
            log.push(format!("{:.1} s {fault}", begin.elapsed().as_secs_f64()));
            let injected = self.sides.inject(fault, engine, &database, &mut self.numbers).await;
            injected.with_context(|| format!("injecting {fault}"))?;
            *self.tally.faults.entry(fault).or_default() += 1;
        }
        Ok(())
    }

    /// Waits until a row written now arrives by itself, which it must once nobody disturbs.
    async fn recovers(&mut self, engine: &mut Supervisor) -> Result<()> {
        let mark = format!("mark {}", self.numbers.next());
        let write = format!("INSERT INTO {DATABASE}.journal VALUES (-1, '{mark}', 0)");
        let read = format!("SELECT count(*) FROM {DATABASE}.journal WHERE what = '{mark}'");
        let postgres = connect::postgres(&self.sides.postgres().url_of(&self.postgres_database())).await?;
        let mut mysql = connect::mysql(self.sides.mysql().url()).await?;
        match self.options.direction {
            Direction::Forward => mysql.query_drop(write).await?,
            Direction::Reverse => postgres.batch_execute(&write).await?,
        }
        eventually("a row written after the faults", async || {
            engine.keep_running().await?;
            sleep(Duration::from_millis(100)).await;
            let number = match self.options.direction {
                Direction::Forward => match postgres.query_one(&read, &[]).await {
                    Ok(row) => row.get::<_, i64>(0),
                    // Before the copy there is no such table.
                    Err(_) => return Ok(None),
                },
                Direction::Reverse => mysql.query_first(&read).await?.unwrap_or_default(),
            };
            ensure!(number <= 1, "the row is there {number} times");
            Ok((number == 1).then_some(()))
        })
        .await
    }

    async fn compare(&self) -> Result<Vec<Comparison>> {
        let mut mysql = connect::mysql(self.sides.mysql().url()).await?;
        let postgres = connect::postgres(&self.sides.postgres().url_of(&self.postgres_database())).await?;
        let pairs = tables_of(&mut mysql, DATABASE).await?;
        let comparisons = compare(&mut mysql, &postgres, &pairs).await?;
        mysql.disconnect().await?;
        ensure!(comparisons.len() == pairs.len() && !pairs.is_empty(), "not every table was compared");
        Ok(comparisons)
    }
}

/// Whoever writes to the side that is followed.
enum Writing {
    Forward(Writers),
    Reverse(back::Writers),
}

impl Writing {
    async fn stop(self) -> Result<Written> {
        match self {
            Self::Forward(writers) => writers.stop().await,
            Self::Reverse(writers) => writers.stop().await,
        }
    }
}
