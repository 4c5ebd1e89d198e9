//! `DELETE …?dryRun=true`: counts what would be deleted, and deletes nothing.

use axum::response::Response;
use http::StatusCode;
use portcullis::Deletion;

use crate::api::wire::PreviewBody;
use crate::extract::caller::ManagementRequest;
use crate::extract::query::{PercentEncoded, parameters};
use crate::respond::{ErrorBody, json_response};

/// Reads the parameter `dryRun`. One that is spelled differently, given twice or without a value is
/// refused: the client does not mean to delete.
pub(crate) fn is_requested(query: Option<&str>) -> Result<bool, ErrorBody> {
    let mut requested = None;
    for parameter in parameters(query.unwrap_or_default()) {
        let name = parameter.name().map(PercentEncoded::decode).unwrap_or_default();
        let letters = name.iter().filter(|byte| byte.is_ascii_alphabetic());
        if !letters.map(u8::to_ascii_lowercase).eq("dryrun".bytes()) {
            continue;
        }
        let value = parameter.value().map(PercentEncoded::decode);
        let value = match value.as_deref() {
            Some(b"true" | b"1") => Some(true),
            Some(b"false" | b"0") => Some(false),
            _ => None,
        };
        match (name.as_slice(), value, requested) {
            (b"dryRun", Some(value), None) => requested = Some(value),
            _ => return Err(ErrorBody::invalid("give `dryRun` once, as true or false")),
        }
    }
    Ok(requested.unwrap_or(false))
}

/// Counts what the deletion would delete.
pub(crate) async fn preview(
    request: &ManagementRequest,
    deletion: Deletion,
) -> Result<Response, ErrorBody> {
    let preview = request.on_behalf().preview_deletion(deletion).await?;
    Ok(json_response(StatusCode::OK, &PreviewBody::from(preview)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// [DRYRUN-1]
    #[test]
    fn only_an_unmistakable_parameter_is_read() {
        for (query, expected) in [
            ("", Some(false)),
            ("dryRun=true", Some(true)),
            ("a=b&dryRun=1", Some(true)),
            ("dry%52un=true&org=x", Some(true)),
            ("dryRun=false", Some(false)),
            ("dryRun=0", Some(false)),
            ("dryRunner=x", Some(false)),
            ("dryRun", None),
            ("dryRun=", None),
            ("dryRun=yes", None),
            ("dryRun=TRUE", None),
            ("dryRun=%zz", None),
            ("dryrun=true", None),
            ("dry_run=true", None),
            ("DRY-RUN=true", None),
            ("dryRun=false&dryRun=true", None),
        ] {
            assert_eq!(is_requested(Some(query)).ok(), expected, "{query}");
        }
        assert_eq!(is_requested(None).ok(), Some(false));
    }
}
