//! Rings of stores that fail, fall silent and hold what cannot be read.

use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use bytes::Bytes;

use super::*;
use crate::codec::{RecordKind, TokensRecord, encode_instance, encode_tokens};
use crate::disk::MemoryDisk;
use crate::instance::{Instance, State, Version};
use crate::lifecycle::driver::tests::{Place, paused};
use crate::lifecycle::{Caretaker, CaretakerOptions, Remark, Report};
use crate::operation::Operation;
use crate::store::{
    Expect, Listing, MemoryStore, News, PutError, Record, Revision, Store, StoreError, Trouble, Watch,
};

fn instance(id: &str, sequence: u64) -> Instance {
    let tokens = vec![u32::from(id.as_bytes()[0]) << 24].into();
    let version = Version { incarnation: 1, sequence };
    Instance { state: State::Active, version, tokens, ..Instance::new(id, "") }
}

async fn write(store: &MemoryStore, instance: &Instance) {
    let (mut record, mut tokens) = (Vec::new(), Vec::new());
    encode_instance(instance, 0, &mut record).unwrap();
    let set = TokensRecord { id: instance.id.clone(), epoch: 0, tokens: instance.tokens.clone() };
    encode_tokens(&set, &mut tokens).unwrap();
    store.put_if(&RecordKind::Tokens.key(&instance.id), tokens.into(), Expect::Any).await.unwrap();
    store.put_if(&RecordKind::Instance.key(&instance.id), record.into(), Expect::Any).await.unwrap();
}

fn watch(home: &Home) -> Watcher {
    let ring = Options { replication_factor: 1, ..Options::default() };
    Watcher::spawn(home, WatcherOptions { ring, ..WatcherOptions::default() }).unwrap()
}

