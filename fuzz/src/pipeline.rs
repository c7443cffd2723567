//! What the reference pipeline takes from clients, and the record that its parts exchange.

use std::sync::Arc;

use bytes::Bytes;
use forebay_examples::distributor::{Admission, Known, Take};
use forebay_examples::labels::Labels;
use forebay_examples::logql::{Logs, Query, QueryError};
use forebay_examples::push::otlp::Export;
use forebay_examples::push::{Body, ContentType, Encoding, Intake, LabelSet, Line, PushError, Room, Stream};
use forebay_examples::record::{Entry, Push, Record, Writer};
use forebay_tenant::{Limits, labels};

/// No body may unpack to more, and what is decoded of it may take no more.
const LIMIT: u64 = 1 << 20;
/// When pushes are taken in.
const NOW_NS: i64 = 1_700_000_000_000_000_000;
/// No error, and no example of a reason, is longer.
const MOST_TOLD: usize = 1024;

/// A push record: what the reader takes is what the writer writes, byte for byte.
pub fn push_record(data: &[u8]) {
    let Ok(record) = Record::parse(Bytes::copy_from_slice(data)) else { return };
    let mut writer = Writer::new(record.tenant(), data.len());
    let mut empty = false;
    for section in record.sections() {
        let labels = Labels::from_canonical(section.labels).expect("checked by the reader");
        writer.begin(&labels.pairs());
        let mut entries = 0;
        for entry in section.entries() {
            writer.entry(entry.timestamp_ns, [entry.line, b""], &entry.metadata);
            entries += 1;
        }
        writer.end();
        assert_eq!(entries, section.count);
        empty |= entries == 0;
    }
    if !empty {
        assert_eq!(writer.finish().all(), data, "written again, it is the same");
    }
    let all = vec![true; record.sections().len()];
    assert_eq!(record.retain(&all), data, "a record without none of its sections is the record");
    let none =
        Record::parse(record.retain(&vec![false; all.len()])).expect("a record without sections is a record");
    assert_eq!((none.tenant(), none.sections().len()), (record.tenant(), 0));
}

/// A JSON push, plain and compressed.
pub fn push_json(data: &[u8]) {
    let _ = check(data, ContentType::Json, Encoding::Identity, data.len());
    for encoding in [Encoding::Gzip, Encoding::Deflate] {
        let _ = check(data, ContentType::Json, encoding, LIMIT as usize);
    }
}

/// A protobuf push: as it comes over the wire, and as the message within.
pub fn push_protobuf(data: &[u8]) {
    let raw = check(data, ContentType::Protobuf, Encoding::Identity, LIMIT as usize);
    let named = check(data, ContentType::Protobuf, Encoding::Snappy, LIMIT as usize);
    assert_eq!(raw, named, "with and without the header it is the same block");
    let block = snap::raw::Encoder::new().compress_vec(data).expect("far below 4 GiB");
    let _ = check(&block, ContentType::Protobuf, Encoding::Snappy, data.len());
}

/// OpenTelemetry's logs in both encodings, plain and in gzip.
pub fn push_otlp(data: &[u8]) {
    for content in [ContentType::Protobuf, ContentType::Json] {
        for encoding in [Encoding::Identity, Encoding::Gzip] {
            let _ = bounded(|room| {
                let body = encoding.unpack(Bytes::copy_from_slice(data), room)?;
                let export = Export::read(&body, content, room)?;
                let streams = export.streams(NOW_NS, room)?;
                assert!(streams.iter().all(|stream| !stream.lines.is_empty()), "a stream has lines");
                // What is not borrowed was decoded, and what is repeated counts as that.
                let most = body.len() + LIMIT as usize;
                assert!(structures(&streams) as u64 <= LIMIT, "{} bytes of structures", structures(&streams));
                Ok(admitted(most, |take| streams.iter().for_each(take)))
            });
        }
    }
}

