//! Logging in, whichever way the server asks for the password.

use anyhow::{Result, anyhow, ensure};
use engine_core::ErrorKind;
use engine_core::endpoint::EndpointUrl;
use engine_core::target::Target as _;
use engine_postgres::PostgresTarget;
use test_kit::opengauss::{Account, Double, Method, Settings, Stored, url};

use super::OpenGauss;

async fn connect(url: &str) -> engine_core::Result<PostgresTarget> {
    PostgresTarget::connect(&EndpointUrl::parse(url)?).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_recognised_by_its_default_way_of_logging_in() -> Result<()> {
    let server = OpenGauss::any()?;
    let target = connect(&server.url).await.map_err(|error| anyhow!("{error}"))?;
    ensure!(target.endpoint().engine == "opengauss", "{:?}", target.endpoint());
    ensure!(!target.endpoint().version.is_empty(), "its version is told");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_told_as_one() -> Result<()> {
    let server = OpenGauss::any()?;
    let error = connect(&server.with_password("Wrong@123")?).await.err();
    let error = error.ok_or_else(|| anyhow!("a wrong password opened a session"))?;
    ensure!(error.kind() == ErrorKind::Connection, "{error}");
    ensure!(error.to_string().contains("refused the password"), "{error}");
    ensure!(!error.to_string().contains("Wrong@123"), "it is not repeated");
    Ok(())
}

/// Every way in which a password can be stored, and every method that opens a session with it.
#[tokio::test(flavor = "multi_thread")]
async fn every_way_of_storing_a_password() -> Result<()> {
    for (stored, method, iterations) in [
        (Stored::Sha256, Method::Sha256, 10_000),
        (Stored::Sha256, Method::Sha256, 2048),
        (Stored::Sha256, Method::Md5, 10_000),
        (Stored::Combined, Method::Sha256, 10_000),
        (Stored::Combined, Method::Md5, 10_000),
        (Stored::Md5, Method::Sha256, 10_000),
        (Stored::Md5, Method::Md5, 10_000),
        (Stored::Sm3, Method::Sm3, 10_000),
        (Stored::Sha256, Method::Trust, 10_000),
    ] {
        let account =
            Account { user: "Ann".to_owned(), password: "Zwölf§Boxer".to_owned(), stored, iterations };
        let settings = Settings { account, method, ..Settings::default() };
        let double = Double::start(test_kit::postgres()?, settings)?;
        let target = connect(&double.url_of("postgres"))
            .await
            .map_err(|error| anyhow!("stored as {stored:?}, asked by {method:?}: {error}"))?;
        ensure!(target.endpoint().version == "7.0.0-RC2", "{:?}", target.endpoint());
    }
    Ok(())
}

/// What no driver can log in to: the password is stored otherwise than the method asks for.
#[tokio::test(flavor = "multi_thread")]
async fn a_method_that_does_not_go_with_the_password_is_refused() -> Result<()> {
    for (stored, method) in
        [(Stored::Sm3, Method::Sha256), (Stored::Sm3, Method::Md5), (Stored::Sha256, Method::Sm3)]
    {
        let account = Account { stored, ..Settings::default().account };
        let settings = Settings { account, method, ..Settings::default() };
        let double = Double::start(test_kit::postgres()?, settings)?;
        let error = connect(&double.url_of("postgres")).await.err();
        let error = error.ok_or_else(|| anyhow!("{stored:?} by {method:?} opened a session"))?;
        ensure!(error.to_string().contains("refused the password"), "{error}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_server_is_not_taken_for_one() -> Result<()> {
    let url = test_kit::postgres()?.url().replace("postgres://", "opengauss://");
    let error = connect(&url).await.err().ok_or_else(|| anyhow!("it was taken for openGauss"))?;
    ensure!(error.to_string().contains("postgres://"), "the way out is named: {error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_not_there_is_told() -> Result<()> {
    let server = OpenGauss::any()?;
    let error = connect(&url::with_database(&server.url, "no_such_database")).await.err();
    let error = error.ok_or_else(|| anyhow!("a database that isn't there was opened"))?;
    ensure!(error.to_string().contains("no such database"), "{error}");
    Ok(())
}
