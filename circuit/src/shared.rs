//! A [`Machine`] under a lock, and what callers need of it in one word beside it.
//!
//! A closed breaker that counts failures in a row is asked by one load of the word, and told of a success by
//! another: nothing is written. Windows are added to without the lock. A rejection loads the word and the end of
//! the wait. Only failures in a row, probes and transitions take the lock, and whoever holds it publishes the word
//! before letting go.
//!
//! What a healthy breaker needs is inlined into the caller always, for a call costs more than it; all else never is.
//!
//! * B1: the end of a wait is stored between two words: one that says that it changes, and the one that needs it.
//!   A reader looks at the word again after it has read the end; if that is the same, and does not change, the end
//!   is the word's.
//! * B2: the meters of a closed generation are there before its word is. A caller takes them for its own only if
//!   they bear the generation that its ticket has.

use std::num::NonZeroU64;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::crowd::Seat;
use crate::machine::Machine;
use crate::meters::Meters;
use crate::observer::{Observer, Outbox, Transition};
use crate::policy::Policy;
use crate::snapshot::Snapshot;
use crate::state::{Control, Outcome, Phase, Rejected, State};
use crate::sync::{AtomicU64, Mutex, Ordering, Swap};
use crate::tally::Tally;
use crate::ticket::Ticket;
use crate::word::Word;

/// One breaker.
pub(crate) struct Shared<C> {
    word: AtomicU64,
    until_ns: AtomicU64,
    meters: Swap<Meters>,
    attached: Option<Box<Attached>>,
    clock: C,
    machine: Mutex<Machine>,
}

/// What not every breaker has.
pub(crate) struct Attached {
    observer: Option<Box<dyn Observer>>,
    observer_panics: AtomicU64,
    outbox: Mutex<Outbox>,
    seat: Option<Seat>,
    tally: Option<Tally>,
}

impl Attached {
    /// For a breaker that goes by `policy`: `None` if it needs nothing.
    pub(crate) fn new(
        policy: &Policy,
        observer: Option<Box<dyn Observer>>,
        seat: Option<Seat>,
    ) -> Option<Box<Self>> {
        if observer.is_none() && seat.is_none() && !policy.count_calls {
            return None;
        }
        let tally = policy.count_calls.then(Tally::new);
        let (observer_panics, outbox) = (AtomicU64::new(0), Mutex::new(Outbox::default()));
        Some(Box::new(Self { observer, observer_panics, outbox, seat, tally }))
    }
}

/// What a step of the machine is given besides the machine.
#[derive(Clone, Copy)]
pub(crate) struct Now<'a> {
    pub(crate) ns: u64,
    pub(crate) meters: Option<&'a Meters>,
}

impl<C: Fn() -> u64> Shared<C> {
    pub(crate) fn new(policy: Arc<Policy>, number: u32, clock: C, attached: Option<Box<Attached>>) -> Self {
        let meters = policy.is_metered().then(|| Arc::new(Meters::begin(&policy, 0, None)));
        let machine = Machine::new(policy, number, clock());
        let word = AtomicU64::new(word_of(&machine, attached.as_deref()).bits());
        let (until_ns, meters) = (AtomicU64::new(0), Swap::new(meters));
        Self { word, until_ns, meters, attached, clock, machine: Mutex::new(machine) }
    }

    #[inline(always)]
    pub(crate) fn admit(&self) -> Result<Ticket, Rejected> {
        let word = self.word();
        if word.is_closed_without(Word::TIMED | Word::WATCHED | Word::TALLIED) {
            return Ok(Ticket::of(word.generation()));
        }
        if word.is_plainly_open()
            && let Some(left_ns) = self.left_ns(word)
        {
            return Err(Rejected::open(Duration::from_nanos(left_ns.get())));
        }
        self.admit_by(word)
    }

    #[inline(never)]
    fn admit_by(&self, word: Word) -> Result<Ticket, Rejected> {
        if !word.has(Word::TALLIED) {
            return self.decide(word);
        }
        let result = self.decide(word);
        if let Some(tally) = self.tally() {
            tally.asked(result.is_ok());
        }
        result.map(Ticket::tallied)
    }

