//! The tokens of InfluxQL, and its keywords.

macro_rules! keywords {
    ($($variant:ident = $text:literal),* $(,)?) => {
        /// What a token is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Token {
            Illegal,
            Eof,
            Whitespace,
            Comment,

            Ident,
            BoundParameter,
            Number,
            Integer,
            Duration,
            String,
            BadString,
            BadEscape,
            Regex,
            BadRegex,

            Add,
            Sub,
            Mul,
            Div,
            Mod,
            BitwiseAnd,
            BitwiseOr,
            BitwiseXor,
            Eq,
            NotEq,
            EqRegex,
            NotEqRegex,
            Less,
            LessEq,
            Greater,
            GreaterEq,

            LeftParen,
            RightParen,
            Comma,
            Colon,
            DoubleColon,
            Semicolon,
            Dot,

            $(
                #[doc = $text]
                $variant,
            )*
        }

        impl Token {
            /// Returns the keyword, in whichever case it is written.
            fn keyword(upper: &[u8]) -> Option<Self> {
                $(
                    const $variant: &[u8] = $text.as_bytes();
                )*
                match upper {
                    $($variant => Some(Self::$variant),)*
                    _ => None,
                }
            }

            fn keyword_text(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                    _ => "",
                }
            }
        }

        #[cfg(test)]
        const KEYWORDS: &[(&str, Token)] = &[$(($text, Token::$variant)),*];
    };
}

#[expect(non_upper_case_globals, reason = "the constants of the macro have the names of variants")]
mod generated {
    keywords! {
        All = "ALL",
        Alter = "ALTER",
        Analyze = "ANALYZE",
        And = "AND",
        Any = "ANY",
        As = "AS",
        Asc = "ASC",
        Begin = "BEGIN",
        By = "BY",
        Cardinality = "CARDINALITY",
        Continuous = "CONTINUOUS",
        Create = "CREATE",
        DatabaseKeyword = "DATABASE",
        Databases = "DATABASES",
        Default = "DEFAULT",
        Delete = "DELETE",
        Desc = "DESC",
        Destinations = "DESTINATIONS",
        Diagnostics = "DIAGNOSTICS",
        Distinct = "DISTINCT",
        Drop = "DROP",
        DurationKeyword = "DURATION",
        End = "END",
        Every = "EVERY",
        Exact = "EXACT",
        Explain = "EXPLAIN",
        False = "FALSE",
        Field = "FIELD",
        For = "FOR",
        From = "FROM",
        Grant = "GRANT",
        Grants = "GRANTS",
        Group = "GROUP",
        Groups = "GROUPS",
        In = "IN",
        Inf = "INF",
        Insert = "INSERT",
        Into = "INTO",
        Key = "KEY",
        Keys = "KEYS",
        Kill = "KILL",
        Limit = "LIMIT",
        Measurement = "MEASUREMENT",
        Measurements = "MEASUREMENTS",
        Name = "NAME",
        Offset = "OFFSET",
        On = "ON",
        Or = "OR",
        Order = "ORDER",
        Password = "PASSWORD",
        Policies = "POLICIES",
        Policy = "POLICY",
        Privileges = "PRIVILEGES",
        Queries = "QUERIES",
        Query = "QUERY",
        Read = "READ",
        Replication = "REPLICATION",
        Resample = "RESAMPLE",
        Retention = "RETENTION",
        Revoke = "REVOKE",
        Select = "SELECT",
        Series = "SERIES",
        Set = "SET",
        Shard = "SHARD",
        Shards = "SHARDS",
        Show = "SHOW",
        SeriesLimit = "SLIMIT",
        SeriesOffset = "SOFFSET",
        Stats = "STATS",
        Subscription = "SUBSCRIPTION",
        Subscriptions = "SUBSCRIPTIONS",
        Tag = "TAG",
        To = "TO",
        True = "TRUE",
        User = "USER",
        Users = "USERS",
        Values = "VALUES",
        Verbose = "VERBOSE",
        Where = "WHERE",
        With = "WITH",
        Write = "WRITE",
    }

    /// The length of the longest keyword.
    const LONGEST: usize = 13;

    impl Token {
        /// Returns the keyword that an identifier without quotation marks is, or [`Token::Ident`].
        pub(crate) fn of_bare_word(word: &str) -> Self {
            let mut upper = [0; LONGEST];
            let Some(upper) = upper.get_mut(..word.len()) else { return Self::Ident };
            upper.copy_from_slice(word.as_bytes());
            upper.make_ascii_uppercase();
            Self::keyword(upper).unwrap_or(Self::Ident)
        }

        /// Returns whether it is an operator between two operands.
        pub(crate) fn is_operator(self) -> bool {
            self.precedence() > 0
        }

        /// How tightly the operator binds; 0 for what is none.
        pub(crate) fn precedence(self) -> u8 {
            match self {
                Self::Or => 1,
                Self::And => 2,
                Self::Eq
                | Self::NotEq
                | Self::EqRegex
                | Self::NotEqRegex
                | Self::Less
                | Self::LessEq
                | Self::Greater
                | Self::GreaterEq => 3,
                Self::Add | Self::Sub | Self::BitwiseOr | Self::BitwiseXor => 4,
                Self::Mul | Self::Div | Self::Mod | Self::BitwiseAnd => 5,
                _ => 0,
            }
        }

        /// Returns how InfluxDB's messages name it.
        pub(crate) fn name(self) -> &'static str {
            match self {
                Self::Illegal => "ILLEGAL",
                Self::Eof => "EOF",
                Self::Whitespace => "WS",
                Self::Comment => "COMMENT",
                Self::Ident => "IDENT",
                Self::BoundParameter => "BOUNDPARAM",
                Self::Number => "NUMBER",
                Self::Integer => "INTEGER",
                Self::Duration => "DURATIONVAL",
                Self::String => "STRING",
                Self::BadString => "BADSTRING",
                Self::BadEscape => "BADESCAPE",
                Self::Regex => "REGEX",
                Self::BadRegex => "BADREGEX",
                Self::Add => "+",
                Self::Sub => "-",
                Self::Mul => "*",
                Self::Div => "/",
                Self::Mod => "%",
                Self::BitwiseAnd => "&",
                Self::BitwiseOr => "|",
                Self::BitwiseXor => "^",
                Self::Eq => "=",
                Self::NotEq => "!=",
                Self::EqRegex => "=~",
                Self::NotEqRegex => "!~",
                Self::Less => "<",
                Self::LessEq => "<=",
                Self::Greater => ">",
                Self::GreaterEq => ">=",
                Self::LeftParen => "(",
                Self::RightParen => ")",
                Self::Comma => ",",
                Self::Colon => ":",
                Self::DoubleColon => "::",
                Self::Semicolon => ";",
                Self::Dot => ".",
                keyword => keyword.keyword_text(),
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn every_keyword_is_found_in_any_case() {
            for (text, token) in KEYWORDS {
                assert_eq!(Token::of_bare_word(text), *token);
                assert_eq!(Token::of_bare_word(&text.to_lowercase()), *token);
                assert_eq!(token.name(), *text);
                assert!(text.len() <= LONGEST);
            }
            for word in
                ["", "cpu", "selects", "subscriptions_", "ſelect", "a_very_long_measurement"]
            {
                assert_eq!(Token::of_bare_word(word), Token::Ident, "{word}");
            }
        }
    }
}

pub(crate) use generated::Token;
