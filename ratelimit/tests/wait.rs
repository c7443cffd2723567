//! The line, in time that is turned by hand: no runtime, no thread, no real time.
#![cfg(feature = "tokio")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use forebay_ratelimit::{
    Bound, Denied, Inherit, Oversize, Queue, QueueOptions, QueuePermit, Quota, Rate, RetryAfter, Wait,
};
use proptest::prelude::*;

const SECOND_NS: u64 = 1_000_000_000;
const MS_NS: u64 = 1_000_000;

/// A clock and its timers. Sleeps end `late_ns` after their time, at the earliest.
#[derive(Default)]
struct Time {
    now_ns: AtomicU64,
    late_ns: AtomicU64,
    sleepers: Mutex<Vec<(u64, Waker)>>,
    /// Sleeps that were asked for.
    sleeps: AtomicUsize,
}

impl Time {
    fn now_ns(&self) -> u64 {
        self.now_ns.load(Ordering::SeqCst)
    }

    /// Turns the clock to `to_ns`, stopping wherever a sleep ends.
    fn turn_to(&self, to_ns: u64) {
        loop {
            let mut sleepers = self.sleepers.lock().unwrap();
            sleepers.sort_by_key(|&(at_ns, _)| at_ns);
            if sleepers.first().is_none_or(|&(at_ns, _)| at_ns > to_ns) {
                break;
            }
            let (at_ns, waker) = sleepers.remove(0);
            drop(sleepers);
            self.now_ns.fetch_max(at_ns, Ordering::SeqCst);
            waker.wake();
        }
        self.now_ns.fetch_max(to_ns, Ordering::SeqCst);
    }
}

struct Sleep {
    time: Arc<Time>,
    at_ns: u64,
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.time.now_ns() >= self.at_ns {
            return Poll::Ready(());
        }
        let mut sleepers = self.time.sleepers.lock().unwrap();
        sleepers.retain(|(_, waker)| !waker.will_wake(cx.waker()));
        sleepers.push((self.at_ns, cx.waker().clone()));
        Poll::Pending
    }
}

/// What a dropped sleep leaves behind may still ring: the line has to bear that.
fn queue_with(quota: Quota, options: QueueOptions) -> (Queue, Arc<Time>) {
    let time = Arc::new(Time::default());
    let (clock, timer) = (Arc::clone(&time), Arc::clone(&time));
    let queue = Queue::with_timer(
        quota,
        options,
        move || clock.now_ns(),
        move |delay| {
            timer.sleeps.fetch_add(1, Ordering::SeqCst);
            let delay_ns = u64::try_from(delay.as_nanos()).unwrap();
            let late_ns = timer.late_ns.load(Ordering::SeqCst);
            Sleep { time: Arc::clone(&timer), at_ns: timer.now_ns() + delay_ns + late_ns }
        },
    );
    (queue, time)
}

fn queue(quota: Quota) -> (Queue, Arc<Time>) {
    queue_with(quota, QueueOptions::default())
}

fn per_second(rate: u64, burst: u64) -> Quota {
    Quota::new(Rate::per_second(rate), burst)
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A task that waits, polled by hand.
struct Task<'a> {
    wait: Pin<Box<Wait<'a>>>,
    wakes: Arc<Wakes>,
}

impl<'a> Task<'a> {
    fn new(wait: Wait<'a>) -> Self {
        Self { wait: Box::pin(wait), wakes: Arc::default() }
    }

    /// Already in line.
    fn waiting(wait: Wait<'a>) -> Self {
        let mut task = Self::new(wait);
        assert!(task.poll().is_none(), "there is nothing to wait for");
        task
    }

    fn poll(&mut self) -> Option<Result<QueuePermit<'a>, Denied>> {
        let waker = Waker::from(Arc::clone(&self.wakes));
        match self.wait.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(outcome) => Some(outcome),
            Poll::Pending => None,
        }
    }

    fn wakes(&self) -> usize {
        self.wakes.0.load(Ordering::SeqCst)
    }

    fn granted(&mut self) -> bool {
        matches!(self.poll(), Some(Ok(_)))
    }

    fn denied(mut self) -> Denied {
        self.poll().expect("it is settled").map(|_| ()).expect_err("it is refused")
    }
}

