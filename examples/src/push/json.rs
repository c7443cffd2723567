//! Loki's JSON push: streams with an object of labels and values of two or three parts; other keys are ignored.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{LabelSet, Line, PushError, Stream};

/// The streams of a JSON body.
pub(super) fn streams(text: &[u8]) -> Result<Vec<Stream<'_>>, PushError> {
    let root: Root<'_> = serde_json::from_slice(text)
        .map_err(|e| PushError::Malformed { what: "JSON", why: e.to_string() })?;
    Ok(root
        .streams
        .into_iter()
        .map(|s| Stream { labels: LabelSet::Pairs(s.stream.0), lines: lines(s.values) })
        .collect())
}

fn lines(values: Vec<Value<'_>>) -> Vec<Line<'_>> {
    values.into_iter().map(|value| value.0).collect()
}

#[derive(serde::Deserialize)]
struct Root<'a> {
    #[serde(borrow)]
    streams: Vec<JsonStream<'a>>,
}

#[derive(serde::Deserialize)]
struct JsonStream<'a> {
    #[serde(borrow)]
    stream: Pairs<'a>,
    #[serde(borrow, default)]
    values: Vec<Value<'a>>,
}

/// A string that borrows where it holds no escape.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrow;
        impl<'de> Visitor<'de> for Borrow {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E: Error>(self, v: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(v)))
            }
            fn visit_str<E: Error>(self, v: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(v.to_owned())))
            }
        }
        deserializer.deserialize_str(Borrow)
    }
}

/// An object of strings, in its order, repeated names kept for the validation to see.
struct Pairs<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'de: 'a, 'a> Deserialize<'de> for Pairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Pairs<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'de>, A::Error> {
                let mut pairs = Vec::new();
                while let Some((Text(name), Text(value))) = map.next_entry()? {
                    pairs.push((name, value));
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// `["<nanoseconds>", "<line>"]` or `["<nanoseconds>", "<line>", {"<name>": "<value>"}]`.
struct Value<'a>(Line<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for Value<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Parts;
        impl<'de> Visitor<'de> for Parts {
            type Value = Value<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("[\"nanoseconds\", \"line\"] with optional structured metadata")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value<'de>, A::Error> {
                let Text(time) = seq.next_element()?.ok_or_else(|| A::Error::invalid_length(0, &self))?;
                let Text(line) = seq.next_element()?.ok_or_else(|| A::Error::invalid_length(1, &self))?;
                let metadata = seq.next_element::<Pairs<'_>>()?.map_or_else(Vec::new, |pairs| pairs.0);
                if seq.next_element::<IgnoredAny>()?.is_some() {
                    return Err(A::Error::invalid_length(4, &self));
                }
                let timestamp_ns = time.parse().map_err(|_| {
                    A::Error::custom(format_args!("timestamp {time:?} is not nanoseconds since 1970"))
                })?;
                let line = match line {
                    Cow::Borrowed(line) => Cow::Borrowed(line.as_bytes()),
                    Cow::Owned(line) => Cow::Owned(line.into_bytes()),
                };
                Ok(Value(Line { timestamp_ns, line, metadata }))
            }
        }
        deserializer.deserialize_seq(Parts)
    }
}
