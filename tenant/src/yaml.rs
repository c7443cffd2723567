//! A YAML document as an untyped tree in which every node knows its line and column.
//! Invariant: a tree is finite and small: anchors, aliases and merges are resolved within a [`Budget`], no
//! mapping holds a key twice, and nothing in it is deeper than the budget's depth.
//!
//! Scalars keep the text they were written with, so that each reader can apply the rules of the type it
//! expects: `010` is the string `010` and the integer 8, `yes` is a string and a truth. The rules are those of
//! the Go programs whose files are to be read; see the readers of [`Node`].
//!
//! ```
//! use forebay_tenant::yaml::{self, Status, Table};
//!
//! #[derive(Clone, Copy)]
//! enum Key { Port, Timeout }
//! static SERVER: Table<Key> = Table::new(&[
//!     ("http_listen_port", Status::Used(Key::Port)),
//!     ("http_server_read_timeout", Status::Used(Key::Timeout)),
//!     ("log_level", Status::Recognised),
//! ]);
//!
//! let (mut port, mut warnings) = (3100, Vec::new());
//! let root = yaml::parse("http_listen_port: 0x50\nlog_level: warn\n")?;
//! root.fields(&SERVER, &mut warnings, |key, value, _| {
//!     match key {
//!         Key::Port => port = value.u16()?,
//!         Key::Timeout => { value.go_duration()?; }
//!     }
//!     Ok(())
//! })?;
//! assert_eq!(port, 80);
//! assert_eq!(warnings[0].to_string(), "line 2 column 1: log_level: recognised, not used");
//!
//! let root = yaml::parse("http_listen_prot: 80")?;
//! let refused = root.fields(&SERVER, &mut warnings, |_, _, _| Ok(())).unwrap_err();
//! assert_eq!(
//!     refused.to_string(),
//!     "line 1 column 1: unknown key `http_listen_prot`, the nearest known is `http_listen_port`",
//! );
//! # Ok::<(), yaml::Error>(())
//! ```

mod error;
mod load;
mod read;
mod table;

use std::fmt;
use std::sync::Arc;

pub use error::{Error, Problem, Warning, WarningKind};
pub use table::{Status, Table};

/// A value of a YAML document and the place it was written at.
///
/// A clone shares the content. A node that an alias names is the node itself, with its own place: that is
/// where a mistake in it has to be corrected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    position: Position,
    value: Value,
}

/// What a [`Node`] holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A single value, as text. `plain` if nothing marks it as a string: no quotes, no block, no `!!str`.
    Scalar {
        /// The text, with quotes, escapes and folding taken away.
        text: Arc<str>,
        /// Whether the text may stand for something other than a string.
        plain: bool,
    },
    /// Nodes in the order they were written.
    Sequence(Arc<[Node]>),
    /// Entries in the order they were written, merged ones last; no two of them have the same key.
    Mapping(Arc<[Entry]>),
}

/// One `key: value` of a mapping.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    key: Arc<str>,
    position: Position,
    value: Node,
}

/// A place in a document, both counted from 1; columns are characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
}

/// How much of a document is read before it is refused.
///
/// A node takes up to about 200 bytes and its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Mappings and sequences inside each other, aliases followed. Default 64. Readers recurse this deep.
    pub depth: usize,
    /// Nodes written, keys included. Default 8 Mi, enough for 100 000 tenants with 40 limits each.
    pub nodes: usize,
    /// Nodes that aliases repeat. Default 1 Mi. They cost time, not memory.
    pub alias_nodes: usize,
    /// Bytes of text that aliases repeat. Default 16 MiB.
    pub alias_bytes: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { depth: 64, nodes: 8 << 20, alias_nodes: 1 << 20, alias_bytes: 16 << 20 }
    }
}

/// Reads one document within the default [`Budget`]; an empty text is a null.
///
/// # Errors
/// [`Error`] with the place of the first mistake. A second document that is not empty is one, as are complex
/// keys, tags outside YAML's core schema, and a key written twice.
pub fn parse(text: &str) -> Result<Node, Error> {
    parse_within(text, &Budget::default())
}

/// Reads one document within a budget of the caller's choice. Linear in the text and in what aliases repeat.
///
/// # Errors
/// As [`parse`].
pub fn parse_within(text: &str, budget: &Budget) -> Result<Node, Error> {
    load::load(text, budget)
}

impl Node {
    /// Where the value starts.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// What the node holds.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The entry under `key`, if this is a mapping that has it. Linear in the entries.
    #[must_use]
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            Value::Mapping(entries) => entries.iter().find(|entry| &*entry.key == key),
            Value::Scalar { .. } | Value::Sequence(_) => None,
        }
    }

    /// The value under `key`, if this is a mapping that has it. Linear in the entries.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(Entry::value)
    }
}

impl Entry {
    /// The text of the key, whatever its style: `456` and `"456"` are the same key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Where the key starts.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// The value under the key.
    #[must_use]
    pub fn value(&self) -> &Node {
        &self.value
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} column {}", self.line, self.column)
    }
}
