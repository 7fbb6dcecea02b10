//! Starting points for plans.

use crate::planning::{
    Calls, ColumnMapping, ConflictPolicy, Disposition, Finding, RowErrorPolicy, Severity, TablePlan,
    TargetTable,
};
use crate::types::{ColumnIndex, TableSchema};

impl TablePlan {
    /// Leaves the table as it is: same name, all columns kept, errors stop the task.
    pub fn unchanged(schema: &TableSchema) -> Self {
        Self {
            disposition: Disposition::Migrate,
            target: TargetTable { namespace: schema.namespace.clone(), name: schema.name.clone() },
            columns: Vec::new(),
            extra_columns: Vec::new(),
            filter_reads: Vec::new(),
            transform_reads: Vec::new(),
            transform_writes: Vec::new(),
            calls: Calls::empty(),
            on_conflict: ConflictPolicy::Fail,
            on_row_error: RowErrorPolicy::Fail,
            state: Vec::new(),
            findings: Vec::new(),
            attributes: Vec::new(),
        }
    }

    /// Leaves the table out.
    pub fn skip(schema: &TableSchema) -> Self {
        Self { disposition: Disposition::Skip, ..Self::unchanged(schema) }
    }
}

impl ColumnMapping {
    /// Changes nothing yet: to be filled in.
    pub fn unchanged() -> Self {
        Self { name: None, target_type: None, default_expr: None, nullable: None, ops: Vec::new() }
    }
}

impl Finding {
    /// A decision worth knowing.
    pub fn note(column: Option<ColumnIndex>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Note, column, message: message.into(), fix: String::new() }
    }

    /// Something that somebody should look at.
    pub fn warning(column: Option<ColumnIndex>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, column, message: message.into(), fix: String::new() }
    }

    /// Names the setting or statement that changes it.
    #[must_use]
    pub fn with_fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = fix.into();
        self
    }
}
