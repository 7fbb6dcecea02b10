//! Values at the edges of every type, and what `PostgreSQL` shall say they are.

/// One column with one value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    /// Name of the column.
    pub(crate) name: &'static str,
    /// Its definition in the source.
    pub(crate) definition: &'static str,
    /// The value, as an SQL expression of the source.
    pub(crate) value: &'static str,
    /// Type of the column in the target.
    pub(crate) target_type: &'static str,
    /// How the target is asked for the value as text; `?` stands for the column.
    pub(crate) read: &'static str,
    /// What it answers.
    pub(crate) expected: &'static str,
}

const fn case(
    name: &'static str,
    definition: &'static str,
    value: &'static str,
    target_type: &'static str,
    expected: &'static str,
) -> Case {
    Case { name, definition, value, target_type, read: "?::text", expected }
}

impl Case {
    const fn read(mut self, read: &'static str) -> Self {
        self.read = read;
        self
    }
}

/// Values that `MySQL` and `MariaDB` hold alike.
pub(crate) const COMMON: &[Case] = &[
    // Integers
    case("tinyint1", "tinyint(1)", "127", "smallint", "127"),
    case("tinyint_min", "tinyint", "-128", "smallint", "-128"),
    case("tinyint_u", "tinyint unsigned", "255", "smallint", "255"),
    case("smallint_min", "smallint", "-32768", "smallint", "-32768"),
    case("smallint_u", "smallint unsigned", "65535", "integer", "65535"),
    case("mediumint_min", "mediumint", "-8388608", "integer", "-8388608"),
    case("mediumint_u", "mediumint unsigned", "16777215", "integer", "16777215"),
    case("int_min", "int", "-2147483648", "integer", "-2147483648"),
    case("int_u", "int unsigned", "4294967295", "bigint", "4294967295"),
    case("bigint_min", "bigint", "-9223372036854775808", "bigint", "-9223372036854775808"),
    case("bigint_max", "bigint", "9223372036854775807", "bigint", "9223372036854775807"),
    case("bigint_u", "bigint unsigned", "18446744073709551615", "numeric(20,0)", "18446744073709551615"),
    case("bigint_u_middle", "bigint unsigned", "9223372036854775808", "numeric(20,0)", "9223372036854775808"),
    case("zerofill", "int(5) zerofill", "42", "bigint", "42"),
    // Bits
    case("bit1", "bit(1)", "b'1'", "bit(1)", "1"),
    case("bit10", "bit(10)", "b'0000000001'", "bit(10)", "0000000001"),
    case(
        "bit64",
        "bit(64)",
        "18446744073709551615",
        "bit(64)",
        "1111111111111111111111111111111111111111111111111111111111111111",
    ),
    // Decimals
    case(
        "decimal_widest",
        "decimal(65,30)",
        "99999999999999999999999999999999999.999999999999999999999999999999",
        "numeric(65,30)",
        "99999999999999999999999999999999999.999999999999999999999999999999",
    ),
    case(
        "decimal_tiny",
        "decimal(65,30)",
        "-0.000000000000000000000000000001",
        "numeric(65,30)",
        "-0.000000000000000000000000000001",
    ),
    case("decimal_rounded", "decimal(10,0)", "-0.4", "numeric(10,0)", "0"),
    case(
        "decimal_whole",
        "decimal(65,0)",
        "-99999999999999999999999999999999999999999999999999999999999999999",
        "numeric(65,0)",
        "-99999999999999999999999999999999999999999999999999999999999999999",
    ),
    case("decimal_scale", "decimal(8,4) unsigned", "12", "numeric(8,4)", "12.0000"),
    // Floating point; a float's text in the source has fewer digits than the value
    case("float_16777217", "float", "16777217", "real", "1.6777216e+07"),
    case("float_tenth", "float", "0.1", "real", "0.10000000149011612").read("?::float8::text"),
    case("float_max", "float", "3.4028234e38", "real", "3.4028235e+38"),
    case("float_min", "float", "1.4e-45", "real", "1e-45"),
    case("float_display", "float(7,3)", "999.00009", "real", "999"),
    case("double_sum", "double", "0.30000000000000004", "double precision", "0.30000000000000004"),
    case("double_1e22", "double", "1e22", "double precision", "1e+22"),
    case("double_2_53", "double", "9007199254740993", "double precision", "4340000000000000")
        .read("encode(float8send(?), 'hex')"),
    case("double_least", "double", "4.9406564584124654e-324", "double precision", "5e-324"),
    case("double_max", "double", "-1.7976931348623157e308", "double precision", "-1.7976931348623157e+308"),
    case("double_display", "double(10,2)", "1.005", "double precision", "1"),
    // Dates and times
    case("year_0", "year", "0000", "smallint", "0"),
    case("year_first", "year", "1901", "smallint", "1901"),
    case("year_last", "year", "2155", "smallint", "2155"),
    case("date_first", "date", "'0001-01-01'", "date", "0001-01-01"),
    case("date_last", "date", "'9999-12-31'", "date", "9999-12-31"),
    case("date_leap", "date", "'2000-02-29'", "date", "2000-02-29"),
    case(
        "datetime_last",
        "datetime(6)",
        "'9999-12-31 23:59:59.999999'",
        "timestamp(6) without time zone",
        "9999-12-31 23:59:59.999999",
    ),
    case(
        "datetime_first",
        "datetime(6)",
        "'0001-01-01 00:00:00.000001'",
        "timestamp(6) without time zone",
        "0001-01-01 00:00:00.000001",
    ),
    case(
        "datetime_in_gap",
        "datetime",
        "'2024-03-31 02:30:00'",
        "timestamp(0) without time zone",
        "2024-03-31 02:30:00",
    ),
    case(
        "datetime_3",
        "datetime(3)",
        "'1969-12-31 23:59:59.999'",
        "timestamp(3) without time zone",
        "1969-12-31 23:59:59.999",
    ),
    case(
        "timestamp_first",
        "timestamp NULL",
        "'1970-01-01 00:00:01'",
        "timestamp(0) with time zone",
        "1970-01-01 00:00:01+00",
    ),
    case(
        "timestamp_last",
        "timestamp(6) NULL",
        "'2038-01-19 03:14:07.999999'",
        "timestamp(6) with time zone",
        "2038-01-19 03:14:07.999999+00",
    ),
    case("time_longest", "time(6)", "'838:59:59'", "interval", "838:59:59"),
    case("time_shortest", "time(6)", "'-838:59:59'", "interval", "-838:59:59"),
    case("time_negative_half", "time(6)", "'-00:00:00.5'", "interval", "-00:00:00.5"),
    case("time_negative_1", "time(1)", "'-12:34:56.7'", "interval", "-12:34:56.7"),
    case("time_negative_3", "time(3)", "'-01:00:00.001'", "interval", "-01:00:00.001"),
    case("time_24", "time", "'24:00:00'", "interval", "24:00:00"),
    case("time_negative", "time", "'-00:00:01'", "interval", "-00:00:01"),
    // Text
    case("char_padded", "char(3)", "'a  '", "character(3)", "a"),
    case("varchar_blanks", "varchar(5)", "'a  '", "character varying(5)", "a  "),
    case("varchar_empty", "varchar(5)", "''", "character varying(5)", ""),
    case("text_empty", "text", "''", "text", ""),
    case(
        "controls",
        "varchar(20)",
        "x'01090A0D1A1F5C27227F'",
        "character varying(20)",
        "01090a0d1a1f5c27227f",
    )
    .read("encode(convert_to(?, 'UTF8'), 'hex')"),
    case("emoji", "varchar(9)", "'😀𝕏'", "character varying(9)", "😀𝕏"),
    case("decomposed", "varchar(9)", "x'65CC81'", "character varying(9)", "e\u{301}"),
    case("byte_order_mark", "varchar(9)", "x'EFBBBF61'", "character varying(9)", "\u{feff}a"),
    case("latin1_euro", "varchar(9) CHARACTER SET latin1", "_latin1 x'80'", "character varying(9)", "€"),
    case("latin1_81", "varchar(9) CHARACTER SET latin1", "_latin1 x'81'", "character varying(9)", "c281")
        .read("encode(convert_to(?, 'UTF8'), 'hex')"),
    case(
        "latin1_mojibake",
        "varchar(9) CHARACTER SET latin1",
        "_latin1 x'E282AC'",
        "character varying(9)",
        "â‚¬",
    ),
    case("gbk", "varchar(9) CHARACTER SET gbk", "_gbk x'C4E3BAC3'", "character varying(9)", "你好"),
    case("sjis", "varchar(9) CHARACTER SET sjis", "_sjis x'82A0'", "character varying(9)", "あ"),
    case("sjis_815f", "varchar(9) CHARACTER SET sjis", "_sjis x'815F'", "character varying(9)", "\\"),
    case("cp932", "varchar(9) CHARACTER SET cp932", "_cp932 x'815F8740'", "character varying(9)", "＼①"),
    case("ujis", "varchar(9) CHARACTER SET ujis", "_ujis x'A4A2'", "character varying(9)", "あ"),
    case("big5", "varchar(9) CHARACTER SET big5", "_big5 x'A741'", "character varying(9)", "你"),
    case("euckr", "varchar(9) CHARACTER SET euckr", "_euckr x'B0A1'", "character varying(9)", "가"),
    case("cp1251", "varchar(9) CHARACTER SET cp1251", "_cp1251 x'CF'", "character varying(9)", "П"),
    case("koi8r", "varchar(9) CHARACTER SET koi8r", "_koi8r x'F0'", "character varying(9)", "П"),
    case("latin2", "varchar(9) CHARACTER SET latin2", "_latin2 x'B1'", "character varying(9)", "ą"),
    case("utf16", "varchar(9) CHARACTER SET utf16", "_utf16 x'D83DDE00'", "character varying(9)", "😀"),
    case("ucs2", "varchar(9) CHARACTER SET ucs2", "_ucs2 x'4F60'", "character varying(9)", "你"),
    case("utf32", "varchar(9) CHARACTER SET utf32", "_utf32 x'0001F600'", "character varying(9)", "😀"),
    case("tis620", "varchar(9) CHARACTER SET tis620", "_tis620 x'A1'", "character varying(9)", "ก"),
    case("utf8mb3", "varchar(9) CHARACTER SET utf8mb3", "'😀€'", "character varying(9)", "?€"),
    case("text_cut", "text", "REPEAT('a', 65536)", "text", "65535").read("length(?)::text"),
    case("mediumtext", "mediumtext", "REPEAT('é', 100000)", "text", "100000 200000")
        .read("length(?) || ' ' || octet_length(?)"),
    // Bytes
    case("binary_padded", "binary(3)", "x'61'", "bytea", "\\x610000"),
    case("varbinary_nul", "varbinary(3)", "x'6100'", "bytea", "\\x6100"),
    case("varbinary_empty", "varbinary(3)", "x''", "bytea", "\\x"),
    case("tinyblob", "tinyblob", "x'00FF275C'", "bytea", "\\x00ff275c"),
    case(
        "blob_all_bytes",
        "longblob",
        "REPEAT(x'00010A0D1A22275C7F8081FEFF', 8000)",
        "bytea",
        "104000 00010a0d1a22275c7f8081feff t",
    )
    .read(
        "length(?) || ' ' || encode(substring(? from 103988), 'hex') || ' ' || \
         (? = decode(repeat('00010a0d1a22275c7f8081feff', 8000), 'hex'))::text::char(1)",
    ),
    // Enumerations and sets
    case("enum_invalid", "enum('x','y')", "'z'", "text", ""),
    case("enum_digits", "enum('1','2','0')", "'0'", "text", "0"),
    case("enum_text", "enum('it''s','ñ','a,b')", "'it''s'", "text", "it's"),
    case("set_ordered", "set('a','b')", "'b,a'", "text", "a,b"),
    case("set_empty", "set('a','b')", "''", "text", ""),
    case(
        "set_64",
        "set('0','1','2','3','4','5','6','7','8','9','10','11','12','13','14','15','16','17','18','19','20','21',\
         '22','23','24','25','26','27','28','29','30','31','32','33','34','35','36','37','38','39','40','41','42','43',\
         '44','45','46','47','48','49','50','51','52','53','54','55','56','57','58','59','60','61','62','63')",
        "9223372036854775809",
        "text",
        "0,63",
    ),
    // Geometry
    case(
        "point",
        "point",
        "ST_GeomFromText('POINT(10 20)', 0)",
        "bytea",
        "\\x010100000000000000000024400000000000003440",
    ),
];

