//! From text to tokens, as InfluxDB cuts it.
//!
//! A token depends on the parser as well as on the text: a `/` begins a regular expression where the
//! parser expects one, and divides elsewhere. InfluxDB decides it by the next character *after the last
//! token that was scanned*, even if that token was put back. The scanner here does the same, because a
//! text that is split differently is a different statement.

use std::borrow::Cow;

use crate::error::Position;
use crate::token::Token;

/// A token, and where it is. Cheap to copy, as the parser puts many back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lexeme {
    pub(crate) token: Token,
    /// Where it begins.
    pub(crate) at: usize,
    /// Where its text is: the value of a string or an identifier without quotation marks, the digits
    /// of a number. Keywords and operators have none.
    begin: usize,
    end: usize,
    /// Whether characters of the text are written with a backslash.
    is_escaped: bool,
}

impl Lexeme {
    pub(crate) const NONE: Self =
        Self { token: Token::Eof, at: 0, begin: 0, end: 0, is_escaped: false };

    /// The same, taken for another token.
    pub(crate) fn as_token(self, token: Token) -> Self {
        Self { token, ..self }
    }

    fn bare(token: Token, at: usize) -> Self {
        Self { token, at, ..Self::NONE }
    }
}

/// Reads the text from its beginning to its end, once.
#[derive(Debug)]
pub(crate) struct Scanner<'a> {
    text: &'a str,
    /// Where the next character is.
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// A part of the text; empty where there is none.
    pub(crate) fn slice(&self, begin: usize, end: usize) -> &'a str {
        self.text.get(begin..end).unwrap_or_default()
    }

    /// Returns the text of a token of this scanner.
    pub(crate) fn text_of(&self, lexeme: &Lexeme) -> Cow<'a, str> {
        let text = self.slice(lexeme.begin, lexeme.end);
        match lexeme.token {
            _ if !lexeme.is_escaped => Cow::Borrowed(text),
            Token::Regex => Cow::Owned(text.replace("\\/", "/")),
            _ => Cow::Owned(unescaped(text)),
        }
    }

    /// Returns the next character: a line feed for each kind of line end.
    pub(crate) fn peek(&self) -> Option<char> {
        self.peek_at(self.at).map(|(character, _)| character)
    }

    /// The character there, and where the one after it is.
    fn peek_at(&self, at: usize) -> Option<(char, usize)> {
        match self.text.as_bytes().get(at)? {
            b'\r' => {
                let is_pair = self.text.as_bytes().get(at + 1) == Some(&b'\n');
                Some(('\n', at + 1 + usize::from(is_pair)))
            }
            byte if byte.is_ascii() => Some((char::from(*byte), at + 1)),
            _ => {
                let character = self.text.get(at..)?.chars().next()?;
                Some((character, at + character.len_utf8()))
            }
        }
    }

    fn next(&mut self) -> Option<char> {
        let (character, after) = self.peek_at(self.at)?;
        self.at = after;
        Some(character)
    }

    fn next_if(&mut self, wanted: impl Fn(char) -> bool) -> bool {
        match self.peek_at(self.at) {
            Some((character, after)) if wanted(character) => {
                self.at = after;
                true
            }
            _ => false,
        }
    }

    fn next_is(&mut self, wanted: char) -> bool {
        self.next_if(|character| character == wanted)
    }

    /// Skips the bytes for which this is true. They are ASCII.
    fn skip_bytes(&mut self, is_part: impl Fn(u8) -> bool) {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        self.at += rest.iter().take_while(|byte| is_part(**byte)).count();
    }

    /// A token whose text is from there to here.
    fn since(&self, token: Token, at: usize, begin: usize) -> Lexeme {
        Lexeme { token, at, begin, end: self.at, is_escaped: false }
    }

    /// Cuts the next token.
    pub(crate) fn scan(&mut self) -> Lexeme {
        let at = self.at;
        let Some(first) = self.next() else { return Lexeme::bare(Token::Eof, at) };
        match first {
            ' ' | '\t' | '\n' => {
                while self.next_if(|character| matches!(character, ' ' | '\t' | '\n')) {}
                self.since(Token::Whitespace, at, at)
            }
            'a'..='z' | 'A'..='Z' | '_' | '"' => {
                self.at = at;
                self.word(at, Token::of_bare_word)
            }
            '0'..='9' => self.number(at),
            '\'' => {
                self.at = at;
                self.string(at)
            }
            '.' if self.peek().is_some_and(|next| next.is_ascii_digit()) => self.number(at),
            '$' => {
                let name = self.word(at, |_| Token::Ident);
                match name.token {
                    Token::Ident => Lexeme { token: Token::BoundParameter, ..name },
                    _ => name,
                }
            }
            '-' if self.next_is('-') => {
                while self.next().is_some_and(|character| character != '\n') {}
                Lexeme::bare(Token::Comment, at)
            }
            '/' if self.next_is('*') => self.block_comment(at),
            _ => match self.operator(first) {
                Some(token) => Lexeme::bare(token, at),
                None => self.since(Token::Illegal, at, at),
            },
        }
    }

    fn operator(&mut self, first: char) -> Option<Token> {
        Some(match first {
            '+' => Token::Add,
            '-' => Token::Sub,
            '*' => Token::Mul,
            '/' => Token::Div,
            '%' => Token::Mod,
            '&' => Token::BitwiseAnd,
            '|' => Token::BitwiseOr,
            '^' => Token::BitwiseXor,
            '=' if self.next_is('~') => Token::EqRegex,
            '=' => Token::Eq,
            '!' if self.next_is('=') => Token::NotEq,
            '!' if self.next_is('~') => Token::NotEqRegex,
            '>' if self.next_is('=') => Token::GreaterEq,
            '>' => Token::Greater,
            '<' if self.next_is('=') => Token::LessEq,
            '<' if self.next_is('>') => Token::NotEq,
            '<' => Token::Less,
            '(' => Token::LeftParen,
            ')' => Token::RightParen,
            ',' => Token::Comma,
            ';' => Token::Semicolon,
            ':' if self.next_is(':') => Token::DoubleColon,
            ':' => Token::Colon,
            '.' => Token::Dot,
            _ => return None,
        })
    }

    fn block_comment(&mut self, at: usize) -> Lexeme {
        loop {
            match self.next() {
                Some('*') => {
                    while self.next_is('*') {}
                    if self.next_is('/') {
                        return Lexeme::bare(Token::Comment, at);
                    }
                }
                Some(_) => {}
                None => return Lexeme::bare(Token::Illegal, at),
            }
        }
    }

    /// An identifier or a keyword. If a quotation mark follows letters directly, InfluxDB drops the
    /// letters: `abc"def"` is `def`.
    fn word(&mut self, at: usize, token_of: impl Fn(&str) -> Token) -> Lexeme {
        let begin = self.at;
        self.skip_bytes(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if self.text.as_bytes().get(self.at) == Some(&b'"') {
            let quoted = self.string(self.at);
            return match quoted.token {
                Token::String => Lexeme { token: Token::Ident, at, ..quoted },
                _ => quoted,
            };
        }
        match token_of(self.slice(begin, self.at)) {
            Token::Ident => self.since(Token::Ident, at, begin),
            keyword => Lexeme::bare(keyword, at),
        }
    }

    /// What stands between two quotation marks of one kind, on one line.
    fn string(&mut self, at: usize) -> Lexeme {
        let mark = self.text.as_bytes().get(self.at).copied().unwrap_or_default();
        self.at += 1;
        let begin = self.at;
        let mut is_escaped = false;
        loop {
            self.skip_until(|byte| byte == mark || matches!(byte, b'\\' | b'\n' | b'\r'));
            let here = self.at;
            match self.next() {
                Some('\\') => match self.next() {
                    Some('n' | '\\' | '"' | '\'') => is_escaped = true,
                    _ => return self.since(Token::BadEscape, here + 1, here),
                },
                Some('\n') | None => {
                    return Lexeme { end: here, ..self.since(Token::BadString, at, begin) };
                }
                Some(_) => {
                    return Lexeme { token: Token::String, at, begin, end: here, is_escaped };
                }
            }
        }
    }

    /// Skips to the next byte for which this is true. It must be ASCII.
    fn skip_until(&mut self, is_end: impl Fn(u8) -> bool) {
        self.skip_bytes(|byte| !is_end(byte));
    }

    /// A number, an integer, or a duration. The text is what InfluxDB keeps of it.
    fn number(&mut self, at: usize) -> Lexeme {
        self.at = at;
        self.skip_bytes(|byte| byte.is_ascii_digit());
        let mut end = self.at;
        let token = if self.next_is('.') {
            let after = self.at;
            self.skip_bytes(|byte| byte.is_ascii_digit());
            if self.at > after {
                end = self.at;
            }
            Token::Number
        } else if self.next_if(is_unit_character) {
            while self.next_if(|next| is_unit_character(next) || next.is_ascii_digit()) {}
            end = self.at;
            Token::Duration
        } else {
            Token::Integer
        };
        Lexeme { token, at, begin: at, end, is_escaped: false }
    }

    /// Cuts a regular expression, whose first character is the next one.
    pub(crate) fn scan_regex(&mut self) -> Lexeme {
        let at = self.at;
        if !self.next_is('/') {
            return Lexeme::bare(Token::BadRegex, at);
        }
        let begin = self.at;
        let mut is_escaped = false;
        loop {
            self.skip_until(|byte| matches!(byte, b'/' | b'\\' | b'\n' | b'\r'));
            let end = self.at;
            match self.next() {
                Some('/') => return Lexeme { token: Token::Regex, at, begin, end, is_escaped },
                Some('\\') => is_escaped |= self.next_is('/'),
                _ => return Lexeme::bare(Token::BadRegex, at),
            }
        }
    }

    /// Returns where a token begins, for messages. For a quoted token, InfluxDB reports the character
    /// before it.
    pub(crate) fn position_of(&self, lexeme: &Lexeme) -> Position {
        let (before, rest) = self.text.split_at_checked(lexeme.at).unwrap_or((self.text, ""));
        // A parameter may stand for a string.
        let is_quoted = !rest.starts_with('$')
            && matches!(
                lexeme.token,
                Token::String | Token::BadString | Token::Regex | Token::BadRegex
            );
        let at = match before.chars().next_back() {
            Some(_) if is_quoted && before.ends_with("\r\n") => lexeme.at - 2,
            Some(last) if is_quoted => lexeme.at - last.len_utf8(),
            _ => lexeme.at,
        };
        self.position(at)
    }

    /// Returns the line and the column of a byte of the text.
    pub(crate) fn position(&self, at: usize) -> Position {
        let mut position = Position::BEGIN;
        let mut here = 0;
        while here < at
            && let Some((character, after)) = self.peek_at(here)
        {
            position = match character {
                '\n' => Position { line: position.line + 1, column: 1 },
                _ => Position { column: position.column + 1, ..position },
            };
            here = after;
        }
        position
    }
}

/// What may stand in a unit of time.
fn is_unit_character(character: char) -> bool {
    character.is_ascii_alphabetic() || character == 'µ'
}

/// The value of a string whose escapes are all valid.
fn unescaped(text: &str) -> String {
    let mut value = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => value.push(match characters.next() {
                Some('n') => '\n',
                Some(escaped) => escaped,
                None => break,
            }),
            _ => value.push(character),
        }
    }
    value
}
