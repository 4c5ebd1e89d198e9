//! What a statement needs.

use std::borrow::Cow;
use std::fmt;

/// A database that a statement names, and the retention policy in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Database<'a> {
    /// Its name; `None` for the database of the request (`db`), if the request names one.
    pub name: Option<Cow<'a, str>>,
    /// The retention policy; `None` if the statement names none. Then it is that of the request (`rp`), the
    /// default of the database, or, for a statement about a whole database, each of them.
    pub retention_policy: Option<Cow<'a, str>>,
}

/// One thing that a statement needs. All of a statement's needs must be met, and those of all
/// statements of a request, or none of them is carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Need<'a> {
    /// Reading points of the database, or the names of what is in it.
    Read(Database<'a>),
    /// Writing points to the database, deleting them, or changing what is done with them there.
    Write(Database<'a>),
    /// Reading of every database that there is.
    ReadEveryDatabase,
    /// The names of databases. A credential may see the names of those that it may read or write. If
    /// the response cannot be filtered, treat this as [`Need::ReadEveryDatabase`].
    ListDatabases,
    /// Creating and dropping databases, measurements and retention policies: in Portcullis, write on
    /// all buckets of the org.
    ManageDatabases,
    /// The server's queries, shards and statistics: in Portcullis, read on `instance`.
    ReadInstance,
    /// Changing what the server does: write on `instance`.
    ManageInstance,
    /// Users and grants of the database. No permission meets it: Portcullis manages them.
    ManageUsers,
}

impl fmt::Display for Database<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name:?}")?,
            None => f.write_str("the database of the request")?,
        }
        match &self.retention_policy {
            Some(retention_policy) => write!(f, ".{retention_policy:?}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Need<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(database) => write!(f, "read of {database}"),
            Self::Write(database) => write!(f, "write to {database}"),
            Self::ReadEveryDatabase => f.write_str("read of every database"),
            Self::ListDatabases => f.write_str("the names of databases"),
            Self::ManageDatabases => f.write_str("write to all databases"),
            Self::ReadInstance => f.write_str("read of the instance"),
            Self::ManageInstance => f.write_str("write to the instance"),
            Self::ManageUsers => f.write_str("users and grants, which are not managed by queries"),
        }
    }
}
