use std::path::Path;
use std::pin::pin;

use forebay_circuit::Breaker;
use forebay_tenant::Limits;
use forebay_wal::fs::sim::{Fault, SimFs};
use forebay_wal::{Time, Wal};
use futures_util::StreamExt;
use object_store::ObjectStore;
use object_store::memory::InMemory;

use super::*;
use crate::config::Config;
use crate::index::MemoryIndex;
use crate::pipeline::ingester_options;
use crate::record::Writer;

async fn ingester(disk: SimFs) -> Ingester<SimFs> {
    ingester_on(log(disk)).await
}

pub(super) fn log(disk: SimFs) -> AsyncWal<SimFs> {
    let (log, committer) = AsyncWal::unstarted(wal(disk));
    tokio::spawn(committer.run_async());
    log
}

fn wal(disk: SimFs) -> Wal<SimFs> {
    let options =
        forebay_wal::Options { segment_bytes: 8192, time: Time::frozen(), ..forebay_wal::Options::default() };
    Wal::open_in(disk, Path::new("/wal"), options).unwrap().0
}

async fn ingester_on(log: AsyncWal<SimFs>) -> Ingester<SimFs> {
    ingester_in(log, Arc::new(InMemory::new()), Arc::default()).await
}

pub(super) async fn ingester_in(
    log: AsyncWal<SimFs>,
    objects: Arc<dyn ObjectStore>,
    index: Arc<MemoryIndex>,
) -> Ingester<SimFs> {
    let puts = Breaker::with_clock(forebay_circuit::Options::default(), monotonic_ns as fn() -> u64).unwrap();
    let storage = Storage::new(objects, index, puts);
    let overrides = Arc::new(Overrides::new(Limits::default()));
    // Less than what the log has under way by default.
    let options = Options { log_room: 12 << 20, ..ingester_options(&Config::default()).unwrap() };
    Ingester::start(log, storage, overrides, Clock::simulated(1), options).await.unwrap()
}

fn record(line: &str) -> Record {
    record_of("t", "a", line)
}

pub(super) fn record_of(tenant: &str, app: &str, line: &str) -> Record {
    let mut writer = Writer::new(tenant, line.len());
    writer.begin(&[("app", app)]);
    writer.entry(1, [line.as_bytes(), b""], &[]);
    writer.end();
    writer.finish().record()
}

#[tokio::test(start_paused = true)]
async fn the_log_keeps_what_is_synced_and_not_in_memory_yet() {
    let ingester = ingester(SimFs::new(1)).await;
    let log = ingester.shared.log.clone();
    let first = || log.wal().reader(Lsn(0)).next().map(|record| record.unwrap().lsn);
    let under_way = Applying::begin(&ingester.shared);
    let kept = log.append(record("under way").bytes().clone()).await.unwrap();
    // Enough to seal the segment that holds it.
    for _ in 0..8 {
        ingester.push(record(&"x".repeat(4000))).await.unwrap();
    }
    ingester.flush().await;
    assert_eq!(first(), Some(kept));
    drop(under_way);
    ingester.flush().await;
    assert_ne!(first(), Some(kept));
}

#[tokio::test(start_paused = true)]
async fn a_push_that_nobody_waits_for_any_more_is_kept_all_the_same() {
    let ingester = ingester(SimFs::new(1)).await;
    let mut left = Box::pin(ingester.push(record("left")));
    drop(Box::pin(ingester.push(record("never begun"))));
    assert!(futures_util::poll!(left.as_mut()).is_pending());
    drop(left);
    let all = crate::index::Span { from_ns: i64::MIN, through_ns: i64::MAX };
    while ingester.volume("t", &[], all).is_empty() {
        tokio::task::yield_now().await;
    }
    let kept = ingester.shared.log.wal().reader(Lsn(0)).map(|kept| kept.unwrap().bytes);
    assert_eq!(kept.collect::<Vec<_>>(), [record("left").bytes().clone()]);
}

#[tokio::test(start_paused = true)]
async fn an_ingester_whose_log_failed_says_so() {
    let disk = SimFs::new(1);
    let ingester = ingester(disk.clone()).await;
    ingester.push(record("kept")).await.unwrap();
    assert_eq!(ingester.health().failure, "");
    // Some of the next operations is the sync.
    for ahead in 0..20 {
        disk.fail_at(disk.op_count() + ahead, Fault::Error(std::io::ErrorKind::Other));
        if matches!(ingester.push(record("lost")).await, Err(PushError::Indeterminate { .. })) {
            break;
        }
    }
    let failure = ingester.health().failure;
    assert!(failure.starts_with("log refuses writes since "), "{failure}");
    assert!(matches!(ingester.push(record("refused")).await, Err(PushError::Unavailable { .. })));
}

