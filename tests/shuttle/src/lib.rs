//! The protocol that keeps the cache correct, compiled once more with the atomics of `shuttle`, which
//! runs many interleavings. The tests stand beside the code, in `cache/epochs.rs`.

#[path = "../../../crates/portcullis/src/stamp/epoch.rs"]
mod epoch;
#[expect(dead_code, reason = "the engine needs more of it than its tests")]
#[path = "../../../crates/portcullis/src/cache/epochs.rs"]
mod epochs;
#[path = "../../../crates/portcullis/src/cache/sync.rs"]
mod sync;

/// The path of [`epoch::Epoch`] in the core.
mod stamp {
    pub(crate) use crate::epoch::Epoch;
}
