//! Tests of both ways to canonical bytes, and of the way back.

use super::*;
use engine_core::column::{Varlen, Vector};
use engine_core::examine::{Field, fields};
use engine_core::temporal::Fields;
use proptest::prelude::*;

use super::super::cell::Encoder;
use super::super::column_type::Declared;

fn text() -> LogicalType {
    LogicalType::Text { max_chars: None, fixed: false, charset: None, collation: None }
}

fn varlen(value: &[u8]) -> Vector {
    let mut values = Varlen::default();
    values.push(value);
    Vector::Varlen(values)
}

fn rule(declared: &str, logical: &LogicalType) -> (Rule, Encoder) {
    let column_type = Declared::parse(declared).column_type;
    let encoder = Encoder::new(logical, &column_type, Flavor::MySql).expect("an exact conversion");
    let name = "`c`".to_owned();
    let written = WrittenColumn { ordinal: 0, name, column_type, nullable: true, generated: false, encoder };
    (Rule::of(&written, Some(logical), Flavor::MySql), written.encoder)
}

fn written(declared: &str, logical: &LogicalType, values: Vector) -> Option<Vec<u8>> {
    let (rule, encoder) = rule(declared, logical);
    let mut out = Vec::new();
    column::put(&rule, &encoder, &Column::new(values), 0, &mut out)?;
    Some(out)
}

fn read(declared: &str, logical: &LogicalType, value: &Value) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    wire::put(&rule(declared, logical).0, value, None, &mut out)?;
    Some(out)
}

