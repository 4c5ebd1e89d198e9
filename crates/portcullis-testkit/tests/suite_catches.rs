//! The suite passes on a store without faults, and detects each of many faults by the rule about it.

mod naive;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use naive::Fault;
use portcullis_testkit::{Harness, rules, run};

mod without_mistakes {
    portcullis_testkit::conformance! {
        capabilities: crate::naive::CAPABILITIES,
        fresh: async || crate::naive::place(None),
    }
}

/// Runs the rule on a store with the fault, which must fail.
fn assert_caught(fault: Fault, rule: impl AsyncFnOnce(&Harness)) {
    let harness =
        Harness::new(naive::CAPABILITIES, move || async move { naive::place(Some(fault)) })
            .with_deadline(Duration::from_millis(1_500));
    let outcome = catch_unwind(AssertUnwindSafe(|| run(&harness, rule)));
    assert!(outcome.is_err(), "{fault:?} was not detected");
}

macro_rules! catches {
    ($($rule:ident in $theme:ident: $($fault:ident),+;)+) => {$(
        #[test]
        fn $rule() {
            $(assert_caught(Fault::$fault, rules::$theme::$rule);)+
        }
    )+};
}

catches! {
    a_batch_is_refused_for_any_of_its_operations in atomicity: KeepsChangesBeforeARefusal;
    a_refused_batch_changes_nothing in atomicity: KeepsChangesBeforeARefusal;
    keys_are_freed_and_taken_within_a_batch in atomicity: ChecksAgainstTheStateBefore, StartsAtTheEnd;
    large_batches_are_whole in atomicity: KeepsChangesBeforeARefusal;
    operations_see_the_effects_of_earlier_ones in atomicity: ChecksAgainstTheStateBefore, StartsAtTheEnd;
    random_batches_agree_with_a_model in atomicity:
        ChecksAgainstTheStateBefore, FoldsCase, ForgetsRenames, IgnoresRequirements,
        IgnoresRevisionOfDelete, IgnoresRevisionOfPut, KeepsGrants, KeepsKeysOfDeleted, KeepsOrgs,
        KeepsChangesBeforeARefusal, OverwritesTakenIds, SharesKeysBetweenKinds, SignsIds,
        StartsAtTheEnd, ReportsIdForKey, TrimsKeys;

    a_commit_may_be_dropped_at_any_await in cancellation:
        AnnouncesAfterAnAwait, KeepsTheLockWhenDropped, StopsHalfWayWhenDropped;
    a_dropped_commit_is_done_in_full_or_not_at_all in cancellation:
        AnnouncesAfterAnAwait, KeepsTheLockWhenDropped, StopsHalfWayWhenDropped;
    aborted_tasks_leave_whole_batches in cancellation:
        AnnouncesAfterAnAwait, KeepsTheLockWhenDropped, StopsHalfWayWhenDropped;

    a_freed_key_goes_to_one in concurrency: ChecksThenActs, ForgetsRenames, KeepsKeysOfDeleted;
    a_page_never_shows_half_a_batch in concurrency: WritesOneByOne;
    a_storm_leaves_records_and_indexes_in_agreement in concurrency: ChecksThenActs, KeepsOrgs;
    increments_are_not_lost in concurrency: ChecksThenActs, IgnoresRevisionOfPut, ForgetsRenames;
    many_lookups_never_show_half_a_batch in concurrency: ReadsManyOneByOne, WritesOneByOne;
    of_a_put_and_a_delete_one_wins in concurrency: ChecksThenActs, IgnoresRevisionOfDelete;
    of_two_deletes_one_wins in concurrency: ChecksThenActs;
    of_two_renames_to_a_name_one_wins in concurrency: ChecksThenActs, ForgetsRenames;
    one_wins_a_key in concurrency: ChecksThenActs, ReportsIdForKey;
    one_wins_an_id in concurrency: ChecksThenActs, OverwritesTakenIds;
    a_commit_is_visible_to_every_reader_at_once in concurrency: ReadsAnOlderState;
    reads_never_go_back in concurrency: ReadsAnOlderState;

    a_foreign_position_gets_a_resync in feed: IgnoresTheIncarnation;
    a_refused_batch_is_not_reported in feed: AnnouncesRefused;
    a_waiting_watcher_is_woken in feed: ReportsNothing;
    a_watcher_of_an_idle_store_is_soon_fresh in feed: IsNeverFresh;
    dropped_watchers_do_no_harm in feed: ReportsNothing;
    every_change_is_reported_in_order in feed: AnnouncesBackwards, AnnouncesOnlyTheFirst, Resyncs, ReportsNothing;
    every_position_can_be_watched_from in feed: AnnouncesOnlyTheFirst, ResumesOneLate, Resyncs;
    every_watcher_gets_every_change in feed: ReportsNothing;
    freshness_follows_every_earlier_commit in feed:
        IsFreshBeforeItsTime, IsFreshBeforeChanges;
    freshness_is_reported_repeatedly in feed: IsFreshOnce;
    freshness_is_reported_during_writes in feed: IsNeverFreshWhileWriting;
    the_position_changes_with_records_only in feed: MovesWithoutChange, ReportsNothing;
    watchers_end_when_the_store_is_closed in feed: DoesNotEndStreams;
    an_old_position_gets_every_change_or_a_resync in feed: ForgetsTheBacklog;
    a_slow_watcher_gets_every_change_or_a_resync in feed: ForgetsTheBacklog;

    a_change_is_read_through_the_other_handle_at_once in handles: CachesReads;
    a_change_is_reported_to_the_other_handle_soon in handles: ReportsOnlyItsOwn, ReportsOthersLate;
    an_id_and_a_key_have_one_holder_across_handles in handles: ChecksThenActs;
    closing_one_handle_leaves_the_others_open in handles: ClosesAllHandles;
    freshness_follows_the_commits_of_other_handles in handles: IsFreshBeforeChanges, ReportsOnlyItsOwn;
    increments_through_several_handles_are_not_lost in handles: ChecksThenActs;
    positions_are_valid_on_the_other_handle in handles: ReportsOnlyItsOwn;

    names_are_compared_byte_by_byte in identity:
        CutsKeys, FoldsCase, NormalizesKeys, StopsAtNul, TrimsKeys;
    similar_names_can_be_renamed_into_each_other in identity: FoldsCase, ForgetsRenames;
    the_longest_names_are_compared_to_the_last_byte in identity: CutsKeys;
    names_over_the_bound_are_refused in identity: CutsKeys;

    a_closed_store_refuses_everything in lifecycle: WorksWhenClosed;
    a_reopened_store_has_everything in lifecycle: ForgetsEverything, ForgetsGrants;
    closing_finishes_commits_in_progress in lifecycle: ForgetsEverything;
    closing_twice_is_fine in lifecycle: ClosesOnlyOnce;
    positions_outlive_a_reopening_or_get_a_resync in lifecycle: ForgetsTheLog;

    a_changed_record_moves_between_lists in lists: KeepsGrants, KeepsOrgs;
    a_hundred_thousand_records_are_listed_once in lists: EndsAfterOnePage, SkipsOneRecord;
    a_page_is_no_longer_than_its_limit in lists: IgnoresTheLimit;
    a_record_is_listed_once_under_each_of_its_grants in lists: KeepsGrants;
    deleted_records_vanish_from_lists in lists: ListsDeleted;
    an_index_lists_exactly_its_records in lists: ForgetsUsers;
    kinds_are_listed_apart in lists: ListsAllKinds;
    lists_ascend_by_id in lists: ListsInOrderOfCreation, SignsIds;
    pages_hold_every_record_once in lists: EndsAfterOnePage, IncludesTheCursor, SkipsOneRecord;
    ten_thousand_records_are_listed_once in lists: EndsAfterOnePage, SkipsOneRecord;
    the_cursor_is_exclusive in lists: IncludesTheCursor, SkipsOneRecord;
    what_stays_is_listed_once_while_others_come_and_go in lists: IncludesTheCursor, SkipsOneRecord;

    a_delete_leaves_nothing_behind in reads_and_writes: KeepsKeysOfDeleted;
    a_delete_of_another_revision_is_a_conflict in reads_and_writes: IgnoresRevisionOfDelete;
    a_delete_of_nothing_is_missing in reads_and_writes: DeletesNothing;
    many_lookups_find_what_each_finds in reads_and_writes: LeavesOutTheMissing, ReadsManyInOrderOfId;
    a_put_in_place_of_nothing_is_missing in reads_and_writes: PutsInPlaceOfNothing;
    a_put_in_place_of_another_revision_is_a_conflict in reads_and_writes: IgnoresRevisionOfPut;
    a_put_replaces_what_it_expects in reads_and_writes: ForgetsUsers;
    a_record_comes_back_as_it_was_put in reads_and_writes: ForgetsUsers;
    a_requirement_is_met_by_what_is_there in reads_and_writes: IgnoresRequirements;
    an_empty_batch_changes_nothing in reads_and_writes: RefusesEmptyBatches;
    nothing_is_found_where_nothing_was_put in reads_and_writes: FailsOnOddKeys;
    bodies_come_back_byte_by_byte in reads_and_writes: CutsBodies, TrimsBodies;
    ids_have_64_bits_and_no_sign in reads_and_writes: SignsIds;
    revisions_have_128_bits in reads_and_writes: IgnoresRevisionOfPut;
    texts_that_are_no_key_find_nothing in reads_and_writes: FailsOnLongKeys, MatchesPatterns;

    a_record_does_not_collide_with_itself in uniqueness: CollidesWithItself;
    a_rename_frees_the_old_name_and_takes_the_new_one in uniqueness: ForgetsRenames;
    a_rename_onto_a_taken_name_changes_nothing in uniqueness: ReportsIdForKey;
    a_taken_id_is_refused in uniqueness: OverwritesTakenIds;
    a_taken_key_is_refused in uniqueness: ReportsIdForKey;
    kinds_do_not_share_ids_or_keys in uniqueness: SharesKeysBetweenKinds;
    names_can_be_swapped_by_way_of_a_third in uniqueness: ForgetsRenames;
    what_was_deleted_is_free_again in uniqueness: KeepsKeysOfDeleted;
}
