//! What a refusal has to look like: one error with the right words and exit code, and a target left alone.

use anyhow::{Result, ensure};
use e2e::{Run, Scene};

/// Runs it to its end and fails unless it ends with this exit code and exactly one error, which holds every word.
pub(crate) async fn refused(run: Run, code: i32, words: &[&str]) -> Result<()> {
    let outcome = run.finish().await?;
    let errors = outcome.events.iter().filter(|event| event["event"] == "error").count();
    let error = outcome.failed(code)?;
    ensure!(errors == 1, "there are {errors} errors, the last one {error}");
    for word in words {
        ensure!(error.contains(word), "the error doesn't say '{word}': {error}");
    }
    Ok(())
}

/// Fails if anything was created in the target.
pub(crate) async fn require_untouched(scene: &Scene<'_>) -> Result<()> {
    let made = scene
        .value(
            "SELECT COALESCE(string_agg(nspname, ', '), 'nothing') FROM pg_namespace \
             WHERE nspname NOT LIKE 'pg\\_%' AND nspname NOT IN ('information_schema', 'public')",
        )
        .await?;
    ensure!(made == "nothing", "schemas were created in the target: {made}");
    Ok(())
}
