//! One server per product and process.

use std::sync::{Mutex, OnceLock};

use anyhow::{Context, Result, anyhow};

use crate::product::Product;
use crate::server::{Builder, Server};

/// The process's `MySQL` server.
pub fn mysql() -> Result<&'static Server> {
    shared(Product::MySql)
}

/// The process's `MariaDB` server.
pub fn mariadb() -> Result<&'static Server> {
    shared(Product::MariaDb)
}

/// The process's `PostgreSQL` 15 server.
pub fn postgres() -> Result<&'static Server> {
    shared(Product::Postgres15)
}

/// The process's server of this product: the one the environment names, or one started when first asked for.
///
/// Tests share it: each uses databases of its own.
pub fn shared(product: Product) -> Result<&'static Server> {
    static SERVERS: [OnceLock<Server>; Product::ALL.len()] = [const { OnceLock::new() }; Product::ALL.len()];
    static STARTING: Mutex<()> = Mutex::new(());
    let position = Product::ALL.iter().position(|known| *known == product).context("an unlisted product")?;
    let slot = SERVERS.get(position).context("an unlisted product")?;
    if let Some(server) = slot.get() {
        return Ok(server);
    }
    let _starting = STARTING.lock().map_err(|_| anyhow!("a thread panicked while it started a server"))?;
    if let Some(server) = slot.get() {
        return Ok(server);
    }
    let server = match std::env::var(product.variable()) {
        Ok(url) if !url.is_empty() => Server::external(product, &url)?,
        _ => Builder::new(product).start()?,
    };
    Ok(slot.get_or_init(|| server))
}
