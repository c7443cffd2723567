//! Read sets against a naive count, and against what they are for: a write that a quorum took is found.

use std::collections::{BTreeMap, BTreeSet};

use forebay_ring::{Changed, Error, Operation, Options, ReadSet, Require, Ring, State};
use proptest::prelude::*;

use super::{NOW_NS, Node, OPERATIONS, any_nodes, build, membership, options};

/// Units by name: which instances, and whether all of them serve. Zones if they count, but for those without one.
fn units(nodes: &[Node], zones_count: bool, op: Operation) -> BTreeMap<String, (Vec<String>, bool)> {
    let mut units: BTreeMap<String, (Vec<String>, bool)> = BTreeMap::new();
    for node in nodes.iter().filter(|node| node.state != State::Left) {
        let unit = if zones_count && !node.zone.is_empty() { node.zone.to_owned() } else { node.id.clone() };
        let (ids, serves) = units.entry(unit).or_insert((Vec::new(), true));
        ids.push(node.id.clone());
        *serves &= node.fresh && op.serves(node.state);
    }
    units
}

fn found(set: &ReadSet<'_>) -> BTreeSet<Vec<String>> {
    set.units().map(|unit| unit.map(|instance| instance.id.to_string()).collect()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_read_set_is_what_a_naive_count_finds(
        nodes in any_nodes(10, 3),
        factor in 1..=5_u8,
        zones_count: bool,
    ) {
        let ring = build(factor, zones_count, &nodes);
        for op in OPERATIONS {
            let units = units(&nodes, zones_count, op);
            let serving: BTreeSet<Vec<String>> =
                units.values().filter(|(_, serves)| *serves).map(|(ids, _)| ids.clone()).collect();
            let (all, replicas) = (units.len(), usize::from(factor));
            let all_required = [Require::One, Require::Quorum, Require::All];
            for require in all_required {
                // So many replicas of a key may be missing, of which zones hold one each.
                let may_miss = |replicas: usize| match require {
                    Require::One => replicas - 1,
                    Require::Quorum => (replicas / 2 + 1) - 1,
                    _ => 0,
                };
                let needed = match (zones_count, all) {
                    (true, 0) => 0,
                    (true, all) => all - may_miss(all.min(replicas)),
                    (false, all) => all.max(replicas) - may_miss(replicas),
                };
                let found = ring.read_set(op, require).map(|set| (set.needed(), set.max_unavailable()));
                match found {
                    Ok(found) => prop_assert_eq!(found, (needed, serving.len() - needed)),
                    Err(Error::TooManyUnhealthy { needed: n, found }) => {
                        prop_assert_eq!((n, found), (needed, serving.len()));
                    }
                    Err(other) => prop_assert_eq!((other, all), (Error::Empty, 0)),
                }
            }
            let needed = if zones_count {
                // (min(zones, replicas) / 2 + 1) - 1 may be missing.
                all - ((all.min(replicas) / 2 + 1) - 1)
            } else {
                all.max(replicas) - replicas / 2
            };
            let set = ring.replication_set_for(op);
            match set {
                Err(Error::Empty) => prop_assert_eq!(all, 0),
                Err(Error::TooManyUnhealthy { needed: n, found }) => {
                    prop_assert_eq!((n, found), (needed, serving.len()));
                    prop_assert!(found < n);
                }
                Err(other) => prop_assert!(false, "{other}"),
                Ok(set) => {
                    prop_assert_eq!(found(&set), serving.clone());
                    prop_assert_eq!(set.max_unavailable(), serving.len() - needed);
                    prop_assert_eq!((set.unit_count(), set.len()), (serving.len(), serving.iter().flatten().count()));
                    prop_assert!(set.iter().all(|instance| set.contains(&instance.id)));
                    prop_assert_eq!(set.changed_since(&set.clone()), Changed::Same);
                }
            }
        }
    }

    /// What the bound is for, and that the exact answer allows whatever the bound does.
    #[test]
    fn keys_stay_covered_while_no_more_fail_than_may(
        nodes in any_nodes(10, 3),
        factor in 1..=5_u8,
        zones_count: bool,
        failing: u32,
    ) {
        let ring = build(factor, zones_count, &nodes);
        let Ok(set) = ring.replication_set_for(Operation::REPORTING) else { return Ok(()) };
        let units: Vec<Vec<String>> =
            set.units().map(|unit| unit.map(|instance| instance.id.to_string()).collect()).collect();
        let failed = (0..units.len()).filter(|unit| failing >> unit & 1 == 1).take(set.max_unavailable());
        let failed: Vec<&String> = failed.flat_map(|unit| &units[unit]).collect();
        let answers = |id: &str| set.contains(id) && !failed.iter().any(|failed| **failed == *id);
        if ring.token_count() > 0 {
            prop_assert!(ring.covers(|instance| answers(&instance.id)), "{failed:?} of {set:?}");
        }
        // Exactly: no key has more replicas among those that did not answer than may be missing.
        let some: BTreeSet<&str> =
            ring.instances().enumerate().filter(|(at, _)| failing >> (at + 8) & 1 == 1).map(|(_, i)| &*i.id).collect();
        let place = |id: &str, zone: &str| if zones_count && !zone.is_empty() { zone.to_owned() } else { id.to_owned() };
        let owner = |id: &str| ring.ownership().any(|(instance, share)| *instance.id == *id && share > 0.0);
        // Whose keys are not known may lack any.
        let unknown = ring.instances().filter(|i| !owner(&i.id));
        let anywhere: BTreeSet<String> =
            unknown.filter(|i| !some.contains(&*i.id)).map(|i| place(&i.id, &i.zone)).collect();
        let mut tokens = nodes.iter().flat_map(|node| node.tokens.iter().map(|token| token.wrapping_sub(1)));
        let all_found = ring.token_count() > 0 && tokens.all(|key| {
            let set = ring.explain(key, Operation::new(&[], &[]), Require::One);
            let of_key = set.down.iter().filter(|i| !some.contains(&*i.id)).map(|i| place(&i.id, &i.zone));
            of_key.chain(anywhere.iter().cloned()).collect::<BTreeSet<_>>().len() <= usize::from(factor) / 2
        });
        prop_assert_eq!(ring.covers(|instance| some.contains(&*instance.id)), all_found);
    }
}

#[test]
fn one_instance_that_is_down_takes_its_zone_along_and_two_zones_are_too_many() {
    let zones = ["a", "b", "c"];
    let mut nodes: Vec<Node> = (0..9).map(|n| Node::random(n, zones[n % 3], 8)).collect();
    let read = |nodes: &[Node]| {
        let ring = build(3, true, nodes);
        let set = ring.replication_set_for(Operation::READ);
        set.map(|set| (set.len(), set.unit_count(), set.max_unavailable()))
    };
    assert_eq!(read(&nodes), Ok((9, 3, 1)));
    nodes[0].fresh = false;
    assert_eq!(read(&nodes), Ok((6, 2, 0)));
    nodes[3].fresh = false;
    assert_eq!(read(&nodes), Ok((6, 2, 0)), "the same zone");
    nodes[1].fresh = false;
    assert_eq!(read(&nodes), Err(Error::TooManyUnhealthy { needed: 2, found: 1 }));
}

/// One down in each of two zones: too many to be sure of by counting, and found out by looking.
#[test]
fn two_zones_may_each_lack_one_if_no_key_is_on_both() {
    // Zones are aligned but for a few keys: most are on the same one of each, and some on the next of a zone or two.
    let nodes: Vec<Node> = ["a", "b", "c"]
        .iter()
        .zip(0..)
        .flat_map(|(zone, offset)| {
            let node = |n: u32| Node::active(format!("{zone}{n}"), zone, vec![(n << 30) + 10 + offset]);
            [node(0), node(1), node(2)]
        })
        .collect();
    let ring = build(3, true, &nodes);
    let covers = |silent: [&str; 2]| ring.covers(|instance| !silent.contains(&&*instance.id));
    assert!(!covers(["a0", "b0"]) && !covers(["a1", "c1"]));
    assert!(!covers(["b0", "a1"]), "key 10, after `a0` and before `b0`");
    assert!(covers(["a0", "b1"]) && covers(["b0", "c1"]));
}

#[test]
fn a_set_without_some_tolerates_fewer_and_says_what_changed() {
    let mut nodes: Vec<Node> = (0..6).map(|n| Node::random(n, "", 8)).collect();
    let ring = build(3, false, &nodes);
    let set = ring.replication_set_for(Operation::READ).unwrap();
    assert_eq!((set.len(), set.needed(), set.max_unavailable()), (6, 5, 1));
    let rest = set.without(|instance| &*instance.id == "i0002").unwrap();
    assert_eq!((rest.len(), rest.needed(), rest.max_unavailable()), (5, 5, 0));
    assert!(!rest.contains("i0002"));
    let refused = set.without(|instance| &*instance.id < "i0002").unwrap_err();
    assert_eq!(refused, Error::TooManyUnhealthy { needed: 5, found: 4 });
    assert_eq!(rest.changed_since(&set), Changed::Members);
    nodes[3].state = State::Leaving;
    let later = build(3, false, &nodes);
    assert_eq!(later.replication_set_for(Operation::READ).unwrap().changed_since(&set), Changed::States);
}

/// A reader to whom the tokens of an instance were not known yet asked all others, and took a quorum of them for enough:
/// what the others had lost was missing without an error.
#[test]
fn whoever_may_hold_something_is_asked_whether_or_not_its_tokens_are_known() {
    let mut nodes: Vec<Node> = (0..3).map(|n| Node::active(format!("{n}"), "", vec![n * 10 + 10])).collect();
    nodes.push(Node::active("bare", "", vec![]));
    let read = |nodes: &[Node]| {
        let ring = build(3, false, nodes);
        let set = ring.replication_set_for(Operation::READ);
        set.map(|set| (set.len(), set.contains("bare"), set.max_unavailable()))
    };
    assert_eq!(read(&nodes), Ok((4, true, 1)));
    nodes[3].fresh = false;
    assert_eq!(read(&nodes), Ok((3, false, 0)), "it counts as missing");
    assert!(!build(3, false, &nodes).covers(|instance| !["bare", "1"].contains(&&*instance.id)));
    assert!(build(3, false, &nodes).covers(|instance| &*instance.id != "1"));
    nodes[3].state = State::Joining;
    assert_eq!(read(&nodes), Ok((3, false, 0)), "it may have been ACTIVE before it was started anew");
    nodes[3].state = State::Left;
    assert_eq!(read(&nodes), Ok((3, false, 1)));
    nodes[3].state = State::Active;

    // Whose only token another claims, and who has not handed over what it brought.
    nodes[3] = Node { state: State::Leaving, ..Node::active("bare", "", vec![20]) };
    assert_eq!(read(&nodes), Ok((4, true, 1)));
}

/// Out of reach and out of mind: a write that zones `a` and `b` took was read from `c` alone, and missed, since of two
/// zones one may fail.
#[test]
fn what_an_excluded_zone_holds_is_missing_until_its_instances_have_left() {
    let zones = ["a", "b", "c"];
    let mut nodes: Vec<Node> = (0..6).map(|n| Node::random(n, zones[n % 3], 8)).collect();
    let excluding = |nodes: &[Node], zones: &[&str], zones_count| {
        let excluded_zones = zones.iter().map(|&zone| zone.into()).collect();
        let options = Options { excluded_zones, ..options(3, zones_count) };
        let ring = Ring::build(&options, &membership(nodes), NOW_NS).unwrap();
        assert_eq!(ring.covers(|_| true), zones.len() < 2 && zones_count || zones.is_empty());
        let updated = ring.updated(&membership(nodes), NOW_NS).unwrap().with_health(NOW_NS);
        let read = |ring: &Ring| {
            let set = ring.replication_set_for(Operation::READ);
            set.map(|set| (set.unit_count(), set.max_unavailable()))
        };
        assert_eq!(read(&ring), read(&updated));
        read(&ring)
    };
    assert_eq!(excluding(&nodes, &[], true), Ok((3, 1)));
    assert_eq!(excluding(&nodes, &["a", "a"][..1], true), Ok((2, 0)));
    assert_eq!(excluding(&nodes, &["a", "b"], true), Err(Error::TooManyUnhealthy { needed: 2, found: 1 }));
    assert_eq!(excluding(&nodes, &["a"], false), Err(Error::TooManyUnhealthy { needed: 5, found: 4 }));
    nodes.iter_mut().filter(|node| node.zone == "a").for_each(|node| node.state = State::Left);
    let ring = |zones_count| {
        let options = Options { excluded_zones: vec!["a".into()], ..options(3, zones_count) };
        Ring::build(&options, &membership(&nodes), NOW_NS).unwrap()
    };
    let read = |ring: &Ring| ring.replication_set_for(Operation::READ).unwrap().max_unavailable();
    assert_eq!((read(&ring(true)), read(&ring(false))), (1, 1));
}

/// The same instances are asked; the one that joins counts as missing.
#[test]
fn a_set_of_which_fewer_may_fail_is_another() {
    let mut nodes: Vec<Node> = (0..9).map(|n| Node::random(n, "", 8)).collect();
    let ring = build(3, false, &nodes);
    nodes.push(Node { state: State::Joining, ..Node::random(9, "", 8) });
    let later = build(3, false, &nodes);
    let (before, after) =
        (ring.replication_set_for(Operation::READ), later.replication_set_for(Operation::READ));
    let (before, after) = (before.unwrap(), after.unwrap());
    assert_eq!((before.len(), before.max_unavailable()), (9, 1));
    assert_eq!((after.len(), after.max_unavailable()), (9, 0));
    assert_eq!(after.changed_since(&before), Changed::Tolerance);
    assert_eq!(before.changed_since(&after), Changed::Tolerance);
}
