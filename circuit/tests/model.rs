//! S1–S4 and S7–S9 over random calls, results, losses and times.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use forebay_circuit::{Breaker, Cause, Options, Outcome, Permit, Phase, Snapshot, State, Transition};
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    Acquire,
    /// The permit at this place, counted round.
    Settle(usize, Outcome),
    Drop(usize),
    Leak(usize),
    Pass {
        ms: u64,
    },
    ForceOpen,
    ForceClose,
    Reset,
}

fn step() -> impl Strategy<Value = Step> {
    let outcome = prop_oneof![
        2 => Just(Outcome::Success),
        4 => Just(Outcome::Failure),
        1 => Just(Outcome::Ignored),
    ];
    prop_oneof![
        30 => Just(Step::Acquire),
        20 => (any::<usize>(), outcome).prop_map(|(place, outcome)| Step::Settle(place, outcome)),
        3 => any::<usize>().prop_map(Step::Drop),
        3 => any::<usize>().prop_map(Step::Leak),
        12 => prop_oneof![0..50_u64, 0..3_000_u64].prop_map(|ms| Step::Pass { ms }),
        1 => Just(Step::ForceOpen),
        1 => Just(Step::ForceClose),
        2 => Just(Step::Reset),
    ]
}

fn options() -> impl Strategy<Value = Options> {
    (1..5_u32, 1..5_u32, 1..5_u32, 1..300_u64, 1..8_u32, 0..=100_u32, any::<u64>()).prop_map(
        |(failure_threshold, half_open_probes, close_after, open_ms, times, jitter_percent, seed)| Options {
            failure_threshold,
            half_open_probes,
            close_after,
            open_for: Duration::from_millis(open_ms),
            max_open_for: Duration::from_millis(open_ms) * times,
            jitter_percent,
            seed,
            half_open_max_wait: Duration::from_millis(400),
            reset_after: Duration::from_millis(1_000),
        },
    )
}

type Clock = Box<dyn Fn() -> u64 + Send + Sync>;

/// A breaker with everything that was seen of it.
struct Run {
    options: Options,
    breaker: Breaker<Clock>,
    now_ns: Arc<AtomicU64>,
    told: Arc<Mutex<Vec<Transition>>>,
    /// With the generation, round and phase that issued them.
    permits: Vec<(Permit<Clock>, (u64, u64), Phase)>,
    /// Slots of each generation and half-open round that have not come back, leaked ones included.
    out: HashMap<(u64, u64), u32>,
    /// Failures in a row, as a naive observer counts them.
    failures: u32,
}

