//! When a breaker has to open, by lists of everything that happened in a closed period: slow and plain.

use std::time::Duration;

use forebay_circuit::{Options, Outcome, Rate, Trip, Window};

/// One closed period.
pub(crate) struct Oracle {
    trip: Trip,
    slow_ns: u64,
    ended: Vec<Ended>,
    in_flight: Vec<(u64, u64)>,
    failures: u32,
    /// The newest eighth of `slow_call` in which a call was asked for.
    newest: u64,
}

struct Ended {
    at_ns: u64,
    failed: bool,
    slow: bool,
}

impl Oracle {
    pub(crate) fn new(options: &Options) -> Self {
        let slow_ns = ns(options.slow_call);
        let trip = options.trip.clone();
        Self { trip, slow_ns, ended: Vec::new(), in_flight: Vec::new(), failures: 0, newest: 0 }
    }

    /// The same conditions have other numbers.
    pub(crate) fn judge_by(&mut self, options: &Options) {
        self.trip = options.trip.clone();
    }

    /// Another period begins.
    pub(crate) fn forget(&mut self) {
        self.ended.clear();
        self.in_flight.clear();
        (self.failures, self.newest) = (0, 0);
    }

    pub(crate) fn minds_slow(&self) -> bool {
        conditions(&self.trip).iter().any(|trip| matches!(trip, Trip::SlowRate(_) | Trip::SlowInFlight(_)))
    }

    /// A call is asked for. Whether the breaker opens instead.
    pub(crate) fn begins(&mut self, now_ns: u64) -> bool {
        let slice = self.slice(now_ns);
        let watches = conditions(&self.trip).iter().any(|trip| matches!(trip, Trip::SlowInFlight(_)));
        if !watches || slice <= self.newest {
            return false;
        }
        self.newest = slice;
        self.holds(&self.trip, now_ns)
    }

    pub(crate) fn enter(&mut self, id: u64, now_ns: u64) {
        self.in_flight.push((id, now_ns));
    }

    pub(crate) fn leave(&mut self, id: u64) {
        self.in_flight.retain(|(other, _)| *other != id);
    }

    /// A call ended. Whether the breaker opens.
    pub(crate) fn ends(&mut self, at_ns: u64, outcome: Outcome, slow: bool) -> bool {
        let failed = match outcome {
            Outcome::Ignored => return false,
            Outcome::Success => false,
            Outcome::Failure | Outcome::Throttled(_) => true,
        };
        self.failures = if failed { self.failures + 1 } else { 0 };
        self.ended.push(Ended { at_ns, failed, slow });
        (failed || slow) && self.holds(&self.trip, at_ns)
    }

    /// What each condition reads.
    pub(crate) fn readings(&self, now_ns: u64, shown_failures: u32) -> Vec<(u64, Option<u64>)> {
        let reading = |trip: &Trip| match trip {
            Trip::Consecutive(_) => (u64::from(shown_failures), None),
            Trip::FailureRate(rate) => self.window(rate, now_ns, |ended| ended.failed),
            Trip::SlowRate(rate) => self.window(rate, now_ns, |ended| ended.slow),
            Trip::SlowInFlight(_) => (self.slow(now_ns), Some(self.in_flight.len() as u64)),
            Trip::Any(_) | Trip::All(_) => panic!("not a condition"),
        };
        conditions(&self.trip).into_iter().map(reading).collect()
    }

    fn holds(&self, trip: &Trip, now_ns: u64) -> bool {
        match trip {
            Trip::Consecutive(failures) => self.failures >= *failures,
            Trip::FailureRate(rate) => reaches(rate, self.window(rate, now_ns, |ended| ended.failed)),
            Trip::SlowRate(rate) => reaches(rate, self.window(rate, now_ns, |ended| ended.slow)),
            Trip::SlowInFlight(calls) => self.slow(now_ns) >= u64::from(*calls),
            Trip::Any(trips) => trips.iter().any(|trip| self.holds(trip, now_ns)),
            Trip::All(trips) => trips.iter().all(|trip| self.holds(trip, now_ns)),
        }
    }

    fn window(&self, rate: &Rate, now_ns: u64, hit: impl Fn(&Ended) -> bool) -> (u64, Option<u64>) {
        let held: Vec<&Ended> = match rate.over {
            Window::Calls(calls) => self.ended.iter().rev().take(calls as usize).collect(),
            Window::Time { span, slices } => {
                let slice_ns = ns(span).div_ceil(u64::from(slices));
                let age = |ended: &Ended| now_ns / slice_ns - ended.at_ns / slice_ns;
                self.ended.iter().filter(|ended| age(ended) < u64::from(slices)).collect()
            }
        };
        let hits = held.iter().filter(|ended| hit(ended)).count() as u64;
        (hits, Some(held.len() as u64))
    }

    fn slow(&self, now_ns: u64) -> u64 {
        // The clock that the breaker goes by here does not go back.
        let slow = |began_ns: u64| self.slice(now_ns) - self.slice(began_ns) >= 9;
        self.in_flight.iter().filter(|(_, began_ns)| slow(*began_ns)).count() as u64
    }

    fn slice(&self, at_ns: u64) -> u64 {
        at_ns / (self.slow_ns / 8)
    }
}

fn reaches(rate: &Rate, (hits, calls): (u64, Option<u64>)) -> bool {
    let calls = calls.unwrap_or(0);
    calls >= u64::from(rate.min_calls) && hits * 1_000 >= calls * u64::from(rate.permille)
}

fn conditions(trip: &Trip) -> Vec<&Trip> {
    match trip {
        Trip::Any(trips) | Trip::All(trips) => trips.iter().flat_map(conditions).collect(),
        condition => vec![condition],
    }
}

fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).expect("tests take no centuries")
}
