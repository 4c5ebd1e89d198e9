//! Whether a regular expression is one in InfluxDB.
//!
//! Regular expressions match names of measurements and tags, so they do not decide which database a
//! statement needs. But InfluxDB refuses a statement whose expression it cannot compile, and such a
//! statement must not be allowed here. The syntax is that of RE2. Syntax that only some versions of RE2 have
//! (names of Unicode classes, `(?<name>…)`) is not accepted.

use std::collections::BTreeSet;

/// How deep groups may be nested.
const MAX_DEPTH: usize = 200;

/// How often something may be repeated, also by repetitions in each other.
const MAX_REPEAT: u32 = 1_000;

/// Classes of Unicode that every version knows.
const UNICODE_CLASSES: &[&str] = &[
    "Any",
    "Arabic",
    "C",
    "Cc",
    "Cf",
    "Co",
    "Cs",
    "Cyrillic",
    "Devanagari",
    "Greek",
    "Han",
    "Hangul",
    "Hebrew",
    "Hiragana",
    "Katakana",
    "L",
    "Latin",
    "Ll",
    "Lm",
    "Lo",
    "Lt",
    "Lu",
    "M",
    "Mc",
    "Me",
    "Mn",
    "N",
    "Nd",
    "Nl",
    "No",
    "P",
    "Pc",
    "Pd",
    "Pe",
    "Pf",
    "Pi",
    "Po",
    "Ps",
    "S",
    "Sc",
    "Sk",
    "Sm",
    "So",
    "Thai",
    "Z",
    "Zl",
    "Zp",
    "Zs",
];

const POSIX_CLASSES: &[&str] = &[
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
    "space", "upper", "word", "xdigit",
];

/// Checks it, and returns what is wrong.
pub(crate) fn check(pattern: &str) -> Result<(), &'static str> {
    let mut checker = Checker { rest: pattern, names: BTreeSet::new(), has_no_posix_end: false };
    checker.alternatives(0)?;
    match checker.rest.is_empty() {
        true => Ok(()),
        false => Err("unexpected )"),
    }
}

struct Checker<'a> {
    rest: &'a str,
    /// Of the groups so far.
    names: BTreeSet<&'a str>,
    /// Whether no `:]` is left.
    has_no_posix_end: bool,
}

/// What can be repeated next.
#[derive(Clone, Copy)]
enum Before {
    /// Nothing: the beginning of an alternative.
    Nothing,
    /// Something, in which so many repetitions are multiplied.
    Something(u32),
    /// A repetition, which cannot be repeated again.
    Repetition,
}

