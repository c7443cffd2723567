//! How long it takes to open a log and to read it back, beside a loop that reads a file once and checks its sums: by the
//! clock, and by what it used of a processor, which others on the machine spoil less.
//!
//! `cargo run --release -p forebay-wal --example replay -- [directory] [MiB] [records in a frame]`
#![expect(clippy::disallowed_methods, reason = "a measurement of a real disk by a real clock")]

use std::error::Error;
use std::hint::black_box;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use forebay_wal::Durability::Written;
use forebay_wal::fs::StdFs;
use forebay_wal::{Lsn, Options, Wal};

const RECORD: usize = 256;
/// Length and sum in front of each body of the floor's file.
const HEAD: usize = 8;

/// Nanoseconds that this thread has used.
fn used_ns() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(f64::NAN)
}

/// Nanoseconds for each of the records that were seen, by the clock and of a processor.
fn cost<T>(
    records: u64,
    run: impl FnOnce() -> Result<T, Box<dyn Error>>,
) -> Result<([f64; 2], T), Box<dyn Error>> {
    let (begin, used) = (Instant::now(), used_ns());
    let done = run()?;
    let each = records as f64;
    Ok(([begin.elapsed().as_secs_f64() * 1e9 / each, (used_ns() - used) / each], done))
}

/// A log, and a file of the same bodies; how many records there are.
fn fill(dir: &Path, bytes: u64, batch: usize) -> Result<u64, Box<dyn Error>> {
    let mut state = 1_u64;
    let body: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_be_bytes()[0]
    })
    .take(batch * RECORD)
    .collect();
    let batches = bytes / body.len() as u64;
    let (wal, _) = Wal::open(dir.join("log"), Options::default())?;
    let file = std::fs::File::create(dir.join("floor"))?;
    let sum = crc32fast::hash(&body).to_le_bytes();
    let frame = [&u32::try_from(body.len())?.to_le_bytes(), &sum, &body[..]].concat();
    for number in 0..batches {
        wal.append_batch_with(body.chunks(RECORD), Written)?;
        file.write_all_at(&frame, number * frame.len() as u64)?;
    }
    wal.sync()?;
    Ok(batches * batch as u64)
}

/// Reads the file once, a stretch at a time, and checks each sum; how many records it saw.
fn floor(path: &Path) -> Result<u64, Box<dyn Error>> {
    let file = std::fs::File::open(path)?;
    let mut window = vec![0; 1 << 20];
    let (mut from, mut filled, mut at, mut records) = (0, 0, 0, 0);
    loop {
        let left = &window[from..filled];
        let word =
            |at| left.get(at..at + 4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]]));
        let len = word(0).map_or(0, |len| len as usize);
        if let (Some(body), Some(sum)) = (left.get(HEAD..HEAD + len), word(4)) {
            if crc32fast::hash(body) != sum {
                return Err("the floor is damaged".into());
            }
            body.chunks(RECORD).for_each(|record| {
                black_box(record);
            });
            records += body.len().div_ceil(RECORD) as u64;
            from += HEAD + len;
        } else {
            window.copy_within(from..filled, 0);
            (from, filled) = (0, filled - from);
            window.resize(window.len().max(HEAD + len), 0);
            match file.read_at(&mut window[filled..], at)? {
                0 => return Ok(records),
                n => (filled, at) = (filled + n, at + n as u64),
            }
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize, default| arguments.get(index).map_or(Ok(default), |number| number.parse());
    let place = arguments.first().map_or_else(std::env::temp_dir, Into::into);
    let (bytes, batch) = (number(1, 256_u64)? << 20, usize::try_from(number(2, 1000)?)?);
    let scratch = tempfile::tempdir_in(place)?;
    let (log, file) = (scratch.path().join("log"), scratch.path().join("floor"));
    let records = fill(scratch.path(), bytes, batch)?;
    let mut samples = [const { Vec::new() }; 4];
    for _ in 0..7 {
        let (floor, seen) = cost(records, || floor(&file))?;
        let (open, wal) = cost(records, || Ok(Wal::open_in(StdFs, &log, Options::default())?.0))?;
        let (next, owned) = cost(records, || {
            wal.reader(Lsn::FIRST)
                .try_fold(0, |seen, record| Ok(seen + u64::from(!black_box(record?).bytes.is_empty())))
        })?;
        let (lent, refs) = cost(records, || {
            let (mut reader, mut seen) = (wal.reader(Lsn::FIRST), 0);
            while let Some(record) = reader.next_ref() {
                seen += u64::from(!black_box(record?).bytes.is_empty());
            }
            Ok(seen)
        })?;
        if [seen, owned, refs] != [records; 3] {
            return Err(io::Error::other("not all records came back").into());
        }
        samples.iter_mut().zip([floor, open, next, lent]).for_each(|(all, sample)| all.push(sample));
    }
    println!("{records} records of {RECORD} B, {batch} in a frame; nanoseconds each, medians of 7");
    println!("{:10} {:>8} {:>8}", "", "clock", "used");
    for (name, all) in ["floor", "open", "next", "next_ref"].iter().zip(&samples) {
        let median = |which: usize| {
            let mut all: Vec<f64> = all.iter().map(|sample| sample[which]).collect();
            all.sort_by(f64::total_cmp);
            all[all.len() / 2]
        };
        println!("{name:10} {:8.1} {:8.1}", median(0), median(1));
    }
    Ok(())
}
