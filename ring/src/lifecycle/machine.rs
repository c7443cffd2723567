//! The life of an instance, one event at a time. Everything that is to be written waits in [`Due`] and goes out one
//! at a time, the file before the store's tokens before the record: that order is L1.

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::change::Wish;
use super::options::{LifecyclerOptions, OptionsError, Tokens};
use crate::codec::{DecodeError, InstanceRecord, TokensRecord, TokensRef};
use crate::generate::random_tokens;
use crate::instance::{Instance, ReadOnly, State, Version};
use crate::membership::Membership;
use crate::spread::can_join;
use crate::token::TokenSet;
use crate::token_file::{Loaded, TokenFile};

/// The time an event is given at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Monotonic nanoseconds since an origin of the caller's choice.
    pub mono_ns: u64,
    /// Wall time, nanoseconds since 1970. For stamps in records; nothing is decided by it.
    pub unix_ns: i64,
}

/// What happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// The process runs.
    Start,
    /// What [`Action::Load`] asked for.
    Loaded {
        /// What the token file is.
        file: Loaded,
        /// The instance's record in the store.
        record: Option<InstanceRecord>,
        /// The record of its tokens there.
        tokens: Option<TokensRecord>,
    },
    /// The log is replayed: it can serve.
    Recovered,
    /// The time of [`Action::WakeAt`] has come; too early or too often does no harm.
    Tick,
    /// What is known of the members now.
    View(&'a Membership),
    /// How the last [`Action::SaveFile`] went.
    Saved(Result<(), NotSaved>),
    /// How the last [`Action::PutTokens`] or [`Action::Apply`] went.
    Wrote(Written),
    /// Leave, and unregister or not, or as the options say.
    Shutdown {
        /// Overrides [`LifecyclerOptions::unregister`].
        unregister: Option<bool>,
    },
    /// Stay after all. Too late once it drained.
    CancelShutdown,
    /// Take no new tenants, or take them again.
    ReadOnly(bool),
    /// What [`Action::Drain`] asked for is done.
    Drained,
}

/// The file is not known to be durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotSaved;

/// How a write to the store went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// It is there.
    Done {
        /// Whether nothing was there before.
        anew: bool,
    },
    /// Something newer is there; `None` if it is not known what.
    Refused(Option<InstanceRecord>),
    /// The store did not answer in time, or with an error: it may be there or not.
    Unknown,
}

/// What to do. Of those that are answered by an event one is out at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Read the token file and the two records of the instance, as often as it takes, then [`Event::Loaded`].
    Load,
    /// Make this the token file, durably, then [`Event::Saved`].
    SaveFile(TokenFile),
    /// Make this the store's record of the tokens, then [`Event::Wrote`].
    PutTokens(TokensRecord),
    /// Ask for this of the instance's record in the store, then [`Event::Wrote`].
    Apply(Wish),
    /// Send [`Event::Tick`] at this monotonic time; replaces the one before.
    WakeAt(u64),
    /// Whether others may count on the instance: for a readiness probe.
    Ready(bool),
    /// Hand over or store away what the instance holds, then [`Event::Drained`]. Heartbeats go on. Meanwhile, and
    /// then until LEFT is written if it unregisters, it waits: who cannot drops it.
    Drain,
    /// Tell an operator.
    Report(Notice),
    /// The life is over, and every further event is ignored.
    Stopped,
}

/// The actions of one event, in order.
pub type Actions = SmallVec<[Action; 4]>;

/// What an operator should know.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The token file is another instance's; its tokens were not taken, and the file is replaced.
    ForeignFile {
        /// Whose.
        owner: Arc<str>,
    },
    /// The token file cannot be read; the store's tokens are taken, or the derived ones, and the file is replaced.
    BrokenFile(DecodeError),
    /// Others had claimed tokens, which were drawn anew.
    Redrawn {
        /// How many.
        lost: usize,
    },
    /// The store holds a newer record than this instance wrote: it was forgotten, or an earlier process still
    /// runs. It begins a new incarnation.
    Overtaken {
        /// The version found.
        version: Version,
        /// The state found.
        state: State,
    },
    /// The same for the third time within a minute, from another address: two instances have one id.
    DuplicateId {
        /// The other's address.
        addr: Arc<str>,
    },
    /// The store had lost the record; the instance joined anew.
    RingLost,
    /// The one before it in the fleet did not join in time, and it did not wait longer.
    OutOfTurn,
}

