//! Plans as a reader sees them, against snapshots.

use std::fmt::Write as _;

use migration_sdk::Planner as _;
use migration_sdk::testing::{self, Harness, column, endpoint};
use migration_sdk::types::{DecimalType, IndexKind, IndexPart, IndexSchema, TextType};
use migration_sdk::{
    ColumnRule, ColumnSchema, Endpoint, LogicalType, PluginError, RowErrorPolicy, TablePlan, TableSchema,
};
use serde_json::{Value, json};

use super::Og2mysql;
use super::config::{self, Config};

fn postgres() -> Endpoint {
    let mut source = endpoint("postgres", "17.2");
    source.attributes.push(("database".to_owned(), "shop".to_owned()));
    source
}

fn mysql() -> Endpoint {
    endpoint("mysql", "9.7.0")
}

fn mariadb() -> Endpoint {
    endpoint("mariadb", "10.11.6-MariaDB")
}

fn plan_with(config: &Value, table: &TableSchema, target: &Endpoint) -> Result<TablePlan, PluginError> {
    Harness::<Og2mysql>::configure(&config.to_string())?.plan_between(table, &postgres(), target)
}

fn plan(config: &Value, table: &TableSchema) -> Result<TablePlan, PluginError> {
    plan_with(config, table, &mysql())
}

fn refusal(config: &Value, table: &TableSchema) -> String {
    match plan(config, table).expect_err("no plan") {
        PluginError::Unsupported(reason) => reason,
        other => panic!("another error: {other:?}"),
    }
}

/// The plan as text: one line per column, then the findings.
fn render(table: &TableSchema, plan: &TablePlan) -> String {
    let mut text = format!("{}.{} {:?}\n", plan.target.namespace, plan.target.name, plan.disposition);
    for (column, rule) in table.columns.iter().zip(&plan.columns) {
        let line = match rule {
            ColumnRule::Keep => "keep".to_owned(),
            ColumnRule::Drop => "drop".to_owned(),
            ColumnRule::Remap(mapping) => {
                let mut line = mapping.target_type.clone().unwrap_or_default();
                if let Some(default) = &mapping.default_expr {
                    let _ = write!(line, " default {default}");
                }
                if let Some(nullable) = mapping.nullable {
                    line.push_str(if nullable { " null" } else { " not null" });
                }
                if let Some(name) = &mapping.name {
                    let _ = write!(line, " as {name}");
                }
                for op in &mapping.ops {
                    let _ = write!(line, " | {op:?}");
                }
                line
            }
        };
        let _ = writeln!(text, "{} {}: {line}", column.name, column.native);
    }
    for finding in &plan.findings {
        let fix = if finding.fix.is_empty() { String::new() } else { format!(" [{}]", finding.fix) };
        let _ = writeln!(text, "{:?}: {}{fix}", finding.severity, finding.message);
    }
    text
}

fn shown(config: &Value, table: &TableSchema) -> String {
    render(table, &plan(config, table).expect("a plan"))
}

fn native(native: &str, logical: LogicalType) -> ColumnSchema {
    ColumnSchema { native: native.to_owned(), ..column("c", logical) }
}

fn form(name: &str) -> LogicalType {
    LogicalType::Other(format!("text/{name}"))
}

fn decimal(precision: u16, scale: i16) -> LogicalType {
    LogicalType::Decimal(DecimalType { precision, scale })
}

fn text(max_chars: Option<u32>, fixed: bool) -> LogicalType {
    LogicalType::Text(TextType { max_chars, fixed, charset: None, collation: None })
}

fn bytea() -> LogicalType {
    LogicalType::Bytes(migration_sdk::types::BytesType { max_bytes: None, fixed: false })
}

fn array(native_type: &str, attributes: &[(&str, &str)]) -> ColumnSchema {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    ColumnSchema { attributes: attributes.iter().map(owned).collect(), ..native(native_type, form("array")) }
}

