//! S1–S4 and S6–S9 over random options, calls, results, losses and times, beside a naive oracle that keeps lists.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod oracle;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use forebay_circuit::{
    Breaker, Calls, Cause, Control, OnDrop, Options, Outcome, OwnedPermit, Phase, Rate, Snapshot, State,
    Transition, Trip, Verdict, Window,
};
use oracle::Oracle;
use proptest::prelude::*;

const MS: u64 = 1_000_000;

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
    Control(Control),
    Reconfigure(Change),
}

/// Other numbers for the same conditions.
#[derive(Clone, Copy, Debug)]
struct Change {
    permille: u32,
    calls: u32,
    probes: u32,
    verdict: Verdict,
    open_ms: u64,
    times: u32,
    round_ms: u64,
    on_drop: OnDrop,
    count_calls: bool,
}

impl Change {
    fn apply(&self, before: &Options) -> Options {
        Options {
            trip: self.trip(&before.trip),
            on_drop: self.on_drop,
            open_for: Duration::from_millis(self.open_ms),
            max_open_for: Duration::from_millis(self.open_ms) * self.times,
            half_open_probes: self.probes,
            verdict: self.verdict,
            half_open_max_wait: Duration::from_millis(self.round_ms),
            count_calls: self.count_calls,
            ..before.clone()
        }
    }

    fn trip(&self, before: &Trip) -> Trip {
        let rate = |Rate { over, .. }: Rate| {
            let most = if let Window::Calls(calls) = over { calls } else { self.calls };
            Rate { permille: self.permille, min_calls: self.calls.min(most), over }
        };
        let all = |trips: &[Trip]| trips.iter().map(|trip| self.trip(trip)).collect();
        match before {
            Trip::Consecutive(_) => Trip::Consecutive(self.calls),
            Trip::FailureRate(of) => Trip::FailureRate(rate(*of)),
            Trip::SlowRate(of) => Trip::SlowRate(rate(*of)),
            Trip::SlowInFlight(_) => Trip::SlowInFlight(self.calls),
            Trip::Any(trips) => Trip::Any(all(trips)),
            Trip::All(trips) => Trip::All(all(trips)),
        }
    }
}

fn change() -> impl Strategy<Value = Change> {
    let numbers = (1..=1_000_u32, 1..6_u32, 1..5_u32);
    let waits = (1..300_u64, 1..8_u32, 1..600_u64);
    (numbers, waits, verdict(), on_drop(), any::<bool>()).prop_map(
        |((permille, calls, probes), (open_ms, times, round_ms), verdict, on_drop, count_calls)| Change {
            permille,
            calls,
            probes,
            verdict,
            open_ms,
            times,
            round_ms,
            on_drop,
            count_calls,
        },
    )
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        (1..5_u32).prop_map(Verdict::Successes),
        (1..5_u32, any::<u32>()).prop_map(|(of, any)| Verdict::Rate { of, max_failures: any % of }),
    ]
}

fn on_drop() -> impl Strategy<Value = OnDrop> {
    prop_oneof![Just(OnDrop::Ignore), Just(OnDrop::Fail), Just(OnDrop::FailIfSlow)]
}

fn step() -> impl Strategy<Value = Step> {
    let outcome = prop_oneof![
        4 => Just(Outcome::Success),
        6 => Just(Outcome::Failure),
        1 => (0..500_u64).prop_map(|ms| Outcome::Throttled(Some(Duration::from_millis(ms)))),
        1 => Just(Outcome::Throttled(None)),
        1 => Just(Outcome::Ignored),
    ];
    let control = prop_oneof![
        3 => Just(Control::Automatic),
        1 => Just(Control::ForcedOpen),
        1 => Just(Control::ForcedClosed),
        1 => Just(Control::Disabled),
        1 => Just(Control::MetricsOnly),
    ];
    prop_oneof![
        30 => Just(Step::Acquire),
        22 => (any::<usize>(), outcome).prop_map(|(place, outcome)| Step::Settle(place, outcome)),
        3 => any::<usize>().prop_map(Step::Drop),
        3 => any::<usize>().prop_map(Step::Leak),
        12 => prop_oneof![4 => 0..50_u64, 1 => 0..3_000_u64].prop_map(|ms| Step::Pass { ms }),
        1 => control.prop_map(Step::Control),
        1 => change().prop_map(Step::Reconfigure),
    ]
}

