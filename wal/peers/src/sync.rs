//! `fsync` and `fdatasync` of this process: counted, timed, and made to cost as much as a slow disk's.
//!
//! The functions below take the place of libc's for everything that is linked into the program, so all logs sync
//! through them: one hook, the same wait for all. What it does not see are files opened with `O_SYNC` and syncs that
//! are submitted to an io_uring; walrus has both.
#![expect(unsafe_code, reason = "symbols that others call by C's rules; miri has no disk to run this on")]

use std::ffi::c_int;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::io::Errno;

static COST_NS: AtomicU64 = AtomicU64::new(0);
static CALLS: AtomicU64 = AtomicU64::new(0);
static SPENT_NS: AtomicU64 = AtomicU64::new(0);

/// How many syncs there were since the program began, and what the disk, not the wait, took for them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Syncs {
    pub calls: u64,
    pub spent_ns: u64,
}

/// From now on a sync returns no earlier than this long after it was called.
pub fn cost(at_least: Duration) {
    COST_NS.store(nanoseconds(at_least), Ordering::SeqCst);
}

pub fn so_far() -> Syncs {
    Syncs { calls: CALLS.load(Ordering::SeqCst), spent_ns: SPENT_NS.load(Ordering::SeqCst) }
}

// SAFETY: the name is libc's, and so are the signature and what the function does.
#[unsafe(no_mangle)]
extern "C" fn fsync(fd: c_int) -> c_int {
    synced(fd, |fd| rustix::fs::fsync(fd))
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn fdatasync(fd: c_int) -> c_int {
    synced(fd, |fd| rustix::fs::fdatasync(fd))
}

fn synced(fd: c_int, sync: fn(BorrowedFd<'_>) -> rustix::io::Result<()>) -> c_int {
    let begun = Instant::now();
    let answer = if fd < 0 {
        Err(Errno::BADF)
    } else {
        // SAFETY: whoever syncs a file keeps it open until the call returns; a number that names none is refused by
        // the kernel, which is all that happens with it.
        sync(unsafe { BorrowedFd::borrow_raw(fd) })
    };
    let spent = begun.elapsed();
    CALLS.fetch_add(1, Ordering::Relaxed);
    SPENT_NS.fetch_add(nanoseconds(spent), Ordering::Relaxed);
    let cost = Duration::from_nanos(COST_NS.load(Ordering::Relaxed));
    if let Some(left) = cost.checked_sub(spent).filter(|left| !left.is_zero()) {
        std::thread::sleep(left);
    }
    match answer {
        Ok(()) => 0,
        Err(errno) => {
            // SAFETY: libc's own place for the calling thread's error number, always there.
            unsafe { *libc::__errno_location() = errno.raw_os_error() };
            -1
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn every_sync_of_the_standard_library_is_seen_and_waits() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"bytes").unwrap();
        let before = so_far();
        cost(Duration::from_millis(3));
        let begun = Instant::now();
        file.sync_data().unwrap();
        file.sync_all().unwrap();
        assert!(begun.elapsed() >= Duration::from_millis(6));
        cost(Duration::ZERO);
        let after = so_far();
        assert_eq!(after.calls - before.calls, 2);
        assert!(after.spent_ns > before.spent_ns);
    }

    #[test]
    fn what_cannot_be_synced_says_so() {
        assert_eq!(fdatasync(-1), -1);
        assert_eq!(std::io::Error::last_os_error().raw_os_error(), Some(libc::EBADF));
    }
}
