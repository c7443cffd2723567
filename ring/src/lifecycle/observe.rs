//! From the records of a store to the members. Invariants: a record that cannot be read leaves what was known of
//! its key; an instance is shown with the tokens its record means or, while those are not known, with none; who
//! vanishes from the store without having left stays until it has been silent for long.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::codec::{
    DecodeError, InstanceRecord, RecordKey, RecordKind, TokensRecord, TokensRef, decode_instance,
    decode_tokens,
};
use crate::instance::{Instance, State};
use crate::membership::{Member, Membership, MembershipFull};
use crate::partition::PartitionsFull;
use crate::token::TokenSet;

/// What an operator should know about a record. What was known before stands.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remark {
    /// It cannot be read.
    Undecodable {
        /// Its key.
        key: String,
        /// Why.
        error: DecodeError,
    },
    /// It lies under another's key.
    Misplaced {
        /// Its key.
        key: String,
        /// Whose it is.
        id: Arc<str>,
    },
    /// The tokens it means are not known (yet): the instance is shown without any.
    TokensMissing {
        /// The instance.
        id: Arc<str>,
        /// Their epoch.
        epoch: u64,
    },
    /// There is no room for it.
    Full(MembershipFull),
    /// There is no room for it among partitions and their owners.
    PartitionsFull(PartitionsFull),
}

/// Watches the records of all instances and keeps the members. Give it every record of a listing and every change
/// after it, in the store's order; records of other kinds are passed over.
///
/// ```
/// use forebay_ring::Instance;
/// use forebay_ring::codec::{RecordKind, TokensRecord, encode_instance, encode_tokens};
/// use forebay_ring::lifecycle::Observer;
///
/// let instance = Instance { tokens: vec![10, 20].into(), ..Instance::new("a", "10.0.0.1:9095") };
/// let (mut record, mut tokens) = (Vec::new(), Vec::new());
/// encode_instance(&instance, 0, &mut record)?;
/// encode_tokens(&TokensRecord { id: "a".into(), epoch: 0, tokens: instance.tokens.clone() }, &mut tokens)?;
///
/// let mut observer = Observer::default();
/// assert_eq!(observer.put(&RecordKind::Tokens.key("a"), &tokens, 1_000), None);
/// assert_eq!(observer.put(&RecordKind::Instance.key("a"), &record, 1_000), None);
/// assert_eq!(*observer.members().member("a").unwrap().instance, instance);
/// # Ok::<(), forebay_ring::codec::EncodeError>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Observer {
    members: Membership,
    /// The newest tokens of each instance, and what a record says that means them.
    tokens: BTreeMap<Arc<str>, (TokensRef, TokenSet)>,
    /// How many tokens those are, for records of tokens may come of instances that never do.
    held: usize,
    /// Instances shown without the tokens that their record means.
    bare: BTreeMap<Arc<str>, InstanceRecord>,
    /// Those that the store no longer has.
    vanished: BTreeSet<Arc<str>>,
}

impl Observer {
    /// The members as they are known.
    pub fn members(&self) -> &Membership {
        &self.members
    }

    /// The same, to observe what came another way or to drop tombstones.
    pub fn members_mut(&mut self) -> &mut Membership {
        &mut self.members
    }

    /// Takes a record that was written. O(log members) for a heartbeat.
    pub fn put(&mut self, key: &str, value: &[u8], now_ns: u64) -> Option<Remark> {
        let undecodable = |error| Some(Remark::Undecodable { key: key.to_owned(), error });
        let misplaced = |id: &Arc<str>| Some(Remark::Misplaced { key: key.to_owned(), id: Arc::clone(id) });
        let RecordKey { kind, name } = RecordKey::parse(key)?;
        match kind {
            RecordKind::Instance => match decode_instance(value) {
                Err(error) => undecodable(error),
                Ok(record) if *record.instance.id != *name => misplaced(&record.instance.id),
                Ok(record) => self.put_instance(record, now_ns),
            },
            RecordKind::Tokens => match decode_tokens(value) {
                Err(error) => undecodable(error),
                Ok(record) if *record.id != *name => misplaced(&record.id),
                Ok(record) => self.put_tokens(record, now_ns),
            },
            RecordKind::Partition | RecordKind::Owner => None,
        }
    }

