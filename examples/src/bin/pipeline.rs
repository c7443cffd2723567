//! The reference pipeline as a program.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use forebay_agent::clock::Deadline;
use forebay_agent::http_client::HttpClient;
use forebay_agent::log;
use forebay_agent::ship::pace::SystemPace;
use forebay_agent::ship::{self, Agent, Board, Retry, Shipped};
use forebay_examples::config::{Config, Target};
use forebay_examples::demo::{self, Scrape};
use forebay_examples::federation::Children;
use forebay_examples::memory;
use forebay_examples::pipeline::{self, Neighbours, Running};
use forebay_examples::supervisor::{self, Family, Supervisor};
use forebay_wal::fs::StdFs;
use tokio::signal::unix::{SignalKind, signal};

/// Takes log lines in over Loki's push API, keeps them safe, and gives them back.
///
/// Without a file it runs everything in one process, for the single tenant `fake`, with Loki's limits except
/// ingestion_rate_mb 1024, ingestion_burst_size_mb 1024 and max_global_streams_per_user 100000. What is in force is
/// shown under /config.
///
/// Chunks are written in Loki's format; `ingester: {chunk_format: columnar}` in the file makes new ones columnar, which
/// take fewer bytes, with `chunk_profile` fast, balanced (the default) or archive. Both are read, whichever is written.
///
/// RUST_LOG sets what is logged to standard error: `info` by default; `info,forebay_examples=debug,forebay_agent=debug`
/// shows every push, with the trace id that its answer has in X-Trace-ID, once in the agent, in the distributor and in
/// each ingester; `warn` shows what failed, with its trace id too.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "\
Try it:
  pipeline --demo                      make lines, send them, query them, stay up
  pipeline --ship /var/log/dpkg.log    the same with a real file
  pipeline --ingesters 3 --replication-factor 3
                                       three child processes, each line on all of them
  curl -H 'Content-Type: application/json' http://127.0.0.1:3100/loki/api/v1/push \\
    -d '{\"streams\":[{\"stream\":{\"app\":\"x\"},\"values\":[[\"'$(date +%s%N)'\",\"hello\"]]}]}'
  curl -G http://127.0.0.1:3100/loki/api/v1/query_range --data-urlencode 'query={app=\"x\"}'"
)]
struct Arguments {
    /// A configuration under Loki's names; flags win over it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Everything that is kept goes here [default: ./data].
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where the HTTP port is [default: 127.0.0.1:3100]. Port 0 takes a free one.
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Where the gRPC port is, if this process needs one [default: 127.0.0.1:0].
    #[arg(long, value_name = "ADDR")]
    grpc_listen: Option<String>,
    /// Take the tenant of a request from X-Scope-OrgID.
    #[arg(long)]
    auth: bool,
    /// Which parts run in this process.
    #[arg(long, value_enum)]
    target: Option<Target>,
    /// Keep lines in this many child processes, each with its own log and zone, instead of this one.
    #[arg(long, value_name = "N")]
    ingesters: Option<usize>,
    /// Copies of each line before it is stored.
    #[arg(long, value_name = "R")]
    replication_factor: Option<u8>,
    /// Leave a child that died down.
    #[arg(long, requires = "ingesters")]
    no_restart: bool,
    /// gRPC address of the process with the index, for a target that has none.
    #[arg(long, value_name = "ADDR")]
    index: Option<String>,
    /// Name of this ingester.
    #[arg(long, value_name = "ID")]
    instance_id: Option<String>,
    /// Failure domain of this ingester.
    #[arg(long)]
    zone: Option<String>,
    /// Make lines from a seed, send them through the HTTP port, query them and print what happened.
    #[arg(long, conflicts_with = "ship")]
    demo: bool,
    /// Lines that --demo makes.
    #[arg(long, default_value_t = 1_000_000, requires = "demo")]
    lines: u64,
    /// Seed of the lines that --demo makes.
    #[arg(long, default_value_t = 1, requires = "demo")]
    seed: u64,
    /// Send these files through the HTTP port and print what happened.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    ship: Vec<PathBuf>,
    /// Tenant that --demo and --ship send for, with --auth.
    #[arg(long, value_name = "ID", default_value = "demo")]
    tenant: String,
    /// Take orders from standard input: how a parent stops its children, and keeps them from outliving it.
    #[arg(long, hide = true)]
    child: bool,
    /// Bytes of memory for lines: the share that a parent gives its children.
    #[arg(long, value_name = "BYTES", hide = true)]
    memory_limit: Option<u64>,
    /// How log lines are written, those of child processes too.
    #[arg(long, value_enum, default_value_t)]
    log_format: log::Format,
    /// Exit after --demo or --ship instead of staying up.
    #[arg(long)]
    once: bool,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Runtime::new()?;
    let outcome = runtime.block_on(run(&arguments));
    // Not waited for: a thread that reads standard input or writes to a stalled disk may never end.
    runtime.shutdown_background();
    outcome
}

