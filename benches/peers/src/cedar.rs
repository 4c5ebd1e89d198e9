//! cedar-policy, in its fastest form: one policy, what is held in a set of the principal's.

use std::collections::{HashMap, HashSet};
use std::hint::black_box;

use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityUid, PolicySet, Request,
    RestrictedExpression,
};
use portcullis::Resource;

use crate::measure::Contender;
use crate::world::World;

/// A check takes a small part of what evaluating a policy takes. Requests are built beforehand.
pub(crate) fn set_attribute(world: &World) -> Contender<'_> {
    let policy = r#"permit(principal, action == Action::"write", resource)
        when { principal.writes.contains(resource) };"#;
    let policies: PolicySet = policy.parse().unwrap();
    let principal = uid("User", "telegraf");
    let writes = world.held.iter().map(|held| bucket(&held.resource));
    let writes = RestrictedExpression::new_set(writes.map(RestrictedExpression::new_entity_uid));
    let attributes = HashMap::from([("writes".to_owned(), writes)]);
    let user = Entity::new(principal.clone(), attributes, HashSet::new()).unwrap();
    let entities = Entities::from_entities([user], None).unwrap();
    let requests: Vec<Request> = world
        .requests
        .iter()
        .map(|(action, resource)| {
            let action = uid("Action", action.as_str());
            let context = Context::empty();
            Request::new(principal.clone(), action, bucket(resource), context, None).unwrap()
        })
        .collect();
    let authorizer = Authorizer::new();
    let pass = move || {
        let allowed = requests.iter().filter(|request| {
            let response = authorizer.is_authorized(black_box(request), &policies, &entities);
            response.decision() == Decision::Allow
        });
        allowed.count()
    };
    Contender { name: "cedar-policy", requests: world.requests.len(), pass: Box::new(pass) }
}

fn uid(kind: &str, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.parse().unwrap(), id.parse().unwrap())
}

fn bucket(resource: &Resource) -> EntityUid {
    uid("Bucket", &resource.id.map(|id| id.to_string()).unwrap_or_default())
}
