//! Reads on a paused clock: against a model for any order of answers, and what becomes of what is not returned (Q5).
#![cfg(feature = "tokio")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use forebay_ring::quorum::{
    Ask, Cancel, CancelCause, Cause, Hedge, HedgeOptions, Hedger, Limits, Load, ReadError, ReadOptions,
    Targets, do_until_quorum,
};
use forebay_ring::{Instance, Membership, Operation, Options, ReadSet, Require, Ring, State};
use proptest::prelude::*;
use tokio::time::{Instant, sleep};

const SECOND: Duration = Duration::from_secs(1);

/// Active instances, each with its zone.
fn ring_of(instances: &[(&str, &str)], zone_awareness: bool) -> Ring {
    let mut members = Membership::default();
    for (&(id, zone), token) in instances.iter().zip(1..) {
        let tokens = vec![token << 24].into();
        let instance = Instance { state: State::Active, zone: zone.into(), tokens, ..Instance::new(id, "") };
        members.observe(instance, 0);
    }
    Ring::build(&Options { zone_awareness, ..Options::default() }, &members, 0).unwrap()
}

fn six() -> Ring {
    ring_of(&[("a0", "a"), ("a1", "a"), ("b0", "b"), ("b1", "b"), ("c0", "c"), ("c1", "c")], true)
}

fn all(ring: &Ring) -> ReadSet<'_> {
    ring.replication_set_for(Operation::READ).unwrap()
}

fn few(prefer: &[&str]) -> Ask {
    Ask::Few { seed: 0, prefer: prefer.iter().map(|&zone| zone.into()).collect() }
}

#[expect(clippy::disallowed_methods, reason = "the clock of the paused runtime")]
fn now() -> Instant {
    Instant::now()
}

/// What an instance does, and after how many seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Script {
    after: u64,
    reply: Result<(), Fault>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Broken,
    Refused,
}

fn ok(after: u64) -> Script {
    Script { after, reply: Ok(()) }
}

fn broken(after: u64) -> Script {
    Script { after, reply: Err(Fault::Broken) }
}

/// What happened to calls and values.
#[derive(Clone, Default)]
struct Log {
    asked: Arc<Mutex<Vec<(String, u64)>>>,
    made: Arc<Mutex<Vec<String>>>,
    discarded: Arc<Mutex<Vec<String>>>,
    cancelled: Arc<Mutex<BTreeMap<String, CancelCause>>>,
}

/// Notes why a call ended, if it was for a cause.
struct Note {
    id: String,
    cancel: Cancel,
    log: Log,
}

impl Drop for Note {
    fn drop(&mut self) {
        if let Some(cause) = self.cancel.cause() {
            self.log.cancelled.lock().unwrap().insert(self.id.clone(), cause);
        }
    }
}

fn sorted(log: &Mutex<Vec<String>>) -> Vec<String> {
    let mut log = log.lock().unwrap().clone();
    log.sort();
    log
}

impl Log {
    /// Asks the instances of a set; the ids that are returned or how it failed, and after how many seconds.
    async fn read(
        &self,
        set: &ReadSet<'_>,
        options: &ReadOptions<Fault>,
        scripts: &BTreeMap<&str, Script>,
    ) -> (Result<Vec<String>, ReadError<Fault>>, u64) {
        let begin = now();
        let call = |instance: &Arc<Instance>, cancel: Cancel| {
            let (id, log) = (instance.id.to_string(), self.clone());
            let Script { after, reply } = scripts[&*id];
            log.asked.lock().unwrap().push((id.clone(), (now() - begin).as_secs()));
            async move {
                let _note = Note { id: id.clone(), cancel, log: log.clone() };
                sleep(Duration::from_secs(after)).await;
                reply?;
                log.made.lock().unwrap().push(id.clone());
                Ok(id)
            }
        };
        let discarded = Arc::clone(&self.discarded);
        let discard = move |instance: &Instance, value: String| {
            assert_eq!(*instance.id, *value);
            discarded.lock().unwrap().push(value);
        };
        let answers = do_until_quorum(set, options, call, discard).await;
        let took = (now() - begin).as_secs();
        let ids = answers.map(|answers| {
            answers
                .into_iter()
                .map(|(instance, value)| {
                    assert_eq!(*instance.id, *value);
                    value
                })
                .collect()
        });
        (ids, took)
    }

    fn asked(&self) -> Vec<(String, u64)> {
        self.asked.lock().unwrap().clone()
    }

