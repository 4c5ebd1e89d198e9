//! Who holds what, and what is asked of them.

use portcullis::{Action, BucketId, OrgId, Permission, Resource};

/// How many permissions are held.
pub(crate) const COUNTS: [usize; 4] = [1, 8, 64, 512];

/// How many requests are made in turn.
const REQUESTS: usize = 1_024;

/// Writing to buckets of an org by their ids: what a v1 credential usually holds.
pub(crate) struct World {
    pub(crate) held: Vec<Permission>,
    pub(crate) requests: Vec<(Action, Resource)>,
}

impl World {
    /// Half of the requests are for what is held, in random order, and half for other buckets.
    pub(crate) fn new(count: usize) -> Self {
        let mut random = fastrand::Rng::with_seed(count as u64);
        let org = OrgId::from_u64(0x0a11_ce00_0000_0001);
        let mut bucket = || Resource::bucket(org, BucketId::from_u64(random.u64(1..)));
        let held: Vec<Permission> = (0..count).map(|_| Permission::write(bucket())).collect();
        let mut requests: Vec<(Action, Resource)> = held
            .iter()
            .cycle()
            .take(REQUESTS / 2)
            .map(|held| (held.action, held.resource))
            .collect();
        requests.extend((0..REQUESTS / 2).map(|_| (Action::Write, bucket())));
        random.shuffle(&mut requests);
        Self { held, requests }
    }

    /// How many requests are to be allowed.
    pub(crate) fn allowed(&self) -> usize {
        self.requests.len() / 2
    }
}
