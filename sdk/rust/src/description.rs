//! Starting point for a description.

use crate::Description;

impl Description {
    /// A plugin for any engines, whose configuration has no schema.
    pub fn new(name: &str, version: &str, summary: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: version.to_owned(),
            summary: summary.to_owned(),
            config_schema: String::new(),
            sources: Vec::new(),
            targets: Vec::new(),
            attributes: Vec::new(),
        }
    }
}
