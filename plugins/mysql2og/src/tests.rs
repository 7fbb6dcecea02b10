//! Plans as a reader sees them, against snapshots.

use std::fmt::Write as _;

use migration_sdk::testing::{self, Harness, column, endpoint};
use migration_sdk::types::{DecimalType, IndexKind, IndexPart, IndexSchema};
use migration_sdk::{
    ColumnRule, ColumnSchema, Disposition, Endpoint, LogicalType, Planner, PluginError, RowErrorPolicy,
    TablePlan, TableSchema,
};
use serde_json::{Value, json};

use super::Mysql2og;
use super::config::{self, Config};

fn plan(config: &Value, table: &TableSchema) -> Result<TablePlan, PluginError> {
    Harness::<Mysql2og>::configure(&config.to_string())?.plan(table)
}

fn plan_for(table: &TableSchema, source: &Endpoint, target: &Endpoint) -> String {
    let plugin = Harness::<Mysql2og>::configure("").expect("no configuration is needed");
    render(table, &plugin.plan_between(table, source, target).expect("a plan"))
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
                    write!(line, " default {default}").expect("a string takes everything");
                }
                if let Some(nullable) = mapping.nullable {
                    line.push_str(if nullable { " null" } else { " not null" });
                }
                if let Some(name) = &mapping.name {
                    write!(line, " as {name}").expect("a string takes everything");
                }
                for op in &mapping.ops {
                    write!(line, " | {op:?}").expect("a string takes everything");
                }
                line
            }
        };
        writeln!(text, "{}: {line}", column.native_or_name()).expect("a string takes everything");
    }
    for finding in &plan.findings {
        let fix = if finding.fix.is_empty() { String::new() } else { format!(" [{}]", finding.fix) };
        writeln!(text, "{:?}: {}{fix}", finding.severity, finding.message)
            .expect("a string takes everything");
    }
    text
}

trait Label {
    fn native_or_name(&self) -> String;
}

impl Label for ColumnSchema {
    fn native_or_name(&self) -> String {
        format!("{} {}", self.name, self.native).trim_end().to_owned()
    }
}

fn native(native: &str, logical: LogicalType) -> ColumnSchema {
    ColumnSchema { native: native.to_owned(), ..column("c", logical) }
}

fn defaulted(native_type: &str, logical: LogicalType, default: &str) -> ColumnSchema {
    ColumnSchema { default_expr: Some(default.to_owned()), ..native(native_type, logical) }
}

fn decimal(precision: u16, scale: i16) -> LogicalType {
    LogicalType::Decimal(DecimalType { precision, scale })
}

fn fixed_text(length: u32) -> LogicalType {
    match testing::text(length) {
        LogicalType::Text(text) => LogicalType::Text(migration_sdk::types::TextType { fixed: true, ..text }),
        other => other,
    }
}

fn fixed_bytes(length: u32) -> LogicalType {
    match testing::bytes(length) {
        LogicalType::Bytes(bytes) => {
            LogicalType::Bytes(migration_sdk::types::BytesType { fixed: true, ..bytes })
        }
        other => other,
    }
}

fn every_type() -> TableSchema {
    let labels = || vec!["x".to_owned(), "y".to_owned()];
    let other = |kind: &str| LogicalType::Other(kind.to_owned());
    testing::table(
        "shop",
        "every_type",
        [
            native("tinyint(1)", testing::integer(8)),
            native("tinyint", testing::integer(8)),
            native("tinyint unsigned", testing::unsigned(8)),
            native("smallint", testing::integer(16)),
            native("smallint unsigned", testing::unsigned(16)),
            native("mediumint", testing::integer(24)),
            native("mediumint unsigned", testing::unsigned(24)),
            native("int", testing::integer(32)),
            native("int unsigned", testing::unsigned(32)),
            native("int(5) unsigned zerofill", testing::unsigned(32)),
            native("bigint", testing::integer(64)),
            native("bigint unsigned", testing::unsigned(64)),
            native("year", testing::integer(16)),
            native("float", LogicalType::Float32),
            native("double", LogicalType::Float64),
            native("decimal(65,30)", decimal(65, 30)),
            native("bit(1)", LogicalType::Bit(1)),
            native("bit(64)", LogicalType::Bit(64)),
            native("char(3)", fixed_text(3)),
            native("varchar(20)", testing::text(20)),
            native("varchar(0)", testing::text(0)),
            native("tinytext", testing::text(255)),
            native("text", testing::text(65_535)),
            native("longtext", testing::text(u32::MAX)),
            native("enum('x','y')", LogicalType::Enumeration(labels())),
            native("set('x','y')", LogicalType::Set(labels())),
            native("binary(3)", fixed_bytes(3)),
            native("varbinary(3)", testing::bytes(3)),
            native("longblob", testing::bytes(u32::MAX)),
            native("date", LogicalType::Date),
            native("time(6)", LogicalType::Time(6)),
            native("datetime", testing::timestamp(0, false)),
            native("datetime(6)", testing::timestamp(6, false)),
            native("timestamp(3)", testing::timestamp(3, true)),
            native("json", LogicalType::Json),
            native("uuid", LogicalType::Uuid),
            native("inet4", testing::text(15)),
            native("inet6", testing::text(39)),
            native("point", other("geometry")),
            native("vector(3)", other("vector")),
        ],
    )
}

