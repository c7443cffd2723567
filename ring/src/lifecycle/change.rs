//! What an instance wants its record in the store to be, as data. Invariant: whether a wish is granted depends on
//! nothing but the wish and the record that is there, so a compare-and-swap may ask as often as it has to.

use crate::codec::InstanceRecord;
use crate::instance::{State, Version};

/// A change of one record, to be asked of whatever the store holds at that moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Be in the ring like this.
    Announce {
        /// The record, newer than what the instance knows of.
        record: InstanceRecord,
        /// When it joins if it is not there: wall time, nanoseconds since 1970.
        now_ns: i64,
    },
    /// Have another instance forgotten, unless it was heard of meanwhile.
    Bury {
        /// The version that was known when this was decided.
        seen: Version,
    },
}

/// What to do with the record in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Write this in its place.
    Put {
        /// The record.
        record: InstanceRecord,
        /// Whether there was none.
        anew: bool,
    },
    /// Nothing: it is there already, written by an attempt whose answer was lost.
    Same,
    /// Nothing: somebody wrote something newer, which the record shows.
    Refused(Option<InstanceRecord>),
}

impl Wish {
    /// What to do if this is there now.
    pub fn apply(&self, current: Option<&InstanceRecord>) -> Decision {
        match (self, current) {
            (Wish::Announce { record, now_ns }, None) => {
                let mut record = record.clone();
                record.instance.registered_at_ns = *now_ns;
                Decision::Put { record, anew: true }
            }
            (Wish::Announce { record, .. }, Some(current)) if *current == registered_as(current, record) => {
                Decision::Same
            }
            (Wish::Announce { record, .. }, Some(current))
                if current.instance.version < record.instance.version && !ends(current, record) =>
            {
                Decision::Put { record: registered_as(current, record), anew: false }
            }
            (Wish::Bury { seen }, Some(current))
                if current.instance.version == *seen && current.instance.state != State::Left =>
            {
                let mut record = current.clone();
                record.instance.state = State::Left;
                record.instance.version = seen.next();
                Decision::Put { record, anew: false }
            }
            (Wish::Bury { .. }, Some(current)) if current.instance.state == State::Left => Decision::Same,
            (_, current) => Decision::Refused(current.cloned()),
        }
    }
}

/// Within an incarnation the store knows better when the instance joined with these tokens: it may have been put anew
/// by an attempt whose answer was lost.
fn registered_as(current: &InstanceRecord, record: &InstanceRecord) -> InstanceRecord {
    let mut record = record.clone();
    let same_life = current.instance.version.incarnation == record.instance.version.incarnation;
    if same_life && current.tokens.is_same_set(record.tokens) {
        record.instance.registered_at_ns = current.instance.registered_at_ns;
    }
    record
}

/// Whether a life in the ring has ended in `current` that `record` would go on with: only a new one may follow.
fn ends(current: &InstanceRecord, record: &InstanceRecord) -> bool {
    let (old, new) = (&current.instance, &record.instance);
    old.state == State::Left && new.state != State::Left && old.version.incarnation == new.version.incarnation
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::TokensRef;
    use crate::instance::Instance;

    fn record(sequence: u64, state: State) -> InstanceRecord {
        let version = Version { incarnation: 1, sequence };
        let instance = Instance { version, state, registered_at_ns: 5, ..Instance::new("a", "addr") };
        InstanceRecord { instance, tokens: TokensRef::default() }
    }

    fn announce(sequence: u64) -> Wish {
        Wish::Announce { record: record(sequence, State::Active), now_ns: 9 }
    }

    #[test]
    fn a_record_is_announced_over_older_ones_only_and_twice_is_once() {
        let put = |decision| matches!(decision, Decision::Put { anew: false, .. });
        assert!(put(announce(3).apply(Some(&record(2, State::Active)))));
        assert_eq!(announce(3).apply(Some(&record(3, State::Active))), Decision::Same);
        for newer in [record(2, State::Left), record(3, State::Left), record(4, State::Active)] {
            assert_eq!(announce(3).apply(Some(&newer)), Decision::Refused(Some(newer.clone())));
        }
    }

    #[test]
    fn a_second_attempt_to_join_anew_keeps_when_the_first_one_joined() {
        let Decision::Put { record: first, anew: true } = announce(3).apply(None) else { panic!() };
        assert_eq!(announce(3).apply(Some(&first)), Decision::Same);
        let Decision::Put { record: second, anew: false } = announce(4).apply(Some(&first)) else { panic!() };
        assert_eq!(second.instance.registered_at_ns, 9);
    }

    #[test]
    fn to_a_ring_that_lost_it_an_instance_joins_anew() {
        let Decision::Put { record, anew: true } = announce(3).apply(None) else { panic!() };
        assert_eq!(record.instance.registered_at_ns, 9);
    }

    #[test]
    fn who_was_heard_of_meanwhile_is_not_buried() {
        let bury = Wish::Bury { seen: Version { incarnation: 1, sequence: 2 } };
        let Decision::Put { record: buried, .. } = bury.apply(Some(&record(2, State::Active))) else {
            panic!()
        };
        assert_eq!(buried, record(3, State::Left));
        let alive = record(3, State::Active);
        assert_eq!(bury.apply(Some(&alive)), Decision::Refused(Some(alive.clone())));
        assert_eq!(bury.apply(Some(&buried)), Decision::Same);
        assert_eq!(bury.apply(None), Decision::Refused(None));
    }
}
