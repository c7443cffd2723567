//! Whether the clock may be believed (R5): by the caller's word, by the latest wall time that any sweep has recorded
//! durably, and by monotonic time since this sweeper first looked.

use std::time::Duration;

use crate::clock::{ClockDoubt, ClockHealth, Now};

/// The first trusted instant of this process, against which later ones are held. Comparing with the first and
/// not with the latest means that many small jumps add up to one that is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Anchor {
    wall_ns: i64,
    monotonic_ns: u64,
}

impl Anchor {
    pub(super) fn at(now: Now) -> Self {
        Self { wall_ns: now.wall_ns, monotonic_ns: now.monotonic_ns }
    }
}

/// Judges `now` by the caller's word, by `watermark_ns` (the latest wall time any sweep has recorded durably)
/// and by `anchor`. A difference of `tolerance` is forgiven.
pub(super) fn doubt(
    now: Now,
    watermark_ns: Option<i64>,
    anchor: Option<Anchor>,
    tolerance: Duration,
) -> Option<ClockDoubt> {
    if now.health == ClockHealth::Doubtful {
        return Some(ClockDoubt::Reported);
    }
    let tolerance_ns = i128::try_from(tolerance.as_nanos()).unwrap_or(i128::MAX);
    let wall = i128::from(now.wall_ns);
    let latest = watermark_ns.max(anchor.map(|anchor| anchor.wall_ns));
    if let Some(behind) = latest.map(|latest| i128::from(latest) - wall)
        && behind > tolerance_ns
    {
        return Some(ClockDoubt::WentBack { by: duration(behind) });
    }
    if let Some(anchor) = anchor {
        let elapsed = i128::from(now.monotonic_ns) - i128::from(anchor.monotonic_ns);
        let gained = wall - i128::from(anchor.wall_ns) - elapsed;
        if gained > tolerance_ns {
            return Some(ClockDoubt::JumpedForward { by: duration(gained) });
        }
    }
    None
}

fn duration(ns: i128) -> Duration {
    Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;
    const TOLERANCE: Duration = Duration::from_secs(60);

    #[test]
    fn clocks_in_step_are_believed() {
        let anchor = Some(Anchor::at(Now::trusted(1000 * S, 5)));
        assert_eq!(doubt(Now::trusted(1100 * S, 100 * S as u64), Some(1050 * S), anchor, TOLERANCE), None);
        assert_eq!(doubt(Now::trusted(i64::MIN, 0), None, None, TOLERANCE), None);
    }

    #[test]
    fn the_callers_doubt_is_enough() {
        let now = Now { wall_ns: 0, monotonic_ns: 0, health: ClockHealth::Doubtful };
        assert_eq!(doubt(now, None, None, TOLERANCE), Some(ClockDoubt::Reported));
    }

    #[test]
    fn a_wall_clock_behind_the_watermark_by_more_than_the_tolerance_is_doubted() {
        let at = |wall| doubt(Now::trusted(wall, 0), Some(1000 * S), None, TOLERANCE);
        assert_eq!(at(940 * S), None);
        assert_eq!(at(939 * S), Some(ClockDoubt::WentBack { by: Duration::from_secs(61) }));
        assert!(at(i64::MIN).is_some());
    }

    #[test]
    fn a_jump_ahead_of_monotonic_time_is_doubted_even_in_small_steps() {
        let anchor = Some(Anchor::at(Now::trusted(0, 0)));
        let at = |wall, mono| doubt(Now::trusted(wall, mono), None, anchor, TOLERANCE);
        assert_eq!(at(40 * S, 0), None);
        assert_eq!(at(80 * S, 0), Some(ClockDoubt::JumpedForward { by: Duration::from_secs(80) }));
        assert!(at(i64::MAX, 0).is_some());
    }
}
