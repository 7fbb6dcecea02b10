//! `engine dead-letter`: the rows that a task has set aside.

use std::collections::BTreeMap;

use engine_core::schema::TableName;
use engine_core::selection::Selection;
use engine_core::{Error, ErrorKind, Result};
use engine_pipeline::dead_letter::{self, Letter};
use engine_pipeline::state;

use super::{known, print, to_json};
use crate::arguments::{ListArguments, RetryArguments};
use crate::connect;
use crate::render::Screen;
use crate::render::table::Table;
use crate::render::units::{count, plural};
use crate::settings::check_name;
use crate::signals::{stop_on_signal, unless_stopped};

pub(super) fn list(arguments: &ListArguments) -> Result<()> {
    let name = check_name(arguments.name.clone())?;
    if !state::is_known(&arguments.state_dir, &name) {
        return Err(state::unknown_task(&arguments.state_dir, &name));
    }
    let mut letters = dead_letter::read(&state::dead_letters(&arguments.state_dir, &name))?;
    let all = letters.len();
    if !arguments.tables.is_empty() {
        let selection = Selection { database: None, include: arguments.tables.clone(), exclude: Vec::new() };
        letters.retain(|letter| {
            letter
                .table
                .split_once('.')
                .is_some_and(|(database, table)| selection.matches(&TableName::new(database, table)))
        });
    }
    if arguments.json {
        return print(&to_json(&letters)?);
    }
    match (letters.is_empty(), all) {
        (false, _) => print(&text(&letters)),
        (true, 0) => print(&format!("{name}: no row is set aside")),
        (true, all) => print(&format!(
            "{name}: no row of these tables is set aside; {} of others",
            plural(all as u64, "row is", "rows are")
        )),
    }
}

/// How many for each table and reason, then each row.
fn text(letters: &[Letter]) -> String {
    let mut counts: BTreeMap<(&str, &str, &str, &str), u64> = BTreeMap::new();
    for letter in letters {
        let column = letter.column.as_deref().unwrap_or("-");
        *counts.entry((&letter.table, column, &letter.code, &letter.reason)).or_default() += 1;
    }
    let mut reasons = Table::new(&["TABLE", "COLUMN", "CODE", "ROWS", "REASON"]);
    for ((table, column, code, reason), rows) in &counts {
        reasons.row(&[*table, *column, *code, &count(*rows), *reason]);
    }
    let mut rows = Table::new(&["TABLE", "KEY", "DONE", "POSITION", "COLUMN", "CODE"]);
    for letter in letters {
        let position = match letter.chunk {
            Some(chunk) => format!("{}, chunk {chunk}", letter.position),
            None => letter.position.clone(),
        };
        rows.row(&[
            letter.table.clone(),
            letter.key.as_ref().map_or_else(|| "(none)".to_owned(), ToString::to_string),
            letter.operation.name().to_owned(),
            position,
            letter.column.clone().unwrap_or_else(|| "-".to_owned()),
            letter.code.clone(),
        ]);
    }
    let total = plural(letters.len() as u64, "row is set aside", "rows are set aside");
    format!("{reasons}\n\n{rows}\n\n{total}; --json has the values")
}

pub(super) async fn retry(arguments: RetryArguments, screen: &Screen) -> Result<()> {
    let settings = known::settings(arguments.named, arguments.task, None)?;
    connect::check(&settings)?;
    let (name, state_dir) = (settings.name.clone(), settings.state_dir.clone());
    if !state::is_known(&state_dir, &name) {
        return Err(state::unknown_task(&state_dir, &name));
    }
    let stop = stop_on_signal(screen)?;
    let spec = unless_stopped(&stop, Box::pin(connect::connect(settings))).await?;
    let retried = Box::pin(dead_letter::retry(spec, stop)).await?;
    let dead_letter::Retried { settled, gone, left, without_key } = retried;
    if arguments.json {
        let outcome = serde_json::json!({
            "task": name, "settled": settled, "gone": gone, "left": left, "without_key": without_key,
        });
        print(&outcome.to_string())?;
    } else if settled + left == 0 {
        print(&format!("{name}: no row is set aside"))?;
    } else {
        let gone =
            if gone > 0 { format!(", {} of them gone from the source", count(gone)) } else { String::new() };
        let settled = plural(settled, "row settled", "rows settled");
        print(&format!("{name}: {settled}{gone}; {} left", count(left)))?;
    }
    if left == 0 {
        return Ok(());
    }
    let mut error = Error::new(
        ErrorKind::Unrepresentable,
        format!("{} still set aside", plural(left, "row is", "rows are")),
    )
    .at("task", &name);
    if without_key > 0 {
        error = error.because(format!(
            "{} no key to be read by and can't be tried again",
            plural(without_key, "row has", "rows have")
        ));
    }
    Err(error.help(format!(
        "see why with: engine dead-letter list {name}; mend the rows on the source and try again"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine_pipeline::dead_letter::{Operation, SNAPSHOT, Values};

    fn letter(table: &str, id: Option<&str>, reason: &str) -> Letter {
        let key = id.map(|id| Values(vec![("id".into(), Some(id.into()))]));
        Letter {
            table: table.into(),
            key,
            position: SNAPSHOT.into(),
            chunk: Some(3),
            operation: Operation::Copy,
            column: Some("note".into()),
            code: "nul".into(),
            reason: reason.into(),
            row: Values::default(),
            occurrence: 0,
            at_ms: 0,
            lost: None,
        }
    }

    #[test]
    fn a_list_for_people() {
        let nul = "PostgreSQL's text types can't hold the character U+0000";
        let streamed = Letter {
            position: "3e11fa47-71ca-11e1-9e33-c80aa9429562:23".into(),
            chunk: None,
            operation: Operation::Update,
            column: None,
            code: "23514".into(),
            ..letter("shop.orders", Some("9"), "new row violates check constraint \"positive\"")
        };
        let letters = [
            letter("shop.orders", Some("7"), nul),
            letter("shop.orders", Some("8"), nul),
            streamed,
            letter("shop.log", None, nul),
        ];
        insta::assert_snapshot!(text(&letters));
    }
}
