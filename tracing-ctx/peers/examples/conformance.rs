//! Which rules of the three specifications each library keeps, as a table: `cargo run --example conformance`.
//!
//! Every library gets the headers of a request, and makes those of the request that follows from it with what
//! it has for that. A rule is kept if all its cases come out as the specification has them. fastrace has no baggage, so
//! there it keeps none of the rules.

use fastrace::collector::{SpanContext as FastraceContext, W3CTraceContext};
use forebay_tracing_ctx::sampler::{Always, ParentBased};
use forebay_tracing_ctx::{carrier, random_u64};
use http::{HeaderMap, HeaderValue};
use opentelemetry::Context;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{TraceContextExt, Tracer, TracerProvider};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_sdk::propagation::{BaggagePropagator, TraceContextPropagator};
use opentelemetry_sdk::trace::SdkTracerProvider;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";
const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

type Fields = Vec<(&'static str, String)>;

/// What has to go out.
enum Expected {
    /// The same trace with a new span, these flags, and this `tracestate`.
    Continued { flags: &'static str, state: Option<String> },
    /// Another trace, or none, without `tracestate`.
    Restarted,
    /// No `tracestate` at all, not even an empty one.
    NoState,
    /// This `baggage`, read by its meaning: keys and decoded values with properties, in any order.
    Baggage(&'static str),
    /// The same in this order.
    Ordered(&'static str),
}

struct Rule {
    name: &'static str,
    cases: Vec<(Fields, Expected)>,
}

fn main() {
    println!("| rule | forebay | opentelemetry 0.33.1 | fastrace 0.7.19 |\n|---|---|---|---|");
    let libraries = [forebay as fn(&HeaderMap) -> HeaderMap, opentelemetry, fastrace];
    let mut kept = [0; 3];
    let rules = rules();
    for rule in &rules {
        let verdicts = libraries.map(|library| rule.cases.iter().all(|case| keeps(library, case)));
        let cells: Vec<_> = verdicts.iter().map(|&kept| if kept { "yes" } else { "**no**" }).collect();
        println!("| {} | {} |", rule.name, cells.join(" | "));
        for (count, verdict) in kept.iter_mut().zip(verdicts) {
            *count += u32::from(verdict);
        }
    }
    assert_eq!(kept[0] as usize, rules.len(), "all of them are kept here");
    println!("| **of {}** | {} | {} | {} |", rules.len(), kept[0], kept[1], kept[2]);
}

fn forebay(received: &HeaderMap) -> HeaderMap {
    let context = carrier::extract(received).begin(random_u64, &ParentBased::new(Always));
    let mut sent = HeaderMap::new();
    carrier::inject(&context, &mut sent);
    sent
}

fn opentelemetry(received: &HeaderMap) -> HeaderMap {
    let (trace, baggage) = (TraceContextPropagator::new(), BaggagePropagator::new());
    let context = trace.extract_with_context(&Context::new(), &HeaderExtractor(received));
    let context = baggage.extract_with_context(&context, &HeaderExtractor(received));
    let tracer = SdkTracerProvider::builder().build().tracer("conformance");
    let span = tracer.start_with_context("request", &context);
    let context = context.with_span(span);
    let mut sent = HeaderMap::new();
    trace.inject_context(&context, &mut HeaderInjector(&mut sent));
    baggage.inject_context(&context, &mut HeaderInjector(&mut sent));
    sent
}

fn fastrace(received: &HeaderMap) -> HeaderMap {
    let text = |name| received.get(name).and_then(|value| value.to_str().ok());
    let decoded = text("traceparent").and_then(|parent| W3CTraceContext::decode(parent, text("tracestate")));
    let (context, state) = match decoded {
        Some(context) => (context.span_context, context.encode_tracestate().map(str::to_owned)),
        None => (FastraceContext::random(), None),
    };
    let span = fastrace::Span::root("request", context);
    let context = FastraceContext::from_span(&span).expect("a span that is not a no-op");
    let mut sent = HeaderMap::new();
    sent.insert("traceparent", HeaderValue::try_from(context.encode_w3c_traceparent()).expect("printable"));
    if let Some(state) = state {
        sent.insert("tracestate", HeaderValue::try_from(state).expect("printable"));
    }
    sent
}

fn keeps(library: fn(&HeaderMap) -> HeaderMap, (fields, expected): &(Fields, Expected)) -> bool {
    let mut received = HeaderMap::new();
    for (name, value) in fields {
        received.append(*name, HeaderValue::from_bytes(value.as_bytes()).expect("no control characters"));
    }
    let sent = library(&received);
    let text = |name| sent.get(name).map(|value| value.to_str().expect("printable"));
    let single =
        ["traceparent", "tracestate", "baggage"].iter().all(|name| sent.get_all(*name).iter().count() <= 1);
    let parts: Vec<&str> = text("traceparent").unwrap_or_default().split('-').collect();
    let same_trace = parts.get(1) == Some(&TRACE);
    single
        && match expected {
            Expected::Continued { flags, state } => {
                let new_span = parts.get(2).is_some_and(|span| *span != SPAN && *span != "0000000000000000");
                parts.len() == 4
                    && parts[0] == "00"
                    && same_trace
                    && new_span
                    && parts.get(3) == Some(flags)
                    && members(text("tracestate")) == members(state.as_deref())
            }
            Expected::Restarted => {
                let padded = parts
                    .get(1)
                    .is_some_and(|id| id.ends_with(&TRACE[..31]) || *id == format!("{:0>32}", "af7"));
                !same_trace && !padded && members(text("tracestate")).is_empty()
            }
            Expected::NoState => text("tracestate").is_none(),
            Expected::Ordered(expected) => meaning(text("baggage")) == meaning(Some(expected)),
            Expected::Baggage(expected) => {
                let sorted = |list| {
                    let mut members = meaning(list);
                    members.sort();
                    members
                };
                sorted(text("baggage")) == sorted(Some(expected))
            }
        }
}

/// The members of a list, without padding and empty ones.
fn members(list: Option<&str>) -> Vec<&str> {
    list.unwrap_or_default()
        .split(',')
        .map(|member| member.trim_matches([' ', '\t']))
        .filter(|member| !member.is_empty())
        .collect()
}

/// The members of baggage with percent-escapes in one spelling.
fn meaning(list: Option<&str>) -> Vec<String> {
    members(list)
        .into_iter()
        .map(|member| {
            let parts = member.split(';').map(|part| {
                let (key, value) =
                    part.split_once('=').map_or((part, None), |(key, value)| (key, Some(value)));
                let value = value.map_or(String::new(), |value| format!("={:?}", decoded(value.trim())));
                format!("{}{value}", key.trim())
            });
            parts.collect::<Vec<_>>().join(";")
        })
        .collect()
}

fn decoded(value: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = value.as_bytes();
    while let [first, tail @ ..] = rest {
        let digits = tail.first_chunk::<2>().and_then(|digits| std::str::from_utf8(digits).ok());
        let escaped =
            digits.filter(|_| *first == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn rules() -> Vec<Rule> {
    let mut rules = parent_rules();
    rules.extend(state_rules());
    rules.extend(baggage_rules());
    rules
}

fn rule(name: &'static str, cases: Vec<(Fields, Expected)>) -> Rule {
    Rule { name, cases }
}

fn parent(value: impl Into<String>) -> Fields {
    vec![("traceparent", value.into()), ("tracestate", "foo=1".into())]
}

fn continued(value: &str, flags: &'static str) -> (Fields, Expected) {
    (parent(value), Expected::Continued { flags, state: Some("foo=1".into()) })
}

fn restarted(value: impl Into<String>) -> (Fields, Expected) {
    (parent(value), Expected::Restarted)
}

fn parent_rules() -> Vec<Rule> {
    let with = |version: &str, flags: &str| format!("{version}-{TRACE}-{SPAN}-{flags}");
    vec![
        rule("a valid `traceparent` continues with a new parent id", vec![continued(VALID, "01")]),
        rule("the not sampled flag is passed on", vec![continued(&with("00", "00"), "00")]),
        rule("the random flag is passed on (level 2)", vec![continued(&with("00", "03"), "03")]),
        rule("an unset random flag stays unset", vec![continued(&with("00", "01"), "01")]),
        rule(
            "unknown flags are accepted and masked",
            vec![continued(&with("00", "09"), "01"), continued(&with("00", "fc"), "00")],
        ),
        rule(
            "two `traceparent` fields restart",
            vec![(
                vec![
                    ("traceparent", VALID.into()),
                    ("traceparent", with("00", "00")),
                    ("tracestate", "foo=1".into()),
                ],
                Expected::Restarted,
            )],
        ),
        rule("two values in one field restart", vec![restarted(format!("{VALID},{VALID}"))]),
        rule("spaces and tabs around the value are ignored", vec![continued(&format!(" {VALID}\t"), "01")]),
        rule(
            "version 00 has exactly 55 bytes",
            vec![restarted(format!("{VALID}-")), restarted(format!("{VALID}.")), restarted(&VALID[..54])],
        ),
        rule(
            "later versions continue by their first 55 bytes",
            vec![
                continued(&with("01", "01"), "01"),
                continued(&format!("{}-what", with("cc", "01")), "01"),
                continued(&with("fe", "01"), "01"),
            ],
        ),
        rule(
            "later versions have a dash behind these",
            vec![
                restarted(format!("{}.what", with("cc", "01"))),
                restarted(format!("{}0", with("cc", "01"))),
            ],
        ),
        rule("version ff restarts", vec![restarted(with("ff", "01"))]),
        rule(
            "a version is two digits",
            vec![restarted(with("0", "01")), restarted(with("000", "01")), restarted(with(".0", "01"))],
        ),
        rule("a trace id is not zero", vec![restarted(format!("00-{}-{SPAN}-01", "0".repeat(32)))]),
        rule("a parent id is not zero", vec![restarted(format!("00-{TRACE}-{}-01", "0".repeat(16)))]),
        rule(
            "a short trace id is not padded",
            vec![restarted(format!("00-{}-{SPAN}-01", &TRACE[..31])), restarted("00-af7-1-1")],
        ),
        rule("a short parent id is not padded", vec![restarted(format!("00-{TRACE}-{}-01", &SPAN[..15]))]),
        rule("flags are two digits", vec![restarted(with("00", "1")), restarted(with("00", "001"))]),
        rule("digits are lower case", vec![restarted(VALID.to_uppercase()), restarted(with("0A", "01"))]),
        rule(
            "signs are no digits",
            vec![restarted(format!("00-+{}-{SPAN}-01", &TRACE[1..])), restarted(with("+0", "01"))],
        ),
        rule(
            "a lone `tracestate` is dropped",
            vec![(vec![("tracestate", "foo=1".into())], Expected::Restarted)],
        ),
    ]
}

fn state(fields: &[&str], sent: Option<&str>) -> (Fields, Expected) {
    let mut received = vec![("traceparent", VALID.to_owned())];
    received.extend(fields.iter().map(|field| ("tracestate", (*field).to_owned())));
    (received, Expected::Continued { flags: "01", state: sent.map(str::to_owned) })
}

fn kept(field: &str) -> (Fields, Expected) {
    state(&[field], Some(field))
}

fn dropped(field: &str) -> (Fields, Expected) {
    state(&[field], None)
}

fn state_rules() -> Vec<Rule> {
    let numbered = |count: usize| (0..count).map(|n| format!("k{n}={n}")).collect::<Vec<_>>().join(",");
    let long = |n: usize| format!("{n:0256}={}", "v".repeat(256));
    vec![
        rule("`tracestate` is passed on", vec![kept("foo=1"), kept("foo=1,bar=2")]),
        rule(
            "several fields are combined in order",
            vec![state(&["foo=1,bar=2", "baz=3"], Some("foo=1,bar=2,baz=3"))],
        ),
        rule(
            "no empty field is sent",
            vec![
                (vec![("traceparent", VALID.into()), ("tracestate", String::new())], Expected::NoState),
                (vec![("traceparent", VALID.into())], Expected::NoState),
                (vec![], Expected::NoState),
            ],
        ),
        rule(
            "empty members and padding are skipped",
            vec![state(&["foo=1 \t, ,bar=2,"], Some("foo=1,bar=2"))],
        ),
        rule("spaces in front of a value belong to it", vec![kept("foo= 1,bar=2")]),
        rule("a member has one equals sign", vec![dropped("foo=1=2"), dropped("foo==1"), dropped("foo")]),
        rule(
            "keys are small letters, digits and five signs",
            vec![kept("a-b_c*d/e=1"), dropped("FOO=1"), dropped("foo.bar=1"), dropped("foo =1")],
        ),
        rule(
            "keys may begin with a digit and have `@` anywhere (level 2)",
            vec![kept("0a=1"), kept("foo@bar@baz=1"), kept("foo@=1")],
        ),
        rule("keys begin with a letter or a digit", vec![dropped("_a=1"), dropped("@a=1")]),
        rule(
            "keys have at most 256 bytes",
            vec![kept(&format!("{}=1", "z".repeat(256))), dropped(&format!("{}=1", "z".repeat(257)))],
        ),
        rule("values are not empty", vec![dropped("foo="), dropped("foo=,bar=3")]),
        rule(
            "values have at most 256 bytes",
            vec![kept(&format!("foo={}", "v".repeat(256))), dropped(&format!("foo={}", "v".repeat(257)))],
        ),
        rule("one bad member drops the list (which the specification allows)", vec![dropped("good=1,BAD=2")]),
        rule(
            "32 members pass, and 33 drop the list (which it allows)",
            vec![kept(&numbered(32)), dropped(&numbered(33))],
        ),
        rule("repeated keys do not drop the list", vec![kept("foo=1,foo=2")]),
        rule(
            "more than 512 bytes are passed on",
            vec![kept(&(0..32).map(long).collect::<Vec<_>>().join(","))],
        ),
    ]
}

fn baggage(fields: &[&str], sent: &'static str) -> (Fields, Expected) {
    let mut received = vec![("traceparent", VALID.to_owned())];
    received.extend(fields.iter().map(|field| ("baggage", (*field).to_owned())));
    (received, Expected::Baggage(sent))
}

fn ordered(list: &'static str) -> (Fields, Expected) {
    (vec![("traceparent", VALID.into()), ("baggage", list.into())], Expected::Ordered(list))
}

fn baggage_rules() -> Vec<Rule> {
    vec![
        rule(
            "`baggage` is passed on",
            vec![baggage(&["user=alice,node=DF%2028"], "user=alice,node=DF%2028")],
        ),
        rule("without a trace as well", vec![(vec![("baggage", "a=1".into())], Expected::Baggage("a=1"))]),
        rule("order is kept", vec![ordered("e=1,d=2,c=3,b=4,a=5")]),
        rule("several fields are combined", vec![baggage(&["a=1", "b=2"], "a=1,b=2")]),
        rule("values may have equals signs", vec![baggage(&["k=YWJj=="], "k=YWJj==")]),
        rule("values may be empty", vec![baggage(&["k=,l=1"], "k=,l=1")]),
        rule("an escaped percent sign stays one", vec![baggage(&["k=%2541"], "k=%2541")]),
        rule("properties are kept as they mean", vec![baggage(&["k=1;p;q=x%3By"], "k=1;p;q=x%3By")]),
        rule(
            "bytes that are no UTF-8 do not lose the member",
            vec![baggage(&["k=%ff,l=1"], "k=%EF%BF%BD,l=1")],
        ),
        rule("repeated keys are kept in order", vec![ordered("k=1,k=2")]),
        rule("a malformed member does not lose the others", vec![baggage(&["a=1,bad,b=2"], "a=1,b=2")]),
    ]
}
