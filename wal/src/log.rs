//! The end of the log: which segment takes the next group, and what is written there.

mod rotate;

use parking_lot::Mutex;

pub(crate) use self::rotate::Need;
use crate::carry::Carry;
use crate::error::{AppendError, Pinned, Reject};
use crate::format::{Features, MAX_NUMBER};
use crate::frame::Kind;
use crate::frames::Frames;
use crate::fs::Fs;
use crate::home::Home;
use crate::progress::Progress;
use crate::reserve::Reserve;
use crate::segment::{Place, Segment};

/// Who pins the log, asked only when its size is at the limit; `None` where the limit does not count.
pub(crate) type Quota<'a> = Option<&'a dyn Fn() -> Option<Pinned>>;

/// The last segment.
pub(crate) enum Tail<F: Fs> {
    /// There is none yet.
    Empty,
    /// Left by a crash: behind its end may lie frames that only the media knows. It is sealed before anything
    /// else is written, or wiped where no successor can be had.
    Frozen(Segment<F>),
    /// Takes frames.
    Active(Segment<F>),
}

pub(crate) struct Log<F: Fs> {
    pub(crate) tail: Tail<F>,
    /// Of the next record that is written.
    pub(crate) next_lsn: u64,
    /// Records below are on the media.
    pub(crate) durable: u64,
    /// Of records from here on no write was tried.
    pub(crate) attempted: u64,
    /// The directory was unlocked: nothing is to be touched any more.
    pub(crate) released: bool,
    /// Records below are gone, durably.
    pub(crate) low: u64,
    pub(crate) epoch: u64,
    /// Whether the last frame says that the log was closed cleanly.
    pub(crate) clean: bool,
    /// What the next segment begins with.
    pub(crate) carried: Carry,
    /// The highest id of a stream of which the log may have records.
    pub(crate) highest_stream: u32,
}

impl<F: Fs> Log<F> {
    /// A log whose records are all on the media.
    pub(crate) fn new(tail: Tail<F>, next_lsn: u64, low: u64, epoch: u64, clean: bool) -> Self {
        let (durable, attempted) = (next_lsn, next_lsn);
        let carried = Carry::default();
        let highest_stream = 0;
        Self {
            tail,
            next_lsn,
            durable,
            attempted,
            released: false,
            low,
            epoch,
            clean,
            carried,
            highest_stream,
        }
    }

    /// How far a log has come that was just opened.
    pub(crate) fn progress(&self) -> Progress {
        let progress = Progress::new(self.next_lsn, self.low);
        progress.set_segment(self.segment());
        progress
    }

    /// Number of the last segment; 0 before there is one.
    pub(crate) fn segment(&self) -> u64 {
        match &self.tail {
            Tail::Empty => 0,
            Tail::Frozen(segment) | Tail::Active(segment) => segment.number(),
        }
    }

    #[inline]
    fn place(&self) -> Place {
        Place { next_lsn: self.next_lsn, low: self.low, epoch: self.epoch }
    }

    /// Bytes of records that fit the active segment.
    #[inline]
    pub(crate) fn room(&self) -> u64 {
        match &self.tail {
            Tail::Active(segment) => segment.room(false),
            Tail::Empty | Tail::Frozen(_) => 0,
        }
    }

    /// Whether there are numbers for so many more records, and for the one that would follow them.
    pub(crate) fn numbers_for(&self, records: u64) -> Result<(), Reject> {
        let next = self.next_lsn.checked_add(records).filter(|next| *next <= MAX_NUMBER);
        next.map(drop).ok_or(Reject::NumbersUsedUp)
    }

    /// Whether the header of the last segment has this.
    pub(crate) fn has(&self, features: Features) -> bool {
        match &self.tail {
            Tail::Empty => false,
            Tail::Frozen(segment) | Tail::Active(segment) => segment.header.features.has(features),
        }
    }

    /// Whether the last segment has a frame, so that there is something to end.
    pub(crate) fn is_started(&self) -> bool {
        match &self.tail {
            Tail::Empty => false,
            Tail::Frozen(_) => true,
            Tail::Active(segment) => segment.started,
        }
    }

    /// Writes frames with numbers below `upto`, each as far as it fits into the segment that takes it. What was not
    /// written is left in `frames`.
    #[inline]
    pub(crate) fn write(
        &mut self,
        home: &Home<F>,
        reserve: &Mutex<Reserve<F>>,
        quota: Quota<'_>,
        (frames, upto): (&mut Frames, u64),
    ) -> Result<(), AppendError> {
        while let Some(len) = frames.first_len(upto) {
            self.make_room(home, reserve, Need::Records(len), quota)?;
            let place = self.place();
            let count = frames.fitting(self.room(), upto);
            let end = frames.end_lsn(count).unwrap_or(place.next_lsn);
            self.attempted = end;
            let wrote = self.active().write(home, place, (frames, count));
            self.settle();
            let tally = wrote?;
            home.counters.appended(tally.records, tally.payload);
            frames.advance(count);
            self.next_lsn = end;
            self.clean = false;
        }
        Ok(())
    }

    /// Syncs what was written.
    #[inline]
    pub(crate) fn sync(&mut self, home: &Home<F>) -> Result<(), AppendError> {
        if let Tail::Active(segment) = &mut self.tail {
            segment.finish(home, self.next_lsn)?;
        }
        self.settle();
        Ok(())
    }

    /// Writes and syncs control frames, as one group, in room that was made for it.
    pub(crate) fn control(&mut self, home: &Home<F>, frames: &[(Kind, &[u8])]) -> Result<(), AppendError> {
        let place = self.place();
        let segment = self.active();
        let closes = matches!(frames, [(Kind::CLEAN_CLOSE, _)]);
        let lazy =
            cfg!(wal_mutant = "truncate_before_durable") && matches!(frames, [(Kind::LOW_WATERMARK, _)]);
        let done = segment.control(home, place, frames).and_then(|()| match closes {
            _ if lazy => Ok(()),
            // It is the last frame, or the log was not closed.
            true => segment.sync(home),
            false => segment.finish(home, place.next_lsn),
        });
        self.settle();
        done?;
        self.clean = closes;
        Ok(())
    }

    /// Bytes of frames that are written and not synced.
    #[inline]
    pub(crate) fn unsynced(&self) -> u64 {
        match &self.tail {
            Tail::Active(segment) => segment.end - segment.synced,
            Tail::Empty | Tail::Frozen(_) => 0,
        }
    }

    #[inline]
    fn active(&mut self) -> &mut Segment<F> {
        match &mut self.tail {
            Tail::Active(segment) => segment,
            Tail::Empty | Tail::Frozen(_) => unreachable!("make_room leaves an active segment"),
        }
    }

    /// Takes note of what a sync has made durable.
    #[inline]
    fn settle(&mut self) {
        if let Tail::Active(segment) = &self.tail
            && segment.synced == segment.end
        {
            self.durable = self.next_lsn;
        }
    }
}
