//! What is said of an openGauss target before anything is written to it.

use anyhow::{Context as _, Result, ensure};
use engine_core::endpoint::EndpointUrl;
use engine_core::finding::Severity;
use engine_core::target::Target as _;
use engine_postgres::PostgresTarget;
use test_kit::opengauss::{Compatibility, Double, Settings};

async fn target(compatibility: Compatibility) -> Result<(Double, PostgresTarget)> {
    let settings = Settings { compatibility, ..Settings::default() };
    let double = Double::start(test_kit::postgres()?, settings)?;
    let target = PostgresTarget::connect(&EndpointUrl::parse(&double.url_of("postgres"))?).await?;
    Ok((double, target))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_says_what_the_database_is_compatible_with() -> Result<()> {
    for (compatibility, severity, words) in [
        (Compatibility::A, Severity::Warning, "an empty string is NULL"),
        (Compatibility::B, Severity::Note, "without dolphin"),
        (Compatibility::Pg, Severity::Pass, "count characters"),
    ] {
        let (_double, target) = target(compatibility).await?;
        let findings = target.check("task", &[], true).await?;
        let about = |subject: &str| {
            let found = findings.iter().find(|finding| finding.subject == subject);
            found.with_context(|| format!("nothing is said about {subject}"))
        };
        let mode = about("target sql_compatibility")?;
        ensure!(mode.severity == severity && mode.message.contains(words), "{mode}");
        let version = about("target version")?;
        ensure!(version.severity == Severity::Pass && version.message.contains("7.0.0-RC2"), "{version}");
    }
    Ok(())
}
