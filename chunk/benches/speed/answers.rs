//! What queries cost, at a glance: the columnar format beside Loki's with Zstandard, and beside a read of everything.

use std::hint::black_box;

use forebay_chunk::{Codec, LineFilter, Profile};

use crate::contender::{Contender, Stored};
use crate::query::{ABSENT, counts, filter, rare, scan, wanting, whole, window};
use crate::set::{Regime, Set};
use crate::table::{least, means};

const COLUMNAR: Contender = Contender::Columnar(Profile::Balanced);
const LOKI: Contender = Contender::Loki(Codec::Zstd);

pub(crate) fn print(rounds: usize) {
    windows(rounds);
    let sets: Vec<_> = Set::all(Regime::Jitter)
        .map(|set| {
            let stored = (COLUMNAR.build(&set), LOKI.build(&set));
            (set, stored)
        })
        .collect();
    filters(&sets, rounds);
    by_steps(&sets, rounds);
}

fn windows(rounds: usize) {
    println!("One second in the middle of a chunk of two hours:\n");
    println!(
        "| set | entries | columnar us | its bytes | all of it us | bytes | Loki zstd us | its bytes | all of it us | bytes | \
         time: of all | of Loki's | bytes: of all | of Loki's |"
    );
    println!("|---|{}", "---|".repeat(13));
    let mut all = Vec::new();
    for set in Set::two_hours() {
        let [columnar, loki] = [COLUMNAR, LOKI].map(|who| who.build(&set));
        let times = least(
            rounds,
            &mut [
                &mut || _ = black_box(window(&columnar)),
                &mut || _ = black_box(whole(&columnar)),
                &mut || _ = black_box(window(&loki)),
                &mut || _ = black_box(whole(&loki)),
            ],
        );
        let stats = [window(&columnar), whole(&columnar), window(&loki), whole(&loki)];
        let cost: Vec<_> = times
            .iter()
            .zip(&stats)
            .map(|(time, stats)| format!("{:.0} | {}", time * 1e6, stats.decoded_bytes))
            .collect();
        let bytes = stats.map(|stats| stats.decoded_bytes as f64);
        let ratios = [times[0] / times[1], times[0] / times[2], bytes[0] / bytes[1], bytes[0] / bytes[2]];
        println!("| {} | {} | {} | {} |", set.name, stats[0].entries, cost.join(" | "), cells(&ratios));
        all.push((set.is_own, ratios.to_vec()));
    }
    means(&all);
}

fn filters(sets: &[(Set, (Stored, Stored))], rounds: usize) {
    println!(
        "\nHow many times faster lines are found that have a text than by a test of each line, of Loki zstd and of columnar:\n"
    );
    let names: Vec<_> = ABSENT.iter().map(|(name, _)| format!("absent: {name} | ")).collect();
    println!("| set | {}one line in a hundred |  |\n|---|{}", names.join("| "), "---|".repeat(8));
    let mut all = Vec::new();
    for (set, stored) in sets {
        let mut ratios: Vec<f64> = Vec::new();
        for (_, text) in ABSENT {
            ratios.extend(faster(stored, &wanting(text), rounds));
        }
        let rare: Vec<_> = rare(set).iter().map(|text| faster(stored, &wanting(text), rounds)).collect();
        let mean = |of: usize| {
            let logs: f64 = rare.iter().map(|ratios| ratios[of].ln()).sum();
            (logs / rare.len() as f64).exp()
        };
        ratios.extend([mean(0), mean(1)]);
        println!("| {} | {} |", set.name, cells(&ratios));
        all.push((set.is_own, ratios));
    }
    means(&all);
}

/// How much faster a filtered read is than a scan of the other format, and of its own.
fn faster((columnar, loki): &(Stored, Stored), wanted: &LineFilter, rounds: usize) -> [f64; 2] {
    let found = filter(columnar, wanted).0;
    assert_eq!((found, found), (scan(columnar, wanted), scan(loki, wanted)));
    let times = least(
        rounds,
        &mut [
            &mut || _ = black_box(filter(columnar, wanted)),
            &mut || _ = black_box(scan(loki, wanted)),
            &mut || _ = black_box(scan(columnar, wanted)),
        ],
    );
    [times[1] / times[0], times[2] / times[0]]
}

fn by_steps(sets: &[(Set, (Stored, Stored))], rounds: usize) {
    println!("\nHow many times faster lines are counted than read, of Loki zstd and of columnar:\n");
    println!("| set | by seconds |  | by minutes |  |\n|---|{}", "---|".repeat(4));
    let mut all = Vec::new();
    for (set, (columnar, loki)) in sets {
        let mut ratios = Vec::new();
        for seconds in [1, 60] {
            assert_eq!(counts(columnar, seconds), set.lines.len() as u64);
            let times = least(
                rounds,
                &mut [
                    &mut || _ = black_box(counts(columnar, seconds)),
                    &mut || _ = black_box(LOKI.read(loki)),
                    &mut || _ = black_box(COLUMNAR.read(columnar)),
                ],
            );
            ratios.extend([times[1] / times[0], times[2] / times[0]]);
        }
        println!("| {} | {} |", set.name, cells(&ratios));
        all.push((set.is_own, ratios));
    }
    means(&all);
}

fn cells(ratios: &[f64]) -> String {
    let cell = |ratio: &f64| match ratio {
        ratio if ratio.is_nan() => String::new(),
        ratio if *ratio < 1.0 => format!("{ratio:.3}"),
        ratio => format!("{ratio:.1}"),
    };
    ratios.iter().map(cell).collect::<Vec<_>>().join(" | ")
}
