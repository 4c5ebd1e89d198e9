//! Options about the database behind Portcullis.

use portcullis_http::UpstreamSemantics;

/// The value of `--upstream-semantics`.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Semantics {
    V1,
    V2,
}

impl From<Semantics> for UpstreamSemantics {
    fn from(semantics: Semantics) -> Self {
        match semantics {
            Semantics::V1 => Self::V1,
            Semantics::V2 => Self::V2,
        }
    }
}
