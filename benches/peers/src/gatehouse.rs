//! gatehouse, with one policy that does a lookup in a hash set.

use std::collections::HashSet;
use std::hint::black_box;

use gatehouse::{EvaluationSession, PermissionChecker, PolicyBuilder, PolicyDomain};
use portcullis::{Action, Permission, Resource};
use tokio::runtime;

use crate::measure::Contender;
use crate::world::World;

struct Credentials;

impl PolicyDomain for Credentials {
    type Subject = HashSet<Permission>;
    type Action = Action;
    type Resource = Resource;
    type Context = ();
}

/// A check takes a small part of what it takes to go through a policy engine of the same process.
pub(crate) fn one_policy(world: &World) -> Contender<'_> {
    let policy = PolicyBuilder::<Credentials>::new("held")
        .when(|held, action, resource, ()| held.contains(&Permission::new(*action, *resource)))
        .build();
    let mut checker = PermissionChecker::<Credentials>::new();
    checker.add_policy(policy);
    let held: HashSet<Permission> = world.held.iter().copied().collect();
    let session = EvaluationSession::empty();
    let runtime = runtime::Builder::new_current_thread().build().unwrap();
    let pass = move || {
        runtime.block_on(async {
            let mut allowed = 0;
            for (action, resource) in &world.requests {
                let bound = checker.bind(&session, &held, action, &());
                allowed += usize::from(bound.check(black_box(resource)).await.is_granted());
            }
            allowed
        })
    };
    Contender { name: "gatehouse", requests: world.requests.len(), pass: Box::new(pass) }
}
