//! Where a record lies in a store. Invariant: different names have different keys, and a key is ASCII without
//! any character that a path, a URL or a shell reads as more than itself, but the one `/`.

use std::fmt::{self, Write};

/// What the records under a common start of their keys are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKind {
    /// `instances/<id>`, see [`encode_instance`](super::encode_instance).
    Instance,
    /// `tokens/<id>`, see [`encode_tokens`](super::encode_tokens).
    Tokens,
    /// `partitions/<number>`, see [`PartitionRecord`](crate::partition::PartitionRecord).
    Partition,
    /// `owners/<id>`, the same for an owner; its id is that of the instance, a `/` and the number.
    Owner,
}

impl RecordKind {
    /// All of them.
    pub const ALL: [RecordKind; 4] =
        [RecordKind::Instance, RecordKind::Tokens, RecordKind::Partition, RecordKind::Owner];

    /// What stands before the `/`.
    pub const fn as_str(self) -> &'static str {
        match self {
            RecordKind::Instance => "instances",
            RecordKind::Tokens => "tokens",
            RecordKind::Partition => "partitions",
            RecordKind::Owner => "owners",
        }
    }

    /// The key of the record of `name`: of its bytes all but `A-Z a-z 0-9 . _ -` are written as `%` and two
    /// upper-case hexadecimal digits.
    ///
    /// ```
    /// use forebay_ring::codec::{RecordKey, RecordKind};
    ///
    /// let key = RecordKind::Instance.key("a/b");
    /// assert_eq!(key, "instances/a%2Fb");
    /// let parsed = RecordKey::parse(&key).unwrap();
    /// assert_eq!((parsed.kind, &*parsed.name), (RecordKind::Instance, "a/b"));
    /// ```
    pub fn key(self, name: &str) -> String {
        RecordKey { kind: self, name: name.to_owned() }.to_string()
    }
}

/// A key taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordKey {
    /// What the record is of.
    pub kind: RecordKind,
    /// Whose it is.
    pub name: String,
}

impl RecordKey {
    /// Takes a key apart; `None` if [`RecordKind::key`] does not make it of any name.
    pub fn parse(key: &str) -> Option<Self> {
        let (start, escaped) = key.split_once('/')?;
        let kind = RecordKind::ALL.into_iter().find(|kind| kind.as_str() == start)?;
        let mut name = Vec::with_capacity(escaped.len());
        let mut rest = escaped.as_bytes();
        while let Some((&byte, after)) = rest.split_first() {
            rest = after;
            if byte == b'%' {
                let (digits, after) = rest.split_first_chunk::<2>()?;
                let text = std::str::from_utf8(digits).ok()?;
                name.push(u8::from_str_radix(text, 16).ok()?);
                rest = after;
            } else {
                name.push(byte);
            }
        }
        let parsed = Self { kind, name: String::from_utf8(name).ok()? };
        // One name has one key: another way of writing it is not ours.
        (parsed.to_string() == key).then_some(parsed)
    }
}

impl fmt::Display for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/", self.kind.as_str())?;
        for &byte in self.name.as_bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-' => f.write_char(byte.into())?,
                _ => write!(f, "%{byte:02X}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_back_and_another_way_of_writing_it_is_refused() {
        for name in ["", "ingester-0", "zone a/7%", "é\0", ".."] {
            for kind in RecordKind::ALL {
                let key = kind.key(name);
                assert!(key.is_ascii());
                assert_eq!(RecordKey::parse(&key), Some(RecordKey { kind, name: name.to_owned() }));
            }
        }
        for key in [
            "instances",
            "others/a",
            "instances/%61",
            "instances/%2f",
            "tokens/%",
            "tokens/%FF",
            "tokens/a/b",
        ] {
            assert_eq!(RecordKey::parse(key), None, "{key}");
        }
    }
}
