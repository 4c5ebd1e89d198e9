//! Expressions. Nothing of them decides what a statement needs, but what InfluxDB cannot parse is not
//! to be allowed, and where an expression ends decides what comes next. No tree is built.

use std::borrow::Cow;

use super::{Parser, Result};
use crate::duration::parse_duration;
use crate::error::ParseError;
use crate::scanner::Lexeme;
use crate::token::Token;

/// What is kept of an expression.
pub(super) struct Expression<'a> {
    pub(super) shape: Shape<'a>,
    /// The operator that makes a truth value of it or of a part, which a field must not.
    pub(super) comparison: Option<Token>,
    /// Whether it or a part of it calls a function.
    pub(super) has_call: bool,
}

/// What an expression is, at its top.
pub(super) enum Shape<'a> {
    Call {
        name: Cow<'a, str>,
        arguments: usize,
        first: Argument<'a>,
    },
    Duration(i64),
    /// An integer that is more than `i64` holds.
    Large(u64),
    Name(Cow<'a, str>),
    Number,
    String,
    Other,
}

/// The first argument of a function.
pub(super) enum Argument<'a> {
    Duration(i64),
    Name(Cow<'a, str>),
    Number,
    String,
    Other,
}

impl<'a> Expression<'a> {
    fn of(shape: Shape<'a>) -> Self {
        Self { shape, comparison: None, has_call: false }
    }
}

