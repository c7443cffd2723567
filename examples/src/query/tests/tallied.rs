use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// A quarter of a second.
const TICK: i64 = SECOND / 4;

fn metric(text: &str, grid: Grid) -> MetricQuery {
    let Query::Metric(metric) = Query::parse(text).unwrap() else { unreachable!("it is a metric query") };
    let (span, split) = (reads(&metric, grid), Split::default());
    MetricQuery { span, metric, grid, max_series: 10, max_bytes: u64::MAX, split }
}

/// Pushes lines of a stream, and stores them if that is said.
async fn push(ingester: &Ingester<SimFs>, lines: &[(i64, u8)], store: bool) {
    let mut writer = Writer::new("t", 0);
    writer.begin(&[("app", "a")]);
    for (at, line) in lines {
        writer.entry(*at, [&[b'0' + line], b""], &[]);
    }
    writer.end();
    ingester.push(writer.finish().record()).await.unwrap();
    if store {
        IngesterClient::flush(ingester).await.unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_counted_by_seconds_is_what_is_read(
        pushes in prop::collection::vec(
            (prop::collection::vec((0..12_i64, 0..3_u8), 1..12), 0..3_i64, any::<bool>(), any::<bool>()),
            1..7,
        ),
        grid in (-1..4_i64, 0..14_i64, 1..4_i64),
        range in 1..5_i64,
        offset in 1..3_i64,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let grid =
            Grid { start_ns: grid.0 * SECOND, end_ns: (grid.0 + grid.1) * SECOND, step_ns: grid.2 * SECOND };
        runtime.block_on(async {
            let storage = storage();
            let ingesters = [ingester_on(storage.clone()).await, ingester_on(storage.clone()).await];
            let mut all = BTreeSet::new();
            // Most pushes go on where the one before has ended, and some come late or to both.
            let mut begin = 0;
            for (lines, late, both, store) in &pushes {
                let mut lines: Vec<(i64, u8)> =
                    lines.iter().map(|(at, line)| ((begin + at - 4 * (late / 2)) * TICK, *line)).collect();
                lines.sort_unstable();
                begin = lines.last().unwrap().0 / TICK + 1;
                all.extend(lines.iter().copied());
                push(&ingesters[0], &lines, *store).await;
                if *both && *late == 2 {
                    push(&ingesters[1], &lines, *store).await;
                }
            }
            let [one, other] = ingesters.map(|ingester| Arc::new(ingester) as Arc<dyn IngesterClient>);
            let querier = querier_on(storage, 1, vec![one, other]);
            for function in ["count_over_time", "bytes_over_time", "rate"] {
                let text = |filter: &str| format!(r#"{function}({{app="a"}} {filter} [{range}s] offset {offset}s)"#);
                let read = querier.metric("t", &metric(&text(r#"|= """#), grid)).await.unwrap();
                let counted = querier.metric("t", &metric(&text(""), grid)).await.unwrap();
                prop_assert_eq!(&counted.series, &read.series);
                if function == "count_over_time" {
                    let points = counted.series.iter().flat_map(|(_, points)| points);
                    for (number, value) in points {
                        let end = grid.at(*number) - offset * SECOND;
                        let within = all.iter().filter(|(at, _)| *at > end - range * SECOND && *at <= end);
                        prop_assert_eq!(*value, within.count() as f64);
                    }
                }
            }
            Ok::<_, TestCaseError>(())
        })?;
    }
}

/// A query of all lines in a time read all of them, whatever number there was.
#[tokio::test(start_paused = true)]
async fn lines_are_counted_without_reading_where_none_may_be_there_twice() {
    let storage = storage();
    let ingester = ingester_on(storage.clone()).await;
    let lines = |from: i64| (from..from + 20).map(|n| (n * TICK, 0)).collect::<Vec<_>>();
    push(&ingester, &lines(1), true).await;
    push(&ingester, &lines(21), true).await;
    push(&ingester, &lines(41), false).await;
    let querier = querier_on(storage, 1, vec![Arc::new(ingester.clone())]);
    let grid = Grid { start_ns: 5 * SECOND, end_ns: 20 * SECOND, step_ns: 5 * SECOND };
    let count = |filter: &str| metric(&format!(r#"sum(count_over_time({{app=~".+"}} {filter} [5s]))"#), grid);
    for _ in 0..2 {
        let counted = querier.metric("t", &count("")).await.unwrap();
        assert_eq!(counted.series[0].1, [(0, 20.0), (1, 20.0), (2, 20.0)]);
        assert_eq!((counted.stages.lines, counted.stages.bytes), (0, 0));
        IngesterClient::flush(&ingester).await.unwrap();
    }
    assert_eq!(querier.metric("t", &count(r#"|= "0""#)).await.unwrap().stages.lines, 60);
    // Neither where windows end within a second, nor where not all of a window may be looked at.
    let shifted = |query: MetricQuery, by| {
        let grid = Grid { start_ns: grid.start_ns + by, ..grid };
        MetricQuery { grid, span: reads(&query.metric, grid), ..query }
    };
    assert!(querier.metric("t", &shifted(count(""), 1)).await.unwrap().stages.lines > 0);
    assert_eq!(querier.metric("t", &shifted(count(""), SECOND)).await.unwrap().stages.lines, 0);
    let short = MetricQuery { span: Span { from_ns: 3 * SECOND, ..count("").span }, ..count("") };
    let read = querier.metric("t", &short).await.unwrap();
    assert_eq!((read.series[0].1[0], read.stages.lines), ((0, 9.0), 49));
    // A line that comes late may be one that is stored already, as is the first of these.
    push(&ingester, &[(TICK, 0), (TICK, 1)], false).await;
    let read = querier.metric("t", &count("")).await.unwrap();
    assert_eq!(read.series[0].1, [(0, 21.0), (1, 20.0), (2, 20.0)]);
    assert_eq!(read.stages.duplicates, 1);
}

/// What is stored between the answer of an ingester and that of the index is in both.
#[tokio::test(start_paused = true)]
async fn a_chunk_that_is_in_memory_and_stored_counts_once() {
    let storage = storage();
    let ingester = ingester_on(storage.clone()).await;
    push(&ingester, &[(SECOND, 0), (2 * SECOND, 1)], false).await;
    let late = Arc::new(Late(ingester));
    let querier = querier_on(storage, 1, vec![late]);
    let grid = Grid::instant(2 * SECOND);
    let counted = querier.metric("t", &metric(r#"count_over_time({app="a"}[5s])"#, grid)).await.unwrap();
    assert_eq!((value(&counted), counted.stages.lines, counted.stages.chunks), (2.0, 0, 1));
}

/// Stores what it has just answered.
struct Late(Ingester<SimFs>);

#[async_trait]
impl IngesterClient for Late {
    async fn push(&self, record: Record) -> Result<Pushed, PushError> {
        IngesterClient::push(&self.0, record).await
    }

    async fn select(&self, select: Select) -> Result<Parts, ReadFailed> {
        let parts = IngesterClient::select(&self.0, select).await?;
        IngesterClient::flush(&self.0).await?;
        Ok(parts)
    }

    async fn tail(&self, tail: Tail) -> Result<Tailing, ReadFailed> {
        IngesterClient::tail(&self.0, tail).await
    }

    async fn series(
        &self,
        tenant: &str,
        matchers: &[Matcher],
        span: Span,
    ) -> Result<Vec<Labels>, ReadFailed> {
        IngesterClient::series(&self.0, tenant, matchers, span).await
    }

    async fn volume(
        &self,
        tenant: &str,
        matchers: &[Matcher],
        span: Span,
    ) -> Result<Vec<StreamVolume>, ReadFailed> {
        IngesterClient::volume(&self.0, tenant, matchers, span).await
    }

    async fn flush(&self) -> Result<(), ReadFailed> {
        IngesterClient::flush(&self.0).await
    }

    async fn health(&self) -> Result<Health, ReadFailed> {
        IngesterClient::health(&self.0).await
    }
}
