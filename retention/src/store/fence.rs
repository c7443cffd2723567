//! An asynchronous reader-writer lock without a runtime, for stores that live in one process. Served in order of
//! arrival, so neither sweepers nor holds starve; a waiter that is dropped leaves the queue.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use super::{Access, FenceGuard};

/// The fence of a store that only one process uses.
#[derive(Debug, Clone, Default)]
pub struct Fence {
    queue: Arc<Mutex<Queue>>,
}

impl Fence {
    /// A fence that nobody has taken.
    pub fn new() -> Self {
        Self::default()
    }

    /// Waits for access. Dropping the future gives up the place in the queue.
    pub fn acquire(&self, access: Access) -> Acquire {
        Acquire { queue: Arc::clone(&self.queue), access, place: Place::Outside }
    }
}

#[derive(Debug, Default)]
struct Queue {
    shared: usize,
    exclusive: bool,
    waiting: VecDeque<Waiter>,
    next_ticket: u64,
}

#[derive(Debug)]
struct Waiter {
    ticket: u64,
    access: Access,
    waker: Waker,
}

impl Queue {
    fn take(&mut self, access: Access) -> bool {
        let free = match access {
            Access::Shared => !self.exclusive,
            Access::Exclusive => !self.exclusive && self.shared == 0,
        };
        match access {
            Access::Shared if free => self.shared += 1,
            Access::Exclusive if free => self.exclusive = true,
            _ => {}
        }
        free
    }

    fn release(&mut self, access: Access) -> Vec<Waker> {
        match access {
            Access::Shared => self.shared -= 1,
            Access::Exclusive => self.exclusive = false,
        }
        self.advance()
    }

    /// Grants access to as many as possible from the front. A waiter that is no longer queued has been granted.
    fn advance(&mut self) -> Vec<Waker> {
        let mut woken = Vec::new();
        while let Some(access) = self.waiting.front().map(|front| front.access)
            && self.take(access)
        {
            woken.extend(self.waiting.pop_front().map(|front| front.waker));
        }
        woken
    }
}

/// A place in the queue; see [`Fence::acquire`].
#[derive(Debug)]
#[must_use = "the fence is not taken until this is awaited"]
pub struct Acquire {
    queue: Arc<Mutex<Queue>>,
    access: Access,
    place: Place,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    Outside,
    Queued(u64),
    Done,
}

impl Future for Acquire {
    type Output = FenceGuard;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<FenceGuard> {
        let shared = Arc::clone(&self.queue);
        let mut queue = shared.lock();
        match self.place {
            Place::Outside if queue.waiting.is_empty() && queue.take(self.access) => {}
            Place::Outside => {
                let ticket = queue.next_ticket;
                queue.next_ticket += 1;
                queue.waiting.push_back(Waiter { ticket, access: self.access, waker: cx.waker().clone() });
                self.place = Place::Queued(ticket);
                return Poll::Pending;
            }
            Place::Queued(ticket) => {
                if let Some(waiter) = queue.waiting.iter_mut().find(|waiter| waiter.ticket == ticket) {
                    waiter.waker.clone_from(cx.waker());
                    return Poll::Pending;
                }
            }
            Place::Done => panic!("polled after it was ready"),
        }
        self.place = Place::Done;
        drop(queue);
        Poll::Ready(FenceGuard::new(Taken { queue: shared, access: self.access }))
    }
}

impl Drop for Acquire {
    fn drop(&mut self) {
        let Place::Queued(ticket) = self.place else { return };
        let mut queue = self.queue.lock();
        let woken = match queue.waiting.iter().position(|waiter| waiter.ticket == ticket) {
            Some(place) => {
                queue.waiting.remove(place);
                queue.advance()
            }
            // Granted, but the grant was never collected.
            None => queue.release(self.access),
        };
        drop(queue);
        woken.into_iter().for_each(Waker::wake);
    }
}

struct Taken {
    queue: Arc<Mutex<Queue>>,
    access: Access,
}

