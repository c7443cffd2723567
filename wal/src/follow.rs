//! Who wants to hear when the log has come further, and asks for nothing to be done for it.
//!
//! A follower is woken once, when there is news of what it waits for, and not before. Where nobody follows, that costs
//! whoever writes one look. Either the follower sees the new watermark, or whoever set it sees the follower: each puts
//! down its own before it looks for the other's, with a fence in between.

use crate::Durability;
use crate::progress::Progress;
use crate::sync::{AtomicU64, Mutex, Ordering, fence};

/// What is news to somebody.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Interest {
    pub(crate) level: Durability,
    /// A record at or behind this LSN, as safe as the level says.
    pub(crate) lsn: u64,
    /// A segment behind this one.
    pub(crate) segment: u64,
}

impl Interest {
    fn is_met(&self, progress: &Progress) -> bool {
        let reached = match self.level {
            Durability::Buffered | Durability::Written => progress.written(),
            Durability::Synced => progress.durable(),
        };
        reached > self.lsn || progress.segment() > self.segment || progress.has_ended()
    }
}

/// All who follow.
#[derive(Debug)]
pub(crate) struct Followers<W> {
    list: Mutex<Vec<(Interest, W)>>,
    /// Whether there are any, for those who look without the lock.
    any: AtomicU64,
}

impl<W> Default for Followers<W> {
    fn default() -> Self {
        Self { list: Mutex::new(Vec::new()), any: AtomicU64::new(0) }
    }
}

impl<W> Followers<W> {
    /// Whether somebody is to wait; not where there is news already. Forgets those who are not `there` any more.
    pub(crate) fn follow(
        &self,
        progress: &Progress,
        interest: Interest,
        waiter: W,
        there: impl Fn(&W) -> bool,
    ) -> bool {
        let mut list = self.list.lock();
        list.retain(|(_, other)| there(other));
        self.any.store(1, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let waits = !interest.is_met(progress);
        if waits {
            list.push((interest, waiter));
        }
        self.any.store(u64::from(!list.is_empty()), Ordering::Relaxed);
        waits
    }

    /// Calls for each to whom `progress`, as it is set now, is news.
    #[inline]
    pub(crate) fn tell(&self, progress: &Progress, wake: impl FnMut(W)) {
        fence(Ordering::SeqCst);
        if self.any.load(Ordering::Relaxed) != 0 {
            self.find(progress).into_iter().for_each(wake);
        }
    }

    #[cold]
    fn find(&self, progress: &Progress) -> Vec<W> {
        let mut list = self.list.lock();
        let mut found = Vec::new();
        for index in (0..list.len()).rev() {
            if list.get(index).is_some_and(|(interest, _)| interest.is_met(progress)) {
                found.push(list.swap_remove(index).1);
            }
        }
        self.any.store(u64::from(!list.is_empty()), Ordering::Relaxed);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Durability::{Synced, Written};

    fn told(followers: &Followers<u8>, progress: &Progress) -> Vec<u8> {
        let mut told = Vec::new();
        followers.tell(progress, |who| told.push(who));
        told.sort_unstable();
        told
    }

    #[test]
    fn each_hears_of_what_it_waits_for_and_once() {
        let (progress, followers) = (Progress::new(5, 1), Followers::default());
        progress.set_segment(2);
        let follow = |who, level, lsn, segment| {
            followers.follow(&progress, Interest { level, lsn, segment }, who, |_| true)
        };
        assert!(!follow(0, Synced, 4, 2), "record 4 is there");
        assert!(!follow(0, Synced, 5, 1), "segment 2 is there");
        assert!(follow(1, Synced, 5, 2) && follow(2, Written, 5, 2) && follow(3, Written, 6, 2));
        assert!(told(&followers, &progress).is_empty());
        progress.set_written(6);
        assert_eq!(told(&followers, &progress), [2]);
        progress.set_durable(6);
        assert_eq!(told(&followers, &progress), [1]);
        progress.set_segment(3);
        assert_eq!(told(&followers, &progress), [3]);
        assert!(follow(4, Synced, 9, 3));
        progress.end();
        assert_eq!(told(&followers, &progress), [4]);
        assert!(!follow(5, Synced, 9, 3), "nothing comes any more");
        assert!(told(&followers, &progress).is_empty());
    }

    #[test]
    fn who_is_gone_is_forgotten_when_the_next_one_comes() {
        let (progress, followers) = (Progress::new(5, 1), Followers::default());
        let interest = Interest { level: Synced, lsn: 5, segment: 1 };
        assert!(followers.follow(&progress, interest, 1, |_| true));
        assert!(followers.follow(&progress, interest, 2, |who| *who != 1));
        progress.set_durable(6);
        assert_eq!(told(&followers, &progress), [2]);
    }
}
