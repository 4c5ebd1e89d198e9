//! Statements.

use std::fmt;

use crate::need::Need;
use crate::redact::without_literals;

/// A statement of a query, and what it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statement<'a> {
    /// Which statement it is.
    pub kind: StatementKind,
    /// Its text, without the semicolon. It may hold literals that are not for logs.
    pub text: &'a str,
    /// What it needs, in the order in which it is named, without immediate repetitions. Never empty.
    pub needs: Vec<Need<'a>>,
}

impl Statement<'_> {
    /// Returns its text for logs: with `?` in place of strings, numbers, durations and regular
    /// expressions, and without comments. Identifiers stay.
    ///
    /// ```
    /// use portcullis_influxql::{Parameters, parse};
    ///
    /// let statements = parse("CREATE USER ada WITH PASSWORD 's3cret'", Parameters::NONE)?;
    /// assert_eq!(statements[0].text_without_literals(), "CREATE USER ada WITH PASSWORD ?");
    /// # Ok::<(), portcullis_influxql::ParseError>(())
    /// ```
    pub fn text_without_literals(&self) -> String {
        without_literals(self.text)
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $text:literal),* $(,)?) => {
        /// The statements of InfluxQL.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum StatementKind {
            $(
                #[doc = concat!("`", $text, "`")]
                $variant,
            )*
        }

        impl StatementKind {
            /// Returns the keywords that it begins with. Fit for logs and metrics.
            pub fn keywords(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

kinds! {
    AlterRetentionPolicy = "ALTER RETENTION POLICY",
    CreateContinuousQuery = "CREATE CONTINUOUS QUERY",
    CreateDatabase = "CREATE DATABASE",
    CreateRetentionPolicy = "CREATE RETENTION POLICY",
    CreateSubscription = "CREATE SUBSCRIPTION",
    CreateUser = "CREATE USER",
    Delete = "DELETE",
    DropContinuousQuery = "DROP CONTINUOUS QUERY",
    DropDatabase = "DROP DATABASE",
    DropMeasurement = "DROP MEASUREMENT",
    DropRetentionPolicy = "DROP RETENTION POLICY",
    DropSeries = "DROP SERIES",
    DropShard = "DROP SHARD",
    DropSubscription = "DROP SUBSCRIPTION",
    DropUser = "DROP USER",
    Explain = "EXPLAIN",
    Grant = "GRANT",
    KillQuery = "KILL QUERY",
    Revoke = "REVOKE",
    Select = "SELECT",
    SetPassword = "SET PASSWORD",
    ShowContinuousQueries = "SHOW CONTINUOUS QUERIES",
    ShowDatabases = "SHOW DATABASES",
    ShowDiagnostics = "SHOW DIAGNOSTICS",
    ShowFieldKeyCardinality = "SHOW FIELD KEY CARDINALITY",
    ShowFieldKeys = "SHOW FIELD KEYS",
    ShowGrants = "SHOW GRANTS",
    ShowMeasurementCardinality = "SHOW MEASUREMENT CARDINALITY",
    ShowMeasurements = "SHOW MEASUREMENTS",
    ShowQueries = "SHOW QUERIES",
    ShowRetentionPolicies = "SHOW RETENTION POLICIES",
    ShowSeries = "SHOW SERIES",
    ShowSeriesCardinality = "SHOW SERIES CARDINALITY",
    ShowShardGroups = "SHOW SHARD GROUPS",
    ShowShards = "SHOW SHARDS",
    ShowStats = "SHOW STATS",
    ShowSubscriptions = "SHOW SUBSCRIPTIONS",
    ShowTagKeyCardinality = "SHOW TAG KEY CARDINALITY",
    ShowTagKeys = "SHOW TAG KEYS",
    ShowTagValues = "SHOW TAG VALUES",
    ShowTagValuesCardinality = "SHOW TAG VALUES CARDINALITY",
    ShowUsers = "SHOW USERS",
}

impl fmt::Display for StatementKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.keywords())
    }
}