impl Drop for Taken {
    fn drop(&mut self) {
        let woken = self.queue.lock().release(self.access);
        woken.into_iter().for_each(Waker::wake);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use proptest::prelude::*;

    use super::*;

    fn poll(acquire: Pin<&mut Acquire>) -> Option<FenceGuard> {
        match acquire.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(guard) => Some(guard),
            Poll::Pending => None,
        }
    }

    #[test]
    fn shared_holders_share_and_an_exclusive_one_waits_for_all() {
        let fence = Fence::new();
        let first = poll(pin!(fence.acquire(Access::Shared))).unwrap();
        let second = poll(pin!(fence.acquire(Access::Shared))).unwrap();
        let mut exclusive = pin!(fence.acquire(Access::Exclusive));
        assert!(poll(exclusive.as_mut()).is_none());
        drop(first);
        assert!(poll(exclusive.as_mut()).is_none());
        drop(second);
        let _guard = poll(exclusive.as_mut()).unwrap();
        assert!(poll(pin!(fence.acquire(Access::Shared))).is_none());
    }

    #[test]
    fn later_sharers_do_not_overtake_a_waiting_exclusive() {
        let fence = Fence::new();
        let held = poll(pin!(fence.acquire(Access::Shared))).unwrap();
        let mut exclusive = pin!(fence.acquire(Access::Exclusive));
        let mut late = pin!(fence.acquire(Access::Shared));
        assert!(poll(exclusive.as_mut()).is_none());
        assert!(poll(late.as_mut()).is_none());
        drop(held);
        assert!(poll(late.as_mut()).is_none());
        drop(poll(exclusive.as_mut()).unwrap());
        assert!(poll(late.as_mut()).is_some());
    }

    #[test]
    fn a_waiter_that_gives_up_lets_the_ones_behind_it_pass() {
        let fence = Fence::new();
        let _held = poll(pin!(fence.acquire(Access::Shared))).unwrap();
        let mut exclusive = Box::pin(fence.acquire(Access::Exclusive));
        let mut late = pin!(fence.acquire(Access::Shared));
        assert!(poll(exclusive.as_mut()).is_none());
        assert!(poll(late.as_mut()).is_none());
        drop(exclusive);
        assert!(poll(late.as_mut()).is_some());
    }

    #[test]
    fn a_grant_that_was_never_collected_is_given_back() {
        let fence = Fence::new();
        let held = poll(pin!(fence.acquire(Access::Shared))).unwrap();
        let mut exclusive = Box::pin(fence.acquire(Access::Exclusive));
        assert!(poll(exclusive.as_mut()).is_none());
        drop(held);
        drop(exclusive);
        assert!(poll(pin!(fence.acquire(Access::Exclusive))).is_some());
    }

    proptest! {
        #[test]
        fn whatever_the_order_nobody_shares_with_an_exclusive_and_all_get_in(
            steps in prop::collection::vec((0..4u8, any::<prop::sample::Index>()), 0..60)
        ) {
            let fence = Fence::new();
            let mut waiting = Vec::new();
            let mut held: Vec<(Access, FenceGuard)> = Vec::new();
            let serve = |waiting: &mut Vec<Pin<Box<Acquire>>>, held: &mut Vec<(Access, FenceGuard)>| {
                waiting.retain_mut(|acquire| match poll(acquire.as_mut()) {
                    Some(guard) => { held.push((acquire.access, guard)); false }
                    None => true,
                });
            };
            for (step, at) in steps {
                match step {
                    0 => waiting.push(Box::pin(fence.acquire(Access::Shared))),
                    1 => waiting.push(Box::pin(fence.acquire(Access::Exclusive))),
                    2 if !held.is_empty() => drop(held.swap_remove(at.index(held.len()))),
                    3 if !waiting.is_empty() => drop(waiting.remove(at.index(waiting.len()))),
                    _ => {}
                }
                serve(&mut waiting, &mut held);
                let exclusive = held.iter().filter(|(access, _)| *access == Access::Exclusive).count();
                prop_assert!(exclusive == 0 || held.len() == 1);
            }
            while !waiting.is_empty() {
                prop_assert!(!held.is_empty(), "a waiter is stuck on a free fence");
                held.clear();
                serve(&mut waiting, &mut held);
            }
        }
    }
}
