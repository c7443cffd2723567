//! A log on a simulated disk beside a ledger of what it has promised.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod damage;
pub(crate) mod forge;
pub(crate) mod looks;
pub(crate) mod watched;

use std::collections::{BTreeMap, BTreeSet};

use forebay_wal::fs::Fs;
use forebay_wal::fs::sim::{Op, SimFs};
use forebay_wal::{AppendError, Durability, Lsn, OpenError, Options, ReadError, RecoveryReport, Time, Wal};

pub(crate) const DIR: &str = "/log";

/// Where a segment of the log lies.
pub(crate) fn path(segment: u64) -> String {
    format!("{DIR}/wal-{segment:016x}.seg")
}

/// Small segments and frames, so that a few records rotate and fragment.
pub(crate) fn options() -> Options {
    Options {
        segment_bytes: 8192,
        max_frame: 512,
        salt_seed: Some(42),
        time: Time::frozen(),
        ..Options::default()
    }
}

/// A record that is unlike every other: its number, then bytes that depend on it.
pub(crate) fn record(id: u64, len: usize) -> Vec<u8> {
    let mut bytes = format!("{id}:").into_bytes();
    bytes.extend((0..len as u64).map(|i| (id * 31 + i * 7).to_le_bytes()[0]));
    bytes
}

/// Operations so far that change the disk.
pub(crate) fn changes(disk: &SimFs) -> u64 {
    use Op::{Allocate, CreateDir, CreateNew, Lock, Remove, Rename, SetLen, Sync, SyncDir, Write};
    let ops = [Allocate, CreateDir, CreateNew, Lock, Remove, Rename, SetLen, Sync, SyncDir, Write];
    ops.iter().map(|op| disk.count(*op)).sum()
}

/// Everything a reader gives, by LSN.
pub(crate) fn read_all<F: Fs>(wal: &Wal<F>) -> Vec<(u64, Vec<u8>)> {
    let records = wal.reader(Lsn(0)).map(|record| record.map(|r| (r.lsn.0, r.bytes.to_vec())));
    records.collect::<Result<_, _>>().expect("a log that was opened can be read")
}

/// Tells what a disk was asked for last, if the test fails.
pub(crate) struct Witness(pub(crate) SimFs);

impl Drop for Witness {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{:?}:\n{}", self.0, self.0.trace());
        }
    }
}

/// Something to do with a log.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// One record of about this length.
    Append(usize),
    /// Records of about these lengths.
    Batch(Vec<usize>),
    /// As a batch, as safe as that.
    With(Durability, Vec<usize>),
    Sync,
    /// Below this share, in percent, of the records there are.
    Truncate(u64),
    Rotate,
    Reserve,
    Close,
    /// Drop the log without closing it, and open it again.
    Reopen,
}

/// What the log has said so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger {
    /// Acknowledged, or seen after an opening.
    pub(crate) acked: BTreeMap<u64, Vec<u8>>,
    /// Acknowledged, but nobody said that they are durable.
    pub(crate) soft: BTreeMap<u64, Vec<u8>>,
    /// Those of them below this number survive the death of the process.
    pub(crate) written: u64,
    /// The one batch whose fate is open.
    pub(crate) maybe: Option<Vec<Vec<u8>>>,
    /// Rejected, or found missing after an opening.
    pub(crate) never: BTreeSet<Vec<u8>>,
    /// The low watermark is at least, and at most, here.
    pub(crate) low: (u64, u64),
    next_id: u64,
}

