//! The login: from an open socket to a session that takes commands.

use engine_core::{Error, ErrorKind, Result};
use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::frontend;
use std::collections::HashMap;

use super::channel::{Channel, Frame};
use super::fields::{Fields, Malformed};
use super::refusal;
use crate::family::Family;
use crate::opengauss::login as opengauss;

/// Who logs in, and what the session is to be.
pub(crate) struct Login<'a> {
    /// Account.
    pub(crate) user: &'a str,
    /// Its password, when there is one.
    pub(crate) password: Option<&'a str>,
    /// Database, kind of session, and settings that hold from its beginning on.
    pub(crate) parameters: &'a [(&'a str, &'a str)],
    /// Whose protocol it is.
    pub(crate) family: Family,
}

/// What names a session to its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct BackendKey {
    /// Process of the server.
    pub(crate) process: u32,
    /// What a request to cancel has to know besides.
    pub(crate) secret: u32,
}

/// A session that takes commands.
pub(crate) struct Session {
    pub(crate) channel: Channel,
    /// Settings that the server tells of by itself, `server_version` among them.
    pub(crate) parameters: HashMap<String, String>,
    pub(crate) backend: BackendKey,
}

/// Logs in on a connection on which nothing was said yet.
pub(crate) async fn startup(mut channel: Channel, login: &Login<'_>) -> Result<Session> {
    let parameters = std::iter::once(("user", login.user)).chain(login.parameters.iter().copied());
    match login.family {
        Family::PostgreSql => {
            channel.queue(|output| frontend::startup_message(parameters, output))?;
            channel.flush().await?;
            authenticate(&mut channel, login).await?;
        }
        Family::OpenGauss => {
            let message = opengauss::startup(parameters)?;
            send(&mut channel, |output| {
                output.extend_from_slice(&message);
                Ok(())
            })
            .await?;
            authenticate_opengauss(&mut channel, login).await?;
        }
    }
    let mut parameters = HashMap::new();
    let mut backend = BackendKey::default();
    loop {
        let frame = receive(&mut channel).await?;
        let mut fields = Fields::new(&frame.body);
        match frame.tag {
            b'S' => {
                let (name, value) = parameter(&frame)?;
                parameters.insert(name, value);
            }
            b'K' => backend = BackendKey { process: fields.u32()?, secret: fields.u32()? },
            b'Z' => return Ok(Session { channel, parameters, backend }),
            _ => return Err(Malformed("it has no place in a login").into()),
        }
    }
}

/// A setting that the server tells of.
pub(crate) fn parameter(frame: &Frame) -> Result<(String, String), Malformed> {
    let mut fields = Fields::new(&frame.body);
    Ok((fields.text()?.to_owned(), String::from_utf8_lossy(fields.terminated()?).into_owned()))
}

/// Answers what the server asks for until it is content.
async fn authenticate(channel: &mut Channel, login: &Login<'_>) -> Result<()> {
    loop {
        let request = authentication(channel).await?;
        let mut fields = Fields::new(&request.body);
        // Codes of `AuthenticationRequest`. openGauss has others, and another meaning for 10.
        match fields.u32()? {
            0 => return Ok(()),
            3 => {
                let password = password(login)?;
                send(channel, |output| frontend::password_message(password.as_bytes(), output)).await?;
            }
            5 => {
                let salt = <[u8; 4]>::try_from(fields.take(4)?).unwrap_or_default();
                let hash = md5_hash(login.user.as_bytes(), password(login)?.as_bytes(), salt);
                send(channel, |output| frontend::password_message(hash.as_bytes(), output)).await?;
            }
            10 => scram(channel, fields, login).await?,
            unknown => return Err(unknown_method(&method_name(unknown))),
        }
    }
}

/// The same by openGauss's codes.
async fn authenticate_opengauss(channel: &mut Channel, login: &Login<'_>) -> Result<()> {
    loop {
        let request = authentication(channel).await?;
        let mut fields = Fields::new(&request.body);
        let code = fields.i32()?;
        if code == opengauss::CONSENT {
            return Ok(());
        }
        let answer = opengauss::answer(code, fields.rest(), login.user, password(login)?).await?;
        send(channel, |output| frontend::password_message(answer.as_bytes(), output)).await?;
    }
}

