//! An instance: its life, its disk, what it stores, and a clock of its own.

use std::collections::{BTreeSet, VecDeque};
use std::num::NonZeroUsize;
use std::path::Path;

use forebay_ring::codec::{RecordKind, decode_instance, decode_tokens, encode_tokens};
use forebay_ring::disk::MemoryDisk;
use forebay_ring::lifecycle::{
    Action, Decision, Event, Lifecycler, LifecyclerOptions, NotSaved, Now, Observer, Phase, Tokens, Written,
};
use forebay_ring::token_file::TokenFile;

use super::client::watch;
use super::store::Store;

const TOKEN_FILE: &str = "/tokens";
const TIMEOUT_NS: u64 = 1_000_000_000;
const WALL_NS: i64 = 1_700_000_000_000_000_000;

pub(crate) struct Node {
    pub(crate) options: LifecyclerOptions,
    /// `None` while it is down.
    pub(crate) life: Option<Lifecycler>,
    disk: MemoryDisk,
    /// What it was given and did not drain, by the number of the write. It is synced before it is acknowledged.
    pub(crate) stored: BTreeSet<u32>,
    observer: Observer,
    seen: Option<usize>,
    /// Its clocks: a rate in 1/1,000 and how far its wall clock is off.
    rate: u64,
    skew_ns: i64,
    wake_at_ns: Option<u64>,
    /// What is under way, and when it ends by its own clock.
    under_way: VecDeque<(u64, Action)>,
    pub(crate) recovered_at_ns: Option<u64>,
    /// Drains under way: when each ends, its number, and what was there when it began. One that was called off goes on.
    pub(crate) drains: VecDeque<(u64, u64, BTreeSet<u32>)>,
    pub(crate) cut_off: bool,
    pub(crate) stopped: bool,
}

impl Node {
    pub(crate) fn new(number: usize, rate: u64, skew_ns: i64) -> Self {
        let zone = ["a", "b", "c"][number % 3];
        let tokens = Tokens::Random { count: NonZeroUsize::new(16).unwrap() };
        let id = format!("node-{number}");
        Self {
            options: LifecyclerOptions {
                tokens,
                zone: zone.into(),
                ..LifecyclerOptions::new(id, number.to_string())
            },
            life: None,
            disk: MemoryDisk::default(),
            stored: BTreeSet::new(),
            observer: Observer::default(),
            seen: None,
            rate,
            skew_ns,
            wake_at_ns: None,
            under_way: VecDeque::new(),
            recovered_at_ns: None,
            drains: VecDeque::new(),
            cut_off: false,
            stopped: false,
        }
    }

    pub(crate) fn clock(&self, true_ns: u64) -> Now {
        let mono_ns = true_ns / 1_000 * self.rate;
        Now { mono_ns, unix_ns: WALL_NS + self.skew_ns + i64::try_from(true_ns).unwrap() }
    }

    pub(crate) fn phase(&self) -> Option<Phase> {
        self.life.as_ref().map(Lifecycler::phase)
    }

    pub(crate) fn start(&mut self, true_ns: u64, latency_ns: u64) {
        let life = Lifecycler::new(self.options.clone()).unwrap();
        (self.life, self.stopped) = (Some(life), false);
        (self.observer, self.seen, self.wake_at_ns) = (Observer::default(), None, None);
        self.recovered_at_ns = Some(true_ns + 3_000_000_000);
        self.on(Event::Start, true_ns, latency_ns);
    }

    /// Loses all but the disk and what it stored; what is under way may happen yet or not.
    pub(crate) fn crash(&mut self, store: &mut Store, happens: bool) {
        self.life = None;
        if let Some((_, action)) =
            self.under_way.pop_front().filter(|_| happens && !self.cut_off && !store.stalled)
        {
            self.carry_out(action, store);
        }
        self.under_way.clear();
        self.recovered_at_ns = None;
        self.drains.clear();
    }

