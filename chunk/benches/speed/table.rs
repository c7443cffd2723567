//! All sets at a glance: bytes a line, megabytes of lines a second, and ratios to what each is held against.

use std::hint::black_box;
use std::time::Instant;

use forebay_chunk::{Codec, Profile};

use crate::contender::{Contender, Stored};
use crate::set::{Regime, Set};

/// One of its times.
type Of = fn(&Times) -> f64;

/// Least times in seconds of one contender, to build and to read.
struct Times {
    build: f64,
    read: f64,
}

pub(crate) fn print(rounds: usize) {
    let contenders: Vec<_> =
        Contender::all().into_iter().filter(|&who| who != Contender::Columnar(Profile::Archive)).collect();
    sizes();
    let measured: Vec<_> = Set::all(Regime::Jitter)
        .map(|set| {
            let times = measure(&set, &contenders, rounds);
            (set, times)
        })
        .collect();
    let at = |who: Contender| contenders.iter().position(|&other| other == who).unwrap();
    let parts: [(&str, Of); 2] = [("Build", |times| times.build), ("Full decode", |times| times.read)];
    for (title, of) in parts {
        println!("\n{title}, MB/s:\n");
        let names: Vec<_> = contenders.iter().map(|who| who.name()).collect();
        println!("| set | {} |\n|---|{}", names.join(" | "), "---|".repeat(names.len()));
        for (set, times) in &measured {
            let speeds = times.iter().map(|times| format!("{:.0}", set.raw_bytes() as f64 / of(times) / 1e6));
            println!("| {} | {} |", set.name, speeds.collect::<Vec<_>>().join(" | "));
        }
        let pairs: Vec<(Contender, Contender)> = contenders
            .iter()
            .filter_map(|&who| match who {
                Contender::Columnar(_) => Some((who, Contender::Loki(Codec::Zstd))),
                Contender::Loki(codec) => Some((who, Contender::Bare(codec))),
                Contender::Bare(_) => None,
            })
            .collect();
        let names: Vec<_> = pairs.iter().map(|(who, to)| format!("{} / {}", who.name(), to.name())).collect();
        println!(
            "\n{title}, ratios of speeds:\n\n| set | {} |\n|---|{}",
            names.join(" | "),
            "---|".repeat(names.len())
        );
        let mut all = Vec::new();
        for (set, times) in &measured {
            let ratios: Vec<f64> =
                pairs.iter().map(|&(who, to)| of(&times[at(to)]) / of(&times[at(who)])).collect();
            row(&set.name, &ratios);
            all.push((set.is_own, ratios));
        }
        means(&all);
    }
}

fn row(name: &str, ratios: &[f64]) {
    let ratios: Vec<_> = ratios.iter().map(|ratio| format!("{ratio:.2}")).collect();
    println!("| {name} | {} |", ratios.join(" | "));
}

/// Prints the geometric means of ratios, of all sets and of those that are not of our own making; what is not a number has
/// no part in them.
pub(crate) fn means(all: &[(bool, Vec<f64>)]) {
    let columns = all.first().map_or(0, |(_, ratios)| ratios.len());
    for (name, with_own) in [("mean of all", true), ("mean of files", false)] {
        let mean = |column: usize| {
            let sets = all.iter().filter(|(is_own, _)| with_own || !is_own);
            let logs: Vec<f64> =
                sets.map(|(_, ratios)| ratios[column].ln()).filter(|log| !log.is_nan()).collect();
            (logs.iter().sum::<f64>() / logs.len() as f64).exp()
        };
        if with_own || all.iter().any(|(is_own, _)| !is_own) {
            row(name, &(0..columns).map(mean).collect::<Vec<_>>());
        }
    }
}

/// The least time in seconds that each takes, in turns.
pub(crate) fn least(rounds: usize, works: &mut [&mut dyn FnMut()]) -> Vec<f64> {
    let mut times = vec![f64::MAX; works.len()];
    for _ in 0..rounds {
        for (work, time) in works.iter_mut().zip(&mut times) {
            *time = time.min(seconds(work));
        }
    }
    times
}

pub(crate) fn sizes() {
    let contenders: Vec<_> = Contender::all().into_iter().filter(|who| !who.is_bare()).collect();
    let names: Vec<_> = contenders.iter().map(|who| who.name()).collect();
    for regime in [Regime::Jitter, Regime::Second] {
        println!(
            "Bytes a line, {regime:?}:\n\n| set | lines | raw | {} |\n|---|---|---|{}",
            names.join(" | "),
            "---|".repeat(names.len())
        );
        for set in Set::all(regime) {
            let lines = set.lines.len();
            let a_line = |bytes: usize| format!("{:.2}", bytes as f64 / lines as f64);
            let sizes: Vec<_> = contenders.iter().map(|who| a_line(who.build(&set).bytes())).collect();
            println!("| {} | {lines} | {} | {} |", set.name, a_line(set.raw_bytes()), sizes.join(" | "));
        }
        println!();
    }
}

fn measure(set: &Set, contenders: &[Contender], rounds: usize) -> Vec<Times> {
    set.blocks();
    let stored: Vec<Stored> = contenders.iter().map(|who| who.build(set)).collect();
    let mut times: Vec<_> = contenders.iter().map(|_| Times { build: f64::MAX, read: f64::MAX }).collect();
    for _ in 0..rounds {
        for ((who, stored), times) in contenders.iter().zip(&stored).zip(&mut times) {
            times.build = times.build.min(seconds(|| drop(black_box(who.build(set)))));
            times.read = times.read.min(seconds(|| _ = black_box(who.read(stored))));
        }
    }
    times
}

fn seconds(work: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    work();
    begun.elapsed().as_secs_f64()
}
