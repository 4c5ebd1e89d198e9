"""The history of every record, and whether a later response is consistent with it.

Each record has one owner in the test, which changes it step by step, so that its history is a list. An
`acked` change has happened, a `refused` one has not. An `unknown` one may have happened, but not after a
later acknowledged change, which waited for it. A `lingering` one may happen at any time.
"""

import threading
import time
from dataclasses import dataclass, field, replace


# Two polls of a node for changes, and time for a busy machine: a node may not have received a change that
# was made so shortly before an outage.
UNHEARD = 0.5


@dataclass(frozen=True)
class State:
    """The state of a record at a moment."""

    exists: bool = False
    active: bool = True
    password: str | None = None
    description: str = ""

    def admits(self, password):
        return self.exists and self.active and password is not None and self.password == password

    def shows(self, record):
        """Whether a read of this state returns the record, or none."""
        if record is None:
            return not self.exists
        status = "active" if self.active else "inactive"
        return self.exists and record["status"] == status and record["description"] == self.description


@dataclass
class Change:
    """A requested change: new values of members of the state."""

    what: dict
    begin: float
    end: float | None = None
    outcome: str | None = None

    def applied(self, states):
        """The states after it, from those before it."""
        if not self.what.get("exists", True):
            return {replace(state, exists=False) for state in states}
        if "exists" in self.what:
            return {replace(state, **self.what) for state in states}
        # A deleted record stays deleted.
        return {replace(state, **self.what) if state.exists else state for state in states}


@dataclass(eq=False)
class Record:
    """A record's history."""

    name: str
    id: str | None = None
    changes: list = field(default_factory=list)

    def begins(self, **what):
        change = Change(what, time.monotonic())
        self.changes.append(change)
        return change

    def possible(self, since, until):
        """Every state that may be read at some time between the two."""
        states, lingering, seen = {State()}, [], set()
        for change in list(self.changes):
            if change.begin > until:
                break
            before = states
            if change.outcome == "acked":
                states = change.applied(before)
            elif change.outcome == "refused":
                states = before
            else:
                states = before | change.applied(before)
            if change.outcome == "lingering":
                lingering.append(change)
            for late in lingering:
                states = states | late.applied(states)
            if change.end is None or change.end >= since:
                seen |= before | states
        return seen | states

    def passwords(self):
        """Every password that was requested for it."""
        return [change.what["password"] for change in self.changes if "password" in change.what]


class Ledger:
    """All histories, and the violations that were found."""

    def __init__(self, max_staleness):
        self.max_staleness = max_staleness
        self.records, self.wrong, self.counts = [], [], {}
        self.acked_at, self.races = [], []
        # Outages with stale-if-error: begin, and end if it is over.
        self.stale_periods = []
        self.lock = threading.Lock()

    def record(self, name):
        record = Record(name)
        with self.lock:
            self.records.append(record)
        return record

    def count(self, what, number=1):
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + number

    def says(self, what):
        """Records a violation."""
        with self.lock:
            self.wrong.append(what)

    def ends(self, change, answer, server):
        """Records the outcome of a change, and returns it."""
        change.end, change.outcome = answer.received, answer.outcome
        self.count(f"changes {answer.outcome}")
        if answer.outcome == "acked":
            with self.lock:
                self.acked_at.append((answer.received, server))
        return answer.outcome

    def login(self, record, password, answer, server):
        """Checks the response to a login. A login may be admitted by a state of up to `max_staleness` ago;
        it may be refused only by the present one."""
        if answer.status == 204:
            self.count("logins let in")
            states = record.possible(answer.sent - self.max_staleness, answer.received)
            right = any(state.admits(password) for state in states)
            if not right and self.may_be_unheard(record, password, answer):
                self.count("logins admitted by a password that was changed just before an outage")
                right = True
        elif answer.status == 401:
            self.count("logins refused")
            states = record.possible(answer.sent, answer.received)
            right = not all(state.admits(password) for state in states)
        else:
            self.count("logins unavailable")
            return
        if not right:
            self.says(
                f"{server}: {record.name} with {password} got {answer.status} at "
                f"{answer.sent:.3f}..{answer.received:.3f}: {story(record)}"
            )

    def may_be_unheard(self, record, password, answer):
        """Whether the login was stale, and the password was changed so shortly before the outage that the
        node may not have received the event."""
        for begin, end in self.stale_periods:
            if answer.received >= begin and (end is None or answer.sent <= end + self.max_staleness):
                states = record.possible(begin - UNHEARD, begin)
                if any(state.admits(password) for state in states):
                    return True
        return False

    def seen(self, record, shown, answer, server):
        """Checks the result of a read."""
        self.count("reads checked")
        states = record.possible(answer.sent, answer.received)
        if not any(state.shows(shown) for state in states):
            self.says(
                f"{server}: {record.name} was read as {shown} at {answer.sent:.3f}.."
                f"{answer.received:.3f}: {story(record)}"
            )

    def race(self, name, attempts, found):
        """Checks a name that several nodes created at once: `attempts` are (description, answer) each, and
        `found` are the records with that name, which are not changed meanwhile."""
        self.count("names raced for")
        winners = [one for one, answer in attempts if answer.outcome == "acked"]
        maybe = [one for one, answer in attempts if answer.outcome in ("unknown", "lingering")]
        shown = [record["description"] for record in found]
        taken = any(answer.status == 422 for _, answer in attempts)
        outcomes = [(one, answer.outcome, answer.status) for one, answer in attempts]
        if len(winners) > 1:
            self.says(f"{name} has several winners: {outcomes}")
        elif winners and shown != winners:
            self.says(f"{name} is not the winner's: {outcomes}, and there is {shown}")
        elif len(shown) > 1 or any(one not in maybe for one in shown if not winners):
            self.says(f"{name} has an owner that cannot have won: {outcomes}, and there is {shown}")
        elif taken and not winners and not maybe:
            self.says(f"{name} is taken, and has no owner: {outcomes}")


def story(record):
    """The last changes of a record, as text."""
    lines = []
    for change in record.changes[-6:]:
        end = "..." if change.end is None else f"{change.end:.3f}"
        lines.append(f"{change.what} {change.begin:.3f}..{end} {change.outcome}")
    return "; ".join(lines)
