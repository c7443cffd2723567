//! What two or three threads do at the same time, and what has to be so afterwards.
//!
//! The wait list, the parkers and the watermarks are the crate's own; who leads and who is offered the lead is told here
//! in short as it is done around them, without a file that is written. Not here is an append that is buffered while a
//! leader publishes: loom puts a store and an update that race in no order, so that it sees the update undo the store.

use loom::thread;

use crate::Durability::{self, Synced, Written};
use crate::follow::{Followers, Interest};
use crate::parker::Parker;
use crate::progress::{Progress, Waiters, Waiting};
use crate::sync::{Arc, AtomicU64, Condvar, Mutex, Ordering};

pub(crate) const ALL: &[(&str, fn())] = &[
    ("no_watermark_is_seen_ahead_of_a_weaker_one", no_watermark_is_seen_ahead_of_a_weaker_one),
    ("an_answer_finds_who_waits_for_it", an_answer_finds_who_waits_for_it),
    ("an_offer_that_came_before_the_answer_costs_a_look", an_offer_that_came_before_the_answer_costs_a_look),
    ("of_two_who_append_one_leads_and_both_are_told", of_two_who_append_one_leads_and_both_are_told),
    ("of_three_who_append_each_is_told_at_its_level", of_three_who_append_each_is_told_at_its_level),
    ("who_waits_for_anothers_record_is_told", who_waits_for_anothers_record_is_told),
    ("a_tail_hears_of_each_record_whenever_it_looks", a_tail_hears_of_each_record_whenever_it_looks),
    (
        "two_tails_hear_of_what_each_waits_for_and_of_the_end",
        two_tails_hear_of_what_each_waits_for_and_of_the_end,
    ),
];

/// A leader, as far as those see it who wait.
struct Log {
    progress: Progress,
    queue: Mutex<Queue>,
}

struct Queue {
    waiters: Waiters<Arc<Parker<u64>>>,
    leading: bool,
    next: u64,
}

impl Log {
    fn new() -> Arc<Self> {
        let queue = Queue { waiters: Waiters::default(), leading: false, next: 1 };
        Arc::new(Self { progress: Progress::new(1, 1), queue: Mutex::new(queue) })
    }

    /// A record that is in memory only; the number behind it.
    fn buffer(&self) -> u64 {
        let mut queue = self.queue.lock();
        queue.next += 1;
        self.progress.set_appended(queue.next);
        queue.next
    }

    /// A record; returns when it is as safe as asked for.
    fn append(&self, level: Durability) {
        let mut queue = self.queue.lock();
        queue.next += 1;
        let end = queue.next;
        if queue.leading {
            let parker = Arc::default();
            queue.waiters.add(level, Waiting { end, brought: true, waiter: Arc::clone(&parker) });
            drop(queue);
            self.await_answer(&parker);
        } else {
            queue.leading = true;
            drop(queue);
            self.lead(end);
        }
        self.is_reached(level, end);
    }

    /// Returns when all records before are as safe as asked for.
    fn until(&self, level: Durability, end: u64) {
        let mut queue = self.queue.lock();
        let reached = if level == Synced { self.progress.durable() } else { self.progress.written() };
        if reached < end {
            let parker = Arc::default();
            queue.waiters.add(level, Waiting { end, brought: false, waiter: Arc::clone(&parker) });
            drop(queue);
            self.await_answer(&parker);
        }
        self.is_reached(level, end);
    }

    fn is_reached(&self, level: Durability, end: u64) {
        let reached = if level == Synced { self.progress.durable() } else { self.progress.written() };
        assert!(reached >= end, "told of {end} and sees {reached}");
    }

    fn await_answer(&self, parker: &Parker<u64>) {
        while parker.take().is_none() {
            if !self.commit() && parker.wait().is_some() {
                return;
            }
        }
    }

    fn commit(&self) -> bool {
        let mut queue = self.queue.lock();
        if queue.leading || queue.waiters.is_empty() {
            return false;
        }
        queue.leading = true;
        let upto = queue.next;
        drop(queue);
        self.lead(upto);
        true
    }

    /// By the one who leads: all records below are written, then synced.
    fn lead(&self, upto: u64) {
        self.progress.set_written(upto);
        let durable = self.progress.durable();
        self.answer(upto, durable);
        self.progress.set_durable(upto);
        let told = self.reached(upto, upto);
        let next = {
            let mut queue = self.queue.lock();
            queue.leading = false;
            queue.waiters.find(|parker| Some(Arc::clone(parker)))
        };
        if let Some(parker) = next {
            parker.offer_lead();
        }
        told.iter().for_each(|parker| parker.answer(upto));
    }

    fn reached(&self, written: u64, durable: u64) -> Vec<Arc<Parker<u64>>> {
        let mut queue = self.queue.lock();
        std::iter::from_fn(|| queue.waiters.pop_reached(written, durable)).collect()
    }

    fn answer(&self, written: u64, durable: u64) {
        self.reached(written, durable).iter().for_each(|parker| parker.answer(written));
    }
}

