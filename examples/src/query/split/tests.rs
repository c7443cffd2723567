use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;

use super::*;
use crate::labels::Labels;

fn chunk(from_ns: i64, through_ns: i64) -> ChunkRef {
    ChunkRef {
        key: format!("{from_ns}-{through_ns}"),
        labels: Labels::from_sorted(&[("app", "a")]),
        fingerprint: 0,
        from_ns,
        through_ns,
        entries: 1,
        raw_bytes: 1,
        stored_bytes: 1,
        ingested_at_ns: 0,
        tally: None,
    }
}

proptest! {
    #[test]
    fn each_time_of_each_chunk_is_in_one_part_and_parts_come_in_order(
        chunks in prop::collection::vec((0..4_u32, -20..20_i64, 0..9_i64), 0..12),
        span in (-25..25_i64, 0..40_i64),
        interval in prop::option::of(1..7_i64),
        streams in 1..4_usize,
        back: bool,
    ) {
        let direction = if back { Direction::Backward } else { Direction::Forward };
        let span = Span { from_ns: span.0, through_ns: span.0 + span.1 };
        let mut chunks: Vec<(u32, ChunkRef)> =
            chunks.into_iter().map(|(stream, from, length)| (stream, chunk(from, from + length))).collect();
        chunks.sort_by_key(|(stream, _)| *stream);
        let refs: Vec<(u32, &ChunkRef)> = chunks.iter().map(|(stream, chunk)| (*stream, chunk)).collect();
        let streams = NonZeroUsize::new(streams).unwrap();
        let found: Vec<Part> =
            parts(direction, span, interval.and_then(NonZeroI64::new), streams, &refs).collect();
        let mut covered: BTreeMap<(u32, String, i64), usize> = BTreeMap::new();
        for part in &found {
            let Span { from_ns, through_ns } = part.span;
            prop_assert!(span.from_ns <= from_ns && from_ns <= through_ns && through_ns <= span.through_ns);
            if let Some(interval) = interval {
                prop_assert_eq!(from_ns.div_euclid(interval), through_ns.div_euclid(interval));
            }
            let own: BTreeSet<u32> = part.chunks.iter().map(|(stream, _)| *stream).collect();
            prop_assert!((1..=streams.get()).contains(&own.len()));
            for (stream, chunk) in &part.chunks {
                for at in chunk.from_ns.max(from_ns)..=chunk.through_ns.min(through_ns) {
                    *covered.entry((*stream, chunk.key.clone(), at)).or_default() += 1;
                }
            }
        }
        let copies = |stream: u32, chunk: &ChunkRef| chunks.iter().filter(|c| **c == (stream, chunk.clone())).count();
        let expected: BTreeMap<_, _> = chunks
            .iter()
            .flat_map(|(stream, chunk)| {
                let within = chunk.from_ns.max(span.from_ns)..=chunk.through_ns.min(span.through_ns);
                within.map(move |at| ((*stream, chunk.key.clone(), at), copies(*stream, chunk)))
            })
            .collect();
        prop_assert_eq!(covered, expected);
        let starts = found.iter().map(|part| if back { -part.span.from_ns } else { part.span.from_ns });
        prop_assert!(starts.is_sorted());
    }
}

/// Thousands of years lie between two chunks, and the ends of time are no interval's.
#[test]
fn time_without_chunks_costs_nothing() {
    let chunks = [chunk(i64::MIN, i64::MIN + 1), chunk(0, 0), chunk(i64::MAX, i64::MAX)];
    let refs: Vec<(u32, &ChunkRef)> = chunks.iter().map(|chunk| (0, chunk)).collect();
    for direction in [Direction::Forward, Direction::Backward] {
        let mut found: Vec<Part> =
            parts(direction, Span::ALL, NonZeroI64::new(1000), NonZeroUsize::MIN, &refs).collect();
        if direction == Direction::Backward {
            found.reverse();
        }
        let keys: Vec<&str> = found.iter().map(|part| part.chunks[0].1.key.as_str()).collect();
        assert_eq!(keys, chunks.each_ref().map(|chunk| chunk.key.as_str()));
    }
}

#[tokio::test(start_paused = true)]
async fn so_many_parts_are_worked_on_and_one_that_fails_is_the_answer() {
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let work = |lines: u64| {
        let (now, most) = (Arc::clone(&now), Arc::clone(&most));
        async move {
            most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            now.fetch_sub(1, Ordering::Relaxed);
            if lines == 7 {
                return Err(ExecuteError::Order);
            }
            Ok(Stages { lines, ..Stages::default() })
        }
    };
    let three = NonZeroUsize::new(3).unwrap();
    assert_eq!(run(three, 8..20, work).await.unwrap().lines, (8..20).sum::<u64>());
    assert_eq!(most.load(Ordering::Relaxed), 3);
    assert!(matches!(run(three, 0..20, work).await, Err(ExecuteError::Order)));
    let lost = run(three, [1, 2], |n: u64| async move {
        assert_ne!(n, 2, "two");
        Ok(Stages::default())
    });
    assert!(matches!(lost.await, Err(ExecuteError::Part { why }) if why.contains("two")));
}
