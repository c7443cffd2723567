//! What every [`Index`] must do, run on the memory twin and on redb.

use super::*;
use crate::logql::Logs;
use proptest::prelude::*;

const DAY_NS: i64 = 86_400_000_000_000;

fn chunk(key: &str, pairs: &[(&str, &str)], from_ns: i64, through_ns: i64) -> ChunkRef {
    let labels = Labels::from_sorted(pairs);
    let fingerprint = xxhash_rust::xxh64::xxh64(labels.as_bytes(), 0);
    ChunkRef {
        key: key.to_owned(),
        labels,
        fingerprint,
        from_ns,
        through_ns,
        entries: 1,
        raw_bytes: 2,
        stored_bytes: 3,
        ingested_at_ns: 4,
        tally: None,
    }
}

fn matchers(text: &str) -> Vec<Matcher> {
    Logs::parse_selector(text).unwrap()
}

async fn keys(index: &dyn Index, tenant: &str, selector: &str, span: Span) -> Vec<String> {
    let found = index.chunks(tenant, &matchers(selector), span).await.unwrap();
    let mut keys: Vec<String> = found.into_iter().map(|c| c.key).collect();
    keys.sort();
    keys
}

async fn an_index_finds_lists_and_forgets(index: &dyn Index) {
    let day = |d: i64, ns: i64| d * DAY_NS + ns;
    let chunks = [
        chunk("k1", &[("app", "a"), ("env", "dev")], day(1, 0), day(1, 5)),
        chunk("k2", &[("app", "b"), ("env", "dev")], day(1, 9), day(2, 3)),
        chunk("k3", &[("app", "b"), ("env", "prod")], day(-400, 0), day(400, 0)),
    ];
    index.append("t1", &chunks).await.unwrap();
    index.append("t1", &chunks[..1]).await.unwrap();
    index.append("t2", &chunks[..1]).await.unwrap();

    assert_eq!(keys(index, "t1", "{}", Span::ALL).await, ["k1", "k2", "k3"]);
    assert_eq!(keys(index, "t1", r#"{app="b"}"#, Span::ALL).await, ["k2", "k3"]);
    assert_eq!(keys(index, "t1", r#"{app=~"a|b", env!="prod"}"#, Span::ALL).await, ["k1", "k2"]);
    assert_eq!(keys(index, "t1", r#"{other=""}"#, Span::ALL).await, ["k1", "k2", "k3"]);
    assert_eq!(keys(index, "t3", "{}", Span::ALL).await, [""; 0]);
    let edge = |from_ns, through_ns| Span { from_ns, through_ns };
    assert_eq!(keys(index, "t1", "{}", edge(day(1, 5), day(1, 8))).await, ["k1", "k3"]);
    assert_eq!(keys(index, "t1", "{}", edge(day(1, 6), day(1, 9))).await, ["k2", "k3"]);
    assert_eq!(keys(index, "t1", "{}", edge(day(400, 1), i64::MAX)).await, [""; 0]);

    let values = |name: Option<&'static str>| index.label_values("t1", name, Span::ALL);
    assert_eq!(Vec::from_iter(values(None).await.unwrap()), ["app", "env"]);
    assert_eq!(Vec::from_iter(values(Some("env")).await.unwrap()), ["dev", "prod"]);
    assert!(values(Some("nope")).await.unwrap().is_empty());
    assert_eq!(index.series("t1", &matchers(r#"{app="b"}"#), Span::ALL).await.unwrap().len(), 2);

    let page = index.scan("t1", Some("k1"), 1).await.unwrap();
    assert_eq!(page, [chunks[1].clone()]);
    assert_eq!(index.tenants().await.unwrap(), ["t1", "t2"]);

    let dropped = ["k2".to_owned(), "never".to_owned()];
    index.drop_refs("t1", &dropped).await.unwrap();
    assert_eq!(index.contains("t1", &["k1".to_owned(), "k2".to_owned()]).await.unwrap(), [true, false]);
    assert_eq!(keys(index, "t1", "{}", Span::ALL).await, ["k1", "k3"]);
    index.drop_refs("t1", &["k1".to_owned(), "k3".to_owned()]).await.unwrap();
    assert!(index.label_values("t1", None, Span::ALL).await.unwrap().is_empty());
    assert_eq!(index.tenants().await.unwrap(), ["t2"]);
}

#[tokio::test]
async fn the_memory_index_conforms() {
    an_index_finds_lists_and_forgets(&MemoryIndex::default()).await;
}

#[tokio::test]
async fn the_redb_index_conforms() {
    let dir = tempfile::tempdir().unwrap();
    an_index_finds_lists_and_forgets(&RedbIndex::open(&dir.path().join("index.redb")).unwrap()).await;
}

#[tokio::test]
async fn what_was_appended_is_there_after_a_reopen() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index.redb");
    let written = chunk("k", &[("app", "a")], 1, 2);
    RedbIndex::open(&path).unwrap().append("t", std::slice::from_ref(&written)).await.unwrap();
    assert_eq!(RedbIndex::open(&path).unwrap().scan("t", None, 9).await.unwrap(), [written]);
}

#[tokio::test]
async fn a_second_process_is_refused_with_the_path() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index.redb");
    let _first = RedbIndex::open(&path).unwrap();
    let error = RedbIndex::open(&path).unwrap_err();
    assert!(error.to_string().contains("index.redb"), "{error}");
}

fn chunks() -> impl Strategy<Value = Vec<ChunkRef>> {
    let times = prop_oneof![-3 * DAY_NS..3 * DAY_NS, any::<i64>()];
    let one = (0..20_u8, 0..3_u8, 0..3_u8, times.clone(), times);
    prop::collection::vec(one, 0..12).prop_map(|rows| {
        let rows = rows.into_iter().map(|(key, app, env, t0, t1)| {
            let (app, env) = (format!("a{app}"), format!("e{env}"));
            chunk(&format!("k{key}"), &[("app", &app), ("env", &env)], t0.min(t1), t0.max(t1))
        });
        // One key is one chunk for good: keys hold the checksum of what they name.
        let unique: std::collections::BTreeMap<String, ChunkRef> = rows.map(|c| (c.key.clone(), c)).collect();
        unique.into_values().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn redb_answers_as_the_memory_twin(
        chunks in chunks(),
        dropped: Vec<prop::sample::Index>,
        selector in prop::sample::select(vec!["{}", r#"{app="a1"}"#, r#"{app=~"a[01]", env!="e0"}"#, r#"{env=""}"#]),
        from_ns in prop_oneof![-3 * DAY_NS..3 * DAY_NS, any::<i64>()],
        width in 0..2 * DAY_NS,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let (memory, redb) = (MemoryIndex::default(), RedbIndex::open(&dir.path().join("i")).unwrap());
            let span = Span { from_ns, through_ns: from_ns.saturating_add(width) };
            let gone: Vec<String> = dropped.iter().filter(|_| !chunks.is_empty()).map(|i| i.get(&chunks).key.clone()).collect();
            for index in [&memory as &dyn Index, &redb] {
                index.append("t", &chunks).await.unwrap();
                index.drop_refs("t", &gone).await.unwrap();
            }
            assert_eq!(keys(&memory, "t", selector, span).await, keys(&redb, "t", selector, span).await);
            assert_eq!(memory.scan("t", None, 99).await.unwrap(), redb.scan("t", None, 99).await.unwrap());
            assert_eq!(memory.tenants().await.unwrap(), redb.tenants().await.unwrap());
        });
    }
}
