//! The bucket that a database and a retention policy select.

use portcullis::{BucketId, Engine, Error, OrgId};
use serde::Deserialize;

/// How the database reads `db=DB&rp=RP` where there is no bucket `DB/RP`. In a configuration file it
/// is `v1` or `v2`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UpstreamSemantics {
    /// The retention policy is a part of the database, as in InfluxDB 1.x. A permission on the bucket
    /// `DB` covers it.
    #[default]
    V1,
    /// The retention policy is a bucket of its own, as in InfluxDB 2.x, so the request is denied. So is
    /// one for a `bucket` whose name could be read as an id.
    V2,
}

impl UpstreamSemantics {
    /// Finds the bucket of the retention policy, or else the one of the database. The inner error is
    /// the name for which there is no bucket.
    pub(crate) async fn find_bucket(
        self,
        engine: &Engine,
        org: OrgId,
        database: &str,
        policy: Option<&str>,
    ) -> Result<Result<BucketId, String>, Error> {
        if let Some(policy) = policy {
            let name = format!("{database}/{policy}");
            match (engine.bucket_id(org, &name).await?, self) {
                (Some(bucket), _) => return Ok(Ok(bucket)),
                (None, Self::V2) => return Ok(Err(name)),
                (None, Self::V1) => {}
            }
        }
        let found = engine.bucket_id(org, database).await?;
        Ok(found.ok_or_else(|| database.to_owned()))
    }
}
