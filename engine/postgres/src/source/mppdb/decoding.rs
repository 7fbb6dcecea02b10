//! How the changes of an openGauss are to be decoded, as the source's URL says it.

use engine_core::endpoint::EndpointUrl;
use engine_core::{Error, ErrorKind, Result};

use crate::opengauss::decoding::Style;

/// By which plugin.
const DECODING: &str = "decoding";
/// How many decoders, and how they write, in the words of the server's own options.
const NUMBER: &str = "parallel-decode-num";
const STYLE: &str = "decode-style";
/// What is taken when the URL says nothing.
const USUAL_NUMBER: u8 = 4;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::source) enum Decoding {
    /// By `pgoutput`, as PostgreSQL's are.
    Pgoutput,
    /// By `mppdb_decoding`.
    Mppdb {
        /// How it writes.
        style: Style,
        /// Decoders of the server, in a parallel style.
        decoders: u8,
    },
}

impl Decoding {
    /// What the options of the URL ask for.
    pub(in crate::source) fn from_url(url: &EndpointUrl) -> Result<Self> {
        let option = |name: &str| {
            url.options.iter().rev().find(|(option, _)| option == name).map(|(_, value)| value.as_str())
        };
        let usage = |name: &str, what: &str| {
            Error::new(ErrorKind::Usage, format!("{name} of the source's URL {what}")).at("source", url)
        };
        if url.scheme != "opengauss" {
            return match [DECODING, NUMBER, STYLE].into_iter().find(|name| option(name).is_some()) {
                Some(name) => Err(usage(name, "is for openGauss alone").help("leave it out")),
                None => Ok(Self::Pgoutput),
            };
        }
        let decoding = option(DECODING).unwrap_or("pgoutput");
        if decoding == "mppdb-parallel" {
            let number = option(NUMBER).map(str::parse).transpose().ok();
            let decoders = number.map(|number: Option<u8>| number.unwrap_or(USUAL_NUMBER));
            let decoders = decoders.filter(|number| (2..=20).contains(number)).ok_or_else(|| {
                usage(NUMBER, "is no number of decoders")
                    .help("give one from 2 to 20, or decoding=mppdb-serial")
            })?;
            let style = match option(STYLE).unwrap_or("binary") {
                // Without batches these have no place that may be confirmed.
                "json" => Style::Json { batched: true },
                "text" => Style::Text { batched: true },
                "binary" => Style::Binary,
                other => {
                    return Err(usage(STYLE, &format!("is '{other}', which is not known"))
                        .help("use json, text or binary"));
                }
            };
            return Ok(Self::Mppdb { style, decoders });
        }
        let chosen = match decoding {
            "pgoutput" => Self::Pgoutput,
            "mppdb-serial" => Self::Mppdb { style: Style::Serial, decoders: 1 },
            other => {
                return Err(usage(DECODING, &format!("is '{other}', which is not known"))
                    .help("use pgoutput, mppdb-serial or mppdb-parallel"));
            }
        };
        match [NUMBER, STYLE].into_iter().find(|name| option(name).is_some()) {
            Some(name) => Err(usage(name, "is for decoding=mppdb-parallel alone")
                .help(format!("leave it out, or give {DECODING}=mppdb-parallel too"))),
            None => Ok(chosen),
        }
    }

    /// The server's plugin.
    pub(in crate::source) fn plugin(self) -> &'static str {
        match self {
            Self::Pgoutput => "pgoutput",
            Self::Mppdb { .. } => "mppdb_decoding",
        }
    }

    /// Whether a publication says what is sent.
    pub(in crate::source) fn is_published(self) -> bool {
        self == Self::Pgoutput
    }

    /// Whether several decoders work at it.
    pub(in crate::source) fn is_parallel(self) -> bool {
        matches!(self, Self::Mppdb { style, .. } if style != Style::Serial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(url: &str) -> Result<Decoding> {
        Decoding::from_url(&EndpointUrl::parse(url).expect("a URL"))
    }

    fn mppdb(style: Style, decoders: u8) -> Decoding {
        Decoding::Mppdb { style, decoders }
    }

    #[test]
    fn is_chosen_by_the_url() {
        let of = |options: &str| asked(&format!("opengauss://h/b{options}")).expect("known options");
        assert_eq!(of(""), Decoding::Pgoutput);
        assert_eq!(of("?sslmode=disable&decoding=pgoutput"), Decoding::Pgoutput);
        assert_eq!(of("?decoding=mppdb-serial"), mppdb(Style::Serial, 1));
        assert_eq!(of("?decoding=mppdb-parallel"), mppdb(Style::Binary, 4));
        let json = of("?decoding=mppdb-parallel&decode-style=json&parallel-decode-num=20");
        assert_eq!(json, mppdb(Style::Json { batched: true }, 20));
        assert!(json.is_parallel() && !mppdb(Style::Serial, 1).is_parallel());
    }

    #[test]
    fn what_is_not_known_or_has_no_place_is_refused_by_name() {
        for (url, word) in [
            ("opengauss://h/b?decoding=mppdb", "mppdb-serial"),
            ("opengauss://h/b?decoding=mppdb-parallel&parallel-decode-num=1", "2 to 20"),
            ("opengauss://h/b?decoding=mppdb-parallel&parallel-decode-num=21", "2 to 20"),
            ("opengauss://h/b?decoding=mppdb-parallel&parallel-decode-num=many", "2 to 20"),
            ("opengauss://h/b?decoding=mppdb-parallel&decode-style=b", "json, text or binary"),
            ("opengauss://h/b?decoding=mppdb-serial&decode-style=json", "mppdb-parallel"),
            ("opengauss://h/b?parallel-decode-num=4", "mppdb-parallel"),
            ("postgres://h/b?decoding=pgoutput", "openGauss"),
        ] {
            let error = asked(url).expect_err(url);
            assert_eq!(error.kind(), ErrorKind::Usage, "{url}");
            let said = format!("{} {}", error.what(), error.remedy().unwrap_or_default());
            assert!(said.contains(word), "{url}: {said}");
        }
    }
}
