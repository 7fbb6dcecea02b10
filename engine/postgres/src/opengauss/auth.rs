//! Answers to openGauss's own requests for a password: codes 10, 11 and 13 of the `R` message.
//!
//! Code 10 has the number of PostgreSQL's SASL and is something else. The server stores a salt, a
//! count of iterations, `StoredKey = H(ClientKey)` and `ServerKey`, much as in SCRAM, sends the salt
//! and a token in one message, and takes the proof as 64 hexadecimal digits.

use engine_core::{Error, ErrorKind, Result};
use md5::{Digest as _, Md5};
use ring::{hmac, pbkdf2};
use sha2::Sha256;
use sm3::Sm3;
use std::num::NonZeroU32;

const MD5: i32 = 5;
const SHA256: i32 = 10;
const MD5_SHA256: i32 = 11;
const SM3: i32 = 13;

/// Iterations of a server that doesn't say how many: `auth_iteration_count` when it was never set.
const DEFAULT_ITERATIONS: NonZeroU32 = NonZeroU32::new(10_000).expect("more than zero");
/// Iterations that a server may ask for: what `auth_iteration_count` can be set to. With fewer, whoever
/// pretended to be the server could guess the password from the proof at leisure.
const ITERATIONS: std::ops::RangeInclusive<u32> = 2048..=134_217_728;

/// Bytes of every key, digest and salt in here; a message has them as twice as many digits.
const KEY: usize = 32;
const SALT_DIGITS: usize = 2 * KEY;
const TOKEN: usize = 4;

type Key = [u8; KEY];

/// The text of the `p` message that answers a request of this code, whose body is what follows it.
///
/// It may take a while: the server says how many times a hash is taken.
pub(crate) fn answer(code: i32, body: &[u8], user: &str, password: &[u8]) -> Result<String> {
    match code {
        MD5 => {
            let salt = body.try_into().map_err(|_| malformed())?;
            Ok(postgres_protocol::authentication::md5_hash(user.as_bytes(), password, salt))
        }
        SHA256 => Challenge::read(body)?.sha256(password),
        MD5_SHA256 => md5_sha256(password, body),
        SM3 => Challenge::read(body)?.sm3(password),
        other => Err(Error::new(
            ErrorKind::Connection,
            "the server asks for a way of logging in that is not spoken",
        )
        .because(format!("its request has code {other}"))
        .help("let pg_hba.conf ask this account for sha256, md5 or sm3")),
    }
}

/// What a request of code 10 or 13 says, in any of its three layouts.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Challenge {
    salt: Key,
    token: [u8; TOKEN],
    iterations: NonZeroU32,
    server_signature: Option<Key>,
}

impl Challenge {
    /// Reads what follows the code: the method, the salt as 64 digits, the token as 8 digits; then, by
    /// the protocol of the startup message, nothing (3.50), the iterations (3.51), or the server's
    /// signature as 64 digits (3.0).
    fn read(body: &[u8]) -> Result<Self> {
        let rest = body.split_at_checked(4).ok_or_else(malformed)?.1;
        let (salt, rest) = rest.split_at_checked(SALT_DIGITS).ok_or_else(malformed)?;
        let (token, rest) = rest.split_at_checked(2 * TOKEN).ok_or_else(malformed)?;
        let (iterations, server_signature) = match *rest {
            [] => (DEFAULT_ITERATIONS, None),
            [a, b, c, d] => {
                let asked = u32::from_be_bytes([a, b, c, d]);
                let iterations = NonZeroU32::new(asked).filter(|asked| ITERATIONS.contains(&asked.get()));
                let refused = || malformed().because(format!("it asks for {asked} iterations"));
                (iterations.ok_or_else(refused)?, None)
            }
            ref digits => (DEFAULT_ITERATIONS, Some(from_digits(digits)?)),
        };
        Ok(Self { salt: from_digits(salt)?, token: from_digits(token)?, iterations, server_signature })
    }

