//! Range aggregations, and the aggregations over their series.

use super::super::lexer::{Token, syntax};
use super::super::{
    Grouping, Logs, Operator, Query, QueryError, RangeAggregation, RangeFunction, VectorAggregation,
};
use super::Parser;

/// The aggregations over series that are answered.
pub(super) const OPERATORS: [&str; 6] = ["sum", "avg", "min", "max", "count", "topk"];

impl Parser<'_> {
    /// `rate({app="x"} |= "y" [5m] offset 1h)`
    pub(super) fn range_aggregation(
        &mut self,
        function: RangeFunction,
    ) -> Result<RangeAggregation, QueryError> {
        self.next += 1;
        self.expect("(")?;
        // LogQL takes the range behind the selector as well as behind the filters.
        let matchers = self.selector()?;
        let mut range_ns = self.range()?;
        let filters = self.filters()?;
        if range_ns.is_none() {
            range_ns = self.range()?;
        }
        let range_ns = range_ns.ok_or_else(|| self.expected("a range such as [5m]"))?;
        let offset_ns = self.offset()?;
        self.expect(")")?;
        if matches!(self.peek(), Some(Token::Ident(name)) if name == "by" || name == "without") {
            return Err(self.not_supported("grouping of a range aggregation"));
        }
        Ok(RangeAggregation { function, logs: Logs { matchers, filters }, range_ns, offset_ns })
    }

    /// `sum by (app) (…)`, `sum(…) by (app)`, `topk(5, …)`
    pub(super) fn vector_aggregation(
        &mut self,
        name: &str,
        depth: u32,
    ) -> Result<VectorAggregation, QueryError> {
        self.next += 1;
        let before = self.grouping()?;
        self.expect("(")?;
        let operator = self.operator(name)?;
        let at = self.at();
        let Query::Metric(inner) = self.expression(depth + 1)? else {
            return Err(syntax(at, "expected a metric query such as rate(…), found log lines"));
        };
        self.expect(")")?;
        let grouping = match before {
            Some(grouping) => grouping,
            None => self.grouping()?.unwrap_or(Grouping::By(Vec::new())),
        };
        Ok(VectorAggregation { operator, grouping, inner: Box::new(inner) })
    }

    fn operator(&mut self, name: &str) -> Result<Operator, QueryError> {
        Ok(match name {
            "avg" => Operator::Avg,
            "min" => Operator::Min,
            "max" => Operator::Max,
            "count" => Operator::Count,
            "topk" => {
                let k = match self.peek() {
                    Some(Token::Number(number)) => number.parse().ok().filter(|k| *k > 0),
                    _ => None,
                };
                let k = k.ok_or_else(|| self.expected("a whole number above 0"))?;
                self.next += 1;
                self.expect(",")?;
                Operator::TopK(k)
            }
            _ => Operator::Sum,
        })
    }

    fn grouping(&mut self) -> Result<Option<Grouping>, QueryError> {
        let by = self.take_word("by");
        if !by && !self.take_word("without") {
            return Ok(None);
        }
        self.expect("(")?;
        let mut names = Vec::new();
        while !self.take(")") {
            let Some(Token::Ident(name)) = self.peek() else {
                return Err(self.expected("a label name or )"));
            };
            names.push(name.clone());
            self.next += 1;
            if !self.take(",") {
                self.expect(")")?;
                break;
            }
        }
        Ok(Some(if by { Grouping::By(names) } else { Grouping::Without(names) }))
    }

    fn range(&mut self) -> Result<Option<i64>, QueryError> {
        if !self.take("[") {
            return Ok(None);
        }
        let at = self.at();
        let Some(&Token::Duration(range_ns)) = self.peek() else {
            return Err(self.expected("a duration such as 5m"));
        };
        if range_ns == 0 {
            return Err(syntax(at, "a range of no width"));
        }
        self.next += 1;
        self.expect("]")?;
        Ok(Some(range_ns))
    }

    fn offset(&mut self) -> Result<i64, QueryError> {
        if !self.take_word("offset") {
            return Ok(0);
        }
        let negative = self.take("-");
        let Some(&Token::Duration(offset_ns)) = self.peek() else {
            return Err(self.expected("a duration such as 5m"));
        };
        self.next += 1;
        Ok(if negative { -offset_ns } else { offset_ns })
    }
}
