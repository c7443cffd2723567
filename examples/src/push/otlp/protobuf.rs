//! The messages of an export as they come over the wire, read without the copies that a generated decoder makes.
//! [`super::messages`] has their types for who sends them.

use std::borrow::Cow;

use super::super::PushError;
use super::super::fields::{Fields, Value};
use super::super::room::Room;
use super::any::{Any, KeyValue};
use super::record::{LogRecord, ResourceFields, ResourceLogs, ScopeFields, ScopeLogs};
use super::{Record, Resource, Scope};

/// How deep values may be within each other.
const MAX_DEPTH: usize = 64;

/// The resources of an `ExportLogsServiceRequest`.
pub(super) fn resources<'a>(request: &'a [u8], room: &mut Room) -> Result<Vec<Resource<'a>>, PushError> {
    let mut resources = Vec::new();
    each(request, |number, value| {
        if number == 1 {
            let resource = resource_logs(bytes(value)?, room)?;
            room.push(&mut resources, resource)?;
        }
        Ok(())
    })?;
    Ok(resources)
}

/// Hands each field of a message to `take`.
fn each<'a>(
    message: &'a [u8],
    mut take: impl FnMut(u32, Value<'a>) -> Result<(), PushError>,
) -> Result<(), PushError> {
    let mut fields = Fields(message);
    while let Some((number, value)) = fields.next().map_err(malformed)? {
        take(number, value)?;
    }
    Ok(())
}

fn malformed(why: &'static str) -> PushError {
    PushError::Malformed { what: "protobuf message", why: why.to_owned() }
}

fn bytes(value: Value<'_>) -> Result<&[u8], PushError> {
    value.bytes().map_err(malformed)
}

fn text(value: Value<'_>) -> Result<Cow<'_, str>, PushError> {
    value.text().map(Cow::Borrowed).map_err(malformed)
}

fn varint(value: Value<'_>) -> Result<u64, PushError> {
    value.varint().map_err(malformed)
}

/// As protobuf reads 32 bits, whatever the number says beyond them.
#[expect(clippy::cast_possible_truncation, reason = "the upper half of a negative number repeats its sign")]
fn low_half(value: Value<'_>) -> Result<u32, PushError> {
    varint(value).map(|value| value as u32)
}

fn resource_logs<'a>(message: &'a [u8], room: &mut Room) -> Result<Resource<'a>, PushError> {
    let mut logs = ResourceLogs::default();
    each(message, |number, value| {
        match number {
            1 => resource(bytes(value)?, &mut logs.resource, room)?,
            2 => {
                let scope = scope_logs(bytes(value)?, room)?;
                room.push(&mut logs.scopes, scope)?;
            }
            _ => {}
        }
        Ok(())
    })?;
    logs.done(room)
}

fn resource<'a>(
    message: &'a [u8],
    resource: &mut ResourceFields<'a>,
    room: &mut Room,
) -> Result<(), PushError> {
    each(message, |number, value| {
        match number {
            1 => key_value(bytes(value)?, &mut resource.attributes, MAX_DEPTH, room)?,
            2 => resource.dropped = low_half(value)?,
            _ => {}
        }
        Ok(())
    })
}

fn scope_logs<'a>(message: &'a [u8], room: &mut Room) -> Result<Scope<'a>, PushError> {
    let mut logs = ScopeLogs::default();
    each(message, |number, value| {
        match number {
            1 => scope(bytes(value)?, &mut logs.scope, room)?,
            2 => {
                let record = log_record(bytes(value)?, room)?;
                room.push(&mut logs.records, record)?;
            }
            _ => {}
        }
        Ok(())
    })?;
    logs.done(room)
}

fn scope<'a>(message: &'a [u8], scope: &mut ScopeFields<'a>, room: &mut Room) -> Result<(), PushError> {
    each(message, |number, value| {
        match number {
            1 => scope.name = text(value)?,
            2 => scope.version = text(value)?,
            3 => key_value(bytes(value)?, &mut scope.attributes, MAX_DEPTH, room)?,
            4 => scope.dropped = low_half(value)?,
            _ => {}
        }
        Ok(())
    })
}

fn log_record<'a>(message: &'a [u8], room: &mut Room) -> Result<Record<'a>, PushError> {
    let mut record = LogRecord::default();
    each(message, |number, value| {
        match number {
            1 => record.time_ns = value.fixed64().map_err(malformed)?,
            2 => record.severity = low_half(value)?.cast_signed(),
            3 => record.severity_text = text(value)?,
            5 => any(bytes(value)?, &mut record.body, MAX_DEPTH, room)?,
            6 => key_value(bytes(value)?, &mut record.attributes, MAX_DEPTH, room)?,
            7 => record.dropped = low_half(value)?,
            8 => record.flags = value.fixed32().map_err(malformed)?,
            9 => record.trace_id = id(bytes(value)?, room)?,
            10 => record.span_id = id(bytes(value)?, room)?,
            11 => record.observed_ns = value.fixed64().map_err(malformed)?,
            12 => record.event = text(value)?,
            _ => {}
        }
        Ok(())
    })?;
    record.done(room)
}

fn id<'a>(bytes: &[u8], room: &mut Room) -> Result<Cow<'a, str>, PushError> {
    if bytes.iter().all(|&byte| byte == 0) {
        return Ok(Cow::Borrowed(""));
    }
    room.decoded(2 * bytes.len())?;
    let digit = |half: u8| char::from(b"0123456789abcdef"[usize::from(half & 15)]);
    Ok(bytes.iter().flat_map(|&byte| [digit(byte >> 4), digit(byte)]).collect())
}

/// Appends a `KeyValue`.
fn key_value<'a>(
    message: &'a [u8],
    attributes: &mut Vec<KeyValue<'a>>,
    depth: usize,
    room: &mut Room,
) -> Result<(), PushError> {
    let mut attribute = KeyValue::default();
    each(message, |number, value| {
        match number {
            1 => attribute.key = text(value)?,
            2 => any(bytes(value)?, &mut attribute.value, depth, room)?,
            _ => {}
        }
        Ok(())
    })?;
    room.push(attributes, attribute)
}

/// Reads an `AnyValue` over `into`: as a message that comes twice, it is merged.
fn any<'a>(message: &'a [u8], into: &mut Any<'a>, depth: usize, room: &mut Room) -> Result<(), PushError> {
    let depth = depth.checked_sub(1).ok_or_else(|| malformed("values are nested too deep"))?;
    each(message, |number, value| {
        match number {
            1 => *into = Any::Text(text(value)?),
            2 => *into = Any::Bool(varint(value)? != 0),
            3 => *into = Any::Int(varint(value)?.cast_signed()),
            4 => *into = Any::Double(f64::from_bits(value.fixed64().map_err(malformed)?)),
            5 => {
                let mut values =
                    if let Any::List(values) = std::mem::take(into) { values } else { Vec::new() };
                each(bytes(value)?, |number, value| {
                    if number == 1 {
                        let mut item = Any::Empty;
                        any(bytes(value)?, &mut item, depth, room)?;
                        room.push(&mut values, item)?;
                    }
                    Ok(())
                })?;
                *into = Any::List(values);
            }
            6 => {
                let mut pairs = if let Any::Map(pairs) = std::mem::take(into) { pairs } else { Vec::new() };
                each(bytes(value)?, |number, value| match number {
                    1 => key_value(bytes(value)?, &mut pairs, depth, room),
                    _ => Ok(()),
                })?;
                *into = Any::Map(pairs);
            }
            7 => *into = Any::Bytes(Cow::Borrowed(bytes(value)?)),
            _ => {}
        }
        Ok(())
    })
}
