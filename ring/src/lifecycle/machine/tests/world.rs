//! A store, a disk and a timer that fail at will, and what must hold of a life among them at every step.

use std::num::NonZeroUsize;

use crate::codec::{InstanceRecord, TokensRecord, TokensRef};
use crate::lifecycle::{
    Action, Decision, Event, Lifecycler, LifecyclerOptions, NotSaved, Notice, Now, Tokens, Wish, Written,
};
use crate::token_file::Loaded;
use crate::{Instance, Membership, State, Version};

pub(super) const SECOND: u64 = 1_000_000_000;
pub(super) const COUNT: usize = 16;

/// What survives a crash, the life itself, and what is checked of it all the way.
pub(super) struct World {
    pub(super) options: LifecyclerOptions,
    pub(super) life: Lifecycler,
    pub(super) now: Now,
    pub(super) file: Loaded,
    pub(super) record: Option<InstanceRecord>,
    pub(super) tokens: Option<TokensRecord>,
    /// Others, as a view shows them.
    pub(super) others: Membership,
    /// What is out and unanswered.
    pub(super) out: Option<Action>,
    pub(super) wake_at_ns: Option<u64>,
    pub(super) ready: bool,
    /// The number of the drain that is under way.
    pub(super) draining: Option<u64>,
    /// Whether the store has had it ACTIVE in this life.
    pub(super) was_active: bool,
    pub(super) left: bool,
    /// Which tokens it is JOINING with, and since when.
    pub(super) claim: Option<(TokensRef, u64)>,
    pub(super) stopped: bool,
    /// Whether the store lost the tokens alone, of which nothing tells at once.
    pub(super) lost_tokens: bool,
    /// To the store, done or not.
    pub(super) writes: u64,
    /// The highest version sent, or what is known of it after a loss.
    pub(super) sent: Option<Version>,
    pub(super) notices: Vec<Notice>,
    pub(super) steps: u64,
}

pub(super) fn options() -> LifecyclerOptions {
    let count = NonZeroUsize::new(COUNT).unwrap();
    LifecyclerOptions { tokens: Tokens::Random { count }, ..LifecyclerOptions::new("m", "addr") }
}

impl World {
    pub(super) fn new(options: LifecyclerOptions) -> Self {
        Self {
            life: Lifecycler::new(options.clone()).unwrap(),
            options,
            now: Now { mono_ns: 0, unix_ns: 1_000 },
            file: Loaded::Absent,
            record: None,
            tokens: None,
            others: Membership::default(),
            out: None,
            wake_at_ns: None,
            ready: false,
            draining: None,
            lost_tokens: false,
            writes: 0,
            was_active: false,
            left: false,
            claim: None,
            stopped: false,
            sent: None,
            notices: Vec::new(),
            steps: 0,
        }
    }

    /// A crash: what was out may have happened or not.
    pub(super) fn crash(&mut self) {
        self.life = Lifecycler::new(self.options.clone()).unwrap();
        (self.out, self.wake_at_ns) = (None, None);
        (self.ready, self.draining, self.was_active) = (false, None, false);
        (self.left, self.stopped, self.claim) = (false, false, None);
        self.on(Event::Start);
    }

    pub(super) fn on(&mut self, event: Event<'_>) {
        let actions = self.life.on(event, self.now);
        for action in actions {
            self.steps += 1;
            match action {
                Action::WakeAt(at_ns) => {
                    assert!(at_ns > self.now.mono_ns, "a timer that is due is no timer");
                    self.wake_at_ns = Some(at_ns);
                }
                Action::Ready(ready) => {
                    assert!(!ready || self.was_active, "ready before it is ACTIVE");
                    self.ready = ready;
                }
                Action::Drain(number) => self.draining = Some(number),
                Action::Report(notice) => self.notices.push(notice),
                Action::Stopped => self.stopped = true,
                out => {
                    assert!(!self.left, "nothing is written after LEFT (L3): {out:?}");
                    assert_eq!(self.out, None, "one at a time");
                    self.out = Some(out);
                }
            }
        }
    }

    pub(super) fn state(&self) -> Option<State> {
        self.record.as_ref().map(|record| record.instance.state)
    }

    /// A disk that is lost; what is left of the past is the store's record.
    pub(super) fn lose_file(&mut self) {
        self.file = Loaded::Absent;
        self.sent = self.record.as_ref().map(|record| record.instance.version);
    }

    /// Carries out what is out, or only the half of it that the life is not told of.
    pub(super) fn carry_out(&mut self, happens: bool, told: bool) {
        let Some(out) = self.out.take() else { return };
        match out {
            Action::Load if !told => self.out = Some(Action::Load),
            Action::Load => {
                let (file, record, tokens) = (self.file.clone(), self.record.clone(), self.tokens.clone());
                self.on(Event::Loaded { file, record, tokens });
            }
            Action::SaveFile(file) => {
                if happens {
                    self.file = Loaded::Mine(file);
                }
                self.on(Event::Saved(if happens && told { Ok(()) } else { Err(NotSaved) }));
            }
            Action::PutTokens(record) | Action::CheckTokens(record) => {
                self.writes += 1;
                if happens {
                    self.check_tokens(&record);
                    (self.tokens, self.lost_tokens) = (Some(record), false);
                }
                let done = Written::Done { anew: false };
                self.on(Event::Wrote(if happens && told { done } else { Written::Unknown }));
            }
            Action::Apply(wish) => {
                self.writes += 1;
                self.check_wish(&wish);
                let decision = if happens { Some(wish.apply(self.record.as_ref())) } else { None };
                let written = match decision {
                    Some(Decision::Put { record, anew }) => {
                        self.check_step(&record);
                        self.was_active |= record.instance.state == State::Active;
                        self.left = told && record.instance.state == State::Left;
                        self.record = Some(record);
                        Written::Done { anew }
                    }
                    Some(Decision::Same) => Written::Done { anew: false },
                    Some(Decision::Refused(theirs)) => Written::Refused(theirs),
                    None => Written::Unknown,
                };
                self.on(Event::Wrote(if told { written } else { Written::Unknown }));
            }
            other => panic!("not a thing to carry out: {other:?}"),
        }
    }

