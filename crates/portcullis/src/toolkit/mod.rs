//! Parts for authors of stores.

mod feed;
mod group_writer;
mod inline_reads;

pub use feed::Feed;
pub use group_writer::{Committer, GroupWriter};
pub use inline_reads::{Pace, Turn};
