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
    Search::default().groups(bytes, cause, limits, damage)
}

/// What looking for groups has cost.
#[derive(Default)]
struct Search {
    /// Bytes that were hashed in vain.
    hashed: usize,
}

impl Search {
    fn groups(
        &mut self,
        bytes: &Bytes,
        cause: &Error,
        limits: &Limits,
        damage: &mut Vec<Damage>,
    ) -> Result<Vec<Group>, Error> {
        let mut groups = Vec::new();
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
                Err(_) => {
                    // Right or wrong, a checksum has cost the same.
                    self.hashed = self.hashed.saturating_add(Group::hashed_bytes(&rest));
                    if self.hashed > bytes.len().saturating_mul(MAX_HASHED) {
                        break;
                    }
                    at = found.saturating_add(1);
                }
            }
        }
        damage.push(unknown(groups.len(), end, bytes.len(), cause.clone()));
        Ok(groups)
    }
}

/// Where something like a group starts, from `at` on.
fn find(bytes: &[u8], at: usize) -> Option<usize> {
    let mut windows = bytes.get(at..)?.windows(GROUP_MAGIC.len());
    windows.position(|window| window == GROUP_MAGIC).map(|found| at.saturating_add(found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Section;

    /// Heads of 20 bytes, each with all bytes behind it for its directory. Checksums are right from the last to the
    /// first, since each covers those behind it.
    fn nested(count: usize, body: u32) -> Bytes {
        let mut bytes = vec![0xAA; 64];
        for _ in 0..count {
            let mut head = GROUP_MAGIC.to_vec();
            head.extend(u32::try_from(bytes.len()).unwrap().to_le_bytes());
            head.extend(body.to_le_bytes());
            head.extend(1u32.to_le_bytes());
            let crc = crc32fast::hash(&[&head[..], &bytes].concat());
            head.extend(crc.to_le_bytes());
            bytes.splice(..0, head);
        }
        bytes.splice(..0, [0; HEADER_BYTES]);
        bytes.into()
    }

    /// Only wrong checksums were counted: 2000 heads of 20 bytes took 40 million bytes.
    #[test]
    fn groups_that_are_none_under_right_checksums_take_linear_time() {
        let cause = Error::corrupt(Section::Footer, 0, "none");
        for body in [0, 1000] {
            let bytes = nested(2000, body);
            let mut search = Search::default();
            let found = search.groups(&bytes, &cause, &Limits::default(), &mut Vec::new());
            assert_eq!(found.map(|found| found.len()), Ok(0));
            assert!(search.hashed <= bytes.len() * (MAX_HASHED + 1), "{} bytes", search.hashed);
        }
    }
}
