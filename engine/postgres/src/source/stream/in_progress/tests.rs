use super::*;
use crate::replication::pgoutput::message::Content;
use bytes::BufMut;
use futures_util::FutureExt;
use proptest::prelude::*;

/// A change as it is sent when its transaction is committed.
fn change(text: &[u8]) -> Vec<u8> {
    let mut message = b"I\0\0\0\x07N\0\x01t".to_vec();
    message.put_u32(text.len() as u32);
    message.put_slice(text);
    message
}

/// The same in a block.
fn in_block(subxid: u32, change: &[u8]) -> Vec<u8> {
    [&change[..1], &subxid.to_be_bytes(), &change[1..]].concat()
}

fn start(xid: u32, is_first: bool) -> Vec<u8> {
    [b"S", &xid.to_be_bytes()[..], &[u8::from(is_first)]].concat()
}

fn abort(xid: u32, subxid: u32) -> Vec<u8> {
    [b"A", &xid.to_be_bytes()[..], &subxid.to_be_bytes()].concat()
}

fn commit(xid: u32) -> Vec<u8> {
    let mut message = [b"c", &xid.to_be_bytes()[..], b"\0"].concat();
    message.put_u64(u64::from(xid) * 100);
    message.put_u64(u64::from(xid) * 100 + 8);
    message.put_i64(5);
    message
}

fn frame(payload: Vec<u8>) -> Frame {
    Frame::Data { start: Lsn(3), end: Lsn(3), sent_at: 9, payload: payload.into() }
}

fn in_progress(limit: usize) -> (tempfile::TempDir, InProgress) {
    let directory = tempfile::tempdir().expect("a directory");
    let in_progress = InProgress { limit, ..InProgress::new(directory.path().to_owned()) };
    (directory, in_progress)
}

/// The messages that come out.
async fn passed(in_progress: &mut InProgress, payload: Vec<u8>) -> Result<Vec<Bytes>> {
    let frames = match in_progress.take(frame(payload)).await? {
        Taken::Passed(frame) => vec![frame],
        Taken::Kept => Vec::new(),
        Taken::Whole(mut whole) => {
            let mut frames = Vec::new();
            while let Some(batch) = whole.next().await? {
                frames.extend(batch);
            }
            frames
        }
    };
    let payload = |frame| match frame {
        Frame::Data { payload, .. } => payload,
        Frame::Keepalive { .. } => Bytes::new(),
    };
    Ok(frames.into_iter().map(payload).collect())
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(work)
}

