//! A cluster of 1,000 ingesters and 1,000,000 streams: how evenly they share the load, how much moves when 6 become 9, and
//! how long all of it takes.

use std::time::Duration;

use forebay_ring::{Operation, Ring};
use forebay_ring_peers::fleet::{Fleet, Tokens, number_of};
use forebay_ring_peers::keys;
use forebay_ring_peers::others::{anchor, ketama, node_of, rendezvous};
use forebay_ring_peers::rounds::spent;

const STREAMS: usize = 1_000_000;
const INGESTERS: u16 = 1_000;

const TOKENS: [(&str, Tokens); 3] = [
    ("128 random tokens", Tokens::Random(128)),
    ("512 random tokens", Tokens::Random(512)),
    ("512 spread tokens", Tokens::Spread),
];

fn main() {
    let started = spent();
    let streams = keys::streams(STREAMS);
    println!("keys of {STREAMS} streams made in {:.0} ms\n", millis(started));
    spread(&streams);
    moved(&streams);
    scale_out(&streams);
}

fn millis(since: Duration) -> f64 {
    (spent() - since).as_secs_f64() * 1e3
}

/// The load of each as a part of the mean.
fn row(name: &str, loads: &[u32], ms: f64) {
    let mean = loads.iter().map(|&load| f64::from(load)).sum::<f64>() / loads.len() as f64;
    let square = loads.iter().map(|&load| (f64::from(load) - mean).powi(2)).sum::<f64>() / loads.len() as f64;
    let part = |load: Option<&u32>| f64::from(*load.expect("there are loads")) / mean;
    println!(
        "| {name} | {:.3} | {:.3} | {:.2} % | {ms:.0} ms |",
        part(loads.iter().max()),
        part(loads.iter().min()),
        100.0 * square.sqrt() / mean
    );
}

fn spread(streams: &[u32]) {
    println!("{STREAMS} streams over {INGESTERS} ingesters, of the mean load");
    println!("\n| | most | least | deviation | time |\n|---|---|---|---|---|");
    for (name, tokens) in TOKENS {
        for zones in [3, 0] {
            let ring = Fleet::new(INGESTERS, tokens, zones).ring();
            let mut loads = vec![0; usize::from(INGESTERS)];
            let started = spent();
            for &key in streams {
                for instance in ring.get(key, Operation::WRITE).expect("all are healthy").iter() {
                    loads[number_of(&instance.id)] += 1;
                }
            }
            let ms = millis(started);
            let of = if zones == 0 { "no zones" } else { "3 zones" };
            row(&format!("three copies, {of}, {name}"), &loads, ms);
        }
    }
    for (name, tokens) in TOKENS {
        let ring = Fleet::new(INGESTERS, tokens, 0).ring();
        one(&format!("one copy, {name}"), streams, |key| number_of(&ring.owner(key).expect("tokens").id));
    }
    let ring = ketama(INGESTERS, 160);
    one("one copy, pingora-ketama, 160 points", streams, |key| {
        usize::from(node_of(&ring.node(&key.to_le_bytes()).expect("there are nodes")))
    });
    let ring = anchor(INGESTERS);
    one("one copy, anchorhash", streams, |key| {
        usize::from(*ring.get_resource(key).expect("there are nodes"))
    });
    let ring = rendezvous(INGESTERS);
    one("one copy, hrw", streams, |key| usize::from(*ring.pick_top(&key).expect("there are nodes")));
    // As if each stream had thrown a die.
    let (mut state, mut loads) = (1_u64, vec![0; usize::from(INGESTERS)]);
    for _ in streams {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        loads[usize::try_from((state >> 33) % u64::from(INGESTERS)).expect("few")] += 1;
    }
    row("one copy, by dice", &loads, 0.0);
}

fn one(name: &str, streams: &[u32], owner: impl Fn(u32) -> usize) {
    let mut loads = vec![0; usize::from(INGESTERS)];
    let started = spent();
    streams.iter().for_each(|&key| loads[owner(key)] += 1);
    row(name, &loads, millis(started));
}

/// Who holds each stream before and after.
fn copies(ring: &Ring, key: u32) -> Vec<usize> {
    let set = ring.get(key, Operation::WRITE).expect("all are healthy");
    set.iter().map(|instance| number_of(&instance.id)).collect()
}

