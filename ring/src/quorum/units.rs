//! Which units of a read set are asked and when enough have answered: a plain state machine, answers in, steps out.
//!
//! Invariants: a unit is asked at most once; a unit that failed never answers; no more units are asked than are needed
//! and not failed, but for those that a hedge asks for.

/// What an answer leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Wait for others.
    Wait,
    /// Ask this unit, too.
    Ask(usize),
    /// All that are needed have answered.
    Enough,
    /// So many failed that those needed cannot answer any more.
    TooFew,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Idle,
    /// Calls that have not been answered.
    Asked(usize),
    Answered,
    Failed,
}

/// The units of one read.
pub(super) struct Units {
    units: Vec<Unit>,
    /// How many calls it takes to ask each.
    calls: Vec<usize>,
    /// Those that are not asked yet, the next one last.
    reserve: Vec<usize>,
    needed: usize,
}

impl Units {
    /// Units of so many calls each, of which `needed` have to answer; to be asked in this order.
    pub(super) fn new(
        calls: Vec<usize>,
        needed: usize,
        order: impl DoubleEndedIterator<Item = usize>,
    ) -> Self {
        let reserve = order.rev().collect();
        Self { units: vec![Unit::Idle; calls.len()], calls, reserve, needed }
    }

    /// The next `count` units, which are now asked.
    pub(super) fn ask(&mut self, count: usize) -> Vec<usize> {
        (0..count).filter_map(|_| self.ask_next()).collect()
    }

    /// The next unit, which is now asked.
    pub(super) fn ask_next(&mut self) -> Option<usize> {
        let unit = self.reserve.pop()?;
        self.units[unit] = Unit::Asked(self.calls[unit]);
        Some(unit)
    }

    /// How many calls it would take to ask the next unit.
    pub(super) fn next_calls(&self) -> Option<usize> {
        self.reserve.last().map(|&unit| self.calls[unit])
    }

    /// One call of the unit was answered.
    pub(super) fn answered(&mut self, unit: usize) -> Step {
        if let Unit::Asked(open) = &mut self.units[unit] {
            *open -= 1;
            if *open == 0 {
                self.units[unit] = Unit::Answered;
                if self.count(|unit| unit == Unit::Answered) == self.needed {
                    return Step::Enough;
                }
            }
        }
        Step::Wait
    }

    /// One call of the unit failed, and the unit with it.
    pub(super) fn failed(&mut self, unit: usize) -> Step {
        if !matches!(self.units[unit], Unit::Asked(_)) {
            return Step::Wait;
        }
        self.units[unit] = Unit::Failed;
        let able = self.count(|unit| unit != Unit::Failed);
        let asked = able - self.reserve.len();
        match () {
            () if able < self.needed => Step::TooFew,
            () if asked < self.needed => self.ask_next().map_or(Step::Wait, Step::Ask),
            () => Step::Wait,
        }
    }

    pub(super) fn has_answered(&self, unit: usize) -> bool {
        self.units[unit] == Unit::Answered
    }

    pub(super) fn has_failed(&self, unit: usize) -> bool {
        self.units[unit] == Unit::Failed
    }

    /// Whether some calls of the unit have not been answered.
    pub(super) fn is_waited_for(&self, unit: usize) -> bool {
        matches!(self.units[unit], Unit::Asked(_))
    }

    fn count(&self, is: impl Fn(Unit) -> bool) -> usize {
        self.units.iter().filter(|&&unit| is(unit)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_answers_with_its_last_call_and_fails_with_its_first() {
        let mut units = Units::new(vec![2, 2, 2], 2, 0..3);
        assert_eq!(units.ask(2), [0, 1]);
        assert_eq!((units.answered(0), units.answered(0)), (Step::Wait, Step::Wait));
        assert_eq!(units.answered(1), Step::Wait);
        assert_eq!(units.failed(1), Step::Ask(2));
        assert_eq!(units.failed(1), Step::Wait, "the other call of a unit that failed");
        assert_eq!(units.answered(2), Step::Wait);
        assert_eq!(units.answered(2), Step::Enough);
        assert!(units.has_answered(0) && units.has_failed(1) && !units.is_waited_for(2));
    }

    #[test]
    fn a_failure_asks_nobody_while_enough_are_asked() {
        let mut units = Units::new(vec![1; 4], 2, [3, 2, 1, 0].into_iter());
        assert_eq!(units.ask(2), [3, 2]);
        assert_eq!((units.next_calls(), units.ask_next()), (Some(1), Some(1)), "a hedge");
        assert_eq!(units.failed(3), Step::Wait);
        assert_eq!(units.failed(2), Step::Ask(0));
        assert_eq!(units.ask_next(), None);
        assert_eq!(units.failed(0), Step::TooFew);
    }
}
