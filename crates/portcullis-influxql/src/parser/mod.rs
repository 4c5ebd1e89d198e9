//! The parser: what the statements have in common.

mod expression;
mod manage;
mod select;
mod show;

use std::borrow::Cow;

use crate::error::{ParseError, Position};
use crate::need::{Database, Need};
use crate::parameters::{Parameters, Value};
use crate::regex;
use crate::scanner::{Lexeme, Scanner};
use crate::statement::{Statement, StatementKind};
use crate::token::Token;

/// How deep expressions and subqueries may be nested. InfluxDB has no bound of its own.
pub(crate) const MAX_DEPTH: usize = 100;

/// How many tokens can be put back and read again. InfluxDB's parser relies on as many.
const RING: usize = 3;

pub(crate) type Result<T, E = ParseError> = std::result::Result<T, E>;

/// A recursive descent over the tokens, which are put back where they turn out to belong to what
/// comes next.
pub(crate) struct Parser<'a> {
    scanner: Scanner<'a>,
    parameters: &'a Parameters,
    ring: [Lexeme; RING],
    /// Where in the ring the last token is, and how many were put back.
    last: usize,
    put_back: usize,
    /// How deep in expressions and subqueries it is.
    depth: usize,
    /// What the present statement needs, so far.
    needs: Vec<Need<'a>>,
    /// The database of sources and targets that name none; `None` for the one of the request.
    default_database: Option<Cow<'a, str>>,
}

/// A source of points, or a target.
struct Source<'a> {
    database: Database<'a>,
}

/// Whether a `SELECT` has to write (`INTO`).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    Optional,
    Required,
}

/// What is done with the points of a source.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sources {
    /// They are read, and may come from a subquery.
    ReadWithSubqueries,
    /// They are read.
    Read,
    /// What is in them is counted. Of a source that names no database InfluxDB counts in one, and looks
    /// at the rights on the one of the request: both are needed.
    Counted,
    /// They are deleted, from all retention policies of the request's database.
    Deleted,
}

impl<'a> Parser<'a> {
    pub(crate) fn new(text: &'a str, parameters: &'a Parameters) -> Self {
        Self {
            scanner: Scanner::new(text),
            parameters,
            ring: [Lexeme::NONE; RING],
            last: 0,
            put_back: 0,
            depth: 0,
            needs: Vec::new(),
            default_database: None,
        }
    }