#[test]
fn what_is_there_is_there_at_once_and_what_is_not_when_its_last_token_was_minted() {
    let (queue, time) = queue(per_second(10, 5));
    assert!(Task::new(queue.wait(5)).granted());
    let mut task = Task::waiting(queue.wait(3));
    time.turn_to(300 * MS_NS - 1);
    assert_eq!(task.wakes(), 0);
    time.turn_to(300 * MS_NS);
    assert_eq!(task.wakes(), 1);
    assert!(task.granted());
    assert_eq!(queue.waiting(), 0);
    assert_eq!(queue.peek().available, 0);
}

/// P6, and one wake-up a grant, with one timer, however many wait.
#[test]
fn ten_thousand_are_served_in_order_and_each_is_woken_once() {
    let (queue, time) = queue(per_second(10_000, 1));
    assert!(queue.allow(1));
    let mut tasks: Vec<_> = (0..10_000).map(|_| Task::waiting(queue.wait(1))).collect();
    assert_eq!(time.sleeps.load(Ordering::SeqCst), 1);
    for served in 1..=10_u64 {
        time.turn_to(served * 100 * MS_NS);
        let woken = usize::try_from(served * 1_000).unwrap();
        assert!(tasks[..woken].iter().all(|task| task.wakes() == 1), "{woken}");
        assert!(tasks[woken..].iter().all(|task| task.wakes() == 0), "{woken}");
    }
    assert!(tasks.iter_mut().all(Task::granted));
    assert_eq!(time.sleeps.load(Ordering::SeqCst), 10_000);
}

#[test]
fn a_large_request_is_not_overtaken_by_small_ones() {
    let (queue, time) = queue(per_second(10, 10));
    assert!(queue.allow(10));
    let mut large = Task::waiting(queue.wait(10));
    let mut small = Task::waiting(queue.wait(1));
    time.turn_to(SECOND_NS - 1);
    assert!(large.poll().is_none() && small.poll().is_none());
    time.turn_to(SECOND_NS);
    assert!(large.granted() && small.poll().is_none());
    time.turn_to(SECOND_NS + 100 * MS_NS);
    assert!(small.granted());
}

#[test]
fn nobody_who_does_not_wait_takes_what_others_wait_for() {
    let (queue, time) = queue(per_second(10, 10));
    assert!(queue.allow(10));
    let mut task = Task::waiting(queue.wait(8));
    time.turn_to(500 * MS_NS);
    assert_eq!(queue.peek().available, 5);
    assert!(!queue.allow(1));
    let denied = queue.try_acquire(1).unwrap_err();
    // Three more for the one ahead, and one.
    assert_eq!(
        (denied.bound, denied.retry_after.duration()),
        (Bound::Queue, Some(Duration::from_millis(400)))
    );
    assert_eq!(
        denied.to_string(),
        "1 tokens have to wait behind others at the rate of 10/s, retry after 400ms"
    );
    assert!(queue.allow(0));
    time.turn_to(900 * MS_NS);
    assert!(task.granted());
    assert!(queue.allow(1));
}

#[test]
fn with_barging_they_may_and_the_line_is_served_later() {
    let options = QueueOptions { barging: true, ..QueueOptions::default() };
    let (queue, time) = queue_with(per_second(10, 10), options);
    assert!(queue.allow(10));
    let mut task = Task::waiting(queue.wait(8));
    let hurried = Task::waiting(queue.wait_until(1, SECOND_NS));
    time.turn_to(500 * MS_NS);
    drop(Task::waiting(queue.wait(1))); // Once a mistake: whoever waits overtakes nobody.
    assert!(queue.allow(5));
    time.turn_to(SECOND_NS);
    assert_eq!((task.wakes(), hurried.wakes()), (0, 1), "a deadline is kept even if others barge in");
    let denied = hurried.denied();
    assert_eq!(
        (denied.bound, denied.retry_after.duration()),
        (Bound::Queue, Some(Duration::from_millis(400)))
    );
    time.turn_to(1_300 * MS_NS);
    assert!(task.granted());
}

