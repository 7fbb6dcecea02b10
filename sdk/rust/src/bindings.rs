//! Generated from `wit/`, for the widest world.

wit_bindgen::generate!({
    path: "wit",
    world: "plugin",
    pub_export_macro: true,
    generate_all,
    additional_derives: [PartialEq],
});
