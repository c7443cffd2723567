//! What two or three threads do at the same time, and what has to be so afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use loom::thread;

use crate::quorum::finish::{Finish, Finished};
use crate::quorum::targets::{Limits, Load, Targets};

pub(crate) const ALL: &[(&str, fn())] = &[
    ("a_bound_holds_whoever_asks_at_once", a_bound_holds_whoever_asks_at_once),
    ("the_total_holds_over_targets", the_total_holds_over_targets),
    ("room_that_is_given_back_is_there", room_that_is_given_back_is_there),
    ("what_comes_after_the_last_call_runs_once", what_comes_after_the_last_call_runs_once),
    ("what_is_asked_for_late_runs_once", what_is_asked_for_late_runs_once),
];

fn targets(per_target: usize, total: usize) -> Targets {
    let load = |calls| Load { calls, bytes: 10 };
    Targets::new(Limits { per_target: load(per_target), total: load(total) })
}

/// What loom has to find: between the look and the taking the other one takes.
pub(crate) fn two_threads_that_look_before_they_take_take_too_much() {
    let targets = targets(2, 2);
    let take = move |targets: Targets| {
        let is_free = targets.in_flight("a").calls == 0;
        is_free.then(|| targets.acquire(&"a".into(), 1).unwrap())
    };
    let other = thread::spawn({
        let targets = targets.clone();
        move || take(targets)
    });
    let mine = take(targets.clone());
    let theirs = other.join().unwrap();
    assert!(targets.in_flight("a").calls <= 1);
    drop((mine, theirs));
}

fn a_bound_holds_whoever_asks_at_once() {
    let targets = targets(1, 9);
    let other = thread::spawn({
        let targets = targets.clone();
        move || targets.acquire(&"a".into(), 5).ok()
    });
    let mine = targets.acquire(&"a".into(), 5).ok();
    let theirs = other.join().unwrap();
    assert!(mine.is_some() != theirs.is_some());
    assert_eq!(targets.in_flight("a"), Load { calls: 1, bytes: 5 });
    drop((mine, theirs));
    assert_eq!(targets.total_in_flight(), Load::default());
}

fn the_total_holds_over_targets() {
    let targets = targets(9, 1);
    let other = thread::spawn({
        let targets = targets.clone();
        move || targets.acquire(&"a".into(), 5).ok()
    });
    let mine = targets.acquire(&"b".into(), 5).ok();
    let theirs = other.join().unwrap();
    assert!(mine.is_some() != theirs.is_some());
    assert_eq!(targets.total_in_flight(), Load { calls: 1, bytes: 5 });
    drop((mine, theirs));
    assert_eq!((targets.in_flight("a"), targets.in_flight("b")), Default::default());
}

fn room_that_is_given_back_is_there() {
    let targets = targets(1, 9);
    let slot = targets.acquire(&"a".into(), 5).unwrap();
    let other = thread::spawn({
        let targets = targets.clone();
        move || {
            drop(slot);
            drop(targets.acquire(&"a".into(), 5).unwrap());
        }
    });
    drop(targets.acquire(&"b".into(), 5).unwrap());
    other.join().unwrap();
    assert_eq!(targets.total_in_flight(), Load::default());
}

fn what_comes_after_the_last_call_runs_once() {
    let finish = Arc::new(Finish::new(Finished { calls: 1, failed: 1 }, 2));
    let runs = Arc::new(AtomicUsize::new(0));
    finish.then({
        let runs = Arc::clone(&runs);
        Box::new(move |told| {
            assert_eq!(told, Finished { calls: 3, failed: 2 });
            runs.fetch_add(1, Ordering::Relaxed);
        })
    });
    assert_eq!(runs.load(Ordering::Relaxed), 0);
    let other = thread::spawn({
        let finish = Arc::clone(&finish);
        move || finish.ended(false)
    });
    finish.ended(true);
    other.join().unwrap();
    assert_eq!(runs.load(Ordering::Relaxed), 1);
}

fn what_is_asked_for_late_runs_once() {
    let finish = Arc::new(Finish::new(Finished::default(), 1));
    let runs = Arc::new(AtomicUsize::new(0));
    let other = thread::spawn({
        let finish = Arc::clone(&finish);
        move || finish.ended(true)
    });
    for _ in 0..2 {
        let runs = Arc::clone(&runs);
        finish.then(Box::new(move |told| {
            assert_eq!(told, Finished { calls: 1, failed: 0 });
            runs.fetch_add(1, Ordering::Relaxed);
        }));
    }
    other.join().unwrap();
    assert_eq!(runs.load(Ordering::Relaxed), 2);
}
