use super::*;
use crate::options::Options;
use crate::trip::Trip;

const MS: u64 = 1_000_000;

fn options() -> Options {
    Options {
        trip: Trip::Consecutive(3),
        open_for: Duration::from_millis(100),
        max_open_for: Duration::from_millis(1_000),
        jitter_percent: 0,
        half_open_probes: 2,
        verdict: Verdict::Successes(2),
        half_open_max_wait: Duration::from_millis(500),
        reset_after: Duration::from_millis(10_000),
        ..Options::default()
    }
}

fn machine() -> Machine {
    with(options())
}

fn with(options: Options) -> Machine {
    Machine::new(Arc::new(Policy::try_from(options).unwrap()), 0, 0)
}

fn settle(machine: &mut Machine, ticket: Ticket, outcome: Outcome, now_ns: u64) -> Option<Transition> {
    machine.settle(ticket, outcome, now_ns, None)
}

fn snapshot(machine: &Machine, now_ns: u64) -> Snapshot {
    machine.snapshot(now_ns, None)
}

/// One call that ends at once.
fn call(machine: &mut Machine, outcome: Outcome, now_ns: u64) -> Option<Transition> {
    let ticket = machine.admit(now_ns).0.unwrap();
    settle(machine, ticket, outcome, now_ns)
}

fn trip(machine: &mut Machine, now_ns: u64) -> Transition {
    (0..3).find_map(|_| call(machine, Outcome::Failure, now_ns)).unwrap()
}

#[test]
fn failures_in_a_row_open_and_a_success_in_between_does_not() {
    let mut machine = machine();
    for outcome in [Outcome::Failure, Outcome::Failure, Outcome::Success, Outcome::Failure, Outcome::Ignored]
    {
        assert_eq!(call(&mut machine, outcome, 0), None);
    }
    assert_eq!(call(&mut machine, Outcome::Failure, 0), None);
    let opened = call(&mut machine, Outcome::Failure, 7).unwrap();
    assert_eq!(
        (opened.from, opened.to, opened.cause),
        (Phase::Closed, Phase::Open, Cause::ConsecutiveFailures)
    );
    assert_eq!((opened.sequence, opened.at_ns), (1, 7));
}

#[test]
fn open_rejects_until_its_wait_is_over_and_says_half_open_from_then_on() {
    let mut machine = machine();
    trip(&mut machine, 0);
    let rejected = machine.admit(100 * MS - 1).0.unwrap_err();
    assert_eq!(rejected.retry_after, Some(Duration::from_nanos(1)));
    assert_eq!(rejected.to_string(), "circuit breaker is open for 1ns");
    assert_eq!(machine.state(100 * MS - 1).phase(), Phase::Open);
    assert_eq!(machine.state(100 * MS), State::HalfOpen);
    let (ticket, transition) = machine.admit(100 * MS);
    assert!(ticket.is_ok());
    assert_eq!(transition.unwrap().cause, Cause::WaitOver);
}

#[test]
fn enough_good_probes_close_and_one_bad_probe_opens_for_twice_as_long() {
    let mut machine = machine();
    trip(&mut machine, 0);
    assert_eq!(call(&mut machine, Outcome::Success, 100 * MS), None);
    let opened = call(&mut machine, Outcome::Failure, 100 * MS).unwrap();
    assert_eq!((opened.from, opened.to, opened.cause), (Phase::HalfOpen, Phase::Open, Cause::ProbeFailed));
    assert_eq!(machine.state(100 * MS), State::Open { retry_after: Some(Duration::from_millis(200)) });

    assert_eq!(call(&mut machine, Outcome::Success, 300 * MS), None);
    let closed = call(&mut machine, Outcome::Success, 300 * MS).unwrap();
    assert_eq!((closed.to, closed.cause), (Phase::Closed, Cause::ProbesSucceeded));
}

