use engine_core::logical::LogicalType;
use engine_core::schema::{IndexKind, IndexPart};

use super::*;

fn column(name: &str, number: i16, type_id: u32) -> ColumnSchema {
    ColumnSchema {
        name: name.to_owned(),
        native: "integer".to_owned(),
        logical: LogicalType::Integer { bits: 32, signed: true },
        nullable: true,
        default: None,
        on_update_now: false,
        generated: None,
        identity: false,
        invisible: false,
        comment: String::new(),
        target_type: None,
        attributes: catalog::attributes_for_tests(number, type_id, -1),
    }
}

fn table(columns: Vec<ColumnSchema>) -> TableSchema {
    let key = IndexPart { column: Some(0), expression: None, prefix: None, descending: false };
    TableSchema {
        name: TableName::new("s", "t"),
        columns,
        indexes: vec![IndexSchema { name: "key".to_owned(), kind: IndexKind::Primary, parts: vec![key] }],
        foreign_keys: Vec::new(),
        comment: String::new(),
        collation: None,
        row_estimate: None,
        byte_estimate: None,
        next_identity: None,
    }
}

fn now(name: &str, number: i16, type_id: u32) -> Now {
    Now {
        number,
        sent: sent(name, type_id),
        missing: None,
        has_default: false,
        is_nullable: true,
        is_computed: false,
    }
}

fn sent(name: &str, type_id: u32) -> Sent {
    Sent { name: name.to_owned(), type_id, type_modifier: -1 }
}

fn outcome(sent_columns: &[Sent], now: &[Now]) -> Result<(TableSchema, Vec<ColumnOrigin>)> {
    let before = table(vec![column("id", 1, 23), column("a", 2, 23), column("b", 4, 23)]);
    compare(&before, sent_columns, now, |name| Some(column(name, 9, 23)))
}

fn names(table: &TableSchema) -> Vec<&str> {
    table.columns.iter().map(|column| column.name.as_str()).collect()
}

#[test]
fn columns_are_known_by_their_numbers() {
    // One was renamed, one dropped, one added with a default.
    let added = Now { missing: Some("7".to_owned()), has_default: true, ..now("new", 5, 23) };
    let (after, origins) = outcome(
        &[sent("id", 23), sent("called", 23), sent("new", 23)],
        &[now("id", 1, 23), now("called", 2, 23), added],
    )
    .expect("it can be told");
    assert_eq!(names(&after), ["id", "called", "new"]);
    assert_eq!(origins[..2], [ColumnOrigin::Kept(0), ColumnOrigin::Kept(1)]);
    let ColumnOrigin::Added(Fill::Value(value)) = &origins[2] else { panic!("{:?}", origins[2]) };
    assert!(!value.is_null(0));
    assert_eq!(after.row_key(), None, "the key's column may be NULL in this table");
    assert_eq!(after.indexes.len(), 1);
}

#[test]
fn without_a_default_rows_have_null_and_with_one_of_their_own_nobody_knows() {
    let all = |added: Now| {
        let sent_columns = [sent("id", 23), sent("a", 23), sent("b", 23), sent("new", 23)];
        let (_, origins) =
            outcome(&sent_columns, &[now("id", 1, 23), now("a", 2, 23), now("b", 4, 23), added])
                .expect("it can be told");
        origins.into_iter().next_back().expect("a column")
    };
    assert!(matches!(all(now("new", 5, 23)), ColumnOrigin::Added(Fill::Value(value)) if value.is_null(0)));
    let volatile = Now { has_default: true, ..now("new", 5, 23) };
    assert!(matches!(all(volatile), ColumnOrigin::Added(Fill::Unknown(_))));
    let needed = Now { is_nullable: false, ..now("new", 5, 23) };
    assert!(matches!(all(needed), ColumnOrigin::Added(Fill::Unknown(_))));
}

#[test]
fn what_can_not_be_told_is_refused() {
    let here = [now("id", 1, 23), now("a", 2, 23), now("b", 4, 23)];
    for (sent_columns, now, why) in [
        // A type, in the stream or since.
        (
            vec![sent("id", 23), sent("a", 20), sent("b", 23)],
            vec![here[0].clone(), now("a", 2, 20), here[2].clone()],
            "type",
        ),
        (vec![sent("id", 23), sent("a", 20), sent("b", 23)], here.to_vec(), "type"),
        // Renamed or dropped since.
        (vec![sent("id", 23), sent("c", 23), sent("b", 23)], here.to_vec(), "changed again"),
        (vec![sent("id", 23), sent("a", 23)], here.to_vec(), "changed again"),
        // Another column of its name.
        (
            vec![sent("id", 23), sent("b", 23), sent("a", 23)],
            vec![here[0].clone(), here[2].clone(), now("a", 5, 23)],
            "anew",
        ),
    ] {
        let error = outcome(&sent_columns, &now).expect_err(why);
        assert_eq!(error.kind(), ErrorKind::Unrepresentable);
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[test]
fn a_change_is_read_as_it_was_written() {
    let columns =
        vec![sent("id", 23), Sent { name: "two words".to_owned(), type_id: 1043, type_modifier: 34 }];
    let change = change(&table(vec![column("id", 1, 23)]), 77, &columns);
    assert_eq!(read(&change), Some((77, columns)));
}
