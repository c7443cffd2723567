//! Reads of a set of instances: whom to ask, and when there is enough. Invariants:
//!
//! - A unit counts when all of its instances have answered, and nothing of a unit that failed is returned.
//! - A value is returned or handed back, once, whatever becomes of the read.
//! - Dropping the read cancels its calls.

use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::time::{Instant, Sleep};

use super::asked::{Asked, Ended, Unused};
use super::cancel::{Cancel, CancelCause};
use super::hedge::Hedge;
use super::outcome::Cause;
use super::units::{Step, Units};
use crate::generate::Draws;
use crate::instance::Instance;
use crate::ring::ReadSet;

mod error;
mod options;

pub use error::{CallError, ReadError};
pub use options::{Ask, IsTerminal, ReadOptions};

/// Asks the instances of `set` until enough have answered, and returns the answers of the units that did, in the order
/// of the set.
///
/// A unit is a zone if zones count, and otherwise an instance: [`ReadSet::needed`] of them have to answer, each with all
/// of its instances. The first instance of a unit to fail cancels the calls to the others of it. An answer that is not
/// returned, because its unit failed or was not needed any more, goes to `discard`: streams are closed there. So does
/// every answer if the future is dropped.
///
/// Calls run in tasks of their own and are aborted once they are not needed; `call` gets a [`Cancel`] that says why, and
/// that stays silent for answers that are returned. One that panics, or for which the [`Targets`](super::Targets) have no room, has
/// failed.
///
/// # Errors
///
/// If more units fail than may, or one call does with a terminal error.
///
/// # Panics
///
/// Outside of a tokio runtime with its timer enabled.
pub async fn do_until_quorum<T, E, F, Fut>(
    set: &ReadSet<'_>,
    options: &ReadOptions<E>,
    call: F,
    discard: impl Fn(&Instance, T) + Send + Sync + 'static,
) -> Result<Vec<(Arc<Instance>, T)>, ReadError<E>>
where
    T: Send + 'static,
    E: Send + 'static,
    F: FnMut(&Arc<Instance>, Cancel) -> Fut,
    Fut: Future<Output = Result<T, E>> + Send + 'static,
{
    let units = Units::new(set.unit_sizes().collect(), set.needed(), order(set, &options.ask).into_iter());
    let asked = Asked::new(set.len(), options.deadline, options.targets.clone(), Arc::new(discard));
    let begun = vec![None; set.unit_count()];
    let mut read = Read { set, options, call, units, asked, begun, hedged: false, errors: Vec::new() };
    let at_first = match options.ask {
        Ask::All => set.unit_count(),
        Ask::Few { .. } => set.needed(),
    };
    read.begin(at_first);
    let mut alarm = read.alarm();
    loop {
        match next(&mut read.asked, &mut alarm).await {
            Event::Slow => {
                read.hedge();
                alarm = read.alarm();
            }
            Event::Ended(place, ended) => {
                let step = match ended {
                    Ended::Answered(value) => read.answered(place, value),
                    Ended::Failed(cause) => read.failed(place, cause)?,
                };
                match step {
                    Step::Wait => {}
                    Step::Ask(unit) => read.ask(unit),
                    Step::Enough => return Ok(read.take()),
                    Step::TooFew => return Err(read.too_few()),
                }
            }
        }
    }
}

/// The units in the order they are asked.
fn order(set: &ReadSet<'_>, ask: &Ask) -> Vec<usize> {
    let mut order: Vec<usize> = (0..set.unit_count()).collect();
    let Ask::Few { seed, prefer } = ask else { return order };
    // Fisher and Yates.
    for (last, draw) in (1..order.len()).rev().zip(Draws::from_seed(*seed)) {
        let bound = last as u64 + 1;
        let at = (u64::from(draw) * bound) >> 32;
        order.swap(last, usize::try_from(at).expect("not above the number of units"));
    }
    let rank = |unit: &usize| {
        let zone = &set.instance(set.places(*unit).start).zone;
        prefer.iter().position(|preferred| preferred == zone).unwrap_or(prefer.len())
    };
    order.sort_by_key(rank);
    order
}

enum Event<T, E> {
    Ended(usize, Ended<T, E>),
    Slow,
}

async fn next<T: 'static, E: 'static>(
    asked: &mut Asked<T, E>,
    alarm: &mut Option<Pin<Box<Sleep>>>,
) -> Event<T, E> {
    std::future::poll_fn(|cx| {
        if let Poll::Ready((place, ended)) = asked.poll_ended(cx) {
            return Poll::Ready(Event::Ended(place, ended));
        }
        match alarm {
            Some(sleep) => sleep.as_mut().poll(cx).map(|()| Event::Slow),
            None => Poll::Pending,
        }
    })
    .await
}

