//! `chunkctl inspect`: what a file is.

use forebay_chunk::CorruptionPolicy;
use serde::Serialize;

use crate::args::Inspect;
use crate::file::{each, refuse};
use crate::out::{Out, facts};
use crate::report::{self, Block, Hurt, Summary};
use crate::{Outcome, Verdict};

#[derive(Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    summary: Summary,
    content_hash: Option<String>,
    blocks: Vec<Block>,
    damage: Vec<Hurt>,
}

pub(crate) fn run(arguments: &Inspect, policy: CorruptionPolicy, out: &mut Out) -> Outcome {
    each(&arguments.files, policy, |path, file| {
        let file = match file {
            Ok(file) => file,
            Err(failure) => return refuse(path, &failure),
        };
        let report = Report {
            summary: Summary::new(path, &file),
            content_hash: file.chunk.stored_content_hash().map(|hash| format!("{hash:032x}")),
            blocks: file.chunk.blocks().iter().enumerate().map(Block::of).collect(),
            damage: file.chunk.damage().iter().map(Hurt::from).collect(),
        };
        if out.json {
            out.object(&report)?;
        } else {
            let mut lines = report.summary.facts();
            lines.extend(report.content_hash.clone().map(|hash| ("content hash", hash)));
            out.line(facts(lines))?;
            report::blocks(&report.blocks, out)?;
            report::damage(&report.damage, out)?;
            out.line("")?;
        }
        Ok(if file.is_damaged() { Verdict::Faulty } else { Verdict::Whole })
    })
}
