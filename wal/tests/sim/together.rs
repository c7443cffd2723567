//! All that a log may have beyond the plain format, in one: streams, compressed bodies, aligned groups, fragments, and
//! files that are used again. Power cuts at every operation of its lives cost nothing that was durable.

use std::collections::BTreeMap;

use crate::harness::{DIR, read_all, record};
use forebay_wal::fs::sim::{SimFs, Survive};
use forebay_wal::{AppendError, Compression, Lsn, Options, Stream, View, Wal};

/// So long that what a segment begins with does not fit one sector.
const NAMES: [&str; 2] = [
    "orders that are taken in by the shops of the north and of the south, with all that belongs to them, for as long as \
     somebody may ask for them, and with the reason for which they were taken back where they were",
    "audit of all that was done by anybody who may do anything at all, with the time at which it was done and the name \
     of the machine on which it was done, for those who come and ask who it was",
];

/// What is durable, by number: of which stream, 2 for none, and its bytes.
type Kept = BTreeMap<u64, (usize, Vec<u8>)>;

fn options(compression: Compression) -> Options {
    let segment_bytes = 16 << 10;
    Options { compression, commit_align: 512, max_frame: 1024, segment_bytes, ..crate::harness::options() }
}

fn append(wal: &Wal<SimFs>, stream: Option<&Stream<SimFs>>, bytes: &[u8]) -> Result<Lsn, AppendError> {
    match stream {
        Some(stream) => stream.append(bytes),
        None => wal.append(bytes),
    }
}

/// Two lives, up to the disk's death; what was acknowledged and not given up, and up to where the newest checkpoint was.
fn live(disk: &SimFs, options: &Options) -> (Kept, u64) {
    let (mut kept, mut checkpoint) = (Kept::new(), 0);
    for ids in [0..20_u64, 20..32] {
        let Ok((wal, _)) = Wal::open_in(disk.clone(), DIR, options.clone()) else { break };
        let Ok(streams) = NAMES.iter().map(|name| wal.stream(name)).collect::<Result<Vec<_>, _>>() else {
            break;
        };
        for id in ids {
            let owner = usize::try_from(id % 3).unwrap();
            let len = if id % 5 == 4 { 3000 } else { 150 };
            let bytes = record(id, len);
            let Ok(lsn) = append(&wal, streams.get(owner), &bytes) else { return (kept, checkpoint) };
            kept.insert(lsn.0, (owner, bytes));
            if id % 12 == 11 {
                let middle = Lsn(lsn.0 - 4);
                kept = kept.split_off(&middle.0);
                let truncated =
                    streams.iter().map(|stream| stream.truncate_before(middle)).all(|done| done.is_ok());
                if !truncated || wal.truncate_before(middle).is_err() || wal.reserve().is_err() {
                    return (kept, checkpoint);
                }
                if wal.checkpoint(middle, &[7; 700]).is_err() {
                    return (kept, checkpoint);
                }
                checkpoint = middle.0;
            }
        }
        let _ = wal.close();
    }
    (kept, checkpoint)
}

/// Every record of the log under the stream it is read from, none twice.
fn found(wal: &Wal<SimFs>) -> Kept {
    let mut found = Kept::new();
    for (owner, name) in NAMES.iter().enumerate() {
        let records = wal.stream(name).unwrap().reader(Lsn(0)).map(Result::unwrap);
        found.extend(records.map(|record| (record.lsn.0, (owner, record.bytes.to_vec()))));
    }
    let streams = found.len();
    let all: BTreeMap<u64, Vec<u8>> = read_all(wal).into_iter().collect();
    for (lsn, bytes) in &all {
        found.entry(*lsn).or_insert((2, bytes.clone()));
    }
    assert!(found.keys().eq(all.keys()) && streams <= all.len(), "what a stream has, the log has");
    found
}

#[test]
fn a_power_cut_costs_nothing_that_was_durable() {
    for compression in [Compression::Snappy, Compression::Zstd { level: 1 }] {
        let options = options(compression);
        for op in 0.. {
            let disk = SimFs::new(op);
            disk.crash_at(op);
            let (kept, checkpoint) = live(&disk, &options);
            if !disk.has_crashed() {
                assert!(op > 150, "{op} operations");
                break;
            }
            for survive in [Survive::Nothing, Survive::Everything, Survive::Seeded(op), Survive::Seeded(!op)]
            {
                let after = disk.crash(survive);
                let (wal, report) = Wal::open_in(after.clone(), DIR, options.clone())
                    .unwrap_or_else(|error| panic!("{compression:?}, {op}, {survive:?}: {error}"));
                let newest = report.checkpoint.map_or(0, |checkpoint| checkpoint.lsn);
                assert!(newest >= checkpoint, "{compression:?}, {op}, {survive:?}: {newest} < {checkpoint}");
                let found = found(&wal);
                for (lsn, record) in &kept {
                    assert_eq!(found.get(lsn), Some(record), "{compression:?}, {op}, {survive:?}: {lsn}");
                }
                append(&wal, wal.stream(NAMES[1]).ok().as_ref(), b"it goes on").unwrap();
                wal.close().unwrap();
                let (_, report) = View::open_in(after, DIR).unwrap();
                assert!(report.clean && report.streams.len() == 2, "{report:?}");
            }
        }
    }
}
