//! Adaptive throttling: how much is rejected, and that it follows what the endpoint accepts.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use forebay_circuit::{OptionsError, Throttle, ThrottleOptions};
use proptest::prelude::*;

fn throttle(
    options: ThrottleOptions,
) -> (Arc<AtomicU64>, Throttle<impl Fn() -> u64 + Send + Sync + 'static>) {
    let now_ns = Arc::new(AtomicU64::new(0));
    let clock = Arc::clone(&now_ns);
    (now_ns, Throttle::with_clock(options, move || clock.load(Ordering::SeqCst)).unwrap())
}

/// Of `calls`, how many reach an endpoint that accepts `accepted` of each thousand.
fn sent(throttle: &Throttle<impl Fn() -> u64>, calls: u64, accepted: u64) -> u64 {
    let mut sent = 0;
    for _ in 0..calls {
        if let Ok(permit) = throttle.try_acquire() {
            sent += 1;
            if sent * 7_919 % 1_000 < accepted { permit.accepted() } else { permit.refused() }
        }
    }
    sent
}

#[test]
fn an_endpoint_that_accepts_more_than_half_of_what_it_is_sent_is_hardly_throttled() {
    let (_, throttle) = throttle(ThrottleOptions::default());
    assert!(sent(&throttle, 10_000, 600) > 9_900);
    assert_eq!(throttle.rejected_permille(), 0);
}

#[test]
fn an_endpoint_that_refuses_everything_is_asked_rarely_but_asked() {
    let (_, throttle) = throttle(ThrottleOptions { seed: 3, ..ThrottleOptions::default() });
    sent(&throttle, 10_000, 0);
    let asked = sent(&throttle, 10_000, 0);
    // One in a hundred, by `max_rejected_permille`.
    assert!((60..140).contains(&asked), "{asked}");
    assert_eq!(throttle.rejected_permille(), 990);
    let mut throttled = (0..1_000).filter_map(|_| throttle.try_acquire().err());
    assert_eq!(
        throttled.next().unwrap().to_string(),
        "call was throttled, as are 990 of 1000 to this endpoint"
    );
}

#[test]
fn what_is_sent_is_about_k_times_what_is_accepted() {
    // An endpoint that accepts 100 calls of 1,000 asked for, whoever sends them: K = 2 sends it about 200.
    let (now_ns, throttle) = throttle(ThrottleOptions::default());
    let mut seconds = Vec::new();
    for second in 0..600_u64 {
        now_ns.store(second * 1_000_000_000, Ordering::SeqCst);
        let mut sent = 0;
        for _ in 0..1_000 {
            if let Ok(permit) = throttle.try_acquire() {
                sent += 1;
                if sent <= 100 { permit.accepted() } else { permit.refused() }
            }
        }
        seconds.push(sent);
    }
    let mean = seconds[300..].iter().sum::<u64>() / 300;
    assert!((190..215).contains(&mean), "{mean}");
}

#[test]
fn an_endpoint_that_works_again_is_called_again() {
    let window = Duration::from_secs(10);
    let (now_ns, throttle) = throttle(ThrottleOptions { window, ..ThrottleOptions::default() });
    sent(&throttle, 10_000, 0);
    // From one in a hundred on, what is sent doubles about once a window.
    for second in 0..100_u64 {
        now_ns.store(second * 1_000_000_000, Ordering::SeqCst);
        sent(&throttle, 100, 1_000);
    }
    assert_eq!(throttle.rejected_permille(), 0);
}

#[test]
fn nothing_is_rejected_before_there_are_enough_requests() {
    let (_, throttle) = throttle(ThrottleOptions { min_requests: 50, ..ThrottleOptions::default() });
    assert_eq!(sent(&throttle, 50, 0), 50);
    assert!(sent(&throttle, 1_000, 0) < 100);
}

#[test]
fn a_dropped_permit_says_nothing() {
    let (_, throttle) = throttle(ThrottleOptions::default());
    (0..1_000).for_each(|_| drop(throttle.try_acquire().unwrap()));
    assert_eq!(throttle.rejected_permille(), 0);
}

