//! The async front: futures wait, one committer writes.
//!
//! A record is taken in before its future exists, so dropping the future changes nothing but who is told.
//! No task ever blocks on the disk: the committer has a thread of its own, or is run by a simulation as a task.

mod committer;
mod stream;
mod tail;

use std::fmt;
use std::future::Future;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::mpsc;
use std::task::{Context, Poll, ready};

use tokio::sync::oneshot;

pub use self::committer::Committer;
pub use self::stream::Stream;
use self::tail::Reads;
pub use self::tail::Tail;
use crate::error::{AppendError, Reject};
use crate::fs::{Fs, StdFs};
use crate::keeper::Keeper;
use crate::leader::Inner;
use crate::payload::Payload;
use crate::request::{Done, Outcome, Waiter, Work};
use crate::truncate::Truncated;
use crate::{Durability, Lsn, Wal};

/// A log for async code; a clone is another handle to the same one.
///
/// Make one per log and clone it. What has been appended is committed even if every handle is dropped. Pinning and
/// asking for numbers do not wait for the committer: they are on [`wal`](Self::wal).
pub struct AsyncWal<F: Fs = StdFs> {
    wal: Wal<F>,
    /// Whether threads may be started, and the way to the one that reads for tails.
    reads: Option<Arc<Reads<F>>>,
    // Behind the log: the thread that hears of this is the last to have that.
    _alive: Arc<Alive<F>>,
}

/// Tells the committer when the last handle is gone, and lets its thread go.
struct Alive<F: Fs> {
    inner: Arc<Inner<F>>,
    _thread: Option<mpsc::Sender<()>>,
}

impl<F: Fs> Drop for Alive<F> {
    fn drop(&mut self) {
        self.inner.tasks_gone();
    }
}

impl<F: Fs> AsyncWal<F> {
    /// Starts the thread that commits. It ends when the last handle is dropped and all is committed, and takes the log
    /// along: no task waits for what ends with that. Where [`Options::sync`](crate::Options::sync) is an interval and the
    /// log has no thread that keeps it, that is started too.
    ///
    /// # Errors
    /// The system's, if it makes no more threads.
    pub fn start(mut wal: Wal<F>) -> io::Result<Self> {
        if wal.keeper.is_none() && wal.inner.home.options.sync.is_timed() {
            wal.keeper = Some(Arc::new(Keeper::spawn(wal.inner.clone())?));
        }
        let (committer, last) = (Committer::new(wal.clone(), true), wal.clone());
        let (thread, handles_gone) = mpsc::channel();
        let this = Self::with(wal, Some(Arc::default()), Some(thread));
        std::thread::Builder::new().name("wal-committer".into()).spawn(move || {
            committer.run();
            // Nobody sends: it is over with the last handle.
            let _ = handles_gone.recv();
            drop(last);
        })?;
        Ok(this)
    }

    /// The front and its committer apart: a deterministic simulation runs [`Committer::run_async`] as a task, or
    /// calls [`Committer::step`] when it likes.
    pub fn unstarted(wal: Wal<F>) -> (Self, Committer<F>) {
        let committer = Committer::new(wal.clone(), false);
        (Self::with(wal, None, None), committer)
    }

    fn with(wal: Wal<F>, reads: Option<Arc<Reads<F>>>, thread: Option<mpsc::Sender<()>>) -> Self {
        let alive = Arc::new(Alive { inner: wal.inner.clone(), _thread: thread });
        Self { wal, reads, _alive: alive }
    }

