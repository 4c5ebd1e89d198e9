//! Whether the cache is used, as operators see it.

/// Whether an [`Engine`](crate::Engine) admits logins from the cache, and why (not).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TrustState {
    /// The store's change feed is complete: cache entries are valid.
    Fresh,
    /// The feed lags by more than `max_staleness`: credentials are read from the store again.
    Stale,
    /// The store does not respond either, and cached logins are admitted without it
    /// ([`CacheConfig::stale_if_error`](crate::CacheConfig::stale_if_error)).
    StaleIfError,
    /// The store does not respond: logins are refused as unavailable.
    Unavailable,
}

impl TrustState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Fresh, Self::Stale, Self::StaleIfError, Self::Unavailable];

    /// Returns the name, as in metrics: `fresh`, `stale`, `stale_if_error` or `unavailable`.
    ///
    /// ```
    /// use portcullis::TrustState;
    ///
    /// let names = TrustState::ALL.map(TrustState::as_str);
    /// assert_eq!(names, ["fresh", "stale", "stale_if_error", "unavailable"]);
    /// ```
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Stale => "stale",
            Self::StaleIfError => "stale_if_error",
            Self::Unavailable => "unavailable",
        }
    }
}
