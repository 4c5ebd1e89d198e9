//! `SHOW …`.

use super::{Parser, Result, Sources, present};
use crate::need::{Database, Need};
use crate::statement::StatementKind;
use crate::token::Token;

impl<'a> Parser<'a> {
    pub(super) fn show(&mut self) -> Result<StatementKind> {
        let next = self.scan();
        match next.token {
            Token::Continuous => {
                self.expect(Token::Queries)?;
                self.need(Need::ReadInstance);
                Ok(StatementKind::ShowContinuousQueries)
            }
            Token::Databases => {
                self.need(Need::ListDatabases);
                Ok(StatementKind::ShowDatabases)
            }
            Token::Diagnostics => self.of_module(StatementKind::ShowDiagnostics),
            Token::Field => self.show_field(),
            Token::Grants => {
                self.expect(Token::For)?;
                self.identifier()?;
                self.need(Need::ManageUsers);
                Ok(StatementKind::ShowGrants)
            }
            Token::Measurement => self.show_measurement_cardinality(),
            Token::Measurements => self.show_measurements(),
            Token::Queries => {
                self.need(Need::ReadInstance);
                Ok(StatementKind::ShowQueries)
            }
            Token::Retention => {
                self.expect(Token::Policies)?;
                self.optional_on()?;
                self.need_read(Database::default());
                Ok(StatementKind::ShowRetentionPolicies)
            }
            Token::Series => self.show_series(),
            Token::Shard => {
                self.expect(Token::Groups)?;
                self.need(Need::ReadInstance);
                Ok(StatementKind::ShowShardGroups)
            }
            Token::Shards => {
                self.need(Need::ReadInstance);
                Ok(StatementKind::ShowShards)
            }
            Token::Stats => self.of_module(StatementKind::ShowStats),
            Token::Subscriptions => {
                self.need(Need::ReadInstance);
                Ok(StatementKind::ShowSubscriptions)
            }
            Token::Tag => self.show_tag(),
            Token::Users => {
                self.need(Need::ManageUsers);
                Ok(StatementKind::ShowUsers)
            }
            _ => Err(self.expected(
                &next,
                &[
                    "CONTINUOUS",
                    "DATABASES",
                    "DIAGNOSTICS",
                    "FIELD",
                    "GRANTS",
                    "MEASUREMENT",
                    "MEASUREMENTS",
                    "QUERIES",
                    "RETENTION",
                    "SERIES",
                    "SHARD",
                    "SHARDS",
                    "STATS",
                    "SUBSCRIPTIONS",
                    "TAG",
                    "USERS",
                ],
            )),
        }
    }

    /// Statistics, of one module or of all.
    fn of_module(&mut self, kind: StatementKind) -> Result<StatementKind> {
        if self.next_is(Token::For) {
            self.string()?;
        }
        self.need(Need::ReadInstance);
        Ok(kind)
    }

    /// `[ON database] [FROM sources]`: all of them are read. InfluxDB looks at the first alone.
    fn on_and_from(&mut self, sources: Sources) -> Result<()> {
        self.optional_on()?;
        self.need_read(Database::default());
        if self.next_is(Token::From) {
            self.sources(sources)?;
        }
        Ok(())
    }

    /// How many there are, which InfluxDB shows of databases that one may not read.
    fn cardinality(&mut self, kind: StatementKind) -> Result<StatementKind> {
        self.on_and_from(Sources::Counted)?;
        self.end_of_cardinality(kind)
    }

    fn end_of_cardinality(&mut self, kind: StatementKind) -> Result<StatementKind> {
        self.condition()?;
        self.dimensions()?.ok();
        self.limit_and_offset()?;
        Ok(kind)
    }

    /// `[EXACT] CARDINALITY`, which must stand there.
    fn exact_cardinality(&mut self) -> Result<()> {
        let is_exact = self.next_is(Token::Exact);
        let next = self.scan();
        match (next.token, is_exact) {
            (Token::Cardinality, _) => Ok(()),
            (_, true) => Err(self.expected(&next, &["CARDINALITY"])),
            (_, false) => Err(self.expected(&next, &["EXACT", "CARDINALITY"])),
        }
    }

    fn show_field(&mut self) -> Result<StatementKind> {
        let next = self.scan();
        match next.token {
            Token::Key => {
                self.exact_cardinality()?;
                self.cardinality(StatementKind::ShowFieldKeyCardinality)
            }
            Token::Keys => {
                self.on_and_from(Sources::Read)?;
                self.order_by()?;
                self.limit_and_offset()?;
                Ok(StatementKind::ShowFieldKeys)
            }
            _ => Err(self.expected(&next, &["KEY", "KEYS"])),
        }
    }

