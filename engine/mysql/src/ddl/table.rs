//! Applies what a statement says to a table.

use engine_core::schema::{ColumnSchema, IndexKind, TableName, TableSchema};
use engine_core::structure::ColumnOrigin;

use super::default;
use super::exact::keeps_values;
use super::keys;
use super::parse::Parsed;
use super::syntax::{Alteration, CharsetChoice, Column, Element, Options, Place};
use super::types::{self, Context};

/// A table as it comes to be, and where its columns come from.
pub(super) struct Draft {
    pub(super) table: TableSchema,
    /// One per column; all are new where there was no table.
    pub(super) origins: Vec<ColumnOrigin>,
}

pub(super) fn same(left: &str, right: &str) -> bool {
    left.to_lowercase() == right.to_lowercase()
}

/// Refuses what makes a table one that can't be followed.
fn check_options(options: &Options) -> Parsed<()> {
    match &options.engine {
        Some(engine) if !engine.eq_ignore_ascii_case("InnoDB") => Err(format!(
            "the storage engine {engine} is none whose tables can be followed from their creation"
        )),
        _ => Ok(()),
    }
}

/// A new table.
pub(super) fn create(
    name: TableName,
    elements: &[Element],
    options: &Options,
    context: &Context<'_>,
) -> Parsed<TableSchema> {
    check_options(options)?;
    let collation = if options.charset == CharsetChoice::default() {
        context.environment.of_database(&name.namespace, context.session)?
    } else {
        context.environment.resolve(&options.charset, None, context.session)?.1
    };
    let table = TableSchema {
        name,
        columns: Vec::new(),
        indexes: Vec::new(),
        foreign_keys: Vec::new(),
        comment: options.comment.clone().unwrap_or_default(),
        collation: Some(collation),
        row_estimate: None,
        byte_estimate: None,
        next_identity: None,
    };
    let mut draft = Draft { table, origins: Vec::new() };
    for element in elements {
        if let Element::Column(column) = element {
            draft.insert_new(column, draft.table.columns.len(), None, context)?;
        }
    }
    keys::add(&mut draft.table, elements, context)?;
    Ok(draft.table)
}

/// The table after the clauses of an ALTER TABLE, all of which speak of the table as it was before,
/// except where they name a column that they add. `wall_clock` is the time of the statement as a
/// clock of its session shows it, microseconds since 1970.
pub(super) fn alter(
    before: &TableSchema,
    alterations: &[Alteration],
    options: &Options,
    wall_clock: Option<i64>,
    context: &Context<'_>,
) -> Parsed<Draft> {
    check_options(options)?;
    let mut table = before.clone();
    if let Some(comment) = &options.comment {
        table.comment.clone_from(comment);
    }
    if options.charset != CharsetChoice::default() {
        table.collation = Some(context.environment.resolve(&options.charset, None, context.session)?.1);
    }
    table.columns.clear();
    let mut draft = Draft { table, origins: Vec::new() };
    check_names(before, alterations)?;
    draft.keep_columns(before, alterations, context)?;
    draft.place_columns(before, alterations, wall_clock, context)?;
    keys::renumber(&mut draft.table, before, &draft.origins)?;
    keys::drop(&mut draft.table, alterations)?;
    let mut elements = Vec::new();
    for alteration in alterations {
        match alteration {
            Alteration::AddIndex(index) => elements.push(Element::Index(index.clone())),
            Alteration::AddForeignKey(key) => elements.push(Element::ForeignKey(key.clone())),
            Alteration::Add { column, .. } | Alteration::Change { column, .. } => {
                elements.push(Element::Column(column.clone()));
            }
            _ => {}
        }
    }
    keys::add(&mut draft.table, &elements, context)?;
    keys::rename(&mut draft.table, alterations, context);
    Ok(draft)
}

/// Refuses clauses about columns that the table does not have.
fn check_names(before: &TableSchema, alterations: &[Alteration]) -> Parsed<()> {
    for alteration in alterations {
        let named = match alteration {
            Alteration::Change { old, if_exists: false, .. } | Alteration::RenameColumn { old, .. } => old,
            Alteration::Drop { column, if_exists: false }
            | Alteration::SetDefault { column, .. }
            | Alteration::SetVisible { column, .. } => column,
            _ => continue,
        };
        if before.columns.iter().all(|column| !same(&column.name, named)) {
            return Err(format!("at this place of the stream the table has no column {named}"));
        }
    }
    Ok(())
}

impl Draft {
    fn push(&mut self, column: ColumnSchema, origin: ColumnOrigin, at: usize) {
        self.table.columns.insert(at, column);
        self.origins.insert(at, origin);
    }

