//! Readers that follow a log while it is written, rotated and truncated, and while its disk fails.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use forebay_wal::fs::sim::{Fault, Op, SimFs};
use forebay_wal::{AppendError, Durability, Lsn, Options, Reader, Time, Wal};

use super::{DIR, take};

/// A log, who reads it, and what was appended.
struct World {
    disk: SimFs,
    wal: Wal<SimFs>,
    /// Acknowledged, by LSN.
    records: BTreeMap<u64, Vec<u8>>,
    /// What may be there under any number: the log could not say.
    maybe: Vec<Vec<u8>>,
    readers: Vec<Follower>,
    next_id: u32,
}

struct Follower {
    reader: Reader<SimFs>,
    /// All records below were read, or are not there.
    next: u64,
}

/// Steps of two bytes: what, and how much of it.
pub fn wal_reader_tail(data: &[u8]) {
    let disk = SimFs::new(1);
    let options = Options {
        segment_bytes: 8192,
        max_frame: 512,
        salt_seed: Some(1),
        time: Time::frozen(),
        ..Options::default()
    };
    let (wal, _) = Wal::open_in(disk.clone(), DIR, options).expect("an empty disk takes a log");
    let (records, maybe, readers) = (BTreeMap::new(), Vec::new(), Vec::new());
    let mut world = World { disk, wal, records, maybe, readers, next_id: 0 };
    let mut input = data;
    for _ in 0..200 {
        let Some([what, how]) = take(&mut input) else { break };
        world.step(what, how);
    }
    for index in 0..world.readers.len() {
        world.read(index, usize::MAX);
    }
}

impl World {
    fn step(&mut self, what: u8, how: u8) {
        let size = usize::from(how) * if how.is_multiple_of(16) { 40 } else { 2 };
        match what % 16 {
            0 | 1 => self.append(Durability::Synced, size),
            2 => self.append(Durability::Written, size),
            3 => self.append(Durability::Buffered, size),
            4 => drop(self.wal.sync()),
            5 => drop(self.wal.rotate()),
            6 => {
                let marks = self.wal.watermarks();
                let to = marks.low.0 + (marks.appended.0 - marks.low.0) * u64::from(how % 101) / 100;
                if let Ok(done) = self.wal.truncate_before(Lsn(to)) {
                    assert!(self.readers.iter().all(|follower| follower.reader.next_lsn() >= done.low));
                    self.records = self.records.split_off(&done.low.0);
                }
            }
            7 if self.readers.len() < 8 => {
                let reader = self.wal.reader(Lsn(how.into()));
                let next = reader.next_lsn().0;
                assert!(next >= self.wal.watermarks().low.0, "nothing is read that is gone");
                self.readers.push(Follower { reader, next });
            }
            8..=11 if !self.readers.is_empty() => {
                self.read(usize::from(how) % self.readers.len(), usize::from(how / 8) + 1);
            }
            12 if !self.readers.is_empty() => {
                drop(self.readers.swap_remove(usize::from(how) % self.readers.len()));
            }
            13 => drop(self.wal.reserve()),
            14 => {
                let op = if how.is_multiple_of(2) { Op::Write } else { Op::Sync };
                let fault = [
                    Fault::Error(ErrorKind::Other),
                    Fault::Partial(ErrorKind::StorageFull),
                    Fault::Late(ErrorKind::Other),
                    Fault::Short,
                ][usize::from(how / 2 % 4)];
                self.disk.fail_next(op, u64::from(how / 64), fault);
            }
            15 => {
                let room = (how.is_multiple_of(2)).then_some(u64::from(how) * 64);
                self.disk.set_budget(room.map(|room| self.disk.allocated() + room));
            }
            _ => {}
        }
    }

    fn append(&mut self, level: Durability, size: usize) {
        let mut record = self.next_id.to_le_bytes().to_vec();
        record.resize(record.len() + size, 7);
        self.next_id += 1;
        match self.wal.append_with(record.clone(), level) {
            Ok(lsn) => assert!(self.records.insert(lsn.0, record).is_none(), "{lsn} is given twice"),
            Err(AppendError::Rejected(_)) => {}
            Err(_) => self.maybe.push(record),
        }
    }

    /// Each record once, in order, as it was, and no earlier than it is durable.
    fn read(&mut self, index: usize, most: usize) {
        let follower = &mut self.readers[index];
        for _ in 0..most {
            let Some(record) = follower.reader.next() else {
                let durable = self.wal.watermarks().durable.0;
                let left = self.records.range(follower.next..durable.max(follower.next)).next();
                assert_eq!(left, None, "a reader that has caught up has read all");
                return;
            };
            let record = record.expect("no read fails here");
            let lsn = record.lsn.0;
            assert!(lsn >= follower.next, "{lsn} is read after {}", follower.next);
            assert!(lsn < self.wal.watermarks().durable.0, "{lsn} is read before it is durable");
            let passed = self.records.range(follower.next..lsn).next();
            assert_eq!(passed, None, "a record that was acknowledged is passed over");
            match self.records.get(&lsn) {
                Some(appended) => assert_eq!(*appended, record.bytes, "{lsn} is as it was appended"),
                None => assert!(self.maybe.iter().any(|maybe| *maybe == record.bytes), "{lsn} was rejected"),
            }
            follower.next = lsn + 1;
        }
    }
}
