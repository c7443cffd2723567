//! What a leader does besides writing records: truncations, streams, checkpoints, rotation, the end.

use super::Turn;
use crate::error::{AppendError, Reject};
use crate::frame::{Kind, frame_len};
use crate::fs::Fs;
use crate::log::{Need, Tail};
use crate::request::{Done, Outcome, Request, Work};

impl<F: Fs> Turn<'_, F> {
    /// Does other work than writing records; a full disk keeps nobody from truncating.
    pub(super) fn serve(&mut self, request: Request) {
        let Request { work, owed, .. } = request;
        let closes = work == Work::Close;
        let outcome = match &self.outcome {
            Err(AppendError::Indeterminate(_)) => Err(Reject::Poisoned.into()),
            _ if self.log.released => Err(self.inner.gone().into()),
            _ => self.work(work),
        };
        if let Err(error @ AppendError::Indeterminate(_)) = &outcome {
            self.settle(Err(error.clone()));
        } else {
            self.publish();
        }
        if closes {
            self.inner.let_go(&mut self.log);
        }
        if let Some(waiter) = owed.take() {
            self.answers.push((waiter, outcome));
        }
    }

    fn work(&mut self, work: Work) -> Outcome {
        let (inner, log) = (self.inner, &mut *self.log);
        let (home, quota) = (&inner.home, || inner.pinned_by());
        match work {
            Work::Truncate(lsn) => {
                inner.pins.lock().asked(lsn.min(log.next_lsn));
                self.truncate(lsn)
            }
            Work::Define(name) => {
                let def = log.define(home, &inner.reserve, (&name, Some(&quota)))?;
                let is_gone = inner.pins.lock().add_stream(&def, def.low);
                Ok(Done::Stream(def.id, is_gone))
            }
            Work::DropStream(name) => {
                let def = log.defs().find(|def| def.name == *name);
                let plain_end = inner.queue.lock().plain_end();
                let gives_up = def.as_ref().map(|def| (def.id, log.next_lsn));
                let upto = gives_up.map_or(Ok(0), |lsn| inner.pins.lock().give_up(lsn, plain_end))?;
                let done = log.truncate(home, &inner.reserve, &inner.pins, (upto, Some(&quota)))?;
                if let Some(def) = def {
                    let id = def.id;
                    log.drop_stream(home, &inner.reserve, (def, Some(&quota)))?;
                    inner.pins.lock().drop_stream(id);
                }
                Ok(Done::Truncated(done))
            }
            Work::LowerStream(id, lsn) => {
                let plain_end = inner.queue.lock().plain_end();
                let upto = inner.pins.lock().give_up((id, lsn.min(log.next_lsn)), plain_end)?;
                self.truncate(upto)
            }
            Work::Checkpoint(lsn, body) => {
                // No opening believes a checkpoint of records that are not there.
                if lsn > log.next_lsn {
                    return Err(self.outcome.clone().err().unwrap_or(Reject::Poisoned.into()));
                }
                log.checkpoint(home, &inner.reserve, (&body, Some(&quota))).map(|()| Done::Other)
            }
            Work::Rotate if log.is_started() => {
                let capacity = log.capacity_for(home, 0);
                log.rotate(home, &inner.reserve, capacity, Some(&quota)).map(|()| Done::Other)
            }
            Work::Close => {
                // Records that somebody was told of, and that could not be written.
                if let Err(error) = &self.outcome
                    && !inner.queue.lock().intake.is_empty()
                {
                    return Err(error.clone());
                }
                log.sync(home)?;
                if log.clean || matches!(log.tail, Tail::Empty) {
                    return Ok(Done::Other);
                }
                log.make_room(home, &inner.reserve, Need::Control(frame_len(0)), Some(&quota))?;
                log.control(home, &[(Kind::CLEAN_CLOSE, &[])]).map(|()| Done::Other)
            }
            Work::Rotate => Ok(Done::Other),
        }
    }

    /// Gives back segments first: then there is room to take note of why.
    fn truncate(&mut self, lsn: u64) -> Outcome {
        let (inner, log) = (self.inner, &mut *self.log);
        let (home, pins, quota) = (&inner.home, &inner.pins, || inner.pinned_by());
        let done = log.truncate(home, &inner.reserve, pins, (lsn, Some(&quota)))?;
        log.note_lows(home, &inner.reserve, (pins, Some(&quota)))?;
        Ok(Done::Truncated(done))
    }
}
