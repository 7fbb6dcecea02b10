//! PostgreSQL 12–18 as a target: tables are created from the plan, filled by binary `COPY`, and
//! kept up by set-wise deletes and upserts.
//!
//! # From a batch to rows
//! A [`TableLayout`](layout) fixes, once per table, which [`Encoder`](cell) writes which column: it
//! follows from the logical type of the values and the type of the target column. `copy` runs the
//! encoders row by row into one buffer; `array` runs the same encoders column by column into array
//! parameters for `applier`. So a value has one binary form, whichever way it comes.
//!
//! A value that the column can't hold exactly is an error that names table, key, column and value:
//! a number too large, digits or microseconds the column has no room for, a date no calendar has,
//! U+0000 in text. The server would round some of these in silence.
//!
//! # What the target remembers
//! Schema `_migration` holds the truth about each task, and goes when no task goes on any more
//! (`DROP SCHEMA _migration CASCADE`):
//!
//! | table | one row per | holds |
//! |---|---|---|
//! | `format` | (one) | version of these tables |
//! | `task` | task | plan digest, start position, `epoch`, `session` |
//! | `lane` | connection that applies changes | where it stands, `epoch`, `session` |
//! | `chunk` | finished chunk | range, rows, watermarks |
//! | `dead_letter` | row set aside | table, key, position and reason |
//! | `owned_table` | table created | the task that created it |
//! | `source_table` | source table | its structure at the position |
//!
//! Whoever claims a task raises its epoch; commits of an engine with an older one fail. Every commit
//! of rows holds its record of them: a chunk's row, or where the lane stands.
//!
//! # Changes of structure
//! [`alter`](alter) renders what turns the tables of before into those of after, `structure` runs it in
//! the transaction that moves the position.
//!
//! # Reading back
//! [`RowForm`](row_form) makes what would be written and what is read comparable byte for byte, the
//! `examiner` reads in snapshots that know where they stand, and the `repairer` mends single rows while
//! it holds the lanes still.
//!
//! # openGauss
//! [`opengauss`] speaks what is openGauss's own: its ways of logging in, its slots and what
//! `mppdb_decoding` sends. It is a target as PostgreSQL is; [`dialect`](dialect) has what differs in SQL. All of it is tested against a double of the protocol (`test_kit::opengauss`), and runs
//! unchanged against a real server that `OPENGAUSS_URL` names.

mod alter;
mod applier;
mod apply_sql;
mod array;
mod careful;
mod cell;
mod check;
mod connect;
mod control;
mod copy;
mod cut_over;
mod ddl;
mod dead_letter;
mod dialect;
mod exact;
mod examiner;
mod existing;
mod failure;
mod family;
mod identifier;
mod index;
mod inspect;
mod key_reader;
mod lanes;
mod layout;
mod loader;
mod numeric;
pub mod opengauss;
mod pg_type;
mod rename;
mod repairer;
mod replication;
mod row_form;
mod shadow;
mod source;
mod structure;
mod survey;
mod target;
mod tls;
mod value_text;

/// Entry points of the decoders for `fuzz/`; no part of the crate's interface.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::replication::fuzzing::*;
    pub use crate::source::fuzzing::*;
}

pub use source::PostgresSource;
pub use target::PostgresTarget;
