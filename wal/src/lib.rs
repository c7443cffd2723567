//! A segmented write-ahead log: appended, synced, replayed.
//!
//! An ingester that answers "accepted" before its data is somewhere safe loses it with the next power cut. This
//! crate is the somewhere: [`Wal::append`] returns when the record is on the media, many callers share one sync,
//! and after a crash [`Wal::reader`] gives back every record that was acknowledged, or opening fails and says
//! which are damaged. It never guesses: a torn tail and rotten bytes are told apart by proof that is in the file.
//!
//! Many logs in one: [`Wal::stream`] names a stream, whose records share segments, numbers and syncs with all others and
//! which has a low watermark of its own.
//!
//! What it does not do: replicate, index, or decide what to keep. It does not bring damaged records back, and it does
//! not keep records in memory.
//!
//! ```
//! use forebay_wal::{Durability, Event, Lsn, Options, Wal};
//!
//! # let scratch = tempfile::tempdir()?;
//! # let dir = scratch.path().join("wal");
//! let (wal, report) = Wal::open(&dir, Options::default())?;
//! assert!(report.clean);
//!
//! let first = wal.append("one line")?; // durable from here on
//! wal.append_batch(["both", "or none"])?;
//! let last = wal.append_with("in a hurry", Durability::Buffered)?;
//! wal.sync()?; // and that one too
//!
//! for record in wal.reader(Lsn::FIRST) {
//!     let record = record?;
//!     println!("{} {:?}", record.lsn, record.bytes);
//! }
//!
//! let mut tail = wal.tail(last, Durability::Synced);
//! let follower = std::thread::spawn(move || {
//!     loop {
//!         match tail.next() {
//!             Ok(Event::Record(record)) => println!("{} {:?}", record.lsn, record.bytes),
//!             Ok(Event::Closed) | Err(_) => break,
//!             Ok(_) => {} // the log goes on in another segment, or what was not seen yet is gone
//!         }
//!     }
//! });
//!
//! wal.truncate_before(first.next())?; // what is stored elsewhere may go, by whole segments
//! wal.close()?;
//! # follower.join().map_err(|_| "panicked")?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Guarantees
//!
//! They rest on the assumptions A1 to A6 in [FORMAT.md](mod@format), and each names the test that would fail
//! without it.
//!
//! - **G1** `Ok(lsn)`: after any crash every record up to `lsn`, from the low watermark on, is read back, or an error
//!   names the damaged range ([`tests/sim/crash.rs`], [`tests/sim/golden.rs`]).
//! - **G2** What is read back is one contiguous run of LSNs, but for numbers that were rejected in front of ones that
//!   somebody had been told ([`tests/sim/crash.rs`], [`tests/sim/model.rs`], [`tests/sim/levels.rs`]). Where a repair
//!   was asked for that leaves gaps, [`RecoveryReport::lost`] lists each ([`tests/sim/repair.rs`]).
//! - **G3** [`AppendError::Rejected`]: the records never appear. [`AppendError::Indeterminate`]: once or not at all
//!   ([`tests/sim/faults.rs`], [`tests/sim/levels.rs`]).
//! - **G4** A batch appears whole or not at all ([`tests/sim/crash.rs`]).
//! - **G5** [`Durability::Written`] survives the death of the process and not a power cut, [`Durability::Buffered`]
//!   neither; either way an unbroken beginning of the log is left ([`tests/sim/levels.rs`]).
//! - **G6** [`SyncPolicy::Interval`]: a power cut loses no record that was acknowledged an interval and one sync
//!   before, also where nothing came behind it, and also while a segment is made: then what 256 KiB of zeros take comes
//!   to that ([`tests/sim/policy.rs`], `src/keeper.rs`).
//! - **G7** The first failed sync ends all writing until the log is reopened; nothing is called durable after it
//!   ([`tests/sim/faults.rs`]).
//! - **G8** Reopened after that, the log does not trust the page cache: what no later frame proves to have been synced
//!   is written and synced again ([`tests/sim/faults.rs`]).
//! - **G9** Only bytes that no sync had confirmed are cut off; all else that is not whole refuses to open
//!   ([`tests/sim/golden.rs`], [`tests/sim/repair.rs`], [`tests/sim/mend.rs`]), unless [`RepairPolicy`] says what to do
//!   with it.
//! - **G10** Repair is idempotent, may itself be interrupted anywhere, and keeps what it cuts in `quarantine/`, of a
//!   log with whatever this version writes ([`tests/sim/crash.rs`], [`tests/sim/repair.rs`],
//!   [`tests/sim/repair_features.rs`], [`tests/sim/mend.rs`], [`tests/sim/double_faults.rs`]). Looking at a log with
//!   [`View`] or [`verify`] writes nothing ([`tests/sim/view.rs`]).
//! - **G11** After [`Wal::truncate_before`] records below the watermark it returned never come back, and no other is
//!   removed ([`tests/sim/truncate.rs`], [`tests/sim/crash.rs`]), unless the watermark itself is damaged and repaired;
//!   where there are streams, when each has passed it or was dropped ([`tests/sim/streams.rs`],
//!   [`tests/sim/dropped.rs`]).
//! - **G12** On a full disk appends are refused, while opening, reading, truncating and checkpoints work, for which
//!   room is kept; appends resume by themselves, also in the files that truncations gave back ([`tests/sim/faults.rs`],
//!   [`tests/sim/recycle.rs`], [`tests/sim/checkpoint.rs`], [`tests/sim/full.rs`]).
//! - **G13** One opener at a time, in all processes ([`tests/sim/append.rs`]).
//! - **G14** A [`Tail`] sees each record once, in order, whole, and not before it is as safe as asked for; rotation,
//!   and truncation of what it has not seen, are events. It is woken when there is news for it and not otherwise
//!   ([`tests/sim/tail.rs`], [`tests/sim/tasks.rs`], [`tests/loom.rs`]).
//! - **G15** Any bytes on disk: no panic, no endless loop, no allocation beyond what the file holds, or what its bytes
//!   can be unpacked to ([`tests/sim/golden.rs`], [`tests/sim/exhaustive.rs`], [`tests/sim/forged.rs`],
//!   [`tests/sim/codec.rs`]). What has the name of a file and is none is an error, and not waited for
//!   ([`tests/kernel.rs`]).
//! - **G16** Dropping an append future neither loses nor duplicates a record and blocks nobody
//!   ([`tests/sim/append.rs`]). No task waits for the disk, nor for whoever does, also where it drops the last handle
//!   ([`tests/sim/tasks.rs`]).
//! - **G17** Logs of every format version ever written stay readable ([`tests/sim/golden.rs`],
//!   [`tests/sim/features.rs`]). One that needs a later version is refused and left as it is to the byte
//!   ([`tests/sim/features.rs`]), and so is one that needs a codec which this build has not got
//!   ([`tests/sim/codec.rs`]).
//! - **G18** Memory is bounded by what may wait to be written, by the buffers for it, which keep up to four frames each,
//!   and for each [`Reader`] and [`Tail`] by what it reads at once, 64 KiB or one frame, that frame's body as it was before compression, and the fragments of one record
//!   ([`tests/memory.rs`], [`tests/allocations.rs`]).
//!
//! # Limits
//!
//! Record or batch 64 MiB ([`Options::max_record_bytes`], at most 256 MiB); segment 8 KiB to 16 GiB; 2⁶² records.
//! Memory: [`Options::max_inflight_bytes`] for records that wait; two buffers for writing, four where bodies are
//! compressed, that keep up to four times [`Options::max_frame`] each; and 64 KiB or one frame, besides the fragments of
//! one record and a body brought back from compression, per reader or tail. A lone record of 64 bytes takes 104 on disk,
//! in a group of 100 about 65. Opening reads the whole log once, and twice where its lock file is not there; an append
//! costs one write and one sync, shared by all that wait, or less where it asks for less: see [`Durability`] and
//! [`SyncPolicy`]. What repairs keep in `quarantine/` is in no limit, and stays until somebody removes it: see
//! [`Options::quarantine`]. Unix only.
//!
//! # Time, disk and chance
//!
//! [`Options::time`] takes clocks and [`Options::salt_seed`] the seed of salts; [`Wal::open_in`] takes any
//! [`fs::Fs`] and starts no thread. `fs::sim::SimFs` (feature `sim`) is a disk that crashes on request,
//! `fs::conformance` (feature `conformance`) checks a file system of your own.
//!
//! # Features
//!
//! - `tokio`: `aio::AsyncWal`, futures for appends and one committing thread per log; `aio::Stream`, its named streams;
//!   `aio::Tail`, a stream of what comes.
//! - `snappy`, `zstd`: [`Options::compression`].
//! - `sim`: the deterministic disk.
//! - `conformance`: the suite for implementations of [`fs::Fs`].
//! - `cli`: the program `walctl`, which inspects, verifies, counts, dumps, repairs and truncates logs on disk; `walctl --help`.
//!
//! [`tests/allocations.rs`]: https://docs.rs/crate/forebay-wal/latest/source/tests/allocations.rs
//! [`tests/kernel.rs`]: https://docs.rs/crate/forebay-wal/latest/source/tests/kernel.rs
//! [`tests/loom.rs`]: https://docs.rs/crate/forebay-wal/latest/source/tests/loom.rs
//! [`tests/memory.rs`]: https://docs.rs/crate/forebay-wal/latest/source/tests/memory.rs
//! [`tests/sim/append.rs`]: https://docs.rs/crate/forebay-wal/latest/source/tests/sim/append.rs
//! [`tests/sim/checkpoint.rs`]: https://docs.rs/crate/forebay-wal/latest/source/tests/sim/checkpoint.rs
//! [`tests/sim/codec.rs`]: https://docs.rs/crate/forebay-wal/latest/source/tests/sim/codec.rs
//! [`tests/sim/crash.rs`]: https://docs.rs/crate/forebay-wal/latest/source/tests/sim/crash.rs
//! [`tests/sim/double_faults.rs`]: https://docs.rs/crate/forebay-wal/latest/source/tests/sim/double_faults.rs
//! [`tests/sim/dropped.rs`]: https://docs.rs/crate/forebay-wal/latest/source/tests/sim/dropped.rs
//! [`tests/sim/exhaustive.rs`]: https://docs.rs/crate/forebay-wal/latest/source/tests/sim/exhaustive.rs
//! [`tests/sim/faults.rs`]: https://docs.rs/crate/forebay-wal/latest/source/tests/sim/faults.rs
//! [`tests/sim/features.rs`]: https://docs.rs/crate/forebay-wal/latest/source/tests/sim/features.rs
//! [`tests/sim/forged.rs`]: https://docs.rs/crate/forebay-wal/latest/source/tests/sim/forged.rs
//! [`tests/sim/full.rs`]: https://docs.rs/crate/forebay-wal/latest/source/tests/sim/full.rs
//! [`tests/sim/golden.rs`]: https://docs.rs/crate/forebay-wal/latest/source/tests/sim/golden.rs
//! [`tests/sim/levels.rs`]: https://docs.rs/crate/forebay-wal/latest/source/tests/sim/levels.rs
//! [`tests/sim/mend.rs`]: https://docs.rs/crate/forebay-wal/latest/source/tests/sim/mend.rs
//! [`tests/sim/model.rs`]: https://docs.rs/crate/forebay-wal/latest/source/tests/sim/model.rs
//! [`tests/sim/policy.rs`]: https://docs.rs/crate/forebay-wal/latest/source/tests/sim/policy.rs
//! [`tests/sim/recycle.rs`]: https://docs.rs/crate/forebay-wal/latest/source/tests/sim/recycle.rs
//! [`tests/sim/repair.rs`]: https://docs.rs/crate/forebay-wal/latest/source/tests/sim/repair.rs
//! [`tests/sim/repair_features.rs`]: https://docs.rs/crate/forebay-wal/latest/source/tests/sim/repair_features.rs
//! [`tests/sim/streams.rs`]: https://docs.rs/crate/forebay-wal/latest/source/tests/sim/streams.rs
//! [`tests/sim/tail.rs`]: https://docs.rs/crate/forebay-wal/latest/source/tests/sim/tail.rs
//! [`tests/sim/tasks.rs`]: https://docs.rs/crate/forebay-wal/latest/source/tests/sim/tasks.rs
//! [`tests/sim/truncate.rs`]: https://docs.rs/crate/forebay-wal/latest/source/tests/sim/truncate.rs
//! [`tests/sim/view.rs`]: https://docs.rs/crate/forebay-wal/latest/source/tests/sim/view.rs

