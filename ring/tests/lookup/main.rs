//! Lookups against a naive model: who owns a key (R1), who is selected in which order (R2), what moves
//! when an instance joins or leaves (R3), and who owns a token that several claim (R6).
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashSet;

use forebay_ring::{
    Error, Instance, Membership, Operation, Options, Require, Ring, State, Token, TokenSet, random_tokens,
};
use proptest::prelude::*;

mod explain;
mod intersection;
mod ranges;
mod read_set;

const TIMEOUT_NS: u64 = 60_000_000_000;
const NOW_NS: u64 = 10 * TIMEOUT_NS;
const OPERATIONS: [Operation; 4] =
    [Operation::WRITE, Operation::WRITE_NO_EXTEND, Operation::READ, Operation::REPORTING];

#[derive(Debug, Clone)]
struct Node {
    id: String,
    zone: &'static str,
    state: State,
    fresh: bool,
    tokens: Vec<u32>,
}

impl Node {
    fn active(id: impl Into<String>, zone: &'static str, tokens: Vec<u32>) -> Self {
        Self { id: id.into(), zone, state: State::Active, fresh: true, tokens }
    }

    fn random(number: usize, zone: &'static str, tokens: usize) -> Self {
        let id = format!("i{number:04}");
        let tokens = random_tokens(&id, zone, 0, tokens, &TokenSet::default()).unwrap();
        Self::active(id, zone, tokens.into())
    }
}

fn membership(nodes: &[Node]) -> Membership {
    let mut members = Membership::default();
    for node in nodes {
        let instance = Instance {
            zone: node.zone.into(),
            state: node.state,
            tokens: node.tokens.clone().into(),
            ..Instance::new(&*node.id, "")
        };
        members.observe(instance, if node.fresh { NOW_NS } else { NOW_NS - TIMEOUT_NS - 1 });
    }
    members
}

fn options(replication_factor: u8, zone_awareness: bool) -> Options {
    Options { replication_factor, zone_awareness, ..Options::default() }
}

fn build(replication_factor: u8, zone_awareness: bool, nodes: &[Node]) -> Ring {
    Ring::build(&options(replication_factor, zone_awareness), &membership(nodes), NOW_NS).unwrap()
}

/// Every token with its owner, in the order a walk from `key` meets them, found by looking at all.
fn walk(nodes: &[Node], key: u32) -> Vec<&Node> {
    let mut claims: Vec<(u32, bool, &str, &Node)> = Vec::new();
    for node in nodes.iter().filter(|node| node.state != State::Left) {
        let leaving = node.state == State::Leaving;
        claims.extend(node.tokens.iter().map(|&token| (token, leaving, &*node.id, node)));
    }
    claims.sort_by_key(|&(token, leaving, id, _)| (Token(key).distance_to(Token(token)), leaving, id));
    claims.dedup_by_key(|claim| claim.0);
    claims.into_iter().map(|claim| claim.3).collect()
}

/// The healthy ids in walk order and the tolerated errors, or what was needed and found.
fn expected(
    nodes: &[Node],
    factor: usize,
    zones_count: bool,
    key: u32,
    op: Operation,
) -> Result<(Vec<String>, usize), Error> {
    let (mut wanted, mut selected, mut full_zones) = (factor, Vec::<&Node>::new(), HashSet::new());
    let walk = walk(nodes, key);
    if walk.is_empty() {
        return Err(Error::Empty);
    }
    for node in walk {
        let zone_is_full = zones_count && !node.zone.is_empty() && full_zones.contains(node.zone);
        if selected.len() == wanted || zone_is_full || selected.iter().any(|other| other.id == node.id) {
            continue;
        }
        selected.push(node);
        if op.extends(node.state) {
            wanted += 1;
        } else {
            full_zones.insert(node.zone);
        }
    }
    let needed = factor.max(selected.len()) / 2 + 1;
    let healthy: Vec<String> =
        selected.iter().filter(|n| n.fresh && op.serves(n.state)).map(|n| n.id.clone()).collect();
    match healthy.len().checked_sub(needed) {
        Some(max_errors) => Ok((healthy, max_errors)),
        None => Err(Error::TooManyUnhealthy { needed, found: healthy.len() }),
    }
}

