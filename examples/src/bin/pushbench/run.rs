//! One run: a server, lines that are pushed at it, queries meanwhile, and what the system says of both.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::anyhow;
use forebay_agent::clock::monotonic_ns;
use forebay_agent::figures::grouped;
use forebay_agent::http_client::HttpClient;
use forebay_examples::demo::Scrape;
use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;
use tokio::sync::watch as channel;

use crate::ask::{Ask, Asked, Asking};
use crate::load::{self, Lines, Load, Plan, Progress, Until};
use crate::process::{Server, Setup};
use crate::usage::Usage;
use crate::watch::{Sample, watch};
use crate::wire::Address;

/// How long a server may take to store everything and leave, and how long where nobody waits for its figures.
const STOP: Duration = Duration::from_secs(60);
const HURRY: Duration = Duration::from_secs(10);
/// How often the progress bar moves.
const TICK: Duration = Duration::from_millis(200);
/// A server's log shows what it counted within this time.
const SHOWN: Duration = Duration::from_millis(1_500);

/// Whom to push to.
#[derive(Debug)]
pub(crate) enum Target {
    /// One that runs, as a process where its use is to be measured.
    Running { url: String, pid: Option<u32> },
    /// A pipeline for each run.
    Started(Setup),
}

/// What all runs have in common.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) target: Target,
    pub(crate) lines: Lines,
    /// Sent as X-Scope-OrgID.
    pub(crate) tenant: Option<String>,
    /// How often a query is sent.
    pub(crate) ask_every: Duration,
    /// How often memory is looked at.
    pub(crate) rss_every: Duration,
    /// How many times somebody wanted it to end.
    pub(crate) stop: channel::Receiver<u32>,
}

/// What is measured.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) plan: Plan,
    /// Copies of each line.
    pub(crate) copies: u8,
    /// Queries that are sent meanwhile.
    pub(crate) asks: Vec<Ask>,
}

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) run: Run,
    pub(crate) load: Load,
    /// Processor time of the server and its children, where its process is known.
    pub(crate) server_cpu: Option<Duration>,
    /// Processor time of the load itself.
    pub(crate) client_cpu: Duration,
    /// Most memory the server had resident since it started.
    pub(crate) peak_rss_bytes: Option<u64>,
    /// How that went.
    pub(crate) samples: Vec<Sample>,
    /// What its logs did, where it shows them.
    pub(crate) wal: Option<Wal>,
    pub(crate) asked: Vec<Asked>,
}

/// What the logs of all ingesters counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Wal {
    pub(crate) syncs: f64,
    pub(crate) sync_seconds: f64,
    pub(crate) records: f64,
}

impl Bench {
    /// Measures `run`.
    ///
    /// # Errors
    /// A server that cannot be started, asked or stopped, or an interruption; what was started is stopped either way.
    pub(crate) async fn measure(&self, run: &Run) -> anyhow::Result<Measured> {
        let interrupted = || anyhow!("interrupted");
        if *self.stop.borrow() > 0 {
            return Err(interrupted());
        }
        eprintln!("{run}, {}", self.lines);
        let mut server = match &self.target {
            Target::Running { url, pid } => Server::Running { url: url.clone(), pid: *pid },
            Target::Started(setup) => Server::start(setup, run.copies).await?,
        };
        let on = async {
            let url = server.url().await?;
            self.on(&server, &url, run).await
        };
        let measured = tokio::select! {
            measured = on => measured,
            () = self.told(1) => Err(interrupted()),
        };
        let patience = if measured.is_ok() { STOP } else { HURRY };
        let told = *self.stop.borrow();
        let stopped = server.stop(patience, self.told(told + 1)).await;
        let measured = measured?;
        stopped?;
        Ok(measured)
    }

    /// Ends when somebody has wanted this to end so many times.
    async fn told(&self, times: u32) {
        // Whoever could want it lives as long as the program.
        let _ = self.stop.clone().wait_for(|told| *told >= times).await;
    }

