//! All that an observer knows of the members, in one piece: for those who pass memberships on whole.

use super::{DecodeError, EncodeError, Kind, open, put_fields, put_tokens, seal, take_fields, take_tokens};
use crate::instance::Instance;
use crate::membership::Membership;

/// The most members in one record, tombstones included.
pub const MAX_MEMBERS: usize = Membership::MAX_MEMBERS;

/// The fewest bytes a member takes: ten fields and a list of tokens.
const MEMBER_BYTES: usize = 11;

/// Appends the records of all members, tombstones included; when they were heard is the observer's own and is
/// left out. O(tokens).
///
/// # Errors
///
/// If a text, a number of tokens or the number of members is above its limit; `out` is then as it was.
pub fn encode_members(members: &Membership, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    seal(Kind::Members, out, |writer| {
        writer.count("members", members.len(), MAX_MEMBERS)?;
        for member in members.iter() {
            put_fields(writer, &member.instance)?;
            put_tokens(writer, &member.instance.tokens)?;
        }
        Ok(())
    })
}

/// Reads the records of members, by ascending id, to be observed one by one.
///
/// # Errors
///
/// If the bytes are no such record of a known version.
///
/// ```
/// use forebay_ring::codec::{decode_members, encode_members};
/// use forebay_ring::{Instance, Membership};
///
/// let (mut here, mut there) = (Membership::default(), Membership::default());
/// here.observe(Instance::new("a", "10.0.0.1:9095"), 0);
/// let mut bytes = Vec::new();
/// encode_members(&here, &mut bytes)?;
/// for instance in decode_members(&bytes)? {
///     there.observe(instance, 5);
/// }
/// assert_eq!(there.member("a").unwrap().heard_ns, 5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn decode_members(bytes: &[u8]) -> Result<Vec<Instance>, DecodeError> {
    let mut reader = open(Kind::Members, bytes)?;
    let count = reader.count("members", MAX_MEMBERS, MEMBER_BYTES)?;
    let mut members: Vec<Instance> = Vec::with_capacity(count);
    for _ in 0..count {
        let fields = take_fields(&mut reader)?;
        if members.last().is_some_and(|last| last.id >= fields.id) {
            return reader.malformed("order of ids");
        }
        members.push(Instance { tokens: take_tokens(&mut reader)?, ..fields });
    }
    reader.finish()?;
    Ok(members)
}
