use std::borrow::Cow;
use std::path::Path;

use async_trait::async_trait;
use bytes::Bytes;
use forebay_agent::logproto::{EntryAdapter, PushRequest, StreamAdapter};
use forebay_circuit::State;
use forebay_tenant::Snapshot;
use forebay_wal::{AppendError, Reject};
use parking_lot::Mutex;
use prost::Message;

use super::*;
use crate::client::{IngesterClient, Parts, ReadFailed, Tailing};
use crate::config::Config;
use crate::index::Span;
use crate::ingester::PushError;
use crate::labels::Labels;
use crate::logql::Matcher;
use crate::pipeline::{MAX_OPEN, distributor_options};
use crate::push::{LabelSet, Line};
use crate::record::Record;
use crate::wire::{Health, Pushed, Refused, Select, StreamVolume, Tail};

const RECORD_BYTES: usize = 4 << 10;

/// Keeps records, and refuses as it is told.
#[derive(Default)]
struct Fake {
    records: Mutex<Vec<Record>>,
    refused_app: Option<&'static str>,
    /// A section that it refuses although there is none.
    refused_section: Option<u32>,
    /// What to fail with, and how many records to take before.
    failure: Option<(usize, PushError)>,
    /// It takes what comes, and answers nobody.
    is_silent: bool,
}

impl Fake {
    fn lines(&self, app: &str) -> Vec<Vec<u8>> {
        let labels = Labels::from_sorted(&[("app", app)]);
        let records = self.records.lock();
        let sections = records.iter().flat_map(Record::sections).filter(|s| s.labels == labels.as_bytes());
        sections.flat_map(|s| s.entries()).map(|e| e.line.to_vec()).collect()
    }

    fn take(&self, record: Record) -> Result<Pushed, PushError> {
        let mut records = self.records.lock();
        if let Some((_, failure)) = self.failure.as_ref().filter(|(taken, _)| records.len() == *taken) {
            return Err(failure.clone());
        }
        let refuses = |labels: &[u8]| {
            self.refused_app.is_some_and(|app| Labels::from_sorted(&[("app", app)]).as_bytes() == labels)
        };
        let refused = (0..).zip(record.sections()).filter(|(_, s)| refuses(s.labels));
        let refused = refused.map(|(section, _)| section).chain(self.refused_section);
        let refused = refused.map(|section| Refused { section, active: 1, limit: 1 }).collect();
        records.push(record);
        Ok(Pushed { refused })
    }
}

#[async_trait]
impl IngesterClient for Fake {
    async fn push(&self, record: Record) -> Result<Pushed, PushError> {
        let pushed = self.take(record)?;
        if self.is_silent {
            std::future::pending::<()>().await;
        }
        Ok(pushed)
    }

    async fn select(&self, _: Select) -> Result<Parts, ReadFailed> {
        unreachable!("nobody reads")
    }

    async fn tail(&self, _: Tail) -> Result<Tailing, ReadFailed> {
        unreachable!("nobody reads")
    }

    async fn series(&self, _: &str, _: &[Matcher], _: Span) -> Result<Vec<Labels>, ReadFailed> {
        unreachable!("nobody reads")
    }

    async fn volume(&self, _: &str, _: &[Matcher], _: Span) -> Result<Vec<StreamVolume>, ReadFailed> {
        unreachable!("nobody reads")
    }

    async fn flush(&self) -> Result<(), ReadFailed> {
        Ok(())
    }

    async fn health(&self) -> Result<Health, ReadFailed> {
        Ok(Health::default())
    }
}

fn busy(retry_after: Option<Duration>) -> PushError {
    PushError::Busy { reason: "full".to_owned(), retry_after }
}

fn distributor(fake: Fake) -> (Distributor, Arc<Fake>) {
    let options = Options { record_bytes: RECORD_BYTES, ..distributor_options(&Config::default()) };
    distributor_with(fake, options)
}

fn distributor_with(fake: Fake, options: Options) -> (Distributor, Arc<Fake>) {
    let (clock, fake) = (Clock::simulated(1_000_000), Arc::new(fake));
    let members = Members::fixed(1, &["ingester-0"]).unwrap();
    members.serve("ingester-0", Arc::clone(&fake) as Arc<dyn IngesterClient>);
    let limits = Config::default().limits_config;
    let distributor = Distributor::new(members, Arc::new(Overrides::new(limits)), clock, options).unwrap();
    (distributor, fake)
}

