//! The peers, and a binary search over the same tokens as the yardstick of the machine.

use std::hash::{BuildHasher, Hash, Hasher};
use std::net::{Ipv4Addr, SocketAddr};

use anchorhash::AnchorHash;
use hashring::HashRing;
use hrw::Rendezvous;
use pingora_ketama::{Bucket, Continuum, Version};

use crate::fleet::Fleet;

/// `slice::partition_point`, then from token to token.
pub struct Bisected {
    tokens: Vec<u32>,
    owners: Vec<u16>,
    zones: Vec<u8>,
}

impl Bisected {
    pub fn new(fleet: &Fleet) -> Self {
        let (tokens, owners) = fleet.tokens.iter().copied().unzip();
        Self { tokens, owners, zones: fleet.zones.clone() }
    }

    pub fn place(&self, key: u32) -> usize {
        let at = self.tokens.partition_point(|&token| token <= key);
        if at == self.tokens.len() { 0 } else { at }
    }

    pub fn owner(&self, key: u32) -> u16 {
        self.owners[self.place(key)]
    }

    /// The first three of different zones.
    pub fn replicas(&self, key: u32) -> [u16; 3] {
        let (mut found, mut count) = ([0; 3], 0);
        let mut at = self.place(key);
        while count < 3 {
            let owner = self.owners[at];
            if !found[..count]
                .iter()
                .any(|&other| self.zones[usize::from(other)] == self.zones[usize::from(owner)])
            {
                found[count] = owner;
                count += 1;
            }
            at = if at + 1 == self.owners.len() { 0 } else { at + 1 };
        }
        found
    }
}

/// Keys and tokens are positions already.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Identity;

#[derive(Default)]
pub struct Position(u64);

impl BuildHasher for Identity {
    type Hasher = Position;

    fn build_hasher(&self) -> Position {
        Position::default()
    }
}

impl Hasher for Position {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only words are hashed here")
    }

    fn write_u32(&mut self, word: u32) {
        self.0 = word.into();
    }
}

/// A token of hashring's, which hashes to itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    pub token: u32,
    pub node: u16,
}

impl Hash for Point {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u32(self.token);
    }
}

/// hashring over the fleet's tokens, by whatever hash.
pub fn hash_ring<S: BuildHasher>(fleet: &Fleet, hasher: S) -> HashRing<Point, S> {
    let mut ring = HashRing::with_hasher(hasher);
    ring.batch_add(fleet.tokens.iter().map(|&(token, node)| Point { token, node }).collect());
    ring
}

/// pingora-ketama, which makes its points itself, by CRC-32: as many for each node as the fleet has tokens.
pub fn ketama(nodes: u16, points: u32) -> Continuum {
    let buckets: Vec<Bucket> = (0..nodes).map(|node| Bucket::new(address(node), 1)).collect();
    Continuum::new_with_version(&buckets, Version::V2 { point_multiple: points })
}

pub fn address(node: u16) -> SocketAddr {
    let [high, low] = node.to_be_bytes();
    SocketAddr::new(Ipv4Addr::new(10, 0, high, low).into(), 9_095)
}

pub fn node_of(address: &SocketAddr) -> u16 {
    match address {
        SocketAddr::V4(v4) => u16::from_be_bytes([v4.ip().octets()[2], v4.ip().octets()[3]]),
        SocketAddr::V6(_) => unreachable!("all are of version 4"),
    }
}

/// The first three that differ.
pub fn three_of(ring: &Continuum, key: &[u8]) -> [u16; 3] {
    let (mut found, mut count) = ([0; 3], 0);
    for address in ring.node_iter(key) {
        let node = node_of(address);
        if !found[..count].contains(&node) {
            found[count] = node;
            count += 1;
            if count == 3 {
                break;
            }
        }
    }
    found
}

/// anchorhash with room for as many more.
pub fn anchor(nodes: u16) -> AnchorHash<u32, u16, Identity> {
    anchorhash::Builder::with_hasher(Identity).with_resources(0..nodes).build(nodes.saturating_mul(2))
}

/// Rendezvous hashing with the hasher it comes with.
pub fn rendezvous(nodes: u16) -> Rendezvous<u16> {
    Rendezvous::from_nodes(0..nodes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::{Tokens, number_of};
    use crate::keys;
    use forebay_ring::Operation;

    #[test]
    fn all_that_are_given_the_tokens_agree_on_owners_and_the_yardstick_on_replicas() {
        let fleet = Fleet::new(99, Tokens::Random(128), 3);
        let (ring, bisected, other) = (fleet.ring(), Bisected::new(&fleet), hash_ring(&fleet, Identity));
        for key in keys::random(10_000) {
            let owner = number_of(&ring.owner(key).expect("there are tokens").id);
            assert_eq!(usize::from(bisected.owner(key)), owner);
            // To hashring a key on a token is the token's own.
            assert_eq!(other.get(&(key.wrapping_add(1))).map(|point| usize::from(point.node)), Some(owner));
            let set = ring.get(key, Operation::WRITE).expect("all are healthy");
            let replicas: Vec<usize> = set.iter().map(|instance| number_of(&instance.id)).collect();
            assert_eq!(replicas, bisected.replicas(key).map(usize::from));
        }
    }
}
