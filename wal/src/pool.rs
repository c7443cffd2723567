//! Segment files that truncations gave back, kept to be used again.
//!
//! Each has the name of a spare, durably, and the size of a segment. It still is the segment that it was, until it is
//! given another header: old frames do not fit the new salt.

use crate::options::Options;

#[derive(Debug, Default)]
pub(crate) struct Pool {
    /// By the number of the segment that each was.
    files: Vec<u64>,
    /// Those whose new names are not durable yet: until then a crash may bring them back as segments.
    arriving: Vec<u64>,
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
        let (file_bytes, max) = (options.segment_bytes, options.max_spare_segments);
        Self { file_bytes, max, limit, ..Self::default() }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.files.len()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.ready_bytes() + self.arriving_bytes()
    }

    /// Bytes of files that can be used, or given up.
    pub(crate) fn ready_bytes(&self) -> u64 {
        self.file_bytes * self.files.len() as u64
    }

    pub(crate) fn arriving_bytes(&self) -> u64 {
        self.file_bytes * self.arriving.len() as u64
    }

    /// Whether a file of `bytes` is worth keeping, where the log takes `log_bytes` without those that are kept.
    pub(crate) fn wants(&self, bytes: u64, log_bytes: u64) -> bool {
        let files = self.files.len() + self.arriving.len();
        let with_it = (files as u64 + 1).saturating_mul(self.file_bytes).saturating_add(log_bytes);
        bytes == self.file_bytes && files < self.max && with_it <= self.limit
    }

    /// Keeps a file whose name as a spare is durable.
    pub(crate) fn keep(&mut self, file: u64) {
        self.files.push(file);
    }

    /// A file has its name as a spare, which is not durable yet.
    pub(crate) fn expect(&mut self, file: u64) {
        self.arriving.push(file);
    }

    /// All names are durable.
    pub(crate) fn arrived(&mut self) {
        self.files.append(&mut self.arriving);
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
        assert!(pool.wants(100, 9_000) && !pool.wants(99, 0));
        pool.keep(7);
        assert!(pool.wants(100, 0));
        pool.expect(8);
        assert!(!pool.wants(100, 0));
        assert_eq!((pool.len(), pool.bytes()), (1, 200));
        assert_eq!((pool.take(200), pool.take(100), pool.take(100)), (None, Some(7), None));
        pool.arrived();
        assert_eq!((pool.take(100), pool.bytes()), (Some(8), 0));
    }

    #[test]
    fn files_are_kept_within_the_limit_of_the_log() {
        let mut pool = pool(Some(500));
        assert!(pool.wants(100, 400) && !pool.wants(100, 401));
        pool.keep(7);
        assert!(pool.wants(100, 300) && !pool.wants(100, 301));
        assert_eq!((pool.give_up(), pool.give_up()), (Some(7), None));
    }
}
