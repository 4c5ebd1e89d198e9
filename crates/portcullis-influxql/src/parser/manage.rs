//! Statements that change something.

use super::{Parser, Result, Sources, Target, present};
use crate::error::ParseError;
use crate::need::{Database, Need};
use crate::statement::StatementKind;
use crate::token::Token;

/// The most that InfluxDB takes for a replication factor.
const MAX_REPLICATION: u64 = 2_147_483_647;

impl<'a> Parser<'a> {
    pub(super) fn create(&mut self) -> Result<StatementKind> {
        let next = self.scan();
        match next.token {
            Token::Continuous => {
                self.expect(Token::Query)?;
                self.create_continuous_query()
            }
            Token::DatabaseKeyword => self.create_database(),
            Token::User => self.create_user(),
            Token::Retention => {
                self.expect(Token::Policy)?;
                self.create_retention_policy()
            }
            Token::Subscription => self.create_subscription(),
            _ => {
                let expected = ["CONTINUOUS", "DATABASE", "USER", "RETENTION", "SUBSCRIPTION"];
                Err(self.expected(&next, &expected))
            }
        }
    }

    /// A query that InfluxDB executes again and again. It reads its sources, writes its target, and
    /// changes the database that it belongs to. InfluxDB itself does not require the last two.
    fn create_continuous_query(&mut self) -> Result<StatementKind> {
        self.identifier()?;
        self.expect(Token::On)?;
        self.default_database = present(self.identifier()?);
        self.need_write(Database::default());
        // InfluxDB requires it, so it is required here.
        self.need_read(Database::default());
        let (every, within) = match self.next_is(Token::Resample) {
            true => self.resample()?,
            false => (0, 0),
        };
        self.expect(Token::Begin)?;
        self.expect(Token::Select)?;
        let selection = self.select(Target::Required)?;
        let interval = selection.interval.map_err(ParseError::new);
        let next = self.scan();
        if selection.is_aggregate && !interval.as_ref().is_ok_and(|&interval| interval != 0) {
            return Err(self.expected(&next, &["GROUP BY time(...)"]));
        }
        if next.token != Token::End {
            return Err(self.expected(&next, &["END"]));
        }
        let interval = interval?;
        if within != 0 && interval.max(every) > within {
            return Err(ParseError::new("FOR duration must be >= GROUP BY time duration"));
        }
        Ok(StatementKind::CreateContinuousQuery)
    }

    /// `[EVERY duration] [FOR duration]`, one of them at least.
    fn resample(&mut self) -> Result<(i64, i64)> {
        let mut spans = [0; 2];
        for (keyword, span) in [Token::Every, Token::For].into_iter().zip(&mut spans) {
            if self.next_is(keyword) {
                let lexeme = self.scan();
                if lexeme.token != Token::Duration {
                    return Err(self.expected(&lexeme, &["duration"]));
                }
                self.unscan();
                *span = self.duration()?;
            }
        }
        match spans {
            [0, 0] => {
                let next = self.scan();
                Err(self.expected(&next, &["EVERY", "FOR"]))
            }
            [every, within] => Ok((every, within)),
        }
    }

    fn create_database(&mut self) -> Result<StatementKind> {
        self.identifier()?;
        self.need(Need::ManageDatabases);
        if self.next_is(Token::With) {
            let next = self.scan();
            self.unscan();
            if !matches!(
                next.token,
                Token::DurationKeyword | Token::Name | Token::Replication | Token::Shard
            ) {
                let expected = ["DURATION", "NAME", "REPLICATION", "SHARD"];
                return Err(self.expected(&next, &expected));
            }
            if self.next_is(Token::DurationKeyword) {
                self.duration()?;
            }
            if self.next_is(Token::Replication) {
                self.integer(1, MAX_REPLICATION)?;
            }
            if self.next_is(Token::Shard) {
                self.expect(Token::DurationKeyword)?;
                self.duration()?;
            }
            if self.next_is(Token::Name) {
                self.identifier()?;
            }
        }
        Ok(StatementKind::CreateDatabase)
    }

