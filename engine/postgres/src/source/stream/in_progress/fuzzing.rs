//! Entry point for a fuzz target in `fuzz/`: it takes any bytes, and must return.

use bytes::Bytes;
use std::path::PathBuf;

use super::{InProgress, Taken};
use crate::replication::lsn::Lsn;
use crate::replication::pgoutput::Decoder;
use crate::replication::stream::Frame;

/// Messages of a stream of transactions in progress, each after its length in two bytes. What comes out of a
/// transaction is read as one that was sent when it was committed.
pub(in crate::source) fn in_progress(input: &[u8]) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().build() else { return };
    runtime.block_on(async {
        let mut in_progress = InProgress::new(PathBuf::from("/nowhere"));
        let mut rest = input;
        while let Some((length, after)) = rest.split_first_chunk::<2>() {
            let length = usize::from(u16::from_be_bytes(*length)).min(after.len());
            let (payload, after) = after.split_at(length);
            rest = after;
            let payload = Bytes::copy_from_slice(payload);
            let frame = Frame::Data { start: Lsn(0), end: Lsn(0), sent_at: 0, payload };
            let Ok(Taken::Whole(mut whole)) = in_progress.take(frame).await else { continue };
            let mut plain = Decoder::default();
            while let Ok(Some(batch)) = whole.next().await {
                for frame in batch {
                    let Frame::Data { payload, .. } = frame else { continue };
                    assert!(plain.decode(&payload).is_ok(), "what was read in a block reads outside of it");
                }
            }
        }
    });
}
