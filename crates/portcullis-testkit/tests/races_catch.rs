//! The races detect stores with faults of concurrency.

#[expect(dead_code, reason = "most of its mistakes are for the conformance suite")]
mod naive;

use std::panic::{AssertUnwindSafe, catch_unwind};

use naive::Fault;
use portcullis_testkit::{Harness, races};

/// Runs the race on a store with the fault, which must fail.
fn assert_caught(fault: Fault, race: impl AsyncFnOnce(&Harness, u32)) {
    let harness =
        Harness::new(naive::CAPABILITIES, move || async move { naive::place(Some(fault)) });
    let outcome = catch_unwind(AssertUnwindSafe(|| races::run(&harness, race)));
    assert!(outcome.is_err(), "{fault:?} was not detected");
}

macro_rules! catches {
    ($($race:ident in $theme:ident: $($fault:ident),+;)+) => {$(
        #[test]
        fn $race() {
            $(assert_caught(Fault::$fault, races::$theme::$race);)+
        }
    )+};
}

catches! {
    a_deleted_authorization_never_comes_back in deletions: ChecksThenActs, PutsInPlaceOfNothing;
    nothing_usable_is_left_of_a_deleted_org in deletions: IgnoresRequirements;
    nothing_usable_is_left_of_a_deleted_user in deletions: IgnoresRequirements;
    of_two_deletions_one_succeeds in deletions: ChecksThenActs, DeletesNothing;
    orgs_and_users_are_deleted_across_each_other in deletions: DeletesNothing;
    a_deactivated_credential_is_refused in passwords: CachesReads, ReadsAnOlderState;
    of_two_new_passwords_one_stays in passwords: CachesReads, ReadsAnOlderState;
    a_rotation_has_no_gap_and_its_end_is_final in passwords: CachesReads, ReadsAnOlderState;
    the_old_password_works_until_the_new_one_does in passwords: CachesReads, ReadsAnOlderState;
    a_name_of_an_org_a_user_or_a_bucket_has_one_holder in records:
        ChecksThenActs, SharesKeysBetweenKinds;
    an_import_is_all_or_nothing_beside_a_creation in records:
        ChecksThenActs, KeepsChangesBeforeARefusal;
    no_change_is_lost in records: ChecksThenActs, IgnoresRevisionOfPut;
    of_changes_with_the_same_precondition_one_is_made in records:
        ChecksThenActs, IgnoresRevisionOfPut;
    of_many_creations_of_a_username_one_wins in records: ChecksThenActs;
    the_same_import_twice_is_one in records: ChecksThenActs;
}
