use super::*;
use crate::server::{Flavor, GtidMode};
use engine_core::structure::Fill;
use proptest::prelude::*;

/// A server of the kinds that are tested against.
pub(super) fn server(flavor: Flavor) -> Server {
    let version_number = match flavor {
        Flavor::MySql => (9, 7, 4),
        Flavor::MariaDb => (10, 11, 19),
    };
    Server {
        flavor,
        version: String::new(),
        version_number,
        gtid_mode: GtidMode::MySql,
        gtid_mode_text: "ON".to_owned(),
        server_id: 1,
        server_uuid: None,
        log_bin: true,
        lower_case_table_names: 0,
        logs_cascades: false,
    }
}

/// What a statement does to tables that earlier ones made.
fn run(known: &[TableSchema], statement: &str) -> Parsed<Vec<TableEvolution>> {
    let server = server(Flavor::MySql);
    let environment = Environment::for_tests(Flavor::MySql);
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let change = SchemaChange {
        namespace: "d".to_owned(),
        tables: Vec::new(),
        statement: statement.to_owned(),
        executed_at: Some(1_700_000_000_500_000),
        session: vec![
            pair(SessionFacts::SQL_MODE, "2097152"),
            pair(SessionFacts::CLIENT, "45"),
            pair(SessionFacts::EXPLICIT_TIMESTAMPS, "1"),
        ],
        with_rows: false,
    };
    let session = Session::read(&change.session, change.executed_at);
    let context = Context { server: &server, environment: &environment, session: &session };
    let selection = Selection { database: Some("d".to_owned()), ..Selection::default() };
    read(&change, known, &selection, None, &context)
}

/// The tables after a few statements.
fn tables(statements: &[&str]) -> Vec<TableSchema> {
    let mut tables: Vec<TableSchema> = Vec::new();
    for statement in statements {
        let done = run(&tables, statement).expect("a statement that is understood");
        tables.retain(|table| done.iter().all(|evolution| evolution.before.as_ref() != Some(&table.name)));
        tables.extend(done.into_iter().filter_map(|evolution| evolution.after));
    }
    tables
}

/// A table and where its columns come from, in few words.
fn shown(evolutions: &[TableEvolution]) -> String {
    let mut lines = Vec::new();
    for evolution in evolutions {
        let name = |name: Option<&TableName>| name.map_or("nothing".to_owned(), ToString::to_string);
        let after = evolution.after.as_ref();
        let emptied = if evolution.emptied { ", emptied" } else { "" };
        lines.push(format!(
            "{}: {} becomes {}{emptied}",
            evolution.kind.name(),
            name(evolution.before.as_ref()),
            name(after.map(|table| &table.name))
        ));
        let Some(after) = after else { continue };
        for (place, column) in after.columns.iter().enumerate() {
            let origin = match evolution.columns.get(place) {
                None => String::new(),
                Some(ColumnOrigin::Kept(from)) => format!(" < {from}"),
                Some(ColumnOrigin::Added(Fill::Value(value))) => format!(" = {:?}", value.values),
                Some(ColumnOrigin::Added(Fill::Unknown(_))) => " = ?".to_owned(),
            };
            let null = if column.nullable { "" } else { " not null" };
            let default = column.default.as_ref().map(|text| format!(" default {text}")).unwrap_or_default();
            lines.push(format!("  {} {}{null}{default}{origin}", column.name, column.native));
        }
        for index in &after.indexes {
            let parts: Vec<String> = index
                .parts
                .iter()
                .map(|part| format!("{:?}{:?}", part.column.unwrap_or(99), part.prefix).replace("None", ""))
                .collect();
            lines.push(format!("  {:?} {} {}", index.kind, index.name, parts.join(" ")));
        }
    }
    lines.join("\n")
}

fn told(known: &[&str], statement: &str) -> String {
    match run(&tables(known), statement) {
        Ok(evolutions) => shown(&evolutions),
        Err(why) => format!("refused: {why}"),
    }
}

const T: &str =
    "CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(10), b INT DEFAULT 3, KEY (a(5), b), UNIQUE (b))";

