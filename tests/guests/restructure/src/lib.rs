//! A plugin that answers changes of structure as its configuration says, and leaves all else as it is.

use migration_sdk::batch::Row;
use migration_sdk::output::RowOutput;
use migration_sdk::{
    ConflictResolver, DdlAction, DdlEvent, DdlMapper, Description, Endpoint, Planner, PluginError,
    RowConflict, RowFailure, RowResolution, RunContext, TablePlan, TableSchema, Transformer, export_plugin,
};
use serde::Deserialize;

struct Restructure {
    config: Config,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    /// The first whose words are in the statement counts.
    answers: Vec<Answer>,
}

#[derive(Debug, Deserialize)]
struct Answer {
    words: String,
    #[serde(flatten)]
    action: Action,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    Ignore(bool),
    Execute(Vec<String>),
    Pause(String),
}

impl Planner for Restructure {
    type Config = Config;

    fn describe() -> Description {
        Description::new("restructure", env!("CARGO_PKG_VERSION"), "answers changes of structure")
    }

    fn configure(_: RunContext, config: Config) -> Result<Self, PluginError> {
        Ok(Self { config })
    }

    fn plan_table(&self, schema: &TableSchema, _: &Endpoint, _: &Endpoint) -> Result<TablePlan, PluginError> {
        Ok(TablePlan::unchanged(schema))
    }
}

impl Transformer for Restructure {
    type Table = ();

    fn open_table(&self, _: &TableSchema, _: &TablePlan) -> Result<(), PluginError> {
        Ok(())
    }

    fn transform(&self, (): &(), _: Row<'_>, _: &mut RowOutput<'_>) -> Result<(), RowFailure> {
        Ok(())
    }
}

impl ConflictResolver for Restructure {
    fn resolve(&self, _: &RowConflict) -> Result<RowResolution, PluginError> {
        Err(PluginError::Fatal("no plan of this plugin asks for it".to_owned()))
    }
}

impl DdlMapper for Restructure {
    fn map_ddl(&self, event: &DdlEvent, _: &Endpoint) -> Result<DdlAction, PluginError> {
        let answer = self.config.answers.iter().find(|answer| event.statement.contains(&answer.words));
        Ok(match answer.map(|answer| answer.action.clone()) {
            None | Some(Action::Ignore(false)) => DdlAction::Translate,
            Some(Action::Ignore(true)) => DdlAction::Ignore,
            Some(Action::Execute(statements)) => DdlAction::Execute(statements),
            Some(Action::Pause(why)) => DdlAction::Pause(why),
        })
    }
}

export_plugin!(Restructure: Transformer + ConflictResolver + DdlMapper);