    fn cancelled(&self) -> BTreeMap<String, CancelCause> {
        self.cancelled.lock().unwrap().clone()
    }

    /// Every value was returned or handed back, once.
    fn settle(&self, returned: &[String]) {
        let mut settled = sorted(&self.discarded);
        settled.extend_from_slice(returned);
        settled.sort();
        assert_eq!(settled, sorted(&self.made));
    }
}

fn options(ask: Ask, hedge: Hedge) -> ReadOptions<Fault> {
    let is_terminal = Arc::new(|fault: &Fault| *fault == Fault::Refused);
    ReadOptions { ask, hedge, is_terminal, deadline: 1_000 * SECOND, ..ReadOptions::default() }
}

/// How a read ends, and when.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Answers(Vec<String>),
    TooFew(usize),
    Refused(String),
}

/// The read as a list of units, replayed second by second.
fn model(units: &[Vec<(&str, Script)>], needed: usize, ask_all: bool, hedge: Option<u64>) -> (End, u64) {
    let mut asked: Vec<Option<u64>> = vec![None; units.len()];
    let ask = |asked: &mut Vec<Option<u64>>, count: usize, at| {
        let idle: Vec<usize> = (0..units.len()).filter(|&unit| asked[unit].is_none()).take(count).collect();
        idle.into_iter().for_each(|unit| asked[unit] = Some(at));
    };
    ask(&mut asked, if ask_all { units.len() } else { needed }, 0);
    let mut failed = vec![false; units.len()];
    let mut alarm = hedge;
    for at in 0..10_000 {
        // One at a time: no two answer at once, by the way scripts are made.
        let answer = (0..units.len()).filter(|&unit| !failed[unit]).find_map(|unit| {
            let begun = asked[unit]?;
            let (id, script) = units[unit].iter().find(|(_, script)| begun + script.after == at)?;
            Some((unit, id, script.reply))
        });
        match answer {
            None => {}
            Some((_, id, Err(Fault::Refused))) => return (End::Refused(id.to_string()), at),
            Some((unit, _, Err(Fault::Broken))) => {
                failed[unit] = true;
                let able = failed.iter().filter(|failed| !**failed).count();
                if able < needed {
                    return (End::TooFew(units.len() - able), at);
                }
                let waiting = (0..units.len()).filter(|&unit| asked[unit].is_some() && !failed[unit]).count();
                ask(&mut asked, needed.saturating_sub(waiting), at);
            }
            Some((_, _, Ok(()))) => {
                let is_full = |&unit: &usize| {
                    let all_by = |begun| units[unit].iter().all(|(_, script)| begun + script.after <= at);
                    !failed[unit] && asked[unit].is_some_and(all_by)
                };
                let full: Vec<usize> = (0..units.len()).filter(is_full).collect();
                if full.len() == needed {
                    let of = |&unit: &usize| units[unit].iter().map(|(id, _)| id.to_string());
                    let mut ids: Vec<String> = full.iter().flat_map(of).collect();
                    ids.sort();
                    return (End::Answers(ids), at);
                }
            }
        }
        if alarm == Some(at) && asked.iter().any(Option::is_none) {
            ask(&mut asked, 1, at);
            alarm = hedge.map(|delay| at + delay);
        }
    }
    panic!("a read ends");
}