fn with_primary_key(mut table: TableSchema, ordinal: u32) -> TableSchema {
    table.indexes.push(IndexSchema {
        name: "PRIMARY".to_owned(),
        kind: IndexKind::Primary,
        parts: vec![IndexPart { column: Some(ordinal), expression: None, prefix: None, descending: false }],
    });
    table
}

#[test]
fn every_type_to_postgres() {
    insta::assert_snapshot!(plan_for(
        &every_type(),
        &endpoint("mysql", "9.7.4"),
        &endpoint("postgres", "15.18")
    ));
}

#[test]
fn every_type_to_opengauss() {
    insta::assert_snapshot!(plan_for(
        &every_type(),
        &endpoint("mariadb", "10.11.6"),
        &endpoint("opengauss", "6.0.0")
    ));
}

#[test]
fn lengths_are_kept_where_opengauss_counts_characters() {
    let table = testing::table("shop", "t", [native("varchar(20)", testing::text(20))]);
    for (mode, expected) in [("A", "text"), ("C", "text"), ("B", "varchar(20)"), ("PG", "varchar(20)")] {
        let mut target = endpoint("opengauss", "7.0.0");
        target.attributes.push(("sql_compatibility".to_owned(), mode.to_owned()));
        let plan = plan_for(&table, &endpoint("mysql", "9.7.4"), &target);
        assert!(plan.contains(&format!(": {expected}\n")), "{mode}: {plan}");
    }
}

#[test]
fn empty_strings_in_a_database_of_compatibility_a() {
    let not_null = ColumnSchema { nullable: false, ..defaulted("varchar(20)", testing::text(20), "''") };
    let mut table = testing::table(
        "shop",
        "t",
        [native("text", testing::text(100)), not_null, native("blob", testing::bytes(9))],
    );
    for (column, name) in table.columns.iter_mut().zip(["a", "b", "c"]) {
        column.name = name.to_owned();
    }
    let planned = |mode: &str, config: &Value| {
        let mut target = endpoint("opengauss", "7.0.0");
        target.attributes.push(("sql_compatibility".to_owned(), mode.to_owned()));
        let plugin = Harness::<Mysql2og>::configure(&config.to_string()).expect("a configuration");
        render(&table, &plugin.plan_between(&table, &endpoint("mysql", "9.7.4"), &target).expect("a plan"))
    };
    insta::assert_snapshot!(planned("A", &json!({})));
    insta::assert_snapshot!(planned("A", &json!({"empty_strings": "null"})));
    let text = planned("PG", &json!({"empty_strings": "null"}));
    assert!(text.contains("default ''") && !text.contains("EmptyToNull"), "{text}");
}

#[test]
fn a_type_without_a_counterpart_is_refused_by_name() {
    let table = testing::table("shop", "t", [native("curve", LogicalType::Other("curve".to_owned()))]);
    let error = plan(&json!({}), &table).expect_err("no such type");
    assert_eq!(error, PluginError::Unsupported("shop.t.c: there is no type for curve".to_owned()));
    let config = json!({"tables": {"shop.t": {"columns": {"c": {"type": "bytea"}}}}});
    assert!(plan(&config, &table).is_ok(), "the user's type decides");
}

#[test]
fn types_by_setting() {
    let config = json!({
        "tinyint1": "boolean", "unsigned_bigint": "bigint", "json": "json", "geometry": "postgis",
        "vector": "pgvector", "strip_nul": true,
    });
    let table = testing::table(
        "shop",
        "t",
        [
            defaulted("tinyint(1)", testing::integer(8), "1"),
            native("bigint unsigned", testing::unsigned(64)),
            native("json", LogicalType::Json),
            native("point", LogicalType::Other("geometry".to_owned())),
            native("vector(3)", LogicalType::Other("vector".to_owned())),
            native("varchar(20)", testing::text(20)),
        ],
    );
    insta::assert_snapshot!(render(&table, &plan(&config, &table).expect("a plan")));
}

