//! What a ring says about itself is what it does: explanations, batch plans, and counts.

use forebay_ring::{
    BatchPlan, Error, GetOptions, Operation, QuorumBase, ReplicationSet, Require, Ring, State, Verdict,
};
use proptest::prelude::*;

use super::{Node, OPERATIONS, any_nodes, build, keys};

fn any_options() -> impl Strategy<Value = GetOptions> {
    let require = proptest::sample::select(&[Require::One, Require::Quorum, Require::All][..]);
    let base = proptest::sample::select(&[QuorumBase::Extended, QuorumBase::Configured][..]);
    let factor =
        proptest::option::of((1..=9_u8).prop_map(|factor| std::num::NonZeroU8::new(factor).unwrap()));
    (require, base, factor).prop_map(|(require, base, replication_factor)| GetOptions {
        require,
        base,
        replication_factor,
    })
}

fn shown(answer: &Result<ReplicationSet<'_>, Error>) -> Result<(Vec<String>, usize, usize), Error> {
    let ids = |set: &ReplicationSet<'_>| set.iter().map(|i| i.id.to_string()).collect();
    answer.as_ref().map(|set| (ids(set), set.needed(), set.selected())).map_err(|error| *error)
}

/// Some operation of one's own, too: one that both serves and extends, and one that nothing serves.
fn operations() -> Vec<Operation> {
    let greedy =
        Operation::new(&[State::Active, State::Leaving, State::Joining], &[State::Leaving, State::Pending]);
    OPERATIONS.into_iter().chain([greedy, Operation::new(&[], &[State::Active])]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// The explanation walks token by token, so this is also a second opinion about every short cut of a lookup.
    #[test]
    fn an_explanation_comes_to_the_answer_that_the_lookup_gave(
        nodes in any_nodes(14, 6),
        factor in 1..=5_u8,
        zones_count: bool,
        options in any_options(),
        key: u32,
    ) {
        let ring = build(factor, zones_count, &nodes);
        for op in operations() {
            let told = ring.explain(key, op, options);
            let answer = ring.get_with(key, op, options);
            let serving = told.steps.iter().filter(|step| step.verdict == Verdict::Serves);
            let ids: Vec<String> = serving.map(|step| step.instance.id.to_string()).collect();
            prop_assert_eq!(told.outcome.map(|errors| (ids, told.needed, errors)), answer.as_ref().map(|set| {
                (set.iter().map(|i| i.id.to_string()).collect::<Vec<_>>(), set.needed(), set.max_errors())
            }).map_err(|error| *error), "{}", told);
            if let Ok(set) = &answer {
                prop_assert_eq!((told.selected, told.healthy), (set.selected(), set.len()));
            }
            prop_assert_eq!(told.selected, told.healthy + told.down.len());
        }
    }

    #[test]
    fn a_plan_has_for_every_key_what_its_lookup_says(
        nodes in any_nodes(12, 6),
        factor in 1..=5_u8,
        zones_count: bool,
        options in any_options(),
        keys in proptest::collection::vec(any::<u32>(), 0..60),
    ) {
        let ring = build(factor, zones_count, &nodes);
        let mut plan = BatchPlan::default();
        // The plan of another batch, of which nothing may be left.
        ring.plan_batch(&[1, 2, 3], Operation::READ, Require::One, &mut plan);
        for op in operations() {
            ring.plan_batch(&keys, op, options, &mut plan);
            prop_assert_eq!(plan.needs().len(), keys.len());
            let mut planned: Vec<Vec<String>> = vec![Vec::new(); keys.len()];
            for (instance, places) in plan.calls() {
                prop_assert!(!places.is_empty() && places.windows(2).all(|pair| pair[0] < pair[1]));
                for &place in places {
                    planned[place as usize].push(instance.id.to_string());
                }
            }
            for ((&key, need), planned) in keys.iter().zip(plan.needs()).zip(planned) {
                let answer = ring.get_with(key, op, options);
                let mut ids: Vec<String> =
                    answer.iter().flat_map(ReplicationSet::iter).map(|i| i.id.to_string()).collect();
                ids.sort_unstable();
                prop_assert_eq!(planned, ids);
                prop_assert_eq!(need.map(|need| (need.calls, need.acks)), answer.map(|set| (set.len(), set.needed())));
            }
        }
    }
}

/// Members are numbered anew in every snapshot: one that joins with a low id moved every key to its neighbour.
#[test]
fn a_plan_keeps_to_the_instances_of_its_own_ring() {
    let mut nodes: Vec<Node> = (1..4).map(|n| Node::active(format!("{n}"), "", vec![n * 10])).collect();
    let mut plan = BatchPlan::default();
    build(1, false, &nodes).plan_batch(&[5, 15, 25], Operation::WRITE, Require::Quorum, &mut plan);
    nodes.insert(0, Node::active("0", "", vec![5]));
    let _next = build(1, false, &nodes);
    let calls: Vec<(&str, &[u32])> = plan.calls().map(|(instance, keys)| (&*instance.id, keys)).collect();
    assert_eq!(calls, [("1", &[0][..]), ("2", &[1]), ("3", &[2])]);
    assert_eq!(format!("{plan:?}"), r#"{"1": [0], "2": [1], "3": [2]}"#);
}

#[test]
fn an_explanation_reads_as_what_happened() {
    let mut nodes = [
        Node::active("a", "1", vec![10]),
        Node::active("b", "1", vec![20, 25]),
        Node::active("c", "2", vec![30]),
        Node::active("d", "3", vec![40]),
    ];
    nodes[0].state = State::Leaving;
    nodes[2].fresh = false;
    let told = build(3, true, &nodes).explain(5, Operation::WRITE, Require::Quorum).to_string();
    assert_eq!(
        told,
        "key 5\n\
         \x20 token 10: a in zone \"1\" is LEAVING, one more is selected\n\
         \x20 token 20: b in zone \"1\" serves\n\
         \x20 token 25: b in zone \"1\" is selected already\n\
         \x20 token 30: c in zone \"2\" is silent\n\
         \x20 token 40: d in zone \"3\" serves\n\
         4 selected, 2 serve, 3 must succeed: replica set needs 3 healthy instances, has 2"
    );
}

#[test]
fn a_quorum_of_the_configured_replicas_tolerates_an_error_where_one_of_the_extended_set_does_not() {
    let mut nodes: Vec<Node> = (0..5).map(|n| Node::active(format!("{n}"), "", vec![n * 10 + 10])).collect();
    nodes[1].state = State::Leaving;
    let ring = build(3, false, &nodes);
    let errors = |base| {
        let options = GetOptions { base, ..GetOptions::default() };
        let set = ring.get_with(0, Operation::WRITE, options).unwrap();
        (set.selected(), set.needed(), set.max_errors())
    };
    assert_eq!(errors(QuorumBase::Extended), (4, 3, 0));
    assert_eq!(errors(QuorumBase::Configured), (4, 2, 1));
}

#[test]
fn more_replicas_can_be_asked_for_and_fewer_are_refused() {
    let nodes: Vec<Node> = (0..9).map(|n| Node::random(n, "", 8)).collect();
    let ring = build(3, false, &nodes);
    let of = |factor: u8| {
        let replication_factor = std::num::NonZeroU8::new(factor);
        ring.get_with(77, Operation::WRITE, GetOptions { replication_factor, ..GetOptions::default() })
    };
    let ids = |set: ReplicationSet<'_>| set.iter().map(|i| i.id.to_string()).collect::<Vec<_>>();
    assert_eq!(ids(of(5).unwrap()), ids(build(5, false, &nodes).get(77, Operation::WRITE).unwrap()));
    assert_eq!((of(5).unwrap().needed(), of(3).unwrap().needed()), (3, 2));
    assert_eq!(of(2).unwrap_err(), Error::FewerReplicas { asked: 2, configured: 3 });
}

/// There was one of each zone for ever, and a quorum of as many as were asked for.
#[test]
fn more_replicas_than_zones_are_as_many_in_each() {
    let zones = ["a", "b", "c"];
    let nodes: Vec<Node> = (0..9).map(|n| Node::random(n, zones[n % 3], 8)).collect();
    let (ring, few) = (build(3, true, &nodes), build(3, true, &nodes[..5]));
    let of = |ring: &Ring, key: u32, factor: u8| {
        let options =
            GetOptions { replication_factor: std::num::NonZeroU8::new(factor), ..GetOptions::default() };
        let set = ring.get_with(key, Operation::WRITE, options)?;
        let zones = zones.map(|zone| set.iter().filter(|instance| *instance.zone == *zone).count());
        Ok::<_, Error>((zones, set.needed()))
    };
    for key in keys(100) {
        assert_eq!(of(&ring, key, 6), Ok(([2, 2, 2], 4)));
        assert_eq!(of(&ring, key, 9), Ok(([3, 3, 3], 5)));
        assert_eq!(of(&few, key, 6), Ok(([2, 2, 1], 4)), "as far as there are");
    }
    assert_eq!(of(&ring, 0, 5), Err(Error::UnevenReplicas { asked: 5, configured: 3 }));
    assert_eq!(
        ring.explain(
            0,
            Operation::WRITE,
            GetOptions { replication_factor: std::num::NonZeroU8::new(4), ..GetOptions::default() }
        )
        .outcome,
        Err(Error::UnevenReplicas { asked: 4, configured: 3 })
    );
}

#[test]
fn how_many_failures_are_tolerated_is_told_before_they_happen() {
    let zones = ["a", "b", "c"];
    let nodes: Vec<Node> = (0..6).map(|n| Node::random(n, zones[n % 3], 4)).collect();
    let tolerated =
        |factor, zones_count, count| build(factor, zones_count, &nodes[..count]).tolerated_failures();
    assert_eq!([1, 2, 3, 5].map(|factor| tolerated(factor, false, 6)), [0, 0, 1, 2]);
    assert_eq!(tolerated(3, true, 6), 1);
    assert_eq!(tolerated(3, true, 2), 0, "two zones of three");
    assert_eq!(tolerated(5, true, 6), 0, "five copies in three zones");
    assert_eq!(tolerated(3, false, 0), 0);
}

#[test]
fn zones_and_the_healthy_are_counted() {
    let mut nodes = [
        Node::active("a", "1", vec![1]),
        Node::active("b", "1", vec![]),
        Node::active("c", "2", vec![3]),
        Node::active("d", "2", vec![4]),
    ];
    nodes[2].fresh = false;
    nodes[3].state = State::Leaving;
    let ring: Ring = build(3, true, &nodes);
    let healthy = |op| ring.healthy(op).map(|i| &*i.id).collect::<Vec<_>>();
    assert_eq!(healthy(Operation::WRITE), ["a", "b"]);
    assert_eq!(healthy(Operation::READ), ["a", "b", "d"]);
    let zones = ring.zones(Operation::READ);
    let counts = |zone: &str| (zones[zone].instances, zones[zone].healthy, zones[zone].with_tokens);
    assert_eq!((zones.len(), counts("1"), counts("2")), (2, (2, 2, 1), (2, 1, 2)));
}

#[test]
fn a_zone_that_leaves_is_passed_over_as_the_plain_walk_would() {
    let zones = ["a", "b", "c", "d"];
    let mut in_order = 0;
    for count in [3, 4] {
        let mut nodes: Vec<Node> = (0..120).map(|n| Node::random(n, zones[n % count], 16)).collect();
        nodes.iter_mut().filter(|node| node.zone == "b").for_each(|node| node.state = State::Leaving);
        // One of it stays, far from most keys.
        for stays in [false, true] {
            if stays {
                nodes[1].state = State::Active;
                nodes[1].tokens.truncate(1);
            }
            for zones_count in [true, false] {
                let ring = build(3, zones_count, &nodes);
                for key in keys(40) {
                    for op in OPERATIONS {
                        let told = ring.explain(key, op, Require::One);
                        let answer = ring.get_with(key, op, Require::One);
                        let serving = told.steps.iter().filter(|step| step.verdict == Verdict::Serves);
                        let ids: Vec<String> = serving.map(|step| step.instance.id.to_string()).collect();
                        let found = shown(&answer).map(|(ids, _, selected)| (ids.len(), selected));
                        let expected = match told.healthy {
                            0 => Err(Error::TooManyUnhealthy { needed: 1, found: 0 }),
                            healthy => Ok((healthy, told.selected)),
                        };
                        assert_eq!(found, expected, "key {key} of {count} zones, {op:?}");
                        // Of long walks not all steps are listed.
                        if told.unlisted == 0 {
                            assert_eq!(shown(&answer).map_or(Vec::new(), |(ids, ..)| ids), ids);
                            in_order += 1;
                        }
                    }
                }
            }
        }
    }
    assert!(in_order > 1_000, "only {in_order} of 1280 answers were compared in order");
}

#[test]
fn an_explanation_ends_where_the_walk_does() {
    // Two zones of three: the walk is over when each has one, and does not look for a third.
    let nodes: Vec<Node> = (0..10).map(|n| Node::random(n, ["a", "b"][n % 2], 100)).collect();
    let ring = build(3, true, &nodes);
    for key in keys(20) {
        let told = ring.explain(key, Operation::READ, Require::One);
        assert!(told.steps.len() < 100 && told.unlisted == 0, "{} steps", told.steps.len());
        assert_eq!(told.selected, 2);
    }
}
