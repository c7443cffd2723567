//! One log line with its time and its structured metadata, borrowed from wherever it lies. Reading metadata
//! never allocates: it is looked up in the chunk's symbol table while it is iterated.

use std::fmt;

use crate::loki::format::take_uvarint;
use crate::symbols::SymbolTable;

/// A log line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Log time, nanoseconds since 1970.
    pub timestamp_ns: i64,
    /// The line: any bytes, without a line end of its own.
    pub line: &'a [u8],
    /// Names and values that belong to the line but are no labels of its stream.
    pub metadata: Metadata<'a>,
}

impl<'a> Entry<'a> {
    /// A line without metadata.
    pub fn new(timestamp_ns: i64, line: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        Self { timestamp_ns, line: line.as_ref(), metadata: Metadata::EMPTY }
    }

    /// The same line with metadata.
    #[must_use]
    pub fn with_metadata(self, metadata: impl Into<Metadata<'a>>) -> Self {
        Self { metadata: metadata.into(), ..self }
    }

    /// What the line counts for against sizes in raw bytes: its length and 8 for each metadata pair, which is
    /// how Loki counts.
    pub fn raw_bytes(&self) -> usize {
        self.line.len() + PAIR_BYTES * self.metadata.len()
    }
}

/// What a metadata pair counts for in raw bytes.
pub(crate) const PAIR_BYTES: usize = 8;

impl fmt::Debug for Entry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("timestamp_ns", &self.timestamp_ns)
            .field("line", &format_args!("\"{}\"", self.line.escape_ascii()))
            .field("metadata", &self.metadata)
            .finish()
    }
}

/// Structured metadata: pairs of a name and a value, in the order they were given. Names may repeat.
///
/// Made from `&[(&str, &str)]` or, where text is not certain to be UTF-8, from `&[(&[u8], &[u8])]`; handed
/// out by reads without a copy. Equal where the same pairs come in the same order.
///
/// ```
/// use forebay_chunk::{Entry, Metadata};
///
/// let pairs = [("trace_id", "4bf92f"), ("pod", "a-1")];
/// let entry = Entry::new(0, "hello").with_metadata(&pairs);
/// assert_eq!(entry.metadata.iter().next(), Some((&b"trace_id"[..], &b"4bf92f"[..])));
/// ```
#[derive(Clone, Copy)]
pub struct Metadata<'a>(Pairs<'a>);

/// A name and a value, by their numbers in a symbol table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SymbolPair {
    pub(crate) name: u32,
    pub(crate) value: u32,
}

#[derive(Clone, Copy)]
enum Pairs<'a> {
    Text(&'a [(&'a str, &'a str)]),
    Bytes(&'a [(&'a [u8], &'a [u8])]),
    Interned {
        table: &'a SymbolTable,
        pairs: &'a [SymbolPair],
    },
    /// `encoded` holds `count` times two uvarints, which were checked against `table` when the block was
    /// decoded.
    Encoded {
        table: &'a SymbolTable,
        count: usize,
        encoded: &'a [u8],
    },
}

impl<'a> Metadata<'a> {
    /// No pairs.
    pub const EMPTY: Self = Self(Pairs::Text(&[]));

    pub(crate) fn interned(table: &'a SymbolTable, pairs: &'a [SymbolPair]) -> Self {
        Self(Pairs::Interned { table, pairs })
    }

    pub(crate) fn encoded(table: &'a SymbolTable, count: usize, encoded: &'a [u8]) -> Self {
        Self(Pairs::Encoded { table, count, encoded })
    }

    /// Appends the numbers of the pairs in the table that they are of, if they are of one.
    pub(crate) fn numbers(&self, out: &mut Vec<SymbolPair>) {
        match self.0 {
            Pairs::Text(_) | Pairs::Bytes(_) => {}
            Pairs::Interned { pairs, .. } => out.extend_from_slice(pairs),
            Pairs::Encoded { count, mut encoded, .. } => {
                let mut number = || take_uvarint(&mut encoded).and_then(|number| u32::try_from(number).ok());
                let pairs = (0..count).map_while(|_| Some(SymbolPair { name: number()?, value: number()? }));
                out.extend(pairs);
            }
        }
    }

    /// How many pairs there are.
    #[inline]
    pub fn len(&self) -> usize {
        match self.0 {
            Pairs::Text(pairs) => pairs.len(),
            Pairs::Bytes(pairs) => pairs.len(),
            Pairs::Interned { pairs, .. } => pairs.len(),
            Pairs::Encoded { count, .. } => count,
        }
    }

    /// Whether there are no pairs.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The pairs in order.
    pub fn iter(&self) -> MetadataIter<'a> {
        MetadataIter(self.0)
    }

    /// The value of the first pair of that name.
    pub fn value(&self, name: impl AsRef<[u8]>) -> Option<&'a [u8]> {
        self.iter().find(|(found, _)| *found == name.as_ref()).map(|(_, value)| value)
    }
}

