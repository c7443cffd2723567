//! What a log may be told when it is opened; checked once, before anything is touched.

use std::fmt;
use std::sync::Arc;

use crate::checkpoint::longest_copy;
use crate::define::most_streams;
use crate::error::InvalidOption;
use crate::format::{Checksum, HEADER_LEN, Label, MAX_FRAME, MAX_RECORD, MAX_SEGMENT};
use crate::policy::SyncPolicy;
use crate::segment::longest_body;

/// Settings of a log. They may differ from one opening to the next: what is on disk carries its own.
#[derive(Debug, Clone)]
pub struct Options {
    /// Size of a segment file in bytes, header included; rounded up to 4 KiB. Default 64 MiB, 8 KiB to 16 GiB.
    /// Space is given back by whole segments, so a large one holds old records longer; a small one rotates more
    /// often, at two syncs each. A record that does not fit gets a segment of its own size.
    pub segment_bytes: u64,
    /// Longest body of one frame in bytes; rounded up to 8. Default 1 MiB, 512 B to 256 MiB. A damaged byte
    /// costs a frame, a reader holds one in memory, and each buffer for writing keeps up to four.
    pub max_frame: u32,
    /// Longest record, or batch, in bytes, a few for each length included. Default 64 MiB, at most 256 MiB, and
    /// no more than a segment of half of [`max_log_bytes`](Self::max_log_bytes) holds besides the longest checkpoint and most streams.
    pub max_record_bytes: u64,
    /// Most bytes that the segment files may take, the one made ahead included. Default none. At least two
    /// segments; beyond it appends are refused with [`Reject::QuotaExceeded`](crate::Reject::QuotaExceeded)
    /// until [`truncate_before`](crate::Wal::truncate_before) makes room, which may itself exceed it by one
    /// segment: the one it needs to give others back.
    pub max_log_bytes: Option<u64>,
    /// Most segment files that are kept, besides the one made ahead, when a truncation gives them back: to be used again
    /// without being filled with zeros. Default 4; 0 keeps none. Only whole files of [`segment_bytes`](Self::segment_bytes)
    /// are kept, and only within [`max_log_bytes`](Self::max_log_bytes); they are given up before anything is refused for
    /// want of their bytes. On a full disk they are what the log goes on with.
    pub max_spare_segments: usize,
    /// Bytes of the file system that the log leaves free: a file that would take of them is not made, and what needs it
    /// is refused with [`Reject::NoSpace`](crate::Reject::NoSpace) until there is more. Default 0.
    pub min_free_bytes: u64,
    /// Most bytes of records that may be on their way, each append that waits with the 256 bytes more that it takes in
    /// memory; what they take there is at most a quarter more. Default 16 MiB. Beyond it appends are refused with
    /// [`Reject::Backpressure`](crate::Reject::Backpressure), but for those of
    /// [`Durability::Buffered`](crate::Durability::Buffered), which write, or wait; one record larger than this is
    /// taken when nothing else is on its way.
    pub max_inflight_bytes: u64,
    /// Bytes that a write may damage around it when the power goes: a power of two from 512 to 4096, or 0, the default, if
    /// none. What was synced then ends at a multiple of it, behind which the next write begins, so that it touches nothing
    /// that is durable; but an opening after a crash writes the last group again. It costs one more write with every sync and half of it on disk. Of segments made from now on, which
    /// must be eight times as long and 4 KiB.
    pub commit_align: u32,
    /// What an append waits for that does not say, and when all else is synced. Default [`SyncPolicy::Always`].
    pub sync: SyncPolicy,
    /// Whether whoever is about to sync waits for those whom the last sync served, beside those who had come meanwhile,
    /// as long as they come and for at most as long as a sync takes: many writers then share every sync, and not every
    /// other. Where they do not come back that is a sixteenth of it for each sync, and 20 µs at least. Default true. It
    /// costs nothing where one writes, or where a sync takes less than 100 µs.
    pub gather: bool,
    /// What to do with bytes behind the last whole group. Default [`RepairPolicy::TruncateTail`].
    pub repair: RepairPolicy,
    /// Whether the bytes that a repair cuts off are first copied to `quarantine/` in the log's directory.
    /// Default true. Each opening that cuts adds a file, which counts in no limit, and the log removes none: whoever runs
    /// it looks at them, and may remove any at any time, also while the log is open.
    /// `walctl stat` says how much there is.
    pub quarantine: bool,
    /// What is done to bodies of frames of 512 bytes and more, where it makes them smaller by an eighth: many small
    /// records that are written together share a frame. Default [`Compression::None`]. Counts for segments made from now
    /// on; takes the memory of what is written once more. Readers hold a body as it was, besides what they read.
    pub compression: Compression,
    /// Guards segments made from now on. Default CRC-32/IEEE.
    pub checksum: Checksum,
    /// What the log is called, in the header of every segment that is made from now on: opening one that is called
    /// otherwise is refused with [`OpenError::AnotherLog`](crate::OpenError::AnotherLog). Default `None`: whatever it is
    /// called, it goes on to be. A log without a label takes one.
    pub label: Option<Label>,
    /// Where salts and the log's identity come from. Default `None`: from the process's random state. Give a
    /// seed where a run must be repeatable, and nowhere else: two logs of one seed share their identity.
    pub salt_seed: Option<u64>,
    /// Clocks, for statistics and the date in segment headers. Default the system's.
    pub time: Time,
}

