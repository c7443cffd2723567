//! What holds for any samplers, traces and parents.

use forebay_tracing_ctx::sampler::{
    Always, Consistent, Decision, Inherit, Never, ParentBased, Ratio, SampleInput, Threshold, ThresholdChange,
};
use forebay_tracing_ctx::{Sampler, SpanId, TraceContext, TraceFlags, TraceId, TraceParent};
use proptest::collection::{hash_map, vec};
use proptest::option;
use proptest::prelude::*;

/// From none to all, the ends and what is next to them included.
fn shares() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => 0.0..1.0_f64,
        2 => (0..80).prop_map(|exponent| 0.5_f64.powi(exponent)),
        1 => prop::sample::select(vec![0.0, f64::MIN_POSITIVE, 0.5_f64.next_up(), 1.0_f64.next_down(), 1.0]),
    ]
}

fn ids() -> impl Strategy<Value = TraceId> {
    any::<[u64; 2]>().prop_map(|draws| {
        let mut draws = draws.into_iter();
        TraceId::from_source(|| draws.next().expect("an id takes two"))
    })
}

/// Samplers that always say the same about the same input.
#[derive(Debug, Clone)]
enum Any {
    Always(Always),
    Never(Never),
    Inherit(Inherit),
    Ratio(Ratio),
    Consistent(Consistent),
    ParentBased(ParentBased<Consistent>),
}

impl Sampler for Any {
    fn sample(&self, input: &SampleInput<'_>) -> Decision {
        match self {
            Self::Always(sampler) => sampler.sample(input),
            Self::Never(sampler) => sampler.sample(input),
            Self::Inherit(sampler) => sampler.sample(input),
            Self::Ratio(sampler) => sampler.sample(input),
            Self::Consistent(sampler) => sampler.sample(input),
            Self::ParentBased(sampler) => sampler.sample(input),
        }
    }
}

fn consistent(share: f64) -> Consistent {
    Consistent::new(share).expect("a share")
}

fn samplers() -> impl Strategy<Value = Any> {
    prop_oneof![
        Just(Any::Always(Always)),
        Just(Any::Never(Never)),
        Just(Any::Inherit(Inherit)),
        shares().prop_map(|share| Any::Ratio(Ratio::new(share).expect("a share"))),
        shares().prop_map(|share| Any::Consistent(consistent(share))),
        shares().prop_map(|share| Any::ParentBased(ParentBased::new(consistent(share)))),
    ]
}

/// Members `ot`, good and bad, with and without thresholds that make sense.
fn members() -> impl Strategy<Value = String> {
    let threshold = option::of("[0-9a-f]{1,14}|[0-9a-fA-F]{0,16}");
    let randomness = option::of("[0-9a-f]{14}|[0-9a-fA-F]{12,15}");
    let others = hash_map("[a-z][a-z0-9]{2,4}", "[a-zA-Z0-9._-]{0,6}", 0..4);
    let list = (threshold, randomness, others).prop_flat_map(|(threshold, randomness, others)| {
        let mut entries: Vec<_> = others.into_iter().map(|(key, value)| format!("{key}:{value}")).collect();
        entries.extend(threshold.map(|value| format!("th:{value}")));
        entries.extend(randomness.map(|value| format!("rv:{value}")));
        Just(entries).prop_shuffle().prop_map(|entries| entries.join(";"))
    });
    prop_oneof![6 => list, 1 => "[thrv:;0-9a-f]{1,20}", 1 => "[!-+.-<>-~]{1,30}"]
}

