//! Parameters of no length, which some types take for NULL in a database of compatibility A.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::refusals::Refusals;

/// What a connection knows of the statements that were prepared on it.
#[derive(Debug, Default)]
pub(super) struct Parameters(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// Types of the parameters, by the statement's name.
    types: HashMap<Vec<u8>, Vec<u32>>,
    /// What was asked for and not answered yet.
    asked: VecDeque<Asked>,
}

#[derive(Debug)]
enum Asked {
    /// To describe this statement.
    Statement(Vec<u8>),
    /// To say when all is done.
    End,
}

impl Parameters {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a message of the client.
    pub(super) fn asked(&self, kind: u8, body: &[u8]) {
        match (kind, body.split_first()) {
            (b'D', Some((b'S', name))) => {
                self.known()
                    .asked
                    .push_back(Asked::Statement(name.strip_suffix(b"\0").unwrap_or(name).to_vec()));
            }
            (b'S' | b'Q', _) => self.known().asked.push_back(Asked::End),
            _ => {}
        }
    }

    /// Takes note of a message of the server.
    pub(super) fn answered(&self, kind: u8, body: &[u8]) {
        let mut known = self.known();
        match kind {
            b't' => {
                if matches!(known.asked.front(), Some(Asked::Statement(_)))
                    && let Some(Asked::Statement(name)) = known.asked.pop_front()
                {
                    let types = body.get(2..).unwrap_or_default().chunks_exact(4);
                    let types = types.map(|id| id.iter().fold(0, |id, &byte| id << 8 | u32::from(byte)));
                    known.types.insert(name, types.collect());
                }
            }
            // What an error has left out is not answered any more.
            b'Z' => while !matches!(known.asked.pop_front(), Some(Asked::End) | None) {},
            _ => {}
        }
    }

    /// A `Bind` message as the server behind is to have it.
    pub(super) fn bound(&self, body: Vec<u8>, refusals: &Refusals) -> Vec<u8> {
        self.with_nulls(&body, refusals).unwrap_or(body)
    }

    fn with_nulls(&self, body: &[u8], refusals: &Refusals) -> Option<Vec<u8>> {
        let portal = body.iter().position(|byte| *byte == 0)? + 1;
        let statement = body.get(portal..)?;
        let name = statement.get(..statement.iter().position(|byte| *byte == 0)?)?;
        let known = self.known();
        let types = known.types.get(name)?;
        let mut at = portal + name.len() + 1;
        at += 2 + 2 * usize::from(count(body, at)?);
        let mut out = body.get(..at + 2)?.to_vec();
        let parameters = count(body, at)?;
        at += 2;
        for place in 0..usize::from(parameters) {
            let length = body.get(at..at + 4)?;
            let size = u32::from_be_bytes(length.try_into().ok()?);
            at += 4;
            let is_null = size == 0 && refusals.is_null_when_empty(*types.get(place)?);
            out.extend_from_slice(if is_null { &[0xff; 4] } else { length });
            if size != u32::MAX {
                out.extend_from_slice(body.get(at..at + size as usize)?);
                at += size as usize;
            }
        }
        out.extend_from_slice(body.get(at..)?);
        Some(out)
    }
}

fn count(body: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(body.get(at..at + 2)?.try_into().ok()?))
}
