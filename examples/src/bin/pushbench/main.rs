//! Pushes log lines at a server as fast as it takes them, and says what that cost the server.

mod ask;
mod load;
mod machine;
mod markdown;
mod plot;
mod process;
mod report;
mod run;
mod scenario;
mod suite;
mod usage;
mod watch;
mod wire;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch as channel;

use ask::Ask;
use load::{Lines, Plan, Until};
use process::Setup;
use run::{Bench, Run, Target};
use scenario::{BASELINE_SOURCE, Scenario, Shape};
use suite::{Keep, Suite};

const MINUTE: Duration = Duration::from_secs(60);

/// Measures how fast a server takes pushes of log lines, and what they cost it.
///
/// Without --url every run starts a pipeline of its own, on an empty directory and a free port, and stops it
/// afterwards. The load runs on the same machine: its own processor time is measured apart and shown beside the
/// server's, and bodies are made on the fly, so what is left of the machine is what a server really has next to an
/// agent.
///
/// Bodies are protobuf in a snappy block. Every connection is kept alive, has one push under way at a time, and writes
/// to streams of its own; a push holds lines of many of them, each with the time at which it was made.
///
/// Times are those of the client from before the request is written until the answer is read. Only lines of pushes
/// that were answered with 2xx count. The server's processor time and memory are those of all its processes. f is the
/// mean time that its logs took for a sync in the run, and rate * f / connections what the rate is beside a server that
/// does nothing but sync once for every push; records that share a sync bring it above 1.
#[derive(Debug, Parser)]
#[command(name = "pushbench", version, after_help = EXAMPLES)]
struct Arguments {
    /// Which loads; by default all, in this order
    #[arg(long, value_enum, value_name = "NAME", value_delimiter = ',')]
    scenario: Vec<Scenario>,
    /// Connections, in place of the load's own; no more than there are streams
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4_096))]
    connections: Option<u32>,
    /// Streams, in place of the load's own; several are measured one after the other
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    streams: Vec<u32>,
    /// Lines a push, in place of the load's own
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    push_lines: Option<u32>,
    /// Lines a second, of all connections [default: flat out]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
    /// How long to push in each run [default: 10, with --shapes and --all 60]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=86_400), conflicts_with_all = ["pushes"])]
    seconds: Option<u64>,
    /// Minutes more of that; with --all, how long the mixed load takes [default: 20]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_440), conflicts_with_all = ["pushes"])]
    minutes: Option<u32>,
    /// End after so many pushes, and not after a time: the same work for every server, for a profiler that slows it down
    #[arg(long, value_name = "N")]
    pushes: Option<u64>,

    /// Ask this meanwhile, again and again: how far back it looks, and a query; may be given several times
    #[arg(long, value_name = "'15m {..}'")]
    query: Vec<Ask>,
    /// How often each query is sent
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = time)]
    every: Duration,
    /// How often memory is looked at
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = time)]
    rss_every: Duration,
    /// Write what was seen of memory, processor time and lines, one line each time; of several runs the last stays
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Same as a picture of memory
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,

    /// Push to a server that runs already, such as http://127.0.0.1:3100
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Measure the processor time and memory of this process and its children as the server's
    #[arg(long, requires = "url")]
    pid: Option<u32>,
    /// The pipeline to start, or a script that runs it; by default the one beside this program. It is told on its
    /// standard input when to stop
    #[arg(long, value_name = "PROGRAM", conflicts_with = "url")]
    pipeline: Option<PathBuf>,
    /// Where the started pipeline's directory is made; by default beside this program, which is a real disk more
    /// often than the directory for temporary files
    #[arg(long, value_name = "DIR", conflicts_with = "url")]
    data_dir: Option<PathBuf>,
    /// Child processes of the started pipeline that keep lines [default: as many as there are copies]
    #[arg(long, value_name = "N", conflicts_with = "url")]
    ingesters: Option<u8>,
    /// Copies of each line; several are measured one after the other
    #[arg(long, value_name = "N", value_delimiter = ',', default_value = "1", value_parser = clap::value_parser!(u8).range(1..=9), conflicts_with = "url")]
    replication_factor: Vec<u8>,

    /// Push the lines of these files, over and over, instead of made-up ones
    #[arg(long, value_name = "FILE", num_args = 1..)]
    lines_from: Vec<PathBuf>,
    /// Decides the made-up lines
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Sent as X-Scope-OrgID
    #[arg(long)]
    tenant: Option<String>,

    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Measure the three loads for a minute each, and print them as BENCHMARKS.md has them
    #[arg(long, conflicts_with_all = ["json", "scenario", "connections", "streams", "push_lines", "rate", "pushes", "query", "replication_factor"])]
    shapes: bool,
    /// Measure all that BENCHMARKS.md has: the loads, 20 minutes of queries and pushes at half of the highest rate, and
    /// what a line costs by streams and copies. It takes 35 minutes and may need 25 GB of disk
    #[arg(long, conflicts_with_all = ["json", "shapes", "scenario", "connections", "streams", "push_lines", "pushes", "query", "replication_factor", "ingesters", "url"])]
    all: bool,
    /// More arguments for the started pipeline
    #[arg(last = true)]
    arguments: Vec<String>,
}

