//! From the records of a store to what is known of partitions. Invariants: a record that cannot be read leaves what was
//! known of its key; what vanishes from the store without having been DELETED stays known, and whoever runs on the store is
//! told to put it back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::record::{OwnerState, PartitionRecord};
use super::state::PartitionState;
use super::view::{Partitions, PartitionsFull};
use crate::codec::{RecordKey, RecordKind};
use crate::lifecycle::Remark;

/// Watches the records of partitions and owners. Give it every record of a listing and every change after it, in the
/// store's order; records of other kinds are passed over. Times are monotonic nanoseconds of the observer's clock.
///
/// ```
/// use forebay_ring::partition::{Partition, PartitionObserver, PartitionRecord};
///
/// let record = PartitionRecord::from(Partition::new(7, 1_700_000_000_000_000_000));
/// let mut bytes = Vec::new();
/// record.encode(&mut bytes)?;
///
/// let mut observer = PartitionObserver::default();
/// assert_eq!(observer.put(&record.key(), &bytes, 1_000), None);
/// // The store loses it: it is known still, and is to be put back.
/// observer.delete(&record.key(), 2_000);
/// assert!(observer.view().partition(7).is_some());
/// assert_eq!(observer.missing("ingester-0"), [record]);
/// # Ok::<(), forebay_ring::codec::EncodeError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct PartitionObserver {
    view: Partitions,
    /// What the store has no record of, and since when.
    vanished: BTreeMap<Name, u64>,
    /// Of what it has a record that says less than is known.
    behind: BTreeSet<Name>,
    /// Tombstones, at which version, and since when they are known.
    tombstones: BTreeMap<Name, (u64, u64)>,
    news: bool,
}

/// What a record is of: a partition, or an owner of it.
type Name = (u32, Option<Arc<str>>);

impl PartitionObserver {
    /// What is known.
    pub fn view(&self) -> &Partitions {
        &self.view
    }

    /// Takes a record that was written. O(log records).
    pub fn put(&mut self, key: &str, value: &[u8], now_ns: u64) -> Option<Remark> {
        let named = named(key)?;
        // What cannot be read is there all the same.
        self.news |= named.as_ref().is_some_and(|name| self.vanished.remove(name).is_some());
        let record = match PartitionRecord::decode(value) {
            Err(error) => return Some(Remark::Undecodable { key: key.to_owned(), error }),
            Ok(record) if named.as_ref() != Some(&name_of(&record)) => {
                let id = record.name().into();
                return Some(Remark::Misplaced { key: key.to_owned(), id });
            }
            Ok(record) => record,
        };
        self.learn(record, now_ns).err().map(Remark::PartitionsFull)
    }

    /// Takes it that the store has this.
    pub(super) fn learn(&mut self, record: PartitionRecord, now_ns: u64) -> Result<(), PartitionsFull> {
        let name = name_of(&record);
        self.news |= self.vanished.remove(&name).is_some();
        self.news |= self.view.observe(record.clone())?;
        let is_behind = self.view.completed(&record).is_some();
        self.news |= if is_behind { self.behind.insert(name.clone()) } else { self.behind.remove(&name) };
        match self.tombstone(&name) {
            None => drop(self.tombstones.remove(&name)),
            Some(version) if self.tombstones.get(&name).is_some_and(|known| known.0 == version) => {}
            Some(version) => drop(self.tombstones.insert(name, (version, now_ns))),
        }
        Ok(())
    }

    /// Takes it that a record was deleted. What was DELETED is gone; anything else stays until
    /// [`drop_vanished`](Self::drop_vanished), so that a store that loses everything moves no keys.
    pub fn delete(&mut self, key: &str, now_ns: u64) {
        if let Some(name) = named(key).flatten() {
            self.lose(&name, now_ns);
        }
    }

    fn lose(&mut self, name: &Name, now_ns: u64) {
        if self.known(name).is_none() {
            return;
        }
        self.news = true;
        self.behind.remove(name);
        if self.tombstone(name).is_some() {
            self.forget(name);
        } else {
            self.vanished.entry(name.clone()).or_insert(now_ns);
        }
    }

