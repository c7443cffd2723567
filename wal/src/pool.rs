//! Segment files that truncations gave back, kept to be used again.
//!
//! Each has the name of a spare, durably, and the size of a segment. It still is the segment that it was, until it is
//! given another header: old frames do not fit the new salt.

use crate::options::Options;

#[derive(Debug, Default)]
pub(crate) struct Pool {
    /// By the number of the segment that each was.
    files: Vec<u64>,
    /// Length of each.
    file_bytes: u64,
    max: usize,
    /// Bytes that the log may take with them.
    limit: u64,
}

impl Pool {
    /// A pool with these files, which [`wants`](Self::wants) has let in.
    pub(crate) fn new(options: &Options) -> Self {
        let limit = options.max_log_bytes.unwrap_or(u64::MAX);
        Self { files: Vec::new(), file_bytes: options.segment_bytes, max: options.max_spare_segments, limit }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.files.len()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.file_bytes * self.files.len() as u64
    }

    /// Whether a file of `bytes` is worth keeping besides `more` others, where the log takes `log_bytes` without them.
    pub(crate) fn wants(&self, bytes: u64, more: usize, log_bytes: u64) -> bool {
        let files = self.files.len() + more;
        let with_it = (files as u64 + 1).saturating_mul(self.file_bytes).saturating_add(log_bytes);
        bytes == self.file_bytes && files < self.max && with_it <= self.limit
    }

    pub(crate) fn keep(&mut self, files: Vec<u64>) {
        self.files.extend(files);
    }

    /// A file of this size.
    pub(crate) fn take(&mut self, bytes: u64) -> Option<u64> {
        if bytes == self.file_bytes { self.files.pop() } else { None }
    }

    /// Any file, to be removed.
    pub(crate) fn give_up(&mut self) -> Option<u64> {
        self.files.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(max_log_bytes: Option<u64>) -> Pool {
        let options =
            Options { segment_bytes: 100, max_spare_segments: 2, max_log_bytes, ..Options::default() };
        Pool::new(&options)
    }

    #[test]
    fn files_of_the_right_size_are_kept_up_to_a_number() {
        let mut pool = pool(None);
        assert!(pool.wants(100, 1, 9_000) && !pool.wants(99, 0, 0) && !pool.wants(100, 2, 0));
        pool.keep(vec![7]);
        assert!(pool.wants(100, 0, 0) && !pool.wants(100, 1, 0));
        assert_eq!((pool.len(), pool.bytes()), (1, 100));
        assert_eq!((pool.take(200), pool.take(100), pool.take(100)), (None, Some(7), None));
    }

    #[test]
    fn files_are_kept_within_the_limit_of_the_log() {
        let mut pool = pool(Some(500));
        assert!(pool.wants(100, 0, 400) && !pool.wants(100, 0, 401) && !pool.wants(100, 1, 400));
        pool.keep(vec![7]);
        assert!(pool.wants(100, 0, 300) && !pool.wants(100, 0, 301));
        assert_eq!((pool.give_up(), pool.give_up()), (Some(7), None));
    }
}
