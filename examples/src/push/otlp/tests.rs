mod generated;
mod refused;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost::Message;
use serde_json::{Value, json};

use super::messages::{
    Any, AnyValue, ArrayValue, ExportLogsServiceRequest, InstrumentationScope, KeyValue, KeyValueList,
    LogRecord, Resource, ResourceLogs, ScopeLogs,
};
use super::*;
use crate::push::Intake;

const LIMIT: u64 = 1 << 20;
const NOW_NS: i64 = 1_700_000_000_000_000_000;

fn room() -> Room {
    Intake::new(u64::MAX).enter(LIMIT)
}

/// Labels, and of each line the time, the text and the metadata.
type Told = Vec<(Vec<(String, String)>, Vec<(i64, String, Vec<(String, String)>)>)>;

fn told(body: &[u8], content: ContentType) -> Result<Told, PushError> {
    let mut room = room();
    let export = Export::read(body, content, &mut room)?;
    let owned = |pairs: &[Pair<'_>]| pairs.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
    let line = |line: &Line<'_>| {
        let text = String::from_utf8(line.line.to_vec()).unwrap();
        (line.timestamp_ns, text, owned(&line.metadata))
    };
    let stream = |stream: &Stream<'_>| {
        let LabelSet::Pairs(labels) = &stream.labels else { panic!("no text: {:?}", stream.labels) };
        (owned(labels), stream.lines.iter().map(line).collect())
    };
    Ok(export.streams(NOW_NS, &mut room)?.iter().map(stream).collect())
}

fn attribute(key: &str, value: Any) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }) }
}

fn string(text: &str) -> Any {
    Any::String(text.into())
}

fn map(pairs: Vec<KeyValue>) -> Any {
    Any::Kvlist(KeyValueList { values: pairs })
}

fn list(values: Vec<Any>) -> Any {
    Any::Array(ArrayValue { values: values.into_iter().map(|v| AnyValue { value: Some(v) }).collect() })
}

fn record(text: &str) -> LogRecord {
    let body = Some(AnyValue { value: Some(string(text)) });
    LogRecord { time_unix_nano: 7, body, ..LogRecord::default() }
}

fn export(attributes: Vec<KeyValue>, log_records: Vec<LogRecord>) -> ExportLogsServiceRequest {
    let resource = Some(Resource { attributes, dropped_attributes_count: 0 });
    let scope_logs = vec![ScopeLogs { scope: None, log_records }];
    ExportLogsServiceRequest { resource_logs: vec![ResourceLogs { resource, scope_logs }] }
}

/// The same in JSON, by hand.
fn in_json(request: &ExportLogsServiceRequest) -> String {
    fn value(value: &Option<AnyValue>) -> Value {
        match value.as_ref().and_then(|v| v.value.as_ref()) {
            None => json!({}),
            Some(Any::String(text)) => json!({ "stringValue": text }),
            Some(Any::Bool(truth)) => json!({ "boolValue": truth }),
            Some(Any::Int(number)) => json!({ "intValue": number.to_string() }),
            Some(Any::Double(number)) => json!({ "doubleValue": number }),
            Some(Any::Bytes(bytes)) => json!({ "bytesValue": STANDARD.encode(bytes) }),
            Some(Any::Array(list)) => {
                let values: Vec<Value> = list.values.iter().map(value_of).collect();
                json!({ "arrayValue": { "values": values } })
            }
            Some(Any::Kvlist(list)) => json!({ "kvlistValue": { "values": attributes(&list.values) } }),
        }
    }
    fn value_of(any: &AnyValue) -> Value {
        value(&Some(any.clone()))
    }
    fn attributes(pairs: &[KeyValue]) -> Vec<Value> {
        pairs.iter().map(|pair| json!({"key": pair.key, "value": value(&pair.value)})).collect()
    }
    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
    let record = |record: &LogRecord| {
        json!({
            "timeUnixNano": record.time_unix_nano.to_string(),
            "observedTimeUnixNano": record.observed_time_unix_nano,
            "severityNumber": record.severity_number,
            "severityText": record.severity_text,
            "body": value(&record.body),
            "attributes": attributes(&record.attributes),
            "droppedAttributesCount": record.dropped_attributes_count,
            "flags": record.flags,
            "traceId": hex(&record.trace_id),
            "spanId": hex(&record.span_id),
            "eventName": record.event_name,
        })
    };
    let scope_logs = |logs: &ScopeLogs| {
        let scope = logs.scope.clone().unwrap_or_default();
        json!({
            "logRecords": logs.log_records.iter().map(record).collect::<Vec<_>>(),
            "schemaUrl": "https://example.org",
            "scope": {
                "name": scope.name, "version": scope.version, "attributes": attributes(&scope.attributes),
                "droppedAttributesCount": scope.dropped_attributes_count,
            },
        })
    };
    let resource_logs = |logs: &ResourceLogs| {
        let resource = logs.resource.clone().unwrap_or_default();
        json!({
            "scopeLogs": logs.scope_logs.iter().map(scope_logs).collect::<Vec<_>>(),
            "resource": {
                "attributes": attributes(&resource.attributes),
                "droppedAttributesCount": resource.dropped_attributes_count,
            },
        })
    };
    json!({"resourceLogs": request.resource_logs.iter().map(resource_logs).collect::<Vec<_>>()}).to_string()
}

