//! Interleavings of a few threads, and values that a weak memory may show them: of two threads with one preemption
//! each and at most 600 executions a model, unless more is asked for.
//!
//! The files of the crate are compiled here a second time, with loom's atomics and mutex in the place of
//! `src/sync.rs`: no flag of the compiler is needed, so this runs wherever the tests run. Without a test
//! harness, for loom's threads are its own. Each model says how many executions it explored, and at least how
//! many it has to: a model that knows only one proves nothing.
//!
//! `LOOM_EXECUTIONS=20000` says after how many executions a model is stopped, `LOOM_MAX_PREEMPTIONS=2` how often a
//! thread is preempted, without any stop unless both are given; names of models as arguments say which are run. What
//! is printed says how many executions there were, and whether they were all.
//!
//! Explored are the sequence lock of `cell.rs` (`glance` and `read`), `Limiter`, `reserve` and `Queue`. Behind locks
//! only, and so tried by threads instead (`tests/threads.rs`), are `Keyed`, `Interned` and `Multi`.
#![expect(dead_code, unreachable_pub, unused_imports, reason = "the crate shows more than is tried here")]

#[path = "../src"]
mod src {
    pub(crate) mod bucket;
    pub(crate) mod cell;
    pub(crate) mod clock;
    pub(crate) mod decision;
    pub(crate) mod limiter;
    pub(crate) mod permit;
    pub(crate) mod quota;
    pub(crate) mod rate;
    pub(crate) mod reserve;
    pub(crate) mod wait;
}

use src::{bucket, cell, clock, decision, limiter, permit, quota, rate, reserve, wait};

// What the crate's own root shows, for its links.
use bucket::Segment;
use decision::Denied;
use limiter::Limiter;
use permit::Permit;
use quota::{Inherit, Oversize, Quota};
use rate::Rate;
use wait::{Queue, QueueOptions, QueuePermit};

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

mod sync {
    pub(crate) use loom::sync::atomic::{Ordering, fence};

    /// An atomic of loom's that is not searched in vain.
    ///
    /// loom looks for another order of two accesses only if they are the last that depend on each other. A
    /// thread that loads a word and then stores it, as the writer of `cell.rs` does with all of them, so hides
    /// the store from the search: the load depends on no load of another thread, and the store depends on the
    /// load of its own. A model of a reader and that writer then has one execution, and proves nothing. Here
    /// every access is preceded by a relaxed read-modify-write of a word beside the value, which depends on
    /// everybody's, and which orders nothing.
    macro_rules! searched {
        ($name:ident, $value:ty) => {
            #[derive(Debug)]
            pub(crate) struct $name {
                value: loom::sync::atomic::$name,
                accesses: loom::sync::atomic::AtomicU32,
            }

            impl $name {
                pub(crate) fn new(value: $value) -> Self {
                    let accesses = loom::sync::atomic::AtomicU32::new(0);
                    Self { value: loom::sync::atomic::$name::new(value), accesses }
                }

                pub(crate) fn load(&self, order: Ordering) -> $value {
                    self.access().load(order)
                }

                pub(crate) fn store(&self, value: $value, order: Ordering) {
                    self.access().store(value, order);
                }

                pub(crate) fn swap(&self, value: $value, order: Ordering) -> $value {
                    self.access().swap(value, order)
                }

                pub(crate) fn compare_exchange(
                    &self,
                    current: $value,
                    new: $value,
                    success: Ordering,
                    failure: Ordering,
                ) -> Result<$value, $value> {
                    self.access().compare_exchange(current, new, success, failure)
                }

                fn access(&self) -> &loom::sync::atomic::$name {
                    self.accesses.fetch_add(1, Ordering::Relaxed);
                    &self.value
                }
            }
        };
    }

    searched!(AtomicU64, u64);
    searched!(AtomicBool, bool);

    /// loom's mutex in the shape of parking_lot's.
    #[derive(Debug)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
            self.0.lock().expect("no model panics under a lock")
        }

        pub(crate) fn try_lock(&self) -> Option<loom::sync::MutexGuard<'_, T>> {
            self.0.try_lock().ok()
        }
    }
}

