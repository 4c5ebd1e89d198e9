//! The protocol that keeps the cache right, compiled once more with the atomics of `shuttle`, which
//! tries every order of events. The tests stand beside the code, in `cache/stamps.rs`.

#[expect(dead_code, reason = "the engine needs more of it than its tests")]
#[path = "../../../crates/portcullis/src/cache/stamps.rs"]
mod stamps;
#[path = "../../../crates/portcullis/src/cache/sync.rs"]
mod sync;
