//! The timestamps of one stream's lines, so that no two of its equal lines become one: the server keeps equal lines
//! with equal times once.
//!
//! T1: of lines that say the same time, the second has a nanosecond more, the third two. T2: lines that are stamped with
//! the time of reading rise strictly, unless the clock was set back by more than a minute: then they follow it, since
//! servers refuse what is of tomorrow. Both are kept with the offset, so that a line that is sent again after a restart
//! has the time that it had.

use serde::{Deserialize, Serialize};

/// Times that are remembered: as many as lines of threads that log at once may alternate between.
const REMEMBERED: usize = 16;
/// A clock that is further behind was set back.
const SET_BACK_NS: i64 = 60_000_000_000;

/// What was given to the lines so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Times {
    read_ns: i64,
    /// Times that lines said, the last first, and how often each was repeated.
    said: Vec<(i64, u32)>,
}

impl Times {
    /// For a line that was read at `wall_ns` and says no time.
    pub fn read_at(&mut self, wall_ns: i64) -> i64 {
        let next = self.read_ns.saturating_add(1);
        let set_back = next.saturating_sub(wall_ns) > SET_BACK_NS;
        self.read_ns = if set_back { wall_ns } else { wall_ns.max(next) };
        self.read_ns
    }

    /// For a line that says it is of `said_ns`.
    pub fn said(&mut self, said_ns: i64) -> i64 {
        let known = self.said.iter().position(|&(ns, _)| ns == said_ns);
        let (_, repeats) = known.map_or((said_ns, 0), |at| self.said.remove(at));
        self.said.truncate(REMEMBERED - 1);
        self.said.insert(0, (said_ns, repeats.saturating_add(1)));
        said_ns.saturating_add(i64::from(repeats))
    }

    /// For a line that should say its time and does not, read at `wall_ns`: that of the line before it.
    pub fn silent(&mut self, wall_ns: i64) -> i64 {
        match self.said.first() {
            Some(&(said_ns, _)) => self.said(said_ns),
            None => self.read_at(wall_ns),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_of_a_time_rise_by_a_nanosecond_even_where_they_alternate() {
        let mut times = Times::default();
        let given = [100, 100, 200, 100, 200, 50].map(|said| times.said(said));
        assert_eq!(given, [100, 101, 200, 102, 201, 50]);
        assert_eq!((times.silent(9), times.silent(9), times.said(50)), (51, 52, 53));
    }

    #[test]
    fn times_of_reading_rise_although_the_clock_does_not() {
        let mut times = Times::default();
        assert_eq!([5, 5, 3, 9].map(|wall| times.read_at(wall)), [5, 6, 7, 9]);
        assert_eq!(Times::default().silent(7), 7, "nothing was said before");
    }

    /// It stamped lines a day ahead for a day once, and servers refused them.
    #[test]
    fn times_of_reading_follow_a_clock_that_is_set_back() {
        let mut times = Times::default();
        let day = 86_400_000_000_000;
        assert_eq!([day, 10, 10, 11].map(|wall| times.read_at(wall)), [day, 10, 11, 12]);
        let minute = 12 + SET_BACK_NS;
        assert_eq!([minute, 13, 12].map(|wall| times.read_at(wall)), [minute, minute + 1, 12]);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_survives_being_written() {
        let mut times = Times::default();
        (0..1_000).for_each(|said| _ = times.said(said));
        assert_eq!(times.said.len(), REMEMBERED);
        let mut read: Times = serde_json::from_str(&serde_json::to_string(&times).unwrap()).unwrap();
        assert_eq!((read.said(999), times.said(999)), (1000, 1000));
        times.said(i64::MAX);
        assert_eq!(times.said(i64::MAX), i64::MAX);
    }
}