fn trip() -> impl Strategy<Value = Trip> {
    let over = prop_oneof![
        (1..12_u32).prop_map(Window::Calls),
        (1..8_u32, 1..80_u64).prop_map(|(slices, ms)| {
            let span = Duration::from_millis(ms) * slices;
            Window::Time { span, slices }
        }),
    ];
    // Shares that few calls make exactly, too.
    let permille = prop_oneof![1..=1_000_u32, prop::sample::select(vec![200, 250, 500, 600, 750, 1_000])];
    let rate = (permille, 1..6_u32, over).prop_map(|(permille, min_calls, over)| {
        let most = if let Window::Calls(calls) = over { calls } else { min_calls };
        Rate { permille, min_calls: min_calls.min(most), over }
    });
    let leaf = prop_oneof![
        2 => (1..5_u32).prop_map(Trip::Consecutive),
        2 => rate.clone().prop_map(Trip::FailureRate),
        1 => rate.prop_map(Trip::SlowRate),
        1 => (1..4_u32).prop_map(Trip::SlowInFlight),
    ];
    leaf.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..3).prop_map(Trip::Any),
            prop::collection::vec(inner, 1..3).prop_map(Trip::All),
        ]
    })
}

fn options() -> impl Strategy<Value = Options> {
    let waits = (1..300_u64, 1..8_u32, 0..=100_u32, any::<u64>());
    (trip(), on_drop(), verdict(), 1..5_u32, waits).prop_map(
        |(trip, on_drop, verdict, half_open_probes, (open_ms, times, jitter_percent, seed))| Options {
            trip,
            slow_call: Duration::from_millis(40),
            on_drop,
            open_for: Duration::from_millis(open_ms),
            max_open_for: Duration::from_millis(open_ms) * times,
            jitter_percent,
            seed,
            half_open_probes,
            verdict,
            half_open_max_wait: Duration::from_millis(400),
            reset_after: Duration::from_millis(1_000),
            count_calls: true,
        },
    )
}

type Clock = Box<dyn Fn() -> u64 + Send + Sync>;

/// A permit with what is known of it.
struct Held {
    permit: OwnedPermit<Clock>,
    generation: u64,
    round: u32,
    phase: Phase,
    started_ns: u64,
    /// Whether the breaker noted when it began.
    timed: bool,
    id: u64,
}

/// A breaker with everything that was seen of it.
struct Run {
    options: Options,
    breaker: Breaker<Clock>,
    now_ns: Arc<AtomicU64>,
    told: Arc<Mutex<Vec<Transition>>>,
    permits: Vec<Held>,
    ids: u64,
    /// Slots of each generation and half-open round that have not come back, leaked ones included.
    out: HashMap<(u64, u32), u32>,
    /// Slots that were out when their number was made smaller.
    excess: u32,
    /// Probes of this generation that succeeded, and that failed.
    probed: (u32, u32),
    oracle: Oracle,
    calls: Calls,
}

impl Run {
    fn new(options: Options) -> Self {
        let now_ns = Arc::new(AtomicU64::new(0));
        let told = Arc::new(Mutex::new(Vec::new()));
        let (clock, log) = (Arc::clone(&now_ns), Arc::clone(&told));
        let clock: Clock = Box::new(move || clock.load(Ordering::SeqCst));
        let observer = move |transition| log.lock().unwrap().push(transition);
        let breaker = Breaker::with_observer(options.clone(), clock, observer).unwrap();
        let oracle = Oracle::new(&options);
        let (permits, out, calls) = (Vec::new(), HashMap::new(), Calls::default());
        Self {
            options,
            breaker,
            now_ns,
            told,
            permits,
            ids: 0,
            out,
            excess: 0,
            probed: (0, 0),
            oracle,
            calls,
        }
    }

