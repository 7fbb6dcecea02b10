//! Moves MySQL and MariaDB tables to MySQL and MariaDB: types, collations, defaults and attributes as
//! they are wherever the target has them, and in plain sight what it doesn't. No row enters this plugin.

mod charset;
mod config;
mod default;
mod naming;
mod object;
mod table;
mod types;

use migration_sdk::{
    DatabaseObject, Description, Endpoint, ObjectAction, ObjectMapper, Planner, PluginError, RunContext,
    TablePlan, TableSchema,
};

use config::Config;

struct Mysql2mysql {
    config: Config,
}

impl Planner for Mysql2mysql {
    type Config = Config;

    fn describe() -> Description {
        let engines = || vec!["mysql".to_owned(), "mariadb".to_owned()];
        Description {
            name: "mysql2mysql".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            summary: "carries MySQL and MariaDB tables over to MySQL or MariaDB".to_owned(),
            config_schema: config::SCHEMA.to_owned(),
            sources: engines(),
            targets: engines(),
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

impl ObjectMapper for Mysql2mysql {
    fn map_object(
        &self,
        object: &DatabaseObject,
        source: &Endpoint,
        target: &Endpoint,
    ) -> Result<ObjectAction, PluginError> {
        Ok(object::map(&self.config, object, source, target))
    }
}

migration_sdk::export_plugin!(Mysql2mysql: ObjectMapper);

#[cfg(test)]
mod tests;
