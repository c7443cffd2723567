//! What of a snapshot changes with heartbeats and states: one byte for each member, and sums over all of them that
//! spare a lookup from looking at any.

use super::topology::Topology;
use crate::membership::Member;
use crate::operation::Operation;

/// Bit 3 of a member's byte; the state is in the three bits below.
const FRESH: u8 = 1 << 3;

/// And bit 4.
const READ_ONLY: u8 = 1 << 4;

pub(super) struct Health {
    members: Box<[u8]>,
    /// One bit for each state that some member is in.
    states: u8,
    all_fresh: bool,
    /// The same for each group, of its members that own tokens.
    groups: Box<[u8]>,
    /// By the states that extend an operation.
    beyond: [Beyond; 32],
}

/// What a walk meets that goes past those that extend an operation, whatever the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Beyond {
    /// In how many groups there is a token of a member that does not extend.
    pub(super) settleable: u16,
    /// How many members own the tokens of all the other groups.
    pub(super) others: u16,
    /// Whether of each group's members that own tokens all extend, or none does.
    pub(super) is_pure: bool,
}

/// Groups whose members that own tokens are in the same states.
#[derive(Debug, Clone, Copy, Default)]
struct Class {
    groups: u16,
    members: u16,
}

impl Health {
    pub(super) fn judge(topology: &Topology, members: &[Member], is_fresh: impl Fn(u64) -> bool) -> Self {
        let mut health = Self {
            members: Box::default(),
            states: 0,
            all_fresh: true,
            groups: vec![0; topology.groups().len()].into(),
            beyond: [Beyond { settleable: 0, others: 0, is_pure: true }; 32],
        };
        let bytes = members.iter().enumerate().map(|(at, member)| {
            let (state, fresh) = (member.instance.state as u8, is_fresh(member.heard_ns));
            health.states |= 1 << state;
            health.all_fresh &= fresh;
            if !topology.owned()[at].is_empty() {
                health.groups[usize::from(topology.groups()[at])] |= 1 << state;
            }
            let read_only = member.instance.read_only.enabled;
            state | if fresh { FRESH } else { 0 } | if read_only { READ_ONLY } else { 0 }
        });
        health.members = bytes.collect();
        let mut classes = [Class::default(); 32];
        for (&states, &owning) in
            health.groups.iter().zip(topology.owning()).filter(|(_, owning)| **owning > 0)
        {
            let class = &mut classes[usize::from(states)];
            class.groups += 1;
            class.members += owning;
        }
        for (states, class) in (0_u8..).zip(classes).filter(|(_, class)| class.groups > 0) {
            for (extending, beyond) in (0_u8..).zip(&mut health.beyond) {
                let (extends, stays) = (states & extending != 0, states & !extending != 0);
                beyond.is_pure &= !(extends && stays);
                if stays {
                    beyond.settleable += class.groups;
                } else {
                    beyond.others += class.members;
                }
            }
        }
        health
    }

    #[inline]
    pub(super) fn serves(&self, member: u16, op: Operation) -> bool {
        let byte = self.members[usize::from(member)];
        byte & FRESH != 0 && op.serving() >> (byte & 7) & 1 != 0
    }

    #[inline]
    pub(super) fn extends(&self, member: u16, op: Operation) -> bool {
        op.extending() >> (self.members[usize::from(member)] & 7) & 1 != 0
    }

    #[inline]
    pub(super) fn is_fresh(&self, member: u16) -> bool {
        self.members[usize::from(member)] & FRESH != 0
    }

    #[inline]
    pub(super) fn is_read_only(&self, member: u16) -> bool {
        self.members[usize::from(member)] & READ_ONLY != 0
    }

    /// Whether no member at all extends the operation.
    #[inline]
    pub(super) fn none_extends(&self, op: Operation) -> bool {
        self.states & op.extending() == 0
    }

    /// Whether all members serve the operation and none extends it.
    #[inline]
    pub(super) fn all_stand(&self, op: Operation) -> bool {
        self.all_fresh && self.states & !(op.serving() & !op.extending()) == 0
    }

    /// What a walk meets beyond those that extend the operation.
    #[inline]
    pub(super) fn beyond(&self, op: Operation) -> Beyond {
        self.beyond[usize::from(op.extending() & 31)]
    }

    /// Whether a group has a token of a member that does not extend the operation.
    #[inline]
    pub(super) fn is_settleable(&self, group: u16, op: Operation) -> bool {
        self.groups[usize::from(group)] & !op.extending() != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instance::{Instance, State};
    use crate::membership::Membership;
    use crate::ring::few::Few;
    use crate::ring::{Options, Ring};

    #[test]
    fn whoever_serves_is_sifted_from_who_extends_silent_or_not() {
        const LATER_NS: u64 = 120_000_000_000;
        let states = [State::Active, State::Active, State::Joining, State::Active, State::Pending];
        let mut members = Membership::default();
        for (number, state) in (0..5_u32).zip(states) {
            let tokens = vec![number << 8].into();
            let heard_ns = if number == 3 { 0 } else { LATER_NS };
            members.observe(Instance { state, tokens, ..Instance::new(number.to_string(), "") }, heard_ns);
        }
        let ring = Ring::build(&Options::default(), &members, LATER_NS).unwrap();
        let sift = |of: [u16; 2], op| {
            let (serving, extends) = Few::of(of, 2).sift(&ring.health, op);
            (serving.members().to_vec(), extends)
        };
        let (write, read) = (Operation::WRITE, Operation::READ);
        assert_eq!((sift([0, 1], write), sift([0, 1], read)), ((vec![0, 1], false), (vec![0, 1], false)));
        assert_eq!((sift([0, 2], write), sift([2, 0], read)), ((vec![0], true), (vec![0], true)));
        assert_eq!(sift([3, 1], write), (vec![1], false), "it is silent");
        assert_eq!((sift([0, 4], write), sift([0, 4], read)), ((vec![0], true), (vec![0, 4], true)));
        assert_eq!(sift([2, 3], Operation::REPORTING), (vec![2], false));
        assert!(!ring.health.all_stand(Operation::REPORTING), "one is silent");
    }

    #[test]
    fn what_lies_beyond_those_that_extend_is_counted_for_each_operation() {
        let mut members = Membership::default();
        let zones = [
            ("a", [State::Active, State::Active]),
            ("b", [State::Leaving, State::Active]),
            ("c", [State::Leaving, State::Joining]),
        ];
        for (number, (zone, state)) in
            (0..6_u32).zip(zones.into_iter().flat_map(|(zone, states)| states.map(|state| (zone, state))))
        {
            let tokens = vec![number << 8].into();
            members.observe(
                Instance { state, tokens, zone: zone.into(), ..Instance::new(number.to_string(), "") },
                0,
            );
        }
        // Of this zone nobody has a token.
        members.observe(Instance { zone: "d".into(), ..Instance::new("none", "") }, 0);
        let options = Options { zone_awareness: true, ..Options::default() };
        let health = Ring::build(&options, &members, 0).unwrap().health;
        let beyond = |settleable, others, is_pure| Beyond { settleable, others, is_pure };
        assert_eq!(health.beyond(Operation::WRITE), beyond(2, 2, false));
        assert_eq!(health.beyond(Operation::READ), beyond(3, 0, false));
        assert_eq!(health.beyond(Operation::REPORTING), beyond(3, 0, true));
        assert_eq!(health.beyond(Operation::new(&[], &State::ALL)), beyond(0, 6, true));
    }
}
