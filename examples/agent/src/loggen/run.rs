//! Makes lines when they are due and brings them where they are wanted.

use std::fmt;
use std::io::{self, Write};
use std::time::Duration;

use super::Generator;
use super::schedule::{Next, Schedule};
use crate::ship::delivery::{Courier, GivenUp};
use crate::ship::pace::Pace;
use crate::ship::parcel::{Packing, Parcel};
use crate::ship::times::Times;

/// Lines made at once.
const AT_ONCE: u64 = 1_000;
/// No wait is longer, so that lines that are rare are pushed when they are made.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Where lines go.
pub enum Target<P> {
    /// Written, with a line end behind each.
    Write(Box<dyn Write + Send>),
    /// Pushed with the labels of their streams.
    Push(Courier<P>),
}

/// What was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Made {
    /// Lines, a stack trace being one.
    pub lines: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Lines that the server refused to store.
    pub refused_lines: u64,
}

/// Why it stopped.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// See to the disk.
    #[error("lines cannot be written")]
    Write(#[from] io::Error),
    /// See to the server.
    #[error("lines cannot be pushed")]
    Push(#[from] GivenUp),
}

/// Makes lines as `schedule` says, until that is over or whoever reads them has gone. What was made so far is in `made`,
/// also when this is dropped.
///
/// # Errors
/// [`RunError`].
pub async fn run<P: Pace>(
    generator: &mut Generator,
    schedule: Schedule,
    target: &mut Target<P>,
    pace: &P,
    made: &mut Made,
) -> Result<(), RunError> {
    let started_ns = pace.now_ns();
    let mut line = Vec::new();
    let mut times = Times::default();
    loop {
        let elapsed = Duration::from_nanos(pace.now_ns().saturating_sub(started_ns));
        let lines = match schedule.next(elapsed, made.lines, AT_ONCE) {
            Next::Make(lines) => lines,
            Next::Wait(time) => {
                pace.wait(time.min(LONGEST_WAIT)).await;
                continue;
            }
            Next::End => return Ok(()),
        };
        let mut parcel = Parcel::default();
        let mut text = Vec::new();
        for _ in 0..lines {
            let timestamp_ns = times.read_at(pace.wall_ns());
            let stream = generator.next_line(timestamp_ns, &mut line);
            made.bytes += line.len() as u64;
            if let Target::Push(_) = target {
                let number = parcel.stream(&stream.to_string(), || generator.labels(stream).to_vec());
                parcel.push(number, timestamp_ns, &line);
            } else {
                text.extend_from_slice(&line);
                text.push(b'\n');
            }
        }
        match target {
            Target::Write(out) => match out.write_all(&text).and_then(|()| out.flush()) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                written => written?,
            },
            Target::Push(courier) => {
                made.refused_lines += courier.deliver(&parcel, Packing::Snappy).await?.refused_lines;
            }
        }
        made.lines += lines;
        // Whoever wants to stop this has to have a turn.
        tokio::task::yield_now().await;
    }
}

impl<P: Pace> fmt::Debug for Target<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write(_) => f.write_str("Write"),
            Self::Push(courier) => f.debug_tuple("Push").field(courier).finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loggen::Choice;
    use crate::ship::pace::SteppedPace;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    async fn written(seed: u64, schedule: Schedule) -> (String, Made, Duration) {
        let (out, pace) = (Written::default(), SteppedPace::default());
        let mut made = Made::default();
        let mut target = Target::Write(Box::new(out.clone()));
        let mut generator = Generator::of(Choice::Json, seed, 4);
        run(&mut generator, schedule, &mut target, &pace, &mut made).await.unwrap();
        let text = String::from_utf8(out.0.lock().unwrap().clone()).unwrap();
        (text, made, Duration::from_nanos(pace.now_ns()))
    }

    #[tokio::test]
    async fn the_seed_decides_what_is_written_and_the_rate_when() {
        let schedule = Schedule { rate: Some(10), lines: Some(101), time: None };
        let (text, made, took) = written(1, schedule).await;
        assert_eq!((text.lines().count(), made.lines, took), (101, 101, Duration::from_secs(10)));
        assert_eq!(text.len() as u64, made.bytes + made.lines);
        assert!(text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
        assert_eq!(written(1, schedule).await.0, text);
        assert_ne!(written(2, schedule).await.0, text);
    }

    #[tokio::test]
    async fn it_ends_when_whoever_reads_has_gone() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut target = Target::Write(Box::new(Gone));
        let (mut made, pace) = (Made::default(), SteppedPace::default());
        run(&mut Generator::new(1, 1), Schedule::default(), &mut target, &pace, &mut made).await.unwrap();
        assert_eq!(made.lines, 0);
    }
}