/// How bodies of frames are compressed. A build without the feature has not got the codec, and refuses a log that needs
/// it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// Snappy: little work, for text about half.
    #[cfg(feature = "snappy")]
    Snappy,
    /// Zstandard: smaller, and more work.
    #[cfg(feature = "zstd")]
    Zstd {
        /// From 1, the fastest, to 19.
        level: u8,
    },
}

/// What to do when the last segment does not end cleanly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum RepairPolicy {
    /// Refuse to open, and say where and how much: somebody wants to look first.
    Fail,
    /// Cut off what no sync had confirmed: the answer to those appends never was `Ok`. Damage anywhere else
    /// still refuses to open.
    #[default]
    TruncateTail,
    /// Cut off all records from the first damage on, also those that are whole: what is left is what the log once was.
    /// The numbers of the lost records are not given again, as far as the log still knows them. A checkpoint may speak of
    /// records that are cut off.
    TruncateAt,
    /// Keep every record that is whole, wherever it lies, but for those behind a gap that no sync is proven to have
    /// reached: that is a torn tail. The numbers of the lost ones, as far as the log still knows them, are not given again,
    /// and [`RecoveryReport::lost`](crate::RecoveryReport::lost) lists them.
    ///
    /// Either keeps the newest checkpoint that is whole, and what is known of each stream, wherever it lies. A stream that
    /// has records and whose name is lost is called `lost-` and its [id](crate::Stream::id) from then on, and
    /// so may one be that was dropped, where the log has more than 4,096 of those. What a later
    /// version wrote for its own repairs to know is refused as [`OpenError::Unsupported`](crate::OpenError::Unsupported),
    /// and nothing is changed.
    Salvage,
}

/// The two clocks of a log. Nothing that is written to disk depends on them, but for a date nobody reads back.
#[derive(Clone)]
pub struct Time {
    monotonic_ns: Arc<dyn Fn() -> u64 + Send + Sync>,
    unix_ns: Arc<dyn Fn() -> i64 + Send + Sync>,
}

impl Time {
    /// Clocks of the caller's: monotonic nanoseconds since any origin, and wall time in nanoseconds since 1970.
    pub fn new(
        monotonic_ns: impl Fn() -> u64 + Send + Sync + 'static,
        unix_ns: impl Fn() -> i64 + Send + Sync + 'static,
    ) -> Self {
        Self { monotonic_ns: Arc::new(monotonic_ns), unix_ns: Arc::new(unix_ns) }
    }

    /// Both clocks stand at zero.
    pub fn frozen() -> Self {
        Self::new(|| 0, || 0)
    }

