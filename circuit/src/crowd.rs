//! How many of a registry's breakers may reject at the same time.
//!
//! A breaker that opens takes a seat for as long as it is going to reject, and takes it anew whenever that changes.
//! One that finds none free is *spared*: it is open, says so, and admits, until a seat is free. So when everything
//! seems to be down, which is more often the caller's network than every endpoint, some are still tried (Envoy's
//! `max_ejection_percent`).
//!
//! * K1: seats taken, and not over, never exceed `most`, as it was when the last one was taken.
//! * K2: a seat is over with the wait or the round of probes that it was taken for, when its holder would admit the
//!   next call. So an endpoint that nobody asks for any more keeps nobody else from rejecting.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::sync::{AtomicU64, Mutex, Ordering::Relaxed};

/// The seats of a registry.
#[derive(Debug)]
pub(crate) struct Crowd {
    permille: u32,
    seats: Mutex<Seats>,
    /// From when on there is a seat to be had; what is read without the lock may be late.
    free_from_ns: AtomicU64,
}

#[derive(Debug, Default)]
struct Seats {
    members: usize,
    /// Until when each is taken, and by whom.
    taken: BTreeSet<(u64, u32)>,
}

/// A breaker's place in a [`Crowd`], given up when it is dropped. Used only under the breaker's lock.
#[derive(Debug)]
pub(crate) struct Seat {
    crowd: Arc<Crowd>,
    /// Of the breaker; no other member has it.
    number: u32,
    /// Until when a seat was taken; 0: not at all.
    until_ns: AtomicU64,
    /// 1 while the breaker belongs to the crowd.
    member: AtomicU64,
}

impl Crowd {
    /// Of nobody, with seats for so many of a thousand members, and at least one.
    pub(crate) fn new(permille: u32) -> Self {
        Self { permille, seats: Mutex::new(Seats::default()), free_from_ns: AtomicU64::new(0) }
    }

    /// Changes the seats, and says from when on one will be free.
    fn change<R>(&self, change: impl FnOnce(&mut Seats) -> R) -> R {
        let mut seats = self.seats.lock();
        let result = change(&mut seats);
        let full = seats.taken.len() >= seats.most(self.permille);
        let earliest_ns = seats.taken.first().filter(|_| full).map_or(0, |(until_ns, _)| *until_ns);
        self.free_from_ns.store(earliest_ns, Relaxed);
        result
    }
}

impl Seats {
    fn most(&self, permille: u32) -> usize {
        let most = self.members as u128 * u128::from(permille) / 1_000;
        usize::try_from(most).unwrap_or(usize::MAX).max(1)
    }
}

impl Seat {
    /// For one more member, that takes no seat yet.
    pub(crate) fn join(crowd: Arc<Crowd>, number: u32) -> Self {
        crowd.change(|seats| seats.members += 1);
        Self { crowd, number, until_ns: AtomicU64::new(0), member: AtomicU64::new(1) }
    }

    /// Takes a seat until then, or keeps it for longer or shorter, if there is one. Who is no member needs none.
    pub(crate) fn take(&self, now_ns: u64, until_ns: u64) -> bool {
        if self.member.load(Relaxed) == 0 {
            return true;
        }
        let own_ns = self.until_ns.load(Relaxed);
        let taken = self.crowd.change(|seats| {
            seats.taken.remove(&(own_ns, self.number));
            // K2.
            while seats.taken.first().is_some_and(|(until_ns, _)| *until_ns <= now_ns) {
                seats.taken.pop_first();
            }
            seats.taken.len() < seats.most(self.crowd.permille) && seats.taken.insert((until_ns, self.number))
        });
        self.until_ns.store(if taken { until_ns } else { 0 }, Relaxed);
        taken
    }

    /// Gives the seat back, if one was taken.
    pub(crate) fn give(&self) {
        let own_ns = self.until_ns.load(Relaxed);
        if own_ns > 0 {
            self.crowd.change(|seats| seats.taken.remove(&(own_ns, self.number)));
            self.until_ns.store(0, Relaxed);
        }
    }

    /// Whether taking a seat may succeed.
    pub(crate) fn is_free(&self, now_ns: u64) -> bool {
        now_ns >= self.crowd.free_from_ns.load(Relaxed)
    }

    /// Leaves the crowd: from here on the breaker rejects as it likes, and is nobody's neighbour.
    pub(crate) fn leave(&self) {
        self.give();
        if self.member.load(Relaxed) == 1 {
            self.member.store(0, Relaxed);
            self.crowd.change(|seats| seats.members -= 1);
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.leave();
    }
}
