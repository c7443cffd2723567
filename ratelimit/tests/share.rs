//! One limit for several instances.

use std::cell::Cell;
use std::time::Duration;

use forebay_ratelimit::{
    Demand, Keyed, KeyedOptions, Limiter, Quota, Rate, Share, ShareError, ShareOptions, Strategy as Divide,
};
use proptest::prelude::*;

const SECOND_NS: u64 = 1_000_000_000;
const GLOBAL: Quota = Quota::new(Rate::per_second(1_000), 20);

fn share(strategy: Divide) -> Share {
    Share::new(ShareOptions { strategy, settle: Duration::from_secs(10), min_burst: 0 })
        .expect("within 0 to 1")
}

fn per_second(share: &Share) -> Rate {
    share.quota(GLOBAL).rate
}

#[test]
fn the_strategies_divide_as_they_say() {
    let mut local = share(Divide::Local);
    local.instances(7, 0);
    assert_eq!(local.quota(GLOBAL), GLOBAL);
    let mut even = share(Divide::Even);
    assert_eq!(even.quota(GLOBAL), GLOBAL, "before anybody was heard of");
    even.instances(3, 0);
    assert_eq!(per_second(&even), Rate::per(1_000, Duration::from_secs(3)));
    let fixed = share(Divide::Fixed(0.25));
    assert_eq!(per_second(&fixed), Rate::per_second(250));
    let mut weighted = share(Divide::Weighted { floor: 0.5 });
    weighted.instances(4, 0);
    assert_eq!(per_second(&weighted), Rate::per_second(250), "even until a demand is known");
    weighted.demand(300.0, 400.0);
    assert_eq!(per_second(&weighted), Rate::per_second(500));
    weighted.demand(0.0, 400.0);
    assert_eq!(per_second(&weighted), Rate::per_second(125));
    for (own, total) in [(f64::NAN, 1.0), (1.0, 0.0), (-1.0, 2.0), (1.0, f64::INFINITY)] {
        weighted.demand(own, total);
        assert_eq!(per_second(&weighted), Rate::per_second(250));
    }
}

#[test]
fn unlimited_and_zero_stay_and_bursts_are_not_divided() {
    let options = ShareOptions { strategy: Divide::Even, min_burst: 500, ..Default::default() };
    let mut even = Share::new(options).unwrap();
    even.instances(10, 0);
    assert_eq!(even.quota(Quota::UNLIMITED), Quota::UNLIMITED);
    assert_eq!(even.quota(Quota::new(Rate::ZERO, 5)).rate, Rate::ZERO);
    assert_eq!((even.quota(GLOBAL).burst, even.quota(Quota { burst: 600, ..GLOBAL }).burst), (500, 600));
    // What is too fine for a fraction of 64 bits is rounded down and not up.
    let day = Rate::per(u64::MAX, Duration::from_nanos(u64::MAX - 1));
    even.instances(u32::MAX, 0);
    let part = even.quota(Quota::new(day, 1)).rate.as_f64_per_second() * f64::from(u32::MAX);
    assert!((0.999..=1.000_001).contains(&(part / day.as_f64_per_second())), "{part}");
}

#[test]
fn what_is_no_part_is_refused_with_its_value() {
    for part in [-0.1, 1.01, f64::NAN, f64::INFINITY, 1e-5, f64::MIN_POSITIVE] {
        for strategy in [Divide::Fixed(part), Divide::Weighted { floor: part }] {
            let error = Share::new(ShareOptions { strategy, ..Default::default() }).unwrap_err();
            let ShareError::OutOfRange(found) = error else { panic!("another error") };
            assert!(found.to_bits() == part.to_bits());
            assert_eq!(error.to_string(), format!("a share of {part} is neither 0 nor within 1/65536 to 1"));
        }
    }
}

/// Once a mistake: a part below 1/65536, or below a token in 584 years, was no rate at all.
#[test]
fn a_part_of_something_is_never_nothing() {
    for (floor, healthy) in [(0.1, 6_554), (0.001, 66), (1.0, 70_000), (0.01, 1_000_000)] {
        let mut weighted = share(Divide::Weighted { floor });
        weighted.instances(healthy, 0);
        weighted.demand(0.0, 400.0);
        let all = weighted.fraction() * f64::from(healthy);
        assert!((0.95 * floor..=floor).contains(&all), "{floor} over {healthy}: {all}");
    }
    let fixed = share(Divide::Fixed(1.0 / 65_536.0));
    assert_eq!(per_second(&fixed), Rate::per(1_000, Duration::from_secs(65_536)));
    let mut even = share(Divide::Even);
    even.instances(7_200, 0);
    let monthly = Quota::new(Rate::per(1, Duration::from_secs(30 * 86_400)), 1);
    assert_eq!(even.quota(monthly).rate, Rate::per(1, Duration::MAX));
}

#[test]
fn a_count_that_flaps_gives_nobody_more_and_one_that_stays_down_does() {
    let mut even = share(Divide::Even);
    even.instances(4, 0);
    // Down to 3 and to none at all, but never for ten seconds.
    for (second, healthy) in (1..60).zip([3, 0, 4].into_iter().cycle()) {
        even.instances(healthy, second * SECOND_NS);
        assert_eq!(per_second(&even), Rate::per_second(250));
    }
    even.instances(5, 60 * SECOND_NS);
    assert_eq!(per_second(&even), Rate::per_second(200), "more instances are believed at once");
    even.instances(2, 61 * SECOND_NS);
    even.instances(4, 65 * SECOND_NS);
    even.instances(2, 71 * SECOND_NS - 1);
    assert_eq!(even.believed_instances(), 5);
    even.instances(2, 71 * SECOND_NS);
    assert_eq!(even.believed_instances(), 4, "the largest number of the ten seconds");
    even.instances(2, 81 * SECOND_NS);
    assert_eq!(even.believed_instances(), 2);
}

