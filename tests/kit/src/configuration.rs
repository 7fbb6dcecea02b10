//! What each product is told when it is set up and started.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::product::Product;
use crate::server::Durability;
use crate::software::{Account, Software};
use crate::{PASSWORD, USER};

/// Settings of `MySQL` and `MariaDB` alike: what a migration asks of its source, UTC, room for large rows.
const MYSQL_FAMILY: &str = "bind-address=127.0.0.1
log_bin=binlog
binlog_format=ROW
binlog_row_image=FULL
local_infile=1
max_allowed_packet=256M
default_time_zone=+00:00
skip_name_resolve=1
character_set_server=utf8mb4
";

const MYSQL_ONLY: &str = "mysqlx=0
gtid_mode=ON
enforce_gtid_consistency=ON
secure_file_priv=
";

const POSTGRES: &str = "listen_addresses = '127.0.0.1'
unix_socket_directories = ''
dynamic_shared_memory_type = mmap
wal_level = logical
max_prepared_transactions = 10
max_wal_senders = 40
max_replication_slots = 40
max_wal_size = 4GB
checkpoint_timeout = 15min
maintenance_work_mem = 256MB
timezone = 'UTC'
log_timezone = 'UTC'
";

/// One server's directory, account and settings.
#[derive(Debug)]
pub(crate) struct Configuration<'a> {
    pub(crate) software: &'a Software,
    /// The server's directory, seen from this process.
    pub(crate) directory: &'a Path,
    pub(crate) port: u16,
    pub(crate) durability: Durability,
    /// Settings of the test, which come last and therefore win.
    pub(crate) lines: &'a [String],
}

impl Configuration<'_> {
    /// Writes the configuration files.
    pub(crate) fn write(&self) -> Result<()> {
        if self.software.product().is_postgres() { self.write_postgres() } else { self.write_mysql() }
    }

    /// Fills an empty data directory.
    pub(crate) fn initialise(&self) -> Result<()> {
        let product = self.software.product();
        let inside = self.software.inside(self.directory);
        let mut command = self.software.command(product.setup_program(), Account::Unprivileged);
        match product {
            Product::MySql => {
                command.arg(format!("--defaults-file={}", inside.join("server.cnf").display()));
                command.arg("--initialize-insecure");
            }
            Product::MariaDb => {
                command.arg(format!("--defaults-file={}", inside.join("server.cnf").display()));
                command.args([
                    "--auth-root-authentication-method=normal",
                    "--skip-test-db",
                    "--cross-bootstrap",
                ]);
            }
            Product::Postgres15 | Product::Postgres18 => {
                let password = self.directory.join("password");
                fs::write(&password, PASSWORD)?;
                Software::give(&password)?;
                command.arg("-D").arg(inside.join("data"));
                command.args([
                    "-U",
                    USER,
                    "-A",
                    "scram-sha-256",
                    "-E",
                    "UTF8",
                    "--locale=C.UTF-8",
                    "--no-sync",
                ]);
                command.arg(format!("--pwfile={}", inside.join("password").display()));
            }
        }
        run(&mut command).with_context(|| format!("setting up {product}"))
    }

    /// The command that runs the server in the foreground.
    pub(crate) fn server(&self) -> Command {
        let product = self.software.product();
        let inside = self.software.inside(self.directory);
        let mut command = self.software.command(product.server_program(), Account::Unprivileged);
        if product.is_postgres() {
            command.arg("-D").arg(inside.join("data"));
            command.arg("-c").arg(format!("config_file={}", inside.join("postgresql.conf").display()));
        } else {
            command.arg(format!("--defaults-file={}", inside.join("server.cnf").display()));
            command.arg(format!("--init-file={}", inside.join("init.sql").display()));
        }
        command
    }

    fn write_mysql(&self) -> Result<()> {
        let product = self.software.product();
        let inside = self.software.inside(self.directory);
        let at = |name: &str| inside.join(name).display().to_string();
        let mut text = format!(
            "[mysqld]\ndatadir={}\nsocket={}\npid-file={}\nport={}\nserver_id={}\n{MYSQL_FAMILY}",
            at("data"),
            at("socket"),
            at("server.pid"),
            self.port,
            self.port
        );
        if product == Product::MySql {
            text.push_str(MYSQL_ONLY);
        }
        text.push_str(match (self.durability, product) {
            (Durability::Fast, Product::MySql) => {
                "innodb_flush_log_at_trx_commit=0\nsync_binlog=0\ninnodb_doublewrite=OFF\ninnodb_buffer_pool_size=256M\n\
                 innodb_redo_log_capacity=256M\n"
            }
            (Durability::Fast, _) => {
                "innodb_flush_log_at_trx_commit=0\nsync_binlog=0\ninnodb_doublewrite=OFF\ninnodb_buffer_pool_size=256M\n"
            }
            (Durability::Full, Product::MySql) => {
                "innodb_flush_log_at_trx_commit=1\nsync_binlog=1\ninnodb_buffer_pool_size=1G\n\
                 innodb_redo_log_capacity=1G\ninnodb_flush_method=O_DIRECT\n"
            }
            (Durability::Full, _) => {
                "innodb_flush_log_at_trx_commit=1\nsync_binlog=1\ninnodb_buffer_pool_size=1G\n\
                 innodb_log_file_size=512M\ninnodb_flush_method=O_DIRECT\n"
            }
        });
        for line in self.lines {
            text.push_str(line);
            text.push('\n');
        }
        fs::write(self.directory.join("server.cnf"), text)?;
        // The statements run at every start, outside the binary log, before the server takes connections.
        // Each stands on one line, as the servers want it.
        let log = "SET SESSION sql_log_bin=0;\n";
        fs::write(
            self.directory.join("init.sql"),
            format!(
                "{log}CREATE USER IF NOT EXISTS '{USER}'@'%' IDENTIFIED BY '{PASSWORD}';\n\
                 GRANT ALL ON *.* TO '{USER}'@'%' WITH GRANT OPTION;\n"
            ),
        )?;
        Ok(())
    }

    fn write_postgres(&self) -> Result<()> {
        let mut text = format!("{POSTGRES}port = {}\n", self.port);
        text.push_str(match self.durability {
            Durability::Fast => {
                "fsync = off\nsynchronous_commit = off\nfull_page_writes = off\nshared_buffers = 128MB\n"
            }
            Durability::Full => "shared_buffers = 1GB\n",
        });
        for line in self.lines {
            text.push_str(line);
            text.push('\n');
        }
        fs::write(self.directory.join("postgresql.conf"), text)?;
        Ok(())
    }
}

/// Runs a command and keeps quiet unless it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let output = command
        .stdin(std::process::Stdio::null())
        .output()
        .with_context(|| format!("running {command:?}"))?;
    if output.status.success() {
        return Ok(());
    }
    bail!(
        "{} ended with {}:\n{}{}",
        command.get_program().display(),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
