//! openGauss: against the server that `OPENGAUSS_URL` names, else against a double.
//!
//! The double ([`test_kit::opengauss`]) is no openGauss. What only a double can be told to do is tested against it in
//! either case.

mod check;
mod decoding;
mod empty;
mod follow;
mod login;
mod mppdb;
mod place;
mod planning;
mod reverse;
mod scene;
mod source;
mod writing;

use anyhow::{Context as _, Result};
use test_kit::opengauss::{Double, Settings, url};

/// An openGauss server, or what stands in for one.
struct OpenGauss {
    url: String,
    _double: Option<Double>,
}

impl OpenGauss {
    /// The server of `OPENGAUSS_URL`, else a double with default settings.
    fn any() -> Result<Self> {
        match url::given() {
            Some(url) => Ok(Self { url, _double: None }),
            None => Self::double(Settings::default()),
        }
    }

    /// A double with these settings, whatever `OPENGAUSS_URL` says.
    fn double(settings: Settings) -> Result<Self> {
        let double = Double::start(test_kit::postgres()?, settings)?;
        Ok(Self { url: double.url_of("postgres"), _double: Some(double) })
    }

    /// The URL with another password.
    fn with_password(&self, password: &str) -> Result<String> {
        let (account, place) = self.url.rsplit_once('@').context("a URL with an account")?;
        let (scheme, account) = account.split_once("://").context("a URL with a scheme")?;
        let user = account.split_once(':').map_or(account, |(user, _)| user);
        Ok(format!("{scheme}://{user}:{password}@{place}"))
    }
}
