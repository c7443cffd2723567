use super::*;
use proptest::prelude::*;

proptest! {
    #[test]
    fn sums_are_those_of_a_naive_scan(
        entries in prop::collection::vec((-50..50_i64, 0..9_u64), 0..40),
        start in -30..30_i64,
        width in 0..60_i64,
        step in 1..9_i64,
        range in 1..25_i64,
    ) {
        let grid = Grid { start_ns: start, end_ns: start + width, step_ns: step };
        let mut steps = Steps::new(grid, range);
        entries.iter().for_each(|(t, value)| steps.add(*t, *value));
        let naive: Vec<(i64, u64)> = (0..)
            .map(|i| start + i * step)
            .take_while(|t| *t <= grid.end_ns)
            .map(|t| (t, entries.iter().filter(|(x, _)| *x > t - range && *x <= t).map(|(_, value)| value).collect()))
            .filter(|(_, within): &(i64, Vec<&u64>)| !within.is_empty())
            .map(|(t, within)| (t, within.into_iter().sum()))
            .collect();
        prop_assert_eq!(steps.sums().map(|(number, sum)| (grid.at(number), sum)).collect::<Vec<_>>(), naive);
    }

    #[test]
    fn no_time_overflows(start: i64, end: i64, step in 1..i64::MAX, range in 1..i64::MAX, at: i64) {
        let end_ns = if (i128::from(end) - i128::from(start)) / i128::from(step) < i128::from(MAX_POINTS) { end } else { start };
        let grid = Grid { start_ns: start, end_ns, step_ns: step };
        let mut steps = Steps::new(grid, range);
        steps.add(at, u64::MAX);
        prop_assert!(steps.sums().all(|(number, sum)| grid.at(number) >= start && sum == i64::MAX.unsigned_abs()));
    }
}
