//! The maker of log lines as a program.

use std::fs::OpenOptions;
use std::io::IsTerminal;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use forebay_agent::clock::monotonic_ns;
use forebay_agent::http_client::HttpClient;
use forebay_agent::log;
use forebay_agent::loggen::run::{Made, Target, run};
use forebay_agent::loggen::schedule::Schedule;
use forebay_agent::loggen::{Choice, Generator};
use forebay_agent::ship::pace::SystemPace;
use forebay_agent::ship::{Courier, Retry};

/// Makes log lines of a small shop's services, decided by a seed.
///
/// The same seed, kind and number of streams give the same lines but for their times, which are those at which they are
/// made. It makes them flat out, or at a rate that it keeps without drift, and ends after so many lines or seconds, or
/// when it is told to.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "\
Try it:
  loggen --lines 5                                   a look at them
  loggen --kind trace --rate 2                       stack traces over several lines, two entries a second
  loggen --rate 1000 --to app.log & ship -f app.log  a file that grows, and the agent that follows it
  loggen --rate 5000 --seconds 60 --to http://127.0.0.1:3100
                                                     pushed, with labels app, cluster, env, pod and stream"
)]
struct Arguments {
    /// Whose lines.
    #[arg(long, value_enum, default_value_t)]
    kind: Choice,
    /// Decides the lines.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many streams write them; the first are the busiest.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..))]
    streams: u32,
    /// Lines a second [default: flat out].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
    /// End after so many lines.
    #[arg(long, value_name = "N")]
    lines: Option<u64>,
    /// End after so many seconds.
    #[arg(long, value_name = "S")]
    seconds: Option<u64>,
    /// - for standard output, a file to append to, or the address of a server to push to.
    #[arg(long, value_name = "-|FILE|URL", default_value = "-")]
    to: String,
    /// Whom to push for, in X-Scope-OrgID.
    #[arg(long, value_name = "ID")]
    tenant: Option<String>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    log::init(log::Format::Text, colours);
    let mut target = target(&arguments)?;
    let mut generator = Generator::of(arguments.kind, arguments.seed, arguments.streams).labelled();
    let time = arguments.seconds.map(Duration::from_secs);
    let schedule = Schedule { rate: arguments.rate, lines: arguments.lines, time };
    let (mut made, started_ns) = (Made::default(), monotonic_ns());
    let ended = tokio::select! {
        ended = run(&mut generator, schedule, &mut target, &SystemPace, &mut made) => ended,
        _ = tokio::signal::ctrl_c() => Ok(()),
    };
    let seconds = (monotonic_ns() - started_ns) as f64 / 1e9;
    let Made { lines, bytes, refused_lines } = made;
    eprintln!("{lines} lines, {bytes} bytes in {seconds:.1} s, {refused_lines} refused");
    Ok(ended?)
}

#[expect(
    clippy::disallowed_methods,
    reason = "the edge: what is appended to is a file of the operating system"
)]
fn target(arguments: &Arguments) -> anyhow::Result<Target<SystemPace>> {
    let to = &arguments.to;
    if to.contains("://") {
        let client = HttpClient::new(to)?;
        let client = match &arguments.tenant {
            Some(tenant) => client.for_tenant(tenant)?,
            None => client,
        };
        return Ok(Target::Push(Courier::new(client, Retry::default(), arguments.seed)));
    }
    if to == "-" {
        return Ok(Target::Write(Box::new(std::io::stdout())));
    }
    let file = OpenOptions::new().create(true).append(true).open(to);
    Ok(Target::Write(Box::new(file.with_context(|| format!("{to} cannot be opened"))?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_in_order() {
        Arguments::command().debug_assert();
        let parsed = |words: &str| Arguments::try_parse_from(words.split(' '));
        assert!(parsed("loggen --kind trace --rate 5 --lines 3 --streams 1").is_ok());
        assert!(parsed("loggen --rate 0").is_err() && parsed("loggen --streams 0").is_err());
        assert!(matches!(target(&parsed("loggen --to http://x:1").unwrap()).unwrap(), Target::Push(_)));
        target(&parsed("loggen --to /no/such/dir/x").unwrap()).unwrap_err();
    }
}
