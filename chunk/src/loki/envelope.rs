//! The object in a bucket: a chunk with a description of its stream around it, or in its footer if it is columnar. Times are read and written as
//! decimals, digit by digit; in floating point one millisecond in four would come out wrong.
//! `FORMAT.md` has the bytes.

#![warn(clippy::indexing_slicing)]

use bytes::Bytes;

use super::format::Reader;
use super::json::{Json, put_string};
use super::key::{Key, fingerprint};
use crate::builder::EncodedChunk;
use crate::chunk::Chunk;
use crate::codec::{Fault, snappy};
use crate::columnar;
use crate::columnar::footer::Identity;
use crate::damage::CorruptionPolicy;
use crate::error::to_u64;
use crate::{Error, Limits, Section};

/// The label that Loki adds to every stream it stores.
pub const METRIC_NAME_LABEL: &str = "__name__";
/// Its value.
pub const METRIC_NAME: &str = "logs";

/// The number for a chunk of logs.
const LOG_CHUNK: u64 = 129;
/// The same, of the days when it was always gzip.
const GZIP_LOG_CHUNK: u64 = 128;
/// The length before description and chunk.
const LENGTH: usize = 4;
/// What a frame of the snappy stream holds at most.
const SNAPPY_FRAME: usize = 1 << 16;

/// What an object says of its chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The stream's fingerprint, as it stands in the key.
    pub fingerprint: u64,
    /// Whose it is.
    pub tenant: String,
    /// Time of the oldest entry, milliseconds since 1970, rounded down.
    pub from_ms: i64,
    /// Time of the newest entry, rounded up.
    pub through_ms: i64,
    /// The stream's labels by name, `__name__` among them. Bytes, because buckets hold labels that are not
    /// UTF-8.
    pub labels: Vec<(Vec<u8>, Vec<u8>)>,
    /// When the chunk was written, milliseconds since 1970; 0 if it does not say.
    pub ingested_at_ms: i64,
}

impl Envelope {
    /// Describes a chunk of a stream. The labels need not be sorted; `__name__="logs"` is added.
    pub fn new(tenant: &str, labels: &[(&str, &str)], chunk: &EncodedChunk) -> Self {
        let named = [(METRIC_NAME_LABEL, METRIC_NAME)];
        let own = labels.iter().filter(|(name, _)| *name != METRIC_NAME_LABEL);
        let mut all: Vec<(Vec<u8>, Vec<u8>)> =
            named.iter().chain(own).map(|(name, value)| ((*name).into(), (*value).into())).collect();
        all.sort_unstable();
        let (from_ms, through_ms) = rounded((chunk.from_ns, chunk.through_ns));
        Self {
            fingerprint: fingerprint(labels),
            tenant: tenant.to_owned(),
            from_ms,
            through_ms,
            labels: all,
            ingested_at_ms: 0,
        }
    }

    /// The description of another chunk of the stream: of its times, with all else as it is here.
    pub fn of_chunk(&self, chunk: &EncodedChunk) -> Self {
        let (from_ms, through_ms) = rounded((chunk.from_ns, chunk.through_ns));
        Self { from_ms, through_ms, ..self.clone() }
    }

    /// Puts a chunk and its description together. Blocks are not looked into: a columnar chunk gets another
    /// footer, and one of Loki's stays as it is.
    ///
    /// # Errors
    ///
    /// [`Error::LimitExceeded`] if either is longer than 4 GiB. Of a columnar chunk also those that its footer
    /// has, and [`Error::WrongMetadata`] if its entries are of another time than the description.
    pub fn encode(&self, chunk: &[u8]) -> Result<EncodedObject, Error> {
        if columnar::is_columnar(chunk, CorruptionPolicy::Fail) {
            return self.encode_columnar(chunk);
        }
        let mut text = self.text();
        // A frame of its own for the line feed is something Loki's reader trips over.
        if !text.len().is_multiple_of(SNAPPY_FRAME) {
            text.push(b'\n');
        }
        let mut out = vec![0; LENGTH];
        snappy::compress(&text, &mut out);
        let be32 = |length: usize| {
            let max = u32::MAX;
            u32::try_from(length).map(u32::to_be_bytes).map_err(|_| Error::LimitExceeded {
                limit: "length of 32 bits",
                value: to_u64(length),
                max: max.into(),
            })
        };
        let described = be32(out.len())?;
        out.splice(..LENGTH, described);
        out.extend_from_slice(&be32(chunk.len())?);
        out.extend_from_slice(chunk);
        let checksum = crc32c::crc32c(&out);
        Ok(EncodedObject { bytes: out.into(), key: self.key(checksum) })
    }

