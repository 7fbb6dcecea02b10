//! x
use migration_sdk::*;
struct Mysql2og;
impl Planner for Mysql2og {
    type Config = NoConfig;
    fn describe() -> Description {
        Description { name: "mysql2og".into(), version: env!("CARGO_PKG_VERSION").into(), summary: "x".into(), config_schema: String::new(), sources: vec!["mysql".into(), "mariadb".into()], targets: vec!["postgres".into(), "opengauss".into()], attributes: vec![] }
    }
    fn configure(_: RunContext, _: NoConfig) -> Result<Self, PluginError> { Ok(Self) }
    fn plan_table(&self, schema: &TableSchema, _: &Endpoint, _: &Endpoint) -> Result<TablePlan, PluginError> {
        Ok(TablePlan::unchanged(schema))
    }
}
export_plugin!(Mysql2og);