impl<'a> Parser<'a> {
    pub(super) fn expression(&mut self) -> Result<Expression<'a>> {
        let mut expression = self.operand()?;
        let mut loosest = u8::MAX;
        let mut comparison = None;
        loop {
            let operator = self.scan().token;
            if !operator.is_operator() {
                self.unscan();
                // InfluxDB reports the operator at the root of the tree.
                expression.comparison = comparison.or(expression.comparison);
                return Ok(expression);
            }
            let right = match operator {
                Token::EqRegex | Token::NotEqRegex => {
                    self.regex()?;
                    Expression::of(Shape::Other)
                }
                _ => self.operand()?,
            };
            expression = Expression {
                shape: Shape::Other,
                comparison: expression.comparison.or(right.comparison),
                has_call: expression.has_call || right.has_call,
            };
            let precedence = operator.precedence();
            if precedence <= loosest {
                loosest = precedence;
                comparison = (precedence <= Token::Eq.precedence()).then_some(operator);
            }
        }
    }

    /// An expression without an operator between two others.
    fn operand(&mut self) -> Result<Expression<'a>> {
        let lexeme = self.scan();
        Ok(Expression::of(match lexeme.token {
            Token::LeftParen => {
                let inner = self.nested(Self::expression)?;
                self.expect(Token::RightParen)?;
                return Ok(Expression { shape: Shape::Other, ..inner });
            }
            Token::Ident => {
                if self.scan_any().token == Token::LeftParen {
                    return self.call(self.text_of(&lexeme));
                }
                // The token after it, and the identifier, which may have segments.
                self.unscan();
                self.unscan();
                self.reference()?
            }
            Token::Distinct => {
                let next = self.scan_any();
                match next.token {
                    Token::LeftParen => return self.call(Cow::Borrowed("distinct")),
                    Token::Whitespace => {
                        self.identifier()?;
                        Shape::Other
                    }
                    _ => return Err(self.expected(&next, &["(", "identifier"])),
                }
            }
            Token::String => Shape::String,
            Token::Number => match self.text_of(&lexeme).parse() {
                Ok(number) if f64::is_finite(number) => Shape::Number,
                _ => return Err(self.error_at(&lexeme, "unable to parse number")),
            },
            Token::Integer => {
                match (self.text_of(&lexeme).parse::<i64>(), self.text_of(&lexeme).parse::<u64>()) {
                    (Ok(_), _) => Shape::Number,
                    (Err(_), Ok(large)) => Shape::Large(large),
                    _ => return Err(self.error_at(&lexeme, "unable to parse integer")),
                }
            }
            Token::Duration => {
                Shape::Duration(parse_duration(&self.text_of(&lexeme)).map_err(ParseError::new)?)
            }
            Token::True | Token::False => Shape::Other,
            Token::Mul => {
                self.optional_type(&[Token::Field, Token::Tag], &["field", "tag"])?;
                Shape::Other
            }
            // Only a parameter, which was checked.
            Token::Regex => Shape::Other,
            Token::BoundParameter => return Err(self.unbound(&lexeme)),
            Token::Add | Token::Sub => return self.signed(lexeme.token == Token::Sub),
            _ => {
                return Err(self.expected(&lexeme, &["identifier", "string", "number", "bool"]));
            }
        }))
    }

    /// Why a parameter is none.
    fn unbound(&self, lexeme: &Lexeme) -> ParseError {
        let name = self.scanner.text_of(lexeme);
        match self.value_of(lexeme) {
            _ if name.is_empty() => ParseError::new("empty bound parameter"),
            Some(value) => ParseError::new(value.text.clone()),
            None => ParseError::new(format!("missing parameter: {name}")),
        }
    }

    /// What follows a sign.
    fn signed(&mut self, is_negative: bool) -> Result<Expression<'a>> {
        let next = self.scan();
        self.unscan();
        if !matches!(
            next.token,
            Token::Number | Token::Integer | Token::Duration | Token::LeftParen | Token::Ident
        ) {
            return Err(self.expected(&next, &["identifier", "number", "duration", "("]));
        }
        let operand = self.nested(Self::operand)?;
        let shape = match operand.shape {
            Shape::Large(number) if is_negative && number == 1 << 63 => Shape::Number,
            Shape::Large(number) if is_negative => {
                return Err(ParseError::new(format!("constant -{number} underflows int64")));
            }
            Shape::Duration(duration) if is_negative => Shape::Duration(duration.wrapping_neg()),
            shape @ (Shape::Large(_) | Shape::Duration(_) | Shape::Number) => shape,
            _ => Shape::Other,
        };
        Ok(Expression { shape, ..operand })
    }

    /// The name of a field or a tag, with a type after it or without.
    fn reference(&mut self) -> Result<Shape<'a>> {
        let mut segments = self.segments()?;
        let types = ["float", "integer", "unsigned", "string", "boolean"];
        let is_typed = match self.scan_any().token {
            Token::DoubleColon => {
                let lexeme = self.scan_any();
                let is_type = match lexeme.token {
                    Token::Ident => {
                        types.iter().any(|it| self.text_of(&lexeme).eq_ignore_ascii_case(it))
                    }
                    token => matches!(token, Token::Field | Token::Tag),
                };
                if !is_type {
                    let expected =
                        ["float", "integer", "unsigned", "string", "boolean", "field", "tag"];
                    return Err(self.expected(&lexeme, &expected));
                }
                true
            }
            _ => {
                self.unscan();
                false
            }
        };
        match segments.pop() {
            Some(name) if segments.is_empty() && !is_typed => Ok(Shape::Name(name)),
            _ => Ok(Shape::Other),
        }
    }

    /// An optional `::tag` and the like.
    fn optional_type(&mut self, types: &[Token], expected: &[&str]) -> Result<()> {
        if self.scan_any().token != Token::DoubleColon {
            self.unscan();
            return Ok(());
        }
        let lexeme = self.scan_any();
        match types.contains(&lexeme.token) {
            true => Ok(()),
            false => Err(self.expected(&lexeme, expected)),
        }
    }

    /// The arguments of a function, whose name and parenthesis are read.
    fn call(&mut self, name: Cow<'a, str>) -> Result<Expression<'a>> {
        let mut expression = Expression { shape: Shape::Other, comparison: None, has_call: true };
        let mut arguments = 0;
        let mut first = Argument::Other;
        let begins_with_regex = self.optional_regex()?;
        if !begins_with_regex {
            if self.scan_any().token == Token::RightParen {
                expression.shape = Shape::Call { name, arguments, first };
                return Ok(expression);
            }
            self.unscan();
        }
        let mut is_regex = begins_with_regex;
        loop {
            if !is_regex {
                let argument = self.nested(Self::expression)?;
                expression.comparison = expression.comparison.or(argument.comparison);
                if arguments == 0 {
                    first = argument.shape.into();
                }
            }
            arguments += 1;
            if !self.next_is(Token::Comma) {
                break;
            }
            is_regex = self.optional_regex()?;
        }
        let end = self.scan_any();
        if end.token != Token::RightParen {
            return Err(self.expected(&end, &[")"]));
        }
        expression.shape = Shape::Call { name, arguments, first };
        Ok(expression)
    }
}

impl<'a> From<Shape<'a>> for Argument<'a> {
    fn from(shape: Shape<'a>) -> Self {
        match shape {
            Shape::Duration(duration) => Self::Duration(duration),
            Shape::Name(name) => Self::Name(name),
            Shape::Number => Self::Number,
            Shape::String => Self::String,
            Shape::Call { .. } | Shape::Large(_) | Shape::Other => Self::Other,
        }
    }
}
