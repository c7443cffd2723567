//! When lines are due. Pure, and without drift: the n-th line is due n / rate after the start, however late the ones
//! before it were.

use std::time::Duration;

/// How many lines, and how fast.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Schedule {
    /// Lines a second; flat out where there is none.
    pub rate: Option<u64>,
    /// No more lines than this.
    pub lines: Option<u64>,
    /// No lines after this time.
    pub time: Option<Duration>,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Make so many lines, at least 1.
    Make(u64),
    /// Wait.
    Wait(Duration),
    /// There are no more.
    End,
}

const SECOND_NS: u128 = 1_000_000_000;

impl Schedule {
    /// What to do `elapsed` after the start, when `made` lines are made: at most `most` at once.
    pub fn next(&self, elapsed: Duration, made: u64, most: u64) -> Next {
        let left = self.lines.map_or(u64::MAX, |lines| lines.saturating_sub(made));
        let over = self.time.is_some_and(|time| elapsed >= time);
        // At the end, what was due before it is still made.
        let counted = self.time.map_or(elapsed, |time| elapsed.min(time));
        let due = match self.rate {
            Some(rate) => due(rate, counted, over).saturating_sub(made),
            None if over => 0,
            None => u64::MAX,
        };
        let make = due.min(left).min(most);
        if make > 0 {
            return Next::Make(make);
        }
        match self.rate {
            Some(rate) if left > 0 && !over => {
                let at_ns = (u128::from(made) * SECOND_NS).div_ceil(u128::from(rate.max(1)));
                let at = Duration::from_nanos(u64::try_from(at_ns).unwrap_or(u64::MAX));
                let until = self.time.map_or(at, |time| at.min(time));
                Next::Wait(until.saturating_sub(elapsed).max(Duration::from_nanos(1)))
            }
            _ => Next::End,
        }
    }
}

/// Lines that are due by then: the first at the start, and none at the very end.
fn due(rate: u64, elapsed: Duration, over: bool) -> u64 {
    let product = elapsed.as_nanos().saturating_mul(u128::from(rate));
    let due = if over { product.div_ceil(SECOND_NS) } else { product / SECOND_NS + 1 };
    u64::try_from(due).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Follows a schedule on a clock that stops for `late` at each look, and says when lines were made.
    fn run(schedule: Schedule, late: Duration) -> Vec<(Duration, u64)> {
        let (mut now, mut made, mut rounds) = (Duration::ZERO, 0, Vec::new());
        loop {
            match schedule.next(now, made, 1_000) {
                Next::Make(lines) => {
                    made += lines;
                    rounds.push((now, lines));
                }
                Next::Wait(time) => now += time + late,
                Next::End => return rounds,
            }
        }
    }

    #[test]
    fn a_rate_is_kept_without_drift_however_late_each_look_is() {
        for late in [0, 1, 700] {
            let schedule = Schedule { rate: Some(3), time: Some(Duration::from_secs(10)), lines: None };
            let rounds = run(schedule, Duration::from_millis(late));
            assert_eq!(rounds.iter().map(|(_, lines)| lines).sum::<u64>(), 30, "{late} ms late: {rounds:?}");
        }
        let rounds = run(Schedule { rate: Some(2), lines: Some(3), time: None }, Duration::ZERO);
        let at = |ms, lines| (Duration::from_millis(ms), lines);
        assert_eq!(rounds, [at(0, 1), at(500, 1), at(1_000, 1)]);
    }

    #[test]
    fn flat_out_ends_at_the_lines_or_the_time() {
        let lines = Schedule { lines: Some(2_500), ..Schedule::default() };
        assert_eq!(
            run(lines, Duration::ZERO).iter().map(|(_, lines)| *lines).collect::<Vec<_>>(),
            [1_000, 1_000, 500]
        );
        let time = Schedule { time: Some(Duration::from_secs(1)), ..Schedule::default() };
        assert_eq!(time.next(Duration::from_millis(999), 7, 10), Next::Make(10));
        assert_eq!(time.next(Duration::from_secs(1), 7, 10), Next::End);
        assert_eq!(Schedule { lines: Some(0), ..Schedule::default() }.next(Duration::ZERO, 0, 10), Next::End);
    }

    #[test]
    fn nothing_overflows() {
        let schedule = Schedule { rate: Some(u64::MAX), ..Schedule::default() };
        assert_eq!(schedule.next(Duration::MAX, 0, u64::MAX), Next::Make(u64::MAX));
        let slow = Schedule { rate: Some(1), ..Schedule::default() };
        assert!(matches!(slow.next(Duration::ZERO, u64::MAX, 1), Next::Wait(_)));
    }
}
