//! Asking somebody at a terminal.

use std::io::{self, IsTerminal};
use std::sync::Arc;

use async_trait::async_trait;
use engine_core::finding::Finding;
use engine_core::{Error, ErrorKind, Result};
use engine_pipeline::options::{Accepted, Consent};

use crate::render::Screen;
use crate::render::units::plural;

/// Who decides about warnings: the option, somebody at the terminal, or nobody, which is a no.
pub(crate) fn consent(accepted: bool, json: bool, screen: &Screen) -> Arc<dyn Consent> {
    if accepted {
        Arc::new(Accepted)
    } else if !json && is_conversation() {
        Arc::new(Asked(screen.clone()))
    } else {
        Arc::new(Refused)
    }
}

/// Whether somebody can read a question and answer it.
pub(crate) fn is_conversation() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks a question on standard error and reads a line; anything but yes is a no.
pub(crate) async fn ask(screen: &Screen, question: String) -> Result<bool> {
    // Not while bars are held off the screen: others want to write to it while nobody answers.
    screen.line(&format!("{question} [y/N]"));
    let reading = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        io::stdin().read_line(&mut line)?;
        Ok(matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
    });
    let answered: io::Result<bool> = reading
        .await
        .map_err(|error| Error::new(ErrorKind::Internal, "the question went unanswered").caused_by(error))?;
    answered.map_err(|error| Error::new(ErrorKind::Usage, "the answer can't be read").caused_by(error))
}

struct Asked(Screen);

#[async_trait]
impl Consent for Asked {
    async fn to_begin(&self, warnings: &[Finding]) -> Result<bool> {
        let mut subjects: Vec<&str> = warnings.iter().map(|warning| warning.subject.as_str()).collect();
        subjects.dedup();
        let number = plural(warnings.len() as u64, "warning", "warnings");
        ask(&self.0, format!("Begin in spite of {number} ({})?", subjects.join(", "))).await
    }
}

struct Refused;

#[async_trait]
impl Consent for Refused {
    async fn to_begin(&self, _warnings: &[Finding]) -> Result<bool> {
        Ok(false)
    }
}
