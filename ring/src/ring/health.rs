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
    /// By the states of a group: how many groups there are, and how many members that own tokens they have.
    classes: Vec<Class>,
}

#[derive(Clone, Copy, Default)]
struct Class {
    states: u8,
    groups: usize,
    members: usize,
}

impl Health {
    pub(super) fn judge(topology: &Topology, members: &[Member], is_fresh: impl Fn(u64) -> bool) -> Self {
        let mut health = Self {
            members: Box::default(),
            states: 0,
            all_fresh: true,
            groups: vec![0; topology.groups().len()].into(),
            classes: Vec::new(),
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
        let mut classes: [Class; 32] = [Class::default(); 32];
        for (&states, &owning) in health.groups.iter().zip(topology.owning()) {
            let class = &mut classes[usize::from(states)];
            class.states = states;
            class.groups += usize::from(owning > 0);
            class.members += usize::from(owning);
        }
        health.classes = classes.into_iter().filter(|class| class.groups > 0).collect();
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

    /// Whether each of these members serves the operation and none extends it. Without a branch on who they are.
    #[inline]
    pub(super) fn stand(&self, members: &[u16], op: Operation) -> bool {
        let states = op.serving() & !op.extending();
        let all = self.all_fresh && self.states & !states == 0;
        all || members.iter().fold(true, |stand, &member| {
            let byte = self.members[usize::from(member)];
            stand & (byte & FRESH != 0) & (states >> (byte & 7) & 1 != 0)
        })
    }

    /// In how many groups there is a token of a member that does not extend the operation, and how many members own
    /// the tokens of all the other groups.
    #[inline]
    pub(super) fn settleable(&self, op: Operation) -> (usize, usize) {
        let (mut groups, mut others) = (0, 0);
        for class in &self.classes {
            if class.states & !op.extending() != 0 {
                groups += class.groups;
            } else {
                others += class.members;
            }
        }
        (groups, others)
    }

    /// Whether of a group's members that own tokens all extend the operation, or none does.
    #[inline]
    pub(super) fn is_pure(&self, group: u16, op: Operation) -> bool {
        let states = self.groups[usize::from(group)];
        states & op.extending() == 0 || states & !op.extending() == 0
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
    use crate::ring::{Options, Ring};

    #[test]
    fn a_set_stands_whoever_else_is_silent_or_joins() {
        const LATER_NS: u64 = 120_000_000_000;
        let states = [State::Active, State::Active, State::Joining, State::Active, State::Pending];
        let mut members = Membership::default();
        for (number, state) in (0..5_u32).zip(states) {
            let tokens = vec![number << 8].into();
            let heard_ns = if number == 3 { 0 } else { LATER_NS };
            members.observe(Instance { state, tokens, ..Instance::new(number.to_string(), "") }, heard_ns);
        }
        let ring = Ring::build(&Options::default(), &members, LATER_NS).unwrap();
        let stand = |set: &[u16]| [Operation::WRITE, Operation::READ].map(|op| ring.health.stand(set, op));
        assert_eq!(stand(&[0, 1]), [true, true]);
        assert_eq!(stand(&[0, 2]), [false, false], "it serves neither");
        assert_eq!(stand(&[1, 3]), [false, false], "it is silent");
        assert_eq!(stand(&[0, 4]), [false, false], "it serves READ, and extends it");
    }
}
