//! `engine verify --self-test`: has the check find what was planted.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

use engine_core::Result;
use engine_pipeline::task::TaskSpec;
use engine_pipeline::verify::{self, Options, Progress, SelfTest};

use crate::commands::{print, to_json};
use crate::exit;
use crate::render::table::Table;
use crate::render::units::{count, duration_ms, plural};

/// Defects not found that are named one by one.
const SHOWN: usize = 20;

pub(super) async fn run(
    spec: TaskSpec,
    options: Options,
    progress: Arc<Progress>,
    stop: CancellationToken,
    json: bool,
) -> Result<u8> {
    let test = verify::self_test(spec, options, progress, stop).await?;
    if json {
        let mut value = serde_json::to_value(&test).unwrap_or_default();
        if let Some(object) = value.as_object_mut() {
            object.insert("passed".into(), test.is_passed().into());
            object.insert("planted".into(), test.planted().into());
            object.insert("found".into(), test.found().into());
            object.insert("invented".into(), test.invented().into());
            object.insert("wrong_before".into(), test.wrong_before().into());
        }
        print(&to_json(&value)?)?;
    } else {
        print(&text(&test))?;
    }
    Ok(code(&test))
}

/// A check that fails its test is broken; one that passes may have found the target to be wrong.
fn code(test: &SelfTest) -> u8 {
    match (test.is_passed(), test.wrong_before()) {
        (false, _) => exit::FAILED,
        (true, 0) => exit::DONE,
        (true, _) => exit::DIFFERENT,
    }
}

/// The report for people.
fn text(test: &SelfTest) -> String {
    let mut out = String::new();
    let mut kinds: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for defect in test.tables.iter().flat_map(|table| &table.planted) {
        let (planted, found) = kinds.entry(defect.defect).or_default();
        *planted += 1;
        *found += u64::from(defect.is_found);
    }
    let mut defects = Table::new(&["DEFECT", "PLANTED", "FOUND"]);
    for (kind, (planted, found)) in kinds {
        defects.row(&[kind, &count(planted), &count(found)]);
    }
    let _ = writeln!(out, "{defects}");
    let missed = test.tables.iter().flat_map(|table| {
        let missed = table.planted.iter().filter(|defect| !defect.is_found);
        missed.map(move |defect| (&table.table, defect))
    });
    for (table, defect) in missed.take(SHOWN) {
        let column = defect.column.as_ref().map(|column| format!(".{column}")).unwrap_or_default();
        let _ = writeln!(out, "NOT FOUND: {} in {table}{column}", defect.defect);
    }
    for table in &test.tables {
        if table.invented > 0 {
            let rows = plural(table.invented, "row was", "rows were");
            let _ = writeln!(out, "INVENTED: {rows} called wrong in {} and had no defect", table.table);
        }
        if table.wrong_before > 0 {
            let rows = plural(table.wrong_before, "row is", "rows are");
            let _ = writeln!(
                out,
                "{}: {rows} wrong in the target itself; see: engine verify {}",
                table.table, test.task
            );
        }
        if let Some(why) = &table.skipped {
            let _ = writeln!(out, "not tried: {}: {why}", table.table);
        } else if table.rows == 0 {
            let _ = writeln!(out, "not tried: {}: it has no rows", table.table);
        }
    }
    let rows: u64 = test.tables.iter().map(|table| table.rows).sum();
    let planted = test.planted() as u64;
    let verdict = if test.is_passed() {
        format!("the check found {}, and nothing else", plural(planted, "planted defect", "planted defects"))
    } else if planted == 0 {
        "NOTHING WAS TRIED: there was no row to plant a defect in".to_owned()
    } else {
        format!(
            "THE CHECK FAILED ITS TEST: it found {} of {}",
            count(test.found() as u64),
            plural(planted, "defect", "defects")
        )
    };
    let _ = write!(
        out,
        "\n{}: {verdict}; {} of {} copied, {}",
        test.task,
        plural(rows, "row", "rows"),
        plural(test.tables.len() as u64, "table", "tables"),
        duration_ms(test.finished_ms.saturating_sub(test.started_ms))
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine_pipeline::verify::{DefectReport, TableTest};

    fn test(is_found: bool) -> SelfTest {
        let defect = |defect, column: Option<&str>, is_found| DefectReport {
            defect,
            column: column.map(str::to_owned),
            is_found,
        };
        SelfTest {
            task: "shop-to-postgres".into(),
            source: "mysql://u@h/shop".into(),
            target: "postgres://u@h/shop".into(),
            position: Some("server=1;gtid=a:1-9".into()),
            started_ms: 1_000,
            finished_ms: 3_400,
            tables: vec![
                TableTest {
                    table: "shop.orders".into(),
                    rows: 900,
                    planted: vec![
                        defect("last digit", Some("paid"), true),
                        defect("last digit", Some("n"), true),
                        defect("trailing space", Some("note"), is_found),
                        defect("missing row", None, true),
                    ],
                    not_planted: vec![("empty for NULL", Some("note".into()))],
                    ..TableTest::default()
                },
                TableTest { table: "shop.empty".into(), ..TableTest::default() },
            ],
        }
    }

    #[test]
    fn reports_for_people() {
        insta::assert_snapshot!(format!("{}\n\n{}", text(&test(true)), text(&test(false))));
    }

    #[test]
    fn exit_codes() {
        assert_eq!((code(&test(true)), code(&test(false))), (0, 1));
        let mut wrong = test(true);
        wrong.tables[0].wrong_before = 1;
        assert_eq!(code(&wrong), 4);
    }
}