#[test]
fn who_leaves_pulls_the_others_forward() {
    let (queue, time) = queue(per_second(10, 10));
    assert!(queue.allow(10));
    let first = Task::waiting(queue.wait(9));
    let second = Task::waiting(queue.wait(5));
    let mut third = Task::waiting(queue.wait(1));
    time.turn_to(50 * MS_NS);
    drop(second);
    drop(first);
    assert_eq!(queue.waiting(), 1);
    time.turn_to(100 * MS_NS - 1);
    assert_eq!(third.wakes(), 0);
    time.turn_to(100 * MS_NS);
    assert!(third.granted());
}

#[test]
fn a_grant_that_nobody_fetches_goes_to_the_next() {
    let (queue, time) = queue(per_second(10, 10));
    assert!(queue.allow(10));
    let first = Task::waiting(queue.wait(5));
    let mut second = Task::waiting(queue.wait(5));
    time.turn_to(500 * MS_NS);
    assert_eq!((first.wakes(), second.wakes()), (1, 0));
    drop(first);
    assert_eq!(second.wakes(), 1);
    assert!(second.granted());
    assert_eq!(queue.peek().available, 0);
}

/// The head of the line was granted by the timer itself. Where the head's task has to run for the next to be
/// served, a task that is stuck, or forgotten, stops them all.
#[test]
fn a_forgotten_waiter_stops_nobody() {
    let (queue, time) = queue(per_second(10, 10));
    assert!(queue.allow(10));
    std::mem::forget(Task::waiting(queue.wait(5)));
    let mut second = Task::waiting(queue.wait(5));
    time.turn_to(SECOND_NS);
    assert!(second.granted());
}

#[test]
fn what_comes_back_goes_to_those_who_wait() {
    let (queue, _time) = queue(per_second(10, 10));
    let mut permit = queue.try_acquire(10).unwrap();
    let mut first = Task::waiting(queue.wait(3));
    let mut second = Task::waiting(queue.wait(3));
    permit.shrink_to(6);
    assert_eq!((first.wakes(), second.wakes()), (1, 0));
    permit.release();
    assert!(first.granted() && second.granted());
    assert_eq!(queue.peek().available, 4);
}

#[test]
fn a_deadline_that_cannot_be_met_fails_at_once() {
    let (queue, time) = queue(per_second(10, 10));
    assert!(queue.allow(10));
    let denied = Task::new(queue.wait_until(5, 499 * MS_NS)).denied();
    assert_eq!(
        (denied.bound, denied.retry_after.duration()),
        (Bound::Rate, Some(Duration::from_millis(500)))
    );
    let mut first = Task::waiting(queue.wait_until(5, 500 * MS_NS));
    let denied = Task::new(queue.wait_until(1, 599 * MS_NS)).denied();
    assert_eq!(
        (denied.bound, denied.retry_after.duration()),
        (Bound::Queue, Some(Duration::from_millis(600)))
    );
    let mut second = Task::waiting(queue.wait_within(1, Duration::from_millis(600)));
    time.turn_to(600 * MS_NS);
    assert!(first.granted() && second.granted());
    // What is there is there, even after the deadline.
    time.turn_to(SECOND_NS);
    assert!(Task::new(queue.wait_until(4, 0)).granted());
}

#[test]
fn what_no_time_would_serve_fails_at_once() {
    let (queue, time) = queue(per_second(10, 10));
    let denied = Task::new(queue.wait(11)).denied();
    assert_eq!((denied.bound, denied.retry_after), (Bound::Burst, RetryAfter::Never));
    assert_eq!(Task::new(queue.wait(u64::MAX)).denied().retry_after, RetryAfter::Never);
    assert!(queue.allow(10));
    let waiting = Task::waiting(queue.wait(1));
    queue.reconfigure(Quota::new(Rate::ZERO, 10));
    assert_eq!(waiting.wakes(), 1);
    assert_eq!(waiting.denied().retry_after, RetryAfter::Never);
    assert_eq!(Task::new(queue.wait(1)).denied().retry_after, RetryAfter::Never);
    queue.reconfigure(Quota::UNLIMITED);
    assert!(Task::new(queue.wait(u64::MAX)).granted());
    time.turn_to(u64::MAX);
    assert!(Task::new(queue.wait(u64::MAX)).granted());
}

