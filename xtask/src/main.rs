//! (crate docs)
fn main() {}