/// Where an instance is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Not started.
    New,
    /// Reading what it was.
    Loading,
    /// Not serving yet.
    Pending,
    /// Making sure that nobody else has its tokens.
    Joining,
    /// Serving.
    Active,
    /// Draining.
    Leaving,
    /// Drained, about to stop.
    Lingering,
    /// The end.
    Stopped,
}

/// One that overtakes at least so often within [`DUPLICATE_WINDOW`] is alive and not us.
const DUPLICATES: usize = 3;
const DUPLICATE_WINDOW: Duration = Duration::from_secs(60);

/// What is to be written and is not yet on its way.
#[derive(Debug, Default)]
struct Due {
    file: bool,
    tokens: bool,
    record: bool,
}

/// What is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Out {
    File,
    Tokens,
    /// With its version, its state, and when it joins if it is not there.
    Record(Version, State, i64),
}

/// The life of one instance in the ring, from [`Event::Start`] to [`Action::Stopped`]. A crash is to drop it and to
/// start another with what disk and store have kept.
///
/// ```
/// use forebay_ring::lifecycle::{Action, Event, Lifecycler, LifecyclerOptions, Now, Phase, Written};
/// use forebay_ring::token_file::Loaded;
///
/// let mut life = Lifecycler::new(LifecyclerOptions::new("ingester-0", "10.0.0.1:9095"))?;
/// let now = Now { mono_ns: 0, unix_ns: 1_700_000_000_000_000_000 };
/// assert_eq!(life.on(Event::Start, now)[0], Action::Load);
/// let actions = life.on(Event::Loaded { file: Loaded::Absent, record: None, tokens: None }, now);
/// assert!(matches!(&actions[0], Action::SaveFile(file) if file.tokens.len() == 128));
/// let actions = life.on(Event::Saved(Ok(())), now);
/// assert!(matches!(actions[0], Action::PutTokens(_)));
/// let actions = life.on(Event::Wrote(Written::Done { anew: true }), now);
/// assert!(matches!(actions[0], Action::Apply(_)));
/// assert_eq!(life.phase(), Phase::Pending);
/// # Ok::<(), forebay_ring::lifecycle::OptionsError>(())
/// ```
#[derive(Debug)]
pub struct Lifecycler {
    options: LifecyclerOptions,
    phase: Phase,
    /// What is announced, or about to be.
    state: State,
    epoch: u64,
    tokens: TokenSet,
    /// Of the last record that was sent.
    version: Version,
    registered_at_ns: i64,
    read_only: ReadOnly,
    due: Due,
    out: Option<Out>,
    /// What the store has last acknowledged of what was sent after `barrier`.
    acked: Option<(Version, State)>,
    /// Acknowledgements up to this version say nothing about what the instance is since.
    barrier: Version,
    /// After a failure nothing is sent before.
    retry_at_ns: u64,
    heartbeat_at_ns: u64,
    /// Until when it waits: for its turn, for others' claims, for readiness, for the end.
    until_ns: Option<u64>,
    recovered: bool,
    /// Whether it was ACTIVE or LEAVING with these tokens before it started.
    returning: bool,
    /// Whether it is its turn to join.
    turn: bool,
    /// Whether a view showed what was acknowledged.
    seen: bool,
    ready: bool,
    unregister: bool,
    /// When records from another address overtook its own.
    duplicates: SmallVec<[u64; DUPLICATES]>,
    wake_at_ns: Option<u64>,
}

impl Lifecycler {
    /// A life that is about to start.
    ///
    /// # Errors
    ///
    /// If the options ask for what no record may hold, or for tokens that there are not.
    pub fn new(options: LifecyclerOptions) -> Result<Self, OptionsError> {
        options.check()?;
        Ok(Self {
            phase: Phase::New,
            state: State::Pending,
            epoch: 0,
            tokens: TokenSet::default(),
            version: Version::default(),
            registered_at_ns: 0,
            read_only: ReadOnly::default(),
            due: Due::default(),
            out: None,
            acked: None,
            barrier: Version::default(),
            retry_at_ns: 0,
            heartbeat_at_ns: 0,
            until_ns: None,
            recovered: false,
            returning: false,
            turn: matches!(options.tokens, Tokens::Random { .. }),
            seen: false,
            ready: false,
            unregister: options.unregister,
            duplicates: SmallVec::new(),
            wake_at_ns: None,
            options,
        })
    }