    fn encode_columnar(&self, chunk: &[u8]) -> Result<EncodedObject, Error> {
        let Self { fingerprint, ref tenant, from_ms, through_ms, ref labels, ingested_at_ms } = *self;
        let identity =
            Identity { tenant: tenant.clone(), fingerprint, labels: labels.clone(), ingested_at_ms };
        let (bytes, bounds) = columnar::identified(chunk, identity)?;
        let (from, through) = rounded(bounds.unwrap_or_default());
        for (field, expected, found) in [("from_ms", from_ms, from), ("through_ms", through_ms, through)] {
            if expected != found {
                let (expected, found) = (expected.to_string(), found.to_string());
                return Err(Error::WrongMetadata { field, expected, found });
            }
        }
        let checksum = crc32c::crc32c(&bytes);
        Ok(EncodedObject { bytes: bytes.into(), key: self.key(checksum) })
    }

    /// What a columnar chunk says in its footer.
    fn of_columnar(chunk: &Chunk) -> Result<Self, Error> {
        let missing = || Error::corrupt(Section::Footer, chunk.bytes().len(), "a chunk without identity");
        let identity = chunk.parsed().identity.as_ref().ok_or_else(missing)?;
        Ok(Self::identified(identity, chunk.bounds()))
    }

    pub(crate) fn identified(identity: &Identity, bounds: Option<(i64, i64)>) -> Self {
        let (from_ms, through_ms) = rounded(bounds.unwrap_or_default());
        let Identity { tenant, fingerprint, labels, ingested_at_ms } = identity.clone();
        Self { fingerprint, tenant, from_ms, through_ms, labels, ingested_at_ms }
    }

    /// The key of the object that has this checksum.
    pub fn key(&self, checksum: u32) -> Key {
        let Self { fingerprint, ref tenant, from_ms, through_ms, .. } = *self;
        Key { tenant: tenant.clone(), fingerprint, from_ms, through_ms, checksum }
    }

    fn text(&self) -> Vec<u8> {
        let mut out = format!("{{\"fingerprint\":{},\"userID\":", self.fingerprint).into_bytes();
        put_string(&mut out, self.tenant.as_bytes());
        let (from, through) = (seconds(self.from_ms), seconds(self.through_ms));
        out.extend_from_slice(format!(",\"from\":{from},\"through\":{through},\"metric\":{{").as_bytes());
        for (number, (name, value)) in self.labels.iter().enumerate() {
            if number > 0 {
                out.push(b',');
            }
            put_string(&mut out, name);
            out.push(b':');
            put_string(&mut out, value);
        }
        let ingested_at = seconds(self.ingested_at_ms);
        out.extend_from_slice(
            format!("}},\"ingestedAt\":{ingested_at},\"encoding\":{LOG_CHUNK}}}").as_bytes(),
        );
        out
    }

    fn parse(text: &[u8], limits: &Limits) -> Result<Self, Error> {
        let mut json = Json::new(text);
        let (mut fingerprint, mut tenant, mut from, mut through) = (None, None, None, None);
        let mut labels = Vec::new();
        let mut ingested_at_ms = 0;
        let mut encoding = None;
        json.object(|json, name| {
            match &name[..] {
                b"fingerprint" => fingerprint = Some(unsigned(json)?),
                b"userID" => tenant = Some(json.string()?),
                b"from" => from = Some(milliseconds(json)?),
                b"through" => through = Some(milliseconds(json)?),
                b"ingestedAt" => ingested_at_ms = milliseconds(json)?,
                b"encoding" => encoding = Some(unsigned(json)?),
                b"metric" => json.object(|json, name| {
                    if labels.len() >= limits.max_labels {
                        return Err(Error::limit("max_labels", labels.len() + 1, limits.max_labels));
                    }
                    labels.push((name, json.string()?));
                    Ok(())
                })?,
                _ => json.skip()?,
            }
            Ok(())
        })?;
        json.end()?;
        match encoding {
            Some(LOG_CHUNK | GZIP_LOG_CHUNK) => {}
            Some(encoding) => return Err(Error::UnsupportedEncoding { encoding }),
            None => return Err(json.corrupt("no \"encoding\"")),
        }
        // Of a name that comes twice the last value counts, as in most readers of JSON.
        labels.reverse();
        labels.sort_by(|a: &(Vec<u8>, Vec<u8>), b| a.0.cmp(&b.0));
        labels.dedup_by(|later, kept| later.0 == kept.0);
        let missing = |name: &str| json.corrupt(format!("no \"{name}\""));
        let tenant = tenant.ok_or_else(|| missing("userID"))?;
        Ok(Self {
            fingerprint: fingerprint.ok_or_else(|| missing("fingerprint"))?,
            tenant: String::from_utf8(tenant).map_err(|_| json.corrupt("a tenant that is not UTF-8"))?,
            from_ms: from.ok_or_else(|| missing("from"))?,
            through_ms: through.ok_or_else(|| missing("through"))?,
            labels,
            ingested_at_ms,
        })
    }
}

