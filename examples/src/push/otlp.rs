//! OTLP's logs as streams: what Loki documents becomes of each of their fields.
//!
//! | of an export | becomes |
//! |---|---|
//! | resource attributes in [`INDEXED`] | labels, or `service_name="unknown_service"` where there is none |
//! | the body | the line: text as it is, what is no text as it stands in JSON |
//! | the time, or else when it was observed, or else now | the timestamp |
//! | all else of resource, scope and record | structured metadata of each line |
//!
//! A dot in a name becomes `_`, and so does whatever else no label has; attributes within attributes are named by the
//! way to them, `http_request_method`. Whoever sends an export again, as after a 503 for a part of it, has records without
//! any time stored again at a new one. What is repeated for each line counts as decoded for each line, so that a large
//! resource with many small records is refused like any body that unpacks to too much.

mod any;
mod json;
pub mod messages;
mod protobuf;
mod record;

use std::borrow::Cow;

use super::room::Room;
use super::{ContentType, LabelSet, Line, Pair, PushError, Stream};

/// The resource attributes that Loki makes labels of by default, which are the only ones here. The conventions have
/// renamed `deployment.environment`; both are known.
pub const INDEXED: [&str; 18] = [
    "cloud.availability_zone",
    "cloud.region",
    "container.name",
    "deployment.environment",
    "deployment.environment.name",
    "k8s.cluster.name",
    "k8s.container.name",
    "k8s.cronjob.name",
    "k8s.daemonset.name",
    "k8s.deployment.name",
    "k8s.job.name",
    "k8s.namespace.name",
    "k8s.pod.name",
    "k8s.replicaset.name",
    "k8s.statefulset.name",
    "service.instance.id",
    "service.name",
    "service.namespace",
];

/// The records of an export by resource and scope, borrowed from its body.
#[derive(Debug)]
pub struct Export<'a> {
    resources: Vec<Resource<'a>>,
}

#[derive(Debug)]
struct Resource<'a> {
    labels: Vec<Pair<'a>>,
    metadata: Vec<Pair<'a>>,
    scopes: Vec<Scope<'a>>,
}

#[derive(Debug)]
struct Scope<'a> {
    metadata: Vec<Pair<'a>>,
    records: Vec<Record<'a>>,
}

#[derive(Debug)]
struct Record<'a> {
    timestamp_ns: Option<i64>,
    line: Cow<'a, [u8]>,
    metadata: Vec<Pair<'a>>,
}

impl<'a> Export<'a> {
    /// Reads an unpacked body.
    ///
    /// # Errors
    /// [`PushError::Malformed`], [`PushError::TooLarge`] or [`PushError::Busy`].
    pub fn read(body: &'a [u8], content: ContentType, room: &mut Room) -> Result<Self, PushError> {
        let resources = match content {
            ContentType::Protobuf => protobuf::resources(body, room)?,
            ContentType::Json => json::resources(body, room)?,
        };
        Ok(Self { resources })
    }

    /// The streams, one for each resource with a record. Records without any time are of `now_ns` and the nanoseconds
    /// that follow, in their order: equal ones at one time would be one line.
    ///
    /// # Errors
    /// [`PushError::TooLarge`] or [`PushError::Busy`].
    pub fn streams(&self, now_ns: i64, room: &mut Room) -> Result<Vec<Stream<'_>>, PushError> {
        let mut streams = Vec::new();
        let mut undated_ns = now_ns;
        for resource in &self.resources {
            let mut lines = Vec::new();
            for scope in &resource.scopes {
                let shared = || resource.metadata.iter().chain(&scope.metadata);
                let shared_bytes = shared().map(|(name, value)| name.len() + value.len()).sum();
                for record in &scope.records {
                    room.decoded(shared_bytes)?;
                    let mut metadata = Vec::new();
                    for pair in shared().chain(&record.metadata) {
                        room.push(&mut metadata, borrowed(pair))?;
                    }
                    let timestamp_ns = record.timestamp_ns.unwrap_or_else(|| {
                        undated_ns = undated_ns.saturating_add(1);
                        undated_ns - 1
                    });
                    let line = Cow::Borrowed(record.line.as_ref());
                    room.push(&mut lines, Line { timestamp_ns, line, metadata })?;
                }
            }
            if lines.is_empty() {
                continue;
            }
            let mut labels = Vec::new();
            for pair in &resource.labels {
                room.push(&mut labels, borrowed(pair))?;
            }
            room.push(&mut streams, Stream { labels: LabelSet::Pairs(labels), lines })?;
        }
        Ok(streams)
    }
}

fn borrowed<'a>((name, value): &'a Pair<'_>) -> Pair<'a> {
    (Cow::Borrowed(name), Cow::Borrowed(value))
}

#[cfg(test)]
mod tests;