impl Default for Metadata<'_> {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl<'a> From<&'a [(&'a str, &'a str)]> for Metadata<'a> {
    fn from(pairs: &'a [(&'a str, &'a str)]) -> Self {
        Self(Pairs::Text(pairs))
    }
}

impl<'a, const N: usize> From<&'a [(&'a str, &'a str); N]> for Metadata<'a> {
    fn from(pairs: &'a [(&'a str, &'a str); N]) -> Self {
        Self(Pairs::Text(pairs))
    }
}

impl<'a> From<&'a [(&'a [u8], &'a [u8])]> for Metadata<'a> {
    fn from(pairs: &'a [(&'a [u8], &'a [u8])]) -> Self {
        Self(Pairs::Bytes(pairs))
    }
}

impl<'a> IntoIterator for Metadata<'a> {
    type Item = (&'a [u8], &'a [u8]);
    type IntoIter = MetadataIter<'a>;

    fn into_iter(self) -> MetadataIter<'a> {
        self.iter()
    }
}

impl PartialEq for Metadata<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl Eq for Metadata<'_> {}

impl fmt::Debug for Metadata<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for (name, value) in self.iter() {
            map.entry(
                &format_args!("\"{}\"", name.escape_ascii()),
                &format_args!("\"{}\"", value.escape_ascii()),
            );
        }
        map.finish()
    }
}

/// The pairs of a [`Metadata`].
#[derive(Clone)]
pub struct MetadataIter<'a>(Pairs<'a>);

impl fmt::Debug for MetadataIter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Metadata(self.0).fmt(f)
    }
}

impl<'a> Iterator for MetadataIter<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.0 {
            Pairs::Text(pairs) => {
                let ((name, value), rest) = pairs.split_first()?;
                *pairs = rest;
                Some((name.as_bytes(), value.as_bytes()))
            }
            Pairs::Bytes(pairs) => {
                let (pair, rest) = pairs.split_first()?;
                *pairs = rest;
                Some(*pair)
            }
            Pairs::Interned { table, pairs } => {
                let (pair, rest) = pairs.split_first()?;
                *pairs = rest;
                Some((table.lookup(pair.name)?, table.lookup(pair.value)?))
            }
            Pairs::Encoded { table, count, encoded } => {
                *count = count.checked_sub(1)?;
                let mut symbol = || table.lookup(u32::try_from(take_uvarint(encoded)?).ok()?);
                Some((symbol()?, symbol()?))
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let len = Metadata(self.0).len();
        (len, Some(len))
    }
}

impl ExactSizeIterator for MetadataIter<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_equal_wherever_it_lies() {
        let text = [("a", "1"), ("b", "")];
        let bytes: [(&[u8], &[u8]); 2] = [(b"a", b"1"), (b"b", b"")];
        let mut table = SymbolTable::default();
        for symbol in ["", "a", "1", "b"] {
            table.push(symbol.as_bytes());
        }
        let pairs = [SymbolPair { name: 1, value: 2 }, SymbolPair { name: 3, value: 0 }];
        let all = [
            Metadata::from(&text),
            Metadata::from(&bytes[..]),
            Metadata::interned(&table, &pairs),
            Metadata::encoded(&table, 2, &[1, 2, 3, 0]),
        ];
        for metadata in all {
            assert_eq!(metadata, all[0]);
            assert_eq!(metadata.iter().len(), 2);
            assert_eq!(metadata.value("b"), Some(&b""[..]));
            assert_eq!(format!("{metadata:?}"), r#"{"a": "1", "b": ""}"#);
        }
        assert_ne!(all[0], Metadata::EMPTY);
    }

    #[test]
    fn an_entry_counts_eight_bytes_for_each_pair() {
        assert_eq!(Entry::new(1, "hello").raw_bytes(), 5);
        assert_eq!(Entry::new(1, "hello").with_metadata(&[("foo", "bar")]).raw_bytes(), 13);
    }
}
