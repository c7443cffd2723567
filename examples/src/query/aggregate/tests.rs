use proptest::prelude::*;

use super::*;

type Given = Vec<((String, String), Points)>;

fn labels(app: &str, pod: &str) -> Labels {
    Labels::from_sorted(&[("app", app), ("pod", pod)])
}

fn run(operator: Operator, grouping: Grouping, points: usize, given: &Given) -> Vec<(Labels, Points)> {
    let mut aggregation = Aggregation::new(operator, grouping, points);
    for ((app, pod), points) in given {
        aggregation.add(&labels(app, pod), points).unwrap();
    }
    aggregation.finish()
}

fn given() -> impl Strategy<Value = Given> {
    let points = prop::collection::btree_map(0..5_u32, 1..9_i32, 1..5)
        .prop_map(|points| points.into_iter().map(|(n, value)| (n, f64::from(value))).collect::<Points>());
    prop::collection::btree_map(("[ab]", "[a-d]"), points, 0..8).prop_map(|map| map.into_iter().collect())
}

/// The values of the series with `app` at `number`.
fn at(given: &Given, app: &str, number: u32) -> Vec<f64> {
    let of_app = given.iter().filter(|((found, _), _)| found == app);
    of_app
        .flat_map(|(_, points)| points.iter().filter(|(n, _)| *n == number).map(|(_, value)| *value))
        .collect()
}

proptest! {
    #[test]
    fn every_point_of_a_group_is_what_its_values_come_to(given in given()) {
        for (operator, fold) in [
            (Operator::Sum, (|values| values.iter().sum()) as fn(&[f64]) -> f64),
            (Operator::Avg, |values| values.iter().sum::<f64>() / values.len() as f64),
            (Operator::Min, |values| values.iter().copied().fold(f64::INFINITY, f64::min)),
            (Operator::Max, |values| values.iter().copied().fold(0.0, f64::max)),
            (Operator::Count, |values| values.len() as f64),
        ] {
            let found = run(operator, Grouping::By(vec!["app".to_owned()]), 5, &given);
            let mut expected = Vec::new();
            for app in ["a", "b"] {
                let all: Vec<(u32, Vec<f64>)> = (0..5).map(|number| (number, at(&given, app, number))).collect();
                let points: Points =
                    all.iter().filter(|(_, values)| !values.is_empty()).map(|(n, values)| (*n, fold(values))).collect();
                if !points.is_empty() {
                    expected.push((Labels::from_sorted(&[("app", app)]), points));
                }
            }
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn the_largest_of_each_point_keep_their_labels(given in given(), k in 1..4_u32) {
        let found = run(Operator::TopK(k), Grouping::Without(vec!["pod".to_owned()]), 5, &given);
        for app in ["a", "b"] {
            for number in 0..5 {
                let mut all = at(&given, app, number);
                all.sort_by(|a, b| b.total_cmp(a));
                all.truncate(k as usize);
                let of_app = found.iter().filter(|(labels, _)| labels.pairs()[0].1 == app);
                let mut kept: Vec<f64> =
                    of_app.flat_map(|(_, points)| points.iter().filter(|(n, _)| *n == number).map(|(_, v)| *v)).collect();
                kept.sort_by(|a, b| b.total_cmp(a));
                prop_assert_eq!(kept, all);
            }
        }
        for (labels, points) in &found {
            let whole = given.iter().find(|((app, pod), _)| labels.pairs()[..] == [("app", app.as_str()), ("pod", pod)]);
            let (_, whole) = whole.expect("its labels are those of a series");
            prop_assert!(points.iter().all(|point| whole.contains(point)));
            prop_assert!(points.is_sorted_by(|a, b| a.0 < b.0));
        }
    }
}

#[test]
fn of_equal_values_the_smaller_labels_are_kept_whatever_came_first() {
    let one = (("a".to_owned(), "x".to_owned()), vec![(0, 1.0)]);
    let other = (("a".to_owned(), "y".to_owned()), vec![(0, 1.0)]);
    for given in [vec![one.clone(), other.clone()], vec![other, one]] {
        let found = run(Operator::TopK(1), Grouping::By(vec![]), 1, &given);
        assert_eq!(found, [(labels("a", "x"), vec![(0, 1.0)])]);
    }
}

#[test]
fn what_would_not_fit_memory_is_refused() {
    for operator in [Operator::Sum, Operator::TopK(1)] {
        let mut aggregation = Aggregation::new(operator, Grouping::Without(vec![]), 11_000);
        let fit = MAX_VALUES / 11_000;
        let mut added = 0;
        let refused = loop {
            match aggregation.add(&labels("a", &added.to_string()), &vec![(0, 1.0)]) {
                Ok(()) => added += 1,
                Err(refused) => break refused,
            }
        };
        assert!(matches!(refused, ExecuteError::TooManyValues { limit: MAX_VALUES }));
        assert!(added <= fit && added + 1 >= fit, "{added}");
    }
}