    fn now_ns(&self) -> u64 {
        self.now_ns.load(Ordering::SeqCst)
    }

    fn take(&mut self, step: Step) {
        let generation = self.breaker.snapshot().generation;
        match step {
            Step::Acquire => self.acquire(),
            Step::Settle(place, outcome) => self.settle(place, Some(outcome)),
            Step::Drop(place) => self.settle(place, None),
            Step::Leak(place) => {
                if !self.permits.is_empty() {
                    let held = self.permits.swap_remove(place % self.permits.len());
                    std::mem::forget(held.permit);
                }
            }
            Step::Pass { ms } => {
                self.now_ns.fetch_add(ms * MS, Ordering::SeqCst);
            }
            Step::Control(Control::Automatic) => self.breaker.reset(),
            Step::Control(Control::ForcedOpen) => self.breaker.force_open(),
            Step::Control(Control::ForcedClosed) => self.breaker.force_close(),
            Step::Control(Control::Disabled) => self.breaker.disable(),
            Step::Control(Control::MetricsOnly) => self.breaker.metrics_only(),
            Step::Reconfigure(change) => self.reconfigure(change),
        }
        if self.breaker.snapshot().generation != generation {
            self.oracle.forget();
            self.probed = (0, 0);
        }
        self.check();
    }

    fn reconfigure(&mut self, change: Change) {
        let mut before = self.breaker.snapshot();
        if self.options.verdict != change.verdict {
            (self.probed, before.successes, before.failures) = ((0, 0), 0, 0);
        }
        self.options = change.apply(&self.options);
        self.oracle.judge_by(&self.options);
        self.breaker.reconfigure(self.options.clone()).unwrap();
        self.excess = before.in_flight;
        let mut after = self.breaker.snapshot();
        match (before.state, after.state) {
            (State::Open { retry_after }, State::Open { retry_after: left }) => {
                assert_eq!(left, retry_after.map(|wait| wait.min(self.options.max_open_for)));
            }
            (before, after) => assert_eq!(before, after),
        }
        after.state = before.state;
        assert_eq!(after, before, "what was counted stays");
    }

    fn acquire(&mut self) {
        let now_ns = self.now_ns();
        let before = self.breaker.snapshot();
        let closed = before.state == State::Closed;
        let watches = before.control != Control::Disabled;
        let judged = matches!(before.control, Control::Automatic | Control::MetricsOnly);
        let trips =
            closed && watches && self.oracle.begins(now_ns) && judged && before.control == Control::Automatic;
        let result = self.breaker.try_acquire_owned();
        let after = self.breaker.snapshot();
        if before.control != Control::Disabled {
            *(if result.is_ok() { &mut self.calls.admitted } else { &mut self.calls.rejected }) += 1;
        }
        if closed {
            assert_eq!(after.generation != before.generation, trips, "S6: at a call that is asked for");
            assert_eq!(result.is_err(), trips);
        }
        match (result, before.state) {
            (Ok(permit), _) => {
                let phase = after.state.phase();
                assert_ne!(phase, Phase::Open);
                if phase == Phase::HalfOpen {
                    *self.out.entry((after.generation, after.round)).or_default() += 1;
                } else if watches {
                    self.oracle.enter(self.ids, now_ns);
                }
                let Snapshot { generation, round, .. } = after;
                self.permits.push(Held {
                    permit,
                    generation,
                    round,
                    phase,
                    started_ns: now_ns,
                    timed: phase == Phase::HalfOpen
                        || self.oracle.minds_slow()
                        || self.options.on_drop == OnDrop::FailIfSlow,
                    id: self.ids,
                });
                self.ids += 1;
            }
            (Err(rejected), State::Open { retry_after }) => {
                assert_eq!((rejected.retry_after, rejected.state), (retry_after, before.state));
            }
            (Err(rejected), State::HalfOpen) => {
                assert!(before.in_flight >= self.options.half_open_probes);
                assert!(rejected.retry_after.unwrap() <= self.options.half_open_max_wait);
                assert!(rejected.retry_after.unwrap() > Duration::ZERO);
            }
            (Err(rejected), State::Closed) => {
                assert!(trips && rejected.state == after.state, "a closed breaker rejects");
            }
        }
    }

