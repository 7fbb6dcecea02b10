//! Builds the guests.

/// Builds every plugin and example into `target/guests`.
pub(crate) fn build_all() -> anyhow::Result<()> {
    anyhow::bail!("guests cannot be built yet")
}
