//! Taking records in: by a thread, which writes and syncs what is missing, or by a task, which must not block.

use std::ops::Range;

use parking_lot::MutexGuard;

use crate::Durability;
use crate::commit::Queue;
use crate::error::{AppendError, Reject};
use crate::frames::body_len;
use crate::fs::Fs;
use crate::leader::Inner;
use crate::payload::Payload;

impl<F: Fs> Inner<F> {
    /// The numbers of no records.
    pub(crate) fn nothing(&self) -> Range<u64> {
        let next = self.progress.appended();
        next..next
    }

    /// The bytes that records are encoded to, if they are not too many.
    #[inline]
    fn measure(&self, records: &mut [Payload<'_>], stream: u32) -> Result<u64, AppendError> {
        records.iter_mut().for_each(Payload::settle);
        let (len, limit) = (body_len(records, stream), self.home.options.max_record_bytes);
        if len > limit {
            return self.reject(Reject::TooLarge { dir: self.home.dir.clone(), len, limit });
        }
        Ok(len)
    }

    /// Takes records in, and returns when they are as safe as asked for.
    #[inline]
    pub(crate) fn append(
        &self,
        records: &mut [Payload<'_>],
        level: Durability,
        stream: u32,
    ) -> Result<Range<u64>, AppendError> {
        if level < Durability::Synced {
            return self.append_as(records, level, stream);
        }
        // A look at the clock costs nothing beside a sync.
        let begin_ns = self.home.options.time.monotonic_ns();
        let lsns = self.append_as(records, level, stream)?;
        let took_ns = self.home.options.time.monotonic_ns().saturating_sub(begin_ns);
        self.home.counters.append_waits.took(took_ns);
        Ok(lsns)
    }

    #[inline]
    fn append_as(
        &self,
        records: &mut [Payload<'_>],
        level: Durability,
        stream: u32,
    ) -> Result<Range<u64>, AppendError> {
        let bytes = self.measure(records, stream)?;
        let mut queue = self.room_for(bytes, level)?;
        let lsns = self.push(&mut queue, records, (level, stream)).or_else(|reason| self.reject(reason))?;
        if level == Durability::Buffered {
            if queue.is_leading() || !queue.intake.is_full() && !queue.is_due() {
                return Ok(lsns);
            }
            let taken = queue.take();
            drop(queue);
            // The record is taken in, whatever comes of writing: who needs to know asks for more than that.
            let _ = self.lead(taken, None);
            return Ok(lsns);
        }
        if queue.is_leading() {
            return self.wait_for_own(queue, level, lsns.end).map(|()| lsns);
        }
        if level == Durability::Synced {
            self.gather(&mut queue, 1);
        }
        let taken = queue.take();
        drop(queue);
        self.lead(taken, Some((level, lsns.end))).map(|()| lsns)
    }

    /// Takes in records of a task, which must not block; where to be told when they are as safe as asked for, unless
    /// they are.
    #[cfg(feature = "tokio")]
    pub(crate) fn take_in(
        &self,
        records: &mut [Payload<'_>],
        level: Durability,
        stream: u32,
    ) -> Result<(Range<u64>, Option<tokio::sync::oneshot::Receiver<crate::request::Outcome>>), AppendError>
    {
        if records.is_empty() {
            return Ok((self.nothing(), None));
        }
        let bytes = self.measure(records, stream)?;
        let mut queue = self.queue.lock();
        let refusal = queue.refusal(true).or_else(|| self.overfull(&queue, bytes, level));
        let pushed = refusal.map_or_else(|| self.push(&mut queue, records, (level, stream)), Err);
        let lsns = pushed.or_else(|reason| self.reject(reason))?;
        if level == Durability::Buffered {
            if queue.intake.is_full() || queue.is_due() {
                self.committer.notify_one();
            }
            return Ok((lsns, None));
        }
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let enough = queue.wait(level, lsns.end, true, crate::request::Waiter::Task(sender));
        drop(queue);
        self.tell_gathering(enough);
        self.committer.notify_one();
        Ok((lsns, Some(receiver)))
    }

    #[inline]
    fn overfull(&self, queue: &Queue, bytes: u64, level: Durability) -> Option<Reject> {
        let (inflight, limit) = queue.overfull(bytes, level)?;
        Some(Reject::Backpressure { dir: self.home.dir.clone(), inflight, limit })
    }

    /// The queue when it has room for so many bytes. What is buffered writes what is in the way, or waits for whoever
    /// does; so does what finds others that nobody writes.
    #[inline]
    fn room_for(&self, bytes: u64, level: Durability) -> Result<MutexGuard<'_, Queue>, AppendError> {
        let mut queue = self.queue.lock();
        loop {
            if let Some(reason) = queue.refusal(false) {
                return self.reject(reason);
            }
            // What fills a frame goes out with what fills the next, if it has not gone before.
            let idle = !queue.is_leading() && !queue.intake.is_empty();
            let Some(reason) = self.overfull(&queue, bytes, level) else { return Ok(queue) };
            if level != Durability::Buffered && !idle {
                return self.reject(reason);
            }
            let end = queue.intake.next_lsn();
            drop(queue);
            match self.until(Durability::Written, end) {
                // What was in the way was taken back meanwhile.
                Ok(()) | Err(AppendError::Rejected(Reject::NotAppended { .. })) => {}
                Err(error) => return Err(error),
            }
            queue = self.queue.lock();
        }
    }

    /// Takes records in for which there is room, and tells of them whom that concerns.
    #[inline]
    fn push(
        &self,
        queue: &mut Queue,
        records: &mut [Payload<'_>],
        (level, stream): (Durability, u32),
    ) -> Result<Range<u64>, Reject> {
        let written = self.progress.written();
        let now_ns = || self.home.options.time.monotonic_ns();
        let (lsns, timed) = queue.push(records, (level, stream, written), now_ns)?;
        if stream > 0 {
            // No truncation that comes later may miss them.
            self.pins.lock().stream_came(stream, &lsns, written);
        }
        if timed {
            self.doorbell.ring_for_sync();
        }
        if level == Durability::Buffered {
            self.progress.set_appended(lsns.end);
        }
        Ok(lsns)
    }
}
