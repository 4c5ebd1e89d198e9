//! Concurrent requests to engines on your store: races with one outcome each, or a few defined ones,
//! for thousands of rounds.
//!
//! Several engines use the store, one for each handle if several handles share its data. A wrapper
//! between engine and store yields to other tasks at random, so that what an engine has read is often
//! outdated when it writes.
//!
//! ```
//! use std::sync::Arc;
//!
//! use portcullis::store::MemoryStore;
//! use portcullis_testkit::Capabilities;
//!
//! portcullis_testkit::races! {
//!     capabilities: Capabilities { survives_reopen: false, shared_between_handles: false },
//!     fresh: async || Arc::new(MemoryStore::new().expect("there is randomness")),
//! }
//! # fn main() {}
//! ```
//!
//! makes one `#[test]` per race. Each has 200 rounds; the environment variable
//! `PORTCULLIS_RACE_ROUNDS` sets another number.

mod arena;
pub mod deletions;
pub mod passwords;
pub mod records;

use std::time::Duration;

use crate::harness::Harness;

/// The number of rounds of a race by default.
const ROUNDS: u32 = 200;

/// Runs the race on a runtime with several threads, for the number of rounds from the environment.
///
/// # Panics
///
/// If the outcome is wrong, or the race does not end.
pub fn run(harness: &Harness, race: impl AsyncFnOnce(&Harness, u32)) {
    if harness.is_absent() {
        return;
    }
    let rounds = crate::engines::number_from_env("PORTCULLIS_RACE_ROUNDS", ROUNDS);
    // A store that hangs fails the test instead of blocking the whole run.
    let limit = Harness::DEADLINE * 6 + Duration::from_millis(500) * rounds;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .expect("a runtime");
    let ended =
        runtime.block_on(async { tokio::time::timeout(limit, race(harness, rounds)).await });
    // Without waiting for tasks of a broken store.
    runtime.shutdown_background();
    assert!(ended.is_ok(), "the race did not end within {limit:?}");
}

/// Makes one `#[test]` per [race](mod@crate::races), in a module `races`.
///
/// Takes the same arguments as [`conformance!`](crate::conformance!).
#[macro_export]
macro_rules! races {
    (capabilities: $capabilities:expr, fresh: $fresh:expr $(, absent: $absent:expr)? $(,)?) => {
        #[cfg(test)]
        fn races_harness() -> $crate::Harness {
            $crate::Harness::new($capabilities, $fresh)$(.absent($absent))?
        }

        #[cfg(test)]
        mod races {
            $crate::__each_race! {
                deletions {
                    a_bucket_is_granted_before_it_is_gone_or_not_at_all,
                    a_deleted_authorization_never_comes_back,
                    a_new_authorization_has_nothing_of_the_old_one_of_its_name,
                    a_starting_engine_finishes_deletions_and_changes_nothing_else,
                    nothing_usable_is_left_of_a_deleted_org,
                    nothing_usable_is_left_of_a_deleted_user,
                    of_two_deletions_one_succeeds,
                    orgs_and_users_are_deleted_across_each_other,
                }
                passwords {
                    a_deactivated_credential_is_refused,
                    of_two_new_passwords_one_stays,
                    a_rotation_has_no_gap_and_its_end_is_final,
                    the_old_password_works_until_the_new_one_does,
                    a_change_applies_at_once_in_one_engine,
                }
                records {
                    a_name_of_an_org_a_user_or_a_bucket_has_one_holder,
                    an_import_is_all_or_nothing_beside_a_creation,
                    no_change_is_lost,
                    of_changes_with_the_same_precondition_one_is_made,
                    of_many_creations_of_a_username_one_wins,
                    the_same_import_twice_is_one,
                }
            }
        }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __each_race {
    ($($theme:ident { $($race:ident,)+ })+) => {$(
        mod $theme {
            $(
                #[test]
                fn $race() {
                    $crate::races::run(
                        &super::super::races_harness(),
                        $crate::races::$theme::$race,
                    );
                }
            )+
        }
    )+};
}
