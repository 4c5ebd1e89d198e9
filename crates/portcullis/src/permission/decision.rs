//! The outcome of a check.

use std::fmt;

use super::Permission;

/// The outcome of a check. A denial is a value, never an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "an ignored decision protects nothing"]
pub enum Decision {
    /// Allowed, because this permission is held.
    Allowed(Permission),
    /// Denied, for this reason.
    Denied(Denial),
}

impl Decision {
    /// Tells whether this is [`Decision::Allowed`].
    pub const fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed(_))
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allowed(permission) => write!(f, "allowed by {permission}"),
            Self::Denied(denial) => write!(f, "denied: {denial}"),
        }
    }
}

/// Why a check was denied. For operators: a client must not learn the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Denial {
    /// The credential is inactive; what it holds does not matter.
    Inactive,
    /// The credential holds no permission at all.
    NothingHeld,
    /// The other action is held on this very resource.
    OtherAction,
    /// The action is held on other resources of the type.
    OtherResource,
    /// The action is held on no resource of the type.
    TypeNotHeld,
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inactive => "the credential is inactive",
            Self::NothingHeld => "the credential holds no permission",
            Self::OtherAction => "only the other action is held on this resource",
            Self::OtherResource => "the action is held on other resources of this type only",
            Self::TypeNotHeld => "the action is held on no resource of this type",
        })
    }
}