    /// Takes an event; returns what is to be done about it. O(1), but for a view while it is joining, which is
    /// O(tokens of the ring).
    pub fn on(&mut self, event: Event<'_>, now: Now) -> Actions {
        let mut actions = Actions::new();
        if self.phase == Phase::Stopped {
            return actions;
        }
        match event {
            Event::Start if self.phase == Phase::New => {
                self.phase = Phase::Loading;
                actions.push(Action::Load);
            }
            Event::Loaded { file, record, tokens } if self.phase == Phase::Loading => {
                self.load(file, record, tokens, now, &mut actions);
            }
            Event::Start | Event::Loaded { .. } => {}
            Event::Recovered => self.recovered = true,
            Event::Tick => self.wake_at_ns = None,
            Event::View(members) => self.view(members, now, &mut actions),
            Event::Saved(saved) => self.saved(saved, now),
            Event::Wrote(written) => self.wrote(written, now, &mut actions),
            Event::Shutdown { unregister } => self.shut_down(unregister, &mut actions),
            Event::CancelShutdown => self.cancel_shutdown(now),
            Event::ReadOnly(enabled) => self.set_read_only(enabled, now),
            Event::Drained if self.phase == Phase::Leaving => {
                self.enter(Phase::Lingering, Some(after(now, self.options.final_wait)));
            }
            Event::Drained => {}
        }
        self.advance(now, &mut actions);
        self.send(now, &mut actions);
        self.set_timer(now, &mut actions);
        actions
    }

    /// Where it is in its life.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether it told that others may count on it.
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// Its tokens; none before they were loaded.
    pub fn tokens(&self) -> &TokenSet {
        &self.tokens
    }

    fn load(
        &mut self,
        file: Loaded,
        record: Option<InstanceRecord>,
        stored: Option<TokensRecord>,
        now: Now,
        actions: &mut Actions,
    ) {
        let file = match file {
            Loaded::Mine(file) => Some(file),
            Loaded::Absent => None,
            Loaded::Foreign { owner } => {
                actions.push(Action::Report(Notice::ForeignFile { owner }));
                None
            }
            Loaded::Broken(error) => {
                actions.push(Action::Report(Notice::BrokenFile(error)));
                None
            }
        };
        let known = record.as_ref().map(|record| record.instance.version).unwrap_or_default();
        let incarnation = file.as_ref().map_or(0, |file| file.incarnation).max(known.incarnation);
        self.version = Version { incarnation, sequence: known.sequence }.restarted();
        let present = record.as_ref().filter(|record| record.instance.state != State::Left);
        self.registered_at_ns = present.map_or(now.unix_ns, |record| record.instance.registered_at_ns);
        // The flag may have been set while this was loaded.
        let flags =
            [record.as_ref().map(|record| record.instance.read_only), file.as_ref().map(|f| f.read_only)];
        let newest =
            flags.into_iter().flatten().chain([self.read_only]).max_by_key(|flag| flag.changed_at_ns);
        self.read_only = newest.unwrap_or_default();

        self.choose_tokens(file.as_ref(), record.as_ref(), stored.as_ref());
        let current = TokensRef::of(self.epoch, &self.tokens);
        self.returning = present.is_some_and(|record| {
            matches!(record.instance.state, State::Active | State::Leaving) && record.tokens == current
        });
        let is_stored =
            stored.is_some_and(|stored| stored.epoch == self.epoch && stored.tokens == self.tokens);
        self.due = Due { file: true, tokens: !is_stored, record: true };
        self.enter(Phase::Pending, Some(after(now, self.options.join_wait)));
    }

    /// The file's tokens or the store's, of the later epoch; or derived ones. A set never changes within an epoch.
    fn choose_tokens(
        &mut self,
        file: Option<&TokenFile>,
        record: Option<&InstanceRecord>,
        stored: Option<&TokensRecord>,
    ) {
        let of_file = file.map(|file| (file.epoch, &file.tokens));
        let of_store = stored.map(|stored| (stored.epoch, &stored.tokens));
        let kept = [of_store, of_file].into_iter().flatten().filter(|(_, tokens)| !tokens.is_empty());
        if let Some((epoch, tokens)) = kept.max_by_key(|(epoch, _)| *epoch) {
            (self.epoch, self.tokens) = (epoch, tokens.clone());
            if let Tokens::Random { count } = self.options.tokens {
                self.resize(count.get());
            }
            return;
        }
        let told = record.map(|record| record.tokens).unwrap_or_default();
        self.epoch = told.epoch;
        self.tokens = self.options.derive(self.epoch).expect("checked when the life was made");
        if told.count > 0 && !told.is_of(&self.tokens) {
            self.epoch = self.epoch.saturating_add(1);
        }
    }