async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    log::init(arguments.log_format, colours);
    let config = configure(arguments)?;
    // Before the parts start: a signal that comes while a log is replayed must not kill the process half-way.
    let told = told_to_stop(arguments.child, config.shutdown_timeout)?;
    tokio::pin!(told);
    let (running, children, url) = tokio::select! {
        started = start(arguments, &config) => started?,
        _ = &mut told => anyhow::bail!("told to stop before it had started; the log keeps what it has"),
    };
    let outcome = tokio::select! {
        outcome = work(arguments, &config, &running, &url) => outcome.map(|()| None),
        deadline = &mut told => Ok(Some(deadline)),
    };
    let (outcome, deadline) = match outcome {
        Ok(Some(deadline)) => (Ok(()), deadline),
        Ok(None) if !arguments.once => (Ok(()), told.await),
        ended => (ended.map(drop), Deadline::after(config.shutdown_timeout)),
    };
    tracing::info!("stopping");
    let children_clean = match children {
        Some(children) => children.stop(deadline).await,
        None => true,
    };
    let stopped = running.stop(deadline).await;
    outcome.and(stopped)?;
    anyhow::ensure!(children_clean, "an ingester did not store everything; its log keeps the rest");
    Ok(())
}

/// Starts everything, the HTTP port last, and says where it listens; its URL.
async fn start(
    arguments: &Arguments,
    config: &Config,
) -> anyhow::Result<(Running, Option<Supervisor>, String)> {
    let metrics = forebay_examples::metrics::install()?;
    let neighbours = Neighbours {
        index: arguments.index.clone(),
        children: arguments.ingesters.map(|_| Children::default()),
    };
    let mut running = pipeline::start(config.clone(), neighbours.clone(), Some(metrics)).await?;
    let children = match neighbours.children {
        Some(children) => Some(start_children(arguments, config, &running, children).await?),
        None => None,
    };
    // Last: an answer without the lines of an ingester that is not there yet would look whole.
    let url = format!("http://{}", running.listen().await?);
    println!("{}{url}", supervisor::HTTP_LINE);
    if let Some(grpc) = running.grpc {
        println!("{}{grpc}", supervisor::GRPC_LINE);
    }
    Ok((running, children, url))
}

/// What it does besides serving.
async fn work(arguments: &Arguments, config: &Config, running: &Running, url: &str) -> anyhow::Result<()> {
    let tenant = config.auth_enabled.then(|| arguments.tenant.clone());
    if arguments.child {
        // It is started again, and with that its log opened again.
        anyhow::bail!(running.failed().await);
    }
    if arguments.demo {
        let options = demo::Options { lines: arguments.lines, seed: arguments.seed, tenant };
        demo::run(url, options).await?;
    } else if !arguments.ship.is_empty() {
        let shipped = ship(url, &arguments.ship, tenant).await?;
        let (refused, first) = (shipped.refused_lines, shipped.first_refusal.unwrap_or_default());
        anyhow::ensure!(!arguments.once || refused == 0, "{refused} lines were refused: {first}");
    }
    Ok(())
}

