//! The permissions that are held, and the requests that are checked against them.

use portcullis::{Action, BucketId, OrgId, Permission, Resource};

/// How many permissions are held.
pub(crate) const COUNTS: [usize; 4] = [1, 8, 64, 512];

/// How many of them are held where each is in another org.
pub(crate) const SPREAD_COUNTS: [usize; 2] = [64, 512];

/// How many requests are made in turn.
const REQUESTS: usize = 1_024;

const FIRST_ORG: u64 = 0x0a11_ce00_0000_0001;

/// Writing to buckets by their ids.
pub(crate) struct World {
    pub(crate) held: Vec<Permission>,
    pub(crate) requests: Vec<(Action, Resource)>,
}

impl World {
    /// All buckets are in one org: what a v1 credential usually holds.
    pub(crate) fn in_one_org(count: usize) -> Self {
        Self::new(count, |_| FIRST_ORG)
    }

    /// Each bucket is in another org, which leaves a compiled set the least room.
    pub(crate) fn in_an_org_each(count: usize) -> Self {
        Self::new(count, |number| FIRST_ORG + number)
    }

    /// Half of the requests are for what is held, in random order, and half for other buckets.
    fn new(count: usize, org_of: impl Fn(u64) -> u64) -> Self {
        let mut random = fastrand::Rng::with_seed(count as u64);
        let mut number = 0;
        let mut bucket = || {
            number += 1;
            let org = OrgId::from_u64(org_of(number));
            Resource::bucket(org, BucketId::from_u64(random.u64(1..)))
        };
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