fn every_type() -> TableSchema {
    let labels =
        |labels: &[&str]| LogicalType::Enumeration(labels.iter().map(|&label| label.to_owned()).collect());
    let citext = LogicalType::Text(TextType {
        max_chars: None,
        fixed: false,
        charset: None,
        collation: Some("citext".into()),
    });
    testing::table(
        "public",
        "every_type",
        [
            native("boolean", LogicalType::Boolean),
            native("smallint", testing::integer(16)),
            native("integer", testing::integer(32)),
            native("bigint", testing::integer(64)),
            native("oid", testing::unsigned(32)),
            native("xid8", testing::unsigned(64)),
            native("real", LogicalType::Float32),
            native("double precision", LogicalType::Float64),
            native("numeric(10,2)", decimal(10, 2)),
            native("numeric(5,-3)", decimal(5, -3)),
            native("numeric(2,5)", decimal(2, 5)),
            native("numeric", form("numeric")),
            native("money", decimal(19, 2)),
            native("text", text(None, false)),
            native("character varying(20)", text(Some(20), false)),
            native("character varying(20000)", text(Some(20_000), false)),
            native("character(3)", text(Some(3), true)),
            native("character(300)", text(Some(300), true)),
            native("citext", citext),
            native("bytea", bytea()),
            native("date", LogicalType::Date),
            native("time(3) without time zone", LogicalType::Time(3)),
            native("time with time zone", form("timetz")),
            native("timestamp(0) without time zone", testing::timestamp(0, false)),
            native("timestamp with time zone", testing::timestamp(6, true)),
            native("interval", form("interval")),
            native("json", LogicalType::Json),
            native("jsonb", LogicalType::Json),
            native("uuid", LogicalType::Uuid),
            native("bit(10)", LogicalType::Bit(10)),
            native("bit(70)", LogicalType::Bit(70)),
            native("bit varying(10)", form("varbit")),
            native("mood", labels(&["sad", "it's \\ok"])),
            native("blanks", labels(&["a ", "b"])),
            native("inet", form("inet")),
            native("cidr", form("cidr")),
            native("macaddr", form("macaddr")),
            native("macaddr8", form("macaddr8")),
            array("integer[]", &[("element", "number")]),
            array("box[]", &[("delimiter", ";"), ("element", "text")]),
            native("int4range", form("range")),
            native("numrange", form("range")),
            native("int4multirange", form("multirange")),
            native("point", form("point")),
            native("tsvector", form("tsvector")),
            native("xml", form("xml")),
            native("hstore", form("hstore")),
            native("pg_lsn", form("pg_lsn")),
            native("address", form("composite")),
        ],
    )
}

fn keyed(mut table: TableSchema, kind: IndexKind, columns: &[u32]) -> TableSchema {
    let part =
        |&column: &u32| IndexPart { column: Some(column), expression: None, prefix: None, descending: false };
    let name = format!("key{}", table.indexes.len());
    table.indexes.push(IndexSchema { name, kind, parts: columns.iter().map(part).collect() });
    table
}

#[test]
fn every_type_to_mysql() {
    insta::assert_snapshot!(shown(&json!({}), &every_type()));
}

#[test]
fn every_type_to_mariadb() {
    let table = every_type();
    let plan = plan_with(&json!({ "uuid": "uuid" }), &table, &mariadb()).expect("a plan");
    insta::assert_snapshot!(render(&table, &plan));
}

#[test]
fn types_by_setting() {
    let table = testing::table(
        "public",
        "t",
        [
            native("numeric", form("numeric")),
            native("interval", form("interval")),
            native("integer[]", form("array")),
            native("jsonb", LogicalType::Json),
            native("uuid", LogicalType::Uuid),
            native("timestamp(3) with time zone", testing::timestamp(3, true)),
            native("mood", LogicalType::Enumeration(vec!["a".into()])),
        ],
    );
    insta::assert_snapshot!(shown(
        &json!({
            "numeric": "decimal(20, 4)", "interval": "microseconds", "arrays": "text", "json": "text",
            "uuid": "binary(16)", "timestamptz": "timestamp", "enums": "text", "far_dates": "nearest"
        }),
        &table
    ));
}

