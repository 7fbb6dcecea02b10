//! Views, triggers, routines and events: which of them a task carries over, and when.
//!
//! They belong to no phase of the rows. Functions, procedures, views and events come once the copy is
//! complete, the events asleep; triggers, which would act on changes that the source has carried through
//! already, and the waking of events wait until no change is applied any more: for the cut-over of an
//! online task, for the end of an offline one.

use std::collections::{HashMap, HashSet};

use engine_core::error::Result;
use engine_core::finding::{Finding, Severity};
use engine_core::object::{DatabaseObject, ObjectAction, ObjectKind, TargetObject};
use engine_core::schema::TableName;

use crate::chain::Chain;
use crate::compose::Composed;
use crate::control::gate::Held;
use crate::state::RunContext;
use crate::task::TaskSpec;

/// Names that a finding lists.
const NAMED: usize = 10;

/// What becomes of the objects of the selection.
#[derive(Debug, Default)]
pub(crate) struct ObjectPlan {
    /// Those that are carried over, in the order in which they can be created.
    pub(crate) objects: Vec<TargetObject>,
    /// What is carried over, and a warning for each that is not.
    pub(crate) findings: Vec<Finding>,
}

impl ObjectPlan {
    /// Those of which `wanted` says so.
    pub(crate) fn only(&self, wanted: impl Fn(ObjectKind) -> bool) -> Vec<TargetObject> {
        self.objects.iter().filter(|object| wanted(object.kind)).cloned().collect()
    }
}

/// Plans the objects; `None` when the target can't have the source's, or no plugin has a say in them: then
/// they stay behind, and the source's survey tells so.
pub(crate) async fn plan<'a>(
    spec: &TaskSpec,
    chain: &Chain,
    tables: impl IntoIterator<Item = &'a Composed>,
) -> Result<Option<ObjectPlan>> {
    if !spec.target.takes_objects() || !chain.maps_objects() {
        return Ok(None);
    }
    let (objects, mut findings) = spec.source.objects(&spec.selection).await?;
    let mapped = chain.map_objects(objects, spec.source.endpoint(), spec.target.endpoint()).await?;
    let renamed = Renamed::new(tables, &mapped);
    let mut planned = Vec::with_capacity(mapped.len());
    for (object, action) in mapped {
        match judge(&object, action, &renamed) {
            Ok(object) => planned.push(object),
            Err(why) => findings.push(Finding {
                severity: Severity::Warning,
                subject: format!("{} {}", object.kind, object.name),
                message: format!("it stays behind: {why}"),
                fix: Some("create what you need in its place on the target".to_owned()),
            }),
        }
    }
    findings.insert(0, carried(&planned));
    Ok(Some(ObjectPlan { objects: planned, findings }))
}

/// The same for a task that is running, with the tables that it has now.
pub(crate) async fn of_running(spec: &TaskSpec, held: &Held) -> Result<ObjectPlan> {
    let chain = Chain::load(spec, &RunContext::of_task(&spec.name)).await?;
    let tables = held.routes.iter().map(|route| route.composed().as_ref());
    Ok(plan(spec, &chain, tables).await?.unwrap_or_default())
}

fn carried(planned: &[TargetObject]) -> Finding {
    let mut kinds: Vec<(ObjectKind, Vec<String>)> = Vec::new();
    for object in planned {
        let name = object.source.to_string();
        match kinds.iter_mut().find(|(kind, _)| *kind == object.kind) {
            Some((_, names)) => names.push(name),
            None => kinds.push((object.kind, vec![name])),
        }
    }
    let list = |(kind, names): &(ObjectKind, Vec<String>)| {
        let listed = names.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
        let more = match names.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let plural = if names.len() == 1 { "" } else { "s" };
        format!("{} {kind}{plural} ({listed}{more})", names.len())
    };
    let message = match kinds.as_slice() {
        [] => "no views, triggers, routines or events to be copied".to_owned(),
        kinds => format!(
            "copied after the rows, triggers at the cut-over: {}",
            kinds.iter().map(list).collect::<Vec<_>>().join(", ")
        ),
    };
    Finding { severity: Severity::Pass, subject: "objects".to_owned(), message, fix: None }
}