    /// The system's clocks.
    #[expect(clippy::disallowed_methods, reason = "the edge of the crate: the default of an injected clock")]
    pub fn system() -> Self {
        use std::time::{Instant, SystemTime, UNIX_EPOCH};
        let origin = Instant::now();
        Self::new(
            move || u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX),
            || {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
            },
        )
    }

    pub(crate) fn monotonic_ns(&self) -> u64 {
        (self.monotonic_ns)()
    }

    pub(crate) fn unix_ns(&self) -> i64 {
        (self.unix_ns)()
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Time").finish_non_exhaustive()
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            max_frame: 1 << 20,
            max_record_bytes: 64 << 20,
            max_log_bytes: None,
            max_spare_segments: 4,
            min_free_bytes: 0,
            max_inflight_bytes: 16 << 20,
            commit_align: 0,
            sync: SyncPolicy::default(),
            gather: true,
            repair: RepairPolicy::default(),
            quarantine: true,
            compression: Compression::default(),
            checksum: Checksum::default(),
            label: None,
            salt_seed: None,
            time: Time::system(),
        }
    }
}

impl Options {
    /// Rounds what may be rounded and refuses the rest.
    pub(crate) fn checked(mut self) -> Result<Self, InvalidOption> {
        self.segment_bytes = within("segment_bytes", self.segment_bytes, 2 * HEADER_LEN, MAX_SEGMENT)?
            .next_multiple_of(HEADER_LEN);
        if self.commit_align != 0 {
            let align = u64::from(self.commit_align);
            within("commit_align", align, 512, HEADER_LEN)?;
            // The next power of two is the least that it could be.
            within("commit_align", align, align.next_power_of_two(), HEADER_LEN)?;
            within("segment_bytes", self.segment_bytes, HEADER_LEN + 8 * align, MAX_SEGMENT)?;
        }
        within("max_frame", u64::from(self.max_frame), 512, u64::from(MAX_FRAME))?;
        self.max_frame = self.max_frame.next_multiple_of(8);
        within("max_record_bytes", self.max_record_bytes, 1, MAX_RECORD)?;
        #[cfg(feature = "zstd")]
        if let Compression::Zstd { level } = self.compression {
            within("compression.level", level.into(), 1, 19)?;
        }
        if let Some(limit) = self.max_log_bytes {
            within("max_log_bytes", limit, 2 * self.segment_bytes, u64::MAX)?;
            // The segment being written stays until its successor is there, so two of any size must fit, each with a
            // copy of the checkpoint and all streams.
            let carried = longest_copy(self.segment_bytes) + most_streams(self.segment_bytes);
            let longest = longest_body(limit / 2, (carried, self.commit_align), self.max_frame);
            self.max_record_bytes = self.max_record_bytes.min(longest);
        }
        Ok(self)
    }
}

fn within(option: &'static str, value: u64, min: u64, max: u64) -> Result<u64, InvalidOption> {
    if (min..=max).contains(&value) { Ok(value) } else { Err(InvalidOption { option, value, min, max }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        Options::default().checked().unwrap();
    }

    #[test]
    fn a_wrong_value_is_named_with_its_bounds() {
        let options = Options { segment_bytes: 4096, ..Options::default() };
        let error = options.checked().unwrap_err();
        assert_eq!(error.to_string(), "segment_bytes is 4096, must be 8192 to 17179869184");
        let options = Options { max_log_bytes: Some(64 << 20), ..Options::default() };
        assert_eq!(options.checked().unwrap_err().option, "max_log_bytes");
        #[cfg(feature = "zstd")]
        for (level, fits) in [(0, false), (1, true), (19, true), (20, false)] {
            let options = Options { compression: Compression::Zstd { level }, ..Options::default() };
            assert_eq!(options.checked().is_ok(), fits);
        }
        for (commit_align, option) in [(256, "commit_align"), (768, "commit_align"), (4096, "segment_bytes")]
        {
            let options = Options { commit_align, segment_bytes: 8192, ..Options::default() };
            assert_eq!(options.checked().unwrap_err().option, option);
        }
    }

    #[test]
    fn sizes_are_rounded_up() {
        let options = Options { segment_bytes: 8193, max_frame: 513, ..Options::default() };
        let options = options.checked().unwrap();
        assert_eq!((options.segment_bytes, options.max_frame), (12_288, 520));
    }
}
