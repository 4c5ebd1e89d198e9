//! The bucket that a database and a retention policy select.

use portcullis::{BucketId, DatabaseBucket, Engine, Error, OrgId};
use serde::Deserialize;

/// How the database reads `db=DB&rp=RP` where there is neither a DBRP mapping nor a bucket `DB/RP`.
/// In a configuration file it is `v1` or `v2`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UpstreamSemantics {
    /// The retention policy is a part of the database, as in InfluxDB 1.x. A permission on the bucket
    /// that `DB` alone leads to covers it.
    #[default]
    V1,
    /// The retention policy is a bucket of its own, as in InfluxDB 2.x, so the request is denied; but for
    /// the retention policy `autogen`, which is the bucket `DB`. A `bucket` is never a database, and one
    /// whose name could be read as an id is denied.
    V2,
}

/// The retention policy of a database that InfluxDB 2.x takes for the bucket `DB`.
const AUTOGEN: &str = "autogen";

impl UpstreamSemantics {
    /// Finds the bucket of the retention policy, or else the one of the database: by a DBRP mapping, or
    /// else by its name.
    pub(crate) async fn find_bucket(
        self,
        engine: &Engine,
        org: OrgId,
        database: &str,
        policy: Option<&str>,
    ) -> Result<Option<BucketId>, Error> {
        let Some(policy) = policy else {
            return Ok(engine.database_bucket(org, database, None).await?.bucket());
        };
        let found = engine.database_bucket(org, database, Some(policy)).await?;
        match (found, self) {
            (DatabaseBucket::Mapped(bucket), _) => Ok(Some(bucket)),
            // No other bucket takes its place.
            (DatabaseBucket::Dangling, _) => Ok(None),
            // Of two buckets, InfluxDB 2.x takes the one without a slash.
            (DatabaseBucket::Named(_) | DatabaseBucket::None, Self::V2) if policy == AUTOGEN => {
                let plain = engine.bucket_id(org, database).await?;
                Ok(plain.or(found.bucket()))
            }
            (DatabaseBucket::Named(bucket), _) => Ok(Some(bucket)),
            (DatabaseBucket::None, Self::V2) => Ok(None),
            (DatabaseBucket::None, Self::V1) => {
                Ok(engine.database_bucket(org, database, None).await?.bucket())
            }
        }
    }
}
