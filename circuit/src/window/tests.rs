use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

fn one(hit: bool) -> Totals {
    Totals { calls: 1, hits: u64::from(hit) }
}

#[test]
fn a_window_of_calls_slides() {
    let window = CountWindow::new(3);
    for (hit, calls, hits) in
        [(true, 1, 1), (true, 2, 2), (false, 3, 2), (false, 3, 1), (false, 3, 0), (true, 3, 1)]
    {
        window.add(hit);
        assert_eq!(window.totals(), Totals { calls, hits });
    }
}

#[test]
fn a_window_of_time_forgets_slice_by_slice_and_not_more() {
    let window = TimeWindow::new(1_000, 10);
    window.add(one(true), 50);
    window.add(one(false), 150);
    assert_eq!(window.totals(999), Totals { calls: 2, hits: 1 });
    assert_eq!(window.totals(1_000), Totals { calls: 1, hits: 0 });
    assert_eq!(window.totals(1_100), Totals::default());
    // Looking ahead forgets nothing.
    assert_eq!(window.totals(999), Totals { calls: 2, hits: 1 });
}

#[test]
fn a_clock_that_goes_back_adds_to_the_newest_slice() {
    let window = TimeWindow::new(1_000, 10);
    window.add(one(true), 5_000);
    window.add(one(true), 0);
    assert_eq!(window.totals(0), Totals { calls: 2, hits: 2 });
    assert_eq!(window.totals(5_900), Totals { calls: 2, hits: 2 });
    assert_eq!(window.totals(6_000), Totals::default());
}

#[test]
fn a_slice_that_is_crowded_is_halved_and_keeps_its_rate() {
    let window = TimeWindow::new(1_000, 1);
    for call in 0..1_200_000_u64 {
        window.add(one(call % 4 == 0), 1_000);
    }
    let Totals { calls, hits } = window.totals(1_000);
    assert!((1 << 18..1 << 19).contains(&calls), "{calls}");
    assert!((hits * 1_000 / calls).abs_diff(250) <= 1, "{hits} of {calls}");
    window.add(one(true), 2_000);
    assert_eq!(window.totals(2_000), one(true));
}

/// A limit, and what it comes to: where 1 of 1,000 failed in a slice of 5 million and all in one of 1,000, 12 of
/// 10,000 have failed, and 30 to 50 are counted.
#[test]
fn a_crowded_slice_counts_for_less_beside_one_that_is_not() {
    let window = TimeWindow::new(2_000, 2);
    for call in 0..5_000_000_u64 {
        window.add(one(call % 1_000 == 0), 0);
    }
    (0..1_000).for_each(|_| window.add(one(true), 1_000));
    let Totals { calls, hits } = window.totals(1_000);
    assert!((1 << 18..1 << 19).contains(&(calls - 1_000)), "{calls}");
    assert!((30..50).contains(&(hits * 10_000 / calls)), "{hits} of {calls}");
}

#[test]
fn the_end_of_time_is_a_slice_like_others() {
    for slices in [1, 2, 10, 1_024] {
        let window = TimeWindow::new(u64::from(slices), slices);
        for now_ns in [0, u64::MAX - 1, u64::MAX, 0] {
            window.add(one(true), now_ns);
        }
        assert_eq!(window.totals(u64::MAX).calls, if slices == 1 { 2 } else { 3 });
        let other = TimeWindow::new(u64::MAX, slices);
        other.inherit(&window, u64::MAX);
        window.inherit(&other, u64::MAX);
    }
}

fn naive_time(ended: &[(u64, bool)], slice_ns: u64, slices: u64, now_ns: u64) -> Totals {
    let newest = now_ns / slice_ns;
    let held = ended.iter().filter(|(at_ns, _)| newest - at_ns / slice_ns < slices);
    held.fold(Totals::default(), |totals, (_, hit)| Totals {
        calls: totals.calls + 1,
        hits: totals.hits + u64::from(*hit),
    })
}

proptest! {
    /// S5.
    #[test]
    fn a_window_of_calls_holds_what_a_list_of_them_holds(
        capacity in 1..200_u32,
        outcomes in prop::collection::vec(any::<bool>(), 0..600),
        next_capacity in 1..200_u32,
    ) {
        let window = CountWindow::new(capacity);
        let mut list = VecDeque::new();
        for hit in outcomes {
            window.add(hit);
            list.push_back(hit);
            if list.len() > capacity as usize {
                list.pop_front();
            }
            let hits = list.iter().filter(|hit| **hit).count() as u64;
            prop_assert_eq!(window.totals(), Totals { calls: list.len() as u64, hits });
        }
        let next = CountWindow::new(next_capacity);
        next.inherit(&window);
        let newest: Vec<bool> = list.iter().rev().take(next_capacity as usize).copied().collect();
        let hits = newest.iter().filter(|hit| **hit).count() as u64;
        prop_assert_eq!(next.totals(), Totals { calls: newest.len() as u64, hits });
    }

    /// S5.
    #[test]
    fn a_window_of_time_holds_what_a_list_of_ends_holds(
        slices in 1..20_u32,
        slice_ns in 1..1_000_u64,
        start_ns in prop_oneof![Just(0), 0..u64::MAX / 2],
        ends in prop::collection::vec((prop_oneof![0..10_u64, 0..3_000_u64, 0..100_000_u64], any::<bool>()), 0..300),
        next_slices in 1..20_u32,
    ) {
        let window = TimeWindow::new(slice_ns * u64::from(slices), slices);
        let (mut now_ns, mut list) = (start_ns, Vec::new());
        for (later_ns, hit) in ends {
            now_ns += later_ns;
            window.add(one(hit), now_ns);
            list.push((now_ns, hit));
            prop_assert_eq!(window.totals(now_ns), naive_time(&list, slice_ns, slices.into(), now_ns));
        }
        // The same slices, more or fewer of them: exact, and the oldest go.
        let next = TimeWindow::new(slice_ns * u64::from(next_slices), next_slices);
        next.inherit(&window, now_ns);
        let kept = u64::from(slices.min(next_slices));
        prop_assert_eq!(next.totals(now_ns), naive_time(&list, slice_ns, kept, now_ns));
    }
}
