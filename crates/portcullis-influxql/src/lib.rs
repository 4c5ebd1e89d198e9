#![doc = include_str!("lib.md")]

mod duration;
mod error;
mod need;
mod parameters;
mod parser;
mod redact;
mod regex;
mod scanner;
mod statement;
mod token;

pub use error::{ParseError, Position};
pub use need::{Database, Need};
pub use parameters::{InvalidParameters, Parameters};
pub use statement::{Statement, StatementKind};

/// Parses a query: statements with semicolons between them. There may be none.
///
/// ```
/// use portcullis_influxql::{Database, Need, Parameters, StatementKind, parse};
///
/// let statements = parse("SELECT mean(v) INTO weekly.cpu FROM telemetry..cpu", Parameters::NONE)?;
/// let [statement] = &statements[..] else { panic!() };
/// assert_eq!(statement.kind, StatementKind::Select);
/// let database = |name: Option<&'static str>, policy: Option<&'static str>| Database {
///     name: name.map(Into::into),
///     retention_policy: policy.map(Into::into),
/// };
/// assert_eq!(statement.needs, [
///     Need::Write(database(None, Some("weekly"))),
///     Need::Read(database(Some("telemetry"), None)),
/// ]);
/// # Ok::<(), portcullis_influxql::ParseError>(())
/// ```
///
/// The time is linear in the length of the text, and the depth of expressions and subqueries is
/// bounded (100).
///
/// # Errors
///
/// [`ParseError`], with InfluxDB's message, when InfluxDB could not parse the text either; and, where
/// InfluxDB would, when it holds a NUL character, an unusual regular expression, or something that is
/// nested more than 100 levels deep.
pub fn parse<'a>(
    text: &'a str,
    parameters: &'a Parameters,
) -> Result<Vec<Statement<'a>>, ParseError> {
    if let Some(at) = text.find('\0') {
        // InfluxDB takes it for the end of the text.
        let position = scanner::Scanner::new(text).position(at);
        return Err(ParseError::at("found a NUL character", position));
    }
    parser::Parser::new(text, parameters).query()
}
