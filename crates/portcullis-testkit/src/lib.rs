//! The conformance suite: tests of what every [`Store`] of Portcullis promises.
//!
//! # Running it on your store
//!
//! One call of [`conformance!`] makes one `#[test]` per rule. It takes a closure that opens a store
//! without records, and the store's capabilities beyond the contract:
//!
//! ```
//! use std::sync::Arc;
//!
//! use portcullis::store::MemoryStore;
//! use portcullis_testkit::Capabilities;
//!
//! portcullis_testkit::conformance! {
//!     capabilities: Capabilities { survives_reopen: false, shared_between_handles: false },
//!     fresh: async || Arc::new(MemoryStore::new().expect("there is randomness")),
//! }
//! # fn main() {}
//! ```
//!
//! A store whose data outlives its handle, or that several handles share, implements [`Fixture`]: it
//! holds the data, a temporary directory for example, and opens the store.
//!
//! ```
//! use std::sync::Arc;
//!
//! use portcullis::store::Store;
//! use portcullis_testkit::{Capabilities, Fixture, async_trait};
//! # #[derive(Debug)] struct TempDir;
//! # impl TempDir { fn new() -> Self { Self } }
//! # async fn open(_: &TempDir) -> Arc<dyn Store> { Arc::new(portcullis::store::MemoryStore::new().unwrap()) }
//!
//! struct OnDisk(TempDir); // lives as long as the test
//!
//! #[async_trait]
//! impl Fixture for OnDisk {
//!     async fn store(&self) -> Arc<dyn Store> {
//!         open(&self.0).await
//!     }
//!     async fn reopen(&self) -> Option<Arc<dyn Store>> {
//!         Some(open(&self.0).await)
//!     }
//!     async fn second_handle(&self) -> Option<Arc<dyn Store>> {
//!         Some(open(&self.0).await)
//!     }
//! }
//!
//! portcullis_testkit::conformance! {
//!     capabilities: Capabilities { survives_reopen: true, shared_between_handles: true },
//!     fresh: async || OnDisk(TempDir::new()),
//! }
//! # fn main() {}
//! ```
//!
//! The tests are named `conformance::lists::the_cursor_is_exclusive` and so on. To run the suite on
//! several stores, or on a wrapper as well, put each call into a module of its own.
//!
//! Two more macros run whole engines on your store: [`engine_model!`] compares them with a model,
//! request by request, and [`races!`] runs concurrent requests. Both take the same arguments as
//! [`conformance!`].
//!
//! # Testing what uses a store
//!
//! [`FaultyStore`] wraps a store and fails or holds chosen calls; [`InstrumentedStore`] counts calls; a
//! [`HookedStore`] does around each call what you write. [`world`] starts an engine in memory. [`faults`] lets every call of every operation of an engine fail in turn, [`dropping`] drops futures
//! at each await, and [`fixtures`] has records to store.
//!
//! # Rules
//!
//! A [rule](rules) is an `async fn` that opens one or more stores of a [`Harness`], and panics if the
//! store breaks the rule. [`RULES`] lists them for other test runners, and to run a part of them:
//!
//! ```
//! # use std::sync::Arc;
//! # use portcullis::store::MemoryStore;
//! use portcullis_testkit::{Capabilities, Harness, RULES};
//!
//! let none = Capabilities { survives_reopen: false, shared_between_handles: false };
//! let harness = Harness::new(none, async || Arc::new(MemoryStore::new().unwrap()));
//! for rule in RULES.iter().filter(|rule| rule.theme() == "uniqueness") {
//!     rule.run(&harness);
//! }
//! ```
//!
//! The rules only use the [`Store`] trait, and allow what its contract allows: short pages, and
//! changes that are reported twice.
//!
//! A missing capability is declared, never silently skipped: a rule about it then checks that the
//! fixture does not offer it, and prints `not offered` on standard error.
//!
//! [`Store`]: portcullis::store::Store

mod access;
mod background;
pub mod dropping;
pub mod engine_model;
mod engines;
pub mod faults;
mod faulty;
pub mod fixtures;
mod harness;
mod hooked;
mod instrumented;
mod method;
mod model;
mod pinned;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod races;
mod random;
pub mod rules;
mod watching;
pub mod world;

pub use async_trait::async_trait;

pub use faulty::{Call, Fault, Faults, FaultyStore, Gate};
pub use harness::{Capabilities, Fixture, Harness, TestStore, run};
pub use hooked::{Hook, HookedDirectory, HookedStore};
pub use instrumented::{Counts, InstrumentedStore, Outcome};
pub use method::Method;
pub use pinned::{pinned_dbrp, pinned_records, pinned_uses};
pub use rules::{RULES, Rule};

/// Makes one `#[test]` per rule of the suite, in a module `conformance`.
///
/// Takes the [`Capabilities`] of the store, and a closure for [`Harness::new`] that makes
/// [`Fixture`]s. Both are evaluated where the macro is called. A store that needs a server passes a
/// third argument, `absent`, for [`Harness::absent`].
///
/// ```
/// use std::sync::Arc;
///
/// use portcullis::store::MemoryStore;
/// use portcullis_testkit::Capabilities;
///
/// portcullis_testkit::conformance! {
///     capabilities: Capabilities { survives_reopen: false, shared_between_handles: false },
///     fresh: async || Arc::new(MemoryStore::new().expect("there is randomness")),
/// }
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! conformance {
    (capabilities: $capabilities:expr, fresh: $fresh:expr $(, absent: $absent:expr)? $(,)?) => {
        // `cfg(test)` makes linters treat both as tests.
        #[cfg(test)]
        fn conformance_harness() -> $crate::Harness {
            $crate::Harness::new($capabilities, $fresh)$(.absent($absent))?
        }

        #[cfg(test)]
        mod conformance {
            $crate::__each_rule! { $crate::__tests }
        }
    };
    (fresh: $fresh:expr, capabilities: $capabilities:expr $(,)?) => {
        $crate::conformance! { capabilities: $capabilities, fresh: $fresh }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __tests {
    ($($theme:ident { $($rule:ident,)+ })+) => {$(
        mod $theme {
            $(
                #[test]
                fn $rule() {
                    $crate::run(
                        &super::super::conformance_harness(),
                        $crate::rules::$theme::$rule,
                    );
                }
            )+
        }
    )+};
}

/// The Rust in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
