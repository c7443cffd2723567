//! Objects that are damaged where they lie: what is whole of them is answered, and what is missing is told.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use forebay_chunk::loki::fingerprint;
use http::StatusCode;
use serde_json::{Value, json};

use crate::chunks::{format, objects};
use crate::lines::{start_ns, values};
use crate::process::{Process, Setup};

/// Something that happens to the bytes of an object.
type Accident = fn(&mut Vec<u8>);

/// What may happen to an object, and whether some of its lines are left.
const ACCIDENTS: [(&str, Accident, bool); 6] = [
    ("nothing", |_| {}, true),
    (
        "a-bit",
        |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 4;
        },
        true,
    ),
    ("half", |bytes| bytes.truncate(bytes.len() / 2), false),
    ("all", Vec::clear, false),
    ("start", |bytes| bytes[..64].fill(0), false),
    ("end", |bytes| bytes.extend_from_slice(b"more"), false),
];
const LINES: i64 = 400;

/// The lines of the stream of each accident, by their times.
fn lines(start: i64) -> BTreeMap<i64, String> {
    let line = |n: i64| {
        let noise = (n + 1).wrapping_mul(0x09E3_779B_97F4_A7C1);
        (start + n * 1_000_000, format!("line {n} of a request {noise:016x} that took {}ms", noise & 1023))
    };
    (0..LINES).map(line).collect()
}

/// The file of the object with the lines of `app`.
fn object(dir: &Path, app: &str) -> PathBuf {
    let part = format!("/{:x}/", fingerprint(&[("app", app)]));
    let mut found = objects(&dir.join("data/objects")).into_iter();
    found.find(|path| path.to_str().unwrap().contains(&part)).unwrap()
}

async fn ask(process: &Process, route: &str, query: &str, rest: &str) -> Value {
    let query = form_urlencoded::byte_serialize(query.as_bytes()).collect::<String>();
    process.json(&format!("/loki/api/v1/{route}?query={query}&since=3h{rest}")).await
}

fn warnings(answer: &Value) -> Vec<&str> {
    answer["warnings"].as_array().map_or_else(Vec::new, |all| all.iter().filter_map(Value::as_str).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_damaged_is_told_and_the_rest_is_answered() {
    for chunk_format in ["loki", "columnar"] {
        let dir = tempfile::tempdir().unwrap();
        let config = format!("ingester: {{chunk_format: {chunk_format}, chunk_block_size: 4KiB}}");
        let setup = Setup::new(dir.path()).config(&config);
        let process = setup.start().await;
        let expected = lines(start_ns());
        let pairs: Vec<Value> = expected.iter().map(|(at, line)| json!([at.to_string(), line])).collect();
        let stream = |(app, ..): (&str, Accident, bool)| json!({"stream": {"app": app}, "values": pairs});
        let pushed = process.push(&json!({"streams": ACCIDENTS.map(stream)})).await;
        assert_eq!(pushed.status, StatusCode::NO_CONTENT);
        process.flush().await;
        let mut originals = Vec::new();
        for (app, accident, _) in ACCIDENTS {
            let path = object(dir.path(), app);
            assert_eq!(format(&path), chunk_format);
            let original = std::fs::read(&path).unwrap();
            let mut bytes = original.clone();
            accident(&mut bytes);
            std::fs::write(&path, bytes).unwrap();
            originals.push((path, original));
        }

        let mut left = 0;
        for (app, _, some_left) in ACCIDENTS {
            let selector = format!("{{app=\"{app}\"}}");
            let answer = ask(&process, "query_range", &selector, "&limit=5000").await;
            let found: BTreeMap<i64, String> = values(&answer).into_iter().collect();
            assert!(found.iter().all(|(at, line)| expected.get(at) == Some(line)), "{app}: {answer}");
            assert_eq!(!found.is_empty(), some_left, "{chunk_format} {app}: {answer}");
            left += found.len();
            let missing = expected.len() - found.len();
            let told = warnings(&answer);
            assert_eq!(told.len(), usize::from(missing > 0), "{chunk_format} {app}: {told:?}");
            for warning in &told {
                assert!(warning.contains(&format!("up to {missing} lines from ")), "{app}: {warning}");
                assert!(warning.contains(&format!("/{:x}/", fingerprint(&[("app", app)]))), "{warning}");
            }
            // A block of ten lost the rest of them.
            assert!(!some_left || missing < expected.len() / 4, "{chunk_format} {app}: {missing}");
            // Counts and a few of the newest lines are told to be incomplete, too, and are those of the same lines.
            let counted = ask(&process, "query", &format!("count_over_time({selector}[4h])"), "").await;
            let series = counted["data"]["result"].as_array().unwrap();
            let count = series.first().map_or("0", |series| series["value"][1].as_str().unwrap());
            assert_eq!(count, found.len().to_string(), "{chunk_format} {app}: {counted}");
            assert_eq!(warnings(&counted).len(), told.len(), "{chunk_format} {app}: {counted}");
            let filtered = format!("{selector} |= \"line 39\"");
            let newest = ask(&process, "query_range", &filtered, "&limit=3").await;
            let kept = found.iter().rev().filter(|(_, line)| line.contains("line 39")).take(3);
            let kept: BTreeMap<i64, String> = kept.map(|(at, line)| (*at, line.clone())).collect();
            assert_eq!(values(&newest).into_iter().collect::<BTreeMap<_, _>>(), kept, "{chunk_format} {app}");
        }
        let all = ask(&process, "query_range", r#"{app=~".+"}"#, "&limit=5000").await;
        assert_eq!(values(&all).len(), left);
        assert_eq!(warnings(&all).len(), ACCIDENTS.len() - 1, "{all}");
        assert!(process.metric("forebay_query_holes_total", "").await > 0.0);

        // Brought back from a copy they are whole again.
        for (path, original) in originals {
            std::fs::write(path, original).unwrap();
        }
        process.kill().await;
        let process = setup.start().await;
        let all = ask(&process, "query_range", r#"{app=~".+"}"#, "&limit=5000").await;
        assert_eq!(values(&all).len(), ACCIDENTS.len() * expected.len());
        assert_eq!(warnings(&all), [""; 0]);
    }
}
