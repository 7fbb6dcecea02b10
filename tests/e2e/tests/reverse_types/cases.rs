//! Values at the edges of every type of `PostgreSQL`, and what `MySQL` shall say they are.

/// One column with one value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    /// Name of the column.
    pub(crate) name: &'static str,
    /// Its type in the source.
    pub(crate) definition: &'static str,
    /// The value, as an SQL expression of the source.
    pub(crate) value: &'static str,
    /// Type of the column in `MySQL`.
    pub(crate) target_type: &'static str,
    /// How the target is asked for the value as text; `?` stands for the column.
    pub(crate) read: &'static str,
    /// What it answers.
    pub(crate) expected: &'static str,
    /// What `MariaDB` answers, where that differs.
    pub(crate) mariadb: Option<&'static str>,
}

const fn case(
    name: &'static str,
    definition: &'static str,
    value: &'static str,
    target_type: &'static str,
    expected: &'static str,
) -> Case {
    Case { name, definition, value, target_type, read: "CAST(? AS CHAR)", expected, mariadb: None }
}

impl Case {
    const fn read(mut self, read: &'static str) -> Self {
        self.read = read;
        self
    }

    /// `MariaDB` keeps the text of a document.
    const fn mariadb(mut self, expected: &'static str) -> Self {
        self.mariadb = Some(expected);
        self
    }
}

/// Types that the cases need.
pub(crate) const TYPES: [&str; 3] = [
    r"CREATE TYPE mood AS ENUM ('sad', 'it''s \ok', 'é', '')",
    "CREATE TYPE address AS (number int, street text)",
    "CREATE DOMAIN price AS numeric(10,2)",
];

