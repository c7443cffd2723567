use std::time::Duration;

use super::*;
use crate::chunk::TimeRange;
use crate::decision::Keep;
use crate::policy::Retention;
use crate::selector::{Operator, Requirement};

fn days(days: u64) -> Retention {
    Retention::period(Duration::from_hours(24 * days)).unwrap()
}

fn app(name: &str) -> Selector {
    Selector::new([Requirement::equals("app", name)]).unwrap()
}

fn tenant(name: &str) -> Scope {
    Scope::Tenant(name.into())
}

fn everything() -> Selector {
    Selector::everything()
}

fn winner<'s>(set: &'s PolicySet, tenant: &str, labels: &[(&str, &str)]) -> Option<&'s str> {
    set.policy_for(tenant, labels).map(|policy| policy.id.as_str())
}

#[test]
fn narrower_scopes_win_and_defaults_come_last() {
    let policies = [
        Policy::new("all-default", Scope::All, everything(), days(1)).as_fallback().with_priority(99),
        Policy::new("t-default", tenant("t"), everything(), days(2)).as_fallback(),
        Policy::new("all-b", Scope::All, app("b"), days(3)).with_priority(99),
        Policy::new("t-a", tenant("t"), app("a"), days(4)),
    ];
    let set = PolicySet::compile(policies, TieBreak::Longest).unwrap();
    assert_eq!(winner(&set, "t", &[("app", "a")]), Some("t-a"));
    assert_eq!(winner(&set, "t", &[("app", "b")]), Some("all-b"));
    assert_eq!(winner(&set, "t", &[("app", "c")]), Some("t-default"));
    assert_eq!(winner(&set, "u", &[("app", "b")]), Some("all-b"));
    assert_eq!(winner(&set, "u", &[("app", "a")]), Some("all-default"));
}

#[test]
fn ties_resolve_as_asked_and_then_by_id() {
    let of = |tie| {
        let policies = [
            Policy::new("z-forever", Scope::All, app("a"), Retention::Forever),
            Policy::new("short", Scope::All, everything(), days(1)),
            Policy::new("also-short", Scope::All, everything(), days(1)),
            Policy::new("low", Scope::All, everything(), days(900)).with_priority(-1),
        ];
        PolicySet::compile(policies, tie).unwrap()
    };
    assert_eq!(winner(&of(TieBreak::Longest), "t", &[("app", "a")]), Some("z-forever"));
    assert_eq!(winner(&of(TieBreak::Shortest), "t", &[("app", "a")]), Some("also-short"));
}

#[test]
fn rejected_ties_name_both_policies_and_disjoint_or_equal_ones_are_no_ties() {
    let compile = |policies: Vec<Policy>| PolicySet::compile(policies, TieBreak::Reject).map(|_| ());
    let overlap = vec![
        Policy::new("b", Scope::All, everything(), days(1)),
        Policy::new("a", Scope::All, app("a"), days(2)),
    ];
    let tie = CompileError::Tie { first: "a".into(), second: "b".into() };
    assert_eq!(compile(overlap.clone()), Err(tie));
    let ranked = overlap.into_iter().zip(0..).map(|(policy, n)| policy.with_priority(n)).collect();
    assert_eq!(compile(ranked), Ok(()));
    let apart = vec![
        Policy::new("b", Scope::All, app("b"), days(1)),
        Policy::new("a", Scope::All, app("a"), days(2)),
        Policy::new("c", Scope::All, app("b"), days(1)),
        Policy::new("d", tenant("t"), everything(), days(9)),
    ];
    assert_eq!(compile(apart), Ok(()));
}

#[test]
fn an_id_is_given_once() {
    let twice =
        [Policy::new("a", Scope::All, app("a"), days(1)), Policy::new("a", tenant("t"), app("b"), days(1))];
    let error = PolicySet::compile(twice, TieBreak::Longest).unwrap_err();
    assert_eq!(error, CompileError::DuplicateId { id: "a".into() });
}

#[test]
fn a_chunk_that_no_policy_matches_or_that_cannot_be_read_is_kept() {
    let set =
        PolicySet::compile([Policy::new("a", Scope::All, app("a"), days(1))], TieBreak::Longest).unwrap();
    let range = TimeRange::covering(0, 1);
    let decide = |tenant, labels| set.evaluate(&ChunkMeta { tenant, id: "c", labels, range, size_bytes: 1 });
    assert_eq!(decide("t", &[("app", "b")]).reason, Reason::NoPolicy);
    assert_eq!(decide("t", &[("z", "z"), ("app", "a")]).reason, Reason::Unreadable);
    assert_eq!(decide("", &[("app", "a")]).reason, Reason::Unreadable);
    assert_eq!(decide("t", &[("app", "b")]).keep, Keep::Forever);
    assert_eq!(decide("t", &[("app", "a")]).policy, Some("a"));
    assert_eq!(PolicySet::empty().policy_for("t", &[]), None);
}

#[test]
fn an_explanation_lists_every_match_and_why_it_lost() {
    let exists = Selector::new([Requirement::new("app", Operator::Exists)]).unwrap();
    let policies = [
        Policy::new("wins", tenant("t"), app("a"), days(9)),
        Policy::new("wins-too", tenant("t"), app("a"), days(9)),
        Policy::new("tie", tenant("t"), exists.clone(), days(8)),
        Policy::new("low", tenant("t"), everything(), days(99)).with_priority(-1),
        Policy::new("wide", Scope::All, exists, days(7)).with_priority(7),
        Policy::new("other", Scope::All, app("b"), days(7)),
    ];
    let set = PolicySet::compile(policies, TieBreak::Longest).unwrap();
    let explanation = set.explain("t", &[("app", "a")]);
    let found: Vec<_> = explanation.matches.iter().map(|m| (m.policy.as_str(), m.standing)).collect();
    let expected = [
        ("wins", Standing::Wins),
        ("wins-too", Standing::LaterId),
        ("tie", Standing::LostTie),
        ("low", Standing::LowerPriority),
        ("wide", Standing::Shadowed),
    ];
    assert_eq!(found, expected);
    assert!(explanation.to_string().starts_with("wins (tenant t, priority 0) keeps 777600s: wins\n"));
    assert_eq!(set.explain("u", &[]).to_string(), "no policy matches: kept forever");
}
