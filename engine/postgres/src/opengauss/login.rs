//! The login of protocol 3.51, without the connection it goes over.

use engine_core::{Error, ErrorKind, Result};

use super::auth;

/// Protocol 3.51: requests for a password say the number of iterations.
const PROTOCOL: i32 = 0x0003_0033;

/// Code of the `R` message by which the server consents.
pub(crate) const CONSENT: i32 = 0;

/// A startup message.
pub(crate) fn startup<'a>(parameters: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Vec<u8>> {
    let mut message = vec![0; 4];
    message.extend_from_slice(&PROTOCOL.to_be_bytes());
    for text in parameters.flat_map(|(name, value)| [name, value]) {
        if text.contains('\0') {
            return Err(Error::new(ErrorKind::Usage, "a name in the URL of a database holds U+0000"));
        }
        message.extend_from_slice(text.as_bytes());
        message.push(0);
    }
    message.push(0);
    let length = (message.len() as u32).to_be_bytes();
    message.splice(..4, length);
    Ok(message)
}

/// The answer to a request for a password. It takes thousands of rounds of a hash, as many as the server
/// likes, so that it is found on a thread of its own.
pub(crate) async fn answer(code: i32, body: &[u8], user: &str, password: &str) -> Result<String> {
    let (user, password, body) = (user.to_owned(), password.as_bytes().to_vec(), body.to_vec());
    tokio::task::spawn_blocking(move || auth::answer(code, &body, &user, &password)).await.map_err(
        |error| Error::new(ErrorKind::Internal, "a request for a password can't be answered").because(error),
    )?
}

/// Whether a server with a pool of threads refused a replication connection: it takes them at its HA port, the
/// next one. It says so before it asks for a password, and 22023 means something else at no other time then.
pub(crate) fn wants_ha_port(error: &Error) -> bool {
    error.why().is_some_and(|why| why.contains("(SQLSTATE 22023)") && why.contains("HA port"))
}
