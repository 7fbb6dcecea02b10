use super::*;

fn row(oid: u32, schema: &str, name: &str, kind: char) -> TypeRow {
    TypeRow {
        oid,
        schema: schema.into(),
        name: name.into(),
        kind,
        element: 0,
        delimiter: ',',
        base: 0,
        base_modifier: -1,
        base_native: String::new(),
        labels: Vec::new(),
    }
}

fn logical(name: &str, modifier: i32) -> LogicalType {
    let types: TypeCatalog = [row(1, "pg_catalog", name, 'b')].into_iter().collect();
    describe(&types, 1, modifier, name, None).expect("a type").logical
}

fn form(name: &str) -> LogicalType {
    LogicalType::Other(format!("text/{name}"))
}

#[test]
fn modifiers_are_what_format_type_prints() {
    let decimal = |precision, scale| LogicalType::Decimal { precision, scale };
    // As pg_attribute has them for numeric(10,2), (1000,1000), (5,-3), (2,5), (3,0).
    for (modifier, expected) in [
        (655_366, decimal(10, 2)),
        (65_537_004, decimal(1000, 1000)),
        (329_729, decimal(5, -3)),
        (131_081, decimal(2, 5)),
        (196_612, decimal(3, 0)),
        (-1, form("numeric")),
    ] {
        assert_eq!(logical("numeric", modifier), expected);
    }
    assert_eq!(logical("varchar", 24), text(Some(20), false, None));
    assert_eq!(logical("varchar", -1), text(None, false, None));
    assert_eq!(logical("bpchar", 5), text(Some(1), true, None));
    assert_eq!(logical("bpchar", -1), text(None, false, None));
    assert_eq!(logical("timestamp", 0), LogicalType::Timestamp { precision: 0, zoned: false });
    assert_eq!(logical("timestamptz", -1), LogicalType::Timestamp { precision: 6, zoned: true });
    assert_eq!(logical("time", 3), LogicalType::Time { precision: 3 });
    assert_eq!(logical("bit", 10), LogicalType::Bit { width: 10 });
    assert_eq!(logical("varbit", 10), form("varbit"));
    assert_eq!(logical("xid8", -1), LogicalType::Integer { bits: 64, signed: false });
}

#[test]
fn what_core_has_no_type_for_travels_as_text() {
    for name in ["interval", "timetz", "inet", "point", "tsvector", "pg_lsn", "xml"] {
        assert_eq!(logical(name, -1), form(name));
    }
}

#[test]
fn a_domain_is_what_it_is_based_on() {
    let types: TypeCatalog = [
        TypeRow { base: 2, ..row(1, "shop", "price", 'd') },
        TypeRow {
            base: 3,
            base_modifier: 655_366,
            base_native: "numeric(10,2)".into(),
            ..row(2, "shop", "amount", 'd')
        },
        row(3, "pg_catalog", "numeric", 'b'),
    ]
    .into_iter()
    .collect();
    let described = describe(&types, 1, -1, "shop.price", None).expect("a domain");
    assert_eq!(described.logical, LogicalType::Decimal { precision: 10, scale: 2 });
    assert_eq!(described.native, "numeric(10,2)");
    assert_eq!(described.attributes, [("domain".to_owned(), "shop.price".to_owned())]);
}

#[test]
fn a_domain_upon_itself_or_upon_nothing_is_an_error() {
    let itself = TypeRow { base: 1, ..row(1, "shop", "price", 'd') };
    let nothing = TypeRow { base: 9, ..row(2, "shop", "amount", 'd') };
    let types: TypeCatalog = [itself, nothing].into_iter().collect();
    assert!(describe(&types, 1, -1, "", None).is_err());
    assert!(describe(&types, 2, -1, "", None).is_err());
    assert!(describe(&types, 3, -1, "", None).is_err());
}

#[test]
fn an_array_says_what_its_elements_are() {
    let types: TypeCatalog = [
        TypeRow { element: 2, ..row(1, "pg_catalog", "_box", 'b') },
        TypeRow { delimiter: ';', ..row(2, "pg_catalog", "box", 'b') },
        TypeRow { element: 4, ..row(3, "shop", "_count", 'b') },
        TypeRow { base: 5, ..row(4, "shop", "count", 'd') },
        row(5, "pg_catalog", "int4", 'b'),
    ]
    .into_iter()
    .collect();
    let of = |oid| describe(&types, oid, -1, "", None).expect("an array");
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(of(1).logical, form("array"));
    assert_eq!(of(1).attributes, [pair("delimiter", ";"), pair("element", "text")]);
    assert_eq!(of(3).attributes, [pair("element", "number")]);
}

#[test]
fn types_of_the_user_are_not_taken_for_others() {
    let types: TypeCatalog = [
        row(1, "shop", "interval", 'b'),
        row(2, "public", "citext", 'b'),
        TypeRow { labels: vec!["a".into(), "b,c".into()], ..row(3, "shop", "mood", 'e') },
        row(4, "shop", "address", 'c'),
        row(5, "pg_catalog", "int4multirange", 'm'),
    ]
    .into_iter()
    .collect();
    let of = |oid| describe(&types, oid, -1, "", None).expect("a type").logical;
    assert_eq!(of(1), form("unknown"));
    assert_eq!(of(2), text(None, false, Some("citext")));
    assert_eq!(of(3), LogicalType::Enumeration { labels: vec!["a".into(), "b,c".into()] });
    assert_eq!(of(4), form("composite"));
    assert_eq!(of(5), form("multirange"));
    // dolphin's, wherever it keeps them.
    assert_eq!(logical("uint8", -1), LogicalType::Integer { bits: 64, signed: false });
    let types: TypeCatalog = [row(1, "dolphin", "uint1", 'b')].into_iter().collect();
    let one = describe(&types, 1, -1, "", None).expect("a type").logical;
    assert_eq!(one, LogicalType::Integer { bits: 8, signed: false });
}
