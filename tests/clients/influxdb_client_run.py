"""The unmodified PyPI package `influxdb-client` manages credentials of a running server.

    python tests/clients/influxdb_client_run.py target/debug/portcullis
"""

import subprocess
import sys

from influxdb_client import (
    Authorization,
    AuthorizationUpdateRequest,
    BucketRetentionRules,
    DBRPCreate,
    DBRPUpdate,
    InfluxDBClient,
    LegacyAuthorizationPostRequest,
    PasswordResetBody,
    Permission,
    PermissionResource,
)
from influxdb_client.rest import ApiException
from influxdb_client.service.dbr_ps_service import DBRPsService
from influxdb_client.service.legacy_authorizations_service import LegacyAuthorizationsService

from server import running

checks = 0


def check(condition, what):
    global checks
    checks += 1
    if not condition:
        raise AssertionError(what)


def refused(status, message, call):
    """Asserts that the call fails as the package's own exception with our status and message."""
    try:
        call()
    except ApiException as error:
        check(error.status == status, f"{error.status} instead of {status}: {error.body}")
        check(error.message == message, f"{error.message!r} instead of {message!r}")
        return
    raise AssertionError(f"not refused with {status} {message!r}")


def ids(listing):
    return [authorization.id for authorization in listing.authorizations]


def manage(server, client):
    service = LegacyAuthorizationsService(client.api_client)
    org = client.organizations_api().find_organizations(org="default")[0]
    user = client.users_api().me()
    bucket = client.buckets_api().find_bucket_by_name("default")
    check(user.name == "admin", user)
    check(bucket.org_id == org.id, bucket)

    resource = PermissionResource(type="buckets", id=bucket.id, org_id=org.id)
    permissions = [Permission(action="write", resource=resource)]

    def request(token, **other):
        arguments = {"org_id": org.id, "token": token, "permissions": permissions, **other}
        return LegacyAuthorizationPostRequest(**arguments)

    # Create.
    created = service.post_legacy_authorizations(request("telegraf", description="agents"))
    check(created.token == "telegraf" and created.status == "active", created)
    check(created.org == "default" and created.user == "admin", created)
    check(created.permissions[0].resource.name == "default", created.permissions)
    check(created.created_at == created.updated_at, created)
    other = service.post_legacy_authorizations(request("grafana", user_id=user.id))
    refused(422, "token already exists",
            lambda: service.post_legacy_authorizations(request("telegraf")))
    refused(400, "authorization must include permissions",
            lambda: service.post_legacy_authorizations(request("x", permissions=[])))
    refused(400, "token required for v1 user authorization type",
            lambda: service.post_legacy_authorizations(request("")))

    # List, with each filter.
    both = sorted([created.id, other.id])
    check(ids(service.get_legacy_authorizations()) == both, "all")
    for expected, filters in [
        (both, {"user_id": user.id}),
        (both, {"user": "admin"}),
        (both, {"org_id": org.id}),
        (both, {"org": "default"}),
        ([other.id], {"token": "grafana"}),
        ([created.id], {"auth_id": created.id}),
        ([created.id], {"auth_id": created.id, "org": "default", "user": "admin"}),
        ([], {"org_id": user.id}),
        ([], {"user_id": org.id}),
    ]:
        check(ids(service.get_legacy_authorizations(**filters)) == expected, filters)
    for filters, message in [
        ({"token": "unknown"}, "authorization not found"),
        ({"auth_id": org.id}, "authorization not found"),
        ({"token": "grafana", "auth_id": created.id}, "authorization not found"),
        ({"user": "unknown"}, "user not found"),
        ({"org": "unknown"}, 'organization name "unknown" not found'),
    ]:
        refused(404, message, lambda: service.get_legacy_authorizations(**filters))

    # Get.
    check(service.get_legacy_authorizations_id(created.id).description == "agents", "get")
    refused(404, "authorization not found", lambda: service.get_legacy_authorizations_id(org.id))
    refused(400, "id must have a length of 16 bytes",
            lambda: service.get_legacy_authorizations_id("abc"))

    # Patch.
    update = AuthorizationUpdateRequest(status="inactive", description="off")
    patched = service.patch_legacy_authorizations_id(created.id, update)
    check((patched.status, patched.description) == ("inactive", "off"), patched)
    check(patched.updated_at > patched.created_at, patched)
    refused(400, "unknown authorization status", lambda: service.patch_legacy_authorizations_id(
        created.id, AuthorizationUpdateRequest(status="bogus")))
    patched = service.patch_legacy_authorizations_id(created.id, AuthorizationUpdateRequest())
    check((patched.status, patched.description) == ("active", "off"), patched)

    # Set a password.
    service.post_legacy_authorizations_id_password(
        created.id, PasswordResetBody(password="s3cret-enough"))
    refused(400, "passwords must be between 8 and 72 characters long",
            lambda: service.post_legacy_authorizations_id_password(
                created.id, PasswordResetBody(password="short")))

    # Delete.
    service.delete_legacy_authorizations_id(other.id)
    refused(404, "authorization not found",
            lambda: service.delete_legacy_authorizations_id(other.id))
    check(ids(service.get_legacy_authorizations()) == [created.id], "deleted")


