//! Does a read that succeeds find a write that did, across one change of the membership between them? All clusters of
//! three and four instances in all states, and of five of which none is PENDING; 3 replicas, with and without zones;
//! all failures. The table in the docs of `Operation` is what is counted here.

use std::collections::{BTreeMap, BTreeSet};

use forebay_ring::{Operation, Ring, State};

use super::{Node, build};

const STATES: [State; 4] = [State::Active, State::Leaving, State::Joining, State::Pending];

/// One of the ways a membership changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    Nothing,
    /// A state that follows upon another.
    Step(State, State),
    /// A JOINING instance appears, next after the key.
    Joins,
    Leaves(State),
}

/// Instances in the order a walk from key 0 meets them.
fn cluster(states: &[State], zones: usize) -> Vec<Node> {
    let zone = |at: usize| ["a", "b", "c"][at % 3];
    states
        .iter()
        .enumerate()
        .map(|(at, &state)| {
            let token = u32::try_from(at).unwrap() * 10 + 10;
            Node {
                state,
                ..Node::active(format!("{at}"), if zones == 0 { "" } else { zone(at) }, vec![token])
            }
        })
        .collect()
}

fn changes(before: &[Node]) -> Vec<(Change, Vec<Node>)> {
    let mut changes = vec![(Change::Nothing, before.to_vec())];
    let joiner = Node { state: State::Joining, ..Node::active("new", before[0].zone, vec![5]) };
    changes.push((Change::Joins, [vec![joiner], before.to_vec()].concat()));
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

/// Who may have taken a write, of whom so many did.
fn writers(ring: &Ring, op: Operation) -> Option<(BTreeSet<String>, usize)> {
    let set = ring.get(0, op).ok()?;
    Some((set.iter().map(|instance| instance.id.to_string()).collect(), set.needed()))
}

/// Whether some of each can be chosen that have nobody in common.
fn can_miss((w, takes): &(BTreeSet<String>, usize), (r, answers): &(BTreeSet<String>, usize)) -> bool {
    let both = w.intersection(r).count();
    takes.saturating_sub(w.len() - both) + answers.saturating_sub(r.len() - both) <= both
}

/// The same for a read of all, of which units fail.
fn can_miss_all((w, takes): &(BTreeSet<String>, usize), units: &[BTreeSet<String>], may_fail: usize) -> bool {
    (0..1_u32 << units.len()).filter(|failed| failed.count_ones() as usize <= may_fail).any(|failed| {
        let asked = units.iter().enumerate().filter(|(at, _)| failed >> at & 1 == 0);
        let answered: BTreeSet<&String> = asked.flat_map(|(_, unit)| unit).collect();
        w.iter().filter(|id| !answered.contains(id)).count() >= *takes
    })
}

type Misses = BTreeMap<(&'static str, &'static str), BTreeSet<Change>>;

fn look(misses: &mut Misses, writer: &Ring, reader: &Ring, change: Change) {
    let reads = [("READ", Operation::READ), ("REPORTING", Operation::REPORTING)];
    for (name, op) in [("WRITE", Operation::WRITE), ("WRITE_NO_EXTEND", Operation::WRITE_NO_EXTEND)] {
        let Some(written) = writers(writer, op) else { continue };
        for (of, read) in reads {
            if writers(reader, read).is_some_and(|readers| can_miss(&written, &readers)) {
                misses.entry((name, of)).or_default().insert(change);
            }
        }
        for (of, read) in [("READ of all", Operation::READ), ("REPORTING of all", Operation::REPORTING)] {
            let Ok(set) = reader.replication_set_for(read) else { continue };
            let units: Vec<BTreeSet<String>> =
                set.units().map(|unit| unit.map(|instance| instance.id.to_string()).collect()).collect();
            if can_miss_all(&written, &units, set.max_unavailable()) {
                misses.entry((name, of)).or_default().insert(change);
            }
        }
    }
}

#[test]
fn which_reads_find_which_writes_over_which_changes() {
    let (mut later, mut earlier) = (Misses::new(), Misses::new());
    let mut cases = 0;
    for zones in [0, 3] {
        for (count, states) in [(3, 4), (4, 4), (5, 3_usize)] {
            for code in 0..states.pow(count) {
                let state = |at: u32| STATES[code / states.pow(at) % states];
                let before = cluster(&(0..count).map(state).collect::<Vec<_>>(), zones);
                let old = build(3, zones > 0, &before);
                for (change, after) in changes(&before) {
                    let new = build(3, zones > 0, &after);
                    look(&mut later, &old, &new, change);
                    look(&mut earlier, &new, &old, change);
                    cases += 1;
                }
            }
        }
    }
    assert!(cases > 10_000, "{cases}");
    use Change::{Joins, Leaves, Nothing, Step};
    use State::{Active, Joining, Leaving, Pending};
    let of = |changes: &[&[Change]]| changes.concat().into_iter().collect::<BTreeSet<_>>();
    // Where two of a key's first three are LEAVING, an extended write may be on none of them.
    let two_leave = [Nothing, Step(Joining, Active), Step(Active, Leaving), Step(Leaving, Active)];
    let serves_too_early = [Joins, Step(Joining, Pending)];
    let lost = [Leaves(Active)];
    let expected = Misses::from([
        (("WRITE", "READ"), of(&[&two_leave, &lost])),
        (("WRITE", "REPORTING"), of(&[&two_leave, &serves_too_early, &lost])),
        (("WRITE", "READ of all"), of(&[&lost])),
        (("WRITE", "REPORTING of all"), of(&[&lost])),
        (("WRITE_NO_EXTEND", "READ"), of(&[&lost])),
        (("WRITE_NO_EXTEND", "REPORTING"), of(&[&[Joins], &lost])),
        (("WRITE_NO_EXTEND", "READ of all"), of(&[&lost])),
        (("WRITE_NO_EXTEND", "REPORTING of all"), of(&[&lost])),
    ]);
    assert_eq!(later, expected, "the reader's view is the later one");
    let gone = STATES.map(Leaves);
    let expected = Misses::from([
        (("WRITE", "READ"), of(&[&two_leave, &[Leaves(Active), Leaves(Leaving), Leaves(Pending)]])),
        (("WRITE", "REPORTING"), of(&[&two_leave, &[Step(Joining, Pending)], &gone])),
        (("WRITE_NO_EXTEND", "READ"), of(&[&[Leaves(Active), Leaves(Leaving)]])),
        (("WRITE_NO_EXTEND", "REPORTING"), of(&[&gone])),
    ]);
    assert_eq!(earlier, expected, "the reader's view is the earlier one");
}