/// What is wrong with a wait that looks before it holds the lock.
pub(crate) fn a_wait_without_a_second_look_is_never_woken() {
    let shared = Arc::new((AtomicU64::new(0), Mutex::new(()), Condvar::new()));
    let told = Arc::clone(&shared);
    let teller = thread::spawn(move || {
        told.0.store(1, Ordering::SeqCst);
        told.2.notify_one();
    });
    if shared.0.load(Ordering::SeqCst) == 0 {
        shared.2.wait(&mut shared.1.lock());
    }
    teller.join().unwrap();
}

fn no_watermark_is_seen_ahead_of_a_weaker_one() {
    let log = Log::new();
    let leader = Arc::clone(&log);
    let leads = thread::spawn(move || {
        for upto in [2, 3] {
            leader.progress.set_written(upto);
            leader.progress.set_durable(upto);
        }
    });
    let mut before = 0;
    for _ in 0..2 {
        let durable = log.progress.durable();
        let written = log.progress.written();
        let appended = log.progress.appended();
        assert!(durable <= written && written <= appended, "{durable} {written} {appended}");
        assert!(durable >= before, "a watermark went back");
        before = durable;
    }
    leads.join().unwrap();
}

fn an_answer_finds_who_waits_for_it() {
    let parker = Arc::new(Parker::default());
    let told = Arc::clone(&parker);
    let teller = thread::spawn(move || told.answer(7));
    assert_eq!(parker.wait(), Some(7));
    teller.join().unwrap();
}

fn an_offer_that_came_before_the_answer_costs_a_look() {
    let parker = Arc::new(Parker::default());
    let (offers, told) = (Arc::clone(&parker), Arc::clone(&parker));
    let offerer = thread::spawn(move || offers.offer_lead());
    let teller = thread::spawn(move || told.answer(7));
    let mut looks = 0;
    let answer = loop {
        match parker.wait() {
            Some(answer) => break answer,
            None => looks += 1,
        }
    };
    assert!(answer == 7 && looks <= 1);
    offerer.join().unwrap();
    teller.join().unwrap();
}

fn of_two_who_append_one_leads_and_both_are_told() {
    let log = Log::new();
    let other = Arc::clone(&log);
    let appends = thread::spawn(move || other.append(Synced));
    log.append(Synced);
    appends.join().unwrap();
    assert_eq!((log.progress.durable(), log.queue.lock().leading), (3, false));
}

fn of_three_who_append_each_is_told_at_its_level() {
    let log = Log::new();
    let others = [Synced, Written].map(|level| {
        let log = Arc::clone(&log);
        thread::spawn(move || log.append(level))
    });
    log.append(Synced);
    others.into_iter().for_each(|other| other.join().unwrap());
    let queue = log.queue.lock();
    assert!(queue.waiters.is_empty() && !queue.leading);
}

fn who_waits_for_anothers_record_is_told() {
    let log = Log::new();
    log.buffer();
    let other = Arc::clone(&log);
    let waits = thread::spawn(move || other.until(Synced, 2));
    log.append(Written);
    waits.join().unwrap();
    assert!(log.queue.lock().waiters.is_empty());
}

/// Follows up to a record, and returns how often it was woken.
fn follow(progress: &Progress, followers: &Followers<Arc<Parker<u64>>>, level: Durability, end: u64) -> u64 {
    let parker = Arc::new(Parker::default());
    let mut woken = 0;
    loop {
        let reached = if level == Synced { progress.durable() } else { progress.written() };
        if reached >= end || progress.has_ended() {
            return woken;
        }
        parker.reset();
        let interest = Interest { level, lsn: reached, segment: 0 };
        if followers.follow(progress, interest, Arc::clone(&parker), |_| true) {
            assert_eq!(parker.wait(), Some(0));
            woken += 1;
            let now = if level == Synced { progress.durable() } else { progress.written() };
            assert!(now > reached || progress.has_ended(), "woken at {now} for what it knew");
        }
    }
}

fn a_tail_hears_of_each_record_whenever_it_looks() {
    let log = Arc::new((Progress::new(1, 1), Followers::default()));
    let leader = Arc::clone(&log);
    let leads = thread::spawn(move || {
        let (progress, followers) = &*leader;
        for upto in [2, 3] {
            progress.set_written(upto);
            progress.set_durable(upto);
            followers.tell(progress, |parker: Arc<Parker<u64>>| parker.answer(0));
        }
    });
    assert!(follow(&log.0, &log.1, Synced, 3) <= 2);
    leads.join().unwrap();
}

fn two_tails_hear_of_what_each_waits_for_and_of_the_end() {
    let log = Arc::new((Progress::new(1, 1), Followers::default()));
    let (leader, other) = (Arc::clone(&log), Arc::clone(&log));
    let leads = thread::spawn(move || {
        let (progress, followers) = &*leader;
        let tell = || followers.tell(progress, |parker: Arc<Parker<u64>>| parker.answer(0));
        progress.set_written(2);
        tell();
        progress.end();
        tell();
    });
    let follows = thread::spawn(move || follow(&other.0, &other.1, Synced, 2));
    assert!(follow(&log.0, &log.1, Written, 2) <= 1);
    assert!(follows.join().unwrap() <= 1, "nothing was synced, so that there is only the end to hear of");
    leads.join().unwrap();
}