    /// Appends one record. It is taken in by this call, in the order of calls, whether or not the future is ever
    /// polled; the future is ready when the record is as safe as [`Wal::append`] makes it.
    pub fn append<'a>(&self, record: impl Into<Payload<'a>>) -> Append {
        self.append_with(record, self.level())
    }

    /// As [`append`](Self::append); the future is ready when the record is as safe as asked for, at once where that
    /// is [`Buffered`](Durability::Buffered). Where more is on its way than
    /// [`Options::max_inflight_bytes`](crate::Options::max_inflight_bytes) it is refused, whatever the level.
    pub fn append_with<'a>(&self, record: impl Into<Payload<'a>>, level: Durability) -> Append {
        Append(self.take_in(&mut [record.into()], level, 0))
    }

    /// Appends records that stand or fall together, as [`Wal::append_batch`].
    pub fn append_batch<'a, I>(&self, records: I) -> AppendBatch
    where
        I: IntoIterator,
        I::Item: Into<Payload<'a>>,
    {
        self.append_batch_with(records, self.level())
    }

    /// As [`append_batch`](Self::append_batch); the future is ready when they are as safe as asked for.
    pub fn append_batch_with<'a, I>(&self, records: I, level: Durability) -> AppendBatch
    where
        I: IntoIterator,
        I::Item: Into<Payload<'a>>,
    {
        let mut records: Vec<Payload<'a>> = records.into_iter().map(Into::into).collect();
        self.take_in(&mut records, level, 0)
    }

    /// As [`Wal::sync`]; the committer does the work.
    ///
    /// # Errors
    /// As [`Wal::sync`].
    pub async fn sync(&self) -> Result<Lsn, AppendError> {
        self.until(Durability::Synced, self.wal.inner.progress.appended()).await?;
        Ok(Lsn(self.wal.inner.durable()))
    }

    /// As [`Wal::wait`]: a future that is ready when a record and all before it are as safe as asked for. The
    /// committer knows of it from this call on; dropping it does no harm.
    pub fn wait(&self, lsn: Lsn, level: Durability) -> Wait {
        Wait(match self.wal.inner.end_of(lsn) {
            Ok(end) => self.until(level, end),
            Err(error) => Answer::Known(Some(Err(error))),
        })
    }

    fn until(&self, level: Durability, end: u64) -> Answer {
        let (sender, receiver) = oneshot::channel();
        match self.wal.inner.enlist(level, end, Waiter::Task(sender)) {
            Some(answer) => Answer::Known(Some(answer.map(|()| Done::Other))),
            None => {
                self.wal.inner.committer.notify_one();
                Answer::Waiting(receiver)
            }
        }
    }

    /// What an append waits for that does not say.
    fn level(&self) -> Durability {
        self.wal.inner.home.options.sync.level()
    }

    fn take_in(&self, records: &mut [Payload<'_>], level: Durability, stream: u32) -> AppendBatch {
        match self.wal.inner.take_in(records, level, stream) {
            Ok((lsns, answer)) => {
                let answer = answer.map_or_else(|| Answer::Known(Some(Ok(Done::Other))), Answer::Waiting);
                AppendBatch { lsns, answer }
            }
            Err(error) => AppendBatch::refused(error),
        }
    }

    /// As [`Wal::stream`]; the committer does the work. Where the future is dropped it may be there all the same.
    ///
    /// # Errors
    /// As [`Wal::stream`].
    pub async fn stream(&self, name: &str) -> Result<Stream<F>, AppendError> {
        let made = self.ask(self.wal.inner.define(name)?).await?;
        Ok(Stream::new(self.wal.stream_of(made, name), self.clone()))
    }

    /// As [`Wal::drop_stream`]; the committer does the work.
    ///
    /// # Errors
    /// As [`Wal::drop_stream`].
    pub async fn drop_stream(&self, name: &str) -> Result<Truncated, AppendError> {
        self.ask(Work::DropStream(name.into())).await.map(Done::truncated)
    }

    /// As [`Wal::truncate_before`]; the committer does the work.
    ///
    /// # Errors
    /// As [`Wal::truncate_before`].
    pub async fn truncate_before(&self, lsn: Lsn) -> Result<Truncated, AppendError> {
        self.ask(Work::Truncate(lsn.0)).await.map(Done::truncated)
    }

    /// As [`Wal::checkpoint`]; the committer does the work.
    ///
    /// # Errors
    /// As [`Wal::checkpoint`].
    pub async fn checkpoint(&self, upto: Lsn, meta: &[u8]) -> Result<(), AppendError> {
        self.ask(self.wal.inner.checkpoint(upto, meta)?).await.map(drop)
    }

    /// As [`Wal::rotate`]; the committer does the work.
    ///
    /// # Errors
    /// As [`Wal::rotate`].
    pub async fn rotate(&self) -> Result<(), AppendError> {
        self.ask(Work::Rotate).await.map(drop)
    }

    /// As [`Wal::close`]; the committer does the work, and ends.
    ///
    /// Where the log broke, somebody still writes and no thread can be started, the directory stays locked until the
    /// last handle is dropped.
    ///
    /// # Errors
    /// As [`Wal::close`].
    pub async fn close(&self) -> Result<(), AppendError> {
        let outcome = self.ask(Work::Close).await.map(drop);
        if let Err(AppendError::Rejected(Reject::Poisoned)) = outcome {
            self.unlock().await;
        }
        outcome
    }

    /// Unlocks the directory of a log that broke. Somebody may still be writing: a thread waits for that, and no task.
    async fn unlock(&self) {
        if self.wal.inner.try_unlock() {
            return;
        }
        let (sender, unlocked) = oneshot::channel();
        let inner = self.wal.inner.clone();
        let waiting = std::thread::Builder::new().name("wal-unlocker".into()).spawn(move || {
            inner.unlock();
            drop(sender);
        });
        if waiting.is_ok() {
            // Answered by the end of the thread.
            drop::<Result<(), _>>(unlocked.await);
        }
    }

    /// As [`Wal::tail`], to be awaited. The first one starts a thread that reads for all tails of the log, so that no
    /// task waits for the disk; of a log that was not [started](Self::unstarted) a tail reads where it is polled.
    ///
    /// # Errors
    /// The system's, if it makes no more threads.
    pub fn tail(&self, from: Lsn, visible: Durability) -> io::Result<Tail<F>> {
        let reads = self.reads.as_ref().map(|reads| reads.sender()).transpose()?;
        Ok(Tail::new(self.wal.tail(from, visible), reads))
    }

    /// The log itself: its numbers, pins and readers. What appends, reads, truncates or asks for a stream there does so on
    /// the thread that calls, which waits for the disk.
    pub fn wal(&self) -> &Wal<F> {
        &self.wal
    }

    fn ask(&self, work: Work) -> Answer {
        let (sender, receiver) = oneshot::channel();
        self.wal.inner.ask(work, Waiter::Task(sender));
        self.wal.inner.committer.notify_one();
        Answer::Waiting(receiver)
    }
}

