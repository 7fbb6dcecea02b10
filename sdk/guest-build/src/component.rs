//! Turning a core module into a component.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use wit_component::{ComponentEncoder, DecodedWasm};

use crate::package::Package;

/// Wraps the package's module and writes the component where [`Package::component`] says. An
/// unchanged component is not written again, so that whoever watches the file sees real changes.
pub(crate) fn encode(package: &Package) -> Result<PathBuf> {
    let module_path = package.module();
    let module =
        fs::read(&module_path).with_context(|| format!("{} was not built", module_path.display()))?;
    let component = ComponentEncoder::default()
        .validate(true)
        .module(&module)
        .and_then(ComponentEncoder::encode)
        .with_context(|| {
            format!(
                "{} is no plugin: does it call migration_sdk::export_plugin!, and nothing of an operating system?",
                package.name
            )
        })?;
    ensure!(
        exports_a_plan(&component)?,
        "{} exports no plugin: it has to call migration_sdk::export_plugin!",
        package.name
    );
    let path = package.component();
    if fs::read(&path).is_ok_and(|existing| existing == component) {
        return Ok(path);
    }
    let folder = path.parent().context("a component's path has a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("{} can't be made", folder.display()))?;
    // Renamed into place, so that a reader never sees half a component.
    let unfinished = path.with_extension(format!("{}.tmp", std::process::id()));
    fs::write(&unfinished, &component)
        .and_then(|()| fs::rename(&unfinished, &path))
        .with_context(|| format!("{} can't be written", path.display()))?;
    Ok(path)
}

/// Whether the component exports the planning interface, which no plugin is without. A module that
/// says nothing of its world becomes an empty component, and not an error.
fn exports_a_plan(component: &[u8]) -> Result<bool> {
    let DecodedWasm::Component(resolve, world) = wit_component::decode(component)? else { return Ok(false) };
    let world = resolve.worlds.get(world).context("a component has a world")?;
    Ok(world.exports.keys().any(|key| resolve.name_world_key(key).starts_with("migration:plugin/planning@")))
}