impl Run {
    fn new(options: Options) -> Self {
        let now_ns = Arc::new(AtomicU64::new(0));
        let told = Arc::new(Mutex::new(Vec::new()));
        let (clock, log) = (Arc::clone(&now_ns), Arc::clone(&told));
        let clock: Clock = Box::new(move || clock.load(Ordering::SeqCst));
        let observer = move |transition| log.lock().unwrap().push(transition);
        let breaker = Breaker::with_observer(options, clock, observer).unwrap();
        Self { options, breaker, now_ns, told, permits: Vec::new(), out: HashMap::new(), failures: 0 }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Acquire => self.acquire(),
            Step::Settle(place, outcome) => self.settle(place, |permit| permit.record(outcome), outcome),
            Step::Drop(place) => self.settle(place, drop, Outcome::Ignored),
            Step::Leak(place) => {
                if !self.permits.is_empty() {
                    let (permit, ..) = self.permits.swap_remove(place % self.permits.len());
                    std::mem::forget(permit);
                }
            }
            Step::Pass { ms } => {
                self.now_ns.fetch_add(ms * 1_000_000, Ordering::SeqCst);
            }
            Step::ForceOpen => self.breaker.force_open(),
            Step::ForceClose => self.breaker.force_close(),
            Step::Reset => self.breaker.reset(),
        }
        self.check();
    }

    fn acquire(&mut self) {
        let before = self.breaker.snapshot();
        let result = self.breaker.try_acquire();
        let after = self.breaker.snapshot();
        match (result, before.state) {
            (Ok(permit), _) => {
                assert_ne!(after.state.phase(), Phase::Open);
                let round = (after.generation, after.round);
                self.permits.push((permit, round, after.state.phase()));
                if after.state == State::HalfOpen {
                    *self.out.entry(round).or_default() += 1;
                }
            }
            (Err(rejected), State::Open { retry_after }) => {
                assert_eq!((rejected.retry_after, rejected.state), (retry_after, before.state));
            }
            (Err(rejected), State::HalfOpen) => {
                assert_eq!(before.in_flight, self.options.half_open_probes);
                assert!(rejected.retry_after.unwrap() <= self.options.half_open_max_wait);
                assert!(rejected.retry_after.unwrap() > Duration::ZERO);
            }
            (Err(_), State::Closed) => panic!("a closed breaker rejects"),
        }
    }

    fn settle(&mut self, place: usize, how: impl FnOnce(Permit<Clock>), outcome: Outcome) {
        if self.permits.is_empty() {
            return;
        }
        let (permit, round, phase) = self.permits.swap_remove(place % self.permits.len());
        let before = self.breaker.snapshot();
        how(permit);
        let after = self.breaker.snapshot();
        if phase == Phase::HalfOpen {
            *self.out.get_mut(&round).unwrap() -= 1;
        }
        if round.0 != before.generation || before.forced {
            assert_eq!(after, before, "S3: a stale result changes nothing");
        } else if phase == Phase::Closed {
            self.failures = match outcome {
                Outcome::Failure => before.consecutive_failures + 1,
                Outcome::Success => 0,
                Outcome::Ignored => before.consecutive_failures,
            };
            let opens = self.failures >= self.options.failure_threshold;
            assert_eq!(
                after.generation != before.generation,
                opens,
                "opens at the threshold, and only there"
            );
            assert!(opens || after.consecutive_failures == self.failures);
        } else {
            let closes = outcome == Outcome::Success && before.successes + 1 == self.options.close_after;
            let decided = closes || outcome == Outcome::Failure;
            assert_eq!(after.generation != before.generation, decided);
            assert_eq!(after.state == State::Closed, closes);
        }
    }

    fn check(&self) {
        let snapshot = self.breaker.snapshot();
        assert_eq!(snapshot.state, self.breaker.state());
        // S2, by the permits themselves.
        let out = self.out.get(&(snapshot.generation, snapshot.round)).copied().unwrap_or(0);
        assert!(out <= self.options.half_open_probes, "S2: {out} probes in flight");
        assert_eq!(snapshot.in_flight, out);
        // S8.
        let probes = snapshot.probes;
        let ended = probes.succeeded + probes.failed + probes.ignored + probes.void;
        assert_eq!(probes.issued, ended + u64::from(snapshot.in_flight), "S8: {probes:?}");
        if let State::Open { retry_after: Some(wait) } = snapshot.state {
            assert!(wait <= self.options.max_open_for);
        }
    }

    /// S1 and S7, over everything that was told.
    fn check_told(&self, snapshot: Snapshot) {
        let told = self.told.lock().unwrap();
        assert_eq!(told.len() as u64, snapshot.transitions);
        let mut phase = Phase::Closed;
        for (transition, sequence) in told.iter().zip(1..) {
            assert_eq!((transition.sequence, transition.from), (sequence, phase));
            phase = transition.to;
            let legal = match (transition.from, transition.to) {
                (Phase::Closed, Phase::Open) => transition.cause == Cause::Failures,
                (Phase::Open, Phase::HalfOpen) => transition.cause == Cause::WaitOver,
                (Phase::HalfOpen, Phase::Open) => transition.cause == Cause::ProbeFailed,
                (Phase::HalfOpen, Phase::Closed) => transition.cause == Cause::ProbesSucceeded,
                _ => false,
            };
            let manual = transition.cause == Cause::Manual && transition.to != Phase::HalfOpen;
            assert!(legal || manual, "S1: {transition:?}");
        }
    }

    /// S4: with every permit out there lost, the endpoint well and the waits over, the breaker closes.
    fn recover(&mut self) {
        self.permits.drain(..).for_each(|(permit, ..)| std::mem::forget(permit));
        if self.breaker.snapshot().forced {
            self.breaker.reset();
        }
        let longest = self.options.max_open_for + self.options.half_open_max_wait;
        self.now_ns.fetch_add(u64::try_from(longest.as_nanos()).unwrap(), Ordering::SeqCst);
        for _ in 0..self.options.close_after {
            self.breaker.try_acquire().expect("S4: no call may be rejected any more").success();
        }
        assert_eq!(self.breaker.state(), State::Closed, "S4");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_breaker_keeps_its_promises_through_anything(
        options in options(),
        steps in prop::collection::vec(step(), 1..250),
    ) {
        let mut run = Run::new(options);
        steps.iter().for_each(|step| run.take(*step));
        run.check_told(run.breaker.snapshot());
        run.recover();
        run.check_told(run.breaker.snapshot());

        // S9.
        let mut again = Run::new(options);
        steps.iter().for_each(|step| again.take(*step));
        again.recover();
        prop_assert_eq!(&*again.told.lock().unwrap(), &*run.told.lock().unwrap());
        prop_assert_eq!(again.breaker.snapshot(), run.breaker.snapshot());
    }
}