const EXAMPLES: &str = "\
Examples:
  pushbench                                   all loads, a pipeline of its own for each
  pushbench --all --svg rss.svg > tables.md   the tables of BENCHMARKS.md
  pushbench --scenario batches --seconds 30 --lines-from /var/log/*.log
  pushbench --scenario batches --streams 1,10,100,10000 --replication-factor 1,3
                                              what a line costs
  pushbench --scenario batches --minutes 20 --rate 200000 --csv rss.csv --svg rss.svg \\
    --query '15m {stream=\"s7\"} |= \"error\"' --query '5m sum by (app) (count_over_time({app=~\".+\"}[1m]))'
                                              queries and memory under a steady load
  pushbench --scenario single --pushes 2000 --pipeline ./under-a-profiler.sh
                                              a script that ends with: PROFILER pipeline \"$@\"
  pushbench --url http://127.0.0.1:3100 --pid $(pidof loki) --json
  pushbench --scenario small -- --config limits.yaml";

#[tokio::main]
async fn main() -> ExitCode {
    match work(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pushbench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn work(arguments: &Arguments) -> anyhow::Result<()> {
    let bench = bench(arguments).await?;
    let keep = Keep { csv: arguments.csv.clone(), svg: arguments.svg.clone() };
    let long = arguments.seconds.map_or(MINUTE, Duration::from_secs);
    if arguments.all {
        let mixed = MINUTE * arguments.minutes.unwrap_or(20);
        return Suite { each: long, mixed, rate: arguments.rate, keep }.run(&bench).await;
    }
    if arguments.shapes {
        let each = arguments.until(long);
        let measured = suite::shapes(&bench, each).await?;
        println!("{}\n\n{}", machine::describe().await, markdown::shapes(&measured));
        print!("{}", report::notes(&measured));
        println!("{BASELINE_SOURCE}");
        return keep.write(&measured.last().map_or_else(Vec::new, |one| one.samples.clone())).await;
    }
    let mut measured = Vec::new();
    for run in arguments.runs() {
        measured.push(bench.measure(&run).await.with_context(|| run.to_string())?);
    }
    if arguments.json {
        println!("{:#}", report::json(&measured));
    } else {
        println!("{}", report::table(&measured));
    }
    keep.write(measured.last().map_or(&[][..], |one| &one.samples)).await
}

async fn bench(arguments: &Arguments) -> anyhow::Result<Bench> {
    let target = match &arguments.url {
        Some(url) => Target::Running { url: url.clone(), pid: arguments.pid },
        None => Target::Started(Setup {
            program: arguments.pipeline.clone(),
            parent: arguments.data_dir.clone(),
            ingesters: arguments.ingesters,
            arguments: arguments.arguments.clone(),
        }),
    };
    Ok(Bench {
        target,
        lines: Lines::read(&arguments.lines_from, arguments.seed).await?,
        tenant: arguments.tenant.clone(),
        ask_every: arguments.every,
        rss_every: arguments.rss_every,
        stop: told_to_stop()?,
    })
}

/// How many times somebody wanted this to end: what was started is stopped the first time, and killed the second.
fn told_to_stop() -> anyhow::Result<channel::Receiver<u32>> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let (tell, told) = channel::channel(0);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            tell.send_modify(|times| *times += 1);
        }
    });
    Ok(told)
}

impl Arguments {
    fn runs(&self) -> Vec<Run> {
        let until = match self.pushes {
            Some(pushes) => Until::Pushes(pushes),
            None => Until::Time(self.until(Duration::from_secs(10))),
        };
        let plan = |shape| Plan { shape, until, rate: self.rate };
        let shapes = self.shapes_wanted();
        let run = |copies, shape| Run { plan: plan(shape), copies, asks: self.query.clone() };
        self.replication_factor
            .iter()
            .flat_map(|copies| shapes.iter().map(move |shape| run(*copies, *shape)))
            .collect()
    }

    fn until(&self, default: Duration) -> Duration {
        match (self.minutes, self.seconds) {
            (None, None) => default,
            (minutes, seconds) => MINUTE * minutes.unwrap_or(0) + Duration::from_secs(seconds.unwrap_or(0)),
        }
    }

    /// What is said of a shape holds for each load; without a load it is one of its own.
    fn shapes_wanted(&self) -> Vec<Shape> {
        let is_own = self.connections.is_some() || !self.streams.is_empty() || self.push_lines.is_some();
        let scenarios = match &self.scenario[..] {
            [] if is_own => &[Scenario::Batches][..],
            [] => &Scenario::ALL[..],
            named => named,
        };
        let shapes = scenarios.iter().map(|scenario| {
            let shape = scenario.shape();
            Shape {
                connections: self.connections.unwrap_or(shape.connections),
                push_lines: self.push_lines.unwrap_or(shape.push_lines),
                ..shape
            }
        });
        let with_streams = |shape: Shape| match &self.streams[..] {
            [] => vec![shape.with_streams(shape.streams)],
            streams => streams.iter().map(|streams| shape.with_streams(*streams)).collect(),
        };
        shapes.flat_map(with_streams).collect()
    }
}

/// A time such as `1s` or `500ms`.
fn time(text: &str) -> Result<Duration, String> {
    let ns = forebay_examples::logql::duration_ns(text).and_then(|ns| u64::try_from(ns).ok());
    let time = ns.filter(|ns| *ns > 0).map(Duration::from_nanos);
    time.ok_or_else(|| format!("{text:?} is not a time above 0, such as 1s or 500ms"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parsed(words: &[&str]) -> Arguments {
        Arguments::try_parse_from([&["pushbench"], words].concat()).unwrap()
    }

    #[test]
    fn arguments_fit_together() {
        Arguments::command().debug_assert();
        let parsed = parsed(&["--scenario", "single,batches", "--", "--x", "y"]);
        assert_eq!(parsed.scenario, [Scenario::Single, Scenario::Batches]);
        assert_eq!(parsed.arguments.len(), 2);
        for wrong in [
            &["--pid", "1"][..],
            &["--seconds", "1", "--pushes", "1"],
            &["--all", "--url", "http://x"],
            &["--every", "1"],
            &["--query", "{a=\"b\"}"],
            &["--streams", "0"],
        ] {
            Arguments::try_parse_from([&["pushbench"], wrong].concat()).unwrap_err();
        }
    }

    #[test]
    fn every_number_of_streams_is_measured_with_every_number_of_copies() {
        let runs =
            parsed(&["--scenario", "batches", "--streams", "1,10000", "--replication-factor", "1,3"]).runs();
        let all = runs.iter().map(|run| {
            let shape = run.plan.shape;
            (run.copies, shape.connections, shape.streams, shape.push_lines)
        });
        let expected = [(1, 1, 1, 1_000), (1, 4, 10_000, 1_000), (3, 1, 1, 1_000), (3, 4, 10_000, 1_000)];
        assert_eq!(all.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn without_a_word_all_loads_are_measured_for_ten_seconds() {
        let runs = parsed(&[]).runs();
        assert_eq!(
            runs.iter().map(|run| run.plan.shape.scenario()).collect::<Vec<_>>(),
            Scenario::ALL.map(Some)
        );
        assert!(runs.iter().all(|run| run.plan.until == Until::Time(Duration::from_secs(10))));
        let own = parsed(&["--connections", "2", "--push-lines", "7", "--minutes", "1"]).runs();
        assert_eq!(own.len(), 1);
        assert_eq!(own[0].plan.shape, Shape { connections: 2, streams: 64, push_lines: 7 });
        assert_eq!(own[0].plan.until, Until::Time(Duration::from_secs(60)));
    }
}
