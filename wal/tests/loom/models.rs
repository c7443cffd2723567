//! What two or three threads do at the same time, and what has to be so afterwards.
//!
//! The queue with its hand-over of the lead, the parkers, the watermarks and the list of followers are the crate's own files.
//! [`Log`] is not: it says again in short, with a number in place of the file, what src/append.rs, src/answers.rs,
//! src/gather.rs and src/lead.rs do with them, in the same order; where those change, so must this. Not here at all are
//! tasks, poison, the thread that keeps an interval, and the reserve; nor an append that is buffered while a leader
//! publishes: loom puts a store and an update that race in no order, so that it sees the update undo the store.

use loom::thread;

use crate::Durability::{self, Buffered, Synced, Written};
use crate::commit::{Queue, Taken};
use crate::follow::{Followers, Interest};
use crate::intake::Intake;
use crate::parker::Parker;
use crate::policy::SyncPolicy;
use crate::progress::Progress;
use crate::request::{Done, Outcome, Request, Waiter, Work};
use crate::sync::{Arc, AtomicU64, Condvar, Mutex, Ordering};

pub(crate) const ALL: &[(&str, fn())] = &[
    ("no_watermark_is_seen_ahead_of_a_weaker_one", no_watermark_is_seen_ahead_of_a_weaker_one),
    ("an_answer_finds_who_waits_for_it", an_answer_finds_who_waits_for_it),
    ("an_offer_that_came_before_the_answer_costs_a_look", an_offer_that_came_before_the_answer_costs_a_look),
    (
        "a_parker_that_is_used_again_has_forgotten_its_offer",
        a_parker_that_is_used_again_has_forgotten_its_offer,
    ),
    ("an_offer_that_comes_too_late_keeps_no_answer", an_offer_that_comes_too_late_keeps_no_answer),
    ("of_two_who_append_one_leads_and_both_are_told", of_two_who_append_one_leads_and_both_are_told),
    ("of_three_who_append_each_is_told_at_its_level", of_three_who_append_each_is_told_at_its_level),
    ("who_waits_for_anothers_record_is_told", who_waits_for_anothers_record_is_told),
    ("who_asks_while_another_appends_is_answered", who_asks_while_another_appends_is_answered),
    ("a_leader_that_gathers_hears_of_who_joins", a_leader_that_gathers_hears_of_who_joins),
    ("a_leader_that_gathers_hears_of_a_request", a_leader_that_gathers_hears_of_a_request),
    ("a_tail_hears_of_each_record_whenever_it_looks", a_tail_hears_of_each_record_whenever_it_looks),
    (
        "two_tails_hear_of_what_each_waits_for_and_of_the_end",
        two_tails_hear_of_what_each_waits_for_and_of_the_end,
    ),
];

/// A log without a file.
struct Log {
    progress: Progress,
    queue: Mutex<Queue>,
    gathered: Condvar,
    /// Up to where records are written and synced; held by the one who leads.
    ends: Mutex<(u64, u64)>,
}

impl Log {
    fn new() -> Arc<Self> {
        let queue = Queue::new((Intake::new(1, 512, 1 << 16), 1), 1 << 20, SyncPolicy::Always);
        let (queue, ends) = (Mutex::new(queue), Mutex::new((1, 1)));
        Arc::new(Self { progress: Progress::new(1, 1), queue, gathered: Condvar::new(), ends })
    }

    fn push(&self, queue: &mut Queue, level: Durability) -> u64 {
        let written = self.progress.written();
        let (lsns, _) = queue.push(&mut ["a".into()], (level, 0, written), || 0).unwrap();
        if level == Buffered {
            self.progress.set_appended(lsns.end);
        }
        lsns.end
    }

    /// A record that is in memory only.
    fn buffer(&self) {
        self.push(&mut self.queue.lock(), Buffered);
    }

    /// A record; returns when it is as safe as asked for.
    fn append(&self, level: Durability) {
        let mut queue = self.queue.lock();
        let end = self.push(&mut queue, level);
        if queue.is_leading() {
            let parker = Arc::default();
            let enough = queue.wait(level, end, true, Waiter::Thread(Arc::clone(&parker)));
            drop(queue);
            self.tell_gathering(enough);
            self.await_answer(&parker, level);
        } else {
            let taken = queue.take();
            drop(queue);
            self.lead(taken, Some((level, end)));
        }
        self.is_reached(level, end);
    }

    /// Returns when all records before are as safe as asked for.
    fn until(&self, level: Durability, end: u64) {
        let mut queue = self.queue.lock();
        if self.reached(level) < end {
            let parker = Arc::default();
            let enough = queue.wait(level, end, false, Waiter::Thread(Arc::clone(&parker)));
            drop(queue);
            self.tell_gathering(enough);
            self.await_answer(&parker, level);
        }
        self.is_reached(level, end);
    }

    /// Returns when this was done.
    fn submit(&self, work: Work) {
        let parker = Arc::default();
        let asked = self.queue.lock().ask(work, Waiter::Thread(Arc::clone(&parker)));
        self.tell_gathering(asked.is_ok_and(|gathering| gathering));
        self.await_answer(&parker, Synced);
    }

    fn reached(&self, level: Durability) -> u64 {
        if level == Synced { self.progress.durable() } else { self.progress.written() }
    }

    fn is_reached(&self, level: Durability, end: u64) {
        let reached = self.reached(level);
        assert!(reached >= end, "told of {end} and sees {reached}");
    }

    fn await_answer(&self, parker: &Parker<Outcome>, level: Durability) {
        loop {
            if let Some(outcome) = parker.take() {
                return drop(outcome.unwrap());
            }
            if self.commit() {
                continue;
            }
            if level < Synced {
                parker.watch();
            }
            if let Some(outcome) = parker.wait() {
                return drop(outcome.unwrap());
            }
        }
    }

