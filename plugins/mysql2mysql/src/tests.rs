//! Plans of whole tables, as the engine asks for them.

use migration_sdk::types::{TextType, TimestampType};
use migration_sdk::{ColumnRule, ColumnSchema, Endpoint, LogicalType, Planner as _, TablePlan, testing};

use super::{Mysql2mysql, config};
use crate::config::Config;

fn server(engine: &str, version: &str, database: Option<&str>) -> Endpoint {
    let database = database.map(|name| ("database".to_owned(), name.to_owned()));
    Endpoint {
        engine: engine.to_owned(),
        version: version.to_owned(),
        attributes: database.into_iter().collect(),
    }
}

fn mysql() -> Endpoint {
    server("mysql", "9.7.4", None)
}

fn mariadb() -> Endpoint {
    server("mariadb", "10.11.6", None)
}

fn native(native: &str, logical: LogicalType) -> ColumnSchema {
    ColumnSchema { native: native.to_owned(), ..testing::column("c", logical) }
}

fn text(collation: &str) -> LogicalType {
    LogicalType::Text(TextType {
        max_chars: Some(20),
        fixed: false,
        charset: collation.split('_').next().map(str::to_owned),
        collation: Some(collation.to_owned()),
    })
}

fn plan(config: &Config, column: ColumnSchema, source: &Endpoint, target: &Endpoint) -> TablePlan {
    let table = testing::table("shop", "t", [column]);
    let plugin = Mysql2mysql { config: config.clone() };
    plugin.plan_table(&table, source, target).expect("a plan")
}

/// Type and default of the only column, and how many findings there are.
fn mapped(column: ColumnSchema, source: &Endpoint, target: &Endpoint) -> (String, Option<String>, usize) {
    let plan = plan(&Config::default(), column, source, target);
    let Some(ColumnRule::Remap(mapping)) = plan.columns.into_iter().next() else { panic!("a mapping") };
    (mapping.target_type.unwrap_or_default(), mapping.default_expr, plan.findings.len())
}

#[test]
fn what_both_servers_have_passes_through() {
    let same = |column: ColumnSchema| mapped(column, &mysql(), &mysql());
    assert_eq!(same(native("double(7,2) unsigned", LogicalType::Float64)).0, "double(7,2) unsigned");
    assert_eq!(
        same(native("varchar(20)", text("latin1_bin"))).0,
        "varchar(20) CHARACTER SET latin1 COLLATE latin1_bin"
    );
    let labels = ColumnSchema {
        attributes: vec![("collation".to_owned(), "utf8mb4_bin".to_owned())],
        ..native("enum('a','A')", LogicalType::Enumeration(vec!["a".to_owned(), "A".to_owned()]))
    };
    assert_eq!(same(labels).0, "enum('a','A') CHARACTER SET utf8mb4 COLLATE utf8mb4_bin");
    let stamp = LogicalType::Timestamp(TimestampType { precision: 6, zoned: true });
    let renewed = ColumnSchema {
        on_update_now: true,
        default_expr: Some("CURRENT_TIMESTAMP(6)".to_owned()),
        ..native("timestamp(6)", stamp)
    };
    assert_eq!(
        same(renewed),
        (
            "timestamp(6) ON UPDATE CURRENT_TIMESTAMP(6)".to_owned(),
            Some("CURRENT_TIMESTAMP(6)".to_owned()),
            0
        )
    );
    let generated = ColumnSchema {
        generated: Some("`a` + 1".to_owned()),
        attributes: vec![("generated".to_owned(), "stored".to_owned())],
        invisible: true,
        ..native("int", testing::integer(32))
    };
    assert_eq!(same(generated).0, "int GENERATED ALWAYS AS (`a` + 1) STORED INVISIBLE");
}

#[test]
fn what_they_have_not_in_common_is_decided_in_plain_sight() {
    let to_mysql = |column: ColumnSchema| mapped(column, &mariadb(), &mysql());
    assert_eq!(to_mysql(native("int(10) unsigned", testing::unsigned(32))).0, "int unsigned");
    assert_eq!(to_mysql(native("tinyint(1)", testing::integer(8))).0, "tinyint(1)");
    let (uuid, _, findings) = to_mysql(native("uuid", LogicalType::Uuid));
    assert!(uuid.starts_with("char(36)") && findings == 1);
    let (json, _, findings) = to_mysql(native("longtext", LogicalType::Json));
    assert!(json.starts_with("longtext") && findings == 1);
    let (word, _, findings) = mapped(native("varchar(20)", text("utf8mb4_0900_ai_ci")), &mysql(), &mariadb());
    assert_eq!(
        (word.as_str(), findings),
        ("varchar(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_uca1400_nopad_ai_ci", 1)
    );
    let plugin = Mysql2mysql { config: Config::default() };
    let vectors = testing::table("shop", "t", [native("vector(3)", LogicalType::Other("vector".to_owned()))]);
    assert!(plugin.plan_table(&vectors, &mysql(), &mariadb()).is_err());
}

#[test]
fn numbers_of_a_sequence_are_told() {
    let column = || ColumnSchema {
        default_expr: Some("nextval(`shop`.`s`)".to_owned()),
        ..native("int", testing::integer(32))
    };
    let (_, kept, findings) = mapped(column(), &mariadb(), &mariadb());
    assert_eq!((kept.as_deref(), findings), (Some("(nextval(`shop`.`s`))"), 1));
    let (_, kept, findings) = mapped(column(), &mariadb(), &mysql());
    assert_eq!((kept, findings), (None, 1));
}

#[test]
fn tables_go_to_the_database_of_the_url_unless_told() {
    let number = || native("int", testing::integer(32));
    let of = |config: &Config, target: &Endpoint| plan(config, number(), &mysql(), target).target.namespace;
    assert_eq!(of(&Config::default(), &mysql()), "shop");
    assert_eq!(of(&Config::default(), &server("mysql", "9.7.4", Some("new"))), "new");
    let mut config = Config::default();
    config.databases.insert("shop".to_owned(), "moved".to_owned());
    assert_eq!(of(&config, &server("mysql", "9.7.4", Some("new"))), "moved");
}

#[test]
fn describes_its_configuration() {
    let current = serde_json::to_string_pretty(schemars::schema_for!(Config).as_value()).expect("JSON");
    testing::assert_schema_is_stored(
        concat!(env!("CARGO_MANIFEST_DIR"), "/src/config.schema.json"),
        &current,
    );
    assert_eq!(Mysql2mysql::describe().config_schema, config::SCHEMA);
}