#[test]
fn a_full_line_takes_nobody() {
    let options = QueueOptions { capacity: 1, ..QueueOptions::default() };
    let (queue, time) = queue_with(per_second(10, 10), options);
    assert!(queue.allow(10));
    let mut first = Task::waiting(queue.wait(1));
    let denied = Task::new(queue.wait(1)).denied();
    assert_eq!(
        (denied.bound, denied.retry_after.duration()),
        (Bound::Queue, Some(Duration::from_millis(200)))
    );
    time.turn_to(100 * MS_NS);
    assert!(first.granted());
    let _next = Task::waiting(queue.wait(1));
}

#[test]
fn a_new_quota_re_times_those_who_wait() {
    let (queue, time) = queue(per_second(10, 100));
    assert!(queue.allow(100));
    let mut first = Task::waiting(queue.wait(10));
    let hurried = Task::waiting(queue.wait_until(10, 2 * SECOND_NS));
    let mut last = Task::waiting(queue.wait(20));
    let large = Task::waiting(queue.wait(60));
    time.turn_to(500 * MS_NS);
    // Slower, with a smaller burst: one has no time any more, one no bucket.
    queue.reconfigure(per_second(5, 50));
    assert_eq!((first.wakes(), hurried.wakes(), last.wakes(), large.wakes()), (0, 1, 0, 1));
    assert_eq!(large.denied().bound, Bound::Burst);
    // Five are there; five and ten more at 5 a second are three seconds.
    assert_eq!(hurried.denied().retry_after.duration(), Some(Duration::from_secs(3)));
    time.turn_to(1_500 * MS_NS - 1);
    assert_eq!(first.wakes(), 0);
    time.turn_to(1_500 * MS_NS);
    assert!(first.granted());
    // Faster.
    queue.reconfigure(per_second(1_000, 50));
    time.turn_to(1_520 * MS_NS);
    assert!(last.granted());
    // All at once.
    let mut tasks = [20, 30].map(|tokens| Task::waiting(queue.wait(tokens)));
    queue.reconfigure_with(per_second(1_000, 50), Inherit::Reset);
    assert!(tasks.iter_mut().all(Task::granted));
    let mut task = Task::waiting(queue.wait(50));
    queue.reconfigure(Quota::UNLIMITED);
    let Some(Ok(permit)) = task.poll() else { panic!("unlimited") };
    assert_eq!((permit.granted(), permit.tokens()), (50, 0));
    queue.reconfigure(per_second(1, 50));
    assert!(queue.allow(50));
    permit.release();
    assert!(!queue.allow(1));
}

#[test]
fn a_split_request_is_served_over_several_refills_and_paid_for_before() {
    let (queue, time) = queue(per_second(10, 5).oversize(Oversize::Split));
    assert_eq!(queue.try_acquire(12).unwrap_err().retry_after, RetryAfter::Never);
    let mut split = Task::waiting(queue.wait(12));
    let mut next = Task::waiting(queue.wait(1));
    assert_eq!(queue.try_acquire(12).unwrap_err().retry_after, RetryAfter::Never, "trying is never enough");
    // Five are there, seven are minted.
    time.turn_to(700 * MS_NS - 1);
    assert_eq!(split.wakes(), 0);
    time.turn_to(700 * MS_NS);
    assert!(split.granted());
    time.turn_to(800 * MS_NS);
    assert!(next.granted());
    // Nothing was taken from who leaves half way: the bucket is as full as a bucket gets meanwhile.
    let split = Task::waiting(queue.wait(100));
    time.turn_to(5 * SECOND_NS);
    drop(split);
    assert!(queue.peek().is_full());
}

