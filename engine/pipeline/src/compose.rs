//! Joins the plans of a chain of plugins into one target table and the route of its rows.
//!
//! Each plugin plans the schema that the plugins before it left: columns renamed, dropped, added,
//! with the types decided so far. What comes out is a [`TargetTable`] and one [`Stage`] per plugin.

mod foreign_key;

use serde::{Deserialize, Serialize};

use engine_core::endpoint::{Endpoint, FULLTEXT_AND_SPATIAL, INDEX_KINDS, SHARED_TABLES};
use engine_core::error::{Error, ErrorKind, Result};
use engine_core::finding::{Finding, Severity};
use engine_core::logical::LogicalType;
use engine_core::plan::{
    Calls, ColumnMapping, ColumnRule, ConflictPolicy, Disposition, ExtraSource, NativeOp, RowErrorPolicy,
    Scalar, StagePlan, TargetColumn, TargetForeignKey, TargetIndex, TargetIndexPart, TargetTable,
    WriteColumn,
};
use engine_core::schema::{ColumnSchema, IndexKind, TableName, TableSchema};

pub use self::foreign_key::resolve_foreign_keys;
use crate::ops;

/// Where an output column of a stage comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum StageSource {
    /// A column of the input batch.
    Input(usize),
    /// A column that the plugin's transform returns, by its place in the answer.
    Transformed(usize),
    /// The same value in every row.
    Constant(Scalar),
}

/// An output column of a stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageColumn {
    /// Where its values come from.
    pub source: StageSource,
    /// Its type before `ops`.
    pub logical: LogicalType,
    /// Conversions, in order, each with the type it works on.
    pub ops: Vec<(NativeOp, LogicalType)>,
    /// The source column, for messages.
    pub source_name: String,
}

/// What one plugin does to the rows of a table. Indices are places in the stage's input batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stage {
    /// Place of the plugin in the chain.
    pub plugin: usize,
    /// Row functions to call.
    pub calls: Calls,
    /// Columns for `filter`.
    pub filter_reads: Vec<usize>,
    /// Columns for `transform-batch`.
    pub transform_reads: Vec<usize>,
    /// Types of the columns it returns.
    pub transform_writes: Vec<LogicalType>,
    /// The stage's output.
    pub columns: Vec<StageColumn>,
    /// What to do with a bad row.
    pub on_row_error: RowErrorPolicy,
}

/// What a plugin decided, together with the schema it was shown: its worker instances get both.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Planned {
    /// The schema it was shown.
    pub schema: TableSchema,
    /// Its answer.
    pub plan: StagePlan,
}

/// A table of the task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Composed {
    /// The source table.
    pub schema: TableSchema,
    /// What each plugin was shown and answered.
    pub planned: Vec<Planned>,
    /// The target table.
    pub target: TargetTable,
    /// Ordinals of the source columns to read, in batch order.
    pub reads: Vec<usize>,
    /// The way of the rows.
    pub stages: Vec<Stage>,
    /// Decisions and warnings.
    pub findings: Vec<Finding>,
}

/// A column on its way through the chain.
#[derive(Clone)]
struct Working {
    schema: ColumnSchema,
    /// Ordinal in the source table; `None` for a column that a plugin added.
    origin: Option<usize>,
    default: Option<String>,
}

/// Runs a table through the chain. `plan_stage` asks plugin number `n` about a schema.
/// `Ok(Err(reason))` means that the table takes no part.
pub fn compose(
    schema: &TableSchema,
    target: &Endpoint,
    plugins: usize,
    mut plan_stage: impl FnMut(usize, &TableSchema) -> Result<StagePlan>,
) -> Result<Result<Composed, String>> {
    let mut chain = Chain::new(schema);
    chain.all_kinds = target.attribute(INDEX_KINDS) == Some(FULLTEXT_AND_SPATIAL);
    for plugin in 0..plugins {
        let shown = chain.shown();
        let plan = plan_stage(plugin, &shown)?;
        if plan.disposition == Disposition::Skip {
            return Ok(Err(format!("plugin {} leaves it out", plugin + 1)));
        }
        chain.step(plugin, &plan).map_err(|error| error.at("table", &schema.name))?;
        chain.planned.push(Planned { schema: shown, plan });
    }
    if chain.on_conflict == ConflictPolicy::Shared && target.attribute(SHARED_TABLES).is_none() {
        return Err(Error::new(
            ErrorKind::Usage,
            "this target can't have a table that several tasks write to",
        )
        .at("table", &schema.name)
        .help("leave merge out of the plugin's configuration"));
    }
    chain.finish().map(Ok).map_err(|error| error.at("table", &schema.name))
}