    /// Takes a whole listing in place of what was missed: records that are not in it were deleted. O(records · log records).
    pub fn resync<'l>(
        &mut self,
        listing: impl IntoIterator<Item = (&'l str, &'l [u8])>,
        now_ns: u64,
    ) -> Vec<Remark> {
        let mut missing: BTreeSet<Name> = self.view.records().map(|record| name_of(&record)).collect();
        let mut remarks = Vec::new();
        for (key, value) in listing {
            if let Some(name) = named(key).flatten() {
                missing.remove(&name);
            }
            remarks.extend(self.put(key, value, now_ns));
        }
        for name in &missing {
            if !self.vanished.contains_key(name) {
                self.lose(name, now_ns);
            }
        }
        remarks
    }

    /// Drops what vanished from the store before `before_ns` and nobody put back; returns how many.
    pub fn drop_vanished(&mut self, before_ns: u64) -> usize {
        let is_old = |(name, &since_ns): (&Name, &u64)| (since_ns < before_ns).then(|| name.clone());
        let old: Vec<Name> = self.vanished.iter().filter_map(is_old).collect();
        old.iter().for_each(|name| self.forget(name));
        self.news |= !old.is_empty();
        old.len()
    }

    /// What the store lacks and `instance` should put back, each as [`PartitionRecord::restored`] has it: what is known
    /// better than the store says; partitions that it lost; and of owners that it lost the instance's own, for another may
    /// have ended meanwhile.
    pub fn missing(&self, instance: &str) -> Vec<PartitionRecord> {
        let lost =
            self.vanished.keys().filter(|(_, owner)| owner.as_deref().is_none_or(|owner| owner == instance));
        self.behind.iter().chain(lost).filter_map(|name| self.known(name)).collect()
    }

    /// The tombstones that have been known since before `since_before_ns`: to be deleted from the store, each only while it
    /// is as it was. Nothing is dropped here before the deletion is heard of. Keep them for longer than anybody may be cut
    /// off: what comes back from one after that is taken as new.
    pub fn expired(&self, since_before_ns: u64) -> Vec<PartitionRecord> {
        let is_old = |(name, (_, since_ns)): &(&Name, &(u64, u64))| {
            *since_ns < since_before_ns && !self.behind.contains(*name)
        };
        self.tombstones.iter().filter(is_old).filter_map(|(name, _)| self.known(name)).collect()
    }

    /// Whether anything came to be known, or to be lacking, since this was last asked.
    pub fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    fn known(&self, (number, owner): &Name) -> Option<PartitionRecord> {
        match owner {
            None => self.view.partition(*number).copied().map(Into::into),
            Some(instance) => self.view.owner(instance, *number).cloned().map(Into::into),
        }
    }

    /// The version of a tombstone.
    fn tombstone(&self, name: &Name) -> Option<u64> {
        self.known(name).and_then(|record| match record {
            PartitionRecord::Partition(of) => (of.state == PartitionState::Deleted).then_some(of.version),
            PartitionRecord::Owner(of) => (of.state == OwnerState::Deleted).then_some(of.version),
        })
    }

    fn forget(&mut self, name: &Name) {
        match &name.1 {
            None => drop(self.view.remove_partition(name.0)),
            Some(instance) => drop(self.view.remove_owner(instance, name.0)),
        }
        self.vanished.remove(name);
        self.behind.remove(name);
        self.tombstones.remove(name);
    }
}

fn name_of(record: &PartitionRecord) -> Name {
    match record {
        PartitionRecord::Partition(partition) => (partition.number, None),
        PartitionRecord::Owner(owner) => (owner.partition, Some(Arc::clone(&owner.instance))),
    }
}

