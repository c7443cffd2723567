mod split;
mod tallied;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use forebay_agent::clock::Clock;
use forebay_circuit::Breaker;
use forebay_ring::Require;
use forebay_tenant::{Limits, Overrides};
use forebay_wal::aio::AsyncWal;
use forebay_wal::fs::sim::SimFs;
use forebay_wal::{Time, Wal};
use futures_util::{StreamExt, stream};
use object_store::memory::InMemory;

use super::*;
use crate::client::{IngesterClient, Parts, ReadFailed, Tailing};
use crate::config::Config;
use crate::index::MemoryIndex;
use crate::ingester::{Ingester, PushError};
use crate::logql::Query;
use crate::pipeline::ingester_options;
use crate::record::{Record, Writer};
use crate::wire::{Health, Pushed, Selected, StreamVolume, Tail};

/// An ingester that answers with the same part again and again, later each time, and then may break off.
#[derive(Default)]
pub(super) struct Answers {
    parts: usize,
    breaks_off: bool,
    /// Whether it never says which streams it has.
    stalls: bool,
    /// Whether its parts hold nothing.
    empty: bool,
    /// How often somebody listened to it: it breaks off at once.
    pub(super) listened: Arc<AtomicUsize>,
    /// Records that somebody holds, and the most there were.
    held: Arc<[AtomicUsize; 2]>,
}

/// Bytes that count while they live.
struct Counted(Bytes, Arc<[AtomicUsize; 2]>);

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.1[0].fetch_sub(1, Ordering::Relaxed);
    }
}

const LINES: i64 = 10;

#[async_trait]
impl IngesterClient for Answers {
    async fn push(&self, _: Record) -> Result<Pushed, PushError> {
        unreachable!("it is only read")
    }

    async fn select(&self, select: Select) -> Result<Parts, ReadFailed> {
        let (held, empty) = (Arc::clone(&self.held), self.empty);
        let part = move |number: usize| {
            let mut writer = Writer::new(&select.tenant, 0);
            writer.begin(&[("app", "a")]);
            for line in 0..LINES {
                let at = i64::try_from(number).unwrap() * LINES + line;
                writer.entry(at, [&u128::to_le_bytes(1), b""], &[]);
            }
            writer.end();
            let now = held[0].fetch_add(1, Ordering::Relaxed) + 1;
            held[1].fetch_max(now, Ordering::Relaxed);
            let record = if empty { Bytes::new() } else { writer.finish().all() };
            let record = Bytes::from_owner(Counted(record, Arc::clone(&held)));
            Ok(Selected { record, read_bytes: 100, ..Selected::default() })
        };
        let end = self.breaks_off.then(|| Err(ReadFailed("it broke off".to_owned())));
        Ok(stream::iter(0..self.parts).map(part).chain(stream::iter(end)).boxed())
    }

    async fn tail(&self, _: Tail) -> Result<Tailing, ReadFailed> {
        self.listened.fetch_add(1, Ordering::Relaxed);
        Ok(stream::iter([Err(ReadFailed("it broke off".to_owned()))]).boxed())
    }

    async fn series(&self, _: &str, _: &[Matcher], _: Span) -> Result<Vec<Labels>, ReadFailed> {
        if self.stalls {
            std::future::pending::<()>().await;
        }
        Ok(vec![Labels::from_sorted(&[("app", "a")])])
    }

    async fn volume(&self, _: &str, _: &[Matcher], _: Span) -> Result<Vec<StreamVolume>, ReadFailed> {
        unreachable!("only lines are read")
    }

    async fn flush(&self) -> Result<(), ReadFailed> {
        unreachable!("it is only read")
    }

    async fn health(&self) -> Result<Health, ReadFailed> {
        Ok(Health::default())
    }
}

fn storage() -> Storage {
    let puts = Breaker::with_clock(forebay_circuit::Options::default(), monotonic_ns as fn() -> u64).unwrap();
    Storage::new(Arc::new(InMemory::new()), Arc::new(MemoryIndex::default()), puts)
}

pub(super) fn querier(copies: u8, ingesters: Vec<Arc<dyn IngesterClient>>) -> Querier {
    querier_on(storage(), copies, ingesters)
}