impl Ledger {
    /// G1 to G5, G11: what was read back is what was promised, of what was promised less an unbroken beginning, and a
    /// whole undecided batch at most.
    pub(crate) fn check(&self, report: &RecoveryReport, records: &[(u64, Vec<u8>)]) {
        let (first, next) = (report.first_lsn.0, report.next_lsn.0);
        assert!((self.low.0.max(1)..=self.low.1.max(1)).contains(&first), "G11: {first} of {:?}", self.low);
        assert!(records.is_sorted_by(|a, b| a.0 < b.0), "G2: in order");
        assert!(records.iter().all(|(lsn, _)| (first..next).contains(lsn)), "G2: between the ends");
        let found: BTreeMap<u64, &Vec<u8>> = records.iter().map(|(lsn, bytes)| (*lsn, bytes)).collect();
        let burned: Vec<u64> = (first..next).filter(|lsn| !found.contains_key(lsn)).collect();
        assert!(burned.len() <= self.never.len(), "G2: only rejected records leave gaps: {burned:?}");
        for (lsn, bytes) in self.acked.range(first..) {
            assert_eq!(found.get(lsn), Some(&bytes), "G1: acknowledged record {lsn}");
        }
        for (lsn, bytes) in self.soft.range(first..) {
            let lost = *lsn >= self.written && *lsn >= next;
            assert!(lost || found.get(lsn) == Some(&bytes), "G2, G5: record {lsn} of {first}..{next}");
        }
        let known = |lsn: &u64| self.acked.contains_key(lsn) || self.soft.contains_key(lsn);
        let extra: Vec<&Vec<u8>> =
            records.iter().filter(|(lsn, _)| !known(lsn)).map(|(_, bytes)| bytes).collect();
        if !extra.is_empty() {
            let maybe: Vec<&Vec<u8>> = self.maybe.iter().flatten().collect();
            assert_eq!(extra, maybe, "G3, G4: nothing but one whole undecided batch");
        }
        for (lsn, bytes) in records {
            assert!(!self.never.contains(bytes), "G3: rejected record at {lsn}");
        }
    }

    /// The power goes: what was only written may be lost.
    pub(crate) fn power_cut(&mut self) {
        self.written = 0;
    }

    /// Takes note of how safe the log says that records are.
    fn promised(&mut self, wal: &Wal<SimFs>) {
        let marks = wal.watermarks();
        let soft = self.soft.split_off(&marks.durable.0);
        self.acked.append(&mut self.soft);
        self.soft = soft;
        // A log that broke promises no more than what is durable.
        self.written = if wal.poisoned().is_some() { 0 } else { marks.written.0 };
    }

    /// After an opening nothing is undecided: what is there stays, what is not never comes.
    pub(crate) fn absorb(&mut self, report: &RecoveryReport, records: &[(u64, Vec<u8>)]) {
        self.check(report, records);
        self.acked.extend(records.iter().cloned());
        let soft = std::mem::take(&mut self.soft).into_values();
        for bytes in self.maybe.take().into_iter().flatten().chain(soft) {
            if !records.iter().any(|(_, found)| *found == bytes) {
                self.never.insert(bytes);
            }
        }
        self.low = (report.first_lsn.0, report.first_lsn.0);
    }
}

/// A log, its disk and its ledger.
pub(crate) struct Session {
    pub(crate) disk: SimFs,
    pub(crate) options: Options,
    pub(crate) wal: Option<Wal<SimFs>>,
    pub(crate) ledger: Ledger,
}

impl Session {
    pub(crate) fn new(disk: SimFs, options: Options) -> Self {
        Self { disk, options, wal: None, ledger: Ledger::default() }
    }

    /// Opens the log and checks it against the ledger.
    pub(crate) fn open(&mut self) -> Result<RecoveryReport, OpenError> {
        self.wal = None;
        let (wal, report) = Wal::open_in(self.disk.clone(), DIR, self.options.clone())?;
        // Each fault strikes once, and several may wait: what they spoil is asked for again.
        let mut read = wal.reader(Lsn(0)).collect::<Result<Vec<_>, _>>();
        for _ in 0..100 {
            if !matches!(read, Err(ReadError::Io { .. })) {
                break;
            }
            read = wal.reader(Lsn(0)).collect();
        }
        let read = match read {
            Err(ReadError::Io { operation, path, source }) if self.disk.has_crashed() => {
                return Err(OpenError::Io { operation, path, source });
            }
            read => read.expect("a log that was opened can be read"),
        };
        let records: Vec<_> = read.into_iter().map(|r| (r.lsn.0, r.bytes.to_vec())).collect();
        self.ledger.absorb(&report, &records);
        self.wal = Some(wal);
        Ok(report)
    }

    /// Does one step, opening the log if it is not; whether it succeeded. What it answered is in the ledger.
    pub(crate) fn step(&mut self, step: &Step) -> bool {
        if self.wal.as_ref().is_none_or(|wal| wal.poisoned().is_some()) && self.open().is_err() {
            return false;
        }
        if matches!(step, Step::Reopen) {
            return self.open().is_ok();
        }
        let Some(wal) = self.wal.clone() else { return false };
        let done = self.act(&wal, step);
        self.ledger.promised(&wal);
        done
    }

