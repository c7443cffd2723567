//! Lines as clients sent them before there were values: a list of objects with a time in RFC 3339.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::super::Line;
use super::{Key, Reader, Text, bytes, seed, text_instead};
use crate::excerpt::Excerpt;

/// The list.
pub(super) struct Entries<'a, 'r>(pub(super) &'a mut Reader<'r>);

seed!(Entries, deserialize_any -> Vec<Line<'de>>);

impl<'de> Visitor<'de> for Entries<'_, '_> {
    type Value = Vec<Line<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of entries")
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
        Err(text_instead(&self))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut lines = Vec::new();
        while let Some(line) = seq.next_element_seed(Entry(self.0))? {
            self.0.push(&mut lines, line)?;
        }
        Ok(lines)
    }
}

/// `{"ts": "<RFC 3339>", "line": "<line>"}`.
struct Entry<'a, 'r>(&'a mut Reader<'r>);

seed!(Entry, deserialize_any -> Line<'de>);

impl<'de> Visitor<'de> for Entry<'_, '_> {
    type Value = Line<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with ts and line")
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
        Err(text_instead(&self))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Line<'de>, A::Error> {
        let (mut time, mut line) = (None, None);
        while let Some(key) = map.next_key()? {
            match key {
                Key::Ts => time = Some(map.next_value_seed(Text(self.0))?),
                Key::Line => line = Some(map.next_value_seed(Text(self.0))?),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let time = time.ok_or_else(|| A::Error::missing_field("ts"))?;
        let line = line.ok_or_else(|| A::Error::missing_field("line"))?;
        let parsed: jiff::Timestamp = time.parse().map_err(|_| {
            A::Error::custom(format_args!("timestamp {:?} is not of RFC 3339", Excerpt(&time)))
        })?;
        let timestamp_ns = parsed.as_nanosecond().try_into().map_err(|_| {
            A::Error::custom(format_args!(
                "timestamp {:?} does not fit 64 bits of nanoseconds",
                Excerpt(&time)
            ))
        })?;
        Ok(Line { timestamp_ns, line: bytes(line), metadata: Vec::new() })
    }
}