    /// Parses statements up to the end of the text.
    pub(crate) fn query(&mut self) -> Result<Vec<Statement<'a>>> {
        let mut statements = Vec::new();
        let mut may_begin = true;
        loop {
            let first = self.scan();
            match first.token {
                Token::Eof => return Ok(statements),
                Token::Semicolon => may_begin = true,
                _ if !may_begin => return Err(self.expected(&first, &[";"])),
                _ => {
                    let kind = self.statement(&first)?;
                    statements.push(self.finish(kind, first.at));
                    may_begin = false;
                }
            }
        }
    }

    /// The statement that begins with the token.
    fn statement(&mut self, first: &Lexeme) -> Result<StatementKind> {
        match first.token {
            Token::Select => {
                self.select(Target::Optional)?;
                Ok(StatementKind::Select)
            }
            Token::Delete => self.delete(StatementKind::Delete),
            Token::Show => self.show(),
            Token::Create => self.create(),
            Token::Drop => self.drop_something(),
            Token::Explain => self.explain(),
            Token::Grant => self.grant(),
            Token::Revoke => self.revoke(),
            Token::Alter => self.alter(),
            Token::Set => self.set_password(),
            Token::Kill => self.kill_query(),
            _ => Err(self.expected(
                first,
                &[
                    "SELECT", "DELETE", "SHOW", "CREATE", "DROP", "EXPLAIN", "GRANT", "REVOKE",
                    "ALTER", "SET", "KILL",
                ],
            )),
        }
    }

    fn finish(&mut self, kind: StatementKind, begin: usize) -> Statement<'a> {
        // What was put back is not of this statement.
        let next = self.next_unread();
        let text = self.scanner.slice(begin, next);
        self.default_database = None;
        Statement { kind, text: text.trim_end(), needs: std::mem::take(&mut self.needs) }
    }

    /// Where the next token begins.
    fn next_unread(&self) -> usize {
        match self.put_back {
            0 => self.scanner.at(),
            put_back => {
                let oldest = (self.last + RING + 1 - put_back) % RING;
                self.ring.get(oldest).map_or(0, |lexeme| lexeme.at)
            }
        }
    }

    // Tokens.

    /// Reads the next token, which may be white space or a comment.
    fn scan_any(&mut self) -> Lexeme {
        self.advance(Scanner::scan)
    }

    fn advance(&mut self, scan: impl Fn(&mut Scanner<'a>) -> Lexeme) -> Lexeme {
        if self.put_back > 0 {
            self.put_back -= 1;
            let last = (self.last + RING - self.put_back) % RING;
            return self.ring.get(last).map_or(Lexeme::NONE, |lexeme| self.resolved(*lexeme));
        }
        let lexeme = scan(&mut self.scanner);
        self.last = (self.last + 1) % RING;
        if let Some(place) = self.ring.get_mut(self.last) {
            *place = lexeme;
        }
        self.resolved(lexeme)
    }

    /// A parameter is a token of the kind of its value.
    fn resolved(&self, lexeme: Lexeme) -> Lexeme {
        self.value_of(&lexeme).map_or(lexeme, |value| lexeme.as_token(value.token))
    }

    /// The value of a token that is, or was, a parameter.
    fn value_of(&self, lexeme: &Lexeme) -> Option<&'a Value> {
        if self.parameters.is_empty()
            || !self.scanner.slice(lexeme.at, lexeme.at + 1).starts_with('$')
        {
            return None;
        }
        let name = self.scanner.text_of(&lexeme.as_token(Token::BoundParameter));
        self.parameters.get(&name)
    }

    /// The text of a token.
    fn text_of(&self, lexeme: &Lexeme) -> Cow<'a, str> {
        match self.value_of(lexeme) {
            Some(value) => Cow::Borrowed(&value.text),
            None => self.scanner.text_of(lexeme),
        }
    }

    /// Reads the next token that is neither white space nor a comment.
    fn scan(&mut self) -> Lexeme {
        loop {
            let lexeme = self.scan_any();
            if !matches!(lexeme.token, Token::Whitespace | Token::Comment) {
                return lexeme;
            }
        }
    }

    /// Puts the last token back.
    fn unscan(&mut self) {
        self.put_back += 1;
    }

    fn skip_whitespace(&mut self) {
        if self.scan_any().token != Token::Whitespace {
            self.unscan();
        }
    }

    /// Reads the next token if it is this one.
    fn next_is(&mut self, token: Token) -> bool {
        let is_it = self.scan().token == token;
        if !is_it {
            self.unscan();
        }
        is_it
    }

    fn expect(&mut self, token: Token) -> Result<()> {
        let lexeme = self.scan();
        match lexeme.token == token {
            true => Ok(()),
            false => Err(self.expected(&lexeme, &[token.name()])),
        }
    }

    fn expected(&self, found: &Lexeme, expected: &[&str]) -> ParseError {
        let text = self.text_of(found);
        let shown = match (found.token, &*text) {
            (Token::BoundParameter, name) => format!("${name}"),
            (token, "") => token.name().to_owned(),
            (_, text) => text.to_owned(),
        };
        ParseError::expected(&shown, expected, self.scanner.position_of(found))
    }

    /// An error with the place of a token.
    fn error_at(&self, lexeme: &Lexeme, message: &str) -> ParseError {
        ParseError::at(message, self.scanner.position_of(lexeme))
    }

    /// Goes one level deeper while the work lasts.
    fn nested<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth >= MAX_DEPTH {
            return Err(ParseError::new(format!("nested more than {MAX_DEPTH} levels deep")));
        }
        self.depth += 1;
        let result = work(self);
        self.depth -= 1;
        result
    }

    // What statements are made of.

    fn identifier(&mut self) -> Result<Cow<'a, str>> {
        let lexeme = self.scan();
        match lexeme.token {
            Token::Ident => Ok(self.text_of(&lexeme)),
            _ => Err(self.expected(&lexeme, &["identifier"])),
        }
    }

    fn string(&mut self) -> Result<Cow<'a, str>> {
        let lexeme = self.scan();
        match lexeme.token {
            Token::String => Ok(self.text_of(&lexeme)),
            _ => Err(self.expected(&lexeme, &["string"])),
        }
    }

    fn strings(&mut self) -> Result<()> {
        self.string()?;
        while self.next_is(Token::Comma) {
            self.string()?;
        }
        Ok(())
    }

    fn integer(&mut self, least: u64, most: u64) -> Result<u64> {
        let lexeme = self.scan();
        if lexeme.token != Token::Integer {
            return Err(self.expected(&lexeme, &["integer"]));
        }
        match self.text_of(&lexeme).parse() {
            Ok(number) if least <= number && number <= most => Ok(number),
            Ok(number) => {
                let message = format!("invalid value {number}: must be {least} <= n <= {most}");
                Err(self.error_at(&lexeme, &message))
            }
            Err(_) => Err(self.error_at(&lexeme, "unable to parse integer")),
        }
    }

    /// A span of time, or `INF`: no end, 0 nanoseconds.
    fn duration(&mut self) -> Result<i64> {
        let lexeme = self.scan();
        match lexeme.token {
            Token::Inf => Ok(0),
            Token::Duration => crate::duration::parse_duration(&self.text_of(&lexeme))
                .map_err(|message| self.error_at(&lexeme, &message)),
            _ => Err(self.expected(&lexeme, &["duration"])),
        }
    }

    /// An optional `LIMIT 10` and the like.
    fn optional_count(&mut self, keyword: Token) -> Result<()> {
        if !self.next_is(keyword) {
            return Ok(());
        }
        let lexeme = self.scan();
        if lexeme.token != Token::Integer {
            return Err(self.expected(&lexeme, &["integer"]));
        }
        match self.text_of(&lexeme).starts_with('-') {
            true => Err(self.error_at(&lexeme, &format!("{} must be >= 0", keyword.name()))),
            false => Ok(()),
        }
    }

    fn limit_and_offset(&mut self) -> Result<()> {
        self.optional_count(Token::Limit)?;
        self.optional_count(Token::Offset)
    }

    fn series_limit_and_offset(&mut self) -> Result<()> {
        self.optional_count(Token::SeriesLimit)?;
        self.optional_count(Token::SeriesOffset)
    }

    /// Identifiers with a dot between them, of which those in the middle may be missing. A dot before a
    /// regular expression or a colon is read as well.
    fn segments(&mut self) -> Result<Vec<Cow<'a, str>>> {
        let mut segments = vec![self.identifier()?];
        loop {
            if self.scan_any().token != Token::Dot {
                self.unscan();
                break;
            }
            match self.scanner.peek() {
                Some('/' | ':') => break,
                Some('.') => segments.push(Cow::Borrowed("")),
                _ => segments.push(self.identifier()?),
            }
            if segments.len() > 3 {
                let message = format!("too many segments in {}", quoted(&segments));
                return Err(ParseError::at(message, Position::BEGIN));
            }
        }
        Ok(segments)
    }

    /// An optional regular expression, also as a parameter. Returns whether there is one.
    fn optional_regex(&mut self) -> Result<bool> {
        if matches!(self.scanner.peek(), Some(' ' | '\t' | '\n')) {
            self.skip_whitespace();
        }
        match self.scanner.peek() {
            Some('$') => {
                let token = self.scan_any().token;
                self.unscan();
                if token != Token::Regex {
                    return Ok(false);
                }
            }
            Some('/') => {}
            _ => return Ok(false),
        }
        let lexeme = self.advance(Scanner::scan_regex);
        match lexeme.token {
            Token::Regex => {}
            Token::BadRegex => return Err(self.error_at(&lexeme, "bad regex: ")),
            Token::BadEscape => {
                return Err(
                    self.error_at(&lexeme, &format!("bad escape: {}", self.text_of(&lexeme)))
                );
            }
            _ => return Err(self.expected(&lexeme, &["regex"])),
        }
        if self.value_of(&lexeme).is_some() {
            return Ok(true);
        }
        match regex::check(&self.text_of(&lexeme)) {
            Ok(()) => Ok(true),
            Err(why) => Err(self.error_at(&lexeme, &format!("error parsing regexp: {why}"))),
        }
    }

    fn regex(&mut self) -> Result<()> {
        if self.optional_regex()? {
            return Ok(());
        }
        let lexeme = self.scan();
        Err(self.expected(&lexeme, &["regex"]))
    }

    /// Sources with commas between them.
    fn sources(&mut self, sources: Sources) -> Result<()> {
        // InfluxDB parses all of them before it reports the error.
        let mut unsupported: Option<&str> = None;
        loop {
            if let Some(source) = self.source(sources == Sources::ReadWithSubqueries)? {
                let Source { database } = source;
                match sources {
                    Sources::Deleted if database.retention_policy.is_some() => {
                        unsupported = Some("retention policy not supported");
                    }
                    Sources::Deleted if database.name.is_some() => {
                        unsupported = Some("database not supported");
                    }
                    Sources::Deleted => {}
                    Sources::Counted => {
                        if database.name.is_none() {
                            self.need(Need::Read(database.clone()));
                        }
                        self.need_read(database);
                    }
                    Sources::Read | Sources::ReadWithSubqueries => self.need_read(database),
                }
            }
            if !self.next_is(Token::Comma) {
                return match unsupported {
                    Some(message) => Err(ParseError::at(message, Position::BEGIN)),
                    None => Ok(()),
                };
            }
        }
    }

    /// One source; `None` for a subquery, whose needs are noted.
    fn source(&mut self, with_subqueries: bool) -> Result<Option<Source<'a>>> {
        if self.optional_regex()? {
            return Ok(Some(Source { database: Database::default() }));
        }
        if with_subqueries && self.next_is(Token::LeftParen) {
            self.expect(Token::Select)?;
            self.nested(|parser| parser.select(Target::Optional).map(drop))?;
            self.expect(Token::RightParen)?;
            return Ok(None);
        }
        let mut segments = self.segments()?.into_iter();
        let (first, second, third) = (segments.next(), segments.next(), segments.next());
        let is_regex = third.is_none() && self.optional_regex()?;
        // The last is the measurement, unless that is an expression.
        let (database, retention_policy) = match (first, second, third) {
            (database, Some(policy), Some(_)) => (database, Some(policy)),
            (database, Some(policy), None) if is_regex => (database, Some(policy)),
            (policy, Some(_), None) => (None, policy),
            (policy, None, None) if is_regex => (None, policy),
            _ => (None, None),
        };
        Ok(Some(Source { database: named(database, retention_policy) }))
    }

    // Needs.

    fn need(&mut self, need: Need<'a>) {
        if self.needs.last() != Some(&need) {
            self.needs.push(need);
        }
    }

    fn need_read(&mut self, database: Database<'a>) {
        let need = Need::Read(self.or_default(database));
        self.need(need);
    }

    fn need_write(&mut self, database: Database<'a>) {
        let need = Need::Write(self.or_default(database));
        self.need(need);
    }

    fn or_default(&self, database: Database<'a>) -> Database<'a> {
        Database { name: database.name.or_else(|| self.default_database.clone()), ..database }
    }

    /// An optional `ON database`: the default of what follows.
    fn optional_on(&mut self) -> Result<()> {
        if self.next_is(Token::On) {
            self.default_database = present(self.identifier()?);
        }
        Ok(())
    }
}

