//! Up to four members in one word, and walks over tokens that keep all they know in words. Invariant: nothing is stored in
//! pieces that are read back whole, and no branch depends on who is met; either makes a lookup wait.

use super::health::Health;
use super::rows::{Row, Rows};
use super::topology::MAX_STEPS;
use crate::operation::Operation;
use crate::replication::Members;

/// Members by number, 16 bits each, the first of them the lowest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Few {
    word: u64,
    len: usize,
}

impl Few {
    /// The first `len` of these, at most four.
    #[inline]
    pub(super) fn of<const N: usize>(members: [u16; N], len: usize) -> Self {
        Self { word: members.iter().rev().fold(0, |word, &member| word << 16 | u64::from(member)), len }
    }

    #[inline]
    pub(super) fn len(self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn members(self) -> Members {
        let [a, b, c, d, e, f, g, h] = self.word.to_le_bytes();
        let lanes = [[a, b], [c, d], [e, f], [g, h]].map(u16::from_le_bytes);
        Members::from_buf_and_len([lanes[0], lanes[1], lanes[2], lanes[3], 0, 0, 0, 0], self.len)
    }

    /// Those that serve an operation, and whether any extends it.
    #[inline]
    pub(super) fn sift(self, health: &Health, op: Operation) -> (Self, bool) {
        let (mut serving, mut extends) = (Self::default(), false);
        let [a, b, c, d, e, f, g, h] = self.word.to_le_bytes();
        let lanes = [[a, b], [c, d], [e, f], [g, h]].map(u16::from_le_bytes);
        for &member in &lanes[..self.len] {
            extends |= health.extends(member, op);
            serving.push_if(health.serves(member, op), member);
        }
        (serving, extends)
    }

    /// There is room for one more.
    #[inline]
    fn push_if(&mut self, does: bool, member: u16) {
        self.word |= (u64::from(member) & mask(does)) << (16 * self.len);
        self.len += usize::from(does);
    }
}

/// All bits or none.
#[inline]
fn mask(does: bool) -> u64 {
    u64::from(does).wrapping_neg()
}

/// Whom a walk has met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Met {
    /// The first of each group that does not extend.
    pub(super) settled: Few,
    /// How many that extend, before their groups were settled.
    pub(super) past: usize,
}

/// Walks from the token at `at` until `wanted` groups are settled, at most four: those are the members of an operation that
/// no state both serves and extends. `None` if it meets more than eight that extend, or looks at too many tokens.
#[inline]
pub(super) fn walk(
    rows: &Rows,
    at: usize,
    wanted: usize,
    groups: &[u16],
    health: &Health,
    op: Operation,
) -> Option<Met> {
    match rows {
        Rows::Two(rows, _) => walk_rows(rows, at, wanted, groups, health, op),
        Rows::Four(rows, _) => walk_rows(rows, at, wanted, groups, health, op),
        Rows::Apart { .. } => None,
    }
}

/// As many as fit into the word of those that are passed.
const MOST_PAST: usize = 8;

#[inline]
fn walk_rows<const N: usize>(
    rows: &[Row<N>],
    mut at: usize,
    wanted: usize,
    groups: &[u16],
    health: &Health,
    op: Operation,
) -> Option<Met> {
    // No member and no group has all bits.
    let (mut settled, mut closed) = (Few::default(), u64::MAX);
    let (mut past, mut passed) = (u128::MAX, 0);
    for _ in 0..rows.len().min(MAX_STEPS) {
        let member = rows[at].owner();
        let group = groups[usize::from(member)];
        let (extends, is_open) = (health.extends(member, op), !has(closed, group));
        let settles = is_open & !extends;
        closed ^= (u64::from(!group) & mask(settles)) << (16 * settled.len);
        settled.push_if(settles, member);
        let passes = is_open & extends & !has_wide(past, member);
        past = if passes { past << 16 | u128::from(member) } else { past };
        passed += usize::from(passes);
        if settled.len == wanted {
            return Some(Met { settled, past: passed });
        }
        if passed > MOST_PAST {
            return None;
        }
        at = if at + 1 == rows.len() { 0 } else { at + 1 };
    }
    None
}

/// Whether one of the four lanes is this: some lane is 0 exactly if its difference borrows where it had no high bit.
#[inline]
fn has(lanes: u64, lane: u16) -> bool {
    const ONES: u64 = 0x0001_0001_0001_0001;
    let differences = lanes ^ (u64::from(lane) * ONES);
    differences.wrapping_sub(ONES) & !differences & (ONES << 15) != 0
}

#[inline]
fn has_wide(lanes: u128, lane: u16) -> bool {
    const ONES: u128 = 0x0001_0001_0001_0001_0001_0001_0001_0001;
    let differences = lanes ^ (u128::from(lane) * ONES);
    differences.wrapping_sub(ONES) & !differences & (ONES << 15) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_found_wherever_it_is_and_nothing_else_is() {
        let all = [0, 1, 2, 0x7fff, 0x8000, 0x8001, 0xfffe, 0xffff];
        for (at, &lane) in all.iter().enumerate() {
            for other in all {
                let lanes: u128 =
                    (0..8).map(|n| u128::from(if n == at { lane } else { other }) << (16 * n)).sum();
                for asked in all {
                    let expected = asked == lane || asked == other;
                    assert_eq!(has_wide(lanes, asked), expected, "{asked:#x} in {lanes:#x}");
                    let low = (lanes & u128::from(u64::MAX)).try_into().unwrap();
                    let expected = asked == other || (at < 4 && asked == lane);
                    assert_eq!(has(low, asked), expected, "{asked:#x} in {low:#x}");
                }
            }
        }
    }

    #[test]
    fn members_come_back_in_their_order() {
        for len in 0..=4 {
            let few = Few::of([7, 65_533, 0, 9], len);
            assert_eq!((&*few.members(), few.len()), (&[7, 65_533, 0, 9][..len], len));
        }
        assert_eq!(&*Few::of([3, 4], 2).members(), [3, 4]);
    }
}
