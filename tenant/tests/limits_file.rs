//! A `limits_config` of Loki loads as it is, all or nothing, and can be written back.

use std::time::Duration;

use forebay_tenant::limits::Strategy;
use forebay_tenant::yaml::{self, Error, Warning, WarningKind};
use forebay_tenant::{Limits, StreamRetention};

fn apply(text: &str) -> Result<(Limits, Vec<Warning>), Error> {
    let (mut limits, mut warnings) = (Limits::default(), Vec::new());
    limits.apply(&yaml::parse(text)?, &mut warnings)?;
    Ok((limits, warnings))
}

const FULL: &str = r#"
ingestion_rate_strategy: local
ingestion_rate_mb: 8
ingestion_burst_size_mb: 12.5
max_label_name_length: 512
max_label_value_length: 1_024
max_label_names_per_series: 0x1e
reject_old_samples: no
reject_old_samples_max_age: 1w2d
creation_grace_period: 1h30m
max_line_size: 1MB
max_line_size_truncate: yes
max_line_size_truncate_identifier: "[cut]"
allow_structured_metadata: off
max_structured_metadata_size: 128KB
max_structured_metadata_entries_count: 64
max_streams_per_user: 1e4
max_global_streams_per_user: 0
max_entries_limit_per_query: 100
max_query_length: 30d
max_query_lookback: 12h
max_query_series: 20
query_timeout: 5m
max_query_bytes_read: 1GB
split_queries_by_interval: 15m
max_query_parallelism: 8
max_concurrent_tail_requests: 3
retention_period: 31d
retention_stream:
  - selector: '{namespace="dev"}'
    priority: 1
    period: 24h
  - selector: '{namespace="audit"}'
    period: 1y
"#;