fn any_reply() -> impl Strategy<Value = Result<(), Fault>> {
    prop_oneof![6 => Just(Ok(())), 3 => Just(Err(Fault::Broken)), 1 => Just(Err(Fault::Refused))]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_read_ends_as_the_model_says(
        replies in proptest::collection::vec(any_reply(), 6),
        order in Just((0..6_u32).collect::<Vec<_>>()).prop_shuffle(),
        zone_order in Just(vec!["a", "b", "c"]).prop_shuffle(),
        count in 3..=6_usize,
        zones_count: bool,
        ask_all: bool,
        hedge in proptest::option::of(1..40_u64),
    ) {
        // Powers of two and an odd delay: no two things happen at the same time, whenever they are asked.
        let hedge = hedge.map(|delay| 512 + delay * 2 + 1);
        let ids = [("a0", "a"), ("b0", "b"), ("c0", "c"), ("a1", "a"), ("b1", "b"), ("c1", "c")];
        let ring = ring_of(&ids[..count], zones_count);
        let scripts: BTreeMap<&str, Script> = ids.iter().zip(&replies).zip(&order)
            .map(|((&(id, _), &reply), &place)| (id, Script { after: 64 << place, reply }))
            .collect();
        let set = all(&ring);
        let units: Vec<Vec<(&str, Script)>> = match zones_count {
            true => zone_order.iter()
                .map(|zone| ids[..count].iter().filter(|(_, z)| z == zone).map(|&(id, _)| (id, scripts[id])).collect())
                .collect(),
            // Whom a seed puts first is another test's business: all are asked.
            false => ids[..count].iter().map(|&(id, _)| vec![(id, scripts[id])]).collect(),
        };
        let ask_all = ask_all || !zones_count;
        let ask = if ask_all { Ask::All } else { few(&zone_order) };
        let hedged = hedge.map_or(Hedge::Off, |delay| Hedge::After(Duration::from_secs(delay)));
        let options = ReadOptions { deadline: 100_000 * SECOND, ..options(ask, hedged) };
        let log = Log::default();
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let (found, took) = runtime.block_on(async {
            let (found, took) = log.read(&set, &options, &scripts).await;
            // Whatever is cancelled ends at its next turn.
            tokio::task::yield_now().await;
            (found, took)
        });
        let returned = found.as_ref().map_or(Vec::new(), Clone::clone);
        log.settle(&returned);
        let found = match found {
            Ok(mut ids) => {
                ids.sort();
                End::Answers(ids)
            }
            Err(ReadError::TooManyFailed { errors, .. }) => End::TooFew(errors.len()),
            Err(ReadError::Terminal(error)) => End::Refused(error.instance.id.to_string()),
            Err(other) => panic!("{other}"),
        };
        prop_assert_eq!((found, took), model(&units, set.needed(), ask_all, hedge));
    }
}

#[tokio::test(start_paused = true)]
async fn one_failure_takes_its_zone_along_and_tells_the_others_why() {
    let ring = six();
    let log = Log::default();
    let mut scripts: BTreeMap<&str, Script> =
        [("a0", ok(1)), ("a1", broken(2)), ("b0", ok(3)), ("b1", ok(9)), ("c0", ok(4)), ("c1", ok(5))].into();
    let (answers, took) = log.read(&all(&ring), &options(Ask::All, Hedge::Off), &scripts).await;
    assert_eq!((answers.unwrap().join(" "), took), ("b0 b1 c0 c1".to_owned(), 9));
    assert_eq!(*log.discarded.lock().unwrap(), ["a0"], "handed back when its zone failed");

    scripts.insert("a0", ok(60));
    scripts.insert("b0", broken(4));
    let log = Log::default();
    let (answers, took) = log.read(&all(&ring), &options(Ask::All, Hedge::Off), &scripts).await;
    let Err(ReadError::TooManyFailed { max: 1, errors }) = &answers else { panic!("{answers:?}") };
    let failed: Vec<&str> = errors.iter().map(|error| &*error.instance.id).collect();
    assert_eq!((failed, took), (vec!["a1", "b0"], 4));
    tokio::task::yield_now().await;
    let cause = |id: &str| log.cancelled().get(id).copied();
    assert_eq!(cause("a0"), Some(CancelCause::UnitFailed));
    assert_eq!(cause("b1"), Some(CancelCause::UnitFailed));
    assert_eq!(cause("c1"), Some(CancelCause::ReadFailed));
}

#[tokio::test(start_paused = true)]
async fn few_are_asked_the_near_ones_first_and_others_for_those_that_fail() {
    let ring = six();
    let scripts: BTreeMap<&str, Script> =
        [("a0", ok(1)), ("a1", ok(1)), ("b0", ok(2)), ("b1", ok(2)), ("c0", broken(3)), ("c1", ok(1))].into();
    let log = Log::default();
    let (answers, took) = log.read(&all(&ring), &options(few(&["b", "a"]), Hedge::Off), &scripts).await;
    assert_eq!((answers.unwrap().join(" "), took), ("a0 a1 b0 b1".to_owned(), 2));
    assert_eq!(log.asked().len(), 4);

    let log = Log::default();
    let (answers, took) = log.read(&all(&ring), &options(few(&["c", "b"]), Hedge::Off), &scripts).await;
    assert_eq!((answers.unwrap().join(" "), took), ("a0 a1 b0 b1".to_owned(), 4));
    let late: Vec<_> = log.asked().into_iter().filter(|(_, at)| *at > 0).collect();
    assert_eq!(late, [("a0".to_owned(), 3), ("a1".to_owned(), 3)]);
}

