//! What is wrong with a document and where: place, path from the root, and both sides of the disagreement.

use std::borrow::Cow;
use std::fmt;

use super::{Node, Position, Value};
use crate::units::UnitError;

/// Correct the document at [`position`](Self::position): nothing of it has been taken over.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{position}: {}{problem}", Prefix(path))]
pub struct Error {
    position: Position,
    path: String,
    problem: Problem,
}

/// What is wrong, without the place.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The text is not YAML.
    #[error("{message}")]
    Syntax {
        /// What the parser says.
        message: String,
    },
    /// Only one document is read.
    #[error("a second document in the same file")]
    SeveralDocuments,
    /// The document is nested too deeply, aliases followed.
    #[error("nested deeper than the limit of {limit}")]
    TooDeep {
        /// Levels allowed.
        limit: usize,
    },
    /// The document is too large.
    #[error("more nodes than the limit of {limit}")]
    TooManyNodes {
        /// Nodes allowed.
        limit: usize,
    },
    /// Aliases repeat too much: a few lines would stand for gigabytes.
    #[error("aliases repeat more than the limit of {limit} {unit}")]
    TooMuchRepeated {
        /// Nodes or bytes allowed.
        limit: usize,
        /// `nodes` or `bytes`.
        unit: &'static str,
    },
    /// An alias stands inside what it names.
    #[error("an alias inside the node it names")]
    Recursion,
    /// A key that is a mapping or a sequence.
    #[error("a key must be a scalar, found {found}")]
    ComplexKey {
        /// What stands there.
        found: &'static str,
    },
    /// A key written twice in one mapping.
    #[error("duplicate key `{key}`, first on {first}")]
    DuplicateKey {
        /// The key.
        key: String,
        /// Where it was first.
        first: Position,
    },
    /// A tag outside YAML's core schema.
    #[error("tag `{tag}` is not supported")]
    Tag {
        /// The tag.
        tag: String,
    },
    /// A key that is in no table.
    #[error("unknown key `{key}`{}", Nearest(*nearest))]
    UnknownKey {
        /// The key.
        key: String,
        /// The known name with the least edit distance, if one is near.
        nearest: Option<&'static str>,
    },
    /// A key that must be there.
    #[error("missing key `{key}`")]
    MissingKey {
        /// The key.
        key: &'static str,
    },
    /// A value of another kind or form.
    #[error("expected {expected}, found {found}")]
    Expected {
        /// What could stand there.
        expected: Cow<'static, str>,
        /// What does.
        found: String,
    },
    /// A size or a duration that cannot be read.
    #[error("expected {expected}, found {found}: {source}")]
    Unit {
        /// What could stand there.
        expected: &'static str,
        /// What does.
        found: String,
        /// Why it cannot be read.
        #[source]
        source: UnitError,
    },
    /// A value of the right form that its reader refuses.
    #[error("{message}")]
    Refused {
        /// Why.
        message: String,
    },
}

impl Error {
    /// An error at a place; its path is filled in by the walkers it passes on its way up.
    #[must_use]
    pub fn new(position: Position, problem: Problem) -> Self {
        Self { position, path: String::new(), problem }
    }

    /// Where the mistake is.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// The way from the node that was read to the mistake: `overrides.team-a.retention_stream[0].period`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What is wrong.
    #[must_use]
    pub fn problem(&self) -> &Problem {
        &self.problem
    }

    /// The same error seen from the mapping that holds the node under `key`.
    #[must_use]
    pub fn in_field(mut self, key: &str) -> Self {
        prefix_field(&mut self.path, key);
        self
    }

    /// The same error seen from the sequence that holds the node at `index`, from 0.
    #[must_use]
    pub fn in_item(mut self, index: usize) -> Self {
        prefix_item(&mut self.path, index);
        self
    }
}

