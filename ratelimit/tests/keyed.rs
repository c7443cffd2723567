//! Many keys: quotas of their own, in bounded memory, without forgetting a debt.

use std::cell::Cell;
use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use forebay_ratelimit::bucket::Bucket;
use forebay_ratelimit::{
    Bound, Keyed, KeyedOptions, Lookup, Name, OverCap, Oversize, Quota, Rate, RetryAfter,
};
use proptest::prelude::*;

const SECOND_NS: u64 = 1_000_000_000;

fn per_second(rate: u64, burst: u64) -> Quota {
    Quota::new(Rate::per_second(rate), burst)
}

fn capped(max_keys: usize) -> KeyedOptions {
    KeyedOptions { max_keys, ..KeyedOptions::default() }
}

/// D10. A limiter was replaced whenever its limits changed: a full burst for free, and debts forgotten.
#[test]
fn a_changed_quota_is_in_force_at_the_next_call_and_keeps_tokens_and_debt() {
    let clock = Cell::new(0);
    let keyed: Keyed<String, _> = Keyed::with_clock(capped(10), || clock.get());
    let slow = per_second(10, 100).oversize(Oversize::WhenFull);
    keyed.try_acquire("blue", 300, slow).unwrap().keep();
    for burst in 100..200 {
        assert!(!keyed.allow("blue", 1, Quota { burst, ..slow }));
    }
    let fast = Quota { rate: Rate::per_second(100), burst: 500, ..slow };
    let denied = keyed.try_acquire("blue", 1, fast).unwrap_err();
    assert_eq!(denied.retry_after, RetryAfter::After(Duration::from_millis(2_010)));
    assert_eq!((denied.rate, denied.burst), (Rate::per_second(100), 500));
    clock.set(2_010_000_000);
    assert!(keyed.allow("blue", 1, fast));
    assert!(!keyed.allow("blue", 1, fast));
}

/// D11. Limiters were evicted by age: a tenant in debt came back with a full bucket.
#[test]
fn a_key_in_debt_is_not_evicted_however_long_it_is_silent() {
    let clock = Cell::new(0);
    let keyed: Keyed<String, _> = Keyed::with_clock(capped(1), || clock.get());
    let hourly = Quota::new(Rate::per(1, Duration::from_secs(3_600)), 24).oversize(Oversize::WhenFull);
    keyed.try_acquire("debtor", 48, hourly).unwrap().keep();
    clock.set(47 * 3_600 * SECOND_NS);
    assert_eq!(keyed.evict_full(), 0);
    let denied = keyed.try_acquire("newcomer", 1, hourly).unwrap_err();
    assert_eq!(denied.bound, Bound::Keys);
    assert_eq!(denied.retry_after, RetryAfter::After(Duration::from_secs(3_600)));
    assert_eq!(keyed.peek("debtor").unwrap().available, 23);

    clock.set(48 * 3_600 * SECOND_NS);
    assert!(keyed.allow("newcomer", 1, hourly));
    assert_eq!((keyed.len(), keyed.peek("debtor")), (1, None));
    assert!(!keyed.allow("debtor", 24, hourly), "its slot is taken by a key in use");
}

#[test]
fn keys_have_quotas_of_their_own() {
    let keyed: Keyed<String, _> = Keyed::with_clock(capped(10), || 0);
    assert!(keyed.allow("small", 5, per_second(1, 5)));
    assert!(!keyed.allow("small", 1, per_second(1, 5)));
    assert!(keyed.allow("large", 500, per_second(1, 500)));
    assert!(keyed.allow("free", u64::MAX, Quota::UNLIMITED));
    assert!(!keyed.allow("blocked", 1, Quota::new(Rate::ZERO, 0)));
    assert_eq!(keyed.len(), 2);
}

