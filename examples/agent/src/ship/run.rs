//! The agent's one loop: fill a batch, save of what it is, send it, settle it.

use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use forebay_wal::fs::Fs;
use tokio::sync::watch;

use super::discover::{STANDARD_INPUT, Sources};
use super::identity::Key;
use super::joiner::{End, Joiner};
use super::load::{Load, Reading};
use super::pace::Pace;
use super::positions::{Piece, Positions, State};
use super::stdin::Input;
use super::tails::{LOOK_EVERY, Tails, Unreadable};
use super::times::Times;
use super::{Board, Courier, Options, ShipError, Shipped};
use crate::http_client::HttpClient;

/// How often names, directories and patterns are looked at again.
const SCAN_EVERY_NS: u64 = 1_000_000_000;
/// Standard input that said nothing for this long ends an event of several lines.
const DUE_AFTER_NS: u64 = 1_000_000_000;

/// Tells an agent to stop. It stops too when this is dropped.
#[derive(Debug)]
pub struct Stop(watch::Sender<bool>);

impl Stop {
    /// Asks the agent to deliver what it has read, and to stop.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

/// Reads and delivers.
#[derive(Debug)]
pub struct Agent<F: Fs, P> {
    options: Options,
    pace: P,
    board: Board,
    stop: watch::Receiver<bool>,
    sources: Sources,
    tails: Tails,
    input: Option<Input>,
    input_times: Times,
    reading: Reading,
    courier: Courier<P>,
    positions: Option<Positions<F>>,
    /// What is settled, as far as it is saved or will be with the next batch.
    settled: State,
    unsaved: bool,
    shipped: Shipped,
    started_ns: u64,
    scanned_ns: Option<u64>,
    failed: Option<Unreadable>,
}

impl<F: Fs, P: Pace> Agent<F, P> {
    /// An agent that keeps its offsets on `fs`, goes by `pace`, and reads standard input from `input`; and how to stop
    /// it. Nothing is read yet, but what is wrong with the options is told.
    ///
    /// # Errors
    /// Any [`ShipError`] but `Lost`.
    pub fn new(
        options: Options,
        fs: F,
        pace: P,
        input: impl Read + Send + 'static,
        board: Board,
    ) -> Result<(Self, Stop), ShipError> {
        let mut endpoints = Vec::with_capacity(options.urls.len());
        for url in &options.urls {
            let client = HttpClient::new(url)?;
            endpoints.push(match &options.tenant {
                Some(tenant) => client.for_tenant(tenant)?,
                None => client,
            });
        }
        let joiner = Joiner::new(options.multiline.clone(), options.max_line_bytes);
        let mut reading = Reading::new(joiner, options.batch_bytes);
        reading.labels.clone_from(&options.labels);
        if let Some(format) = &options.timestamp {
            reading = reading.with_times(format, options.zone.clone())?;
        }
        let sources = Sources::new(&options.sources, own_files(&options))?;
        let mut tails = Tails::new(options.follow);
        let (positions, settled) = match &options.positions {
            Some(path) => {
                let (positions, state) = Positions::open(fs, path)?;
                (Some(positions), state)
            }
            None => (None, State::default()),
        };
        tails.restore(&settled, pace.now_ns(), |path| sources.wants(path));
        let input = sources.standard_input().then(|| Input::new(input));
        let courier =
            Courier::with_pace(endpoints, options.retry.clone(), options.seed, pace.clone(), board.clone());
        let (sender, stop) = watch::channel(false);
        let started_ns = pace.now_ns();
        let mut agent = Self {
            options,
            pace,
            board,
            stop,
            sources,
            tails,
            input,
            input_times: Times::default(),
            reading,
            courier,
            positions,
            settled,
            unsaved: false,
            shipped: Shipped::default(),
            started_ns,
            scanned_ns: None,
            failed: None,
        };
        agent.scan()?;
        Ok((agent, Stop(sender)))
    }