    /// The answer to code 10.
    fn sha256(&self, password: &[u8]) -> Result<String> {
        let salted = salted(password, &self.salt, self.iterations);
        // The server's authors wrote it so.
        self.verify(&mac(&salted, b"Sever Key"))?;
        Ok(self.proof(&salted, |client_key| Sha256::digest(client_key).into()))
    }

    /// The answer to code 13.
    fn sm3(&self, password: &[u8]) -> Result<String> {
        let salted = salted(password, &self.salt, self.iterations);
        self.verify(&mac(&salted, b"Server Key"))?;
        Ok(self.proof(&salted, |client_key| Sm3::digest(client_key).into()))
    }

    /// Refuses a server that sent a signature which whoever stores the password would not have made.
    fn verify(&self, server_key: &Key) -> Result<()> {
        let Some(signature) = &self.server_signature else { return Ok(()) };
        hmac::verify(&keyed(server_key), &self.token, signature).map_err(|_| {
            Error::new(ErrorKind::Connection, "the server doesn't prove that it knows the password").help(
                "check the password; if it is right, something other than the server answers at this address",
            )
        })
    }

    fn proof(&self, salted: &Key, digest: impl FnOnce(&Key) -> Key) -> String {
        let client_key = mac(salted, b"Client Key");
        let signature = mac(&digest(&client_key), &self.token);
        let mut proof = client_key;
        proof.iter_mut().zip(signature).for_each(|(byte, other)| *byte ^= other);
        hex::encode(proof)
    }
}

/// The answer to code 11, whose body is the salt as 64 digits and four bytes that salt the MD5 sum.
///
/// The server takes the sum over what it stores, to its end: the count of iterations is there in a form
/// of its own. The request doesn't say it, so it is the default.
fn md5_sha256(password: &[u8], body: &[u8]) -> Result<String> {
    let (salt, md5_salt) = body.split_at_checked(SALT_DIGITS).ok_or_else(malformed)?;
    if md5_salt.len() != 4 {
        return Err(malformed());
    }
    let salted = salted(password, &from_digits(salt)?, DEFAULT_ITERATIONS);
    let stored_key = Sha256::digest(mac(&salted, b"Client Key"));
    let sum = Md5::new()
        .chain_update(salt)
        .chain_update(hex::encode(mac(&salted, b"Sever Key")))
        .chain_update(hex::encode(stored_key))
        .chain_update(iterations_suffix(DEFAULT_ITERATIONS))
        .chain_update(md5_salt)
        .finalize();
    Ok(format!("md5{}", hex::encode(sum)))
}

/// How the server stores a count of iterations: digits, the last one first, each added to a letter.
fn iterations_suffix(iterations: NonZeroU32) -> [u8; 11] {
    let mut suffix = *b"ecdfdcefade";
    let mut rest = iterations.get();
    for letter in &mut suffix {
        *letter += (rest % 10) as u8;
        rest /= 10;
    }
    suffix
}

fn salted(password: &[u8], salt: &Key, iterations: NonZeroU32) -> Key {
    let mut key = [0; KEY];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA1, iterations, salt, password, &mut key);
    key
}

fn mac(key: &Key, message: &[u8]) -> Key {
    let mut mac = [0; KEY];
    mac.iter_mut().zip(hmac::sign(&keyed(key), message).as_ref()).for_each(|(byte, signed)| *byte = *signed);
    mac
}

fn keyed(key: &Key) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, key)
}

fn from_digits<const N: usize>(digits: &[u8]) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    hex::decode_to_slice(digits, &mut bytes).map_err(|error| malformed().because(error))?;
    Ok(bytes)
}