/// One step of a transaction: a block of changes with their subtransactions, or the end of a subtransaction.
#[derive(Debug, Clone)]
enum Step {
    Block(Vec<(u32, Vec<u8>)>),
    Abort(u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let text = prop::collection::vec(any::<u8>(), 0..300);
    let block = prop::collection::vec((0..4_u32, text), 0..6).prop_map(Step::Block);
    prop::collection::vec(prop_oneof![4 => block, 1 => (1..4_u32).prop_map(Step::Abort)], 1..6)
}

proptest! {
    #[test]
    fn comes_out_as_if_sent_at_its_commit(
        transactions in prop::collection::vec((steps(), prop::bool::weighted(0.8)), 1..5),
        turns in prop::collection::vec(any::<prop::sample::Index>(), 40),
        limit in 0..3000_usize,
    ) {
        let (directory, mut in_progress) = in_progress(limit);
        run(async {
            let mut left: Vec<_> = transactions.iter().enumerate().map(|(place, (steps, is_committed))| {
                (1000 * (place as u32 + 1), steps.iter(), *is_committed, true, Vec::new(), Vec::new())
            }).collect();
            let mut turns = turns.iter().cycle();
            while !left.is_empty() {
                let place = turns.next().expect("a turn").index(left.len());
                let (xid, steps, is_committed, is_first, kept, dropped) = &mut left[place];
                match steps.next() {
                    Some(Step::Block(changes)) => {
                        prop_assert!(passed(&mut in_progress, start(*xid, *is_first)).await.expect("a beginning").is_empty());
                        *is_first = false;
                        for (sub, text) in changes {
                            // What is rolled back is not gone on with.
                            let sub = if dropped.contains(&(*xid + sub)) { 0 } else { *sub };
                            kept.push((*xid + sub, change(text)));
                            let message = in_block(*xid + sub, &change(text));
                            prop_assert!(passed(&mut in_progress, message).await.expect("a change").is_empty());
                        }
                        prop_assert!(passed(&mut in_progress, b"E".to_vec()).await.expect("an end").is_empty());
                    }
                    Some(Step::Abort(sub)) => {
                        dropped.push(*xid + sub);
                        passed(&mut in_progress, abort(*xid, *xid + sub)).await.expect("an abort");
                    }
                    None if *is_first => drop(left.remove(place)),
                    None if !*is_committed => {
                        passed(&mut in_progress, abort(*xid, *xid)).await.expect("an abort");
                        drop(left.remove(place));
                    }
                    None => {
                        // One that is sent whole comes between.
                        prop_assert_eq!(passed(&mut in_progress, change(b"x")).await.expect("a change"), vec![change(b"x")]);
                        let messages = passed(&mut in_progress, commit(*xid)).await.expect("a commit");
                        let mut plain = Decoder::default();
                        let read = plain.decode(&messages[0]);
                        let Ok(Message::Begin(begin)) = read else { panic!("{read:?}") };
                        prop_assert_eq!((begin.xid, begin.final_lsn.0), (*xid, u64::from(*xid) * 100));
                        let read = plain.decode(messages.last().expect("an end"));
                        let Ok(Message::Commit(end)) = read else { panic!("{read:?}") };
                        prop_assert_eq!((end.lsn, end.end.0, end.committed_at), (begin.final_lsn, begin.final_lsn.0 + 8, begin.committed_at));
                        let expected: Vec<_> = kept.iter().filter(|(sub, _)| !dropped.contains(sub)).map(|(_, change)| change.clone()).collect();
                        prop_assert_eq!(&messages[1..messages.len() - 1], &expected[..]);
                        drop(left.remove(place));
                    }
                }
                prop_assert!(in_progress.in_memory <= limit);
            }
            prop_assert_eq!((in_progress.in_memory, in_progress.spools.len()), (0, 0));
            Ok(())
        })?;
        let left = std::fs::read_dir(directory.path()).expect("the directory").count();
        prop_assert_eq!(left, 0);
    }

    #[test]
    fn any_messages_are_survived(payloads in prop::collection::vec((".", prop::collection::vec(any::<u8>(), 0..40)), 0..20)) {
        let (_directory, mut in_progress) = in_progress(64);
        run(async {
            for (kind, rest) in payloads {
                let _ = passed(&mut in_progress, [kind.as_bytes(), &rest].concat()).await;
            }
        });
    }
}

#[test]
fn longer_than_what_is_read_at_a_time() {
    let (_directory, mut in_progress) = in_progress(1000);
    let texts = [vec![b'a'; 3 << 20], vec![b'b'; 5], vec![b'c'; 700_000]];
    run(async {
        passed(&mut in_progress, start(7, true)).await.expect("a beginning");
        for text in &texts {
            passed(&mut in_progress, in_block(8, &change(text))).await.expect("a change");
        }
        passed(&mut in_progress, b"E".to_vec()).await.expect("an end");
        let messages = passed(&mut in_progress, commit(7)).await.expect("a commit");
        for (message, text) in messages[1..].iter().zip(&texts) {
            let mut plain = Decoder::default();
            let Ok(Message::Change { xid: None, content: Content::Insert { new, .. } }) =
                plain.decode(message)
            else {
                panic!("no row");
            };
            let cell = new.cells().next();
            assert_eq!(cell, Some(crate::replication::pgoutput::tuple::Cell::Text(text)));
        }
        assert_eq!(messages.len(), 5);
    });
}

#[test]
fn what_makes_no_sense_stops() {
    run(async {
        let block = [start(7, true), commit(7)];
        let nested = [start(7, true), abort(7, 7)];
        let other = [start(7, true), b"C\0".to_vec()];
        let single =
            [start(7, false), commit(7), b"E".to_vec(), b"S\0".to_vec()].map(|payload| vec![payload]);
        for payloads in single.into_iter().chain([block, nested, other].map(Vec::from)) {
            let (_directory, mut in_progress) = in_progress(1000);
            let mut last = Ok(Vec::new());
            for payload in payloads {
                last = passed(&mut in_progress, payload).await;
            }
            let error = last.expect_err("an error");
            assert_eq!(error.kind(), ErrorKind::Divergence);
            assert!(error.to_string().contains("0/3"), "{error}");
        }
        let (_directory, mut in_progress) = in_progress(1000);
        // What was never kept can be given up.
        passed(&mut in_progress, abort(7, 7)).await.expect("nothing");
        passed(&mut in_progress, start(7, true)).await.expect("a beginning");
        passed(&mut in_progress, b"E".to_vec()).await.expect("an end");
        assert_eq!(passed(&mut in_progress, commit(7)).await.expect("a commit").len(), 2, "of no changes");
    });
}

#[test]
fn a_disk_that_takes_nothing_is_an_error() {
    let (directory, mut in_progress) = in_progress(10);
    directory.close().expect("it is empty");
    run(async {
        passed(&mut in_progress, start(7, true)).await.expect("a beginning");
        let error =
            passed(&mut in_progress, in_block(7, &change(b"0123456789"))).await.expect_err("no place");
        assert_eq!(error.kind(), ErrorKind::State);
        assert!(error.remedy().is_some_and(|help| help.contains("--state-dir")), "{error}");
    });
}

#[test]
fn keepalives_pass() {
    let (_directory, mut in_progress) = in_progress(10);
    let keepalive = Frame::Keepalive { end: Lsn(9), sent_at: 0, reply_wanted: false };
    let taken = in_progress.take(keepalive.clone()).now_or_never().expect("at once").expect("a frame");
    assert!(matches!(taken, Taken::Passed(frame) if frame == keepalive));
}