#[test]
fn what_is_written_and_what_is_read_have_the_same_bytes() {
    let integer = |signed| LogicalType::Integer { bits: 64, signed };
    let stamp = LogicalType::Timestamp { precision: 6, zoned: false };
    let labels = LogicalType::Enumeration { labels: vec!["a".into(), String::new()] };
    let decimal = LogicalType::Decimal { precision: 10, scale: 1 };
    let odd = Fields { year: 2024, month: 2, day: 31, micros: 0 };
    let bytes = |bytes: &[u8]| Value::Bytes(bytes.to_vec());
    for (declared, logical, values, value, shown) in [
        ("bigint", &integer(true), Vector::I64(vec![-5]), Value::Int(-5), "-5"),
        (
            "bigint unsigned",
            &integer(false),
            Vector::U64(vec![u64::MAX]),
            Value::UInt(u64::MAX),
            "18446744073709551615",
        ),
        ("decimal(20,4)", &integer(true), Vector::I64(vec![-5]), bytes(b"-5.0000"), "-5"),
        ("decimal(10,4)", &decimal, varlen(b"0.50"), bytes(b"00000.5000"), "0.5"),
        ("decimal(10,4)", &decimal, varlen(b"-0.0"), bytes(b"0.0000"), "0"),
        ("float", &LogicalType::Float32, Vector::F64(vec![0.5]), Value::Float(0.5), "0.5"),
        ("bit(10)", &LogicalType::Bit { width: 10 }, varlen(&[2, 1]), bytes(&[2, 1]), "513"),
        (
            "bit(1)",
            &LogicalType::Boolean,
            Vector::Bits(engine_core::bitmap::Bitmap::filled(1, true)),
            bytes(&[1]),
            "1",
        ),
        ("varchar(9)", &text(), varlen("é ".as_bytes()), bytes("é ".as_bytes()), "é "),
        (
            "json",
            &LogicalType::Json,
            varlen(br#"{"b":1,"a":1.50}"#),
            bytes(br#"{"a": 1.5, "b": 1}"#),
            r#"{"b":1,"a":15e-1}"#,
        ),
        (
            "date",
            &LogicalType::Date,
            Vector::I64(vec![odd.to_date()]),
            Value::Date(2024, 2, 31, 0, 0, 0, 0),
            "2024-02-31",
        ),
        (
            "datetime(6)",
            &LogicalType::Date,
            Vector::I64(vec![0]),
            Value::Date(1970, 1, 1, 0, 0, 0, 0),
            "1970-01-01 00:00:00",
        ),
        (
            "datetime(6)",
            &stamp,
            Vector::I64(vec![-1]),
            Value::Date(1969, 12, 31, 23, 59, 59, 999_999),
            "1969-12-31 23:59:59.999999",
        ),
        (
            "time(1)",
            &LogicalType::Time { precision: 1 },
            Vector::I64(vec![-500_000]),
            Value::Time(true, 0, 0, 0, 0, 500_000),
            "-00:00:00.500000",
        ),
        ("enum('a','')", &labels, varlen(b""), Value::UInt(2), ""),
        (
            "varbinary(4)",
            &LogicalType::Bytes { max_bytes: None, fixed: false },
            varlen(&[0, 255]),
            bytes(&[0, 255]),
            "x'00ff'",
        ),
    ] {
        let written = written(declared, logical, values.clone()).expect(declared);
        assert_eq!(Some(&written), read(declared, logical, &value).as_ref(), "{declared}");
        let (rule, _) = rule(declared, logical);
        assert_eq!(text::text(&rule, &written).as_deref(), Some(shown), "{declared}");
        let back = column::of(&rule, logical, &written);
        // The decimal of a batch may have zeros at its end; documents are no keys.
        if !matches!(rule, Rule::Decimal | Rule::Json(_)) {
            assert_eq!(back, Some(Column::new(values)), "{declared}");
        }
    }
}

#[test]
fn what_is_nearly_the_same_is_not() {
    let float = |value| written("float", &LogicalType::Float64, Vector::F64(vec![value]));
    assert_eq!(float(0.1), None, "a float would round it");
    assert_ne!(float(0.0), float(-0.0));
    let of = |value: &[u8]| read("varchar(9)", &text(), &Value::Bytes(value.to_vec()));
    assert_ne!(of(b"a"), of(b"a "));
    assert_ne!(of("é".as_bytes()), of("e\u{301}".as_bytes()));
    assert_ne!(of(&[0xe9]), of("é".as_bytes()), "no text of the character set");
    // The label that is empty, and no label.
    let labels = LogicalType::Enumeration { labels: vec![String::new()] };
    let place = |place| read("enum('')", &labels, &Value::UInt(place));
    assert_ne!(place(0), place(1));
    assert_eq!(written("enum('a')", &text(), varlen(b"b")), None);
}

#[test]
fn a_value_that_has_no_form_leaves_nothing_but_its_mark() {
    let mut rows = CanonicalRows::default();
    assert!(
        framed(&mut rows, |out| {
            out.push(1);
            None
        })
        .is_none()
    );
    rows.unrepresentable();
    assert!(
        framed(&mut rows, |out| {
            out.push(1);
            Some(())
        })
        .is_some()
    );
    rows.end_row();
    let found: Vec<_> = rows.iter().flat_map(|row| fields(row).map(|(field, _)| field)).collect();
    assert_eq!(found, [Field::Unrepresentable, Field::Value(&[1])]);
}

proptest! {
    #[test]
    fn integers_are_told_apart_and_read_back(one in any::<i64>(), other in any::<u64>()) {
        let form = |value: i128| {
            let mut out = Vec::new();
            put_integer(value, &mut out).expect("64 bits");
            out
        };
        prop_assert_eq!(integer(&form(one.into())), Some(one.into()));
        prop_assert_eq!(integer(&form(other.into())), Some(other.into()));
        prop_assert_eq!(form(one.into()) == form(other.into()), i128::from(one) == i128::from(other));
    }

    #[test]
    fn any_bytes_have_a_text(value in proptest::collection::vec(any::<u8>(), 0..20), which in 0_usize..9) {
        let rules = [Rule::Integer, Rule::Decimal, Rule::Float, Rule::Uuid, Rule::Address, Rule::Datetime,
            Rule::Label(vec!["a".into()]), Rule::Labels(vec!["a".into(), "b".into()]), Rule::Json(Members::Unordered)];
        let _ = text::text(&rules[which], &value);
    }

    #[test]
    fn decimals_are_one_number(whole in 0_u64.., fraction in 0_u32..10_000, negative: bool, zeros in 0_usize..4) {
        let form = |text: String| {
            let mut out = Vec::new();
            put_decimal(text.as_bytes(), &mut out).expect("a decimal");
            out
        };
        let sign = if negative { "-" } else { "" };
        let short = form(format!("{sign}{whole}.{fraction:04}"));
        let pad = "0".repeat(zeros);
        prop_assert_eq!(&short, &form(format!("{sign}{pad}{whole}.{fraction:04}{pad}")));
        if fraction < 9_999 {
            prop_assert_ne!(&short, &form(format!("{sign}{whole}.{:04}", fraction + 1)));
        }
    }
}
