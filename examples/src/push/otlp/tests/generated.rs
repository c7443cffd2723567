//! Any export, in both encodings and damaged, against the generated decoder.

use proptest::prelude::*;

use super::*;

fn values() -> impl Strategy<Value = Option<AnyValue>> {
    let leaf = prop_oneof![
        ".{0,6}".prop_map(Any::String),
        any::<bool>().prop_map(Any::Bool),
        any::<i64>().prop_map(Any::Int),
        // Others are read from JSON with an error of one unit in the last place.
        any::<i32>().prop_map(|number| Any::Double(f64::from(number) / 4.0)),
        prop::collection::vec(any::<u8>(), 0..5).prop_map(Any::Bytes),
    ];
    let value = leaf.prop_recursive(3, 12, 3, |inner| {
        let pair = (".{0,4}", inner.clone()).prop_map(|(key, value)| attribute(&key, value));
        prop_oneof![
            prop::collection::vec(inner, 0..3).prop_map(list),
            prop::collection::vec(pair, 0..3).prop_map(map),
        ]
    });
    prop::option::of(value.prop_map(|value| AnyValue { value: Some(value) }))
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    let key = prop_oneof![".{0,5}", prop::sample::select(INDEXED.to_vec()).prop_map(str::to_owned)];
    prop::collection::vec((key, values()).prop_map(|(key, value)| KeyValue { key, value }), 0..4)
}

fn exports() -> impl Strategy<Value = ExportLogsServiceRequest> {
    let times = (prop_oneof![Just(0), any::<u64>()], prop_oneof![Just(0), any::<u64>()]);
    let ids = (prop::collection::vec(0..3_u8, 0..17), prop::collection::vec(0..3_u8, 0..9));
    let numbers = (any::<i32>(), any::<u32>(), any::<u32>());
    let record = (times, ids, numbers, (".{0,5}", ".{0,5}"), values(), attributes()).prop_map(
        |(times, ids, numbers, texts, body, attributes)| LogRecord {
            time_unix_nano: times.0,
            observed_time_unix_nano: times.1,
            severity_number: numbers.0,
            severity_text: texts.0,
            event_name: texts.1,
            body,
            attributes,
            dropped_attributes_count: numbers.1,
            flags: numbers.2,
            trace_id: ids.0,
            span_id: ids.1,
        },
    );
    let scope =
        (".{0,4}", ".{0,4}", attributes(), 0..2_u32).prop_map(|(name, version, attributes, dropped)| {
            InstrumentationScope { name, version, attributes, dropped_attributes_count: dropped }
        });
    let scope_logs = (prop::option::of(scope), prop::collection::vec(record, 0..3))
        .prop_map(|(scope, log_records)| ScopeLogs { scope, log_records });
    let resource = prop::option::of(
        (attributes(), 0..2_u32)
            .prop_map(|(attributes, dropped)| Resource { attributes, dropped_attributes_count: dropped }),
    );
    let resource_logs = (resource, prop::collection::vec(scope_logs, 0..3))
        .prop_map(|(resource, scope_logs)| ResourceLogs { resource, scope_logs });
    prop::collection::vec(resource_logs, 0..3)
        .prop_map(|resource_logs| ExportLogsServiceRequest { resource_logs })
}

proptest! {
    #[test]
    fn both_encodings_of_an_export_are_read_as_the_same(request in exports()) {
        let streams = both(&request);
        let scopes = request.resource_logs.iter().flat_map(|logs| &logs.scope_logs);
        let records: usize = scopes.map(|logs| logs.log_records.len()).sum();
        prop_assert_eq!(streams.iter().map(|(_, lines)| lines.len()).sum::<usize>(), records);
    }

    #[test]
    fn a_message_is_read_where_its_generated_decoder_reads_it_and_as_that_reads_it(
        request in exports(),
        at: prop::sample::Index,
        bytes in prop::collection::vec(any::<u8>(), 0..6),
        overwrite: bool,
    ) {
        let mut message = request.encode_to_vec();
        let from = at.index(message.len() + 1);
        let through = if overwrite { message.len().min(from + bytes.len()) } else { from };
        message.splice(from..through, bytes);
        let generated = ExportLogsServiceRequest::decode(message.as_slice()).ok();
        let expected = generated.map(|request| told(&request.encode_to_vec(), ContentType::Protobuf).unwrap());
        prop_assert_eq!(told(&message, ContentType::Protobuf).ok(), expected);
    }
}