    fn create_user(&mut self) -> Result<StatementKind> {
        self.identifier()?;
        self.expect(Token::With)?;
        self.expect(Token::Password)?;
        self.string()?;
        if self.next_is(Token::With) {
            self.expect(Token::All)?;
            self.expect(Token::Privileges)?;
        }
        self.need(Need::ManageUsers);
        Ok(StatementKind::CreateUser)
    }

    fn create_retention_policy(&mut self) -> Result<StatementKind> {
        self.identifier()?;
        self.expect(Token::On)?;
        self.identifier()?;
        self.expect(Token::DurationKeyword)?;
        self.duration()?;
        self.expect(Token::Replication)?;
        self.integer(1, MAX_REPLICATION)?;
        if self.next_is(Token::Shard) {
            self.expect(Token::DurationKeyword)?;
            self.shard_duration()?;
        }
        self.next_is(Token::Default);
        self.need(Need::ManageDatabases);
        Ok(StatementKind::CreateRetentionPolicy)
    }

    fn shard_duration(&mut self) -> Result<()> {
        let next = self.scan();
        self.unscan();
        match next.token {
            Token::Inf => Err(self.error_at(&next, "invalid duration INF for shard duration")),
            _ => self.duration().map(drop),
        }
    }

    pub(super) fn alter(&mut self) -> Result<StatementKind> {
        self.expect(Token::Retention)?;
        self.expect(Token::Policy)?;
        let name = self.scan();
        if !matches!(name.token, Token::Default | Token::Ident) {
            return Err(self.expected(&name, &["identifier"]));
        }
        self.expect(Token::On)?;
        self.identifier()?;
        let mut found = Vec::new();
        loop {
            let option = self.scan();
            if found.contains(&option.token) {
                let message = format!("found duplicate {} option", option.token.name());
                return Err(self.error_at(&option, &message));
            }
            match option.token {
                Token::DurationKeyword => self.duration().map(drop)?,
                Token::Replication => self.integer(1, MAX_REPLICATION).map(drop)?,
                Token::Shard => {
                    self.expect(Token::DurationKeyword)?;
                    self.shard_duration()?;
                }
                Token::Default => {}
                _ if found.is_empty() => {
                    let expected = ["DURATION", "REPLICATION", "SHARD", "DEFAULT"];
                    return Err(self.expected(&option, &expected));
                }
                _ => {
                    self.unscan();
                    break;
                }
            }
            found.push(option.token);
        }
        self.need(Need::ManageDatabases);
        Ok(StatementKind::AlterRetentionPolicy)
    }

    /// A subscription sends all points of a database to other servers.
    fn create_subscription(&mut self) -> Result<StatementKind> {
        self.of_retention_policy()?;
        self.expect(Token::Destinations)?;
        let mode = self.scan();
        if !matches!(mode.token, Token::All | Token::Any) {
            return Err(self.expected(&mode, &["ALL", "ANY"]));
        }
        self.strings()?;
        self.need(Need::ManageInstance);
        Ok(StatementKind::CreateSubscription)
    }

    /// `name ON database.policy`, without white space before the dot.
    fn of_retention_policy(&mut self) -> Result<()> {
        self.identifier()?;
        self.expect(Token::On)?;
        self.identifier()?;
        let dot = self.scan_any();
        if dot.token != Token::Dot {
            return Err(self.expected(&dot, &["."]));
        }
        self.identifier().map(drop)
    }