/// What both encodings of `request` are read as.
fn both(request: &ExportLogsServiceRequest) -> Told {
    let protobuf = told(&request.encode_to_vec(), ContentType::Protobuf).unwrap();
    assert_eq!(told(in_json(request).as_bytes(), ContentType::Json).unwrap(), protobuf);
    protobuf
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn known_resource_attributes_are_labels_and_all_else_is_metadata_of_each_line() {
    let mut request = export(
        vec![
            attribute("service.name", string("shop")),
            attribute("host.name", string("node-1")),
            attribute("k8s.pod.name", string("shop-0")),
            attribute("process.pid", Any::Int(42)),
        ],
        vec![
            LogRecord {
                time_unix_nano: 1_700_000_000_000_000_001,
                observed_time_unix_nano: 1_700_000_000_000_000_002,
                severity_number: 17,
                severity_text: "ERROR".into(),
                body: Some(AnyValue { value: Some(string("out of stock")) }),
                attributes: vec![attribute("http.request.method", string("GET"))],
                dropped_attributes_count: 3,
                flags: 1,
                trace_id: (1..=16).collect(),
                span_id: (1..=8).collect(),
                event_name: "stock".into(),
            },
            record("plain"),
        ],
    );
    let resource = request.resource_logs[0].resource.as_mut().unwrap();
    resource.dropped_attributes_count = 1;
    request.resource_logs[0].scope_logs[0].scope = Some(InstrumentationScope {
        name: "checkout".into(),
        version: "1.2".into(),
        attributes: vec![attribute("team", string("a"))],
        dropped_attributes_count: 2,
    });
    let shared = [
        ("host_name", "node-1"),
        ("process_pid", "42"),
        ("resource_dropped_attributes_count", "1"),
        ("scope_name", "checkout"),
        ("scope_version", "1.2"),
        ("team", "a"),
        ("scope_dropped_attributes_count", "2"),
    ];
    let own = [
        ("severity_number", "17"),
        ("severity_text", "ERROR"),
        ("event_name", "stock"),
        ("trace_id", "0102030405060708090a0b0c0d0e0f10"),
        ("span_id", "0102030405060708"),
        ("flags", "1"),
        ("observed_timestamp", "1700000000000000002"),
        ("http_request_method", "GET"),
        ("dropped_attributes_count", "3"),
    ];
    let expected = vec![(
        pairs(&[("service_name", "shop"), ("k8s_pod_name", "shop-0")]),
        vec![
            (1_700_000_000_000_000_001, "out of stock".to_owned(), pairs(&[&shared[..], &own].concat())),
            (7, "plain".to_owned(), pairs(&shared)),
        ],
    )];
    assert_eq!(both(&request), expected);
}

#[test]
fn every_attribute_of_the_list_is_a_label_and_one_that_is_empty_or_a_map_is_not() {
    let all = INDEXED.map(|key| attribute(key, string("x")));
    let labels = &both(&export(all.to_vec(), vec![record("")]))[0].0;
    let names: Vec<String> = labels.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(names, INDEXED.map(|key| key.replace('.', "_")));
    let none = [
        vec![],
        vec![attribute("service.name", string(""))],
        vec![attribute("service.name", map(vec![]))],
        vec![KeyValue { key: "service.name".into(), value: None }],
        vec![attribute("app", string("x"))],
    ];
    for attributes in none {
        let streams = both(&export(attributes, vec![record("")]));
        assert_eq!(streams[0].0, pairs(&[("service_name", "unknown_service")]));
    }
}

#[test]
fn values_are_text_as_it_is_and_json_where_they_hold_others() {
    for (value, expected) in [
        (string("text \"quoted\""), "text \"quoted\""),
        (Any::Bool(true), "true"),
        (Any::Int(i64::MIN), "-9223372036854775808"),
        (Any::Double(1.5), "1.5"),
        (Any::Double(3.0), "3"),
        (Any::Double(1e300), "1e300"),
        (Any::Double(-1e-9), "-1e-9"),
        (Any::Bytes(vec![0xff, 0, 1]), "/wAB"),
        (
            list(vec![string("a\n"), Any::Int(1), Any::Bytes(vec![0xff]), list(vec![])]),
            r#"["a\n",1,"/w==",[]]"#,
        ),
        (
            map(vec![attribute("a.b", Any::Bool(false)), KeyValue { key: "c".into(), value: None }]),
            r#"{"a.b":false,"c":null}"#,
        ),
    ] {
        let mut request = export(vec![], vec![record("")]);
        let record = &mut request.resource_logs[0].scope_logs[0].log_records[0];
        record.body = Some(AnyValue { value: Some(value.clone()) });
        record.attributes = vec![attribute("v", value.clone())];
        let streams = both(&request);
        assert_eq!(streams[0].1[0].1, expected);
        if !matches!(value, Any::Kvlist(_)) {
            assert_eq!(streams[0].1[0].2, pairs(&[("v", expected)]));
        }
    }
}

#[test]
fn attributes_within_attributes_are_named_by_the_way_to_them() {
    let mut record = record("");
    record.attributes = vec![
        attribute(
            "http",
            map(vec![
                attribute("request", map(vec![attribute("method", string("GET"))])),
                attribute("status.code", Any::Int(200)),
            ]),
        ),
        attribute("1st-ß", string("x")),
        attribute("", string("y")),
        KeyValue { key: "absent".into(), value: None },
    ];
    let expected =
        [("http_request_method", "GET"), ("http_status_code", "200"), ("key_1st__", "x"), ("key_", "y")];
    assert_eq!(both(&export(vec![], vec![record]))[0].1[0].2, pairs(&expected));
}

#[test]
fn a_record_without_time_is_of_when_it_was_observed_and_else_of_now_each_at_its_own() {
    let at = |time_unix_nano, observed_time_unix_nano| LogRecord {
        time_unix_nano,
        observed_time_unix_nano,
        ..record("same")
    };
    let records = vec![at(0, 0), at(0, 5), at(9, 0), at(0, 0), at(u64::MAX, 0)];
    let streams = both(&export(vec![], records));
    let times: Vec<i64> = streams[0].1.iter().map(|line| line.0).collect();
    assert_eq!(times, [NOW_NS, 5, 9, NOW_NS + 1, i64::MAX]);
    assert_eq!(streams[0].1[1].2, [], "what is the time is not metadata, too");
}

#[test]
fn ids_of_zeros_are_none_and_an_export_without_records_is_no_stream() {
    let record = LogRecord { trace_id: vec![0; 16], span_id: vec![0; 8], ..record("x") };
    assert_eq!(both(&export(vec![], vec![record]))[0].1[0].2, []);
    for empty in [ExportLogsServiceRequest::default(), export(vec![attribute("a", string("b"))], vec![])] {
        assert_eq!(both(&empty), []);
    }
}

#[test]
fn json_takes_numbers_as_they_are_null_and_keys_that_nobody_knows() {
    let body = r#"{"resourceLogs": [{"resource": null, "scopeLogs": [{"scope": null, "logRecords": [
        {"timeUnixNano": 12, "traceId": null, "severityNumber": null, "body": {"intValue": 7, "more": [{}]}, "attributes": null,
         "flags": "1"},
        {"timeUnix\u004eano": "13", "body": null, "attributes": [
            {"key": "nan", "value": {"doubleValue": "NaN"}}, {"key": "whole", "value": {"doubleValue": 2}}]}
    ]}], "schemaUrl": null}], "more": {}}"#;
    let expected = vec![
        (12, "7".to_owned(), pairs(&[("flags", "1")])),
        (13, String::new(), pairs(&[("nan", "NaN"), ("whole", "2")])),
    ];
    assert_eq!(told(body.as_bytes(), ContentType::Json).unwrap()[0].1, expected);
}

/// Some refused the whole export, and others were taken for 0 or for an empty text or list.
#[test]
fn a_value_that_is_null_is_none() {
    for kind in ["string", "bool", "int", "double", "array", "kvlist", "bytes"] {
        let body = format!(
            r#"{{"resourceLogs": [{{"scopeLogs": [{{"logRecords": [{{"timeUnixNano": 1, "body": {{"intValue": 7, "{kind}Value": null}},
            "attributes": [{{"key": "none", "value": {{"{kind}Value": null}}}}]}}]}}]}}]}}"#
        );
        let (_, lines) = &told(body.as_bytes(), ContentType::Json).unwrap()[0];
        assert_eq!((lines[0].1.as_str(), &lines[0].2), ("7", &Vec::new()), "{kind}");
    }
}