    fn show_measurement_cardinality(&mut self) -> Result<StatementKind> {
        self.exact_cardinality()?;
        self.cardinality(StatementKind::ShowMeasurementCardinality)
    }

    fn show_measurements(&mut self) -> Result<StatementKind> {
        if self.next_is(Token::On) {
            self.databases_of_measurements()?;
        } else {
            self.need_read(Database::default());
        }
        if self.next_is(Token::With) {
            self.expect(Token::Measurement)?;
            let operator = self.scan();
            if !matches!(operator.token, Token::Eq | Token::EqRegex) {
                return Err(self.expected(&operator, &["=", "=~"]));
            }
            if let Some(source) = self.source(false)? {
                self.need_read(source.database);
            }
        }
        self.condition()?;
        self.order_by()?;
        self.limit_and_offset()?;
        Ok(StatementKind::ShowMeasurements)
    }

    /// `database`, `database.policy`, or `*` in place of either.
    fn databases_of_measurements(&mut self) -> Result<()> {
        let (name, is_every) = self.identifier_or_star()?;
        let policy = match self.next_is(Token::Dot) {
            true => self.identifier_or_star()?.0,
            false => None,
        };
        self.default_database = name;
        match is_every {
            true => self.need(Need::ReadEveryDatabase),
            false => self.need_read(Database { name: None, retention_policy: policy }),
        }
        Ok(())
    }

    fn identifier_or_star(&mut self) -> Result<(Option<std::borrow::Cow<'a, str>>, bool)> {
        let lexeme = self.scan();
        match lexeme.token {
            Token::Ident => Ok((present(self.text_of(&lexeme)), false)),
            Token::Mul => Ok((None, true)),
            _ => Err(self.expected(&lexeme, &["identifier or *"])),
        }
    }

    fn show_series(&mut self) -> Result<StatementKind> {
        let is_exact = self.next_is(Token::Exact);
        if self.next_is(Token::Cardinality) {
            return self.cardinality(StatementKind::ShowSeriesCardinality);
        }
        // `SHOW SERIES EXACT ON …` counts nothing: InfluxDB takes it for `SHOW SERIES ON …`.
        let _ = is_exact;
        self.on_and_from(Sources::Read)?;
        self.condition()?;
        self.order_by()?;
        self.limit_and_offset()?;
        Ok(StatementKind::ShowSeries)
    }

    fn show_tag(&mut self) -> Result<StatementKind> {
        let next = self.scan();
        match next.token {
            Token::Key => {
                self.exact_cardinality()?;
                self.cardinality(StatementKind::ShowTagKeyCardinality)
            }
            Token::Keys => {
                self.on_and_from(Sources::Read)?;
                if self.next_is(Token::With) {
                    self.unscan();
                    self.with_key()?;
                }
                self.condition()?;
                self.order_by()?;
                self.limit_and_offset()?;
                self.series_limit_and_offset()?;
                Ok(StatementKind::ShowTagKeys)
            }
            Token::Values => self.show_tag_values(),
            _ => Err(self.expected(&next, &["KEY", "KEYS", "VALUES"])),
        }
    }

    fn show_tag_values(&mut self) -> Result<StatementKind> {
        let next = self.scan();
        match next.token {
            Token::Exact => self.expect(Token::Cardinality)?,
            Token::Cardinality => {}
            _ => {
                self.unscan();
                self.on_and_from(Sources::Read)?;
                self.with_key()?;
                self.condition()?;
                self.order_by()?;
                self.limit_and_offset()?;
                return Ok(StatementKind::ShowTagValues);
            }
        }
        self.on_and_from(Sources::Counted)?;
        self.with_key()?;
        self.end_of_cardinality(StatementKind::ShowTagValuesCardinality)
    }

    /// `WITH KEY = key` and the like.
    fn with_key(&mut self) -> Result<()> {
        self.expect(Token::With)?;
        self.expect(Token::Key)?;
        let operator = self.scan();
        match operator.token {
            Token::In => {
                self.expect(Token::LeftParen)?;
                self.identifier()?;
                while self.next_is(Token::Comma) {
                    self.identifier()?;
                }
                self.expect(Token::RightParen)
            }
            Token::Eq | Token::NotEq => self.identifier().map(drop),
            Token::EqRegex | Token::NotEqRegex => self.regex(),
            _ => Err(self.expected(&operator, &["IN", "=", "=~"])),
        }
    }
}
