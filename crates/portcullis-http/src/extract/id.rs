//! Ids in the path and in the query of a request.

use std::str::FromStr;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use portcullis::ParseIdError;

use crate::extract::query::Query;
use crate::respond::ErrorBody;

/// The last part of the path, which has to be an id and is not parsed yet.
pub(crate) type PathId = Result<Path<String>, PathRejection>;

/// Reads the id in a path. A path that is not UTF-8 has none.
pub(crate) fn path_id<T>(path: PathId) -> Result<T, ErrorBody>
where
    T: FromStr<Err = ParseIdError>,
{
    let Path(text) = path.map_err(|_| ErrorBody::invalid(ParseIdError::Invalid.to_string()))?;
    text.parse().map_err(|error: ParseIdError| ErrorBody::invalid(error.to_string()))
}

/// Reads the id in a parameter of a query; an empty value is none.
pub(crate) fn query_id<T>(query: &Query, name: &str) -> Result<Option<T>, ErrorBody>
where
    T: FromStr<Err = ParseIdError>,
{
    parse_id(query.text(name))
}

/// Reads an id, if there is one.
pub(crate) fn parse_id<T>(text: Option<String>) -> Result<Option<T>, ErrorBody>
where
    T: FromStr<Err = ParseIdError>,
{
    text.map(|text| text.parse())
        .transpose()
        .map_err(|error: ParseIdError| ErrorBody::invalid(error.to_string()))
}
