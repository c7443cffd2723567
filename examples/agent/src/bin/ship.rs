//! The agent as a program.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use forebay_agent::log;
use forebay_agent::ship::pace::SystemPace;
use forebay_agent::ship::{Agent, Board, Options, Packing, Progress};
use forebay_wal::fs::StdFs;
use indicatif::{ProgressBar, ProgressStyle};
use regex::bytes::Regex;
use tokio::signal::unix::{SignalKind, signal};

/// Ships log files to whatever speaks Loki's push API, each line of a file at least once.
///
/// Lines are sent in batches of 1 MiB, or of what came within a second. While the server is away, busy or does not let
/// the agent in, the agent holds the batch that it has, tries again for as long as it takes, and reads no more: nothing
/// of a file is dropped, and memory stays at a few megabytes. Of standard input, what is not delivered ten seconds after
/// the agent was told to stop is lost, and counted. Only an answer about the lines themselves counts as one: what the
/// server refuses to store, because it is too old say, is counted and shown at the end.
///
/// With --follow it stays: files may grow, be rotated or truncated, and new ones may come. How far it is, it keeps in
/// the file that --positions names; after a restart, kill -9 included, it goes on from there, and repeats the batch that
/// was under way byte by byte, so that the server knows it for the same.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "\
Try it, with `pipeline` running in another terminal:
  ship /var/log                          the logs in a directory, up to their ends, and a table
  ship -f '/var/log/**/*.log'            follow all there are, and those that come
  ship -f app.log --label app=shop --label env=prod
  journalctl -f | ship - --label job=journal
  ship app.log --timestamp '%Y-%m-%d %H:%M:%S,%f' --multiline '^\\d{4}-'
                                         times as the lines say them, stack traces as one entry
  curl -sG http://127.0.0.1:3100/loki/api/v1/query_range --data-urlencode 'query={job=\"ship\"}' -d limit=3

Labels of a line are `filename`, `host`, `job` and what --label says. Each followed file is an open file: raise
`ulimit -n` for more than a thousand. Of directories and patterns, hidden, compressed and binary files are left out."
)]
struct Arguments {
    /// Files, directories, patterns in quotes, or - for standard input.
    #[arg(required = true, value_name = "SOURCE")]
    sources: Vec<String>,
    /// Where the server is. Given several times, the first that is up gets the lines.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:3100")]
    url: Vec<String>,
    /// Whom to send for, in X-Scope-OrgID.
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
    /// Stay, and ship what comes.
    #[arg(short, long)]
    follow: bool,
    /// Keep offsets in this file, and start from those in it [default with --follow: ship-positions.json].
    #[arg(long, value_name = "FILE")]
    positions: Option<PathBuf>,
    /// A label of every line: NAME=VALUE. May be given several times.
    #[arg(long, value_name = "NAME=VALUE", value_parser = label)]
    label: Vec<(String, String)>,
    /// How lines say their time: rfc3339, unix, unix-ms, unix-ns, or as for strptime. It may stand anywhere near the
    /// start of a line; a line without one has that of the line before [default: the time of reading].
    #[arg(long, value_name = "FORMAT")]
    timestamp: Option<String>,
    /// What the first line of an entry matches: lines that do not belong to the one before.
    #[arg(long, value_name = "REGEX")]
    multiline: Option<Regex>,
    /// How pushes are packed.
    #[arg(long, value_enum, default_value_t)]
    packing: Packing,
    /// One JSON object a second on standard output, and one at the end, instead of a progress bar and a table.
    #[arg(long)]
    json: bool,
}

fn label(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Runtime::new()?;
    let outcome = runtime.block_on(run(arguments));
    // Not waited for: a connection may still be under way.
    runtime.shutdown_background();
    outcome
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    log::init(if arguments.json { log::Format::Json } else { log::Format::Text }, colours);
    let resumes = arguments.positions.is_some() || arguments.follow;
    let json = arguments.json;
    let options = options(arguments)?;
    let board = Board::default();
    let (agent, stop) = Agent::new(options, StdFs, SystemPace, std::io::stdin(), board.clone())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let shown = tokio::spawn(show(board.clone(), json));
    let running = agent.run();
    tokio::pin!(running);
    let outcome = tokio::select! {
        outcome = &mut running => outcome,
        _ = terminate.recv() => { stop.stop(); running.await }
        _ = interrupt.recv() => { stop.stop(); running.await }
    };
    shown.abort();
    // Waited for, so that nothing is drawn over what follows.
    let _ = shown.await;
    let shipped = match &outcome {
        Ok(shipped) => shipped.clone(),
        Err(_) => board.read().shipped,
    };
    if json {
        println!("{}", Progress { shipped: shipped.clone(), ..board.read() }.json());
    } else {
        println!("{}", shipped.table());
    }
    let gone = outcome?.gone_lines(resumes);
    anyhow::ensure!(gone == 0, "{gone} lines were read and not delivered");
    Ok(())
}

fn options(arguments: Arguments) -> anyhow::Result<Options> {
    let mut options = Options {
        urls: arguments.url,
        sources: arguments.sources,
        follow: arguments.follow,
        positions: arguments.positions,
        tenant: arguments.tenant,
        timestamp: arguments.timestamp,
        multiline: arguments.multiline,
        packing: arguments.packing,
        ..Options::default()
    };
    if options.follow && options.positions.is_none() {
        options.positions = Some("ship-positions.json".into());
    }
    for (name, value) in &arguments.label {
        options.label(name, value).with_context(|| format!("--label {name}={value}"))?;
    }
    Ok(options)
}

/// Shows how far it is, each second.
async fn show(board: Board, json: bool) {
    let bar = if json { ProgressBar::hidden() } else { progress_bar() };
    let bar = Bar(bar);
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    loop {
        ticks.tick().await;
        let progress = board.read();
        if json {
            println!("{}", progress.json());
            continue;
        }
        let Progress { shipped, bytes_left, trouble, .. } = progress;
        bar.0.set_length(shipped.bytes + bytes_left);
        bar.0.set_position(shipped.bytes);
        bar.0.set_prefix(format!("{} lines", shipped.lines));
        bar.0.set_message(trouble.map_or_else(String::new, |trouble| format!("held: {trouble}")));
    }
}

/// Goes from the terminal with whoever draws it.
struct Bar(ProgressBar);

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// On standard error, and hidden where that is no terminal.
fn progress_bar() -> ProgressBar {
    let template = "{bar:32} {bytes:>11} of {total_bytes}, {prefix}  {wide_msg}";
    let style = ProgressStyle::with_template(template).expect("a test draws a bar of this constant");
    ProgressBar::new(0).with_style(style)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_and_the_bar_are_in_order() {
        Arguments::command().debug_assert();
        assert_eq!(progress_bar().length(), Some(0));
    }

    #[test]
    fn those_who_follow_keep_offsets_and_labels_are_checked() {
        let parsed = |words: &str| options(Arguments::parse_from(words.split(' ')));
        let following = parsed("ship -f /var/log").unwrap();
        assert_eq!(following.positions, Some("ship-positions.json".into()));
        assert_eq!(parsed("ship /var/log").unwrap().positions, None);
        let labels = parsed("ship - --label job=a=b").unwrap().labels;
        assert!(labels.contains(&("job".to_owned(), "a=b".to_owned())) && labels.len() == 2);
        parsed("ship - --label 1=b").unwrap_err();
        assert!(Arguments::try_parse_from(["ship"]).is_err());
        assert!(Arguments::try_parse_from(["ship", "-", "--multiline", "("]).is_err());
    }
}
