//! What an instance does for its partitions, and all do for those that nobody owns. Pure: it is shown what is known and
//! the time, and says what to write. Invariant: it keeps nothing but since when it has seen what it waits for, so a
//! crash costs no more than waiting again.
//!
//! It waits by its own clock and by what it sees, not by stamps: another machine's clock that is wrong neither hurries
//! nor stops it. Lookbacks do go by the stamps that it makes, so its wall clock has to be about right all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::change::PartitionChange;
use super::record::{Owner, OwnerState, Partition};
use super::state::PartitionState;
use super::view::Partitions;
use crate::lifecycle::Now;

/// When partitions are activated and deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
pub struct LifecycleOptions {
    /// How many owners a PENDING partition needs. Default 1; as many as there are zones if each shall have one.
    pub owners_to_activate: usize,
    /// For how long it has to have them. Default 10 s; short, keys move to one whose owners are still coming and going.
    pub activate_after: Duration,
    /// For how long an INACTIVE partition has to be without owners until it is deleted. Default never. At least the
    /// longest lookback of readers, who do not find what is in it after that. An owner that comes while it is being deleted
    /// creates it again.
    pub delete_after: Option<Duration>,
}

impl Default for LifecycleOptions {
    fn default() -> Self {
        Self { owners_to_activate: 1, activate_after: Duration::from_secs(10), delete_after: None }
    }
}

/// One instance's part.
#[derive(Debug, Clone)]
pub struct PartitionLifecycler {
    instance: Arc<str>,
    partitions: BTreeSet<u32>,
    options: LifecycleOptions,
    stopping: bool,
    /// Since when own PENDING partitions have had their owners.
    owned_since_ns: BTreeMap<u32, u64>,
    /// Since when INACTIVE partitions, at this version, have had none.
    orphaned_since_ns: BTreeMap<u32, (u64, u64)>,
}

impl PartitionLifecycler {
    /// For an instance that owns these partitions.
    pub fn new(
        instance: impl Into<Arc<str>>,
        partitions: impl IntoIterator<Item = u32>,
        options: LifecycleOptions,
    ) -> Self {
        Self {
            instance: instance.into(),
            partitions: partitions.into_iter().collect(),
            options,
            stopping: false,
            owned_since_ns: BTreeMap::new(),
            orphaned_since_ns: BTreeMap::new(),
        }
    }

    /// Gives the partitions up: from now on it only takes its name off them. Without this an instance that stops stays
    /// their owner, as one that comes back should.
    ///
    /// It does so for the last owner of an ACTIVE partition too, to which keys go on being written that nobody reads. Make
    /// those INACTIVE first; which they are tells [`sole_owner_of`](Self::sole_owner_of).
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// Whose part it is.
    pub fn instance(&self) -> &Arc<str> {
        &self.instance
    }

    /// Whether it gives its partitions up.
    pub fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// Its ACTIVE partitions that nobody else owns, or that nobody owns at all, ascending. O(partitions of its own · owners
    /// of each · log owners).
    pub fn sole_owner_of(&self, view: &Partitions) -> impl Iterator<Item = u32> {
        self.partitions.iter().copied().filter(move |&number| {
            let active = view.partition(number).is_some_and(|p| p.state == PartitionState::Active);
            active && view.owners(number).all(|owner| owner.instance == self.instance)
        })
    }

    /// Whether all is written that it wants for its own partitions: each exists and has it as an owner, or none has if it
    /// stops.
    pub fn is_settled(&self, view: &Partitions) -> bool {
        let exists = |number| view.partition(number).is_some_and(|p| p.state != PartitionState::Deleted);
        self.partitions.iter().all(|&number| {
            let owns = view.owner(&self.instance, number).is_some_and(|o| o.state == OwnerState::Active);
            if self.stopping { !owns } else { owns && exists(number) }
        })
    }

    /// What to write now, in any order; asked every few seconds and whenever something was heard. A change that was
    /// refused or lost is wished again while it is still due. O(partitions + owners).
    pub fn reconcile(&mut self, view: &Partitions, now: Now) -> Vec<PartitionChange> {
        let mut changes = Vec::new();
        for &number in &self.partitions {
            changes.extend(self.own(view, number, now));
            if !self.stopping {
                changes.extend(create(view, number, now));
            }
        }
        if !self.stopping {
            self.activate(view, now, &mut changes);
            self.delete(view, now, &mut changes);
        }
        changes
    }

    /// Be the owner of a partition, or cease to.
    fn own(&self, view: &Partitions, number: u32, now: Now) -> Option<PartitionChange> {
        let wanted = if self.stopping { OwnerState::Deleted } else { OwnerState::Active };
        let known = view.owner(&self.instance, number);
        let after = match known {
            Some(known) if known.state == wanted => return None,
            Some(known) => known.with_state(wanted, now.unix_ns),
            None if self.stopping => return None,
            None => Owner::new(Arc::clone(&self.instance), number, now.unix_ns),
        };
        Some(PartitionChange { before: known.cloned().map(Into::into), after: after.into() })
    }

    fn activate(&mut self, view: &Partitions, now: Now, changes: &mut Vec<PartitionChange>) {
        let needed = self.options.owners_to_activate;
        for &number in &self.partitions {
            let pending = view.partition(number).filter(|p| p.state == PartitionState::Pending);
            if pending.is_none() || view.owners(number).count() < needed {
                self.owned_since_ns.remove(&number);
                continue;
            }
            let since_ns = *self.owned_since_ns.entry(number).or_insert(now.mono_ns);
            if has_passed(self.options.activate_after, since_ns, now) {
                changes.extend(view.change(number, PartitionState::Active, now.unix_ns));
            }
        }
    }

    fn delete(&mut self, view: &Partitions, now: Now, changes: &mut Vec<PartitionChange>) {
        let Some(after) = self.options.delete_after else { return };
        let is_orphan =
            |p: &&Partition| p.state == PartitionState::Inactive && view.owners(p.number).next().is_none();
        let orphans: BTreeMap<u32, (u64, u64)> = view
            .partitions()
            .filter(is_orphan)
            .map(|orphan| {
                let known = self.orphaned_since_ns.get(&orphan.number);
                let since = known.filter(|known| known.0 == orphan.version);
                (orphan.number, since.copied().unwrap_or((orphan.version, now.mono_ns)))
            })
            .collect();
        self.orphaned_since_ns = orphans;
        for (&number, &(_, since_ns)) in &self.orphaned_since_ns {
            if has_passed(after, since_ns, now) {
                changes.extend(view.change(number, PartitionState::Deleted, now.unix_ns));
            }
        }
    }
}

/// A partition that is not there, or not any more.
fn create(view: &Partitions, number: u32, now: Now) -> Option<PartitionChange> {
    match view.partition(number) {
        None => Some(PartitionChange { before: None, after: Partition::new(number, now.unix_ns).into() }),
        Some(known) if known.state == PartitionState::Deleted => {
            view.change(number, PartitionState::Pending, now.unix_ns).ok()
        }
        Some(_) => None,
    }
}

fn has_passed(wait: Duration, since_ns: u64, now: Now) -> bool {
    u128::from(now.mono_ns.saturating_sub(since_ns)) >= wait.as_nanos()
}