    /// Drops tokens, evenly, or adds random ones; another set is another epoch.
    fn resize(&mut self, wanted: usize) {
        let has = self.tokens.len();
        if has == wanted {
            return;
        }
        self.epoch = self.epoch.saturating_add(1);
        if has < wanted {
            self.add_random(wanted - has, &TokenSet::default());
            return;
        }
        let keep =
            |(at, &token): (usize, &u32)| ((at + 1) * wanted / has > at * wanted / has).then_some(token);
        self.tokens = self.tokens.iter().enumerate().filter_map(keep).collect();
    }

    fn add_random(&mut self, missing: usize, taken: &TokenSet) {
        let avoid: TokenSet = taken.iter().chain(&*self.tokens).copied().collect();
        let (id, zone) = (&self.options.id, &self.options.zone);
        let fresh = random_tokens(id, zone, self.epoch, missing, &avoid)
            .expect("a membership holds at most 2^27 tokens, an instance 2^16");
        self.tokens = self.tokens.iter().chain(&*fresh).copied().collect();
    }

    fn view(&mut self, members: &Membership, now: Now, actions: &mut Actions) {
        if matches!(self.phase, Phase::New | Phase::Loading) {
            return;
        }
        if let Some(member) = members.member(&self.options.id) {
            let theirs = &member.instance;
            let buried =
                theirs.version == self.version && theirs.state == State::Left && self.state != State::Left;
            if theirs.version > self.version || buried {
                self.overtaken(theirs, now, actions);
            } else if self.acked.is_some_and(|(version, _)| theirs.version >= version) {
                self.seen = true;
            }
        }
        match self.phase {
            Phase::Pending => {
                self.turn = self.turn || can_join(&self.options.id, &self.options.zone, members).is_ok();
            }
            Phase::Joining => self.give_way(members, actions),
            _ => {}
        }
    }

    /// Draws those tokens anew that somebody else has a better right to.
    fn give_way(&mut self, members: &Membership, actions: &mut Actions) {
        let yields_to = |other: &Instance| match other.state {
            State::Active => true,
            State::Pending | State::Joining => other.id < self.options.id,
            State::Leaving | State::Left => false,
        };
        let others = members.iter().map(|member| &*member.instance);
        let rivals = others.filter(|other| other.id != self.options.id && yields_to(other));
        let lost: TokenSet =
            rivals.flat_map(|other| &*other.tokens).copied().filter(|&t| self.tokens.contains(t)).collect();
        if lost.is_empty() {
            return;
        }
        self.tokens = self.tokens.iter().copied().filter(|&token| !lost.contains(token)).collect();
        self.epoch = self.epoch.saturating_add(1);
        self.add_random(lost.len(), &members.tokens());
        self.start_over();
        self.enter(Phase::Joining, None);
        actions.push(Action::Report(Notice::Redrawn { lost: lost.len() }));
    }

    fn saved(&mut self, saved: Result<(), NotSaved>, now: Now) {
        if self.out == Some(Out::File) {
            self.out = None;
            if saved.is_err() {
                self.due.file = true;
                self.retry(now);
            }
        }
    }

    fn wrote(&mut self, written: Written, now: Now, actions: &mut Actions) {
        let Some(out) = self.out.take_if(|out| *out != Out::File) else { return };
        match (out, written) {
            (Out::Tokens, Written::Done { .. }) | (Out::File, _) => {}
            (Out::Tokens, _) => {
                self.due.tokens = true;
                self.retry(now);
            }
            (Out::Record(version, state, sent_unix_ns), Written::Done { anew }) => {
                if anew && self.acked.is_some() {
                    // Its tokens are lost with it, and observers that come later need them.
                    self.due.tokens = true;
                    actions.push(Action::Report(Notice::RingLost));
                }
                if anew {
                    self.registered_at_ns = sent_unix_ns;
                }
                if version > self.barrier {
                    self.acked = Some((version, state));
                }
            }
            (Out::Record(..), Written::Refused(Some(theirs))) => {
                self.overtaken(&theirs.instance, now, actions);
            }
            (Out::Record(..), Written::Refused(None) | Written::Unknown) => {
                self.due.record = true;
                self.retry(now);
            }
        }
    }

