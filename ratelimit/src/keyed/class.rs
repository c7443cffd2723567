//! The quotas in use under one lock, and the accounts of the keys that are held to them.
//!
//! All keys of one quota share its [`Segment`], so that a key needs 16 bytes instead of 72, and a quota that
//! changes for one key moves that key to another class.
//!
//! Invariants: no two classes have the same quota; a class has as many users as there are accounts in it; the
//! segment of a class is turned only after every account in it was brought [within reach](Classes::reach).

use std::hash::BuildHasher;
use std::num::NonZeroU32;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use super::away::Bucket;
use crate::bucket::{Position, Segment, Weighed};
use crate::decision::{Denied, Snapshot};
use crate::quota::{Inherit, Quota};

/// Number of a class, from one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClassId(NonZeroU32);

/// What a key has spent, and under which quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Account {
    spent: u64,
    part: u32,
    class: ClassId,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charge {
    Taken,
    /// [`Classes::refusal`] has the reasons.
    Short,
    /// This class has to be turned first.
    Due(ClassId),
}

#[derive(Default)]
pub(super) struct Classes {
    classes: Vec<Class>,
    by_quota: HashTable<ClassId>,
    /// Classes that lost their last user; some of them may have found another since.
    idle: Vec<ClassId>,
}

struct Class {
    segment: Segment,
    users: u32,
    /// Whether it is among `idle`.
    listed: bool,
}

impl Account {
    fn position(self) -> Position {
        Position { spent: self.spent, part: self.part }
    }

    fn at(class: ClassId, Position { spent, part }: Position) -> Self {
        Self { spent, part, class }
    }
}

impl Classes {
    /// A full account under `quota`, or one that is as its `former` bucket under the same quota; or else the
    /// class that is due.
    pub(super) fn open(
        &mut self,
        quota: Quota,
        now_ns: u64,
        former: Option<Bucket>,
    ) -> Result<Account, ClassId> {
        let id = self.enter(quota, now_ns)?;
        let segment = self.segment(id);
        let position = match former {
            Some(former) => former.segment.carry_to(segment, former.position, now_ns),
            None => segment.full_position(now_ns, now_ns),
        };
        Ok(Account::at(id, position))
    }

    pub(super) fn close(&mut self, account: Account) {
        self.leave(account.class);
    }

    /// Takes `tokens` from `account`, moving it to the class of `quota` if it is in another.
    #[inline]
    pub(super) fn charge(&mut self, account: &mut Account, quota: Quota, now_ns: u64, tokens: u64) -> Charge {
        if self.segment(account.class).quota() != quota
            && let Err(due) = self.change(account, quota, now_ns)
        {
            return Charge::Due(due);
        }
        match self.segment(account.class).weigh_at(account.position(), now_ns, tokens) {
            Weighed::Admitted(position) => {
                *account = Account::at(account.class, position);
                Charge::Taken
            }
            Weighed::Short => Charge::Short,
            Weighed::Due => Charge::Due(account.class),
        }
    }

    #[cold]
    pub(super) fn refusal(&self, account: &Account, now_ns: u64, tokens: u64) -> Denied {
        self.segment(account.class).refusal_at(account.position(), now_ns, tokens)
    }

    pub(super) fn give_back(&self, account: &mut Account, now_ns: u64, tokens: u64) {
        let position = self.segment(account.class).give_back_at(account.position(), now_ns, tokens);
        *account = Account::at(account.class, position);
    }

    pub(super) fn peek(&self, account: &Account, now_ns: u64) -> Snapshot {
        self.segment(account.class).peek_at(account.position(), now_ns)
    }

    pub(super) fn is_full(&self, account: &Account, now_ns: u64) -> bool {
        self.segment(account.class).is_full_at(account.position(), now_ns)
    }

    pub(super) fn bucket(&self, account: &Account) -> Bucket {
        Bucket { segment: *self.segment(account.class), position: account.position() }
    }

    pub(super) fn full_at_ns(&self, account: &Account) -> Option<u64> {
        self.segment(account.class).full_position_at_ns(account.position())
    }

    /// Prepares `account` for [`turn`](Self::turn) if it is in that class.
    pub(super) fn reach(&self, class: ClassId, account: &mut Account, now_ns: u64) {
        if account.class == class {
            *account = Account::at(class, self.segment(class).within_reach(account.position(), now_ns));
        }
    }

    /// Turns the segment of a class, all of whose accounts are [within reach](Self::reach).
    pub(super) fn turn(&mut self, class: ClassId, now_ns: u64) {
        let segment = &mut self.class_mut(class).segment;
        (*segment, _) = segment.turn(0, now_ns, segment.quota());
    }

    #[cold]
    fn change(&mut self, account: &mut Account, quota: Quota, now_ns: u64) -> Result<(), ClassId> {
        self.inherit(account, quota, now_ns, Inherit::AsIs)
    }

