//! The agent's one loop: fill a batch, save of what it is, send it, settle it.

use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use forebay_wal::fs::Fs;
use tokio::sync::watch;

use super::delivery::Settled;
use super::discover::{STANDARD_INPUT, Sources};
use super::identity::Key;
use super::joiner::{End, Joiner};
use super::ledger::Ledger;
use super::load::{Load, Reading};
use super::pace::Pace;
use super::parcel::Parcel;
use super::positions::{Piece, Positions, State};
use super::stdin::Input;
use super::tails::{LOOK_EVERY, Tails, Unreadable};
use super::times::Times;
use super::watch::{SCAN_EVERY, Watch};
use super::{Board, Courier, GivenUp, Options, ShipError, Shipped};
use crate::http_client::HttpClient;

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
    watch: Watch,
    input: Option<Input>,
    input_times: Times,
    reading: Reading,
    courier: Courier<P>,
    ledger: Ledger<F>,
    shipped: Shipped,
    started_ns: u64,
    stopped_ns: Option<u64>,
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
        let (started_ns, follow) = (pace.now_ns(), options.follow);
        let mut agent = Self {
            options,
            pace,
            board,
            stop,
            watch: Watch::new(sources, tails, follow),
            input,
            input_times: Times::default(),
            reading,
            courier,
            ledger: Ledger::new(positions, settled),
            shipped: Shipped::default(),
            started_ns,
            stopped_ns: None,
            failed: None,
        };
        agent.watch.scan(started_ns)?;
        Ok((agent, Stop(sender)))
    }

    /// Ships until there is no more, or until it is told to stop.
    ///
    /// # Errors
    /// [`ShipError::Read`] where a file could not be read to its end, after everything else was delivered, and
    /// [`ShipError::Lost`] where pushes are not tried for ever.
    pub async fn run(mut self) -> Result<Shipped, ShipError> {
        let mut load = Load::default();
        let batch = self.ledger.take_batch();
        self.watch.tails.redo(&batch, &mut load, &mut self.reading);
        if !load.pieces.is_empty() {
            tracing::info!(lines = load.parcel.len(), "sending a batch again that was under way");
            self.send(std::mem::take(&mut load)).await?;
        }
        loop {
            let done = match self.stopping_for() {
                None => {
                    self.fill(&mut load)?;
                    self.is_done()
                }
                Some(stopping) => self.drain(&mut load, stopping),
            };
            let now_ns = self.pace.now_ns();
            if load.bytes > 0 && (done || load.is_full(&self.reading) || self.due_in(&load, now_ns).is_zero())
            {
                if !self.send(std::mem::take(&mut load)).await? {
                    break;
                }
                continue;
            }
            if load.bytes == 0 && self.watch.tails.forget() {
                self.ledger.settle(&mut self.watch.tails);
            }
            self.ledger.keep_up(&self.watch.tails);
            if done {
                break;
            }
            self.idle(self.due_in(&load, now_ns)).await;
        }
        let left = self.input.as_mut().map_or(0, Input::abandon);
        self.shipped.undelivered_lines += left;
        self.shipped.lost_lines += left;
        match self.failed {
            Some(Unreadable { path, offset, source }) => Err(ShipError::Read { file: path, offset, source }),
            None => Ok(self.shipped),
        }
    }

    /// Since when it is told to stop.
    fn stopping_for(&mut self) -> Option<Duration> {
        let now_ns = self.pace.now_ns();
        // An agent whose `Stop` was dropped stops as well: nobody could tell it any more.
        if self.stopped_ns.is_none() && (*self.stop.borrow() || self.stop.has_changed().is_err()) {
            self.stopped_ns = Some(now_ns);
        }
        self.stopped_ns.map(|stopped_ns| Duration::from_nanos(now_ns.saturating_sub(stopped_ns)))
    }

    fn is_done(&self) -> bool {
        let input_ended = self.input.as_ref().is_none_or(|input| input.ended && input.bytes.is_empty());
        input_ended && self.watch.is_done()
    }

    /// How long the batch may still grow.
    fn due_in(&self, load: &Load, now_ns: u64) -> Duration {
        if load.bytes == 0 {
            return self.options.batch_wait;
        }
        let passed = Duration::from_nanos(now_ns.saturating_sub(load.began_ns));
        self.options.batch_wait.saturating_sub(passed)
    }

    fn fill(&mut self, load: &mut Load) -> Result<(), ShipError> {
        let now_ns = self.pace.now_ns();
        self.watch.tails.settled(load.bytes == 0);
        self.watch.scan(now_ns)?;
        self.reading.wall_ns = self.pace.wall_ns();
        let before = load.bytes;
        loop {
            let tails = &mut self.watch.tails;
            let filled = tails.look(now_ns).and_then(|()| tails.fill(load, &mut self.reading, now_ns));
            let Err(error) = filled else { break };
            error.tell();
            if !self.options.follow {
                self.failed.get_or_insert(error);
            }
        }
        self.fill_from_input(load, now_ns, false);
        if before == 0 && load.bytes > 0 {
            load.began_ns = now_ns;
        }
        let (left, lines) = (self.watch.tails.bytes_left(), load.parcel.len() as u64);
        self.board.write(|progress| (progress.bytes_left, progress.lines_under_way) = (left, lines));
        Ok(())
    }

    /// Takes what standard input says last, since nobody can read it again; whether that was all. Whoever writes it may
    /// have been told to stop as well, and be a moment behind.
    fn drain(&mut self, load: &mut Load, stopping: Duration) -> bool {
        let now_ns = self.pace.now_ns();
        self.reading.wall_ns = self.pace.wall_ns();
        let Some(input) = &mut self.input else { return true };
        input.take(self.reading.joiner.window(), now_ns);
        let quiet = Duration::from_nanos(now_ns.saturating_sub(input.changed_ns)).min(stopping);
        let over = input.ended || quiet >= LOOK_EVERY || stopping >= self.options.stop_within / 2;
        self.fill_from_input(load, now_ns, over);
        over && self.input.as_ref().is_none_or(|input| input.bytes.is_empty())
    }

    fn fill_from_input(&mut self, load: &mut Load, now_ns: u64, over: bool) {
        let Some(input) = &mut self.input else { return };
        let lines = load.parcel.len();
        while !load.is_full(&self.reading) {
            input.take(self.reading.joiner.window(), now_ns);
            let end = match input.ended || over {
                true => End::Closed,
                false if now_ns.saturating_sub(input.changed_ns) >= DUE_AFTER_NS => End::Due,
                false => End::Open,
            };
            // Of no file: it cannot be read again.
            let key = Key { device: 0, inode: 0 };
            let piece =
                Piece { key, from: 0, to: 0, within: input.within, sum: None, read_ns: self.reading.wall_ns };
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
        load.of_input += (load.parcel.len() - lines) as u64;
        if let Some((offset, source)) = input.failure() {
            let error = Unreadable { path: STANDARD_INPUT.into(), offset, source };
            error.tell();
            self.failed.get_or_insert(error);
        }
    }

    /// Delivers a batch and settles it; `false` where the agent was told to stop and the server did not take it in time.
    async fn send(&mut self, load: Load) -> Result<bool, ShipError> {
        let lines = load.parcel.len() as u64;
        self.ledger.begin(load.pieces, &self.watch.tails);
        if lines > 0 {
            let sent = self.delivered(&load.parcel).await;
            self.shipped.retries = self.courier.retries();
            let Some(sent) = sent else {
                tracing::warn!(lines, "told to stop; the server did not take the last lines");
                self.shipped.undelivered_lines += lines;
                self.shipped.lost_lines += load.of_input;
                return Ok(false);
            };
            let settled = sent.map_err(|source| ShipError::Lost { lines, source: Box::new(source) })?;
            self.shipped.refused_lines += settled.refused_lines;
            self.shipped.first_refusal = self.shipped.first_refusal.take().or(settled.first_refusal);
            self.shipped.batches += 1;
        }
        self.ledger.settle(&mut self.watch.tails);
        self.shipped.lines += lines;
        self.shipped.bytes += load.bytes;
        self.shipped.cut_lines += load.cut;
        self.shipped.files = self.watch.tails.opened();
        self.shipped.elapsed = Duration::from_nanos(self.pace.now_ns().saturating_sub(self.started_ns));
        let shipped = self.shipped.clone();
        self.board.write(|progress| (progress.shipped, progress.lines_under_way) = (shipped, 0));
        Ok(true)
    }

    /// Delivers lines, and keeps up with the files meanwhile: the server may be away for longer than they have their
    /// names. Nothing where the agent was told to stop and the server did not take them in time.
    async fn delivered(&mut self, parcel: &Parcel) -> Option<Result<Settled, GivenUp>> {
        let deliver = self.courier.deliver(parcel, self.options.packing);
        let stopping = self.stopped_ns.map_or(0, |stopped_ns| self.pace.now_ns().saturating_sub(stopped_ns));
        let left = self.options.stop_within.saturating_sub(Duration::from_nanos(stopping));
        let grace = stopped_for(self.stop.clone(), self.pace.clone(), left);
        tokio::pin!(deliver, grace);
        loop {
            tokio::select! {
                biased;
                sent = &mut deliver => return Some(sent),
                () = &mut grace => return None,
                () = self.pace.wait(SCAN_EVERY), if self.options.follow => {
                    self.watch.keep_up(self.pace.now_ns());
                    self.ledger.keep_up(&self.watch.tails);
                }
            }
        }
    }

    /// Waits until something may have happened.
    async fn idle(&mut self, due_in: Duration) {
        let files = if self.options.follow { LOOK_EVERY } else { Duration::from_secs(1) };
        let now_ns = self.pace.now_ns();
        let (due_in, stopping) = match self.stopped_ns {
            Some(_) => (LOOK_EVERY, true),
            None => (files.min(due_in), false),
        };
        let input = self.input.as_mut().filter(|input| !input.ended);
        let more = async {
            match input {
                Some(input) => input.more(now_ns).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.stop.changed(), if !stopping => {}
            () = more => {}
            () = self.pace.wait(due_in) => {}
        }
    }
}

/// Ends when the agent was told to stop so long ago.
async fn stopped_for<P: Pace>(mut stop: watch::Receiver<bool>, pace: P, time: Duration) {
    // An error says that nobody can tell any more: that is a stop too.
    let _ = stop.wait_for(|&stopped| stopped).await;
    pace.wait(time).await;
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
