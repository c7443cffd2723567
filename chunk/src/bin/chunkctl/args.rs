//! What may be asked for.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use forebay_chunk::{Codec, CorruptionPolicy, Format, Profile};

/// Looks at chunks of log lines, Loki's and columnar ones, verifies them, shows their entries and converts them.
///
/// A file is an object as a store keeps it, or a bare chunk. It is only read; `convert` writes a new one.
#[derive(Debug, Parser)]
#[command(name = "chunkctl", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Print JSON, one object a line, instead of tables
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// What to do about damaged blocks
    #[arg(long, global = true, value_enum, default_value_t = Policy::Skip)]
    pub(crate) policy: Policy,
}

const EXAMPLES: &str = "\
Examples:
  chunkctl inspect chunk.bin                              what it is, and its blocks
  chunkctl verify *.chunk                                 are they whole? reads all of them
  chunkctl dump --match timeout --limit 5 chunk.bin       five entries whose lines have a text
  chunkctl convert --to columnar chunk.bin new.bin        the same entries in another format
  chunkctl verify --json chunk.bin | jq .entries_lost

Exit codes:
  0  every file is whole, as far as the command looked
  1  a file is damaged, or is no chunk
  2  bad usage, a file that cannot be read, of a later version or beyond the limits, or an error of the system";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Inspect(Inspect),
    Verify(Verify),
    Dump(Dump),
    Convert(Convert),
}

/// Shows what a file is, whose, and what its index says of its blocks.
///
/// Checksums of Loki's blocks are verified, and of columnar ones those of their directories; no line is read.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  chunkctl inspect chunk.bin
  chunkctl inspect --policy salvage chunk.bin             of a columnar chunk without its end, what is found
  chunkctl inspect --json chunk.bin | jq '.blocks[].size_bytes'")]
pub(crate) struct Inspect {
    /// Objects or chunks
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
}

/// Reads all of a file and says whether it is whole, and what is lost if it is not.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  chunkctl verify chunk.bin || echo damaged
  chunkctl verify --json *.bin | jq -r 'select(.state != \"whole\").file'")]
pub(crate) struct Verify {
    /// Objects or chunks
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
}

/// Prints entries in order of time.
///
/// As text, bytes that are no text are shown as \\xNN and line breaks as \\n, so that every entry is one line. As JSON, a
/// line that is UTF-8 has `line`, any other `line_hex`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  chunkctl dump chunk.bin | less
  chunkctl dump --backward --limit 10 chunk.bin
  chunkctl dump --from 1700000000000000000 --match error --not retry chunk.bin
  chunkctl dump --json chunk.bin | jq -r .line")]
pub(crate) struct Dump {
    /// Objects or chunks
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// First time, in nanoseconds since 1970
    #[arg(long, value_name = "NS", default_value_t = i64::MIN, hide_default_value = true, allow_negative_numbers = true)]
    pub(crate) from: i64,
    /// Last time, itself included
    #[arg(long, value_name = "NS", default_value_t = i64::MAX, hide_default_value = true, allow_negative_numbers = true)]
    pub(crate) to: i64,
    /// Only lines that have this text; given more than once, one of them
    #[arg(long = "match", value_name = "TEXT")]
    pub(crate) wanted: Vec<String>,
    /// No lines that have this text
    #[arg(long = "not", value_name = "TEXT")]
    pub(crate) unwanted: Vec<String>,
    /// Letters of these texts may be large or small
    #[arg(long)]
    pub(crate) any_case: bool,
    /// Newest first
    #[arg(long)]
    pub(crate) backward: bool,
    /// At most so many entries of each file
    #[arg(long, value_name = "N", default_value_t = u64::MAX, hide_default_value = true)]
    pub(crate) limit: u64,
}

/// Writes the entries of a chunk in another format, and an object as an object with its tenant and labels.
///
/// The new chunk is read again before it is written, and has to have the content hash of the old one. Of a damaged chunk
/// what is left is converted with --partial, and what is lost is told. A file that is there is not written over.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  chunkctl convert --to columnar --profile archive chunk.bin new.bin
  chunkctl convert --to loki-v4 --codec zstd chunk.bin new.bin
  chunkctl convert --partial --to loki-v4 damaged.bin new.bin")]
pub(crate) struct Convert {
    /// Object or chunk
    pub(crate) file: PathBuf,
    /// Where to write, a file that is not there yet
    pub(crate) new: PathBuf,
    /// Format to write
    #[arg(long, value_enum)]
    pub(crate) to: To,
    /// Compression of Loki's formats
    #[arg(long, default_value = "snappy")]
    pub(crate) codec: Codec,
    /// Work to put into a columnar chunk
    #[arg(long, value_enum, default_value_t = Effort::Balanced)]
    pub(crate) profile: Effort,
    /// Convert what is left of a damaged chunk
    #[arg(long)]
    pub(crate) partial: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Policy {
    /// Say what is wrong, and read nothing
    Fail,
    /// Read the others
    Skip,
    /// And look for those of a columnar chunk without its end; not for files that somebody may have made up
    Salvage,
}

impl From<Policy> for CorruptionPolicy {
    fn from(policy: Policy) -> Self {
        match policy {
            Policy::Fail => Self::Fail,
            Policy::Skip => Self::SkipBlock,
            Policy::Salvage => Self::Salvage,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum To {
    /// For Loki's schemas up to v12, without metadata
    LokiV3,
    /// For Loki's schemas from v13 on
    LokiV4,
    /// This project's own
    Columnar,
}

impl From<To> for Format {
    fn from(to: To) -> Self {
        match to {
            To::LokiV3 => Self::LokiV3,
            To::LokiV4 => Self::LokiV4,
            To::Columnar => Self::Columnar,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Effort {
    Fast,
    Balanced,
    Archive,
}

impl From<Effort> for Profile {
    fn from(effort: Effort) -> Self {
        match effort {
            Effort::Fast => Self::Fast,
            Effort::Balanced => Self::Balanced,
            Effort::Archive => Self::Archive,
        }
    }
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
        let lines = helps
            .iter()
            .flat_map(|help| help.lines())
            .filter_map(|line| line.trim().strip_prefix("chunkctl "));
        let mut count = 0;
        for line in lines {
            // Up to the explanation, or the next program.
            let words = line.split(['|', '>']).next().unwrap_or(line).split("  ").next().unwrap_or(line);
            let parsed =
                Arguments::try_parse_from(std::iter::once("chunkctl").chain(words.split_whitespace()));
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
            count += 1;
        }
        assert!(count > 12, "{count}");
    }
}
