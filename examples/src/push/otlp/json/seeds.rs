//! How values of JSON are read: messages with a list of keys each, lists of them, text, numbers. What is kept is asked
//! for first, and no error quotes more than the beginning of what it is about.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::super::super::json::{Reader, text_instead};
use crate::excerpt::Excerpt;

/// A message as an object.
pub(super) trait Message<'de>: Default {
    /// What it is, for who sent something else.
    const WHAT: &'static str;
    /// What becomes of it.
    type Done;

    /// Reads the value of `key`.
    fn field<A: MapAccess<'de>>(
        &mut self,
        key: &str,
        map: &mut A,
        reader: &mut Reader<'_>,
    ) -> Result<(), A::Error>;

    /// All keys were read.
    fn done<E: Error>(self, reader: &mut Reader<'_>) -> Result<Self::Done, E>;
}

/// Makes a seed that reads whatever comes by its visitor.
macro_rules! seed {
    ($name:ident<$($t:ident: $bound:path)?> -> $value:ty) => {
        impl<'de, $($t: $bound)?> DeserializeSeed<'de> for $name<'_, '_, $($t)?> {
            type Value = $value;
            fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<$value, D::Error> {
                deserializer.deserialize_any(self)
            }
        }
    };
}

pub(super) struct Object<'a, 'r, T>(pub(super) &'a mut Reader<'r>, pub(super) PhantomData<T>);

seed!(Object<T: Message<'de>> -> T::Done);

impl<'de, T: Message<'de>> Visitor<'de> for Object<'_, '_, T> {
    type Value = T::Done;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::WHAT)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
        Err(text_instead(&self))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        T::default().done(self.0)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut message = T::default();
        while let Some(key) = map.next_key_seed(Key)? {
            message.field(&key, &mut map, self.0)?;
        }
        message.done(self.0)
    }
}

/// A list of messages.
pub(super) struct List<'a, 'r, T>(pub(super) &'a mut Reader<'r>, pub(super) PhantomData<T>);

seed!(List<T: Message<'de>> -> Vec<T::Done>);

impl<'de, T: Message<'de>> Visitor<'de> for List<'_, '_, T> {
    type Value = Vec<T::Done>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list, each of it {}", T::WHAT)
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Self::Value, E> {
        Err(text_instead(&self))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(Object::<T>(self.0, PhantomData))? {
            self.0.push(&mut items, item)?;
        }
        Ok(items)
    }
}

/// The key of a field; one that is longer than any known is as good as none.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E: Error>(self, v: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(v))
    }

    fn visit_str<E: Error>(self, v: &str) -> Result<Self::Value, E> {
        Ok(if v.len() > 64 { Cow::Borrowed("") } else { Cow::Owned(v.to_owned()) })
    }
}

/// A string that borrows where it holds no escape.
pub(super) struct Text<'a, 'r>(pub(super) &'a mut Reader<'r>);

seed!(Text<> -> Cow<'de, str>);

impl<'de> Visitor<'de> for Text<'_, '_> {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E: Error>(self, v: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(v))
    }

    fn visit_str<E: Error>(self, v: &str) -> Result<Self::Value, E> {
        self.0.decoded(v.len())?;
        Ok(Cow::Owned(v.to_owned()))
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(""))
    }
}

/// A number, or its digits as a string.
pub(super) struct Number<T>(pub(super) PhantomData<T>);

impl<'de, T: FromStr + TryFrom<i64> + TryFrom<u64> + Default> DeserializeSeed<'de> for Number<T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<T: FromStr + TryFrom<i64> + TryFrom<u64> + Default> Visitor<'_> for Number<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number within its range")
    }

    fn visit_i64<E: Error>(self, v: i64) -> Result<T, E> {
        T::try_from(v).map_err(|_| E::custom(format_args!("number {v} is out of range")))
    }

    fn visit_u64<E: Error>(self, v: u64) -> Result<T, E> {
        T::try_from(v).map_err(|_| E::custom(format_args!("number {v} is out of range")))
    }

    fn visit_str<E: Error>(self, v: &str) -> Result<T, E> {
        v.parse().map_err(|_| E::custom(format_args!("{:?} is no whole number within its range", Excerpt(v))))
    }

    fn visit_unit<E: Error>(self) -> Result<T, E> {
        Ok(T::default())
    }
}

/// What `T` reads, unless it is `null`.
pub(super) struct Unless<T>(pub(super) T);

impl<'de, T: DeserializeSeed<'de>> DeserializeSeed<'de> for Unless<T> {
    type Value = Option<T::Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de, T: DeserializeSeed<'de>> Visitor<'de> for Unless<T> {
    type Value = Option<T::Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value or null")
    }

    fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        self.0.deserialize(deserializer).map(Some)
    }
}

/// A double, or what JSON has no number for.
pub(super) struct Double;

impl<'de> DeserializeSeed<'de> for Double {
    type Value = f64;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<f64, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Double {
    type Value = f64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_f64<E: Error>(self, v: f64) -> Result<f64, E> {
        Ok(v)
    }

    fn visit_i64<E: Error>(self, v: i64) -> Result<f64, E> {
        Ok(v as f64)
    }

    fn visit_u64<E: Error>(self, v: u64) -> Result<f64, E> {
        Ok(v as f64)
    }

    fn visit_str<E: Error>(self, v: &str) -> Result<f64, E> {
        v.parse().map_err(|_| E::custom(format_args!("{:?} is no number", Excerpt(v))))
    }
}

/// `true` or `false`.
pub(super) struct Truth;

impl<'de> DeserializeSeed<'de> for Truth {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Truth {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true or false")
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<bool, E> {
        Err(text_instead(&self))
    }

    fn visit_bool<E: Error>(self, v: bool) -> Result<bool, E> {
        Ok(v)
    }
}
