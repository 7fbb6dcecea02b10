//! What tells a plan from the one that a task was begun with.

use std::collections::HashMap;

use engine_core::error::{Error, ErrorKind};
use engine_core::schema::TableName;

use super::{TaskPlan, without_counters};
use crate::compose::Composed;
use crate::state::{PluginFile, PluginRecord, TaskPlanRecord};

/// The error of a task that is to go on under another plan than it was begun with.
pub(crate) fn refused(
    task: &str,
    stored: Option<&TaskPlanRecord>,
    plugins: &[PluginRecord],
    plan: &TaskPlan,
) -> Error {
    let Some(stored) = stored else { return unexplained(task) };
    let (old, new) = (files(&stored.plugins), files(plugins));
    if let Some(error) = of_chain(task, &old, &new) {
        return error;
    }
    let settings = stored.plugins.iter().zip(plugins).filter(|(old, new)| old.config != new.config);
    let settings = settings.map(|(_, new)| format!("the configuration of plugin {} changed", new.name));
    let settings: Vec<String> = settings.collect();
    if let Some(error) = of_files(task, &old, &new, &settings) {
        return error;
    }
    let why = if settings.is_empty() { tables(stored, plan) } else { settings.join("; ") };
    error(task).because(why).help(format!("go back to the same plugins and configuration, {ANEW}"))
}

/// The same, of whoever knows the files of the chain at most.
pub(crate) fn refused_by_files(task: &str, stored: Option<&[PluginFile]>, plugins: &[PluginRecord]) -> Error {
    let new = files(plugins);
    let known = stored.and_then(|old| of_chain(task, old, &new).or_else(|| of_files(task, old, &new, &[])));
    known.unwrap_or_else(|| unexplained(task))
}

/// The way out for whoever can't go back.
const ANEW: &str = "since rows already copied followed the old plan; or begin a new task with another --name after \
                    dropping this task's target tables";

fn error(task: &str) -> Error {
    Error::new(ErrorKind::State, "the plan is not the one that the task was begun with").at("task", task)
}

fn unexplained(task: &str) -> Error {
    error(task)
        .because("the plugins, their configuration, or the structure of the source's tables")
        .help(format!("go back to the same plugins and configuration, {ANEW}"))
}

fn files(plugins: &[PluginRecord]) -> Vec<PluginFile> {
    plugins.iter().map(PluginFile::from).collect()
}

/// Other plugins, or in another order.
fn of_chain(task: &str, old: &[PluginFile], new: &[PluginFile]) -> Option<Error> {
    let names = |files: &[PluginFile]| files.iter().map(|file| file.name.clone()).collect::<Vec<_>>();
    let (old, new) = (names(old), names(new));
    let why = match old.iter().zip(&new).find(|(old, new)| old != new) {
        _ if old.len() != new.len() => {
            format!("it was begun with {} plugins, now there are {}", old.len(), new.len())
        }
        Some((old, new)) => format!("plugin {new} takes the place of {old}"),
        None => return None,
    };
    let chain = if old.is_empty() { "no plugins".to_owned() } else { old.join(", ") };
    Some(error(task).because(why).help(format!("go back to its plugins, in this order: {chain}; {ANEW}")))
}

/// The same plugins, of which some are other files.
fn of_files(task: &str, old: &[PluginFile], new: &[PluginFile], besides: &[String]) -> Option<Error> {
    let changed: Vec<_> = old.iter().zip(new).filter(|(old, new)| old.digest != new.digest).collect();
    if changed.is_empty() {
        return None;
    }
    let why = changed.iter().map(|(old, new)| {
        let version = if old.version == new.version {
            format!("both say version {}", new.version)
        } else {
            format!("version {}, it was {}", new.version, old.version)
        };
        format!(
            "the file of plugin {} changed: its SHA-256 begins with {}, it was {} ({version})",
            new.name,
            new.short_digest(),
            old.short_digest()
        )
    });
    let why: Vec<String> = why.chain(besides.iter().cloned()).collect();
    let names: Vec<&str> = changed.iter().map(|(old, _)| old.name.as_str()).collect();
    let back = format!(
        "go back to the file of {} that the task was begun with (engine plugin inspect FILE shows a file's SHA-256), {ANEW}",
        names.join(" and of ")
    );
    Some(error(task).because(why.join("; ")).help(back))
}