#[test]
fn a_refused_or_free_request_of_a_new_key_stores_nothing() {
    let keyed: Keyed<String, _> = Keyed::with_clock(capped(10), || 0);
    assert!(!keyed.allow("greedy", 6, per_second(1, 5)));
    assert!(keyed.allow("idle", 0, per_second(1, 5)));
    assert!(keyed.is_empty());
}

#[test]
fn a_key_that_becomes_unlimited_gives_its_slot_back() {
    let keyed: Keyed<String, _> = Keyed::with_clock(capped(1), || 0);
    assert!(keyed.allow("blue", 5, per_second(1, 5)));
    assert!(!keyed.allow("green", 5, per_second(1, 5)));
    assert!(keyed.allow("blue", 5, Quota::UNLIMITED));
    assert!(keyed.is_empty());
    assert!(keyed.allow("green", 5, per_second(1, 5)));
}

#[test]
fn a_full_bucket_makes_room_wherever_it_is() {
    let clock = Cell::new(0);
    let keyed: Keyed<u32, _> = Keyed::with_clock(capped(100), || clock.get());
    for key in 0..99 {
        assert!(keyed.allow(&key, 1, per_second(1, 1_000)));
    }
    // All but this one will be in use for a second.
    assert!(keyed.allow(&99, 1, per_second(1_000, 1_000)));
    clock.set(1_000_000);
    for newcomer in 100..200 {
        assert!(keyed.allow(&newcomer, 1, per_second(1_000, 1_000)), "{newcomer}");
        assert_eq!(keyed.len(), 100);
        clock.set(clock.get() + 1_000_000);
    }
    assert!((0..99).all(|key| keyed.peek(&key).is_some()));
}

#[test]
fn keys_without_a_slot_share_one_bucket() {
    let over_cap = OverCap::Shared(per_second(1, 10));
    let options = KeyedOptions { max_keys: 2, over_cap, shards: 1 };
    let keyed: Keyed<u32, _> = Keyed::with_clock(options, || 0);
    for key in 0..2 {
        assert!(!keyed.try_acquire(&key, 1, per_second(1, 1_000)).unwrap().is_shared());
    }
    let permit = keyed.try_acquire(&2, 6, per_second(1, 1_000)).unwrap();
    assert!(permit.is_shared());
    assert!(keyed.try_acquire(&3, 4, per_second(1, 1_000)).unwrap().is_shared());
    let denied = keyed.try_acquire(&4, 1, per_second(1, 1_000)).unwrap_err();
    assert_eq!((denied.bound, denied.burst), (Bound::Rate, 10));
    permit.release();
    assert!(keyed.allow(&4, 6, per_second(1, 1_000)));
    assert_eq!(keyed.len(), 2);
}

#[test]
fn a_key_without_a_slot_is_held_to_its_own_burst_and_to_the_shared_rate() {
    let clock = Cell::new(0);
    let over_cap = OverCap::Shared(per_second(1_000, 20));
    let keyed: Keyed<u32, _> =
        Keyed::with_clock(KeyedOptions { max_keys: 1, over_cap, shards: 1 }, || clock.get());
    assert!(keyed.allow(&0, 1, per_second(0, 5)));
    assert!(!keyed.allow(&1, 6, per_second(1, 5)), "larger than its own burst");
    let mut passed = 0;
    for _ in 0..1_000 {
        passed += 5 * u64::from(keyed.allow(&1, 5, per_second(1, 5)));
        clock.set(clock.get() + SECOND_NS / 1_000);
    }
    // The shared burst of 20 and one second of the shared rate, though its own quota is 5 and 1/s.
    assert!((1_015..=1_020).contains(&passed), "{passed} passed");
    // With a slot it is held to its own quota at once, from a full bucket.
    keyed.retain(|_, _| false);
    assert!(keyed.allow(&1, 5, per_second(1, 5)) && !keyed.allow(&1, 1, per_second(1, 5)));
}

