//! Pushes log lines at a server as fast as it takes them, and says what that cost the server.

mod load;
mod process;
mod report;
mod scenario;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow};
use clap::Parser;
use forebay_agent::http_client::HttpClient;
use forebay_examples::demo::Scrape;

use load::Lines;
use process::{Server, Usage};
use report::Measured;
use scenario::Scenario;

/// Measures how fast a server takes pushes of log lines, and what they cost it.
///
/// Without --url every scenario starts a pipeline of its own, on an empty directory and a free port, and stops it
/// afterwards. The load runs on the same machine: its own processor time is measured apart and shown beside the
/// server's, and bodies are made on the fly, so what is left of the machine is what a server really has next to an
/// agent.
///
/// Bodies are protobuf in a snappy block. Every connection is kept alive, has one push under way at a time, and writes
/// to streams of its own; a push holds lines of many of them, each with the time at which it was made.
///
/// Times are those of the client from before the request is written until the answer is read. Only lines of pushes
/// that were answered with 2xx count.
#[derive(Debug, Parser)]
#[command(name = "pushbench", version, after_help = EXAMPLES)]
struct Arguments {
    /// Push to a server that runs already, such as http://127.0.0.1:3100
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Measure the processor time and memory of this process and its children as the server's
    #[arg(long, requires = "url")]
    pid: Option<u32>,
    /// The pipeline to start; by default the one beside this program
    #[arg(long, value_name = "PROGRAM", conflicts_with = "url")]
    pipeline: Option<PathBuf>,
    /// Where the started pipeline's directory is made; by default beside this program, which is a real disk more
    /// often than the directory for temporary files
    #[arg(long, value_name = "DIR", conflicts_with = "url")]
    data_dir: Option<PathBuf>,
    /// How long to push in each scenario
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// Which scenarios; by default all, in this order
    #[arg(long, value_enum, value_name = "NAME", value_delimiter = ',')]
    scenario: Vec<Scenario>,
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
    /// More arguments for the started pipeline
    #[arg(last = true)]
    arguments: Vec<String>,
}

const EXAMPLES: &str = "\
Examples:
  pushbench                                   all scenarios, a pipeline of its own for each
  pushbench --scenario batches --seconds 30 --lines-from /var/log/*.log
  pushbench --url http://127.0.0.1:3100 --pid $(pidof loki) --json
  pushbench --scenario small -- --config limits.yaml";

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // When it is interrupted, what it started goes with the other branch.
    let done = tokio::select! {
        done = run(&arguments) => done,
        _ = tokio::signal::ctrl_c() => Err(anyhow!("interrupted")),
    };
    if let Err(error) = done {
        eprintln!("pushbench: {error:#}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let lines = Lines::read(&arguments.lines_from, arguments.seed).await?;
    let scenarios =
        if arguments.scenario.is_empty() { Scenario::ALL.to_vec() } else { arguments.scenario.clone() };
    let mut measured = Vec::with_capacity(scenarios.len());
    for scenario in scenarios {
        eprintln!("{scenario}, {} s, {lines}", arguments.seconds);
        measured.push(measure(arguments, scenario, &lines).await.with_context(|| scenario.to_string())?);
    }
    if arguments.json {
        println!("{:#}", report::json(&measured));
    } else {
        println!("{}", report::table(&measured));
    }
    Ok(())
}

async fn measure(arguments: &Arguments, scenario: Scenario, lines: &Lines) -> anyhow::Result<Measured> {
    let server = match &arguments.url {
        Some(url) => Server::running(url, arguments.pid),
        None => {
            let program = arguments.pipeline.as_deref();
            Server::start(program, arguments.data_dir.as_deref(), &arguments.arguments).await?
        }
    };
    let mut client = HttpClient::new(server.url())?;
    if let Some(tenant) = &arguments.tenant {
        client = client.for_tenant(tenant)?;
    }
    let metrics = async || Scrape::fetch(&client).await.unwrap_or_default();
    let (syncs_before, server_before, client_before) =
        (metrics().await, server.usage().await?, Usage::own().await?);
    let load = load::push(&client, scenario, lines, Duration::from_secs(arguments.seconds)).await?;
    let (server_after, client_after, syncs_after) =
        (server.usage().await?, Usage::own().await?, metrics().await);
    server.stop().await?;
    Ok(Measured {
        scenario,
        load,
        server_cpu: server_after
            .map(|after| after.cpu - server_before.map_or(Duration::ZERO, |before| before.cpu)),
        client_cpu: client_after.cpu - client_before.cpu,
        peak_rss_bytes: server_after.map(|after| after.peak_rss_bytes),
        wal_syncs: syncs_after.since(&syncs_before).total("forebay_wal_syncs_total"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn arguments_fit_together() {
        Arguments::command().debug_assert();
        let parsed = Arguments::parse_from(["pushbench", "--scenario", "single,batches", "--", "--x", "y"]);
        assert_eq!(parsed.scenario, [Scenario::Single, Scenario::Batches]);
        assert_eq!((parsed.seconds, parsed.arguments.len()), (10, 2));
        assert!(Arguments::try_parse_from(["pushbench", "--pid", "1"]).is_err(), "a pid needs a server");
    }
}