/// SCRAM-SHA-256, from the list of mechanisms to the server's proof that it knows the password too.
async fn scram(channel: &mut Channel, mut offered: Fields<'_>, login: &Login<'_>) -> Result<()> {
    let mut mechanisms = Vec::new();
    loop {
        match offered.text()? {
            "" => break,
            mechanism => mechanisms.push(mechanism),
        }
    }
    if !mechanisms.contains(&SCRAM_SHA_256) {
        return Err(unknown_method(&mechanisms.join(", ")));
    }
    // What binds the login to the certificate isn't to be had of the TLS library; the server is told so.
    let mut scram = ScramSha256::new(password(login)?.as_bytes(), ChannelBinding::unsupported());
    send(channel, |output| frontend::sasl_initial_response(SCRAM_SHA_256, scram.message(), output)).await?;
    let challenge = sasl(channel, 11).await?;
    scram.update(Fields::new(&challenge.body).skip_code()?).map_err(unproven)?;
    send(channel, |output| frontend::sasl_response(scram.message(), output)).await?;
    let outcome = sasl(channel, 12).await?;
    scram.finish(Fields::new(&outcome.body).skip_code()?).map_err(unproven)
}

/// The next step of an exchange.
async fn sasl(channel: &mut Channel, code: u32) -> Result<Frame> {
    let request = authentication(channel).await?;
    if Fields::new(&request.body).u32()? == code {
        Ok(request)
    } else {
        Err(Malformed("the exchange of a login takes an unknown turn").into())
    }
}

impl<'a> Fields<'a> {
    /// What follows the code of an `AuthenticationRequest`.
    fn skip_code(mut self) -> Result<&'a [u8], Malformed> {
        self.u32()?;
        Ok(self.rest())
    }
}

async fn authentication(channel: &mut Channel) -> Result<Frame> {
    let frame = receive(channel).await?;
    match frame.tag {
        b'R' => Ok(frame),
        _ => Err(Malformed("it has no place in a login").into()),
    }
}

/// The next message that isn't a notice; a refusal is an error.
async fn receive(channel: &mut Channel) -> Result<Frame> {
    loop {
        let frame = channel.receive().await?;
        match frame.tag {
            b'E' => return Err(refusal::of_login(&frame.body)),
            b'N' => tracing::debug!(notice = refusal::notice(&frame.body), "the source says at the login"),
            _ => return Ok(frame),
        }
    }
}

async fn send(
    channel: &mut Channel,
    encode: impl FnOnce(&mut bytes::BytesMut) -> std::io::Result<()>,
) -> Result<()> {
    channel.queue(encode)?;
    channel.flush().await
}

fn password<'a>(login: &Login<'a>) -> Result<&'a str> {
    login.password.ok_or_else(|| {
        Error::new(ErrorKind::Connection, "the source asks for a password")
            .help("put one into the source URL, or into ${ENV} of a task file")
    })
}

fn unproven(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Connection, "the source can't prove that it knows the password").caused_by(error)
}

fn unknown_method(name: &str) -> Error {
    Error::new(ErrorKind::Connection, "the source asks for a kind of login that the engine doesn't know")
        .because(format!("it wants {name}"))
        .help("let pg_hba.conf ask this account for scram-sha-256, md5, or a password over TLS")
}

