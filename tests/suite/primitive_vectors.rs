//! Vectors of single rules, on the types that hold them.

use http::{HeaderMap, HeaderName, Uri};
use portcullis::{
    Decision, Error, ErrorKind, Id, OrgId, Permission, PermissionSet, UncheckedPermission,
};
use portcullis_http::{V1Credentials, V1Rejection};
use serde_json::{Value, json};

use crate::vectors::{Report, cases, name};
use crate::world::empty_engine;

/// Reads an id; the zero id can only be built.
fn id(value: &Value) -> Option<Result<Id, String>> {
    let text = value.as_str()?;
    if text == "0000000000000000" {
        return Some(Ok(Id::from_u64(0)));
    }
    Some(text.parse::<Id>().map_err(|error| error.to_string()))
}

fn unchecked(permission: &Value) -> Result<UncheckedPermission, String> {
    let resource = &permission["resource"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(UncheckedPermission::new(
        text(&permission["action"]),
        text(&resource["type"]),
        id(&resource["id"]).transpose()?,
        id(&resource["orgID"]).transpose()?.map(OrgId::from),
    ))
}

/// Builds a permission directly, zero ids included. `None` for a name that is not exactly a type or an
/// action: no value could hold it.
fn permission(value: &Value) -> Option<Permission> {
    let unchecked = unchecked(value).unwrap();
    let mut resource = portcullis::Resource::all(unchecked.resource_type.parse().ok()?);
    resource.id = unchecked.id;
    resource.org = unchecked.org;
    Some(Permission::new(unchecked.action.parse().ok()?, resource))
}

fn same(is: &Value, expected: &Value) -> Result<(), String> {
    if is == expected { Ok(()) } else { Err(format!("{is}, not {expected}")) }
}

/// [ID-1] [ID-2] [ID-3]
#[test]
fn id_parse() {
    let mut report = Report::default();
    for case in cases("id_parse.json") {
        let is = match case["input"].as_str().unwrap().parse::<Id>() {
            Ok(id) => json!([true, id.to_string(), id.as_u64().to_string(), null, null]),
            Err(error) => json!([false, null, null, "invalid", error.to_string()]),
        };
        let expected = ["ok", "canonical", "u64", "code", "message"].map(|name| case[name].clone());
        report.add(&case, same(&is, &json!(expected)));
    }
    report.finish("id_parse");
}

/// [MATCH-1]
#[test]
fn permission_match() {
    let mut report = Report::default();
    for case in cases("permission_match.json") {
        let granted = case["granted"].as_array().unwrap();
        let granted: Vec<_> = granted.iter().filter_map(permission).collect();
        let Some(requested) = permission(&case["requested"]) else {
            report.add(&case, same(&json!(false), &case["allowed"]));
            continue;
        };
        let set = PermissionSet::new(granted.iter().copied());
        let decision = set.check(requested.action, &requested.resource);
        let rule = granted.iter().any(|granted| granted.allows(&requested));
        let outcome = same(&json!(decision.is_allowed()), &case["allowed"])
            .and_then(|()| same(&json!(rule), &case["allowed"]))
            .and_then(|()| match decision {
                Decision::Allowed(by) if !by.allows(&requested) => Err(format!("by {by}?")),
                _ => Ok(()),
            });
        report.add(&case, outcome);
    }
    report.finish("permission_match");
}

/// [PERM-4]
#[test]
fn permission_string() {
    let mut report = Report::default();
    for case in cases("permission_string.json") {
        let permission = permission(&case["permission"]).unwrap();
        let text = case["string"].as_str().unwrap();
        let back = text.parse::<Permission>().map_err(|e| e.to_string());
        let outcome = same(&json!(permission.to_string()), &case["string"])
            .and_then(|()| if back? == permission { Ok(()) } else { Err("differs".to_owned()) });
        report.add(&case, outcome);
    }
    report.finish("permission_string");
}

/// [PERM-1] [PERM-5]
#[tokio::test]
async fn permission_valid() {
    let mut report = Report::default();
    for case in cases("permission_valid.json") {
        let built = case["built_directly"] == json!(true);
        // Permissions that are not built directly come as JSON, where zero is refused.
        let zero = ["id", "orgID"]
            .iter()
            .any(|m| case["permission"]["resource"][*m] == "0000000000000000");
        let decoded = match unchecked(&case["permission"]) {
            Ok(_) if zero && !built => Err("invalid ID".to_owned()),
            decoded => decoded,
        };
        let (valid, message, stage) = match decoded.map(|unchecked| unchecked.validate()) {
            Err(message) => (false, Some(message), Some("decode")),
            Ok(Err(invalid)) => (false, Some(invalid.to_string()), Some("valid")),
            Ok(Ok(_)) => (true, None, None),
        };
        let is = json!([valid, message, stage]);
        let expected = json!([case["valid"], case["message"], case["stage"]]);
        let either = case["either"] == json!(true);
        report.add(&case, if either { Ok(()) } else { same(&is, &expected) });
    }
    report.finish("permission_valid");
}

/// [LOGIN-1] [LOGIN-2] [LOGIN-3]
#[tokio::test]
async fn v1_credentials() {
    let mut report = Report::default();
    for case in cases("v1_credentials.json") {
        let outcome = match case["kind"].as_str().unwrap() {
            "parse" => parse(&case),
            "error_mapping" => error_mapping(&case),
            "authorize_direct" => authorize_direct(&case).await,
            kind => panic!("{}: unknown kind {kind}", name(&case)),
        };
        report.add(&case, outcome);
    }
    report.finish("v1_credentials");
}

fn parse(case: &Value) -> Result<(), String> {
    let request = &case["request"];
    let uri = format!(
        "{}?{}",
        request["path"].as_str().unwrap(),
        request["raw_query"].as_str().unwrap_or_default()
    );
    let uri: Uri = uri.parse().unwrap();
    let mut headers = HeaderMap::new();
    for (name, value) in request["headers"].as_object().into_iter().flatten() {
        let name: HeaderName = name.parse().unwrap();
        headers.insert(name, value.as_str().unwrap().parse().unwrap());
    }
    let is = match V1Credentials::parse(&uri, &headers) {
        Ok(found) => json!({
            "scheme": found.scheme().as_str(),
            "username": found.username(),
            "token": String::from_utf8_lossy(found.expose_secret()),
        }),
        Err(error) => {
            let rejection = V1Rejection::from(Error::new(ErrorKind::NotFound, error.to_string()));
            json!({
                "error": error.to_string(),
                "http_status": rejection.status().as_u16(),
                "code": rejection.code(),
                "message": rejection.message(),
            })
        }
    };
    same(&is, &case["expected"])
}

/// [HTTP-16]
fn error_mapping(case: &Value) -> Result<(), String> {
    let code = case["authorizer_error"]["code"].as_str().unwrap();
    let kind = match code {
        "conflict" => ErrorKind::Conflict,
        "forbidden" => ErrorKind::Forbidden,
        "invalid" => ErrorKind::Invalid,
        "not found" => ErrorKind::NotFound,
        "precondition failed" => ErrorKind::PreconditionFailed,
        "unauthorized" => ErrorKind::Unauthorized,
        "unavailable" => ErrorKind::Unavailable,
        "too many requests" => ErrorKind::TooManyRequests,
        "internal error" => ErrorKind::Internal,
        _ => panic!("unknown code {code}"),
    };
    let rejection = V1Rejection::from(Error::new(kind, format!("<{code}>")));
    let is = json!({
        "http_status": rejection.status().as_u16(),
        "code": rejection.code(),
        "message": rejection.message(),
    });
    same(&is, &case["expected"])
}

/// Credentials put together by a program rather than found in a request.
async fn authorize_direct(case: &Value) -> Result<(), String> {
    let credentials = &case["credentials"];
    let text = |name: &str| credentials[name].as_str().unwrap_or_default().to_owned();
    let (username, token) = (text("username"), text("token"));
    let credentials = match text("scheme").as_str() {
        "token" if username.is_empty() => portcullis::Credentials::token(&token),
        _ => portcullis::Credentials::password(&username, &token),
    };
    let refused = empty_engine().await.authenticate(credentials).await.unwrap_err();
    let rejection = V1Rejection::from(refused);
    let is = json!({"code": rejection.code(), "message": rejection.message()});
    same(&is, &case["expected"])
}