    pub(crate) fn on(&mut self, event: Event<'_>, true_ns: u64, latency_ns: u64) {
        let now = self.clock(true_ns);
        let Some(life) = &mut self.life else { return };
        for action in life.on(event, now) {
            match action {
                Action::WakeAt(at_ns) => self.wake_at_ns = Some(at_ns),
                Action::Drain(number) => {
                    // What was not replayed is not drained.
                    let replayed = self.recovered_at_ns.is_none();
                    let stored = if replayed { self.stored.clone() } else { BTreeSet::new() };
                    self.drains.push_back((true_ns + 4_000_000_000, number, stored));
                }
                Action::Stopped => self.stopped = true,
                Action::Ready(_) | Action::Report(_) => {}
                action => self.under_way.push_back((true_ns + latency_ns, action)),
            }
        }
    }

    /// Whatever is due by now. A store that does not answer is given up after a second.
    pub(crate) fn step(&mut self, store: &mut Store, true_ns: u64, latency_ns: u64) {
        if self.life.is_none() {
            return;
        }
        let unreachable = self.cut_off || store.stalled;
        while let Some(&(at_ns, ref action)) = self.under_way.front() {
            let needs_store = !matches!(action, Action::SaveFile(_));
            let waits = needs_store && unreachable;
            if true_ns < at_ns + if waits { TIMEOUT_NS } else { 0 } {
                break;
            }
            let (_, action) = self.under_way.pop_front().unwrap();
            match action {
                Action::Load if waits => self.under_way.push_back((true_ns, Action::Load)),
                Action::Load => self.load(store, true_ns, latency_ns),
                _ if waits => self.on(Event::Wrote(Written::Unknown), true_ns, latency_ns),
                action => match self.carry_out(action, store) {
                    Some(written) => self.on(Event::Wrote(written), true_ns, latency_ns),
                    None => self.on(Event::Saved(Ok(())), true_ns, latency_ns),
                },
            }
        }
        if !unreachable {
            let now_ns = self.clock(true_ns).mono_ns;
            watch(&mut self.observer, &mut self.seen, store, now_ns);
            let observer = std::mem::take(&mut self.observer);
            self.on(Event::View(observer.members()), true_ns, latency_ns);
            self.observer = observer;
        }
        if self.recovered_at_ns.take_if(|at_ns| *at_ns <= true_ns).is_some() {
            self.on(Event::Recovered, true_ns, latency_ns);
        }
        let now_ns = self.clock(true_ns).mono_ns;
        if self.wake_at_ns.take_if(|at_ns| *at_ns <= now_ns).is_some() {
            self.on(Event::Tick, true_ns, latency_ns);
        }
    }

    fn load(&mut self, store: &Store, true_ns: u64, latency_ns: u64) {
        let id = &self.options.id;
        let file = TokenFile::load(&self.disk, Path::new(TOKEN_FILE), id).unwrap();
        let record = store.get(&RecordKind::Instance.key(id)).map(|bytes| decode_instance(bytes).unwrap());
        let tokens = store.get(&RecordKind::Tokens.key(id)).map(|bytes| decode_tokens(bytes).unwrap());
        self.on(Event::Loaded { file, record, tokens }, true_ns, latency_ns);
    }

    /// Carries out what writes; how it went if it was the store's.
    fn carry_out(&self, action: Action, store: &mut Store) -> Option<Written> {
        match action {
            Action::SaveFile(file) => {
                file.save(&self.disk, Path::new(TOKEN_FILE)).map_err(|_| NotSaved).unwrap();
                None
            }
            Action::PutTokens(record) | Action::CheckTokens(record) => {
                let mut bytes = Vec::new();
                encode_tokens(&record, &mut bytes).unwrap();
                store.put(&RecordKind::Tokens.key(&record.id), bytes);
                Some(Written::Done { anew: false })
            }
            Action::Apply(wish) => {
                let key = RecordKind::Instance.key(&self.options.id);
                let current = store.get(&key).map(|bytes| decode_instance(bytes).unwrap());
                Some(match wish.apply(current.as_ref()) {
                    Decision::Put { record, anew } => {
                        let mut bytes = Vec::new();
                        record.encode(&mut bytes).unwrap();
                        store.put(&key, bytes);
                        Written::Done { anew }
                    }
                    Decision::Same => Written::Done { anew: false },
                    Decision::Refused(theirs) => Written::Refused(theirs),
                })
            }
            _ => None,
        }
    }
}