fn method_name(code: u32) -> String {
    match code {
        2 => "Kerberos 5".to_owned(),
        6 => "SCM credentials".to_owned(),
        7 => "GSSAPI".to_owned(),
        9 => "SSPI".to_owned(),
        other => format!("method {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_server::TestServer;
    use super::*;

    const LOGIN: Login<'static> = Login {
        user: "ann",
        password: Some("secret"),
        parameters: &[("replication", "database")],
        family: Family::PostgreSql,
    };

    async fn log_in(login: Login<'_>, script: impl AsyncFnOnce(&mut TestServer)) -> Result<Session> {
        let (mut server, channel) = TestServer::new();
        let (session, ()) = tokio::join!(startup(channel, &login), async {
            assert_eq!(
                server.startup().await,
                [("user", "ann"), ("replication", "database")]
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
            );
            script(&mut server).await;
        });
        session
    }

    async fn welcome(server: &mut TestServer) {
        server.send(b'R', &0u32.to_be_bytes()).await;
        server.send(b'S', b"server_version\x0018.6\0").await;
        server.send(b'N', b"Mwelcome\0\0").await;
        server.send(b'K', &[0, 0, 0, 7, 0, 0, 0, 9]).await;
        server.send(b'Z', b"I").await;
    }

    #[tokio::test]
    async fn trusted() {
        let session = log_in(LOGIN, async |server| welcome(server).await).await.expect("a session");
        assert_eq!(session.backend, BackendKey { process: 7, secret: 9 });
        assert_eq!(session.parameters["server_version"], "18.6");
    }

    #[tokio::test]
    async fn with_a_password_in_the_clear_or_hashed() {
        let session = log_in(LOGIN, async |server| {
            server.send(b'R', &3u32.to_be_bytes()).await;
            assert_eq!(server.receive().await, (b'p', b"secret\0".to_vec()));
            welcome(server).await;
        });
        session.await.expect("a session");
        let session = log_in(LOGIN, async |server| {
            server.send(b'R', &[0, 0, 0, 5, 1, 2, 3, 4]).await;
            let (tag, answer) = server.receive().await;
            assert_eq!((tag, answer.len()), (b'p', "md5".len() + 32 + 1));
            assert!(answer.starts_with(b"md5"));
            welcome(server).await;
        });
        session.await.expect("a session");
    }

    #[tokio::test]
    async fn without_the_password_it_takes() {
        let login = Login { password: None, ..LOGIN };
        let error = log_in(login, async |server| server.send(b'R', &3u32.to_be_bytes()).await).await;
        let error = error.err().expect("a refusal");
        assert_eq!(error.kind(), ErrorKind::Connection);
        assert!(error.to_string().contains("asks for a password"), "{error}");
    }

    #[tokio::test]
    async fn a_server_has_to_prove_itself() {
        let error = log_in(LOGIN, async |server| {
            server.send(b'R', b"\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0").await;
            let (_, first) = server.receive().await;
            assert!(first.starts_with(b"SCRAM-SHA-256\0"));
            let text = String::from_utf8_lossy(&first).into_owned();
            let (_, nonce) = text.rsplit_once("r=").expect("a nonce");
            server.send(b'R', format!("\0\0\0\x0br={nonce}more,s=AAAA,i=4096").as_bytes()).await;
            server.receive().await;
            server.send(b'R', b"\0\0\0\x0cv=AAAA").await;
        });
        let error = error.await.err().expect("a refusal");
        assert!(error.to_string().contains("can't prove"), "{error}");
        assert!(!format!("{error:?}").contains("secret"));
    }

    #[tokio::test]
    async fn methods_that_are_not_known_are_named() {
        let error = log_in(LOGIN, async |server| server.send(b'R', &7u32.to_be_bytes()).await).await;
        assert!(error.err().expect("a refusal").to_string().contains("GSSAPI"));
        let error = log_in(LOGIN, async |server| server.send(b'R', b"\0\0\0\x0aOTHER\0\0").await).await;
        assert!(error.err().expect("a refusal").to_string().contains("OTHER"));
    }

    #[tokio::test]
    async fn a_refusal_is_told() {
        let error = log_in(LOGIN, async |server| {
            server.send(b'E', b"C28P01\0Mno\0\0").await;
        });
        let error = error.await.err().expect("a refusal");
        assert_eq!((error.kind(), error.what()), (ErrorKind::Connection, "the source refused the password"));
        let error = log_in(LOGIN, async |server| server.close()).await.err().expect("an end");
        assert_eq!(error.kind(), ErrorKind::Transient);
    }
}
