//! Which streams a policy or hold concerns: all of its requirements must hold. A selector keeps the rule of
//! its origin for missing labels: Kubernetes tells absent from empty, Loki does not.

use std::collections::BTreeSet;

pub use pattern::{MAX_COMPILED_BYTES, MAX_PATTERN_BYTES, Pattern, PatternError};

mod disjoint;
mod display;
mod parse;
mod pattern;
#[cfg(feature = "serde")]
mod wire;

/// The most bytes a selector may have, in its text or in all keys, values and patterns together.
pub const MAX_SELECTOR_BYTES: usize = 64 << 10;
/// The most patterns a selector may have.
pub const MAX_PATTERNS: usize = 32;

/// A conjunction of requirements on labels; without any it matches everything.
///
/// Under `serde` a native selector is a map of `match_labels` and `match_expressions` as in Kubernetes, and a
/// Loki selector is its text. `{}` matches everything in both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    requirements: Vec<Requirement>,
    missing: Missing,
}

/// What a requirement sees when the stream has no such label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Missing {
    /// Nothing: absent is not empty (Kubernetes).
    Absent,
    /// The empty value: absent and empty are the same (Loki, Prometheus).
    Empty,
}

/// One condition on one label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// The label's name.
    pub key: String,
    /// What must be true of its value.
    pub operator: Operator,
}

impl Requirement {
    /// A condition on the label `key`.
    pub fn new(key: impl Into<String>, operator: Operator) -> Self {
        Self { key: key.into(), operator }
    }

    /// The label exists and has this value.
    pub fn equals(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self::new(key, Operator::In(BTreeSet::from([value.into()])))
    }
}

/// What must be true of a label's value.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operator {
    /// It exists and is one of these.
    In(BTreeSet<String>),
    /// It does not exist or is none of these.
    NotIn(BTreeSet<String>),
    /// It exists.
    Exists,
    /// It does not exist.
    DoesNotExist,
    /// It exists and matches.
    Matches(Pattern),
    /// It does not exist or does not match.
    NotMatches(Pattern),
}

impl Operator {
    fn accepts(&self, value: Option<&str>) -> bool {
        match self {
            Self::In(values) => value.is_some_and(|value| values.contains(value)),
            Self::NotIn(values) => !value.is_some_and(|value| values.contains(value)),
            Self::Exists => value.is_some(),
            Self::DoesNotExist => value.is_none(),
            Self::Matches(pattern) => value.is_some_and(|value| pattern.is_match(value)),
            Self::NotMatches(pattern) => !value.is_some_and(|value| pattern.is_match(value)),
        }
    }
}

/// Why a selector was refused; `at` is a byte offset into its text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SelectorError {
    /// Something else stands there.
    #[error("expected {what} at byte {at}")]
    Expected {
        /// Where.
        at: usize,
        /// What should stand there.
        what: &'static str,
    },
    /// A string does not end.
    #[error("string that starts at byte {at} does not end")]
    Unterminated {
        /// Where it starts.
        at: usize,
    },
    /// Not an escape that Go knows.
    #[error("unknown escape at byte {at}")]
    Escape {
        /// Where.
        at: usize,
    },
    /// A string's escapes do not make UTF-8.
    #[error("string that starts at byte {at} is not utf-8")]
    NotUtf8 {
        /// Where it starts.
        at: usize,
    },
    /// A pattern was refused.
    #[error("pattern that starts at byte {at} is not usable")]
    Pattern {
        /// Where its string starts; 0 outside of text.
        at: usize,
        /// Why.
        source: PatternError,
    },
    /// A requirement has no key.
    #[error("requirement has no key")]
    NoKey,
    /// `In` and `NotIn` need values.
    #[error("requirement on {key} has no values")]
    NoValues {
        /// The requirement's label.
        key: String,
    },
    /// `Exists` takes no values, `Matches` takes one.
    #[error("requirement on {key} has {found} values, its operator takes {expected}")]
    ValueCount {
        /// The requirement's label.
        key: String,
        /// How many there are.
        found: usize,
        /// How many the operator takes.
        expected: usize,
    },
    /// More than [`MAX_SELECTOR_BYTES`].
    #[error("selector of {bytes} bytes exceeds the limit of {limit}")]
    TooLong {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// More than [`MAX_PATTERNS`].
    #[error("selector with {patterns} patterns exceeds the limit of {limit}")]
    TooManyPatterns {
        /// How many.
        patterns: usize,
        /// The limit.
        limit: usize,
    },
}

