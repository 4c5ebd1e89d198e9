//! Concurrent changes and logins have an order in which each response is right.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use portcullis::{
    Action, AuthorizationId, AuthorizationUpdate, Credentials, Engine, ErrorKind, Permission,
    Resource, Status,
};
use tokio::sync::Barrier;

use crate::caching::Hesitant;
use crate::support::{World, builder};

const PASSWORDS: [&str; 3] = ["password-0", "password-1", "password-2"];

#[derive(Clone, Copy, Debug)]
enum Operation {
    SetPassword(usize),
    Switch(bool),
    /// Grants to write, or to read only.
    Grant(bool),
    Login(usize),
}

/// Whether a login succeeded, and whether it may write. A change has no response.
type Response = Option<bool>;

/// The model: the state of the credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Credential {
    password: usize,
    active: bool,
    writes: bool,
}

impl Credential {
    const BEGIN: Self = Self { password: 0, active: true, writes: true };

    fn apply(self, operation: Operation) -> (Self, Response) {
        match operation {
            Operation::SetPassword(password) => (Self { password, ..self }, None),
            Operation::Switch(active) => (Self { active, ..self }, None),
            Operation::Grant(writes) => (Self { writes, ..self }, None),
            Operation::Login(password) => {
                let admitted = self.active && self.password == password;
                (self, admitted.then_some(self.writes))
            }
        }
    }
}

/// An operation that ran between two moments.
#[derive(Clone, Copy, Debug)]
struct Done {
    operation: Operation,
    response: Response,
    began: u64,
    ended: u64,
}

/// Tells whether there is an order in which every response is the model's, and no operation precedes
/// one that had ended before it began.
fn is_linearizable(credential: Credential, left: &[Done]) -> bool {
    let Some(first_end) = left.iter().map(|done| done.ended).min() else { return true };
    (0..left.len()).any(|at| {
        let done = left[at];
        if done.began > first_end {
            return false;
        }
        let (after, response) = credential.apply(done.operation);
        let others: Vec<_> = left.iter().enumerate().filter(|(i, _)| *i != at).collect();
        let others: Vec<_> = others.into_iter().map(|(_, done)| *done).collect();
        response == done.response && is_linearizable(after, &others)
    })
}

#[test]
fn the_checker_rejects_wrong_histories() {
    let done = |operation, response, began, ended| Done { operation, response, began, ended };
    let set = done(Operation::SetPassword(1), None, 1, 4);
    let old = |began, ended| done(Operation::Login(0), Some(true), began, ended);
    let new = |began, ended| done(Operation::Login(1), Some(true), began, ended);
    let begin = Credential::BEGIN;
    assert!(is_linearizable(begin, &[set, old(2, 3), new(5, 6)]));
    assert!(is_linearizable(begin, &[set, new(2, 3)]));
    assert!(!is_linearizable(begin, &[set, old(5, 6)]), "old after the change");
    assert!(!is_linearizable(begin, &[set, new(2, 3), old(4, 5)]), "old after the new");
    let off = done(Operation::Switch(false), None, 1, 2);
    assert!(!is_linearizable(begin, &[off, old(3, 4)]), "switched off");
    let read = done(Operation::Grant(false), None, 1, 2);
    assert!(!is_linearizable(begin, &[read, old(3, 4)]), "more than is granted");
}

/// Pseudorandom numbers, the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) as usize % bound
    }

    fn operation(&mut self) -> Operation {
        let password = self.below(PASSWORDS.len());
        match self.below(8) {
            0 => Operation::SetPassword(password),
            1 => Operation::Switch(self.below(3) > 0),
            2 => Operation::Grant(self.below(2) > 0),
            _ => Operation::Login(password),
        }
    }
}

struct Subject {
    engine: Engine,
    id: AuthorizationId,
    bucket: Resource,
    moments: AtomicU64,
}

impl Subject {
    fn moment(&self) -> u64 {
        self.moments.fetch_add(1, Ordering::SeqCst)
    }

    async fn carry_out(&self, operation: Operation) -> Done {
        let began = self.moment();
        let response = self.perform(operation).await;
        Done { operation, response, began, ended: self.moment() }
    }

    async fn perform(&self, operation: Operation) -> Response {
        let (engine, id) = (&self.engine, self.id);
        match operation {
            Operation::SetPassword(number) => {
                engine.set_password(id, PASSWORDS[number]).await.unwrap();
            }
            Operation::Switch(active) => {
                let status = if active { Status::Active } else { Status::Inactive };
                engine.update_authorization(id, AuthorizationUpdate::status(status)).await.unwrap();
            }
            Operation::Grant(writes) => {
                let action = if writes { Permission::write } else { Permission::read };
                engine.set_permissions(id, vec![action(self.bucket)]).await.unwrap();
            }
            Operation::Login(number) => {
                let credentials = Credentials::password("telegraf", PASSWORDS[number]);
                return match engine.authenticate(credentials).await {
                    Ok(principal) => {
                        let writes = principal.check(Action::Write, &self.bucket).is_allowed();
                        let reads = principal.check(Action::Read, &self.bucket).is_allowed();
                        assert_ne!(writes, reads, "neither what was granted before nor after");
                        Some(writes)
                    }
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::Unauthorized, "{error}");
                        None
                    }
                };
            }
        }
        None
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_responses_are_those_of_some_order() {
    const TASKS: usize = 3;
    const OPERATIONS: usize = 5;
    let world = World::new().await;
    let authorization = world.authorization("telegraf").await;
    let engine = builder(Hesitant::over(&world.store)).no_throttle().build().await.unwrap();
    let (id, bucket) = (authorization.id, world.resource());
    let subject = Arc::new(Subject { engine, id, bucket, moments: AtomicU64::new(0) });
    let (mut admitted, mut refused) = (0, 0);
    for round in 0..300 {
        for operation in
            [Operation::SetPassword(0), Operation::Switch(true), Operation::Grant(true)]
        {
            subject.perform(operation).await;
        }
        if round % 2 == 0 {
            subject.perform(Operation::Login(0)).await.unwrap();
        }
        let barrier = Arc::new(Barrier::new(TASKS));
        let tasks = (0..TASKS as u64).map(|task| {
            let (subject, barrier) = (Arc::clone(&subject), Arc::clone(&barrier));
            tokio::spawn(async move {
                let mut dice = Dice(round * 16 + task);
                dice.below(2);
                let mut history = Vec::new();
                barrier.wait().await;
                for _ in 0..OPERATIONS {
                    history.push(subject.carry_out(dice.operation()).await);
                }
                history
            })
        });
        let mut history = Vec::new();
        for task in tasks.collect::<Vec<_>>() {
            history.extend(task.await.unwrap());
        }
        assert!(is_linearizable(Credential::BEGIN, &history), "round {round}: {history:#?}");
        let logins = history.iter().filter(|done| matches!(done.operation, Operation::Login(_)));
        for done in logins {
            if done.response.is_some() { admitted += 1 } else { refused += 1 }
        }
    }
    assert!(admitted > 100 && refused > 100, "{admitted} {refused}");
}
