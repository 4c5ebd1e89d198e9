//! The compiled set, and the loop that one would write instead.

use std::hint::black_box;

use portcullis::{Action, PermissionSet, Resource, ResourceType};

use crate::measure::Contender;
use crate::world::World;

/// What it costs to go through the requests.
pub(crate) fn empty_loop(world: &World) -> Contender<'_> {
    let pass = || {
        let requests = world.requests.iter();
        requests.filter(|request| black_box(request).1.id.is_none()).count()
    };
    Contender { name: "empty loop", requests: world.requests.len(), pass: Box::new(pass) }
}

/// A check costs nanoseconds, whatever is held. The whole decision is made, with the permission
/// that allowed it.
pub(crate) fn compiled(world: &World) -> Contender<'_> {
    let set = PermissionSet::new(world.held.iter().copied());
    let pass = move || {
        let requests = world.requests.iter();
        let allowed = requests.filter(|request| {
            let (action, resource) = black_box(request);
            black_box(&black_box(&set).check(*action, resource)).is_allowed()
        });
        allowed.count()
    };
    Contender { name: "PermissionSet", requests: world.requests.len(), pass: Box::new(pass) }
}

/// A permission as cheap to compare as can be.
struct Held {
    action: Action,
    resource_type: ResourceType,
    id: Option<u64>,
    org: Option<u64>,
}

impl Held {
    fn allows(&self, action: Action, resource: &Resource) -> bool {
        if self.action != action {
            return false;
        }
        if self.resource_type == ResourceType::Instance {
            return true;
        }
        self.resource_type == resource.resource_type
            && match (self.id, self.org) {
                (Some(id), _) => resource.id.is_some_and(|requested| requested.as_u64() == id),
                (None, Some(org)) => resource.org.is_some_and(|requested| requested.as_u64() == org),
                (None, None) => true,
            }
    }
}

/// The baseline: one permission after the other, and only whether, not why.
pub(crate) fn linear_scan(world: &World) -> Contender<'_> {
    let held: Vec<Held> = world
        .held
        .iter()
        .map(|permission| Held {
            action: permission.action,
            resource_type: permission.resource.resource_type,
            id: permission.resource.id.map(|id| id.as_u64()),
            org: permission.resource.org.map(|org| org.as_u64()),
        })
        .collect();
    let pass = move || {
        let requests = world.requests.iter();
        let allowed = requests.filter(|request| {
            let (action, resource) = black_box(request);
            black_box(black_box(&held).iter().any(|held| held.allows(*action, resource)))
        });
        allowed.count()
    };
    Contender { name: "linear scan", requests: world.requests.len(), pass: Box::new(pass) }
}
