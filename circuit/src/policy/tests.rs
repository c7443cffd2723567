use super::*;

fn error(options: Options) -> String {
    Policy::try_from(options).unwrap_err().to_string()
}

fn trip(trip: Trip) -> Options {
    Options { trip, ..Options::default() }
}

fn rate(permille: u32, min_calls: u32, over: Window) -> Options {
    trip(Trip::FailureRate(Rate { permille, min_calls, over }))
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn the_defaults_are_right() {
    assert!(Policy::try_from(Options::default()).is_ok());
}

#[test]
fn each_wrong_value_is_named_with_what_it_may_be() {
    let right = Options::default;
    assert_eq!(
        error(Options { verdict: Verdict::Successes(0), ..right() }),
        "verdict.successes is 0 and must be 1 to 65535"
    );
    assert_eq!(
        error(Options { open_for: Duration::ZERO, ..right() }),
        "open_for is 0ns and must be at least 1ns"
    );
    assert_eq!(
        error(Options { half_open_max_wait: Duration::ZERO, ..right() }),
        "half_open_max_wait is 0ns and must be at least 1ns"
    );
    assert_eq!(
        error(Options { half_open_probes: 70_000, ..right() }),
        "half_open_probes is 70000 and must be 1 to 65535"
    );
    assert_eq!(
        error(Options { jitter_percent: 101, ..right() }),
        "jitter_percent is 101 and must be 0 to 100"
    );
}

#[test]
fn values_that_contradict_each_other_are_refused() {
    assert_eq!(
        error(Options { max_open_for: Duration::from_millis(999), ..Options::default() }),
        "max_open_for is 999ms and must be at least 1s"
    );
    assert_eq!(error(rate(500, 101, Window::Calls(100))), "min_calls is 101 and must be 1 to 100");
    let verdict = Verdict::Rate { of: 3, max_failures: 3 };
    assert_eq!(
        error(Options { verdict, ..Options::default() }),
        "verdict.max_failures is 3 and must be 0 to 2"
    );
    let span = Duration::from_nanos(9);
    assert_eq!(
        error(rate(1, 1, Window::Time { span, slices: 10 })),
        "window.span is 9ns and must be at least 10ns"
    );
    let slow = Options { slow_call: Duration::from_micros(999), ..trip(Trip::SlowInFlight(1)) };
    assert_eq!(error(slow), "slow_call is 999µs and must be at least 1ms");
}

#[test]
fn more_calls_than_a_window_of_time_can_hold_are_refused() {
    let most = |slices| 262_144 * slices;
    for slices in [1, 10, 1_024] {
        let over = Window::Time { span: SECOND, slices };
        assert!(Policy::try_from(rate(500, most(slices), over)).is_ok());
        assert_eq!(
            error(rate(500, most(slices) + 1, over)),
            format!("min_calls is {} and must be 1 to {}", most(slices) + 1, most(slices))
        );
    }
}

#[test]
fn a_condition_that_always_or_never_holds_is_refused() {
    assert_eq!(error(trip(Trip::Consecutive(0))), "trip.consecutive is 0 and must be 1 to 4294967295");
    assert_eq!(error(trip(Trip::SlowInFlight(0))), "trip.slow_in_flight is 0 and must be 1 to 4294967295");
    for permille in [0, 1_001] {
        assert_eq!(
            error(rate(permille, 1, Window::Calls(9))),
            format!("permille is {permille} and must be 1 to 1000")
        );
    }
    assert_eq!(error(rate(500, 0, Window::Calls(100))), "min_calls is 0 and must be 1 to 100");
    assert_eq!(error(rate(500, 1, Window::Calls(0))), "window.calls is 0 and must be 1 to 65536");
    for slices in [0, 1_025] {
        assert_eq!(
            error(rate(500, 1, Window::Time { span: SECOND, slices })),
            format!("window.slices is {slices} and must be 1 to 1024")
        );
    }
    for empty in [Trip::Any(vec![]), Trip::All(vec![]), Trip::Consecutive(1).or(Trip::All(vec![]))] {
        assert_eq!(error(trip(empty)), "trip combines no conditions and must combine 1 to 16");
    }
}

#[test]
fn a_condition_too_many_or_too_deep_is_refused() {
    let any = |conditions| trip(Trip::Any(vec![Trip::Consecutive(1); conditions]));
    assert!(Policy::try_from(any(16)).is_ok());
    assert_eq!(error(any(17)), "trip has more than 16 conditions or levels and must have 1 to 16");
    let deep = |levels| (1..levels).fold(Trip::Consecutive(1), |inner, _| Trip::All(vec![inner]));
    assert!(Policy::try_from(trip(deep(16))).is_ok());
    assert_eq!(error(trip(deep(17))), "trip has more than 16 conditions or levels and must have 1 to 16");
}

#[test]
fn durations_beyond_the_clock_saturate() {
    let options = Options { max_open_for: Duration::MAX, reset_after: Duration::MAX, ..Options::default() };
    assert_eq!(Policy::try_from(options).unwrap().reset_after_ns, u64::MAX);
    let options = rate(500, 1, Window::Time { span: Duration::MAX, slices: 1_024 });
    assert!(Policy::try_from(options).is_ok());
}

#[test]
fn any_holds_with_one_and_all_with_each() {
    let holds = |trip: Trip, truths: &[bool]| {
        let policy = Policy::try_from(Options { trip, ..Options::default() }).unwrap();
        policy.rule.holds(&|condition| match condition {
            Rule::Consecutive(number) => truths[*number as usize].then_some(Cause::ConsecutiveFailures),
            _ => None,
        })
    };
    let [one, two] = [Trip::Consecutive(1), Trip::Consecutive(2)];
    for (first, second) in [(false, false), (false, true), (true, false), (true, true)] {
        let truths = [false, first, second];
        assert_eq!(holds(one.clone().or(two.clone()), &truths).is_some(), first || second);
        assert_eq!(holds(one.clone().and(two.clone()), &truths).is_some(), first && second);
        assert_eq!(holds(one.clone().and(two.clone()).or(one.clone()), &truths).is_some(), first);
    }
}
