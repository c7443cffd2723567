//! Following a log in async code: a task waits, and a thread of the log's reads.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::mpsc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::Lsn;
use crate::error::{Failure, ReadError};
use crate::fs::{Fs, StdFs};
use crate::request::{Outcome, Waiter};
use crate::tail::{self, Event, Next};

/// A tail on its way to the thread that reads, and where it is to go from there.
pub(super) struct Job<F: Fs> {
    tail: Box<tail::Tail<F>>,
    back: oneshot::Sender<Read<F>>,
}

type Read<F> = (Box<tail::Tail<F>>, Result<(), ReadError>);

impl<F: Fs> Job<F> {
    fn run(mut self) {
        // The thread reads for others as well: a panic of the file system ends this tail alone.
        if let Ok(read) = catch_unwind(AssertUnwindSafe(|| self.tail.read())) {
            // Nobody listens where the tail was dropped.
            drop(self.back.send((self.tail, read)));
        }
    }
}

/// The thread that reads for all tails of a log, once there is one; it ends with the last of them and of the log's
/// handles.
pub(super) struct Reads<F: Fs>(Mutex<Option<mpsc::Sender<Job<F>>>>);

impl<F: Fs> Default for Reads<F> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<F: Fs> Reads<F> {
    /// The way to the thread, which is started now if it is not.
    pub(super) fn sender(&self) -> io::Result<mpsc::Sender<Job<F>>> {
        let mut started = self.0.lock();
        let sender = match started.take() {
            Some(sender) => sender,
            None => {
                let (sender, jobs) = mpsc::channel::<Job<F>>();
                let read = move || jobs.into_iter().for_each(Job::run);
                std::thread::Builder::new().name("wal-tails".into()).spawn(read)?;
                sender
            }
        };
        *started = Some(sender.clone());
        Ok(sender)
    }
}

/// Follows a log, as [`crate::Tail`]; made by [`AsyncWal::tail`](super::AsyncWal::tail). As a [`Stream`] it ends behind
/// [`Event::Closed`], and behind an error that stays.
pub struct Tail<F: Fs = StdFs> {
    state: State<F>,
    /// Who reads files; without anybody it is done where it is polled.
    reads: Option<mpsc::Sender<Job<F>>>,
    /// Whether it is to be detached when it comes back from there.
    detaches: bool,
    ended: bool,
}

enum State<F: Fs> {
    Here(Box<tail::Tail<F>>),
    /// Until the log comes further.
    Waiting(Box<tail::Tail<F>>, oneshot::Receiver<Outcome>),
    Reading(Lsn, oneshot::Receiver<Read<F>>),
    /// The file system panicked where it was read.
    Lost(Lsn),
}

impl<F: Fs> Tail<F> {
    pub(super) fn new(tail: tail::Tail<F>, reads: Option<mpsc::Sender<Job<F>>>) -> Self {
        Self { state: State::Here(Box::new(tail)), reads, detaches: false, ended: false }
    }

    /// As [`crate::Tail::detached`]: it pins nothing. Where it is being read for, the pin goes when that is done and it is
    /// polled.
    #[must_use]
    pub fn detached(mut self) -> Self {
        self.detaches = matches!(self.state, State::Reading(..));
        self.state = match self.state {
            State::Here(tail) => State::Here(Box::new(tail.detached())),
            State::Waiting(tail, news) => State::Waiting(Box::new(tail.detached()), news),
            other => other,
        };
        self
    }

    /// As [`crate::Tail::next_lsn`].
    pub fn next_lsn(&self) -> Lsn {
        match &self.state {
            State::Here(tail) | State::Waiting(tail, _) => tail.next_lsn(),
            State::Reading(lsn, _) | State::Lost(lsn) => *lsn,
        }
    }

    /// The next event, when there is one. Cancel-safe: where the future is dropped nothing is lost, and the next one goes
    /// on.
    ///
    /// # Errors
    /// As [`crate::Tail::next`].
    pub async fn next(&mut self) -> Result<Event, ReadError> {
        poll_fn(|cx| self.poll(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Event, ReadError>> {
        loop {
            let lsn = self.next_lsn();
            match std::mem::replace(&mut self.state, State::Lost(lsn)) {
                State::Here(mut tail) => match tail.look() {
                    Ok(Next::Event(event)) => {
                        self.state = State::Here(tail);
                        return Poll::Ready(Ok(event));
                    }
                    Err(error) => {
                        self.state = State::Here(tail);
                        return Poll::Ready(Err(error));
                    }
                    Ok(Next::Read) => self.read(tail)?,
                    Ok(Next::Wait) => {
                        let (sender, news) = oneshot::channel();
                        self.state = match tail.follow(Waiter::Task(sender)) {
                            true => State::Waiting(tail, news),
                            false => State::Here(tail),
                        };
                    }
                },
                State::Waiting(tail, mut news) => {
                    if Pin::new(&mut news).poll(cx).is_pending() {
                        self.state = State::Waiting(tail, news);
                        return Poll::Pending;
                    }
                    self.state = State::Here(tail);
                }
                State::Reading(lsn, mut back) => match Pin::new(&mut back).poll(cx) {
                    Poll::Pending => {
                        self.state = State::Reading(lsn, back);
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok((tail, read))) => {
                        self.state = State::Here(match std::mem::take(&mut self.detaches) {
                            true => Box::new(tail.detached()),
                            false => tail,
                        });
                        read?;
                    }
                    Poll::Ready(Err(_)) => {}
                },
                State::Lost(_) => return Poll::Ready(Err(lost())),
            }
        }
    }

    /// Has a frame read.
    fn read(&mut self, mut tail: Box<tail::Tail<F>>) -> Result<(), ReadError> {
        let Some(reads) = self.reads.as_ref().filter(|_| !tail.has_read()) else {
            let read = tail.read();
            self.state = State::Here(tail);
            return read;
        };
        let lsn = tail.next_lsn();
        let (back, reading) = oneshot::channel();
        // Where the thread has ended its end of `reading` goes with the job.
        drop(reads.send(Job { tail, back }));
        self.state = State::Reading(lsn, reading);
        Ok(())
    }
}

fn lost() -> ReadError {
    ReadError::Poisoned(Failure::new("reading", io::Error::other("the file system panicked")))
}

impl<F: Fs> Stream for Tail<F> {
    type Item = Result<Event, ReadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let event = ready!(self.poll(cx));
        self.ended = matches!(event, Ok(Event::Closed) | Err(ReadError::Corrupt(_) | ReadError::Poisoned(_)));
        Poll::Ready(Some(event))
    }
}

impl<F: Fs> fmt::Debug for Tail<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tail").field("next_lsn", &self.next_lsn()).finish_non_exhaustive()
    }
}
