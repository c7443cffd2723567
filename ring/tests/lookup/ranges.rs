//! Ranges, diffs and trials against what every single key's replica set says.

use std::collections::BTreeMap;

use forebay_ring::{Operation, Options, RangeError, Ring, State, TrialError};
use proptest::prelude::*;

use super::{NOW_NS, Node, any_nodes, build, ids, keys, membership, options};

/// Both sides of every token, the ends of the key space, and some between.
fn edges(nodes: &[Node]) -> Vec<u32> {
    let tokens = nodes.iter().flat_map(|node| node.tokens.iter().copied());
    let mut edges: Vec<u32> = tokens.flat_map(|t| [t.wrapping_sub(1), t, t.wrapping_add(1)]).collect();
    edges.extend([0, u32::MAX].into_iter().chain(keys(16)));
    edges.sort_unstable();
    edges.dedup();
    edges
}

fn holders(ring: &Ring, key: u32) -> Vec<String> {
    let mut ids: Vec<String> = match ring.get(key, Operation::REPORTING) {
        Ok(set) => set.iter().map(|instance| instance.id.to_string()).collect(),
        // Too few for a quorum, which a range does not ask for.
        Err(_) => {
            let set = ring.get_with(key, Operation::REPORTING, forebay_ring::Require::One);
            set.map(|set| set.iter().map(|instance| instance.id.to_string()).collect()).unwrap_or_default()
        }
    };
    ids.sort_unstable();
    ids
}

/// All alive, so that every replica is shown.
fn alive(mut nodes: Vec<Node>) -> Vec<Node> {
    nodes.iter_mut().for_each(|node| node.fresh = true);
    nodes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_range_holds_a_key_exactly_if_the_instance_is_a_replica_of_it(
        nodes in any_nodes(9, 4),
        factor in 1..=5_u8,
        zones_count: bool,
    ) {
        let nodes = alive(nodes);
        let ring = build(factor, zones_count, &nodes);
        let mut copies = 0;
        for instance in ring.instances() {
            let ranges = ring.token_ranges(&instance.id).unwrap();
            let owned = ring.owned_ranges(&instance.id).unwrap();
            copies += ranges.keys();
            for &key in &edges(&nodes) {
                let is_replica = holders(&ring, key).iter().any(|id| **id == *instance.id);
                prop_assert_eq!(ranges.contains(key), is_replica, "{} of {} in {}", key, instance.id, ranges);
                let owner = ring.owner(key);
                prop_assert_eq!(owned.contains(key), owner.is_some_and(|owner| owner.id == instance.id));
            }
            let apart = ranges.iter().zip(ranges.iter().skip(1)).all(|((_, last), (first, _))| last + 1 < first);
            prop_assert!(apart, "{}", ranges);
        }
        let set = ring.get_with(0, Operation::REPORTING, forebay_ring::Require::One);
        let each = set.map_or(0, |set| set.selected() as u64);
        prop_assert_eq!(copies, each << 32, "each key has as many replicas");
        let load: f64 = ring.load().map(|(_, load)| load).sum();
        prop_assert!((load - each as f64).abs() < 1e-6);
    }

    #[test]
    fn a_diff_is_what_comparing_every_key_finds(
        before in any_nodes(7, 3),
        after in any_nodes(7, 3),
        factors in (1..=3_u8, 1..=3_u8),
        zones_count: [bool; 2],
    ) {
        let (before, after) = (alive(before), alive(after));
        let (old, new) = (build(factors.0, zones_count[0], &before), build(factors.1, zones_count[1], &after));
        let diff = old.diff(&new);
        let mut edges = edges(&before);
        edges.extend(self::edges(&after));
        for key in edges {
            let (held, holds) = (holders(&old, key), holders(&new, key));
            let moved = diff.moves().iter().find(|moved| (moved.first..=moved.last).contains(&key));
            let sorted = |ids: &[std::sync::Arc<str>]| {
                let mut ids: Vec<String> = ids.iter().map(|id| id.to_string()).collect();
                ids.sort_unstable();
                ids
            };
            let only = |of: &[String], not: &[String]| -> Vec<String> {
                of.iter().filter(|id| !not.contains(id)).cloned().collect()
            };
            let found = moved.map(|moved| (sorted(&moved.lost), sorted(&moved.gained))).unwrap_or_default();
            prop_assert_eq!(found, (only(&held, &holds), only(&holds, &held)), "key {}", key);
        }
        let ordered = diff.moves().iter().zip(diff.moves().iter().skip(1)).all(|(a, b)| a.last < b.first);
        prop_assert!(ordered && diff.moves().iter().all(|moved| moved.first <= moved.last));
    }
}