    /// The file first (L1), and a set never changes within its epoch.
    fn check_tokens(&self, new: &TokensRecord) {
        let Loaded::Mine(file) = &self.file else { panic!("no file, but {new:?}") };
        assert_eq!((file.epoch, &file.tokens), (new.epoch, &new.tokens));
        if let Some(old) = &self.tokens {
            assert!(old.epoch != new.epoch || old.tokens == new.tokens, "epoch {} is reused", new.epoch);
        }
    }

    /// L1 and L2.
    fn check_wish(&mut self, wish: &Wish) {
        let Wish::Announce { record, .. } = wish else { panic!("a life buries nobody") };
        let version = record.instance.version;
        assert!(self.sent.is_none_or(|sent| sent < version), "{version} after {:?}", self.sent);
        self.sent = Some(version);
        let Loaded::Mine(file) = &self.file else { panic!("no file, but {record:?}") };
        assert_eq!(file.incarnation, version.incarnation);
        assert_eq!(TokensRef::of(file.epoch, &file.tokens), record.tokens, "the file first");
        if record.instance.state == State::Active {
            assert_eq!(record.tokens.count as usize, COUNT);
        }
    }

    /// L4, the store's tokens before the record, and what it serves with it has claimed for a while.
    fn check_step(&mut self, new: &InstanceRecord) {
        if new.instance.state == State::Joining {
            if self.claim.is_none_or(|(tokens, _)| tokens != new.tokens) {
                self.claim = Some((new.tokens, self.now.mono_ns));
            }
        } else if let Some((tokens, since_ns)) = self.claim.take_if(|_| new.instance.state == State::Active) {
            assert_eq!(tokens, new.tokens);
            assert!(
                self.now.mono_ns - since_ns >= 5 * SECOND,
                "claimed for {} ns",
                self.now.mono_ns - since_ns
            );
        }
        let stored = self.tokens.as_ref().map(|record| TokensRef::of(record.epoch, &record.tokens));
        assert!(stored.is_none_or(|stored| stored == new.tokens), "{stored:?}, but {new:?}");
        // One that serves learns that the ring was lost when its record is put there anew.
        if new.instance.state == State::Active && !self.was_active && !self.lost_tokens {
            assert!(stored.is_some(), "the store's record of tokens first (L1)");
        }
        if let Some(old) = &self.record {
            let (from, to) = (old.instance.state, new.instance.state);
            let restarted = old.instance.version.incarnation < new.instance.version.incarnation;
            let ours = *old.instance.addr == *self.options.addr;
            assert!(!ours || from == to || restarted || from.can_become(to), "{from} became {to}");
        }
    }

    /// How observers show it.
    pub(super) fn shown(&self) -> Option<Instance> {
        let record = self.record.as_ref()?;
        let tokens = self.tokens.as_ref().map(|record| record.tokens.clone()).unwrap_or_default();
        Some(Instance { tokens, ..record.instance.clone() })
    }

    pub(super) fn view(&mut self) {
        let mut members = self.others.clone();
        if let Some(shown) = self.shown() {
            members.observe(shown, 0);
        }
        self.on(Event::View(&members));
    }

    pub(super) fn pass(&mut self, ns: u64) {
        self.now.mono_ns += ns;
        self.now.unix_ns += i64::try_from(ns).unwrap();
        if self.wake_at_ns.is_some_and(|at_ns| at_ns <= self.now.mono_ns) {
            self.wake_at_ns = None;
            self.on(Event::Tick);
        }
    }

    /// Everything works, for two minutes.
    pub(super) fn run(&mut self) {
        self.run_until(|_| false);
    }

    pub(super) fn run_until(&mut self, done: impl Fn(&Self) -> bool) {
        for _ in 0..120 {
            if done(self) {
                break;
            }
            while self.out.is_some() {
                self.carry_out(true, true);
            }
            self.on(Event::Recovered);
            self.view();
            if let Some(number) = self.draining.take() {
                self.on(Event::Drained(number));
            }
            self.pass(SECOND);
        }
    }

    /// Another process, or someone who forgets, writes this instance's record.
    pub(super) fn write(&mut self, state: State, addr: &str) {
        if let Some(record) = &mut self.record {
            record.instance.version = record.instance.version.next();
            record.instance.state = state;
            record.instance.addr = addr.into();
        }
    }

    pub(super) fn is_served(&self) -> bool {
        let Some(record) = &self.record else { return false };
        let tokens = self.tokens.as_ref().is_some_and(|stored| record.tokens.is_of(&stored.tokens));
        record.instance.state == State::Active
            && record.tokens.count as usize == COUNT
            && tokens
            && self.ready
    }
}
