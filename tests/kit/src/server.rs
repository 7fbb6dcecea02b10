//! A running server and its life.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};

use crate::clock::wait_for;
use crate::configuration::{Configuration, run};
use crate::directory::lock;
use crate::port::Port;
use crate::product::Product;
use crate::readiness::serves;
use crate::software::{Account, Software, provide};
use crate::watchdog::Watchdog;
use crate::{PASSWORD, USER};

const START_LIMIT: Duration = Duration::from_mins(2);
const STOP_LIMIT: Duration = Duration::from_mins(1);

/// How much a server cares about a power failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// No flushing to disk: for tests, whose servers are thrown away.
    #[default]
    Fast,
    /// The product's durable defaults: for measurements.
    Full,
}

/// Starts a server of one's own.
#[derive(Debug)]
pub struct Builder {
    product: Product,
    lines: Vec<String>,
    durability: Durability,
}

impl Builder {
    /// A server with the kit's usual settings.
    pub const fn new(product: Product) -> Self {
        Self { product, lines: Vec::new(), durability: Durability::Fast }
    }

    /// Adds a line to the server's configuration file; a later line wins over an earlier one.
    #[must_use]
    pub fn line(mut self, line: impl Into<String>) -> Self {
        self.lines.push(line.into());
        self
    }

    /// Sets how much the server cares about a power failure.
    #[must_use]
    pub const fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// Sets the server up, starts it and waits until it takes connections.
    pub fn start(self) -> Result<Server> {
        let software = provide(self.product)?;
        let port = Port::reserve()?;
        let directory = fresh_directory(&software)?;
        let run = Run { software, directory, lines: self.lines, durability: self.durability, port };
        run.configuration().write()?;
        run.fill_data_directory()?;
        let running = run.launch()?;
        let (port, directory) = (run.port.number(), run.directory.clone());
        Ok(Server {
            product: self.product,
            host: "127.0.0.1".to_owned(),
            port,
            url: url(self.product, port),
            directory: Some(directory),
            own: Some(Own { run, running: Mutex::new(Some(running)) }),
        })
    }
}

/// What it takes to start a server again.
#[derive(Debug)]
struct Run {
    software: Software,
    directory: PathBuf,
    lines: Vec<String>,
    durability: Durability,
    port: Port,
}

/// A server process and its watchdog.
#[derive(Debug)]
struct Running {
    process: Child,
    watchdog: Watchdog,
}

#[derive(Debug)]
struct Own {
    run: Run,
    running: Mutex<Option<Running>>,
}

/// A database server. One that the kit started ends when the value is dropped or the process ends.
#[derive(Debug)]
pub struct Server {
    product: Product,
    host: String,
    port: u16,
    url: String,
    directory: Option<PathBuf>,
    own: Option<Own>,
}