/// Lines of `bytes` bytes, each with a time of its own.
fn stream(app: &'static str, lines: i64, bytes: usize) -> Stream<'static> {
    let line = |n: i64| Line {
        timestamp_ns: n,
        line: Cow::Owned(format!("{n:0bytes$}").into_bytes()),
        metadata: Vec::new(),
    };
    let labels = LabelSet::Pairs(vec![(Cow::Borrowed("app"), Cow::Borrowed(app))]);
    Stream { labels, lines: (0..lines).map(line).collect() }
}

/// What becomes of `streams`, as somebody pushes them who has all at once.
async fn push(distributor: &Distributor, streams: Vec<Stream<'_>>) -> Outcome {
    let mut room = distributor.intake().enter(u64::MAX);
    let read = distributor.push("t", 0, &mut room, |_, take| {
        streams.iter().for_each(take);
        Ok(())
    });
    read.await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_push_larger_than_a_record_is_stored_whole_in_several() {
    let (distributor, ingester) = distributor(Fake::default());
    let sent = || vec![stream("a", 2, 10), stream("b", 300, 100), stream("c", 7, 3000), stream("d", 1, 10)];
    assert!(matches!(push(&distributor, sent()).await, Outcome::Stored));
    for (sent, app) in sent().iter().zip(["a", "b", "c", "d"]) {
        let sent: Vec<_> = sent.lines.iter().map(|l| l.line.to_vec()).collect();
        assert_eq!(ingester.lines(app), sent, "stream {app}");
    }
    let records = ingester.records.lock();
    assert!(records.len() > 12, "{} records", records.len());
    let largest = records.iter().map(|r| r.bytes().len()).max().unwrap();
    assert!(largest <= RECORD_BYTES + 16, "a record of {largest} bytes");
    drop(records);
    assert_eq!(distributor.shared.batch.targets.total_in_flight().bytes, 0);
}

/// A message of lines, and what it takes.
fn body(lines: usize, bytes: usize) -> (Body, u64) {
    let entry = EntryAdapter { line: vec![b'x'; bytes].into(), ..EntryAdapter::default() };
    let streams = vec![StreamAdapter { labels: "{app=\"a\"}".to_owned(), entries: vec![entry; lines] }];
    let message = Bytes::from(PushRequest { streams }.encode_to_vec());
    let size = message.len() as u64;
    (Body::Protobuf(message), size)
}

/// A stalled disk refused pushes where only half of the room was in memory still.
#[tokio::test(start_paused = true)]
async fn while_a_push_waits_for_ingesters_it_holds_room_for_its_record_alone() {
    let (distributor, ingester) = distributor(Fake { is_silent: true, ..Fake::default() });
    let (body, size) = body(10, 10_000);
    let mut room = distributor.intake().enter(1 << 20);
    room.grow(size).unwrap();
    let mut pushing = Box::pin(distributor.push_body("t", body, &mut room));
    assert!(futures_util::poll!(pushing.as_mut()).is_pending());
    let records: usize = ingester.records.lock().iter().map(|record| record.bytes().len()).sum();
    assert!(records < 11_000, "parts go one after the other: {records}");
    let held = distributor.intake().held();
    assert!((100_000..101_000).contains(&held), "{held}");
    drop(pushing);
    drop(room);
    assert_eq!(distributor.intake().held(), 0);
}

/// Up to half a gigabyte was taken for a record, and nobody had been asked.
#[tokio::test(start_paused = true)]
async fn a_record_is_written_where_there_is_room_for_it_beside_its_body() {
    let options = Options { intake_bytes: 1 << 20, ..distributor_options(&Config::default()) };
    let (distributor, ingester) = distributor_with(Fake::default(), options);
    let intake = distributor.intake();
    let push = async || {
        let (body, size) = body(3, 100_000);
        let mut room = intake.enter(1 << 20);
        room.grow(size).unwrap();
        distributor.push_body("t", body, &mut room).await
    };
    let mut others = intake.enter(0);
    others.grow(512 << 10).unwrap();
    let refused = push().await;
    let Err(crate::push::PushError::Busy { bytes, .. }) = refused else { panic!("{refused:?}") };
    assert!(bytes > 300_000, "{bytes}");
    assert!(ingester.records.lock().is_empty());
    drop(others);
    assert!(matches!(push().await, Ok(Outcome::Stored)));
    assert_eq!(intake.held(), 0);
}

/// The labels of a text that was read before were those of the limits of then.
#[tokio::test(start_paused = true)]
async fn labels_that_were_valid_are_checked_again_when_the_limits_change() {
    let (distributor, ingester) = distributor(Fake::default());
    let entry = EntryAdapter { line: Bytes::from_static(b"x"), ..EntryAdapter::default() };
    let streams = vec![StreamAdapter { labels: "{app=\"a\"}".to_owned(), entries: vec![entry] }];
    let message = Bytes::from(PushRequest { streams }.encode_to_vec());
    let push = async || {
        let mut room = distributor.intake().enter(1 << 20);
        distributor.push_body("t", Body::Protobuf(message.clone()), &mut room).await.unwrap()
    };
    for pushes in 1..=2 {
        assert!(matches!(push().await, Outcome::Stored));
        assert_eq!(ingester.lines("a").len(), pushes);
    }
    let mut limits = Config::default().limits_config;
    limits.max_label_value_length = 0;
    distributor.shared.overrides.store(Snapshot::new(limits));
    let Outcome::Invalid(report) = push().await else { panic!("not checked") };
    assert_eq!(report.reasons().keys().copied().collect::<Vec<_>>(), ["label_value_too_long"]);
    assert_eq!(ingester.lines("a").len(), 2);
}

/// Streams in front of the one that does not decode had been taken already.
#[tokio::test(start_paused = true)]
async fn nothing_is_stored_of_a_body_that_does_not_decode_to_its_end() {
    let (distributor, ingester) = distributor(Fake::default());
    let entry = EntryAdapter { line: Bytes::from_static(b"x"), ..EntryAdapter::default() };
    let streams = vec![StreamAdapter { labels: "{app=\"a\"}".to_owned(), entries: vec![entry] }];
    let mut message = PushRequest { streams }.encode_to_vec();
    message.extend([0x0a, 1]);
    let mut room = distributor.intake().enter(1 << 20);
    let outcome = distributor.push_body("t", Body::Protobuf(message.into()), &mut room).await;
    assert!(matches!(outcome, Err(crate::push::PushError::Malformed { .. })), "{outcome:?}");
    assert!(ingester.records.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_stream_over_the_limit_is_counted_over_all_its_records() {
    let (distributor, ingester) = distributor(Fake { refused_app: Some("b"), ..Fake::default() });
    let streams = vec![stream("a", 100, 100), stream("b", 200, 100), stream("c", 100, 100)];
    let Outcome::StreamLimited(report) = push(&distributor, streams).await else { panic!("not limited") };
    assert_eq!((report.lines(), report.discarded()), (400, 200));
    assert_eq!(report.reasons()["stream_limit"].bytes, 200 * 100);
    assert_eq!(ingester.lines("c").len(), 100, "what comes behind is stored");
}

#[tokio::test(start_paused = true)]
async fn once_a_record_fails_the_rest_is_not_sent_and_streams_are_counted_as_such() {
    let failure = busy(None);
    let (distributor, ingester) = distributor(Fake { failure: Some((3, failure)), ..Fake::default() });
    let streams = vec![stream("a", 1, 10), stream("b", 300, 100), stream("c", 300, 100)];
    let Outcome::Unavailable { message } = push(&distributor, streams).await else { panic!("stored") };
    let told =
        "2 of 3 streams did not reach quorum of their replicas, 1 did; first failure: instance ingester-0";
    assert!(message.starts_with(told), "{message}");
    assert_eq!(ingester.records.lock().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_ingester_that_refuses_what_it_was_not_sent_has_acknowledged_nothing() {
    let (distributor, _) = distributor(Fake { refused_section: Some(99), ..Fake::default() });
    let outcome = push(&distributor, vec![stream("a", 1, 10), stream("b", 1, 10)]).await;
    let Outcome::Unavailable { message } = outcome else { panic!("{outcome:?}") };
    assert!(message.starts_with("2 of 2 streams did not reach quorum"), "{message}");
}

/// The log's own limit was a reason to send the same again and again.
#[tokio::test(start_paused = true)]
async fn a_record_that_never_fits_is_the_clients_to_split_and_one_that_is_none_is_not() {
    let never = PushError::from(AppendError::Rejected(Reject::TooLarge {
        dir: Path::new("/log").into(),
        len: 70,
        limit: 64,
    }));
    let (refusing, ingester) = distributor(Fake { failure: Some((0, never)), ..Fake::default() });
    let outcome = push(&refusing, vec![stream("a", 300, 100)]).await;
    let Outcome::TooLarge { message } = outcome else { panic!("{outcome:?}") };
    assert!(message.contains("record of 70 bytes exceeds the limit of 64"), "{message}");
    assert_eq!(ingester.records.lock().len(), 0);

    let newer = PushError::from(Record::parse(Bytes::from_static(&[2, 0, 0, 0])).unwrap_err());
    let (refusing, _) = distributor(Fake { failure: Some((0, newer)), ..Fake::default() });
    let outcome = push(&refusing, vec![stream("a", 1, 100)]).await;
    assert!(matches!(outcome, Outcome::Unavailable { .. }), "{outcome:?}");
}

#[tokio::test(start_paused = true)]
async fn the_largest_line_travels_with_its_metadata_and_larger_metadata_is_refused() {
    let (distributor, ingester) = distributor(Fake::default());
    let mut limits = Config::default().limits_config;
    (limits.max_line_size, limits.max_structured_metadata_size) = (0, u64::MAX);
    distributor.shared.overrides.store(Snapshot::new(limits));
    let line = |metadata: usize| {
        let mut stream = stream("a", 1, 1);
        stream.lines[0].line = vec![b'x'; 16 << 20].into();
        stream.lines[0].metadata.push(("k".into(), "v".repeat(metadata).into()));
        stream
    };
    let fits = push(&distributor, vec![line((16 << 20) - 1)]).await;
    assert!(matches!(fits, Outcome::Stored), "{fits:?}");
    assert!(matches!(push(&distributor, vec![line(16 << 20)]).await, Outcome::Invalid(_)));
    assert_eq!(ingester.lines("a").len(), 1);
}

/// The state of the one breaker after `pushes` were refused with `failure`.
async fn after(pushes: usize, failure: PushError) -> State {
    let (distributor, _) = distributor(Fake { failure: Some((0, failure)), ..Fake::default() });
    for _ in 0..pushes {
        let outcome = push(&distributor, vec![stream("a", 1, 10)]).await;
        assert!(matches!(outcome, Outcome::Unavailable { .. } | Outcome::TooLarge { .. }), "{outcome:?}");
    }
    distributor.shared.breakers.get(&Arc::from("ingester-0")).unwrap().state()
}

#[tokio::test(start_paused = true)]
async fn an_ingester_is_left_alone_when_it_fails_and_for_as_long_as_it_asks_when_it_is_full() {
    let open_for = async |failure: PushError| match after(5, failure).await {
        State::Open { retry_after } => retry_after.unwrap(),
        other => panic!("{other}"),
    };
    let (least, most) = (Duration::from_millis(800), Duration::from_secs(1));
    let reason = || "for a reason".to_owned();
    for failure in [
        PushError::Unavailable { reason: reason() },
        PushError::Indeterminate { reason: reason() },
        busy(None),
        busy(Some(Duration::from_millis(1))),
    ] {
        let wait = open_for(failure.clone()).await;
        assert!((least..=most).contains(&wait), "{failure}: {wait:?}");
    }
    assert_eq!(open_for(busy(Some(Duration::from_secs(3)))).await, Duration::from_secs(3));
    // Nobody may be left alone for longer than it takes to find out that it is gone.
    assert_eq!(open_for(busy(Some(Duration::from_hours(1)))).await, MAX_OPEN);
}

#[tokio::test(start_paused = true)]
async fn an_ingester_that_is_only_as_busy_as_it_can_be_is_not_left_alone() {
    let reason = || "for a reason".to_owned();
    for refusal in [
        busy(Some(Duration::ZERO)),
        PushError::TooLarge { reason: reason() },
        PushError::Malformed { reason: reason() },
    ] {
        assert_eq!(after(50, refusal.clone()).await, State::Closed, "{refusal}");
    }
    let crowded =
        AppendError::Rejected(Reject::Backpressure { dir: Path::new("/log").into(), inflight: 2, limit: 1 });
    assert_eq!(after(50, crowded.into()).await, State::Closed);
    let full = Reject::NoSpace { dir: Path::new("/log").into(), needed: 2, free: Some(1) };
    assert!(matches!(after(5, AppendError::Rejected(full).into()).await, State::Open { .. }));
}
