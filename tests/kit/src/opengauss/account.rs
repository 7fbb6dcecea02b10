//! What the double knows of an account, and how it asks for its password.

use std::num::NonZeroU32;

use md5::{Digest as _, Md5};
use rand::Rng as _;
use ring::{hmac, pbkdf2};
use sha2::Sha256;
use sm3::Sm3;

/// How a server stores a password (`password_encryption_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// 2, the default.
    Sha256,
    /// 1: both sums.
    Combined,
    /// 0.
    Md5,
    /// 3.
    Sm3,
}

/// What `pg_hba.conf` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// `trust`
    Trust,
    /// `sha256`
    Sha256,
    /// `md5`
    Md5,
    /// `sm3`
    Sm3,
}

/// The one account of a double.
#[derive(Debug, Clone)]
pub struct Account {
    /// Its name.
    pub user: String,
    /// Its password.
    pub password: String,
    /// How it is stored.
    pub stored: Stored,
    /// Rounds of the sum: `auth_iteration_count`.
    pub iterations: u32,
}

type Key = [u8; 32];

/// A request for a password, and what has to come back.
#[derive(Debug)]
pub(super) struct Request {
    /// What follows the length of the `R` message.
    pub(super) body: Vec<u8>,
    expected: Expected,
}

#[derive(Debug)]
enum Expected {
    Text(String),
    /// A proof is right if its sum is this key, after the token's signature is taken out of it.
    Proof {
        stored_key: Key,
        token: [u8; 4],
        sm3: bool,
    },
    Nothing,
}

impl Account {
    /// The request that a client of this minor version gets; `None` where none is needed.
    pub(super) fn request(&self, method: Method, user: &str, minor: u16) -> Option<Request> {
        let exists = user == self.user;
        let old = minor < 50;
        let stored = if exists { Some(self.stored) } else { None };
        Some(match (method, stored) {
            (Method::Trust, _) => return None,
            (Method::Sha256, Some(Stored::Sha256)) => self.proof(10, minor),
            (Method::Sha256, Some(Stored::Combined)) if !old => self.proof(10, minor),
            (Method::Sha256 | Method::Md5, Some(Stored::Combined | Stored::Md5)) => self.md5(),
            (Method::Md5, Some(Stored::Sha256)) => self.md5_sha256(),
            (Method::Sm3, Some(Stored::Sm3)) => self.proof(13, minor),
            (Method::Sm3, _) | (Method::Sha256, Some(Stored::Sm3)) => self.proof(13, minor).denied(),
            (Method::Sha256 | Method::Md5, None) if old => self.md5().denied(),
            (Method::Sha256, None) => self.proof(10, minor).denied(),
            (Method::Md5, _) => self.md5_sha256().denied(),
        })
    }

    fn proof(&self, code: u32, minor: u16) -> Request {
        let (salt, token): (Key, [u8; 4]) = (rand::rng().random(), rand::rng().random());
        let sm3 = code == 13;
        let salted = self.salted(&salt);
        let client_key = mac(&salted, b"Client Key");
        let stored_key = if sm3 { Sm3::digest(client_key).into() } else { Sha256::digest(client_key).into() };
        let server_key = mac(&salted, if sm3 { b"Server Key" } else { b"Sever Key" });
        let mut body = code.to_be_bytes().to_vec();
        body.extend_from_slice(&if sm3 { 3_u32 } else { 2 }.to_be_bytes());
        body.extend_from_slice(hex::encode(salt).as_bytes());
        body.extend_from_slice(hex::encode(token).as_bytes());
        match minor {
            51 => body.extend_from_slice(&self.iterations.to_be_bytes()),
            50 => {}
            _ => body.extend_from_slice(hex::encode(mac(&server_key, &token)).as_bytes()),
        }
        Request { body, expected: Expected::Proof { stored_key, token, sm3 } }
    }

    fn md5(&self) -> Request {
        let salt: [u8; 4] = rand::rng().random();
        let inner = hex::encode(Md5::digest(format!("{}{}", self.password, self.user)));
        let sum = Md5::new().chain_update(inner).chain_update(salt).finalize();
        Request {
            body: [&5_u32.to_be_bytes()[..], &salt].concat(),
            expected: Expected::Text(format!("md5{}", hex::encode(sum))),
        }
    }

    /// The sum is over what is stored, from the salt to the end.
    fn md5_sha256(&self) -> Request {
        let (salt, md5_salt): (Key, [u8; 4]) = (rand::rng().random(), rand::rng().random());
        let salted = self.salted(&salt);
        let stored_key = Sha256::digest(mac(&salted, b"Client Key"));
        let mut stored = format!("{}{}", hex::encode(salt), hex::encode(mac(&salted, b"Sever Key")));
        stored.push_str(&hex::encode(stored_key));
        let mut rest = self.iterations;
        for letter in "ecdfdcefade".bytes() {
            stored.push(char::from(letter + (rest % 10) as u8));
            rest /= 10;
        }
        let sum = Md5::new().chain_update(stored).chain_update(md5_salt).finalize();
        Request {
            body: [&11_u32.to_be_bytes()[..], hex::encode(salt).as_bytes(), &md5_salt].concat(),
            expected: Expected::Text(format!("md5{}", hex::encode(sum))),
        }
    }

    fn salted(&self, salt: &Key) -> Key {
        let iterations = NonZeroU32::new(self.iterations).unwrap_or(NonZeroU32::MIN);
        let mut key = [0; 32];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA1, iterations, salt, self.password.as_bytes(), &mut key);
        key
    }
}

impl Request {
    fn denied(self) -> Self {
        Self { expected: Expected::Nothing, ..self }
    }

    /// Whether an answer, the body of the `p` message without its end, is right.
    pub(super) fn accepts(&self, answer: &[u8]) -> bool {
        match &self.expected {
            Expected::Nothing => false,
            Expected::Text(text) => text.as_bytes() == answer,
            Expected::Proof { stored_key, token, sm3 } => {
                let mut client_key = [0; 32];
                if hex::decode_to_slice(answer, &mut client_key).is_err() {
                    return false;
                }
                client_key.iter_mut().zip(mac(stored_key, token)).for_each(|(byte, other)| *byte ^= other);
                let sum: Key =
                    if *sm3 { Sm3::digest(client_key).into() } else { Sha256::digest(client_key).into() };
                sum == *stored_key
            }
        }
    }
}

fn mac(key: &Key, message: &[u8]) -> Key {
    let signed = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    let mut mac = [0; 32];
    mac.iter_mut().zip(signed.as_ref()).for_each(|(byte, signed)| *byte = *signed);
    mac
}