    fn put_tokens(&mut self, record: TokensRecord, now_ns: u64) -> Option<Remark> {
        let TokensRecord { id, epoch, tokens } = record;
        let known = self.tokens.get(&id).map(|(_, known)| known.len());
        let held = self.held - known.unwrap_or(0) + tokens.len();
        let is_one_more = known.is_none() && self.tokens.len() >= Membership::MAX_MEMBERS;
        if is_one_more || held > Membership::MAX_TOKENS {
            return Some(Remark::Full(MembershipFull { members: self.tokens.len(), tokens: self.held }));
        }
        self.held = held;
        self.tokens.insert(Arc::clone(&id), (TokensRef::of(epoch, &tokens), tokens));
        let waiting = self.bare.remove(&id)?;
        self.put_instance(waiting, now_ns)
    }

    fn put_instance(&mut self, record: InstanceRecord, now_ns: u64) -> Option<Remark> {
        let id = Arc::clone(&record.instance.id);
        let meant = record.tokens;
        let tokens = if meant.count == 0 {
            Some(TokenSet::default())
        } else {
            // By digest and number: which epoch they are of does not matter.
            let stored = self.tokens.get(&id).filter(|(known, _)| known.is_same_set(meant));
            let shown = || self.members.member(&id).filter(|member| meant.is_of(&member.instance.tokens));
            stored
                .map(|(_, tokens)| tokens)
                .or_else(|| shown().map(|member| &member.instance.tokens))
                .cloned()
        };
        // A store that loses everything may lose the file of an instance with it, which then begins again.
        if self.vanished.remove(&id)
            && self.members.member(&id).is_some_and(|known| record.instance.version < known.instance.version)
        {
            self.members.remove(&id);
            self.bare.remove(&id);
        }
        let waits = self.bare.get(&id);
        let is_news = waits.is_none_or(|waits| waits.instance.version <= record.instance.version);
        let remark = match &tokens {
            _ if !is_news => None,
            Some(_) => {
                self.bare.remove(&id);
                None
            }
            None => {
                self.bare.insert(Arc::clone(&id), record.clone());
                Some(Remark::TokensMissing { id: Arc::clone(&id), epoch: meant.epoch })
            }
        };
        let instance = Instance { tokens: tokens.unwrap_or_default(), ..record.instance };
        match self.members.try_observe(instance, now_ns) {
            Ok(_) => remark,
            Err(full) => {
                if self.members.member(&id).is_none() {
                    self.forget(&id);
                }
                Some(Remark::Full(full))
            }
        }
    }

    /// Takes it that a record was deleted. An instance that had left is gone; any other stays until
    /// [`drop_vanished`](Self::drop_vanished), so that a store that loses everything does not empty the ring.
    pub fn delete(&mut self, key: &str) {
        let Some(RecordKey { kind, name }) = RecordKey::parse(key) else { return };
        match (kind, self.members.member(&name)) {
            // What there is of nobody.
            (RecordKind::Tokens | RecordKind::Instance, None) => self.forget(&name),
            (RecordKind::Instance, Some(member)) if member.instance.state == State::Left => {
                self.forget(&name)
            }
            (RecordKind::Instance, Some(member)) => {
                let id = Arc::clone(&member.instance.id);
                self.vanished.insert(id);
            }
            _ => {}
        }
    }

