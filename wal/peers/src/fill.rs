//! Logs that are there already: filled, left by a process that died, torn, copied, and looked at from outside.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::Outcome;
use crate::load::{Load, files};
use crate::log::{Log, Writer};

/// Handed over at once, at most.
const BATCH_BYTES: u64 = 256 << 10;
/// Read, compared with zeros and copied at a time.
const CHUNK: usize = 64 << 10;

/// Appends records until they have `payload_bytes`; how many there are.
pub fn fill<L: Log>(log: &L, load: &Load, batch: usize, payload_bytes: u64) -> Outcome<u64> {
    let batch = usize::try_from(BATCH_BYTES / load.record_bytes())?.clamp(1, batch);
    let total = payload_bytes / load.record_bytes();
    let records = load.records(batch);
    let mut writer = log.writer(0)?;
    let (mut done, mut at) = (0, 0);
    while done < total {
        let n = batch.min(usize::try_from(total - done)?);
        writer.append(records.get(at..at + n).unwrap_or_default())?;
        done += n as u64;
        at = (at + n) % load.len();
    }
    Ok(done)
}

/// Tears the last append: zeros in place of the last bytes of the file that was written last.
pub fn tear(dir: &Path) -> Outcome<()> {
    const TORN: u64 = 20;
    let mut newest: Option<(SystemTime, PathBuf, u64)> = None;
    for path in files(dir)? {
        let modified = path.metadata()?.modified()?;
        let end = end(&File::open(&path)?)?;
        if end > TORN && newest.as_ref().is_none_or(|(latest, ..)| *latest < modified) {
            newest = Some((modified, path, end));
        }
    }
    let (_, path, end) = newest.ok_or("a log without bytes cannot be torn")?;
    Ok(File::options().write(true).open(path)?.write_all_at(&[0; TORN as usize], end - TORN)?)
}

/// Copies a directory; zeros become holes, in all logs alike.
pub fn copy(from: &Path, to: &Path) -> Outcome<()> {
    for path in files(from)? {
        let target = to.join(path.strip_prefix(from)?);
        std::fs::create_dir_all(target.parent().ok_or("a file in a directory")?)?;
        let (source, copy) = (File::open(path)?, File::create(target)?);
        copy.set_len(source.metadata()?.len())?;
        chunks(&source, |at, chunk| Ok(copy.write_all_at(chunk, at)?))?;
    }
    Ok(())
}

/// What lies in all files of a directory, each up to its last byte that is not zero.
pub fn stored_bytes(dir: &Path) -> Outcome<u64> {
    files(dir)?.into_iter().map(|path| end(&File::open(path)?)).sum()
}

/// Behind the last byte that is not zero.
fn end(file: &File) -> Outcome<u64> {
    let mut end = 0;
    chunks(file, |at, chunk| {
        end = at + chunk.iter().rposition(|&byte| byte != 0).map_or(0, |last| last as u64 + 1);
        Ok(())
    })?;
    Ok(end)
}

/// Calls for each stretch of the file that is not all zeros.
fn chunks(file: &File, mut each: impl FnMut(u64, &[u8]) -> Outcome<()>) -> Outcome<()> {
    let mut chunk = vec![0; CHUNK];
    let mut at = 0;
    loop {
        at = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            Ok(data) => data,
            // Holes to the end.
            Err(Errno::NXIO) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        };
        let n = file.read_at(&mut chunk, at)?;
        if n == 0 {
            return Ok(());
        }
        let read = chunk.get(..n).unwrap_or_default();
        if read.iter().any(|&byte| byte != 0) {
            each(at, read)?;
        }
        at += n as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_behind_the_data_are_not_counted_and_a_torn_file_has_more_of_them() {
        let dir = tempfile::tempdir().unwrap();
        let mut bytes = vec![7; 100_000];
        bytes.resize(300_000, 0);
        std::fs::write(dir.path().join("log"), &bytes).unwrap();
        assert_eq!(stored_bytes(dir.path()).unwrap(), 100_000);
        tear(dir.path()).unwrap();
        assert_eq!(stored_bytes(dir.path()).unwrap(), 99_980);
    }

    #[test]
    fn a_copy_is_equal() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        std::fs::create_dir_all(from.join("deep")).unwrap();
        let mut bytes = vec![0; 200_000];
        bytes.extend_from_slice(b"end");
        std::fs::write(from.join("deep/file"), &bytes).unwrap();
        copy(&from, &to).unwrap();
        assert_eq!(std::fs::read(to.join("deep/file")).unwrap(), bytes);
    }
}