struct Chain<'a> {
    source: &'a TableSchema,
    name: TableName,
    columns: Vec<Working>,
    generated: Vec<TargetColumn>,
    stages: Vec<Stage>,
    planned: Vec<Planned>,
    findings: Vec<Finding>,
    with_rows: bool,
    on_conflict: ConflictPolicy,
    on_row_error: RowErrorPolicy,
    /// The target has indexes of every kind.
    all_kinds: bool,
}

impl<'a> Chain<'a> {
    fn new(source: &'a TableSchema) -> Self {
        let columns = source
            .columns
            .iter()
            .enumerate()
            .map(|(ordinal, column)| Working { schema: column.clone(), origin: Some(ordinal), default: None })
            .collect();
        Self {
            source,
            name: source.name.clone(),
            columns,
            generated: Vec::new(),
            stages: Vec::new(),
            planned: Vec::new(),
            findings: Vec::new(),
            with_rows: true,
            on_conflict: ConflictPolicy::Fail,
            on_row_error: RowErrorPolicy::Fail,
            all_kinds: false,
        }
    }

    /// The table as the next plugin sees it.
    fn shown(&self) -> TableSchema {
        let place = |ordinal: usize| self.columns.iter().position(|column| column.origin == Some(ordinal));
        let mut shown = self.source.clone();
        shown.name = self.name.clone();
        shown.columns = self.columns.iter().map(|column| column.schema.clone()).collect();
        shown.indexes.retain_mut(|index| {
            index.parts.iter_mut().all(|part| match part.column {
                Some(ordinal) => {
                    part.column = place(ordinal);
                    part.column.is_some()
                }
                None => true,
            })
        });
        shown.foreign_keys.retain_mut(|key| {
            let columns: Option<Vec<usize>> = key.columns.iter().map(|&ordinal| place(ordinal)).collect();
            columns.map(|columns| key.columns = columns).is_some()
        });
        shown
    }

