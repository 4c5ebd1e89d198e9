//! casbin with its cache, made large enough for every request.

use std::hint::black_box;

use casbin::{
    CachedApi, CachedEnforcer, CoreApi, DefaultCache, DefaultModel, MemoryAdapter, MgmtApi,
};
use portcullis::Resource;
use tokio::runtime;

use crate::measure::Contender;
use crate::world::World;

const MODEL: &str = "
[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = r.sub == p.sub && r.obj == p.obj && r.act == p.act
";

/// A check takes a small part of what it takes to find the answer in casbin's cache.
pub(crate) fn cached_enforcer(world: &World) -> Contender<'_> {
    let runtime = runtime::Builder::new_current_thread().build().unwrap();
    let enforcer = runtime.block_on(async {
        let model = DefaultModel::from_str(MODEL).await.unwrap();
        let mut enforcer = CachedEnforcer::new(model, MemoryAdapter::default()).await.unwrap();
        let rule = |resource: &Resource, action: &str| {
            vec!["telegraf".to_owned(), resource.to_string(), action.to_owned()]
        };
        let rules = world.held.iter().map(|held| rule(&held.resource, held.action.as_str()));
        enforcer.add_policies(rules.collect()).await.unwrap();
        enforcer.set_cache(Box::new(DefaultCache::new(1 << 16)));
        enforcer
    });
    let requests: Vec<(String, &'static str)> = world
        .requests
        .iter()
        .map(|(action, resource)| (resource.to_string(), action.as_str()))
        .collect();
    let pass = move || {
        let allowed = requests.iter().filter(|(resource, action)| {
            enforcer.enforce(("telegraf", black_box(resource).as_str(), *action)).unwrap()
        });
        allowed.count()
    };
    Contender { name: "casbin", requests: world.requests.len(), pass: Box::new(pass) }
}