impl Selector {
    /// Matches every stream.
    pub fn everything() -> Self {
        Self { requirements: Vec::new(), missing: Missing::Absent }
    }

    /// All of `requirements`, with Kubernetes' rules: an absent label is not an empty one.
    ///
    /// # Errors
    /// An empty key, `In` or `NotIn` without values (the empty string is a value), or a size over the limits.
    pub fn new(requirements: impl IntoIterator<Item = Requirement>) -> Result<Self, SelectorError> {
        Self::checked(requirements.into_iter().collect(), Missing::Absent)
    }

    /// Loki's text form, as in `retention_stream`, with Loki's rules: an absent label is an empty one, so that
    /// `{env!~".+"}` and `{env=""}` match streams without `env`. `{}` matches everything.
    ///
    /// # Errors
    /// A [`SelectorError`] with the byte where the text stops making sense.
    pub fn parse_loki(text: &str) -> Result<Self, SelectorError> {
        Self::checked(parse::requirements(text)?, Missing::Empty)
    }

    fn checked(requirements: Vec<Requirement>, missing: Missing) -> Result<Self, SelectorError> {
        let (mut bytes, mut patterns) = (0usize, 0usize);
        for Requirement { key, operator } in &requirements {
            if key.is_empty() {
                return Err(SelectorError::NoKey);
            }
            bytes += key.len();
            match operator {
                Operator::In(values) | Operator::NotIn(values) => {
                    if values.is_empty() {
                        return Err(SelectorError::NoValues { key: key.clone() });
                    }
                    bytes += values.iter().map(String::len).sum::<usize>();
                }
                Operator::Matches(pattern) | Operator::NotMatches(pattern) => {
                    patterns += 1;
                    bytes += pattern.as_str().len();
                }
                Operator::Exists | Operator::DoesNotExist => {}
            }
        }
        if bytes > MAX_SELECTOR_BYTES {
            return Err(SelectorError::TooLong { bytes, limit: MAX_SELECTOR_BYTES });
        }
        if patterns > MAX_PATTERNS {
            return Err(SelectorError::TooManyPatterns { patterns, limit: MAX_PATTERNS });
        }
        Ok(Self { requirements, missing })
    }

    /// The requirements, in the order given.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// The rule for missing labels.
    pub fn missing(&self) -> Missing {
        self.missing
    }

    /// Whether a stream with these labels, sorted by name, is selected. O(requirements · log labels), plus the
    /// patterns' time.
    pub fn matches(&self, labels: &[(&str, &str)]) -> bool {
        self.requirements.iter().all(|requirement| {
            let found = labels.binary_search_by(|&(name, _)| name.cmp(&requirement.key));
            let value = found.ok().and_then(|at| labels.get(at)).map(|&(_, value)| value);
            requirement.operator.accepts(self.seen(value))
        })
    }

    /// Whether no stream at all can match both. `false` means "not provably": patterns are not intersected.
    pub fn is_disjoint(&self, other: &Self) -> bool {
        disjoint::disjoint(self, other)
    }

    /// What a requirement sees of a label's value.
    fn seen<'v>(&self, value: Option<&'v str>) -> Option<&'v str> {
        match self.missing {
            Missing::Absent => value,
            Missing::Empty => Some(value.unwrap_or_default()),
        }
    }

    /// The values of which a stream must have one to match, if a requirement says so.
    pub(crate) fn required_values<'s>(&self, requirement: &'s Requirement) -> Option<&'s BTreeSet<String>> {
        match &requirement.operator {
            Operator::In(values) if self.missing == Missing::Absent || !values.contains("") => Some(values),
            _ => None,
        }
    }

    /// Whether a requirement can only hold for streams that have the label.
    pub(crate) fn requires_key(&self, requirement: &Requirement) -> bool {
        match &requirement.operator {
            Operator::In(_) => self.required_values(requirement).is_some(),
            Operator::Exists => self.missing == Missing::Absent,
            Operator::Matches(pattern) => self.missing == Missing::Absent || !pattern.matches_empty(),
            Operator::NotMatches(pattern) => self.missing == Missing::Empty && pattern.matches_empty(),
            Operator::NotIn(values) => self.missing == Missing::Empty && values.contains(""),
            Operator::DoesNotExist => false,
        }
    }
}

#[cfg(test)]
mod tests;