/// Once a mistake: whatever came back, and every new quota, took from the head what it had saved up.
#[test]
fn what_comes_back_and_a_new_quota_leave_the_line_what_it_saved_up() {
    let quota = per_second(10, 5).oversize(Oversize::Split);
    let (queue, time) = queue(quota);
    let mut permit = queue.try_acquire(3).unwrap();
    let mut split = Task::waiting(queue.wait(100));
    // Two are there, 98 are to be minted: three of them come back, two before the change of quota.
    for second in [3, 6] {
        time.turn_to(second * SECOND_NS);
        permit.shrink_to(3 - second / 3);
        assert_eq!(split.wakes(), 0);
    }
    time.turn_to(9_200 * MS_NS);
    // Four are missing, and a bucket of four holds no less of what was saved, nor of what is yet to come back.
    queue.reconfigure(Quota { rate: Rate::per_second(20), burst: 4, ..quota });
    permit.release();
    time.turn_to(9_350 * MS_NS - 1);
    assert_eq!(split.wakes(), 0);
    time.turn_to(9_350 * MS_NS);
    assert!(split.granted());
    assert_eq!(queue.peek().available, 0);
}

/// A burst that is less than what the timer's lateness mints, as on tokio's timer at 64,000 a second.
#[test]
fn permits_that_settle_cost_a_late_timer_no_rate() {
    let (queue, time) = queue(per_second(1_000, 1));
    assert!(queue.allow(1));
    time.late_ns.store(50 * MS_NS, Ordering::SeqCst);
    let tasks: Vec<_> = (0..200).map(|_| Task::waiting(queue.wait(1))).collect();
    for tenth in 1..=10 {
        time.turn_to(tenth * 10 * MS_NS);
        queue.release(1);
    }
    // Every token that was minted, and all ten that came back.
    assert_eq!(tasks.iter().filter(|task| task.wakes() == 1).count(), 110);
}

#[test]
fn an_oversize_request_waits_for_a_full_bucket_and_those_behind_pay() {
    let (queue, time) = queue(per_second(10, 5).oversize(Oversize::WhenFull));
    assert!(queue.allow(5));
    let mut large = Task::waiting(queue.wait(15));
    let mut next = Task::waiting(queue.wait(1));
    time.turn_to(500 * MS_NS);
    assert!(large.granted());
    assert_eq!(queue.peek().debt, 10);
    time.turn_to(1_600 * MS_NS - 1);
    assert_eq!(next.wakes(), 0);
    time.turn_to(1_600 * MS_NS);
    assert!(next.granted());
}

#[test]
fn a_late_timer_costs_nothing_within_its_lateness_and_all_but_a_burst_beyond() {
    for (lateness_ms, served) in [(100, 100), (50, 51), (0, 1)] {
        let options =
            QueueOptions { lateness: Duration::from_millis(lateness_ms), ..QueueOptions::default() };
        let (queue, time) = queue_with(per_second(1_000, 1), options);
        assert!(queue.allow(1));
        // One token a millisecond, and a timer that rings 99 ms after the first.
        time.late_ns.store(99 * MS_NS, Ordering::SeqCst);
        let tasks: Vec<_> = (0..200).map(|_| Task::waiting(queue.wait(1))).collect();
        time.turn_to(100 * MS_NS);
        assert_eq!(tasks.iter().filter(|task| task.wakes() == 1).count(), served, "{lateness_ms} ms");
    }
}

#[test]
fn a_timer_that_ends_early_is_asked_again() {
    let time = Arc::new(Time::default());
    let (clock, timer) = (Arc::clone(&time), Arc::clone(&time));
    let queue = Queue::with_timer(
        per_second(10, 5),
        QueueOptions::default(),
        move || clock.now_ns(),
        move |delay| {
            let at_ns = timer.now_ns() + u64::try_from(delay.as_nanos()).unwrap().div_ceil(2);
            Sleep { time: Arc::clone(&timer), at_ns }
        },
    );
    assert!(queue.allow(5));
    let mut task = Task::waiting(queue.wait(5));
    time.turn_to(500 * MS_NS - 1);
    assert_eq!(task.wakes(), 0);
    time.turn_to(500 * MS_NS);
    assert!(task.granted());
}

