//! Real, throw-away database servers for tests, the demo and the benchmarks.
//!
//! A server comes from the first of these that is there:
//!
//! 1. a URL in the environment: `TEST_MYSQL_URL`, `TEST_MARIADB_URL`, `TEST_POSTGRES_URL`, `TEST_POSTGRES18_URL`
//!    (`compose.yaml` at the root of the repository starts servers to point them at);
//! 2. server programs of the right version installed on this machine;
//! 3. Debian packages, downloaded with apt into a private state and unpacked below `target/servers`, without
//!    touching what the machine has installed.
//!
//! [`mysql`], [`mariadb`] and [`postgres`] answer one server per process, started when first asked for.
//! [`Builder`] starts a server of its own, for tests that need other settings or want to kill it.
//! Every server listens on loopback only, runs as an unprivileged user, and ends, together with its data, when the
//! process that started it ends, however it ends.
//!
//! A [`Proxy`] stands between a program and a server and does to their connections what bad networks do.

mod clock;
mod configuration;
mod directory;
mod environment;
pub mod opengauss;
mod packages;
mod peer;
mod port;
mod product;
mod proxy;
mod readiness;
mod server;
mod shared;
mod software;
mod watchdog;

pub use directory::servers_directory;
pub use peer::Peer;
pub use product::Product;
pub use proxy::{CommitFault, Proxy};
pub use server::{Builder, Durability, Server};
pub use shared::{mariadb, mysql, postgres, shared};
pub use software::{Software, provide};

/// The account every server is given, with all privileges.
pub const USER: &str = "mig";
/// The password of [`USER`]; the servers listen on loopback only and are thrown away.
pub const PASSWORD: &str = "mig";
