//! A run of steps: on the store under test, on a memory store beside it, and on the model.

use std::sync::Arc;
use std::time::Duration;

use portcullis::password::PasswordPolicy;
use portcullis::snapshot::Snapshot;
use portcullis::store::{MemoryStore, Store};
use portcullis::{CacheConfig, Clock, Engine};

use super::Report;
use super::action::{Action, Response};
use super::compare::Comparison;
use super::perform::perform;
use super::state::State;
use super::step::{CreateStep, Grant, Op, Pick, Run, Scope, Step};
use crate::engines::{HandClock, SeededRandom};
use crate::harness::{Harness, TestStore};
use crate::world::cheap_hashing;

/// How many steps there are between full lookups.
const COMPARE_EVERY: usize = 12;

/// How many steps share a millisecond: fewer than it has ids.
const STEPS_OF_A_MILLISECOND: usize = 6;

/// Engines on one store. They draw from the same sequence of random numbers.
struct Subject {
    name: &'static str,
    stores: Vec<Arc<dyn Store>>,
    engines: Vec<Engine>,
    clock: HandClock,
    random: SeededRandom,
    strong: bool,
    /// Whether its engines use their caches.
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
            // Each must see the changes of the others at once.
            (true, _) => CacheConfig::default().max_staleness(Duration::ZERO),
        };
        let policy = if self.strong { PasswordPolicy::strong() } else { PasswordPolicy::default() };
        for store in &stores {
            let engine = Engine::builder(Arc::clone(store))
                .hashing(cheap_hashing().threads(1))
                .password_policy(policy.clone())
                .clock(self.clock.clone())
                .random(self.random.clone())
                .cache(cache)
                .no_throttle()
                // It would happen at an unpredictable time.
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
    test: TestStore,
    clock: HandClock,
    subject: Subject,
    twin: Subject,
    state: State,
    report: Report,
}

impl<'a> Machine<'a> {
    /// Takes the steps, and reports the first difference.
    pub(super) async fn run(harness: &'a Harness, run: &Run) -> Result<Report, String> {
        let mut machine = Self::start(harness, run.strong).await?;
        // Initial records, so that a reduced failure only has steps about the failure.
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
        machine.compare_everywhere(run.steps.len()).await?;
        machine.same_export().await?;
        Ok(machine.report)
    }

    async fn start(harness: &'a Harness, strong: bool) -> Result<Self, String> {
        let test = harness.open().await;
        let clock = HandClock::new();
        let mut stores = vec![test.handle()];
        if harness.capabilities().shared_between_handles {
            stores.extend(test.second_handle().await);
        }
        let subject = Subject::start("the store", stores, &clock, strong, true).await?;
        let memory: Arc<dyn Store> = Arc::new(MemoryStore::new().map_err(|e| e.to_string())?);
        let twin = Subject::start("the memory store", vec![memory], &clock, strong, false).await?;
        let state = State { strong, ..State::default() };
        Ok(Self { harness, test, clock, subject, twin, state, report: Report::default() })
    }

    async fn step(&mut self, number: usize, step: &Step) -> Result<(), String> {
        if number.is_multiple_of(STEPS_OF_A_MILLISECOND) {
            self.clock.tick();
        }
        // Engines may draw a taken id, on one store more often than on the other.
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
        if (number + 1).is_multiple_of(COMPARE_EVERY) {
            self.compare_everywhere(number).await?;
        }
        Ok(())
    }

    async fn act(&mut self, action: &Action, second_handle: bool) -> Result<(), String> {
        let response = perform(self.subject.engine(second_handle), action).await;
        let twin = perform(self.twin.engine(false), action).await;
        self.report.responses += 2;
        if response != twin {
            return Err(format!("{action:?}: the store: {response:?}; the memory store: {twin:?}"));
        }
        let taken = self.state.take(action, &response, self.clock.now());
        taken.map_err(|what| format!("{action:?}: {what}"))?;
        if let (Action::SetPassword { authorization, .. }, Response::Done) = (action, &response) {
            // The hash is random: it must stay until the next password is set.
            let found = self.subject.engine(second_handle).authorization(*authorization).await;
            let found = found.map_err(|error| error.to_string())?;
            let hash = found.and_then(|found| found.password_hash);
            let row = self.state.authorizations.get_mut(authorization);
            let row = row.ok_or("the model has lost an authorization")?;
            if hash.is_none() || hash == row.hash {
                return Err(format!("the password of {authorization} was set and has no new hash"));
            }
            row.hash = hash;
            row.password_set = Some(self.clock.now());
        }
        Ok(())
    }

    /// Reads everything through every engine.
    async fn compare_everywhere(&mut self, number: usize) -> Result<(), String> {
        for engine in self.subject.engines.iter().chain(&self.twin.engines) {
            Comparison::new(&self.state, &mut self.report).everything(engine, number).await?;
        }
        Ok(())
    }

    async fn same_export(&mut self) -> Result<Vec<u8>, String> {
        let (bytes, twin) = (self.subject.export().await?, self.twin.export().await?);
        self.report.responses += 1;
        if bytes == twin {
            return Ok(bytes);
        }
        let (ours, theirs) = (String::from_utf8_lossy(&bytes), String::from_utf8_lossy(&twin));
        let differing = ours.lines().zip(theirs.lines()).find(|(one, other)| one != other);
        Err(format!("the exports of the store and the memory store differ: {differing:?}"))
    }

    /// Exports, and imports into an empty store, whose export must be the same.
    async fn move_to_another_store(&mut self) -> Result<(), String> {
        let bytes = self.same_export().await?;
        let snapshot = Snapshot::read(bytes.as_slice()).map_err(|error| error.to_string())?;
        let count = snapshot.len();
        let other = self.harness.open().await;
        let clock = self.clock.clone();
        let strong = self.state.strong;
        let moved =
            Subject::start("an empty store", vec![other.handle()], &clock, strong, true).await?;
        for (dry_run, expected) in [(true, count), (false, count), (false, 0)] {
            let imported = moved.engine(false).import(snapshot.clone(), dry_run).await;
            let imported = imported.map_err(|error| format!("an import: {error:?}"))?;
            if imported != expected {
                return Err(format!("{imported} of {expected} records are new"));
            }
        }
        if moved.export().await? != bytes {
            return Err("the export of the import differs from the first export".to_owned());
        }
        self.report.responses += 4;
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
                let mut handles: Vec<_> = self.test.reopen().await.into_iter().collect();
                if self.harness.capabilities().shared_between_handles {
                    handles.extend(self.test.second_handle().await);
                }
                handles
            }
        };
        self.subject.restart(handles).await?;
        self.twin.restart(self.twin.stores.clone()).await?;
        if self.same_export().await? != before {
            return Err("records changed while the store was closed".to_owned());
        }
        self.compare_everywhere(self.report.operations as usize).await
    }
}
