//! What `wit-component` has to know of each world; see `build.rs`.

/// World `planner`.
pub const PLANNER: &[u8; include_bytes!(concat!(env!("OUT_DIR"), "/planner")).len()] =
    include_bytes!(concat!(env!("OUT_DIR"), "/planner"));
/// World `transformer`.
pub const TRANSFORMER: &[u8; include_bytes!(concat!(env!("OUT_DIR"), "/transformer")).len()] =
    include_bytes!(concat!(env!("OUT_DIR"), "/transformer"));
/// World `plugin`.
pub const PLUGIN: &[u8; include_bytes!(concat!(env!("OUT_DIR"), "/plugin")).len()] =
    include_bytes!(concat!(env!("OUT_DIR"), "/plugin"));
/// World `object-planner`.
pub const OBJECT_PLANNER: &[u8; include_bytes!(concat!(env!("OUT_DIR"), "/object-planner")).len()] =
    include_bytes!(concat!(env!("OUT_DIR"), "/object-planner"));
