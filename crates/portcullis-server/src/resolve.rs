//! Finds the records that a command names: by id, or by name.

use std::fmt::Display;

use anyhow::{anyhow, bail};
use portcullis::{AuthorizationId, Bucket, Error, ErrorKind, InvalidName, Name, Org, OrgId, User};

use crate::session::{AuthorizationRecord, Session};

/// Parses the name of a record that is to be created.
pub(crate) fn parse_name(text: &str) -> Result<Name, InvalidName> {
    Name::new(text)
}

/// Finds an org by id or name.
pub(crate) async fn org(session: &Session, id_or_name: &str) -> anyhow::Result<Org> {
    let found = session.resolve_org(id_or_name).await;
    found.map_err(|error| or_missing(error, || format!("there is no org `{id_or_name}`")))
}

/// Finds a user by id or name.
pub(crate) async fn user(session: &Session, id_or_name: &str) -> anyhow::Result<User> {
    let found = session.resolve_user(id_or_name).await;
    found.map_err(|error| or_missing(error, || format!("there is no user `{id_or_name}`")))
}

/// Finds the org that an option names, if it is given, by id or name.
pub(crate) async fn optional_org(
    session: &Session,
    id_or_name: Option<&str>,
) -> anyhow::Result<Option<OrgId>> {
    match id_or_name {
        Some(id_or_name) => Ok(Some(org(session, id_or_name).await?.id)),
        None => Ok(None),
    }
}

/// Finds a bucket of the org, by id or name. `shown` is the org in an error.
pub(crate) async fn bucket(
    session: &Session,
    org: OrgId,
    id_or_name: &str,
    shown: impl Display,
) -> anyhow::Result<Bucket> {
    let found = session.resolve_bucket(org, id_or_name).await;
    found.map_err(|error| {
        or_missing(error, || format!("there is no bucket `{id_or_name}` in {shown}"))
    })
}

/// Finds a bucket of the org, which an error names, by id or name.
pub(crate) async fn bucket_of(
    session: &Session,
    org: &Org,
    id_or_name: &str,
) -> anyhow::Result<Bucket> {
    bucket(session, org.id, id_or_name, format_args!("the org `{}`", org.name)).await
}

/// Finds an authorization by its id.
pub(crate) async fn authorization_with_id(
    session: &Session,
    id: AuthorizationId,
) -> anyhow::Result<AuthorizationRecord> {
    let found = session.authorization(id).await?;
    found.ok_or_else(|| anyhow!("there is no authorization with the id {id}"))
}

/// Finds an authorization by its username.
pub(crate) async fn authorization_with_username(
    session: &Session,
    username: &str,
) -> anyhow::Result<AuthorizationRecord> {
    let found = session.authorization_by_username(username).await?;
    found.ok_or_else(|| anyhow!("there is no authorization for `{username}`"))
}

/// Finds an authorization by username or id.
///
/// # Errors
///
/// Where there is none, and where the text is the id of one and the username of another.
pub(crate) async fn authorization(
    session: &Session,
    name: &str,
) -> anyhow::Result<AuthorizationRecord> {
    let by_id = match name.parse::<AuthorizationId>() {
        Ok(id) => session.authorization(id).await?,
        Err(_) => None,
    };
    match (session.authorization_by_username(name).await?, by_id) {
        (Some(found), None) | (None, Some(found)) => Ok(found),
        (Some(by_username), Some(by_id)) if by_username.id == by_id.id => Ok(by_id),
        (Some(_), Some(_)) => bail!(
            "`{name}` is the username of one authorization and the id of another: say which with \
             --username or --id"
        ),
        (None, None) => bail!("there is no authorization for `{name}`"),
    }
}

fn or_missing(error: Error, message: impl FnOnce() -> String) -> anyhow::Error {
    match error.kind() {
        ErrorKind::NotFound => anyhow!(message()),
        _ => error.into(),
    }
}