    fn decide(&self, word: Word) -> Result<Ticket, Rejected> {
        if word.phase() == Phase::Closed {
            if let Some(ticket) = self.admit_closed(word) {
                return Ok(ticket);
            }
        } else if let Some(rejected) = self.reject(word) {
            return if word.has(Word::SPARED) { self.spare(word, rejected) } else { Err(rejected) };
        }
        self.admit_under_lock()
    }

    /// What an open or half-open breaker says by its word alone; none if the machine has to be asked.
    fn reject(&self, word: Word) -> Option<Rejected> {
        match word.phase() {
            Phase::Open if word.has(Word::BUSY) => {
                Some(Rejected { retry_after: None, state: State::Open { retry_after: None } })
            }
            Phase::Open => Some(Rejected::open(self.wait(word)?)),
            Phase::HalfOpen if word.has(Word::BUSY) => {
                Some(Rejected { retry_after: Some(self.wait(word)?), state: State::HalfOpen })
            }
            Phase::HalfOpen | Phase::Closed => None,
        }
    }

    #[cold]
    fn admit_under_lock(&self) -> Result<Ticket, Rejected> {
        let (result, word) = self.update(|machine, now| machine.admit(now.ns));
        match result {
            Err(rejected) if word.has(Word::SPARED) => self.spare(word, rejected),
            result => result,
        }
    }

    /// A ticket of a closed breaker that wants to know when calls began. None if it is no longer what `word` says, or
    /// has opened because of what is in flight.
    #[inline(never)]
    fn admit_closed(&self, word: Word) -> Option<Ticket> {
        let ticket = Ticket::of(word.generation());
        if !word.has(Word::TIMED) {
            return Some(ticket);
        }
        let now_ns = (self.clock)();
        let ticket = ticket.started(now_ns);
        if word.has(Word::WATCHED) {
            let meters = self.meters.load();
            let meters = meters.as_ref().filter(|meters| meters.generation() == word.generation())?;
            if meters.advance(now_ns)
                && word.has(Word::JUDGED)
                && (word.has(Word::COUNTED) || meters.holds(0, now_ns).is_some())
            {
                let (_, after) = self.update(|machine, now| ((), machine.judge(now.ns, now.meters)));
                if after.generation() != word.generation() {
                    return None;
                }
            }
            if let Some(place) = meters.enter(now_ns) {
                return Some(ticket.at(place));
            }
        }
        Some(ticket)
    }

    /// Admits although the breaker is open, unless a seat is free by now.
    #[cold]
    fn spare(&self, word: Word, rejected: Rejected) -> Result<Ticket, Rejected> {
        if self.seat().is_some_and(|seat| seat.is_free((self.clock)())) {
            let ((), after) = self.update(|_, _| ((), None));
            if !after.has(Word::SPARED) && after.generation() == word.generation() {
                return Err(rejected);
            }
        }
        Ok(Ticket::VOID)
    }

    /// How long until the breaker admits, if it rejects by `word` and that is still its word (B1).
    fn wait(&self, word: Word) -> Option<Duration> {
        self.left_ns(word).map(|left_ns| Duration::from_nanos(left_ns.get()))
    }

    #[inline(never)]
    fn left_ns(&self, word: Word) -> Option<NonZeroU64> {
        if word.has(Word::CHANGING) {
            return None;
        }
        let until_ns = self.until_ns.load(Ordering::Acquire);
        let left_ns = NonZeroU64::new(until_ns.saturating_sub((self.clock)()))?;
        (self.word.load(Ordering::Relaxed) == word.bits()).then_some(left_ns)
    }

    #[inline(always)]
    pub(crate) fn settle(&self, ticket: Ticket, outcome: Outcome) {
        let word = self.word();
        if outcome == Outcome::Success && ticket.is_plain() && word.is_closed_without(Word::BUSY) {
            if !word.has(Word::METERED) {
                return;
            }
            if !ticket.is_timed() {
                return self.add_good(&ticket);
            }
        }
        self.settle_by(word, ticket, outcome, false);
    }

