//! A run of steps: on the store under test, on a memory store beside it, and on the model.

use std::sync::Arc;
use std::time::Duration;

use portcullis::password::PasswordPolicy;
use portcullis::snapshot::Snapshot;
use portcullis::store::{MemoryStore, Store};
use portcullis::{CacheConfig, Clock, Engine};

use super::Report;
use super::action::{Action, Answer};
use super::compare::Comparison;
use super::perform::perform;
use super::state::State;
use super::step::{CreateStep, Grant, Op, Pick, Run, Scope, Step};
use crate::engines::{HandClock, SeededRandom, cheap_hashing};
use crate::harness::{Harness, Place};

/// After how many steps everything is looked up, in every way.
const LOOK_EVERY: usize = 12;

/// How many steps are taken in the same millisecond: fewer than there are ids of it.
const STEPS_OF_A_MILLISECOND: usize = 6;

/// Engines over one store. They draw from the same row of numbers.
struct Subject {
    name: &'static str,
    stores: Vec<Arc<dyn Store>>,
    engines: Vec<Engine>,
    clock: HandClock,
    random: SeededRandom,
    strong: bool,
    /// Whether its engines answer from memory what they can.
    remembers: bool,
}

impl Subject {
    async fn start(
        name: &'static str,
        stores: Vec<Arc<dyn Store>>,
        clock: &HandClock,
        strong: bool,
        remembers: bool,
    ) -> Result<Self, String> {
        let mut subject = Self {
            name,
            stores: Vec::new(),
            engines: Vec::new(),
            clock: clock.clone(),
            random: SeededRandom::new(1),
            strong,
            remembers,
        };
        subject.restart(stores).await?;
        Ok(subject)
    }

    /// Starts an engine on each of the handles.
    async fn restart(&mut self, stores: Vec<Arc<dyn Store>>) -> Result<(), String> {
        self.engines.clear();
        let cache = match (self.remembers, &stores[..]) {
            (false, _) => CacheConfig::off(),
            (true, [_]) => CacheConfig::default(),
            // Each is to know at once what the others have changed.
            (true, _) => CacheConfig::default().max_staleness(Duration::ZERO),
        };
        let policy = if self.strong { PasswordPolicy::strong() } else { PasswordPolicy::default() };
        for store in &stores {
            let engine = Engine::builder(Arc::clone(store))
                .hashing(cheap_hashing(1))
                .password_policy(policy.clone())
                .clock(self.clock.clone())
                .random(self.random.clone())
                .cache(cache)
                .no_throttle()
                // It would happen at some time or other.
                .rehash_on_login(false)
                .build()
                .await
                .map_err(|error| format!("an engine on {}: {error}", self.name))?;
            self.engines.push(engine);
        }
        self.stores = stores;
        Ok(())
    }

    fn engine(&self, second_handle: bool) -> &Engine {
        match &self.engines[..] {
            [_, second] if second_handle => second,
            engines => &engines[0],
        }
    }

    async fn export(&self) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        let exported = self.engine(false).export(&mut bytes).await;
        exported.map_err(|error| format!("an export of {}: {error}", self.name))?;
        Ok(bytes)
    }
}

pub(super) struct Machine<'a> {
    harness: &'a Harness,
    place: Place,
    clock: HandClock,
    subject: Subject,
    twin: Subject,
    state: State,
    report: Report,
}

impl<'a> Machine<'a> {
    /// Takes the steps, and says where answers differ.
    pub(super) async fn run(harness: &'a Harness, run: &Run) -> Result<Report, String> {
        let mut machine = Self::start(harness, run.strong).await?;
        // Something to begin with, so that what is left of a failure is about the failure.
        let begin = [
            Op::CreateOrg { name: 0 },
            Op::CreateUser { name: 0 },
            Op::CreateBucket { org: Pick::There(0), name: 0 },
            Op::Create(CreateStep {
                username: 0,
                org: Some(Pick::There(0)),
                user: Pick::There(0),
                grants: vec![Grant { write: true, scope: Scope::BucketInOwnOrg(Pick::There(0)) }],
                status: "active",
                description: 0,
            }),
            Op::SetPassword { authorization: Pick::There(0), password: 0 },
        ];
        let begin = begin.into_iter().map(|op| Step { second_handle: false, op });
        for (number, step) in begin.chain(run.steps.iter().cloned()).enumerate() {
            let taken = machine.step(number, &step).await;
            taken.map_err(|what| format!("step {number}, {step:?}: {what}"))?;
        }
        machine.look_everywhere(run.steps.len()).await?;
        machine.same_export().await?;
        Ok(machine.report)
    }

    async fn start(harness: &'a Harness, strong: bool) -> Result<Self, String> {
        let place = harness.place().await;
        let clock = HandClock::new();
        let mut stores = vec![place.handle()];
        if harness.capabilities().shared_between_handles {
            stores.extend(place.second_handle().await);
        }
        let subject = Subject::start("the store", stores, &clock, strong, true).await?;
        let memory: Arc<dyn Store> = Arc::new(MemoryStore::new().map_err(|e| e.to_string())?);
        let twin = Subject::start("the memory store", vec![memory], &clock, strong, false).await?;
        let state = State { strong, ..State::default() };
        Ok(Self { harness, place, clock, subject, twin, state, report: Report::default() })
    }