/// What the queue promises, the plain way: integers without bound, and a list.
struct Model {
    rate: Ratio,
    /// When this rate came into force, what was minted before, and of the next token in its nanoseconds.
    start: (u64, i128, i128),
    burst: i128,
    oversize: Oversize,
    spent: i128,
    since_ns: u64,
    /// What the head has beyond a burst from the time before `since_ns`.
    saved: i128,
    /// Nothing is granted as of an earlier instant than this.
    changed_ns: u64,
    line: VecDeque<(usize, i128)>,
    granted: Vec<(usize, u64)>,
}

#[derive(Clone, Copy, Debug)]
struct Ratio {
    tokens: i128,
    per_ns: i128,
}

impl Ratio {
    /// As a rate, and in lowest terms.
    fn new(tokens: u64, per_ns: u64) -> (Rate, Self) {
        let divisor = (1..=tokens).rev().find(|&n| tokens.is_multiple_of(n) && per_ns.is_multiple_of(n));
        let divisor = i128::from(divisor.unwrap_or(1));
        let ratio = Self { tokens: i128::from(tokens) / divisor, per_ns: i128::from(per_ns) / divisor };
        (Rate::per(tokens, Duration::from_nanos(per_ns)), ratio)
    }
}

impl Model {
    /// In units of one token over the rate's nanoseconds, since the rate came into force.
    fn units(&self, now_ns: u64) -> i128 {
        let (start_ns, _, carry) = self.start;
        self.rate.tokens * i128::from(now_ns.saturating_sub(start_ns)) + carry
    }

    fn minted(&self, now_ns: u64) -> i128 {
        self.start.1 + self.units(now_ns) / self.rate.per_ns
    }

    /// Where a bucket stands that is full, and has all that the head saved.
    fn floor(&self) -> i128 {
        self.minted(self.since_ns) - self.burst - self.saved
    }

    fn give_back(&mut self, now_ns: u64, tokens: i128) {
        self.spent = (self.spent.max(self.floor()) - tokens).max(self.floor());
        self.changed_ns = now_ns;
    }

    fn reconfigure(&mut self, now_ns: u64, rate: Ratio, burst: i128) {
        self.spent = self.spent.max(self.floor());
        // No more may come back than before, nor more than the new burst.
        let room = (self.spent - self.floor()).min(burst);
        let minted = self.minted(now_ns);
        let carry = self.units(now_ns) % self.rate.per_ns * rate.per_ns / self.rate.per_ns;
        (self.rate, self.burst, self.start) = (rate, burst, (now_ns, minted, carry));
        (self.since_ns, self.changed_ns) = (now_ns, now_ns);
        self.saved = (minted - self.spent + room - burst).max(0);
    }

    /// Serves everybody due by `now_ns`.
    fn run(&mut self, now_ns: u64) {
        while let Some(&(id, tokens)) = self.line.front() {
            let splits = self.oversize == Oversize::Split && tokens > self.burst;
            if !splits {
                self.saved = 0;
            }
            let base = self.spent.max(self.floor());
            let needed = if self.oversize == Oversize::WhenFull { tokens.min(self.burst) } else { tokens };
            let (start_ns, minted, carry) = self.start;
            let units = (base + needed - minted) * self.rate.per_ns - carry;
            let at_ns = i128::from(start_ns) + (units + self.rate.tokens - 1).div_euclid(self.rate.tokens);
            let at_ns = u64::try_from(at_ns.max(i128::from(self.since_ns))).unwrap().max(self.changed_ns);
            if at_ns > now_ns {
                if !splits {
                    self.since_ns = now_ns;
                }
                return;
            }
            (self.spent, self.since_ns, self.saved) = (base + tokens, at_ns, 0);
            self.granted.push((id, at_ns));
            self.line.pop_front();
        }
        (self.since_ns, self.saved) = (now_ns, 0);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Join(u64),
    Leave(prop::sample::Index),
    Pass(u64),
    Return(u64),
    Reconfigure { tokens: u64, per_ns: u64, burst: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1..30_u64).prop_map(Step::Join),
        1 => any::<prop::sample::Index>().prop_map(Step::Leave),
        3 => (0..3_000_u64).prop_map(Step::Pass),
        1 => (1..10_u64).prop_map(Step::Return),
        1 => (1..1_000_u64, 1_000..100_000_u64, 1..20_u64)
            .prop_map(|(tokens, per_ns, burst)| Step::Reconfigure { tokens, per_ns, burst }),
    ];
    prop::collection::vec(step, 1..60)
}

