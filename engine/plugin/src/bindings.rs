//! The host's view of `wit/`. The only place with generated code.
//!
//! [`contract`] is generated and owns what it passes, which suits nested and rare things such as
//! schemas and plans. [`rows`] spells the few records of the hot path once more, borrowing, so that
//! a column enters a plugin by one copy; wasmtime compares them with the component when a function
//! is looked up.
#![allow(unsafe_code, reason = "the component-model derives and bindings implement unsafe traits")]

/// Every interface, owned values.
#[allow(
    unreachable_pub,
    missing_docs,
    unused_variables,
    dead_code,
    clippy::pedantic,
    reason = "generated code"
)]
pub(crate) mod contract {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "migration:plugin/complete",
    });

    pub(crate) use exports::migration::plugin::{conflicts, ddl, lifecycle, objects, planning, transform};
    pub(crate) use migration::plugin::{logging, types};
}

/// The hot path, borrowed values: what `filter` and `transform-batch` are given.
pub(crate) mod rows {
    use super::contract::transform::Origin;
    use super::contract::types::Scalar;
    use wasmtime::component::{ComponentType, Lower};

    /// `types.varlen`
    #[derive(ComponentType, Lower, Clone, Copy)]
    #[component(record)]
    pub(crate) struct Varlen<'a> {
        pub(crate) offsets: &'a [u32],
        pub(crate) data: &'a [u8],
    }

    /// `types.vector`. The last two go from plugin to host only, but are part of the type.
    #[derive(ComponentType, Lower)]
    #[component(variant)]
    #[expect(dead_code, reason = "the type has all cases, the host sends five")]
    pub(crate) enum Vector<'a> {
        #[component(name = "bits")]
        Bits(&'a [u8]),
        #[component(name = "s64s")]
        S64s(&'a [i64]),
        #[component(name = "u64s")]
        U64s(&'a [u64]),
        #[component(name = "f64s")]
        F64s(&'a [f64]),
        #[component(name = "varlen")]
        Varlen(Varlen<'a>),
        #[component(name = "constant")]
        Constant(Scalar),
        #[component(name = "nulls")]
        Nulls,
    }

    /// `types.column`
    #[derive(ComponentType, Lower)]
    #[component(record)]
    pub(crate) struct Column<'a> {
        pub(crate) values: Vector<'a>,
        pub(crate) validity: &'a [u8],
    }

    /// `transform.batch`
    #[derive(ComponentType, Lower)]
    #[component(record)]
    pub(crate) struct Batch<'a> {
        pub(crate) table: u32,
        pub(crate) rows: u32,
        pub(crate) origin: Origin,
        pub(crate) columns: &'a [Column<'a>],
    }
}