#[test]
fn what_mysql_has_no_value_for_by_setting() {
    let not_null = |column: ColumnSchema| ColumnSchema { nullable: false, ..column };
    let table = testing::table(
        "public",
        "t",
        [
            not_null(native("date", LogicalType::Date)),
            native("timestamp(3) without time zone", testing::timestamp(3, false)),
            not_null(native("double precision", LogicalType::Float64)),
            native("numeric(10,2)", decimal(10, 2)),
            native("money", decimal(19, 2)),
        ],
    );
    let nulls = json!({ "far_dates": "null", "not_finite": "null" });
    insta::assert_snapshot!(shown(&nulls, &table));
    let keyed = keyed(table, IndexKind::Primary, &[0]);
    assert!(refusal(&nulls, &keyed).contains("set another far_dates"), "{}", refusal(&nulls, &keyed));
    assert!(plan(&json!({ "far_dates": "nearest" }), &keyed).is_ok());
}

#[test]
fn types_without_a_counterpart_are_refused_with_a_way_out() {
    for (name, logical) in [
        ("shop.odd", form("unknown")),
        ("geometry(Point,4326)", form("geometry")),
        ("numeric(100,50)", decimal(100, 50)),
    ] {
        let table = testing::table("public", "t", [native(name, logical.clone())]);
        let reason = refusal(&json!({}), &table);
        assert!(reason.starts_with("public.t.c: ") && reason.contains("set the column's type"), "{reason}");
        let decided = json!({ "tables": { "public.t": { "columns": { "c": { "type": "longtext" } } } } });
        assert!(plan(&decided, &table).is_ok(), "{name}");
    }
    let bare = testing::table("public", "t", [native("numeric", form("numeric"))]);
    assert!(refusal(&json!({ "numeric": "fail" }), &bare).contains("set numeric"));
}

#[test]
fn a_type_that_the_user_sets_decides_the_conversion() {
    let table = testing::table(
        "public",
        "t",
        [
            ColumnSchema { name: "n".into(), ..native("numeric", form("numeric")) },
            ColumnSchema { name: "a".into(), ..native("text[]", form("array")) },
            ColumnSchema { name: "i".into(), ..native("interval", form("interval")) },
            ColumnSchema { name: "o".into(), ..native("shop.odd", form("unknown")) },
        ],
    );
    let columns = json!({
        "n": { "type": "decimal(8)" }, "a": { "type": "varchar(99)" }, "i": { "type": "bigint" },
        "o": { "type": "mediumtext" }
    });
    insta::assert_snapshot!(shown(&json!({ "tables": { "public.t": { "columns": columns } } }), &table));
}

#[test]
fn texts_in_keys_get_the_length_that_a_key_has_room_for() {
    let table = || {
        testing::table(
            "public",
            "t",
            [
                ColumnSchema { name: "id".into(), ..native("bigint", testing::integer(64)) },
                ColumnSchema { name: "a".into(), ..native("text", text(None, false)) },
                ColumnSchema { name: "b".into(), ..native("text", text(None, false)) },
                ColumnSchema { name: "c".into(), ..native("bytea", bytea()) },
                ColumnSchema { name: "d".into(), ..native("text", text(None, false)) },
            ],
        )
    };
    let keys = keyed(table(), IndexKind::Primary, &[1]);
    let keys = keyed(keys, IndexKind::Unique, &[0, 1, 2]);
    let keys = keyed(keys, IndexKind::Unique, &[3]);
    let keys = keyed(keys, IndexKind::Plain, &[4]);
    insta::assert_snapshot!(shown(&json!({}), &keys));
}

