//! From text to tokens, as InfluxDB cuts it.
//!
//! What a token is does not only depend on the text: a `/` begins a regular expression where the
//! parser expects one, and divides elsewhere. InfluxDB decides that by looking at the next
//! character *after the last token that was scanned*, also when that token was put back. This is
//! the same here, for a text that is cut differently is another statement.

use std::borrow::Cow;

use crate::error::Position;
use crate::token::Token;

/// A token, where it begins, and its text: the value of a string or an identifier, the digits of a
/// number. Keywords and operators have none.
#[derive(Clone, Debug)]
pub(crate) struct Lexeme<'a> {
    pub(crate) token: Token,
    pub(crate) at: usize,
    pub(crate) text: Cow<'a, str>,
}

impl Lexeme<'_> {
    /// How a message names what was found.
    pub(crate) fn shown(&self) -> Cow<'_, str> {
        match (self.token, &*self.text) {
            (Token::BoundParameter, name) => Cow::Owned(format!("${name}")),
            (token, "") => Cow::Borrowed(token.name()),
            (_, text) => Cow::Borrowed(text),
        }
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

    pub(crate) fn text(&self) -> &'a str {
        self.text
    }

    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// Returns the next character: a line feed for each kind of line end.
    pub(crate) fn peek(&self) -> Option<char> {
        self.peek_at(self.at).map(|(character, _)| character)
    }

    /// The character there, and where the one after it is.
    fn peek_at(&self, at: usize) -> Option<(char, usize)> {
        let rest = self.text.get(at..)?;
        let character = rest.chars().next()?;
        Some(match character {
            '\r' if rest.starts_with("\r\n") => ('\n', at + 2),
            '\r' => ('\n', at + 1),
            _ => (character, at + character.len_utf8()),
        })
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

    /// Cuts the next token.
    pub(crate) fn scan(&mut self) -> Lexeme<'a> {
        let at = self.at;
        let Some(first) = self.next() else { return bare(Token::Eof, at) };
        match first {
            ' ' | '\t' | '\n' => {
                while self.next_if(is_whitespace) {}
                let text = Cow::Borrowed(self.text.get(at..self.at).unwrap_or_default());
                Lexeme { token: Token::Whitespace, at, text }
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
                bare(Token::Comment, at)
            }
            '/' if self.next_is('*') => self.block_comment(at),
            _ => match self.operator(first) {
                Some(token) => bare(token, at),
                None => {
                    let text = self.text.get(at..at + first.len_utf8()).unwrap_or_default();
                    Lexeme { token: Token::Illegal, at, text: Cow::Borrowed(text) }
                }
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

    fn block_comment(&mut self, at: usize) -> Lexeme<'a> {
        loop {
            match self.next() {
                Some('*') => {
                    while self.next_is('*') {}
                    if self.next_is('/') {
                        return bare(Token::Comment, at);
                    }
                }
                Some(_) => {}
                None => return bare(Token::Illegal, at),
            }
        }
    }

    /// An identifier or a keyword. Where a quotation mark follows letters directly, InfluxDB forgets
    /// the letters: `abc"def"` is `def`.
    fn word(&mut self, at: usize, token_of: impl Fn(&str) -> Token) -> Lexeme<'a> {
        let begin = self.at;
        while self.next_if(is_word_character) {}
        if self.peek() == Some('"') {
            let quoted = self.string(self.at);
            return match quoted.token {
                Token::String => Lexeme { token: Token::Ident, at, ..quoted },
                _ => quoted,
            };
        }
        let word = self.text.get(begin..self.at).unwrap_or_default();
        match token_of(word) {
            Token::Ident => Lexeme { token: Token::Ident, at, text: Cow::Borrowed(word) },
            keyword => bare(keyword, at),
        }
    }

    /// What stands between two quotation marks of one kind, on one line.
    fn string(&mut self, at: usize) -> Lexeme<'a> {
        let Some(mark) = self.next() else { return bare(Token::BadString, at) };
        let begin = self.at;
        let mut unescaped: Option<String> = None;
        loop {
            let here = self.at;
            match self.next() {
                Some(end) if end == mark => {
                    let text = match unescaped {
                        Some(text) => Cow::Owned(text),
                        None => Cow::Borrowed(self.text.get(begin..here).unwrap_or_default()),
                    };
                    return Lexeme { token: Token::String, at, text };
                }
                None | Some('\n') => {
                    let text = self.text.get(begin..here).unwrap_or_default();
                    return Lexeme { token: Token::BadString, at, text: Cow::Borrowed(text) };
                }
                Some('\\') => {
                    let text = unescaped.get_or_insert_with(|| {
                        self.text.get(begin..here).unwrap_or_default().to_owned()
                    });
                    match self.next() {
                        Some('n') => text.push('\n'),
                        Some(escaped @ ('\\' | '"' | '\'')) => text.push(escaped),
                        _ => {
                            let text = self.text.get(here..self.at).unwrap_or_default();
                            let text = Cow::Borrowed(text);
                            return Lexeme { token: Token::BadEscape, at: here + 1, text };
                        }
                    }
                }
                Some(character) => {
                    if let Some(text) = &mut unescaped {
                        text.push(character);
                    }
                }
            }
        }
    }

    /// A number, an integer, or a duration. The text is what InfluxDB keeps of it.
    fn number(&mut self, at: usize) -> Lexeme<'a> {
        self.at = at;
        while self.next_if(|character| character.is_ascii_digit()) {}
        let mut end = self.at;
        let token = if self.next_is('.') {
            if self.next_if(|character| character.is_ascii_digit()) {
                while self.next_if(|character| character.is_ascii_digit()) {}
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
        let text = Cow::Borrowed(self.text.get(at..end).unwrap_or_default());
        Lexeme { token, at, text }
    }

    /// Cuts a regular expression, whose first character is the next one.
    pub(crate) fn scan_regex(&mut self) -> Lexeme<'a> {
        let at = self.at;
        if !self.next_is('/') {
            return bare(Token::BadRegex, at);
        }
        let mut text = String::new();
        loop {
            match self.next() {
                Some('/') => return Lexeme { token: Token::Regex, at, text: Cow::Owned(text) },
                None | Some('\n') => return bare(Token::BadRegex, at),
                Some('\\') if self.next_is('/') => text.push('/'),
                Some(character) => text.push(character),
            }
        }
    }

    /// Says where a token begins, for messages. Of what is quoted InfluxDB names the character before.
    pub(crate) fn position_of(&self, lexeme: &Lexeme<'_>) -> Position {
        let is_quoted = matches!(
            lexeme.token,
            Token::String | Token::BadString | Token::Regex | Token::BadRegex
        );
        let (before, rest) = self.text.split_at_checked(lexeme.at).unwrap_or((self.text, ""));
        // A parameter may stand for a string.
        let is_quoted = is_quoted && !rest.starts_with('$');
        let at = match before.chars().next_back() {
            Some(_) if is_quoted && before.ends_with("\r\n") => lexeme.at - 2,
            Some(last) if is_quoted => lexeme.at - last.len_utf8(),
            _ => lexeme.at,
        };
        self.position(at)
    }

    /// Says where a place in the text is.
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

fn bare(token: Token, at: usize) -> Lexeme<'static> {
    Lexeme { token, at, text: Cow::Borrowed("") }
}

fn is_whitespace(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n')
}

fn is_word_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

/// What may stand in a unit of time.
fn is_unit_character(character: char) -> bool {
    character.is_ascii_alphabetic() || character == 'µ'
}