#[test]
fn a_permit_settles_an_estimate() {
    let keyed: Keyed<String, _> = Keyed::with_clock(capped(10), || 0);
    let mut permit = keyed.try_acquire("blue", 80, per_second(1, 100)).unwrap();
    permit.shrink_to(30);
    assert_eq!(keyed.peek("blue").unwrap().available, 70);
    permit.release();
    assert!(keyed.peek("blue").unwrap().is_full());
    keyed.release("nobody", 5);
    assert_eq!(keyed.len(), 1);
}

#[test]
fn retain_forgets_what_the_caller_does_not_want() {
    let keyed: Keyed<u32, _> = Keyed::with_clock(KeyedOptions::default(), || 0);
    for key in 0..1_000 {
        assert!(keyed.allow(&key, 1 + u64::from(key % 2), per_second(1, 2)));
    }
    assert_eq!(keyed.retain(|key, bucket| key % 10 == 0 || bucket.available == 0), 400);
    assert_eq!(keyed.len(), 600);
    assert_eq!(keyed.retain(|_, _| false), 600);
    assert!(keyed.is_empty());
}

/// Once a mistake: what was removed before the panic, and the slot of the key that never came, counted as held.
#[test]
fn a_panic_of_the_callers_costs_no_slot() {
    struct Broken(u64);
    impl Hash for Broken {
        fn hash<H: Hasher>(&self, state: &mut H) {
            self.0.hash(state);
        }
    }
    impl Lookup<u64> for Broken {
        fn finds(&self, key: &u64) -> bool {
            self.0 == *key
        }

        fn to_key(&self) -> u64 {
            panic!("no key")
        }
    }
    let quota = per_second(1, 2);
    let keyed: Keyed<u64, _> = Keyed::with_clock(KeyedOptions { shards: 1, ..capped(16) }, || 0);
    assert!((0..16).all(|key| keyed.allow(&key, 1, quota)));
    let mut asked = 0;
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        keyed.retain(|_, _| {
            asked += 1;
            assert!(asked <= 10, "no more");
            false
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(keyed.len(), 6);
    assert!(catch_unwind(AssertUnwindSafe(|| keyed.allow(&Broken(99), 1, quota))).is_err());
    assert_eq!((keyed.len(), keyed.retain(|_, _| false), keyed.len()), (6, 6, 0));
}

#[test]
fn a_thread_that_was_late_to_the_lock_mints_nothing() {
    let clock = Cell::new(10 * SECOND_NS);
    let keyed: Keyed<u32, _> = Keyed::with_clock(KeyedOptions { shards: 1, ..capped(1) }, || clock.get());
    assert!(keyed.allow(&1, 100, per_second(10, 100)));
    clock.set(20 * SECOND_NS);
    // A bucket is evicted at 20 s, and one comes back that saw the clock at 10 s.
    assert!(keyed.allow(&2, 1, per_second(1_000_000_000_000, 1)));
    clock.set(10 * SECOND_NS);
    keyed.evict_full();
    assert_eq!(keyed.retain(|_, _| false), 1, "at 20 s that key is in use");
    assert!(keyed.allow(&1, 100, per_second(10, 100)));
    clock.set(20 * SECOND_NS);
    assert!(!keyed.allow(&1, 1, per_second(10, 100)));
}

#[test]
fn a_debt_that_had_to_go_comes_back_with_its_key() {
    let clock = Cell::new(0);
    let over_cap = OverCap::EvictIndebted;
    let keyed: Keyed<Name, _> =
        Keyed::with_clock(KeyedOptions { max_keys: 1, over_cap, shards: 4 }, || clock.get());
    let quota = per_second(10, 100).oversize(Oversize::WhenFull);
    assert!(keyed.allow("debtor", 300, quota));
    assert!(keyed.allow("newcomer", 1, quota));
    assert_eq!((keyed.len(), keyed.peek("debtor")), (1, None));
    // 200 are owed: the first token is there after 20.1 s, not earlier, and all of them after 30 s.
    let denied = keyed.try_acquire("debtor", 1, quota).unwrap_err();
    assert_eq!(denied.retry_after, RetryAfter::After(Duration::from_millis(20_100)));
    clock.set(20_100_000_000 - 1);
    assert!(!keyed.allow("debtor", 1, quota));
    clock.set(20_100_000_000);
    assert!(keyed.allow("debtor", 1, quota) && !keyed.allow("debtor", 1, quota));
    assert!(keyed.peek("newcomer").is_none());
    clock.set(31 * SECOND_NS);
    assert!(keyed.allow("newcomer", 1, quota) && keyed.allow("debtor", 100, quota));
    // What will never be full again is not evicted for anybody.
    let keyed: Keyed<Name, _> = Keyed::with_clock(KeyedOptions { max_keys: 1, over_cap, shards: 4 }, || 0);
    assert!(keyed.allow("blocked", 1, Quota::new(Rate::ZERO, 1)));
    let denied = keyed.try_acquire("newcomer", 1, quota).unwrap_err();
    assert_eq!((denied.bound, denied.retry_after), (Bound::Keys, RetryAfter::Never));
}

/// Once a mistake: what came back for a key without a slot was lost, and the key came back owing it.
#[test]
fn what_comes_back_for_a_key_that_had_to_go_is_not_owed_any_more() {
    let options = KeyedOptions { max_keys: 1, over_cap: OverCap::EvictIndebted, shards: 4 };
    let keyed: Keyed<Name, _> = Keyed::with_clock(options, || 0);
    let quota = per_second(10, 100);
    let permit = keyed.try_acquire("blue", 100, quota).unwrap();
    assert!(keyed.allow("green", 1, quota) && keyed.peek("blue").is_none());
    permit.release();
    assert!(keyed.allow("blue", 100, quota) && !keyed.allow("blue", 1, quota));
    // In part, and the rest when the key is held again.
    let keyed: Keyed<Name, _> = Keyed::with_clock(options, || 0);
    let mut permit = keyed.try_acquire("blue", 100, quota).unwrap();
    assert!(keyed.allow("green", 1, quota));
    permit.shrink_to(40);
    assert!(keyed.allow("blue", 60, quota) && !keyed.allow("blue", 1, quota));
    permit.release();
    assert_eq!(keyed.peek("blue").unwrap().available, 40);
}

/// Once a mistake: a debt was remembered as the instant at which it would be paid, at whatever rate.
#[test]
fn a_debt_is_the_same_in_tokens_when_the_rate_has_changed_meanwhile() {
    for (rate, wait_ms) in [(1, 201_000), (10, 20_100), (1_000, 201)] {
        let options = KeyedOptions { max_keys: 1, over_cap: OverCap::EvictIndebted, shards: 4 };
        let keyed: Keyed<Name, _> = Keyed::with_clock(options, || 0);
        let quota = per_second(10, 100).oversize(Oversize::WhenFull);
        assert!(keyed.allow("debtor", 300, quota) && keyed.allow("newcomer", 1, quota));
        let denied =
            keyed.try_acquire("debtor", 1, Quota { rate: Rate::per_second(rate), ..quota }).unwrap_err();
        assert_eq!(denied.retry_after, RetryAfter::After(Duration::from_millis(wait_ms)));
    }
}

/// What [`OverCap::EvictIndebted`] says of those that went before the last 1,024.
#[test]
fn of_those_who_went_long_ago_is_known_when_they_will_have_paid() {
    let options = KeyedOptions { max_keys: 1, over_cap: OverCap::EvictIndebted, shards: 1 };
    let keyed: Keyed<u64, _> = Keyed::with_clock(options, || 0);
    let quota = per_second(10, 100).oversize(Oversize::WhenFull);
    let permit = keyed.try_acquire(&u64::MAX, 300, quota).unwrap();
    for key in 0..=1_024 {
        assert!(keyed.allow(&key, 1, quota));
    }
    permit.release();
    let denied = keyed.try_acquire(&u64::MAX, 1, quota).unwrap_err();
    assert_eq!(denied.retry_after, RetryAfter::After(Duration::from_millis(20_100)));
}

/// Once a mistake: a debtor that was blocked meanwhile was remembered as one that will never have paid, and so was
/// whoever falls on its place in the sketch.
#[test]
fn of_one_that_was_blocked_while_it_was_away_nothing_is_remembered_for_ever() {
    let options = KeyedOptions { max_keys: 1, over_cap: OverCap::EvictIndebted, shards: 1 };
    let keyed: Keyed<u64, _> = Keyed::with_clock(options, || 0);
    let quota = per_second(10, 100).oversize(Oversize::WhenFull);
    assert!(keyed.allow(&u64::MAX, 300, quota) && keyed.allow(&0, 1, quota));
    assert!(!keyed.allow(&u64::MAX, 1, Quota { rate: Rate::ZERO, ..quota }));
    for key in 1..=1_025 {
        assert!(keyed.allow(&key, 1, quota));
    }
    assert!(keyed.check(&u64::MAX, 1, quota).is_ok());
}

#[test]
fn check_takes_nothing_stores_nothing_and_says_what_taking_would() {
    let keyed: Keyed<Name, _> = Keyed::with_clock(capped(10), || 0);
    assert!(keyed.check("blue", 5, per_second(1, 5)).is_ok() && keyed.is_empty());
    assert!(keyed.allow("blue", 3, per_second(1, 5)));
    assert!(keyed.check("blue", 2, per_second(1, 5)).is_ok());
    assert_eq!(
        keyed.check("blue", 3, per_second(1, 5)),
        keyed.try_acquire("blue", 3, per_second(1, 5)).map(drop)
    );
    assert!(keyed.check("blue", 9, Quota::UNLIMITED).is_ok());
    assert_eq!(keyed.peek("blue").unwrap().available, 2);
}

#[test]
fn a_rate_that_wraps_the_counter_is_turned_for_all_of_its_keys() {
    let clock = Cell::new(0);
    let keyed: Keyed<u64, _> = Keyed::with_clock(KeyedOptions { shards: 1, ..capped(100) }, || clock.get());
    let fast = Quota::new(Rate::per_second(u64::MAX), 10);
    for step in 0..200 {
        clock.set(step * SECOND_NS / 10);
        // Those with a long period are idle while the counter goes round.
        for key in [1, 3, 7, 11, 17] {
            if step % key == 0 {
                assert!(keyed.allow(&key, 10, fast) && !keyed.allow(&key, 1, fast), "{key} at {step}");
            }
        }
    }
}

/// Once a mistake: a check charged and gave back, under the quota that it asked about.
#[test]
fn a_check_leaves_bucket_and_quota_as_they_are() {
    let clock = Cell::new(0);
    let keyed: Keyed<u64, _> = Keyed::with_clock(capped(10), || clock.get());
    let quota = per_second(10, 100);
    assert!(keyed.allow(&1, 10, quota));
    let denied = keyed.check(&1, 6, per_second(1, 5)).unwrap_err();
    assert_eq!((denied.bound, denied.available, denied.burst), (Bound::Burst, 5, 5));
    assert!(keyed.check(&1, 5, per_second(1, 5)).is_ok());
    clock.set(SECOND_NS / 2);
    let bucket = keyed.peek(&1).unwrap();
    assert_eq!((bucket.available, bucket.rate, bucket.burst), (95, quota.rate, 100));

    // With more than 2^32 ns a token, a bucket that was charged and given back is short of a fraction.
    let daily = Quota::new(Rate::per(1, Duration::from_secs(86_400)), 5);
    assert!(keyed.allow(&2, 1, daily));
    clock.set(86_400 * SECOND_NS + SECOND_NS / 2);
    assert!(keyed.check(&2, 5, daily).is_ok());
    assert!(keyed.peek(&2).unwrap().is_full());
    let former = KeyedOptions { max_keys: 1, over_cap: OverCap::EvictIndebted, shards: 1 };
    let keyed: Keyed<u64, _> = Keyed::with_clock(former, || clock.get());
    assert!(keyed.allow(&1, 10, quota) && keyed.allow(&2, 1, quota));
    assert!(keyed.check(&1, 5, per_second(1, 5)).is_ok());
    assert!(keyed.allow(&1, 90, quota));
}

#[test]
fn a_rate_that_wraps_the_counter_is_turned_for_keys_that_had_to_go() {
    let clock = Cell::new(0);
    let options = KeyedOptions { max_keys: 1, over_cap: OverCap::EvictIndebted, shards: 1 };
    let keyed: Keyed<u64, _> = Keyed::with_clock(options, || clock.get());
    let fast = Quota::new(Rate::per_second(u64::MAX), 10);
    for second in 0..5 {
        clock.set(second * SECOND_NS);
        assert!(keyed.allow(&1, 10, fast) && keyed.check(&1, 1, fast).is_err());
        assert!(keyed.allow(&2, 10, fast), "the other has to go");
        assert!(keyed.check(&1, 1, fast).is_err());
        clock.set(clock.get() + SECOND_NS / 2);
        assert!(keyed.check(&1, 10, fast).is_ok() && keyed.check(&2, 10, fast).is_ok());
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Take { key: u8, tokens: u64 },
    Return { key: u8, tokens: u64 },
    Pass { ns: u64 },
    EvictFull,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..12_u8, 0..120_u64).prop_map(|(key, tokens)| Step::Take { key, tokens }),
        1 => (0..12_u8, 0..20_u64).prop_map(|(key, tokens)| Step::Return { key, tokens }),
        4 => (0..SECOND_NS).prop_map(|ns| Step::Pass { ns }),
        1 => Just(Step::EvictFull),
    ]
}

/// Quotas differ by key, and rates change with every tenth second.
fn quota_of(key: u8, now_ns: u64) -> Quota {
    let change = now_ns / (10 * SECOND_NS) % 3;
    let rate = Rate::per(u64::from(key) * 7 + 3 + change, Duration::from_secs(1 + change));
    let oversize = if key.is_multiple_of(2) { Oversize::Reject } else { Oversize::WhenFull };
    Quota { rate, burst: 60 + u64::from(key), oversize }
}

fn assert_decides_as_unbounded(steps: &[Step], max_keys: usize, over_cap: OverCap) {
    let clock = Cell::new(0);
    let options = KeyedOptions { over_cap, ..capped(max_keys) };
    let keyed: Keyed<u8, _> = Keyed::with_clock(options, || clock.get());
    let mut kept: HashMap<u8, Bucket> = HashMap::new();
    for &step in steps {
        let now_ns = clock.get();
        match step {
            Step::Take { key, tokens } => {
                let quota = quota_of(key, now_ns);
                let bucket = kept.entry(key).or_insert_with(|| Bucket::full(quota, now_ns));
                let before = *bucket;
                if bucket.quota() != quota {
                    bucket.reconfigure(now_ns, quota);
                }
                let expected = bucket.try_acquire(now_ns, tokens);
                match keyed.try_acquire(&key, tokens, quota) {
                    // The table is full of keys in use: as if the request had not been made.
                    Err(denied) if denied.bound == Bound::Keys => *bucket = before,
                    found => assert_eq!(found.map(|_| ()), expected),
                }
            }
            Step::Return { key, tokens } => {
                keyed.release(&key, tokens);
                if let Some(bucket) = kept.get_mut(&key) {
                    bucket.release(now_ns, tokens);
                }
            }
            Step::Pass { ns } => clock.set(now_ns + ns),
            Step::EvictFull => {
                keyed.evict_full();
                let in_use = kept.values().filter(|bucket| !bucket.is_full(now_ns)).count();
                assert!(keyed.len() == in_use || over_cap == OverCap::EvictIndebted);
            }
        }
        assert!(keyed.len() <= max_keys);
    }
}

/// Once a mistake: the only slot is taken by the first key that pays, and requests for nothing take none.
#[test]
fn requests_for_nothing_leave_the_only_slot_to_the_first_that_pays() {
    let take = |key, tokens| Step::Take { key, tokens };
    let steps = [take(3, 0), take(4, 0), Step::Pass { ns: 1 }, take(0, 0), take(3, 16), take(3, 48)];
    assert_decides_as_unbounded(&steps, 1, OverCap::DenyNew);
}

/// Once a mistake: returns and refusals between evictions, with five slots for eight keys.
#[test]
fn a_busy_table_with_returns_decides_as_one_that_keeps_every_bucket() {
    let take = |key, tokens| Step::Take { key, tokens };
    let put = |key, tokens| Step::Return { key, tokens };
    let pass = |ns| Step::Pass { ns };
    #[rustfmt::skip]
    let steps = [
        take(1, 80), put(9, 11), take(9, 38), take(3, 22), take(8, 5), pass(973_277_433), take(9, 92),
        pass(399_176_301), take(7, 27), pass(825_741_971), take(3, 71), pass(57_786_558), take(5, 54),
        pass(291_900_533), put(3, 16), take(3, 94), Step::EvictFull, pass(300_691_106), take(1, 28),
        pass(925_690_694), take(9, 49), take(7, 68), take(9, 52),
    ];
    assert_decides_as_unbounded(&steps, 5, OverCap::DenyNew);
}

proptest! {
    /// P9. Evicting full buckets changes no decision, nor does evicting those in debt: against a map that keeps
    /// every bucket for ever.
    #[test]
    fn a_bounded_table_decides_as_one_that_keeps_every_bucket(
        steps in prop::collection::vec(step(), 1..300),
        max_keys in 1..12_usize,
        evicts in any::<bool>(),
    ) {
        let over_cap = if evicts { OverCap::EvictIndebted } else { OverCap::DenyNew };
        assert_decides_as_unbounded(&steps, max_keys, over_cap);
    }

    /// P1 for every key, where buckets in debt have to go: no window of any key holds more than its quota lets
    /// pass, whatever was forgotten in between.
    #[test]
    fn whoever_has_to_go_never_passes_more_than_the_quota(
        steps in prop::collection::vec((0..12_u64, 1..50_u64, 0..SECOND_NS / 3), 1..300),
        max_keys in 1..6_usize,
    ) {
        let clock = Cell::new(0);
        let options = KeyedOptions { over_cap: OverCap::EvictIndebted, shards: 2, ..capped(max_keys) };
        let keyed: Keyed<u64, _> = Keyed::with_clock(options, || clock.get());
        let mut admitted: HashMap<u64, Vec<(u64, u64)>> = HashMap::new();
        for (key, tokens, step_ns) in steps {
            clock.set(clock.get() + step_ns);
            // A rate with more than 2^32 nanoseconds in lowest terms among them.
            let rate = Rate::per(key * 7 + 3, Duration::from_nanos(SECOND_NS + key * 1_000_000_007));
            let result = keyed.try_acquire(&key, tokens, Quota::new(rate, 60)).map(drop);
            prop_assert!(result.is_ok_and(|()| {
                admitted.entry(key).or_default().push((clock.get(), tokens));
                true
            }) || result.is_err_and(|denied| denied.bound == Bound::Rate), "a new key always finds a slot");
            prop_assert!(keyed.len() <= max_keys);
        }
        for (key, admitted) in admitted {
            for (first, &(start_ns, _)) in admitted.iter().enumerate() {
                let mut sum = 0;
                for &(end_ns, tokens) in &admitted[first..] {
                    sum += tokens;
                    let minted = u128::from(key * 7 + 3) * u128::from(end_ns - start_ns)
                        / u128::from(SECOND_NS + key * 1_000_000_007);
                    prop_assert!(u128::from(sum) <= 60 + minted, "{} of {}", sum, 60 + minted);
                }
            }
        }
    }
}