#[test]
fn all_zones_hold_every_key_once_when_there_are_as_many_replicas() {
    let zones = ["a", "b", "c"];
    let nodes: Vec<Node> = (0..30).map(|n| Node::random(n, zones[n % 3], 16)).collect();
    let ring = build(3, true, &nodes);
    let mut keys_of: BTreeMap<&str, u64> = BTreeMap::new();
    for instance in ring.instances() {
        *keys_of.entry(&*instance.zone).or_default() += ring.token_ranges(&instance.id).unwrap().keys();
    }
    assert_eq!(keys_of, zones.map(|zone| (zone, 1 << 32)).into());
}

#[test]
fn a_trial_is_what_then_happens_and_changes_nothing() {
    let zones = ["a", "b", "c"];
    // Those that are there come before and after the one that joins.
    let number = |n: usize| if n < 6 { n } else { 100 + n };
    let mut nodes: Vec<Node> = (0..12).map(|n| Node::random(number(n), zones[n % 3], 64)).collect();
    let ring = build(3, true, &nodes);
    let joiner = Node::random(50, "b", 64);
    nodes.push(joiner.clone());
    let members = membership(&nodes);
    let trial = ring.try_join(&members.member(&joiner.id).unwrap().instance).unwrap();
    let after = build(3, true, &nodes);
    for key in keys(500) {
        assert_eq!(ids(&trial.ring, key), ids(&after, key));
    }
    assert_eq!(trial.diff, ring.diff(&after));
    // The fifth of the four in its zone takes a fifth of the keys there, from each of them and from nobody else.
    let totals = trial.diff.totals();
    let share = trial.diff.keys() as f64 / (1_u64 << 32) as f64;
    assert!((0.15..0.25).contains(&share), "{share}");
    assert_eq!(totals.len(), 4);
    for (from, to) in totals.keys() {
        let from = ring.instance(from.as_deref().unwrap()).unwrap();
        assert_eq!((&*from.zone, to.as_deref()), ("b", Some(&*joiner.id)));
    }
    // A zone of five has less for each than one of four: more uneven than before.
    assert_eq!((trial.before, trial.after), (ring.imbalance(), after.imbalance()));
    assert!(trial.after.spread > 0.2 && trial.before.random_deviation < 0.13, "{trial:?}");

    let back = trial.ring.try_leave(&joiner.id).unwrap();
    assert!(back.ring.diff(&ring).moves().is_empty());
    assert_eq!(back.diff.keys(), trial.diff.keys());
    assert_eq!(ring.instances().len(), 12);
    assert!(matches!(ring.try_leave("nobody"), Err(TrialError::Unknown)));
    assert_eq!(ring.token_ranges("nobody"), Err(RangeError::Unknown));
}