impl Server {
    /// A server somebody else runs, by its URL.
    pub(crate) fn external(product: Product, url: &str) -> Result<Self> {
        let malformed = || anyhow!("{} is not scheme://user:password@host:port/...", product.variable());
        let (_, rest) = url.split_once("://").ok_or_else(malformed)?;
        let (authority, _) = rest.split_once('/').unwrap_or((rest, ""));
        let (_, address) = authority.rsplit_once('@').unwrap_or(("", authority));
        let default_port = if product.is_postgres() { 5432 } else { 3306 };
        let (host, port) = match address.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().map_err(|_| malformed())?),
            None => (address, default_port),
        };
        Ok(Self { product, host: host.to_owned(), port, url: url.to_owned(), directory: None, own: None })
    }

    /// The product.
    pub const fn product(&self) -> Product {
        self.product
    }

    /// The URL with user and password; for `PostgreSQL` with the database `postgres`, for `MySQL` with none.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The URL with this database selected.
    pub fn url_of(&self, database: &str) -> String {
        let after_scheme = self.url.find("://").map_or(0, |at| at + 3);
        let end = self
            .url
            .get(after_scheme..)
            .and_then(|rest| rest.find('/'))
            .map_or(self.url.len(), |at| after_scheme + at);
        format!("{}/{database}", self.url.get(..end).unwrap_or(&self.url))
    }

    /// The port on [`host`](Self::host).
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The host: loopback for every server the kit started.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether the kit started this server and can stop it.
    pub const fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// The server's directory, seen from this process; `None` for a server somebody else runs.
    pub fn directory(&self) -> Option<&Path> {
        self.directory.as_deref()
    }

    /// The process id of the server; `None` while it is stopped and for a server somebody else runs.
    pub fn process_id(&self) -> Option<u32> {
        let own = self.own.as_ref()?;
        own.running.lock().ok()?.as_ref().map(|running| running.process.id())
    }

    /// A command that runs the product's own command-line client against this server.
    pub fn client(&self) -> Result<Command> {
        let mut command = self.tool(self.product.client_program())?;
        if self.product.is_postgres() {
            command.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", self.url()]);
        } else {
            command.arg("--local-infile=1");
        }
        Ok(command)
    }

    /// A command that runs the product's own tool for dumps against this server.
    pub fn dump(&self) -> Result<Command> {
        let mut command = self.tool(self.product.dump_program())?;
        if self.product.is_postgres() {
            command.arg(self.url());
        }
        Ok(command)
    }

    /// A command that runs one of the product's programs; those of the `MySQL` family know whom to talk to.
    fn tool(&self, program: &str) -> Result<Command> {
        let software = match &self.own {
            Some(own) => own.run.software.clone(),
            None => provide(self.product)?,
        };
        let mut command = software.command(program, Account::Own);
        if !self.product.is_postgres() {
            command.args(["--no-defaults", "--default-character-set=utf8mb4"]);
            command.arg(format!("--host={}", self.host)).arg(format!("--port={}", self.port));
            command.arg(format!("--user={USER}")).env("MYSQL_PWD", PASSWORD);
            if self.product == Product::MySql {
                command.args(["--get-server-public-key", "--ssl-mode=DISABLED"]);
            }
        }
        Ok(command)
    }

    /// The end of the server's log, for a failing test to show.
    pub fn log_tail(&self) -> String {
        self.own.as_ref().map_or_else(String::new, |own| own.run.log_tail())
    }

    /// Stops the server in an orderly way and waits for its end.
    pub fn stop(&self) -> Result<()> {
        // A smart shutdown would wait for clients; SIGINT is PostgreSQL's fast shutdown.
        let signal = if self.product.is_postgres() { "-INT" } else { "-TERM" };
        self.end(signal)
    }

    /// Kills the server as a power failure would, and waits for its end.
    pub fn kill(&self) -> Result<()> {
        self.end("-KILL")
    }

    /// Starts a stopped server again, on the same port and data.
    pub fn start(&self) -> Result<()> {
        let own = self.owned()?;
        let mut running =
            own.running.lock().map_err(|_| anyhow!("a thread panicked while it held the server"))?;
        if running.is_some() {
            bail!("{} runs already", self.product);
        }
        *running = Some(own.run.launch()?);
        Ok(())
    }

    /// Stops the server and starts it again.
    pub fn restart(&self) -> Result<()> {
        self.stop()?;
        self.start()
    }

    /// Leaves the server running beyond the end of this process; answers its process id.
    pub fn leave_running(mut self) -> Result<u32> {
        let own = self.own.take().ok_or_else(|| anyhow!("the kit did not start this server"))?;
        let running = own.running.into_inner().ok().flatten().context("the server is stopped")?;
        running.watchdog.call_off();
        Ok(running.process.id())
    }

    fn owned(&self) -> Result<&Own> {
        self.own.as_ref().ok_or_else(|| {
            anyhow!("{} was not started by the kit: it is {}'s", self.product, self.product.variable())
        })
    }

    fn end(&self, signal: &str) -> Result<()> {
        let own = self.owned()?;
        let mut running =
            own.running.lock().map_err(|_| anyhow!("a thread panicked while it held the server"))?;
        let Some(mut ending) = running.take() else { bail!("{} is stopped already", self.product) };
        let process = ending.process.id().to_string();
        run(Command::new("kill").args([signal, &process]))?;
        wait_for(&format!("{} ending after kill {signal}", self.product), STOP_LIMIT, || {
            Ok(ending.process.try_wait()?)
        })?;
        ending.watchdog.call_off();
        if signal == "-KILL" && self.product.is_postgres() {
            own.run.await_orphans()?;
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(own) = &self.own else { return };
        if let Some(mut running) = own.running.lock().ok().and_then(|mut running| running.take()) {
            let _ = running.process.kill();
            let _ = running.process.wait();
            running.watchdog.call_off();
        }
        let _ = fs::remove_dir_all(&own.run.directory);
    }
}