impl<'a> Checker<'a> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let mut characters = self.rest.chars();
        let next = characters.next();
        self.rest = characters.as_str();
        next
    }

    fn eat(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// Everything up to a closing parenthesis or the end. Returns how often the most repeated part
    /// is repeated.
    fn alternatives(&mut self, depth: usize) -> Result<u32, &'static str> {
        if depth > MAX_DEPTH {
            return Err("expression nests too deeply");
        }
        let mut before = Before::Nothing;
        let mut most = 1;
        loop {
            match self.peek() {
                None | Some(')') => return Ok(most),
                Some('|') => {
                    self.next();
                    before = Before::Nothing;
                }
                Some('(') => {
                    self.next();
                    if let Some(repeated) = self.group(depth)? {
                        most = most.max(repeated);
                        before = Before::Something(repeated);
                    } else if matches!(before, Before::Something(_)) {
                        // Flags alone: nothing that can be repeated has come.
                        before = Before::Nothing;
                    }
                }
                Some('*' | '+' | '?') => {
                    self.next();
                    before = self.repeated(before)?;
                }
                Some('{') => match self.counts()? {
                    Some((least, largest)) => {
                        let times = largest.unwrap_or(least).max(1);
                        let inside = match before {
                            Before::Something(inside) => inside,
                            _ => 1,
                        };
                        let all = inside.saturating_mul(times);
                        if all > MAX_REPEAT {
                            return Err("invalid repeat count");
                        }
                        most = most.max(all);
                        before = self.repeated(before)?;
                    }
                    None => {
                        self.next();
                        before = Before::Something(1);
                    }
                },
                Some('[') => {
                    self.next();
                    self.class()?;
                    before = Before::Something(1);
                }
                Some('\\') => {
                    self.next();
                    self.escape_outside()?;
                    before = Before::Something(1);
                }
                Some(_) => {
                    self.next();
                    before = Before::Something(1);
                }
            }
        }
    }

    fn repeated(&mut self, before: Before) -> Result<Before, &'static str> {
        match before {
            Before::Nothing => Err("missing argument to repetition operator"),
            Before::Repetition => Err("invalid nested repetition operator"),
            Before::Something(_) => {
                self.eat("?");
                Ok(Before::Repetition)
            }
        }
    }

    /// A group, whose parenthesis is read. `None` for flags alone.
    fn group(&mut self, depth: usize) -> Result<Option<u32>, &'static str> {
        if self.eat("?") {
            if self.eat("P<") {
                let end = self.rest.find('>').ok_or("invalid named capture")?;
                let (name, rest) = self.rest.split_at(end);
                let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
                if name.is_empty() || !name.chars().all(is_word) {
                    return Err("invalid named capture");
                }
                if !self.names.insert(name) {
                    return Err("duplicate capture group name");
                }
                self.rest = rest.get(1..).unwrap_or_default();
            } else if self.flags()? {
                return Ok(None);
            }
        }
        let repeated = self.alternatives(depth + 1)?;
        match self.eat(")") {
            true => Ok(Some(repeated)),
            false => Err("missing closing )"),
        }
    }

    /// The flags of a group, whose `(?` is read. Returns whether the group has nothing else.
    fn flags(&mut self) -> Result<bool, &'static str> {
        let (mut any, mut negated) = (false, false);
        loop {
            match self.next() {
                Some('i' | 'm' | 's' | 'U') => any = true,
                Some('-') if !negated => (any, negated) = (false, true),
                Some(':') if any || !negated => return Ok(false),
                Some(')') if any => return Ok(true),
                _ => return Err("invalid or unsupported Perl syntax"),
            }
        }
    }

    /// `{2}`, `{2,}` or `{2,5}`; `None` if the brace is a character like others.
    fn counts(&mut self) -> Result<Option<(u32, Option<u32>)>, &'static str> {
        // Not by a search for the closing brace, which would take quadratic time.
        let mut after = self.rest.get(1..).unwrap_or_default();
        let Some(least) = count(&mut after) else { return Ok(None) };
        let largest = match after.strip_prefix(',') {
            None => Some(least),
            Some(rest) => {
                after = rest;
                match after.starts_with('}') {
                    true => None,
                    false => match count(&mut after) {
                        Some(largest) => Some(largest),
                        None => return Ok(None),
                    },
                }
            }
        };
        let Some(after) = after.strip_prefix('}') else { return Ok(None) };
        if least > MAX_REPEAT
            || largest.is_some_and(|largest| largest > MAX_REPEAT || largest < least)
        {
            return Err("invalid repeat count");
        }
        self.rest = after;
        Ok(Some((least, largest)))
    }

    /// What follows a backslash outside of a class.
    fn escape_outside(&mut self) -> Result<(), &'static str> {
        match self.peek() {
            Some('A' | 'b' | 'B' | 'z' | 'd' | 'D' | 's' | 'S' | 'w' | 'W') => {
                self.next();
                Ok(())
            }
            Some('Q') => {
                let end = self.rest.find("\\E").map_or(self.rest.len(), |end| end + 2);
                self.rest = self.rest.get(end..).unwrap_or_default();
                Ok(())
            }
            Some('p' | 'P') => self.unicode_class(),
            _ => self.escaped_character().map(drop),
        }
    }

    fn unicode_class(&mut self) -> Result<(), &'static str> {
        self.next();
        let name = if self.eat("{") {
            let end = self.rest.find('}').ok_or("invalid character class range")?;
            let (name, rest) = self.rest.split_at(end);
            self.rest = rest.get(1..).unwrap_or_default();
            name.strip_prefix('^').unwrap_or(name)
        } else {
            let length = self.peek().map_or(0, char::len_utf8);
            let (name, rest) = self.rest.split_at(length);
            self.rest = rest;
            name
        };
        match UNICODE_CLASSES.contains(&name) {
            true => Ok(()),
            false => Err("invalid character class range"),
        }
    }

    /// A character that is written with a backslash, which is read.
    fn escaped_character(&mut self) -> Result<char, &'static str> {
        let is_octal = |c: char| matches!(c, '0'..='7');
        match self.next() {
            Some('a') => Ok('\x07'),
            Some('f') => Ok('\x0c'),
            Some('n') => Ok('\n'),
            Some('r') => Ok('\r'),
            Some('t') => Ok('\t'),
            Some('v') => Ok('\x0b'),
            Some(first @ '0'..='7') => {
                if first != '0' && !self.peek().is_some_and(is_octal) {
                    return Err("invalid escape sequence");
                }
                let mut value = first.to_digit(8).unwrap_or_default();
                for _ in 0..2 {
                    let Some(digit) = self.peek().and_then(|next| next.to_digit(8)) else { break };
                    value = value * 8 + digit;
                    self.next();
                }
                char::from_u32(value).ok_or("invalid escape sequence")
            }
            Some('x') => {
                let digits = if self.eat("{") {
                    let end = self.rest.find('}').ok_or("invalid escape sequence")?;
                    let (digits, rest) = self.rest.split_at(end);
                    self.rest = rest.get(1..).unwrap_or_default();
                    digits
                } else {
                    let digits = self.rest.get(..2).ok_or("invalid escape sequence")?;
                    self.rest = self.rest.get(2..).unwrap_or_default();
                    digits
                };
                let all_hex = !digits.is_empty() && digits.bytes().all(|d| d.is_ascii_hexdigit());
                let value = u32::from_str_radix(digits, 16).ok().filter(|_| all_hex);
                value.and_then(char::from_u32).ok_or("invalid escape sequence")
            }
            Some(mark) if mark.is_ascii() && !mark.is_ascii_alphanumeric() => Ok(mark),
            Some(_) => Err("invalid escape sequence"),
            None => Err("trailing backslash at end of expression"),
        }
    }

    /// A class, whose bracket is read.
    fn class(&mut self) -> Result<(), &'static str> {
        self.eat("^");
        let mut is_first = true;
        loop {
            if self.rest.is_empty() {
                return Err("missing closing ]");
            }
            if !is_first && self.eat("]") {
                return Ok(());
            }
            is_first = false;
            if self.rest.starts_with("[:")
                && let Some(end) = self.end_of_posix_class()
            {
                let name = self.rest.get(2..end).unwrap_or_default();
                if !POSIX_CLASSES.contains(&name.strip_prefix('^').unwrap_or(name)) {
                    return Err("invalid character class range");
                }
                self.rest = self.rest.get(end + 2..).unwrap_or_default();
                continue;
            }
            if let Some(rest) = self.rest.strip_prefix('\\')
                && let Some(kind) = rest.chars().next()
            {
                match kind {
                    'd' | 'D' | 's' | 'S' | 'w' | 'W' => {
                        self.rest = rest.get(1..).unwrap_or_default();
                        continue;
                    }
                    'p' | 'P' => {
                        self.rest = rest;
                        self.unicode_class()?;
                        continue;
                    }
                    _ => {}
                }
            }
            let low = self.class_character()?;
            let is_range =
                self.rest.starts_with('-') && self.rest.len() > 1 && !self.rest.starts_with("-]");
            if is_range {
                self.next();
                if self.class_character()? < low {
                    return Err("invalid character class range");
                }
            }
        }
    }

    /// Where the next `:]` is. Once there is none, there is none later: each `[:` is not searched again.
    fn end_of_posix_class(&mut self) -> Option<usize> {
        if self.has_no_posix_end {
            return None;
        }
        let end = self.rest.find(":]");
        self.has_no_posix_end = end.is_none();
        end.filter(|end| *end >= 2)
    }

    fn class_character(&mut self) -> Result<char, &'static str> {
        match self.next() {
            Some('\\') => self.escaped_character(),
            Some(character) => Ok(character),
            None => Err("missing closing ]"),
        }
    }
}