#[test]
fn keys_that_mysql_cannot_have_are_refused() {
    let wide = |length| native("character varying", text(Some(length), false));
    let long = keyed(testing::table("public", "t", [wide(1000)]), IndexKind::Unique, &[0]);
    assert!(refusal(&json!({}), &long).contains("longer than the 3072 bytes"));
    let document = testing::table("public", "t", [native("jsonb", LogicalType::Json)]);
    let document = keyed(document, IndexKind::Primary, &[0]);
    assert!(refusal(&json!({}), &document).contains("no key of JSON"));
    let fits = keyed(testing::table("public", "t", [wide(768)]), IndexKind::Unique, &[0]);
    assert!(plan(&json!({}), &fits).is_ok());
}

#[test]
fn rows_that_are_too_long_give_up_a_length() {
    let named = |name: &str, length| ColumnSchema {
        name: name.into(),
        ..native(&format!("character varying({length})"), text(Some(length), false))
    };
    let table = testing::table("public", "t", [named("a", 700), named("b", 9000), named("c", 8000)]);
    let table = keyed(table, IndexKind::Primary, &[0]);
    insta::assert_snapshot!(shown(&json!({}), &table));
}

#[test]
fn columns_that_number_themselves_are_one() {
    let number = |name: &str| ColumnSchema {
        name: name.into(),
        identity: true,
        ..native("integer", testing::integer(32))
    };
    let lone = testing::table("public", "t", [number("a")]);
    let two = keyed(testing::table("public", "t", [number("a"), number("b")]), IndexKind::Primary, &[0]);
    assert!(refusal(&json!({}), &two).contains("the second"));
    assert!(plan(&json!({}), &lone).is_ok());
}

#[test]
fn texts_in_foreign_keys_get_a_length_too() {
    let refers = |key: &str, column: ColumnSchema| ColumnSchema {
        attributes: vec![("foreign-key".to_owned(), key.to_owned())],
        ..column
    };
    let table = testing::table(
        "public",
        "t",
        [
            refers("to_countries", native("text", text(None, false))),
            refers("to_shops", native("bigint", testing::integer(64))),
            refers("to_shops", native("text", text(None, false))),
            native("text", text(None, false)),
        ],
    );
    insta::assert_snapshot!(shown(&json!({}), &table));
    let document = testing::table("public", "t", [refers("k", native("jsonb", LogicalType::Json))]);
    assert!(refusal(&json!({}), &document).contains("the foreign key k"));
}

#[test]
fn defaults() {
    let of = |default: &str, column: ColumnSchema| ColumnSchema {
        default_expr: Some(default.to_owned()),
        ..column
    };
    let table = testing::table(
        "public",
        "t",
        [
            of("0", native("integer", testing::integer(32))),
            of("'-1'::integer", native("integer", testing::integer(32))),
            of("(-1)", native("integer", testing::integer(32))),
            of("1.50", native("numeric", form("numeric"))),
            of("true", native("boolean", LogicalType::Boolean)),
            of("'it''s \\ok'::character varying", native("character varying(20)", text(Some(20), false))),
            of("''::text", native("text", text(None, false))),
            of("NULL::text", native("text", text(None, false))),
            of("now()", native("timestamp with time zone", testing::timestamp(6, true))),
            of("CURRENT_TIMESTAMP", native("timestamp without time zone", testing::timestamp(6, false))),
            of("LOCALTIMESTAMP(0)", native("timestamp(0) without time zone", testing::timestamp(0, false))),
            of("CURRENT_DATE", native("date", LogicalType::Date)),
            of("'2024-01-02'::date", native("date", LogicalType::Date)),
            of("'infinity'::date", native("date", LogicalType::Date)),
            of("'{}'::jsonb", native("jsonb", LogicalType::Json)),
            of("'{}'::integer[]", array("integer[]", &[("element", "number")])),
            of("gen_random_uuid()", native("uuid", LogicalType::Uuid)),
            of("'\\x00ff'::bytea", native("bytea", bytea())),
            of("'101'::\"bit\"", native("bit(3)", LogicalType::Bit(3))),
            of("'sad'::mood", native("mood", LogicalType::Enumeration(vec!["sad".into()]))),
            of("nextval('s'::regclass)", native("bigint", testing::integer(64))),
            of("('a'::text || 'b'::text)", native("text", text(None, false))),
            of("'01:00:00'::interval", native("interval", form("interval"))),
        ],
    );
    insta::assert_snapshot!(shown(&json!({}), &table));
    let old = plan_with(&json!({}), &table, &endpoint("mysql", "5.7.44")).expect("a plan");
    insta::assert_snapshot!("defaults_of_an_old_mysql", render(&table, &old));
}