/// Reads a push, of which no more than `most` bytes are text; the number of its lines.
fn check(body: &[u8], content: ContentType, encoding: Encoding, most: usize) -> Result<usize, PushError> {
    bounded(|room| {
        let body = Body::unpack(Bytes::copy_from_slice(body), content, encoding, room)?;
        let mut held = 0;
        body.each_stream(room, |stream| {
            let bytes = structures(std::slice::from_ref(stream));
            // Of a message they are in memory one after the other.
            held = if content == ContentType::Json { held + bytes } else { held.max(bytes) };
        })?;
        assert!(
            (1..=LIMIT as usize).contains(&held),
            "{held} bytes of structures, and no streams are an error"
        );
        Ok(admitted(most, |take| {
            let room = &mut Intake::new(u64::MAX).enter(LIMIT);
            body.each_stream(room, take).expect("what was read once is read again");
        }))
    })
}

/// Whatever comes of it, a push gives back the room that it held, and what is said of it is short.
fn bounded(take: impl FnOnce(&mut Room) -> Result<usize, PushError>) -> Result<usize, PushError> {
    let intake = Intake::new(u64::MAX);
    let taken = take(&mut intake.enter(LIMIT));
    assert_eq!(intake.held(), 0, "all room is given back");
    if let Err(error) = &taken {
        let told = error.to_string();
        assert!(told.len() <= MOST_TOLD, "{} bytes: {:?}", told.len(), told.get(..200));
    }
    taken
}

/// A line with the labels that it was pushed with; `None` where these are none.
struct Pushed {
    labels: Option<Arc<[(String, String)]>>,
    timestamp_ns: i64,
    line: Vec<u8>,
    metadata: Vec<(String, String)>,
}

/// The number of lines that `streams` gives, each of which is in the record or told to be refused.
fn admitted(most: usize, streams: impl Fn(Take<'_>)) -> usize {
    let mut pushed = Vec::new();
    streams(&mut |stream| pushed.extend(lines(stream)));
    let bytes = |line: &Pushed| {
        line.line.len() + line.metadata.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
    };
    let bytes: usize = pushed.iter().map(bytes).sum();
    assert!(bytes <= most, "{bytes} bytes of lines in at most {most}");
    let tight = Limits {
        max_line_size: 16,
        max_line_size_truncate: true,
        max_label_names_per_series: 2,
        max_structured_metadata_entries_count: 1,
        reject_old_samples: false,
        ..Limits::default()
    };
    let known = Known::default();
    for limits in [Limits::default(), tight].map(Arc::new) {
        let first = admit(&streams, &known, &limits, &pushed);
        let again = admit(&streams, &known, &limits, &pushed);
        assert_eq!(first.all(), again.all(), "labels that are known are those that were read");
    }
    pushed.len()
}

/// The lines of `stream` as they are to be found again.
fn lines(stream: &Stream<'_>) -> Vec<Pushed> {
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let labels: Option<Arc<[_]>> = match &stream.labels {
        LabelSet::Text(text) => {
            let mut unescaped = String::new();
            let pairs = labels::parse(text, &mut unescaped).ok();
            pairs.map(|pairs| pairs.into_iter().map(owned).collect())
        }
        LabelSet::Pairs(pairs) => {
            let pairs = pairs.iter().filter(|(_, value)| !value.is_empty());
            let mut pairs: Vec<_> =
                pairs.map(|(name, value)| owned((name.as_ref(), value.as_ref()))).collect();
            pairs.sort();
            Some(pairs.into())
        }
    };
    let line = |line: &Line<'_>| Pushed {
        labels: labels.clone(),
        timestamp_ns: line.timestamp_ns,
        line: line.line.to_vec(),
        metadata: line.metadata.iter().map(|(name, value)| owned((name.as_ref(), value.as_ref()))).collect(),
    };
    stream.lines.iter().map(line).collect()
}