fn parents() -> impl Strategy<Value = TraceContext> {
    let others = vec("[a-n][a-z]{0,2}=[0-9]", 0..4);
    let again = option::weighted(0.2, members());
    (ids(), any::<u8>(), any::<bool>(), option::of(members()), again, others).prop_map(
        |(trace_id, flags, remote, member, again, mut others)| {
            let (parent_id, flags) = (SpanId::from_source(|| 9), TraceFlags::from_bits(flags));
            let mut parent = TraceContext::new(TraceParent { trace_id, parent_id, flags });
            if let Some(member) = member.filter(|member| !member.is_empty()) {
                others.insert(others.len() / 2, format!("ot={member}"));
            }
            others.extend(again.filter(|member| !member.is_empty()).map(|member| format!("ot={member}")));
            parent.state = others.join(",").parse().expect("members within the grammar");
            parent.remote = remote;
            parent
        },
    )
}

/// How many members `ot` there are.
fn noted(context: &TraceContext) -> usize {
    context.state.members().filter(|member| member.0 == "ot").count()
}

/// The threshold that a decision stands for, if it does for one.
fn known(decision: Decision, parent: &TraceContext) -> Option<Threshold> {
    match decision.threshold {
        ThresholdChange::Keep => parent.state.threshold(),
        ThresholdChange::Set(threshold) => Some(threshold),
        ThresholdChange::Erase => None,
    }
}

/// All but the threshold: the entries of the member `ot` if they are within the grammar, and other members.
fn rest(context: &TraceContext) -> (Vec<&str>, Vec<(&str, &str)>) {
    let mut seen = Vec::new();
    let first = |key: &str, seen: &mut Vec<String>| {
        let first = !seen.iter().any(|before| before == key);
        seen.push(key.to_owned());
        first
    };
    // Writing a list anew drops repeated keys.
    let others =
        context.state.members().filter(|member| member.0 != "ot" && first(member.0, &mut seen)).collect();
    let list: Vec<_> = context.state.get("ot").map(|list| list.split(';').collect()).unwrap_or_default();
    let mut seen = Vec::new();
    let good = list.iter().all(|entry| {
        let (key, value) = entry.split_once(':').unwrap_or(("", ""));
        let small = |sign: char| matches!(sign, 'a'..='z' | '0'..='9');
        let key_is_good = key.chars().all(small) && key.starts_with(|sign: char| sign.is_ascii_lowercase());
        let value_is_good =
            value.chars().all(|sign| small(sign) || matches!(sign, 'A'..='Z' | '.' | '_' | '-'));
        key_is_good && value_is_good && first(key, &mut seen)
    });
    let entries = list.into_iter().filter(|entry| good && !entry.starts_with("th:")).collect();
    (entries, others)
}

