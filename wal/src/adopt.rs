//! What becomes of spares at opening: files that truncations had kept are kept again, all others are removed.
//!
//! A file counts as kept only while it is, whole, the segment that its name says, from below the low watermark. One
//! that was being given another header when the writer died is removed: it may have a second name that only the media
//! knows, and its header no longer says which.

use std::io;
use std::path::Path;

use crate::directory::{segment_path, spare_number};
use crate::error::OpenError;
use crate::format::{HEADER_USED, Header};
use crate::fs::{File, Fs, read_full};
use crate::options::Options;
use crate::pool::Pool;
use crate::recovery::Verdict;
use crate::survey::{Survey, cannot};

impl<F: Fs> Survey<'_, F> {
    /// Step 8, spares: those that are kept, or the others are removed. Left-overs are gone already.
    pub(crate) fn adopt(&self, verdict: &Verdict<F>, options: &Options) -> Result<Pool, OpenError> {
        let mut pool = Pool::new(options);
        let ahead = [&verdict.next, &verdict.reserve].into_iter().flatten().map(|found| found.size);
        let log_bytes = verdict.chain.iter().map(|whole| whole.size).chain(ahead).sum();
        for spare in &self.spares {
            match self.kept(verdict, spare).map_err(cannot("read", spare))? {
                Some((number, bytes)) if pool.wants(bytes, log_bytes) => {
                    self.name_spare_again(spare, number)?;
                    pool.keep(number);
                }
                _ => self.remove_spare(spare)?,
            }
        }
        Ok(pool)
    }

    /// Removes all spares, to make room; whether there was one.
    pub(crate) fn give_up_spares(&self) -> Result<bool, OpenError> {
        self.spares.iter().try_for_each(|spare| self.remove_spare(spare))?;
        Ok(!self.spares.is_empty())
    }

    fn remove_spare(&self, spare: &Path) -> Result<(), OpenError> {
        match self.fs.remove(spare) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(cannot("remove", spare)(error)),
            _ => Ok(()),
        }
    }

    /// The number and length of the segment that a spare was, where it still is that segment.
    fn kept(&self, verdict: &Verdict<F>, spare: &Path) -> io::Result<Option<(u64, u64)>> {
        let (Some(oldest), Some((last, _))) = (verdict.chain.first(), &verdict.last) else { return Ok(None) };
        let Some(number) = spare_number(spare).filter(|number| *number < oldest.segment) else {
            return Ok(None);
        };
        let file = match self.fs.open_read(spare) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let mut block = [0; HEADER_USED];
        read_full(&file, &mut block, 0)?;
        let size = file.size()?;
        let is_ours = |header: &Header| {
            header.log_id == last.header.log_id && header.segment == number && header.capacity == size
        };
        Ok(Header::decode(&block).ok().filter(is_ours).map(|_| (number, size)))
    }

    /// Gives a file its former name and takes it away once more: where a sync of the directory has failed, the media may
    /// have the former name still, and the next sync would do nothing about it. A crash in between leaves a left-over.
    fn name_spare_again(&self, spare: &Path, number: u64) -> Result<(), OpenError> {
        let former = segment_path(self.dir, number);
        let named = self.fs.rename(spare, &former).and_then(|()| self.fs.rename(&former, spare));
        named.map_err(cannot("rename", spare))
    }
}