#[tokio::test(start_paused = true)]
async fn a_seed_spreads_whom_few_reads_ask() {
    let ring = six();
    let scripts: BTreeMap<&str, Script> = ["a0", "a1", "b0", "b1", "c0", "c1"].map(|id| (id, ok(1))).into();
    let mut pairs: BTreeMap<String, u32> = BTreeMap::new();
    for seed in 0..300 {
        let log = Log::default();
        let ask = Ask::Few { seed, prefer: Vec::new() };
        let (answers, _) = log.read(&all(&ring), &options(ask, Hedge::Off), &scripts).await;
        *pairs.entry(answers.unwrap().join(" ")).or_default() += 1;
    }
    assert_eq!(pairs.len(), 3);
    assert!(pairs.values().all(|count| (70..=130).contains(count)), "{pairs:?}");
}

/// Nothing of it may be lost: a stream that is neither read nor closed holds its resources for ever.
#[tokio::test(start_paused = true)]
async fn what_is_not_needed_is_cancelled_or_handed_back_and_what_is_returned_hears_nothing() {
    let ring = ring_of(&[("a", ""), ("b", ""), ("c", ""), ("d", "")], false);
    let set = all(&ring);
    assert_eq!((set.unit_count(), set.needed()), (4, 3));
    let cancels = Arc::new(Mutex::new(BTreeMap::new()));
    let call = |instance: &Arc<Instance>, cancel: Cancel| {
        let id = instance.id.to_string();
        cancels.lock().unwrap().insert(id.clone(), cancel);
        async move {
            sleep(if id == "b" { 9 } else { 1 } * SECOND).await;
            Ok::<_, Fault>(id)
        }
    };
    let answers =
        do_until_quorum(&set, &ReadOptions::default(), call, |_, id| panic!("{id} is needed")).await.unwrap();
    assert_eq!(answers.iter().map(|(_, id)| &**id).collect::<Vec<_>>(), ["a", "c", "d"]);
    let mut cancels = std::mem::take(&mut *cancels.lock().unwrap());
    assert_eq!(cancels.get_mut("b").unwrap().cancelled().await, CancelCause::Enough);
    for id in ["a", "c", "d"] {
        let silent = tokio::time::timeout(SECOND, cancels.get_mut(id).unwrap().cancelled()).await;
        assert!(silent.is_err(), "{id} was told {silent:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_that_nobody_waits_for_hands_back_all_it_has() {
    let ring = six();
    let scripts: BTreeMap<&str, Script> =
        [("a0", ok(1)), ("a1", ok(1)), ("b0", ok(1)), ("b1", ok(9)), ("c0", ok(1)), ("c1", ok(9))].into();
    let log = Log::default();
    let (set, options) = (all(&ring), options(Ask::All, Hedge::Off));
    let read = log.read(&set, &options, &scripts);
    tokio::time::timeout(3 * SECOND, read).await.map(drop).unwrap_err();
    tokio::task::yield_now().await;
    assert_eq!(sorted(&log.discarded), ["a0", "a1", "b0", "c0"]);
    log.settle(&[]);
    let dropped = |id: &str| (id.to_owned(), CancelCause::Dropped);
    assert_eq!(log.cancelled(), [dropped("b1"), dropped("c1")].into());
}

#[tokio::test(start_paused = true)]
async fn calls_that_hang_panic_or_are_not_made_fail_and_others_are_asked() {
    let ring = ring_of(&[("a", ""), ("b", ""), ("c", ""), ("d", ""), ("e", "")], false);
    let targets = Targets::new(Limits { per_target: Load { calls: 1, bytes: 1 }, ..Limits::default() });
    let _held = targets.acquire(&"a".into(), 0).unwrap();
    let options: ReadOptions<Fault> =
        ReadOptions { deadline: 5 * SECOND, targets: Some(targets.clone()), ..ReadOptions::default() };
    let call = |instance: &Arc<Instance>, _| {
        let id = instance.id.to_string();
        assert_ne!(id, "b", "a panic before there is a future");
        async move {
            match &*id {
                "c" => sleep(60 * SECOND).await,
                "d" => panic!("and one in it"),
                _ => sleep(9 * SECOND).await,
            }
            Ok(id)
        }
    };
    let set = ring.read_set(Operation::READ, Require::One).unwrap();
    assert_eq!((set.needed(), set.max_unavailable()), (3, 2));
    let error = do_until_quorum(&set, &options, call, |_, _| ()).await.unwrap_err();
    let ReadError::TooManyFailed { max: 2, errors } = error else { panic!("{error:?}") };
    let mut causes: Vec<_> = errors.iter().map(|error| (&*error.instance.id, error.cause.clone())).collect();
    causes.sort_by_key(|(id, _)| *id);
    assert!(matches!(causes[0], ("a", Cause::Full(_))));
    assert_eq!(causes[1..], [("b", Cause::Lost), ("d", Cause::Lost)]);
    tokio::task::yield_now().await;
    assert_eq!(targets.total_in_flight().calls, 1);

    let hang = |_: &Arc<Instance>, _| std::future::pending::<Result<(), Fault>>();
    let begin = now();
    let options = ReadOptions { targets: None, ..options };
    let error = do_until_quorum(&set, &options, hang, |_, ()| ()).await.unwrap_err();
    assert!(error.to_string().starts_with("3 failed where 2 may; first instance"), "{error}");
    assert_eq!(now() - begin, 5 * SECOND);
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

/// With a fixed delay everything is asked twice exactly when everything is slow.
#[tokio::test(start_paused = true)]
async fn hedges_stay_within_their_budget_when_everything_is_slow() {
    let ring = six();
    let set = all(&ring);
    // Slower than the fastest is slow, so only the budget holds them back.
    let hedger = Hedger::new(HedgeOptions { permille: 0, floor: 3 * SECOND, ..HedgeOptions::default() });
    let options = options(few(&["a", "b"]), Hedge::Adaptive(hedger.clone()));
    let scripts = |after| ["a0", "a1", "b0", "b1", "c0", "c1"].map(|id| (id, ok(after))).into();
    let (log, fast, slow) = (Log::default(), scripts(2), scripts(60));
    for _ in 0..100 {
        assert!(log.read(&set, &options, &fast).await.0.is_ok());
    }
    assert_eq!((log.asked().len(), hedger.delay()), (400, Some(3 * SECOND)), "nobody else is asked");
    for _ in 0..300 {
        assert!(log.read(&set, &options, &slow).await.0.is_ok());
    }
    // A tenth of the 1,200, and the 10 hedges that were saved up.
    let extra = log.asked().len() - 400 * 4;
    assert!((130..=140).contains(&extra), "{extra} calls more");
}

#[tokio::test(start_paused = true)]
async fn a_hedge_overtakes_a_slow_zone() {
    let ring = six();
    let set = all(&ring);
    let scripts: BTreeMap<&str, Script> =
        [("a0", ok(1)), ("a1", ok(50)), ("b0", ok(1)), ("b1", ok(1)), ("c0", ok(2)), ("c1", ok(2))].into();
    let hedge = Hedge::After(4 * SECOND);
    let log = Log::default();
    let (answers, took) = log.read(&set, &options(few(&["a", "b"]), hedge.clone()), &scripts).await;
    assert_eq!((answers.unwrap().join(" "), took), ("b0 b1 c0 c1".to_owned(), 6));
    tokio::task::yield_now().await;
    assert_eq!(log.cancelled(), [("a1".to_owned(), CancelCause::Enough)].into());
    log.settle(&["b0", "b1", "c0", "c1"].map(str::to_owned));
}

/// How many must answer is the caller's choice for each call.
#[tokio::test(start_paused = true)]
async fn a_read_of_a_key_asks_its_replicas_and_as_many_as_are_required() {
    let ring = ring_of(&[("a", ""), ("b", ""), ("c", ""), ("d", "")], false);
    let scripts: BTreeMap<&str, Script> = [("a", ok(1)), ("b", ok(3)), ("c", ok(2)), ("d", ok(0))].into();
    for (require, expected, after) in
        [(Require::One, "a", 1), (Require::Quorum, "a c", 2), (Require::All, "a b c", 3)]
    {
        let replicas = ring.get_with(0, Operation::READ, require).unwrap();
        let set = ReadSet::from(&replicas);
        let (answers, took) = Log::default().read(&set, &options(Ask::All, Hedge::Off), &scripts).await;
        assert_eq!((&*answers.unwrap().join(" "), took), (expected, after));
    }
}

#[test]
fn reads_can_move_between_threads() {
    fn sendable<T: Send>(_: &T) {}
    let ring = six();
    let (set, options) = (all(&ring), ReadOptions::default());
    let call = |_: &Arc<Instance>, _: Cancel| async { Ok::<(), Fault>(()) };
    sendable(&do_until_quorum(&set, &options, call, |_, ()| ()));
}