/// Takes what is valid through to the record that an ingester reads, as a distributor does.
fn admit(streams: &impl Fn(Take<'_>), known: &Known, limits: &Arc<Limits>, pushed: &[Pushed]) -> Push {
    let chunk_limits = forebay_chunk::Limits::default();
    let admission = Admission { limits, now_ns: NOW_NS, chunk_limits: &chunk_limits, record_bytes: 4 << 10 };
    let mut admitted = admission.begin("team-a", 0).knowing(known, limits);
    streams(&mut |stream| admitted.take(stream));
    let (push, report) = admitted.finish();
    let stored: u64 = push.sections().iter().map(|section| u64::from(section.entries)).sum();
    assert_eq!(report.lines(), pushed.len() as u64);
    assert_eq!(stored + report.discarded(), pushed.len() as u64, "each line is stored or told of");
    for (reason, discards) in report.reasons() {
        assert!(discards.lines > 0 && discards.example.len() <= MOST_TOLD, "{reason}: {discards:?}");
    }

    let record = Record::parse(push.all()).expect("what a distributor writes is a record");
    assert_eq!(record, push.record(), "and need not be read to be taken for one");
    assert_eq!((record.tenant(), record.sections().len()), ("team-a", push.sections().len()));
    let (mut entries, mut rest) = (0, pushed.iter());
    for section in record.sections() {
        let labels = Labels::from_canonical(section.labels).expect("written canonically");
        let pairs = labels.pairs();
        assert!(!pairs.is_empty() && pairs.is_sorted_by(|a, b| a.0 < b.0), "{labels}");
        assert!(pairs.len() <= limits.max_label_names_per_series + 1, "{labels}");
        for entry in section.entries() {
            assert!(entry.line.len() as u64 <= limits.max_line_size, "{} bytes", entry.line.len());
            let found = rest.any(|line| line.is_stored_as(&entry, &pairs, limits));
            assert!(found, "an entry of {labels} was pushed to it, behind the one before");
            entries += 1;
        }
    }
    assert_eq!(entries, stored, "all that was written is read");
    push
}

impl Pushed {
    fn is_stored_as(&self, entry: &Entry<'_>, labels: &[(&str, &str)], limits: &Limits) -> bool {
        let same = |own: &[(String, String)], other: &[(&str, &str)]| {
            own.iter().map(|(name, value)| (name.as_str(), value.as_str())).eq(other.iter().copied())
        };
        let is_cut = limits.max_line_size_truncate && self.line.starts_with(entry.line);
        self.timestamp_ns == entry.timestamp_ns
            && (self.line == entry.line || is_cut)
            && same(&self.metadata[..], entry.metadata.as_slice())
            && self.labels.as_ref().is_some_and(|own| same(&own[..], labels))
    }
}

/// Bytes that the lists of a push take.
fn structures(streams: &[Stream<'_>]) -> usize {
    let pair = size_of::<forebay_examples::push::Pair<'_>>();
    let stream = |stream: &Stream<'_>| {
        let labels = match &stream.labels {
            LabelSet::Pairs(pairs) => pairs.capacity() * pair,
            LabelSet::Text(_) => 0,
        };
        let metadata: usize = stream.lines.iter().map(|line| line.metadata.capacity() * pair).sum();
        labels + metadata + stream.lines.capacity() * size_of::<Line<'_>>()
    };
    size_of_val(streams) + streams.iter().map(stream).sum::<usize>()
}

/// A query: parentheses around it change nothing, and mistakes are within it.
pub fn logql(data: &[u8]) {
    let Some(text) = crate::text(data) else { return };
    let query = match Query::parse(text) {
        Ok(query) => query,
        Err(QueryError::Syntax { at, .. } | QueryError::NotSupported { at, .. }) => {
            return assert!(text.is_char_boundary(at), "position {at} of {text:?}");
        }
        Err(_) => return,
    };
    let matchers = &query.logs().matchers;
    assert!(matchers.iter().any(|matcher| !matcher.matches_empty()), "{text} would read every stream");
    match Query::parse(&format!("(\n{text}\n)")) {
        Ok(inner) => assert_eq!(inner.to_string(), query.to_string()),
        Err(QueryError::Syntax { what, .. }) if what.contains("within each other") => {}
        Err(e) => panic!("{text} in parentheses: {e}"),
    }
    let printed = Query::parse(&query.to_string()).unwrap_or_else(|e| panic!("{query} of {text}: {e}"));
    assert_eq!(printed.to_string(), query.to_string());
    let _ = query.logs().keeps(data);
    let _ = Logs::parse_selector(text);
}
