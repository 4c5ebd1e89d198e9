//! The rules, by theme. Each panics if the store breaks it.

use std::fmt;

use futures_util::future::BoxFuture;

use crate::harness::{Harness, run};

pub mod atomicity;
pub mod cancellation;
pub mod concurrency;
pub mod feed;
pub mod handles;
pub mod identity;
pub mod lifecycle;
pub mod lists;
pub mod reads_and_writes;
pub mod uniqueness;

/// Passes the names of all rules to another macro: the one list of them.
#[doc(hidden)]
#[macro_export]
macro_rules! __each_rule {
    ($($then:tt)+) => {
        $($then)+! {
            atomicity {
                a_batch_is_refused_for_any_of_its_operations,
                a_batch_over_the_bound_is_refused,
                a_refused_batch_changes_nothing,
                keys_are_freed_and_taken_within_a_batch,
                large_batches_are_whole,
                operations_see_the_effects_of_earlier_ones,
                random_batches_agree_with_a_model,
            }
            cancellation {
                a_commit_may_be_dropped_at_any_await,
                a_dropped_commit_is_done_in_full_or_not_at_all,
                a_dropped_read_of_the_feed_loses_no_change,
                aborted_tasks_leave_whole_batches,
                an_engine_continues_after_dropped_operations,
                a_dropped_setup_is_done_in_full_or_not_at_all,
                dropped_reads_do_no_harm,
            }
            concurrency {
                a_commit_is_visible_to_every_reader_at_once,
                a_freed_key_goes_to_one,
                a_page_never_shows_half_a_batch,
                many_lookups_never_show_half_a_batch,
                a_storm_leaves_records_and_indexes_in_agreement,
                increments_are_not_lost,
                of_a_put_and_a_delete_one_wins,
                of_setups_at_the_same_time_one_wins,
                of_two_deletes_one_wins,
                of_two_renames_to_a_name_one_wins,
                one_wins_an_id,
                one_wins_a_key,
                reads_never_go_back,
            }
            feed {
                a_foreign_position_gets_a_resync,
                a_refused_batch_is_not_reported,
                a_waiting_watcher_is_woken,
                a_watcher_of_an_idle_store_is_soon_fresh,
                dropped_watchers_do_no_harm,
                every_change_is_reported_in_order,
                every_position_can_be_watched_from,
                every_watcher_gets_every_change,
                freshness_follows_every_earlier_commit,
                freshness_is_reported_repeatedly,
                freshness_is_reported_during_writes,
                the_position_changes_with_records_only,
                watchers_end_when_the_store_is_closed,
                an_old_position_gets_every_change_or_a_resync,
                a_slow_watcher_gets_every_change_or_a_resync,
            }
            handles {
                a_change_is_read_through_the_other_handle_at_once,
                a_change_is_reported_to_the_other_handle_soon,
                an_id_and_a_key_have_one_holder_across_handles,
                closing_one_handle_leaves_the_others_open,
                freshness_follows_the_commits_of_other_handles,
                increments_through_several_handles_are_not_lost,
                positions_are_valid_on_the_other_handle,
            }
            identity {
                names_over_the_bound_are_refused,
                names_are_compared_byte_by_byte,
                similar_names_can_be_renamed_into_each_other,
                the_longest_names_are_compared_to_the_last_byte,
            }
            lifecycle {
                a_closed_store_refuses_everything,
                a_reopened_store_has_everything,
                closing_finishes_commits_in_progress,
                closing_twice_is_fine,
                positions_outlive_a_reopening_or_get_a_resync,
            }
            lists {
                a_changed_record_moves_between_lists,
                a_hundred_thousand_records_are_listed_once,
                a_page_is_no_longer_than_its_limit,
                a_record_is_listed_once_under_each_of_its_grants,
                an_index_lists_exactly_its_records,
                deleted_records_vanish_from_lists,
                kinds_are_listed_apart,
                lists_ascend_by_id,
                pages_hold_every_record_once,
                ten_thousand_records_are_listed_once,
                the_cursor_is_exclusive,
                what_stays_is_listed_once_while_others_come_and_go,
            }
            reads_and_writes {
                a_delete_leaves_nothing_behind,
                a_delete_of_another_revision_is_a_conflict,
                a_delete_of_nothing_is_missing,
                a_put_in_place_of_another_revision_is_a_conflict,
                a_put_in_place_of_nothing_is_missing,
                a_put_replaces_what_it_expects,
                a_record_comes_back_as_it_was_put,
                a_requirement_is_met_by_what_is_there,
                an_empty_batch_changes_nothing,
                bodies_come_back_byte_by_byte,
                ids_have_64_bits_and_no_sign,
                many_lookups_find_what_each_finds,
                nothing_is_found_where_nothing_was_put,
                revisions_have_128_bits,
                texts_that_are_no_key_find_nothing,
            }
            uniqueness {
                a_record_does_not_collide_with_itself,
                a_rename_frees_the_old_name_and_takes_the_new_one,
                a_rename_onto_a_taken_name_changes_nothing,
                a_taken_id_is_refused,
                a_taken_key_is_refused,
                kinds_do_not_share_ids_or_keys,
                names_can_be_swapped_by_way_of_a_third,
                what_was_deleted_is_free_again,
            }
        }
    };
}

/// A rule with its name, for other test runners than Rust's.
pub struct Rule {
    theme: &'static str,
    name: &'static str,
    check: for<'a> fn(&'a Harness) -> BoxFuture<'a, ()>,
}

impl Rule {
    /// Returns the name of its module.
    pub const fn theme(&self) -> &'static str {
        self.theme
    }

    /// Returns its name within the module.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Runs it on a runtime of its own.
    ///
    /// # Panics
    ///
    /// If the store breaks it.
    pub fn run(&self, harness: &Harness) {
        run(harness, self.check);
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}::{}", self.theme, self.name)
    }
}

macro_rules! listed {
    ($($theme:ident { $($rule:ident,)+ })+) => {
        &[$($(Rule {
            theme: stringify!($theme),
            name: stringify!($rule),
            check: |harness| Box::pin($theme::$rule(harness)),
        },)+)+]
    };
}

/// All rules.
pub const RULES: &[Rule] = crate::__each_rule!(listed);

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn no_rule_is_forgotten() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/rules");
        let mut written = BTreeSet::new();
        for file in std::fs::read_dir(directory).unwrap() {
            let path = file.unwrap().path();
            let theme = path.file_stem().unwrap().to_str().unwrap().to_owned();
            for line in std::fs::read_to_string(&path).unwrap().lines() {
                if let Some(rest) = line.strip_prefix("pub async fn ") {
                    let (name, _) = rest.split_once('(').unwrap();
                    written.insert(format!("{theme}::{name}"));
                }
            }
        }
        let listed: BTreeSet<_> = RULES.iter().map(|rule| format!("{rule:?}")).collect();
        assert_eq!(written, listed);
        assert_eq!(listed.len(), RULES.len());
    }
}