fn oversize() -> impl Strategy<Value = Oversize> {
    prop_oneof![Just(Oversize::WhenFull), Just(Oversize::Split)]
}

/// Instants at which tasks were woken, in that order.
type Woken = Rc<RefCell<Vec<(usize, u64)>>>;

proptest! {
    /// P1, P3 and P6 of the line: who is served, in which order and at which nanosecond.
    #[test]
    fn everybody_is_served_when_an_unbounded_counter_and_a_list_say(
        // At most a token a nanosecond: of what is minted within one, no lateness at all leaves a burst.
        mut tokens in 1..1_000_u64,
        mut per_ns in 1_000..100_000_u64,
        burst in 1..20_u64,
        oversize in oversize(),
        steps in steps(),
    ) {
        let (rate, ratio) = Ratio::new(tokens, per_ns);
        let options = QueueOptions { lateness: Duration::ZERO, ..QueueOptions::default() };
        let (queue, time) = queue_with(Quota { rate, burst, oversize }, options);
        let mut model = Model {
            rate: ratio,
            start: (0, 0, 0),
            burst: i128::from(burst),
            oversize,
            spent: -i128::from(burst),
            since_ns: 0,
            saved: 0,
            changed_ns: 0,
            line: VecDeque::new(),
            granted: Vec::new(),
        };
        let mut tasks: Vec<Option<Task<'_>>> = Vec::new();
        let woken = Woken::default();
        for step in steps {
            match step {
                Step::Join(tokens) => {
                    let id = tasks.len();
                    model.line.push_back((id, i128::from(tokens)));
                    let mut task = Task::new(queue.wait(tokens));
                    if task.granted() {
                        woken.borrow_mut().push((id, time.now_ns()));
                    }
                    tasks.push(Some(task));
                }
                Step::Leave(index) if !model.line.is_empty() => {
                    let index = index.index(model.line.len());
                    if index == 0 {
                        (model.since_ns, model.saved) = (time.now_ns(), 0);
                    }
                    let (id, _) = model.line.remove(index).unwrap();
                    tasks[id] = None;
                }
                Step::Leave(_) => {}
                Step::Return(tokens) => {
                    model.give_back(time.now_ns(), i128::from(tokens));
                    queue.release(tokens);
                }
                Step::Reconfigure { tokens: new_tokens, per_ns: new_per_ns, burst } => {
                    (tokens, per_ns) = (new_tokens, new_per_ns);
                    let (rate, ratio) = Ratio::new(tokens, per_ns);
                    let quota = Quota { rate, burst, oversize };
                    if quota != queue.quota() {
                        model.reconfigure(time.now_ns(), ratio, i128::from(burst));
                    }
                    queue.reconfigure(quota);
                }
                Step::Pass(periods) => {
                    // To every nanosecond at which something may happen, by the timer alone.
                    let to_ns = time.now_ns() + periods * per_ns / tokens;
                    model.run(to_ns);
                    while time.now_ns() < to_ns {
                        let next_ns = time.sleepers.lock().unwrap().iter().map(|(at_ns, _)| *at_ns).min();
                        time.turn_to(next_ns.map_or(to_ns, |at_ns| at_ns.clamp(time.now_ns(), to_ns)));
                        if next_ns.is_none_or(|at_ns| at_ns > to_ns) {
                            time.turn_to(to_ns);
                        }
                        collect(&mut tasks, &woken, time.now_ns());
                    }
                }
            }
            model.run(time.now_ns());
            collect(&mut tasks, &woken, time.now_ns());
            prop_assert_eq!(queue.waiting(), model.line.len());
            prop_assert_eq!(&*woken.borrow(), &model.granted);
        }
        prop_assert!(tasks.iter().flatten().all(|task| task.wakes() <= 1));
    }

    /// P1 with timers that are late: in no window more than its burst, its rate and what the lateness is worth.
    #[test]
    fn no_window_holds_more_than_it_may_however_late_the_timer_is(
        rate in 1..10_000_u64,
        burst in 1..50_u64,
        lateness_ms in 0..200_u64,
        delays in prop::collection::vec((0..400_u64, 0..400_u64, 1..50_u64), 1..60),
    ) {
        let options = QueueOptions { lateness: Duration::from_millis(lateness_ms), ..QueueOptions::default() };
        let (queue, time) = queue_with(per_second(rate, burst), options);
        let mut tasks = Vec::new();
        let woken = Woken::default();
        let mut sizes = Vec::new();
        for (pause_ms, late_ms, tokens) in delays {
            time.late_ns.store(late_ms * MS_NS, Ordering::SeqCst);
            let tokens = tokens.min(burst);
            let mut task = Task::new(queue.wait(tokens));
            sizes.push(tokens);
            if task.granted() {
                woken.borrow_mut().push((tasks.len(), time.now_ns()));
            }
            tasks.push(Some(task));
            for _ in 0..pause_ms {
                time.turn_to(time.now_ns() + MS_NS);
                collect(&mut tasks, &woken, time.now_ns());
            }
        }
        let woken = woken.borrow();
        for (first, &(_, start_ns)) in woken.iter().enumerate() {
            let mut sum = 0;
            for &(id, end_ns) in &woken[first..] {
                sum += sizes[id];
                // Wake-ups are seen on whole milliseconds here.
                let most = burst + rate * ((end_ns - start_ns) / MS_NS + 1 + lateness_ms) / 1_000 + 1;
                prop_assert!(sum <= most, "{} of {}", sum, most);
            }
        }
    }

    /// P3: whoever leaves, is refused, gives back or is granted and never looks, leaves no debt behind.
    #[test]
    fn what_was_not_done_was_not_charged(
        joins in prop::collection::vec((1..40_u64, 0..5_u8, any::<bool>()), 1..40),
    ) {
        let burst = 20;
        let (queue, time) = queue(per_second(1_000, burst));
        let mut kept = Vec::new();
        let mut tasks = Vec::new();
        for (tokens, fate, deadline) in joins {
            let deadline_ns = if deadline { time.now_ns() + 20 * MS_NS } else { u64::MAX };
            let mut task = Task::new(queue.wait_until(tokens, deadline_ns));
            match task.poll() {
                Some(Ok(permit)) if fate == 0 => permit.release(),
                Some(Ok(permit)) => kept.push(permit),
                Some(Err(_)) => {}
                None => tasks.push(task),
            }
            if fate == 1 {
                time.turn_to(time.now_ns() + 3 * MS_NS);
            }
            if fate == 2 && !tasks.is_empty() {
                tasks.swap_remove(usize::try_from(tokens).unwrap() % tasks.len());
            }
        }
        drop(tasks);
        kept.into_iter().for_each(QueuePermit::release);
        prop_assert_eq!(queue.waiting(), 0);
        prop_assert!(queue.peek().is_full(), "{:?}", queue.peek());
    }
}

/// Polls whoever was woken.
fn collect(tasks: &mut [Option<Task<'_>>], woken: &Woken, now_ns: u64) {
    for (id, slot) in tasks.iter_mut().enumerate() {
        if let Some(task) = slot
            && task.wakes() == 1
        {
            assert!(task.granted());
            woken.borrow_mut().push((id, now_ns));
            *slot = None;
        }
    }
}
