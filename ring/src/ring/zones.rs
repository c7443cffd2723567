//! Who is in which zone, for those who place tenants. Invariant: every member that owns a token is in exactly one zone;
//! where zones do not count there is one for all.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_64;

use super::Options;
use super::topology::number;
use crate::membership::Member;
use crate::token::TokenSet;

/// The zones by name.
pub(crate) struct Zones {
    zones: Box<[Zone]>,
    /// The zone of each member, if it is in one.
    of: Box<[u16]>,
    id_hashes: Box<[u64]>,
}

pub(crate) struct Zone {
    /// The 64-bit XXH3 of the name.
    pub(crate) hash: u64,
    /// Ascending.
    pub(crate) members: Box<[u16]>,
}

impl Zones {
    pub(super) fn of(options: &Options, members: &[Member], owned: &[TokenSet]) -> Self {
        let name = |member: &Member| -> String {
            if options.zone_awareness { member.instance.zone.to_string() } else { String::new() }
        };
        let mut by_name: BTreeMap<String, Vec<u16>> = BTreeMap::new();
        for (at, member) in members.iter().enumerate().filter(|(at, _)| !owned[*at].is_empty()) {
            by_name.entry(name(member)).or_default().push(number(at));
        }
        let mut of = vec![0; members.len()];
        for (zone, members) in (0..).zip(by_name.values()) {
            members.iter().for_each(|&member| of[usize::from(member)] = zone);
        }
        let zone = |(name, members): (String, Vec<u16>)| Zone {
            hash: xxh3_64(name.as_bytes()),
            members: members.into(),
        };
        Self {
            zones: by_name.into_iter().map(zone).collect(),
            of: of.into(),
            id_hashes: members.iter().map(|member| xxh3_64(member.instance.id.as_bytes())).collect(),
        }
    }

    #[inline]
    pub(crate) fn all(&self) -> &[Zone] {
        &self.zones
    }

    /// The place of a member's zone among all; of one without tokens nothing is known.
    #[inline]
    pub(crate) fn zone_of(&self, member: u16) -> u16 {
        self.of[usize::from(member)]
    }

    /// The 64-bit XXH3 of a member's id.
    #[inline]
    pub(crate) fn id_hash(&self, member: u16) -> u64 {
        self.id_hashes[usize::from(member)]
    }
}
