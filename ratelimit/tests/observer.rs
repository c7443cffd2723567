//! Who is told, and of what.

use std::sync::{Arc, Mutex};

use forebay_ratelimit::{
    Denied, Interned, InternedOptions, Keyed, KeyedOptions, Limiter, Multi, Name, Observed, Observer, Quota,
    Rate,
};

#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl<K: std::fmt::Debug + ?Sized> Observer<K> for Log {
    fn admitted(&self, key: &K, tokens: u64) {
        self.0.lock().expect("no other thread").push(format!("{key:?} +{tokens}"));
    }

    fn denied(&self, key: &K, denied: &Denied) {
        self.0
            .lock()
            .expect("no other thread")
            .push(format!("{key:?} -{} {}", denied.requested, denied.bound));
    }
}

const QUOTA: Quota = Quota::new(Rate::per_second(1), 10);

#[test]
fn an_observer_is_told_of_every_decision_with_its_key() {
    let log = Arc::new(Log::default());
    let limiter = Observed::new(Limiter::with_clock(QUOTA, || 0), Arc::clone(&log));
    assert!(limiter.allow(7) && !limiter.allow(4));
    limiter.try_acquire(3).unwrap().release();
    let keyed: Keyed<Name, _> = Keyed::with_clock(KeyedOptions::default(), || 0);
    let keyed = Observed::new(keyed, Arc::clone(&log));
    assert!(keyed.allow("blue", 10, QUOTA) && keyed.try_acquire("blue", 11, QUOTA).is_err());
    let interned = Observed::new(Interned::with_clock(InternedOptions::default(), || 0), Arc::clone(&log));
    assert!(interned.allow(5, 1, QUOTA) && !interned.allow(5, 10, QUOTA));
    assert_eq!(interned.acquire_up_to(5, 20, 1, QUOTA).unwrap().granted(), 9);
    let multi = Observed::new(Multi::with_clock([QUOTA; 2], || 0), Arc::clone(&log));
    assert!(multi.allow(10) && !multi.allow(1));
    multi.limiter().release_each([10, 10]);
    assert!(multi.try_acquire_each([7, 2]).is_ok() && multi.try_acquire_each([1, 9]).is_err());
    assert_eq!(
        *log.0.lock().unwrap(),
        [
            "() +7",
            "() -4 rate",
            "() +3",
            "\"blue\" +10",
            "\"blue\" -11 burst",
            "5 +1",
            "5 -10 rate",
            "5 +9",
            "() +10",
            "() -1 rate",
            "0 +7",
            "1 +2",
            "1 -9 rate",
        ]
    );
}

#[test]
fn nobody_to_tell_takes_no_memory_and_all_else_is_asked_of_the_limiter() {
    let limiter = Observed::new(Limiter::with_clock(QUOTA, || 0_u64), ());
    assert_eq!(size_of_val(&limiter), size_of_val(limiter.limiter()));
    assert!(limiter.allow(10) && !limiter.allow(1));
    limiter.limiter().release(10);
    assert!(limiter.limiter().peek().is_full());
}