#[test]
fn defaults() {
    let table = testing::table(
        "shop",
        "t",
        [
            defaulted("int", testing::integer(32), "42"),
            defaulted("int", testing::integer(32), "'42'"),
            defaulted("decimal(10,2)", decimal(10, 2), "-1.50"),
            defaulted("double", LogicalType::Float64, "1e22"),
            defaulted("varchar(20)", testing::text(20), "'it''s'"),
            defaulted("varchar(20)", testing::text(20), "NULL"),
            defaulted("varchar(36)", testing::text(36), "(uuid())"),
            defaulted("varchar(20)", testing::text(20), "concat('a','b')"),
            defaulted("enum('x')", LogicalType::Enumeration(vec!["x".to_owned()]), "'x'"),
            defaulted("bit(4)", LogicalType::Bit(4), "b'10'"),
            defaulted("binary(3)", fixed_bytes(3), "0x61"),
            defaulted("varbinary(3)", testing::bytes(3), "'ab'"),
            defaulted("date", LogicalType::Date, "'2024-02-29'"),
            defaulted("date", LogicalType::Date, "curdate()"),
            defaulted("date", LogicalType::Date, "'0000-00-00'"),
            defaulted("datetime", testing::timestamp(0, false), "CURRENT_TIMESTAMP"),
            defaulted("datetime(6)", testing::timestamp(6, false), "current_timestamp(6)"),
            defaulted("timestamp(3)", testing::timestamp(3, true), "CURRENT_TIMESTAMP(3)"),
            defaulted("timestamp", testing::timestamp(0, true), "'2020-01-01 00:00:00'"),
            defaulted("time", LogicalType::Time(0), "'-08:30:00'"),
            defaulted("json", LogicalType::Json, "(json_array())"),
            defaulted("json", LogicalType::Json, "_utf8mb4'{\"a\": 1}'"),
            defaulted("year", testing::integer(16), "2024"),
        ],
    );
    let old = endpoint("postgres", "12.9");
    let mysql = endpoint("mysql", "9.7.4");
    insta::assert_snapshot!(plan_for(&table, &mysql, &endpoint("postgres", "15.18")));
    assert!(plan_for(&table, &mysql, &old).contains("gen_random_uuid() needs PostgreSQL 13 or newer"));
}

fn dates() -> TableSchema {
    let not_null = |column: ColumnSchema| ColumnSchema { nullable: false, ..column };
    let columns = [
        not_null(defaulted("date", LogicalType::Date, "'0000-00-00'")),
        native("datetime", testing::timestamp(0, false)),
        native("timestamp", testing::timestamp(0, true)),
        native("time", LogicalType::Time(0)),
    ];
    testing::table("shop", "t", columns)
}

#[test]
fn zero_dates_by_setting() {
    let table = dates();
    let text: Vec<_> = ["fail", "null", "1970-01-01", "1970-01-02 00:00:01"]
        .into_iter()
        .map(|policy| render(&table, &plan(&json!({"zero_dates": policy}), &table).expect("a plan")))
        .collect();
    insta::assert_snapshot!(text.join("\n"));
}

#[test]
fn a_zero_date_in_a_primary_key_cannot_become_null() {
    let table = with_primary_key(dates(), 0);
    let error = plan(&json!({"zero_dates": "null"}), &table).expect_err("a key is never NULL");
    assert!(matches!(&error, PluginError::Unsupported(why) if why.contains("primary key")), "{error}");
    let exception = json!({
        "zero_dates": "null",
        "tables": {"shop.t": {"columns": {"c": {"zero_dates": "1970-01-01"}}}},
    });
    assert!(plan(&exception, &table).is_ok());
}

#[test]
fn names_by_setting() {
    let table = testing::table("Shop", "Orders", [native("int", testing::integer(32))]);
    let target = |config: Value| {
        let plan = plan(&config, &table).expect("a plan");
        format!("{}.{}", plan.target.namespace, plan.target.name)
    };
    assert_eq!(target(json!({})), "Shop.Orders");
    assert_eq!(target(json!({"lowercase_names": true})), "shop.orders");
    assert_eq!(target(json!({"schema_prefix": "my_"})), "my_Shop.Orders");
    assert_eq!(target(json!({"schemas": {"Shop": "sales"}, "schema_prefix": "my_"})), "sales.Orders");
    assert_eq!(target(json!({"tables": {"Shop.Orders": {"schema": "S", "name": "o"}}})), "S.o");
}

