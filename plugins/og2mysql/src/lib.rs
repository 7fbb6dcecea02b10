//! Moves PostgreSQL and openGauss tables to MySQL and MariaDB: types, keys, names, defaults and the
//! decisions that only the user can take, all of it declared. No row enters this plugin.

mod config;
mod default;
mod literal;
mod naming;
mod range;
mod size;
mod table;
mod types;

use migration_sdk::{Description, Endpoint, Planner, PluginError, RunContext, TablePlan, TableSchema};

use config::Config;

struct Og2mysql {
    config: Config,
}

impl Planner for Og2mysql {
    type Config = Config;

    fn describe() -> Description {
        Description {
            name: "og2mysql".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "maps PostgreSQL's and openGauss' types to MySQL or MariaDB".to_owned(),
            config_schema: config::SCHEMA.to_owned(),
            sources: vec!["postgres".to_owned(), "opengauss".to_owned()],
            targets: vec!["mysql".to_owned(), "mariadb".to_owned()],
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

migration_sdk::export_plugin!(Og2mysql);

#[cfg(test)]
mod tests;
