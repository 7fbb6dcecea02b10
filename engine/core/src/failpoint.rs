//! Places between two durable effects, where a test has the process die.
//!
//! In a debug build `ENGINE_FAILPOINT=changes-applied` ends the process, as a power failure would,
//! when it gets to that place, and `ENGINE_FAILPOINT=changes-applied:3` when it gets there for the
//! third time. A release build has none of it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// A place, named after what has just become durable, or is about to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failpoint {
    /// The plan is in the store; the target has not heard of the task.
    PlanStored,
    /// The target has registered the task; it has no tables.
    TaskClaimed,
    /// The source's tables are on record in the target.
    StructureRecorded,
    /// The tables are created.
    TablesCreated,
    /// A chunk's rows and its record are written, not committed.
    ChunkWritten,
    /// They are committed.
    ChunkCommitted,
    /// All chunks are.
    CopyDone,
    /// An index, key or foreign key was built.
    ObjectBuilt,
    /// The records of the lanes are replaced, not committed.
    LanesReplaced,
    /// They are committed; nothing was applied.
    LanesOpened,
    /// A lane has applied changes, and written nothing about it.
    ChangesApplied,
    /// It has written that too, and committed nothing.
    StandingWritten,
    /// It has committed; the ledger has not heard of it.
    ChangesCommitted,
    /// A change of structure is carried out and on record, not committed.
    StructureChanged,
    /// It is committed; the engine goes by the old plan.
    StructureCommitted,
    /// Identity columns are set.
    IdentitiesSet,
    /// Views, routines and events are created.
    ObjectsCreated,
    /// A view, trigger, routine or event was created; that it was is not on record.
    ObjectCreated,
    /// The target keeps its log for the way back; that the task is cut over is not on record.
    WayBackBegun,
    /// A part of a table was compared and is on record.
    PartCompared,
    /// Wrong rows are mended, not committed.
    RowsMended,
    /// Rows that are set aside are in their file; the target does not remember them.
    LettersKept,
    /// It does; nothing is committed without them.
    LettersRecorded,
}

impl Failpoint {
    /// Every one that a run gets to.
    pub const ALL: [Self; 16] = [
        Self::PlanStored,
        Self::TaskClaimed,
        Self::StructureRecorded,
        Self::TablesCreated,
        Self::ChunkWritten,
        Self::ChunkCommitted,
        Self::CopyDone,
        Self::ObjectBuilt,
        Self::LanesReplaced,
        Self::LanesOpened,
        Self::ChangesApplied,
        Self::StandingWritten,
        Self::ChangesCommitted,
        Self::StructureChanged,
        Self::StructureCommitted,
        Self::IdentitiesSet,
    ];

    /// Those that a run gets to whose source has views, triggers, routines or events that the target takes.
    pub const OF_OBJECTS: [Self; 2] = [Self::ObjectsCreated, Self::ObjectCreated];

    /// Those that a check gets to.
    pub const OF_A_CHECK: [Self; 2] = [Self::PartCompared, Self::RowsMended];

    /// Those that a run gets to that sets rows aside.
    pub const OF_DEAD_LETTERS: [Self; 2] = [Self::LettersKept, Self::LettersRecorded];

    /// Its name for `ENGINE_FAILPOINT`.
    pub fn name(self) -> &'static str {
        match self {
            Self::PlanStored => "plan-stored",
            Self::TaskClaimed => "task-claimed",
            Self::StructureRecorded => "structure-recorded",
            Self::TablesCreated => "tables-created",
            Self::ChunkWritten => "chunk-written",
            Self::ChunkCommitted => "chunk-committed",
            Self::CopyDone => "copy-done",
            Self::ObjectBuilt => "object-built",
            Self::LanesReplaced => "lanes-replaced",
            Self::LanesOpened => "lanes-opened",
            Self::ChangesApplied => "changes-applied",
            Self::StandingWritten => "standing-written",
            Self::ChangesCommitted => "changes-committed",
            Self::StructureChanged => "structure-changed",
            Self::StructureCommitted => "structure-committed",
            Self::IdentitiesSet => "identities-set",
            Self::ObjectsCreated => "objects-created",
            Self::ObjectCreated => "object-created",
            Self::WayBackBegun => "way-back-begun",
            Self::PartCompared => "part-compared",
            Self::RowsMended => "rows-mended",
            Self::LettersKept => "letters-kept",
            Self::LettersRecorded => "letters-recorded",
        }
    }

    /// Ends the process if a test asked for it.
    pub fn reach(self) {
        static ASKED: OnceLock<Option<(String, u64)>> = OnceLock::new();
        static REACHED: AtomicU64 = AtomicU64::new(0);
        if !cfg!(debug_assertions) {
            return;
        }
        let asked = ASKED.get_or_init(|| {
            let asked = std::env::var("ENGINE_FAILPOINT").ok()?;
            let (name, time) = asked.split_once(':').unwrap_or((&asked, "1"));
            Some((name.to_owned(), time.parse().unwrap_or(1)))
        });
        if let Some((name, time)) = asked
            && name == self.name()
            && REACHED.fetch_add(1, Ordering::Relaxed) + 1 == *time
        {
            std::process::abort();
        }
    }
}
