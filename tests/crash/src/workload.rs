//! The workload: records that follow from a slot and a version, and batches of them.
//!
//! Each writer has slots of its own, so that their expected content is exact. A version is used once in
//! the life of a store, so each record identifies the change that wrote it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use anyhow::Context as _;
use portcullis::store::{Batch, Expect, Kind, Operation, Record, Revision, UniqueKey, grants_of};
use portcullis::{GrantKey, Id, OrgId, Status, UserId};

/// The version of a slot's content; 0 is none.
pub(crate) type Version = u64;

/// The slots of one writer that have a record.
pub(crate) type State = BTreeMap<u8, Version>;

/// How many slots a writer has.
pub(crate) const SLOTS: u8 = 12;

/// What the other records of a writer refer to. It is never deleted.
const ORG: u8 = 0;
const USER: u8 = 1;
const BUCKET: u8 = 2;

/// A slot for a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Slot {
    pub(crate) writer: u8,
    pub(crate) number: u8,
}

impl Slot {
    pub(crate) fn kind(self) -> Kind {
        match self.number {
            ORG => Kind::Org,
            USER => Kind::User,
            BUCKET | 3 => Kind::Bucket,
            4 => Kind::Dbrp,
            5 => Kind::AuthorizationUse,
            _ => Kind::Authorization,
        }
    }

    pub(crate) fn id(self) -> Id {
        Id::from_u64(((u64::from(self.writer) + 1) << 32) + u64::from(self.number) + 1)
    }