    fn settle(&mut self, place: usize, reported: Option<Outcome>) {
        if self.permits.is_empty() {
            return;
        }
        let held = self.permits.swap_remove(place % self.permits.len());
        let before = self.breaker.snapshot();
        let elapsed_ns = self.now_ns() - held.started_ns;
        let long = held.timed && elapsed_ns >= 40 * MS;
        let outcome = reported.unwrap_or(match self.options.on_drop {
            OnDrop::Fail => Outcome::Failure,
            OnDrop::FailIfSlow if long => Outcome::Failure,
            _ => Outcome::Ignored,
        });
        let slow = long && self.oracle.minds_slow();
        // What a drop means is asked only of a breaker that has not been switched off or forced meanwhile.
        let late = held.generation != before.generation;
        let tallied = before.calls.unwrap();
        match reported {
            Some(outcome) => held.permit.record(outcome),
            None => drop(held.permit),
        }
        let after = self.breaker.snapshot();
        self.count(tallied, after.calls.unwrap());
        if held.phase == Phase::HalfOpen {
            *self.out.get_mut(&(held.generation, held.round)).unwrap() -= 1;
        }
        let unjudged =
            matches!(before.control, Control::Disabled | Control::ForcedClosed | Control::ForcedOpen);
        if !late {
            self.oracle.leave(held.id);
        }
        if late || unjudged && held.phase == Phase::Closed {
            let mut same = after.clone();
            (same.calls, same.readings) = (before.calls, before.readings.clone());
            assert_eq!(same, before, "S3: a stale result changes nothing");
            if late {
                assert_eq!(before.readings, after.readings, "S3: and no window counts it");
            }
            if !late && before.control == Control::ForcedClosed {
                self.oracle.ends(self.now_ns(), outcome, slow);
            }
        } else if held.phase == Phase::Closed {
            let holds = self.oracle.ends(self.now_ns(), outcome, slow);
            let opens = holds && before.control == Control::Automatic;
            assert_eq!(
                after.generation != before.generation,
                opens,
                "S6: opens when it holds, and only then"
            );
            if opens {
                self.check_wait(&after, outcome);
            } else {
                let suppressed = after.suppressed_trips - before.suppressed_trips;
                assert_eq!(suppressed == 1, holds);
            }
        } else {
            let (succeeded, failed) = match outcome {
                Outcome::Ignored => (0, 0),
                Outcome::Success if !slow => (1, 0),
                _ => (0, 1),
            };
            if held.round != before.round && failed == 1 && self.probed.0 > 0 {
                let mut same = after;
                same.calls = before.calls;
                assert_eq!(same, before, "M3: others have succeeded since");
                return;
            }
            self.probed = (self.probed.0 + succeeded, self.probed.1 + failed);
            let (successes, failures) = self.probed;
            let (opens, closes) = match self.options.verdict {
                Verdict::Successes(needed) => (failures > 0, successes >= needed),
                Verdict::Rate { of, max_failures } => (failures > max_failures, successes + failures >= of),
            };
            let decided = (opens || closes) && outcome != Outcome::Ignored;
            assert_eq!(after.generation != before.generation, decided);
            assert_eq!(after.state == State::Closed, decided && !opens);
            if opens {
                self.check_wait(&after, outcome);
            }
        }
    }

    /// Hints lengthen, up to the cap, and never shorten.
    fn check_wait(&self, opened: &Snapshot, outcome: Outcome) {
        let State::Open { retry_after: Some(wait) } = opened.state else { panic!("{opened:?}") };
        let Options { open_for, max_open_for, jitter_percent, .. } = self.options;
        assert!(wait <= max_open_for && wait >= open_for * (100 - jitter_percent) / 100);
        if let Outcome::Throttled(Some(hint)) = outcome {
            assert!(wait >= hint.min(max_open_for));
        }
    }