proptest! {
    /// S2.
    #[test]
    fn what_a_share_takes_every_higher_share_takes(a in shares(), b in shares(), id in ids()) {
        let (lower, higher) = (a.min(b), a.max(b));
        let input = SampleInput::root(id);
        let ratio = |share| Ratio::new(share).unwrap().sample(&input).sampled;
        let consistent = |share| consistent(share).sample(&input).sampled;
        prop_assert!(ratio(lower) <= ratio(higher));
        prop_assert!(consistent(lower) <= consistent(higher));
    }

    /// S1.
    #[test]
    fn a_threshold_in_a_context_agrees_with_the_flag(sampler in samplers(), parent in parents()) {
        let span_id = SpanId::from_source(|| 1);
        for (child, input) in [
            (parent.child_sampled(span_id, &sampler), SampleInput::child(&parent)),
            (parent.child_resampled(span_id, &sampler), SampleInput::anew(&parent)),
        ] {
            let kept = sampler.sample(&input).threshold == ThresholdChange::Keep;
            prop_assert!(kept || noted(&child) <= 1, "{}", child.state);
            if let Some(threshold) = child.state.threshold() {
                let randomness = SampleInput::child(&child).randomness();
                prop_assert_eq!(threshold.keeps(randomness), child.is_sampled());
            }
        }
    }

    #[test]
    fn a_decision_touches_the_threshold_and_nothing_else(sampler in samplers(), parent in parents()) {
        let child = parent.child_sampled(SpanId::from_source(|| 1), &sampler);
        prop_assert_eq!(child.state.explicit_randomness(), parent.state.explicit_randomness());
        if child.state.get("ot") == parent.state.get("ot") && noted(&child) == noted(&parent) {
            prop_assert_eq!(child.state.as_str(), parent.state.as_str());
        } else {
            prop_assert_eq!(rest(&child), rest(&parent));
            prop_assert!(child.state.get("ot").is_none() || child.state.as_str().starts_with("ot="));
        }
    }

    #[test]
    fn both_is_what_each_alone_samples_and_the_higher_threshold(
        a in samplers(), b in samplers(), parent in parents(),
    ) {
        let input = SampleInput::child(&parent);
        let (left, right) = (a.sample(&input), b.sample(&input));
        let both = (&a).and(&b).sample(&input);
        prop_assert_eq!(both.sampled, left.sampled && right.sampled);
        if both.sampled {
            let expected = known(left, &parent).zip(known(right, &parent)).map(|(left, right)| left.max(right));
            prop_assert_eq!(known(both, &parent), expected);
        } else {
            prop_assert_eq!(both, Decision::DROPPED);
        }
    }

    #[test]
    fn either_is_what_one_samples_and_the_lower_threshold(a in samplers(), b in samplers(), parent in parents()) {
        let input = SampleInput::child(&parent);
        let (left, right) = (a.sample(&input), b.sample(&input));
        let either = (&a).or(&b).sample(&input);
        match (left.sampled, right.sampled) {
            (false, false) => prop_assert_eq!(either, Decision::DROPPED),
            (true, false) => prop_assert_eq!(either, left),
            (false, true) => prop_assert_eq!(either, right),
            (true, true) => {
                let expected = known(left, &parent).zip(known(right, &parent)).map(|(left, right)| left.min(right));
                prop_assert!(either.sampled);
                prop_assert_eq!(known(either, &parent), expected);
            }
        }
    }

    #[test]
    fn neither_order_nor_brackets_matter(a in samplers(), b in samplers(), c in samplers(), parent in parents()) {
        let (a, b, c) = (&a, &b, &c);
        let child = |sampler: &dyn Sampler| parent.child_sampled(SpanId::from_source(|| 1), sampler);
        prop_assert_eq!(child(&a.and(b)), child(&b.and(a)));
        prop_assert_eq!(child(&a.or(b)), child(&b.or(a)));
        prop_assert_eq!(child(&a.and(b).and(c)), child(&a.and(b.and(c))));
        prop_assert_eq!(child(&a.or(b).or(c)), child(&a.or(b.or(c))));
    }

    #[test]
    fn there_are_neutral_and_absorbing_samplers(a in samplers(), parent in parents()) {
        let input = SampleInput::child(&parent);
        let alone = a.sample(&input);
        let a = &a;
        prop_assert_eq!(a.and(Never).sample(&input), Decision::DROPPED);
        prop_assert!(a.or(Always).sample(&input).sampled);
        prop_assert_eq!(a.or(Never).sample(&input).sampled, alone.sampled);
        prop_assert_eq!(a.and(Consistent::ALL).sample(&input).sampled, alone.sampled);
        if alone.sampled {
            prop_assert_eq!(a.or(Never).sample(&input), alone);
            prop_assert_eq!(known(a.and(Consistent::ALL).sample(&input), &parent), known(alone, &parent));
            prop_assert_eq!(a.and(a).sample(&input), alone);
            prop_assert_eq!(a.or(a).sample(&input), alone);
        }
    }

    #[test]
    fn two_consistent_samplers_are_the_rarer_or_the_more_frequent_of_them(
        a in shares(), b in shares(), parent in parents(),
    ) {
        let input = SampleInput::child(&parent);
        let both = consistent(a).and(consistent(b)).sample(&input);
        prop_assert_eq!(both, consistent(a.min(b)).sample(&input));
        let either = consistent(a).or(consistent(b)).sample(&input);
        prop_assert_eq!(either, consistent(a.max(b)).sample(&input));
    }
}
