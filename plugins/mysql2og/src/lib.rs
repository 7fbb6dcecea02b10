//! Moves MySQL and MariaDB tables to PostgreSQL and openGauss: types, names, defaults and the
//! decisions that only the user can take, all of it declared. No row enters this plugin.

mod config;
mod defaults;
mod empty;
mod literal;
mod naming;
mod table;
mod types;

use migration_sdk::{Description, Endpoint, Planner, PluginError, RunContext, TablePlan, TableSchema};

use config::Config;

struct Mysql2og {
    config: Config,
}

impl Planner for Mysql2og {
    type Config = Config;

    fn describe() -> Description {
        Description {
            name: "mysql2og".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "maps every MySQL and MariaDB type to PostgreSQL or openGauss".to_owned(),
            config_schema: config::SCHEMA.to_owned(),
            sources: vec!["mysql".to_owned(), "mariadb".to_owned()],
            targets: vec!["postgres".to_owned(), "opengauss".to_owned()],
            attributes: Vec::new(),
        }
    }

    fn configure(_: RunContext, config: Config) -> Result<Self, PluginError> {
        Ok(Self { config })
    }

    fn plan_table(
        &self,
        schema: &TableSchema,
        source: &Endpoint,
        target: &Endpoint,
    ) -> Result<TablePlan, PluginError> {
        table::plan(&self.config, schema, source, target)
    }
}

migration_sdk::export_plugin!(Mysql2og);

#[cfg(test)]
mod tests;
