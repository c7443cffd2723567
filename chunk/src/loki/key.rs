//! The name of an object in a bucket, its path in a directory, and the fingerprint of a stream. A key and its
//! text determine each other.

use std::fmt;
use std::str::FromStr;

use xxhash_rust::xxh64::Xxh64;

use super::envelope::METRIC_NAME_LABEL;
use crate::Format;
use crate::{Error, Section};

/// The version of Loki's schema, which decides the form of keys and the format of chunks.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum Schema {
    /// Up to Loki 2.4.
    V11,
    /// Keys spread over prefixes.
    V12,
    /// Chunks with structured metadata.
    V13,
    /// Envelopes with the time of ingestion.
    V14,
}

impl Schema {
    /// The format that Loki writes chunks of it in.
    pub const fn format(self) -> Format {
        match self {
            Self::V11 | Self::V12 => Format::LokiV3,
            Self::V13 | Self::V14 => Format::LokiV4,
        }
    }
}

/// What an object is stored under.
///
/// Text and back, in both forms that there are:
///
/// ```
/// use forebay_chunk::loki::{Key, Schema};
///
/// let key: Key = "tenant-a/8d51c764753e134d/19cc82b35b1:19cc82f4e7a:e2e6463e".parse()?;
/// assert_eq!(key.text(Schema::V13).parse(), Ok(key.clone()));
/// assert_eq!(key.text(Schema::V11), "tenant-a/8d51c764753e134d:19cc82b35b1:19cc82f4e7a:e2e6463e");
/// # Ok::<(), forebay_chunk::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Key {
    /// Whose it is. It becomes a part of paths: validate it first, `..` is no tenant.
    pub tenant: String,
    /// The stream.
    pub fingerprint: u64,
    /// Time of the oldest entry, milliseconds since 1970, rounded down.
    pub from_ms: i64,
    /// Time of the newest entry, rounded up.
    pub through_ms: i64,
    /// CRC-32C of the whole object.
    pub checksum: u32,
}

impl Key {
    /// The key as schemas write it: fields in lower-case hexadecimal, without padding.
    pub fn text(&self, schema: Schema) -> String {
        let Self { tenant, fingerprint, .. } = self;
        let separator = if schema <= Schema::V11 { ':' } else { '/' };
        format!("{tenant}/{fingerprint:x}{separator}{}", self.tail())
    }

    /// The path below the directory of a file system store: characters that not every file system takes are
    /// hidden in base64.
    pub fn fs_path(&self, schema: Schema) -> String {
        if schema <= Schema::V11 {
            base64(self.text(schema).as_bytes())
        } else {
            let Self { tenant, fingerprint, .. } = self;
            format!("{tenant}/{fingerprint:x}/{}", base64(self.tail().as_bytes()))
        }
    }

    /// The key of a path that [`Key::fs_path`] gave for that schema.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] for any other path.
    pub fn from_fs_path(path: &str, schema: Schema) -> Result<Self, Error> {
        let corrupt = |what: &str| Error::corrupt(Section::Key, 0, format!("path {path:?} {what}"));
        let (directory, name) = match path.rsplit_once('/') {
            Some((directory, name)) if schema >= Schema::V12 => (Some(directory), name),
            None if schema >= Schema::V12 => return Err(corrupt("has no directory")),
            _ => (None, path),
        };
        let name = unbase64(name).and_then(|name| String::from_utf8(name).ok());
        let name = name.ok_or_else(|| corrupt("does not end in base64"))?;
        let key: Self = match directory {
            Some(directory) => format!("{directory}/{name}").parse()?,
            None => name.parse()?,
        };
        if key.fs_path(schema) == path { Ok(key) } else { Err(corrupt("is not of that schema")) }
    }

    fn tail(&self) -> String {
        let Self { from_ms, through_ms, checksum, .. } = self;
        format!("{}:{}:{checksum:x}", Hex(*from_ms), Hex(*through_ms))
    }
}

impl FromStr for Key {
    type Err = Error;

    /// Either form; the tenant is all before the fingerprint.
    fn from_str(text: &str) -> Result<Self, Error> {
        let corrupt = || Error::corrupt(Section::Key, 0, format!("key {text:?} is not one of Loki's"));
        let (rest, tail) = text.rsplit_once('/').ok_or_else(corrupt)?;
        let parts: Vec<&str> = tail.split(':').collect();
        let (tenant, fingerprint, [from, through, checksum]) = match parts[..] {
            [fingerprint, from, through, checksum] => (rest, fingerprint, [from, through, checksum]),
            [from, through, checksum] => {
                let (tenant, fingerprint) = rest.rsplit_once('/').ok_or_else(corrupt)?;
                (tenant, fingerprint, [from, through, checksum])
            }
            _ => return Err(corrupt()),
        };
        let key = Self {
            tenant: tenant.to_owned(),
            fingerprint: u64::from_str_radix(fingerprint, 16).map_err(|_| corrupt())?,
            from_ms: i64::from_str_radix(from, 16).map_err(|_| corrupt())?,
            through_ms: i64::from_str_radix(through, 16).map_err(|_| corrupt())?,
            checksum: u32::from_str_radix(checksum, 16).map_err(|_| corrupt())?,
        };
        // Upper case, padding and signs would make several texts of one key.
        let schema = if parts.len() == 4 { Schema::V11 } else { Schema::V12 };
        if key.tenant.is_empty() || key.text(schema) != text { Err(corrupt()) } else { Ok(key) }
    }
}

