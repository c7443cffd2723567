//! One permit for all limiters, and what a table does for one key.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use forebay_ratelimit::{
    Bound, Denied, Inherit, Interned, InternedOptions, Keyed, KeyedOptions, LeaseOptions, Leased, Limiter,
    Multi, Name, Observed, Observer, OverCap, Oversize, Quota, Rate, Tree,
};

fn per_second(rate: u64, burst: u64) -> Quota {
    Quota::new(Rate::per_second(rate), burst)
}

#[test]
fn owned_permits_outlive_whoever_took_them() {
    let limiter = Arc::new(Limiter::with_clock(per_second(1, 100), || 0));
    let multi = Arc::new(Multi::with_clock([per_second(1, 100), Quota::UNLIMITED], || 0));
    let keyed: Arc<Keyed<Name, _>> = Arc::new(Keyed::with_clock(KeyedOptions::default(), || 0));
    let interned = Arc::new(Interned::with_clock(InternedOptions::default(), || 0));
    let permits = (
        limiter.try_acquire_owned(100).unwrap(),
        multi.try_acquire_owned([100, 7]).unwrap(),
        keyed.try_acquire_owned(Name::from("blue"), 100, per_second(1, 100)).unwrap(),
        interned.try_acquire_owned(7, 100, per_second(1, 100)).unwrap(),
    );
    assert!(!limiter.allow(1) && limiter.try_acquire_owned(1).is_err());
    assert!(keyed.try_acquire_owned(Name::from("blue"), 1, per_second(1, 100)).is_err());
    assert_eq!((permits.1.granted(), permits.1.tokens()), ([100, 7], [100, 0]));
    std::thread::spawn(move || {
        let (mut of_limiter, of_multi, mut of_key, of_id) = permits;
        of_limiter.shrink_to(60);
        of_limiter.shrink_to(80);
        assert_eq!((of_limiter.granted(), of_limiter.tokens()), (60, 60));
        of_key.shrink_to(30);
        of_multi.release();
        of_id.release();
    })
    .join()
    .unwrap();
    assert_eq!((limiter.peek().available, keyed.peek("blue").unwrap().available), (40, 70));
    assert_eq!((multi.peek()[0].available, interned.peek(7).unwrap().available), (100, 100));
}

#[test]
fn a_key_gets_the_part_that_is_there() {
    let clock = Cell::new(0);
    let options = KeyedOptions { max_keys: 2, over_cap: OverCap::Shared(per_second(1, 7)), shards: 1 };
    let keyed: Keyed<u64, _> = Keyed::with_clock(options, || clock.get());
    let interned = Interned::with_clock(InternedOptions { max_ids: 5, stripes: 1 }, || clock.get());
    let quota = per_second(10, 100);
    for granted in [60, 40] {
        assert_eq!(keyed.acquire_up_to(&1, 60, 5, quota).unwrap().granted(), granted);
        assert_eq!(interned.acquire_up_to(1, 60, 5, quota).unwrap().granted(), granted);
    }
    let denied = keyed.acquire_up_to(&1, 60, 5, quota).unwrap_err();
    assert_eq!((denied.requested, denied.retry_after.duration()), (5, Some(Duration::from_millis(500))));
    assert_eq!(interned.acquire_up_to(1, 60, 5, quota).unwrap_err(), denied);
    let nothing = keyed.acquire_up_to(&1, 60, 0, quota).unwrap();
    assert_eq!((nothing.granted(), nothing.tokens()), (0, 0));
    // A new key has its burst, also if it is asked for more, and a permit for a part gives that part back.
    let permit = keyed.acquire_up_to(&2, 1_000, 500_000, quota.oversize(Oversize::WhenFull)).unwrap();
    assert_eq!(permit.granted(), 1_000);
    permit.release();
    keyed.acquire_up_to(&2, 1_000, 1, quota).unwrap().release();
    assert_eq!(keyed.peek(&2).unwrap().available, 100);
    assert!(keyed.allow(&2, 1, quota));
    let shared = keyed.acquire_up_to(&3, 50, 1, quota).unwrap();
    assert_eq!((shared.granted(), shared.is_shared()), (7, true));
    assert_eq!(keyed.acquire_up_to(&3, 9, 1, Quota::UNLIMITED).unwrap().granted(), 9);
    assert_eq!(interned.acquire_up_to(5, 9, 0, quota).unwrap().granted(), 0);
    assert_eq!(interned.acquire_up_to(5, 9, 1, quota).unwrap_err().bound, Bound::Keys);
    let full: Keyed<u64, _> = Keyed::with_clock(KeyedOptions { max_keys: 0, ..Default::default() }, || 0);
    assert_eq!(full.acquire_up_to(&1, 9, 0, quota).unwrap().granted(), 0);
}