#[test]
fn a_half_open_breaker_with_every_slot_taken_says_when_they_are_issued_again() {
    let mut machine = machine();
    trip(&mut machine, 0);
    let _first = machine.admit(100 * MS).0.unwrap();
    let _second = machine.admit(150 * MS).0.unwrap();
    let rejected = machine.admit(160 * MS).0.unwrap_err();
    // 500 ms after the last slot was issued.
    assert_eq!(rejected, Rejected { retry_after: Some(Duration::from_millis(490)), state: State::HalfOpen });
    assert_eq!(
        rejected.to_string(),
        "circuit breaker is half-open and every probe is out, retry after 490ms"
    );
}

#[test]
fn an_ignored_probe_gives_its_slot_back() {
    let mut machine = machine();
    trip(&mut machine, 0);
    for _ in 0..10 {
        assert_eq!(call(&mut machine, Outcome::Ignored, 100 * MS), None);
    }
    let snapshot = snapshot(&machine, 100 * MS);
    assert_eq!((snapshot.in_flight, snapshot.probes.ignored, snapshot.state), (0, 10, State::HalfOpen));
}

#[test]
fn the_wait_is_the_first_again_only_after_the_breaker_was_closed_for_long() {
    let mut machine = machine();
    let mut now_ns = 0;
    let mut recover_and_trip = |closed_for_ns| {
        now_ns += 1_000 * MS;
        call(&mut machine, Outcome::Success, now_ns);
        call(&mut machine, Outcome::Success, now_ns);
        now_ns += closed_for_ns;
        trip(&mut machine, now_ns);
        machine.state(now_ns)
    };
    recover_and_trip(10_000 * MS);
    for (closed_for_ns, wait_ms) in
        [(0, 200), (9_999 * MS, 400), (1, 800), (0, 1_000), (0, 1_000), (10_000 * MS, 100), (0, 200)]
    {
        let retry_after = Some(Duration::from_millis(wait_ms));
        assert_eq!(recover_and_trip(closed_for_ns), State::Open { retry_after });
    }
}

#[test]
fn a_ticket_of_another_generation_says_nothing() {
    let mut machine = machine();
    let [stale, later] = [(); 2].map(|()| machine.admit(0).0.unwrap());
    trip(&mut machine, 0);
    assert_eq!(settle(&mut machine, stale, Outcome::Failure, 0), None);
    let probe = machine.admit(100 * MS).0.unwrap();
    let before = snapshot(&machine, 100 * MS);
    assert_eq!(settle(&mut machine, later, Outcome::Success, 100 * MS), None);
    assert_eq!(snapshot(&machine, 100 * MS), before);
    assert_eq!(before.in_flight, 1);
    settle(&mut machine, probe, Outcome::Ignored, 100 * MS);
    assert_eq!(snapshot(&machine, 100 * MS).in_flight, 0);
}

#[test]
fn forced_states_stay_until_somebody_says_otherwise() {
    let mut machine = machine();
    assert_eq!(machine.control(Control::ForcedOpen, 0).unwrap().cause, Cause::Manual);
    assert_eq!(machine.state(u64::MAX), State::Open { retry_after: None });
    let rejected = machine.admit(u64::MAX).0.unwrap_err();
    assert_eq!(
        (rejected.retry_after, rejected.to_string().as_str()),
        (None, "circuit breaker is forced open")
    );

    assert!(machine.control(Control::ForcedClosed, 0).is_some());
    for _ in 0..100 {
        assert_eq!(call(&mut machine, Outcome::Failure, 0), None);
    }
    assert_eq!(snapshot(&machine, 0).control, Control::ForcedClosed);
    assert!(!machine.is_as_new(0, None));

    assert_eq!(machine.control(Control::Automatic, 0), None, "closed to closed is no transition");
    assert!(machine.is_as_new(0, None));
    trip(&mut machine, 0);
}

#[test]
fn the_end_of_time_does_not_panic() {
    let mut machine = machine();
    for now_ns in [0, u64::MAX - 1, u64::MAX, 0, u64::MAX] {
        for outcome in [Outcome::Failure, Outcome::Failure, Outcome::Failure, Outcome::Success] {
            if let (Ok(ticket), _) = machine.admit(now_ns) {
                settle(&mut machine, ticket, outcome, now_ns);
            }
        }
        snapshot(&machine, now_ns);
    }
}