def mappings(client):
    """DBRP mappings, and the virtual one of a bucket."""
    service = DBRPsService(client.api_client)
    org = client.organizations_api().find_organizations(org="default")[0].id
    bucket = client.buckets_api().find_bucket_by_name("default").id

    def names(**filters):
        content = service.get_dbr_ps(org_id=org, **filters).content
        return [(mapping.database, mapping.retention_policy, mapping.default, mapping.virtual) for mapping in content]

    virtual = ("default", "autogen", True, True)
    check(names() == [virtual], names())

    def create(database, policy, **other):
        return service.post_dbrp(DBRPCreate(
            org_id=org, bucket_id=bucket, database=database, retention_policy=policy, **other))

    year = create("telemetry", "year")
    check((year.org_id, year.bucket_id, year.default) == (org, bucket, True), year)
    week = create("telemetry", "week", default=False)
    check(names(db="telemetry") == [("telemetry", "year", True, False), ("telemetry", "week", False, False)], names())
    refused(422, "another DBRP mapping with same orgID, db, and rp exists", lambda: create("telemetry", "year"))
    check(service.get_dbr_ps_id(week.id, org_id=org).content.retention_policy == "week", "get")
    service.patch_dbrpid(week.id, DBRPUpdate(default=True), org_id=org)
    check(names(default=True) == [("telemetry", "week", True, False), virtual], names())
    service.delete_dbrpid(week.id, org_id=org)
    check(names() == [("telemetry", "year", True, False), virtual], names())
    refused(404, "unable to find DBRP", lambda: service.get_dbr_ps_id(week.id, org_id=org))
    service.delete_dbrpid(year.id, org_id=org)
    check(names() == [virtual], names())


def tenants(client):
    """Orgs, users and buckets."""
    orgs, users, buckets = client.organizations_api(), client.users_api(), client.buckets_api()
    org = orgs.create_organization(name="globex")
    check((org.name, org.status) == ("globex", "active"), org)
    refused(422, "organization with name globex already exists", lambda: orgs.create_organization(name="globex"))
    org.name = "initech"
    check(orgs.update_organization(org).name == "initech", "renamed")
    check(orgs.find_organization(org.id).name == "initech", "by id")
    check([found.id for found in orgs.find_organizations(org="initech")] == [org.id], "by name")

    user = users.create_user(name="bob")
    check((user.name, user.status) == ("bob", "active"), user)
    user.name, user.status = "robert", "inactive"
    changed = users.update_user(user)
    check((changed.name, changed.status) == ("robert", "inactive"), changed)
    check([found.id for found in users.find_users(name="robert").users] == [user.id], "by name")
    try:
        users.update_password(user, "s3cret-enough")
        raise AssertionError("a user has a password")
    except ApiException as error:
        check(error.status == 400 and error.message.startswith("users have no passwords here"), error.body)

    rules = BucketRetentionRules(type="expire", every_seconds=3600)
    bucket = buckets.create_bucket(bucket_name="events", org="initech", retention_rules=rules, description="x")
    check((bucket.name, bucket.org_id, bucket.retention_rules) == ("events", org.id, []), bucket)
    refused(422, "bucket with name events already exists",
            lambda: buckets.create_bucket(bucket_name="events", org_id=org.id))
    bucket.name = "logs"
    check(buckets.update_bucket(bucket).name == "logs", "renamed")
    check(buckets.find_bucket_by_id(bucket.id).name == "logs", "by id")
    check(buckets.find_bucket_by_name("logs").id == bucket.id, "by name")
    buckets.delete_bucket(bucket)
    refused(404, "bucket not found", lambda: buckets.find_bucket_by_id(bucket.id))
    users.delete_user(user)
    check([found.name for found in users.find_users().users] == ["admin"], "users")
    orgs.delete_organization(org.id)
    refused(404, "organization not found", lambda: orgs.find_organization(org.id))


