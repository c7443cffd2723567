//! The compiled, indexed set against a naive reading of the rules, and what must hold of any decision.

#![expect(clippy::unwrap_used, reason = "outside of test functions it is an assertion too")]

use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::time::Duration;

use forebay_retention::selector::{Missing, Operator, Pattern, Requirement};
use forebay_retention::{
    ChunkMeta, Hold, Holds, Keep, Now, Policy, PolicySet, Retention, Scope, Selector, Standing, TieBreak,
    TimeRange, Verdict, judge, plan,
};
use proptest::prelude::*;
use proptest::sample::select;

const KEYS: [&str; 3] = ["a", "b", "c"];
const VALUES: [&str; 4] = ["", "x", "y", "z"];
const TENANTS: [&str; 3] = ["t", "u", "v"];
const PATTERNS: [&str; 6] = ["x|y", ".*", ".+", "", "z", "x?"];

type Labels = Vec<(&'static str, &'static str)>;

fn labels() -> impl Strategy<Value = Labels> {
    prop::collection::btree_map(select(&KEYS[..]), select(&VALUES[..]), 0..=3)
        .prop_map(|map| map.into_iter().collect())
}

fn operator() -> impl Strategy<Value = Operator> {
    let values = || prop::collection::btree_set(select(&VALUES[..]).prop_map(str::to_owned), 1..=3);
    let pattern = || any::<prop::sample::Index>().prop_map(|at| at.get(&COMPILED).clone());
    prop_oneof![
        3 => values().prop_map(Operator::In),
        1 => values().prop_map(Operator::NotIn),
        1 => Just(Operator::Exists),
        1 => Just(Operator::DoesNotExist),
        1 => pattern().prop_map(Operator::Matches),
        1 => pattern().prop_map(Operator::NotMatches),
    ]
}

fn selector() -> impl Strategy<Value = Selector> {
    let native = prop::collection::vec((select(&KEYS[..]), operator()), 0..=3).prop_map(|parts| {
        Selector::new(parts.into_iter().map(|(key, operator)| Requirement::new(key, operator))).unwrap()
    });
    let loki = any::<prop::sample::Index>().prop_map(|at| at.get(&LOKI).clone());
    prop_oneof![native, loki]
}

/// All selectors with up to one matcher and many with two; parsed once, for patterns take their time.
static LOKI: LazyLock<Vec<Selector>> = LazyLock::new(|| {
    let mut matchers = Vec::new();
    for key in KEYS {
        for operator in ["=", "!=", "=~", "!~"] {
            matchers.extend(["", "x", "x|y", ".+"].map(|value| format!("{key}{operator}\"{value}\"")));
        }
    }
    let pairs =
        (0..matchers.len()).map(|n| format!("{}, {}", matchers[n], matchers[(n * 7 + 5) % matchers.len()]));
    let texts: Vec<_> = std::iter::once(String::new()).chain(pairs).chain(matchers.iter().cloned()).collect();
    texts.iter().map(|text| Selector::parse_loki(&format!("{{{text}}}")).unwrap()).collect()
});

static COMPILED: LazyLock<Vec<Pattern>> =
    LazyLock::new(|| PATTERNS.iter().map(|text| Pattern::new(text).unwrap()).collect());

fn scope() -> impl Strategy<Value = Scope> {
    prop_oneof![Just(Scope::All), select(&TENANTS[..2]).prop_map(|tenant| Scope::Tenant(tenant.into()))]
}

fn policies() -> impl Strategy<Value = Vec<Policy>> {
    let retention =
        prop_oneof![1 => Just(0), 4 => 1..4u64].prop_map(|s| Retention::from_loki(Duration::from_secs(s)));
    let policy = (scope(), selector(), -1..=1i32, retention, prop::bool::weighted(0.2));
    prop::collection::vec(policy, 0..12).prop_map(|parts| {
        let with_id = |(n, (scope, selector, priority, retention, fallback))| {
            let policy = Policy::new(format!("p{n:02}"), scope, selector, retention).with_priority(priority);
            if fallback { policy.as_fallback() } else { policy }
        };
        parts.into_iter().enumerate().map(with_id).collect()
    })
}

fn tie() -> impl Strategy<Value = TieBreak> {
    prop_oneof![Just(TieBreak::Longest), Just(TieBreak::Shortest)]
}

fn holds() -> impl Strategy<Value = Vec<Hold>> {
    let range = prop::option::of((0..50i64, 0..50i64));
    prop::collection::vec((scope(), selector(), range), 0..6).prop_map(|parts| {
        let with_id = |(n, (scope, selector, range)): (usize, (_, _, Option<(i64, i64)>))| {
            let hold = Hold::new(format!("h{n}"), scope, selector, "case", "reason", 0);
            match range {
                Some((a, b)) => hold.within(TimeRange::covering(a, b)),
                None => hold,
            }
        };
        parts.into_iter().enumerate().map(with_id).collect()
    })
}