#[test]
fn probes_slower_than_the_wait_close_the_breaker_too() {
    let mut machine = machine();
    trip(&mut machine, 0);
    let (mut slow, mut now_ns) = (Vec::new(), 100 * MS);
    // Steady traffic every 100 ms, each call takes 700 ms, the wait is 500 ms.
    let closed = loop {
        slow.extend(machine.admit(now_ns).0.ok().map(|ticket| (ticket, now_ns + 700 * MS)));
        if slow.first().is_some_and(|(_, ends_ns)| *ends_ns <= now_ns) {
            let (ticket, _) = slow.remove(0);
            if let Some(transition) = settle(&mut machine, ticket, Outcome::Success, now_ns) {
                break transition;
            }
        }
        now_ns += 100 * MS;
        assert!(now_ns < 5_000 * MS, "{:?}", snapshot(&machine, now_ns));
    };
    assert_eq!((closed.to, closed.at_ns), (Phase::Closed, 900 * MS));
    let probes = snapshot(&machine, now_ns).probes;
    assert_eq!(probes.issued, probes.succeeded + probes.void, "{probes:?}");
}

#[test]
fn a_lost_probe_that_fails_after_all_opens() {
    let mut machine = machine();
    trip(&mut machine, 0);
    let lost = machine.admit(100 * MS).0.unwrap();
    let _other = machine.admit(100 * MS).0.unwrap();
    let _next_round = machine.admit(600 * MS).0.unwrap();
    assert_eq!(snapshot(&machine, 600 * MS).round, 1);
    let opened = settle(&mut machine, lost, Outcome::Failure, 700 * MS).unwrap();
    assert_eq!((opened.to, opened.cause), (Phase::Open, Cause::ProbeFailed));
    let probes = snapshot(&machine, 700 * MS).probes;
    assert_eq!((probes.issued, probes.failed, probes.void), (3, 1, 2));
}

#[test]
fn a_ticket_of_another_machine_takes_no_slot_that_is_not_there() {
    let [mut one, mut other] = [machine(), machine()];
    let tickets = [&mut one, &mut other].map(|machine| {
        trip(machine, 0);
        machine.admit(100 * MS).0.unwrap()
    });
    let [of_one, of_other] = tickets;
    settle(&mut one, of_one, Outcome::Ignored, 100 * MS);
    settle(&mut one, of_other, Outcome::Ignored, 100 * MS);
    assert_eq!(snapshot(&one, 100 * MS).in_flight, 0);
}

#[test]
fn a_rate_of_probes_closes_with_failures_and_opens_with_one_too_many() {
    let verdict = Verdict::Rate { of: 4, max_failures: 1 };
    for (last, to) in [(Outcome::Success, Phase::Closed), (Outcome::Throttled(None), Phase::Open)] {
        let mut machine = with(Options { verdict, ..options() });
        trip(&mut machine, 0);
        for outcome in [Outcome::Success, Outcome::Failure, Outcome::Ignored, Outcome::Success] {
            assert_eq!(call(&mut machine, outcome, 100 * MS), None);
        }
        assert_eq!(call(&mut machine, last, 100 * MS).unwrap().to, to);
    }
}

#[test]
fn the_endpoint_may_lengthen_the_wait_up_to_the_cap_and_not_shorten_it() {
    for (hints_ms, wait_ms) in
        [([0, 0, 1], 100), ([0, 0, 700], 700), ([700, 0, 0], 650), ([9_000, 0, 0], 1_000)]
    {
        let mut machine = machine();
        for (hint_ms, at_ms) in hints_ms.into_iter().zip([0, 25, 50]) {
            let hint = (hint_ms > 0).then(|| Duration::from_millis(hint_ms));
            call(&mut machine, Outcome::Throttled(hint), at_ms * MS);
        }
        let retry_after = Some(Duration::from_millis(wait_ms));
        assert_eq!(machine.state(50 * MS), State::Open { retry_after });
        // The next opening knows nothing of it.
        let probe_ns = 2_000 * MS;
        call(&mut machine, Outcome::Failure, probe_ns);
        assert_eq!(machine.state(probe_ns), State::Open { retry_after: Some(Duration::from_millis(200)) });
    }
}

