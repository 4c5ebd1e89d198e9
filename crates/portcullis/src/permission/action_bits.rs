//! Sets of actions, and of actions by resource type, as bits.

use std::ops::{BitOr, BitOrAssign};

use super::{Action, ResourceType};

/// A bit for each action.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Actions(u8);

impl Actions {
    pub(super) const NONE: Self = Self(0);

    pub(super) const fn of(action: Action) -> Self {
        Self(1 << action as u8)
    }

    pub(super) const fn from_bits(bits: u8) -> Self {
        Self(bits & 3)
    }

    pub(super) const fn bits(self) -> u8 {
        self.0
    }

    pub(super) const fn has(self, action: Action) -> bool {
        self.0 & Self::of(action).0 != 0
    }
}

impl BitOr for Actions {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Actions {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

/// A set of actions for each resource type: two bits for a type, next to each other.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct ActionsByType(u64);

impl ActionsByType {
    pub(super) const fn of(action: Action, resource_type: ResourceType) -> Self {
        Self((Actions::of(action).0 as u64) << (resource_type as u64 * 2))
    }

    pub(super) const fn on_every_type(action: Action) -> Self {
        Self((u64::MAX / 3) << action as u8)
    }

    pub(super) const fn has(self, action: Action, resource_type: ResourceType) -> bool {
        self.0 >> (resource_type as u64 * 2 + action as u64) & 1 != 0
    }

    /// Returns the actions on the type.
    pub(super) const fn actions(self, resource_type: ResourceType) -> Actions {
        Actions::from_bits((self.0 >> (resource_type as u64 * 2)) as u8)
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn iter(self) -> impl Iterator<Item = (Action, ResourceType)> {
        let every = ResourceType::ALL.into_iter();
        every
            .flat_map(|resource_type| Action::ALL.map(|action| (action, resource_type)))
            .filter(move |(action, resource_type)| self.actions(*resource_type).has(*action))
    }
}

impl BitOrAssign for ActionsByType {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}