    /// Somebody wrote a newer record of this instance: above it, in a new incarnation, its own is the newest.
    fn overtaken(&mut self, theirs: &Instance, now: Now, actions: &mut Actions) {
        if theirs.state == State::Left && self.state == State::Left {
            // Whoever wrote it: that is what was wanted.
            self.acked = Some((theirs.version, State::Left));
            self.due = Due::default();
            return;
        }
        if theirs.state == State::Left {
            self.registered_at_ns = now.unix_ns;
        }
        self.version = self.version.max(theirs.version).restarted();
        self.start_over();
        if self.phase == Phase::Joining {
            self.enter(Phase::Joining, None);
        }
        let (version, state) = (theirs.version, theirs.state);
        actions.push(Action::Report(Notice::Overtaken { version, state }));
        if theirs.addr != self.options.addr {
            self.note_duplicate(&theirs.addr, now, actions);
        }
    }

    /// Everything is to be written again, and nothing that was acknowledged before counts.
    fn start_over(&mut self) {
        self.due = Due { file: true, tokens: true, record: true };
        (self.acked, self.barrier, self.seen) = (None, self.version, false);
    }

    fn note_duplicate(&mut self, addr: &Arc<str>, now: Now, actions: &mut Actions) {
        let window_ns = DUPLICATE_WINDOW.as_nanos();
        self.duplicates.retain(|at| u128::from(now.mono_ns.saturating_sub(*at)) <= window_ns);
        self.duplicates.push(now.mono_ns);
        if self.duplicates.len() >= DUPLICATES {
            self.duplicates.clear();
            actions.push(Action::Report(Notice::DuplicateId { addr: Arc::clone(addr) }));
        }
    }

    fn shut_down(&mut self, unregister: Option<bool>, actions: &mut Actions) {
        self.unregister = unregister.unwrap_or(self.unregister);
        match self.phase {
            Phase::New | Phase::Loading => self.stop(actions),
            Phase::Pending | Phase::Joining | Phase::Active => {
                if self.ready {
                    self.ready = false;
                    actions.push(Action::Ready(false));
                }
                self.enter(Phase::Leaving, None);
                actions.push(Action::Drain);
            }
            Phase::Leaving | Phase::Lingering | Phase::Stopped => {}
        }
    }

    fn cancel_shutdown(&mut self, now: Now) {
        if self.phase != Phase::Leaving {
            return;
        }
        self.unregister = self.options.unregister;
        match self.state {
            State::Active | State::Leaving => {
                self.announce(State::Active);
                self.enter(Phase::Active, None);
            }
            State::Joining => self.enter(Phase::Joining, None),
            _ => self.enter(Phase::Pending, Some(after(now, self.options.join_wait))),
        }
    }

    fn set_read_only(&mut self, enabled: bool, now: Now) {
        if self.read_only.enabled != enabled {
            self.read_only = ReadOnly { enabled, changed_at_ns: now.unix_ns };
            if !matches!(self.phase, Phase::New | Phase::Loading) {
                (self.due.file, self.due.record) = (true, true);
            }
        }
    }

    /// Takes the steps that nothing stands in the way of any longer.
    fn advance(&mut self, now: Now, actions: &mut Actions) {
        let acked = self.acked.map(|(_, state)| state);
        let is_due = self.until_ns.is_some_and(|until_ns| until_ns <= now.mono_ns);
        match self.phase {
            Phase::Pending if self.recovered && acked == Some(State::Pending) => {
                if self.returning {
                    self.announce(State::Active);
                    self.enter(Phase::Active, None);
                } else if self.turn || is_due {
                    if !self.turn {
                        actions.push(Action::Report(Notice::OutOfTurn));
                    }
                    self.announce(State::Joining);
                    self.enter(Phase::Joining, None);
                }
            }
            Phase::Joining if acked == Some(State::Joining) => match self.until_ns {
                None => {
                    self.until_ns = Some(after(now, self.options.observe));
                    self.seen = false;
                }
                // A view that does not show its own claim would not show another's either.
                Some(_) if is_due && self.seen => {
                    self.announce(State::Active);
                    self.enter(Phase::Active, None);
                }
                Some(_) => {}
            },
            Phase::Active if acked == Some(State::Active) && !self.ready => match self.until_ns {
                None => self.until_ns = Some(after(now, self.options.min_ready)),
                Some(_) if is_due => {
                    self.ready = true;
                    actions.push(Action::Ready(true));
                }
                Some(_) => {}
            },
            // One that never served goes from where it is to LEFT.
            Phase::Leaving if self.state == State::Active && acked == Some(State::Active) => {
                self.announce(State::Leaving);
            }
            Phase::Lingering if is_due => {
                if !self.unregister || acked == Some(State::Left) {
                    self.stop(actions);
                } else if self.state != State::Left {
                    self.announce(State::Left);
                }
            }
            _ => {}
        }
    }

