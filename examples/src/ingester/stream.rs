//! One stream in memory: the chunk being built, and the chunks on their way to the store.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use forebay_chunk::loki::fingerprint;
use forebay_chunk::{
    Append, Builder, BuilderOptions, ChunkState, EncodedBlock, Entry, FlushDemand, FlushPolicy, FlushReason,
    PendingBlock, Snapshot, TimeRange,
};
use forebay_tracing_ctx::random_u64;
use forebay_wal::Lsn;
use parking_lot::Mutex;

use super::Options;
use super::account::{Account, Read, Readers};
use crate::labels::Labels;
use crate::record::Section;
use crate::tally::{Tally, Tallying};
use crate::wire::Piece;

/// A stream of one tenant.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) tenant: Arc<str>,
    pub(super) labels: Labels,
    /// By Loki's rule.
    fingerprint: u64,
    /// Records that are about to be applied; keeps the stream from being forgotten.
    expected: AtomicUsize,
    state: Mutex<State>,
}

/// A stream that waits for a record.
#[derive(Debug)]
pub(super) struct Expected(Arc<Stream>);

impl Drop for Expected {
    fn drop(&mut self) {
        // Whoever finds none finds what they left.
        self.0.expected.fetch_sub(1, Ordering::Release);
    }
}

impl Deref for Expected {
    type Target = Arc<Stream>;

    fn deref(&self) -> &Arc<Stream> {
        &self.0
    }
}

#[derive(Debug, Default)]
struct State {
    open: Option<Open>,
    leaving: Vec<Arc<Leaving>>,
    /// Whether somebody was told to compress the blocks of this stream, and has not done all.
    compressing: bool,
    appended_ns: u64,
    /// The newest time of an entry, whatever chunk it is in.
    highest_ns: Option<i64>,
}

/// The chunk that takes entries.
#[derive(Debug)]
struct Open {
    builder: Builder,
    /// To be compressed; gone with the chunk if it is closed before, since then it is compressed as a whole.
    full: VecDeque<PendingBlock>,
    first_lsn: Lsn,
    opened_ns: u64,
    memory: usize,
    readers: Arc<Readers>,
    id: u64,
    tallying: Tallying,
}

/// A chunk on its way to the store, readable until it is found there.
#[derive(Debug)]
pub(super) struct Leaving {
    snapshot: Snapshot,
    volume: Volume,
    first_lsn: Lsn,
    memory: usize,
    readers: Arc<Readers>,
    tally: Option<Tally>,
}

/// How much there is of a stream.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Volume {
    pub(super) chunks: u64,
    pub(super) entries: u64,
    pub(super) bytes: u64,
}

/// A chunk that was closed: what to write, and what to let go of when that is done.
#[derive(Debug)]
pub(super) struct Closed {
    pub(super) builder: Builder,
    pub(super) leaving: Arc<Leaving>,
    pub(super) reason: FlushReason,
    /// Bytes in memory that were not accounted for yet.
    pub(super) memory: isize,
}

/// What applying a section led to.
#[derive(Debug, Default)]
pub(super) struct Applied {
    /// Change of the bytes in memory.
    pub(super) memory: isize,
    /// Entries of the section, by their place, that the chunk had already.
    pub(super) repeats: Vec<u32>,
    /// Chunks that were closed on the way.
    pub(super) closed: Vec<Closed>,
    /// Whether there are blocks to be compressed that nobody was told of.
    pub(super) blocks: bool,
}

impl Stream {
    pub(super) fn new(tenant: Arc<str>, labels: Labels, now_ns: u64) -> Self {
        let fingerprint = fingerprint(&labels.pairs());
        let state = Mutex::new(State { appended_ns: now_ns, ..State::default() });
        Self { tenant, labels, fingerprint, expected: AtomicUsize::new(0), state }
    }

    /// Announces a record: the stream is not forgotten while the announcement lives. To be called where nobody can be
    /// about to forget it.
    pub(super) fn expect(self: &Arc<Self>) -> Expected {
        self.expected.fetch_add(1, Ordering::Relaxed);
        Expected(Arc::clone(self))
    }

    /// Appends the entries of `section`, which the log holds at `lsn`.
    pub(super) fn apply(&self, section: &Section<'_>, lsn: Lsn, options: &Options, now_ns: u64) -> Applied {
        let mut applied = Applied::default();
        let mut state = self.state.lock();
        state.appended_ns = now_ns;
        for (number, entry) in (0..).zip(section.entries()) {
            let entry = Entry::new(entry.timestamp_ns, entry.line).with_metadata(entry.metadata.as_slice());
            if let Some(reason) = state.ends_before(&entry, &options.flush, self.fingerprint) {
                applied.closed.extend(state.close(reason));
            }
            if state.append(entry, lsn, &options.chunks, now_ns, &mut applied) == Append::Duplicate {
                applied.repeats.push(number);
            }
            state.highest_ns = state.highest_ns.max(Some(entry.timestamp_ns));
        }
        let mut full = false;
        if let Some(open) = &mut state.open {
            while let Some(block) = open.builder.take_full() {
                open.full.push_back(block);
            }
            full = !open.full.is_empty();
            applied.memory += open.measure();
        }
        applied.blocks = full && !state.compressing;
        state.compressing |= full;
        applied
    }