fn judge(
    object: &DatabaseObject,
    action: Option<ObjectAction>,
    renamed: &Renamed,
) -> Result<TargetObject, String> {
    let mapping = match action {
        Some(ObjectAction::Copy(mapping)) => mapping,
        Some(ObjectAction::LeaveOut(why)) => return Err(why),
        None => return Err("no plugin says what becomes of it".to_owned()),
    };
    if let Some(table) = &object.table {
        let there = TableName::new(mapping.namespace.as_str(), table.as_str());
        match renamed.tables.get(&TableName::new(object.name.namespace.as_str(), table.as_str())) {
            None => return Err(format!("its table {table} is not part of the task")),
            Some(name) if *name != there => return Err(format!("its table {table} becomes {name}")),
            Some(_) => {}
        }
    }
    if object.table.as_ref().is_some_and(|table| {
        renamed.shared.contains(&TableName::new(object.name.namespace.as_str(), table.as_str()))
    }) {
        return Err("its table is merged with others, whose rows it would act on".to_owned());
    }
    if let Some(name) = renamed.names.iter().find(|name| mentions(&object.definition, name)) {
        return Err(format!("its text has the name {name}, which the task changes"));
    }
    Ok(TargetObject {
        kind: object.kind,
        source: object.name.clone(),
        name: TableName::new(mapping.namespace.as_str(), object.name.name.as_str()),
        definer: object.definer.clone(),
        mapping,
    })
}

/// What the task calls otherwise in the target.
struct Renamed {
    /// Name in the target by name in the source, of every table of the task.
    tables: HashMap<TableName, TableName>,
    /// Databases and tables whose name is another there.
    names: Vec<String>,
    /// Tables that are merged with others.
    shared: HashSet<TableName>,
}

impl Renamed {
    fn new<'a>(
        tables: impl IntoIterator<Item = &'a Composed>,
        objects: &[(DatabaseObject, Option<ObjectAction>)],
    ) -> Self {
        let tables: Vec<&Composed> = tables.into_iter().collect();
        let shared = tables.iter().filter(|table| table.target.is_shared());
        let shared = shared.map(|table| table.schema.name.clone()).collect();
        let tables: HashMap<TableName, TableName> =
            tables.iter().map(|table| (table.schema.name.clone(), table.target.name.clone())).collect();
        // What a name without a database means to an object.
        let databases: HashMap<&str, &str> = objects
            .iter()
            .filter_map(|(object, action)| match action {
                Some(ObjectAction::Copy(mapping)) => {
                    Some((object.name.namespace.as_str(), mapping.namespace.as_str()))
                }
                _ => None,
            })
            .collect();
        let mut names: Vec<String> =
            databases.iter().filter(|(from, to)| from != to).map(|(from, _)| (*from).to_owned()).collect();
        for (source, target) in &tables {
            if source.namespace != target.namespace {
                names.push(source.namespace.clone());
            }
            let meant = databases.get(source.namespace.as_str()).is_none_or(|to| *to == target.namespace);
            if source.name != target.name || !meant {
                names.push(source.name.clone());
            }
        }
        names.sort();
        names.dedup();
        Self { tables, names, shared }
    }
}

/// Whether a text has a name as a word of its own, wherever: as a name, in a comment, in a literal from which
/// a statement may be made.
fn mentions(text: &str, name: &str) -> bool {
    let (text, name) = (text.to_lowercase(), name.to_lowercase());
    let is_word = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '$');
    text.match_indices(&name).any(|(at, found)| {
        let before = text.get(..at).and_then(|text| text.chars().next_back());
        let after = text.get(at + found.len()..).and_then(|text| text.chars().next());
        !before.is_some_and(is_word) && !after.is_some_and(is_word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_wherever_they_stand_alone() {
        for text in ["select * from Shop.t", "`shop`.`t`", "/* shop */", "concat('shop.', n)", "shop"] {
            assert!(mentions(text, "shop"), "{text}");
        }
        for text in ["workshop", "shops", "shop_2", "$shop", "öshop", ""] {
            assert!(!mentions(text, "shop"), "{text}");
        }
        assert!(mentions("from `my-shop`.t", "my-shop"));
    }
}