impl<F: Fs> Clone for AsyncWal<F> {
    fn clone(&self) -> Self {
        Self { wal: self.wal.clone(), reads: self.reads.clone(), _alive: self._alive.clone() }
    }
}

impl<F: Fs> fmt::Debug for AsyncWal<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncWal").field("wal", &self.wal).finish_non_exhaustive()
    }
}

/// Future of [`AsyncWal::append`].
#[derive(Debug)]
#[must_use = "the record is taken in; what became of it is told here only"]
pub struct Append(AppendBatch);

impl Future for Append {
    type Output = Result<Lsn, AppendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(ready!(Pin::new(&mut self.0).poll(cx)).map(|lsns| lsns.start))
    }
}

/// Future of [`AsyncWal::append_batch`].
#[derive(Debug)]
#[must_use = "the records are taken in; what became of them is told here only"]
pub struct AppendBatch {
    lsns: Range<u64>,
    answer: Answer,
}

impl AppendBatch {
    fn refused(error: AppendError) -> Self {
        Self { lsns: 0..0, answer: Answer::Known(Some(Err(error))) }
    }
}

impl Future for AppendBatch {
    type Output = Result<Range<Lsn>, AppendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        ready!(Pin::new(&mut self.answer).poll(cx))?;
        Poll::Ready(Ok(Lsn(self.lsns.start)..Lsn(self.lsns.end)))
    }
}

/// Future of [`AsyncWal::wait`].
#[derive(Debug)]
#[must_use = "futures do nothing unless polled"]
pub struct Wait(Answer);

impl Future for Wait {
    type Output = Result<(), AppendError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map_ok(drop)
    }
}

#[derive(Debug)]
enum Answer {
    Waiting(oneshot::Receiver<Outcome>),
    /// Nothing was queued; `None` once it was given.
    Known(Option<Outcome>),
}

impl Future for Answer {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        match &mut *self {
            Self::Waiting(receiver) => {
                let answer = ready!(Pin::new(receiver).poll(cx));
                Poll::Ready(answer.expect("whoever waits is answered, where the file system panics too"))
            }
            Self::Known(outcome) => Poll::Ready(outcome.take().unwrap_or(Err(Reject::Closed.into()))),
        }
    }
}