fn found(ring: &Ring, key: u32, op: Operation) -> Result<(Vec<String>, usize), Error> {
    ring.get(key, op).map(|set| (set.iter().map(|i| i.id.to_string()).collect(), set.max_errors()))
}

fn ids(ring: &Ring, key: u32) -> HashSet<String> {
    ring.get(key, Operation::REPORTING).unwrap().iter().map(|i| i.id.to_string()).collect()
}

/// Keys spread over the ring.
fn keys(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|n| n.wrapping_mul(0x9e37_79b9))
}

#[test]
fn every_small_ring_gives_every_key_to_the_first_token_after_it() {
    const PLACES: [u32; 7] = [0, 1, 1 << 30, 1 << 31, 3 << 30, u32::MAX - 1, u32::MAX];
    let mut rings = 0;
    // Each place holds a token of one of three instances, or none; four tokens at most.
    for code in 0..4_u32.pow(7) {
        let holder = |place: usize| code / 4_u32.pow(u32::try_from(place).unwrap()) % 4;
        let held = (0..PLACES.len()).filter(|&place| holder(place) > 0).count();
        if held == 0 || held > 4 {
            continue;
        }
        let nodes: Vec<Node> = (1..=3)
            .map(|n| {
                let tokens = (0..PLACES.len()).filter(|&place| holder(place) == n).map(|p| PLACES[p]);
                Node::active(format!("{n}"), "", tokens.collect())
            })
            .collect();
        let ring = build(2, false, &nodes);
        for key in PLACES.iter().flat_map(|p| [p.wrapping_sub(1), *p, p.wrapping_add(1)]) {
            let owner = &walk(&nodes, key)[0].id;
            assert_eq!(ring.owner(key).map(|i| &*i.id), Some(&**owner), "key {key} in {nodes:?}");
            let op = Operation::REPORTING;
            assert_eq!(found(&ring, key, op), expected(&nodes, 2, false, key, op), "key {key} in {nodes:?}");
        }
        rings += 1;
    }
    assert_eq!(rings, 7 * 3 + 21 * 9 + 35 * 27 + 35 * 81);
}

fn any_node(zones: &'static [&'static str], tokens: usize) -> impl Strategy<Value = Node> {
    let states = prop_oneof![
        6 => Just(State::Active),
        2 => Just(State::Leaving),
        2 => Just(State::Joining),
        2 => Just(State::Pending),
        1 => Just(State::Left),
    ];
    // Few distinct tokens, so that some are claimed twice.
    let token = prop_oneof![3 => any::<u32>(), 1 => 0..8_u32, 1 => (u32::MAX - 8)..=u32::MAX];
    let tokens = proptest::collection::vec(token, 0..=tokens);
    (proptest::sample::select(zones), states, proptest::bool::weighted(0.8), tokens)
        .prop_map(|(zone, state, fresh, tokens)| Node { id: String::new(), zone, state, fresh, tokens })
}