/// Executions of a model, where they are not asked for otherwise.
const MOST: usize = 600;

fn main() {
    // A runner that asks for the tests first, and for the ignored ones apart.
    let asked = |flag: &str| std::env::args().any(|argument| argument == flag);
    if asked("--list") {
        if !asked("--ignored") {
            println!("models: test");
        }
        return;
    }
    a_glance_sees_one_gauge_and_its_word();
    a_reader_sees_one_segment_and_its_word();
    a_reader_sees_the_last_of_two_segments_or_one_before();
    tokens_are_taken_once_while_the_quota_changes();
    tokens_that_come_back_come_back_once();
    a_release_finds_who_joins_at_the_same_time();
    a_new_quota_finds_who_joins_at_the_same_time();
    a_timer_that_rings_while_somebody_gives_back_is_heard();
    two_releases_at_once_are_both_seen();
    a_ringing_timer_and_a_leaving_head_do_not_miss_each_other();
    a_grant_that_is_dropped_goes_to_who_joins_at_the_same_time();
    who_tries_while_the_line_empties_is_not_sent_away_for_no_time();
    a_model_that_is_wrong_is_found_out();
}

/// Explores `model`, in at least `least` executions.
fn explore(name: &str, least: usize, model: impl Fn() + Send + Sync + 'static) {
    #[expect(clippy::disallowed_methods, reason = "to say how long it took")]
    let started = std::time::Instant::now();
    let chosen: Vec<String> = std::env::args().skip(1).filter(|name| !name.starts_with('-')).collect();
    if !chosen.is_empty() && !chosen.iter().any(|chosen| name == chosen || chosen == "models") {
        return;
    }
    let executions = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&executions);
    let mut builder = loom::model::Builder::new();
    let most = std::env::var("LOOM_EXECUTIONS").ok().and_then(|most| most.parse().ok());
    let most = most.or(builder.preemption_bound.is_none().then_some(MOST));
    builder.preemption_bound = builder.preemption_bound.or(Some(1));
    (builder.checkpoint_interval, builder.max_branches) = (100, 10_000);
    builder.max_permutations = most;
    builder.check(move || {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        model();
    });
    let executions = executions.load(std::sync::atomic::Ordering::Relaxed);
    let all = if most.is_some_and(|most| executions + 1 >= most) { "the first" } else { "all" };
    println!("loom {name} ... ok, {all} {executions} executions in {:?}", started.elapsed());
    assert!(executions >= least, "{name}: {executions} executions are fewer than {least}");
}

/// A sequence lock without its check: were this to pass, so would anything. The panic that it prints is wanted.
fn a_model_that_is_wrong_is_found_out() {
    use sync::{AtomicU64, Ordering};
    let verdict = std::panic::catch_unwind(|| {
        loom::model(|| {
            let words = Arc::new([AtomicU64::new(1), AtomicU64::new(1)]);
            let writer = loom::thread::spawn({
                let words = Arc::clone(&words);
                move || {
                    // The loads that once hid the stores: see `sync`.
                    let next = words.each_ref().map(|word| word.load(Ordering::Relaxed) + 1);
                    words.iter().zip(next).for_each(|(word, next)| word.store(next, Ordering::Release));
                }
            });
            let [first, second] = words.each_ref().map(|word| word.load(Ordering::Acquire));
            writer.join().expect("it does not panic");
            assert_eq!(first, second);
        });
    });
    assert!(verdict.is_err(), "loom explores nothing");
    println!("loom a_model_that_is_wrong_is_found_out ... ok");
}

fn quotas() -> [Quota; 2] {
    [Quota::new(Rate::per_second(3), 3), Quota::new(Rate::per_second(70), 7)]
}

fn limiter(quota: Quota) -> Arc<Limiter<fn() -> u64>> {
    Arc::new(Limiter::with_clock(quota, (|| 7) as fn() -> u64))
}

/// A segment with another word, so that the two can be told apart.
fn turned((segment, spent): (Segment, u64), now_ns: u64, quota: Quota) -> (Segment, u64) {
    let (segment, spent) = segment.turn(spent, now_ns, quota);
    (segment, spent.wrapping_add(2))
}

