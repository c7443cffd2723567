use super::*;
use crate::logql::Logs;
use proptest::prelude::*;

proptest! {
    #[test]
    fn counts_are_those_of_a_naive_scan(
        times in prop::collection::vec(-50..50_i64, 0..40),
        start in -30..30_i64,
        width in 0..60_i64,
        step in 1..9_i64,
        range in 1..25_i64,
    ) {
        let query = CountQuery {
            logs: Logs { matchers: Vec::new(), filters: Vec::new() },
            range_ns: range, offset_ns: 0, start_ns: start, end_ns: start + width, step_ns: step,
        };
        let mut steps = Steps::new(&query);
        times.iter().for_each(|t| steps.add(*t));
        let naive: Vec<(i64, u64)> = (0..)
            .map(|i| start + i * step)
            .take_while(|t| *t <= query.end_ns)
            .map(|t| (t, times.iter().filter(|x| **x > t - range && **x <= t).count() as u64))
            .filter(|(_, count)| *count > 0)
            .collect();
        prop_assert_eq!(steps.points(), naive);
    }

    #[test]
    fn no_time_overflows(start: i64, end: i64, step in 1..i64::MAX, range in 1..i64::MAX, at: i64) {
        let end_ns = if (i128::from(end) - i128::from(start)) / i128::from(step) < i128::from(MAX_POINTS) { end } else { start };
        let query = CountQuery {
            logs: Logs { matchers: Vec::new(), filters: Vec::new() },
            range_ns: range, offset_ns: 0, start_ns: start, end_ns, step_ns: step,
        };
        let mut steps = Steps::new(&query);
        steps.add(at);
        prop_assert!(steps.points().iter().all(|(_, count)| *count == 1));
    }
}
