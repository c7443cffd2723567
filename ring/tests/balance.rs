//! How evenly random tokens share the key space, against the formula for it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use forebay_ring::{Instance, KeyHash, Membership, Options, Ring, Token, random_tokens};

/// Shares of the key space in a ring of `instances` with `tokens` random ones each.
fn shares(instances: usize, tokens: usize, seed: u64) -> Vec<f64> {
    let mut members = Membership::default();
    for number in 0..instances {
        let id = format!("ingester-{number}");
        let tokens = random_tokens(&id, "", seed, tokens, &members.tokens()).unwrap();
        members.observe(Instance { tokens, ..Instance::new(id, "") }, 0);
    }
    let ring = Ring::build(&Options::default(), &members, 0).unwrap();
    ring.ownership().map(|(_, share)| share).collect()
}

fn mean_and_error(samples: &[f64]) -> (f64, f64) {
    let count = samples.len() as f64;
    let mean = samples.iter().sum::<f64>() / count;
    let variance = samples.iter().map(|sample| (sample - mean).powi(2)).sum::<f64>() / (count - 1.0);
    (mean, (variance / count).sqrt())
}

#[test]
fn shares_add_up_and_spread_as_a_beta_distribution_predicts() {
    for (instances, tokens) in [(10, 64), (10, 128), (30, 128), (10, 512)] {
        let variances: Vec<f64> = (0..30)
            .map(|seed| {
                let shares = shares(instances, tokens, seed);
                assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9);
                let relative = |share: &f64| (share * instances as f64 - 1.0).powi(2);
                shares.iter().map(relative).sum::<f64>() / instances as f64
            })
            .collect();
        // A share is Beta(V, (N - 1) V), of which the squared relative deviation is (N - 1) / (N V + 1).
        let predicted = (instances - 1) as f64 / (instances * tokens + 1) as f64;
        let (mean, error) = mean_and_error(&variances);
        assert!(
            (mean - predicted).abs() < 3.0 * error,
            "{instances} instances of {tokens} tokens: {mean:.5} +- {error:.5}, predicted {predicted:.5}"
        );
    }
}

#[test]
fn a_single_token_owns_everything() {
    assert_eq!(shares(1, 1, 0), [1.0]);
    assert_eq!(shares(2, 0, 0), [0.0, 0.0]);
}

/// Chi-squared per degree of freedom of 64,000 keys over 64 equal parts of the ring.
fn unevenness(key: impl Fn(u32) -> Token) -> f64 {
    let mut buckets = [0_u32; 64];
    let keys = 64_000_u32;
    for number in 0..keys {
        buckets[(key(number).0 >> 26) as usize] += 1;
    }
    let mean = f64::from(keys) / 64.0;
    let chi2: f64 = buckets.iter().map(|&count| (f64::from(count) - mean).powi(2) / mean).sum();
    chi2 / 63.0
}

/// What else keys are made of than random bytes: names that differ at their end, and numbers for tenants.
const KEYS: [fn(KeyHash, u32) -> Token; 3] = [
    |hash, number| hash.token("tenant", format!("stream-{number:05}").as_bytes()),
    |hash, number| hash.token(&number.to_string(), br#"{app="api"}"#),
    |hash, number| hash.token(&number.to_string(), b""),
];

#[test]
fn keys_that_differ_only_at_the_end_or_in_a_number_spread_over_the_ring() {
    for key in KEYS {
        let found = unevenness(|number| key(KeyHash::Xxh3, number));
        assert!(found < 1.5, "chi2 per degree of freedom is {found}");
    }
}

/// Not a promise but the warning in the docs of `fnv1_32`.
#[test]
fn keys_of_the_hash_for_a_shared_ring_spread_badly_over_names_that_differ_only_at_the_end() {
    let found = KEYS.map(|key| unevenness(|number| key(KeyHash::Fnv1, number)));
    assert!((54.0..56.0).contains(&found[0]), "chi2 per degree of freedom is {found:?}");
    assert!(found[1] < 1.5 && found[2] > 20.0, "whole labels behind the number make up for it: {found:?}");
}