    /// Ships until there is no more, or until it is told to stop.
    ///
    /// # Errors
    /// [`ShipError::Read`] where a file could not be read to its end, after everything else was delivered, and
    /// [`ShipError::Lost`] where pushes are not tried for ever.
    pub async fn run(mut self) -> Result<Shipped, ShipError> {
        let mut load = Load::default();
        let batch = std::mem::take(&mut self.settled.batch);
        self.tails.redo(&batch, &mut load, &mut self.reading);
        if !load.pieces.is_empty() {
            tracing::info!(lines = load.parcel.len(), "sending a batch again that was under way");
            self.send(std::mem::take(&mut load)).await?;
        }
        loop {
            let stopping = self.is_stopped();
            if !stopping {
                self.fill(&mut load)?;
            }
            let now_ns = self.pace.now_ns();
            let done = stopping || self.is_done();
            if load.bytes > 0 && (done || load.is_full(&self.reading) || self.due_in(&load, now_ns).is_zero())
            {
                if !self.send(std::mem::take(&mut load)).await? {
                    break;
                }
                continue;
            }
            self.save_idle();
            if done {
                break;
            }
            self.idle(self.due_in(&load, now_ns)).await?;
        }
        match self.failed {
            Some(Unreadable { path, offset, source }) => Err(ShipError::Read { file: path, offset, source }),
            None => Ok(self.shipped),
        }
    }

    fn is_stopped(&self) -> bool {
        // An agent whose `Stop` was dropped stops as well: nobody could tell it any more.
        *self.stop.borrow() || self.stop.has_changed().is_err()
    }

    fn is_done(&self) -> bool {
        let input_ended = self.input.as_ref().is_none_or(|input| input.ended && input.bytes.is_empty());
        let files_done = if self.options.follow { !self.sources.has_files() } else { self.tails.is_done() };
        input_ended && files_done
    }

    /// How long the batch may still grow.
    fn due_in(&self, load: &Load, now_ns: u64) -> Duration {
        if load.bytes == 0 {
            return self.options.batch_wait;
        }
        let passed = Duration::from_nanos(now_ns.saturating_sub(load.began_ns));
        self.options.batch_wait.saturating_sub(passed)
    }

    fn scan(&mut self) -> Result<(), ShipError> {
        let now_ns = self.pace.now_ns();
        let first = self.scanned_ns.is_none();
        let due = self.scanned_ns.is_none_or(|last| self.options.follow && now_ns >= last + SCAN_EVERY_NS);
        if !due {
            return Ok(());
        }
        self.scanned_ns = Some(now_ns);
        let found = self.sources.scan();
        for (path, kind) in found.troubles {
            if !self.options.follow {
                return Err(ShipError::Read { file: path, offset: 0, source: kind.into() });
            }
            if first {
                tracing::warn!(file = %path.display(), %kind, "there is no such file yet");
            }
        }
        for (path, kind) in found.unreadable.iter().filter(|_| first) {
            tracing::warn!(file = %path.display(), %kind, "left out, since it may not be read");
        }
        if first && found.skipped > 0 {
            tracing::info!(files = found.skipped, "left out, since they are hidden, compressed or no text");
        }
        if first && found.files.is_empty() && self.input.is_none() && !self.options.follow {
            return Err(ShipError::Nothing);
        }
        self.tails.scan(&found.files, now_ns).map_err(unreadable)
    }

    fn fill(&mut self, load: &mut Load) -> Result<(), ShipError> {
        self.scan()?;
        let now_ns = self.pace.now_ns();
        self.reading.wall_ns = self.pace.wall_ns();
        let before = load.bytes;
        loop {
            let filled =
                self.tails.look(now_ns).and_then(|()| self.tails.fill(load, &mut self.reading, now_ns));
            let Err(error) = filled else { break };
            tracing::warn!(file = %error.path.display(), read = error.offset, source = %error.source, "file cannot be read");
            if !self.options.follow {
                self.failed.get_or_insert(error);
            }
        }
        self.fill_from_input(load, now_ns)?;
        if before == 0 && load.bytes > 0 {
            load.began_ns = now_ns;
        }
        let (left, lines) = (self.tails.bytes_left(), load.parcel.len() as u64);
        self.board.write(|progress| (progress.bytes_left, progress.lines_under_way) = (left, lines));
        Ok(())
    }

    fn fill_from_input(&mut self, load: &mut Load, now_ns: u64) -> Result<(), ShipError> {
        let Some(input) = &mut self.input else { return Ok(()) };
        while !load.is_full(&self.reading) {
            let failed = |source| ShipError::Read { file: STANDARD_INPUT.into(), offset: 0, source };
            input.take(self.reading.joiner.window(), now_ns).map_err(failed)?;
            let end = match input.ended {
                true => End::Closed,
                false if now_ns.saturating_sub(input.changed_ns) >= DUE_AFTER_NS => End::Due,
                false => End::Open,
            };
            // Of no file: it cannot be read again.
            let key = Key { device: 0, inode: 0 };
            let piece = Piece { key, from: 0, to: 0, within: input.within, read_ns: self.reading.wall_ns };
            let pieces = load.pieces.len();
            let times = &mut self.input_times;
            let cut = load.take(&mut self.reading, STANDARD_INPUT, times, &input.bytes, piece, end);
            load.pieces.truncate(pieces);
            input.bytes.drain(..cut.consumed);
            input.within = cut.within;
            if cut.consumed == 0 {
                break;
            }
        }
        Ok(())
    }

