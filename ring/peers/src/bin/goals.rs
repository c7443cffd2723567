//! The cases that have goals, in turn, by the time that the thread spends on a processor: for a machine on which other
//! programs run. On a quiet one the crate's own benches tell more.

use forebay_ring::{BatchPlan, Instance, Membership, Operation, Require, Ring, State};
use forebay_ring_peers::fleet::{Fleet, Tokens, options};
use forebay_ring_peers::keys;
use forebay_ring_peers::others::Bisected;
use forebay_ring_peers::rounds::{Contender, contender, measure};

fn leaving(members: &Membership, zone: &str) -> Membership {
    let mut changed = members.clone();
    for member in members.iter().filter(|member| *member.instance.zone == *zone) {
        let version = member.instance.version.next();
        let record = Instance { state: State::Leaving, version, ..Instance::clone(&member.instance) };
        assert!(changed.observe(record, 0), "it is newer");
    }
    changed
}

fn build(members: &Membership) -> Ring {
    Ring::build(&options(true), members, 0).expect("within all limits")
}

/// Two minutes later, when all but the first have been heard of again.
fn one_silent(members: &Membership) -> Ring {
    const NOW_NS: u64 = 120_000_000_000;
    let mut changed = members.clone();
    for member in members.iter().skip(1) {
        let record =
            Instance { version: member.instance.version.next(), ..Instance::clone(&member.instance) };
        assert!(changed.observe(record, NOW_NS), "it is newer");
    }
    let ring = Ring::build(&options(true), &changed, NOW_NS).expect("within all limits");
    assert_eq!(ring.healthy(Operation::WRITE).count() + 1, ring.instances().len());
    ring
}

fn main() {
    for (instances, tokens) in [(99, 128), (99, 512), (999, 512)] {
        let fleet = Fleet::new(instances, Tokens::Random(tokens), 3);
        let (ring, bisected) = (fleet.ring(), Bisected::new(&fleet));
        let away = build(&leaving(&fleet.members, "zone-1"));
        let one_silent = one_silent(&fleet.members);
        let name = |what: &str| format!("{what}, {instances} × {tokens}");
        table(vec![
            contender(name("get"), |key| ring.get(key, Operation::WRITE)),
            contender(name("get, one instance silent"), |key| one_silent.get(key, Operation::WRITE)),
            contender(name("get, one zone leaving, extended (an error)"), |key| {
                away.get(key, Operation::WRITE)
            }),
            contender(name("get, one zone leaving, not extended"), |key| {
                away.get(key, Operation::WRITE_NO_EXTEND)
            }),
            contender(name("partition_point"), |key| bisected.place(key)),
        ]);
    }
    let fleet = Fleet::new(1_200, Tokens::Random(128), 4);
    let (four, away) = (fleet.ring(), build(&leaving(&fleet.members, "zone-1")));
    table(vec![
        contender("get, 1,200 × 128 in 4 zones", |key| four.get(key, Operation::WRITE)),
        contender("get, one of the 4 zones leaving, extended", |key| away.get(key, Operation::WRITE)),
    ]);

    let ring = Fleet::new(100, Tokens::Random(128), 3).ring();
    let mut plan = BatchPlan::default();
    let batches: Vec<Vec<u32>> = keys::random(keys::KEYS).chunks(1_000).map(<[u32]>::to_vec).collect();
    let shards = Fleet::new(99, Tokens::Random(512), 3).ring();
    let tenants: Vec<String> = (0..4_096).map(|number| format!("tenant-{number}")).collect();
    let members = Fleet::new(500, Tokens::Random(512), 3).members;
    let (before, changed) = (build(&members), leaving(&members, "zone-1"));
    assert!(before.updated(&changed, 1).is_ok_and(|after| after.shares_topology(&before)));
    table(vec![
        contender("plan of 1,000 keys over 100 × 128", |key| {
            let batch = &batches[key as usize % batches.len()];
            ring.plan_batch(batch, Operation::WRITE, Require::Quorum, &mut plan);
            plan.calls().len()
        }),
        contender("shard of 12 of 99 × 512", |key| {
            shards.shuffle_shard(&tenants[key as usize % tenants.len()], 12).len()
        }),
        contender("update of states, 500 × 512", |_| before.updated(&changed, 1)),
        contender("the same time judged anew, 500 × 512", |key| {
            before.with_health(key.into()).token_count()
        }),
    ]);
}

fn table(mut contenders: Vec<Contender<'_>>) {
    println!("\n| | ns | lowest round |\n|---|---|---|");
    let figures = measure(&mut contenders, &keys::random(keys::KEYS), 61);
    for (contender, figure) in contenders.iter().zip(figures) {
        println!("| {} | {:.1} | {:.1} |", contender.name, figure.median, figure.lowest);
    }
}