/// The cases.
pub(crate) const CASES: &[Case] = &[
    // Integers and booleans
    case("smallint_min", "smallint", "-32768", "smallint", "-32768"),
    case("integer_min", "integer", "-2147483648", "int", "-2147483648"),
    case("bigint_min", "bigint", "-9223372036854775808", "bigint", "-9223372036854775808"),
    case("bigint_max", "bigint", "9223372036854775807", "bigint", "9223372036854775807"),
    case("oid_max", "oid", "4294967295", "int unsigned", "4294967295"),
    case("xid8_max", "xid8", "'18446744073709551615'", "bigint unsigned", "18446744073709551615"),
    case("boolean_true", "boolean", "true", "tinyint(1)", "1"),
    case("boolean_false", "boolean", "false", "tinyint(1)", "0"),
    // Numbers
    case("numeric", "numeric(10,2)", "-99999999.99", "decimal(10,2)", "-99999999.99"),
    case("numeric_tens", "numeric(5,-3)", "99999499", "decimal(8,0)", "99999000"),
    case("numeric_tiny", "numeric(2,5)", "-0.00099", "decimal(5,5)", "-0.00099"),
    case(
        "numeric_bare",
        "numeric",
        "-12345678901234567890123456789012345.000000000000000000000000000001",
        "decimal(65,30)",
        "-12345678901234567890123456789012345.000000000000000000000000000001",
    ),
    case("numeric_domain", "price", "1.5", "decimal(10,2)", "1.50"),
    case("double_max", "double precision", "1.7976931348623157e308", "double", "1")
        .read("? = 1.7976931348623157e308"),
    case("double_least", "double precision", "'5e-324'", "double", "1").read("? > 0 AND ? < 1e-323"),
    case("double_tenth", "double precision", "0.1", "double", "1").read("? = 0.1e0"),
    case("real_tenth", "real", "0.1", "float", "1").read("CAST(? AS DOUBLE) = 1.0000000149011612e-1"),
    case("money", "money", "'-92233720368547758.08'::money", "decimal(19,2)", "-92233720368547758.08"),
    // Text
    case("text", "text", r"E'a\tb\\\n\r\x08\x0b\x0c''é😀 '", "longtext", "a\tb\\\n\r\u{8}\u{b}\u{c}'é😀 "),
    case("text_null_mark", "text", r"E'\\N'", "longtext", "\\N"),
    case("text_empty", "text", "''", "longtext", ""),
    case("varchar", "varchar(5)", "'é😀ab '", "varchar(5)", "é😀ab "),
    case("varchar_wide", "varchar(20000)", "'x'", "mediumtext", "x"),
    case("char", "char(5)", "' ab  '", "char(5)", " ab"),
    case("char_wide", "char(300)", "'ab'", "varchar(300)", "ab"),
    case("bpchar", "bpchar", "'ab '", "longtext", "ab "),
    case("name", "name", "'é'", "varchar(63)", "é"),
    case("letter", "\"char\"", "'x'", "varchar(4)", "x"),
    case("enumeration", "mood", r"'it''s \ok'", r"enum('sad','it''s \\ok','é','')", r"it's \ok"),
    case("enumeration_place", "mood", "'é'", r"enum('sad','it''s \\ok','é','')", "3").read("? + 0"),
    case("enumeration_empty", "mood", "''", r"enum('sad','it''s \\ok','é','')", "4").read("? + 0"),
    // Bytes and bits
    case("bytea", "bytea", r"'\x00ff5c0a'", "longblob", "00FF5C0A").read("HEX(?)"),
    case("bytea_empty", "bytea", r"'\x'", "longblob", "0").read("LENGTH(?)"),
    case("bit", "bit(10)", "B'1000000001'", "bit(10)", "1000000001").read("BIN(? + 0)"),
    case("bit_64", "bit(64)", "(-1)::bigint::bit(64)", "bit(64)", "18446744073709551615").read("? + 0"),
    case("bit_65", "bit(65)", "lpad('1', 65, '0')::bit(65)", "varchar(65)", "1")
        .read("TRIM(LEADING '0' FROM ?)"),
    case("varbit", "bit varying(10)", "B'010'", "varchar(10)", "010"),
    case(
        "uuid",
        "uuid",
        "'01890A5D-AC96-774B-BCCE-B302099A8057'",
        "char(36)",
        "01890a5d-ac96-774b-bcce-b302099a8057",
    ),
    // Dates and times
    case("date_first", "date", "'0001-01-01'", "date", "0001-01-01"),
    case("date_last", "date", "'9999-12-31'", "date", "9999-12-31"),
    case("date_leap", "date", "'2000-02-29'", "date", "2000-02-29"),
    case("time_last", "time", "'24:00:00'", "time(6)", "24:00:00.000000"),
    case("time_3", "time(3)", "'23:59:59.999'", "time(3)", "23:59:59.999"),
    case("timetz", "timetz", "'12:00:00.5+05:30'", "varchar(32)", "12:00:00.5+05:30"),
    case(
        "timestamp",
        "timestamp",
        "'1969-12-31 23:59:59.999999'",
        "datetime(6)",
        "1969-12-31 23:59:59.999999",
    ),
    case("timestamp_first", "timestamp", "'0001-01-01'", "datetime(6)", "0001-01-01 00:00:00.000000"),
    case("timestamp_0", "timestamp(0)", "'9999-12-31 23:59:59'", "datetime", "9999-12-31 23:59:59"),
    case(
        "timestamptz",
        "timestamptz",
        "'2024-02-29 12:00:00.5+05:30'",
        "datetime(6)",
        "2024-02-29 06:30:00.500000",
    ),
    case(
        "interval",
        "interval",
        "'1 year -2 mons 3 days -04:05:06.789'",
        "varchar(128)",
        "10 mons 3 days -04:05:06.789",
    ),
    // Documents and arrays
    case("json", "json", r#"'{"a":[1.50,1e-7,"\u00e9"]}'"#, "json", r#"{"a": [1.50, 0.0000001, "é"]}"#)
        .mariadb(r#"{"a":[1.50,1e-7,"\u00e9"]}"#),
    case(
        "jsonb",
        "jsonb",
        "'{\"n\": 123456789012345678901234567890.5}'",
        "json",
        "{\"n\": 123456789012345678901234567890.5}",
    ),
    case("jsonb_null", "jsonb", "'null'", "json", "null"),
    case("array", "integer[]", "'{{1,NULL},{3,4}}'", "json", "[[1, null], [3, 4]]")
        .mariadb("[[1,null],[3,4]]"),
    case("array_empty", "integer[]", "'{}'", "json", "[]"),
    case(
        "array_texts",
        "text[]",
        r#"ARRAY['a,b"\', 'NULL', NULL, '']"#,
        "json",
        r#"["a,b\"\\", "NULL", null, ""]"#,
    )
    .mariadb(r#"["a,b\"\\","NULL",null,""]"#),
    case("array_booleans", "boolean[]", "ARRAY[true, false]", "json", "[true, false]")
        .mariadb("[true,false]"),
    case("array_numbers", "numeric[]", "ARRAY[1.10, -0.5]", "json", "[1.10, -0.5]").mariadb("[1.10,-0.5]"),
    case("array_boxes", "box[]", "ARRAY['(1,1),(0,0)'::box]", "json", r#"["(1,1),(0,0)"]"#),
    // What travels as its text
    case("inet", "inet", "'::ffff:1.2.3.4/120'", "varchar(49)", "::ffff:1.2.3.4/120"),
    case("cidr", "cidr", "'10.0.0.0/8'", "varchar(49)", "10.0.0.0/8"),
    case("macaddr", "macaddr", "'08:00:2B:01:02:03'", "varchar(17)", "08:00:2b:01:02:03"),
    case("macaddr8", "macaddr8", "'08:00:2b:01:02:03:04:05'", "varchar(23)", "08:00:2b:01:02:03:04:05"),
    case("range", "int4range", "'(0,5]'", "varchar(100)", "[1,6)"),
    case(
        "range_times",
        "tstzrange",
        "'[2024-01-01 00:00:00+00,)'",
        "varchar(100)",
        "[\"2024-01-01 00:00:00+00\",)",
    ),
    case("point", "point", "'(1.5,-2)'", "longtext", "(1.5,-2)"),
    case("tsvector", "tsvector", "'b a'", "longtext", "'a' 'b'"),
    case("xml", "xml", "'<a b=\"c\"/>'", "longtext", "<a b=\"c\"/>"),
    case("pg_lsn", "pg_lsn", "'16/B374D848'", "varchar(17)", "16/B374D848"),
    case("composite", "address", "ROW(1, 'a\"b, c')", "longtext", "(1,\"a\"\"b, c\")"),
];

/// Values that `MySQL` has no place for, and words of the refusal.
pub(crate) const REFUSED: &[(&str, &str, &str)] = &[
    ("date", "'infinity'", "infinity"),
    ("date", "'0044-03-15 BC'", "0044-03-15 BC"),
    ("timestamptz", "'-infinity'", "-infinity"),
    ("timestamp", "'10000-01-01'", "10000-01-01"),
    ("double precision", "'NaN'", "NaN"),
    ("real", "'Infinity'", "inf"),
    ("numeric(5,2)", "'NaN'", "NaN"),
    ("numeric", "'NaN'", "NaN"),
    ("numeric", "1e40", "decimal(65,30)"),
    ("numeric", "1e-31", "decimal(65,30)"),
    ("integer[]", "'[0:1]={1,2}'", "not counted from 1"),
    ("double precision[]", "'{NaN}'", "NaN"),
    ("jsonb", "'[1e400]'", "JSON"),
];
