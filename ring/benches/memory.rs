//! How many bytes a ring takes for each token, all indexes and the record counted.
//!
//! `cargo bench -p forebay-ring --bench memory`.
#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use allocation_counter::measure;
use forebay_ring::{Instance, Membership, Options, Ring, State, TokenSet, random_tokens};

fn members(instances: usize, tokens: usize) -> Membership {
    let mut members = Membership::default();
    for number in 0..instances {
        let (id, zone) = (format!("ingester-{number:05}"), format!("zone-{}", number % 3));
        let tokens = random_tokens(&id, &zone, 0, tokens, &TokenSet::default()).unwrap();
        let instance =
            Instance { state: State::Active, zone: zone.as_str().into(), tokens, ..Instance::new(id, "") };
        members.observe(instance, 0);
    }
    members
}

fn main() {
    println!("| | tokens | bytes of the records and the snapshot | a token |\n|---|---|---|---|");
    for (instances, tokens) in [(99, 128), (99, 512), (500, 512), (999, 512), (10_000, 128)] {
        let mut kept = None;
        let options = Options { zone_awareness: true, ..Options::default() };
        let allocated = measure(|| {
            let members = members(instances, tokens);
            let ring = Ring::build(&options, &members, 0).unwrap();
            kept = Some((members, ring));
        });
        let count = kept.as_ref().unwrap().1.token_count();
        let bytes = allocated.bytes_current;
        println!("| {instances} x {tokens} | {count} | {bytes} | {:.1} |", bytes as f64 / count as f64);
    }
}
