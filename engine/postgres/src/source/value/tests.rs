use super::*;
use engine_core::temporal::{INFINITY, NEGATIVE_INFINITY, date_text, timestamp_text};
use proptest::prelude::*;

fn schema(logical: LogicalType, native: &str) -> ColumnSchema {
    ColumnSchema {
        name: "c".into(),
        native: native.into(),
        logical,
        nullable: true,
        default: None,
        on_update_now: false,
        generated: None,
        identity: false,
        invisible: false,
        comment: String::new(),
        target_type: None,
        attributes: Vec::new(),
    }
}

fn column(logical: &LogicalType, native: &str, text: &[u8]) -> Result<Column, Malformed> {
    let decoder = CellDecoder::new(&schema(logical.clone(), native)).expect("a decoder");
    let mut column = logical.layout().empty_column();
    decoder.push(text, &mut column)?;
    assert!(column.is_well_formed(1));
    Ok(column)
}

fn i64_of(logical: &LogicalType, text: &str) -> Result<i64, Malformed> {
    match column(logical, "", text.as_bytes())?.values {
        Vector::I64(values) => Ok(values[0]),
        _ => panic!("not of this layout"),
    }
}

fn f64_of(logical: &LogicalType, text: &str) -> Result<f64, Malformed> {
    match column(logical, "", text.as_bytes())?.values {
        Vector::F64(values) => Ok(values[0]),
        _ => panic!("not of this layout"),
    }
}

fn bytes_of(logical: &LogicalType, native: &str, text: &str) -> Result<Vec<u8>, Malformed> {
    match column(logical, native, text.as_bytes())?.values {
        Vector::Varlen(values) => Ok(values.get(0).to_vec()),
        _ => panic!("not of this layout"),
    }
}

fn text_of(logical: &LogicalType, native: &str, text: &str) -> Result<String, Malformed> {
    Ok(String::from_utf8(bytes_of(logical, native, text)?).expect("UTF-8"))
}

const STAMP: LogicalType = LogicalType::Timestamp { precision: 6, zoned: false };
const ZONED: LogicalType = LogicalType::Timestamp { precision: 6, zoned: true };
const TIME: LogicalType = LogicalType::Time { precision: 6 };

