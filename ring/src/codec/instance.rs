//! The record of an instance without its tokens: small, since every heartbeat writes it.

use xxhash_rust::xxh3::Xxh3;

use super::{DecodeError, EncodeError, Kind, MAX_ADDR_BYTES, MAX_NAME_BYTES, Reader, Writer, open, seal};
use crate::features::Features;
use crate::generate::MAX_TOKENS_PER_INSTANCE;
use crate::instance::{Instance, ReadOnly, State, Version};
use crate::token::TokenSet;

/// An instance as its record tells of it, and which tokens belong to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceRecord {
    /// Without tokens.
    pub instance: Instance,
    /// The tokens it has.
    pub tokens: TokensRef,
}

/// What tells one set of an instance's tokens from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TokensRef {
    /// Counts the sets an instance has had; a set never changes within its epoch.
    pub epoch: u64,
    /// How many tokens.
    pub count: u32,
    /// XXH3-64 (seed 0) of the tokens as `u32` in little-endian, ascending; 0 for none.
    pub digest: u64,
}

impl TokensRef {
    /// The reference to a set. O(tokens).
    pub fn of(epoch: u64, tokens: &TokenSet) -> Self {
        let mut hasher = Xxh3::new();
        for token in &**tokens {
            hasher.update(&token.to_le_bytes());
        }
        let digest = if tokens.is_empty() { 0 } else { hasher.digest() };
        Self { epoch, count: u32::try_from(tokens.len()).unwrap_or(u32::MAX), digest }
    }

    /// Whether these tokens are meant, of whatever epoch. O(tokens).
    pub fn is_of(&self, tokens: &TokenSet) -> bool {
        let Self { count, digest, .. } = Self::of(self.epoch, tokens);
        (count, digest) == (self.count, self.digest)
    }

    /// Whether both mean the same tokens, of whatever epoch.
    pub(crate) fn is_same_set(self, other: Self) -> bool {
        (self.count, self.digest) == (other.count, other.digest)
    }
}

/// Appends the record of an instance, whose tokens are those of `epoch`. O(tokens), for their digest.
///
/// # Errors
///
/// If a text or the number of tokens is above its limit; `out` is then as it was.
///
/// ```
/// use forebay_ring::Instance;
/// use forebay_ring::codec::{decode_instance, encode_instance};
///
/// let instance = Instance { tokens: vec![10, 20].into(), ..Instance::new("ingester-0", "10.0.0.1:9095") };
/// let mut bytes = Vec::new();
/// encode_instance(&instance, 7, &mut bytes)?;
/// let record = decode_instance(&bytes)?;
/// assert_eq!((record.tokens.epoch, record.tokens.count), (7, 2));
/// assert!(record.tokens.is_of(&instance.tokens) && record.instance.tokens.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn encode_instance(instance: &Instance, epoch: u64, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let tokens = TokensRef::of(epoch, &instance.tokens);
    encode_record(instance, tokens, out)
}

impl InstanceRecord {
    /// Appends this record, whatever the instance's own tokens are; O(1) in them.
    ///
    /// # Errors
    ///
    /// As for [`encode_instance`].
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        encode_record(&self.instance, self.tokens, out)
    }
}

fn encode_record(instance: &Instance, tokens: TokensRef, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    seal(Kind::Instance, out, |writer| {
        put_fields(writer, instance)?;
        writer.varint(tokens.epoch);
        writer.count("token count", tokens.count as usize, MAX_TOKENS_PER_INSTANCE)?;
        writer.fixed(tokens.digest);
        Ok(())
    })
}

/// Reads the record of an instance.
///
/// # Errors
///
/// If the bytes are no such record of a known version.
pub fn decode_instance(bytes: &[u8]) -> Result<InstanceRecord, DecodeError> {
    let mut reader = open(Kind::Instance, bytes)?;
    let instance = take_fields(&mut reader)?;
    let epoch = reader.varint("token epoch")?;
    let count = reader.u32("token count")?;
    if count as usize > MAX_TOKENS_PER_INSTANCE {
        let (found, max) = (u64::from(count), MAX_TOKENS_PER_INSTANCE);
        return Err(DecodeError::TooLong { what: "token count", found, max });
    }
    let digest = reader.fixed("token digest")?;
    reader.finish()?;
    Ok(InstanceRecord { instance, tokens: TokensRef { epoch, count, digest } })
}

/// All of an instance but its tokens.
pub(crate) fn put_fields(writer: &mut Writer<'_>, instance: &Instance) -> Result<(), EncodeError> {
    writer.text("id", &instance.id, MAX_NAME_BYTES)?;
    writer.text("address", &instance.addr, MAX_ADDR_BYTES)?;
    writer.text("zone", &instance.zone, MAX_NAME_BYTES)?;
    writer.byte(instance.state as u8);
    writer.varint(instance.version.incarnation);
    writer.varint(instance.version.sequence);
    writer.signed(instance.registered_at_ns);
    writer.byte(instance.read_only.enabled.into());
    writer.signed(instance.read_only.changed_at_ns);
    writer.count("features", instance.features.len(), Features::MAX)?;
    for &(name, version) in &*instance.features {
        writer.varint(name);
        writer.varint(version);
    }
    Ok(())
}

pub(crate) fn take_fields(reader: &mut Reader<'_>) -> Result<Instance, DecodeError> {
    let id = reader.text("id", MAX_NAME_BYTES)?;
    let addr = reader.text("address", MAX_ADDR_BYTES)?;
    let instance = Instance::new(id, addr);
    Ok(Instance {
        zone: reader.text("zone", MAX_NAME_BYTES)?.into(),
        state: take_state(reader)?,
        version: Version { incarnation: reader.varint("incarnation")?, sequence: reader.varint("sequence")? },
        registered_at_ns: reader.signed("registration")?,
        read_only: ReadOnly {
            enabled: reader.flag("read-only flag")?,
            changed_at_ns: reader.signed("read-only change")?,
        },
        features: take_features(reader)?,
        ..instance
    })
}

fn take_state(reader: &mut Reader<'_>) -> Result<State, DecodeError> {
    let number = reader.byte("state")?;
    match State::ALL.into_iter().find(|state| *state as u8 == number) {
        Some(state) => Ok(state),
        None => reader.malformed("state"),
    }
}

fn take_features(reader: &mut Reader<'_>) -> Result<Features, DecodeError> {
    let count = reader.count("features", Features::MAX, 2)?;
    let mut features: Vec<(u64, u64)> = Vec::with_capacity(count);
    for _ in 0..count {
        let name = reader.varint("feature")?;
        if features.last().is_some_and(|&(last, _)| last >= name) {
            return reader.malformed("feature");
        }
        features.push((name, reader.varint("feature version")?));
    }
    Features::new(features).or_else(|_| reader.malformed("features"))
}