fn querier_on(storage: Storage, copies: u8, ingesters: Vec<Arc<dyn IngesterClient>>) -> Querier {
    let ids: Vec<String> = (0..ingesters.len()).map(|number| number.to_string()).collect();
    let members = Members::fixed(copies, &ids.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    for (id, client) in ids.iter().zip(ingesters) {
        members.serve(id, client);
    }
    let requirements = Requirements { default: Require::Quorum, tenants: BTreeMap::default() };
    let options = Options { max_concurrent: NonZeroUsize::new(4).unwrap(), block_cache_bytes: 1 << 20 };
    Querier::new(members, storage, requirements, options)
}

/// `count_over_time` of everything at time 0 and after.
fn count(max_bytes: u64) -> MetricQuery {
    let Query::Metric(metric) = Query::parse(r#"sum(count_over_time({app=~".+"}[100h]))"#).unwrap() else {
        unreachable!("it is a metric query")
    };
    let grid = Grid::instant(360_000_000_000_000 - 1);
    let (span, split) = (reads(&metric, grid), Split::default());
    MetricQuery { span, metric, grid, max_series: 10, max_bytes, split }
}

/// The newest `limit` lines of all.
fn newest(logs: Logs, limit: usize) -> LogQuery {
    let (direction, max_bytes, split) = (Direction::Backward, u64::MAX, Split::default());
    LogQuery { logs, span: Span::ALL, direction, limit, max_bytes, split }
}

fn value(series: &Series) -> f64 {
    series.series[0].1[0].1
}

/// All parts of all answers were held, in twice their size.
#[tokio::test]
async fn of_a_long_answer_a_part_or_two_are_held_at_a_time() {
    let held: Arc<[AtomicUsize; 2]> = Arc::default();
    let client = Answers { parts: 500, held: Arc::clone(&held), ..Answers::default() };
    let series = querier(1, vec![Arc::new(client)]).metric("t", &count(u64::MAX)).await.unwrap();
    assert_eq!(value(&series), 5000.0);
    assert_eq!(held[0].load(Ordering::Relaxed), 0);
    assert!(held[1].load(Ordering::Relaxed) <= 2, "{} were held", held[1].load(Ordering::Relaxed));
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_missed_where_no_other_makes_up_for_it() {
    let client = |parts, breaks_off| {
        Arc::new(Answers { parts, breaks_off, ..Answers::default() }) as Arc<dyn IngesterClient>
    };
    let alone = querier(1, vec![client(3, true)]).metric("t", &count(u64::MAX)).await.unwrap_err();
    assert!(
        matches!(&alone, ExecuteError::Ingesters { failed: 1, asked: 1, first, .. } if first == "it broke off")
    );
    let of_three = querier(3, vec![client(3, true), client(9, false), client(9, false)]);
    assert_eq!(value(&of_three.metric("t", &count(u64::MAX)).await.unwrap()), 90.0);
    let two_fail = querier(3, vec![client(3, true), client(2, true), client(9, false)]);
    let error = two_fail.metric("t", &count(u64::MAX)).await.unwrap_err();
    assert!(matches!(error, ExecuteError::Ingesters { failed: 2, asked: 3, tolerated: 1, .. }));
}

#[tokio::test(start_paused = true)]
async fn labels_do_not_wait_for_an_ingester_that_stalls_where_others_are_enough() {
    let client = |stalls| Arc::new(Answers { stalls, ..Answers::default() }) as Arc<dyn IngesterClient>;
    let values = async |stall: [bool; 3]| {
        querier(3, stall.map(client).into()).label_values("t", Some("app"), &[], Span::ALL).await
    };
    let started_ns = monotonic_ns();
    assert_eq!(values([true, false, false]).await.unwrap(), BTreeSet::from(["a".to_owned()]));
    assert_eq!(monotonic_ns(), started_ns);
    let error = values([true, true, false]).await.unwrap_err();
    assert!(matches!(error, ExecuteError::Ingesters { failed: 2, asked: 3, tolerated: 1, .. }), "{error}");
}

#[tokio::test]
async fn what_ingesters_read_is_part_of_the_bytes_that_a_query_reads() {
    let client = || Arc::new(Answers { parts: 11, ..Answers::default() });
    let refused = querier(1, vec![client()]).metric("t", &count(1000)).await.unwrap_err();
    assert!(matches!(refused, ExecuteError::TooManyBytes { bytes: 1100, limit: 1000 }), "{refused}");
    querier(1, vec![client()]).metric("t", &count(1100)).await.unwrap();
}

/// All that the ingesters had was read before anybody asked for the limit.
#[tokio::test]
async fn a_query_of_lines_ends_as_soon_as_it_is_beyond_its_bytes() {
    let client = || Arc::new(Answers { parts: usize::MAX, empty: true, ..Answers::default() });
    let Query::Logs(logs) = Query::parse(r#"{app=~".+"}"#).unwrap() else {
        unreachable!("it asks for lines")
    };
    let query = LogQuery { max_bytes: 1000, ..newest(logs, 1) };
    let refused = querier(2, vec![client(), client()]).lines("t", query).await.unwrap_err();
    assert!(matches!(refused, ExecuteError::TooManyBytes { bytes: 1100, limit: 1000 }), "{refused}");
}

async fn ingester() -> Ingester<SimFs> {
    ingester_on(storage()).await
}

async fn ingester_on(storage: Storage) -> Ingester<SimFs> {
    let options = forebay_wal::Options { time: Time::frozen(), ..forebay_wal::Options::default() };
    let (log, committer) =
        AsyncWal::unstarted(Wal::open_in(SimFs::new(1), Path::new("/wal"), options).unwrap().0);
    tokio::spawn(committer.run_async());
    let overrides = Arc::new(Overrides::new(Limits::default()));
    let options = ingester_options(&Config::default()).unwrap();
    Ingester::start(log, storage, overrides, Clock::simulated(1), options).await.unwrap()
}

/// Of `streams` streams, stream n has the lines n, n + streams, n + 2 * streams ..., each at the time that it says.
async fn filled(streams: i64, lines: i64) -> Ingester<SimFs> {
    let ingester = ingester().await;
    let mut writer = Writer::new("t", 0);
    for stream in 0..streams {
        writer.begin(&[("app", &format!("{stream:04}"))]);
        for line in 0..lines {
            let at = line * streams + stream;
            writer.entry(at, [at.to_string().as_bytes(), b""], &[]);
        }
        writer.end();
    }
    ingester.push(writer.finish().record()).await.unwrap();
    ingester
}

#[tokio::test(start_paused = true)]
async fn the_first_lines_of_many_streams_are_found_from_either_end_whatever_the_filter() {
    let ingester = filled(100, 30).await;
    let querier = querier(1, vec![Arc::new(ingester)]);
    for (text, keeps) in [(r#"{app=~".+"}"#, ""), (r#"{app=~".+"} |= "7""#, "7")] {
        let Query::Logs(logs) = Query::parse(text).unwrap() else { unreachable!("it asks for lines") };
        for direction in [Direction::Forward, Direction::Backward] {
            let mut expected: Vec<i64> =
                (0..3000).filter(|at: &i64| at.to_string().contains(keeps)).collect();
            if direction == Direction::Backward {
                expected.reverse();
            }
            expected.truncate(250);
            let query = LogQuery { direction, ..newest(logs.clone(), 250) };
            let lines = querier.lines("t", query).await.unwrap();
            let found: Vec<i64> = lines.entries.iter().map(|entry| entry.found.timestamp_ns).collect();
            assert_eq!(found, expected);
            for Answered { stream, found } in &lines.entries {
                assert_eq!(lines.streams[*stream].pairs()[0].1, format!("{:04}", found.timestamp_ns % 100));
                assert_eq!(found.line, found.timestamp_ns.to_string());
            }
        }
    }
}

/// A query of all lines in memory passed by `max_query_bytes_read`.
#[tokio::test(start_paused = true)]
async fn lines_in_memory_are_counted_by_their_bytes_and_not_by_what_is_sent_of_them() {
    let ingester = filled(3, 300).await;
    let bytes: u64 = (0..900).map(|at: i64| at.to_string().len() as u64).sum();
    let querier = querier(1, vec![Arc::new(ingester)]);
    let error = querier.metric("t", &count(bytes - 1)).await.unwrap_err();
    assert!(matches!(error, ExecuteError::TooManyBytes { bytes: read, .. } if read == bytes), "{error}");
    assert_eq!(value(&querier.metric("t", &count(bytes)).await.unwrap()), 900.0);
}

/// They counted without their metadata in memory, and with 8 bytes for each pair of it in chunks.
#[tokio::test(start_paused = true)]
async fn lines_with_metadata_count_as_much_in_memory_as_in_chunks() {
    let storage = storage();
    let ingester = ingester_on(storage.clone()).await;
    let mut writer = Writer::new("t", 0);
    writer.begin(&[("app", "a")]);
    for at in 0..100 {
        writer.entry(
            at,
            [b"line", b""],
            &[("name", "value"), ("trace_id", "0af7651916cd43dd8448eb211c80319c")],
        );
    }
    writer.end();
    ingester.push(writer.finish().record()).await.unwrap();
    let querier = querier_on(storage, 1, vec![Arc::new(ingester.clone())]);
    for _ in 0..2 {
        let error = querier.metric("t", &count(1999)).await.unwrap_err();
        assert!(matches!(error, ExecuteError::TooManyBytes { bytes: 2000, .. }), "{error}");
        assert_eq!(value(&querier.metric("t", &count(2000)).await.unwrap()), 100.0);
        IngesterClient::flush(&ingester).await.unwrap();
    }
}

const SECOND: i64 = 1_000_000_000;

/// Every group of streams was read to the end of the time where it had fewer lines than were asked for.
#[tokio::test(start_paused = true)]
async fn the_newest_line_is_found_without_reading_all_chunks() {
    let storage = storage();
    let ingester = ingester_on(storage.clone()).await;
    for hour in 0..10 {
        let mut writer = Writer::new("t", 0);
        for stream in 0..64 {
            let line = if (hour, stream) == (9, 63) { "hit" } else { "x" };
            writer.begin(&[("app", &format!("{stream:04}"))]);
            writer.entry(hour * 3600 * SECOND, [line.as_bytes(), b""], &[]);
            writer.end();
        }
        ingester.push(writer.finish().record()).await.unwrap();
        IngesterClient::flush(&ingester).await.unwrap();
    }
    let stored = storage.index().chunks("t", &[], Span::ALL).await.unwrap();
    assert_eq!(stored.len(), 640);
    let stored: u64 = stored.iter().map(|chunk| chunk.stored_bytes).sum();
    let querier = querier_on(storage, 1, vec![Arc::new(ingester)]);
    let Query::Logs(logs) = Query::parse(r#"{app=~".+"} |= "hit""#).unwrap() else {
        panic!("lines are asked for")
    };
    let lines = querier.lines("t", newest(logs, 1)).await.unwrap();
    assert_eq!(lines.entries.len(), 1);
    assert!(lines.stages.bytes <= stored / 5, "{} bytes of {stored} were read", lines.stages.bytes);
}

#[tokio::test(start_paused = true)]
async fn the_first_lines_are_the_same_wherever_they_are_and_come_once() {
    let storage = storage();
    let ingester = ingester_on(storage.clone()).await;
    // The last third stays in memory, and a part of each is pushed again with the next.
    for seconds in [0..1200_i64, 600..2400, 1800..3600] {
        let mut writer = Writer::new("t", 0);
        for stream in 0..40 {
            writer.begin(&[("app", &format!("{stream:04}"))]);
            for at in seconds.clone().filter(|at| at % 40 == stream) {
                writer.entry(at * SECOND, [at.to_string().as_bytes(), b""], &[]);
            }
            writer.end();
        }
        IngesterClient::flush(&ingester).await.unwrap();
        ingester.push(writer.finish().record()).await.unwrap();
    }
    let querier = querier_on(storage, 1, vec![Arc::new(ingester)]);
    for (text, keeps) in [(r#"{app=~".+"}"#, ""), (r#"{app=~".+"} |= "77""#, "77")] {
        let Query::Logs(logs) = Query::parse(text).unwrap() else { unreachable!("it asks for lines") };
        for (direction, limit) in [Direction::Forward, Direction::Backward]
            .into_iter()
            .flat_map(|d| [1, 30, 2000, 5000].map(|l| (d, l)))
        {
            let mut expected: Vec<i64> =
                (0..3600).filter(|at: &i64| at.to_string().contains(keeps)).collect();
            if direction == Direction::Backward {
                expected.reverse();
            }
            expected.truncate(limit);
            let query = LogQuery { direction, ..newest(logs.clone(), limit) };
            let lines = querier.lines("t", query).await.unwrap();
            let found = lines.entries.iter().map(|entry| entry.found.timestamp_ns / SECOND);
            assert_eq!(found.collect::<Vec<_>>(), expected, "{text} {direction:?} {limit}");
        }
    }
}