/// What came while a few large records were on their way was sent away, to come back a second later.
#[tokio::test(start_paused = true)]
async fn records_wait_for_their_turn_while_the_log_is_busy_but_not_for_ever() {
    let (log, committer) = AsyncWal::unstarted(wal(SimFs::new(1)));
    let ingester = ingester_on(log).await;
    let (large, patience) = ("x".repeat(4 << 20), ingester.shared.options.log_patience);
    let push = |number: u32| {
        let (ingester, record) = (ingester.clone(), record(&format!("{number}{large}")));
        tokio::spawn(async move { ingester.push(record).await })
    };
    let early: Vec<_> = (0..4).map(push).collect();
    tokio::time::sleep(patience / 2).await;
    let late: Vec<_> = (4..6).map(push).collect();
    tokio::time::sleep(patience / 4 * 3).await;
    let refused = early.iter().filter(|push| push.is_finished()).count();
    tokio::spawn(committer.run_async());
    let mut outcomes = futures_util::future::join_all(early.into_iter().chain(late)).await.into_iter();
    let early: Vec<_> = outcomes.by_ref().take(4).map(Result::unwrap).collect();
    assert_eq!((refused, early.iter().filter(|push| push.is_ok()).count()), (2, 2), "{early:?}");
    let busy = |push: &Result<_, _>| matches!(push, Err(PushError::Busy { retry_after, .. }) if *retry_after == Some(Duration::ZERO));
    assert_eq!(early.iter().filter(|push| busy(push)).count(), 2, "{early:?}");
    assert!(outcomes.all(|push| push.unwrap().is_ok()), "these still waited when the log went on");
}

/// A log whose numbers are used up was called busy, for ever, in a line that nobody sees.
#[test]
fn a_log_that_takes_nothing_any_more_is_unavailable_and_only_one_that_is_full_is_busy() {
    for reject in [Reject::Closed, Reject::Poisoned, Reject::NumbersUsedUp] {
        let reason = reject.to_string();
        assert_eq!(PushError::from(AppendError::Rejected(reject)), PushError::Unavailable { reason });
    }
    let dir = || Path::new("/log").into();
    for (reject, wait) in [
        (Reject::Backpressure { dir: dir(), inflight: 2, limit: 1 }, Duration::ZERO),
        (Reject::NoSpace { dir: dir(), needed: 2, free: Some(1) }, RESPITE),
        (Reject::QuotaExceeded { dir: dir(), limit: 1, used: 2, pinned_by: None }, RESPITE),
        (Reject::Io { dir: dir(), kind: std::io::ErrorKind::Other }, RESPITE),
    ] {
        let busy = PushError::Busy { reason: reject.to_string(), retry_after: Some(wait) };
        assert_eq!(PushError::from(AppendError::Rejected(reject)), busy);
    }
}

#[tokio::test(start_paused = true)]
async fn an_ingester_that_stops_takes_nothing_and_has_what_it_had_until_that_is_stored() {
    let ingester = ingester(SimFs::new(1)).await;
    ingester.push(record("kept")).await.unwrap();
    let held = ingester.health().memory_bytes;
    let timeout = Duration::from_secs(1);
    // No time at all: it takes nothing any more, and has everything still.
    ingester.drain(Duration::ZERO).await.unwrap_err();
    assert_eq!(ingester.health().memory_bytes, held);
    assert!(matches!(ingester.push(record("late")).await, Err(PushError::Unavailable { .. })));
    ingester.drain(timeout).await.unwrap();
    assert!(ingester.health().memory_bytes < held);
    ingester.close(timeout).await.unwrap();
}

