//! The life of an instance, one event at a time. What is to be written waits in [`Due`]; `writes` sends it.

use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::event::{Action, Actions, Event, Notice, Now, Phase};
use super::options::{LifecyclerOptions, OptionsError};
use crate::instance::{ReadOnly, State, Version};
use crate::membership::Membership;
use crate::token::TokenSet;

mod tokens;
mod writes;

/// What is to be written and is not yet on its way.
#[derive(Debug, Default)]
struct Due {
    file: bool,
    tokens: bool,
    /// Whether to look if the store still has the tokens.
    check: bool,
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
    /// Whether the last attempt to save the file failed.
    file_failed: bool,
    out: Option<Out>,
    /// What the store has last acknowledged of what was sent after `barrier`.
    acked: Option<(Version, State)>,
    /// Acknowledgements up to this version say nothing about what the instance is since.
    barrier: Version,
    /// After a failure nothing is sent before.
    retry_at_ns: u64,
    heartbeat_at_ns: u64,
    /// How many records were acknowledged since the tokens were last put or looked after.
    beats: u32,
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
    /// How many stops have begun to drain.
    drains: u64,
    /// Whether what the last of them drains is all there is.
    drains_all: bool,
    /// Whether, about to stop, it found another process that serves under its id.
    succeeded: bool,
    /// What the read-only flag is to be, told while it was not known what it is.
    wish: Option<bool>,
    /// When records from another address overtook its own.
    duplicates: SmallVec<[u64; 3]>,
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
            file_failed: false,
            out: None,
            acked: None,
            barrier: Version::default(),
            retry_at_ns: 0,
            heartbeat_at_ns: 0,
            beats: 0,
            until_ns: None,
            recovered: false,
            returning: false,
            turn: false,
            seen: false,
            ready: false,
            unregister: options.unregister,
            drains: 0,
            drains_all: false,
            succeeded: false,
            wish: None,
            duplicates: SmallVec::new(),
            wake_at_ns: None,
            options,
        })
    }

    /// Takes an event; returns what is to be done about it. O(own tokens), but for a view while it is joining, which
    /// is O(tokens of the ring).
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
            Event::Drained(number) if self.phase == Phase::Leaving && number == self.drains => {
                self.enter(Phase::Lingering, Some(after(now, self.options.final_wait)));
            }
            Event::Drained(_) => {}
        }
        self.advance(now, &mut actions);
        self.send(now, &mut actions);
        self.set_timer(now, &mut actions);
        actions
    }

    /// Whose life it is.
    pub fn id(&self) -> &Arc<str> {
        &self.options.id
    }

    /// Where it is in its life.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether it told that others may count on it.
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// Whether it was ACTIVE or LEAVING with these tokens before it started; not before it was loaded.
    pub fn is_returning(&self) -> bool {
        self.returning
    }

    /// Its tokens; none before they were loaded.
    pub fn tokens(&self) -> &TokenSet {
        &self.tokens
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
                // The store's record of them was lost alone (L1).
                self.due.tokens |= theirs.tokens != self.tokens;
            }
        }
        match self.phase {
            Phase::Pending => self.take_turn(members, now),
            Phase::Joining => self.give_way(members, now, actions),
            _ => {}
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
                self.drains += 1;
                // What is in a log that was not replayed is not drained.
                self.drains_all = self.recovered;
                actions.push(Action::Drain(self.drains));
            }
            Phase::Leaving | Phase::Lingering | Phase::Stopped => {}
        }
    }

    fn cancel_shutdown(&mut self, now: Now) {
        if self.phase != Phase::Leaving {
            return;
        }
        self.unregister = self.options.unregister;
        if std::mem::take(&mut self.succeeded) {
            self.version = self.version.restarted();
            self.start_over();
        }
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
        if matches!(self.phase, Phase::New | Phase::Loading) {
            self.wish = Some(enabled);
        } else if self.read_only.enabled != enabled {
            // Later than the one before it whatever the clock says: of two copies the later is the newer.
            let changed_at_ns = now.unix_ns.max(self.read_only.changed_at_ns.saturating_add(1));
            self.read_only = ReadOnly { enabled, changed_at_ns };
            (self.due.file, self.due.record) = (true, true);
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
                } else if self.turn || (is_due && !self.tokens.is_empty()) {
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
            Phase::Lingering if is_due && self.succeeded => self.stop(actions),
            Phase::Leaving | Phase::Lingering
                if self.state == State::Active && acked == Some(State::Active) =>
            {
                self.announce(State::Leaving);
            }
            Phase::Lingering if is_due && acked == Some(self.state) => {
                if self.state == State::Left || !self.unregister || !self.drains_all {
                    self.stop(actions);
                } else {
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
}

fn after(now: Now, wait: Duration) -> u64 {
    now.mono_ns.saturating_add(u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
