//! Selectors for `serde`: a native one is Kubernetes' map, a Loki one is its text. Reading checks as
//! construction does, so a stored selector that reads back is a selector that matches.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use super::{Missing, Operator, Pattern, Requirement, Selector, SelectorError};

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Form {
    Loki(String),
    Native(Native),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Native {
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    match_labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    match_expressions: Vec<Expression>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Expression {
    key: String,
    operator: Name,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    values: Vec<String>,
}

#[derive(Serialize, Deserialize)]
enum Name {
    In,
    NotIn,
    Exists,
    DoesNotExist,
    Matches,
    NotMatches,
}

impl Serialize for Selector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let form = match self.missing {
            Missing::Empty => Form::Loki(self.to_string()),
            Missing::Absent => Form::Native(Native {
                match_labels: BTreeMap::new(),
                match_expressions: self.requirements.iter().map(Expression::of).collect(),
            }),
        };
        form.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Selector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let selector = match Form::deserialize(deserializer)? {
            Form::Loki(text) => Self::parse_loki(&text),
            Form::Native(native) => native.selector(),
        };
        selector.map_err(|error| match &error {
            // An error of serde keeps no source, so the pattern's own words are appended.
            SelectorError::Pattern { source, .. } => D::Error::custom(format!("{error}: {source}")),
            other => D::Error::custom(other),
        })
    }
}

impl Native {
    fn selector(self) -> Result<Selector, SelectorError> {
        let labels = self.match_labels.into_iter().map(|(key, value)| Ok(Requirement::equals(key, value)));
        let expressions = self.match_expressions.into_iter().map(Expression::requirement);
        Selector::new(labels.chain(expressions).collect::<Result<Vec<_>, _>>()?)
    }
}

impl Expression {
    fn of(Requirement { key, operator }: &Requirement) -> Self {
        let list = |values: &BTreeSet<String>| values.iter().cloned().collect();
        let (operator, values) = match operator {
            Operator::In(values) => (Name::In, list(values)),
            Operator::NotIn(values) => (Name::NotIn, list(values)),
            Operator::Exists => (Name::Exists, Vec::new()),
            Operator::DoesNotExist => (Name::DoesNotExist, Vec::new()),
            Operator::Matches(pattern) => (Name::Matches, vec![pattern.as_str().to_owned()]),
            Operator::NotMatches(pattern) => (Name::NotMatches, vec![pattern.as_str().to_owned()]),
        };
        Self { key: key.clone(), operator, values }
    }

    fn requirement(self) -> Result<Requirement, SelectorError> {
        let Self { key, operator, values } = self;
        let count = values.len();
        let one_pattern = |values: Vec<String>| match values.as_slice() {
            [pattern] => Pattern::new(pattern).map_err(|source| SelectorError::Pattern { at: 0, source }),
            _ => Err(SelectorError::ValueCount { key: key.clone(), found: count, expected: 1 }),
        };
        let operator = match operator {
            Name::In => Operator::In(values.into_iter().collect()),
            Name::NotIn => Operator::NotIn(values.into_iter().collect()),
            Name::Exists | Name::DoesNotExist if count > 0 => {
                return Err(SelectorError::ValueCount { key, found: count, expected: 0 });
            }
            Name::Exists => Operator::Exists,
            Name::DoesNotExist => Operator::DoesNotExist,
            Name::Matches => Operator::Matches(one_pattern(values)?),
            Name::NotMatches => Operator::NotMatches(one_pattern(values)?),
        };
        Ok(Requirement { key, operator })
    }
}