    fn insert_new(
        &mut self,
        column: &Column,
        at: usize,
        wall_clock: Option<i64>,
        context: &Context<'_>,
    ) -> Parsed<()> {
        let schema = types::column(column, self.table.collation.as_deref(), context)?;
        let fill = default::fill(&schema, column.default.as_ref(), wall_clock, context.session);
        if !default::is_sound(&fill, schema.logical.layout()) {
            return Err(format!("column {}: its default does not fit its type", column.name));
        }
        self.push(schema, ColumnOrigin::Added(fill), at);
        Ok(())
    }

    /// The columns that stay where they are.
    fn keep_columns(
        &mut self,
        before: &TableSchema,
        alterations: &[Alteration],
        context: &Context<'_>,
    ) -> Parsed<()> {
        for (ordinal, old) in before.columns.iter().enumerate() {
            let mut kept = Some(old.clone());
            for alteration in alterations {
                let Some(column) = &mut kept else { break };
                match alteration {
                    Alteration::Drop { column: name, .. } if same(name, &old.name) => kept = None,
                    Alteration::Change { old: name, place: Some(_), .. } if same(name, &old.name) => {
                        kept = None;
                    }
                    Alteration::Change { old: name, column: new, .. } if same(name, &old.name) => {
                        *column = changed(before, alterations, old, new, &self.table, context)?;
                    }
                    Alteration::RenameColumn { old: name, new } if same(name, &old.name) => {
                        column.name.clone_from(new);
                    }
                    Alteration::SetDefault { column: name, default } if same(name, &old.name) => {
                        column.default = match default {
                            None => None,
                            Some(default) => default::of_existing(default, old, context)?,
                        };
                    }
                    Alteration::SetVisible { column: name, visible } if same(name, &old.name) => {
                        column.invisible = !visible;
                    }
                    _ => {}
                }
            }
            if let Some(column) = kept {
                self.push(column, ColumnOrigin::Kept(ordinal), self.table.columns.len());
            }
        }
        Ok(())
    }

    /// The columns that are new or go elsewhere, in the order of their clauses.
    fn place_columns(
        &mut self,
        before: &TableSchema,
        alterations: &[Alteration],
        wall_clock: Option<i64>,
        context: &Context<'_>,
    ) -> Parsed<()> {
        for alteration in alterations {
            let (column, place, moved, if_not_exists) = match alteration {
                Alteration::Add { column, place, if_not_exists } => {
                    (column, place.as_ref(), None, *if_not_exists)
                }
                Alteration::Change { old, column, place: Some(place), .. } => {
                    let found = before.columns.iter().position(|known| same(&known.name, old));
                    let Some(ordinal) = found else { continue };
                    (column, Some(place), Some(ordinal), false)
                }
                _ => continue,
            };
            if self.table.columns.iter().any(|known| same(&known.name, &column.name)) {
                if if_not_exists {
                    continue;
                }
                return Err(format!(
                    "at this place of the stream the table has a column {} already",
                    column.name
                ));
            }
            let at = match place {
                None => self.table.columns.len(),
                Some(Place::First) => 0,
                Some(Place::After(other)) => {
                    let found = self.table.columns.iter().position(|known| same(&known.name, other));
                    found.ok_or_else(|| {
                        format!("at this place of the stream the table has no column {other}")
                    })? + 1
                }
            };
            match moved.and_then(|ordinal| Some((ordinal, before.columns.get(ordinal)?))) {
                Some((ordinal, old)) => {
                    let column = changed(before, alterations, old, column, &self.table, context)?;
                    self.push(column, ColumnOrigin::Kept(ordinal), at);
                }
                None => self.insert_new(column, at, wall_clock, context)?,
            }
        }
        Ok(())
    }
}

/// The column as a CHANGE or MODIFY defines it.
fn changed(
    before: &TableSchema,
    alterations: &[Alteration],
    old: &ColumnSchema,
    definition: &Column,
    table: &TableSchema,
    context: &Context<'_>,
) -> Parsed<ColumnSchema> {
    let mut changed = types::column(definition, table.collation.as_deref(), context)?;
    let drops_primary_key = alterations
        .iter()
        .any(|each| matches!(each, Alteration::DropIndex { name, .. } if same(name, "PRIMARY")));
    let in_primary_key = before.indexes.iter().any(|index| {
        let parts = || index.parts.iter().filter_map(|part| before.columns.get(part.column?));
        index.kind == IndexKind::Primary && parts().any(|column| column.name == old.name)
    });
    changed.nullable &= !in_primary_key || drops_primary_key;
    if changed.identity && !old.identity {
        return Err(format!("column {}: AUTO_INCREMENT can number rows that are there already", old.name));
    }
    keeps_values(old, &changed, context.session.is_strict())?;
    Ok(changed)
}