/// A number at the beginning of the text, which it is taken from. One with a zero before it is none.
fn count(text: &mut &str) -> Option<u32> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at(digits);
    if number.is_empty() || number.len() > 1 && number.starts_with('0') {
        return None;
    }
    *text = rest;
    Some(number.parse().unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_re2_compiles_is_accepted() {
        for pattern in [
            "",
            ".*",
            "^cpu$",
            "a|b|",
            "(a)(b)",
            "(?i)cpu",
            "(?i:a)b",
            "(?P<name>a)",
            "a{2}",
            "a{2,}",
            "a{2,5}?",
            "a{,5}",
            "a{x}",
            "[a-z]",
            "[^]a]",
            "[]]",
            "[a-]",
            "[-a]",
            "[[:alpha:]_]",
            r"\d+\.\w",
            r"[\d\s]",
            r"\pL",
            r"\p{Latin}",
            r"\x41\x{1F600}",
            r"\101",
            r"\Qa*\E*",
            "(a{10}){100}",
            r"\/",
            "ü+",
            "a??",
            "^*",
            "{",
            "a{01}",
            "[a-c-e]",
        ] {
            assert_eq!(check(pattern), Ok(()), "{pattern}");
        }
    }

    /// [QUERY-6]
    #[test]
    fn what_re2_refuses_is_refused() {
        for pattern in [
            "*",
            "a**",
            "a*+",
            "(",
            ")",
            "(a",
            "a)",
            "|*",
            "(*)",
            "[",
            "[a",
            "[]",
            "[b-a]",
            r"\8",
            r"\1",
            r"\C",
            r"\y",
            r"\",
            "(?P<>a)",
            "(?P<a>a)(?P<a>b)",
            "(?x)",
            "(?=a)",
            "(?i",
            "(?-)",
            "a{1001}",
            "a{5,2}",
            "(a{100}){11}",
            "((a{20}){10}){6}",
            "[[:foo:]]",
            r"\p{Foo}",
            r"[\b]",
            r"\x4",
            r"\x{110000}",
            "(?<a>b)",
            "a{2}{3}",
            "[[:alpha:]",
        ] {
            assert!(check(pattern).is_err(), "{pattern}");
        }
    }

    /// Quadratic time would take minutes here.
    #[test]
    fn a_megabyte_of_openings_is_checked_in_linear_time() {
        for opening in ["{", "{1", "{1,", "[:"] {
            let many = opening.repeat(1 << 20);
            assert_eq!(check(&many).is_ok(), opening != "[:", "{opening}");
            assert!(check(&format!("[{many}")).is_err(), "{opening}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth| format!("{}a{}", "(".repeat(depth), ")".repeat(depth));
        assert_eq!(check(&nested(100)), Ok(()));
        assert!(check(&nested(100_000)).is_err());
    }
}