#[test]
fn booleans_in_every_form() {
    for (text, expected) in
        [("t", true), ("f", false), ("1", true), ("0", false), ("true", true), ("false", false)]
    {
        let column = column(&LogicalType::Boolean, "boolean", text.as_bytes()).expect("a boolean");
        assert_eq!(column.values, Vector::Bits([expected].into_iter().collect()));
    }
    for bad in ["", "T", "yes", "2"] {
        assert!(column(&LogicalType::Boolean, "boolean", bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn integers_outside_of_their_bits_are_refused() {
    let signed = |bits| LogicalType::Integer { bits, signed: true };
    assert_eq!(i64_of(&signed(16), "-32768"), Ok(-32768));
    assert!(i64_of(&signed(16), "32768").is_err());
    assert_eq!(i64_of(&signed(64), "-9223372036854775808"), Ok(i64::MIN));
    for bad in ["", "-", "+1", " 1", "1 ", "0x1", "1.0", "9223372036854775808", "99999999999999999999"] {
        assert!(i64_of(&signed(64), bad).is_err(), "{bad}");
    }
    let oid = LogicalType::Integer { bits: 32, signed: false };
    assert_eq!(
        column(&oid, "oid", b"4294967295").map(|column| column.values),
        Ok(Vector::U64(vec![4_294_967_295]))
    );
    assert!(column(&oid, "oid", b"4294967296").is_err());
    assert!(column(&oid, "oid", b"-1").is_err());
}

#[test]
fn floats_with_their_special_values() {
    assert!(f64_of(&LogicalType::Float64, "NaN").expect("NaN").is_nan());
    assert_eq!(f64_of(&LogicalType::Float32, "-Infinity"), Ok(f64::NEG_INFINITY));
    assert_eq!(f64_of(&LogicalType::Float64, "-0").map(f64::to_bits), Ok((-0.0_f64).to_bits()));
    assert_eq!(f64_of(&LogicalType::Float32, "3.4028235e+38"), Ok(f64::from(f32::MAX)));
    assert_eq!(f64_of(&LogicalType::Float64, ".5"), Ok(0.5));
    for bad in ["", "nan", "inf", "infinity", "1e400", "0x10", "1,5", "1_0", "e5", "-"] {
        assert!(f64_of(&LogicalType::Float64, bad).is_err(), "{bad}");
    }
    assert!(f64_of(&LogicalType::Float32, "1e39").is_err());
}

#[test]
fn decimals_have_the_scale_of_their_column() {
    let decimal = |scale| LogicalType::Decimal { precision: 10, scale };
    for (scale, text, expected) in [
        (2, "-12.50", "-12.50"),
        (2, ".50", "0.50"),
        (2, "-.25", "-0.25"),
        (0, "7", "7"),
        (-3, "12000", "12000"),
        (2, "NaN", "NaN"),
    ] {
        assert_eq!(text_of(&decimal(scale), "numeric", text).as_deref(), Ok(expected));
    }
    for bad in ["1", "1.5", "1.500", "", ".", "-", "1.", "1e5", "00.50", "1.5 ", "Infinity", "+1.50"] {
        assert!(text_of(&decimal(2), "numeric", bad).is_err(), "{bad}");
    }
}

#[test]
fn numbers_without_bounds_keep_every_digit() {
    let numeric = LogicalType::in_text_form("numeric");
    let long = format!("-{}.{}", "9".repeat(400), "1".repeat(400));
    for text in ["0", "0.000", "Infinity", "-Infinity", "NaN", &long] {
        assert_eq!(text_of(&numeric, "numeric", text).as_deref(), Ok(text));
    }
    assert_eq!(text_of(&numeric, "numeric", "-.5").as_deref(), Ok("-0.5"));
    for bad in ["", "inf", "--1", "1-", "1.2.3", "01"] {
        assert!(text_of(&numeric, "numeric", bad).is_err(), "{bad}");
    }
}

#[test]
fn money_is_hundredths() {
    let money = LogicalType::Decimal { precision: 19, scale: 2 };
    for (text, expected) in
        [("$0.00", "0.00"), ("-$92,233,720,368,547,758.08", "-92233720368547758.08"), ("$123.45", "123.45")]
    {
        assert_eq!(text_of(&money, "money", text).as_deref(), Ok(expected));
    }
    for bad in ["0.00", "$1", "€1.00", "$1.234,00", "$12,34.00", "$,123.00", "($1.00)", "$.00", "$1234.00"]
    {
        assert!(text_of(&money, "money", bad).is_err(), "{bad}");
    }
}

#[test]
fn dates_as_far_as_postgresql_reaches() {
    for text in ["0001-01-01", "4713-01-01 BC", "5874897-12-31", "2024-02-29", "0000-00-00", "0005-02-29 BC"]
    {
        assert_eq!(i64_of(&LogicalType::Date, text).map(date_text).as_deref(), Ok(text));
    }
    assert_eq!(i64_of(&LogicalType::Date, "infinity"), Ok(INFINITY));
    assert_eq!(i64_of(&LogicalType::Date, "-infinity"), Ok(NEGATIVE_INFINITY));
    for bad in [
        "",
        "2023-02-29",
        "0000-01-01",
        "0000-00-00 BC",
        "24-01-01",
        "2024-1-1",
        "2024-01-01x",
        "2024-13-01",
        "01/02/2024",
        "2024-01-00",
        "99999999-01-01",
    ] {
        assert!(i64_of(&LogicalType::Date, bad).is_err(), "{bad}");
    }
}

#[test]
fn timestamps_as_far_as_they_fit() {
    for text in [
        "1970-01-01 00:00:00",
        "1969-12-31 23:59:59.999999",
        "4713-01-01 00:00:00 BC",
        "294246-12-31 23:59:59.999999",
        "0000-00-00 00:00:00",
    ] {
        assert_eq!(i64_of(&STAMP, text).map(timestamp_text).as_deref(), Ok(text));
    }
    assert_eq!(i64_of(&STAMP, "1970-01-01 00:00:00.5"), Ok(500_000));
    assert_eq!(i64_of(&ZONED, "1970-01-01 00:00:00.000001+00"), Ok(1));
    assert_eq!(i64_of(&ZONED, "1970-01-01 05:30:00+05:30"), Ok(0));
    assert_eq!(i64_of(&ZONED, "1969-12-31 23:40:28-00:19:32"), Ok(0));
    assert_eq!(
        i64_of(&ZONED, "0044-03-15 00:00:00+00 BC").map(timestamp_text).as_deref(),
        Ok("0044-03-15 00:00:00 BC")
    );
    assert_eq!(i64_of(&ZONED, "infinity"), Ok(INFINITY));
    // PostgreSQL's last year and a half lie beyond 64 bits of microseconds since 1970.
    assert!(i64_of(&STAMP, "294276-12-31 23:59:59.999999").is_err());
    for bad in [
        "1970-01-01",
        "1970-01-01T00:00:00",
        "1970-01-01 00:00",
        "1970-01-01 24:00:00",
        "1970-01-01 00:00:60",
        "1970-01-01 00:00:00.",
        "1970-01-01 00:00:00.1234567",
        "1970-01-01 00:00:00+00",
        "0000-00-00 00:00:01",
    ] {
        assert!(i64_of(&STAMP, bad).is_err(), "{bad}");
    }
    assert!(i64_of(&ZONED, "1970-01-01 00:00:00").is_err());
    assert!(i64_of(&ZONED, "1970-01-01 00:00:00 UTC").is_err());
}

#[test]
fn times_to_the_end_of_the_day_and_mysqls_beyond() {
    assert_eq!(i64_of(&TIME, "24:00:00"), Ok(86_400_000_000));
    assert_eq!(i64_of(&TIME, "23:59:59.999999"), Ok(86_399_999_999));
    assert_eq!(i64_of(&TIME, "-838:59:59"), Ok(-3_020_399_000_000));
    for bad in ["", "1:00:00", "839:00:00", "12:00", "12:00:00+00", "12:60:00"] {
        assert!(i64_of(&TIME, bad).is_err(), "{bad}");
    }
}

#[test]
fn bytes_uuids_and_bits() {
    let bytea = LogicalType::Bytes { max_bytes: None, fixed: false };
    assert_eq!(bytes_of(&bytea, "bytea", "\\x00fF"), Ok(vec![0, 255]));
    assert_eq!(bytes_of(&bytea, "bytea", "\\x"), Ok(vec![]));
    assert_eq!(bytes_of(&bytea, "blob", "00FF"), Ok(vec![0, 255]));
    for bad in ["", "00ff", "\\x0", "\\x0g", "\\000"] {
        assert!(bytes_of(&bytea, "bytea", bad).is_err(), "{bad}");
    }
    let uuid = |text| bytes_of(&LogicalType::Uuid, "uuid", text).map(hex::encode);
    assert_eq!(
        uuid("01890a5d-ac96-774b-bcce-b302099a8057").as_deref(),
        Ok("01890a5dac96774bbcceb302099a8057")
    );
    assert!(uuid("01890a5dac96774bbcceb302099a8057").is_err());
    assert!(uuid("01890a5d-ac96-774b-bcce-b302099a805-").is_err());
    let bit = |width, text| bytes_of(&LogicalType::Bit { width }, "bit", text);
    assert_eq!(bit(10, "1000000001"), Ok(vec![2, 1]));
    assert_eq!(bit(8, "00000001"), Ok(vec![1]));
    assert!(bit(8, "0000001").is_err());
    assert!(bit(2, "02").is_err());
}

#[test]
fn text_is_kept_but_for_the_blanks_of_char() {
    let text = |fixed| LogicalType::Text { max_chars: None, fixed, charset: None, collation: None };
    assert_eq!(text_of(&text(false), "text", " é ").as_deref(), Ok(" é "));
    assert_eq!(text_of(&text(true), "character(5)", " é   ").as_deref(), Ok(" é"));
    assert!(column(&text(false), "text", b"\xff").is_err());
    assert!(column(&LogicalType::in_text_form("inet"), "inet", b"\xff").is_err());
}

#[test]
fn forms_that_are_not_text_have_no_decoder() {
    assert!(CellDecoder::new(&schema(LogicalType::Other("geometry".into()), "geometry")).is_err());
    assert!(CellDecoder::new(&schema(LogicalType::Set { labels: Vec::new() }, "set")).is_err());
}

proptest! {
    #[test]
    fn integers_agree_with_the_standard_library(text in "-?[0-9]{0,21}") {
        let ours = i64_of(&LogicalType::Integer { bits: 64, signed: true }, &text).ok();
        prop_assert_eq!(ours, text.parse::<i64>().ok());
        let ours = i64_of(&LogicalType::Integer { bits: 32, signed: true }, &text).ok();
        prop_assert_eq!(ours, text.parse::<i32>().ok().map(i64::from));
    }

    #[test]
    fn floats_agree_with_the_standard_library(value: f64, single: f32) {
        let ours = f64_of(&LogicalType::Float64, &format!("{value:e}"));
        prop_assert!(!value.is_finite() || ours == Ok(value));
        let ours = f64_of(&LogicalType::Float32, &format!("{single:e}"));
        prop_assert!(!single.is_finite() || ours == Ok(single.into()));
    }

    #[test]
    fn dates_read_as_they_are_written(days in -2_440_588_i64..2_145_031_949) {
        prop_assert_eq!(i64_of(&LogicalType::Date, &date_text(days)), Ok(days));
    }

    #[test]
    fn timestamps_read_as_they_are_written(micros in -210_866_803_200_000_000_i64..i64::MAX) {
        prop_assert_eq!(i64_of(&STAMP, &timestamp_text(micros)), Ok(micros));
    }

    #[test]
    fn bits_read_as_they_are_written(digits in "[01]{1,70}") {
        let width = digits.len();
        let bytes = bytes_of(&LogicalType::Bit { width: width as u32 }, "bit", &digits).expect("bits");
        prop_assert_eq!(bytes.len(), width.div_ceil(8));
        let bit = |place: usize| bytes[bytes.len() - 1 - place / 8] >> (place % 8) & 1;
        let shown: String = (0..width).rev().map(|place| char::from(b'0' + bit(place))).collect();
        prop_assert_eq!(shown, digits);
    }

    #[test]
    fn any_bytes_are_survived(
        text in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..40),
            "[-+0-9:. ]{0,30}( BC)?".prop_map(String::into_bytes),
            "[$\\\\x0-9a-f,.-]{0,40}".prop_map(String::into_bytes),
        ],
        which in 0_usize..16,
    ) {
        let (logical, native) = every_form().swap_remove(which);
        let _ = column(&logical, native, &text);
    }
}

fn every_form() -> Vec<(LogicalType, &'static str)> {
    let text = |fixed| LogicalType::Text { max_chars: None, fixed, charset: None, collation: None };
    let bytes = LogicalType::Bytes { max_bytes: None, fixed: false };
    vec![
        (LogicalType::Boolean, ""),
        (LogicalType::Integer { bits: 16, signed: true }, ""),
        (LogicalType::Integer { bits: 64, signed: false }, ""),
        (LogicalType::Float32, ""),
        (LogicalType::Float64, ""),
        (LogicalType::Decimal { precision: 10, scale: 2 }, ""),
        (LogicalType::Decimal { precision: 19, scale: 2 }, "money"),
        (LogicalType::in_text_form("numeric"), ""),
        (text(true), ""),
        (bytes.clone(), "bytea"),
        (bytes, "blob"),
        (LogicalType::Date, ""),
        (TIME, ""),
        (ZONED, ""),
        (LogicalType::Uuid, ""),
        (LogicalType::Bit { width: 11 }, ""),
    ]
}