struct Read<'s, 'r, T, E, F> {
    set: &'s ReadSet<'r>,
    options: &'s ReadOptions<E>,
    call: F,
    units: Units,
    asked: Asked<T, E>,
    /// When each unit was asked.
    begun: Vec<Option<Instant>>,
    hedged: bool,
    errors: Vec<CallError<E>>,
}

impl<T, E, F, Fut> Read<'_, '_, T, E, F>
where
    T: Send + 'static,
    E: Send + 'static,
    F: FnMut(&Arc<Instance>, Cancel) -> Fut,
    Fut: Future<Output = Result<T, E>> + Send + 'static,
{
    fn begin(&mut self, units: usize) {
        let units = self.units.ask(units);
        if let Hedge::Adaptive(hedger) = &self.options.hedge {
            let calls = units.iter().map(|&unit| self.set.places(unit).len()).sum();
            hedger.earn(calls, self.set.unit_sizes().max().unwrap_or(0));
        }
        units.into_iter().for_each(|unit| self.ask(unit));
    }

    fn ask(&mut self, unit: usize) {
        self.begun[unit] = Some(now());
        for place in self.set.places(unit) {
            self.asked.ask(place, self.set.instance(place), &mut self.call);
        }
    }

    /// Rings when the read is slow, if there is anyone left to ask then.
    fn alarm(&self) -> Option<Pin<Box<Sleep>>> {
        self.units.next_calls()?;
        let delay = match &self.options.hedge {
            Hedge::Off => None,
            Hedge::After(delay) => Some(*delay),
            Hedge::Adaptive(hedger) => hedger.delay(),
        };
        delay.map(|delay| Box::pin(tokio::time::sleep(delay)))
    }

    fn hedge(&mut self) {
        let Some(calls) = self.units.next_calls() else { return };
        if let Hedge::Adaptive(hedger) = &self.options.hedge
            && !hedger.spend(calls)
        {
            return;
        }
        if let Some(unit) = self.units.ask_next() {
            self.hedged = true;
            self.ask(unit);
        }
    }

    fn answered(&mut self, place: usize, value: Unused<T>) -> Step {
        let unit = self.set.unit_of(place);
        if self.units.has_failed(unit) {
            return Step::Wait;
        }
        self.asked.keep(place, value);
        let step = self.units.answered(unit);
        if self.units.has_answered(unit) {
            self.took(unit);
        }
        step
    }

    fn failed(&mut self, place: usize, cause: Cause<E>) -> Result<Step, ReadError<E>> {
        let unit = self.set.unit_of(place);
        if self.units.has_failed(unit) {
            return Ok(Step::Wait);
        }
        let is_terminal = matches!(&cause, Cause::Replied(error) if (self.options.is_terminal)(error));
        let error = CallError { instance: Arc::clone(self.set.instance(place)), cause };
        if is_terminal {
            self.asked.cancel(0..self.set.len(), CancelCause::ReadFailed);
            return Err(ReadError::Terminal(error));
        }
        self.errors.push(error);
        let step = self.units.failed(unit);
        self.asked.cancel(self.set.places(unit), CancelCause::UnitFailed);
        Ok(step)
    }

    fn too_few(&mut self) -> ReadError<E> {
        self.asked.cancel(0..self.set.len(), CancelCause::ReadFailed);
        let errors = std::mem::take(&mut self.errors);
        ReadError::TooManyFailed { max: self.set.max_unavailable(), errors }
    }

    /// The answers of the units that answered; the calls of the others are cancelled.
    fn take(&mut self) -> Vec<(Arc<Instance>, T)> {
        let mut answers = Vec::with_capacity(self.set.len());
        for unit in 0..self.set.unit_count() {
            if self.units.has_answered(unit) {
                answers.extend(self.set.places(unit).filter_map(|place| self.asked.take(place)));
                continue;
            }
            // Whoever was overtaken would have taken longer than it did until now.
            if self.hedged && self.units.is_waited_for(unit) {
                self.took(unit);
            }
            self.asked.cancel(self.set.places(unit), CancelCause::Enough);
        }
        answers
    }

    fn took(&self, unit: usize) {
        if let (Hedge::Adaptive(hedger), Some(begun)) = (&self.options.hedge, self.begun[unit]) {
            hedger.took(now().saturating_duration_since(begun));
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the runtime's clock, which tests can pause")]
fn now() -> Instant {
    Instant::now()
}