/// An empty name is none to InfluxDB.
fn present(name: Cow<'_, str>) -> Option<Cow<'_, str>> {
    (!name.is_empty()).then_some(name)
}

fn named<'a>(name: Option<Cow<'a, str>>, policy: Option<Cow<'a, str>>) -> Database<'a> {
    Database { name: name.and_then(present), retention_policy: policy.and_then(present) }
}

/// Writes segments as InfluxDB's messages do: all but the last in quotation marks, where they are not
/// empty, and the last where it needs them.
fn quoted(segments: &[Cow<'_, str>]) -> String {
    let last = segments.len().saturating_sub(1);
    let one = |(number, segment): (usize, &Cow<'_, str>)| {
        let is_at_an_end = number == 0 || number == last;
        let needs_marks = match &**segment {
            "" => is_at_an_end,
            _ if number < last => true,
            word => !is_bare_word(word),
        };
        match needs_marks {
            true => format!("\"{}\"", segment.replace('\\', "\\\\").replace('"', "\\\"")),
            false => segment.to_string(),
        }
    };
    segments.iter().enumerate().map(one).collect::<Vec<_>>().join(".")
}

fn is_bare_word(word: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    word.bytes().all(is_word)
        && !word.starts_with(|first: char| first.is_ascii_digit())
        && Token::of_bare_word(word) == Token::Ident
}