/// What differs in the tables.
fn tables(stored: &TaskPlanRecord, plan: &TaskPlan) -> String {
    let mut new_tables: HashMap<&TableName, &Composed> =
        plan.tables.iter().map(|table| (&table.schema.name, table)).collect();
    for old in &stored.tables {
        let Some(new) = new_tables.remove(&old.schema.name) else {
            return format!("table {} is not part of it any more", old.schema.name);
        };
        if without_counters(&old.schema) != without_counters(&new.schema) {
            return format!("the structure of {} changed on the source", old.schema.name);
        }
        if (&old.target, &old.stages, &old.reads) != (&new.target, &new.stages, &new.reads) {
            return format!("the plan for {} changed", old.schema.name);
        }
    }
    match plan.tables.iter().find(|table| new_tables.contains_key(&table.schema.name)) {
        Some(new) => format!("table {} is new", new.schema.name),
        None => "the order of the tables".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::RunContext;

    fn plugin(name: &str, digit: &str, config: &str) -> PluginRecord {
        let digest = digit.repeat(64);
        PluginRecord { name: name.into(), version: "0.1.0".into(), digest, config: config.into() }
    }

    fn message(old: &[PluginRecord], new: &[PluginRecord]) -> String {
        let context = RunContext::of_task("shop");
        let stored =
            TaskPlanRecord { digest: "old".into(), plugins: old.to_vec(), context, tables: Vec::new() };
        let plan = TaskPlan { tables: Vec::new(), skipped: Vec::new(), digest: "new".into() };
        refused("shop", Some(&stored), new, &plan).to_string()
    }

    #[test]
    fn a_rebuilt_plugin_is_named_with_both_files() {
        let (mask, types) = (plugin("mask", "a", "{}"), plugin("mysql2og", "b", ""));
        let rebuilt = PluginRecord { version: "0.2.0".into(), ..plugin("mask", "c", "{}") };
        assert_eq!(
            message(&[mask.clone(), types.clone()], &[rebuilt, types.clone()]),
            "the plan is not the one that the task was begun with (task shop): the file of plugin mask changed: its \
             SHA-256 begins with cccccccccccc, it was aaaaaaaaaaaa (version 0.2.0, it was 0.1.0)\n\
             help: go back to the file of mask that the task was begun with (engine plugin inspect FILE shows a file's \
             SHA-256), since rows already copied followed the old plan; or begin a new task with another --name after \
             dropping this task's target tables"
        );
        // Not only the file.
        let said = message(&[mask, types.clone()], &[plugin("mask", "c", "{\"salt\": 1}"), types]);
        for part in [
            "cccccccccccc",
            "aaaaaaaaaaaa",
            "both say version 0.1.0",
            "the configuration of plugin mask changed",
        ] {
            assert!(said.contains(part), "{said}");
        }
        assert!(!said.contains("ccccccccccccc") && !said.contains("salt"), "{said}");
    }

    #[test]
    fn whoever_knows_the_files_alone_says_what_follows_from_them() {
        let (old, new) = ([plugin("mask", "a", "{}")], [plugin("mask", "c", "{}")]);
        let why = |old: Option<&[PluginFile]>, new: &[PluginRecord]| {
            refused_by_files("shop", old, new).why().unwrap_or_default().to_owned()
        };
        let files = files(&old);
        assert!(why(Some(&files), &new).contains("the file of plugin mask changed"));
        assert!(why(Some(&files), &[]).contains("begun with 1 plugins, now there are 0"));
        assert!(why(Some(&files), &old).contains("their configuration"));
        assert!(why(None, &new).contains("the plugins, their configuration"));
    }
}