#[test]
fn an_owned_permit_reports_from_another_thread() {
    let throttle = Arc::new(throttle(ThrottleOptions { min_requests: 2, ..ThrottleOptions::default() }).1);
    for _ in 0..2 {
        let permit = throttle.try_acquire_owned().unwrap();
        let other = Arc::clone(&throttle);
        thread::spawn(move || {
            drop(other);
            permit.refused();
        })
        .join()
        .unwrap();
    }
    assert_eq!(throttle.rejected_permille(), 666);
    assert!((0..100).any(|_| throttle.try_acquire_owned().is_err()));
}

#[test]
fn the_same_seed_makes_the_same_decisions() {
    let run = |seed| {
        let (_, throttle) = throttle(ThrottleOptions { seed, ..ThrottleOptions::default() });
        (0..1_000).map(|_| throttle.try_acquire().map(|permit| permit.refused()).is_ok()).collect::<Vec<_>>()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn wrong_options_are_named() {
    let right = ThrottleOptions::default();
    let error = |options| Throttle::new(options).unwrap_err();
    assert!(matches!(
        error(ThrottleOptions { sent_per_accepted_percent: 99, ..right }),
        OptionsError::OutOfRange { option: "sent_per_accepted_percent", value: 99, least: 100, .. }
    ));
    assert!(matches!(
        error(ThrottleOptions { max_rejected_permille: 1_001, ..right }),
        OptionsError::OutOfRange { option: "max_rejected_permille", value: 1_001, .. }
    ));
    assert!(matches!(
        error(ThrottleOptions { window: Duration::ZERO, ..right }),
        OptionsError::TooShort { option: "window", .. }
    ));
    assert!(matches!(
        error(ThrottleOptions { slices: 0, ..right }),
        OptionsError::OutOfRange { option: "slices", .. }
    ));
    assert!(matches!(
        error(ThrottleOptions { slices: 2, min_requests: 524_289, ..right }),
        OptionsError::OutOfRange { option: "min_requests", value: 524_289, least: 0, most: 524_288 }
    ));
}

proptest! {
    /// The formula, by the numbers that the throttle has been told.
    #[test]
    fn the_probability_is_the_books(accepted in 0..500_u64, refused in 0..500_u64, k_percent in 100..400_u32) {
        let options = ThrottleOptions {
            sent_per_accepted_percent: k_percent,
            min_requests: 0,
            max_rejected_permille: 1_000,
            ..ThrottleOptions::default()
        };
        let (_, throttle) = throttle(options);
        // Permits first, so that none of them is rejected.
        let permits: Vec<_> = (0..accepted + refused).map(|_| throttle.try_acquire().unwrap()).collect();
        for (permit, place) in permits.into_iter().zip(0..) {
            if place < accepted { permit.accepted() } else { permit.refused() }
        }
        let (requests, accepts) = ((accepted + refused) as f64, accepted as f64);
        let expected = ((requests - f64::from(k_percent) / 100.0 * accepts) / (requests + 1.0)).max(0.0) * 1_000.0;
        let shown = f64::from(throttle.rejected_permille());
        prop_assert!(shown <= expected + 1e-6 && shown >= expected - 1.0, "{} but {}", shown, expected);
    }

    #[test]
    fn no_instant_and_no_seed_panics(
        options in (0..20_u32, any::<u64>(), 1..=1_024_u32),
        instants in prop::collection::vec(any::<u64>(), 1..50),
    ) {
        let (min_requests, seed, slices) = options;
        let window = Duration::from_nanos(u64::from(slices));
        let (now_ns, throttle) =
            throttle(ThrottleOptions { min_requests, seed, slices, window, ..ThrottleOptions::default() });
        for at_ns in instants {
            now_ns.store(at_ns, Ordering::SeqCst);
            if let Ok(permit) = throttle.try_acquire() {
                permit.refused();
            }
        }
    }
}
