//! The labels of a stream in their one canonical form: sorted pairs, length-prefixed, in one allocation.
//!
//! Two streams are the same exactly when these bytes are the same, so the form serves as map key, as what
//! the ring hashes and as what travels in a record, and is parsed only where somebody asks for a name.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::ser::{Serialize, SerializeMap, Serializer};
use smallvec::SmallVec;

use crate::varint;

/// Pairs borrowed from a [`Labels`], sorted by name.
pub type Pairs<'a> = SmallVec<[(&'a str, &'a str); 16]>;

/// The labels of one stream. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Labels(Arc<[u8]>);

impl Labels {
    /// The labels `pairs`, which must be sorted by name and free of duplicates.
    pub fn from_sorted(pairs: &[(&str, &str)]) -> Self {
        let mut bytes = Vec::new();
        write(&mut bytes, pairs);
        Self(bytes.into())
    }

    /// The labels in canonical `bytes`; `None` where they are not canonical.
    pub fn from_canonical(bytes: &[u8]) -> Option<Self> {
        parse(bytes).map(|_| Self(bytes.into()))
    }

    /// The canonical form.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The pairs, sorted by name.
    pub fn pairs(&self) -> Pairs<'_> {
        parse(&self.0).expect("checked when it was made")
    }
}

/// The canonical bytes are the identity: equal, ordered and hashed as the labels are.
impl Borrow<[u8]> for Labels {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (name, value)) in self.pairs().iter().enumerate() {
            write!(f, "{}{name}={value:?}", if i == 0 { "" } else { ", " })?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let pairs = self.pairs();
        let mut map = serializer.serialize_map(Some(pairs.len()))?;
        for (name, value) in &pairs {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// Appends the canonical form of sorted `pairs`.
pub fn write(out: &mut Vec<u8>, pairs: &[(&str, &str)]) {
    varint::write(out, pairs.len() as u64);
    for (name, value) in pairs {
        varint::write_slice(out, name.as_bytes());
        varint::write_slice(out, value.as_bytes());
    }
}

/// The pairs in canonical `bytes`; `None` where a length lies, text is not UTF-8 or names are not ascending.
pub fn parse(mut bytes: &[u8]) -> Option<Pairs<'_>> {
    let count = usize::try_from(varint::read(&mut bytes)?).ok().filter(|&n| n <= bytes.len() / 2)?;
    let mut pairs = Pairs::with_capacity(count);
    for _ in 0..count {
        let name = std::str::from_utf8(varint::read_slice(&mut bytes)?).ok()?;
        let value = std::str::from_utf8(varint::read_slice(&mut bytes)?).ok()?;
        if pairs.last().is_some_and(|(last, _)| *last >= name) {
            return None;
        }
        pairs.push((name, value));
    }
    bytes.is_empty().then_some(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pairs_survive_the_canonical_form(map in prop::collection::btree_map(".{0,8}", ".{0,8}", 0..6)) {
            let pairs: Vec<(&str, &str)> = map.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            let labels = Labels::from_sorted(&pairs);
            prop_assert_eq!(labels.pairs().to_vec(), pairs);
            prop_assert_eq!(Labels::from_canonical(labels.as_bytes()), Some(labels));
        }

        #[test]
        fn hostile_bytes_are_refused_or_canonical(bytes: Vec<u8>) {
            if let Some(labels) = Labels::from_canonical(&bytes) {
                prop_assert_eq!(Labels::from_sorted(&labels.pairs()), labels);
            }
        }
    }

    #[test]
    fn names_out_of_order_or_twice_are_not_canonical() {
        for pairs in [[("b", "1"), ("a", "2")], [("a", "1"), ("a", "2")]] {
            let mut bytes = Vec::new();
            write(&mut bytes, &pairs);
            assert_eq!(Labels::from_canonical(&bytes), None);
        }
    }
}