    fn step(&mut self, plugin: usize, plan: &StagePlan) -> Result<()> {
        self.findings.extend(plan.findings.iter().cloned());
        self.with_rows &= plan.disposition == Disposition::Migrate;
        if plan.on_conflict == ConflictPolicy::Shared {
            self.on_conflict = ConflictPolicy::Shared;
        } else if plan.on_conflict != ConflictPolicy::Fail {
            return Err(Error::new(
                ErrorKind::Plugin,
                "the plan asks for a key-conflict policy other than 'fail'",
            )
            .because("this target loads into tables of its own, where a conflict is a fault in the plan")
            .help("let the plugin answer on-conflict = fail"));
        }
        if plan.on_row_error == RowErrorPolicy::DeadLetter {
            self.on_row_error = RowErrorPolicy::DeadLetter;
        }
        let written = |wanted: WriteColumn| plan.transform_writes.iter().position(|&write| write == wanted);
        let mut stage = Stage {
            plugin,
            calls: plan.calls,
            filter_reads: plan.filter_reads.clone(),
            transform_reads: plan.transform_reads.clone(),
            transform_writes: Vec::with_capacity(plan.transform_writes.len()),
            columns: Vec::new(),
            on_row_error: plan.on_row_error,
        };
        for write in &plan.transform_writes {
            let logical = match *write {
                WriteColumn::Input(place) => {
                    self.columns.get(place).map(|column| column.schema.logical.clone())
                }
                WriteColumn::Extra(place) => plan.extra_columns.get(place).map(|extra| extra.logical.clone()),
            };
            stage.transform_writes.push(logical.ok_or_else(|| out_of_range("transform-writes"))?);
        }
        let mut kept = Vec::with_capacity(self.columns.len());
        for (place, column) in self.columns.iter().enumerate() {
            let rule = match plan.columns.get(place) {
                Some(rule) => rule,
                None if plan.columns.is_empty() => &ColumnRule::Keep,
                None => return Err(out_of_range("columns")),
            };
            let keep = ColumnMapping::default();
            let mapping = match rule {
                ColumnRule::Drop => continue,
                ColumnRule::Keep => &keep,
                ColumnRule::Remap(mapping) => mapping,
            };
            let source = written(WriteColumn::Input(place))
                .map_or(StageSource::Input(place), StageSource::Transformed);
            let (working, stage_column) = remap(column, mapping, source)?;
            kept.push(working);
            stage.columns.push(stage_column);
        }
        for (place, extra) in plan.extra_columns.iter().enumerate() {
            let schema = ColumnSchema {
                name: extra.name.clone(),
                logical: extra.logical.clone(),
                native: extra.target_type.clone(),
                nullable: extra.nullable,
                default: None,
                on_update_now: false,
                generated: None,
                identity: false,
                invisible: false,
                comment: String::new(),
                target_type: Some(extra.target_type.clone()),
                attributes: Vec::new(),
            };
            let source = match &extra.source {
                ExtraSource::Constant(value) => StageSource::Constant(value.clone()),
                ExtraSource::Computed => match written(WriteColumn::Extra(place)) {
                    Some(place) => StageSource::Transformed(place),
                    None => {
                        return Err(Error::new(
                            ErrorKind::Plugin,
                            "an extra column is computed but not written",
                        )
                        .at("column", &extra.name)
                        .help("name it in transform-writes"));
                    }
                },
                ExtraSource::Generated(expression) => {
                    self.generated.push(target_column(
                        &schema,
                        None,
                        Some(expression.clone()),
                        extra.name.clone(),
                    ));
                    continue;
                }
            };
            stage.columns.push(StageColumn {
                source,
                logical: extra.logical.clone(),
                ops: Vec::new(),
                source_name: extra.name.clone(),
            });
            kept.push(Working { schema, origin: None, default: None });
        }
        self.columns = kept;
        self.name = plan.target.clone();
        self.stages.push(stage);
        Ok(())
    }

    fn finish(mut self) -> Result<Composed> {
        let mut columns = Vec::with_capacity(self.columns.len() + self.generated.len());
        for working in &self.columns {
            if working.schema.target_type.is_none() {
                return Err(Error::new(ErrorKind::Plugin, "no plugin of the chain decided a target type")
                    .at("column", &working.schema.name)
                    .because(format!("its source type is {}", working.schema.native))
                    .help("put a type-mapping plugin such as mysql2og first: --plugin mysql2og.wasm"));
            }
            let source_name = working
                .origin
                .and_then(|ordinal| self.source.columns.get(ordinal))
                .map_or(&working.schema.name, |column| &column.name);
            columns.push(target_column(&working.schema, working.default.clone(), None, source_name.clone()));
        }
        columns.append(&mut self.generated);
        for (place, column) in columns.iter().enumerate() {
            if columns.iter().take(place).any(|other| other.name == column.name) {
                return Err(Error::new(ErrorKind::Plugin, "two columns get the same name in the target")
                    .at("column", &column.name)
                    .help("rename one of them in the plugin's configuration"));
            }
        }
        let (indexes, mut lost) = self.indexes();
        self.findings.append(&mut lost);
        let place = |ordinal: usize| self.columns.iter().position(|column| column.origin == Some(ordinal));
        let row_key: Option<Vec<usize>> =
            self.source.row_key().and_then(|key| key.into_iter().map(place).collect());
        if row_key.is_none() && self.with_rows {
            self.findings.push(Finding {
                severity: Severity::Warning,
                subject: self.source.name.to_string(),
                message: "no key tells its rows apart: it is read in one piece and its changes are applied one by one"
                    .into(),
                fix: Some("add a primary key, or a unique key over NOT NULL columns, on the source".into()),
            });
        }
        let (mut foreign_keys, mut lost) = self.foreign_keys();
        self.findings.append(&mut lost);
        if self.on_conflict == ConflictPolicy::Shared {
            self.merged(row_key.is_some(), &mut foreign_keys)?;
        }
        let target = TargetTable {
            source: self.source.name.clone(),
            name: self.name.clone(),
            columns,
            indexes,
            foreign_keys,
            comment: self.source.comment.clone(),
            row_key,
            with_rows: self.with_rows,
            on_conflict: self.on_conflict,
            on_row_error: self.on_row_error,
        };
        let (reads, stages) = project(self.source.columns.len(), self.stages);
        Ok(Composed {
            schema: self.source.clone(),
            planned: self.planned,
            target,
            reads,
            stages,
            findings: self.findings,
        })
    }