/// What lies under a key; `None` if records of another kind do, `Some(None)` if none should.
fn named(key: &str) -> Option<Option<Name>> {
    let RecordKey { kind, name } = RecordKey::parse(key)?;
    // One number has one key.
    let number = |text: &str| text.parse().ok().filter(|number: &u32| number.to_string() == text);
    match kind {
        RecordKind::Instance | RecordKind::Tokens => None,
        RecordKind::Partition => Some(number(&name).map(|number| (number, None))),
        RecordKind::Owner => Some(
            name.rsplit_once('/')
                .and_then(|(instance, text)| number(text).map(|number| (number, Some(Arc::from(instance))))),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::{Owner, Partition};

    const DAY_NS: u64 = 86_400_000_000_000;

    fn put(observer: &mut PartitionObserver, record: impl Into<PartitionRecord>, now_ns: u64) -> bool {
        let record = record.into();
        assert_eq!(observer.put(&record.key(), &bytes(&record), now_ns), None);
        observer.take_news()
    }

    fn bytes(record: &PartitionRecord) -> Vec<u8> {
        let mut bytes = Vec::new();
        record.encode(&mut bytes).unwrap();
        bytes
    }

    fn active(number: u32, version: u64) -> Partition {
        Partition { state: PartitionState::Active, version, ..Partition::new(number, 0) }
    }

    #[test]
    fn what_is_heard_twice_or_is_of_another_kind_is_no_news() {
        let mut observer = PartitionObserver::default();
        assert!(put(&mut observer, active(1, 1), 0));
        assert!(!put(&mut observer, active(1, 1), 0));
        for key in ["instances/a", "tokens/a", "elsewhere/1", "partitions"] {
            assert_eq!(observer.put(key, b"", 0), None);
            observer.delete(key, 0);
        }
        assert!(!observer.take_news());
    }

    #[test]
    fn what_cannot_be_read_or_lies_elsewhere_leaves_what_was_known() {
        let mut observer = PartitionObserver::default();
        put(&mut observer, active(1, 1), 0);
        let undecodable = observer.put("partitions/1", b"garbage", 0);
        assert!(matches!(undecodable, Some(Remark::Undecodable { .. })));
        let (one, owner) = (bytes(&active(1, 2).into()), bytes(&Owner::new("a/b", 7, 0).into()));
        for (key, value, id) in [
            ("partitions/2", &one, "1"),
            ("partitions/01", &one, "1"),
            ("partitions/%2B1", &one, "1"),
            ("owners/a%2F1", &one, "1"),
            ("owners/a%2F7", &owner, "a/b/7"),
            ("owners/a%2Fb%2F07", &owner, "a/b/7"),
            ("owners/a", &owner, "a/b/7"),
        ] {
            let misplaced = Remark::Misplaced { key: key.to_owned(), id: id.into() };
            assert_eq!(observer.put(key, value, 0), Some(misplaced));
        }
        assert_eq!(observer.view().records().collect::<Vec<_>>(), [active(1, 1).into()]);
        assert_eq!(observer.put("owners/a%2Fb%2F7", &owner, 0), None);
    }

    #[test]
    fn a_store_that_loses_everything_takes_nothing_from_the_view_and_is_to_be_given_it_back() {
        let mut observer = PartitionObserver::default();
        let (mine, others) = (Owner::new("a", 1, 0), Owner::new("b", 1, 0));
        let gone = Owner { state: OwnerState::Deleted, version: 1, ..Owner::new("c", 1, 0) };
        put(&mut observer, active(1, 3), 0);
        [mine.clone(), others.clone(), gone]
            .into_iter()
            .for_each(|owner| assert!(put(&mut observer, owner, 0)));
        assert_eq!(observer.missing("a"), []);
        assert_eq!(observer.resync([], 10), []);
        assert!(observer.take_news());
        assert_eq!(observer.view().owner("c", 1), None, "a tombstone is gone with its record");
        assert_eq!(observer.missing("a"), [active(1, 3).into(), mine.into()]);
        assert_eq!(observer.missing("b"), [active(1, 3).into(), others.clone().into()]);
        // Lost for as long, however often it is listed.
        assert_eq!(observer.resync([], 20), []);
        assert!(!observer.take_news());
        assert_eq!(observer.drop_vanished(10), 0);
        put(&mut observer, others, 30);
        assert_eq!(observer.drop_vanished(11), 2);
        assert!(observer.view().partition(1).is_none() && observer.view().owner("b", 1).is_some());
        assert_eq!(observer.missing("a"), []);
    }

    #[test]
    fn what_cannot_be_read_is_not_lost() {
        let mut observer = PartitionObserver::default();
        put(&mut observer, active(1, 3), 0);
        assert_eq!(observer.resync([("partitions/1", &b"garbage"[..])], 10).len(), 1);
        assert_eq!((observer.missing("a"), observer.drop_vanished(u64::MAX)), (vec![], 0));
    }

    #[test]
    fn a_store_that_says_less_than_was_heard_is_to_be_completed_until_it_says_as_much() {
        let mut observer = PartitionObserver::default();
        put(&mut observer, active(1, 3), 0);
        assert!(put(&mut observer, active(1, 2), 0), "that is news for whoever can put it back");
        assert_eq!(observer.missing("anybody"), [active(1, 3).into()]);
        assert!(!put(&mut observer, active(1, 2), 0));
        assert!(put(&mut observer, active(1, 3), 0));
        assert_eq!(observer.missing("anybody"), []);
    }

    #[test]
    fn a_tombstone_is_kept_for_as_long_as_it_is_known_here_whatever_its_stamp_says() {
        let mut observer = PartitionObserver::default();
        let deleted = Partition { state: PartitionState::Deleted, version: 4, ..Partition::new(1, i64::MIN) };
        put(&mut observer, deleted, DAY_NS);
        put(&mut observer, deleted, 2 * DAY_NS);
        assert_eq!(observer.expired(DAY_NS), []);
        assert_eq!(observer.expired(DAY_NS + 1), [deleted.into()]);
        // One of another life begins anew.
        let again = Partition { version: 6, ..deleted };
        put(&mut observer, again, 3 * DAY_NS);
        assert_eq!(observer.expired(3 * DAY_NS), []);
        // The store has an older word: first that is put right.
        put(&mut observer, active(1, 5), 4 * DAY_NS);
        assert_eq!((observer.expired(u64::MAX), observer.missing("a")), (vec![], vec![again.into()]));
        put(&mut observer, active(1, 7), 4 * DAY_NS);
        assert_eq!(observer.expired(u64::MAX), []);
        put(&mut observer, Partition { version: 8, ..deleted }, 4 * DAY_NS);
        observer.delete("partitions/1", 5 * DAY_NS);
        assert!(observer.take_news() && observer.view().partition(1).is_none());
    }
}
