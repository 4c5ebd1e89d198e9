//! Ids in the path and in the query of a request.

use std::str::FromStr;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use portcullis::ParseIdError;

use crate::extract::query::Query;
use crate::respond::ErrorBody;

/// The last part of the path that should be an id, not yet looked at.
pub(crate) type PathId = Result<Path<String>, PathRejection>;

/// Reads the id. A path that is not UTF-8 holds none.
pub(crate) fn path_id<T>(path: PathId) -> Result<T, ErrorBody>
where
    T: FromStr<Err = ParseIdError>,
{
    let Path(text) = path.map_err(|_| ErrorBody::invalid(ParseIdError::Invalid.to_string()))?;
    text.parse().map_err(|error: ParseIdError| ErrorBody::invalid(error.to_string()))
}

/// Reads an id; one that is empty was not given.
pub(crate) fn query_id<T>(query: &Query, name: &str) -> Result<Option<T>, ErrorBody>
where
    T: FromStr<Err = ParseIdError>,
{
    let text = query.text(name);
    text.map(|text| text.parse())
        .transpose()
        .map_err(|error: ParseIdError| ErrorBody::invalid(error.to_string()))
}
