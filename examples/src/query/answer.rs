//! Answers in Loki's JSON. What is missing of an answer because it is damaged stands in its `warnings`.

use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_TYPE, HeaderValue};
use serde::Serialize;
use serde::ser::{SerializeMap, SerializeSeq, SerializeTuple, Serializer};

use super::merge::{Found, OwnedMetadata};
use super::stages::Stages;
use super::{Answered, Batch, Grid, Lines, Series};
use crate::labels::Labels;

#[derive(Serialize)]
struct Success<T> {
    status: &'static str,
    data: T,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Data<T> {
    result_type: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    encoding_flags: Vec<&'static str>,
    result: T,
    stats: Stats,
}

#[derive(Serialize)]
struct Stats {
    summary: Summary,
    stages: Stages,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    total_bytes_processed: u64,
    total_lines_processed: u64,
    total_entries_returned: u64,
    exec_time: f64,
}

impl Stats {
    fn new(stages: &Stages) -> Self {
        let ns = stages.ingesters_ns
            + stages.index_lookup_ns
            + stages.chunk_download_ns
            + stages.chunk_decode_ns
            + stages.processing_ns;
        let summary = Summary {
            total_bytes_processed: stages.bytes,
            total_lines_processed: stages.lines,
            total_entries_returned: stages.lines_answered,
            exec_time: ns as f64 / 1e9,
        };
        Self { summary, stages: stages.clone() }
    }
}

/// A response with `body`.
pub fn json(body: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json; charset=UTF-8"));
    response
}

/// `value` and nothing around it.
pub fn bare(value: impl Serialize) -> Vec<u8> {
    to_vec(&value)
}

/// A plain list.
pub fn data(data: impl Serialize) -> Vec<u8> {
    to_vec(&Success { status: "success", data, warnings: Vec::new() })
}

/// Lines by stream. Structured metadata is part of a stream's labels, or with `categorize` of each line.
pub fn streams(lines: &Lines, categorize: bool) -> Vec<u8> {
    to_vec(&Success {
        status: "success",
        data: Data {
            result_type: "streams",
            encoding_flags: flags(categorize),
            result: groups(&lines.streams, &lines.entries, categorize),
            stats: Stats::new(&lines.stages),
        },
        warnings: lines.stages.holes.warnings(),
    })
}

/// A message to somebody who follows lines as they come.
pub fn tailed(batch: &Batch, categorize: bool) -> Vec<u8> {
    let dropped = batch.dropped.iter();
    to_vec(&Message {
        streams: groups(&batch.streams, &batch.entries, categorize),
        dropped_entries: dropped.map(|(labels, at)| DroppedEntry { labels, timestamp: Text(*at) }).collect(),
        encoding_flags: flags(categorize),
    })
}

#[derive(Serialize)]
struct Message<'a> {
    streams: Vec<Group<'a>>,
    dropped_entries: Vec<DroppedEntry<'a>>,
    #[serde(rename = "encodingFlags", skip_serializing_if = "Vec::is_empty")]
    encoding_flags: Vec<&'static str>,
}

#[derive(Serialize)]
struct DroppedEntry<'a> {
    labels: &'a Labels,
    timestamp: Text<i64>,
}

fn flags(categorize: bool) -> Vec<&'static str> {
    if categorize { vec!["categorize-labels"] } else { Vec::new() }
}

fn groups<'a>(streams: &'a [Labels], entries: &'a [Answered], categorize: bool) -> Vec<Group<'a>> {
    static NONE: OwnedMetadata = OwnedMetadata::new();
    let mut groups: Vec<Group<'_>> = Vec::new();
    let mut places: std::collections::HashMap<(usize, &OwnedMetadata), usize> =
        std::collections::HashMap::new();
    for answered in entries {
        let metadata = if categorize { &NONE } else { &answered.found.metadata };
        let place = *places.entry((answered.stream, metadata)).or_insert_with(|| {
            groups.push(Group {
                labels: &streams[answered.stream],
                metadata,
                entries: Vec::new(),
                categorize,
            });
            groups.len() - 1
        });
        groups[place].entries.push(&answered.found);
    }
    groups
}

/// The series of a range query.
pub fn matrix(series: &Series) -> Vec<u8> {
    numbers(series, "matrix", false)
}

/// The series of an instant query, with one point each.
pub fn vector(series: &Series) -> Vec<u8> {
    numbers(series, "vector", true)
}

fn numbers(series: &Series, result_type: &'static str, one: bool) -> Vec<u8> {
    let grid = series.grid;
    let result: Vec<OneSeries<'_>> =
        series.series.iter().map(|(labels, points)| OneSeries { labels, points, grid, one }).collect();
    to_vec(&Success {
        status: "success",
        data: Data { result_type, encoding_flags: Vec::new(), result, stats: Stats::new(&series.stages) },
        warnings: series.stages.holes.warnings(),
    })
}

fn to_vec(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("maps have text keys, and nothing else can fail in memory")
}

struct Group<'a> {
    labels: &'a Labels,
    metadata: &'a OwnedMetadata,
    entries: Vec<&'a Found>,
    categorize: bool,
}

impl Serialize for Group<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("stream", &StreamLabels(self.labels, self.metadata))?;
        map.serialize_entry("values", &Values(&self.entries, self.categorize))?;
        map.end()
    }
}

/// The labels of a stream and the metadata of its lines, as one object; a label wins over metadata of its name.
struct StreamLabels<'a>(&'a Labels, &'a OwnedMetadata);

impl Serialize for StreamLabels<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut all: std::collections::BTreeMap<&str, &str> =
            self.1.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let pairs = self.0.pairs();
        all.extend(pairs.iter().copied());
        serializer.collect_map(all)
    }
}

struct Values<'a>(&'a [&'a Found], bool);

impl Serialize for Values<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut values = serializer.serialize_seq(Some(self.0.len()))?;
        for found in self.0 {
            values.serialize_element(&Value(found, self.1))?;
        }
        values.end()
    }
}

struct Value<'a>(&'a Found, bool);

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(found, categorize) = self;
        // JSON is text: bytes of a line that are none are shown as replacement characters.
        let line = String::from_utf8_lossy(&found.line);
        let mut value = serializer.serialize_tuple(if *categorize { 3 } else { 2 })?;
        value.serialize_element(&Text(found.timestamp_ns))?;
        value.serialize_element(&line)?;
        if *categorize {
            value.serialize_element(&Categories(&found.metadata))?;
        }
        value.end()
    }
}

struct Categories<'a>(&'a OwnedMetadata);

impl Serialize for Categories<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if !self.0.is_empty() {
            let pairs: std::collections::BTreeMap<&str, &str> =
                self.0.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            map.serialize_entry("structuredMetadata", &pairs)?;
        }
        map.end()
    }
}

struct OneSeries<'a> {
    labels: &'a Labels,
    points: &'a [(u32, f64)],
    grid: Grid,
    one: bool,
}

impl Serialize for OneSeries<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("metric", self.labels)?;
        let mut points =
            self.points.iter().map(|(number, value)| (self.grid.at(*number) as f64 / 1e9, Text(*value)));
        match (self.one, points.next()) {
            (true, Some(point)) => map.serialize_entry("value", &point)?,
            (_, first) => {
                map.serialize_entry("values", &first.into_iter().chain(points).collect::<Vec<_>>())?
            }
        }
        map.end()
    }
}

/// A number as a string, as Loki writes nanoseconds and sample values.
struct Text<T>(T);

impl<T: std::fmt::Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}
