//! What both sides of a stream tell each other of themselves.
//!
//! openGauss sends its structures as they lie in its memory: fields little-endian (on every platform it
//! runs on), with gaps, whose bytes are whatever was there.

use crate::replication::fields::{Fields, Malformed};
use crate::replication::lsn::Lsn;

/// Bytes of a keepalive behind its type.
const KEEPALIVE: usize = 32;
/// Bytes of a report.
const REPORT: usize = 65;

/// A server's sign of life.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Keepalive {
    /// In a serial stream everything before this place was sent. In a parallel one it is how far the log was
    /// read, ahead of what was sent: to confirm it would lose changes.
    pub(crate) end: Lsn,
    /// When it was sent, microseconds since 2000.
    pub(crate) sent_at: i64,
    /// The server ends the connection unless it gets a report soon.
    pub(crate) reply_wanted: bool,
}

/// Reads what follows a keepalive's type: end, role and state of the server, time, flags.
pub(crate) fn keepalive(mut fields: Fields<'_>) -> Result<Keepalive, Malformed> {
    if fields.rest().len() != KEEPALIVE {
        return Err(Malformed("a keepalive is not as long as openGauss's"));
    }
    // The fields are read big-endian.
    let end = Lsn(fields.u64()?.swap_bytes());
    fields.take(8)?;
    let sent_at = fields.u64()?.swap_bytes().cast_signed();
    let reply_wanted = fields.u8()? != 0;
    Ok(Keepalive { end, sent_at, reply_wanted })
}

/// A report of how far the changes were received, flushed and applied, sent `now`, microseconds since 2000.
///
/// Only what was flushed moves the slot, and the server believes every place, those too that its log has not
/// reached.
pub(crate) fn report([received, flushed, applied]: [Lsn; 3], now: i64, reply_wanted: bool) -> Vec<u8> {
    let mut report = Vec::with_capacity(REPORT);
    report.push(b'r');
    // Received, written, flushed, applied; and how far what was applied has been read, which nobody asks for.
    for Lsn(place) in [received, received, flushed, applied, applied] {
        report.extend_from_slice(&place.to_le_bytes());
    }
    // Role and state, of which a client has none.
    report.extend_from_slice(&[0; 8]);
    report.extend_from_slice(&now.to_le_bytes());
    report.push(u8::from(reply_wanted));
    // A gap and flags for servers among themselves.
    report.resize(REPORT, 0);
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that a server sent.
    #[test]
    fn reads_a_keepalive() {
        let sent =
            hex::decode("a8b763020000000001000000010000004df3be3ac60303000001000000000000").expect("digits");
        let read = keepalive(Fields::new(&sent)).expect("a keepalive");
        assert_eq!((read.end, read.reply_wanted), (Lsn(0x0263_b7a8), false));
        assert_eq!(read.sent_at, 0x0003_03c6_3abe_f34d);
        assert!(keepalive(Fields::new(&sent[..17])).is_err(), "PostgreSQL's is shorter");
    }

    #[test]
    fn writes_a_report() {
        let report = report([Lsn(3), Lsn(0x0102), Lsn(1)], 5, true);
        assert_eq!(report.len(), REPORT);
        assert_eq!(report[..9], [b'r', 3, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(report[17..25], [2, 1, 0, 0, 0, 0, 0, 0], "what was flushed");
        assert_eq!((report[49], report[57]), (5, 1), "the time, and that an answer is wanted");
    }
}