    fn commit(&self) -> bool {
        let mut queue = self.queue.lock();
        if !queue.may_lead() {
            return false;
        }
        let taken = queue.take();
        drop(queue);
        self.lead(taken, None);
        true
    }

    fn tell_gathering(&self, enough: bool) {
        if enough {
            self.gathered.notify_one();
        }
    }

    /// By the one who leads: what was taken is written, and synced where somebody wants that.
    fn lead(&self, taken: Taken, own: Option<(Durability, u64)>) {
        let (mut frames, mut answers) = (taken.frames, Vec::new());
        let mut ends = self.ends.lock();
        let count = frames.spans().len();
        if let Some(end) = frames.advance(count) {
            ends.0 = end;
        }
        self.publish(*ends);
        let done = |request: Request| request.owed.take().map(|waiter| (waiter, Ok(Done::Other)));
        answers.extend(taken.works.into_iter().filter_map(done));
        let own_sync = own.is_some_and(|(level, end)| level == Synced && ends.1 < end);
        let mut queue = self.queue.lock();
        queue.landed(&mut frames, 1 << 16);
        queue.synced_but(ends.0 - ends.1);
        let others_sync = queue.reached(*ends, &mut answers);
        if own_sync || others_sync {
            let (waiting, _) = queue.waiting_for_sync();
            queue.serves(waiting + usize::from(own_sync));
            drop(queue);
            answer(&mut answers);
            ends.1 = ends.0;
            self.publish(*ends);
            queue = self.queue.lock();
            queue.synced_but(0);
            queue.reached(*ends, &mut answers);
            queue.served();
        }
        let handoff = queue.leave();
        drop(queue);
        drop(ends);
        handoff.wake();
        answer(&mut answers);
    }

    fn publish(&self, (written, durable): (u64, u64)) {
        self.progress.set_written(written);
        self.progress.set_durable(durable);
    }

    /// Whether nobody leads, and nobody would have to.
    fn is_idle(&self) -> bool {
        let queue = self.queue.lock();
        !queue.is_leading() && !queue.may_lead() && !queue.is_awaited()
    }
}

fn answer(answers: &mut Vec<(Waiter, Outcome)>) {
    answers.drain(..).for_each(|(waiter, outcome)| waiter.answer(outcome));
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

/// A thread has one parker for all its waits.
fn a_parker_that_is_used_again_has_forgotten_its_offer() {
    let parker = Arc::new(Parker::default());
    let offers = Arc::clone(&parker);
    let offerer = thread::spawn(move || offers.offer_lead());
    parker.answer(7);
    assert_eq!(parker.take(), Some(7));
    offerer.join().unwrap();
    parker.reset();
    let told = Arc::clone(&parker);
    let teller = thread::spawn(move || told.answer(8));
    parker.watch();
    assert_eq!(parker.wait(), Some(8), "the offer was for the wait before");
    teller.join().unwrap();
}

fn an_offer_that_comes_too_late_keeps_no_answer() {
    let parker = Arc::new(Parker::default());
    parker.answer(7);
    assert_eq!(parker.take(), Some(7));
    let (offers, told) = (Arc::clone(&parker), Arc::clone(&parker));
    let offerer = thread::spawn(move || offers.offer_lead());
    parker.reset();
    let teller = thread::spawn(move || told.answer(8));
    parker.watch();
    assert_eq!(parker.wait().or_else(|| parker.wait()), Some(8), "it costs a look");
    offerer.join().unwrap();
    teller.join().unwrap();
}

fn of_two_who_append_one_leads_and_both_are_told() {
    let log = Log::new();
    let other = Arc::clone(&log);
    let appends = thread::spawn(move || other.append(Synced));
    log.append(Synced);
    appends.join().unwrap();
    assert!(log.progress.durable() == 3 && log.is_idle());
}

fn of_three_who_append_each_is_told_at_its_level() {
    let log = Log::new();
    let others = [Synced, Written].map(|level| {
        let log = Arc::clone(&log);
        thread::spawn(move || log.append(level))
    });
    log.append(Synced);
    others.into_iter().for_each(|other| other.join().unwrap());
    assert!(log.is_idle());
}

fn who_waits_for_anothers_record_is_told() {
    let log = Log::new();
    log.buffer();
    let other = Arc::clone(&log);
    let waits = thread::spawn(move || other.until(Synced, 2));
    log.append(Written);
    waits.join().unwrap();
    assert!(log.is_idle());
}

fn who_asks_while_another_appends_is_answered() {
    let log = Log::new();
    let other = Arc::clone(&log);
    let asks = thread::spawn(move || other.submit(Work::Rotate));
    log.append(Synced);
    asks.join().unwrap();
    assert!(log.is_idle());
}

/// A leader that waits for one more, without a clock that would end that, while somebody else does this.
fn gathers_while(other: fn(&Log)) {
    let log = Log::new();
    let mut queue = log.queue.lock();
    let end = log.push(&mut queue, Synced);
    queue.gather(Some(1));
    let joins = Arc::clone(&log);
    let joins = thread::spawn(move || other(&joins));
    while queue.waiting_for_sync().0 < 1 && !queue.is_asked() {
        log.gathered.wait(&mut queue);
    }
    let taken = queue.take();
    drop(queue);
    log.lead(taken, Some((Synced, end)));
    joins.join().unwrap();
    assert!(log.progress.durable() >= end && log.is_idle());
}

fn a_leader_that_gathers_hears_of_who_joins() {
    gathers_while(|log| log.append(Synced));
}

fn a_leader_that_gathers_hears_of_a_request() {
    gathers_while(|log| log.submit(Work::Close));
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
