//! The methods of a store, as values.

use std::fmt;

/// A method of [`Store`](portcullis::store::Store).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// [`Store::get`](portcullis::store::Store::get).
    Get,
    /// [`Store::get_many`](portcullis::store::Store::get_many).
    GetMany,
    /// [`Store::list`](portcullis::store::Store::list).
    List,
    /// [`Store::commit`](portcullis::store::Store::commit).
    Commit,
    /// [`Store::position`](portcullis::store::Store::position).
    Position,
    /// [`Store::watch`](portcullis::store::Store::watch).
    Watch,
    /// [`Store::close`](portcullis::store::Store::close).
    Close,
}

impl Method {
    /// Tells whether it belongs to the feed, which an engine polls in the background at
    /// unpredictable times.
    pub const fn is_of_feed(self) -> bool {
        matches!(self, Self::Position | Self::Watch)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Get => "get",
            Self::GetMany => "get_many",
            Self::List => "list",
            Self::Commit => "commit",
            Self::Position => "position",
            Self::Watch => "watch",
            Self::Close => "close",
        })
    }
}