/// As a limiter of its own inherits.
#[test]
fn the_quota_of_a_key_inherits_as_that_of_a_limiter() {
    let old = per_second(10, 100).oversize(Oversize::WhenFull);
    for (taken, new) in [(60, 50), (60, 200), (150, 50), (300, 200), (0, 200), (60, 100)] {
        for inherit in [Inherit::AsIs, Inherit::Reset, Inherit::Proportional, Inherit::Additive] {
            let new = Quota { rate: Rate::per(3, Duration::from_secs(7)), burst: new, ..old };
            let limiter = Limiter::with_clock(old, || 0);
            let keyed: Keyed<u64, _> = Keyed::with_clock(KeyedOptions::default(), || 0);
            let interned = Interned::with_clock(InternedOptions::default(), || 0);
            let evicting = KeyedOptions { max_keys: 1, over_cap: OverCap::EvictIndebted, shards: 1 };
            let away: Keyed<u64, _> = Keyed::with_clock(evicting, || 0);
            limiter.try_acquire(1).unwrap().release();
            assert!(limiter.allow(taken) && keyed.allow(&1, taken.max(1), old));
            assert!(interned.allow(1, taken.max(1), old) && away.allow(&1, taken.max(1), old));
            keyed.release(&1, u64::from(taken == 0));
            interned.release(1, u64::from(taken == 0));
            away.release(&1, u64::from(taken == 0));
            assert!(away.allow(&2, 1, old));
            let multi = Multi::with_clock([old; 2], || 0);
            let leased = Leased::with_clock(old, LeaseOptions { lease: 0, slots: 1 }, || 0);
            assert!(multi.allow(taken) && leased.allow(taken));
            multi.reconfigure_with([new; 2], inherit);
            leased.reconfigure_with(new, inherit);
            limiter.reconfigure_with(new, inherit);
            keyed.reconfigure_with(&1, new, inherit);
            interned.reconfigure_with(1, new, inherit);
            away.reconfigure_with(&1, new, inherit);
            let expected = limiter.peek();
            assert_eq!((multi.peek(), leased.peek()), ([expected; 2], expected), "{taken} {new} {inherit:?}");
            assert_eq!(keyed.peek(&1), Some(expected), "{taken} {new} {inherit:?}");
            assert_eq!(interned.peek(1), Some(expected), "{taken} {new} {inherit:?}");
            // A key that had to go shows what it has by what is refused; one that was full is not remembered.
            if taken > 0 {
                let more = expected.available + 1;
                let denied = limiter.check(more).map_err(|denied| (denied.available, denied.retry_after));
                let found =
                    away.check(&1, more, new).map_err(|denied| (denied.available, denied.retry_after));
                assert_eq!(found, denied, "{taken} {new} {inherit:?}");
            }
        }
    }
}

#[test]
fn a_forgotten_key_is_full_wherever_it_was() {
    let quota = per_second(1, 10);
    for over_cap in [OverCap::DenyNew, OverCap::EvictIndebted] {
        let options = KeyedOptions { max_keys: 1, over_cap, shards: 1 };
        let keyed: Keyed<Name, _> = Keyed::with_clock(options, || 0);
        assert!(!keyed.forget("blue") && keyed.allow("blue", 10, quota));
        if over_cap == OverCap::EvictIndebted {
            assert!(keyed.allow("green", 10, quota) && !keyed.forget("blue"));
            assert!(keyed.allow("blue", 10, quota), "forgotten while it was away");
        }
        assert!(keyed.forget("blue") && keyed.is_empty());
        assert!(keyed.allow("blue", 10, quota) && !keyed.allow("blue", 1, quota));
        keyed.reconfigure_with("blue", Quota::UNLIMITED, Inherit::AsIs);
        assert!(keyed.is_empty());
    }
}

#[derive(Default)]
struct Sums {
    admitted: AtomicU64,
    denied: AtomicU64,
}

impl<K: ?Sized> Observer<K> for Sums {
    fn admitted(&self, _: &K, tokens: u64) {
        self.admitted.fetch_add(tokens, Ordering::Relaxed);
    }

    fn denied(&self, _: &K, denied: &Denied) {
        self.denied.fetch_add(denied.requested, Ordering::Relaxed);
    }
}

impl Sums {
    fn seen(&self) -> (u64, u64) {
        (self.admitted.load(Ordering::Relaxed), self.denied.load(Ordering::Relaxed))
    }
}

#[test]
fn a_tree_and_parts_are_observed() {
    let tree = Observed::new(Tree::new(["tenant", "process"]), Sums::default());
    let limits = [per_second(1, 100), per_second(1, 50)].map(|quota| Limiter::with_clock(quota, || 0));
    let branch: [&(dyn forebay_ratelimit::Node + Sync); 2] = [&limits[0], &limits[1]];
    assert!(tree.allow(branch, 40) && !tree.allow(branch, 20));
    assert_eq!(tree.try_acquire(branch, 11).unwrap_err().name, "process");
    assert_eq!(tree.observer().seen(), (80, 31));

    let limiter = Observed::new(Limiter::with_clock(per_second(1, 50), || 0), Sums::default());
    assert!(limiter.acquire_up_to(80, 1).is_ok() && limiter.acquire_up_to(80, 3).is_err());
    assert_eq!(limiter.observer().seen(), (50, 3));
    let table: Keyed<u64, _> = Keyed::with_clock(KeyedOptions::default(), || 0);
    let keyed = Observed::new(table, Sums::default());
    assert!(keyed.acquire_up_to(&1, 80, 1, per_second(1, 50)).is_ok());
    assert!(keyed.acquire_up_to(&1, 80, 3, per_second(1, 50)).is_err());
    assert_eq!(keyed.observer().seen(), (50, 3));
}

#[cfg(feature = "tokio")]
#[tokio::test(start_paused = true)]
async fn a_queue_is_observed_and_its_permits_can_be_owned() {
    use forebay_ratelimit::Queue;
    let queue = Observed::new(Queue::new(per_second(10, 5)), Sums::default());
    assert!(queue.allow(5) && !queue.allow(1));
    queue.wait(3).await.unwrap().keep();
    assert!(queue.wait_until(3, 0).await.is_err());
    assert!(queue.wait_within(2, Duration::from_millis(200)).await.is_ok());
    assert_eq!(queue.observer().seen(), (10, 4));
    let permit = queue.wait(5).await.unwrap().into_owned();
    tokio::spawn(async move { permit.release() }).await.unwrap();
    assert!(queue.limiter().peek().is_full());
}
