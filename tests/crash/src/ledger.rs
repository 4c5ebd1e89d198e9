//! What must be in the store, from what the child has told.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Context as _;

use crate::workload::{SLOTS, State, Step, Version};

/// How a store can break its promises. The order is from bad to worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Loss {
    /// An operation failed though nothing was wrong, or hung, or panicked.
    Misbehaved,
    /// Changes are neither told nor is there a resync.
    FeedLostChanges,
    /// The position went back.
    PositionWentBack,
    /// The store opens, and says that it is damaged.
    Damaged,
    /// A store that was being created does not open. Nothing was acknowledged.
    NewDoesNotOpen,
    /// A record is not found by what it should be found by, or by what it should not.
    WrongEntries,
    /// Something is there that was refused, deleted or never asked for.
    Phantom,
    /// A batch is there in part.
    HalfBatch,
    /// What was acknowledged is not there.
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

/// A place in the feed, as the child tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) incarnation: u128,
    pub(crate) place: u128,
}

/// What is known of one writer's records.
#[derive(Clone, Debug, Default)]
pub(crate) struct Account {
    /// What was acknowledged.
    pub(crate) state: State,
    /// What was begun and not answered.
    pub(crate) pending: Option<Step>,
    /// Whether the answer to that was that nobody knows.
    unknown: bool,
    /// States that a crash may still bring, since nobody knew and nothing was acknowledged since.
    /// What was read in between is what the process saw, and a failed sync is not undone by that.
    doubts: Vec<State>,
}

impl Account {
    /// The states that may be found.
    pub(crate) fn allowed(&self) -> Vec<State> {
        let mut allowed = vec![self.state.clone()];
        allowed.extend(self.pending.as_ref().map(|step| step.after(&self.state)));
        allowed
    }

    /// Takes what a process reads for what is there, as long as it lives.
    fn read(&mut self, found: &State) -> Result<(), Broken> {
        if self.unknown {
            let others = self.allowed().into_iter().filter(|state| state != found);
            self.doubts.extend(others.collect::<Vec<_>>());
        }
        self.settle_among(found, self.allowed())
    }

    /// Takes what was found after a crash for what is there. Tells whether it is something that
    /// a living process had read otherwise.
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

    /// Says what is wrong with a state that may not be.
    fn blame(&self, found: &State) -> Broken {
        let version = |state: &State, slot: u8| state.get(&slot).copied().unwrap_or(0);
        let after = self.pending.as_ref().map(|step| step.after(&self.state));
        // Where only a part of what was begun is there, nothing else is wrong.
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

/// What is known of a store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) accounts: BTreeMap<u8, Account>,
    /// The furthest position that was told.
    pub(crate) furthest: Option<Place>,
    /// Where the version numbers go on.
    pub(crate) next_version: Version,
    /// What was told of things that fail.
    pub(crate) tally: Tally,
    /// Whether things may fail.
    pub(crate) with_faults: bool,
}

/// How often what was told.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) begun: u64,
    pub(crate) acknowledged: u64,
    pub(crate) refused: u64,
    pub(crate) failed: u64,
    pub(crate) unknown: u64,
    pub(crate) unread: u64,
    /// How often a change of which nobody knew was read as not made, and is there after a crash,
    /// or the other way round.
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

    /// Says that the store does not open.
    pub(crate) fn unopened(&self, what: impl Into<String>) -> Broken {
        let nothing = self.accounts.values().all(|account| account.state.is_empty());
        Broken::new(if nothing { Loss::NewDoesNotOpen } else { Loss::DoesNotOpen }, what)
    }

    /// Takes a line of the child.
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

    /// Takes a position that was told, or that the store has now. Acknowledgements of different
    /// writers may overtake each other on the way here, so only an opened store is held to it.
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
    fn what_was_acknowledged_must_be_there_and_what_was_begun_may_be() {
        let told = ["state 0", "begin 0 do 0:0>1 1:0>2", "ack 0 ok 0a 3", "begin 0 do 1:2>5 2:0>6"];
        let ledger = ledger(&told);
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
    fn what_was_refused_or_failed_must_not_be_there() {
        let created = ["state 0", "begin 0 do 0:0>1", "ack 0 ok 0a 3"];
        let refused = ["begin 0 refuse 2:0>3", "ack 0 refused taken"];
        let told = ledger(&[&created[..], &refused[..]].concat());
        assert_eq!(verdict(&told, &[(0, 1)]), None);
        assert_eq!(verdict(&told, &[(0, 1), (2, 3)]), Some(Loss::Phantom));
        let mut told = ledger(&created);
        told.with_faults = true;
        for line in ["begin 0 do 0:1>3", "ack 0 failed no space"] {
            told.take(line).unwrap();
        }
        assert_eq!(verdict(&told, &[(0, 3)]), Some(Loss::Phantom));
    }

    #[test]
    fn what_nobody_knows_is_either_until_something_is_acknowledged() {
        let mut told = ledger(&["state 0", "begin 0 do 0:0>1", "ack 0 ok 0a 3"]);
        told.with_faults = true;
        told.take("begin 0 do 0:1>4").unwrap();
        told.take("ack 0 unknown sync failed").unwrap();
        assert_eq!(verdict(&told, &[(0, 1)]), None);
        assert_eq!(verdict(&told, &[(0, 4)]), None);
        told.take("state 0 0:1").unwrap();
        assert_eq!(verdict(&told, &[(0, 1)]), None);
        assert_eq!(verdict(&told, &[(0, 4)]), None);
        told.take("begin 0 do 2:0>5").unwrap();
        assert_eq!(verdict(&told, &[(0, 4), (2, 5)]), Some(Loss::Phantom));
        told.take("ack 0 ok 0a 4").unwrap();
        assert_eq!(verdict(&told, &[(0, 1), (2, 5)]), None);
        assert_eq!(verdict(&told, &[(0, 4)]), Some(Loss::LostAcknowledged));
    }

    #[test]
    fn what_had_to_be_refused_and_was_not_is_noticed() {
        let mut told = ledger(&["state 0", "begin 0 refuse 2:0>3"]);
        assert_eq!(told.take("ack 0 ok 0a 3").unwrap_err().loss, Loss::Phantom);
        let mut told = ledger(&["state 0", "begin 0 do 2:0>3"]);
        assert_eq!(told.take("ack 0 refused taken").unwrap_err().loss, Loss::Misbehaved);
        assert_eq!(told.take("ack 0 failed disk").unwrap_err().loss, Loss::Misbehaved);
    }
}