    fn act(&mut self, wal: &Wal<SimFs>, step: &Step) -> bool {
        match step {
            Step::Append(len) => self.append(wal, Durability::Synced, &[*len]),
            Step::Batch(lens) => self.append(wal, Durability::Synced, lens),
            Step::With(level, lens) => self.append(wal, *level, lens),
            Step::Sync => wal.sync().is_ok(),
            Step::Truncate(percent) => {
                let (low, next) = (wal.watermarks().low.0, wal.next_lsn().0);
                let to = low + (next - low) * percent / 100;
                let before = self.ledger.low.1;
                self.ledger.low.1 = to.max(before);
                match wal.truncate_before(Lsn(to)) {
                    Ok(done) => {
                        let idle = done.low.0 == low && done.segments == 0;
                        assert!(done.low.0 == to.max(low) || idle, "{done:?} for {to}");
                        self.ledger.low = (done.low.0, done.low.0);
                        true
                    }
                    Err(AppendError::Rejected(_)) => {
                        self.ledger.low.1 = before;
                        false
                    }
                    Err(_) => false,
                }
            }
            Step::Rotate => wal.rotate().is_ok(),
            Step::Reserve => wal.reserve().is_ok(),
            Step::Close => {
                self.wal = None;
                wal.close().is_ok()
            }
            Step::Reopen => unreachable!("done above"),
        }
    }

    fn append(&mut self, wal: &Wal<SimFs>, level: Durability, lens: &[usize]) -> bool {
        let first = self.ledger.next_id;
        self.ledger.next_id += lens.len() as u64;
        let batch: Vec<Vec<u8>> = lens.iter().zip(first..).map(|(len, id)| record(id, *len)).collect();
        let (next, durable) = (wal.next_lsn(), wal.watermarks().durable);
        match wal.append_batch_with(batch.clone(), level) {
            Ok(lsns) => {
                assert_eq!(lsns, next..Lsn(next.0 + batch.len() as u64), "LSNs are given in order");
                let reached = match level {
                    Durability::Buffered => wal.watermarks().appended,
                    Durability::Written => wal.watermarks().written,
                    Durability::Synced => wal.watermarks().durable,
                };
                assert!(batch.is_empty() || reached >= lsns.end, "{level:?} is what was asked for");
                self.ledger.soft.extend((lsns.start.0..).zip(batch));
                true
            }
            Err(AppendError::Rejected(_)) => {
                self.ledger.never.extend(batch);
                assert_eq!(wal.next_lsn(), next, "a rejected batch takes no LSN");
                false
            }
            Err(_) => {
                // What came before may have become so on the way, when a segment was full.
                let now = wal.watermarks().durable;
                assert!(now == durable || now <= next, "G7: nothing becomes durable by a failure");
                self.ledger.maybe = Some(batch);
                false
            }
        }
    }
}

/// A life of a log with everything in it: rotation by size and by request, with and without a reserve, fragments,
/// empty batches, a record larger than a segment or than the one made ahead, truncation, clean and unclean ends.
pub(crate) fn life() -> Vec<Step> {
    use Step::{Append, Batch, Close, Reopen, Reserve, Rotate, Truncate};
    vec![
        Append(10),
        Batch(vec![]),
        Append(300),
        Batch(vec![20, 700, 0]),
        Rotate,
        Reserve,
        Append(40),
        Append(2500),
        Append(900),
        Batch(vec![5, 5]),
        Truncate(60),
        Append(10_000),
        Append(7),
        Reopen,
        Append(11),
        Batch(vec![]),
        Truncate(50),
        Close,
        Append(12),
        Reserve,
        Append(6000),
        Append(2700),
        Append(1500),
        Reopen,
        Reopen,
        Truncate(100),
        Append(13),
        Rotate,
        Append(14),
    ]
}

/// Runs the life on a disk that loses power at operation `op`.
pub(crate) fn die_at(op: u64) -> Session {
    let disk = SimFs::new(op);
    disk.crash_at(op);
    let mut session = Session::new(disk, options());
    for step in life() {
        session.step(&step);
        if session.disk.has_crashed() {
            break;
        }
    }
    session.wal = None;
    session
}