#[test]
fn a_hint_is_forgotten_when_the_breaker_closes() {
    let hint = Outcome::Throttled(Some(Duration::from_secs(1)));
    let first = State::Open { retry_after: Some(Duration::from_millis(100)) };
    let mut reset = machine();
    call(&mut reset, hint, 0);
    reset.control(Control::Automatic, 0);
    trip(&mut reset, 0);
    assert_eq!(reset.state(0), first);

    let options = Options { verdict: Verdict::Rate { of: 2, max_failures: 1 }, ..options() };
    let mut probed = with(Options { reset_after: Duration::ZERO, ..options });
    trip(&mut probed, 0);
    call(&mut probed, hint, 100 * MS);
    assert_eq!(call(&mut probed, Outcome::Success, 100 * MS).unwrap().to, Phase::Closed);
    trip(&mut probed, 100 * MS);
    assert_eq!(probed.state(100 * MS), first);
}

#[test]
fn a_hint_beyond_all_time_is_the_cap() {
    let mut machine = machine();
    for _ in 0..3 {
        call(&mut machine, Outcome::Throttled(Some(Duration::MAX)), 5);
    }
    assert_eq!(machine.state(5), State::Open { retry_after: Some(Duration::from_secs(1)) });
}

#[test]
fn metrics_only_counts_what_would_have_opened_it() {
    let mut machine = machine();
    machine.control(Control::MetricsOnly, 0);
    for _ in 0..4 {
        assert_eq!(call(&mut machine, Outcome::Failure, 0), None);
    }
    let seen = snapshot(&machine, 0);
    assert_eq!((seen.consecutive_failures, seen.suppressed_trips, seen.state), (4, 2, State::Closed));
}

#[test]
fn a_new_policy_keeps_the_phase_and_shortens_the_wait_to_its_cap() {
    let mut machine = machine();
    call(&mut machine, Outcome::Failure, 0);
    let policy = |options| Arc::new(Policy::try_from(options).unwrap());
    machine.reconfigure(policy(Options { trip: Trip::Consecutive(2), ..options() }), 0);
    assert!(call(&mut machine, Outcome::Failure, 0).is_some());
    let brief = Duration::from_millis(40);
    machine.reconfigure(policy(Options { open_for: brief, max_open_for: brief, ..options() }), 50 * MS);
    assert_eq!(machine.state(50 * MS), State::Open { retry_after: Some(brief) });
    machine.control(Control::ForcedOpen, 0);
    machine.reconfigure(policy(options()), 0);
    assert_eq!(machine.state(u64::MAX), State::Open { retry_after: None });
}

/// It has hung since before the endpoint came back, and its deadline opened the breaker for twice as long.
#[test]
fn a_lost_probe_that_fails_after_a_later_one_has_succeeded_says_nothing() {
    let mut machine = machine();
    trip(&mut machine, 0);
    let [lost, other] = [(); 2].map(|()| machine.admit(100 * MS).0.unwrap());
    assert_eq!(call(&mut machine, Outcome::Success, 600 * MS), None);
    let before = snapshot(&machine, 700 * MS);
    assert_eq!((before.round, before.successes, before.probes.void), (1, 1, 2));
    assert_eq!(settle(&mut machine, lost, Outcome::Failure, 700 * MS), None);
    assert_eq!(snapshot(&machine, 700 * MS), before);
    // One that succeeds after all counts.
    assert_eq!(settle(&mut machine, other, Outcome::Success, 700 * MS).unwrap().to, Phase::Closed);
}

/// One failure had been permitted, and the first success after the change opened.
#[test]
fn no_success_opens_by_another_verdict() {
    let lenient = Options { verdict: Verdict::Rate { of: 4, max_failures: 3 }, ..options() };
    let mut machine = with(lenient);
    trip(&mut machine, 0);
    assert_eq!(call(&mut machine, Outcome::Failure, 100 * MS), None);
    machine.reconfigure(Arc::new(Policy::try_from(options()).unwrap()), 100 * MS);
    assert_eq!(call(&mut machine, Outcome::Success, 100 * MS), None);
    assert_eq!(call(&mut machine, Outcome::Success, 100 * MS).unwrap().to, Phase::Closed);
}
