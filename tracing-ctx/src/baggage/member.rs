//! One member of a list that is good: how it is read, and how it is written.

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};

use super::{BaggageError, grammar, percent};

/// A key with its value and the properties of it.
///
/// Two are equal if they read the same, however they are spaced and escaped.
#[derive(Clone, Copy)]
pub struct Member<'a> {
    key: &'a str,
    value: &'a str,
    /// What follows the first semicolon, if anything does.
    properties: &'a str,
}

impl<'a> Member<'a> {
    /// Reads a member that is good.
    pub(super) fn of(text: &'a str) -> Self {
        let (member, properties) = text.split_once(';').unwrap_or((text, ""));
        let (key, value) = halves(member);
        Self { key, value: value.unwrap_or_default(), properties }
    }

    /// The key, which is never escaped.
    pub fn key(&self) -> &'a str {
        self.key
    }

    /// The value with its escapes decoded; allocates only if it has any.
    ///
    /// Escaped bytes that are no UTF-8 read as U+FFFD, as the specification has it, and what is no escape,
    /// such as `%` without two digits behind it, reads as it is written. Neither changes what is sent on.
    pub fn value(&self) -> Cow<'a, str> {
        percent::decode(self.value)
    }

    /// The value as it is sent.
    pub fn raw_value(&self) -> &'a str {
        self.value
    }

    /// The properties in order, keys that occur several times included.
    pub fn properties(&self) -> impl Iterator<Item = Property<'a>> + use<'a> {
        let parts = self.properties.split(';').filter(|part| !part.is_empty());
        parts.map(|part| {
            let (key, value) = halves(part);
            Property { key, value }
        })
    }
}

impl PartialEq for Member<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key && self.value() == other.value() && self.properties().eq(other.properties())
    }
}

impl Eq for Member<'_> {}

impl Hash for Member<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
        self.value().hash(state);
        let properties = self.properties().map(|property| property.hash(state)).count();
        properties.hash(state);
    }
}

impl fmt::Debug for Member<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let properties: Vec<_> = self.properties().collect();
        let mut member = f.debug_struct("Member");
        member.field("key", &self.key).field("value", &self.value()).field("properties", &properties).finish()
    }
}

/// Something that is said about the value of a [`Member`]: a key alone, or a key with a value.
///
/// The specification gives properties no meaning. Two are equal if they read the same.
#[derive(Clone, Copy)]
pub struct Property<'a> {
    key: &'a str,
    value: Option<&'a str>,
}

impl<'a> Property<'a> {
    /// The key, which is never escaped.
    pub fn key(&self) -> &'a str {
        self.key
    }

    /// The value, if there is one, decoded like that of a [member](Member::value).
    pub fn value(&self) -> Option<Cow<'a, str>> {
        self.value.map(percent::decode)
    }

    /// The value, if there is one, as it is sent.
    pub fn raw_value(&self) -> Option<&'a str> {
        self.value
    }
}

impl PartialEq for Property<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key && self.value() == other.value()
    }
}

impl Eq for Property<'_> {}

impl Hash for Property<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
        self.value().hash(state);
    }
}

impl fmt::Debug for Property<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Property").field("key", &self.key).field("value", &self.value()).finish()
    }
}

/// The members of a text that only has good ones.
pub(super) fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(trim).filter(|member| !member.is_empty())
}

/// Writes a key and, if there is one, its value with the escapes it needs.
pub(super) fn write(out: &mut Vec<u8>, key: &str, value: Option<&str>) -> Result<(), BaggageError> {
    if !grammar::is_key(key.as_bytes()) {
        return Err(BaggageError::Key { found: key.len() });
    }
    out.extend_from_slice(key.as_bytes());
    if let Some(value) = value {
        out.push(b'=');
        percent::encode(out, value);
    }
    Ok(())
}

/// Without the spaces and tabs around it.
fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// Key and value of a member or a property that is good.
fn halves(part: &str) -> (&str, Option<&str>) {
    match part.split_once('=') {
        Some((key, value)) => (trim(key), Some(trim(value))),
        None => (trim(part), None),
    }
}