    /// A call of a closed breaker ended well, and nobody has to know but the windows (S3, B2).
    #[inline(never)]
    fn add_good(&self, ticket: &Ticket) {
        let meters = self.meters.load();
        if let Some(meters) = meters.as_ref().filter(|meters| meters.generation() == ticket.generation()) {
            meters.add_good(if meters.is_timed() { (self.clock)() } else { 0 });
        }
    }

    /// The permit was dropped without a report.
    #[cold]
    pub(crate) fn cancel(&self, ticket: Ticket) {
        let word = self.word();
        let outcome = if thread::panicking() {
            Outcome::Failure
        } else if word.has(Word::DROPS_COUNT) || word.phase() != Phase::Closed {
            let now_ns = (self.clock)();
            self.machine.lock().on_drop(&ticket, now_ns)
        } else {
            Outcome::Ignored
        };
        self.settle_by(word, ticket, outcome, true);
    }

    #[inline(never)]
    fn settle_by(&self, word: Word, ticket: Ticket, outcome: Outcome, dropped: bool) {
        if let Some(tally) = self.tally().filter(|_| ticket.is_tallied()) {
            tally.ended(outcome, dropped);
        }
        let metered = word.has(Word::METERED) || ticket.place().is_some();
        let meters = metered.then(|| self.meters.load());
        let meters = meters.as_ref().and_then(|meters| meters.as_ref());
        if let (Some(meters), Some(place)) = (meters, ticket.place()) {
            meters.leave(place);
        }
        // S3.
        if word.generation() != ticket.generation() {
            return;
        }
        let matters = match word.phase() {
            Phase::Open => false,
            Phase::HalfOpen => true,
            Phase::Closed => outcome != Outcome::Ignored && self.note(word, &ticket, outcome, meters),
        };
        if matters {
            self.update(|machine, now| ((), machine.settle(ticket, outcome, now.ns, now.meters)));
        }
    }

    /// Adds the result of a call of a closed breaker to the windows. Whether the machine has to know of it.
    fn note(&self, word: Word, ticket: &Ticket, outcome: Outcome, meters: Option<&Arc<Meters>>) -> bool {
        // B2: those of another period are none.
        let meters =
            meters.filter(|meters| meters.generation() == ticket.generation() && word.has(Word::METERED));
        let failed = outcome.is_failure();
        let judged = word.has(Word::JUDGED);
        let hinted = matches!(outcome, Outcome::Throttled(Some(_)));
        let told = if failed { judged && (word.has(Word::COUNTED) || hinted) } else { word.has(Word::BUSY) };
        let Some(meters) = meters else { return told };
        let timed = failed || meters.is_timed() || ticket.is_timed();
        let now_ns = if timed { (self.clock)() } else { 0 };
        let slow = ticket.elapsed_ns(now_ns).is_some_and(|elapsed_ns| meters.is_slow(elapsed_ns));
        meters.add(failed, slow, now_ns);
        told || judged && (failed || slow) && meters.holds(0, now_ns).is_some()
    }

    pub(crate) fn state(&self) -> State {
        let now_ns = (self.clock)();
        self.machine.lock().state(now_ns)
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let now_ns = (self.clock)();
        let calls = self.tally().map(Tally::calls);
        let machine = self.machine.lock();
        let meters = self.meters.load();
        Snapshot { calls, ..machine.snapshot(now_ns, meters.as_deref()) }
    }

    /// Whether it knows something that a new breaker would not; none if that is still of use to those who asked at
    /// `asked_ns` last.
    pub(crate) fn may_go(&self, now_ns: u64, asked_ns: u64) -> Option<bool> {
        let machine = self.machine.lock();
        let meters = self.meters.load();
        if machine.is_as_new(now_ns, meters.as_deref()) {
            return Some(false);
        }
        machine.is_forgotten(now_ns, asked_ns, meters.as_deref()).then_some(true)
    }

    pub(crate) fn control(&self, control: Control) {
        self.update(|machine, now| ((), machine.control(control, now.ns)));
    }