    /// Delivers a batch and settles it; `false` where the agent was told to stop and the server did not take it in time.
    async fn send(&mut self, load: Load) -> Result<bool, ShipError> {
        let lines = load.parcel.len() as u64;
        self.save(load.pieces);
        if lines > 0 {
            let grace = stopped_for(self.stop.clone(), self.pace.clone(), self.options.stop_within);
            let sent = tokio::select! {
                biased;
                sent = self.courier.deliver(&load.parcel, self.options.packing) => Some(sent),
                () = grace => None,
            };
            self.shipped.retries = self.courier.retries();
            let Some(sent) = sent else {
                tracing::warn!(lines, "told to stop; the server did not take the last lines");
                self.shipped.undelivered_lines += lines;
                return Ok(false);
            };
            let settled = sent.map_err(|source| ShipError::Lost { lines, source: Box::new(source) })?;
            self.shipped.refused_lines += settled.refused_lines;
            self.shipped.first_refusal = self.shipped.first_refusal.take().or(settled.first_refusal);
            self.shipped.batches += 1;
        }
        self.settled = self.tails.state();
        self.unsaved = true;
        self.shipped.lines += lines;
        self.shipped.bytes += load.bytes;
        self.shipped.cut_lines += load.cut;
        self.shipped.files = self.tails.opened();
        self.shipped.elapsed = Duration::from_nanos(self.pace.now_ns().saturating_sub(self.started_ns));
        let shipped = self.shipped.clone();
        self.board.write(|progress| (progress.shipped, progress.lines_under_way) = (shipped, 0));
        Ok(true)
    }

    /// Saves what is settled and what is under way.
    ///
    /// Where that fails, lines are sent all the same: what is on disk is older then, and a restart repeats more. A full
    /// disk is no time for logs to stop.
    fn save(&mut self, batch: Vec<Piece>) {
        let Some(positions) = &mut self.positions else { return };
        // Files that are new, or were written anew, are not among those that are settled.
        let marks = self.tails.before(&batch);
        self.settled.files.retain(|mark| !marks.contains_key(&mark.key));
        self.settled.files.extend(marks.into_values());
        self.settled.batch = batch;
        match positions.save(&self.settled) {
            Ok(()) => self.unsaved = false,
            Err(error) => {
                tracing::warn!(%error, "offsets cannot be saved; after a restart lines will be sent again")
            }
        }
    }

    fn save_idle(&mut self) {
        if self.unsaved {
            self.save(Vec::new());
        }
    }

    /// Waits until something may have happened.
    async fn idle(&mut self, due_in: Duration) -> Result<(), ShipError> {
        let files = if self.options.follow { LOOK_EVERY } else { Duration::from_secs(1) };
        let now_ns = self.pace.now_ns();
        let input = self.input.as_mut().filter(|input| !input.ended);
        let more = async {
            match input {
                Some(input) => input.more(now_ns).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.stop.changed() => Ok(()),
            read = more => read.map_err(|source| ShipError::Read { file: STANDARD_INPUT.into(), offset: 0, source }),
            () = self.pace.wait(files.min(due_in)) => Ok(()),
        }
    }
}

/// Ends when the agent was told to stop so long ago.
async fn stopped_for<P: Pace>(mut stop: watch::Receiver<bool>, pace: P, time: Duration) {
    // An error says that nobody can tell any more: that is a stop too.
    let _ = stop.wait_for(|&stopped| stopped).await;
    pace.wait(time).await;
}

fn unreadable(error: Unreadable) -> ShipError {
    ShipError::Read { file: error.path, offset: error.offset, source: error.source }
}

/// The files that the agent writes itself.
fn own_files(options: &Options) -> Vec<PathBuf> {
    let Some(path) = &options.positions else { return Vec::new() };
    let beside = |what: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(what);
        PathBuf::from(name)
    };
    vec![path.clone(), beside(".new"), beside(".lock")]
}