    /// S8, for the calls: one more has ended, however.
    fn count(&mut self, before: Calls, after: Calls) {
        let ended = |calls: Calls| calls.succeeded + calls.failed + calls.ignored + calls.dropped;
        let more = ended(after) - ended(before);
        assert!(more <= 1 && after.in_flight + more == before.in_flight);
    }

    fn check(&self) {
        let snapshot = self.breaker.snapshot();
        assert_eq!(snapshot.state, self.breaker.state());
        // S2, by the permits themselves.
        let out = self.out.get(&(snapshot.generation, snapshot.round)).copied().unwrap_or(0);
        assert!(out <= self.options.half_open_probes.max(self.excess), "S2: {out} probes in flight");
        assert_eq!(snapshot.in_flight, out);
        if snapshot.state == State::HalfOpen {
            assert_eq!((snapshot.successes, snapshot.failures), self.probed);
        }
        // S8.
        let probes = snapshot.probes;
        let ended = probes.succeeded + probes.failed + probes.ignored + probes.void;
        assert_eq!(probes.issued, ended + u64::from(snapshot.in_flight), "S8: {probes:?}");
        let calls = snapshot.calls.unwrap();
        assert_eq!((calls.admitted, calls.rejected), (self.calls.admitted, self.calls.rejected), "S8");
        // S5, as it is shown.
        if snapshot.state == State::Closed && snapshot.control != Control::Disabled {
            let shown: Vec<_> = snapshot.readings.iter().map(|shown| (shown.hits, shown.calls)).collect();
            assert_eq!(shown, self.oracle.readings(self.now_ns(), snapshot.consecutive_failures), "S5");
        }
    }

    /// S1 and S7, over everything that was told.
    fn check_told(&self) {
        let told = self.told.lock().unwrap();
        assert_eq!(told.len() as u64, self.breaker.snapshot().transitions);
        let mut phase = Phase::Closed;
        for (transition, sequence) in told.iter().zip(1..) {
            assert_eq!((transition.sequence, transition.from), (sequence, phase));
            phase = transition.to;
            let trip = [Cause::ConsecutiveFailures, Cause::FailureRate, Cause::SlowRate, Cause::SlowInFlight];
            let legal = match (transition.from, transition.to) {
                (Phase::Closed, Phase::Open) => trip.contains(&transition.cause),
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
        self.permits.drain(..).for_each(|held| std::mem::forget(held.permit));
        if self.breaker.snapshot().control != Control::Automatic {
            self.breaker.reset();
        }
        // Lost calls may have grown slow: then this one opens it.
        self.breaker.try_acquire().into_iter().for_each(|permit| permit.success());
        let longest = self.options.max_open_for + self.options.half_open_max_wait;
        self.now_ns.fetch_add(u64::try_from(longest.as_nanos()).unwrap(), Ordering::SeqCst);
        if self.breaker.state() == State::Closed {
            return;
        }
        let (Verdict::Successes(needed) | Verdict::Rate { of: needed, .. }) = self.options.verdict;
        for _ in 0..needed {
            self.breaker.try_acquire().expect("S4: no call may be rejected any more").success();
        }
        assert_eq!(self.breaker.state(), State::Closed, "S4");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_breaker_keeps_its_promises_through_anything(
        options in options(),
        steps in prop::collection::vec(step(), 1..250),
    ) {
        let mut run = Run::new(options.clone());
        steps.iter().for_each(|step| run.take(*step));
        run.check_told();
        run.recover();
        run.check_told();

        // S9.
        let mut again = Run::new(options);
        steps.iter().for_each(|step| again.take(*step));
        again.recover();
        prop_assert_eq!(&*again.told.lock().unwrap(), &*run.told.lock().unwrap());
        prop_assert_eq!(again.breaker.snapshot(), run.breaker.snapshot());
    }
}
