//! `SELECT`, `EXPLAIN`, and the clauses that other statements share with them.

use super::{Parser, Result, Sources, Target, named};
use crate::error::ParseError;
use crate::parser::expression::{Argument, Expression, Shape};
use crate::statement::StatementKind;
use crate::token::Token;

/// What of a `SELECT` the statement around it has to know.
pub(super) struct Selection {
    /// Whether it aggregates: a field calls a function.
    pub(super) is_aggregate: bool,
    /// The interval of `GROUP BY time(…)` in nanoseconds; 0 for none.
    pub(super) interval: std::result::Result<i64, &'static str>,
}

impl<'a> Parser<'a> {
    /// `EXPLAIN [ANALYZE] [VERBOSE] SELECT …`. With `ANALYZE` it is carried out.
    pub(super) fn explain(&mut self) -> Result<StatementKind> {
        self.next_is(Token::Analyze);
        self.next_is(Token::Verbose);
        self.expect(Token::Select)?;
        self.select(Target::Optional)?;
        Ok(StatementKind::Explain)
    }

    /// A `SELECT`, whose first word is read.
    pub(super) fn select(&mut self, target: Target) -> Result<Selection> {
        let is_aggregate = self.fields()?;
        self.target(target)?;
        self.expect(Token::From)?;
        self.sources(Sources::ReadWithSubqueries)?;
        self.condition()?;
        let interval = self.dimensions()?;
        self.fill()?;
        self.order_by()?;
        self.limit_and_offset()?;
        self.series_limit_and_offset()?;
        self.time_zone()?;
        Ok(Selection { is_aggregate, interval })
    }

    /// Returns whether one of them calls a function.
    fn fields(&mut self) -> Result<bool> {
        let mut is_aggregate = false;
        loop {
            is_aggregate |= self.field()?;
            if self.scan_any().token != Token::Comma {
                self.unscan();
                return Ok(is_aggregate);
            }
        }
    }

    fn field(&mut self) -> Result<bool> {
        let mut has_call = false;
        if !self.optional_regex()? {
            let first = self.scan();
            self.unscan();
            let expression = self.expression()?;
            if let Some(operator) = expression.comparison {
                return Err(ParseError::new(format!(
                    "invalid operator {} in SELECT clause at {}; operator is intended for WHERE clause",
                    operator.name(),
                    self.scanner.position(first.at),
                )));
            }
            has_call = expression.has_call;
        }
        if self.next_is(Token::As) {
            self.identifier()?;
        }
        self.skip_whitespace();
        Ok(has_call)
    }

    /// An optional `INTO database.policy.measurement`. `:MEASUREMENT` is the name of each source.
    fn target(&mut self, target: Target) -> Result<()> {
        let next = self.scan();
        if next.token != Token::Into {
            self.unscan();
            return match target {
                Target::Optional => Ok(()),
                Target::Required => Err(self.expected(&next, &["INTO"])),
            };
        }
        let mut segments = self.segments()?;
        if segments.len() < 3 && self.scanner.peek() == Some(':') {
            self.expect(Token::Colon)?;
            self.expect(Token::Measurement)?;
            segments.push("".into());
        }
        let mut segments = segments.into_iter();
        let (first, second, third) = (segments.next(), segments.next(), segments.next());
        let database = match (first, second, third) {
            (database, Some(policy), Some(_)) => named(database, Some(policy)),
            (policy, Some(_), None) => named(None, policy),
            _ => named(None, None),
        };
        self.need_write(database);
        Ok(())
    }

    /// An optional `WHERE …`. Returns whether there is one.
    pub(super) fn condition(&mut self) -> Result<bool> {
        let stands = self.next_is(Token::Where);
        if stands {
            self.expression()?;
        }
        Ok(stands)
    }

    /// An optional `GROUP BY …`. Returns the interval of `time(…)`, or why there is none.
    pub(super) fn dimensions(&mut self) -> Result<std::result::Result<i64, &'static str>> {
        let mut interval = None;
        if !self.next_is(Token::Group) {
            return Ok(Ok(0));
        }
        self.expect(Token::By)?;
        loop {
            if !self.optional_regex()? {
                let dimension = self.expression()?;
                self.skip_whitespace();
                interval = interval.or_else(|| interval_of(&dimension));
            }
            if self.scan_any().token != Token::Comma {
                self.unscan();
                return Ok(interval.unwrap_or(Ok(0)));
            }
        }
    }

    /// An optional `fill(…)`.
    fn fill(&mut self) -> Result<()> {
        let next = self.scan();
        self.unscan();
        if next.token != Token::Ident || !self.text_of(&next).eq_ignore_ascii_case("fill") {
            return Ok(());
        }
        let Shape::Call { arguments, first, .. } = self.expression()?.shape else {
            return Err(ParseError::new("fill must be a function call"));
        };
        if arguments != 1 {
            let message = "fill requires an argument, e.g.: 0, null, none, previous, linear";
            return Err(ParseError::new(message));
        }
        match first {
            Argument::Number => Ok(()),
            Argument::Name(name) if matches!(&*name, "null" | "none" | "previous" | "linear") => {
                Ok(())
            }
            _ => Err(ParseError::new("expected number argument in fill()")),
        }
    }

    /// An optional `tz('…')`. Which zones there are is up to the server.
    fn time_zone(&mut self) -> Result<()> {
        let next = self.scan();
        self.unscan();
        if next.token != Token::Ident || !self.text_of(&next).eq_ignore_ascii_case("tz") {
            return Ok(());
        }
        let Shape::Call { arguments, first, .. } = self.expression()?.shape else {
            return Err(ParseError::new("tz must be a function call"));
        };
        match (arguments, first) {
            (1, Argument::String) => Ok(()),
            (1, _) => Err(ParseError::new("expected string argument in tz()")),
            _ => Err(ParseError::new("tz requires exactly one argument")),
        }
    }

    /// An optional `ORDER BY time`.
    pub(super) fn order_by(&mut self) -> Result<()> {
        if !self.next_is(Token::Order) {
            return Ok(());
        }
        self.expect(Token::By)?;
        let first = self.scan();
        match first.token {
            Token::Asc | Token::Desc => {}
            Token::Ident if self.text_of(&first) == "time" => self.direction(),
            Token::Ident => {
                return Err(ParseError::new("only ORDER BY time supported at this time"));
            }
            _ => return Err(self.expected(&first, &["identifier", "ASC", "DESC"])),
        }
        match self.next_is(Token::Comma) {
            true => Err(ParseError::new("only ORDER BY time supported at this time")),
            false => Ok(()),
        }
    }

    fn direction(&mut self) {
        let token = self.scan().token;
        if !matches!(token, Token::Asc | Token::Desc) {
            self.unscan();
        }
    }
}

/// The interval, if the dimension is `time(…)`.
fn interval_of(dimension: &Expression<'_>) -> Option<std::result::Result<i64, &'static str>> {
    let Shape::Call { name, arguments, first } = &dimension.shape else { return None };
    if !name.eq_ignore_ascii_case("time") {
        return None;
    }
    Some(match (arguments, first) {
        (1 | 2, Argument::Duration(interval)) => Ok(*interval),
        (1 | 2, _) => Err("time dimension must have duration argument"),
        _ => Err("time dimension expected 1 or 2 arguments"),
    })
}
