//! Buckets of keys that are small numbers already: 16 bytes each, and no index.
//!
//! I1: a bucket that is not held is full; K3 and K4 hold as in [`Keyed`](super::Keyed).

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use parking_lot::Mutex;

use super::away::Bucket;
use super::class::{Account, Charge, ClassId, Classes, first_charge};
use super::intent::{Explain, Intent, Unexplained, Wanted};
use super::permit::{Source, Taken};
use crate::apart::Apart;
use crate::clock::{Latest, monotonic_ns};
use crate::decision::{Bound, Denied, Snapshot};
use crate::permit::{Permit, Release};
use crate::quota::{Inherit, Quota};

/// How many numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InternedOptions {
    /// Ids below this one have a bucket; 1,048,576 by default. Memory is taken in pieces of 128 buckets (2 KiB)
    /// when the first of them is used; a larger id is refused with [`Bound::Keys`], for ever.
    pub max_ids: u32,
    /// Locks the ids are spread over, rounded up to a power of two, at most 1,024; 16 by default, at 256 bytes
    /// each.
    pub stripes: usize,
}

impl Default for InternedOptions {
    fn default() -> Self {
        Self { max_ids: 1 << 20, stripes: 16 }
    }
}

/// A limiter per integer, such as a tenant's place in a table of tenants: [`Keyed`](super::Keyed) without keys,
/// at 16 bytes each.
///
/// It is for ids that are dense, counted up from zero by whoever hands them out: memory goes with the pieces
/// of 128 neighbours (per stripe) that were ever used. Nothing is evicted, for nothing is gained.
///
/// ```
/// use forebay_ratelimit::{Interned, Quota, Rate};
///
/// let tenants = Interned::new(Default::default());
/// let quota = Quota::new(Rate::per_second(1_000), 50);
/// assert!(tenants.allow(7, 50, quota));
/// assert!(!tenants.allow(7, 1, quota));
/// assert!(tenants.allow(8, 1, quota));
/// ```
pub struct Interned<C = fn() -> u64> {
    stripes: Box<[Apart<Mutex<Stripe>>]>,
    max_ids: u32,
    clock: C,
}

/// Every n-th id, under one lock.
#[derive(Default)]
struct Stripe {
    pieces: Vec<Option<Box<[Option<Account>; PIECE]>>>,
    classes: Classes,
    latest: Latest,
}

const PIECE: usize = 128;

impl Interned {
    /// No buckets yet, on the system's monotonic clock.
    pub fn new(options: InternedOptions) -> Self {
        Self::with_clock(options, monotonic_ns)
    }
}

impl<C: Fn() -> u64> Interned<C> {
    /// No buckets yet, on a clock of the caller's: monotonic nanoseconds since whenever.
    pub fn with_clock(options: InternedOptions, clock: C) -> Self {
        let InternedOptions { max_ids, stripes } = options;
        let stripes = stripes.clamp(1, 1_024).next_power_of_two();
        let stripes = (0..stripes).map(|_| Apart::default()).collect();
        Self { stripes, max_ids, clock }
    }

