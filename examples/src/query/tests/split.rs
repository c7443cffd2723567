use std::collections::BTreeSet;
use std::num::NonZeroI64;

use proptest::prelude::*;

use super::*;

/// What is pushed at once: to which ingesters, and whether they store what they have before.
#[derive(Debug, Clone)]
struct Push {
    /// Time, stream and line of each.
    entries: Vec<(i64, usize, u8)>,
    to: [bool; 2],
    store: [bool; 2],
}

const STREAMS: [&str; 3] = ["a", "b", "c"];

fn pushes() -> impl Strategy<Value = Vec<Push>> {
    let entry = (0..40_i64, 0..STREAMS.len(), 0..4_u8);
    let to = prop::sample::select(vec![[true, true], [true, false], [false, true]]);
    let push = (prop::collection::vec(entry, 1..40), to, any::<[bool; 2]>());
    prop::collection::vec(push.prop_map(|(entries, to, store)| Push { entries, to, store }), 1..6)
}

/// Of two ingesters and their store, of which either may be asked to know all: the lines of each are in one of them.
async fn filled(pushes: &[Push]) -> Querier {
    let storage = storage();
    let ingesters = [ingester_on(storage.clone()).await, ingester_on(storage.clone()).await];
    for push in pushes {
        for ((ingester, to), store) in ingesters.iter().zip(push.to).zip(push.store) {
            if store {
                IngesterClient::flush(ingester).await.unwrap();
            }
            if !to {
                continue;
            }
            let mut writer = Writer::new("t", 0);
            for (number, app) in STREAMS.iter().enumerate() {
                writer.begin(&[("app", app)]);
                for (at, _, line) in push.entries.iter().filter(|(_, stream, _)| *stream == number) {
                    writer.entry(*at, [&[b'0' + line], b""], &[]);
                }
                writer.end();
            }
            ingester.push(writer.finish().record()).await.unwrap();
        }
    }
    querier_on(storage, 1, ingesters.map(|ingester| Arc::new(ingester) as Arc<dyn IngesterClient>).into())
}

/// Time, labels and line of each.
fn shown(lines: &Lines) -> Vec<(i64, Labels, Bytes)> {
    let entries = lines.entries.iter();
    entries.map(|e| (e.found.timestamp_ns, lines.streams[e.stream].clone(), e.found.line.clone())).collect()
}

fn metric(text: &str) -> crate::logql::Metric {
    let Query::Metric(metric) = Query::parse(text).unwrap() else { unreachable!("it is a metric query") };
    metric
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_query_in_parts_has_the_answer_of_the_whole(
        pushes in pushes(),
        parts in (1..12_i64, 1..5_usize),
        span in (0..30_i64, 0..40_i64),
        limit in prop_oneof![1..20_usize, Just(1000)],
        grid in (0..20_i64, 0..40_i64, 1..9_i64),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let whole = Split { interval_ns: None, parallelism: NonZeroUsize::MIN };
        let parts = Split {
            interval_ns: NonZeroI64::new(parts.0),
            parallelism: NonZeroUsize::new(parts.1).unwrap(),
        };
        let querier = runtime.block_on(filled(&pushes));
        let span = Span { from_ns: span.0, through_ns: span.0 + span.1 };
        let entries = pushes.iter().flat_map(|push| push.entries.iter().copied());
        let all: BTreeSet<(i64, usize, u8)> = entries.collect();

        let Query::Logs(logs) = Query::parse(r#"{app=~".+"} != "3""#).unwrap() else {
            unreachable!("it asks for lines")
        };
        for direction in [Direction::Forward, Direction::Backward] {
            let query = LogQuery { direction, span, ..newest(logs.clone(), limit) };
            let asked = |split| querier.lines("t", LogQuery { split, ..query.clone() });
            let found = shown(&runtime.block_on(asked(whole)).unwrap());
            prop_assert_eq!(&shown(&runtime.block_on(asked(parts)).unwrap()), &found);
            let mut expected: Vec<(i64, usize, u8)> = all
                .iter()
                .copied()
                .filter(|(at, _, line)| (span.from_ns..=span.through_ns).contains(at) && *line != 3)
                .collect();
            if direction == Direction::Backward {
                expected.sort_by_key(|(at, stream, _)| (-at, *stream));
            }
            let place = |(at, stream, _): &(i64, usize, u8)| (*at, STREAMS[*stream]);
            let places: Vec<(i64, &str)> = expected.iter().take(limit).map(place).collect();
            let found_places: Vec<(i64, &str)> = found.iter().map(|(at, labels, _)| (*at, labels.pairs()[0].1)).collect();
            prop_assert_eq!(found_places, places);
            let once: BTreeSet<_> = found.iter().collect();
            prop_assert_eq!(once.len(), found.len());
        }

        let grid = Grid { start_ns: grid.0, end_ns: grid.0 + grid.1, step_ns: grid.2 };
        for text in [
            r#"count_over_time({app=~".+"}[7ns])"#,
            r#"max by (app) (bytes_over_time({app=~".+"} != "3" [20ns] offset 3ns))"#,
            r#"topk(1, sum without (x) (rate({app=~".+"}[1ns])))"#,
        ] {
            let metric = metric(text);
            let query = MetricQuery {
                span: reads(&metric, grid),
                metric,
                grid,
                max_series: 10,
                max_bytes: u64::MAX,
                split: whole,
            };
            let found = runtime.block_on(querier.metric("t", &query)).unwrap().series;
            let query = MetricQuery { split: parts, ..query };
            prop_assert_eq!(&runtime.block_on(querier.metric("t", &query)).unwrap().series, &found, "{}", text);
            if text.starts_with("count") {
                let count = |at: i64, stream: usize| all.iter().filter(|(t, s, _)| *s == stream && *t > at - 7 && *t <= at).count();
                for (labels, points) in &found {
                    let stream = STREAMS.iter().position(|app| *app == labels.pairs()[0].1).unwrap();
                    for (number, value) in points {
                        prop_assert_eq!(*value, count(grid.at(*number), stream) as f64);
                    }
                }
                let points: usize = found.iter().map(|(_, points)| points.len()).sum();
                let expected = (0..u32::try_from(grid.len()).unwrap()).flat_map(|n| (0..STREAMS.len()).map(move |s| (n, s)));
                prop_assert_eq!(points, expected.filter(|(n, s)| count(grid.at(*n), *s) > 0).count());
            }
        }
    }
}

