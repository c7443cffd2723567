//! `AnyValue`: a value that may hold others, as text, and as the pairs that it flattens to.

use std::borrow::Cow;
use std::io;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::super::room::Room;
use super::super::{Pair, PushError};

/// Room for a number as text.
const NUMBER_BYTES: usize = 24;

/// A value, no deeper within others than its decoder allows.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) enum Any<'a> {
    #[default]
    Empty,
    Text(Cow<'a, str>),
    Bool(bool),
    Int(i64),
    Double(f64),
    Bytes(Cow<'a, [u8]>),
    List(Vec<Any<'a>>),
    Map(Vec<KeyValue<'a>>),
}

/// An attribute.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct KeyValue<'a> {
    pub(super) key: Cow<'a, str>,
    pub(super) value: Any<'a>,
}

impl<'a> Any<'a> {
    /// The value as text, as the libraries of OpenTelemetry print it: lists and maps in JSON, bytes in base64.
    pub(super) fn into_text(self, room: &mut Room) -> Result<Cow<'a, str>, PushError> {
        Ok(match self {
            Self::Empty => Cow::Borrowed(""),
            Self::Text(text) => text,
            Self::Bool(value) => Cow::Borrowed(if value { "true" } else { "false" }),
            Self::Int(value) => number(room, value)?,
            Self::Double(value) => match value.abs() {
                // All digits of these would be hundreds.
                abs if abs >= 1e21 || (abs > 0.0 && abs < 1e-6) => number(room, format_args!("{value:e}"))?,
                _ => number(room, value)?,
            },
            Self::Bytes(bytes) => Cow::Owned(base64(&bytes, room)?),
            Self::List(_) | Self::Map(_) => {
                let mut out = Json { room, text: Vec::new(), refused: None };
                if let Err(e) = serde_json::to_writer(&mut out, &self) {
                    let otherwise = PushError::Malformed { what: "attribute", why: e.to_string() };
                    return Err(out.refused.unwrap_or(otherwise));
                }
                Cow::Owned(String::from_utf8(out.text).expect("serde_json writes UTF-8"))
            }
        })
    }
}

/// A number's text.
pub(super) fn number<'a>(room: &mut Room, value: impl ToString) -> Result<Cow<'a, str>, PushError> {
    room.decoded(NUMBER_BYTES)?;
    Ok(Cow::Owned(value.to_string()))
}

fn base64(bytes: &[u8], room: &mut Room) -> Result<String, PushError> {
    room.decoded(bytes.len().div_ceil(3) * 4)?;
    Ok(STANDARD.encode(bytes))
}

/// Where JSON is written as long as there is room.
struct Json<'r> {
    room: &'r mut Room,
    text: Vec<u8>,
    refused: Option<PushError>,
}

impl io::Write for Json<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for &byte in bytes {
            if let Err(refused) = self.room.push(&mut self.text, byte) {
                let told = io::Error::other(refused.to_string());
                self.refused = Some(refused);
                return Err(told);
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Serialize for Any<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Empty => serializer.serialize_unit(),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(value) => serializer.serialize_i64(*value),
            Self::Double(value) => serializer.serialize_f64(*value),
            Self::Bytes(bytes) => {
                serializer.collect_str(&base64::display::Base64Display::new(bytes, &STANDARD))
            }
            Self::List(values) => serializer.collect_seq(values),
            Self::Map(pairs) => {
                let mut map = serializer.serialize_map(Some(pairs.len()))?;
                for KeyValue { key, value } in pairs {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

/// Appends what `attributes` flatten to, under names that begin with `prefix`. Those without a value are left out.
pub(super) fn flatten<'a>(
    attributes: Vec<KeyValue<'a>>,
    prefix: &str,
    pairs: &mut Vec<Pair<'a>>,
    room: &mut Room,
) -> Result<(), PushError> {
    for KeyValue { key, value } in attributes {
        match value {
            Any::Empty => {}
            Any::Map(inner) => {
                let name = name(prefix, key, room)?;
                flatten(inner, &name, pairs, room)?;
            }
            value => {
                let name = name(prefix, key, room)?;
                let value = value.into_text(room)?;
                room.push(pairs, (name, value))?;
            }
        }
    }
    Ok(())
}

/// The name of a label or of metadata for an attribute: `_` for what such a name does not have, and `key_` before a
/// digit.
pub(super) fn name<'a>(prefix: &str, key: Cow<'a, str>, room: &mut Room) -> Result<Cow<'a, str>, PushError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let begins_well = |text: &str| !text.is_empty() && !text.starts_with(|c: char| c.is_ascii_digit());
    if prefix.is_empty() && begins_well(&key) && key.chars().all(plain) {
        return Ok(key);
    }
    room.decoded(prefix.len() + "key_".len() + key.len())?;
    let mut name = String::with_capacity(prefix.len() + "key_".len() + key.len());
    if !prefix.is_empty() {
        name.push_str(prefix);
        name.push('_');
    } else if !begins_well(&key) {
        name.push_str("key_");
    }
    name.extend(key.chars().map(|c| if plain(c) { c } else { '_' }));
    Ok(Cow::Owned(name))
}