    /// Goes by `policy` from here on. Results that end while the windows are carried over may be missing from
    /// them.
    pub(crate) fn reconfigure(&self, policy: Arc<Policy>) {
        self.update(|machine, now| {
            let next = match now.meters {
                Some(meters) => Some(meters.reconfigured(&policy, now.ns)),
                None if policy.is_metered() => Some(Meters::begin(&policy, machine.generation(), None)),
                None => None,
            };
            machine.reconfigure(policy, now.ns);
            self.meters.store(next.map(Arc::new));
            ((), None)
        });
    }

    /// Is none of the breakers of a registry any more, of which only a part may reject.
    pub(crate) fn leave(&self) {
        if let Some(seat) = self.seat() {
            self.update(|_, _| (seat.leave(), None));
        }
    }

    pub(crate) fn observer_panics(&self) -> u64 {
        self.attached.as_ref().map_or(0, |attached| attached.observer_panics.load(Ordering::Relaxed))
    }

    #[inline]
    fn word(&self) -> Word {
        Word::from_bits(self.word.load(Ordering::Acquire))
    }

    fn seat(&self) -> Option<&Seat> {
        self.attached.as_ref()?.seat.as_ref()
    }

    fn tally(&self) -> Option<&Tally> {
        self.attached.as_ref()?.tally.as_ref()
    }

    /// Takes the machine a step further, publishes what has become of it, and tells the observer.
    #[cold]
    fn update<R>(&self, step: impl FnOnce(&mut Machine, Now<'_>) -> (R, Option<Transition>)) -> (R, Word) {
        let now_ns = (self.clock)();
        let mut machine = self.machine.lock();
        let ns = machine.at(now_ns);
        let before = machine.generation();
        let (result, transition) = {
            let meters = self.meters.load();
            step(&mut machine, Now { ns, meters: meters.as_deref() })
        };
        self.follow(&mut machine, before, ns);
        let word = word_of(&machine, self.attached.as_deref());
        if self.until_ns.load(Ordering::Relaxed) != machine.until_ns() {
            self.word.store(self.word().changing().bits(), Ordering::Relaxed);
            self.until_ns.store(machine.until_ns(), Ordering::Release);
        }
        self.word.store(word.bits(), Ordering::Release);
        let told = self.attached.as_ref().filter(|attached| attached.observer.is_some());
        let deliver = match (told, transition) {
            (Some(attached), Some(transition)) => attached.outbox.lock().push(transition).then_some(attached),
            _ => None,
        };
        drop(machine);
        if let Some(attached) = deliver {
            attached.deliver();
        }
        (result, word)
    }

    /// After a step: meters for a period that has begun, and the seat that belongs to what the machine is now.
    fn follow(&self, machine: &mut Machine, generation: u64, now_ns: u64) {
        if machine.generation() != generation && machine.phase() == Phase::Closed {
            let before = self.meters.load();
            if before.is_some() || machine.policy().is_metered() {
                let next = Meters::begin(machine.policy(), machine.generation(), before.as_deref());
                self.meters.store(Some(Arc::new(next)));
            }
        }
        let Some(seat) = self.seat() else { return };
        if machine.wants_seat() {
            machine.spare(!seat.take(now_ns, machine.until_ns()));
        } else {
            seat.give();
            machine.spare(false);
        }
    }
}

/// What is published of `machine`. Whether calls are counted was decided when the breaker was made.
fn word_of(machine: &Machine, attached: Option<&Attached>) -> Word {
    let tallies = attached.is_some_and(|attached| attached.tally.is_some());
    if tallies { machine.word() } else { machine.word().untallied() }
}

impl Attached {
    fn deliver(&self) {
        let Some(observer) = &self.observer else { return };
        loop {
            let next = self.outbox.lock().pop();
            let Some(transition) = next else { return };
            // The observer is called again only by calls of its own choosing: what it left half done is its own.
            if catch_unwind(AssertUnwindSafe(|| observer.on_transition(transition))).is_err() {
                self.observer_panics.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}
