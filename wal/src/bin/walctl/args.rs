//! What may be asked for.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use forebay_wal::RepairPolicy;

/// Looks at a write-ahead log on disk, verifies it, and repairs or truncates it.
///
/// Nothing is written unless `repair` or `truncate` is told --yes: without it they show what they would do. The others
/// may be used beside a program that writes to the log, and show it as it is at that moment.
#[derive(Debug, Parser)]
#[command(name = "walctl", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Print JSON, one object a line, instead of tables
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

const EXAMPLES: &str = "\
Examples:
  walctl verify /var/lib/app/wal                      is it whole? reads all of it
  walctl stat /var/lib/app/wal                        how large, how far; reads little
  walctl inspect /var/lib/app/wal                     its segments
  walctl inspect --segment 7 /var/lib/app/wal         one segment, frame by frame
  walctl dump --from 1200 --limit 5 /var/lib/app/wal  five records
  walctl repair /var/lib/app/wal                      what a repair would do
  walctl repair --yes /var/lib/app/wal                do it
  walctl verify --json /var/lib/app/wal | jq .damaged

Exit codes:
  0  the log is whole, as far as the command looked; after repair --yes, it is now
  1  the log has a torn tail or is damaged, and is not repaired
  2  bad usage, no such log, a log that is open elsewhere or of a later version, or an error of the system";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Inspect(Inspect),
    Verify(Verify),
    Dump(Dump),
    Stat(Stat),
    Repair(Repair),
    Truncate(Truncate),
}

/// Shows segments, headers and frames as they lie on disk, whatever is wrong with them.
///
/// Every segment is walked, and where a frame does not fit, the next one that does is looked for: what lies between is
/// shown as a hole. Bytes other than zero behind the last frame are a hole, too. Whether that is a torn tail or damage
/// is for `verify` to say.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  walctl inspect wal/                          a line for each segment
  walctl inspect --segment 3 wal/              the header and the frames of one
  walctl inspect --frames --json wal/ | jq -c 'select(.kind == \"checkpoint\")'")]
pub(crate) struct Inspect {
    /// The log's directory
    pub(crate) dir: PathBuf,
    /// Only this segment: its header in full, and its frames
    #[arg(long, value_name = "NUMBER")]
    pub(crate) segment: Option<u64>,
    /// The frames of all segments
    #[arg(long)]
    pub(crate) frames: bool,
}

/// Reads the whole log and says whether it is whole, torn or damaged, and which records that costs.
///
/// A torn tail is what a crash leaves of records that were never acknowledged as durable; opening the log cuts it off.
/// Damage concerns records that were, and refuses to open: see `repair`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  walctl verify wal/ || echo 'torn or damaged'
  walctl verify --json wal/ | jq '.lost'")]
pub(crate) struct Verify {
    /// The log's directory
    pub(crate) dir: PathBuf,
}

/// Prints records.
///
/// As text, bytes that are no text are shown as \\xNN and line breaks as \\n, so that every record is one line. As hex, a
/// line is the record's number, its length and its bytes. As JSON, a record that is UTF-8 has `text`, any other `hex`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  walctl dump wal/ | less
  walctl dump --from 100 --to 200 --format hex wal/
  walctl dump --json wal/ | jq -r .text
  walctl dump --salvage wal/                   of a damaged log, what can still be read")]
pub(crate) struct Dump {
    /// The log's directory
    pub(crate) dir: PathBuf,
    /// First record
    #[arg(long, value_name = "LSN", default_value_t = 0)]
    pub(crate) from: u64,
    /// Record before which to stop
    #[arg(long, value_name = "LSN", default_value_t = u64::MAX, hide_default_value = true)]
    pub(crate) to: u64,
    /// At most so many records
    #[arg(long, value_name = "N", default_value_t = u64::MAX, hide_default_value = true)]
    pub(crate) limit: u64,
    /// How records are shown; --json is the same as json
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
    /// Read a damaged log as `repair --policy salvage` would leave it, without changing it
    #[arg(long)]
    pub(crate) salvage: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Text,
    Hex,
    Json,
}

/// Says how much the log holds and takes, from headers and the last segment alone.
///
/// It proves nothing of what it does not read: see `verify`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  walctl stat wal/
  walctl stat --json wal/ | jq '.next_lsn - .low_lsn'")]
pub(crate) struct Stat {
    /// The log's directory
    pub(crate) dir: PathBuf,
}

/// Repairs a log with a torn tail or damage; without --yes shows what that would do and changes nothing.
///
/// What is cut off or replaced is kept in the log's directory under quarantine/. The log must not be open elsewhere. An
/// interrupted repair is taken up by the next one. A log that is whole is left alone.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  walctl repair wal/                           show what cutting a torn tail would do
  walctl repair --yes wal/                     cut it
  walctl repair --policy salvage wal/          show what would be left of a damaged log
  walctl repair --policy salvage --yes wal/    leave that of it")]
pub(crate) struct Repair {
    /// The log's directory
    pub(crate) dir: PathBuf,
    /// What may go
    #[arg(long, value_enum, default_value_t = Policy::TruncateTail)]
    pub(crate) policy: Policy,
    /// Keep nothing of what is cut off: for a disk that is full
    #[arg(long)]
    pub(crate) no_quarantine: bool,
    /// Write
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Policy {
    /// Nothing: say what is wrong
    Fail,
    /// What was never acknowledged, at the end; refuse damage
    TruncateTail,
    /// All from the first damage on
    TruncateAt,
    /// Damaged records only
    Salvage,
}

impl From<Policy> for RepairPolicy {
    fn from(policy: Policy) -> Self {
        match policy {
            Policy::Fail => Self::Fail,
            Policy::TruncateTail => Self::TruncateTail,
            Policy::TruncateAt => Self::TruncateAt,
            Policy::Salvage => Self::Salvage,
        }
    }
}

/// Gives back the segments whose records all lie below an LSN; without --yes shows which.
///
/// The log must be whole, and not open elsewhere: a running program truncates its own log. Records below the LSN never
/// come back, also where their segment stays. A named stream that has records holds all from the first on that it has
/// not given up; only the program that it belongs to can do that, and `walctl stat` shows how far it has.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  walctl truncate --before 5000 wal/           show what would go
  walctl truncate --before 5000 --yes wal/     give it back")]
pub(crate) struct Truncate {
    /// The log's directory
    pub(crate) dir: PathBuf,
    /// The first record that is kept
    #[arg(long, value_name = "LSN")]
    pub(crate) before: u64,
    /// Write
    #[arg(long)]
    pub(crate) yes: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_example_of_the_help_is_understood() {
        let mut command = Arguments::command();
        command.build();
        let subcommands = command.get_subcommands().filter(|command| command.get_name() != "help");
        let helps: Vec<String> = std::iter::once(&command)
            .chain(subcommands)
            .map(|command| command.get_after_help().map(ToString::to_string).unwrap_or_default())
            .collect();
        assert!(helps.iter().all(|help| help.contains("Examples:")), "{helps:?}");
        let lines =
            helps.iter().flat_map(|help| help.lines()).filter_map(|line| line.trim().strip_prefix("walctl "));
        let mut count = 0;
        for line in lines {
            // Up to the explanation, or the next program.
            let words = line.split(['|', '>']).next().unwrap_or(line).split("  ").next().unwrap_or(line);
            let parsed = Arguments::try_parse_from(std::iter::once("walctl").chain(words.split_whitespace()));
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
            count += 1;
        }
        assert!(count > 20, "{count}");
    }
}