#[test]
fn tables_by_setting() {
    let table = testing::table("shop", "log_2024", [native("int", testing::integer(32))]);
    let disposition = |config: Value| plan(&config, &table).expect("a plan").disposition;
    assert_eq!(disposition(json!({"include": ["shop.*"]})), Disposition::Migrate);
    assert_eq!(disposition(json!({"include": ["crm.*"]})), Disposition::Skip);
    assert_eq!(disposition(json!({"include": ["shop.*"], "exclude": ["*.log_*"]})), Disposition::Skip);
    assert_eq!(
        disposition(json!({"tables": {"shop.log_2024": {"schema_only": true}}})),
        Disposition::SchemaOnly
    );
    assert_eq!(disposition(json!({"tables": {"shop.log_2024": {"skip": true}}})), Disposition::Skip);
}

#[test]
fn columns_by_setting() {
    let table = testing::table(
        "shop",
        "t",
        [
            ColumnSchema { name: "Id".into(), ..native("bigint", testing::integer(64)) },
            ColumnSchema { name: "note".into(), ..native("text", testing::text(65_535)) },
            ColumnSchema { name: "old".into(), ..native("int", testing::integer(32)) },
            ColumnSchema { name: "flags".into(), ..native("bit(8)", LogicalType::Bit(8)) },
        ],
    );
    let config = json!({"lowercase_names": true, "tables": {"shop.t": {"columns": {
        "note": {"name": "remark", "type": "varchar(100)", "nullable": false, "default": "''", "ops": ["trim-end"]},
        "old": {"drop": true},
        "flags": {"type": "bigint", "ops": ["bit-to-integer"]},
    }}}});
    insta::assert_snapshot!(render(&table, &plan(&config, &table).expect("a plan")));

    let keyed = with_primary_key(table.clone(), 2);
    assert!(plan(&config, &keyed).is_err(), "a key column can't be dropped");
    let misspelt = json!({"tables": {"shop.t": {"columns": {"nota": {"drop": true}}}}});
    let error = plan(&misspelt, &table).expect_err("no such column");
    assert!(
        matches!(error, PluginError::InvalidConfig((pointer, _)) if pointer == "/tables/shop.t/columns/nota")
    );
}

#[test]
fn bad_rows_stop_the_task_or_are_set_aside() {
    let table = testing::table("shop", "log", [native("int", testing::integer(32))]);
    let policy = |config| plan(&config, &table).expect("a plan").on_row_error;
    let exception = |policy| json!({"shop.log": {"on_row_error": policy}});
    assert_eq!(policy(json!({})), RowErrorPolicy::Fail);
    assert_eq!(policy(json!({"on_row_error": "dead-letter"})), RowErrorPolicy::DeadLetter);
    assert_eq!(policy(json!({"tables": exception("dead-letter")})), RowErrorPolicy::DeadLetter);
    assert_eq!(
        policy(json!({"on_row_error": "dead-letter", "tables": exception("fail")})),
        RowErrorPolicy::Fail
    );
}

#[test]
fn what_the_target_does_not_do_is_said() {
    let table = testing::table(
        "shop",
        "t",
        [
            ColumnSchema { generated: Some("`a` + 1".into()), ..native("int", testing::integer(32)) },
            ColumnSchema {
                on_update_now: true,
                ..defaulted("timestamp", testing::timestamp(0, true), "CURRENT_TIMESTAMP")
            },
            ColumnSchema { invisible: true, ..native("int", testing::integer(32)) },
            ColumnSchema { identity: true, ..native("bigint unsigned", testing::unsigned(64)) },
            ColumnSchema { target_type: Some("citext".into()), ..native("varchar(9)", testing::text(9)) },
        ],
    );
    insta::assert_snapshot!(plan_for(&table, &endpoint("mysql", "9.7.4"), &endpoint("postgres", "15.18")));
}

#[test]
fn settings_that_do_not_exist_are_refused() {
    for config in [
        json!({"zero_date": "null"}),
        json!({"zero_dates": "sometimes"}),
        json!({"tinyint1": "bool"}),
        json!({"tables": {"shop.t": {"columns": {"c": {"typ": "text"}}}}}),
    ] {
        let error = Harness::<Mysql2og>::configure(&config.to_string()).err();
        assert!(matches!(error, Some(PluginError::InvalidConfig(_))), "{config}: {error:?}");
    }
}

#[test]
fn describes_its_configuration() {
    let current = serde_json::to_string_pretty(schemars::schema_for!(Config).as_value()).expect("JSON");
    testing::assert_schema_is_stored(
        concat!(env!("CARGO_MANIFEST_DIR"), "/src/config.schema.json"),
        &current,
    );
    assert_eq!(Mysql2og::describe().config_schema, config::SCHEMA);
}