fn chunk<'c>(tenant: &'c str, labels: &'c [(&'c str, &'c str)], min_ns: i64, max_ns: i64) -> ChunkMeta<'c> {
    ChunkMeta { tenant, id: "c", labels, range: TimeRange::covering(min_ns, max_ns), size_bytes: 1 }
}

/// The rules of `matchLabels` and `matchExpressions`, read word by word, and Loki's where a selector is Loki's.
fn selects(selector: &Selector, labels: &[(&str, &str)]) -> bool {
    for Requirement { key, operator } in selector.requirements() {
        let mut value = None;
        for (name, of) in labels {
            if name == key {
                value = Some(*of);
            }
        }
        if selector.missing() == Missing::Empty && value.is_none() {
            value = Some("");
        }
        let within = |values: &BTreeSet<String>| values.iter().any(|known| Some(known.as_str()) == value);
        let holds = match operator {
            Operator::In(values) => value.is_some() && within(values),
            Operator::NotIn(values) => value.is_none() || !within(values),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
            Operator::Matches(pattern) => value.is_some() && pattern.is_match(value.unwrap()),
            Operator::NotMatches(pattern) => value.is_none() || !pattern.is_match(value.unwrap()),
            _ => unreachable!("no other operators are made here"),
        };
        if !holds {
            return false;
        }
    }
    true
}