async fn seconds(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[test]
fn while_the_store_fails_the_last_ring_stays_in_use_and_grows_old() {
    for trouble in [Trouble::Fails, Trouble::Hangs] {
        paused(async {
            let place = Place::new();
            write(&place.store, &instance("a", 1)).await;
            let watcher = watch(&place.home(&MemoryDisk::default()));
            watcher.wait_for(|members| members.len() == 1).await;
            assert!(watcher.ears().watching_since_ns.is_some());
            place.store.set_trouble(trouble);
            seconds(50).await;
            assert!(watcher.ring().load().get(0, Operation::WRITE).is_ok(), "{trouble:?}");
            seconds(20).await;
            let ring = watcher.ring().load();
            assert!(ring.get(0, Operation::WRITE).is_err() && ring.token_count() == 1, "nobody was heard of");
            assert!(watcher.ears().failed_ns.is_some() && watcher.ears().watching_since_ns.is_none());
            place.store.set_trouble(Trouble::None);
            write(&place.store, &instance("a", 2)).await;
            write(&place.store, &instance("b", 1)).await;
            watcher.wait_for(|members| members.len() == 2).await;
            assert!(watcher.ring().load().get(0, Operation::WRITE).is_ok());
        });
    }
}

#[test]
fn a_store_that_loses_everything_does_not_empty_the_ring_at_once() {
    paused(async {
        let place = Place::new();
        write(&place.store, &instance("a", 1)).await;
        let watcher = watch(&place.home(&MemoryDisk::default()));
        watcher.wait_for(|members| members.len() == 1).await;
        place.store.lose_everything();
        seconds(590).await;
        assert_eq!(watcher.ring().load().token_count(), 1);
        seconds(20).await;
        assert_eq!(watcher.ring().load().token_count(), 0);
    });
}

#[test]
fn what_cannot_be_read_is_reported_and_what_was_known_stands() {
    paused(async {
        let place = Place::new();
        write(&place.store, &instance("a", 1)).await;
        let watcher = watch(&place.home(&MemoryDisk::default()));
        watcher.wait_for(|members| members.len() == 1).await;
        place.store.put_if("instances/a", Bytes::from_static(b"garbage"), Expect::Any).await.unwrap();
        place.store.put_if("elsewhere", Bytes::from_static(b"garbage"), Expect::Any).await.unwrap();
        seconds(2).await;
        let undecodable = |report: &Report| matches!(report, Report::Remark(Remark::Undecodable { .. }));
        assert_eq!(place.count(undecodable), 1);
        assert_eq!(watcher.ring().load().token_count(), 1);
    });
}

#[test]
fn who_is_forgotten_by_hand_is_left_unless_it_was_heard_of_meanwhile() {
    paused(async {
        let place = Place::new();
        write(&place.store, &instance("a", 1)).await;
        let watcher = watch(&place.home(&MemoryDisk::default()));
        watcher.wait_for(|members| members.len() == 1).await;
        let (seen, next) = (instance("a", 1).version, instance("a", 2));
        write(&place.store, &next).await;
        seconds(2).await;
        // Known here or not.
        assert!(!watcher.forget("a", seen).await.unwrap());
        assert!(!watcher.forget("nobody", seen).await.unwrap());
        assert!(watcher.forget("a", next.version).await.unwrap());
        assert_eq!(place.record("a").await.unwrap().state, State::Left);
        seconds(2).await;
        assert_eq!(watcher.ring().load().token_count(), 0);
    });
}

/// A store whose watches never tell of anything.
#[derive(Debug)]
struct Silent(MemoryStore, AtomicU32);

#[async_trait]
impl Store for Silent {
    async fn list(&self) -> Result<Listing, StoreError> {
        // Who spins would not let time go on.
        assert!(self.1.fetch_add(1, Ordering::Relaxed) < 100, "listed a hundred times");
        self.0.list().await
    }

    async fn get(&self, key: &str) -> Result<Option<Record>, StoreError> {
        self.0.get(key).await
    }

    async fn put_if(&self, key: &str, value: Bytes, expect: Expect) -> Result<Revision, PutError> {
        self.0.put_if(key, value, expect).await
    }

    async fn delete_if(&self, key: &str, expect: Expect) -> Result<(), PutError> {
        self.0.delete_if(key, expect).await
    }

    async fn watch(&self, _after: Revision) -> Result<Box<dyn Watch>, StoreError> {
        Ok(Box::new(Nothing))
    }
}

/// A store that can be listed and not watched.
#[derive(Debug)]
struct Unwatched(MemoryStore);

#[async_trait]
impl Store for Unwatched {
    async fn list(&self) -> Result<Listing, StoreError> {
        self.0.list().await
    }

    async fn get(&self, key: &str) -> Result<Option<Record>, StoreError> {
        self.0.get(key).await
    }

    async fn put_if(&self, key: &str, value: Bytes, expect: Expect) -> Result<Revision, PutError> {
        self.0.put_if(key, value, expect).await
    }

    async fn delete_if(&self, key: &str, expect: Expect) -> Result<(), PutError> {
        self.0.delete_if(key, expect).await
    }

    async fn watch(&self, _after: Revision) -> Result<Box<dyn Watch>, StoreError> {
        Err(StoreError::unreachable("streams do not come through"))
    }
}

struct Nothing;

#[async_trait]
impl Watch for Nothing {
    async fn next(&mut self) -> Result<News, StoreError> {
        std::future::pending().await
    }
}

#[test]
fn a_watch_that_is_silent_for_long_is_not_believed() {
    paused(async {
        let place = Place::new();
        let store = Arc::new(Silent(place.store.clone(), AtomicU32::new(0)));
        let watcher = watch(&Home { store, ..place.home(&MemoryDisk::default()) });
        seconds(1).await;
        write(&place.store, &instance("a", 1)).await;
        seconds(20).await;
        assert_eq!(watcher.ring().load().token_count(), 0);
        seconds(20).await;
        assert_eq!(watcher.ring().load().token_count(), 1);
    });
}

#[test]
fn options_of_0_do_not_make_it_spin() {
    paused(async {
        let place = Place::new();
        let store = Arc::new(Silent(place.store.clone(), AtomicU32::new(0)));
        let home = Home { store: store.clone(), ..place.home(&MemoryDisk::default()) };
        let zero = Duration::ZERO;
        let options = WatcherOptions { refresh: zero, gather: zero, silence: zero, ..Default::default() };
        let watcher = Watcher::spawn(&home, options).unwrap();
        let care = CaretakerOptions { period: zero, ..CaretakerOptions::default() };
        let _caretaker = Caretaker::spawn(home, &watcher, None, care);
        seconds(1).await;
        let lists = store.1.load(Ordering::Relaxed);
        assert!((2..=11).contains(&lists), "{lists} listings in a second");
    });
}

#[test]
fn a_store_that_cannot_be_watched_is_listed_again_and_again() {
    paused(async {
        let place = Place::new();
        write(&place.store, &instance("a", 1)).await;
        let store = Arc::new(Unwatched(place.store.clone()));
        let watcher = watch(&Home { store, ..place.home(&MemoryDisk::default()) });
        seconds(1).await;
        assert_eq!(watcher.ring().load().token_count(), 1);
        seconds(4).await;
        write(&place.store, &instance("a", 2)).await;
        seconds(10).await;
        let heard_ns = watcher.members().borrow().member("a").unwrap().heard_ns;
        assert!(heard_ns > 4_000_000_000, "{heard_ns}");
        assert!(watcher.ears().watching_since_ns.is_none(), "and it is no watch");
    });
}

#[test]
fn members_that_make_no_ring_are_reported_and_the_last_one_stays() {
    paused(async {
        let place = Place::new();
        write(&place.store, &instance("a", 1)).await;
        let watcher = watch(&place.home(&MemoryDisk::default()));
        watcher.wait_for(|members| members.len() == 1).await;
        let many = Ring::MAX_INSTANCES + 1;
        let key = |number: usize| RecordKind::Instance.key(&format!("n{number}"));
        for number in 0..many {
            let mut record = Vec::new();
            encode_instance(&Instance::new(format!("n{number}"), ""), 0, &mut record).unwrap();
            place.store.put_if(&key(number), record.into(), Expect::Any).await.unwrap();
        }
        seconds(2).await;
        assert!(
            place.count(|report| matches!(report, Report::Ring(BuildError::TooManyInstances { .. }))) > 0
        );
        assert_eq!(watcher.ring().load().token_count(), 1);
        // Whom it has is heard nevertheless.
        let is_healthy = || watcher.ring().load().is_healthy("a", Operation::WRITE);
        assert!(is_healthy());
        seconds(62).await;
        assert!(!is_healthy(), "silent");
        let reports = place.count(|report| matches!(report, Report::Ring(_)));
        write(&place.store, &instance("a", 2)).await;
        seconds(2).await;
        assert!(is_healthy(), "heard again");
        write(&place.store, &Instance { state: State::Left, ..instance("a", 3) }).await;
        seconds(2).await;
        assert!(!is_healthy(), "gone");
        let more = place.count(|report| matches!(report, Report::Ring(_))) - reports;
        assert!(more <= 1, "{more} reports of what had been reported");
    });
}