fn any_nodes(most: usize, tokens: usize) -> impl Strategy<Value = Vec<Node>> {
    proptest::collection::vec(any_node(&["", "a", "b", "c", "d"], tokens), 0..=most).prop_map(|mut nodes| {
        for (number, node) in nodes.iter_mut().enumerate() {
            node.id = format!("i{number:04}");
        }
        nodes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_ring_answers_as_the_model(
        nodes in any_nodes(14, 6),
        factor in 1..=20_u8,
        zones_count: bool,
        random in proptest::collection::vec(any::<u32>(), 8),
    ) {
        let ring = build(factor, zones_count, &nodes);
        let on_tokens = nodes.iter().flat_map(|node| node.tokens.iter().copied()).take(8);
        for key in random.into_iter().chain(on_tokens).chain([0, u32::MAX]) {
            for op in OPERATIONS {
                let expected = expected(&nodes, usize::from(factor), zones_count, key, op);
                prop_assert_eq!(found(&ring, key, op), expected, "key {} {:?}", key, op);
            }
        }
    }

    /// A snapshot made from another one is the snapshot that would have been built.
    #[test]
    fn an_updated_ring_answers_as_a_rebuilt_one(
        before in any_nodes(8, 4),
        changes in proptest::collection::vec((any_node(&["a", "b"], 4), any::<[bool; 4]>()), 8),
        zones_count: bool,
    ) {
        let mut after = before.clone();
        for (node, (other, [state, fresh, zone, tokens])) in after.iter_mut().zip(changes) {
            if state { node.state = other.state; }
            if fresh { node.fresh = other.fresh; }
            if zone && tokens { node.zone = other.zone; }
            if tokens { node.tokens = other.tokens; }
        }
        let members = membership(&after);
        let updated = build(3, zones_count, &before).updated(&members, NOW_NS).unwrap();
        let rebuilt = Ring::build(&options(3, zones_count), &members, NOW_NS).unwrap();
        for key in keys(16).chain(after.iter().flat_map(|node| node.tokens.iter().copied())) {
            for op in OPERATIONS {
                prop_assert_eq!(found(&updated, key, op), found(&rebuilt, key, op));
            }
        }
    }

    #[test]
    fn a_join_or_leave_moves_keys_only_to_or_from_that_instance(
        count in 4..12_usize,
        zones_count: bool,
        joiner in 0..4_usize,
    ) {
        const ZONES: [&str; 3] = ["a", "b", "c"];
        let mut nodes: Vec<Node> = (0..count).map(|n| Node::random(n, ZONES[n % 3], 16)).collect();
        let without = build(3, zones_count, &nodes);
        let joiner = Node::random(100 + joiner, ZONES[joiner % 3], 16);
        nodes.push(joiner.clone());
        let with = build(3, zones_count, &nodes);
        for key in keys(500) {
            let (old, new) = (ids(&without, key), ids(&with, key));
            prop_assert!(new.difference(&old).all(|id| *id == joiner.id));
            prop_assert!(old.difference(&new).count() <= 1);
            prop_assert_eq!(old.len(), new.len());
            let (before, after) = (without.owner(key).unwrap(), with.owner(key).unwrap());
            prop_assert!(before.id == after.id || *after.id == *joiner.id);
        }
    }
}

#[test]
fn a_walk_past_a_whole_zone_finds_what_the_model_finds() {
    // Every member of zone `a` extends a write, so the walk never gets enough of them.
    for (zones, count) in [(&["a", "b", "c"][..], 60), (&["a", "b", "c", "d"], 80), (&["a"], 70)] {
        let mut nodes: Vec<Node> = (0..count).map(|n| Node::random(n, zones[n % zones.len()], 16)).collect();
        nodes.iter_mut().filter(|node| node.zone == "a").for_each(|node| node.state = State::Leaving);
        // Two of them claim the tokens of others and lose them.
        nodes[0].tokens = nodes[1].tokens.clone();
        let others = nodes[5].tokens.clone();
        nodes[4].tokens.extend(others);
        for (factor, zones_count) in [(3, true), (3, false), (17, true), (17, false), (66, false)] {
            let ring = build(factor, zones_count, &nodes);
            for key in keys(20) {
                for op in OPERATIONS {
                    let expected = expected(&nodes, usize::from(factor), zones_count, key, op);
                    assert_eq!(found(&ring, key, op), expected);
                }
            }
        }
    }
}

#[test]
fn a_set_is_as_large_as_instances_or_zones_allow() {
    let zones = ["a", "b"];
    let nodes: Vec<Node> = (0..6).map(|n| Node::random(n, zones[n % 2], 8)).collect();
    for key in keys(100) {
        assert_eq!(build(3, false, &nodes).get(key, Operation::READ).unwrap().selected(), 3);
        assert_eq!(build(9, false, &nodes).get(key, Operation::READ).unwrap().selected(), 6);
        let zoned = build(3, true, &nodes);
        let set = zoned.get(key, Operation::READ).unwrap();
        assert_eq!((set.selected(), set.needed(), set.max_errors()), (2, 2, 0));
        let zones: HashSet<_> = set.iter().map(|instance| &instance.zone).collect();
        assert_eq!(zones.len(), 2);
    }
}

#[test]
fn a_required_number_of_replicas_replaces_the_quorum() {
    let mut nodes: Vec<Node> = (0..3).map(|n| Node::random(n, "", 8)).collect();
    let ring = build(3, false, &nodes);
    let errors = |ring: &Ring, require| {
        ring.get_with(0, Operation::WRITE_NO_EXTEND, require).map(|set| set.max_errors())
    };
    assert_eq!(
        [Require::One, Require::Quorum, Require::All].map(|r| errors(&ring, r)),
        [Ok(2), Ok(1), Ok(0)]
    );

    nodes[0].fresh = false;
    let ring = build(3, false, &nodes);
    let refused = |needed| Err(Error::TooManyUnhealthy { needed, found: 2 });
    assert_eq!(
        [Require::One, Require::Quorum, Require::All].map(|r| errors(&ring, r)),
        [Ok(1), Ok(0), refused(3)]
    );
}

#[test]
fn a_token_claimed_twice_follows_the_states_of_its_claimants() {
    let mut nodes = [Node::active("a", "", vec![10, 20]), Node::active("b", "", vec![20, 30])];
    let ring = build(1, false, &nodes);
    assert_eq!(&*ring.owner(15).unwrap().id, "a", "the lower id");

    nodes[0].state = State::Leaving;
    let ring = ring.updated(&membership(&nodes), NOW_NS).unwrap();
    assert_eq!(&*ring.owner(15).unwrap().id, "b", "who leaves yields");
    assert_eq!(&*ring.owner(5).unwrap().id, "a", "what nobody else claims stays");
}

#[test]
fn health_is_judged_at_the_given_time_and_shares_the_topology() {
    let ring = build(1, false, &[Node::active("a", "", vec![1])]);
    let at_timeout = ring.with_health(NOW_NS + TIMEOUT_NS);
    assert!(at_timeout.is_healthy("a", Operation::WRITE));
    let after = at_timeout.with_health(NOW_NS + TIMEOUT_NS + 1);
    assert!(!after.is_healthy("a", Operation::WRITE));
    assert_eq!(found(&after, 0, Operation::READ), Err(Error::TooManyUnhealthy { needed: 1, found: 0 }));
    assert_eq!(after.owner(0).map(|owner| &*owner.id), Some("a"), "an owner need not be alive");
    assert!(after.shares_topology(&ring));
    assert!(ring.with_health(0).is_healthy("a", Operation::WRITE), "a clock that went back");
    assert!(!ring.is_healthy("nobody", Operation::READ));
}

#[test]
fn instances_of_excluded_zones_are_not_there() {
    let nodes =
        [Node::active("a", "1", vec![1]), Node::active("b", "2", vec![2]), Node::active("c", "", vec![3])];
    let options = Options { excluded_zones: vec!["2".into()], ..options(3, true) };
    let ring = Ring::build(&options, &membership(&nodes), NOW_NS).unwrap();
    let updated = ring.updated(&membership(&nodes), NOW_NS).unwrap();
    assert!(updated.shares_topology(&ring));
    for ring in [ring, updated] {
        assert_eq!(ring.instances().map(|instance| &*instance.id).collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(&*ring.owner(1).unwrap().id, "c");
    }
}

#[test]
fn a_change_of_state_shares_the_topology_and_a_change_of_tokens_does_not() {
    let mut nodes = [Node::active("a", "", vec![1]), Node::active("b", "", vec![2])];
    let ring = build(1, false, &nodes);
    nodes[0].state = State::Leaving;
    assert!(ring.updated(&membership(&nodes), NOW_NS).unwrap().shares_topology(&ring));
    nodes[0].tokens.push(3);
    assert!(!ring.updated(&membership(&nodes), NOW_NS).unwrap().shares_topology(&ring));
}
