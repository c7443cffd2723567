//! How often what happened.

use std::ops::AddAssign;

#[derive(Debug, Clone, Default)]
pub(crate) struct Counts {
    pub(crate) acknowledged: u32,
    pub(crate) refused_writes: u32,
    pub(crate) reads: u32,
    pub(crate) failed_reads: u32,
    pub(crate) joined: u32,
    /// Of those who were told to stop, in whatever state.
    pub(crate) stopped: u32,
    /// Steps in which the store shows somebody LEFT, after whole drains.
    pub(crate) shows_left: u32,
    pub(crate) crashed: u32,
    pub(crate) stalls: u32,
    pub(crate) losses: u32,
    pub(crate) tokens_lost: u32,
    pub(crate) late: u32,
    pub(crate) forgotten: u32,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.refused_writes += other.refused_writes;
        self.reads += other.reads;
        self.failed_reads += other.failed_reads;
        self.joined += other.joined;
        self.stopped += other.stopped;
        self.shows_left += other.shows_left;
        self.crashed += other.crashed;
        self.stalls += other.stalls;
        self.losses += other.losses;
        self.tokens_lost += other.tokens_lost;
        self.late += other.late;
        self.forgotten += other.forgotten;
    }
}
