//! Where a damaged log ends: what no sync is proven to have reached is no damage.

use crate::carried::Carried;
use crate::error::OpenError;
use crate::format::HEADER_LEN;
use crate::fs::Fs;
use crate::pieces::Pieces;
use crate::stretch::Stretches;
use crate::survey::{Found, Survey, cannot};

impl<F: Fs> Survey<'_, F> {
    /// In the segment behind which there are no frames, what begins with a gap that no sync is proven to have reached is
    /// a torn tail, whatever of it is whole.
    pub(crate) fn leave_torn(&self, all: &mut Pieces) -> Result<(), OpenError> {
        let Some(last) = all.pieces.last_mut() else { return Ok(()) };
        let walks = last.frames.walks.iter().zip(last.frames.walks.iter().skip(1));
        let gap = walks.map(|(walk, _)| walk.end).find(|end| *end >= last.frames.proof);
        let (Some(gap), Some(header)) = (gap, last.header.clone()) else { return Ok(()) };
        if last.size < header.capacity {
            // Only behind a seal that was synced is a segment cut.
            return Ok(());
        }
        let file = self.fs.open_read(&last.path).map_err(cannot("open", &last.path))?;
        let front = self.stretches(&Found { path: last.path.clone(), file, size: gap, header })?;
        let Stretches { proof, residue_end, residue_lsn, .. } = last.frames;
        last.frames = Stretches { any: true, proof, residue_end, residue_lsn, ..front };
        Ok(())
    }

    /// The last segment has not begun if nothing of it is whole but a part of what the one before hands on, and no sync of
    /// it is proven; whether that is so.
    pub(crate) fn leave_unbegun(&self, all: &mut Pieces) -> Result<bool, OpenError> {
        let [.., before, last] = &all.pieces[..] else { return Ok(false) };
        let salt = last.header.as_ref().filter(|_| last.fault.is_none()).map(|header| header.salt);
        let tied = before.frames.start().is_some()
            && before.frames.seal().is_some_and(|seal| salt == Some(seal.next_salt));
        if !tied || last.frames.proof > HEADER_LEN {
            return Ok(false);
        }
        let count = all.pieces.len() - 1;
        let checkpoint = all.checkpoint(count - 1).cloned();
        let said = Carried { checkpoint, ..all.said_of_streams(count) };
        if last.frames.start().is_some() && self.walk(&self.find(last.number)?, 0)?.has_begun(&said) {
            return Ok(false);
        }
        let Some(mut last) = all.pieces.pop() else { return Ok(false) };
        let Stretches { proof, residue_end, residue_lsn, .. } = last.frames;
        last.frames = Stretches { proof, residue_end, residue_lsn, ..Stretches::default() };
        all.above.insert(0, last);
        Ok(true)
    }
}
