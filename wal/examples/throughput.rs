//! How many records a second one thread appends at each level, beside a loop that only sums and writes: by the clock,
//! and by what it used of a processor, which others on the machine spoil less. Medians of samples that take turns, each
//! on a new log with a segment made ahead and within one segment.
//!
//! `cargo run --release -p forebay-wal --example throughput -- [directory] [bytes a record] [level] [samples]`
#![expect(clippy::disallowed_methods, reason = "a measurement of a real disk by a real clock")]

use std::hint::black_box;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use forebay_wal::Durability::{self, Buffered, Synced, Written};
use forebay_wal::{Options, Wal};

/// Length of the floor's file, and of a segment.
const FILE: u64 = 64 << 20;

/// Nanoseconds that this thread has used.
fn used_ns() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(f64::NAN)
}

/// Nanoseconds for each record: by the clock, and of a processor.
fn cost(records: u32, mut append: impl FnMut()) -> [f64; 2] {
    let (begin, used) = (Instant::now(), used_ns());
    (0..records).for_each(|_| append());
    let elapsed = begin.elapsed().as_secs_f64() * 1e9;
    [elapsed / f64::from(records), (used_ns() - used) / f64::from(records)]
}

/// Sums records and writes them one behind the other into a file of zeros; what is buffered 256 KiB at a time.
fn floor(dir: &Path, record: &[u8], records: u32, level: Durability) -> io::Result<[f64; 2]> {
    let path = dir.join("floor");
    let file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).open(&path)?;
    // In pieces as small as the log's: in larger ones the page cache makes small writes dearer.
    for at in (0..FILE).step_by(64 << 10) {
        file.write_all_at(&[0; 64 << 10], at)?;
    }
    file.sync_all()?;
    let (mut at, mut buffer) = (0, Vec::with_capacity(256 << 10));
    let cost = cost(records, || {
        black_box(crc32fast::hash(record));
        buffer.extend_from_slice(record);
        if level > Buffered || buffer.len() + record.len() > 256 << 10 {
            file.write_all_at(&buffer, at).expect("the file has its length");
            at += buffer.len() as u64;
            buffer.clear();
        }
        if level == Synced {
            file.sync_data().expect("the disk works");
        }
    });
    std::fs::remove_file(&path)?;
    Ok(cost)
}

fn ours(
    dir: &Path,
    record: &[u8],
    records: u32,
    level: Durability,
) -> Result<[f64; 2], Box<dyn std::error::Error>> {
    let log = dir.join("log");
    let (wal, _) = Wal::open(&log, Options { segment_bytes: FILE, ..Options::default() })?;
    wal.append(record)?;
    wal.reserve()?;
    let cost = cost(records, || {
        wal.append_with(record, level).expect("the disk works");
    });
    drop(wal);
    std::fs::remove_dir_all(&log)?;
    Ok(cost)
}

fn median(samples: &[[f64; 2]], which: usize) -> f64 {
    let mut samples: Vec<f64> = samples.iter().map(|sample| sample[which]).collect();
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().unwrap_or_else(|| "target/throughput".into());
    let record = vec![7; args.next().map_or(Ok(64), |bytes| bytes.parse())?];
    let only = args.next();
    let samples: usize = args.next().map_or(Ok(11), |samples| samples.parse())?;
    std::fs::create_dir_all(&dir)?;
    let dir = Path::new(&dir);
    let most = u32::try_from(FILE / 2)? / (u32::try_from(record.len())? + 40);
    for (level, records) in [(Buffered, most), (Written, most), (Synced, most.min(500))] {
        if only.as_ref().is_some_and(|only| *only != format!("{level:?}")) {
            continue;
        }
        let (mut our, mut floors) = (Vec::new(), Vec::new());
        for _ in 0..samples {
            our.push(ours(dir, &record, records, level)?);
            floors.push(floor(dir, &record, records, level)?);
        }
        for (which, by) in ["clock", "processor"].into_iter().enumerate() {
            let (our, floor) = (median(&our, which), median(&floors, which));
            println!(
                "{level:?} by the {by}: {our:.1} ns a record, the floor {floor:.1} ns, {:.2} of its rate; {:.2} M/s",
                floor / our,
                1e3 / our
            );
        }
    }
    Ok(())
}