#[test]
fn a_table_is_made() {
    insta::assert_snapshot!(told(&[], T), @r#"
    create-table: nothing becomes d.t
      id int not null
      a varchar(10)
      b int default 3
      Primary PRIMARY 0
      Plain a 1Some(5) 2
      Unique b 2
    "#);
}

#[test]
fn columns_come_go_and_move() {
    insta::assert_snapshot!(
        told(
            &[T],
            "ALTER TABLE t DROP a, ADD c DECIMAL(5,2) NOT NULL FIRST, ADD d TIMESTAMP DEFAULT NOW(), \
             CHANGE b bb BIGINT AFTER c, ADD e INT DEFAULT (RAND()), ADD KEY (bb)"
        ),
        @r#"
    alter-table: d.t becomes d.t
      c decimal(5,2) not null = Varlen(Varlen { offsets: [0, 4], data: [48, 46, 48, 48] })
      bb bigint < 2
      id int not null < 0
      d timestamp default CURRENT_TIMESTAMP = I64([1700000000000000])
      e int default RAND() = ?
      Primary PRIMARY 2
      Plain a 1
      Unique b 1
      Plain bb 1
    "#
    );
}

#[test]
fn tables_swap_names() {
    let gho = "CREATE TABLE _t_gho LIKE t";
    insta::assert_snapshot!(told(&[T, gho], "RENAME TABLE t TO _t_del, _t_gho TO t"), @r#"
    rename-table: d.t becomes d._t_del
      id int not null < 0
      a varchar(10) < 1
      b int default 3 < 2
      Primary PRIMARY 0
      Plain a 1Some(5) 2
      Unique b 2
    rename-table: d._t_gho becomes d.t
      id int not null < 0
      a varchar(10) < 1
      b int default 3 < 2
      Primary PRIMARY 0
      Plain a 1Some(5) 2
      Unique b 2
    "#);
}

#[test]
fn what_is_not_certain_is_refused() {
    for (statement, part) in [
        ("ALTER TABLE t ADD COLUMN g INT AS (id)", "generated"),
        ("ALTER TABLE t DROP PARTITION p", "deletes rows"),
        ("ALTER TABLE t EXCHANGE PARTITION p WITH TABLE u", "does not know what 'EXCHANGE"),
        ("ALTER TABLE t MODIFY a CHAR(3)", "can change values"),
        ("ALTER TABLE t MODIFY b INT AUTO_INCREMENT", "AUTO_INCREMENT"),
        ("ALTER TABLE t ADD x INT DEFAULT 1.5", "which value"),
        ("ALTER TABLE t ADD a INT", "has a column a already"),
        ("ALTER TABLE t DROP zzz", "has no column zzz"),
        ("ALTER TABLE t FROBNICATE", "does not know what 'FROBNICATE'"),
        ("ALTER TABLE unknown ADD x INT", "does not know the table d.unknown"),
        ("RENAME TABLE t TO e.t", "out of the task"),
        ("RENAME TABLE e.t TO u", "whose rows the task does not have"),
        ("CREATE TABLE u SELECT 1", "does not know what 'SELECT 1'"),
        ("ALTER TABLE t DROP b, ADD b TEXT", "adds another of that name"),
        ("CREATE TABLE u (a INT) ENGINE=MyISAM", "MyISAM"),
    ] {
        let told = told(&[T], statement);
        assert!(told.starts_with("refused: ") && told.contains(part), "{statement}: {told}");
    }
}

#[test]
fn what_concerns_no_rows_changes_nothing() {
    for statement in [
        "ALTER TABLE t FORCE, ALGORITHM=INPLACE, LOCK=NONE",
        "ALTER TABLE t ENABLE KEYS",
        "ALTER TABLE t ENGINE=InnoDB ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=8, STATS_PERSISTENT=1",
        "ALTER TABLE t ADD CONSTRAINT positive CHECK (b > 0) NOT ENFORCED",
        "ALTER TABLE t REMOVE PARTITIONING",
        "ALTER TABLE t ORDER BY a DESC, b",
    ] {
        let known = tables(&[T]);
        let done = run(&known, statement).expect("a statement that is understood");
        assert_eq!(done.first().and_then(|evolution| evolution.after.as_ref()), known.first(), "{statement}");
    }
}

#[test]
fn other_databases_pass() {
    for statement in
        ["ALTER TABLE e.t ADD x INT", "DROP TABLE e.t", "CREATE TABLE e.x (a INT)", "TRUNCATE e.t"]
    {
        assert_eq!(run(&[], statement), Ok(Vec::new()), "{statement}");
    }
}

proptest! {
    #[test]
    fn any_text_is_survived(
        tail in "((ADD|DROP|COLUMN|MODIFY|CHANGE|KEY|INDEX|PRIMARY|DEFAULT|INT|VARCHAR|ENUM|\\(|\\)|,|'x'|5|a|b|id|AFTER|TO|\\PC) ?)*"
    ) {
        let known = tables(&[T]);
        let _ = run(&known, &format!("ALTER TABLE t {tail}"));
        let _ = run(&known, &format!("CREATE TABLE u (a INT {tail}"));
        let _ = run(&known, &tail);
    }
}
