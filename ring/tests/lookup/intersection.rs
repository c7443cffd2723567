//! Does a read that succeeds find a write that did, across one change of the membership between them? All clusters of
//! three and four instances in all states and over up to three zones in every way, or none; of five of which none is
//! PENDING, in three zones in turn, or none. One instance changes its state or leaves, or a new one joins anywhere and in
//! any zone. 3 replicas, a quorum of all that were selected, fresh heartbeats, and all failures. The table in the docs
//! of `Operation` is what is counted here.

use std::collections::{BTreeMap, BTreeSet};

use forebay_ring::{Instance, Operation, Ring, State};

use super::{Node, build};

const STATES: [State; 4] = [State::Active, State::Leaving, State::Joining, State::Pending];

/// One of the ways a membership changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    Nothing,
    /// A state that follows upon another.
    Step(State, State),
    /// A JOINING instance appears.
    Joins,
    Leaves(State),
}

const ZONES: [&str; 3] = ["a", "b", "c"];

/// Instances in the order a walk from key 0 meets them, with room for another before, between and after them.
fn cluster(states: &[State], zones: &[&'static str]) -> Vec<Node> {
    let placed = (1..).zip(states.iter().zip(zones));
    let node = |(at, (&state, &zone)): (u32, (&State, &&'static str))| Node {
        state,
        ..Node::active(format!("{at}"), zone, vec![at * 10])
    };
    placed.map(node).collect()
}

/// All ways to place so many instances in up to three zones, but for the names of these.
fn placements(count: usize) -> Vec<Vec<&'static str>> {
    let mut all: Vec<Vec<usize>> = vec![Vec::new()];
    for _ in 0..count {
        let longer = all.iter().flat_map(|zones| {
            let fresh = zones.iter().max().map_or(0, |last| last + 1);
            (0..=fresh.min(2)).map(|zone| [&zones[..], &[zone]].concat())
        });
        all = longer.collect();
    }
    all.into_iter().map(|zones| zones.into_iter().map(|zone| ZONES[zone]).collect()).collect()
}

fn changes(before: &[Node]) -> Vec<(Change, Vec<Node>)> {
    let mut changes = vec![(Change::Nothing, before.to_vec())];
    let zones = if before[0].zone.is_empty() { &[""][..] } else { &ZONES };
    for (at, &zone) in (0..=before.len()).flat_map(|at| zones.iter().map(move |zone| (at, zone))) {
        let token = u32::try_from(at).unwrap() * 10 + 5;
        let joiner = Node { state: State::Joining, ..Node::active("0", zone, vec![token]) };
        changes.push((Change::Joins, [&before[..at], &[joiner], &before[at..]].concat()));
    }
    for at in 0..before.len() {
        let from = before[at].state;
        for to in STATES.into_iter().filter(|&to| from.can_become(to)) {
            let mut after = before.to_vec();
            after[at].state = to;
            changes.push((Change::Step(from, to), after));
        }
        let mut after = before.to_vec();
        after.remove(at);
        changes.push((Change::Leaves(from), after));
    }
    changes
}

/// Instances as a set of bits.
fn bits<'i>(instances: impl Iterator<Item = &'i Instance>) -> u32 {
    instances.map(|instance| 1 << instance.id.parse::<u32>().unwrap()).sum()
}

/// Who may have taken a write, of whom so many did.
fn writers(ring: &Ring, op: Operation) -> Option<(u32, u32)> {
    let set = ring.get(0, op).ok()?;
    Some((bits(set.iter()), u32::try_from(set.needed()).unwrap()))
}

/// Whether some of each can be chosen that have nobody in common.
fn can_miss((w, takes): (u32, u32), (r, answers): (u32, u32)) -> bool {
    let alone = |of: u32, beside: u32| (of & !beside).count_ones();
    takes.saturating_sub(alone(w, r)) + answers.saturating_sub(alone(r, w)) <= (w & r).count_ones()
}

/// The same for a read of all, of which units fail.
fn can_miss_all((w, takes): (u32, u32), units: &[u32], may_fail: usize) -> bool {
    (0..1_u32 << units.len()).filter(|failed| failed.count_ones() as usize <= may_fail).any(|failed| {
        let asked = units.iter().enumerate().filter(|(at, _)| failed >> at & 1 == 0);
        let answered = asked.fold(0, |all, (_, unit)| all | unit);
        (w & !answered).count_ones() >= takes
    })
}

type Pair = (&'static str, &'static str);

/// The changes over which a pair misses.
#[derive(Default)]
struct Misses {
    of: BTreeMap<Pair, BTreeSet<Change>>,
    /// What misses in the present cluster without a change, for which nobody who joins is to blame.
    anyway: BTreeSet<Pair>,
}

impl Misses {
    fn note(&mut self, pair: Pair, change: Change) {
        if change == Change::Nothing {
            self.anyway.insert(pair);
        }
        if change != Change::Joins || !self.anyway.contains(&pair) {
            self.of.entry(pair).or_default().insert(change);
        }
    }

