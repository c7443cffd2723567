//! How many records a second one thread appends at each level, beside a loop that only sums and writes: by the clock,
//! and by what it used of a processor, which others on the machine spoil less.
//!
//! `cargo run --release -p forebay-wal --example throughput -- [directory] [bytes a record] [level]`
#![expect(clippy::disallowed_methods, reason = "a measurement of a real disk by a real clock")]

use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use forebay_wal::Durability::{Buffered, Synced, Written};
use forebay_wal::{Options, Wal};

/// Nanoseconds that this thread has used.
fn used_ns() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(f64::NAN)
}

/// Records a second, and nanoseconds of a processor for each.
fn rate(records: u32, mut append: impl FnMut()) -> (f64, f64) {
    let (begin, used) = (Instant::now(), used_ns());
    (0..records).for_each(|_| append());
    (f64::from(records) / begin.elapsed().as_secs_f64(), (used_ns() - used) / f64::from(records))
}

/// Sums and writes records one behind the other into a file of zeros, from the front again at its end.
fn floor(dir: &Path, record: &[u8], records: u32, sync: bool) -> std::io::Result<(f64, f64)> {
    const LEN: u64 = 64 << 20;
    let path = dir.join("floor");
    std::fs::write(&path, vec![0; 64 << 20])?;
    let file = std::fs::OpenOptions::new().write(true).open(&path)?;
    file.sync_all()?;
    let mut at = 0;
    let rate = rate(records, || {
        black_box(crc32fast::hash(record));
        file.write_all_at(record, at).expect("the file has its length");
        if sync {
            file.sync_data().expect("the disk works");
        }
        at = (at + record.len() as u64) % (LEN - record.len() as u64);
    });
    std::fs::remove_file(&path)?;
    Ok(rate)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().unwrap_or_else(|| "target/throughput".into());
    let record = vec![7; args.next().map_or(Ok(64), |bytes| bytes.parse())?];
    let only = args.next();
    std::fs::create_dir_all(&dir)?;
    let dir = Path::new(&dir);
    let levels = [(Buffered, 10_000_000), (Written, 500_000), (Synced, 500)];
    for (level, records) in levels {
        if only.as_ref().is_some_and(|only| *only != format!("{level:?}")) {
            continue;
        }
        for _ in 0..3 {
            let log = dir.join("log");
            let (wal, _) = Wal::open(&log, Options::default())?;
            wal.append(record.as_slice())?;
            let (ours, ours_ns) = rate(records, || {
                wal.append_with(record.as_slice(), level).expect("the disk works");
            });
            let stats = wal.stats();
            drop(wal);
            std::fs::remove_dir_all(&log)?;
            let (floor, floor_ns) = floor(dir, &record, records.min(2_000_000), level == Synced)?;
            println!(
                "{level:?}: {ours:.0}/s of {floor:.0}/s ({:.2}), {ours_ns:.0} ns of {floor_ns:.0} ns ({:.2}); {} groups",
                ours / floor,
                floor_ns / ours_ns,
                stats.groups
            );
        }
    }
    Ok(())
}