    /// The record of the slot with the version, and its grants.
    pub(crate) fn record(self, version: Version) -> (Record, Vec<GrantKey>) {
        let id = self.id();
        let owner = |number| Self { number, ..self }.id();
        let (org, user) = (owner(ORG), owner(USER));
        let status = match version % 5 {
            0 => Status::Inactive,
            _ => Status::Active,
        };
        let name = self.name(version);
        let (body, owned, status) = match self.kind() {
            Kind::Bucket => {
                let body = format!(r#"{{"v":1,"id":"{id}","orgID":"{org}","name":"{name}"}}"#);
                (body, (true, false), Status::Active)
            }
            Kind::Dbrp => {
                let (bucket, policy) = (owner(BUCKET), format!("p{}", version % 3));
                let body = format!(
                    r#"{{"v":1,"id":"{id}","orgID":"{org}","database":"{name}","mappings":[{{"id":"{id}","retentionPolicy":"{policy}","bucketID":"{bucket}","default":true}}]}}"#
                );
                (body, (true, false), Status::Active)
            }
            Kind::AuthorizationUse => {
                // A member of a later version has the number.
                let body = format!(
                    r#"{{"v":1,"id":"{id}","orgID":"{org}","userID":"{user}","lastUsedAt":"2026-01-01T00:00:00Z","later":"v={version};"}}"#
                );
                (body, (true, true), Status::Active)
            }
            Kind::Authorization => {
                let grants: Vec<_> = (0..version % 7).map(|n| grant(version + n, org)).collect();
                let body = format!(
                    r#"{{"v":1,"id":"{id}","token":"{name}","status":"{status}","description":"v={version};{}","orgID":"{org}","userID":"{user}","permissions":[{}],"createdAt":"2026-01-01T00:00:00Z","updatedAt":"2026-01-01T00:00:00Z"}}"#,
                    "x".repeat(padding(version)),
                    grants.join(","),
                );
                (body, (true, true), status)
            }
            _ => {
                let body = format!(r#"{{"v":1,"id":"{id}","name":"{name}","status":"{status}"}}"#);
                (body, (false, false), status)
            }
        };
        let record = Record {
            kind: self.kind(),
            id,
            revision: self.revision(version),
            unique_key: UniqueKey::new(self.key(version)).expect("a short key"),
            org: owned.0.then(|| OrgId::from_u64(org.as_u64())),
            user: owned.1.then(|| UserId::from_u64(user.as_u64())),
            status,
            body: body.into(),
        };
        let grants = grants_of(&record).expect("a body that core can read");
        (record, grants)
    }

    /// The unique key with the version.
    pub(crate) fn key(self, version: Version) -> String {
        let name = self.name(version);
        match self.kind() {
            Kind::Bucket | Kind::Dbrp => format!("{}/{name}", Self { number: ORG, ..self }.id()),
            Kind::AuthorizationUse => self.id().to_string(),
            _ => name,
        }
    }

    /// The name with the version: most authorizations keep theirs, everything else is renamed.
    fn name(self, version: Version) -> String {
        let Self { writer, number } = self;
        match self.kind() {
            Kind::Authorization if version.is_multiple_of(4) => {
                format!("w{writer}.s{number}.{version}")
            }
            Kind::Authorization => format!("w{writer}.s{number}"),
            _ => format!("w{writer} s{number} v={version};"),
        }
    }

    fn revision(self, version: Version) -> Revision {
        Revision::from_u128(u128::from(self.id().as_u64()) << 64 | u128::from(version))
    }

    fn change(self, from: Version, to: Version) -> Operation {
        let expect = match from {
            0 => Expect::Absent,
            _ => Expect::Revision(self.revision(from)),
        };
        match (to, expect) {
            (0, Expect::Revision(expect)) => {
                Operation::Delete { kind: self.kind(), id: self.id(), expect }
            }
            (0, Expect::Absent) => Operation::Require { kind: self.kind(), id: self.id() },
            _ => {
                let (record, grants) = self.record(to);
                Operation::Put { record, grants, expect }
            }
        }
    }
}

/// One of a few grants, so that many records share one.
fn grant(number: u64, org: Id) -> String {
    match number % 6 {
        0 => format!(r#""write:orgs/{org}/buckets""#),
        1 => r#""read:users""#.to_owned(),
        2 => r#""write:instance""#.to_owned(),
        n => format!(r#""read:orgs/{org}/buckets/{n:016x}""#),
    }
}

/// Every grant that a record of the writer may be listed under.
pub(crate) fn grants(writer: u8) -> Vec<GrantKey> {
    let slots = [4, SLOTS - 1].map(|number| Slot { writer, number });
    let of = |slot: Slot| (6..6 * 7).flat_map(move |version| slot.record(version).1);
    let mut grants: Vec<_> = slots.into_iter().flat_map(of).collect();
    grants.sort_unstable();
    grants.dedup();
    grants
}

/// Most bodies are small, some are larger than a page, a few larger than the stores' inline limits.
fn padding(version: Version) -> usize {
    match version.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56 {
        0 => 300_000,
        1..=4 => 70_000,
        5..=20 => 9_000,
        other => usize::try_from(other).unwrap_or(0),
    }
}

/// Reads the version out of a record.
pub(crate) fn version_of(record: &Record) -> Option<Version> {
    let (_, rest) = record.body.split_once("v=")?;
    rest.split_once(';')?.0.parse().ok()
}

/// One change of a slot of the writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) slot: u8,
    pub(crate) from: Version,
    pub(crate) to: Version,
}

/// A batch of changes that are made together or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) changes: Vec<Change>,
    /// Whether the batch has a precondition that must fail.
    pub(crate) refused: bool,
}

impl Step {
    /// Draws the next step of a writer whose slots are in this state.
    pub(crate) fn draw(
        random: &mut fastrand::Rng,
        state: &State,
        mut version: impl FnMut() -> Version,
    ) -> Self {
        if !state.contains_key(&USER) {
            let mut create = |slot| Change { slot, from: 0, to: version() };
            return Self {
                changes: vec![create(ORG), create(USER), create(BUCKET)],
                refused: false,
            };
        }
        let mut slots: Vec<u8> = (0..SLOTS).collect();
        random.shuffle(&mut slots);
        slots.truncate(random.usize(1..=4));
        let changes = slots.into_iter().map(|slot| {
            let from = state.get(&slot).copied().unwrap_or(0);
            let delete = slot > BUCKET && from != 0 && random.u8(..4) == 0;
            let to = if delete { 0 } else { version() };
            Change { slot, from, to }
        });
        Self { changes: changes.collect(), refused: random.u8(..8) == 0 }
    }

    pub(crate) fn batch(&self, writer: u8) -> Batch {
        let slot = |number| Slot { writer, number };
        let mut batch: Batch = self
            .changes
            .iter()
            .map(|change| slot(change.slot).change(change.from, change.to))
            .collect();
        if self.refused {
            batch.push(match self.changes.len() % 3 {
                // Taken, not there, changed.
                0 => slot(ORG).change(0, u64::MAX),
                1 => slot(SLOTS).change(0, 0),
                _ => slot(USER).change(u64::MAX, 0),
            });
        }
        batch
    }

    /// The state after the step.
    pub(crate) fn after(&self, state: &State) -> State {
        let mut state = state.clone();
        for change in self.changes.iter().filter(|_| !self.refused) {
            match change.to {
                0 => state.remove(&change.slot),
                to => state.insert(change.slot, to),
            };
        }
        state
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.refused { "refuse" } else { "do" })?;
        self.changes
            .iter()
            .try_for_each(|Change { slot, from, to }| write!(f, " {slot}:{from}>{to}"))
    }
}

impl FromStr for Step {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let mut words = text.split(' ');
        let refused = words.next() == Some("refuse");
        let change = |word: &str| {
            let (slot, change) = word.split_once(':')?;
            let (from, to) = change.split_once('>')?;
            let slot = slot.parse().ok()?;
            Some(Change { slot, from: from.parse().ok()?, to: to.parse().ok()? })
        };
        let changes = words.map(|word| change(word).with_context(|| format!("a change: {word}")));
        Ok(Self { changes: changes.collect::<Result<_, _>>()?, refused })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_of_every_form_that_is_meant_and_tell_their_version() {
        for number in 0..SLOTS {
            for version in [1, 4, 5, 20, 1_000] {
                let slot = Slot { writer: 3, number };
                let (record, grants) = slot.record(version);
                assert_eq!(version_of(&record), Some(version));
                assert!(grants.iter().all(|grant| self::grants(3).contains(grant)));
            }
        }
        let sizes: Vec<_> = (1..2_000).map(padding).collect();
        assert!(sizes.contains(&300_000) && sizes.contains(&70_000) && sizes.contains(&9_000));
    }

    #[test]
    fn a_step_is_read_as_it_was_written() {
        let mut random = fastrand::Rng::with_seed(1);
        let (mut state, mut version) = (State::new(), 0);
        let mut refusals = 0;
        for _ in 0..200 {
            let step = Step::draw(&mut random, &state, || {
                version += 1;
                version
            });
            assert_eq!(step.to_string().parse::<Step>().unwrap(), step);
            refusals += usize::from(step.refused);
            state = step.after(&state);
        }
        assert!(refusals > 10 && state.len() > 4);
    }
}
