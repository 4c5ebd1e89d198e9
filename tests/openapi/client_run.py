"""A client that is generated from docs/openapi.json creates a credential, and the credential logs in.

    target/ci-venv/bin/python tests/openapi/client_run.py target/debug/portcullis

It needs the packages in tests/openapi/requirements.txt.
"""

import base64
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "clients"))

from server import running

checks = 0


def check(condition, what):
    global checks
    checks += 1
    if not condition:
        raise AssertionError(what)


def generate(directory):
    """Generates the package `portcullis_client`. Anything that the generator cannot express is an error."""
    programs = pathlib.Path(sys.executable).parent
    command = [
        programs / "openapi-python-client", "generate", "--path", ROOT / "docs/openapi.json", "--meta", "none",
        "--output-path", pathlib.Path(directory, "portcullis_client"), "--fail-on-warning",
    ]
    # It formats what it generates with ruff, which is installed beside it.
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    if result.returncode != 0:
        raise RuntimeError(result.stdout + result.stderr)
    sys.path.insert(0, directory)


def main(binary):
    with tempfile.TemporaryDirectory() as directory, running(binary) as server:
        generate(directory)
        manage(server)
    print(f"a generated client: {checks} checks passed, 0 failed")


def manage(server):
    from portcullis_client import AuthenticatedClient, Client, models
    from portcullis_client.api.api_tokens import post_authorizations
    from portcullis_client.api.authorizations import (
        delete_legacy_authorizations_id,
        get_legacy_authorizations,
        get_legacy_authorizations_id,
        patch_legacy_authorizations_id,
        post_legacy_authorizations,
        post_legacy_authorizations_id_password,
        put_legacy_authorizations_id_permissions,
    )
    from portcullis_client.api.dbrp_mappings import get_dbr_ps, post_dbrp
    from portcullis_client.api.forward_auth import get_forward_auth
    from portcullis_client.api.operations import get_health, get_ping, get_ready
    from portcullis_client.api.orgs_users_and_buckets import (
        delete_orgs_id,
        get_buckets,
        get_me,
        get_orgs,
        patch_buckets_id,
        post_buckets,
        post_orgs,
    )

    client = AuthenticatedClient(base_url=server.url, token=server.token, prefix="Token")
    anonymous = Client(base_url=server.url)
    check(get_ping.sync_detailed(client=anonymous).status_code == 204, "ping")
    check(get_health.sync(client=anonymous).status == "pass", "health")
    check(get_ready.sync(client=anonymous).changes_fail is False, "ready")

    org = get_orgs.sync(client=client, org="default").orgs[0]
    bucket = get_buckets.sync(client=client, org_id=org.id, name="default").buckets[0]
    user = get_me.sync(client=client)

    def permission(action):
        resource = models.Resource(type_=models.ResourceType.BUCKETS, id=bucket.id, org_id=org.id)
        return models.Permission(action=models.PermissionAction(action), resource=resource)

    # A credential that may write, with a password.
    request = models.AuthorizationPostRequest(
        token="telegraf", org_id=org.id, permissions=[permission("write")], description="agents")
    created = post_legacy_authorizations.sync(client=client, body=request)
    check((created.token, created.status, created.user_id) == ("telegraf", "active", user.id), created)
    check(created.permissions[0].resource.name == "default", created.permissions)
    taken = post_legacy_authorizations.sync_detailed(client=client, body=request)
    check((taken.status_code, taken.parsed.code) == (422, "conflict"), taken)
    short = post_legacy_authorizations_id_password.sync(
        created.id, client=client, body=models.PasswordResetBody(password="short"))
    check(short.message == "passwords must be between 8 and 72 characters long", short)
    password = models.PasswordResetBody(password="s3cret-enough")
    done = post_legacy_authorizations_id_password.sync_detailed(created.id, client=client, body=password)
    check(done.status_code == 204, done)

    def log_in(name, word, **parameters):
        credentials = base64.b64encode(f"{name}:{word}".encode()).decode()
        browser = anonymous.with_headers({"Authorization": f"Basic {credentials}"})
        return get_forward_auth.sync_detailed(client=browser, **parameters)

    # It logs in, and may do what it was granted.
    response = log_in("telegraf", "s3cret-enough", check=models.GetForwardAuthCheck.NONE)
    check(response.status_code == 204, response)
    check(response.headers["x-portcullis-authorization"] == created.id, response.headers)
    on_bucket = f"orgs/{org.id}/buckets/{bucket.id}"
    for text, status in [(f"write:{on_bucket}", 204), (f"read:{on_bucket}", 403)]:
        response = log_in("telegraf", "s3cret-enough", permission=text)
        check(response.status_code == status, response)
    response = log_in("telegraf", "s3cret-enough", x_original_uri="/write?db=default")
    check(response.status_code == 204, response)
    refused = log_in("telegraf", "wrong", check=models.GetForwardAuthCheck.NONE)
    check((refused.status_code, refused.parsed.error) == (401, "Unauthorized"), refused)

    # The rest of its life.
    replaced = put_legacy_authorizations_id_permissions.sync(
        created.id, client=client, body=models.PermissionsRequest(permissions=[permission("read")]))
    check(replaced.permissions[0].action == "read", replaced)
    check(log_in("telegraf", "s3cret-enough", permission=f"read:{on_bucket}").status_code == 204, "read")
    patched = patch_legacy_authorizations_id.sync(
        created.id, client=client, body=models.AuthorizationUpdateRequest(status="inactive"))
    check((patched.status, patched.description) == ("inactive", "agents"), patched)
    check(log_in("telegraf", "s3cret-enough", permission=f"read:{on_bucket}").status_code == 401, "inactive")
    found = get_legacy_authorizations.sync(client=client, status=models.GetLegacyAuthorizationsStatus.INACTIVE)
    check([one.id for one in found.authorizations] == [created.id], found)
    check(delete_legacy_authorizations_id.sync_detailed(created.id, client=client).status_code == 204, "delete")
    gone = get_legacy_authorizations_id.sync(created.id, client=client)
    check(gone.message == "authorization not found", gone)

    # An org with a bucket and an API token, all of which go with it.
    other = post_orgs.sync(client=client, body=models.PostOrganizationRequest(name="acme"))
    events = post_buckets.sync(client=client, body=models.PostBucketRequest(org_id=other.id, name="events"))
    renamed = patch_buckets_id.sync(events.id, client=client, body=models.PatchBucketRequest(name="points"))
    check((renamed.id, renamed.name) == (events.id, "points"), renamed)
    resource = models.Resource(type_=models.ResourceType.BUCKETS, id=events.id, org_id=other.id)
    reads = models.Permission(action=models.PermissionAction.READ, resource=resource)
    token = post_authorizations.sync(
        client=client, body=models.ApiTokenPostRequest(org_id=other.id, permissions=[reads]))
    reader = AuthenticatedClient(base_url=server.url, token=token.token)
    check([one.name for one in get_buckets.sync(client=reader).buckets] == ["points"], token)
    preview = delete_orgs_id.sync(other.id, client=client, dry_run=True)
    check((preview.api_tokens, preview.buckets, preview.complete) == (1, 1, True), preview)
    check(delete_orgs_id.sync_detailed(other.id, client=client).status_code == 204, "delete")
    check(get_buckets.sync_detailed(client=reader).status_code == 401, "the token is gone")

    # A mapping.
    mapping = models.DBRPCreate(bucket_id=bucket.id, org_id=org.id, database="telemetry", retention_policy="year")
    check(post_dbrp.sync(client=client, body=mapping).default is True, "mapping")
    names = [one.database for one in get_dbr_ps.sync(client=client, org_id=org.id).content]
    check(names == ["telemetry", "default"], names)


if __name__ == "__main__":
    main(sys.argv[1])
