//! A copy in memory of what decisions on queries need: the buckets and DBRP mappings of an org.

use std::num::NonZeroUsize;

use anyhow::bail;
use portcullis::store::MemoryStore;
use portcullis::{Bucket, DbrpFilter, Engine, ErrorKind, NewDbrp, OrgId, StaticDirectory};

use super::Client;

const PAGE: NonZeroUsize = NonZeroUsize::MIN.saturating_add(99);

impl Client {
    /// Returns an engine that decides on queries of the org as the server does.
    pub(crate) async fn decision_engine(&self, org: OrgId) -> anyhow::Result<Engine> {
        let mut directory = StaticDirectory::new();
        if let Some(org) = self.org(org).await? {
            directory = directory.with_org(org);
        }
        let mut last: Option<Bucket> = None;
        loop {
            let page = self.buckets(Some(org), last.as_ref().map(|last| last.id), PAGE).await?;
            directory = page.iter().cloned().fold(directory, StaticDirectory::with_bucket);
            match page.into_iter().last() {
                Some(bucket) => last = Some(bucket),
                None => break,
            }
        }
        let engine = Engine::builder(MemoryStore::new()?).directory(directory).build().await?;
        let filter = DbrpFilter { is_virtual: Some(false), ..DbrpFilter::all(org) };
        for mapping in self.list_dbrps(&filter).await? {
            let new = NewDbrp {
                org,
                database: mapping.database.to_string(),
                retention_policy: mapping.retention_policy.to_string(),
                is_default: mapping.is_default,
                bucket: mapping.bucket,
            };
            match engine.create_dbrp(new).await {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => bail!(
                    "the mapping of {}/{} leads to a bucket that does not exist, or that the API token \
                     may not read",
                    mapping.database,
                    mapping.retention_policy
                ),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(engine)
    }
}
