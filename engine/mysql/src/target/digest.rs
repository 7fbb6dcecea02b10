//! Which columns of a target the server can write down in a digest.

use engine_core::Result;
use engine_core::digest::ValueForm;
use std::collections::HashMap;

use super::column_type::{ColumnType, Declared};
use super::control::field;
use super::failure::translate;
use super::layout::{TableLayout, WrittenColumn};
use super::session::Session;
use crate::digest::is_plain;
use crate::server::Flavor;

/// The form that a type has.
fn form(column_type: &ColumnType, flavor: Flavor) -> Option<ValueForm> {
    use ColumnType as C;
    Some(match column_type {
        C::Integer | C::Year | C::Bit => ValueForm::Integer,
        C::Decimal { scale } => ValueForm::Decimal { scale: *scale },
        C::Float { .. } | C::Double { .. } => ValueForm::Float,
        C::Char { .. } | C::Varchar { .. } | C::Text => ValueForm::Text,
        C::Json if flavor == Flavor::MySql => ValueForm::Document("mysql"),
        C::Binary { .. } | C::Blob | C::Geometry => ValueForm::Bytes,
        C::Date => ValueForm::Date,
        C::Datetime { precision } | C::Timestamp { precision } => {
            ValueForm::Timestamp { precision: *precision }
        }
        C::Time { precision } => ValueForm::Time { precision: *precision },
        C::Enumeration { labels } => ValueForm::Label(labels.clone()),
        C::Set { labels } => ValueForm::Labels(labels.clone()),
        C::Json | C::Vector | C::Uuid | C::Address | C::Unknown(_) => return None,
    })
}

/// A column as the server has it: its type, and the character set of a text.
type Found = (ColumnType, Option<String>);

/// A table's written columns, as the server has them.
#[derive(Debug)]
pub(super) struct FoundColumns(Vec<Option<Found>>);

impl FoundColumns {
    /// Asks for them.
    pub(super) async fn of(session: &mut Session, layout: &TableLayout) -> Result<Self> {
        let name = &layout.table.name;
        let rows = session
            .select(
                "SELECT CONVERT(column_name USING utf8mb4), CONVERT(column_type USING utf8mb4), character_set_name \
                 FROM information_schema.columns WHERE table_schema = ? AND table_name = ?",
                (&name.namespace, &name.name),
            )
            .await
            .map_err(|error| translate(error, "the target's columns can't be read").at("table", name))?;
        let mut found: HashMap<String, Found> = HashMap::new();
        for mut row in rows {
            let (column, column_type): (String, String) = (field(&mut row, 0)?, field(&mut row, 1)?);
            found.insert(column, (Declared::parse(&column_type).column_type, field(&mut row, 2)?));
        }
        let of = |written: &WrittenColumn| found.remove(&layout.table.columns.get(written.ordinal)?.name);
        Ok(Self(layout.columns.iter().map(of).collect()))
    }

    /// How each is written down. A column that is not as planned is for the rows to show.
    pub(super) fn forms(&self, layout: &TableLayout) -> Vec<Option<ValueForm>> {
        let of = |(written, found): (&WrittenColumn, &Option<Found>)| {
            let (column_type, charset) = found.as_ref()?;
            let form = form(&written.column_type, layout.flavor)?;
            let is_told = form != ValueForm::Text || charset.as_deref().is_some_and(is_plain);
            (is_told && self::form(column_type, layout.flavor).as_ref() == Some(&form)).then_some(form)
        };
        layout.columns.iter().zip(&self.0).map(of).collect()
    }

    /// The character set of each that is a text.
    pub(super) fn charsets(&self) -> impl Iterator<Item = Option<&str>> {
        self.0.iter().map(|found| found.as_ref().and_then(|(_, charset)| charset.as_deref()))
    }
}