mod adopt;
#[cfg(feature = "tokio")]
pub mod aio;
mod anew;
mod answers;
mod append;
mod carried;
mod carry;
mod checkpoint;
mod codec;
mod commit;
mod compressed;
mod confirm;
mod control;
mod counter;
mod cursor;
mod damage;
mod define;
mod directory;
mod durability;
mod ends;
mod error;
mod features;
mod follow;
pub mod format;
mod frame;
mod frames;
pub mod fs;
mod gather;
mod header;
mod holes;
mod home;
mod intake;
mod keeper;
mod label;
mod lasts;
mod lead;
mod leader;
mod log;
mod lsn;
mod make;
mod mend;
mod options;
mod orphans;
mod parker;
mod payload;
mod pieces;
mod pins;
mod policy;
mod pool;
mod progress;
mod quarantine;
mod reader;
mod record;
mod recovery;
mod repair;
mod replace;
mod report;
mod request;
mod reserve;
mod residue;
mod scan;
mod segment;
mod source;
mod stats;
mod stream;
mod stretch;
mod survey;
mod sync;
mod tail;
mod times;
mod truncate;
mod unlock;
mod unproven;
mod view;
mod window;
mod writer;

pub use durability::Durability;
pub use error::{
    AppendError, Damage, DamageClass, Failure, InvalidOption, OpenError, Pinned, ReadError, Reject, Torn,
};
pub use lsn::{Lsn, Watermarks};
pub use options::{Compression, Options, RepairPolicy, Time};
pub use payload::Payload;
pub use pins::Pin;
pub use policy::SyncPolicy;
pub use reader::{Reader, Record, RecordRef};
pub use report::RecoveryReport;
pub use stats::{Corruptions, Rejections, Stats};
pub use stream::Stream;
pub use tail::{Event, Tail};
pub use truncate::{Truncated, Usage};
pub use view::{View, verify, verify_in};
pub use writer::Wal;
