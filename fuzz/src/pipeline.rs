//! What the reference pipeline takes from clients, and the record that its parts exchange.

use bytes::Bytes;
use forebay_examples::distributor::Admission;
use forebay_examples::labels::Labels;
use forebay_examples::logql::{Logs, Query, QueryError};
use forebay_examples::push::otlp::Export;
use forebay_examples::push::{Body, ContentType, Encoding, Intake, LabelSet, Line, PushError, Room, Stream};
use forebay_examples::record::{Record, Writer};
use forebay_tenant::Limits;

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
                Ok(admitted(&streams, body.len() + LIMIT as usize))
            });
        }
    }
}

/// Reads a push, of which no more than `most` bytes are text; the number of its lines.
fn check(body: &[u8], content: ContentType, encoding: Encoding, most: usize) -> Result<usize, PushError> {
    bounded(|room| {
        let body = Body::unpack(Bytes::copy_from_slice(body), content, encoding, room)?;
        let streams = body.streams(room)?;
        assert!(!streams.is_empty(), "no streams are an error");
        Ok(admitted(&streams, most))
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

/// The number of lines in `streams`, each of which is in the record or told to be refused.
fn admitted(streams: &[Stream<'_>], most: usize) -> usize {
    assert!(structures(streams) as u64 <= LIMIT, "{} bytes of structures", structures(streams));
    let lines = streams.iter().flat_map(|stream| &stream.lines);
    let metadata = |line: &Line<'_>| -> usize {
        line.metadata.iter().map(|(name, value)| name.len() + value.len()).sum()
    };
    let bytes: usize = lines.clone().map(|line| line.line.len() + metadata(line)).sum();
    assert!(bytes <= most, "{bytes} bytes of lines in at most {most}");
    let tight = Limits {
        max_line_size: 16,
        max_line_size_truncate: true,
        max_label_names_per_series: 2,
        max_structured_metadata_entries_count: 1,
        reject_old_samples: false,
        ..Limits::default()
    };
    for limits in [&Limits::default(), &tight] {
        admit(streams, limits, lines.clone().count() as u64);
    }
    lines.count()
}

/// Takes what is valid through to the record that an ingester reads.
fn admit(streams: &[Stream<'_>], limits: &Limits, lines: u64) {
    let chunk_limits = forebay_chunk::Limits::default();
    let admission = Admission { limits, now_ns: NOW_NS, chunk_limits: &chunk_limits, record_bytes: 4 << 10 };
    let (push, report) = admission.admit("team-a", streams);
    let stored: u64 = push.sections().iter().map(|section| u64::from(section.entries)).sum();
    assert_eq!(report.lines(), lines);
    assert_eq!(stored + report.discarded(), lines, "each line is stored or told of");
    for (reason, discards) in report.reasons() {
        assert!(discards.lines > 0 && discards.example.len() <= MOST_TOLD, "{reason}: {discards:?}");
    }

    let record = Record::parse(push.all()).expect("what a distributor writes is a record");
    assert_eq!((record.tenant(), record.sections().len()), ("team-a", push.sections().len()));
    let mut entries = 0;
    for section in record.sections() {
        let labels = Labels::from_canonical(section.labels).expect("written canonically");
        let pairs = labels.pairs();
        assert!(!pairs.is_empty() && pairs.is_sorted_by(|a, b| a.0 < b.0), "{labels}");
        assert!(pairs.len() <= limits.max_label_names_per_series + 1, "{labels}");
        for entry in section.entries() {
            assert!(entry.line.len() as u64 <= limits.max_line_size, "{} bytes", entry.line.len());
            entries += 1;
        }
    }
    assert_eq!(entries, stored, "all that was written is read");
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
