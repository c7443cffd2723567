//! Batches on a paused clock: verdicts against a sequential model in every order of answers (Q1, Q4),
//! copies that survive the caller (Q2), and bounds that hold (Q3).
#![cfg(feature = "tokio")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use forebay_ring::quorum::{
    BatchOptions, BatchOutcome, Cause, Family, Finished, Limits, Load, ReplicaResult, Targets, Verdict,
    do_batch,
};
use forebay_ring::{
    Error, GetOptions, Instance, Membership, Operation, Options, QuorumBase, Require, Ring, State,
};
use proptest::prelude::*;
use tokio::time::{Instant, sleep};

const FAMILIES: [Family; 3] = [Family::Client, Family::Throttled, Family::Server];

/// An active instance for each id, `i`th token at `i + 1` sixteenths of the ring.
fn ring_of(ids: &[&str], replication_factor: u8) -> Ring {
    let mut members = Membership::default();
    for (&id, sixteenth) in ids.iter().zip(1..) {
        let tokens = vec![sixteenth << 28].into();
        let instance = Instance { state: State::Active, tokens, ..Instance::new(id, "10.0.0.1:9095") };
        members.observe(instance, 0);
    }
    Ring::build(&Options { replication_factor, ..Options::default() }, &members, 0).unwrap()
}

/// Errors of the tests are their families.
fn options(targets: &Targets) -> BatchOptions<Family> {
    BatchOptions::new(targets.clone(), |family| *family)
}

#[expect(clippy::disallowed_methods, reason = "the clock of the paused runtime")]
fn now() -> Instant {
    Instant::now()
}

/// What a replica does, and when: answers arrive by ascending `at` seconds.
#[derive(Debug, Clone)]
struct Script {
    at: u64,
    reply: ReplicaResult<Family>,
}

/// Plays the scripts of the instances and tells the outcome and after how many seconds it came.
async fn play(
    ring: &Ring,
    keys: &[u32],
    require: Require,
    scripts: &HashMap<String, Script>,
) -> (BatchOutcome<Family>, u64) {
    let targets = Targets::default();
    let options = BatchOptions { replicas: require.into(), ..options(&targets) };
    let begin = now();
    let batch = do_batch(
        ring,
        Operation::WRITE,
        keys,
        |instance, items| {
            let Script { at, reply } = scripts[&*instance.id].clone();
            async move {
                sleep(Duration::from_secs(at)).await;
                match reply {
                    ReplicaResult::PerItem(failed) => ReplicaResult::PerItem(
                        failed.into_iter().filter(|(i, _)| items.contains(i)).collect(),
                    ),
                    reply => reply,
                }
            }
        },
        &options,
    );
    let outcome = batch.await;
    (outcome, (now() - begin).as_secs())
}

/// The verdict on one item and when it fell, from the answers it got in order.
fn judge(answers: &[(u64, Option<Family>)], needed: usize) -> (Verdict, u64) {
    let tolerated = answers.len() - needed;
    for seen in 1..=answers.len() {
        let so_far = &answers[..seen];
        let at = so_far[seen - 1].0;
        let count = |family| so_far.iter().filter(|(_, answer)| *answer == family).count();
        if count(None) == needed {
            return (Verdict::Ok, at);
        }
        if let Some(&family) = FAMILIES.iter().find(|&&family| count(Some(family)) > tolerated) {
            return (Verdict::Failed { family }, at);
        }
    }
    let family = answers.iter().filter_map(|(_, answer)| *answer).max().unwrap();
    (Verdict::Failed { family }, answers.last().unwrap().0)
}

