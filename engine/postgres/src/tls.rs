//! TLS towards PostgreSQL, in libpq's words: `sslmode` and `sslrootcert`.

use engine_core::endpoint::EndpointUrl;
use engine_core::{Error, ErrorKind, Result};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::sync::Arc;
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

/// How far the server's certificate is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// Any certificate: encryption alone.
    Anybody,
    /// One that the roots vouch for, whatever name it bears.
    Issuer,
    /// One that the roots vouch for and that names the host.
    Name,
}

/// Reads `sslmode` and `sslrootcert` of the URL.
pub(crate) fn from_url(url: &EndpointUrl) -> Result<(SslMode, MakeRustlsConnect)> {
    let option = |name: &str| {
        url.options.iter().rev().find(|(option, _)| option == name).map(|(_, value)| value.as_str())
    };
    let root_file = option("sslrootcert");
    let (mode, trust) = match option("sslmode").unwrap_or("prefer") {
        "disable" => (SslMode::Disable, Trust::Anybody),
        "allow" | "prefer" => (SslMode::Prefer, Trust::Anybody),
        // As libpq does: with a root certificate at hand, it is used.
        "require" if root_file.is_some() => (SslMode::Require, Trust::Issuer),
        "require" => (SslMode::Require, Trust::Anybody),
        "verify-ca" => (SslMode::Require, Trust::Issuer),
        "verify-full" => (SslMode::Require, Trust::Name),
        other => {
            return Err(Error::new(ErrorKind::Usage, format!("sslmode '{other}' is not known"))
                .help("use disable, prefer, require, verify-ca or verify-full"));
        }
    };
    Ok((mode, MakeRustlsConnect::new(client_config(trust, root_file)?)))
}

fn client_config(trust: Trust, root_file: Option<&str>) -> Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let internal =
        |error: &dyn std::error::Error| Error::new(ErrorKind::Internal, "TLS can't be set up").because(error);
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| internal(&error))?;
    if trust == Trust::Name {
        return Ok(builder.with_root_certificates(roots(root_file)?).with_no_client_auth());
    }
    let issuer = match trust {
        Trust::Issuer => Some(
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots(root_file)?), Arc::clone(&provider))
                .build()
                .map_err(|error| internal(&error))?,
        ),
        Trust::Anybody | Trust::Name => None,
    };
    let verifier = Arc::new(Unnamed { issuer, provider });
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

fn roots(file: Option<&str>) -> Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    let Some(file) = file else {
        store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        return Ok(store);
    };
    let bad = |why: &dyn std::fmt::Display| {
        Error::new(ErrorKind::Usage, "the root certificate can't be used")
            .at("sslrootcert", file)
            .because(why)
            .help("give a file with PEM certificates")
    };
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| bad(&error))? {
        store.add(certificate.map_err(|error| bad(&error))?).map_err(|error| bad(&error))?;
    }
    if store.is_empty() { Err(bad(&"it holds no certificate")) } else { Ok(store) }
}

/// Accepts a certificate whatever name it bears; with `issuer`, only one that the roots vouch for.
#[derive(Debug)]
struct Unnamed {
    issuer: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Unnamed {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(issuer) = &self.issuer else { return Ok(ServerCertVerified::assertion()) };
        // The name is checked last, so that a wrong name means that all else was right.
        match issuer.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(query: &str) -> Result<SslMode> {
        let url = EndpointUrl::parse(&format!("postgres://a@h/b?{query}")).expect("a good URL");
        from_url(&url).map(|(mode, _)| mode)
    }

    #[test]
    fn reads_the_modes() {
        assert_eq!(mode("").expect("the default"), SslMode::Prefer);
        assert_eq!(mode("sslmode=disable").expect("a mode"), SslMode::Disable);
        assert_eq!(mode("sslmode=verify-full").expect("a mode"), SslMode::Require);
        let error = mode("sslmode=no").expect_err("an unknown mode");
        assert_eq!(error.kind(), ErrorKind::Usage);
        let error = mode("sslmode=verify-ca&sslrootcert=/nowhere.pem").expect_err("no such file");
        assert!(error.to_string().contains("/nowhere.pem"));
    }
}
