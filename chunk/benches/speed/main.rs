//! How fast chunks are built and read, and how large they are.
//!
//! `cargo bench -p forebay-chunk` runs all with criterion, `-- decode/json` some of it. With `FOREBAY_LINES=DIR[:DIR]` the
//! `*.log` of these directories are sets too. `-- --table [ROUNDS]` prints a table in a few seconds: contenders take
//! turns, and the least time of each counts; `-- --sizes` its first part, and `-- --answers [ROUNDS]` one of what queries
//! cost. `-- --once WHAT SET CONTENDER [TIMES]` does one thing so many times, for a profiler.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a benchmark fails by panicking, and measures"
)]

mod answers;
mod contender;
mod lines;
mod query;
mod set;
mod table;

use std::hint::black_box;

use criterion::{Criterion, Throughput};

use contender::{Contender, Stored};
use query::ABSENT;
use set::{Regime, Set};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["--table", ref rest @ ..] => table::print(rest.first().map_or(15, |rounds| rounds.parse().unwrap())),
        ["--sizes"] => table::sizes(),
        ["--answers", ref rest @ ..] => {
            answers::print(rest.first().map_or(15, |rounds| rounds.parse().unwrap()));
        }
        ["--once", what, set, contender, ref rest @ ..] => {
            once(what, set, contender, rest.first().map_or(1, |times| times.parse().unwrap()));
        }
        _ => measure(&mut Criterion::default().configure_from_args()),
    }
}

fn once(what: &str, set: &str, contender: &str, times: usize) {
    let sets: Box<dyn Iterator<Item = Set>> =
        if what == "window" { Box::new(Set::two_hours()) } else { Box::new(Set::all(Regime::Jitter)) };
    let set = { sets }.find(|known| known.name == set).expect("a set of that name");
    let contender = Contender::all().into_iter().find(|known| known.name() == contender);
    let contender = contender.expect("a contender of that name");
    let stored = contender.build(&set);
    let rare: Vec<_> = match what {
        "rare" | "scan" => query::rare(&set).iter().map(query::wanting).collect(),
        _ => Vec::new(),
    };
    for _ in 0..times {
        match what {
            "build" => drop(black_box(contender.build(&set))),
            "decode" => _ = black_box(contender.read(&stored)),
            "window" => _ = black_box(query::window(&stored)),
            "filter" => _ = black_box(query::filter(&stored, &query::wanting(ABSENT[0].1))),
            "filter-part" => _ = black_box(query::filter(&stored, &query::wanting(ABSENT[1].1))),
            "filter-digits" => _ = black_box(query::filter(&stored, &query::wanting(ABSENT[2].1))),
            "rare" => rare.iter().for_each(|rare| _ = black_box(query::filter(&stored, rare))),
            "scan" => rare.iter().for_each(|rare| _ = black_box(query::scan(&stored, rare))),
            "counts" => _ = black_box(query::counts(&stored, 1)),
            _ => panic!("build, decode, window, filter, filter-part, filter-digits, rare, scan or counts"),
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
        ask(criterion, &set, &stored);
    }
    for set in Set::two_hours() {
        let mut group = criterion.benchmark_group(format!("window/{}", set.name));
        for who in Contender::all().into_iter().filter(|who| !who.is_bare()) {
            let stored = who.build(&set);
            group
                .sample_size(10)
                .bench_function(who.name(), |bencher| bencher.iter(|| query::window(&stored)));
        }
        group.finish();
    }
    criterion.final_summary();
}

/// Filters and counts, beside the scan that they spare.
fn ask(criterion: &mut Criterion, set: &Set, stored: &[(Contender, Stored)]) {
    let absent = query::wanting(ABSENT[1].1);
    let rare = query::rare(set).first().map(query::wanting);
    let mut group = criterion.benchmark_group(format!("ask/{}", set.name));
    group.sample_size(10);
    for (who, stored) in stored.iter().filter(|(who, _)| !who.is_bare()) {
        let name = who.name();
        group.bench_function(format!("{name}/scan"), |bencher| bencher.iter(|| query::scan(stored, &absent)));
        group.bench_function(format!("{name}/absent"), |bencher| {
            bencher.iter(|| query::filter(stored, &absent))
        });
        if let Some(rare) = &rare {
            group.bench_function(format!("{name}/rare"), |bencher| {
                bencher.iter(|| query::filter(stored, rare))
            });
        }
        group.bench_function(format!("{name}/counts"), |bencher| bencher.iter(|| query::counts(stored, 1)));
    }
    group.finish();
}