/// An object as it is stored, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedObject {
    /// The object.
    pub bytes: Bytes,
    /// Its key, which has the checksum.
    pub key: Key,
}

/// An object taken apart: its description and its chunk.
#[derive(Debug)]
pub struct Object {
    /// What it says of its chunk.
    pub envelope: Envelope,
    /// The chunk.
    pub chunk: Chunk,
    /// CRC-32C of the object.
    pub checksum: u32,
    /// That the checksum is another one than the key's, where the policy tolerates it. What was lost by it is told by
    /// the chunk's [`damage`](Chunk::damage); what is in no checksum of the chunk may be anything.
    pub fault: Option<Error>,
}

impl Object {
    /// Opens an object and the chunk in it, in Loki's form or columnar. Every checksum of Loki's chunks is verified,
    /// and of columnar ones those of footer and directories.
    ///
    /// # Errors
    ///
    /// Every error about bytes there is. That the object is the one that was asked for is not checked: see
    /// [`Object::open_keyed`].
    pub fn open(bytes: impl Into<Bytes>, limits: &Limits) -> Result<Self, Error> {
        Self::open_with(bytes, limits, CorruptionPolicy::Fail)
    }

    /// Opens an object with a choice of what to do about blocks of its chunk that are damaged. Without its description
    /// it is an error all the same: open what is left as a [`Chunk`].
    ///
    /// # Errors
    ///
    /// As [`Object::open`], but for what the policy tolerates.
    pub fn open_with(
        bytes: impl Into<Bytes>,
        limits: &Limits,
        policy: CorruptionPolicy,
    ) -> Result<Self, Error> {
        let bytes = bytes.into();
        let (checksum, fault) = (crc32c::crc32c(&bytes), None);
        if columnar::is_columnar(&bytes, policy) {
            let chunk = Chunk::open_with(bytes, limits, policy)?;
            return Ok(Self { envelope: Envelope::of_columnar(&chunk)?, chunk, checksum, fault });
        }
        let (envelope, data) = split(&bytes, limits)?;
        let chunk = Chunk::open_with(bytes.slice_ref(data), limits, policy)?;
        Ok(Self { envelope, chunk, checksum, fault })
    }

    /// Opens the object that `key` names.
    ///
    /// # Errors
    ///
    /// [`Error::ChecksumMismatch`] if a byte of it differs, [`Error::WrongMetadata`] if it is whole but not
    /// the one that the key names, and what [`Object::open`] has.
    pub fn open_keyed(bytes: impl Into<Bytes>, key: &Key, limits: &Limits) -> Result<Self, Error> {
        Self::open_keyed_with(bytes, key, limits, CorruptionPolicy::Fail)
    }

    /// Opens the object that `key` names with a choice of what to do about damage: a checksum that is not the key's is
    /// a [`fault`](Object::fault) then, and what can be read is read. An object of another stream, tenant or time than
    /// the key's is an error whatever the policy.
    ///
    /// # Errors
    ///
    /// As [`Object::open_keyed`], but for what the policy tolerates.
    pub fn open_keyed_with(
        bytes: impl Into<Bytes>,
        key: &Key,
        limits: &Limits,
        policy: CorruptionPolicy,
    ) -> Result<Self, Error> {
        let bytes = bytes.into();
        if bytes.is_empty() {
            return Err(Error::Empty);
        }
        let (expected, found) = (key.checksum, crc32c::crc32c(&bytes));
        let mismatch = || Error::ChecksumMismatch { section: Section::Object, offset: 0, expected, found };
        if found != expected && policy == CorruptionPolicy::Fail {
            return Err(mismatch());
        }
        let mut object = Self::open_with(bytes, limits, policy)?;
        object.expect(key)?;
        object.fault = (found != expected).then(mismatch);
        Ok(object)
    }