#[tokio::test(start_paused = true)]
async fn every_mix_of_answers_in_every_order_is_judged_as_by_the_model() {
    let ids = ["a", "b", "c"];
    let ring = ring_of(&ids, 3);
    let orders = [[1, 2, 3], [1, 3, 2], [2, 1, 3], [2, 3, 1], [3, 1, 2], [3, 2, 1]];
    let answers = [None, Some(Family::Client), Some(Family::Throttled), Some(Family::Server)];
    let mut by_mix: HashMap<(Require, [Option<Family>; 3]), Vec<Verdict>> = HashMap::new();
    for code in 0..4_usize.pow(3) {
        let mix = [answers[code % 4], answers[code / 4 % 4], answers[code / 16]];
        for order in orders {
            for (require, needed) in [(Require::One, 1), (Require::Quorum, 2), (Require::All, 3)] {
                let scripts = ids.iter().zip(mix).zip(order).map(|((id, answer), at)| {
                    let reply = answer.map_or(ReplicaResult::Ok, ReplicaResult::Err);
                    (id.to_string(), Script { at, reply })
                });
                let (outcome, after) = play(&ring, &[7], require, &scripts.collect()).await;
                let mut sequence: Vec<(u64, Option<Family>)> = order.into_iter().zip(mix).collect();
                sequence.sort_by_key(|(at, _)| *at);
                let verdict = outcome.items[0].verdict;
                assert_eq!((verdict, after), judge(&sequence, needed), "{sequence:?} needing {needed}");
                assert_eq!(outcome.items[0].needed, needed);
                by_mix.entry((require, mix)).or_default().push(verdict);
            }
        }
    }
    for ((require, mix), verdicts) in by_mix {
        // Q4: of three that all have to succeed, the first to fail names the family.
        let in_order = require == Require::All;
        assert!(in_order || verdicts.iter().all(|v| *v == verdicts[0]), "{require} {mix:?}: {verdicts:?}");
        assert!(verdicts.iter().all(|v| v.is_ok() == verdicts[0].is_ok()));
    }
}

