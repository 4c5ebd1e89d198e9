//! The expected content of the store, from the reports of the child.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Context as _;

use crate::workload::{SLOTS, State, Step, Version};

/// How a store can break its promises. The order is from bad to worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Loss {
    /// An operation failed though nothing was wrong, or hung, or panicked.
    Misbehaved,
    /// Changes are not reported by the feed, and there is no resync.
    FeedLostChanges,
    /// The position went back.
    PositionWentBack,
    /// The store opens, and reports that it is damaged.
    Damaged,
    /// A store that was being created does not open. Nothing was acknowledged.
    NewDoesNotOpen,
    /// A record is not found by one of its keys, or is found by a key that is not its own.
    WrongEntries,
    /// A record is there that was refused, deleted or never requested.
    Phantom,
    /// A batch is there in part.
    HalfBatch,
    /// An acknowledged batch is not there.
    LostAcknowledged,
    /// The store does not open.
    DoesNotOpen,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Misbehaved => "misbehaved",
            Self::FeedLostChanges => "feed lost changes",
            Self::PositionWentBack => "position went back",
            Self::Damaged => "damaged",
            Self::NewDoesNotOpen => "does not open, was being created",
            Self::WrongEntries => "wrong entries",
            Self::Phantom => "phantom",
            Self::HalfBatch => "half a batch",
            Self::LostAcknowledged => "lost what was acknowledged",
            Self::DoesNotOpen => "does not open",
        })
    }
}

/// A promise that was broken, and where.
#[derive(Clone, Debug)]
pub(crate) struct Broken {
    pub(crate) loss: Loss,
    pub(crate) what: String,
}

impl Broken {
    pub(crate) fn new(loss: Loss, what: impl Into<String>) -> Self {
        Self { loss, what: what.into() }
    }
}

/// A position in the feed, as the child reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) incarnation: u128,
    pub(crate) place: u128,
}

/// The expected records of one writer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Account {
    /// The acknowledged state.
    pub(crate) state: State,
    /// The step that was begun and not acknowledged.
    pub(crate) pending: Option<Step>,
    /// Whether the outcome of that step is ambiguous.
    unknown: bool,
    /// States that a crash may still bring back: those of ambiguous steps, as long as nothing was
    /// acknowledged since. A read in between settles them only for the process, not for the disk.
    doubts: Vec<State>,
}

impl Account {
    /// The states that may be found.
    pub(crate) fn allowed(&self) -> Vec<State> {
        let mut allowed = vec![self.state.clone()];
        allowed.extend(self.pending.as_ref().map(|step| step.after(&self.state)));
        allowed
    }

    /// Accepts the state that a process reads, for as long as the process lives.
    fn read(&mut self, found: &State) -> Result<(), Broken> {
        if self.unknown {
            let others = self.allowed().into_iter().filter(|state| state != found);
            self.doubts.extend(others.collect::<Vec<_>>());
        }
        self.settle_among(found, self.allowed())
    }

    /// Accepts the state that was found after a crash. Returns whether a living process had read
    /// another one.
    pub(crate) fn settle(&mut self, found: &State) -> Result<bool, Broken> {
        let mut allowed = self.allowed();
        let came_back = !allowed.contains(found) && self.doubts.contains(found);
        allowed.append(&mut self.doubts);
        self.settle_among(found, allowed)?;
        Ok(came_back)
    }

    fn settle_among(&mut self, found: &State, allowed: Vec<State>) -> Result<(), Broken> {
        if let Some(state) = allowed.into_iter().find(|state| state == found) {
            self.state = state;
            self.pending = None;
            self.unknown = false;
            return Ok(());
        }
        Err(self.blame(found))
    }

    /// Describes why a state is not allowed.
    fn blame(&self, found: &State) -> Broken {
        let version = |state: &State, slot: u8| state.get(&slot).copied().unwrap_or(0);
        let after = self.pending.as_ref().map(|step| step.after(&self.state));
        // If only a part of the begun step is there, that is the only violation.
        let mut loss = None;
        let mut what = Vec::new();
        for slot in 0..SLOTS {
            let (expected, found) = (version(&self.state, slot), version(found, slot));
            let pending = after.as_ref().map(|after| version(after, slot));
            if found == expected {
                continue;
            }
            what.push(format!("{slot}: {found} instead of {expected} (pending {pending:?})"));
            if pending == Some(found) {
                continue;
            }
            // Without a record, or with one from before.
            let lost = found < expected;
            loss = loss.max(Some(if lost { Loss::LostAcknowledged } else { Loss::Phantom }));
        }
        Broken::new(loss.unwrap_or(Loss::HalfBatch), what.join(", "))
    }
}