/// Hexadecimal with a sign, as Go prints it.
struct Hex(i64);

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        write!(f, "{sign}{:x}", self.0.unsigned_abs())
    }
}

/// The fingerprint of a stream: xxHash64 over `name 0xFF value 0xFF` of its labels by name, `__name__` left
/// out.
///
/// Labels are sorted if they are not. Loki gives another fingerprint, of at most 2^20, to a stream whose own
/// is taken; so one read from a bucket need not be this one.
pub fn fingerprint<N: AsRef<[u8]>, V: AsRef<[u8]>>(labels: &[(N, V)]) -> u64 {
    let mut sorted: Vec<(&[u8], &[u8])> =
        labels.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect();
    sorted.sort_unstable();
    let mut hash = Xxh64::new(0);
    for (name, value) in sorted.into_iter().filter(|(name, _)| *name != METRIC_NAME_LABEL.as_bytes()) {
        for part in [name, b"\xFF", value, b"\xFF"] {
            hash.update(part);
        }
    }
    hash.digest()
}

const ALPHABET: [u8; 64] = *b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits =
            group.iter().fold(0u32, |bits, &byte| bits << 8 | u32::from(byte)) << (8 * (3 - group.len()));
        for digit in 0..4 {
            let index = usize::try_from(bits >> (18 - 6 * digit) & 63).expect("six bits");
            let character = ALPHABET.get(index).copied().expect("an index of six bits");
            out.push(if digit <= group.len() { char::from(character) } else { '=' });
        }
    }
    out
}

/// Reads what [`base64`] writes; what differs from it in padding is left to the caller to notice.
fn unbase64(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    for group in text.as_bytes().chunks(4) {
        let digits = group.iter().take_while(|&&byte| byte != b'=').count();
        let mut bits = 0u32;
        for character in group.get(..digits)? {
            let index = ALPHABET.iter().position(|known| known == character)?;
            bits = bits << 6 | u32::try_from(index).ok()?;
        }
        let bits = bits << (6 * (4 - digits));
        out.extend_from_slice(bits.to_be_bytes().get(1..digits.max(1))?);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> Key {
        Key { tenant: "t".into(), fingerprint: 0xAB, from_ms: -31, through_ms: 16, checksum: 7 }
    }

    #[test]
    fn times_before_1970_have_a_sign() {
        assert_eq!(key().text(Schema::V11), "t/ab:-1f:10:7");
        assert_eq!(key().text(Schema::V14), "t/ab/-1f:10:7");
        assert_eq!("t/ab/-1f:10:7".parse(), Ok(key()));
    }

    #[test]
    fn a_text_that_no_key_has_is_refused() {
        for text in [
            "",
            "t",
            "t/",
            "/ab/-1f:10:7",
            "ab/-1f:10:7",
            "t/ab/-1f:10",
            "t/ab/0-1f:10:7",
            "t/ab/-1f:010:7",
            "t/AB/-1f:10:7",
            "t/+ab/-1f:10:7",
            "t/ab/-1f:10:7:",
            "t/ab/-1f:10:100000000",
            "t/ab/-0:10:7",
        ] {
            assert!(text.parse::<Key>().is_err(), "{text}");
        }
    }

    #[test]
    fn base64_is_that_of_rfc_4648() {
        let vectors = [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")];
        for (plain, coded) in vectors {
            assert_eq!(base64(plain.as_bytes()), coded);
            assert_eq!(unbase64(coded).unwrap(), plain.as_bytes());
        }
        assert_eq!(unbase64("Zg!="), None);
    }

    #[test]
    fn the_fingerprint_depends_neither_on_order_nor_on_the_metric_name() {
        let plain = fingerprint(&[("app", "x"), ("env", "y")]);
        assert_eq!(fingerprint(&[("env", "y"), ("__name__", "logs"), ("app", "x")]), plain);
        assert_ne!(fingerprint(&[("app", "y"), ("env", "x")]), plain);
        // xxHash64 of nothing.
        assert_eq!(fingerprint::<&str, &str>(&[]), 0xEF46_DB37_51D8_E999);
    }

    proptest! {
        #[test]
        fn a_key_and_its_text_and_its_path_determine_each_other(
            tenant in "[^\u{0}]{1,20}",
            fingerprint: u64,
            from_ms: i64,
            through_ms: i64,
            checksum: u32,
        ) {
            let key = Key { tenant, fingerprint, from_ms, through_ms, checksum };
            for schema in [Schema::V11, Schema::V12, Schema::V13, Schema::V14] {
                prop_assert_eq!(key.text(schema).parse(), Ok(key.clone()));
                prop_assert_eq!(Key::from_fs_path(&key.fs_path(schema), schema), Ok(key.clone()));
            }
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,60}") {
            let _ = text.parse::<Key>();
            let _ = Key::from_fs_path(&text, Schema::V11);
            let _ = Key::from_fs_path(&text, Schema::V13);
        }
    }
}