    async fn on(&self, server: &Server, url: &str, run: &Run) -> anyhow::Result<Measured> {
        let mut client = HttpClient::new(url)?;
        if let Some(tenant) = &self.tenant {
            client = client.for_tenant(tenant)?;
        }
        let to = Address::new(url, self.tenant.as_deref())?;
        let metrics = async || Scrape::fetch(&client).await.unwrap_or_default();
        let before = metrics().await;
        let (server_before, client_before) = (server.usage().await?, Usage::own().await?);
        let (progress, samples) = (Progress::default(), Mutex::default());
        let asking = Asking::begin(&client, &run.asks, self.ask_every);
        let bar = bar(run.plan);
        let load = tokio::select! {
            load = load::push(&to, run.plan, &self.lines, &progress) => load,
            error = watch(server, &progress, self.rss_every, &samples) => Err(error),
            never = advance(&bar, run.plan, &progress) => match never {},
        };
        bar.finish_and_clear();
        let load = load?;
        let (server_after, client_after) = (server.usage().await?, Usage::own().await?);
        let asked = asking.end();
        tokio::time::sleep(SHOWN).await;
        let cpu_before = server_before.map_or(Duration::ZERO, |before| before.cpu);
        Ok(Measured {
            run: run.clone(),
            load,
            server_cpu: server_after.map(|after| after.cpu.saturating_sub(cpu_before)),
            client_cpu: client_after.cpu - client_before.cpu,
            peak_rss_bytes: server_after.map(|after| after.peak_rss_bytes),
            samples: samples.into_inner(),
            wal: Wal::of(&metrics().await.since(&before)),
            asked,
        })
    }
}

impl Wal {
    fn of(grown: &Scrape) -> Option<Self> {
        Some(Self {
            syncs: grown.total("forebay_wal_syncs_total").filter(|syncs| *syncs > 0.0)?,
            sync_seconds: grown.total("forebay_wal_sync_nanoseconds_total")? / 1e9,
            records: grown.total("forebay_wal_appended_records_total")?,
        })
    }
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Plan { shape, until, rate } = self.plan;
        write!(f, "{shape}")?;
        if self.copies > 1 {
            write!(f, ", {} copies", self.copies)?;
        }
        match until {
            Until::Time(time) => write!(f, ", {time:?}")?,
            Until::Pushes(pushes) => write!(f, ", {} pushes", grouped(pushes))?,
        }
        rate.map_or(Ok(()), |rate| write!(f, ", at {} lines/s", grouped(rate)))
    }
}

/// On standard error, and hidden where that is no terminal.
fn bar(plan: Plan) -> ProgressBar {
    let style =
        ProgressStyle::with_template("{bar:32} {msg}").expect("a test makes the bar of this constant");
    let length = match plan.until {
        Until::Time(time) => u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
        Until::Pushes(pushes) => pushes.saturating_mul(plan.shape.push_lines.into()),
    };
    ProgressBar::new(length).with_style(style)
}

async fn advance(bar: &ProgressBar, plan: Plan, progress: &Progress) -> Infallible {
    let started_ns = monotonic_ns();
    loop {
        tokio::time::sleep(TICK).await;
        let (lines, ms) = (progress.lines(), (monotonic_ns() - started_ns) / 1_000_000);
        bar.set_position(if matches!(plan.until, Until::Time(_)) { ms } else { lines });
        let rate = lines * 1_000 / ms.max(1);
        bar.set_message(format!("{} lines, {} lines/s", grouped(lines), grouped(rate)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Scenario;

    #[test]
    fn a_run_says_what_it_does() {
        let shape = Scenario::Single.shape();
        let time = Until::Time(Duration::from_secs(60));
        let mut run = Run { plan: Plan { shape, until: time, rate: None }, copies: 1, asks: Vec::new() };
        assert_eq!(run.to_string(), "4 connections, 64 streams, 1 line a push, 60s");
        run = Run { copies: 3, plan: Plan { until: Until::Pushes(2_000), rate: Some(1_000), shape }, ..run };
        let expected = "4 connections, 64 streams, 1 line a push, 3 copies, 2,000 pushes, at 1,000 lines/s";
        assert_eq!(run.to_string(), expected);
        assert_eq!(bar(run.plan).length(), Some(2_000));
    }

    #[test]
    fn the_mean_sync_is_that_of_the_run_alone() {
        let scrape = |syncs, ns, records| {
            let text = format!(
                "forebay_wal_syncs_total {syncs}\nforebay_wal_sync_nanoseconds_total {ns}\n\
                 forebay_wal_appended_records_total{{instance=\"a\"}} {records}\n"
            );
            Scrape::parse(&text).unwrap()
        };
        let wal = Wal::of(&scrape(30, 50_000_000_000_u64, 90).since(&scrape(10, 10_000_000_000, 20)));
        assert_eq!(wal, Some(Wal { syncs: 20.0, sync_seconds: 40.0, records: 70.0 }));
        assert_eq!(Wal::of(&scrape(10, 0, 0).since(&scrape(10, 0, 0))), None);
        assert_eq!(Wal::of(&Scrape::default()), None);
    }
}