fn moved(streams: &[u32]) {
    println!("\n6 ingesters become 9: a third of all copies would have to move if shares were even");
    println!(
        "\n| | copies that move | of a third | between old ones | most after | least after |\n|---|---|---|---|---|---|"
    );
    for (name, tokens) in TOKENS {
        for zones in [3, 0] {
            let rings = [6, 9].map(|count| Fleet::new(count, tokens, zones).ring());
            let of = if zones == 0 { "no zones" } else { "3 zones" };
            moved_row(&format!("three copies, {of}, {name}"), streams, 3, |key| {
                [copies(&rings[0], key), copies(&rings[1], key)]
            });
        }
    }
    let rings = [6, 9].map(|count| ketama(count, 160));
    moved_row("one copy, pingora-ketama, 160 points", streams, 1, |key| {
        [0, 1].map(|at| vec![node_of(&rings[at].node(&key.to_le_bytes()).expect("nodes")).into()])
    });
    let before = anchorhash::Builder::with_hasher(forebay_ring_peers::others::Identity)
        .with_resources(0..6_u16)
        .build::<u32>(16);
    let mut after = before.clone();
    (6..9).for_each(|node| after.add_resource(node).expect("there is room"));
    moved_row("one copy, anchorhash", streams, 1, |key| {
        [&before, &after].map(|ring| vec![usize::from(*ring.get_resource(key).expect("nodes"))])
    });
    let before = rendezvous(6);
    let mut after = before.clone();
    (6..9).for_each(|node| assert!(after.add_node(node)));
    moved_row("one copy, hrw", streams, 1, |key| {
        [&before, &after].map(|ring| vec![usize::from(*ring.pick_top(&key).expect("nodes"))])
    });
}

fn moved_row(name: &str, streams: &[u32], replicas: usize, sets: impl Fn(u32) -> [Vec<usize>; 2]) {
    let (mut moved, mut between, mut loads) = (0, 0, vec![0_u32; 9]);
    for &key in streams {
        let [was, is] = sets(key);
        for node in is {
            loads[node] += 1;
            if !was.contains(&node) {
                moved += 1;
                between += usize::from(node < 6);
            }
        }
    }
    let share = moved as f64 / (replicas * streams.len()) as f64;
    let mean = loads.iter().sum::<u32>() as f64 / 9.0;
    let part = |load: Option<&u32>| f64::from(*load.expect("there are loads")) / mean;
    println!(
        "| {name} | {:.2} % | {:.3} | {between} | {:.3} | {:.3} |",
        100.0 * share,
        3.0 * share,
        part(loads.iter().max()),
        part(loads.iter().min())
    );
}

/// The steps of an observer when 600 become 900 with 512 tokens each, in 3 zones.
fn scale_out(streams: &[u32]) {
    println!("\n600 ingesters of 512 random tokens become 900, in 3 zones\n");
    let fleets = [600, 900].map(|count| Fleet::new(count, Tokens::Random(512), 3));
    let before = fleets[0].ring();
    let started = spent();
    let after = before.updated(&fleets[1].members, 0).expect("within all limits");
    println!("- the new snapshot: {:.1} ms", millis(started));
    let started = spent();
    let diff = before.diff(&after);
    println!("- which ranges move: {:.1} ms for {} of them", millis(started), diff.moves().len());
    let started = spent();
    let totals = diff.totals();
    println!("- from whom to whom: {:.1} ms for {} pairs", millis(started), totals.len());
    println!("- keys with another set: {:.2} % of all", 100.0 * diff.keys() as f64 / (1_u64 << 32) as f64);
    let started = spent();
    let mut changed = 0;
    for &key in streams {
        let [was, is] =
            [&before, &after].map(|ring| ring.get(key, Operation::WRITE).expect("all are healthy"));
        changed += usize::from(!is.iter().all(|instance| was.contains(&instance.id)));
    }
    let (ms, share) = (millis(started), 100.0 * changed as f64 / STREAMS as f64);
    println!("- the same of {STREAMS} streams, each looked up in both: {share:.2} % in {ms:.0} ms");
}