/// The invariant of `cell.rs`, of what `seen` reads while another thread replaces the segment `turns` times.
fn nobody_sees_halves<T: PartialEq + std::fmt::Debug + 'static>(
    name: &str,
    turns: usize,
    seen: fn(&cell::Cell) -> T,
    of: fn((Segment, u64)) -> T,
) {
    explore(name, 100, move || {
        let [old, new] = quotas();
        let first = Segment::start(old, 7);
        let second = turned(first, 9, new);
        let third = turned(second, 11, old);
        let cell = Arc::new(cell::Cell::new(first));
        let writer = loom::thread::spawn({
            let cell = Arc::clone(&cell);
            move || {
                for (now_ns, quota) in [(9, new), (11, old)].into_iter().take(turns) {
                    cell.replace(|segment, spent| Some(turned((segment, spent), now_ns, quota)));
                }
            }
        });
        let seen = seen(&cell);
        let mut known = [first, second, third].into_iter().take(turns + 1).map(of);
        assert!(known.any(|known| known == seen), "{seen:?}");
        writer.join().expect("it does not panic");
    });
}

/// What an ordinary decision reads.
fn a_glance_sees_one_gauge_and_its_word() {
    nobody_sees_halves("a_glance_sees_one_gauge_and_its_word", 1, cell::Cell::glance, |(segment, spent)| {
        (bucket::Gauge::of(&segment), spent)
    });
}

/// All eleven words, and the one that requests change.
fn a_reader_sees_one_segment_and_its_word() {
    nobody_sees_halves("a_reader_sees_one_segment_and_its_word", 1, cell::Cell::read, |known| known);
}

/// An epoch is not mistaken for the one two turns later.
fn a_reader_sees_the_last_of_two_segments_or_one_before() {
    let name = "a_reader_sees_the_last_of_two_segments_or_one_before";
    nobody_sees_halves(name, 2, cell::Cell::read, |known| known);
}

/// P8 and conformance: at one instant, what passes and what is left are the burst.
fn tokens_are_taken_once_while_the_quota_changes() {
    explore("tokens_are_taken_once_while_the_quota_changes", 100, || {
        let [old, new] = quotas();
        let limiter = limiter(old);
        let writer = loom::thread::spawn({
            let limiter = Arc::clone(&limiter);
            move || limiter.reconfigure(new)
        });
        let taken = u64::from(limiter.allow(1)) + u64::from(limiter.allow(1));
        writer.join().expect("it does not panic");
        assert_eq!((taken + limiter.peek().available, limiter.quota()), (3, new));
    });
}

/// P3.
fn tokens_that_come_back_come_back_once() {
    explore("tokens_that_come_back_come_back_once", 100, || {
        let limiter = limiter(quotas()[0]);
        let taker = loom::thread::spawn({
            let limiter = Arc::clone(&limiter);
            move || {
                limiter.try_acquire(2).map(Permit::release).ok();
                u64::from(limiter.allow(1))
            }
        });
        limiter.reserve(2, Duration::from_secs(1)).expect("in time").cancel();
        let mut taken = 2 * u64::from(limiter.allow(2));
        taken += taker.join().expect("it does not panic");
        assert_eq!((taken + limiter.peek().available, limiter.peek().debt), (3, 0));
    });
}

/// A queue at an instant that stands still, and the waker of its timer.
#[derive(Clone)]
struct Stand {
    queue: Queue,
    now_ns: Arc<std::sync::atomic::AtomicU64>,
    alarm: Arc<std::sync::Mutex<Option<Waker>>>,
}

/// Never ends by itself: [`Stand::ring`] does.
struct Asleep(Arc<std::sync::Mutex<Option<Waker>>>);

impl Future for Asleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        *self.0.lock().expect("no model panics under a lock") = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Stand {
    /// Ten tokens a second, ten at once.
    fn new() -> Self {
        let (now_ns, alarm) = (Arc::<std::sync::atomic::AtomicU64>::default(), Arc::default());
        let (clock, timer) = (Arc::clone(&now_ns), Arc::clone(&alarm));
        let queue = Queue::with_timer(
            Quota::new(Rate::per_second(10), 10),
            QueueOptions::default(),
            move || clock.load(std::sync::atomic::Ordering::SeqCst),
            move |_| Asleep(Arc::clone(&timer)),
        );
        Self { queue, now_ns, alarm }
    }