/// All rings of up to four tokens among sixteen positions, each token of one of two instances, and some of five and six.
/// The positions are spread over the key space and cling to both ends of it. (All rings of six among 256 positions
/// would be 4e11.)
#[test]
fn every_ring_of_few_tokens_gives_every_key_to_whom_a_search_of_all_tokens_does() {
    let position = |n: u32| match n {
        0 => 0,
        1 => 1,
        14 => u32::MAX - 1,
        15 => u32::MAX,
        n => n << 28,
    };
    let mut rings = 0;
    for set in 1..1_u32 << 16 {
        let count = set.count_ones();
        if count > 6 || (count == 5 && set % 5 != 0) || (count == 6 && set % 31 != 0) {
            continue;
        }
        let tokens: Vec<u32> = (0..16).filter(|n| set & (1 << n) != 0).map(position).collect();
        // The first token is a's: the names of the two do not matter.
        for owners in (0..1_u32 << count).step_by(2) {
            let of = |owner: u32| -> Vec<u32> {
                let held = tokens.iter().enumerate().filter(|(at, _)| owners >> at & 1 == owner);
                held.map(|(_, &token)| token).collect()
            };
            let nodes = [Node::active("a", "", of(0)), Node::active("b", "", of(1))];
            let ring = build(1, false, &nodes);
            let ranges = ["a", "b"].map(|id| ring.owned_ranges(id).unwrap());
            assert_eq!(ranges.iter().map(|ranges| ranges.keys()).sum::<u64>(), 1 << 32);
            for n in 0..16 {
                let at = position(n);
                for key in [at.wrapping_sub(1), at, at.wrapping_add(1)] {
                    let next = tokens.iter().position(|&token| token > key).unwrap_or(0);
                    let owner = (owners >> next & 1) as usize;
                    assert_eq!(ring.owner(key).unwrap().id.as_ref(), ["a", "b"][owner], "{key} in {nodes:?}");
                    assert!(
                        ranges[owner].contains(key) && !ranges[1 - owner].contains(key),
                        "{key} in {nodes:?}"
                    );
                }
            }
            rings += 1;
        }
    }
    assert!(rings > 30_000, "{rings}");
}

fn mean_and_error(samples: &[f64]) -> (f64, f64) {
    let count = samples.len() as f64;
    let mean = samples.iter().sum::<f64>() / count;
    let variance = samples.iter().map(|sample| (sample - mean).powi(2)).sum::<f64>() / (count - 1.0);
    (mean, (variance / count).sqrt())
}

#[test]
fn a_join_moves_the_share_of_keys_that_the_formulas_say() {
    const ZONES: [&str; 3] = ["a", "b", "c"];
    // Of N instances, with zones N of each: replicas, whether zones count, and the part of keys that move.
    for (factor, zones_count, expected) in
        [(1, false, 1.0 / 10.0), (3, false, 3.0 / 10.0), (3, true, 1.0 / 4.0), (1, true, 1.0 / 10.0)]
    {
        let shares: Vec<f64> = (0..20)
            .map(|seed| {
                let mut nodes: Vec<Node> =
                    (0..9).map(|n| Node::random(n + 100 * seed, ZONES[n % 3], 64)).collect();
                let before = build(factor, zones_count, &nodes);
                nodes.push(Node::random(50 + 100 * seed, "a", 64));
                before.diff(&build(factor, zones_count, &nodes)).keys() as f64 / (1_u64 << 32) as f64
            })
            .collect();
        let (mean, error) = mean_and_error(&shares);
        let off = (mean - expected).abs();
        assert!(
            off < 3.0 * error,
            "{factor} replicas, zones {zones_count}: {mean} +- {error}, not {expected}"
        );
    }
}

/// What a ring would be built of, and not whatever is asked for.
#[test]
fn who_is_not_let_in_joins_nothing() {
    let mut nodes: Vec<Node> = (0..4).map(|n| Node::random(n, "a", 8)).collect();
    let options = Options { excluded_zones: vec!["b".into()], ..options(3, true) };
    let ring = Ring::build(&options, &membership(&nodes), NOW_NS).unwrap();
    nodes = vec![Node::random(9, "b", 8), Node { state: State::Left, ..Node::random(8, "a", 8) }];
    let members = membership(&nodes);
    for node in &nodes {
        let trial = ring.try_join(&members.member(&node.id).unwrap().instance).unwrap();
        assert_eq!((trial.diff.keys(), trial.ring.instances().len()), (0, 4), "{node:?}");
    }
    // Whoever moves to such a zone leaves.
    let moved = membership(&[Node::random(0, "b", 8)]);
    let trial = ring.try_join(&moved.iter().next().unwrap().instance).unwrap();
    assert_eq!(trial.ring.instances().len(), 3);
}
