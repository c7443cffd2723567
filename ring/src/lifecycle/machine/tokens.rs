//! Which tokens an instance has: those it had, and never one that somebody else has a better right to.

use std::num::{NonZeroU8, NonZeroU16};
use std::sync::Arc;

use super::{Due, Lifecycler, after};
use crate::codec::{InstanceRecord, TokensRecord, TokensRef};
use crate::generate::random_tokens;
use crate::instance::{Instance, State, Version};
use crate::lifecycle::event::{Action, Actions, Notice, Now, Phase};
use crate::lifecycle::options::Tokens;
use crate::membership::Membership;
use crate::spread::{Holder, can_join, join};
use crate::token::TokenSet;
use crate::token_file::{Loaded, TokenFile};
use xxhash_rust::xxh3::xxh3_64;

impl Lifecycler {
    pub(super) fn load(
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
        let flags =
            [record.as_ref().map(|record| record.instance.read_only), file.as_ref().map(|f| f.read_only)];
        self.read_only =
            flags.into_iter().flatten().max_by_key(|flag| flag.changed_at_ns).unwrap_or_default();

        self.choose_tokens(file.as_ref(), record.as_ref(), stored.as_ref());
        self.turn = match self.options.tokens {
            Tokens::Random { .. } => true,
            Tokens::Spread { .. } => false,
            Tokens::Even { .. } => !self.tokens.is_empty(),
        };
        let current = TokensRef::of(self.epoch, &self.tokens);
        // A shard looks back no further than to when the instance came into the ring as it is.
        let as_before = |record: &&InstanceRecord| {
            record.tokens.is_same_set(current) && record.instance.zone == self.options.zone
        };
        let joined = present.filter(as_before).map(|record| record.instance.registered_at_ns);
        self.registered_at_ns = joined.unwrap_or(now.unix_ns);
        self.returning = present.is_some_and(|record| {
            matches!(record.instance.state, State::Active | State::Leaving) && record.tokens == current
        });
        let is_stored =
            stored.is_some_and(|stored| stored.epoch == self.epoch && stored.tokens == self.tokens);
        // Beside a record that is LEFT, tokens are about to be collected unless they are put anew.
        self.due = Due { file: true, tokens: !is_stored || present.is_none(), check: false, record: true };
        self.enter(Phase::Pending, Some(after(now, self.options.join_wait)));
        if let Some(enabled) = self.wish.take() {
            self.set_read_only(enabled, now);
        }
    }

    /// The file's tokens or the store's, of the later epoch, unless they belong to another zone; or derived ones. A set never changes within an epoch.
    fn choose_tokens(
        &mut self,
        file: Option<&TokenFile>,
        record: Option<&InstanceRecord>,
        stored: Option<&TokensRecord>,
    ) {
        let of_file = file.map(|file| (file.epoch, &file.tokens));
        let of_store = stored.map(|stored| (stored.epoch, &stored.tokens));
        let kept = [of_store, of_file].into_iter().flatten().filter(|(_, tokens)| !tokens.is_empty());
        let last = kept.max_by_key(|(epoch, _)| *epoch);
        // Random ones are as good in any zone; the others are positions of one, for its next instance to take.
        let zone = file.map(|file| &file.zone).or(record.map(|record| &record.instance.zone));
        let moved = zone.is_some_and(|zone| *zone != self.options.zone);
        if moved && !matches!(self.options.tokens, Tokens::Random { .. }) {
            let told = record.map_or(0, |record| record.tokens.epoch);
            self.epoch = last.map_or(told, |(epoch, _)| epoch.max(told)).saturating_add(1);
            self.tokens = self.options.derive(self.epoch).expect("checked when the life was made");
            return;
        }
        if let Some((epoch, tokens)) = last {
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

    /// Whether it is its turn to join, by a view that shows its own record: in a fleet after the one before it, and
    /// for an even share once it is chosen.
    pub(super) fn take_turn(&mut self, members: &Membership, now: Now) {
        match self.options.tokens {
            Tokens::Random { .. } => {}
            Tokens::Spread { .. } => {
                self.turn = self.turn || can_join(&self.options.id, &self.options.zone, members).is_ok();
            }
            Tokens::Even { count } if self.seen && self.tokens.is_empty() => {
                self.choose_share(count, members, now);
                self.turn = true;
            }
            Tokens::Even { .. } => {}
        }
    }

    fn choose_share(&mut self, count: NonZeroU16, members: &Membership, now: Now) {
        let others = members.iter().map(|member| &*member.instance);
        let (near, far): (Vec<_>, Vec<_>) = others
            .filter(|other| other.state != State::Left && other.id != self.options.id)
            .partition(|other| other.zone == self.options.zone);
        let holder = |other: &Instance| {
            let (id, tokens) = (Arc::clone(&other.id), other.tokens.clone());
            Holder { id, weight: NonZeroU8::MIN, tokens }
        };
        let holders: Vec<Holder> = near.into_iter().map(holder).collect();
        let taken = far.into_iter().flat_map(|other| &*other.tokens).copied().collect();
        self.epoch = self.epoch.saturating_add(1);
        let chosen = join(&holders, NonZeroU8::MIN, count, &taken);
        let is_first = holders.iter().all(|holder| holder.tokens.is_empty());
        match chosen.map(|tokens| if is_first { self.shift(&tokens, &taken) } else { tokens }) {
            Ok(tokens) => self.tokens = tokens,
            // Somebody's tokens leave no room between them.
            Err(_) => self.add_random(count.get().into(), &members.tokens()),
        }
        self.registered_at_ns = now.unix_ns;
        self.start_over();
    }

    /// The tokens of the first of a zone, a little aside by the zone's name: those of several zones that start at once
    /// differ, and own nearly the same ranges.
    fn shift(&self, tokens: &TokenSet, taken: &TokenSet) -> TokenSet {
        const ASIDE: u64 = 1 << 12;
        let hash = xxh3_64(self.options.zone.as_bytes());
        let shifted = |by: u64| -> TokenSet {
            let by = u32::try_from(hash.wrapping_add(by) % ASIDE).expect("less than 2^12");
            tokens.iter().map(|token| token.wrapping_add(by)).collect()
        };
        let is_free = |tokens: &TokenSet| tokens.iter().all(|&token| !taken.contains(token));
        (0..ASIDE).map(shifted).find(is_free).unwrap_or_else(|| tokens.clone())
    }

    /// Draws those tokens anew that somebody else has a better right to.
    pub(super) fn give_way(&mut self, members: &Membership, now: Now, actions: &mut Actions) {
        let yields_to = |other: &Instance| match other.state {
            // One that is LEAVING may restart, and is then ACTIVE at once.
            State::Active | State::Leaving => true,
            State::Pending | State::Joining => other.id < self.options.id,
            State::Left => false,
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
        // It was in the ring with others: shards that look back have to be told.
        (self.registered_at_ns, self.version) = (now.unix_ns, self.version.restarted());
        self.start_over();
        self.enter(Phase::Joining, None);
        actions.push(Action::Report(Notice::Redrawn { lost: lost.len() }));
    }
}