fn malformed() -> Error {
    Error::new(ErrorKind::Connection, "the server's request for a password can't be read")
        .help("is it an openGauss server? A PostgreSQL server has a URL that begins with postgres://")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGITS: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const PASSWORD: &str = "Gauss@123 ä";

    fn body(tail: &[u8]) -> Vec<u8> {
        let mut body = vec![0, 0, 0, 2];
        body.extend_from_slice(DIGITS.as_bytes());
        body.extend_from_slice(b"deadbeef");
        body.extend_from_slice(tail);
        body
    }

    #[test]
    fn proves_what_the_drivers_prove() {
        let challenge = Challenge {
            salt: [0x11; KEY],
            token: [0x33; TOKEN],
            iterations: NonZeroU32::MIN,
            server_signature: None,
        };
        assert_eq!(
            challenge.sha256(&[1, 2, 3, 4]).expect("a proof"),
            "6308566b6ff5463d5bbcf7cbd95e2bf416a833994ea26d04d48f3b719d4b58fb"
        );
    }

    /// The expected proofs were computed by Python's hashlib and hmac.
    #[test]
    fn proves_the_password_in_every_layout() {
        let default = "cefa860517c056a0f8ae36a42a4ec8185ce4478fe9ff0d4a8203aafab38db36d";
        let few = "8e4c6487ff1e347f3e9ba372a235c5588e18c8886a4f609f8ee09a2e1dc2491a";
        let signature = b"cc0bf37f1012fcb43c698254f7caaeec0828684fcddc264c7db584af83fe3227";
        for (tail, expected) in [
            (&b""[..], default),
            (&10_000_u32.to_be_bytes(), default),
            (&2048_u32.to_be_bytes(), few),
            (signature, default),
        ] {
            let challenge = Challenge::read(&body(tail)).expect("a challenge");
            assert_eq!(challenge.sha256(PASSWORD.as_bytes()).expect("a proof"), expected);
        }
    }

    #[test]
    fn proves_the_password_by_sm3() {
        let expected = "bd265b2657776167409f270a47297c9b2777e4356d1917bbd0fc43d12bc19997";
        let signature = b"b380fe87c62fd29de01662389a82fcb0452a253269b0d73de03d41d2426abb38";
        for tail in [&b""[..], &10_000_u32.to_be_bytes(), signature] {
            let challenge = Challenge::read(&body(tail)).expect("a challenge");
            assert_eq!(challenge.sm3(PASSWORD.as_bytes()).expect("a proof"), expected);
        }
    }

    #[test]
    fn proves_the_password_by_md5_over_what_is_stored() {
        let body = [DIGITS.as_bytes(), &[1, 2, 3, 4]].concat();
        assert_eq!(
            md5_sha256(PASSWORD.as_bytes(), &body).expect("an answer"),
            "md58354bff85219c0771ae6dc405ae65197"
        );
        let suffix = |iterations| NonZeroU32::new(iterations).map(iterations_suffix);
        assert_eq!(suffix(10_000), Some(*b"ecdfecefade"));
        assert_eq!(suffix(134_217_728), Some(*b"mekmeeiibde"), "digit by digit");
    }

    #[test]
    fn believes_no_server_that_signs_otherwise() {
        let forged = DIGITS.as_bytes();
        let challenge = Challenge::read(&body(forged)).expect("a challenge");
        for answer in [challenge.sha256(PASSWORD.as_bytes()), challenge.sm3(PASSWORD.as_bytes())] {
            let error = answer.expect_err("a forged signature");
            assert!(error.to_string().contains("doesn't prove"), "{error}");
            assert!(!error.to_string().contains(PASSWORD));
        }
    }

    #[test]
    fn refuses_what_is_no_request() {
        let sasl = b"SCRAM-SHA-256\0\0";
        let mut bad_digit = body(b"");
        *bad_digit.get_mut(4).expect("a digit") = b'x';
        for bytes in
            [&b""[..], sasl, &body(b"ab"), &body(&1_u32.to_be_bytes()), &body(&[0xff; 4]), &bad_digit]
        {
            let error = Challenge::read(bytes).expect_err("no challenge");
            assert_eq!(error.kind(), ErrorKind::Connection);
        }
        for bytes in [&b""[..], DIGITS.as_bytes(), &[b'x'; 68], &[DIGITS.as_bytes(), &[0; 5]].concat()] {
            assert!(md5_sha256(b"any", bytes).is_err());
        }
    }
}
