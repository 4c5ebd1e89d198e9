#!/usr/bin/env python3
"""Invented histories: the ledger finds each violation, and reports nothing else."""

import unittest

from client import Answer
from ledger import Change, Ledger, Record


def answer(status, sent, received=None, why=""):
    return Answer(status, None, sent, sent + 0.01 if received is None else received, why)


MAYBE = Answer(503, {"message": "the change may or may not have been made: read it before you try again"}, 0, 1)


def record(*changes):
    """A record that was created at 0 with the password `old`, and changed then: (what, begin, end,
    outcome) each."""
    first = Change({"exists": True, "password": "old", "description": "first"}, 0, 1, "acked")
    return Record("name", "1", [first, *(Change(*change) for change in changes)])


def shown(description, status="active"):
    return {"description": description, "status": status}


class Answers(unittest.TestCase):
    def test_outcomes_of_changes(self):
        self.assertEqual(answer(204, 0).outcome, "acked")
        self.assertEqual(answer(422, 0).outcome, "refused")
        self.assertEqual(answer(503, 0).outcome, "refused")
        self.assertEqual(MAYBE.outcome, "unknown")
        self.assertEqual(answer(500, 0).outcome, "unknown")
        self.assertEqual(answer(None, 0, why="lingering").outcome, "lingering")


class Case(unittest.TestCase):
    def setUp(self):
        self.ledger = Ledger(2.0)

    def finds(self, *what):
        self.assertEqual(len(self.ledger.wrong), 1, (self.ledger.wrong, what))
        self.ledger.wrong.clear()

    def finds_nothing(self, *what):
        self.assertEqual(self.ledger.wrong, [], what)


class Logins(Case):
    def login(self, record, password, status, sent, received=None):
        self.ledger.login(record, password, answer(status, sent, received), "A")

    def test_with_stale_if_error_an_old_password_is_admitted_if_it_was_changed_just_before(self):
        for acked, stale_periods in ((11.8, [(12, None)]), (11.8, [(12, 20)])):
            self.ledger.stale_periods = stale_periods
            changed = record(({"password": "new"}, 11, acked, "acked"))
            self.login(changed, "old", 204, 19)
            self.finds_nothing(stale_periods)
        # Long enough before the outage; after it; in another one.
        for acked, stale_periods in ((11.4, [(12, None)]), (11.8, [(12, 16)]), (11.8, [(20, None)]), (11.8, [])):
            self.ledger.stale_periods = stale_periods
            changed = record(({"password": "new"}, 11, acked, "acked"))
            self.login(changed, "old", 204, 19)
            self.finds(stale_periods)

    def test_an_old_password_is_admitted_for_two_seconds_and_no_longer(self):
        for what in ({"password": "new"}, {"active": False}, {"exists": False}):
            changed = record((what, 10, 11, "acked"))
            self.login(changed, "old", 204, 12.9)
            self.finds_nothing(what)
            self.login(changed, "old", 204, 13.1)
            self.finds(what)

    def test_an_acknowledged_change_is_not_lost(self):
        changed = record(({"password": "new"}, 10, 11, "acked"))
        self.login(changed, "new", 401, 10.5)
        self.finds_nothing()
        self.login(changed, "new", 401, 11.1)
        self.finds()
        self.login(record(), "old", 401, 20)
        self.finds()

    def test_a_refused_change_has_not_happened(self):
        refused = record(({"password": "new"}, 10, 11, "refused"))
        self.login(refused, "old", 204, 20)
        self.login(refused, "new", 401, 20)
        self.finds_nothing()
        self.login(refused, "new", 204, 20)
        self.finds()
        self.login(refused, "old", 401, 20)
        self.finds()

    def test_an_unknown_change_is_settled_by_a_later_one(self):
        unknown = record(({"password": "maybe"}, 10, 11, "unknown"))
        for password, status in (("old", 204), ("old", 401), ("maybe", 204), ("maybe", 401)):
            self.login(unknown, password, status, 20)
        self.finds_nothing()
        unknown.changes.append(Change({"password": "new"}, 30, 31, "acked"))
        for password in ("old", "maybe"):
            self.login(unknown, password, 204, 33.5)
            self.finds(password)

    def test_a_lingering_change_may_happen_later(self):
        lingering = record(
            ({"password": "late"}, 10, 11, "lingering"), ({"password": "new"}, 30, 31, "acked")
        )
        self.login(lingering, "late", 204, 40)
        self.finds_nothing()
        self.login(lingering, "old", 204, 40)
        self.finds()

    def test_a_login_during_a_change_may_have_either_result(self):
        changing = record(({"password": "new"}, 10, None, None))
        for password in ("old", "new"):
            for status in (204, 401):
                self.login(changing, password, status, 20)
        self.finds_nothing()

    def test_unavailable_is_never_wrong(self):
        self.login(record(), "old", 503, 20)
        self.login(record(), "old", None, 20)
        self.finds_nothing()


class Reads(Case):
    def seen(self, record, shown, sent):
        self.ledger.seen(record, shown, answer(200, sent), "A")

    def test_a_read_shows_the_last_change_on_every_node_at_once(self):
        changed = record(({"description": "second"}, 10, 11, "acked"))
        self.seen(changed, shown("second"), 11.1)
        self.finds_nothing()
        self.seen(changed, shown("first"), 11.1)
        self.finds()
        self.seen(changed, None, 11.1)
        self.finds()

    def test_a_refused_change_is_not_visible(self):
        self.seen(record(({"description": "second"}, 10, 11, "refused")), shown("second"), 10.5)
        self.finds()

    def test_a_deleted_record_does_not_come_back(self):
        deleted = record(({"exists": False}, 10, 11, "acked"))
        self.seen(deleted, None, 12)
        self.finds_nothing()
        self.seen(deleted, shown("first"), 12)
        self.finds()
        # A change that comes too late does not bring it back either.
        deleted.changes.append(Change({"description": "second"}, 12, 13, "unknown"))
        self.seen(deleted, shown("second"), 14)
        self.finds()


class Races(Case):
    def race(self, attempts, found):
        self.ledger.race("name", attempts, [shown(description) for description in found])

    def test_one_wins(self):
        won, taken = answer(201, 0), answer(422, 0)
        self.race([("a", won), ("b", taken), ("c", taken)], ["a"])
        self.finds_nothing()
        for attempts, found in (
            ([("a", won), ("b", won)], ["a"]),
            ([("a", won), ("b", taken)], []),
            ([("a", won), ("b", taken)], ["b"]),
            ([("a", won), ("b", MAYBE)], ["a", "b"]),
            ([("a", taken), ("b", taken)], []),
            ([("a", answer(503, 0))], ["a"]),
        ):
            self.race(attempts, found)
            self.finds(attempts, found)

    def test_the_winner_may_be_unknown(self):
        taken = answer(422, 0)
        for found in ([], ["a"]):
            self.race([("a", MAYBE), ("b", taken), ("c", answer(503, 0))], found)
        self.finds_nothing()


if __name__ == "__main__":
    unittest.main()
