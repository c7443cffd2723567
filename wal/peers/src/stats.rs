//! Medians, and how far the ratio of two of them can be trusted.

use crate::load::Random;

const RESAMPLES: usize = 2_000;

/// The middle value; of an even number the mean of the two in the middle. NaN of none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match (sorted.len() % 2, sorted.get(half.wrapping_sub(1)), sorted.get(half)) {
        (0, Some(low), Some(high)) => (low + high) / 2.0,
        (1, _, Some(middle)) => *middle,
        _ => f64::NAN,
    }
}

/// A ratio, and the interval that holds 95 % of what it would have been with other samples.
#[derive(Clone, Copy, Debug)]
pub struct Ratio {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

/// The ratio of the medians of `above` and `below`, which were taken in turn: values of one round belong together, and
/// rounds are drawn with replacement, whole.
pub fn ratio(above: &[f64], below: &[f64]) -> Ratio {
    let rounds = above.len().min(below.len());
    let mut random = Random(2);
    let (mut drawn_above, mut drawn_below) = (vec![0.0; rounds], vec![0.0; rounds]);
    let mut ratios: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            for (to_above, to_below) in drawn_above.iter_mut().zip(&mut drawn_below) {
                let round = usize::try_from(random.draw() % rounds.max(1) as u64).unwrap_or(0);
                (*to_above, *to_below) = (above[round], below[round]);
            }
            median(&drawn_above) / median(&drawn_below)
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    let at = |share: f64| ratios[((RESAMPLES - 1) as f64 * share).round() as usize];
    Ratio { value: median(above) / median(below), low: at(0.025), high: at(0.975) }
}

/// NaN of none.
pub fn geometric_mean(values: &[f64]) -> f64 {
    (values.iter().map(|value| value.ln()).sum::<f64>() / values.len() as f64).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn what_moves_in_step_has_a_narrow_interval() {
        let below: Vec<f64> = (0..21).map(|n| 100.0 + f64::from(n * n % 17) * 10.0).collect();
        let above: Vec<f64> = below.iter().map(|value| value * 1.5).collect();
        let of_pairs = ratio(&above, &below);
        assert!((of_pairs.value - 1.5).abs() < 1e-9);
        assert!(of_pairs.low > 1.499 && of_pairs.high < 1.501);
        let mut apart = above.clone();
        apart.reverse();
        let apart = ratio(&apart, &below);
        assert!(apart.high - apart.low > of_pairs.high - of_pairs.low);
    }

    #[test]
    fn the_mean_of_ratios_is_geometric() {
        assert!((geometric_mean(&[0.5, 2.0]) - 1.0).abs() < 1e-9);
    }
}