    /// Checks and plans what is special of a table that other tasks write to.
    fn merged(&mut self, has_key: bool, foreign_keys: &mut Vec<TargetForeignKey>) -> Result<()> {
        let refused = |why: &str| {
            Err(Error::new(ErrorKind::Unrepresentable, "the table can't be merged with others").because(why))
        };
        if !has_key {
            return refused(
                "no key tells its rows apart, and so the rows of one shard from those of another",
            );
        }
        if self.on_row_error == RowErrorPolicy::DeadLetter {
            return refused(
                "rows that collide must stop the task, and bad rows are set aside (on_row_error)",
            );
        }
        let subject = self.source.name.to_string();
        let mut finding = |severity, message: String, fix: &str| {
            let fix = Some(fix.to_owned());
            self.findings.push(Finding { severity, subject: subject.clone(), message, fix });
        };
        finding(
            Severity::Note,
            format!("{} takes the rows of other tables too; this one is read in one piece", self.name),
            "keep the structure of all of them the same",
        );
        for key in foreign_keys.drain(..) {
            finding(
                Severity::Warning,
                format!(
                    "the foreign key {} is left out: rows of other shards may still be on their way",
                    key.name
                ),
                "ALTER TABLE … ADD CONSTRAINT … on the target once every shard is cut over",
            );
        }
        Ok(())
    }

    fn indexes(&self) -> (Vec<TargetIndex>, Vec<Finding>) {
        let (mut indexes, mut lost) = (Vec::new(), Vec::new());
        for index in &self.source.indexes {
            let mut leave_out = |why: &str| {
                lost.push(Finding {
                    severity: Severity::Warning,
                    subject: format!("{}.{}", self.source.name, index.name),
                    message: format!("the index is left out: {why}"),
                    fix: Some("create what you need in its place after the copy".into()),
                });
            };
            if !self.all_kinds && matches!(index.kind, IndexKind::Fulltext | IndexKind::Spatial) {
                leave_out("full-text and spatial indexes have no counterpart that means the same");
                continue;
            }
            let parts: Option<Vec<TargetIndexPart>> = index
                .parts
                .iter()
                .map(|part| {
                    let column = part.column.and_then(|ordinal| {
                        self.columns.iter().position(|column| column.origin == Some(ordinal))
                    })?;
                    Some(TargetIndexPart { column, prefix: part.prefix, descending: part.descending })
                })
                .collect();
            match parts {
                Some(parts) => {
                    indexes.push(TargetIndex { name: index.name.clone(), kind: index.kind, parts });
                }
                None if index.parts.iter().any(|part| part.column.is_none()) => {
                    leave_out("it is built on an expression in the source's SQL");
                }
                None => leave_out("it is built on a column that the plan drops"),
            }
        }
        (indexes, lost)
    }

