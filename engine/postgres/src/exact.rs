//! Which changes of a column's type the server carries out without touching a value.

use crate::pg_type::PgType;

/// Whether every value is the same after `ALTER COLUMN … TYPE`, or the statement fails.
pub(crate) fn is_exact(from: &PgType, to: &PgType) -> bool {
    use PgType as T;
    match (from, to) {
        (from, to) if from == to => true,
        // A number out of range fails.
        (T::Int2 | T::Int4 | T::Int8, T::Int2 | T::Int4 | T::Int8 | T::Numeric(_))
        | (T::Numeric(Some((_, 0))), T::Int2 | T::Int4 | T::Int8)
        | (T::Numeric(_), T::Numeric(None))
        | (T::Float4, T::Float8)
        | (T::Varchar(_) | T::Bpchar(_) | T::Text, T::Text | T::Varchar(None)) => true,
        (T::Numeric(Some((_, old))), T::Numeric(Some((_, new)))) => new >= old,
        (T::Varchar(Some(old)) | T::Bpchar(Some(old)), T::Varchar(Some(new)))
        | (T::Bpchar(Some(old)), T::Bpchar(Some(new))) => new >= old,
        (T::Timestamp(old), T::Timestamp(new))
        | (T::TimestampTz(old), T::TimestampTz(new))
        | (T::Time(old), T::Time(new))
        | (T::Interval(old), T::Interval(new)) => new >= old,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wider_is_exact_and_the_rest_is_not() {
        let exact = |from: &str, to: &str| is_exact(&PgType::parse(from), &PgType::parse(to));
        for (from, to) in [
            ("integer", "bigint"),
            ("bigint", "numeric(20,0)"),
            ("numeric(20,0)", "bigint"),
            ("numeric(5,2)", "numeric(8,4)"),
            ("real", "double precision"),
            ("char(5)", "varchar(5)"),
            ("varchar(5)", "text"),
            ("timestamp(0)", "timestamp(6)"),
        ] {
            assert!(exact(from, to), "{from} {to}");
        }
        for (from, to) in [
            ("numeric(8,4)", "numeric(8,2)"),
            ("double precision", "real"),
            ("text", "varchar(5)"),
            ("varchar(5)", "char(5)"),
            ("bit(3)", "bit(5)"),
            ("timestamp(6)", "timestamptz(6)"),
            ("json", "jsonb"),
            ("boolean", "smallint"),
        ] {
            assert!(!exact(from, to), "{from} {to}");
        }
    }
}
