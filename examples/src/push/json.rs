//! Loki's JSON push: streams with an object of labels and values of two or three parts, or as they were sent before, with
//! labels as text and entries; other keys are ignored.
//!
//! Each part is read by a seed that holds the push's room, so that it is asked for before anything is kept.

mod entries;

use std::borrow::Cow;
use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, Error, Expected, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor,
};

use super::room::Room;
use super::{LabelSet, Line, Pair, PushError, Stream};
use crate::excerpt::Excerpt;
use entries::Entries;

/// The streams of a JSON body.
pub(super) fn streams<'a>(text: &'a [u8], room: &mut Room) -> Result<Vec<Stream<'a>>, PushError> {
    let mut reader = Reader::new(room);
    let mut json = serde_json::Deserializer::from_slice(text);
    let read = Root(&mut reader).deserialize(&mut json).and_then(|streams| json.end().map(|()| streams));
    reader.finish(read)
}

/// Where things are kept, and why the last was not: serde's errors carry text alone.
pub(super) struct Reader<'r> {
    room: &'r mut Room,
    refused: Option<PushError>,
}

impl<'r> Reader<'r> {
    pub(super) fn new(room: &'r mut Room) -> Self {
        Self { room, refused: None }
    }

    pub(super) fn push<T, E: Error>(&mut self, items: &mut Vec<T>, item: T) -> Result<(), E> {
        self.within(|room| room.push(items, item))
    }

    pub(super) fn decoded<E: Error>(&mut self, bytes: usize) -> Result<(), E> {
        self.within(|room| room.decoded(bytes))
    }

    /// What `work` makes within the room.
    pub(super) fn within<T, E: Error>(
        &mut self,
        work: impl FnOnce(&mut Room) -> Result<T, PushError>,
    ) -> Result<T, E> {
        work(self.room).map_err(|refused| {
            let error = E::custom(&refused);
            self.refused = Some(refused);
            error
        })
    }

    /// What was read, or why it could not be.
    pub(super) fn finish<T>(self, read: serde_json::Result<T>) -> Result<T, PushError> {
        let malformed = |e: serde_json::Error| PushError::Malformed { what: "JSON", why: e.to_string() };
        read.map_err(|e| self.refused.unwrap_or_else(|| malformed(e)))
    }
}

#[derive(serde::Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Key {
    Streams,
    Stream,
    Labels,
    Values,
    Entries,
    Ts,
    Line,
    #[serde(other)]
    Other,
}

impl Key {
    fn name(&self) -> &'static str {
        match self {
            Self::Streams => "streams",
            Self::Stream => "stream",
            Self::Labels => "labels",
            Self::Values => "values",
            Self::Entries => "entries",
            Self::Ts => "ts",
            Self::Line => "line",
            Self::Other => "",
        }
    }
}

/// Makes a seed of a visitor.
macro_rules! seed {
    ($name:ident, $method:ident -> $value:ty) => {
        impl<'de> DeserializeSeed<'de> for $name<'_, '_> {
            type Value = $value;
            fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<$value, D::Error> {
                deserializer.$method(self)
            }
        }
    };
}
use seed;

/// Why a text is no list or object. serde would quote all of it.
pub(super) fn text_instead<E: Error>(expected: &dyn Expected) -> E {
    E::invalid_type(Unexpected::Other("a string"), expected)
}

/// The whole body.
struct Root<'a, 'r>(&'a mut Reader<'r>);