fn full() -> Limits {
    const DAY: Duration = Duration::from_secs(86_400);
    let rule = |selector: &str, period, priority| StreamRetention {
        selector: selector.to_owned(),
        period,
        priority,
    };
    Limits {
        ingestion_rate_strategy: Strategy::Local,
        ingestion_rate_mb: 8.0,
        ingestion_burst_size_mb: 12.5,
        max_label_name_length: 512,
        max_label_value_length: 1024,
        max_label_names_per_series: 30,
        reject_old_samples: false,
        reject_old_samples_max_age: 9 * DAY,
        creation_grace_period: Duration::from_secs(5400),
        max_line_size: 1 << 20,
        max_line_size_truncate: true,
        max_line_size_truncate_identifier: "[cut]".to_owned(),
        allow_structured_metadata: false,
        max_structured_metadata_size: 128 << 10,
        max_structured_metadata_entries_count: 64,
        max_streams_per_user: 10_000,
        max_global_streams_per_user: 0,
        max_entries_limit_per_query: 100,
        max_query_length: 30 * DAY,
        max_query_lookback: DAY / 2,
        max_query_series: 20,
        query_timeout: Duration::from_secs(300),
        max_query_bytes_read: 1 << 30,
        split_queries_by_interval: Duration::from_secs(900),
        max_query_parallelism: 8,
        max_concurrent_tail_requests: 3,
        retention_period: 31 * DAY,
        retention_stream: vec![
            rule(r#"{namespace="dev"}"#, DAY, 1),
            rule(r#"{namespace="audit"}"#, 365 * DAY, 0),
        ],
    }
}

#[test]
fn every_limit_is_read() {
    assert_eq!(apply(FULL), Ok((full(), vec![])));
}

#[test]
fn what_is_null_or_absent_stays_and_a_null_list_is_empty() {
    for text in ["", "~", "{}", "max_line_size:\nreject_old_samples: ~\ningestion_rate_strategy: null"] {
        assert_eq!(apply(text).unwrap().0, Limits::default(), "{text}");
    }
    let (mut limits, mut warnings) = (full(), Vec::new());
    limits.apply(&yaml::parse("retention_stream: ~").unwrap(), &mut warnings).unwrap();
    assert_eq!(limits, Limits { retention_stream: vec![], ..full() });
    limits
        .apply(&yaml::parse("retention_stream: [{selector: a, period: 2d}]").unwrap(), &mut warnings)
        .unwrap();
    assert_eq!(limits.retention_stream.len(), 1, "a list replaces, it does not append");
}

/// The names of Loki's `limits_config` that have an effect here.
const USED: &str = "
    ingestion_rate_strategy ingestion_rate_mb ingestion_burst_size_mb max_label_name_length
    max_label_value_length max_label_names_per_series reject_old_samples reject_old_samples_max_age
    creation_grace_period max_line_size max_line_size_truncate max_line_size_truncate_identifier
    allow_structured_metadata max_structured_metadata_size max_structured_metadata_entries_count
    max_streams_per_user max_global_streams_per_user max_entries_limit_per_query max_query_length max_query_lookback
    max_query_series query_timeout max_query_bytes_read split_queries_by_interval max_query_parallelism
    max_concurrent_tail_requests retention_period retention_stream
";

/// Those of the query path, and of parts of ingestion that are not here.
const RECOGNISED: &str = "
    increment_duplicate_timestamp simulated_push_latency discover_generic_fields discover_service_name
    discover_log_levels log_level_fields log_level_from_json_max_depth use_owned_stream_count
    per_stream_rate_limit per_stream_rate_limit_burst shard_streams otlp_config block_ingestion_until
    block_ingestion_policy_until block_ingestion_status_code enforced_labels policy_enforced_labels
    policy_stream_mapping policy_override_limits ingestion_partitions_tenant_shard_size deletion_mode
    metric_aggregation_enabled pattern_persistence_enabled pattern_persistence_granularity
    pattern_rate_threshold max_chunks_per_query 
    max_query_range tsdb_max_query_parallelism tsdb_max_bytes_per_shard
    tsdb_sharding_strategy tsdb_precompute_chunks cardinality_limit max_streams_matchers_per_query
    max_cache_freshness_per_query
    max_metadata_cache_freshness max_stats_cache_freshness max_queriers_per_tenant max_query_capacity
    query_ready_index_num_days
    split_metadata_queries_by_interval split_recent_metadata_queries_by_interval
    recent_metadata_query_window split_instant_metric_queries_by_interval
    engine_results_cache_time_bucket_interval split_ingester_queries_by_interval min_sharding_lookback
    max_querier_bytes_read volume_enabled volume_max_series
    ruler_max_rules_per_rule_group ruler_max_rule_groups_per_tenant ruler_alertmanager_config
    ruler_tenant_shard_size ruler_remote_write_disabled ruler_remote_write_config
    ruler_remote_evaluation_timeout ruler_remote_evaluation_max_response_size blocked_queries
    required_labels minimum_labels_number index_gateway_shard_size index_gateway_max_capacity
    bloom_gateway_enable_filtering bloom_build_max_builders bloom_build_task_max_retries
    bloom_build_builder_response_timeout bloom_creation_enabled dataobj_index_compaction_enabled
    dataobj_log_compaction_enabled bloom_planning_strategy bloom_split_series_keyspace_by
    bloom_task_target_series_chunk_size bloom_block_encoding bloom_prefetch_blocks bloom_max_block_size
    bloom_max_bloom_size shard_aggregations pattern_ingester_tokenizable_json_fields_default
    pattern_ingester_tokenizable_json_fields_append pattern_ingester_tokenizable_json_fields_delete
    s3_sse_type s3_sse_kms_key_id s3_sse_kms_encryption_context debug_engine_tasks debug_engine_streams
    sort_schema
";

#[test]
fn all_of_lokis_names_load() {
    assert_eq!(USED.split_whitespace().count() + RECOGNISED.split_whitespace().count(), 114);
    for name in USED.split_whitespace() {
        assert_eq!(apply(&format!("{name}: ~")), Ok((Limits::default(), vec![])), "{name}");
    }
    for name in RECOGNISED.split_whitespace() {
        for value in ["5", "{any: [thing, {at: all}]}", "~"] {
            let (limits, warnings) = apply(&format!("max_line_size: 1KB\n{name}: {value}")).unwrap();
            assert_eq!(limits, Limits { max_line_size: 1024, ..Limits::default() });
            let warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
            assert_eq!(warnings, [format!("line 2 column 1: {name}: recognised, not used")]);
        }
    }
}

#[test]
fn names_that_older_files_have_load_with_a_warning() {
    for name in ["enforce_metric_name", "unordered_writes", "per_tenant_override_config"] {
        let warnings = apply(&format!("{name}: 5")).unwrap().1;
        assert_eq!(warnings[0].kind(), WarningKind::Removed, "{name}");
        assert_eq!(warnings[0].path(), name);
    }
}

#[test]
fn a_name_that_nobody_knows_is_refused_with_the_nearest() {
    for (text, message) in [
        (
            "max_line_size: 1KB\nmax_line_sise: 1KB",
            "line 2 column 1: unknown key `max_line_sise`, the nearest known is `max_line_size`",
        ),
        (
            "{ingestion_rate: 4}",
            "line 1 column 2: unknown key `ingestion_rate`, the nearest known is `ingestion_rate_mb`",
        ),
        ("{favourite_colour: blue}", "line 1 column 2: unknown key `favourite_colour`"),
        (
            "retention_stream: [{selector: a, period: 1d, piority: 1}]",
            "line 1 column 46: retention_stream[0]: unknown key `piority`, the nearest known is `priority`",
        ),
    ] {
        assert_eq!(apply(text).unwrap_err().to_string(), message);
    }
}

#[test]
fn a_value_of_the_wrong_form_is_refused_with_both_sides() {
    for (text, message) in [
        (
            "max_line_size: 1.5MB",
            "line 1 column 16: max_line_size: expected a size such as 256KB, found `1.5MB`: malformed",
        ),
        (
            "max_line_size: 3Mb",
            "line 1 column 16: max_line_size: expected a size such as 256KB, found `3Mb`: \
             a unit of bits, not bytes",
        ),
        (
            "reject_old_samples: \"true\"",
            "line 1 column 21: reject_old_samples: expected true or false, found the string \"true\"",
        ),
        (
            "retention_period: 60",
            "line 1 column 19: retention_period: expected a duration such as 7d or 1h30m, found `60`: malformed",
        ),
        (
            "max_streams_per_user: -1",
            "line 1 column 23: max_streams_per_user: expected an integer of zero or more, found `-1`",
        ),
        (
            "ingestion_rate_mb: -0.5",
            "line 1 column 20: ingestion_rate_mb: expected a number of zero or more, found `-0.5`",
        ),
        (
            "ingestion_rate_mb: .nan",
            "line 1 column 20: ingestion_rate_mb: expected a number of zero or more, found `.nan`",
        ),
        (
            "ingestion_rate_strategy: both",
            "line 1 column 26: ingestion_rate_strategy: expected global or local, found `both`",
        ),
        ("[]", "line 1 column 1: expected a mapping, found a sequence"),
        (
            "retention_stream:\n  - selector: a\n    period: 23h",
            "line 3 column 13: retention_stream[0].period: expected a retention of at least 24h, found `23h`",
        ),
        ("retention_stream: [{period: 1d}]", "line 1 column 20: retention_stream[0]: missing key `selector`"),
        ("retention_stream: {}", "line 1 column 19: retention_stream: expected a sequence, found a mapping"),
    ] {
        assert_eq!(apply(text).unwrap_err().to_string(), message);
    }
}

#[test]
fn a_mistake_anywhere_changes_nothing() {
    let (mut limits, mut warnings) = (full(), Vec::new());
    let node =
        yaml::parse("max_line_size: 1KB\nquery_timeout: 1m\nretention_stream: ~\nmax_streams_per_user: x");
    assert!(limits.apply(&node.unwrap(), &mut warnings).is_err());
    assert_eq!(limits, full());
    assert!(warnings.is_empty());
}

#[cfg(feature = "serde")]
#[test]
fn written_limits_have_lokis_names_and_read_back() {
    let json = serde_json::to_value(Limits::default()).unwrap();
    for (name, value) in [
        ("ingestion_rate_strategy", serde_json::json!("global")),
        ("ingestion_rate_mb", serde_json::json!(4.0)),
        ("max_line_size", serde_json::json!("256KB")),
        ("reject_old_samples_max_age", serde_json::json!("1w")),
        ("creation_grace_period", serde_json::json!("10m")),
        ("max_global_streams_per_user", serde_json::json!(5000)),
        ("retention_period", serde_json::json!("0s")),
        ("retention_stream", serde_json::json!([])),
    ] {
        assert_eq!(json[name], value, "{name}");
    }
    for limits in [Limits::default(), full()] {
        let text = serde_json::to_string(&limits).unwrap();
        let (mut read, mut warnings) =
            (if limits == full() { Limits::default() } else { full() }, Vec::new());
        read.apply(&yaml::parse(&text).unwrap(), &mut warnings).unwrap();
        assert_eq!((read, warnings), (limits, vec![]));
    }
}