    /// What is not among the expected.
    fn beside(&self, expected: &BTreeMap<Pair, BTreeSet<Change>>) -> Vec<(Pair, Change)> {
        let is_expected =
            |pair: &Pair, change: &Change| expected.get(pair).is_some_and(|of| of.contains(change));
        let all =
            self.of.iter().flat_map(|(&pair, changes)| changes.iter().map(move |&change| (pair, change)));
        all.filter(|(pair, change)| !is_expected(pair, change)).collect()
    }
}

fn look(misses: &mut Misses, writer: &Ring, reader: &Ring, change: Change) {
    let reads = [("READ", Operation::READ), ("REPORTING", Operation::REPORTING)];
    for (name, op) in [("WRITE", Operation::WRITE), ("WRITE_NO_EXTEND", Operation::WRITE_NO_EXTEND)] {
        let Some(written) = writers(writer, op) else { continue };
        for (of, read) in reads {
            if writers(reader, read).is_some_and(|readers| can_miss(written, readers)) {
                misses.note((name, of), change);
            }
        }
        for (of, read) in [("READ of all", Operation::READ), ("REPORTING of all", Operation::REPORTING)] {
            let Ok(set) = reader.replication_set_for(read) else { continue };
            let units: Vec<u32> = set.units().map(bits).collect();
            if can_miss_all(written, &units, set.max_unavailable()) {
                misses.note((name, of), change);
            }
        }
    }
}

#[test]
fn which_reads_find_which_writes_over_which_changes() {
    let (mut later, mut earlier) = (Misses::default(), Misses::default());
    let (mut later_of_few, mut earlier_of_few) = (Misses::default(), Misses::default());
    let mut cases = 0;
    for (count, states) in [(3, 4_usize), (4, 4), (5, 3)] {
        let zoned = if count == 5 { vec![vec!["a", "b", "c", "a", "b"]] } else { placements(count) };
        for zones in [vec![vec![""; count]], zoned].concat() {
            let zones_count = !zones[0].is_empty();
            let few = zones_count && ZONES.iter().any(|zone| !zones.contains(zone));
            let (later, earlier) =
                if few { (&mut later_of_few, &mut earlier_of_few) } else { (&mut later, &mut earlier) };
            for code in 0..states.pow(u32::try_from(count).unwrap()) {
                let state = |at: usize| STATES[code / states.pow(u32::try_from(at).unwrap()) % states];
                let before = cluster(&(0..count).map(state).collect::<Vec<_>>(), &zones);
                let old = build(3, zones_count, &before);
                later.anyway.clear();
                earlier.anyway.clear();
                for (change, after) in changes(&before) {
                    let new = build(3, zones_count, &after);
                    look(later, &old, &new, change);
                    look(earlier, &new, &old, change);
                    cases += 1;
                }
            }
        }
    }
    assert!(cases > 100_000, "{cases}");
    use Change::{Joins, Leaves, Nothing, Step};
    use State::{Active, Joining, Leaving, Pending};
    let of = |changes: &[&[Change]]| changes.concat().into_iter().collect::<BTreeSet<_>>();
    // Where two of a key's first three are LEAVING, an extended write may be on none of them.
    let two_leave = [Nothing, Step(Joining, Active), Step(Active, Leaving), Step(Leaving, Active)];
    let serves_too_early = [Joins, Step(Joining, Pending)];
    let lost = [Leaves(Active)];
    let expected = BTreeMap::from([
        (("WRITE", "READ"), of(&[&two_leave, &lost])),
        (("WRITE", "REPORTING"), of(&[&two_leave, &serves_too_early, &lost])),
        (("WRITE", "READ of all"), of(&[&lost])),
        (("WRITE", "REPORTING of all"), of(&[&lost])),
        (("WRITE_NO_EXTEND", "READ"), of(&[&lost])),
        (("WRITE_NO_EXTEND", "REPORTING"), of(&[&[Joins], &lost])),
        (("WRITE_NO_EXTEND", "READ of all"), of(&[&lost])),
        (("WRITE_NO_EXTEND", "REPORTING of all"), of(&[&lost])),
    ]);
    assert_eq!(later.of, expected, "the reader's view is the later one");
    // In fewer zones than replicas hardly more.
    assert_eq!(later_of_few.beside(&expected), []);
    let gone = STATES.map(Leaves);
    let expected = BTreeMap::from([
        (("WRITE", "READ"), of(&[&two_leave, &[Leaves(Active), Leaves(Leaving), Leaves(Pending)]])),
        (("WRITE", "REPORTING"), of(&[&two_leave, &[Step(Joining, Pending)], &gone])),
        (("WRITE_NO_EXTEND", "READ"), of(&[&[Leaves(Active), Leaves(Leaving)]])),
        (("WRITE_NO_EXTEND", "REPORTING"), of(&[&gone])),
    ]);
    assert_eq!(earlier.of, expected, "the reader's view is the earlier one");
    let early = (("WRITE", "READ"), Step(Pending, Active));
    assert_eq!(earlier_of_few.beside(&expected), [early]);
}
