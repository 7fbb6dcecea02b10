//! Generated from `wit/`, for the widest world.

#![expect(
    clippy::same_length_and_capacity,
    reason = "generated: lists cross the boundary at their exact size"
)]

wit_bindgen::generate!({
    path: "wit",
    world: "complete",
    pub_export_macro: true,
    generate_all,
    additional_derives: [PartialEq],
});