    /// Takes `tokens` from the bucket of `id` if they may pass now under `quota`, which is in force for the id
    /// from here on. Dropping the permit keeps them taken. Costs one lock; an id whose 127 neighbours were
    /// never admitted either costs an allocation when it is.
    ///
    /// # Errors
    /// [`Denied`], which tells the bound and the wait; nothing was taken and nothing allocated.
    pub fn try_acquire(&self, id: u32, tokens: u64, quota: Quota) -> Result<InternedPermit<'_, C>, Denied> {
        let taken = self.take::<Denied>(id, Wanted::all(tokens), quota, Intent::Take)?;
        Ok(taken.permit(|_| OfId { interned: self, id }))
    }

    /// [`try_acquire`](Self::try_acquire) with a permit that holds the table instead of borrowing it.
    ///
    /// # Errors
    /// As there.
    pub fn try_acquire_owned(
        self: &Arc<Self>,
        id: u32,
        tokens: u64,
        quota: Quota,
    ) -> Result<Permit<OfId<Arc<Self>>>, Denied> {
        let taken = self.take::<Denied>(id, Wanted::all(tokens), quota, Intent::Take)?;
        Ok(taken.permit(|_| OfId { interned: Arc::clone(self), id }))
    }

    /// Takes as many of `tokens` as there are now, but no fewer than `least`, as
    /// [`Keyed::acquire_up_to`](super::Keyed::acquire_up_to).
    ///
    /// # Errors
    /// [`Denied`] if `least` may not pass; nothing was taken.
    pub fn acquire_up_to(
        &self,
        id: u32,
        tokens: u64,
        least: u64,
        quota: Quota,
    ) -> Result<InternedPermit<'_, C>, Denied> {
        let taken = self.take::<Denied>(id, Wanted::part(tokens, least), quota, Intent::Take)?;
        Ok(taken.permit(|_| OfId { interned: self, id }))
    }

    /// [`try_acquire`](Self::try_acquire) for those who neither give tokens back nor want to know why not.
    pub fn allow(&self, id: u32, tokens: u64, quota: Quota) -> bool {
        self.take::<Unexplained>(id, Wanted::all(tokens), quota, Intent::Take).is_ok()
    }

    /// Gives tokens back to the bucket of `id`, which is never fuller than full. It is the caller's care not to
    /// give back more than was taken; an [`InternedPermit`] cannot.
    pub fn release(&self, id: u32, tokens: u64) {
        let (mut stripe, now_ns, place) = self.enter(id);
        stripe.give_back(place, now_ns, tokens);
    }

    /// The bucket of `id` now, if one is held; an id without bucket is full.
    pub fn peek(&self, id: u32) -> Option<Snapshot> {
        let (mut stripe, now_ns, place) = self.enter(id);
        let Stripe { pieces, classes, .. } = &mut *stripe;
        let account = slot_mut(pieces, place)?.as_ref()?;
        Some(classes.peek(account, now_ns))
    }

    /// Puts `quota` in force for `id` with a say in what becomes of its tokens and debt; a quota that merely comes
    /// with a request keeps them [as they are](Inherit::AsIs).
    pub fn reconfigure_with(&self, id: u32, quota: Quota, inherit: Inherit) {
        let quota = quota.clamped();
        let (mut stripe, now_ns, place) = self.enter(id);
        if quota.rate.is_unlimited() {
            stripe.forget(place);
        } else {
            stripe.inherit(place, quota, now_ns, inherit);
        }
    }

    /// Forgets the bucket of `id`: for a number that is given to another tenant. Returns whether it was held.
    pub fn forget(&self, id: u32) -> bool {
        let (mut stripe, _, place) = self.enter(id);
        stripe.forget(place)
    }

    /// The id from which on everything is refused.
    pub fn max_ids(&self) -> u32 {
        self.max_ids
    }

    /// Whether `tokens` would pass now; takes nothing and changes nothing.
    ///
    /// # Errors
    /// [`Denied`] as by [`try_acquire`](Self::try_acquire).
    pub fn check(&self, id: u32, tokens: u64, quota: Quota) -> Result<(), Denied> {
        let quota = quota.clamped();
        if self.is_beyond(id, tokens, quota) {
            return Err(no_such(tokens, quota));
        }
        let (mut stripe, now_ns, place) = self.enter(id);
        let bucket = stripe.bucket(place, quota, now_ns);
        first_charge(quota, now_ns, bucket, tokens, |refusal| refusal())
    }

    pub(crate) fn take<E: Explain>(
        &self,
        id: u32,
        wanted: Wanted,
        quota: Quota,
        intent: Intent,
    ) -> Result<Taken, E> {
        let quota = quota.clamped();
        if self.is_beyond(id, wanted.most, quota) {
            let Wanted { least, .. } = wanted;
            let nothing = Taken { granted: 0, source: Source::Nothing };
            return if least == 0 { Ok(nothing) } else { Err(E::explain(|| no_such(least, quota))) };
        }
        let (mut stripe, now_ns, place) = self.enter(id);
        if quota.rate.is_unlimited() {
            // Nothing to count; and should the id be limited again, it starts full.
            stripe.forget(place);
            return Ok(Taken { granted: wanted.most, source: Source::Nothing });
        }
        let tokens = wanted.of(quota, now_ns, || stripe.bucket(place, quota, now_ns));
        if slot_mut(&mut stripe.pieces, place).is_none_or(|slot| slot.is_none()) {
            first_charge(quota, now_ns, None, tokens, |refusal| E::explain(refusal))?;
            if tokens == 0 || intent != Intent::Take {
                let source = if tokens == 0 { Source::Nothing } else { Source::Unstored };
                return Ok(Taken { granted: tokens, source });
            }
            stripe.open(place, quota, now_ns);
        }
        stripe.charge(place, quota, now_ns, tokens)?;
        Ok(Taken { granted: tokens, source: Source::Own })
    }

    /// Whether a bucket is needed and there is none to be had.
    fn is_beyond(&self, id: u32, tokens: u64, quota: Quota) -> bool {
        id >= self.max_ids && tokens > 0 && !quota.rate.is_unlimited()
    }

    /// The stripe of `id`, locked, its time, and the place of `id` in it.
    fn enter(&self, id: u32) -> (parking_lot::MutexGuard<'_, Stripe>, u64, usize) {
        let now_ns = (self.clock)();
        let id = id as usize;
        let stripe = self.stripes.get(id & (self.stripes.len() - 1)).expect("masked by their number");
        let place = id >> self.stripes.len().trailing_zeros();
        let mut stripe = stripe.lock();
        let now_ns = stripe.latest.advance(now_ns);
        (stripe, now_ns, place)
    }
}