impl Run {
    fn configuration(&self) -> Configuration<'_> {
        Configuration {
            software: &self.software,
            directory: &self.directory,
            port: self.port.number(),
            durability: self.durability,
            lines: &self.lines,
        }
    }

    /// Fills the data directory from a template, so that only the first server of a product pays for its set-up.
    fn fill_data_directory(&self) -> Result<()> {
        let product = self.software.product();
        let decided_at_setup = |line: &String| {
            line.starts_with("lower_case_table_names") || line.starts_with("innodb_page_size")
        };
        let data = self.directory.join("data");
        if self.lines.iter().any(decided_at_setup) {
            Software::make_directory(&data)?;
            return self.configuration().initialise();
        }
        let _lock = lock(&format!("template-{}", product.name()))?;
        let template = self.software.data_directory()?.join(format!("template-{}", product.name()));
        if !template.exists() {
            let plain = Run {
                software: self.software.clone(),
                directory: fresh_directory(&self.software)?,
                lines: Vec::new(),
                durability: Durability::Fast,
                port: Port::reserve()?,
            };
            Software::make_directory(&plain.directory.join("data"))?;
            plain.configuration().write()?;
            plain.configuration().initialise()?;
            // Each server makes an identity of its own at its first start.
            let _ = fs::remove_file(plain.directory.join("data/auto.cnf"));
            fs::rename(plain.directory.join("data"), &template)?;
            fs::remove_dir_all(&plain.directory)?;
        }
        run(Command::new("cp").args(["-a", "--reflink=auto"]).arg(&template).arg(&data))
    }

    fn launch(&self) -> Result<Running> {
        let product = self.software.product();
        let _ = fs::remove_file(self.directory.join("data/postmaster.pid"));
        let log = File::options().create(true).append(true).open(self.log_path())?;
        let mut command = self.configuration().server();
        // A group of its own: Ctrl-C in a terminal ends the owner, which then ends the server.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let process = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {product}"))?;
        let watchdog = Watchdog::start(process.id(), Some(&self.directory))?;
        let mut running = Running { process, watchdog };
        let port = self.port.number();
        let ready = wait_for(&format!("{product} on port {port}"), START_LIMIT, || {
            if let Some(status) = running.process.try_wait()? {
                bail!("{product} ended with {status} while starting");
            }
            Ok(serves(product, port).then_some(()))
        });
        if let Err(error) = ready {
            let _ = running.process.kill();
            let _ = running.process.wait();
            running.watchdog.call_off();
            return Err(error.context(format!("the end of its log:\n{}", self.log_tail())));
        }
        fs::write(self.directory.join("pid"), running.process.id().to_string())?;
        Ok(running)
    }

    /// After its postmaster was killed, `PostgreSQL`'s children notice and end by themselves; the next start refuses
    /// while one is left, which it knows by the shared memory they hold.
    fn await_orphans(&self) -> Result<()> {
        let data = self.software.inside(&self.directory.join("data"));
        wait_for("the children of a killed PostgreSQL ending", STOP_LIMIT, || {
            for entry in fs::read_dir("/proc")? {
                let directory = entry?.path().join("cwd");
                if fs::read_link(directory)
                    .is_ok_and(|working| working == data || working == self.directory.join("data"))
                {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        })
    }

    fn log_path(&self) -> PathBuf {
        self.directory.join("server.log")
    }

    fn log_tail(&self) -> String {
        let text = fs::read(self.log_path())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines.get(lines.len().saturating_sub(20)..).unwrap_or_default().join("\n")
    }
}

/// A new directory for one server.
fn fresh_directory(software: &Software) -> Result<PathBuf> {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("{}-{}-{number}", software.product().name(), std::process::id());
    let directory = software.data_directory()?.join(name);
    // What is left there belongs to an ended process that had this one's number.
    let _ = fs::remove_dir_all(&directory);
    Software::make_directory(&directory)?;
    Ok(directory)
}

fn url(product: Product, port: u16) -> String {
    match product {
        Product::MySql => format!("mysql://{USER}:{PASSWORD}@127.0.0.1:{port}/"),
        Product::MariaDb => format!("mariadb://{USER}:{PASSWORD}@127.0.0.1:{port}/"),
        Product::Postgres15 | Product::Postgres18 => {
            format!("postgres://{USER}:{PASSWORD}@127.0.0.1:{port}/postgres")
        }
    }
}