/// The expected content of a store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) accounts: BTreeMap<u8, Account>,
    /// The highest position that was reported.
    pub(crate) furthest: Option<Place>,
    /// The next version number.
    pub(crate) next_version: Version,
    /// The reported failures.
    pub(crate) tally: Tally,
    /// Whether failures are expected.
    pub(crate) with_faults: bool,
}

/// Counters of reported outcomes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) begun: u64,
    pub(crate) acknowledged: u64,
    pub(crate) refused: u64,
    pub(crate) failed: u64,
    pub(crate) unknown: u64,
    pub(crate) unread: u64,
    /// How often an ambiguous change was read as not made, and is there after a crash, or the other
    /// way round.
    pub(crate) came_back: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.begun += other.begun;
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.failed += other.failed;
        self.unknown += other.unknown;
        self.unread += other.unread;
        self.came_back += other.came_back;
    }
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self { next_version: 1, ..Self::default() }
    }

    /// The loss of a store that does not open.
    pub(crate) fn unopened(&self, what: impl Into<String>) -> Broken {
        let nothing = self.accounts.values().all(|account| account.state.is_empty());
        Broken::new(if nothing { Loss::NewDoesNotOpen } else { Loss::DoesNotOpen }, what)
    }

    /// Applies a line of the child.
    pub(crate) fn take(&mut self, line: &str) -> Result<(), Broken> {
        let read = self.try_take(line);
        read.unwrap_or_else(|error| {
            Err(Broken::new(Loss::Misbehaved, format!("cannot understand `{line}`: {error:#}")))
        })
    }

    fn try_take(&mut self, line: &str) -> anyhow::Result<Result<(), Broken>> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "start" | "done" | "closing" | "closed" => return Ok(Ok(())),
            "opened" => return Ok(self.advance(read_place(rest)?)),
            "failed" | "unopened" | "unclosed" => return Ok(self.fault(line)),
            "panicked" => return Ok(Err(Broken::new(Loss::Misbehaved, line))),
            _ => {}
        }
        let (writer, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        let writer: u8 = writer.parse().context("a writer")?;
        let account = self.accounts.entry(writer).or_default();
        match word {
            "begin" => {
                let step: Step = rest.parse()?;
                let highest = step.changes.iter().map(|change| change.to).max().unwrap_or(0);
                self.next_version = self.next_version.max(highest + 1);
                account.pending = Some(step);
                account.unknown = false;
                self.tally.begun += 1;
                Ok(Ok(()))
            }
            "state" => {
                let slots = rest.split(' ').filter(|slot| !slot.is_empty());
                let found = slots.map(|slot| {
                    let (slot, version) = slot.split_once(':')?;
                    Some((slot.parse().ok()?, version.parse().ok()?))
                });
                let found: Option<State> = found.collect();
                let settled = account.read(&found.context("a state")?);
                Ok(settled.map_err(|broken| Broken {
                    what: format!("writer {writer} reads {}", broken.what),
                    ..broken
                }))
            }
            "unread" => {
                self.tally.unread += 1;
                Ok(self.fault(line))
            }
            "ack" => {
                let (outcome, rest) = rest.split_once(' ').unwrap_or((rest, ""));
                let step = account.pending.clone().context("nothing was begun")?;
                match outcome {
                    "ok" if step.refused => {
                        Ok(Err(Broken::new(Loss::Phantom, format!("not refused: {step}"))))
                    }
                    "ok" => {
                        account.state = step.after(&account.state);
                        account.pending = None;
                        account.doubts.clear();
                        self.tally.acknowledged += 1;
                        Ok(self.advance(read_place(rest)?))
                    }
                    "refused" if step.refused => {
                        account.pending = None;
                        self.tally.refused += 1;
                        Ok(Ok(()))
                    }
                    "failed" => {
                        account.pending = None;
                        self.tally.failed += 1;
                        Ok(self.fault(line))
                    }
                    "unknown" => {
                        account.unknown = true;
                        self.tally.unknown += 1;
                        Ok(self.fault(line))
                    }
                    _ => Ok(Err(Broken::new(Loss::Misbehaved, format!("{line} to {step}")))),
                }
            }
            _ => anyhow::bail!("unknown"),
        }
    }

    fn fault(&self, line: &str) -> Result<(), Broken> {
        match self.with_faults {
            true => Ok(()),
            false => Err(Broken::new(Loss::Misbehaved, line)),
        }
    }

    /// Applies a reported position, or that of the opened store. Reports of different writers may
    /// overtake each other, so only the position of an opened store must not go back.
    fn advance(&mut self, place: Place) -> Result<(), Broken> {
        match self.furthest {
            Some(furthest) if furthest.incarnation == place.incarnation => {
                self.furthest = Some(Place { place: furthest.place.max(place.place), ..place });
            }
            _ => self.furthest = Some(place),
        }
        Ok(())
    }
}

