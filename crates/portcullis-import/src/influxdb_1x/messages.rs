//! The messages of `meta.db`, with the fields that an import needs. The others are skipped.

/// A database.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct DatabaseInfo {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) default_retention_policy: String,
    #[prost(message, repeated, tag = "3")]
    pub(super) retention_policies: Vec<RetentionPolicyInfo>,
    #[prost(message, repeated, tag = "4")]
    pub(super) continuous_queries: Vec<Named>,
}

/// A retention policy of a database.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RetentionPolicyInfo {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(message, repeated, tag = "5")]
    pub(super) shard_groups: Vec<ShardGroupInfo>,
    #[prost(message, repeated, tag = "6")]
    pub(super) subscriptions: Vec<Named>,
}

/// A group of shards; only their number is needed.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ShardGroupInfo {}

/// A continuous query or a subscription.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Named {
    #[prost(string, tag = "1")]
    pub(super) name: String,
}

/// A user.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct UserInfo {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) hash: String,
    #[prost(bool, tag = "3")]
    pub(super) admin: bool,
    #[prost(message, repeated, tag = "4")]
    pub(super) privileges: Vec<UserPrivilege>,
}

/// What a user may do in a database.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct UserPrivilege {
    #[prost(string, tag = "1")]
    pub(super) database: String,
    /// 0 nothing, 1 read, 2 write, 3 both.
    #[prost(int32, tag = "2")]
    pub(super) privilege: i32,
}
