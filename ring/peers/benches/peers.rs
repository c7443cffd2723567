//! One owner, and three replicas, of a random key: ours, the peers, and a binary search over the same tokens, in turn.
//! `ROUNDS` says how many rounds, 61 by default.

use forebay_ring::{Operation, Ring};
use forebay_ring_peers::fleet::{Fleet, Tokens};
use forebay_ring_peers::keys;
use forebay_ring_peers::others::{Bisected, Identity, anchor, hash_ring, ketama, rendezvous, three_of};
use forebay_ring_peers::rounds::{Contender, contender, measure};

const SIZES: [(u16, usize); 4] = [(99, 128), (99, 512), (600, 512), (999, 512)];

fn main() {
    let rounds = std::env::var("ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(61);
    for (instances, tokens) in SIZES {
        let fleet = Fleet::new(instances, Tokens::Random(tokens), 3);
        let ring = fleet.ring();
        println!(
            "\n{instances} x {tokens}: nanoseconds of one call, median (lowest to highest) of {rounds} rounds"
        );
        owners(&fleet, &ring, instances, tokens, rounds);
        replicas(&fleet, &ring, instances, tokens, rounds);
    }
}

fn owners(fleet: &Fleet, ring: &Ring, instances: u16, tokens: usize, rounds: usize) {
    let (bisected, exact) = (Bisected::new(fleet), hash_ring(fleet, Identity));
    let hashed = hash_ring(fleet, hashring::DefaultHashBuilder);
    let points = u32::try_from(tokens).expect("few tokens");
    let (ketama, anchor, rendezvous) = (ketama(instances, points), anchor(instances), rendezvous(instances));
    let crc = |key: u32| crc32fast::hash(&key.to_le_bytes());
    table(
        "owner",
        vec![
            contender("forebay", |key| ring.owner(key)),
            contender("partition_point", |key| bisected.owner(key)),
            contender("hashring, positions as they are", |key| exact.get(&key).map(|point| point.node)),
            contender("hashring, its own SipHash", |key| hashed.get(&key).map(|point| point.node)),
            contender("forebay, CRC-32 of the key first", |key| ring.owner(crc(key))),
            contender("pingora-ketama V2, CRC-32 of the key first", |key| ketama.node(&key.to_le_bytes())),
            contender("CRC-32 alone", crc),
            contender("anchorhash", |key| anchor.get_resource(key).copied()),
            contender("hrw", |key| rendezvous.pick_top(&key).copied()),
        ],
        rounds,
    );
}

fn replicas(fleet: &Fleet, ring: &Ring, instances: u16, tokens: usize, rounds: usize) {
    let (bisected, exact) = (Bisected::new(fleet), hash_ring(fleet, Identity));
    let points = u32::try_from(tokens).expect("few tokens");
    let (ketama, rendezvous) = (ketama(instances, points), rendezvous(instances));
    table(
        "three replicas",
        vec![
            contender("forebay, 3 zones, health, quorum", |key| ring.get(key, Operation::WRITE)),
            contender("partition_point and a walk, 3 zones", |key| bisected.replicas(key)),
            contender("hashring (points, not nodes)", |key| {
                exact.get_with_replicas(&key, 2).map(|set| set.len())
            }),
            contender("pingora-ketama V2, no zones", |key| three_of(&ketama, &key.to_le_bytes())),
            contender("hrw, no zones", |key| rendezvous.pick_top_k(&key, 3).len()),
        ],
        rounds,
    );
}

fn table(what: &str, mut contenders: Vec<Contender<'_>>, rounds: usize) {
    let figures = measure(&mut contenders, &keys::random(keys::KEYS), rounds);
    println!("\n| {what} | ns | lowest | highest | of ours |\n|---|---|---|---|---|");
    for (contender, figure) in contenders.iter().zip(&figures) {
        let ratio = figure.median / figures[0].median;
        println!(
            "| {} | {:.1} | {:.1} | {:.1} | {ratio:.1} × |",
            contender.name, figure.median, figure.lowest, figure.highest
        );
    }
}
