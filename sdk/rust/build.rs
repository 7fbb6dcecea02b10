//! Encodes, per world of the contract, the section that tells `wit-component` what a guest exports.
//!
//! The bindings are generated once, for the widest world; a guest of a smaller world exports fewer
//! of their interfaces and carries the section of its own world.

use std::path::Path;
use std::{env, fs};

use wit_component::StringEncoding;
use wit_parser::Resolve;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=wit");
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir("wit")?;
    let out = env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?;
    for world in ["planner", "object-planner", "transformer", "plugin"] {
        let id = resolve.select_world(&[package], Some(world))?;
        let section = wit_component::metadata::encode(&resolve, id, StringEncoding::UTF8, None, false)?;
        fs::write(Path::new(&out).join(world), section)?;
    }
    Ok(())
}