/// The second ends with a line in memory and in a chunk, and the next begins with others.
#[tokio::test(start_paused = true)]
async fn lines_on_both_sides_of_a_seam_come_once_and_count_in_every_window_that_reaches_over_it() {
    let storage = storage();
    let ingester = ingester_on(storage.clone()).await;
    let push = |times: [i64; 4]| {
        let mut writer = Writer::new("t", 0);
        writer.begin(&[("app", "a")]);
        for (number, at) in times.into_iter().enumerate() {
            writer.entry(at, [number.to_string().as_bytes(), b""], &[]);
        }
        writer.end();
        ingester.push(writer.finish().record())
    };
    push([SECOND - 1, SECOND - 1, SECOND, SECOND + 1]).await.unwrap();
    IngesterClient::flush(&ingester).await.unwrap();
    push([SECOND - 1, SECOND - 1, SECOND, 2 * SECOND]).await.unwrap();
    let querier = querier_on(storage, 1, vec![Arc::new(ingester.clone())]);
    let split = Split { interval_ns: NonZeroI64::new(SECOND), ..Split::default() };
    let metric = metric(r#"count_over_time({app="a"}[1s])"#);
    let grid = Grid { start_ns: SECOND - 1, end_ns: 3 * SECOND, step_ns: SECOND / 2 };
    let Query::Logs(logs) = Query::parse(r#"{app="a"}"#).unwrap() else { panic!("lines are asked for") };
    for _ in 0..2 {
        let lines = querier.lines("t", LogQuery { split, ..newest(logs.clone(), 10) }).await.unwrap();
        let times: Vec<i64> = lines.entries.iter().map(|entry| entry.found.timestamp_ns).collect();
        assert_eq!(times, [2 * SECOND, SECOND + 1, SECOND, SECOND - 1, SECOND - 1]);
        let query = MetricQuery {
            span: reads(&metric, grid),
            metric: metric.clone(),
            grid,
            max_series: 10,
            max_bytes: u64::MAX,
            split,
        };
        let points = querier.metric("t", &query).await.unwrap().series.remove(0).1;
        // A nanosecond before 1 s, 1.5 s, 2 s, 2.5 s and 3 s.
        assert_eq!(points, [(0, 2.0), (1, 4.0), (2, 2.0), (3, 1.0), (4, 1.0)]);
        IngesterClient::flush(&ingester).await.unwrap();
    }
}

/// All parts of all queries of a process share what may be read at the same time.
#[tokio::test(start_paused = true)]
async fn no_more_parts_read_at_the_same_time_than_the_process_allows() {
    let querier = querier(1, vec![Arc::new(ingester().await)]);
    let turns: Vec<_> = futures_util::future::join_all((0..4).map(|_| querier.turn())).await;
    assert!(futures_util::poll!(std::pin::pin!(querier.turn())).is_pending());
    drop(turns);
    drop(querier.turn().await);
}

/// A chunk that was read is not decoded again, whichever query reads it.
#[tokio::test(start_paused = true)]
async fn what_was_decoded_for_a_query_is_there_for_the_next() {
    let storage = storage();
    let ingester = ingester_on(storage.clone()).await;
    let mut writer = Writer::new("t", 0);
    writer.begin(&[("app", "a")]);
    for at in 0..1000 {
        writer.entry(at, [at.to_string().as_bytes(), b""], &[]);
    }
    writer.end();
    ingester.push(writer.finish().record()).await.unwrap();
    IngesterClient::flush(&ingester).await.unwrap();
    let querier = querier_on(storage, 1, vec![Arc::new(ingester)]);
    assert_eq!(querier.blocks.counts(), (0, 0));
    assert_eq!(value(&querier.metric("t", &count(u64::MAX)).await.unwrap()), 1000.0);
    let (blocks, bytes) = querier.blocks.counts();
    assert!(blocks == 1 && bytes > 1000 * 24, "{blocks} blocks of {bytes} bytes");
    let Query::Logs(logs) = Query::parse(r#"{app="a"} |= "77""#).unwrap() else {
        panic!("lines are asked for")
    };
    assert_eq!(querier.lines("t", newest(logs, 100)).await.unwrap().entries.len(), 19);
    assert_eq!(querier.blocks.counts(), (blocks, bytes));
}