fn configure(arguments: &Arguments) -> anyhow::Result<Config> {
    let mut config = match &arguments.config {
        None => Config::default(),
        Some(path) => {
            let (config, warnings) = Config::read(path)?;
            for warning in warnings {
                tracing::warn!(file = %path.display(), "{warning}");
            }
            config
        }
    };
    if let Some(dir) = &arguments.data_dir {
        config.common.path_prefix = dir.clone();
    }
    if let Some(listen) = &arguments.listen {
        (config.server.http_listen_address, config.server.http_listen_port) = address(listen)?;
    }
    if let Some(listen) = &arguments.grpc_listen {
        (config.server.grpc_listen_address, config.server.grpc_listen_port) = address(listen)?;
    }
    config.auth_enabled |= arguments.auth;
    config.target = arguments.target.unwrap_or(config.target);
    config.common.replication_factor =
        arguments.replication_factor.unwrap_or(config.common.replication_factor);
    anyhow::ensure!(config.common.replication_factor > 0, "--replication-factor is at least 1");
    if let Some(id) = &arguments.instance_id {
        config.common.instance_id = id.clone();
    }
    if let Some(zone) = &arguments.zone {
        config.common.instance_availability_zone = zone.clone();
    }
    if arguments.child {
        // These are one ingester's own, and the configuration is that of all children.
        (config.ingester.lifecycler.address, config.ingester.lifecycler.port) = (String::new(), 0);
        config.ingester.lifecycler.tokens_file_path = None;
    }
    config.ingester.memory_limit = arguments.memory_limit.unwrap_or(config.ingester.memory_limit);
    if let Some(count) = arguments.ingesters {
        anyhow::ensure!(count > 0, "--ingesters is at least 1");
        anyhow::ensure!(config.target == Target::All, "--ingesters goes with --target all");
        let copies = usize::from(config.common.replication_factor);
        anyhow::ensure!(
            count >= copies,
            "--replication-factor {copies} needs at least as many ingesters, not {count}"
        );
    }
    Ok(config)
}

fn address(text: &str) -> anyhow::Result<(String, u16)> {
    let (host, port) = text.rsplit_once(':').with_context(|| format!("{text:?} is not HOST:PORT"))?;
    Ok((host.to_owned(), port.parse().with_context(|| format!("{port:?} is not a port"))?))
}

async fn start_children(
    arguments: &Arguments,
    config: &Config,
    running: &Running,
    children: Children,
) -> anyhow::Result<Supervisor> {
    let index = running.grpc.context("a process with children has a gRPC port")?;
    let mut passed = vec!["--index".to_owned(), index.to_string()];
    let data_dir = config.common.path_prefix.display().to_string();
    passed.extend(["--data-dir".to_owned(), data_dir]);
    passed.extend(["--replication-factor".to_owned(), config.common.replication_factor.to_string()]);
    if let Some(path) = &arguments.config {
        passed.extend(["--config".to_owned(), path.display().to_string()]);
    }
    if arguments.log_format == log::Format::Json {
        passed.extend(["--log-format".to_owned(), "json".to_owned()]);
    }
    let count = arguments.ingesters.context("a process with children has a number of them")?;
    if config.ingester.memory_limit == 0 {
        let share = memory::available() / 4 / u64::try_from(count)?;
        passed.extend(["--memory-limit".to_owned(), share.max(1).to_string()]);
    }
    let lifecycler = &config.ingester.lifecycler;
    let options = supervisor::Options {
        program: std::env::current_exe()?,
        arguments: passed,
        count,
        restart: !arguments.no_restart,
        waits: lifecycler.join_after.saturating_add(lifecycler.observe_period),
    };
    let cluster = running.cluster.clone().context("a process with children has a ring")?;
    Supervisor::start(options, Family { cluster, children }).await
}

/// Sends `files` to the server at `url` and prints what became of them.
async fn ship(url: &str, files: &[PathBuf], tenant: Option<String>) -> anyhow::Result<Shipped> {
    let client = HttpClient::new(url)?;
    let before = Scrape::fetch(&client).await?;
    let options = ship::Options {
        urls: vec![url.to_owned()],
        sources: files.iter().map(|path| path.display().to_string()).collect(),
        tenant,
        // The server is this process: where it does not answer, waiting does not help.
        retry: Retry { tries: Some(12), ..Retry::default() },
        ..ship::Options::default()
    };
    let (agent, _stop) = Agent::new(options, StdFs, SystemPace, std::io::empty(), Board::default())?;
    let shipped = agent.run().await?;
    let flushed = client.post("/flush", "text/plain", &http::HeaderMap::new(), bytes::Bytes::new()).await?;
    flushed.success()?;
    println!("{}", demo::ship_table(&shipped, &Scrape::fetch(&client).await?.since(&before)));
    println!(
        "try\n  curl -sG {url}/loki/api/v1/query_range --data-urlencode 'query={{job=\"ship\"}}' -d limit=3"
    );
    Ok(shipped)
}

/// Listens from this call on for whoever may stop the process. The future ends when it is to stop, and says by when.
fn told_to_stop(is_child: bool, timeout: Duration) -> anyhow::Result<impl Future<Output = Deadline>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let parent =
        async move { if is_child { supervisor::told_to_stop().await } else { std::future::pending().await } };
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => Deadline::after(timeout),
            _ = interrupt.recv() => Deadline::after(timeout),
            deadline = parent => deadline,
        }
    })
}