/// A script for each of six instances; answers never arrive at the same time.
fn any_scripts() -> impl Strategy<Value = Vec<Script>> {
    let family = proptest::sample::select(&FAMILIES[..]);
    let reply = prop_oneof![
        3 => Just(ReplicaResult::Ok),
        1 => family.clone().prop_map(ReplicaResult::Err),
        3 => proptest::collection::vec((0..8_usize, family), 0..8).prop_map(ReplicaResult::PerItem),
    ];
    let order = Just((1..=6_u64).collect::<Vec<_>>()).prop_shuffle();
    (proptest::collection::vec(reply, 6), order).prop_map(|(replies, order)| {
        replies.into_iter().zip(order).map(|(reply, at)| Script { at, reply }).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn each_item_is_judged_by_its_own_replicas_alone(
        scripts in any_scripts(),
        keys in proptest::collection::vec(any::<u32>(), 0..8),
        factor in 1..=5_u8,
    ) {
        let ids = ["a", "b", "c", "d", "e", "f"];
        let ring = ring_of(&ids, factor);
        let scripts: HashMap<String, Script> = ids.iter().map(ToString::to_string).zip(scripts).collect();
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let (outcome, after) = runtime.block_on(play(&ring, &keys, Require::Quorum, &scripts));

        let mut last = 0;
        for (item, &key) in keys.iter().enumerate() {
            let set = ring.get(key, Operation::WRITE).unwrap();
            let mut answers: Vec<(u64, Option<Family>)> = set.iter().map(|instance| {
                let Script { at, reply } = &scripts[&*instance.id];
                let answer = match reply {
                    ReplicaResult::Ok => None,
                    ReplicaResult::Err(family) => Some(*family),
                    ReplicaResult::PerItem(failed) => {
                        failed.iter().find(|(failed, _)| *failed == item).map(|(_, family)| *family)
                    }
                };
                (*at, answer)
            }).collect();
            answers.sort_by_key(|(at, _)| *at);
            let (verdict, at) = judge(&answers, set.needed());
            prop_assert_eq!(outcome.items[item].verdict, verdict);
            last = last.max(at);
        }
        prop_assert_eq!(after, last, "the batch resolves with its last verdict");
        prop_assert_eq!(outcome.items.len(), keys.len());
        for (item, &key) in keys.iter().enumerate() {
            // Answers that came until the batch resolved are all accounted for, each exactly once.
            let set = ring.get(key, Operation::WRITE).unwrap();
            let answered = set.iter().filter(|instance| scripts[&*instance.id].at <= after).count();
            prop_assert_eq!(outcome.items[item].acks + outcome.errors_of(item).count(), answered);
        }
    }
}

/// Seconds after which each instance stores what it was sent; what is stored, for all to see.
#[derive(Clone, Default)]
struct Replicas {
    delays: Arc<HashMap<&'static str, u64>>,
    stored: Arc<Mutex<Vec<(String, usize)>>>,
}

impl Replicas {
    fn new(delays: impl IntoIterator<Item = (&'static str, u64)>) -> Self {
        Self { delays: Arc::new(delays.into_iter().collect()), stored: Arc::default() }
    }

    fn write(
        &self,
        instance: &Instance,
        items: forebay_ring::quorum::Items,
    ) -> impl Future<Output = ReplicaResult<Family>> + use<> {
        let (delay, stored, id) = (self.delays[&*instance.id], self.stored.clone(), instance.id.to_string());
        async move {
            sleep(Duration::from_secs(delay)).await;
            stored.lock().unwrap().extend(items.iter().map(|&item| (id.clone(), item)));
            ReplicaResult::Ok
        }
    }

    fn stored(&self) -> Vec<(String, usize)> {
        let mut stored = self.stored.lock().unwrap().clone();
        stored.sort();
        stored
    }
}

/// Q2. Where a set of tasks is dropped with the future, the third copy silently never comes to be.
#[tokio::test(start_paused = true)]
async fn dropping_the_future_at_any_time_cancels_no_copy() {
    let ring = ring_of(&["a", "b", "c"], 3);
    let everywhere: Vec<_> = ["a", "b", "c"].map(|id| (id.to_string(), 0)).to_vec();
    let replicas = || Replicas::new([("a", 1), ("b", 1), ("c", 5)]);
    let targets = Targets::default();

    // Before it was ever polled.
    let stored = replicas();
    drop(do_batch(&ring, Operation::WRITE, &[0_u32], |i, items| stored.write(i, items), &options(&targets)));
    assert_eq!(targets.total_in_flight().calls, 3);
    sleep(Duration::from_secs(6)).await;
    assert_eq!(stored.stored(), everywhere);

    // At quorum, outcome and all.
    let stored = replicas();
    let batch =
        do_batch(&ring, Operation::WRITE, &[0_u32], |i, items| stored.write(i, items), &options(&targets));
    let outcome = batch.await;
    assert!(outcome.is_ok());
    assert_eq!((outcome.items[0].acks, outcome.stragglers.len(), stored.stored().len()), (2, 1, 2));
    drop(outcome);
    sleep(Duration::from_secs(6)).await;
    assert_eq!(stored.stored(), everywhere);
    assert_eq!(targets.total_in_flight(), Load::default());

    // Or by a caller who waits for all of them.
    let stored = replicas();
    let batch =
        do_batch(&ring, Operation::WRITE, &[0_u32], |i, items| stored.write(i, items), &options(&targets));
    assert_eq!(batch.await.stragglers.finished().await, 0);
    assert_eq!(stored.stored(), everywhere);
}

#[tokio::test(start_paused = true)]
async fn a_straggler_is_dropped_at_its_deadline_and_gives_its_room_back() {
    let ring = ring_of(&["a", "b", "c"], 3);
    let replicas = Replicas::new([("a", 0), ("b", 0), ("c", u64::MAX / 4)]);
    let targets = Targets::default();
    let options = BatchOptions { deadline: Duration::from_secs(3), ..options(&targets) };
    let begin = now();
    let batch = do_batch(
        &ring,
        Operation::WRITE,
        &[(0_u32, 500), (1, 700)],
        |i, items| replicas.write(i, items),
        &options,
    );
    let outcome = batch.await;
    assert!(outcome.is_ok());
    assert_eq!(targets.in_flight("c"), Load { calls: 1, bytes: 1_200 });
    assert_eq!(outcome.stragglers.finished().await, 1);
    assert_eq!((now() - begin).as_secs(), 3);
    assert_eq!(targets.total_in_flight(), Load::default());
    assert_eq!(replicas.stored().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_an_awaited_call_misses_is_a_server_failure() {
    let ring = ring_of(&["a"], 1);
    let replicas = Replicas::new([("a", 60)]);
    let options = options(&Targets::default());
    let batch = do_batch(&ring, Operation::WRITE, &[0_u32], |i, items| replicas.write(i, items), &options);
    let outcome = batch.await;
    assert_eq!(outcome.items[0].verdict, Verdict::Failed { family: Family::Server });
    assert_eq!(outcome.errors[0].cause, Cause::Deadline(options.deadline));
    assert!(outcome.stragglers.is_empty());
    assert_eq!(replicas.stored(), []);
}

/// Q3. A quorum hides a slow replica, to which calls pile up until memory ends.
#[tokio::test(start_paused = true)]
async fn calls_to_a_slow_replica_are_bounded_and_slow_nobody_down() {
    let ring = ring_of(&["a", "b", "c"], 3);
    let replicas = Replicas::new([("a", 0), ("b", 0), ("c", 9)]);
    let per_target = Load { calls: 4, bytes: 2_500 };
    let targets = Targets::new(Limits { per_target, ..Limits::default() });
    let begin = now();
    for round in 0..100 {
        let write = |i: &Instance, items| replicas.write(i, items);
        let outcome = do_batch(&ring, Operation::WRITE, &[(0_u32, 1_000)], write, &options(&targets)).await;
        assert!(outcome.is_ok(), "round {round}");
        assert_eq!(targets.in_flight("c"), Load { calls: 2.min(round + 1), bytes: 1_000 * 2.min(round + 1) });
        if round >= 2 {
            assert_eq!(outcome.stragglers.len(), 0, "what is refused leaves nothing behind");
            let refused = outcome.errors_of(0).next().unwrap();
            assert_eq!((&*refused.instance.id, refused.family), ("c", Family::Server));
            assert!(matches!(refused.cause, Cause::Full(full) if !full.total && full.bytes == 1_000));
        }
    }
    assert!(now() - begin < Duration::from_secs(1), "nobody waited for the slow one");
    sleep(Duration::from_secs(10)).await;
    assert_eq!(targets.in_flight("c"), Load::default());
}

#[tokio::test(start_paused = true)]
async fn with_too_many_targets_at_their_bound_the_batch_fails_at_once() {
    let ring = ring_of(&["a", "b", "c"], 3);
    let targets = Targets::new(Limits { total: Load { calls: 1, bytes: usize::MAX }, ..Limits::default() });
    let calls = Cell::new(0);
    let outcome = do_batch(
        &ring,
        Operation::WRITE,
        &[0_u32],
        |_, _| {
            calls.set(calls.get() + 1);
            std::future::pending()
        },
        &options(&targets),
    )
    .await;
    assert_eq!(calls.get(), 1, "a call that was refused is not even made");
    assert_eq!(outcome.items[0].verdict, Verdict::Failed { family: Family::Server });
    assert_eq!(outcome.stragglers.len(), 1);
    let error = outcome.result().unwrap_err();
    assert_eq!(error.to_string(), "1 of 1 items failed: server error");
}

/// No keys means nobody will ever answer, which must not mean waiting for an answer.
#[tokio::test(start_paused = true)]
async fn no_items_are_ok_at_once() {
    let ring = ring_of(&["a", "b", "c"], 3);
    let call = |_: &Instance, _| -> std::future::Ready<_> { panic!("nothing to call") };
    let outcome = do_batch(&ring, Operation::WRITE, &[0_u32; 0], call, &options(&Targets::default())).await;
    assert!(outcome.is_ok());
    assert_eq!(outcome.result(), Ok(()));
    assert_eq!(outcome.stragglers.finished().await, 0);
}

/// All instances here have one address, and are three replicas all the same.
#[tokio::test(start_paused = true)]
async fn instances_behind_one_address_are_called_each() {
    let ring = ring_of(&["a", "b", "c"], 3);
    let replicas = Replicas::new([("a", 0), ("b", 0), ("c", 0)]);
    let options = BatchOptions { replicas: Require::All.into(), ..options(&Targets::default()) };
    let write = |i: &Instance, items| replicas.write(i, items);
    let outcome = do_batch(&ring, Operation::WRITE, &[0_u32, 1], write, &options).await;
    assert_eq!(outcome.items.iter().map(|item| item.acks).collect::<Vec<_>>(), [3, 3]);
    assert_eq!(replicas.stored().len(), 6);
}

/// Q1. With one error per call for all of its items, a bad item would take the others along.
#[tokio::test(start_paused = true)]
async fn a_bad_item_fails_alone_with_every_error_and_who_sent_it() {
    let ring = ring_of(&["a", "b", "c"], 3);
    let call = |_: &Instance, _| async { ReplicaResult::PerItem(vec![(1, Family::Client)]) };
    let options = BatchOptions { replicas: Require::All.into(), ..options(&Targets::default()) };
    let outcome = do_batch(&ring, Operation::WRITE, &[0_u32, 1, 2], call, &options).await;
    let verdicts: Vec<_> = outcome.items.iter().map(|item| item.verdict).collect();
    assert_eq!(verdicts, [Verdict::Ok, Verdict::Failed { family: Family::Client }, Verdict::Ok]);
    let mut senders: Vec<_> = outcome.errors_of(1).map(|error| &*error.instance.id).collect();
    senders.sort_unstable();
    assert_eq!(senders, ["a", "b", "c"]);
    assert_eq!(outcome.errors_of(0).count() + outcome.errors_of(9).count(), 0);
    assert_eq!(outcome.result().unwrap_err().family, Family::Client);
}

#[tokio::test(start_paused = true)]
async fn an_item_without_enough_healthy_replicas_fails_alone_and_is_sent_to_nobody() {
    let mut members = Membership::default();
    for (id, token, state) in [("a", 1 << 30, State::Active), ("b", 1 << 31, State::Leaving)] {
        members.observe(Instance { state, tokens: vec![token].into(), ..Instance::new(id, "") }, 0);
    }
    let ring = Ring::build(&Options { replication_factor: 1, ..Options::default() }, &members, 0).unwrap();
    let replicas = Replicas::new([("a", 0), ("b", 0)]);
    let write = |i: &Instance, items| replicas.write(i, items);
    // Key 0 is owned by `a`, key 2^30 by `b`, which takes no writes.
    let op = Operation::WRITE_NO_EXTEND;
    let outcome = do_batch(&ring, op, &[1 << 30, 0_u32], write, &options(&Targets::default())).await;
    let refused = Error::TooManyUnhealthy { needed: 1, found: 0 };
    assert_eq!(outcome.items[0].verdict, Verdict::Unplaced(refused));
    assert_eq!(outcome.items[1].verdict, Verdict::Ok);
    assert_eq!(replicas.stored(), [("a".to_string(), 1)]);

    let nobody = Ring::build(&Options::default(), &Membership::default(), 0).unwrap();
    let write = |i: &Instance, items| replicas.write(i, items);
    let outcome = do_batch(&nobody, op, &[0_u32], write, &options(&Targets::default())).await;
    assert_eq!(outcome.items[0].verdict, Verdict::Unplaced(Error::Empty));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_panics_is_lost_and_the_others_decide() {
    let ring = ring_of(&["a", "b", "c"], 3);
    let targets = Targets::default();
    let call = |instance: &Instance, _| {
        let broken = &*instance.id == "a";
        async move {
            assert!(!broken, "a panic that belongs to the test");
            sleep(Duration::from_secs(1)).await;
            ReplicaResult::<Family>::Ok
        }
    };
    let outcome = do_batch(&ring, Operation::WRITE, &[0_u32], call, &options(&targets)).await;
    assert!(outcome.is_ok());
    assert_eq!(outcome.errors[0].cause, Cause::Lost);
    assert_eq!(targets.in_flight("a"), Load::default());
}

#[tokio::test(start_paused = true)]
async fn an_answer_about_an_item_that_was_not_sent_is_not_believed() {
    let ring = ring_of(&["a"], 1);
    let call = |_: &Instance, _| async { ReplicaResult::PerItem(vec![(2, Family::Client)]) };
    let outcome = do_batch(&ring, Operation::WRITE, &[0_u32, 1], call, &options(&Targets::default())).await;
    let failed = Verdict::Failed { family: Family::Server };
    assert!(outcome.items.iter().all(|item| item.verdict == failed));
    assert_eq!(outcome.errors[0].cause, Cause::UnknownItem(2));
}

#[test]
fn batches_can_move_between_threads() {
    fn sendable<T: Send>(_: &T) {}
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _inside = runtime.enter();
    let ring = ring_of(&["a"], 1);
    let call = |_: &Instance, _| std::future::pending();
    let batch = do_batch(&ring, Operation::WRITE, &[0_u32], call, &options(&Targets::default()));
    sendable(&batch);
    // The runtime shuts down under the call, which is lost and still reported.
    drop(_inside);
    drop(runtime);
    let other = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let outcome = other.block_on(batch);
    assert_eq!(outcome.errors[0].cause, Cause::Lost);
}

/// What the calls use is given back when the last of them has ended, neither at the quorum nor with the caller.
#[tokio::test(start_paused = true)]
async fn what_comes_after_the_last_call_runs_once_and_whoever_is_there() {
    let ring = ring_of(&["a", "b", "c"], 3);
    let replicas = Replicas::new([("a", 1), ("b", 1), ("c", 5)]);
    let finished = Arc::new(Mutex::new(Vec::new()));
    let note = |name: &'static str| {
        let finished = Arc::clone(&finished);
        move |told: Finished| finished.lock().unwrap().push((name, told))
    };
    let targets = Targets::default();
    let write = || {
        let write = |i: &Instance, items| replicas.write(i, items);
        do_batch(&ring, Operation::WRITE, &[0_u32], write, &options(&targets))
    };
    let all = Finished { calls: 3, failed: 0 };

    drop(write().on_finished(note("dropped")));
    let outcome = write().on_finished(note("first")).on_finished(note("second")).await;
    assert!(outcome.is_ok() && outcome.stragglers.len() == 1);
    assert_eq!(*finished.lock().unwrap(), [], "one is still under way");
    outcome.stragglers.finished().await;
    tokio::task::yield_now().await;
    assert_eq!(*finished.lock().unwrap(), [("dropped", all), ("first", all), ("second", all)]);

    // All had ended, or there were none.
    let batch = write();
    sleep(Duration::from_secs(9)).await;
    let batch = batch.on_finished(note("late"));
    assert_eq!(finished.lock().unwrap()[3..], [("late", all)]);
    assert!(batch.await.is_ok());
    let none = |_: &Instance, _| -> std::future::Ready<ReplicaResult<Family>> { panic!("nothing to call") };
    let batch = do_batch(&ring, Operation::WRITE, &[0_u32; 0], none, &options(&targets));
    assert!(batch.on_finished(note("none")).await.is_ok());
    assert_eq!(finished.lock().unwrap()[4..], [("none", Finished::default())]);
}

#[tokio::test(start_paused = true)]
async fn what_comes_after_the_last_call_hears_of_all_that_failed() {
    let ring = ring_of(&["a", "b", "c", "d", "e"], 5);
    let options = BatchOptions { deadline: Duration::from_secs(3), ..options(&Targets::default()) };
    let call = |instance: &Instance, _| {
        let id = instance.id.to_string();
        async move {
            match &*id {
                "a" => return ReplicaResult::Err(Family::Server),
                "b" => panic!("a panic that belongs to the test"),
                "c" => sleep(Duration::from_secs(60)).await,
                _ => sleep(Duration::from_secs(1)).await,
            }
            assert_ne!(id, "d", "another panic that belongs to the test");
            ReplicaResult::<Family>::Ok
        }
    };
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let batch = do_batch(&ring, Operation::WRITE, &[0_u32], call, &options);
    let batch = batch.on_finished(move |finished| {
        tell.send(finished).unwrap();
        panic!("a panic that goes no further");
    });
    assert!(!batch.await.is_ok());
    assert_eq!(told.recv().await, Some(Finished { calls: 5, failed: 4 }));
    assert_eq!(told.recv().await, None, "it ran once");
}

/// A call that need not wait needs no task, nor a runtime.
#[test]
fn calls_that_are_answered_at_once_are_made_without_a_runtime() {
    let ring = ring_of(&["a", "b", "c"], 3);
    let targets = Targets::default();
    let call = |instance: &Instance, _| {
        assert_ne!(&*instance.id, "a", "a panic that belongs to the test, before there is a call");
        std::future::ready(ReplicaResult::<Family>::Ok)
    };
    let batch = do_batch(&ring, Operation::WRITE, &[(0_u32, 5)], call, &options(&targets));
    assert_eq!(targets.total_in_flight(), Load::default());
    let mut batch = std::pin::pin!(batch);
    let polled = batch.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
    let std::task::Poll::Ready(outcome) = polled else { panic!("all have answered") };
    assert!(outcome.is_ok() && outcome.stragglers.is_empty());
    assert_eq!(outcome.errors[0].cause, Cause::Lost);
}

/// With three that must acknowledge of the four that extension selects, the one that fails fails the write.
#[tokio::test(start_paused = true)]
async fn a_quorum_of_the_configured_replicas_survives_a_failure_beside_one_that_leaves() {
    let mut members = Membership::default();
    for (id, token) in [("a", 1), ("b", 2), ("c", 3), ("d", 4)] {
        let state = if id == "b" { State::Leaving } else { State::Active };
        members.observe(Instance { state, tokens: vec![token << 28].into(), ..Instance::new(id, "") }, 0);
    }
    let ring = Ring::build(&Options::default(), &members, 0).unwrap();
    let write = |base| {
        let replicas = GetOptions { base, ..GetOptions::default() };
        let call = |instance: &Instance, _| {
            let reply = match &*instance.id {
                "a" => ReplicaResult::Err(Family::Server),
                _ => ReplicaResult::Ok,
            };
            async { reply }
        };
        do_batch(
            &ring,
            Operation::WRITE,
            &[0_u32],
            call,
            &BatchOptions { replicas, ..options(&Targets::default()) },
        )
    };
    assert!(!write(QuorumBase::Extended).await.is_ok());
    let outcome = write(QuorumBase::Configured).await;
    assert!(outcome.is_ok());
    assert_eq!((outcome.items[0].acks, outcome.items[0].needed), (2, 2));
}
