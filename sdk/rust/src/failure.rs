//! Why one row can't be carried over.

/// One bad row: the table's row-error policy decides whether the task stops or sets it aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowFailure {
    /// Stable and machine-readable, e.g. `bad-decimal`.
    pub code: String,
    /// For the user. Without the row's values: those belong in the dead-letter file alone.
    pub message: String,
    /// The column at fault, by its ordinal in the table's schema.
    pub column: Option<u32>,
}

impl RowFailure {
    /// A failure of the row as a whole.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), column: None }
    }

    /// Names the column at fault.
    #[must_use]
    pub fn at_column(mut self, column: u32) -> Self {
        self.column = Some(column);
        self
    }
}

/// Where no single row is being worked on, what is wrong is wrong with the whole call.
impl From<RowFailure> for crate::PluginError {
    fn from(failure: RowFailure) -> Self {
        Self::Fatal(failure.message)
    }
}
