//! A write that stays or is taken back, and what makes it durable.

use std::io::{self, IoSlice};

use super::{Segment, control};
use crate::error::{AppendError, Failure};
use crate::format::HEADER_LEN;
use crate::frame::{FRAME_HEADER_LEN, Kind};
use crate::frames::{Tally, control_frame};
use crate::fs::{File, Fs, write_all, write_zeros};
use crate::home::Home;

impl<F: Fs> Segment<F> {
    #[inline]
    pub(super) fn put(
        &mut self,
        home: &Home<F>,
        slices: &mut [IoSlice<'_>],
        (tally, next_lsn): (Tally, u64),
    ) -> Result<(), AppendError> {
        if let Err(error) = write_all(&self.file, slices, self.end) {
            return Err(self.take_back(home, &error, (tally.len, next_lsn)));
        }
        home.counters.written(tally.len);
        if self.synced == self.end {
            home.counters.unsynced_since(Some(home.options.time.monotonic_ns()));
        }
        self.started = true;
        self.add(tally);
        Ok(())
    }

    #[inline]
    fn add(&mut self, tally: Tally) {
        self.end += tally.len;
        self.frames += tally.frames;
        self.data_bytes += tally.data_bytes;
        self.last_hcrc = tally.last_hcrc;
    }

    /// Takes back a write of so many bytes that failed.
    #[cold]
    fn take_back(&mut self, home: &Home<F>, error: &io::Error, (len, next_lsn): (u64, u64)) -> AppendError {
        home.counters.write_failed();
        if cfg!(wal_mutant = "keep_partial_frame") {
            return home.refusal(error, len).into();
        }
        let zeroed = write_zeros(&self.file, self.end, self.end + len)
            .and_then(|()| self.pad(next_lsn))
            .and_then(|()| match cfg!(wal_mutant = "rollback_unsynced") {
                true => Ok(()),
                false => home.sync(&self.file),
            });
        if let Err(cause) = zeroed {
            return AppendError::Indeterminate(Failure::new("taking back a write", cause));
        }
        self.synced = self.end;
        home.refusal(error, len).into()
    }

    /// Fills what was written up to where a later write touches no block of it, where groups are aligned.
    fn pad(&mut self, next_lsn: u64) -> io::Result<()> {
        let (head, align) = (FRAME_HEADER_LEN as u64, u64::from(self.header.commit_align));
        if align == 0 || !self.started || self.end.is_multiple_of(align) {
            return Ok(());
        }
        let body = (self.end + head).next_multiple_of(align) - self.end - head;
        let body = vec![0; usize::try_from(body).expect("an alignment is at most 64 KiB")];
        let (frame, tally) = control(control_frame((Kind::PAD, &body), next_lsn, &self.digest, self.synced));
        write_all(&self.file, &mut [IoSlice::new(&frame)], self.end)?;
        self.add(tally);
        Ok(())
    }

    /// As an opening does with what it found whole, of which nobody was told yet. Whatever the media has where the next
    /// frame would be goes.
    pub(crate) fn pad_found(&mut self, next_lsn: u64) -> io::Result<()> {
        let end = self.end;
        self.pad(next_lsn)?;
        if self.end > end {
            let page = (self.end + HEADER_LEN).min(self.header.capacity);
            write_zeros(&self.file, self.end, page)?;
            self.file.sync_data()?;
        }
        self.synced = self.end;
        Ok(())
    }

    /// Ends a group, and syncs it. An error poisons the log.
    #[inline]
    pub(crate) fn finish(&mut self, home: &Home<F>, next_lsn: u64) -> Result<(), AppendError> {
        if self.synced < self.end {
            self.pad(next_lsn)
                .map_err(|cause| AppendError::Indeterminate(Failure::new("filling up a group", cause)))?;
        }
        self.sync(home)
    }

    /// Syncs what was written. An error poisons the log.
    #[inline]
    pub(crate) fn sync(&mut self, home: &Home<F>) -> Result<(), AppendError> {
        if self.synced == self.end {
            return Ok(());
        }
        home.sync(&self.file)
            .or_else(|cause| match cfg!(wal_mutant = "retry_fsync") {
                true => home.sync(&self.file),
                false => Err(cause),
            })
            .map_err(|cause| AppendError::Indeterminate(Failure::new("syncing a segment", cause)))?;
        self.synced = self.end;
        Ok(())
    }

    /// Zeroes all behind the end, durably, so that the segment can go on although a crash may have left frames
    /// there that this process cannot see.
    pub(crate) fn wipe(&self, home: &Home<F>) -> Result<(), AppendError> {
        write_zeros(&self.file, self.end, self.header.capacity)
            .map_err(|error| home.refusal(&error, self.header.capacity - self.end))?;
        home.sync(&self.file)
            .map_err(|cause| AppendError::Indeterminate(Failure::new("syncing a segment", cause)))
    }

    /// Gives back the space behind the seal, where that is a page and an eighth of the file or more: a file that is used
    /// up keeps its length, and can be used again. Answers the length. Not synced: a crash may leave the file at either
    /// length, and the seal ends it all the same.
    pub(crate) fn shrink(&self) -> u64 {
        let capacity = self.header.capacity;
        // Cutting a file is a write to the block that it cuts.
        let len = self.end.next_multiple_of(u64::from(self.header.commit_align.max(1)));
        let unused = capacity.saturating_sub(len);
        if unused < HEADER_LEN.max(capacity / 8) || self.file.set_len(len).is_err() {
            return capacity;
        }
        len
    }
}