    fn enter(&mut self, phase: Phase, until_ns: Option<u64>) {
        (self.phase, self.until_ns) = (phase, until_ns);
        if phase == Phase::Joining {
            self.seen = false;
        }
    }

    fn announce(&mut self, state: State) {
        self.state = state;
        self.due.record = true;
    }

    fn stop(&mut self, actions: &mut Actions) {
        self.enter(Phase::Stopped, None);
        actions.push(Action::Stopped);
    }

    fn retry(&mut self, now: Now) {
        self.retry_at_ns = after(now, self.options.heartbeat_period / 5);
    }

    /// Sends what is due, unless something is on its way.
    fn send(&mut self, now: Now, actions: &mut Actions) {
        let silent = matches!(self.phase, Phase::New | Phase::Loading | Phase::Stopped);
        if silent || self.out.is_some() || now.mono_ns < self.retry_at_ns {
            return;
        }
        if self.due.file {
            self.due.file = false;
            self.out = Some(Out::File);
            actions.push(Action::SaveFile(self.file()));
        } else if self.due.tokens {
            self.due.tokens = false;
            self.out = Some(Out::Tokens);
            let (id, tokens) = (Arc::clone(&self.options.id), self.tokens.clone());
            actions.push(Action::PutTokens(TokensRecord { id, epoch: self.epoch, tokens }));
        } else if self.due.record || (self.heartbeat_at_ns <= now.mono_ns && !self.is_gone()) {
            self.due.record = false;
            self.version = self.version.next();
            self.out = Some(Out::Record(self.version, self.state, now.unix_ns));
            self.heartbeat_at_ns = after(now, self.options.heartbeat_period);
            actions.push(Action::Apply(Wish::Announce { record: self.record(), now_ns: now.unix_ns }));
        }
    }

    /// Whether the store has it that it left: after that nothing is written (L3).
    fn is_gone(&self) -> bool {
        self.acked.is_some_and(|(_, state)| state == State::Left)
    }

    fn file(&self) -> TokenFile {
        TokenFile {
            id: Arc::clone(&self.options.id),
            zone: Arc::clone(&self.options.zone),
            epoch: self.epoch,
            tokens: self.tokens.clone(),
            incarnation: self.version.incarnation,
            read_only: self.read_only,
        }
    }

    fn record(&self) -> InstanceRecord {
        let instance = Instance {
            zone: Arc::clone(&self.options.zone),
            state: self.state,
            version: self.version,
            registered_at_ns: self.registered_at_ns,
            read_only: self.read_only,
            features: self.options.features.clone(),
            ..Instance::new(Arc::clone(&self.options.id), Arc::clone(&self.options.addr))
        };
        InstanceRecord { instance, tokens: TokensRef::of(self.epoch, &self.tokens) }
    }

    /// Asks to be woken when time alone makes something happen.
    fn set_timer(&mut self, now: Now, actions: &mut Actions) {
        if matches!(self.phase, Phase::New | Phase::Loading | Phase::Stopped) {
            return;
        }
        let is_due = self.due.file || self.due.tokens || self.due.record;
        let send_at_ns = if is_due { self.retry_at_ns } else { self.heartbeat_at_ns.max(self.retry_at_ns) };
        // While something is on its way its answer is the next event.
        let send_at_ns = self.out.is_none().then_some(send_at_ns);
        let waits = match self.phase {
            Phase::Pending => !self.turn,
            Phase::Active => !self.ready,
            _ => true,
        };
        // What time alone did not bring by now, another event will.
        let until_ns = self.until_ns.filter(|&until_ns| waits && until_ns > now.mono_ns);
        let wake_at_ns = [send_at_ns, until_ns].into_iter().flatten().min();
        if let Some(at_ns) = wake_at_ns
            && self.wake_at_ns != wake_at_ns
        {
            self.wake_at_ns = wake_at_ns;
            actions.push(Action::WakeAt(at_ns));
        }
    }
}

fn after(now: Now, wait: Duration) -> u64 {
    now.mono_ns.saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
