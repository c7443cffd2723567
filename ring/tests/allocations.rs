//! What a lookup allocates, counted by an allocator.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::hint::black_box;
use std::time::Duration;

use allocation_counter::measure;
use forebay_ring::codec::{decode_members, decode_tokens, encode_members, mend};
use forebay_ring::shard::{Lookback, Query, Rendezvous, TokenWalk};
use forebay_ring::{
    BatchPlan, Instance, Membership, Operation, Options, Require, Ring, State, random_tokens,
};

fn count(work: impl FnOnce()) -> u64 {
    measure(work).count_total
}

/// Instances named in order, each with its zone, state and tokens.
fn ring(replication_factor: u8, members: impl IntoIterator<Item = (&'static str, State, Vec<u32>)>) -> Ring {
    let mut membership = Membership::default();
    for (number, (zone, state, tokens)) in members.into_iter().enumerate() {
        let instance = Instance::new(format!("{number:05}"), "");
        membership.observe(Instance { zone: zone.into(), state, tokens: tokens.into(), ..instance }, 0);
    }
    let options = Options { replication_factor, zone_awareness: true, ..Options::default() };
    Ring::build(&options, &membership, 0).unwrap()
}

/// The members selected for a key from which the walk goes on, and what that allocates.
fn select(ring: &Ring, op: Operation) -> (Vec<String>, u64) {
    let mut selected = Vec::with_capacity(64);
    let allocations = count(|| {
        let set = ring.get(black_box(0), op).unwrap();
        black_box((set.len(), ring.owner(0)));
    });
    selected.extend(ring.get(0, op).unwrap().iter().map(|instance| instance.id.to_string()));
    (selected, allocations)
}

#[test]
fn the_counter_counts() {
    assert_eq!(count(|| drop(black_box(Box::new(1)))), 1);
}

#[test]
fn a_lookup_among_random_tokens_allocates_nothing() {
    let tokens = |id: u32| random_tokens(&id.to_string(), "", 0, 128, &Default::default()).unwrap().to_vec();
    for factor in [1, 3, 5, 8] {
        let ring = ring(factor, (0..30).map(|id| ("", State::Active, tokens(id))));
        let allocations = count(|| {
            for key in (0..u32::MAX).step_by(1 << 22) {
                assert_eq!(ring.get(black_box(key), Operation::WRITE).unwrap().len(), usize::from(factor));
            }
        });
        assert_eq!(allocations, 0, "{factor} replicas");
    }
}

#[test]
fn a_shard_of_up_to_32_allocates_nothing() {
    let tokens = |id: u32| random_tokens(&id.to_string(), "", 0, 64, &Default::default()).unwrap().to_vec();
    let ring = ring(3, (0..99).map(|id| (["a", "b", "c"][id as usize % 3], State::Active, tokens(id))));
    let lookback = Some(Lookback { period: Duration::from_secs(60), now_unix_ns: 1 << 60 });
    let mut members = 0;
    let allocations = count(|| {
        for size in [1, 3, 12, 30] {
            for tenant in ["a", "team-b", "a tenant with quite a long name"] {
                members += ring.shuffle_shard(black_box(tenant), size).len();
                for lookback in [None, lookback] {
                    let query = Query { tenant, size, lookback };
                    members +=
                        ring.shard_by(&TokenWalk, &query).len() + ring.shard_by(&Rendezvous, &query).len();
                }
            }
        }
    });
    assert_eq!((allocations, members), (0, 5 * 3 * (3 + 3 + 12 + 30)));
}

#[test]
fn a_plan_allocates_nothing_once_it_has_grown() {
    let tokens = |id: u32| random_tokens(&id.to_string(), "", 0, 64, &Default::default()).unwrap().to_vec();
    let ring = ring(3, (0..99).map(|id| (["a", "b", "c"][id as usize % 3], State::Active, tokens(id))));
    let keys: Vec<u32> = (0..1_000).map(|key: u32| key.wrapping_mul(0x9e37_79b9)).collect();
    let mut plan = BatchPlan::default();
    ring.plan_batch(&keys, Operation::WRITE, Require::Quorum, &mut plan);
    let calls = plan.calls().len();
    let allocations =
        count(|| ring.plan_batch(black_box(&keys), Operation::WRITE, Require::Quorum, &mut plan));
    assert_eq!((allocations, plan.calls().len()), (0, calls));
}

/// Beside one for each call's future.
#[cfg(feature = "tokio")]
#[test]
fn a_batch_that_is_answered_at_once_allocates_little_beside_its_calls() {
    use forebay_ring::quorum::{BatchOptions, Family, ReplicaResult, Targets, do_batch};
    use std::task::{Context, Waker};

    let tokens = |id: u32| random_tokens(&id.to_string(), "", 0, 64, &Default::default()).unwrap().to_vec();
    let ring = ring(3, (0..99).map(|id| (["a", "b", "c"][id as usize % 3], State::Active, tokens(id))));
    let keys: Vec<u32> = (0..100).map(|key: u32| key.wrapping_mul(0x9e37_79b9)).collect();
    let options = BatchOptions::new(Targets::default(), |_: &()| Family::Server);
    let mut calls = 0;
    let mut write = || {
        let call = |_: &Instance, _| {
            calls += 1;
            std::future::ready(ReplicaResult::Ok)
        };
        let batch = do_batch(&ring, Operation::WRITE, &keys, call, &options);
        assert!(std::pin::pin!(batch).poll(&mut Context::from_waker(Waker::noop())).is_ready());
    };
    write();
    let allocations = count(write);
    assert!(allocations <= calls / 2 + 40, "{allocations} for {} calls", calls / 2);
}

#[test]
fn a_walk_past_a_cluster_of_one_member_s_tokens_allocates_nothing() {
    let ring = ring(
        3,
        [
            ("a", State::Leaving, (1..1_000).collect()),
            ("b", State::Active, vec![5_000]),
            ("b", State::Active, vec![4_000]),
            ("c", State::Active, vec![7_000]),
            ("d", State::Active, vec![6_000]),
        ],
    );
    // The one that leaves extends the walk; of zone b the nearer one is selected.
    let (selected, allocations) = select(&ring, Operation::WRITE);
    assert_eq!(selected, ["00002", "00004", "00003"]);
    assert_eq!(allocations, 0);
}

#[test]
fn a_walk_past_a_zone_of_many_allocates_nothing_while_few_are_selected() {
    let cluster = [("a", State::Leaving, (1..1_000).collect::<Vec<u32>>())];
    let many = (0..500).map(|number| ("b", State::Active, vec![2_000 + number]));
    let last = [("d", State::Active, vec![9_000]), ("c", State::Active, vec![8_000])];
    let ring = ring(3, cluster.into_iter().chain(many).chain(last));
    let (selected, allocations) = select(&ring, Operation::WRITE);
    assert_eq!(selected, ["00001", "00502", "00501"]);
    assert_eq!(allocations, 0);
}

#[test]
fn a_whole_zone_that_extends_is_selected_in_order_in_few_allocations() {
    let zone = (0..1_000).map(|number| ("a", State::Leaving, vec![2_000 - number]));
    let rest = ["b", "c", "d"].map(|zone| (zone, State::Active, vec![9_000]));
    let rest = rest
        .into_iter()
        .zip([9_000, 8_000, 7_000])
        .map(|((zone, state, _), token)| (zone, state, vec![token]));
    let ring = ring(3, zone.chain(rest));
    let set = ring.get(0, Operation::REPORTING).unwrap();
    assert_eq!(set.iter().next().unwrap().id.as_ref(), "00999");
    let leaving_serves = Operation::new(&[State::Active, State::Leaving], &[State::Leaving]);
    let (selected, allocations) = select(&ring, leaving_serves);
    let expected = (0..1_000).rev().chain([1_002, 1_001, 1_000]).map(|number| format!("{number:05}"));
    assert_eq!(selected, expected.collect::<Vec<_>>());
    assert!(allocations <= 32, "{allocations} allocations for 1003 members");
}

/// The bytes a ring holds for each of its tokens, the 4 of the record included.
fn bytes_per_token(replication_factor: u8, tokens: u32, claimed_twice: bool) -> f64 {
    let mut membership = Membership::default();
    for owner in 0..16 {
        let own = (0..tokens).filter(|token| token % 16 == owner).map(|token| token << 8);
        let tokens = own.chain(claimed_twice.then_some(0)).collect();
        membership.observe(Instance { tokens, ..Instance::new(owner.to_string(), "") }, 0);
    }
    let options = Options { replication_factor, ..Options::default() };
    let mut ring = None;
    let built = measure(|| ring = Some(Ring::build(&options, &membership, 0).unwrap()));
    assert_eq!(ring.unwrap().token_count(), tokens as usize);
    4.0 + built.bytes_current as f64 / f64::from(tokens)
}

#[test]
fn a_token_costs_the_bytes_that_the_front_page_says() {
    // The index is half as long as the next power of two, so a power of two is its best case and one more its worst.
    for (factor, tokens, twice, bytes) in [
        (3, 1 << 17, false, 18.0),
        (3, (1 << 17) + 1, false, 20.0),
        (3, 1 << 17, true, 22.0),
        (1, (1 << 17) + 1, false, 16.0),
        (4, (1 << 17) + 1, false, 20.0),
        (16, (1 << 17) + 1, false, 44.0),
        (255, 1 << 17, false, 42.0), // of 16 instances
    ] {
        let found = bytes_per_token(factor, tokens, twice);
        assert!(
            (bytes..bytes + 0.1).contains(&found),
            "{found}, not {bytes}: {factor} replicas, {tokens} tokens"
        );
    }
}

#[test]
fn a_record_that_claims_more_than_it_has_is_refused_before_room_is_made() {
    // An id, an epoch, and 65,536 tokens of which none follows.
    let mut record = [b'T', 1, 1, b'a', 0, 0x80, 0x80, 0x04, 0, 0, 0, 0, 0, 0, 0, 0];
    mend(&mut record);
    let mut refused = None;
    let read = measure(|| refused = decode_tokens(&record).err());
    assert!(refused.is_some() && read.bytes_max < 256, "{refused:?}, {} bytes", read.bytes_max);
}

#[test]
fn decoding_allocates_in_proportion_to_the_bytes_it_is_given() {
    let mut members = Membership::default();
    for number in 0..5_000 {
        members.observe(Instance::new(format!("{number:x}"), ""), 0);
    }
    let mut record = Vec::new();
    encode_members(&members, &mut record).unwrap();
    let mut decoded = None;
    let read = measure(|| decoded = decode_members(&record).ok());
    assert_eq!(decoded.unwrap().len(), 5_000);
    let factor = read.bytes_max as f64 / record.len() as f64;
    assert!(factor < 32.0, "{factor} times the bytes of the smallest members");
}
