//! Ids and traceparents for serde: as the text they are displayed as, and read back as strictly as from a
//! header, in formats for people and for machines alike.

use core::fmt;
use core::marker::PhantomData;
use core::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::ser::{Serialize, Serializer};

use crate::{SpanId, TraceId, TraceParent};

macro_rules! as_text {
    ($($type:ty: $expected:literal,)*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(Text { expected: $expected, of: PhantomData })
            }
        }
    )*};
}

as_text! {
    TraceId: "a trace id of 32 hexadecimal digits",
    SpanId: "a span id of 16 hexadecimal digits",
    TraceParent: "a traceparent",
}

/// Reads a value from its text.
struct Text<T> {
    expected: &'static str,
    of: PhantomData<T>,
}

impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::ToString;

    use super::*;

    const TEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_is_written_is_the_text_and_is_read_back() {
        let parent: TraceParent = TEXT.parse().unwrap();
        let all = (parent, parent.trace_id, parent.parent_id);
        let json = serde_json::to_string(&all).unwrap();
        assert_eq!(json, format!("[\"{TEXT}\",\"{}\",\"{}\"]", &TEXT[3..35], &TEXT[36..52]));
        assert_eq!(serde_json::from_str::<(TraceParent, TraceId, SpanId)>(&json).unwrap(), all);
    }

    #[test]
    fn what_no_header_may_have_is_refused_with_the_reason() {
        let error = |json: &str| serde_json::from_str::<TraceId>(json).unwrap_err().to_string();
        assert!(
            error("\"4BF92F3577B34DA6A3CE929D0E0E4736\"").starts_with("id has no lower-case hexadecimal")
        );
        assert!(error("\"4bf92f35\"").starts_with("id of 8 bytes, expected 32"));
        assert!(error(&format!("\"{}\"", "0".repeat(32))).starts_with("id is all zeros"));
        assert!(error("17").contains("expected a trace id of 32 hexadecimal digits"));
        let padded = serde_json::from_str::<TraceParent>(&format!("\"{TEXT}-\"")).unwrap_err().to_string();
        assert!(padded.starts_with("traceparent of 56 bytes exceeds the limit of 55"), "{padded}");
    }
}