/// The winner by trying every policy against every other.
fn naive<'p>(
    policies: &'p [Policy],
    tie: TieBreak,
    tenant: &str,
    labels: &[(&str, &str)],
) -> Option<&'p Policy> {
    let own = |policy: &Policy| policy.scope == Scope::Tenant(tenant.into());
    let mut best: Option<&Policy> = None;
    for policy in
        policies.iter().filter(|p| (own(p) || p.scope == Scope::All) && selects(&p.selector, labels))
    {
        let rank = |policy: &Policy| match (policy.fallback, own(policy)) {
            (false, true) => 0,
            (false, false) => 1,
            (true, true) => 2,
            (true, false) => 3,
        };
        let Some(known) = best else {
            best = Some(policy);
            continue;
        };
        let length = match tie {
            TieBreak::Longest | TieBreak::Reject => known.retention.cmp(&policy.retention),
            TieBreak::Shortest => policy.retention.cmp(&known.retention),
        };
        let order = rank(known).cmp(&rank(policy)).reverse();
        let order = order.then(known.priority.cmp(&policy.priority)).then(length);
        if order.then(policy.id.cmp(&known.id)).is_lt() {
            best = Some(policy);
        }
    }
    best
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_compiled_set_decides_as_the_naive_reading_does(
        policies in policies(), tie in tie(), tenant in select(&TENANTS[..]), streams in prop::collection::vec(labels(), 1..8)
    ) {
        let set = PolicySet::compile(policies.clone(), tie).unwrap();
        for labels in streams {
            let expected = naive(&policies, tie, tenant, &labels);
            prop_assert_eq!(set.policy_for(tenant, &labels), expected);
            let explained = set.explain(tenant, &labels).matches;
            prop_assert_eq!(explained.first().map(|first| first.policy.as_str()), expected.map(|p| p.id.as_str()));
            let wins = explained.iter().filter(|found| found.standing == Standing::Wins).count();
            prop_assert_eq!(wins, usize::from(expected.is_some()));
            let matching = policies.iter().filter(|p| p.scope.includes(tenant) && selects(&p.selector, &labels)).count();
            prop_assert_eq!(explained.len(), matching);
        }
    }

    #[test]
    fn the_order_of_loading_does_not_matter(
        (policies, shuffled) in policies().prop_flat_map(|p| (Just(p.clone()), Just(p).prop_shuffle())),
        tie in tie(), tenant in select(&TENANTS[..]), labels in labels()
    ) {
        let (a, b) = (PolicySet::compile(policies, tie).unwrap(), PolicySet::compile(shuffled, tie).unwrap());
        prop_assert_eq!(a.policy_for(tenant, &labels), b.policy_for(tenant, &labels));
        prop_assert_eq!(a.explain(tenant, &labels), b.explain(tenant, &labels));
    }

    #[test]
    fn under_reject_no_stream_is_decided_by_the_tie_break(
        policies in policies(), tenant in select(&TENANTS[..]), labels in labels()
    ) {
        if let Ok(set) = PolicySet::compile(policies.clone(), TieBreak::Reject) {
            let retention = |tie| naive(&policies, tie, tenant, &labels).map(|policy| policy.retention);
            prop_assert_eq!(retention(TieBreak::Longest), retention(TieBreak::Shortest));
            let decided = set.policy_for(tenant, &labels).map(|policy| policy.retention);
            prop_assert_eq!(decided, retention(TieBreak::Longest));
        }
    }

    #[test]
    fn selectors_called_disjoint_share_no_stream(a in selector(), b in selector(), labels in labels()) {
        prop_assert!(!(a.is_disjoint(&b) && a.matches(&labels) && b.matches(&labels)), "{a} and {b} share {labels:?}");
    }

    #[test]
    fn what_has_expired_stays_expired(
        policies in policies(), labels in labels(), max_ns in any::<i64>(), a in any::<i64>(), b in any::<i64>()
    ) {
        let set = PolicySet::compile(policies, TieBreak::Longest).unwrap();
        let decision = set.evaluate(&chunk("t", &labels, max_ns, max_ns));
        prop_assert!(!decision.is_expired_at(a.min(b)) || decision.is_expired_at(a.max(b)));
        let retention = set.policy_for("t", &labels).map(|policy| policy.retention);
        let expected = match retention {
            Some(Retention::For(period)) => i128::from(a) - i128::from(max_ns) > period.get().as_nanos() as i128,
            Some(Retention::Forever) | None => false,
        };
        prop_assert_eq!(decision.is_expired_at(a), expected, "now - newest > period, without wrapping");
        prop_assert_eq!(decision.keep == Keep::Forever, !matches!(retention, Some(Retention::For(_))));
    }

    #[test]
    fn holds_match_as_the_naive_reading_does_and_never_free_a_chunk(
        policies in policies(), holds in holds(), tenant in select(&TENANTS[..]), labels in labels(),
        from in 0..50i64, length in 0..10i64
    ) {
        let set = PolicySet::compile(policies, TieBreak::Longest).unwrap();
        let chunk = chunk(tenant, &labels, from, from + length);
        let (mut before, mut deletable) = (Vec::new(), true);
        for hold in holds {
            before.push(hold.clone());
            let compiled = Holds::new(before.clone());
            let naive: BTreeSet<_> = before.iter().filter(|hold| {
                let ranges = hold.range.is_none_or(|r| r.min_ns() <= from + length && from <= r.max_ns());
                ranges && hold.scope.includes(tenant) && selects(&hold.selector, &labels)
            }).map(|hold| &hold.id).collect();
            let found: BTreeSet<_> = compiled.matching(&chunk).map(|hold| &hold.id).collect();
            prop_assert_eq!(&found, &naive);
            prop_assert_eq!(compiled.first_match(&chunk).is_some(), !naive.is_empty());
            let now_deletable = matches!(judge(&chunk, &set, &compiled, i64::MAX), Verdict::Expired { .. });
            prop_assert!(deletable || !now_deletable, "one more hold freed a chunk");
            prop_assert!(naive.is_empty() || !now_deletable);
            deletable = now_deletable;
        }
    }

    #[test]
    fn removing_the_lowest_rule_changes_no_chunk_that_a_higher_one_decides(
        policies in policies(), tenant in select(&TENANTS[..]), labels in labels()
    ) {
        let all = PolicySet::compile(policies.clone(), TieBreak::Longest).unwrap();
        for lowest in &policies {
            let rest = policies.iter().filter(|policy| policy.id != lowest.id).cloned();
            let rest = PolicySet::compile(rest, TieBreak::Longest).unwrap();
            let winner = all.policy_for(tenant, &labels);
            if winner.is_some_and(|winner| winner.id != lowest.id) {
                prop_assert_eq!(rest.policy_for(tenant, &labels), winner);
            }
        }
    }

    #[test]
    fn a_plan_lists_what_one_by_one_judging_finds(
        policies in policies(), holds in holds(), streams in prop::collection::vec((labels(), 0..50i64), 0..12), now in 0..9i64
    ) {
        let set = PolicySet::compile(policies, TieBreak::Longest).unwrap();
        let holds = Holds::new(holds);
        let now = Now::trusted(now * 1_000_000_000, 0);
        let ids: Vec<_> = (0..streams.len()).map(|n| format!("{n:02}")).collect();
        let chunks = || streams.iter().zip(&ids).map(|((labels, max_ns), id)| ChunkMeta { id, ..chunk("t", labels, 0, *max_ns) });
        let plan = plan(chunks(), &set, &holds, now).unwrap();
        let judged = |chunk: &ChunkMeta<'_>| judge(chunk, &set, &holds, now.wall_ns);
        let expired: Vec<_> = chunks().filter(|c| matches!(judged(c), Verdict::Expired { .. })).map(|c| c.id.to_owned()).collect();
        let held = chunks().filter(|c| matches!(judged(c), Verdict::Held { .. })).count();
        prop_assert_eq!(plan.expired.iter().map(|e| e.id.clone()).collect::<Vec<_>>(), expired);
        prop_assert_eq!(plan.census.held.chunks, held as u64);
        prop_assert_eq!(plan.census.listed.chunks, streams.len() as u64);
        let per_policy: u64 = plan.policies.values().map(|tally| tally.chunks).sum();
        prop_assert_eq!(per_policy, plan.census.expired.chunks);
    }
}