    pub(super) fn drop_something(&mut self) -> Result<StatementKind> {
        let next = self.scan();
        match next.token {
            Token::Continuous => {
                self.expect(Token::Query)?;
                self.of_database(StatementKind::DropContinuousQuery)
            }
            Token::DatabaseKeyword => {
                self.identifier()?;
                self.need(Need::ManageDatabases);
                Ok(StatementKind::DropDatabase)
            }
            Token::Measurement => {
                self.identifier()?;
                self.need(Need::ManageDatabases);
                Ok(StatementKind::DropMeasurement)
            }
            Token::Retention => {
                self.expect(Token::Policy)?;
                self.of_database(StatementKind::DropRetentionPolicy)
            }
            Token::Series => self.delete(StatementKind::DropSeries),
            Token::Shard => {
                self.integer(0, u64::MAX)?;
                self.need(Need::ManageInstance);
                Ok(StatementKind::DropShard)
            }
            Token::Subscription => {
                self.of_retention_policy()?;
                self.need(Need::ManageInstance);
                Ok(StatementKind::DropSubscription)
            }
            Token::User => {
                self.identifier()?;
                self.need(Need::ManageUsers);
                Ok(StatementKind::DropUser)
            }
            _ => Err(self.expected(
                &next,
                &[
                    "CONTINUOUS",
                    "DATABASE",
                    "MEASUREMENT",
                    "RETENTION",
                    "SERIES",
                    "SHARD",
                    "SUBSCRIPTION",
                    "USER",
                ],
            )),
        }
    }

    /// `name ON database`: what is in the database is changed.
    fn of_database(&mut self, kind: StatementKind) -> Result<StatementKind> {
        self.identifier()?;
        self.expect(Token::On)?;
        self.default_database = present(self.identifier()?);
        self.need_write(Database::default());
        Ok(kind)
    }

    /// `DELETE` and `DROP SERIES`: from the database of the request, in all of its policies.
    pub(super) fn delete(&mut self, kind: StatementKind) -> Result<StatementKind> {
        let next = self.scan();
        let has_sources = next.token == Token::From;
        match has_sources {
            true => self.sources(Sources::Deleted)?,
            false => self.unscan(),
        }
        if !self.condition()? && !has_sources {
            return Err(self.expected(&next, &["FROM", "WHERE"]));
        }
        self.need_write(Database::default());
        Ok(kind)
    }

    pub(super) fn grant(&mut self) -> Result<StatementKind> {
        self.privilege_and_user(Token::To)?;
        Ok(StatementKind::Grant)
    }

    pub(super) fn revoke(&mut self) -> Result<StatementKind> {
        self.privilege_and_user(Token::From)?;
        Ok(StatementKind::Revoke)
    }

    /// `privilege [ON database] TO user`; without a database it is the one over all.
    fn privilege_and_user(&mut self, preposition: Token) -> Result<()> {
        let privilege = self.scan();
        let is_all = match privilege.token {
            Token::Read | Token::Write => false,
            Token::All => {
                self.next_is(Token::Privileges);
                true
            }
            _ => return Err(self.expected(&privilege, &["READ", "WRITE", "ALL [PRIVILEGES]"])),
        };
        let next = self.scan();
        if next.token == Token::On {
            self.identifier()?;
            self.expect(preposition)?;
        } else if next.token != preposition || !is_all {
            return Err(match is_all {
                true => self.expected(&next, &["ON", preposition.name()]),
                false => self.expected(&next, &["ON"]),
            });
        }
        self.identifier()?;
        self.need(Need::ManageUsers);
        Ok(())
    }

    pub(super) fn set_password(&mut self) -> Result<StatementKind> {
        self.expect(Token::Password)?;
        self.expect(Token::For)?;
        self.identifier()?;
        self.expect(Token::Eq)?;
        self.string()?;
        self.need(Need::ManageUsers);
        Ok(StatementKind::SetPassword)
    }

    pub(super) fn kill_query(&mut self) -> Result<StatementKind> {
        self.expect(Token::Query)?;
        self.integer(0, u64::MAX)?;
        if self.next_is(Token::On) {
            self.identifier()?;
        }
        self.need(Need::ManageInstance);
        Ok(StatementKind::KillQuery)
    }
}