    /// Takes a whole listing in place of what was missed: records that are not in it were deleted, and one that is
    /// older than what was known is of a store that began anew.
    pub fn resync<'l>(
        &mut self,
        listing: impl IntoIterator<Item = (&'l str, &'l [u8])>,
        now_ns: u64,
    ) -> Vec<Remark> {
        let of_tokens = self.tokens.keys().map(|id| RecordKind::Tokens.key(id));
        let of_members = self.members.iter().map(|member| RecordKind::Instance.key(&member.instance.id));
        let mut missing: BTreeSet<String> = of_members.chain(of_tokens).collect();
        // Until the listing shows them.
        self.vanished = self.members.iter().map(|member| Arc::clone(&member.instance.id)).collect();
        let mut remarks = Vec::new();
        for (key, value) in listing {
            missing.remove(key);
            remarks.extend(self.put(key, value, now_ns));
            // What cannot be read is there all the same.
            if let Some(RecordKey { kind: RecordKind::Instance, name }) = RecordKey::parse(key) {
                self.vanished.remove(&*name);
            }
        }
        // Listed in any order, tokens may have come after the instance that was without them.
        remarks.retain(|remark| match remark {
            Remark::TokensMissing { id, .. } => self.bare.contains_key(id),
            _ => true,
        });
        for key in missing {
            self.delete(&key);
        }
        remarks
    }

    /// Drops those that vanished from the store and were last heard of before `heard_before_ns`; returns how many.
    pub fn drop_vanished(&mut self, heard_before_ns: u64) -> usize {
        let is_old =
            |id: &&Arc<str>| self.members.member(id).is_none_or(|member| member.heard_ns < heard_before_ns);
        let old: Vec<Arc<str>> = self.vanished.iter().filter(is_old).cloned().collect();
        for id in &old {
            self.forget(id);
        }
        old.len()
    }

    /// The keys of what instances that left have in the store, if they were last heard of before `heard_before_ns`:
    /// to be deleted there by whoever looks after it, each only while it is as it was. Nothing is dropped here
    /// before the deletion is heard of. For how long to keep them see
    /// [`Membership::drop_tombstones`].
    pub fn expired(&self, heard_before_ns: u64) -> Vec<String> {
        let is_over =
            |member: &&Member| member.instance.state == State::Left && member.heard_ns < heard_before_ns;
        // The tokens first: an instance's record is what tells of them.
        let keys =
            |member: &Member| [RecordKind::Tokens, RecordKind::Instance].map(|k| k.key(&member.instance.id));
        self.members.iter().filter(is_over).flat_map(keys).collect()
    }

    fn forget(&mut self, id: &str) {
        self.members.remove(id);
        if let Some((_, tokens)) = self.tokens.remove(id) {
            self.held -= tokens.len();
        }
        self.bare.remove(id);
        self.vanished.remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{encode_instance, encode_tokens};
    use crate::instance::Version;

    fn instance(sequence: u64, tokens: Vec<u32>) -> Instance {
        let version = Version { incarnation: 1, sequence };
        Instance { version, state: State::Active, tokens: tokens.into(), ..Instance::new("a", "addr") }
    }

    fn record(instance: &Instance) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode_instance(instance, 0, &mut bytes).unwrap();
        bytes
    }

    fn tokens(of: &Instance) -> Vec<u8> {
        let mut bytes = Vec::new();
        let record = TokensRecord { id: of.id.clone(), epoch: 0, tokens: of.tokens.clone() };
        encode_tokens(&record, &mut bytes).unwrap();
        bytes
    }

    fn shown(observer: &Observer) -> Instance {
        (*observer.members().member("a").unwrap().instance).clone()
    }

    #[test]
    fn an_instance_is_shown_with_the_tokens_it_means_in_whatever_order_they_come() {
        let one = instance(1, vec![1, 2]);
        let mut observer = Observer::default();
        let missing = Remark::TokensMissing { id: "a".into(), epoch: 0 };
        assert_eq!(observer.put("instances/a", &record(&one), 10), Some(missing));
        assert!(shown(&observer).tokens.is_empty());
        assert_eq!(observer.put("tokens/a", &tokens(&one), 20), None);
        assert_eq!(shown(&observer), one);
        assert_eq!(observer.members().member("a").unwrap().heard_ns, 10, "tokens are no sign of life");
        // A heartbeat, then other tokens before the record that means them.
        assert_eq!(observer.put("instances/a", &record(&instance(2, vec![1, 2])), 30), None);
        assert_eq!(observer.put("tokens/a", &tokens(&instance(3, vec![7])), 40), None);
        assert_eq!(shown(&observer), instance(2, vec![1, 2]));
        assert_eq!(observer.put("instances/a", &record(&instance(3, vec![7])), 50), None);
        assert_eq!(shown(&observer), instance(3, vec![7]));
    }

    #[test]
    fn what_cannot_be_read_or_lies_elsewhere_leaves_what_was_known() {
        let one = instance(1, vec![]);
        let mut observer = Observer::default();
        observer.put("instances/a", &record(&one), 0);
        let mut broken = record(&instance(2, vec![]));
        broken[5] ^= 1;
        assert!(matches!(observer.put("instances/a", &broken, 0), Some(Remark::Undecodable { .. })));
        assert!(matches!(observer.put("instances/b", &record(&one), 0), Some(Remark::Misplaced { .. })));
        assert!(matches!(observer.put("tokens/b", &tokens(&one), 0), Some(Remark::Misplaced { .. })));
        for other in ["partitions/1", "elsewhere/a", "instances"] {
            assert_eq!(observer.put(other, b"", 0), None);
        }
        assert_eq!((shown(&observer), observer.members().len()), (one, 1));
    }

    #[test]
    fn a_store_that_loses_everything_does_not_empty_the_ring() {
        let one = instance(1, vec![1, 2]);
        let (tokens, record) = (tokens(&one), record(&one));
        let mut observer = Observer::default();
        let listing = [("instances/a", &record[..]), ("tokens/a", &tokens[..])];
        assert_eq!(observer.resync(listing, 10), []);
        assert_eq!(observer.resync([], 20), []);
        assert_eq!(shown(&observer), one);
        assert_eq!(observer.drop_vanished(10), 0);
        assert_eq!(observer.drop_vanished(11), 1);
        assert!(observer.members().is_empty());
        // Back before it is dropped, it is as if it had not been away.
        observer.resync(listing, 30);
        observer.delete("instances/a");
        observer.resync(listing, 40);
        assert_eq!(observer.drop_vanished(u64::MAX), 0);
    }

    #[test]
    fn tokens_of_instances_that_never_come_are_bounded() {
        // As if others had brought all but ten of the tokens there may be.
        let held = Membership::MAX_TOKENS - 10;
        let mut observer = Observer { held, ..Observer::default() };
        let put = |observer: &mut Observer, id: &str, count: u32| {
            let (id, tokens) = (id.into(), (0..count).collect());
            observer.put_tokens(TokensRecord { id, epoch: 0, tokens }, 0)
        };
        assert_eq!(put(&mut observer, "a", 9), None);
        let full = MembershipFull { members: 1, tokens: held + 9 };
        assert_eq!(put(&mut observer, "b", 2), Some(Remark::Full(full)));
        assert_eq!(put(&mut observer, "a", 10), None, "in place of the nine");
        observer.delete("tokens/a");
        assert_eq!(observer.held, held);
        assert_eq!(put(&mut observer, "b", 2), None);
    }

    #[test]
    fn who_had_left_is_gone_when_its_record_is() {
        let mut observer = Observer::default();
        let left = Instance { state: State::Left, ..instance(1, vec![]) };
        observer.put("instances/a", &record(&left), 7);
        assert_eq!(observer.expired(7), Vec::<String>::new());
        assert_eq!(observer.expired(8), ["tokens/a", "instances/a"]);
        observer.delete("tokens/a");
        assert_eq!(observer.members().len(), 1);
        observer.delete("instances/a");
        observer.delete("instances/a");
        assert!(observer.members().is_empty());
    }

    fn restarted(sequence: u64, tokens: Vec<u32>) -> Instance {
        Instance { version: Version { incarnation: 7, sequence }, ..instance(0, tokens) }
    }

    /// It had lost its file with the store, and its heartbeats were taken for old ones for ever.
    #[test]
    fn who_comes_back_to_a_store_that_lost_everything_is_heard_whatever_its_version() {
        for resync in [false, true] {
            let (old, new) = (restarted(100, vec![]), instance(1, vec![]));
            let mut observer = Observer::default();
            observer.put("instances/a", &record(&old), 10);
            if resync {
                assert_eq!(observer.resync([("instances/a", &record(&new)[..])], 20), []);
            } else {
                observer.delete("instances/a");
                assert_eq!(observer.put("instances/a", &record(&new), 20), None);
            }
            assert_eq!((shown(&observer), observer.members().member("a").unwrap().heard_ns), (new, 20));
            // No more than once: what is there now is the store's.
            observer.put("instances/a", &record(&restarted(101, vec![])), 30);
            observer.put("instances/a", &record(&instance(2, vec![])), 40);
            assert_eq!(shown(&observer), restarted(101, vec![]));
        }
    }

    #[test]
    fn a_listing_that_is_as_it_was_keeps_who_is_silent_and_what_cannot_be_read() {
        let mut observer = Observer::default();
        observer.put("instances/a", &record(&instance(1, vec![])), 10);
        observer.resync([("instances/a", &record(&instance(1, vec![]))[..])], 20);
        observer.resync([("instances/a", &b"rubbish"[..])], 30);
        assert_eq!(observer.drop_vanished(u64::MAX), 0);
        assert_eq!(shown(&observer), instance(1, vec![]));
    }

    #[test]
    fn tokens_of_an_older_epoch_that_come_late_do_not_undo_what_is_known() {
        let encoded = |epoch, of: &Instance| {
            let (mut record, mut tokens) = (Vec::new(), Vec::new());
            encode_instance(of, epoch, &mut record).unwrap();
            let set = TokensRecord { id: of.id.clone(), epoch, tokens: of.tokens.clone() };
            encode_tokens(&set, &mut tokens).unwrap();
            (record, tokens)
        };
        let mut observer = Observer::default();
        let (new, tokens) = encoded(1, &instance(1, vec![7, 8]));
        observer.put("tokens/a", &tokens, 0);
        observer.put("instances/a", &new, 0);
        observer.put("tokens/a", &encoded(0, &instance(1, vec![1, 2])).1, 0);
        let (heartbeat, _) = encoded(1, &instance(2, vec![7, 8]));
        assert_eq!(observer.put("instances/a", &heartbeat, 0), None);
        assert_eq!(shown(&observer), instance(2, vec![7, 8]));
    }

    #[test]
    fn tokens_whose_instance_vanished_unseen_are_dropped() {
        let one = instance(1, vec![1, 2]);
        let put = |observer: &mut Observer| {
            observer.put("tokens/a", &tokens(&one), 0);
            observer.put("instances/a", &record(&one), 0);
        };
        // Both were deleted while nobody watched; or the instance alone was known from the store.
        let mut observer = Observer::default();
        observer.put("tokens/a", &tokens(&one), 0);
        observer.resync([], 0);
        assert_eq!(observer.held, 0);
        // A tombstone that was dropped here before it was in the store.
        put(&mut observer);
        observer.members_mut().observe(Instance { state: State::Left, ..instance(2, vec![]) }, 0);
        observer.members_mut().drop_tombstones(u64::MAX);
        observer.delete("instances/a");
        assert_eq!(observer.held, 0);
    }

    #[test]
    fn an_older_record_does_not_hide_that_a_newer_one_waits_for_its_tokens() {
        let (old, new) = (instance(1, vec![1]), instance(2, vec![2]));
        let mut observer = Observer::default();
        observer.put("tokens/a", &tokens(&old), 0);
        observer.put("instances/a", &record(&old), 0);
        observer.put("instances/a", &record(&new), 0);
        observer.put("instances/a", &record(&old), 0);
        observer.put("tokens/a", &tokens(&new), 0);
        assert_eq!(shown(&observer), new);
    }
}