    /// The object's own key.
    pub fn key(&self) -> Key {
        self.envelope.key(self.checksum)
    }

    fn expect(&self, key: &Key) -> Result<(), Error> {
        let own = self.key();
        let fields = [
            ("tenant", key.tenant.clone(), own.tenant),
            ("fingerprint", key.fingerprint.to_string(), own.fingerprint.to_string()),
            ("from_ms", key.from_ms.to_string(), own.from_ms.to_string()),
            ("through_ms", key.through_ms.to_string(), own.through_ms.to_string()),
        ];
        match fields.into_iter().find(|(_, expected, found)| expected != found) {
            Some((field, expected, found)) => Err(Error::WrongMetadata { field, expected, found }),
            None => Ok(()),
        }
    }
}

/// Takes an object apart without looking into its chunk.
fn split<'a>(bytes: &'a Bytes, limits: &Limits) -> Result<(Envelope, &'a [u8]), Error> {
    if bytes.is_empty() {
        return Err(Error::Empty);
    }
    if bytes.len() > limits.max_object_bytes {
        return Err(Error::limit("max_object_bytes", bytes.len(), limits.max_object_bytes));
    }
    let mut reader = Reader::new(bytes, 0, Section::Envelope);
    let described = u64::from(reader.be32()?);
    // Cortex did not count the length itself. Only one reading makes the chunk fill the rest.
    let fills = |length: u64| {
        let mut reader = reader.clone();
        let stored = reader.bytes(usize::try_from(length).ok()?).ok()?;
        let size = usize::try_from(reader.be32().ok()?).ok()?;
        (reader.rest().len() == size).then_some((stored, reader.rest()))
    };
    let found = described.checked_sub(to_u64(LENGTH)).and_then(fills).or_else(|| fills(described));
    let Some((stored, data)) = found else {
        let what = format!("description of {described} bytes and a chunk in {} bytes", bytes.len());
        return Err(Error::corrupt(Section::Envelope, 0, what));
    };
    let max = limits.max_envelope_bytes;
    let mut text = Vec::new();
    snappy::decompress(stored, 0, max, &mut text).map_err(|fault| match fault {
        Fault::TooLong { reached } => Error::limit("max_envelope_bytes", reached, max),
        Fault::Malformed { offset, what } => Error::corrupt(Section::Envelope, LENGTH + offset, what),
    })?;
    Ok((Envelope::parse(&text, limits)?, data))
}

const NS_PER_MS: i64 = 1_000_000;

/// Nanoseconds from and through as milliseconds, rounded outwards.
fn rounded((from_ns, through_ns): (i64, i64)) -> (i64, i64) {
    let through_ms = through_ns.div_euclid(NS_PER_MS) + i64::from(through_ns.rem_euclid(NS_PER_MS) > 0);
    (from_ns.div_euclid(NS_PER_MS), through_ms)
}

/// Milliseconds as decimal seconds: no fraction, or three digits of it.
fn seconds(milliseconds: i64) -> String {
    let sign = if milliseconds < 0 { "-" } else { "" };
    let (whole, rest) = (milliseconds.unsigned_abs() / 1000, milliseconds.unsigned_abs() % 1000);
    if rest == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{rest:03}") }
}

/// Takes decimal seconds; digits below milliseconds are cut off.
fn milliseconds(json: &mut Json<'_>) -> Result<i64, Error> {
    let number = json.number()?;
    let parse = || {
        let text = std::str::from_utf8(number).ok()?;
        let (sign, digits) = text.strip_prefix('-').map_or((1i128, text), |digits| (-1, digits));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !all_digits(whole) || !all_digits(fraction) {
            return None;
        }
        let thousandths =
            (fraction.bytes().chain([b'0'; 2]).take(3)).fold(0, |sum, b| 10 * sum + i128::from(b - b'0'));
        i64::try_from(sign * (i128::from(whole.parse::<u64>().ok()?) * 1000 + thousandths)).ok()
    };
    parse().ok_or_else(|| json.corrupt(format!("time {} that is no decimal", number.escape_ascii())))
}

fn unsigned(json: &mut Json<'_>) -> Result<u64, Error> {
    let number = json.number()?;
    let value = std::str::from_utf8(number).ok().and_then(|text| text.parse().ok());
    value.ok_or_else(|| json.corrupt(format!("number {} that is no u64", number.escape_ascii())))
}

#[cfg(test)]
mod tests;