    fn turn_to_ms(&self, now_ms: u64) {
        self.now_ns.store(now_ms * 1_000_000, std::sync::atomic::Ordering::SeqCst);
    }

    fn ring(&self) {
        let waker = self.alarm.lock().expect("no model panics under a lock").take();
        waker.expect("the timer is set").wake();
    }

    /// Everything else that the line holds would keep the queue alive.
    fn stop(self) {
        self.alarm.lock().expect("no model panics under a lock").take();
    }
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    }
}

impl Wakes {
    fn count(&self) -> usize {
        self.0.load(std::sync::atomic::Ordering::SeqCst)
    }
}

fn polled<F: Future>(future: Pin<&mut F>, wakes: &Arc<Wakes>) -> Option<F::Output> {
    match future.poll(&mut Context::from_waker(&Waker::from(Arc::clone(wakes)))) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// P7: somebody waits for five while `change` makes them available in another thread. Who was not served at
/// once has to have been woken when both are done.
fn nobody_sleeps_through(name: &str, change: fn(&Stand)) {
    explore(name, 20, move || {
        let stand = Stand::new();
        assert!(stand.queue.allow(10));
        let changer = loom::thread::spawn({
            let stand = stand.clone();
            move || {
                change(&stand);
                drop(stand.queue);
            }
        });
        let wakes = Arc::<Wakes>::default();
        {
            let mut wait = pin!(stand.queue.wait(5));
            let outcome = polled(wait.as_mut(), &wakes);
            let shown = format!("{outcome:?}");
            let at_once = outcome.is_some_and(|outcome| outcome.is_ok());
            changer.join().expect("it does not panic");
            if !at_once {
                assert_eq!(wakes.count(), 1, "asleep for ever: {shown}, {:?}", stand.queue);
                assert!(polled(wait.as_mut(), &wakes).is_some_and(|outcome| outcome.is_ok()));
            }
            assert_eq!(stand.queue.waiting(), 0);
        }
        stand.stop();
    });
}

/// Q5.
fn a_release_finds_who_joins_at_the_same_time() {
    nobody_sleeps_through("a_release_finds_who_joins_at_the_same_time", |stand| stand.queue.release(5));
}

/// Q5.
fn a_new_quota_finds_who_joins_at_the_same_time() {
    nobody_sleeps_through("a_new_quota_finds_who_joins_at_the_same_time", |stand| {
        stand.queue.reconfigure(Quota::UNLIMITED);
    });
}

/// Q6: the timer that finds the line held, by somebody who read the clock before, leaves the bell rung.
fn a_timer_that_rings_while_somebody_gives_back_is_heard() {
    explore("a_timer_that_rings_while_somebody_gives_back_is_heard", 10, || {
        let stand = Stand::new();
        assert!(stand.queue.allow(10));
        let wakes = Arc::<Wakes>::default();
        {
            let mut wait = pin!(stand.queue.wait(3));
            assert!(polled(wait.as_mut(), &wakes).is_none());
            let timer = loom::thread::spawn({
                let stand = stand.clone();
                move || {
                    let waker = stand.alarm.lock().expect("no model panics under a lock").take();
                    stand.turn_to_ms(200);
                    // None if the other thread has just set it anew: then it was looked at after the turn.
                    waker.into_iter().for_each(Waker::wake);
                    drop(stand.queue);
                }
            });
            stand.queue.release(1);
            timer.join().expect("it does not panic");
            assert_eq!(wakes.count(), 1, "asleep for ever");
            assert!(polled(wait.as_mut(), &wakes).is_some_and(|outcome| outcome.is_ok()));
        }
        stand.stop();
    });
}

/// Each finds the line free, or waits for it.
fn two_releases_at_once_are_both_seen() {
    explore("two_releases_at_once_are_both_seen", 5, || {
        let stand = Stand::new();
        assert!(stand.queue.allow(10));
        let wakes = Arc::<Wakes>::default();
        {
            let mut wait = pin!(stand.queue.wait(2));
            assert!(polled(wait.as_mut(), &wakes).is_none());
            let other = loom::thread::spawn({
                let queue = stand.queue.clone();
                move || queue.release(1)
            });
            stand.queue.release(1);
            other.join().expect("it does not panic");
            assert_eq!(wakes.count(), 1, "asleep for ever");
            assert!(polled(wait.as_mut(), &wakes).is_some_and(|outcome| outcome.is_ok()));
        }
        stand.stop();
    });
}

/// Q6: the head is granted and gone, or leaves before: the next is served at the same instant, or later by the
/// timer, which is set.
fn a_ringing_timer_and_a_leaving_head_do_not_miss_each_other() {
    explore("a_ringing_timer_and_a_leaving_head_do_not_miss_each_other", 20, || {
        let stand = Stand::new();
        assert!(stand.queue.allow(10));
        let [first, second] = [(); 2].map(|()| Arc::<Wakes>::default());
        {
            let mut head = Box::pin(stand.queue.wait(5));
            let mut next = pin!(stand.queue.wait(5));
            assert!(polled(head.as_mut(), &first).is_none() && polled(next.as_mut(), &second).is_none());
            stand.turn_to_ms(500);
            let timer = loom::thread::spawn({
                let stand = stand.clone();
                move || {
                    stand.ring();
                    drop(stand.queue);
                }
            });
            drop(head);
            timer.join().expect("it does not panic");
            assert_eq!(second.count(), 1, "asleep for ever");
            assert!(polled(next.as_mut(), &second).is_some_and(|outcome| outcome.is_ok()));
        }
        assert_eq!((stand.queue.waiting(), stand.queue.peek().available), (0, 0));
        stand.stop();
    });
}

/// The last one leaves: either somebody waits, or the tokens are there.
fn who_tries_while_the_line_empties_is_not_sent_away_for_no_time() {
    explore("who_tries_while_the_line_empties_is_not_sent_away_for_no_time", 5, || {
        let stand = Stand::new();
        assert!(stand.queue.allow(10));
        let queue: &'static Queue = Box::leak(Box::new(stand.queue.clone()));
        let wakes = Arc::<Wakes>::default();
        let mut last = Box::pin(queue.wait(5));
        assert!(polled(last.as_mut(), &wakes).is_none());
        stand.turn_to_ms(500);
        let leaver = loom::thread::spawn(move || drop(last));
        if let Err(denied) = queue.try_acquire(1) {
            assert_eq!(denied.retry_after.duration(), Some(Duration::from_millis(100)), "{denied}");
        }
        leaver.join().expect("it does not panic");
        assert!(queue.allow(1));
        stand.stop();
    });
}

/// No token is lost: what nobody fetched goes to whoever joins meanwhile, who is served at once or woken.
fn a_grant_that_is_dropped_goes_to_who_joins_at_the_same_time() {
    explore("a_grant_that_is_dropped_goes_to_who_joins_at_the_same_time", 20, || {
        let stand = Stand::new();
        assert!(stand.queue.allow(10));
        // So that a place in line can go to another thread; a few hundred bytes an execution.
        let queue: &'static Queue = Box::leak(Box::new(stand.queue.clone()));
        let [first, second] = [(); 2].map(|()| Arc::<Wakes>::default());
        let mut granted = Box::pin(queue.wait(5));
        assert!(polled(granted.as_mut(), &first).is_none());
        stand.turn_to_ms(500);
        stand.ring();
        assert_eq!(first.count(), 1);
        let leaver = loom::thread::spawn(move || drop(granted));
        let mut wait = pin!(queue.wait(5));
        let at_once = polled(wait.as_mut(), &second).is_some_and(|outcome| outcome.is_ok());
        leaver.join().expect("it does not panic");
        if !at_once {
            assert_eq!(second.count(), 1, "asleep for ever");
            assert!(polled(wait.as_mut(), &second).is_some_and(|outcome| outcome.is_ok()));
        }
        assert_eq!((queue.waiting(), queue.peek().available), (0, 0));
        stand.stop();
    });
}
