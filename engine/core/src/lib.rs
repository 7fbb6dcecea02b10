//! The vocabulary that every part of the engine shares: schemas, logical types, columnar batches,
//! changes, positions, findings, errors, and the two traits a database connector implements.
//!
//! Nothing here does I/O. Connectors ([`source::Source`], [`target::Target`]) and the pipeline meet
//! only in these types, so neither needs to know the other.

pub mod batch;
pub mod bitmap;
pub mod change;
pub mod column;
pub mod cut_over;
pub mod digest;
pub mod endpoint;
pub mod error;
pub mod examine;
pub mod failpoint;
pub mod finding;
pub mod gathering;
pub mod json_form;
pub mod logical;
pub mod message;
pub mod object;
pub mod plan;
pub mod position;
pub mod ranges;
pub mod schema;
pub mod selection;
pub mod shadow;
pub mod source;
pub mod structure;
pub mod survey;
pub mod target;
pub mod temporal;
pub mod transaction;

pub use error::{Error, ErrorKind, Result};