impl Stripe {
    /// A full bucket at `place`, which has none.
    fn open(&mut self, place: usize, quota: Quota, now_ns: u64) {
        let account = loop {
            match self.classes.open(quota, now_ns, None) {
                Ok(account) => break account,
                Err(due) => self.turn(due, now_ns),
            }
        };
        if self.pieces.len() <= place / PIECE {
            self.pieces.resize_with(place / PIECE + 1, || None);
        }
        let piece = self.pieces.get_mut(place / PIECE).expect("there are so many now");
        let piece = piece.get_or_insert_with(|| Box::new([None; PIECE]));
        *piece.get_mut(place % PIECE).expect("a remainder") = Some(account);
    }

    fn charge<E: Explain>(&mut self, place: usize, quota: Quota, now_ns: u64, tokens: u64) -> Result<(), E> {
        loop {
            let slot = slot_mut(&mut self.pieces, place).and_then(Option::as_mut);
            let account = slot.expect("opened, if it was not there");
            match self.classes.charge(account, quota, now_ns, tokens) {
                Charge::Taken => return Ok(()),
                Charge::Short => {
                    return Err(E::explain(|| self.classes.refusal(account, now_ns, tokens)));
                }
                Charge::Due(class) => self.turn(class, now_ns),
            }
        }
    }

    /// A copy of the bucket at `place` under `quota`, if there is one.
    fn bucket(&mut self, place: usize, quota: Quota, now_ns: u64) -> Option<Bucket> {
        let account = slot_mut(&mut self.pieces, place)?.as_ref()?;
        Some(self.classes.bucket(account).under(quota, now_ns))
    }

    fn inherit(&mut self, place: usize, quota: Quota, now_ns: u64, inherit: Inherit) {
        while let Some(account) = slot_mut(&mut self.pieces, place).and_then(Option::as_mut)
            && let Err(due) = self.classes.inherit(account, quota, now_ns, inherit)
        {
            self.turn(due, now_ns);
        }
    }

    fn give_back(&mut self, place: usize, now_ns: u64, tokens: u64) {
        if let Some(account) = slot_mut(&mut self.pieces, place).and_then(Option::as_mut) {
            self.classes.give_back(account, now_ns, tokens);
        }
    }

    fn forget(&mut self, place: usize) -> bool {
        let account = slot_mut(&mut self.pieces, place).and_then(Option::take);
        account.map(|account| self.classes.close(account)).is_some()
    }

    /// Once per 2^61 tokens of a rate: 266 days at 100 GB/s.
    #[cold]
    fn turn(&mut self, class: ClassId, now_ns: u64) {
        for account in self.pieces.iter_mut().flatten().flat_map(|piece| piece.iter_mut()).flatten() {
            self.classes.reach(class, account, now_ns);
        }
        self.classes.turn(class, now_ns);
    }
}

#[inline]
fn slot_mut(
    pieces: &mut [Option<Box<[Option<Account>; PIECE]>>],
    place: usize,
) -> Option<&mut Option<Account>> {
    pieces.get_mut(place / PIECE)?.as_mut()?.get_mut(place % PIECE)
}

fn no_such(tokens: u64, quota: Quota) -> Denied {
    Denied::new(quota, (tokens, 0), Bound::Keys, None)
}

impl<C> fmt::Debug for Interned<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interned")
            .field("max_ids", &self.max_ids)
            .field("stripes", &self.stripes.len())
            .finish_non_exhaustive()
    }
}

/// Tokens taken from a bucket of [`Interned`].
pub type InternedPermit<'a, C = fn() -> u64> = Permit<OfId<&'a Interned<C>>>;

/// The bucket of an id in a table.
#[derive(Clone, Copy)]
pub struct OfId<T> {
    interned: T,
    id: u32,
}

impl<T: Deref<Target = Interned<C>>, C: Fn() -> u64> Release for OfId<T> {
    type Tokens = u64;

    fn give_back(&self, tokens: u64) {
        self.interned.release(self.id, tokens);
    }
}

impl<T> fmt::Debug for OfId<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OfId").field("id", &self.id).finish_non_exhaustive()
    }
}