    /// The next block to compress; after the last, whoever applies the next one tells.
    pub(super) fn next_block(&self) -> Option<PendingBlock> {
        let mut state = self.state.lock();
        let block = state.open.as_mut().and_then(|open| open.full.pop_front());
        state.compressing = block.is_some();
        block
    }

    /// Puts a compressed block in its place; the change of the bytes in memory.
    pub(super) fn attach(&self, block: EncodedBlock) -> isize {
        let mut state = self.state.lock();
        let Some(open) = &mut state.open else { return 0 };
        let size = block.size_bytes();
        if !open.builder.attach(block) {
            return 0;
        }
        let change = open.measure();
        let plain = size.saturating_add_signed(change.saturating_neg());
        change + open.readers.dropped(plain)
    }

    /// Closes the chunk where `policy` says so, or `demand` asks for it: of that, what the chunk needs of the log is
    /// filled in here.
    pub(super) fn close_due(&self, policy: &FlushPolicy, demand: FlushDemand, now_ns: u64) -> Option<Closed> {
        let mut state = self.state.lock();
        let open = state.open.as_ref()?;
        // One that took nothing goes, too: it keeps the log from being truncated.
        let (min_ns, max_ns) = open.builder.bounds().unwrap_or_default();
        let chunk = ChunkState {
            size_bytes: open.builder.estimated_bytes() as u64,
            min_ns,
            max_ns,
            opened_ns: open.opened_ns,
            appended_ns: state.appended_ns,
        };
        let demand = FlushDemand { first_needed: Some(open.first_lsn.0), ..demand };
        let reason = policy.evaluate_with(&chunk, &demand, now_ns)?;
        state.close(reason)
    }

    /// Closes the chunk, whatever it holds.
    pub(super) fn close(&self, reason: FlushReason) -> Option<Closed> {
        self.state.lock().close(reason)
    }

    /// Lets go of a chunk that is stored and indexed; the change of the bytes in memory, of which readers may hold some.
    pub(super) fn forget(&self, leaving: &Arc<Leaving>) -> isize {
        self.state.lock().leaving.retain(|other| !Arc::ptr_eq(other, leaving));
        leaving.readers.left() - leaving.memory.cast_signed()
    }

    /// The first record of the log that the stream still needs.
    pub(super) fn first_lsn(&self) -> Option<Lsn> {
        let state = self.state.lock();
        let open = state.open.iter().map(|open| open.first_lsn);
        open.chain(state.leaving.iter().map(|leaving| leaving.first_lsn)).min()
    }

    /// The bytes in memory of the open chunk, if there is one.
    pub(super) fn open_bytes(&self) -> Option<usize> {
        self.state.lock().open.as_ref().map(|open| open.memory)
    }

    /// Whether there is an open chunk, and nothing came to it since `before_ns`.
    pub(super) fn is_quiet(&self, before_ns: u64) -> bool {
        let state = self.state.lock();
        let expected = self.expected.load(Ordering::Acquire);
        state.open.is_some() && expected == 0 && state.appended_ns <= before_ns
    }

    /// Whether nothing is held or expected and nothing came since `idle_before_ns`.
    pub(super) fn is_idle(&self, idle_before_ns: u64) -> bool {
        // First: what was applied before an announcement went is seen below.
        let expected = self.expected.load(Ordering::Acquire);
        let state = self.state.lock();
        state.open.is_none()
            && state.leaving.is_empty()
            && expected == 0
            && state.appended_ns <= idle_before_ns
    }

    /// What can be read of `range`: chunks on their way out, then the open one. What is held of it when they are gone
    /// stays in `account`.
    pub(super) fn snapshots(&self, range: TimeRange, account: &Arc<Account>) -> Vec<Read> {
        let state = self.state.lock();
        let leaving =
            state.leaving.iter().map(|leaving| leaving.readers.enter(leaving.snapshot.clone(), account));
        let open = state.open.iter().map(|open| open.readers.enter(open.builder.snapshot(range), account));
        leaving.chain(open).collect()
    }

    /// How much its chunks that may have entries in `range` hold.
    pub(super) fn volume(&self, range: TimeRange) -> Volume {
        let within = |bounds: Option<(i64, i64)>| bounds.is_some_and(|(min, max)| range.overlaps(min, max));
        let state = self.state.lock();
        let open = state.open.iter().filter(|open| within(open.builder.bounds()));
        let leaving = state.leaving.iter().filter(|leaving| within(leaving.snapshot.bounds()));
        let all = open.map(|open| Volume::of(&open.builder)).chain(leaving.map(|leaving| leaving.volume));
        all.fold(Volume::default(), |sum, one| Volume {
            chunks: sum.chunks + one.chunks,
            entries: sum.entries + one.entries,
            bytes: sum.bytes + one.bytes,
        })
    }

