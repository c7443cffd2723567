use proptest::prelude::*;

use super::*;

const SLOW_NS: u64 = 8_000_000;

fn ring() -> InFlight {
    InFlight::new(NonZeroU16::MIN, SLOW_NS)
}

#[test]
fn a_call_is_slow_after_slow_call_and_at_most_an_eighth_later() {
    let ring = ring();
    let place = ring.enter(0).unwrap();
    assert_eq!((ring.slow(SLOW_NS - 1), ring.slow(SLOW_NS + SLOW_NS / 8)), (0, 1));
    ring.enter(SLOW_NS / 8 - 1).unwrap();
    assert_eq!((ring.slow(SLOW_NS + SLOW_NS / 8 - 1), ring.slow(SLOW_NS + SLOW_NS / 8)), (0, 2));
    ring.leave(place);
    assert_eq!((ring.slow(2 * SLOW_NS), ring.all()), (1, 1));
}

#[test]
fn a_place_in_another_ring_is_not_left_here() {
    let (ring, next) = (ring(), InFlight::new(NonZeroU16::MAX, SLOW_NS));
    let place = ring.enter(0).unwrap();
    next.enter(0).unwrap();
    next.leave(place);
    assert_eq!((ring.all(), next.all()), (1, 1));
}

#[test]
fn the_end_of_time_has_places_too() {
    let ring = InFlight::new(NonZeroU16::MIN, InFlight::LEAST_SLOW_CALL_NS);
    for now_ns in [0, u64::MAX - 1, u64::MAX, 3] {
        let place = ring.enter(now_ns).unwrap();
        ring.enter(now_ns).unwrap();
        ring.leave(place);
    }
    assert_eq!((ring.slow(u64::MAX), ring.all()), (1, 4));
}

proptest! {
    #[test]
    fn a_ring_counts_what_a_list_of_beginnings_counts(
        steps in prop::collection::vec((0..SLOW_NS, any::<usize>(), 0..3_u8), 0..300),
    ) {
        let ring = ring();
        let (mut now_ns, mut calls) = (0, Vec::new());
        for (later_ns, which, step) in steps {
            now_ns += later_ns * u64::from(later_ns % 3 == 0);
            if step == 0 && !calls.is_empty() {
                let (place, _) = calls.swap_remove(which % calls.len());
                ring.leave(place);
            } else {
                calls.push((ring.enter(now_ns).unwrap(), now_ns));
            }
            let slice_ns = SLOW_NS / 8;
            let slow = calls.iter().filter(|(_, at_ns)| now_ns / slice_ns - at_ns / slice_ns >= 9).count();
            prop_assert_eq!((ring.slow(now_ns), ring.all()), (slow as u64, calls.len() as u64));
        }
    }
}
