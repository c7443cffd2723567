//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use crate::cell::Cell;
use crate::log::Contender;
use crate::rounds::Scale;

/// What a process that takes one sample is called with.
pub const CHILD: &str = "--one-sample";

pub const HELP: &str = "\
Measures forebay-wal beside other write-ahead logs and prints the tables of COMPARE.md, Markdown, on standard output.
What it is doing, and criterion's own report, go to standard error.

cargo bench --bench peers -- [OPTIONS]

  --quick            a few rows, short samples: under three minutes, to see that all runs
  --cells A,B,…      only the rows of these names, or that have these parts of names, such as `synced+1ms`,
                     `64B/w64`, `replay`
  --only X,Y,…       only these logs (ours is always among them): floor, okaywal, raft-engine, mrecordlog, walrus,
                     durability
  --list             names the rows, and does nothing else
  --dir PATH         where the logs lie, on the file system that is to be measured [the system's temporary directory]
  --lines PATH       a file of log lines, or a directory with files named *.log; else from the environment,
                     FOREBAY_LINES. Without it the rows of lines are left out.
  --rounds N         samples of each, at least 10 [21; quick: 10]
  --millis N         how long a sample appends [200; quick: 50]
  --segment-mib N    size of a segment; a sample appends at most half of it [64; quick: 32]
  --replay-mib N     payload of the log that is replayed [1024; quick: 64]

A row is one load: how safe an append is when it returns, the record, the threads, and the records they hand over at
once. `synced+1ms` are rows in which each sync of each log is made to take a millisecond, by waiting, for disks that
are faster than most. Each sample is a new process on a new log, and the logs take turns: A, B, C, then B, C, A. A
ratio is that of medians, ours to theirs, above 1 where ours is faster; its interval holds 95 % of what drawing rounds
again gave. Leave the machine alone meanwhile.
";

/// What is to be done.
#[derive(Debug)]
pub struct Args {
    pub cells: Vec<Cell>,
    pub contenders: Vec<Contender>,
    pub scale: Scale,
    pub list: bool,
}

impl Args {
    /// `None` where help was asked for.
    pub fn parse(args: impl IntoIterator<Item = String>) -> Result<Option<Self>, String> {
        let mut given = Given::default();
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} needs a value"));
            match arg.as_str() {
                "--help" | "-h" => return Ok(None),
                "--quick" => given.quick = true,
                "--list" => given.list = true,
                "--cells" => given.cells = Some(value()?),
                "--only" => given.only = Some(value()?),
                "--dir" => given.dir = Some(value()?.into()),
                "--lines" => given.lines = Some(value()?.into()),
                "--rounds" => given.rounds = Some(number(&arg, &value()?, 10)?),
                "--millis" => given.millis = Some(number(&arg, &value()?, 1)?),
                "--segment-mib" => given.segment_mib = Some(number(&arg, &value()?, 16)?),
                "--replay-mib" => given.replay_mib = Some(number(&arg, &value()?, 1)?),
                _ => return Err(format!("{arg} is no option; --help names them")),
            }
        }
        given.resolve().map(Some)
    }
}

#[derive(Debug, Default)]
struct Given {
    quick: bool,
    list: bool,
    cells: Option<String>,
    only: Option<String>,
    dir: Option<PathBuf>,
    lines: Option<PathBuf>,
    rounds: Option<u64>,
    millis: Option<u64>,
    segment_mib: Option<u64>,
    replay_mib: Option<u64>,
}

impl Given {
    fn resolve(self) -> Result<Args, String> {
        let lines = self.lines.or_else(|| std::env::var_os("FOREBAY_LINES").map(PathBuf::from));
        let [rounds, millis, segment_mib, replay_mib, small_mib] =
            if self.quick { [10, 50, 32, 64, 4] } else { [21, 200, 64, 1_024, 16] };
        let patterns: Option<Vec<&str>> = self.cells.as_deref().map(|cells| cells.split(',').collect());
        let all = Cell::all();
        let known = |name: &str| all.iter().any(|cell| cell.id() == name);
        let chosen = |cell: &Cell| match &patterns {
            Some(patterns) => {
                patterns.iter().any(|name| if known(name) { cell.id() == *name } else { cell.is(name) })
            }
            None => !self.quick || cell.quick,
        };
        let readable = |cell: &Cell| lines.is_some() || cell.record != crate::load::Record::Line;
        let cells: Vec<Cell> = all.iter().filter(|cell| chosen(cell) && readable(cell)).cloned().collect();
        if cells.is_empty() {
            return Err("no row has such a name; --list names them".into());
        }
        let contenders = match &self.only {
            None => Contender::ALL.to_vec(),
            Some(names) => {
                let named = |name| Contender::named(name).ok_or_else(|| format!("{name} is none of them"));
                let mut all = vec![Contender::Forebay];
                all.extend(names.split(',').map(named).collect::<Result<Vec<_>, _>>()?);
                all.sort_unstable();
                all.dedup();
                all
            }
        };
        Ok(Args {
            cells,
            contenders,
            list: self.list,
            scale: Scale {
                rounds: usize::try_from(self.rounds.unwrap_or(rounds)).map_err(|error| error.to_string())?,
                time: Duration::from_millis(self.millis.unwrap_or(millis)),
                segment_bytes: self.segment_mib.unwrap_or(segment_mib) << 20,
                small_segment_bytes: small_mib << 20,
                replay_bytes: self.replay_mib.unwrap_or(replay_mib) << 20,
                lines,
                dir: self.dir.unwrap_or_else(std::env::temp_dir),
            },
        })
    }
}

fn number(option: &str, value: &str, least: u64) -> Result<u64, String> {
    match value.parse() {
        Ok(number) if (least..=1 << 20).contains(&number) => Ok(number),
        _ => Err(format!("{option} is {value}, must be {least} to {}", 1 << 20)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &str) -> Result<Option<Args>, String> {
        Args::parse(args.split_whitespace().map(String::from))
    }

    #[test]
    fn rows_and_logs_can_be_chosen() {
        let args = parse("--cells synced+1ms/64B,replay --only okaywal").unwrap().unwrap();
        assert!(args.cells.iter().all(|cell| {
            let id = cell.id();
            id.starts_with("synced+1ms/64B/") || id.starts_with("replay/")
        }));
        assert_eq!(args.cells.len(), 7);
        assert_eq!(args.contenders, [Contender::Forebay, Contender::OkayWal]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(parse("--cells nothing").unwrap_err(), "no row has such a name; --list names them");
        assert_eq!(parse("--only rocksdb").unwrap_err(), "rocksdb is none of them");
        assert_eq!(parse("--rounds 9").unwrap_err(), "--rounds is 9, must be 10 to 1048576");
        assert_eq!(parse("--fast").unwrap_err(), "--fast is no option; --help names them");
        assert_eq!(parse("--dir").unwrap_err(), "--dir needs a value");
        assert!(parse("--help").unwrap().is_none());
    }
}
