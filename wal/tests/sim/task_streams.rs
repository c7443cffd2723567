//! Streams of tasks: as those of threads, and no task blocks for them.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use crate::harness::{DIR, options, record};
use forebay_wal::Durability::{Buffered, Synced, Written};
use forebay_wal::aio::{self, AsyncWal, Committer};
use forebay_wal::fs::sim::{SimFs, Survive};
use forebay_wal::{AppendError, Event, Lsn, Reject, Wal};

fn log(disk: &SimFs) -> (AsyncWal<SimFs>, Committer<SimFs>) {
    let (wal, _) = Wal::open_in(disk.clone(), DIR, options()).unwrap();
    AsyncWal::unstarted(wal)
}

/// What comes of a future when the committer has done what it asks for, which is one step or none.
fn done<T>(committer: &mut Committer<SimFs>, future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
        return output;
    }
    assert!(committer.step(), "somebody waits");
    match future.poll(&mut context) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("not answered"),
    }
}

fn lsns(stream: &aio::Stream<SimFs>) -> Vec<u64> {
    stream.stream().reader(Lsn(0)).map(|record| record.unwrap().lsn.0).collect()
}

#[test]
fn tasks_of_several_streams_share_a_group_and_are_read_apart() {
    let disk = SimFs::new(0);
    let (log, mut committer) = log(&disk);
    let orders = done(&mut committer, log.stream("orders")).unwrap();
    let audit = done(&mut committer, log.stream("audit")).unwrap();
    assert_eq!((orders.stream().name(), audit.stream().id()), ("orders", 2));
    let before = log.wal().stats();
    let [first, plain] = [orders.append("a"), log.append("of no stream")];
    drop(audit.append("its future is dropped"));
    let both = audit.append_batch_with(["both", "or none"], Written);
    assert_eq!(done(&mut committer, orders.append_with(vec![7; 2000], Synced)).unwrap(), Lsn(6));
    for (future, lsn) in [first, plain].into_iter().zip(1..) {
        assert_eq!(done(&mut committer, future).unwrap(), Lsn(lsn));
    }
    assert_eq!(done(&mut committer, both).unwrap(), Lsn(4)..Lsn(6));
    let after = log.wal().stats();
    assert_eq!((after.groups - before.groups, after.syncs - before.syncs), (1, 1));
    let mut tail = log.tail(Lsn::FIRST, Synced).unwrap();
    let streams: Vec<_> = (0..6)
        .map(|_| match done(&mut committer, tail.next()).unwrap() {
            Event::Record(record) => record.stream,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(streams, [1, 0, 2, 2, 2, 1]);

    let (log, mut committer) = self::log(&disk.crash(Survive::Nothing));
    let again = ["orders", "audit"].map(|name| done(&mut committer, log.stream(name)).unwrap());
    assert_eq!(again.each_ref().map(lsns), [vec![1, 6], vec![3, 4, 5]]);
}

#[test]
fn a_stream_of_tasks_gives_up_what_it_had_and_ends() {
    let disk = SimFs::new(0);
    let (log, mut committer) = log(&disk);
    let stream = done(&mut committer, log.stream("of tasks")).unwrap();
    for id in 0..20 {
        done(&mut committer, stream.append(record(id, 900))).unwrap();
    }
    let given = done(&mut committer, stream.truncate_before(Lsn(15))).unwrap();
    assert!(given.segments > 0, "{given:?}");
    assert_eq!((stream.stream().low(), lsns(&stream)), (Lsn(15), (15..21).collect()));
    let waiting = stream.clone().append_with("before its end", Buffered);
    assert_eq!(done(&mut committer, waiting).unwrap(), Lsn(21));
    done(&mut committer, log.drop_stream("of tasks")).unwrap();
    let refused = [
        done(&mut committer, stream.append("late")).map(drop),
        done(&mut committer, stream.append_batch_with(["late"], Buffered)).map(drop),
        done(&mut committer, stream.truncate_before(Lsn(9))).map(drop),
    ];
    for answer in refused {
        assert!(matches!(answer, Err(AppendError::Rejected(Reject::StreamDropped { id: 1 }))), "{answer:?}");
    }
    let long = "x".repeat(256);
    for name in ["", &long] {
        let answer = done(&mut committer, log.stream(name)).map(drop);
        assert!(matches!(answer, Err(AppendError::Rejected(Reject::BadName { .. }))), "{answer:?}");
    }
    assert!(lsns(&stream).is_empty());
}

#[test]
fn without_a_committer_nobody_waits_for_a_stream() {
    let (log, mut committer) = log(&SimFs::new(0));
    let stream = done(&mut committer, log.stream("a stream")).unwrap();
    drop(committer);
    let closed = |answer| matches!(answer, Poll::Ready(Err(AppendError::Rejected(Reject::Closed))));
    let mut context = Context::from_waker(Waker::noop());
    assert!(closed(pin!(log.stream("another")).poll(&mut context).map_ok(drop)));
    assert!(closed(pin!(log.drop_stream("a stream")).poll(&mut context).map_ok(drop)));
    assert!(closed(pin!(stream.truncate_before(Lsn(2))).poll(&mut context).map_ok(drop)));
    assert!(closed(pin!(stream.append("late")).poll(&mut context).map_ok(drop)));
}