/// Values that only `MySQL` 9 holds, or holds in another way than `MariaDB`.
pub(crate) const MYSQL: &[Case] = &[
    case(
        "datetime_rounded",
        "datetime",
        "'2024-01-01 00:00:00.5'",
        "timestamp(0) without time zone",
        "2024-01-01 00:00:01",
    ),
    case("double_negative_zero", "double", "-0e0", "double precision", "-0"),
    case("json_object", "json", r#"'{"b":1,"a":2,"b":3}'"#, "jsonb", r#"{"a": 2, "b": 3}"#),
    case("json_2_64", "json", "'18446744073709551616'", "jsonb", "18446744073709552000"),
    case("json_u64", "json", "'18446744073709551615'", "jsonb", "18446744073709551615"),
    case("json_i64", "json", "'-9223372036854775808'", "jsonb", "-9223372036854775808"),
    case("json_1e20", "json", "'1e20'", "jsonb", "100000000000000000000"),
    case("json_double", "json", "'[0.1, 1.5e-7, -2.5]'", "jsonb", "[0.1, 0.00000015, -2.5]"),
    case("json_null", "json", "'null'", "jsonb", "null"),
    case("json_text", "json", r#"'"é😀\\"\\n"'"#, "jsonb", r#""é😀\"\n""#),
    case("json_empty", "json", "'[{}, [], \"\"]'", "jsonb", "[{}, [], \"\"]"),
    case("json_decimal", "json", "CAST(CAST('169.090000' AS DECIMAL(10,6)) AS JSON)", "jsonb", "169.090000"),
    case("json_opaque", "json", "CAST(x'00FF' AS JSON)", "jsonb", r#""base64:type15:AP8=""#),
    case(
        "json_datetime",
        "json",
        "CAST(TIMESTAMP'2024-01-02 03:04:05' AS JSON)",
        "jsonb",
        r#""2024-01-02 03:04:05.000000""#,
    ),
    case("json_date", "json", "CAST(DATE'2024-01-02' AS JSON)", "jsonb", r#""2024-01-02""#),
    case("json_time", "json", "CAST(TIME'-12:30:00.5' AS JSON)", "jsonb", r#""-12:30:00.500000""#),
    case(
        "json_large",
        "json",
        "JSON_OBJECT('a', REPEAT('x', 70000), 'b', JSON_ARRAY(1, 2))",
        "jsonb",
        "70000 [1, 2]",
    )
    .read("length(? ->> 'a') || ' ' || (? -> 'b')::text"),
    case(
        "point_4326",
        "point",
        "ST_GeomFromText('POINT(10 20)', 4326)",
        "bytea",
        "\\x0101000020e610000000000000000034400000000000002440",
    ),
    case("vector", "vector(3)", "STRING_TO_VECTOR('[1,2,-0.5]')", "real[]", "{1,2,-0.5}"),
    case("gb18030", "varchar(9) CHARACTER SET gb18030", "_gb18030 x'9439FC36'", "character varying(9)", "😀"),
];

/// Values that only `MariaDB` 10.11 holds, or holds in another way than `MySQL`.
pub(crate) const MARIADB: &[Case] = &[
    case(
        "datetime_cut",
        "datetime",
        "'2024-01-01 00:00:00.5'",
        "timestamp(0) without time zone",
        "2024-01-01 00:00:00",
    ),
    case("json_as_written", "json", r#"'{"b":1, "a":2,"b":3}'"#, "json", r#"{"b":1, "a":2,"b":3}"#),
    case("json_number", "json", "'18446744073709551616'", "json", "18446744073709551616"),
    case(
        "uuid",
        "uuid",
        "'123E4567-E89B-12D3-A456-426655440000'",
        "uuid",
        "123e4567-e89b-12d3-a456-426655440000",
    ),
    case(
        "uuid_7",
        "uuid",
        "'018f3c8e-7b6a-7c3d-9e1f-0123456789ab'",
        "uuid",
        "018f3c8e-7b6a-7c3d-9e1f-0123456789ab",
    ),
    case("inet6", "inet6", "'2001:DB8::ff00:42:8329'", "text", "2001:db8::ff00:42:8329"),
    case("inet6_v4", "inet6", "'::ffff:192.0.2.128'", "text", "::ffff:192.0.2.128"),
    case("inet4", "inet4", "'192.0.2.1'", "text", "192.0.2.1"),
    case(
        "point_4326",
        "point",
        "ST_GeomFromText('POINT(10 20)', 4326)",
        "bytea",
        "\\x0101000020e610000000000000000024400000000000003440",
    ),
];