impl Node {
    /// The error that something else was expected here: `expected a port, found "http"`.
    #[must_use]
    pub fn expected(&self, expected: impl Into<Cow<'static, str>>) -> Error {
        Error::new(self.position, Problem::Expected { expected: expected.into(), found: self.found() })
    }

    /// The error that a value of the right form is not acceptable.
    #[must_use]
    pub fn refused(&self, message: impl fmt::Display) -> Error {
        Error::new(self.position, Problem::Refused { message: message.to_string() })
    }

    /// The error that a mapping lacks a key.
    #[must_use]
    pub fn missing(&self, key: &'static str) -> Error {
        Error::new(self.position, Problem::MissingKey { key })
    }

    pub(super) fn unit(&self, expected: &'static str, source: UnitError) -> Error {
        Error::new(self.position, Problem::Unit { expected, found: self.found(), source })
    }

    fn found(&self) -> String {
        match &self.value {
            Value::Scalar { .. } if self.is_null() => "nothing".to_owned(),
            Value::Scalar { text, plain: true } => format!("`{}`", excerpt(text)),
            Value::Scalar { text, plain: false } => format!("the string {:?}", excerpt(text)),
            Value::Sequence(_) => "a sequence".to_owned(),
            Value::Mapping(_) => "a mapping".to_owned(),
        }
    }
}

/// Something in a document that has no effect, or not the expected one; the document loads all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    position: Position,
    path: String,
    kind: WarningKind,
}

/// What a [`Warning`] warns of.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WarningKind {
    /// A name that has a meaning elsewhere and none here.
    Recognised,
    /// A name that older versions had.
    Removed,
    /// A limit that is one for all tenants; the tenant's value is ignored.
    NotPerTenant,
    /// Overrides under a name that no valid tenant id can be.
    NoSuchTenant,
}

impl Warning {
    /// A warning at a place; its path is filled in by the walkers around it.
    #[must_use]
    pub fn at(position: Position, kind: WarningKind) -> Self {
        Self { position, path: String::new(), kind }
    }

    /// The same warning seen from the mapping that holds the node under `key`.
    #[must_use]
    pub fn in_field(mut self, key: &str) -> Self {
        prefix_field(&mut self.path, key);
        self
    }

    /// Where it is.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// The way from the node that was read.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What it warns of.
    #[must_use]
    pub fn kind(&self) -> WarningKind {
        self.kind
    }

    pub(super) fn enter_field(&mut self, key: &str) {
        prefix_field(&mut self.path, key);
    }

    pub(super) fn enter_item(&mut self, index: usize) {
        prefix_item(&mut self.path, index);
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}{}", self.position, Prefix(&self.path), self.kind)
    }
}

impl fmt::Display for WarningKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Recognised => "recognised, not used",
            Self::Removed => "removed, not used",
            Self::NotPerTenant => "cannot be set per tenant, not used",
            Self::NoSuchTenant => "not a valid tenant id, never used",
        })
    }
}

/// At most 40 characters of a text, so that a message stays a line.
pub(super) fn excerpt(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(40) {
        None => Cow::Borrowed(text),
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
    }
}

fn prefix_field(path: &mut String, key: &str) {
    let simple = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    let key = match !key.is_empty() && key.bytes().all(simple) {
        true => Cow::Borrowed(key),
        false => Cow::Owned(format!("{:?}", excerpt(key))),
    };
    let dot = if path.is_empty() || path.starts_with('[') { "" } else { "." };
    *path = format!("{key}{dot}{path}");
}

fn prefix_item(path: &mut String, index: usize) {
    let dot = if path.is_empty() || path.starts_with('[') { "" } else { "." };
    *path = format!("[{index}]{dot}{path}");
}

struct Prefix<'a>(&'a str);

impl fmt::Display for Prefix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, "{}: ", self.0) }
    }
}

struct Nearest(Option<&'static str>);

impl fmt::Display for Nearest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => write!(f, ", the nearest known is `{name}`"),
            None => Ok(()),
        }
    }
}