    /// The chunks that may have entries in `range`, by what is known of them without reading.
    pub(super) fn pieces(&self, range: TimeRange) -> Vec<Piece> {
        let state = self.state.lock();
        let leaving = state.leaving.iter().map(|leaving| (leaving.snapshot.bounds(), leaving.tally.clone()));
        let open = state.open.iter().map(|open| (open.builder.bounds(), open.tally()));
        let all = leaving.chain(open).filter_map(|(bounds, tally)| Some((bounds?, tally)));
        let within = all.filter(|((min, max), _)| range.overlaps(*min, *max));
        within.map(|((from_ns, through_ns), tally)| Piece::new(from_ns, through_ns, tally.as_ref())).collect()
    }

    /// Whether any entry may lie in `range`.
    pub(super) fn overlaps(&self, range: TimeRange) -> bool {
        let state = self.state.lock();
        let open = state.open.iter().filter_map(|open| open.builder.bounds());
        let leaving = state.leaving.iter().filter_map(|leaving| leaving.snapshot.bounds());
        open.chain(leaving).any(|(min, max)| range.overlaps(min, max))
    }
}

impl Leaving {
    /// Its lines by seconds, where none may be there twice.
    pub(super) fn tally(&self) -> Option<&Tally> {
        self.tally.as_ref()
    }
}

impl Volume {
    fn of(builder: &Builder) -> Self {
        Self { chunks: 1, entries: builder.entries(), bytes: builder.raw_bytes() }
    }
}

impl State {
    /// Why the open chunk does not take `entry`, if it does not.
    fn ends_before(&self, entry: &Entry<'_>, policy: &FlushPolicy, fingerprint: u64) -> Option<FlushReason> {
        let (open, highest_ns) = (self.open.as_ref()?, self.highest_ns?);
        if !open.builder.space_for(entry) {
            return Some(FlushReason::Full);
        }
        let utilization = open.builder.utilization();
        let is_bound = policy.should_sync_cut(entry.timestamp_ns, highest_ns, fingerprint, utilization);
        is_bound.then_some(FlushReason::Synced)
    }

    fn append(
        &mut self,
        entry: Entry<'_>,
        lsn: Lsn,
        options: &BuilderOptions,
        now_ns: u64,
        applied: &mut Applied,
    ) -> Append {
        let open = self.open.get_or_insert_with(|| Open::new(options, lsn, now_ns));
        open.first_lsn = open.first_lsn.min(lsn);
        let stored = open.builder.append(entry).unwrap_or_else(|_| {
            // The entry does not fit this chunk (too many symbols, say): it opens the next one, where it fits
            // since validation bounds each line.
            applied.closed.extend(self.close(FlushReason::Full));
            let mut open = Open::new(options, lsn, now_ns);
            if let Err(e) = open.builder.append(entry) {
                tracing::error!(error = %e, "an entry fits no chunk and is lost");
            }
            self.open = Some(open);
            Append::Stored
        });
        if let (Append::Stored, Some(open)) = (stored, &mut self.open) {
            open.tallying.add(entry.timestamp_ns, entry.line.len());
        }
        stored
    }

    fn close(&mut self, reason: FlushReason) -> Option<Closed> {
        let mut open = self.open.take()?;
        let change = open.measure();
        let tally = open.tally();
        let Open { builder, first_lsn, memory, readers, .. } = open;
        let (snapshot, volume) = (builder.snapshot(..), Volume::of(&builder));
        let leaving = Arc::new(Leaving { snapshot, volume, first_lsn, memory, readers, tally });
        self.leaving.push(Arc::clone(&leaving));
        Some(Closed { builder, leaving, reason, memory: change })
    }
}

impl Open {
    fn new(options: &BuilderOptions, first_lsn: Lsn, opened_ns: u64) -> Self {
        let builder =
            Builder::new(*options).expect("the options were checked when the pipeline was configured");
        Self {
            builder,
            full: VecDeque::new(),
            first_lsn,
            opened_ns,
            memory: 0,
            readers: Arc::default(),
            id: random_u64(),
            tallying: Tallying::default(),
        }
    }

    /// The lines by seconds, where none may be there twice.
    fn tally(&self) -> Option<Tally> {
        if self.builder.may_repeat() { None } else { self.tallying.tally(self.id, self.builder.entries()) }
    }

    /// Brings `memory` up to date; the change.
    fn measure(&mut self) -> isize {
        let now = self.builder.memory_bytes();
        let change = now.cast_signed() - self.memory.cast_signed();
        self.memory = now;
        change
    }
}