/// Loki: without a healthy instance the limit is that of one alone.
#[test]
fn no_healthy_instance_is_the_full_rate() {
    let mut even = share(Divide::Even);
    even.instances(0, 0);
    assert_eq!(even.quota(GLOBAL), GLOBAL);
    even.instances(4, 0);
    even.instances(0, 0);
    even.instances(0, 10 * SECOND_NS);
    assert_eq!(even.quota(GLOBAL), GLOBAL);
}

#[test]
fn a_refusal_quotes_the_limit_that_was_configured() {
    let mut even = share(Divide::Even);
    even.instances(4, 0);
    let limiter = Limiter::with_clock(even.quota(GLOBAL), || 0);
    assert!(limiter.allow(20));
    let refusal = even.explain(GLOBAL, limiter.try_acquire(5).unwrap_err());
    assert_eq!(
        refusal.to_string(),
        "5 tokens exceed the rate of 250/s: 0 of 20 available, retry after 20ms; \
         this is 1/4 of the global limit of 1000/s, burst 20"
    );
    let fixed = share(Divide::Fixed(0.25)).explain(GLOBAL, refusal.denied).to_string();
    assert!(fixed.ends_with("this is 25.0 % of the global limit of 1000/s, burst 20"), "{fixed}");
    let local = share(Divide::Local).explain(GLOBAL, refusal.denied).to_string();
    assert!(local.ends_with("this is all of the global limit of 1000/s, burst 20"), "{local}");
}

#[test]
fn demand_fades_by_half_and_late_instants_do_no_harm() {
    let mut demand = Demand::new(Duration::from_secs(1));
    demand.record(1_000, 10 * SECOND_NS);
    let now = demand.per_second(10 * SECOND_NS);
    assert!((demand.per_second(13 * SECOND_NS) - now / 8.0).abs() < 1e-9);
    demand.record(1_000, 5 * SECOND_NS);
    assert!((demand.per_second(10 * SECOND_NS) - now * 2.0).abs() < 1e-9);
    assert!(demand.per_second(u64::MAX) < 1e-9);
    assert!(Demand::new(Duration::ZERO).per_second(0) < 1e-9);
}

proptest! {
    /// P11. Under any trace of health, with every serving instance knowing of those that serve, all of them
    /// together pass no more than the global rate and a burst each.
    #[test]
    fn all_instances_together_keep_to_the_global_limit(
        weighted in any::<bool>(),
        // Bursts of 2 and steps that mint 10 on average, so that what one instance has too much shows.
        trace in prop::collection::vec((0..6_u32, 1..20_000_000_u64, prop::array::uniform6(0..30_u64)), 1..60),
    ) {
        let global = Quota { burst: 2, ..GLOBAL };
        let clock = Cell::new(0);
        let strategy = if weighted { Divide::Weighted { floor: 0.2 } } else { Divide::Even };
        let mut shares = [share(strategy); 6];
        let tables: Vec<Keyed<u8, _>> =
            shares.iter().map(|_| Keyed::with_clock(KeyedOptions { shards: 1, ..Default::default() }, || clock.get())).collect();
        let mut passed = 0;
        let mut present = [false; 6];
        for (healthy, step_ns, demands) in trace {
            clock.set(clock.get() + step_ns);
            // The first of them serve; where the membership knows of none, one does.
            let serving = healthy.max(1) as usize;
            let total: u64 = demands[..serving].iter().sum();
            for (place, share) in shares.iter_mut().enumerate() {
                share.instances(healthy, clock.get());
                present[place] |= place < serving;
            }
            for place in 0..serving {
                shares[place].demand(demands[place] as f64, total as f64);
                let quota = shares[place].quota(global);
                // First what time has brought under the part of before, then under the new one.
                for _ in 0..40 {
                    passed += u64::from(tables[place].allow(&0, 1, quota));
                }
            }
            let minted = clock.get() * 1_000 / SECOND_NS;
            let bursts = global.burst * present.iter().filter(|&&present| present).count() as u64;
            // A token for every instance, whose bucket may have brought a part of one along.
            prop_assert!(passed <= minted + bursts + 6, "{} of {} and {}", passed, minted, bursts);
        }
    }

    /// S1 by arithmetic: parts of any demand add up to no more than the whole.
    #[test]
    fn weighted_parts_add_up_to_no_more_than_the_limit(
        demands in prop::collection::vec(0..1_000_000_u64, 1..50),
        floor in 0.0..=1.0,
        tokens in 1..u64::MAX,
    ) {
        let total: u64 = demands.iter().sum();
        let parts: Vec<Share> = demands.iter().map(|&own| {
            let mut part = share(Divide::Weighted { floor });
            part.instances(u32::try_from(demands.len()).unwrap(), 0);
            part.demand(own as f64, total as f64);
            part
        }).collect();
        let sum: f64 = parts.iter().map(Share::fraction).sum();
        prop_assert!(sum <= 1.0 + 1e-12, "{}", sum);
        let global = Quota::new(Rate::per_second(tokens), 1);
        let rates: f64 = parts.iter().map(|part| part.quota(global).rate.as_f64_per_second()).sum();
        prop_assert!(rates <= tokens as f64 * (1.0 + 1e-9), "{}", rates);
    }
}
