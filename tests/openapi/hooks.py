"""What schemathesis cannot derive from the document: which records exist, and what belongs together.

Only valid values are replaced, by valid ones, so that a request stays as valid or invalid as it was generated.
"""

import json
import os
import re

import schemathesis

# The ids of records that exist, by kind. None of them is deleted or made inactive.
WORLD = json.loads(os.environ["PORTCULLIS_WORLD"])
KINDS = {"orgID": "orgs", "userID": "users", "bucketID": "buckets", "authID": "authorizations", "id": None}
ID = re.compile(r"(?!0{16})[0-9a-fA-F]{16}")

# Ids in responses: requests that follow them keep them.
seen = set(WORLD.values())


def is_id(value):
    return isinstance(value, str) and ID.fullmatch(value) is not None


def existing(value, kind):
    """The id of a record that exists, in place of a random one."""
    if kind in WORLD and is_id(value) and value.lower() not in seen:
        return WORLD[kind]
    return value


def kind_of(path):
    """The kind of the records of a path: `orgs` of `/api/v2/orgs/{id}`."""
    if path.startswith("/api/v2/authorizations"):
        return "tokens"
    return next((part for part in path.split("/") if part in WORLD), None)


@schemathesis.hook
def before_call(context, case, kwargs):
    path, method = case.operation.path, case.operation.method.upper()
    kind = kind_of(path)
    identity = case.path_parameters.get("id") if case.path_parameters else None
    if is_id(identity):
        if method == "DELETE" and identity.lower() in WORLD.values():
            case.path_parameters["id"] = "00000000000000ff"
        # Every second id stays random.
        elif method != "DELETE" and int(identity[-1], 16) % 2:
            case.path_parameters["id"] = existing(identity, kind)
    if isinstance(case.query, dict):
        for name in KINDS:
            if is_id(case.query.get(name)) and int(case.query[name][-1], 16) % 2:
                case.query[name] = existing(case.query[name], KINDS[name] or kind)
        if is_id(case.query.get("after")) and str(case.query.get("offset", "")).isdigit():
            del case.query["offset"]
    if kind == "dbrps":
        name_org(case.query if method != "POST" else case.body)
    if isinstance(case.body, dict):
        use_world(case.body)
        is_of_world = case.path_parameters and case.path_parameters.get("id") in WORLD.values()
        if is_of_world and case.body.get("status") == "inactive":
            case.body["status"] = "active"


def name_org(values):
    """Requests for DBRP mappings name an org in one of two ways."""
    if isinstance(values, dict) and not values.get("org") and not values.get("orgID"):
        values["orgID"] = WORLD["orgs"]


def use_world(body):
    for name in ("orgID", "userID", "bucketID"):
        if is_id(body.get(name)):
            body[name] = WORLD[KINDS[name]]
    permissions = body.get("permissions")
    for permission in permissions if isinstance(permissions, list) else []:
        resource = permission.get("resource") if isinstance(permission, dict) else None
        if isinstance(resource, dict) and isinstance(resource.get("type"), str):
            if "id" in resource:
                resource["id"] = existing(resource["id"], resource["type"])
            if is_id(resource.get("orgID")):
                resource["orgID"] = WORLD["orgs"]


@schemathesis.hook
def filter_case(context, case):
    """A body of `null` counts as an object without members, which generators of clients could not express."""
    return not (case.operation.method.upper() == "PATCH" and case.body is None)


@schemathesis.hook
def after_call(context, case, response):
    if response.status_code < 300 and response.text:
        seen.update(ids(response.json()))


def ids(body):
    """The ids of the records of a response, which may be in a list or in `content`."""
    inner = [part for value in body.values() for part in (value if isinstance(value, list) else [value])]
    return {record["id"] for record in (body, *inner) if isinstance(record, dict) and is_id(record.get("id"))}
