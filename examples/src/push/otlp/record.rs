//! What a decoder has read of the messages of an export, and what becomes of it: a line, labels and metadata.

use std::borrow::Cow;

use super::super::room::Room;
use super::super::{Pair, PushError};
use super::any::{Any, KeyValue, flatten, name, number};
use super::{INDEXED, Record, Resource, Scope};

/// `ResourceLogs`, its resource included.
#[derive(Debug, Default)]
pub(super) struct ResourceLogs<'a> {
    pub(super) resource: ResourceFields<'a>,
    pub(super) scopes: Vec<Scope<'a>>,
}

/// `Resource`.
#[derive(Debug, Default)]
pub(super) struct ResourceFields<'a> {
    pub(super) attributes: Vec<KeyValue<'a>>,
    pub(super) dropped: u32,
}

/// `ScopeLogs`.
#[derive(Debug, Default)]
pub(super) struct ScopeLogs<'a> {
    pub(super) scope: ScopeFields<'a>,
    pub(super) records: Vec<Record<'a>>,
}

/// `InstrumentationScope`.
#[derive(Debug, Default)]
pub(super) struct ScopeFields<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) version: Cow<'a, str>,
    pub(super) attributes: Vec<KeyValue<'a>>,
    pub(super) dropped: u32,
}

/// `LogRecord`. Ids are hexadecimal, and empty where they are all zeros.
#[derive(Debug, Default)]
pub(super) struct LogRecord<'a> {
    pub(super) time_ns: u64,
    pub(super) observed_ns: u64,
    pub(super) severity: i32,
    pub(super) severity_text: Cow<'a, str>,
    pub(super) event: Cow<'a, str>,
    pub(super) body: Any<'a>,
    pub(super) attributes: Vec<KeyValue<'a>>,
    pub(super) dropped: u32,
    pub(super) flags: u32,
    pub(super) trace_id: Cow<'a, str>,
    pub(super) span_id: Cow<'a, str>,
}

impl<'a> ResourceLogs<'a> {
    pub(super) fn done(self, room: &mut Room) -> Result<Resource<'a>, PushError> {
        let ResourceFields { attributes, dropped } = self.resource;
        let (mut labels, mut rest, mut metadata) = (Vec::new(), Vec::new(), Vec::new());
        for attribute in attributes {
            let indexed = INDEXED.contains(&attribute.key.as_ref());
            if indexed && !matches!(attribute.value, Any::Empty | Any::Map(_)) {
                let name = name("", attribute.key, room)?;
                let value = attribute.value.into_text(room)?;
                room.push(&mut labels, (name, value))?;
            } else {
                room.push(&mut rest, attribute)?;
            }
        }
        if labels.iter().all(|(_, value)| value.is_empty()) {
            let unknown = (Cow::Borrowed("service_name"), Cow::Borrowed("unknown_service"));
            labels.clear();
            room.push(&mut labels, unknown)?;
        }
        flatten(rest, "", &mut metadata, room)?;
        count("resource_dropped_attributes_count", dropped, &mut metadata, room)?;
        Ok(Resource { labels, metadata, scopes: self.scopes })
    }
}

impl<'a> ScopeLogs<'a> {
    pub(super) fn done(self, room: &mut Room) -> Result<Scope<'a>, PushError> {
        let ScopeFields { name, version, attributes, dropped } = self.scope;
        let mut metadata = Vec::new();
        text("scope_name", name, &mut metadata, room)?;
        text("scope_version", version, &mut metadata, room)?;
        flatten(attributes, "", &mut metadata, room)?;
        count("scope_dropped_attributes_count", dropped, &mut metadata, room)?;
        Ok(Scope { metadata, records: self.records })
    }
}

impl<'a> LogRecord<'a> {
    pub(super) fn done(self, room: &mut Room) -> Result<Record<'a>, PushError> {
        let (time_ns, observed_ns) = (self.time_ns, self.observed_ns);
        // A time that 63 bits do not hold is later than every limit allows, and told as that.
        let ns = |ns: u64| (ns != 0).then(|| i64::try_from(ns).unwrap_or(i64::MAX));
        let mut metadata = Vec::new();
        if self.severity != 0 {
            let severity = number(room, self.severity)?;
            room.push(&mut metadata, (Cow::Borrowed("severity_number"), severity))?;
        }
        text("severity_text", self.severity_text, &mut metadata, room)?;
        text("event_name", self.event, &mut metadata, room)?;
        text("trace_id", self.trace_id, &mut metadata, room)?;
        text("span_id", self.span_id, &mut metadata, room)?;
        count("flags", self.flags, &mut metadata, room)?;
        if time_ns != 0 && observed_ns != 0 {
            let observed = number(room, observed_ns)?;
            room.push(&mut metadata, (Cow::Borrowed("observed_timestamp"), observed))?;
        }
        flatten(self.attributes, "", &mut metadata, room)?;
        count("dropped_attributes_count", self.dropped, &mut metadata, room)?;
        let line = match self.body.into_text(room)? {
            Cow::Borrowed(line) => Cow::Borrowed(line.as_bytes()),
            Cow::Owned(line) => Cow::Owned(line.into_bytes()),
        };
        Ok(Record { timestamp_ns: ns(time_ns).or_else(|| ns(observed_ns)), line, metadata })
    }
}

fn text<'a>(
    name: &'static str,
    value: Cow<'a, str>,
    metadata: &mut Vec<Pair<'a>>,
    room: &mut Room,
) -> Result<(), PushError> {
    if value.is_empty() { Ok(()) } else { room.push(metadata, (Cow::Borrowed(name), value)) }
}

fn count(
    name: &'static str,
    value: u32,
    metadata: &mut Vec<Pair<'_>>,
    room: &mut Room,
) -> Result<(), PushError> {
    if value == 0 {
        return Ok(());
    }
    let value = number(room, value)?;
    room.push(metadata, (Cow::Borrowed(name), value))
}