#[test]
fn computed_columns_stay_behind_or_are_computed() {
    let computed =
        ColumnSchema { generated: Some("(a + 1)".to_owned()), ..native("integer", testing::integer(32)) };
    let table = testing::table("public", "t", [computed]);
    insta::assert_snapshot!(shown(&json!({}), &table));
    let indexed = keyed(table.clone(), IndexKind::Plain, &[0]);
    assert!(refusal(&json!({}), &indexed).contains("GENERATED ALWAYS AS"));
    let columns = json!({ "c": { "type": "int GENERATED ALWAYS AS (`a` + 1) STORED" } });
    insta::assert_snapshot!(shown(&json!({ "tables": { "public.t": { "columns": columns } } }), &indexed));
}

#[test]
fn schemas_become_databases() {
    let place = |config: &Value, schema: &str, database: Option<&str>| {
        let table = testing::table(schema, "t", [native("integer", testing::integer(32))]);
        let mut target = mysql();
        target.attributes.extend(database.map(|name| ("database".to_owned(), name.to_owned())));
        plan_with(config, &table, &target).expect("a plan").target.namespace
    };
    assert_eq!(place(&json!({}), "public", None), "shop");
    assert_eq!(place(&json!({}), "public", Some("store")), "store");
    assert_eq!(place(&json!({}), "audit", Some("store")), "audit");
    assert_eq!(place(&json!({ "databases": { "audit": "logs" } }), "audit", None), "logs");
}

#[test]
fn tables_are_chosen_and_excepted() {
    let table = testing::table("public", "t", [native("integer", testing::integer(32))]);
    let is_skipped = |config: &Value| {
        let plan = plan(config, &table).expect("a plan");
        plan.disposition == migration_sdk::Disposition::Skip
    };
    assert!(is_skipped(&json!({ "include": ["audit.*"] })));
    assert!(is_skipped(&json!({ "exclude": ["public.*"] })));
    assert!(is_skipped(&json!({ "tables": { "public.t": { "skip": true } } })));
    assert!(!is_skipped(&json!({ "include": ["public.*"] })));
    let set_aside = plan(&json!({ "on_row_error": "dead-letter" }), &table).expect("a plan");
    assert_eq!(set_aside.on_row_error, RowErrorPolicy::DeadLetter);
    let unknown = json!({ "tables": { "public.t": { "columns": { "x/y": {} } } } });
    assert!(matches!(
        plan(&unknown, &table),
        Err(PluginError::InvalidConfig((pointer, _))) if pointer == "/tables/public.t/columns/x~1y"
    ));
}

#[test]
fn settings_are_checked() {
    for config in [
        json!({ "numeric": "decimal(66,0)" }),
        json!({ "numeric": "decimal(10,11)" }),
        json!({ "numeric": "float" }),
        json!({ "far_dates": "1970-01-01" }),
        json!({ "unknown": 1 }),
    ] {
        assert!(serde_json::from_value::<Config>(config.clone()).is_err(), "{config}");
    }
    let table = testing::table("public", "t", [native("uuid", LogicalType::Uuid)]);
    assert!(refusal(&json!({ "uuid": "uuid" }), &table).contains("MySQL has no type uuid"));
}

#[test]
fn describes_its_configuration() {
    let current = serde_json::to_string_pretty(schemars::schema_for!(Config).as_value()).expect("JSON");
    testing::assert_schema_is_stored(
        concat!(env!("CARGO_MANIFEST_DIR"), "/src/config.schema.json"),
        &current,
    );
    assert_eq!(Og2mysql::describe().config_schema, config::SCHEMA);
}