seed!(Root, deserialize_any -> Vec<Stream<'de>>);

impl<'de> Visitor<'de> for Root<'_, '_> {
    type Value = Vec<Stream<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with streams")
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
        Err(text_instead(&self))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut streams = None;
        while let Some(key) = map.next_key()? {
            match key {
                Key::Streams if streams.is_some() => return Err(A::Error::duplicate_field("streams")),
                Key::Streams => streams = Some(map.next_value_seed(Streams(self.0))?),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        streams.ok_or_else(|| A::Error::missing_field("streams"))
    }
}

struct Streams<'a, 'r>(&'a mut Reader<'r>);

seed!(Streams, deserialize_any -> Vec<Stream<'de>>);

impl<'de> Visitor<'de> for Streams<'_, '_> {
    type Value = Vec<Stream<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of streams")
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
        Err(text_instead(&self))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut streams = Vec::new();
        while let Some(stream) = seq.next_element_seed(OneStream(self.0))? {
            self.0.push(&mut streams, stream)?;
        }
        Ok(streams)
    }
}

struct OneStream<'a, 'r>(&'a mut Reader<'r>);

seed!(OneStream, deserialize_any -> Stream<'de>);

impl<'de> Visitor<'de> for OneStream<'_, '_> {
    type Value = Stream<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with stream and values")
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
        Err(text_instead(&self))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (mut labels, mut lines) = (None, None);
        while let Some(key) = map.next_key()? {
            match key {
                Key::Stream | Key::Labels if labels.is_some() => {
                    return Err(A::Error::duplicate_field(key.name()));
                }
                Key::Stream => labels = Some(LabelSet::Pairs(map.next_value_seed(Pairs(self.0))?)),
                Key::Labels => labels = Some(LabelSet::Text(map.next_value_seed(Text(self.0))?)),
                Key::Values | Key::Entries if lines.is_some() => {
                    return Err(A::Error::duplicate_field(key.name()));
                }
                Key::Values => lines = Some(map.next_value_seed(Values(self.0))?),
                Key::Entries => lines = Some(map.next_value_seed(Entries(self.0))?),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let labels = labels.ok_or_else(|| A::Error::missing_field("stream"))?;
        Ok(Stream { labels, lines: lines.unwrap_or_default() })
    }
}

struct Values<'a, 'r>(&'a mut Reader<'r>);

seed!(Values, deserialize_any -> Vec<Line<'de>>);

impl<'de> Visitor<'de> for Values<'_, '_> {
    type Value = Vec<Line<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of values")
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
        Err(text_instead(&self))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut lines = Vec::new();
        while let Some(line) = seq.next_element_seed(Value(self.0))? {
            self.0.push(&mut lines, line)?;
        }
        Ok(lines)
    }
}

/// `["<nanoseconds>", "<line>"]` or `["<nanoseconds>", "<line>", {"<name>": "<value>"}]`.
struct Value<'a, 'r>(&'a mut Reader<'r>);

seed!(Value, deserialize_any -> Line<'de>);

impl<'de> Visitor<'de> for Value<'_, '_> {
    type Value = Line<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[\"nanoseconds\", \"line\"] with optional structured metadata")
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
        Err(text_instead(&self))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Line<'de>, A::Error> {
        let time = seq.next_element_seed(Text(self.0))?.ok_or_else(|| A::Error::invalid_length(0, &self))?;
        let line = seq.next_element_seed(Text(self.0))?.ok_or_else(|| A::Error::invalid_length(1, &self))?;
        let metadata = seq.next_element_seed(Pairs(self.0))?.unwrap_or_default();
        if seq.next_element::<IgnoredAny>()?.is_some() {
            return Err(A::Error::invalid_length(4, &self));
        }
        let timestamp_ns = time.parse().map_err(|_| {
            A::Error::custom(format_args!("timestamp {:?} is not nanoseconds since 1970", Excerpt(&time)))
        })?;
        Ok(Line { timestamp_ns, line: bytes(line), metadata })
    }
}

fn bytes(text: Cow<'_, str>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

/// An object of strings, in its order, repeated names kept for the validation to see.
struct Pairs<'a, 'r>(&'a mut Reader<'r>);

seed!(Pairs, deserialize_any -> Vec<Pair<'de>>);

impl<'de> Visitor<'de> for Pairs<'_, '_> {
    type Value = Vec<Pair<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of strings")
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
        Err(text_instead(&self))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some(name) = map.next_key_seed(Text(self.0))? {
            let value = map.next_value_seed(Text(self.0))?;
            self.0.push(&mut pairs, (name, value))?;
        }
        Ok(pairs)
    }
}

/// A string that borrows where it holds no escape.
struct Text<'a, 'r>(&'a mut Reader<'r>);

seed!(Text, deserialize_str -> Cow<'de, str>);

impl<'de> Visitor<'de> for Text<'_, '_> {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E: Error>(self, v: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(v))
    }

    fn visit_str<E: Error>(self, v: &str) -> Result<Self::Value, E> {
        self.0.decoded(v.len())?;
        Ok(Cow::Owned(v.to_owned()))
    }
}
