//! What samplers decide, and what of it stands in the context that is made.

use std::sync::Arc;

use forebay_tracing_ctx::carrier::{self, Fields};
use forebay_tracing_ctx::sampler::{
    Always, Consistent, Decision, Inherit, Never, ParentBased, RateLimit, RateLimited, Ratio, Rule,
    SampleInput, Threshold, ThresholdChange,
};
use forebay_tracing_ctx::{Sampler, SpanId, TraceContext, TraceId, random_u64};

#[path = "sampling/laws.rs"]
mod laws;
#[path = "sampling/opentelemetry.rs"]
mod opentelemetry;

/// SplitMix64 (Steele and others, 2014): the same numbers in every run.
fn numbers(mut seed: u64) -> impl FnMut() -> u64 {
    move || {
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// A trace whose id ends in these 56 bits.
fn ending(bits: u64) -> TraceId {
    let mut draws = [1, bits].into_iter();
    TraceId::from_source(|| draws.next().expect("an id takes two"))
}

fn consistent(probability: f64) -> Consistent {
    Consistent::new(probability).expect("a probability")
}

fn received(flags: &str, state: &str) -> TraceContext {
    let parent = format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
    let mut context = TraceContext::new(parent.parse().expect("a traceparent"));
    context.state = state.parse().expect("a tracestate");
    context.remote = true;
    context
}

fn child(parent: &TraceContext, sampler: &impl Sampler) -> TraceContext {
    parent.child_sampled(SpanId::from_source(|| 1), sampler)
}

#[test]
fn the_share_that_is_sampled_is_the_share_that_was_asked_for() {
    const TRACES: u32 = 50_000;
    let mut numbers = numbers(42);
    let ids: Vec<_> = (0..TRACES).map(|_| TraceId::from_source(&mut numbers)).collect();
    for share in [0.001, 0.01, 0.1, 0.25, 0.5, 0.9, 0.999] {
        for sampler in [&Ratio::new(share).unwrap() as &dyn Sampler, &consistent(share)] {
            let sampled = ids.iter().filter(|&&id| sampler.sample(&SampleInput::root(id)).sampled).count();
            let expected = f64::from(TRACES) * share;
            let deviation = (expected * (1.0 - share)).sqrt();
            assert!((sampled as f64 - expected).abs() < 4.0 * deviation, "{sampled} of share {share}");
        }
    }
}

#[test]
fn all_and_nothing_are_exact() {
    let mut numbers = numbers(1);
    for _ in 0..1000 {
        let root = |sampler: &dyn Sampler, first: u64| TraceContext::root(|| first, sampler).is_sampled();
        for number in [numbers(), 0, u64::MAX] {
            assert!(root(&Ratio::new(1.0).unwrap(), number) && root(&consistent(1.0), number));
            assert!(!root(&Ratio::new(0.0).unwrap(), number) && !root(&consistent(0.0), number));
        }
    }
}

#[test]
fn the_border_is_exact_and_the_first_byte_of_the_low_half_plays_no_part() {
    for (share, first) in
        [(0.5, 1 << 55), (0.25, 3 << 54), (0.1, 0xe6_6666_6666_6666), (1e-30, (1 << 56) - 1)]
    {
        let sampler = consistent(share);
        for high in [0, 0xff << 56] {
            assert!(sampler.sample(&SampleInput::root(ending(first | high))).sampled, "{share}");
            assert!(!sampler.sample(&SampleInput::root(ending((first - 1) | high))).sampled, "{share}");
        }
    }
    assert!(consistent(1.0).sample(&SampleInput::root(ending(0))).sampled);
}

#[test]
fn what_is_no_probability_is_refused() {
    for found in [-0.1, 1.1, f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
        assert!(Consistent::new(found).is_err(), "{found}");
    }
    assert_eq!(Consistent::new(2.0).unwrap_err().to_string(), "ratio of 2 is not between 0 and 1");
    assert_eq!((consistent(0.0).threshold(), consistent(-0.0).threshold()), (None, None));
    assert_eq!(consistent(f64::MIN_POSITIVE).threshold(), Some(Threshold::RAREST));
}

#[test]
fn a_consistent_sampler_publishes_its_threshold_with_what_it_samples() {
    for (share, state) in
        [(1.0, "ot=th:0"), (0.5, "ot=th:8"), (0.25, "ot=th:c"), (0.1, "ot=th:e6666666666666")]
    {
        let root = TraceContext::root(|| u64::MAX, &consistent(share));
        assert_eq!((root.is_sampled(), root.state.as_str()), (true, state));
    }
    let root = TraceContext::root(|| 1, &consistent(0.5));
    assert!(!root.is_sampled() && root.state.is_empty());
}

#[test]
fn explicit_randomness_takes_the_place_of_the_trace_id_and_stays() {
    // The id ends in ce929d0e0e4736 and so is sampled from a threshold of c down.
    let half = consistent(0.5);
    let sampled = child(&received("00", "a=1,ot=rv:80000000000000"), &half);
    assert_eq!((sampled.is_sampled(), sampled.state.as_str()), (true, "ot=rv:80000000000000;th:8,a=1"));
    let dropped = child(&received("01", "a=1,ot=x:1;th:0;rv:7fffffffffffff"), &half);
    assert_eq!((dropped.is_sampled(), dropped.state.as_str()), (false, "ot=x:1;rv:7fffffffffffff,a=1"));

    for ignored in
        ["ot=rv:7FFFFFFFFFFFFF", "ot=rv:7ffffffffffff", "ot=rv:00000000000000;rv:00000000000000", "ot=rv"]
    {
        assert!(child(&received("00", ignored), &half).is_sampled(), "{ignored}");
    }
}

#[test]
fn the_parents_decision_plays_no_part_in_a_consistent_one() {
    for flags in ["00", "01", "02", "03"] {
        let sampled = child(&received(flags, "ot=th:f"), &consistent(0.25));
        assert_eq!((sampled.is_sampled(), sampled.state.as_str()), (true, "ot=th:c"));
        assert!(!child(&received(flags, "ot=th:0"), &consistent(0.125)).is_sampled());
    }
}

#[test]
fn who_does_not_know_the_probability_publishes_none() {
    let parent = received("01", "a=1,ot=th:c;x:1");
    let limited = RateLimited::with_clock(Consistent::ALL, RateLimit::per_second(1.0).unwrap(), || 0);
    let ratio = Ratio::new(1.0).unwrap();
    for sampler in [&Always as &dyn Sampler, &Never, &ratio, &limited, &limited] {
        let child = parent.child_sampled(SpanId::from_source(|| 1), sampler);
        assert_eq!(child.state.as_str(), "ot=x:1,a=1");
    }
    assert!(TraceContext::root(random_u64, &Always).state.is_empty());
}

#[test]
fn parent_based_asks_the_one_that_is_meant() {
    let marked = |text: &str| Consistent::with_threshold(text.parse().unwrap());
    let sampler = ParentBased::new(marked("1"))
        .remote_sampled(marked("2"))
        .remote_not_sampled(marked("3"))
        .local_sampled(marked("4"))
        .local_not_sampled(marked("5"));
    assert_eq!(TraceContext::root(|| u64::MAX, &sampler).state.as_str(), "ot=th:1");
    for (remote, flags, asked) in
        [(true, "01", "ot=th:2"), (true, "00", "ot=th:3"), (false, "03", "ot=th:4"), (false, "02", "ot=th:5")]
    {
        let mut parent = received(flags, "");
        parent.remote = remote;
        assert_eq!(child(&parent, &sampler).state.as_str(), asked, "{remote} {flags}");
    }
}

#[test]
fn parent_based_leaves_flags_and_state_as_they_are() {
    // The id is sampled from a threshold of c down.
    let consistent = [("01", "a=1,  ot=th:c;rv1:x"), ("00", " ot=th:d,a=1"), ("03", "ot=th:ce929d0e0e4736")];
    let silent =
        [("02", "a=1"), ("01", ""), ("00", "ot=rv:00000000000000"), ("01", "ot=th:C"), ("03", "ot=~")];
    for (flags, state) in consistent.into_iter().chain(silent) {
        for remote in [true, false] {
            let mut parent = received(flags, state);
            parent.remote = remote;
            let child = child(&parent, &ParentBased::new(Never));
            assert_eq!(child.parent.flags, parent.parent.flags);
            assert_eq!(child.state.as_str(), parent.state.as_str());
        }
    }
}

#[test]
fn a_threshold_that_cannot_have_led_to_the_flag_is_not_passed_on() {
    for (flags, state) in
        [("01", "ot=x:1;th:d,a=1"), ("00", "ot=x:1;th:c,a=1"), ("01", "ot=th:1;x:1;rv:00000000000000,a=1")]
    {
        let parent = received(flags, state);
        let child = child(&parent, &ParentBased::new(Never));
        assert_eq!(child.is_sampled(), parent.is_sampled());
        assert!(child.state.threshold().is_none(), "{state}");
        assert!(child.state.as_str().starts_with("ot=x:1"));
    }
    assert_eq!(Inherit.sample(&SampleInput::root(ending(1))), Decision::DROPPED, "nothing to inherit");
}

#[test]
fn what_is_inherited_composes_with_the_threshold_that_the_parent_has() {
    // The id is sampled from a threshold of c down.
    for (parent, share, both, either) in [
        ("ot=th:8", 0.25, "ot=th:c", "ot=th:8"),
        ("ot=th:c", 0.5, "ot=th:c", "ot=th:8"),
        ("ot=th:c", 0.1, "", "ot=th:c"),
        ("", 0.5, "", ""),
    ] {
        let (parent, other) = (received("01", parent), consistent(share));
        assert_eq!(child(&parent, &Inherit.and(other)).state.as_str(), both);
        assert_eq!(child(&parent, &other.and(Inherit)).state.as_str(), both);
        assert_eq!(child(&parent, &Inherit.or(other)).state.as_str(), either);
        assert_eq!(child(&parent, &other.or(Inherit)).state.as_str(), either);
        assert_eq!(child(&parent, &Inherit.and(Inherit)).state, parent.state);
        assert!(child(&parent, &Inherit.or(Always)).state.is_empty());
    }
}

#[test]
fn a_limit_that_comes_last_is_not_asked_about_what_is_dropped_anyway() {
    let limited = RateLimited::with_clock(Always, RateLimit::per_second(1.0).unwrap(), || 0);
    let sampler = consistent(0.5).and(&limited);
    let samples = |bits| sampler.sample(&SampleInput::root(ending(bits))).sampled;
    assert!(!samples(1) && !samples(2));
    assert!(samples(1 << 55) && !samples(1 << 55));
}

#[test]
fn a_rule_sees_the_baggage_of_the_work_whether_a_trace_begins_with_it_or_not() {
    let sampler = Rule::new(|input: &SampleInput<'_>| input.baggage.get("tenant").as_deref() == Some("test"));
    for (traceparent, baggage, sampled) in [
        ("", "tenant=test", true),
        ("", "tenant=other", false),
        ("", "", false),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", "tenant=test", true),
        ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "tenant=other", false),
    ] {
        let fields: Fields = [("traceparent", traceparent), ("baggage", baggage)].into_iter().collect();
        let context = carrier::extract(&fields).begin(|| 1, &sampler);
        assert_eq!(context.is_sampled(), sampled, "{traceparent} {baggage}");
        assert_eq!(context.child_resampled(SpanId::from_source(|| 2), &sampler).is_sampled(), sampled);
    }
    assert!(!TraceContext::root(|| 1, &sampler).is_sampled());
}

#[test]
fn a_rule_leaves_out_and_adds_without_a_lot_of_its_own() {
    let half = consistent(0.5);
    let state = |sampler: &dyn Sampler, first_bits: u64| {
        let context = TraceContext::root(|| first_bits, sampler);
        (context.is_sampled(), context.state.as_str().to_owned())
    };
    let (yes, no) = (Rule::new(|_: &SampleInput<'_>| true), Rule::new(|_: &SampleInput<'_>| false));
    let (taken, not_taken) = (0xff << 48, 1);
    assert_eq!(state(&half.and(yes), taken), (true, "ot=th:8".to_owned()));
    assert_eq!(state(&half.and(no), taken), (false, String::new()));
    assert_eq!(state(&half.or(no), taken), (true, "ot=th:8".to_owned()));
    assert_eq!(state(&half.or(yes), taken), (true, "ot=th:0".to_owned()));
    assert_eq!(state(&half.or(yes), not_taken), (true, "ot=th:0".to_owned()));
    assert_eq!(state(&half.or(no), not_taken), (false, String::new()));
}

#[test]
fn a_child_is_a_new_span_of_the_same_trace() {
    for flags in ["00", "03"] {
        let parent = received(flags, "a=1");
        let child = child(&parent, &Always);
        assert_eq!((child.trace_id(), child.remote), (parent.trace_id(), false));
        assert_eq!(child.span_id(), SpanId::from_source(|| 1));
        assert_eq!(child.parent.flags.is_random(), parent.parent.flags.is_random(), "as it came");
        assert!(child.is_sampled());
    }
}

#[test]
fn a_member_without_room_for_the_threshold_is_sampled_without_one() {
    let full = format!("ot=th:c;x:{}", "x".repeat(249));
    let child = child(&received("01", &full), &consistent(0.9));
    assert!(child.is_sampled());
    assert_eq!(child.state.as_str(), full.replace("th:c;", ""));
}

#[test]
fn a_decision_without_a_sample_publishes_nothing() {
    struct Odd;
    impl Sampler for Odd {
        fn sample(&self, _: &SampleInput<'_>) -> Decision {
            Decision { sampled: false, threshold: ThresholdChange::Set(Threshold::ALL) }
        }
    }
    assert!(TraceContext::root(random_u64, &Odd).state.is_empty());
    assert!(child(&received("01", "ot=th:c"), &Odd).state.is_empty());
}

#[test]
fn samplers_can_be_shared_and_chosen_while_the_program_runs() {
    fn check<S: Sampler + Send + Sync + Clone + std::fmt::Debug + 'static>(sampler: S) {
        let shared: Arc<dyn Sampler + Send + Sync> = Arc::new(sampler.clone());
        let boxed: Box<dyn Sampler> = Box::new(sampler.clone());
        let root = |sampler: &dyn Sampler| TraceContext::root(|| u64::MAX, sampler);
        assert_eq!(root(&shared), root(&sampler));
        assert_eq!(root(&boxed), root(&&sampler));
        assert!(!format!("{sampler:?}").is_empty());
    }
    check(Always);
    check(Never);
    check(Ratio::new(0.5).unwrap());
    check(consistent(0.5));
    check(ParentBased::new(Inherit).remote_sampled(Never));
    check(consistent(0.5).and(Always).or(Never));
    check(RateLimited::new(Always, RateLimit::per_second(1000.0).unwrap()));
}

/// S3.
#[test]
fn a_decision_allocates_nothing() {
    let limited = RateLimited::new(consistent(0.5), RateLimit::per_second(1.0).unwrap());
    let sampler =
        ParentBased::new(Ratio::new(0.5).unwrap().and(Always).or(limited)).remote_sampled(consistent(0.1));
    let parent = received("01", "a=1,ot=th:c;rv:d123456789abcd");
    let (local, mut numbers) = (parent.child(SpanId::random()), numbers(7));
    random_u64(); // the seed
    let allocations = allocation_counter::measure(|| {
        for _ in 0..100 {
            std::hint::black_box(sampler.sample(&SampleInput::root(ending(numbers()))));
            std::hint::black_box(sampler.sample(&SampleInput::child(&parent)));
            std::hint::black_box(child(&local, &sampler));
            std::hint::black_box(TraceContext::root(random_u64, &Ratio::new(0.5).unwrap()));
        }
    });
    assert_eq!(allocations.count_total, 0);
}
