//! A key of text without a heap allocation of its own, as long as it is short.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str;

use super::lookup::Lookup;

/// Text of up to 22 bytes in 24 bytes, or longer text in a box: a key for [`Keyed`](super::Keyed) that keeps
/// the name of a tenant beside its bucket, where a `String` would be another visit to memory and another 32
/// bytes from the allocator.
///
/// ```
/// use forebay_ratelimit::{Keyed, Name, Quota, Rate};
///
/// let tenants: Keyed<Name> = Keyed::new(Default::default());
/// assert!(tenants.allow("blue", 1, Quota::new(Rate::per_second(10), 5)));
/// assert_eq!(Name::from("blue").as_str(), "blue");
/// ```
#[derive(Clone)]
pub struct Name(Text);

#[derive(Clone)]
enum Text {
    Short { len: u8, bytes: [u8; SHORT] },
    Long(Box<str>),
}

/// What is left of 24 bytes besides the length and the tag.
const SHORT: usize = 22;

impl Name {
    /// The text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Text::Short { .. } => str::from_utf8(self.as_bytes()).expect("it was copied from a str"),
            Text::Long(text) => text,
        }
    }

    /// The text in UTF-8; costs less than [`as_str`](Self::as_str).
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Text::Short { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or(bytes),
            Text::Long(text) => text.as_bytes(),
        }
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        let mut bytes = [0; SHORT];
        let short = u8::try_from(text.len()).ok().zip(bytes.get_mut(..text.len()));
        Self(match short {
            Some((len, start)) => {
                start.copy_from_slice(text.as_bytes());
                Text::Short { len, bytes }
            }
            None => Text::Long(text.into()),
        })
    }
}

impl From<String> for Name {
    fn from(text: String) -> Self {
        if text.len() <= SHORT { Self::from(&*text) } else { Self(Text::Long(text.into())) }
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Name {}

/// As the `str` that it holds.
impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl Lookup<Name> for str {
    #[inline]
    fn finds(&self, key: &Name) -> bool {
        key.as_bytes() == self.as_bytes()
    }

    fn to_key(&self) -> Name {
        Name::from(self)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use foldhash::fast::RandomState;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_takes_the_bytes_that_its_documentation_says() {
        assert_eq!(size_of::<Name>(), 24);
    }

    proptest! {
        #[test]
        fn a_name_is_the_text_it_was_made_of(text in "\\PC{0,40}", other in "\\PC{0,3}") {
            let name = Name::from(&*text);
            prop_assert_eq!(name.as_str(), &*text);
            prop_assert_eq!(name.as_bytes(), text.as_bytes());
            let hasher = RandomState::default();
            prop_assert_eq!(hasher.hash_one(&name), hasher.hash_one(&*text));
            prop_assert!((*text).finds(&name) && Lookup::<Name>::to_key(&*text) == name);
            prop_assert_eq!((*other).finds(&name), other == text);
            prop_assert_eq!(Name::from(&*other).cmp(&name), other.cmp(&text));
            prop_assert_eq!(Name::from(text), name);
        }
    }
}