    async fn step(&mut self, number: usize, step: &Step) -> Result<(), String> {
        if number.is_multiple_of(STEPS_OF_A_MILLISECOND) {
            self.clock.tick();
        }
        // Engines draw in vain at times, and stores may differ in how often.
        self.subject.random.reseed(number as u64);
        self.twin.random.reseed(number as u64);
        self.report.operations += 1;
        match self.state.action(&step.op, self.clock.now()) {
            Some(action) => self.act(&action, step.second_handle).await?,
            None if matches!(step.op, Op::Reopen) => self.reopen().await?,
            None => self.move_to_another_store().await?,
        }
        let mut comparison = Comparison::new(&self.state, &mut self.report);
        comparison.lists(self.subject.engine(!step.second_handle), number).await?;
        comparison.lists(self.twin.engine(false), number).await?;
        if (number + 1).is_multiple_of(LOOK_EVERY) {
            self.look_everywhere(number).await?;
        }
        Ok(())
    }

    async fn act(&mut self, action: &Action, second_handle: bool) -> Result<(), String> {
        let answer = perform(self.subject.engine(second_handle), action).await;
        let twin = perform(self.twin.engine(false), action).await;
        self.report.answers += 2;
        if answer != twin {
            return Err(format!("{action:?}: the store: {answer:?}; the memory store: {twin:?}"));
        }
        let taken = self.state.take(action, &answer, self.clock.now());
        taken.map_err(|what| format!("{action:?}: {what}"))?;
        if let (Action::SetPassword { authorization, .. }, Answer::Done) = (action, &answer) {
            // The hash is random: whatever it is, it is to stay until the next one is set.
            let found = self.subject.engine(second_handle).authorization(*authorization).await;
            let found = found.map_err(|error| error.to_string())?;
            let hash = found.and_then(|found| found.password_hash);
            let row = self.state.authorizations.get_mut(authorization);
            let row = row.ok_or("the model has lost an authorization")?;
            if hash.is_none() || hash == row.hash {
                return Err(format!("the password of {authorization} was set and has no new hash"));
            }
            row.hash = hash;
        }
        Ok(())
    }

    /// Reads everything through every engine.
    async fn look_everywhere(&mut self, number: usize) -> Result<(), String> {
        for engine in self.subject.engines.iter().chain(&self.twin.engines) {
            Comparison::new(&self.state, &mut self.report).everything(engine, number).await?;
        }
        Ok(())
    }

    async fn same_export(&mut self) -> Result<Vec<u8>, String> {
        let (bytes, twin) = (self.subject.export().await?, self.twin.export().await?);
        self.report.answers += 1;
        if bytes == twin {
            return Ok(bytes);
        }
        let (ours, theirs) = (String::from_utf8_lossy(&bytes), String::from_utf8_lossy(&twin));
        let differing = ours.lines().zip(theirs.lines()).find(|(one, other)| one != other);
        Err(format!("the exports of the store and the memory store differ: {differing:?}"))
    }

    /// Exports, and imports into a fresh store, which then exports the same.
    async fn move_to_another_store(&mut self) -> Result<(), String> {
        let bytes = self.same_export().await?;
        let snapshot = Snapshot::read(bytes.as_slice()).map_err(|error| error.to_string())?;
        let count = snapshot.len();
        let other = self.harness.place().await;
        let clock = self.clock.clone();
        let strong = self.state.strong;
        let moved =
            Subject::start("a fresh store", vec![other.handle()], &clock, strong, true).await?;
        for (dry_run, expected) in [(true, count), (false, count), (false, 0)] {
            let imported = moved.engine(false).import(snapshot.clone(), dry_run).await;
            let imported = imported.map_err(|error| format!("an import: {error:?}"))?;
            if imported != expected {
                return Err(format!("{imported} of {expected} records are new"));
            }
        }
        if moved.export().await? != bytes {
            return Err("what was exported and imported is exported otherwise".to_owned());
        }
        self.report.answers += 4;
        let mut comparison = Comparison::new(&self.state, &mut self.report);
        comparison.lists(moved.engine(false), count).await?;
        comparison.logins(moved.engine(false)).await
    }

    async fn reopen(&mut self) -> Result<(), String> {
        let before = self.same_export().await?;
        let handles = match self.harness.capabilities().survives_reopen {
            false => self.subject.stores.clone(),
            true => {
                self.subject.engines.clear();
                for store in self.subject.stores.drain(..) {
                    store.close().await.map_err(|error| format!("closing: {error}"))?;
                }
                let mut handles: Vec<_> = self.place.reopen().await.into_iter().collect();
                if self.harness.capabilities().shared_between_handles {
                    handles.extend(self.place.second_handle().await);
                }
                handles
            }
        };
        self.subject.restart(handles).await?;
        self.twin.restart(self.twin.stores.clone()).await?;
        if self.same_export().await? != before {
            return Err("something has changed while the store was closed".to_owned());
        }
        self.look_everywhere(self.report.operations as usize).await
    }
}
