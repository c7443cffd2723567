//! Queries while lines are pushed: each again and again, and how long the answers took.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use forebay_agent::clock::{Clock, monotonic_ns};
use forebay_agent::http_client::{HttpClient, query_string};
use forebay_examples::logql::duration_ns;
use parking_lot::Mutex;
use tokio::task::JoinSet;

const PATH: &str = "/loki/api/v1/query_range";
/// Lines that a query of lines asks for.
const LIMIT: &str = "100";

/// A query, and how far back it looks from the moment at which it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) over: Duration,
    pub(crate) text: String,
}

/// What came of a query.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) ask: Ask,
    /// Those that were answered with 2xx.
    pub(crate) answers: u64,
    /// Their microseconds, and those for which the one under way at the end had waited.
    pub(crate) latencies_us: Vec<u32>,
    /// Those that were answered otherwise or not at all.
    pub(crate) failures: u64,
    /// What the first of them was answered.
    pub(crate) first_failure: Option<String>,
}

impl FromStr for Ask {
    type Err = String;

    /// `15m {app="x"}`.
    fn from_str(text: &str) -> Result<Self, String> {
        let expected =
            || format!("{text:?} is not a time and a query, such as '15m {{app=\"x\"}} |= \"error\"'");
        let (over, text) = text.trim().split_once(' ').ok_or_else(expected)?;
        let over_ns = duration_ns(over).and_then(|ns| u64::try_from(ns).ok()).filter(|ns| *ns > 0);
        Ok(Self { over: Duration::from_nanos(over_ns.ok_or_else(expected)?), text: text.trim().to_owned() })
    }
}

/// Queries that are sent until this is dropped.
#[derive(Debug)]
pub(crate) struct Asking {
    turns: Vec<Arc<Mutex<Turns>>>,
    _tasks: JoinSet<()>,
}

/// One query, sent again and again.
#[derive(Debug)]
struct Turns {
    asked: Asked,
    /// When the one under way was sent.
    sent_ns: Option<u64>,
}

impl Asking {
    /// Sends each of `asks` every so often; where an answer takes longer, the next is sent right after it.
    pub(crate) fn begin(client: &HttpClient, asks: &[Ask], every: Duration) -> Self {
        let mut tasks = JoinSet::new();
        let turns = asks.iter().map(|ask| {
            let turns = Arc::new(Mutex::new(Turns::new(ask)));
            tasks.spawn(repeat(client.unshared(), ask.clone(), every, Arc::clone(&turns)));
            turns
        });
        let turns = turns.collect();
        Self { turns, _tasks: tasks }
    }

    /// What came of each so far. One that is under way took as long as it has waited, at least: who leaves it out does
    /// not see that the server hangs.
    pub(crate) fn end(self) -> Vec<Asked> {
        let now_ns = monotonic_ns();
        self.turns.iter().map(|turns| turns.lock().end(now_ns)).collect()
    }
}

impl Turns {
    fn new(ask: &Ask) -> Self {
        let asked = Asked {
            ask: ask.clone(),
            answers: 0,
            latencies_us: Vec::new(),
            failures: 0,
            first_failure: None,
        };
        Self { asked, sent_ns: None }
    }

    fn end(&self, now_ns: u64) -> Asked {
        let mut asked = self.asked.clone();
        asked.latencies_us.extend(self.sent_ns.map(|sent_ns| micros(now_ns - sent_ns)));
        asked.latencies_us.sort_unstable();
        asked
    }
}

async fn repeat(client: HttpClient, ask: Ask, every: Duration, turns: Arc<Mutex<Turns>>) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let path = ask.path(Clock::System.wall_ns());
        let sent_ns = monotonic_ns();
        turns.lock().sent_ns = Some(sent_ns);
        let answer = client.get(&path).await.and_then(|answer| answer.success());
        let took_ns = monotonic_ns() - sent_ns;
        let Turns { asked, sent_ns } = &mut *turns.lock();
        *sent_ns = None;
        match answer {
            Ok(_) => {
                asked.answers += 1;
                asked.latencies_us.push(micros(took_ns));
            }
            Err(error) => {
                asked.failures += 1;
                asked.first_failure.get_or_insert_with(|| format!("{:#}", anyhow::Error::new(error)));
            }
        }
    }
}

fn micros(ns: u64) -> u32 {
    u32::try_from(ns / 1_000).unwrap_or(u32::MAX)
}

impl Ask {
    /// Newest first, as people look at logs.
    fn path(&self, now_ns: i64) -> String {
        let over_ns = i64::try_from(self.over.as_nanos()).unwrap_or(i64::MAX);
        let (start, end) = (now_ns.saturating_sub(over_ns).to_string(), now_ns.to_string());
        let parameters = [
            ("query", self.text.as_str()),
            ("start", &start),
            ("end", &end),
            ("limit", LIMIT),
            ("direction", "backward"),
        ];
        format!("{PATH}?{}", query_string(&parameters))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_how_far_back_it_looks() {
        let ask: Ask = "15m {a=\"b c\"} |= \"x\"".parse().unwrap();
        assert_eq!(ask.over, Duration::from_secs(900));
        assert_eq!(ask.text, "{a=\"b c\"} |= \"x\"");
        let path = ask.path(1_000_000_000_000);
        assert!(path.starts_with("/loki/api/v1/query_range?query=%7Ba%3D%22b%20c%22%7D%20"), "{path}");
        assert!(path.contains("&start=100000000000&end=1000000000000&limit=100&"), "{path}");
        for wrong in ["{a=\"b\"}", "15 {a=\"b\"}", "0s {a=\"b\"}", "15m", ""] {
            assert!(wrong.parse::<Ask>().is_err(), "{wrong}");
        }
    }

    /// A server that hung from the first query on had no latency at all, and no failure.
    #[tokio::test(start_paused = true)]
    async fn a_query_that_nobody_answers_has_waited_for_as_long_as_that() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = HttpClient::new(&format!("http://{}", silent.local_addr().unwrap())).unwrap();
        let every = Duration::from_secs(1);
        let asking = Asking::begin(&client, &["15m {a=\"b\"}".parse().unwrap()], every);
        tokio::time::sleep(30 * every).await;
        let asked = asking.end().remove(0);
        assert_eq!((asked.answers, asked.failures), (0, 0));
        let [waited] = asked.latencies_us[..] else { panic!("{asked:?}") };
        assert!((29_000_000..=30_000_000).contains(&waited), "{waited}");
    }
}