/// A push that was admitted and had not announced itself yet was acknowledged after the ingester had left.
#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_every_push_that_was_admitted() {
    let ingester = ingester(SimFs::new(1)).await;
    let shared = Arc::clone(&ingester.shared);
    let early = Applying::begin(&shared);
    shared.admit(&early).unwrap();
    ingester.drain(Duration::from_secs(1)).await.unwrap_err();
    let late = Applying::begin(&shared);
    assert!(matches!(shared.admit(&late), Err(PushError::Unavailable { .. })));
    drop((early, late));
    ingester.drain(Duration::from_secs(1)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_does_not_answer_is_waited_for_no_longer_than_there_is_time() {
    let (log, _never_runs) = AsyncWal::unstarted(wal(SimFs::new(1)));
    let ingester = ingester_on(log).await;
    let error = ingester.close(Duration::from_secs(3)).await.unwrap_err().to_string();
    assert_eq!(error, "log was not closed within 3s");
}

fn tail(tenant: &str, filter: &str) -> crate::wire::Tail {
    let crate::logql::Query::Logs(logs) = crate::logql::Query::parse(filter).unwrap() else {
        unreachable!("it asks for lines")
    };
    crate::wire::Tail {
        tenant: tenant.to_owned(),
        matchers: logs.matchers.iter().map(Into::into).collect(),
        filters: logs.filters.iter().map(Into::into).collect(),
    }
}

fn lines(tailed: crate::wire::Tailed) -> Vec<String> {
    let record = Record::parse(tailed.record).unwrap();
    let text = |line: &[u8]| String::from_utf8(line.to_vec()).unwrap();
    record.sections().flat_map(|s| s.entries().map(|entry| text(entry.line)).collect::<Vec<_>>()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_listener_hears_what_is_kept_once_and_what_it_asked_for_alone() {
    let ingester = ingester(SimFs::new(1)).await;
    ingester.push(record("before")).await.unwrap();
    let mut all = pin!(ingester.tail(&tail("t", r#"{app="a"}"#)).unwrap());
    let mut some = pin!(ingester.tail(&tail("t", r#"{app=~".+"} |= "w""#)).unwrap());
    let mut other = pin!(ingester.tail(&tail("other", r#"{app="a"}"#)).unwrap());
    for line in ["one", "two", "one"] {
        ingester.push(record(line)).await.unwrap();
    }
    assert_eq!(lines(all.next().await.unwrap()), ["one", "two"]);
    assert_eq!(lines(some.next().await.unwrap()), ["two"]);
    assert!(futures_util::poll!(other.next()).is_pending());
    ingester.drain(Duration::from_secs(1)).await.unwrap();
    assert!(
        all.next().await.is_none() && other.next().await.is_none(),
        "an ingester that has left ends them"
    );
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_does_not_read_misses_lines_and_is_told_which_until_it_is_gone() {
    let ingester = ingester(SimFs::new(1)).await;
    let mut slow = Box::pin(ingester.tail(&tail("t", r#"{app="a"}"#)).unwrap());
    for line in 0..1500 {
        ingester.push(record(&line.to_string())).await.unwrap();
    }
    let tailed = slow.next().await.unwrap();
    assert_eq!(tailed.dropped.len(), 1500 - 1024);
    assert_eq!(lines(tailed), (0..1024).map(|line| line.to_string()).collect::<Vec<_>>());
    ingester.push(record("on")).await.unwrap();
    assert_eq!(lines(slow.next().await.unwrap()), ["on"]);
    // Long lines are bounded by their bytes.
    for line in 0..10 {
        ingester.push(record(&format!("{line}{}", "x".repeat(1 << 20)))).await.unwrap();
    }
    let tailed = slow.next().await.unwrap();
    assert_eq!((tailed.dropped.len(), lines(tailed).len()), (7, 3));
    // And so is metadata.
    let value = "v".repeat(32 << 10);
    for line in 0..150 {
        let mut writer = Writer::new("t", 0);
        writer.begin(&[("app", "a")]);
        writer.entry(2_000_000, [format!("{line}").as_bytes(), b""], &[("k", &value)]);
        writer.end();
        ingester.push(writer.finish().record()).await.unwrap();
    }
    let tailed = slow.next().await.unwrap();
    assert_eq!((tailed.dropped.len(), lines(tailed).len()), (23, 127));
    assert_eq!(ingester.shared.listeners.len(), 1);
    drop(slow);
    assert_eq!(ingester.shared.listeners.len(), 0);
}

/// Chunks that were stored left the account although a reader still had all of their blocks.
#[tokio::test(start_paused = true)]
async fn what_is_stored_counts_as_long_as_somebody_still_reads_it_from_memory() {
    let ingester = ingester(SimFs::new(1)).await;
    let select = |limit| {
        let crate::wire::Tail { tenant, matchers, filters } = tail("t", r#"{app=~".+"}"#);
        crate::wire::Select { tenant, matchers, filters, limit, through_ns: i64::MAX, ..Default::default() }
    };
    let empty = ingester.health().memory_bytes;
    for limit in [0, 10] {
        for line in 0..50 {
            ingester.push(record(&format!("{line}{}", "x".repeat(4000)))).await.unwrap();
        }
        let held = ingester.health().memory_bytes;
        assert!(held > empty + 200_000, "{held}");
        let [mut read, unread] =
            [ingester.select(select(limit)).await.unwrap(), ingester.select(select(limit)).await.unwrap()]
                .map(Box::pin);
        ingester.flush().await;
        let pinned = ingester.health().memory_bytes;
        assert!(pinned > empty + 200_000 && pinned <= held, "{pinned} of {held}");
        while let Some(part) = read.next().await {
            part.unwrap();
        }
        drop(read);
        assert_eq!(ingester.health().memory_bytes, pinned, "the other has read nothing yet");
        drop(unread);
        assert_eq!(ingester.health().memory_bytes, empty);
    }
}