    fn foreign_keys(&self) -> (Vec<TargetForeignKey>, Vec<Finding>) {
        let (mut foreign_keys, mut lost) = (Vec::new(), Vec::new());
        for key in &self.source.foreign_keys {
            let columns: Option<Vec<usize>> = key
                .columns
                .iter()
                .map(|&ordinal| self.columns.iter().position(|column| column.origin == Some(ordinal)))
                .collect();
            match columns {
                Some(columns) => foreign_keys.push(TargetForeignKey {
                    name: key.name.clone(),
                    columns,
                    // Source names until every table of the task is known; see `resolve_foreign_keys`.
                    parent: key.parent.clone(),
                    parent_columns: key.parent_columns.clone(),
                    on_delete: key.on_delete,
                    on_update: key.on_update,
                }),
                None => lost.push(Finding {
                    severity: Severity::Warning,
                    subject: format!("{}.{}", self.source.name, key.name),
                    message: "the foreign key is left out: it is on a column that the plan drops".into(),
                    fix: Some("keep the column".into()),
                }),
            }
        }
        (foreign_keys, lost)
    }
}

fn out_of_range(what: &str) -> Error {
    Error::new(ErrorKind::Plugin, format!("the plugin's plan names a column that does not exist in {what}"))
}

fn remap(column: &Working, mapping: &ColumnMapping, source: StageSource) -> Result<(Working, StageColumn)> {
    let mut working = column.clone();
    let mut ops = Vec::with_capacity(mapping.ops.len());
    for op in &mapping.ops {
        let before = working.schema.logical.clone();
        working.schema.logical =
            ops::result_type(op, &before).map_err(|error| error.at("column", &column.schema.name))?;
        ops.push((op.clone(), before));
    }
    if let Some(name) = &mapping.name {
        working.schema.name.clone_from(name);
    }
    if let Some(nullable) = mapping.nullable {
        working.schema.nullable = nullable;
    }
    if mapping.target_type.is_some() {
        working.schema.target_type.clone_from(&mapping.target_type);
        working.default.clone_from(&mapping.default);
    } else if mapping.default.is_some() {
        working.default.clone_from(&mapping.default);
    }
    let stage_column = StageColumn {
        source,
        logical: column.schema.logical.clone(),
        ops,
        source_name: column.schema.name.clone(),
    };
    Ok((working, stage_column))
}

fn target_column(
    schema: &ColumnSchema,
    default: Option<String>,
    generated: Option<String>,
    source_name: String,
) -> TargetColumn {
    TargetColumn {
        name: schema.name.clone(),
        source_name,
        target_type: schema.target_type.clone().unwrap_or_default(),
        logical: schema.logical.clone(),
        nullable: schema.nullable,
        default,
        generated,
        identity: schema.identity,
        comment: schema.comment.clone(),
    }
}

/// Finds which source columns anything needs, and renumbers the first stage to a batch of just those.
fn project(source_columns: usize, mut stages: Vec<Stage>) -> (Vec<usize>, Vec<Stage>) {
    let Some(first) = stages.first_mut() else { return ((0..source_columns).collect(), stages) };
    let mut needed = vec![false; source_columns];
    let inputs = first.columns.iter().filter_map(|column| match column.source {
        StageSource::Input(place) => Some(place),
        _ => None,
    });
    let reads: Vec<usize> = inputs
        .chain(first.filter_reads.iter().copied())
        .chain(first.transform_reads.iter().copied())
        .collect();
    for place in reads {
        if let Some(slot) = needed.get_mut(place) {
            *slot = true;
        }
    }
    let reads: Vec<usize> =
        (0..source_columns).filter(|&ordinal| needed.get(ordinal) == Some(&true)).collect();
    let renumber = |ordinal: usize| reads.iter().position(|&read| read == ordinal).unwrap_or(usize::MAX);
    for column in &mut first.columns {
        if let StageSource::Input(place) = &mut column.source {
            *place = renumber(*place);
        }
    }
    first.filter_reads.iter_mut().for_each(|place| *place = renumber(*place));
    first.transform_reads.iter_mut().for_each(|place| *place = renumber(*place));
    (reads, stages)
}
