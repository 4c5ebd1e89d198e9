//! Makes the changes of a plan, one after the other.

use std::collections::HashMap;

use anyhow::{Context as _, anyhow};
use portcullis::{
    AllowedNetworks, AuthorizationId, DbrpUpdate, NewDbrp, OrgId, Permission, Status,
};

use super::plan::{NewCredential, Step};
use super::state::{NewSecret, SecretValue, State};
use super::wanted::{Ids, Wanted};
use crate::session::{AuthorizationParts, Session};

/// What steps need: the ids of records, also of those that were just created, and the passwords.
pub(super) struct Execution<'a> {
    session: &'a Session,
    ids: Ids,
    credentials: HashMap<String, AuthorizationId>,
    secrets: &'a HashMap<String, NewSecret>,
}

impl<'a> Execution<'a> {
    pub(super) fn new(session: &'a Session, state: &'a State) -> Self {
        let credentials = state.orgs.values().flat_map(|org| &org.credentials);
        let credentials = credentials.map(|(name, found)| (name.clone(), found.record.id));
        let credentials = credentials.collect();
        Self { session, ids: Ids::of(state), credentials, secrets: &state.secrets }
    }

    /// Makes one change.
    pub(super) async fn run(&mut self, step: &Step) -> anyhow::Result<()> {
        self.change(step).await.with_context(|| failed(step))
    }

    async fn change(&mut self, step: &Step) -> anyhow::Result<()> {
        let session = self.session;
        match step {
            Step::SetUserStatus { id, status, .. } => {
                session.set_user_status(*id, *status).await?;
            }
            Step::SetOrgStatus { id, status, .. } => {
                session.set_org_status(*id, *status).await?;
            }
            Step::CreateUser { name, status } => {
                let user = session.create_user(name.clone()).await?;
                self.ids.users.insert(name.to_string(), user.id);
                if *status == Status::Inactive {
                    session.set_user_status(user.id, *status).await?;
                }
            }
            Step::CreateOrg { name, status } => {
                let org = session.create_org(name.clone()).await?;
                self.ids.orgs.insert(name.to_string(), org.id);
                if *status == Status::Inactive {
                    session.set_org_status(org.id, *status).await?;
                }
            }
            Step::CreateBucket { org, name } => {
                let bucket = session.create_bucket(self.org(org)?, name.clone()).await?;
                self.ids.buckets.insert((org.clone(), name.to_string()), bucket.id);
            }
            Step::DeleteBucket { id, .. } => session.delete_bucket(*id).await?,
            Step::CreateDbrp { org, database, policy, bucket, is_default } => {
                let bucket = self.ids.bucket(org, bucket).context("its bucket does not exist")?;
                let new = NewDbrp {
                    org: self.org(org)?,
                    database: database.clone(),
                    retention_policy: policy.clone(),
                    is_default: *is_default,
                    bucket,
                };
                session.create_dbrp(new).await?;
            }
            Step::MakeDefault { org, id, .. } => {
                let update = DbrpUpdate { retention_policy: None, is_default: Some(true) };
                session.update_dbrp(*org, *id, update).await?;
            }
            Step::DeleteDbrp { org, id, .. } => session.delete_dbrp(*org, *id).await?,
            Step::CreateCredential { org, new } => self.create_credential(org, new).await?,
            Step::UpdateCredential { id, update, .. } => {
                session.update_authorization(*id, update.clone(), None).await?;
            }
            Step::SetPermissions { id, org, wanted, .. } => {
                session.set_permissions(*id, self.permissions(org, wanted)?, None).await?;
            }
            Step::SetPassword { username } => self.set_password(username).await?,
            Step::DeleteCredential { id, .. } => session.delete_authorization(*id, None).await?,
        }
        Ok(())
    }

    async fn create_credential(&mut self, org: &str, new: &NewCredential) -> anyhow::Result<()> {
        let NewCredential { username, user, status, description, wanted } = new;
        let parts = AuthorizationParts {
            username: username.clone(),
            org: self.org(org)?,
            user: *self.ids.users.get(user).context("its user does not exist")?,
            permissions: self.permissions(org, wanted)?,
            status: *status,
            description: description.clone(),
            expires_at: None,
            allowed_networks: AllowedNetworks::default(),
        };
        let created = self.session.create_authorization(parts).await?;
        self.credentials.insert(username.to_string(), created.id);
        Ok(())
    }

    async fn set_password(&self, username: &str) -> anyhow::Result<()> {
        let missing = || anyhow!("the credential `{username}` does not exist");
        let id = *self.credentials.get(username).ok_or_else(missing)?;
        let secret = self.secrets.get(username).context("there is no password for it")?;
        match (&secret.value, self.session.engine()) {
            (SecretValue::Password(password), _) => {
                self.session.set_password(id, password.as_slice(), None, None).await?;
            }
            (SecretValue::Hash(hash), Some(engine)) => {
                engine.set_password_hash(id, hash.clone()).await?;
            }
            (SecretValue::Hash(_), None) => return Err(anyhow!("a server accepts no hashes")),
        }
        Ok(())
    }

    fn org(&self, name: &str) -> anyhow::Result<OrgId> {
        self.ids.orgs.get(name).copied().context("its org does not exist")
    }

    fn permissions(&self, org: &str, wanted: &[Wanted]) -> anyhow::Result<Vec<Permission>> {
        let permission = |wanted: &Wanted| wanted.permission(org, &self.ids);
        let all: Option<Vec<Permission>> = wanted.iter().map(permission).collect();
        all.context("a permission names a record that does not exist")
    }
}

/// Says what was not done.
fn failed(step: &Step) -> String {
    match step {
        Step::SetUserStatus { name, .. } => format!("the status of the user `{name}` is not set"),
        Step::SetOrgStatus { name, .. } => format!("the status of the org `{name}` is not set"),
        Step::CreateUser { name, .. } => format!("the user `{name}` is not created"),
        Step::CreateOrg { name, .. } => format!("the org `{name}` is not created"),
        Step::CreateBucket { name, .. } => format!("the bucket `{name}` is not created"),
        Step::DeleteBucket { name, .. } => format!("the bucket `{name}` is not deleted"),
        Step::CreateDbrp { database, policy, .. } => {
            format!("the mapping `{database}/{policy}` is not created")
        }
        Step::MakeDefault { name, .. } => format!("the mapping `{name}` is not the default"),
        Step::DeleteDbrp { name, .. } => format!("the mapping `{name}` is not deleted"),
        Step::CreateCredential { new, .. } => {
            format!("the credential `{}` is not created", new.username)
        }
        Step::UpdateCredential { username, .. } => format!("`{username}` is not changed"),
        Step::SetPermissions { username, .. } => {
            format!("the permissions of `{username}` are not set")
        }
        Step::SetPassword { username } => format!("the password of `{username}` is not set"),
        Step::DeleteCredential { username, .. } => {
            format!("the credential `{username}` is not deleted")
        }
    }
}
