use super::*;

#[test]
fn what_is_shown_can_be_read_back() {
    let mut config = Config::default();
    config.distributor.require_overrides.insert("team-a".to_owned(), Require::All);
    config.runtime_config.file = Some("overrides.yaml".into());
    config.ingester.lifecycler.ring.kvstore.store = Some(Store::Etcd);
    config.ingester.lifecycler.ring.kvstore.etcd.endpoints = vec!["http://10.0.0.1:2379".to_owned()];
    config.memberlist.join_members = vec!["a:1".to_owned(), "b:2".to_owned()];
    config.limits_config.retention_stream = vec![forebay_tenant::StreamRetention {
        selector: "{app=\"x\"}".to_owned(),
        period: Duration::from_hours(48),
        priority: 3,
    }];
    let (read, warnings) = Config::parse(&config.to_yaml()).unwrap();
    assert_eq!(read, config);
    assert_eq!(warnings, []);
}

#[test]
fn slow_queries_are_those_that_loki_takes_for_slow() {
    for (text, longer) in
        [("0s", None), ("0", None), ("-1s", Some(Duration::ZERO)), ("10s", Some(Duration::from_secs(10)))]
    {
        let text = format!("frontend: {{log_queries_longer_than: {text}}}");
        let (config, _) = Config::parse(&text).unwrap();
        assert_eq!(config.frontend.log_queries_longer_than, longer, "{text}");
        assert_eq!(Config::parse(&config.to_yaml()).unwrap().0, config, "{text}");
    }
    Config::parse("frontend: {log_queries_longer_than: -1}").unwrap_err();
    Config::parse("frontend: {log_queries_longer_than: -x}").unwrap_err();
}

#[test]
fn a_loki_file_loads_with_warnings() {
    let text = "
auth_enabled: true
server: {http_listen_port: 3200, grpc_listen_port: 9096, log_level: info}
common: {path_prefix: /loki, replication_factor: 3, ring: {kvstore: {store: inmemory}}}
schema_config: {configs: [{from: 2024-04-01, store: tsdb, schema: v13}]}
ingester: {chunk_encoding: gzip, wal: {dir: /wal, enabled: true}, chunk_idle_period: 1h}
limits_config: {ingestion_rate_mb: 8, query_timeout: 1m}
query_range: {align_queries_with_step: true, cache_results: true}
";
    let (config, warnings) = Config::parse(text).unwrap();
    assert!(config.auth_enabled);
    assert_eq!(config.server.http_listen_port, 3200);
    assert_eq!(config.common.replication_factor, 3);
    assert_eq!(config.ingester.lifecycler.ring.kvstore.store, Some(Store::Memory));
    assert_eq!(config.ingester.chunk_encoding, Codec::Gzip);
    assert!(config.query_range.align_queries_with_step);
    assert!(warnings.len() >= 5, "{warnings:?}");
    assert!(warnings.iter().any(|w| w.to_string().contains("recognised, not used")));
}

#[test]
fn what_is_said_of_one_ring_goes_before_what_is_said_of_all_wherever_it_stands() {
    for text in [
        "
ingester: {lifecycler: {ring: {kvstore: {store: file}}}}
common: {ring: {kvstore: {store: memberlist, prefix: x/}, heartbeat_timeout: 30s}}
",
        "
common: {ring: {kvstore: {store: memberlist, prefix: x/}, heartbeat_timeout: 30s}}
ingester: {lifecycler: {ring: {kvstore: {store: file}}}}
",
    ] {
        let (config, warnings) = Config::parse(text).unwrap();
        let Ring { kvstore, heartbeat_timeout, .. } = config.ingester.lifecycler.ring;
        assert_eq!((kvstore.store, &*kvstore.prefix), (Some(Store::File), "x/"));
        assert_eq!(heartbeat_timeout, Duration::from_secs(30));
        assert_eq!(warnings, []);
    }
    let error = Config::parse("common: {ring: {kvstore: {store: consul}}}").unwrap_err();
    assert_eq!(error.path(), "common.ring.kvstore.store");
}

#[test]
fn an_unknown_name_is_an_error_with_line_column_and_the_nearest() {
    let error = Config::parse("ingester:\n  chunk_idle_perod: 1h\n").unwrap_err().to_string();
    assert!(error.contains("line 2 column 3") && error.contains("chunk_idle_period"), "{error}");
}

#[test]
fn a_value_that_makes_no_sense_says_what_is_expected() {
    for (text, expected) in [
        ("common: {replication_factor: 0}", "1"),
        ("target: everything", "distributor"),
        ("ingester: {chunk_encoding: lzo}", "none, gzip"),
        ("ingester: {chunk_format: parquet}", "loki or columnar"),
        ("ingester: {chunk_format: columnar, chunk_profile: best}", "fast, balanced or archive"),
        ("distributor: {require: most}", "quorum"),
        ("ingester: {chunk_block_size: 0}", "at least"),
        ("querier: {max_concurrent: 0}", "at least 1"),
        ("ingester: {sync_min_utilization: 1.5}", "0 to 1"),
        ("ingester: {lifecycler: {ring: {kvstore: {store: consul}}}}", "memory, file, etcd or gossip"),
        ("ingester: {lifecycler: {ring: {kvstore: {etcd: {endpoints: [nowhere]}}}}}", "http://10.0.0.1:2379"),
        ("ingester: {lifecycler: {num_tokens: 0}}", "1 to 65536"),
        ("ingester: {lifecycler: {heartbeat_period: 0s}}", "above 0"),
        ("memberlist: {join_members: [\"10.0.0.1:x\"]}", "10.0.0.1:7946"),
        ("memberlist: {bind_port: 0}", "1 to 65535"),
        ("memberlist: {bind_addr: [a, b]}", "one address"),
    ] {
        let error = Config::parse(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}
