use super::*;
use crate::compile::TieBreak;
use crate::hold::Hold;
use crate::policy::{Policy, Retention, Scope};
use crate::selector::Selector;

const DAY_NS: i64 = 86_400_000_000_000;
const NOW: Now = Now::trusted(100 * DAY_NS, 0);

fn policies() -> PolicySet {
    let week = Retention::period(Duration::from_hours(7 * 24)).unwrap();
    PolicySet::compile([Policy::new("week", Scope::All, Selector::everything(), week)], TieBreak::Longest)
        .unwrap()
}

fn chunk<'c>(id: &'c str, from_day: i64, to_day: i64) -> ChunkMeta<'c> {
    let range = TimeRange::covering(from_day * DAY_NS, to_day * DAY_NS);
    ChunkMeta { tenant: "t", id, labels: &[("app", "a")], range, size_bytes: 10 }
}

fn hold(from_day: i64, to_day: i64) -> Holds {
    let hold = Hold::new("h", Scope::Tenant("t".into()), Selector::everything(), "case", "reason", 0);
    Holds::new([hold.within(TimeRange::covering(from_day * DAY_NS, to_day * DAY_NS))])
}

#[test]
fn chunks_are_counted_by_kind_and_policy() {
    let chunks = [chunk("a", 1, 2), chunk("b", 50, 92), chunk("c", 90, 94), chunk("d", 20, 30)];
    let plan = plan(chunks, &policies(), &hold(25, 26), NOW).unwrap();
    let ids: Vec<_> = plan.expired.iter().map(|expired| expired.id.as_str()).collect();
    assert_eq!(ids, ["a", "b"]);
    assert_eq!(plan.expired[0].keep_until_ns, 9 * DAY_NS);
    let expected = Tally { chunks: 2, bytes: 20, oldest_ns: Some(DAY_NS), newest_ns: Some(92 * DAY_NS) };
    assert_eq!(plan.census.expired, expected);
    assert_eq!(plan.policies["week"], expected);
    let counts = [plan.census.listed, plan.census.held, plan.census.kept].map(|tally| tally.chunks);
    assert_eq!(counts, [4, 1, 1]);
    assert_eq!(plan.refusal, None);
}

#[test]
fn a_chunk_across_the_cut_off_is_kept_whole() {
    let plan = plan([chunk("a", 1, 93)], &policies(), &Holds::default(), NOW).unwrap();
    assert_eq!((plan.census.kept.chunks, plan.expired.len()), (1, 0));
}

#[test]
fn a_doubtful_clock_expires_nothing() {
    let now = Now { health: ClockHealth::Doubtful, ..NOW };
    let plan = plan([chunk("a", 1, 2)], &policies(), &Holds::default(), now).unwrap();
    assert_eq!(plan.refusal, Some(Refusal::ClockDoubt(ClockDoubt::Reported)));
    assert_eq!((plan.expired.len(), plan.census.kept.chunks), (0, 1));
}

#[test]
fn an_empty_listing_is_refused() {
    let plan = plan([], &policies(), &Holds::default(), NOW).unwrap();
    assert_eq!(plan.refusal, Some(Refusal::EmptyListing));
}

#[test]
fn a_chunk_listed_twice_counts_once_and_is_kept_if_either_says_so() {
    let old = chunk("a", 1, 2);
    let twice = plan([old, old], &policies(), &Holds::default(), NOW).unwrap();
    assert_eq!((twice.expired.len(), twice.census.listed.chunks), (1, 1));
    for pair in [[old, chunk("a", 1, 99)], [chunk("a", 1, 99), old]] {
        let plan = plan(pair, &policies(), &Holds::default(), NOW).unwrap();
        assert_eq!((plan.expired.len(), plan.census.kept.chunks), (0, 1));
    }
}

#[test]
fn a_listing_out_of_order_is_an_error() {
    let result = plan([chunk("b", 1, 2), chunk("a", 1, 2)], &policies(), &Holds::default(), NOW);
    assert_eq!(result.unwrap_err().to_string(), "store broke its contract: chunk a is listed after b");
}

#[test]
fn data_from_the_future_is_kept_and_reported() {
    let plan = plan([chunk("a", 99, 101), chunk("b", 1, 2)], &policies(), &Holds::default(), NOW).unwrap();
    assert_eq!((plan.census.future.chunks, plan.census.kept.chunks), (1, 1));
}

#[test]
fn what_cannot_be_read_is_kept_and_reported() {
    let bad = ChunkMeta { labels: &[("b", "1"), ("a", "1")], ..chunk("a", 1, 2) };
    let nobody = ChunkMeta { tenant: "", ..chunk("b", 1, 2) };
    let plan = plan([nobody, bad], &policies(), &Holds::default(), NOW).unwrap();
    assert_eq!((plan.census.unreadable.chunks, plan.expired.len()), (2, 0));
}
