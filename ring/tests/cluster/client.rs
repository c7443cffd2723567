//! A writer and reader with a view of its own, which may be old.

use forebay_ring::lifecycle::Observer;
use forebay_ring::{Instance, Membership, Operation, Options, Ring};
use std::time::Duration;

use super::store::{News, Store};

/// All that a ring shows may hold something.
const ASK: Operation = Operation::REPORTING;

/// Older views serve nothing.
const MAX_AGE_NS: u64 = 2_000_000_000;

pub(crate) struct Client {
    observer: Observer,
    ring: Ring,
    seen: Option<usize>,
    /// By its own clock.
    heard_ns: Option<u64>,
    pub(crate) cut_off: bool,
}

pub(crate) fn options() -> Options {
    Options { zone_awareness: true, heartbeat_timeout: Duration::from_secs(15), ..Options::default() }
}

/// Brings a view up to date.
pub(crate) fn watch(observer: &mut Observer, seen: &mut Option<usize>, store: &Store, now_ns: u64) {
    match store.news(seen) {
        News::Resync(listing) => {
            observer.resync(listing.iter().map(|(key, value)| (&**key, &**value)), now_ns);
        }
        News::Changes(changes) => {
            for (key, value) in changes {
                match value {
                    Some(value) => drop(observer.put(&key, &value, now_ns)),
                    None => observer.delete(&key),
                }
            }
        }
    }
}

impl Client {
    pub(crate) fn new() -> Self {
        Self {
            observer: Observer::default(),
            ring: Ring::build(&options(), &Membership::default(), 0).unwrap(),
            seen: None,
            heard_ns: None,
            cut_off: false,
        }
    }

    pub(crate) fn poll(&mut self, store: &Store, now_ns: u64) {
        if !self.cut_off && !store.stalled {
            watch(&mut self.observer, &mut self.seen, store, now_ns);
            self.heard_ns = Some(now_ns);
        }
        self.ring = self.ring.updated(self.observer.members(), now_ns).unwrap();
    }

    fn is_fresh(&self, now_ns: u64) -> bool {
        self.heard_ns.is_some_and(|heard_ns| now_ns - heard_ns <= MAX_AGE_NS)
    }

    /// Whether enough instances took the key.
    pub(crate) fn write(&self, key: u32, now_ns: u64, mut send: impl FnMut(&Instance) -> bool) -> bool {
        if !self.is_fresh(now_ns) {
            return false;
        }
        let Ok(set) = self.ring.get(key, Operation::WRITE) else { return false };
        // Every replica is sent to, as a batch does; stragglers count for nothing.
        set.iter().filter(|instance| send(instance)).count() >= set.needed()
    }

    /// What is read, if enough answered: everything that instances of whole zones hold.
    pub(crate) fn read<T>(&self, now_ns: u64, mut ask: impl FnMut(&Instance) -> Option<T>) -> Option<Vec<T>> {
        if !self.is_fresh(now_ns) {
            return None;
        }
        let mut zones: std::collections::BTreeMap<&str, Option<Vec<T>>> = Default::default();
        for instance in self.ring.instances() {
            let answer = self.ring.is_healthy(&instance.id, ASK).then(|| ask(instance)).flatten();
            let zone = zones.entry(&*instance.zone).or_insert_with(|| Some(Vec::new()));
            match (zone.as_mut(), answer) {
                (Some(answers), Some(answer)) => answers.push(answer),
                _ => *zone = None,
            }
        }
        let failed = zones.values().filter(|zone| zone.is_none()).count();
        let known = zones.len();
        (known > 0 && failed <= 1 && failed < known)
            .then(|| zones.into_values().flatten().flatten().collect())
    }
}
