//! Which states may serve an operation, and which make the replica set grow past them.

use std::fmt;

use crate::instance::State;

/// What is about to be done with a key: two sets of states.
///
/// A member whose state is not in the *serving* set is selected for the key all the same and counts in
/// the quorum, but gets no request. A member whose state is in the *extending* set makes the walk go
/// one instance further, so that as many others as configured remain.
///
/// | | PENDING | JOINING | ACTIVE | LEAVING | LEFT |
/// |---|---|---|---|---|---|
/// | [`WRITE`](Self::WRITE) serves | | | yes | | |
/// | `WRITE` extends | yes | yes | | yes | yes |
/// | [`WRITE_NO_EXTEND`](Self::WRITE_NO_EXTEND) serves | | | yes | | |
/// | [`READ`](Self::READ) serves | yes | | yes | yes | |
/// | `READ` extends | yes | yes | | | yes |
/// | [`REPORTING`](Self::REPORTING) serves | yes | yes | yes | yes | yes |
///
/// # Extension raises the quorum
///
/// With 3 replicas and one member LEAVING, `WRITE` selects 4, of which 3 serve and 3 must succeed: it
/// keeps three copies and tolerates no failure. `WRITE_NO_EXTEND` selects 3, of which 2 serve and 2 must
/// succeed. During a rolling restart the second fails fewer writes if restarts are one zone at a time.
///
/// # Which reads find which writes
///
/// Counted over all states and failures of three and four instances, in up to three zones in every way or none, and of
/// five of which none is PENDING, in three zones in turn or none; with 3 replicas, fresh heartbeats,
/// [`Require::Quorum`](crate::Require::Quorum) and [`QuorumBase::Extended`](crate::QuorumBase::Extended) on both sides,
/// and at most one change between what writer and reader see of the members, of a state or of who is there:
///
/// | a read | finds any `WRITE_NO_EXTEND` unless | finds any `WRITE` unless |
/// |---|---|---|
/// | of all ([`Ring::replication_set_for`](crate::Ring::replication_set_for)) | an ACTIVE instance is gone, with what it did not hand over | the same |
/// | of a key with `READ` | an instance is gone | an instance is gone, or two of the key's first three are LEAVING |
/// | of a key with `REPORTING` | an instance is gone or new | the same, or two of the first three do not take writes |
///
/// "Gone" is after ACTIVE if the reader's view is the later one; if the writer's is, a write may be on an instance that
/// the reader does not ask yet. Steps from state to state and instances that join hide nothing from `READ`, but that in
/// fewer zones than replicas one LEAVING instance is enough for an extended write to be missed, while the reader takes
/// for PENDING an instance that is ACTIVE.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct Operation(u32);

impl Operation {
    /// Store a key; a member that cannot take it is made up for by one more.
    pub const WRITE: Self =
        Self::new(&[State::Active], &[State::Pending, State::Joining, State::Leaving, State::Left]);

    /// Store a key on the members it would have if all were active.
    pub const WRITE_NO_EXTEND: Self = Self::new(&[State::Active], &[]);

    /// Fetch a key.
    pub const READ: Self = Self::new(
        &[State::Active, State::Pending, State::Leaving],
        &[State::Pending, State::Joining, State::Left],
    );

    /// Ask who is there.
    pub const REPORTING: Self = Self::new(&State::ALL, &[]);

    /// An operation of your own.
    ///
    /// ```
    /// use forebay_ring::{Operation, State};
    ///
    /// const COMPACT: Operation = Operation::new(&[State::Active], &[State::Leaving]);
    /// assert!(COMPACT.serves(State::Active) && COMPACT.extends(State::Leaving));
    /// ```
    pub const fn new(serving: &[State], extending: &[State]) -> Self {
        Self(bits(serving) | (bits(extending) << EXTENDING))
    }

    /// One bit for each state, by its number.
    #[inline]
    pub(crate) const fn serving(self) -> u8 {
        (self.0 & ALL) as u8
    }

    #[inline]
    pub(crate) const fn extending(self) -> u8 {
        ((self.0 >> EXTENDING) & ALL) as u8
    }

    /// Whether an instance in this state, with a fresh heartbeat, gets requests.
    #[inline]
    pub const fn serves(self, state: State) -> bool {
        self.0 & (1 << state as u32) != 0
    }

    /// Whether selecting an instance in this state makes the replica set one larger.
    #[inline]
    pub const fn extends(self, state: State) -> bool {
        self.0 & (1 << (EXTENDING + state as u32)) != 0
    }
}

/// The low half of the word holds the serving states, the high half the extending ones.
const EXTENDING: u32 = 16;

const ALL: u32 = bits(&State::ALL);

const fn bits(mut states: &[State]) -> u32 {
    let mut bits = 0;
    while let Some((state, rest)) = states.split_first() {
        bits |= 1 << *state as u32;
        states = rest;
    }
    bits
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let states = |chosen: fn(Self, State) -> bool| {
            State::ALL.into_iter().filter(|&state| chosen(*self, state)).collect::<Vec<_>>()
        };
        f.debug_struct("Operation")
            .field("serving", &states(Self::serves))
            .field("extending", &states(Self::extends))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_states_is_what_the_docs_say() {
        // Columns in the order of `State::ALL`: serves and extends.
        let table = |op: Operation| State::ALL.map(|state| (op.serves(state), op.extends(state)));
        let (neither, serves, extends, both) = ((false, false), (true, false), (false, true), (true, true));
        assert_eq!(table(Operation::WRITE), [extends, extends, serves, extends, extends]);
        assert_eq!(table(Operation::WRITE_NO_EXTEND), [neither, neither, serves, neither, neither]);
        assert_eq!(table(Operation::READ), [both, extends, serves, serves, extends]);
        assert_eq!(table(Operation::REPORTING), [serves; 5]);
    }
}
