//! The record of an instance's tokens, written once for each epoch.

use std::sync::Arc;

use super::{DecodeError, EncodeError, Kind, MAX_NAME_BYTES, Reader, Writer, open, seal};
use crate::generate::MAX_TOKENS_PER_INSTANCE;
use crate::token::TokenSet;

/// The tokens an instance has in one epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokensRecord {
    /// The instance.
    pub id: Arc<str>,
    /// Counts the sets the instance has had.
    pub epoch: u64,
    /// The set.
    pub tokens: TokenSet,
}

/// Appends the record of an instance's tokens: about 2 kB for 512 random ones. O(tokens).
///
/// # Errors
///
/// If the id or the number of tokens is above its limit; `out` is then as it was.
pub fn encode_tokens(record: &TokensRecord, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    seal(Kind::Tokens, out, |writer| {
        writer.text("id", &record.id, MAX_NAME_BYTES)?;
        writer.varint(record.epoch);
        put_tokens(writer, &record.tokens)
    })
}

/// Reads the record of an instance's tokens.
///
/// # Errors
///
/// If the bytes are no such record of a known version.
pub fn decode_tokens(bytes: &[u8]) -> Result<TokensRecord, DecodeError> {
    let mut reader = open(Kind::Tokens, bytes)?;
    let id = reader.text("id", MAX_NAME_BYTES)?.into();
    let epoch = reader.varint("epoch")?;
    let tokens = take_tokens(&mut reader)?;
    reader.finish()?;
    Ok(TokensRecord { id, epoch, tokens })
}

pub(crate) fn put_tokens(writer: &mut Writer<'_>, tokens: &TokenSet) -> Result<(), EncodeError> {
    writer.count("tokens", tokens.len(), MAX_TOKENS_PER_INSTANCE)?;
    let mut previous = None;
    for &token in &**tokens {
        writer.varint(u64::from(match previous {
            None => token,
            Some(previous) => token - previous - 1,
        }));
        previous = Some(token);
    }
    Ok(())
}

pub(crate) fn take_tokens(reader: &mut Reader<'_>) -> Result<TokenSet, DecodeError> {
    let count = reader.count("tokens", MAX_TOKENS_PER_INSTANCE, 1)?;
    let mut tokens: Vec<u32> = Vec::with_capacity(count);
    for _ in 0..count {
        let step = reader.u32("token")?;
        let token = match tokens.last() {
            None => Some(step),
            Some(previous) => previous.checked_add(step).and_then(|token| token.checked_add(1)),
        };
        let Some(token) = token else { return reader.malformed("token") };
        tokens.push(token);
    }
    Ok(tokens.into())
}
