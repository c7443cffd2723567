//! Where a damaged log ends: what no sync is proven to have reached is no damage.

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
}

impl Pieces {
    /// The last segment has not begun if less of its first group is whole than the one before hands on, and no sync of it
    /// is proven; whether that is so.
    pub(crate) fn leave_unbegun(&mut self) -> bool {
        let said = self.said_of_streams(self.pieces.len().saturating_sub(1));
        let checkpoint = self.pieces.len().checked_sub(2).and_then(|before| self.checkpoint(before));
        let due = said.streams.len() as u64 + u64::from(checkpoint.is_some());
        let [.., before, last] = &self.pieces[..] else { return false };
        let salt = last.header.as_ref().filter(|_| last.fault.is_none()).map(|header| header.salt);
        let tied = before.frames.start().is_some()
            && before.frames.seal().is_some_and(|seal| salt == Some(seal.next_salt));
        let begun = last.frames.walks.first().is_some_and(|walk| {
            let any = walk.next_lsn > walk.first_lsn || walk.seal.is_some() || walk.frames > due;
            walk.start.is_some() && any
        });
        if begun || !tied || last.frames.proof > HEADER_LEN {
            return false;
        }
        let Some(mut last) = self.pieces.pop() else { return false };
        let Stretches { proof, residue_end, residue_lsn, .. } = last.frames;
        last.frames = Stretches { proof, residue_end, residue_lsn, ..Stretches::default() };
        self.above.insert(0, last);
        true
    }
}