def api_tokens(server, client):
    """API tokens: the secret is shown once, and works while the token is active."""
    service = client.authorizations_api()
    org = client.organizations_api().find_organizations(org="default")[0]
    user = client.users_api().me()
    bucket = client.buckets_api().find_bucket_by_name("default")
    resource = PermissionResource(type="buckets", id=bucket.id, org_id=org.id)
    permissions = [Permission(action="read", resource=resource)]

    def works(token):
        with InfluxDBClient(url=server.url, token=token, org="default") as other:
            return other.users_api().me().name == "admin"

    created = service.create_authorization(org_id=org.id, permissions=permissions)
    check(created.status == "active" and created.user == "admin" and created.org == "default", created)
    check(works(created.token), "the secret works")
    found = service.find_authorization_by_id(created.id)
    check(found.token is None and found.permissions[0].resource.name == "default", found)
    for listed in [
        service.find_authorizations(),
        service.find_authorizations_by_user(user),
        service.find_authorizations_by_user_name("admin"),
        service.find_authorizations_by_org(org),
        service.find_authorizations_by_org_name("default"),
    ]:
        check(len(listed) == 2 and all(one.token is None for one in listed), listed)
    found.status, found.description = "inactive", "off"
    check(service.update_authorization(found).status == "inactive", "off")
    refused(401, "token is inactive", lambda: works(created.token))
    cloned = service.clone_authorization(created.id)
    check(cloned.id != created.id and works(cloned.token), cloned)
    described = Authorization(org_id=org.id, user_id=user.id, permissions=permissions, description="agents")
    described = service.create_authorization(authorization=described)
    check(described.description == "agents" and works(described.token), described)
    for one in [created, cloned, described]:
        service.delete_authorization(one)
    refused(404, "authorization not found", lambda: service.find_authorization_by_id(created.id))
    refused(401, "unauthorized access", lambda: works(cloned.token))
    everything = Permission(action="write", resource=PermissionResource(type="instance"))
    refused(403, "permission write:instance is not allowed: write:instance is unauthorized",
            lambda: service.create_authorization(org_id=org.id, permissions=[everything]))


def pages(server, client):
    """The package's own iterators, and the loop of `influx bucket list`, return every bucket."""
    for number in range(45):
        command = [server.binary, "bucket", "create", "--org", "default", f"bucket-{number:02}", "--store", server.store]
        subprocess.run(command, check=True, capture_output=True)
    buckets = client.buckets_api()
    for arguments in [{}, {"limit": 10}, {"limit": 46}, {"limit": 1}, {"limit": 10, "org": "default"}]:
        names = [bucket.name for bucket in buckets.find_buckets_iter(**arguments)]
        check(len(names) == len(set(names)) == 46, f"{arguments}: {len(names)} buckets")
    first = buckets.find_buckets(limit=1).buckets[0].id
    check(len(list(buckets.find_buckets_iter(limit=10, after=first))) == 45, "after the first")
    check([user.name for user in client.users_api().find_users(limit=10).users] == ["admin"], "users")
    orgs = client.organizations_api().find_organizations(limit=10, offset=0, descending=True)
    check([org.name for org in orgs] == ["default"], "orgs")
    offset, found = 0, []
    while True:
        page = buckets.find_buckets(limit=20, offset=offset).buckets
        found += page
        offset += len(page)
        if len(page) < 20:
            break
    check(len({bucket.id for bucket in found}) == len(found) == 46, f"{len(found)} by offset")
    refused(400, "`offset` and `after` both say where the page begins: leave one out",
            lambda: buckets.find_buckets(offset=1, after=first))


def main(binary):
    with running(binary) as server:
        with InfluxDBClient(url=server.url, token=server.token, org="default") as client:
            manage(server, client)
            mappings(client)
            tenants(client)
            api_tokens(server, client)
            server.binary = binary
            pages(server, client)
        with InfluxDBClient(url=server.url, token="wrong", org="default") as client:
            service = LegacyAuthorizationsService(client.api_client)
            refused(401, "unauthorized access", service.get_legacy_authorizations)
    print(f"influxdb-client: {checks} checks passed, 0 failed")


if __name__ == "__main__":
    main(sys.argv[1])