fn read_place(text: &str) -> anyhow::Result<Place> {
    let (incarnation, place) = text.split_once(' ').context("a place")?;
    Ok(Place { incarnation: u128::from_str_radix(incarnation, 16)?, place: place.parse()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(lines: &[&str]) -> Ledger {
        let mut ledger = Ledger::new();
        for line in lines {
            ledger.take(line).unwrap();
        }
        ledger
    }

    fn verdict(ledger: &Ledger, found: &[(u8, Version)]) -> Option<Loss> {
        let mut account = ledger.accounts[&0].clone();
        account.settle(&found.iter().copied().collect()).err().map(|broken| broken.loss)
    }

    #[test]
    fn acknowledged_steps_must_be_there_and_begun_ones_may_be() {
        let lines =
            ["state 0", "begin 0 do 0:0>1 1:0>2", "ack 0 ok 0a 3", "begin 0 do 1:2>5 2:0>6"];
        let ledger = ledger(&lines);
        assert_eq!(verdict(&ledger, &[(0, 1), (1, 2)]), None);
        assert_eq!(verdict(&ledger, &[(0, 1), (1, 5), (2, 6)]), None);
        assert_eq!(verdict(&ledger, &[(0, 1), (1, 5)]), Some(Loss::HalfBatch));
        assert_eq!(verdict(&ledger, &[(1, 2)]), Some(Loss::LostAcknowledged));
        assert_eq!(verdict(&ledger, &[]), Some(Loss::LostAcknowledged));
        assert_eq!(verdict(&ledger, &[(0, 1), (1, 2), (3, 4)]), Some(Loss::Phantom));
        assert_eq!(ledger.next_version, 7);
        assert_eq!(ledger.furthest, Some(Place { incarnation: 10, place: 3 }));
    }

    #[test]
    fn refused_or_failed_steps_must_not_be_there() {
        let created = ["state 0", "begin 0 do 0:0>1", "ack 0 ok 0a 3"];
        let refused = ["begin 0 refuse 2:0>3", "ack 0 refused taken"];
        let state = ledger(&[&created[..], &refused[..]].concat());
        assert_eq!(verdict(&state, &[(0, 1)]), None);
        assert_eq!(verdict(&state, &[(0, 1), (2, 3)]), Some(Loss::Phantom));
        let mut state = ledger(&created);
        state.with_faults = true;
        for line in ["begin 0 do 0:1>3", "ack 0 failed no space"] {
            state.take(line).unwrap();
        }
        assert_eq!(verdict(&state, &[(0, 3)]), Some(Loss::Phantom));
    }

    #[test]
    fn an_ambiguous_step_may_be_there_or_not_until_the_next_acknowledgement() {
        let mut state = ledger(&["state 0", "begin 0 do 0:0>1", "ack 0 ok 0a 3"]);
        state.with_faults = true;
        state.take("begin 0 do 0:1>4").unwrap();
        state.take("ack 0 unknown sync failed").unwrap();
        assert_eq!(verdict(&state, &[(0, 1)]), None);
        assert_eq!(verdict(&state, &[(0, 4)]), None);
        state.take("state 0 0:1").unwrap();
        assert_eq!(verdict(&state, &[(0, 1)]), None);
        assert_eq!(verdict(&state, &[(0, 4)]), None);
        state.take("begin 0 do 2:0>5").unwrap();
        assert_eq!(verdict(&state, &[(0, 4), (2, 5)]), Some(Loss::Phantom));
        state.take("ack 0 ok 0a 4").unwrap();
        assert_eq!(verdict(&state, &[(0, 1), (2, 5)]), None);
        assert_eq!(verdict(&state, &[(0, 4)]), Some(Loss::LostAcknowledged));
    }

    #[test]
    fn a_step_that_had_to_be_refused_and_was_not_is_detected() {
        let mut state = ledger(&["state 0", "begin 0 refuse 2:0>3"]);
        assert_eq!(state.take("ack 0 ok 0a 3").unwrap_err().loss, Loss::Phantom);
        let mut state = ledger(&["state 0", "begin 0 do 2:0>3"]);
        assert_eq!(state.take("ack 0 refused taken").unwrap_err().loss, Loss::Misbehaved);
        assert_eq!(state.take("ack 0 failed disk").unwrap_err().loss, Loss::Misbehaved);
    }
}
