//! Groups of a file whose footer is gone. Each says of itself where it ends and what it holds; what lies between
//! those that are found is reported, since nobody knows what it was.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use bytes::Bytes;

use super::format::{GROUP_MAGIC, HEADER_BYTES};
use super::group::Group;
use crate::damage::{CorruptionPolicy, Damage, DamageKind};
use crate::error::to_u64;
use crate::{Error, Limits};

/// How often the length of the file may be hashed for what only looks like a group.
const MAX_HASHED: usize = 4;

/// The error, unless it is damage that the policy has us work around.
pub(crate) fn allowed(policy: CorruptionPolicy, cause: &Error) -> Result<(), Error> {
    let is_damage =
        matches!(cause, Error::Corrupt { .. } | Error::Truncated { .. } | Error::ChecksumMismatch { .. });
    if policy == CorruptionPolicy::Salvage && is_damage { Ok(()) } else { Err(cause.clone()) }
}

/// The report that nobody knows what is in these bytes.
pub(crate) fn unknown(block: usize, start: usize, end: usize, cause: Error) -> Damage {
    Damage {
        block,
        offset: to_u64(start),
        size_bytes: to_u64(end.saturating_sub(start)),
        min_ns: i64::MIN,
        max_ns: i64::MAX,
        kind: DamageKind::Unknown { cause },
    }
}

/// All groups that can be found, in the order of the file. `cause` is why there is no footer.
pub(crate) fn groups(
    bytes: &Bytes,
    cause: &Error,
    limits: &Limits,
    damage: &mut Vec<Damage>,
) -> Result<Vec<Group>, Error> {
    let mut groups = Vec::new();
    let mut hashed = 0usize;
    // Where the last group ends, and where to look for the next.
    let mut end = HEADER_BYTES.min(bytes.len());
    let mut at = end;
    while let Some(found) = find(bytes, at) {
        let rest = bytes.slice(found..);
        match Group::read(&rest, groups.len(), found, limits) {
            Ok(group) => {
                if groups.len() >= limits.max_blocks {
                    return Err(Error::limit(
                        "max_blocks",
                        groups.len().saturating_add(1),
                        limits.max_blocks,
                    ));
                }
                if end < found {
                    damage.push(unknown(groups.len(), end, found, cause.clone()));
                }
                end = found.saturating_add(group.data().len());
                at = end;
                groups.push(group);
            }
            Err(error @ Error::LimitExceeded { .. }) => return Err(error),
            Err(error) => {
                if let Error::ChecksumMismatch { .. } = error {
                    hashed = hashed.saturating_add(Group::hashed_bytes(&rest));
                }
                if hashed > bytes.len().saturating_mul(MAX_HASHED) {
                    break;
                }
                at = found.saturating_add(1);
            }
        }
    }
    damage.push(unknown(groups.len(), end, bytes.len(), cause.clone()));
    Ok(groups)
}

/// Where something like a group starts, from `at` on.
fn find(bytes: &[u8], at: usize) -> Option<usize> {
    let mut windows = bytes.get(at..)?.windows(GROUP_MAGIC.len());
    windows.position(|window| window == GROUP_MAGIC).map(|found| at.saturating_add(found))
}
