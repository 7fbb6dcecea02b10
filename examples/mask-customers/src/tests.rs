use migration_sdk::testing::{self, Cell};
use migration_sdk::{Calls, TableSchema};
use serde_json::json;

use super::MaskCustomers;

fn customers() -> TableSchema {
    testing::table(
        "shop",
        "customers",
        [
            testing::column("id", testing::integer(64)),
            testing::column("email", testing::text(200)),
            testing::column("status", testing::text(10)),
        ],
    )
}

fn plugin(config: &serde_json::Value) -> testing::Harness<MaskCustomers> {
    testing::Harness::configure(&config.to_string()).expect("a good configuration")
}

#[test]
fn masks_and_derives() {
    let plugin = plugin(&json!({"salt": "s"}));
    let rows = vec![vec![Cell::text("Ann@Example.org")], vec![Cell::Null], vec![Cell::text("no address")]];
    let output = plugin.transform(&customers(), &rows).expect("transformed");
    assert_eq!(output.errors, []);
    let [ann, none, odd] = <[_; 3]>::try_from(output.rows).expect("three rows");
    let masked = ann.first().and_then(Cell::as_text).expect("a mask");
    assert!(masked.ends_with("@example.invalid") && !masked.contains("Ann"), "{masked}");
    assert_eq!(ann.get(1), Some(&Cell::text("example.org")));
    assert_eq!(none, [Cell::Null, Cell::Null]);
    assert_eq!(odd.get(1), Some(&Cell::Null));
}

#[test]
fn equal_addresses_have_equal_masks_and_others_do_not() {
    let plugin = plugin(&json!({}));
    let rows: Vec<_> = ["a@x", "b@x", "a@x"].map(|email| vec![Cell::text(email)]).into();
    let output = plugin.transform(&customers(), &rows).expect("transformed");
    let masks: Vec<_> = output.rows.iter().map(|row| row.first().cloned()).collect();
    assert_eq!(masks.first(), masks.get(2));
    assert_ne!(masks.first(), masks.get(1));
}

#[test]
fn drops_what_the_condition_names() {
    let plugin = plugin(&json!({"drop": {"column": "status", "equals": "test"}}));
    let rows: Vec<_> = vec![vec![Cell::text("test")], vec![Cell::text("live")], vec![Cell::Null]];
    assert_eq!(plugin.filter(&customers(), &rows).expect("filtered"), [false, true, true]);
}

#[test]
fn leaves_other_tables_alone_and_refuses_what_it_cannot_do() {
    let plugin = plugin(&json!({"table": "shop.people"}));
    assert_eq!(plugin.plan(&customers()).expect("a plan").calls, Calls::empty());

    let unknown = self::plugin(&json!({"email": "mail"})).plan(&customers()).expect_err("no such column");
    assert!(unknown.to_string().contains("no column mail"), "{unknown}");
    let number = self::plugin(&json!({"email": "id"})).plan(&customers()).expect_err("not text");
    assert!(number.to_string().contains("/email"), "{number}");
}
