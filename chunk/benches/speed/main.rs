//! How fast chunks are built and read, and how large they are.
//!
//! `cargo bench -p forebay-chunk` runs all with criterion, `-- decode/json` some of it. With `FOREBAY_LINES=DIR[:DIR]` the
//! `*.log` of these directories are sets too. `-- --table [ROUNDS]` prints a table in a few seconds: contenders take
//! turns, and the least time of each counts. `-- --once build|decode|window SET CONTENDER [TIMES]` does one thing so many
//! times, for a profiler.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a benchmark fails by panicking, and measures"
)]

mod contender;
mod lines;
mod set;
mod table;

use std::hint::black_box;

use criterion::{Criterion, Throughput};

use contender::Contender;
use set::{Regime, Set};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["--table", ref rest @ ..] => table::print(rest.first().map_or(15, |rounds| rounds.parse().unwrap())),
        ["--once", what, set, contender, ref rest @ ..] => {
            once(what, set, contender, rest.first().map_or(1, |times| times.parse().unwrap()));
        }
        _ => measure(&mut Criterion::default().configure_from_args()),
    }
}

fn once(what: &str, set: &str, contender: &str, times: usize) {
    let set = Set::all(Regime::Jitter).find(|known| known.name == set).expect("a set of that name");
    let contender = Contender::all().into_iter().find(|known| known.name() == contender);
    let contender = contender.expect("a contender of that name");
    let stored = contender.build(&set);
    for _ in 0..times {
        match what {
            "build" => drop(black_box(contender.build(&set))),
            "decode" => _ = black_box(contender.read(&stored)),
            "window" => _ = black_box(contender.window(&stored)),
            _ => panic!("build, decode or window"),
        }
    }
    eprintln!("{} bytes of {}, {times} times", stored.bytes(), set.raw_bytes());
}

fn measure(criterion: &mut Criterion) {
    for set in Set::all(Regime::Jitter) {
        let stored: Vec<_> = Contender::all().into_iter().map(|who| (who, who.build(&set))).collect();
        let mut group = criterion.benchmark_group(format!("build/{}", set.name));
        group.throughput(Throughput::Bytes(set.raw_bytes() as u64)).sample_size(10);
        for (who, _) in &stored {
            group.bench_function(who.name(), |bencher| bencher.iter(|| who.build(&set)));
        }
        group.finish();
        let mut group = criterion.benchmark_group(format!("decode/{}", set.name));
        group.throughput(Throughput::Bytes(set.raw_bytes() as u64)).sample_size(10);
        for (who, stored) in &stored {
            group.bench_function(who.name(), |bencher| bencher.iter(|| who.read(stored)));
        }
        group.finish();
        let mut group = criterion.benchmark_group(format!("window/{}", set.name));
        group.sample_size(10);
        for (who, stored) in stored.iter().filter(|(who, _)| !who.is_bare()) {
            group.bench_function(who.name(), |bencher| bencher.iter(|| who.window(stored)));
        }
        group.finish();
    }
    criterion.final_summary();
}