    /// Moves `account` to the class of `quota`, unless that is due.
    pub(super) fn inherit(
        &mut self,
        account: &mut Account,
        quota: Quota,
        now_ns: u64,
        inherit: Inherit,
    ) -> Result<(), ClassId> {
        let next = self.enter(quota, now_ns)?;
        let former = self.bucket(account);
        let former = if inherit == Inherit::AsIs { former } else { former.inherit(quota, now_ns, inherit) };
        let position = former.segment.carry_to(self.segment(next), former.position, now_ns);
        self.leave(account.class);
        *account = Account::at(next, position);
        Ok(())
    }

    /// One more user of the class of `quota`, unless it is due.
    fn enter(&mut self, quota: Quota, now_ns: u64) -> Result<ClassId, ClassId> {
        let hash = hash(quota);
        let found = self.by_quota.find(hash, |&id| self.segment(id).quota() == quota).copied();
        let id = match found {
            Some(id) => id,
            None => self.add(quota, hash, now_ns),
        };
        let class = self.class_mut(id);
        if class.users == 0 {
            (class.segment, _) = Segment::start(quota, now_ns);
        } else if class.segment.is_due(now_ns) {
            return Err(id);
        }
        class.users += 1;
        Ok(id)
    }

    fn leave(&mut self, id: ClassId) {
        let class = self.class_mut(id);
        class.users -= 1;
        if class.users == 0 && !class.listed {
            class.listed = true;
            self.idle.push(id);
        }
    }

    /// A class for a quota that has none: an idle one, or a new one.
    fn add(&mut self, quota: Quota, hash: u64, now_ns: u64) -> ClassId {
        let (segment, _) = Segment::start(quota, now_ns);
        let id = match self.reuse() {
            Some(id) => {
                self.class_mut(id).segment = segment;
                id
            }
            None => {
                // Most tables see a handful of quotas, and the first change of one should not allocate.
                self.classes.reserve(if self.classes.is_empty() { 4 } else { 1 });
                self.idle.reserve(if self.classes.is_empty() { 4 } else { 0 });
                self.classes.push(Class { segment, users: 0, listed: false });
                let number = u32::try_from(self.classes.len()).ok().and_then(NonZeroU32::new);
                ClassId(number.expect("no more classes than keys, of which there are below 2^32"))
            }
        };
        let classes = &self.classes;
        self.by_quota
            .insert_unique(hash, id, |&id| crate::keyed::class::hash(at(classes, id).segment.quota()));
        id
    }

    /// An idle class, taken out of the index.
    fn reuse(&mut self) -> Option<ClassId> {
        while let Some(id) = self.idle.pop() {
            self.class_mut(id).listed = false;
            if at(&self.classes, id).users == 0 {
                let hash = hash(self.segment(id).quota());
                if let Ok(entry) = self.by_quota.find_entry(hash, |&other| other == id) {
                    entry.remove();
                }
                return Some(id);
            }
        }
        None
    }

    #[inline]
    fn segment(&self, id: ClassId) -> &Segment {
        &at(&self.classes, id).segment
    }

    fn class_mut(&mut self, ClassId(id): ClassId) -> &mut Class {
        self.classes.get_mut(id.get() as usize - 1).expect("classes are never removed")
    }
}

#[inline]
fn at(classes: &[Class], ClassId(id): ClassId) -> &Class {
    classes.get(id.get() as usize - 1).expect("classes are never removed")
}

/// Quotas are the operator's, so their hash needs no secret.
fn hash(quota: Quota) -> u64 {
    FixedState::default().hash_one(quota)
}

/// Whether the `former` bucket under `quota`, or else a full one, lets `tokens` pass: asked before anything is
/// stored or changed.
pub(super) fn first_charge<E>(
    quota: Quota,
    now_ns: u64,
    former: Option<Bucket>,
    tokens: u64,
    refuse: impl FnOnce(&dyn Fn() -> Denied) -> E,
) -> Result<(), E> {
    let Bucket { segment, position } = former.unwrap_or_else(|| {
        let (segment, _) = Segment::start(quota, now_ns);
        Bucket { segment, position: segment.full_position(now_ns, now_ns) }
    });
    match segment.weigh_at(position, now_ns, tokens) {
        Weighed::Admitted(_) => Ok(()),
        Weighed::Short | Weighed::Due => Err(refuse(&|| segment.refusal_at(position, now_ns, tokens))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate::Rate;

    #[test]
    fn an_account_takes_sixteen_bytes_even_where_there_may_be_none() {
        assert_eq!((size_of::<Account>(), size_of::<Option<Account>>()), (16, 16));
    }

    #[test]
    fn a_quota_that_flaps_takes_no_more_classes_than_it_has_values() {
        let mut classes = Classes::default();
        let quota = |burst| Quota::new(Rate::per_second(10), burst);
        let mut account = classes.open(quota(1), 0, None).unwrap();
        for round in 0..1_000 {
            assert_eq!(classes.charge(&mut account, quota(round % 3 + 5), round, 0), Charge::Taken);
        }
        assert!(classes.classes.len() <= 4 && classes.idle.len() <= 4);
        for round in 0..1_000 {
            assert_eq!(classes.charge(&mut account, quota(round + 100), round, 0), Charge::Taken);
        }
        assert!(classes.classes.len() <= 4 && classes.by_quota.len() <= 4);
    }
}
