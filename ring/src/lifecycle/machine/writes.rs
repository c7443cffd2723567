//! What goes to disk and store, one thing at a time: the file before the store's tokens before the record, which is
//! L1. And what comes back.

use std::sync::Arc;
use std::time::Duration;

use super::{Due, Lifecycler, Out, after};
use crate::codec::{InstanceRecord, TokensRecord, TokensRef};
use crate::instance::{Instance, State};
use crate::lifecycle::change::Wish;
use crate::lifecycle::event::{Action, Actions, NotSaved, Notice, Now, Phase, Written};
use crate::token_file::TokenFile;

/// One that overtakes at least so often within [`DUPLICATE_WINDOW`] is alive and not us.
const DUPLICATES: usize = 3;
const DUPLICATE_WINDOW: Duration = Duration::from_secs(60);

/// After so many records it looks whether the store still has its tokens.
const BEATS_PER_CHECK: u32 = 12;

impl Lifecycler {
    pub(super) fn saved(&mut self, saved: Result<(), NotSaved>, now: Now) {
        if self.out == Some(Out::File) {
            self.out = None;
            self.file_failed = saved.is_err();
            if self.file_failed {
                self.due.file = true;
                self.retry(now);
            }
        }
    }

    pub(super) fn wrote(&mut self, written: Written, now: Now, actions: &mut Actions) {
        let Some(out) = self.out.take_if(|out| *out != Out::File) else { return };
        match (out, written) {
            (Out::Tokens, Written::Done { .. }) | (Out::File, _) => {}
            (Out::Tokens, _) => {
                self.due.tokens = true;
                self.retry(now);
            }
            (Out::Record(version, state, sent_unix_ns), Written::Done { anew }) => {
                if anew && self.acked.is_some() {
                    actions.push(Action::Report(Notice::RingLost));
                }
                if anew {
                    // Its tokens may be lost with it, and observers that come later need them (L1).
                    self.due.tokens = true;
                    self.registered_at_ns = sent_unix_ns;
                }
                if version > self.barrier {
                    self.acked = Some((version, state));
                }
                self.beats += 1;
                self.due.check |= self.beats >= BEATS_PER_CHECK && self.state != State::Left;
            }
            (Out::Record(..), Written::Refused(Some(theirs))) => {
                self.overtaken(&theirs.instance, now, actions);
            }
            (Out::Record(..), Written::Refused(None) | Written::Unknown) => {
                // It may have been put anew, which the next answer would not tell (L1).
                (self.due.tokens, self.due.record) = (true, true);
                self.retry(now);
            }
        }
    }

    /// Somebody wrote a newer record of this instance: above it, in a new incarnation, its own is the newest.
    pub(super) fn overtaken(&mut self, theirs: &Instance, now: Now, actions: &mut Actions) {
        if theirs.state == State::Left && self.state == State::Left {
            // Whoever wrote it: that is what was wanted.
            self.acked = Some((theirs.version, State::Left));
            self.due = Due::default();
            return;
        }
        let stops = matches!(self.phase, Phase::Leaving | Phase::Lingering);
        if stops && theirs.state != State::Left && theirs.version.incarnation > self.version.incarnation {
            self.succeeded(theirs, actions);
            return;
        }
        if theirs.state == State::Left {
            self.registered_at_ns = now.unix_ns;
            // Others may have taken its tokens since.
            self.returning = false;
        } else {
            // Two that are alive would outdo each other as fast as store and disk answer.
            self.retry_at_ns = after(now, self.options.heartbeat_period);
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

    /// Another process serves under this id: the place in the ring is no longer this one's to leave.
    fn succeeded(&mut self, theirs: &Instance, actions: &mut Actions) {
        self.version = theirs.version;
        self.due = Due::default();
        if !self.succeeded {
            self.succeeded = true;
            let (version, state) = (theirs.version, theirs.state);
            actions.push(Action::Report(Notice::Overtaken { version, state }));
        }
    }

    /// Everything is to be written again, and nothing that was acknowledged before counts.
    pub(super) fn start_over(&mut self) {
        self.due = Due { file: true, tokens: true, check: false, record: true };
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

    fn retry(&mut self, now: Now) {
        self.retry_at_ns = after(now, self.options.heartbeat_period / 5);
    }

    /// Sends what is due, unless something is on its way.
    pub(super) fn send(&mut self, now: Now, actions: &mut Actions) {
        let silent = matches!(self.phase, Phase::New | Phase::Loading | Phase::Stopped);
        if silent || self.succeeded || self.out.is_some() || now.mono_ns < self.retry_at_ns {
            return;
        }
        let beats = self.heartbeat_at_ns <= now.mono_ns;
        // Since something was acknowledged, the file has the incarnation and the tokens: what it lacks, the read-only
        // flag, is in the record too. So a disk that is full silences neither heartbeats nor changes of state.
        let passes_file = self.file_failed && self.acked.is_some() && (beats || self.due.record);
        let only_beats = beats && self.acked.is_some_and(|(_, state)| state == self.state);
        if self.due.file && !passes_file {
            self.due.file = false;
            self.out = Some(Out::File);
            actions.push(Action::SaveFile(self.file()));
        } else if (self.due.tokens || self.due.check) && !only_beats {
            let put = std::mem::take(&mut self.due.tokens);
            (self.due.check, self.beats) = (false, 0);
            self.out = Some(Out::Tokens);
            let (id, tokens) = (Arc::clone(&self.options.id), self.tokens.clone());
            let record = TokensRecord { id, epoch: self.epoch, tokens };
            actions.push(if put { Action::PutTokens(record) } else { Action::CheckTokens(record) });
        } else if self.due.record || beats {
            self.due.record = false;
            self.version = self.version.next();
            self.out = Some(Out::Record(self.version, self.state, now.unix_ns));
            self.heartbeat_at_ns = after(now, self.options.heartbeat_period);
            actions.push(Action::Apply(Wish::Announce { record: self.record(), now_ns: now.unix_ns }));
        }
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
    pub(super) fn set_timer(&mut self, now: Now, actions: &mut Actions) {
        if matches!(self.phase, Phase::New | Phase::Loading | Phase::Stopped) {
            return;
        }
        let may_send = self.out.is_none() && !self.succeeded;
        let is_due = self.due.file || self.due.tokens || self.due.check || self.due.record;
        let send_at_ns = if is_due { self.retry_at_ns } else { self.heartbeat_at_ns.max(self.retry_at_ns) };
        // While something is on its way its answer is the next event.
        let send_at_ns = may_send.then_some(send_at_ns);
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
