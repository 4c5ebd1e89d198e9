"""`portcullis import --from influxdb-2x`, of files that the real bbolt writes.

    python3 tests/import/influxdb_2x.py target/debug/portcullis

The records are those that InfluxDB 2.9 writes. Credentials are written in several transactions, changed and
deleted, so that the file has branches, overflow pages, inline buckets and free pages. The result is compared with
what was written, and clients log in.
"""

import argparse
import base64
import hashlib
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "clients"))

from server import running  # noqa: E402

GO = {"GO111MODULE": "off", "GOPATH": "/usr/share/gocode"}
TIMES = {"createdAt": "2021-09-28T08:55:25.75109-04:00", "updatedAt": "2025-02-05T21:01:39.331257096Z"}
CREDENTIALS = 1500


def identifier(number):
    return f"{number:016x}"


def compact(record):
    return json.dumps(record, separators=(",", ":"), ensure_ascii=False)


class BoltFile:
    """A file that the real bbolt has open."""

    def __init__(self, program, path, page_size):
        command = [program, path, str(page_size)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def say(self, **line):
        self.process.stdin.write(json.dumps(line) + "\n")

    def put(self, bucket, key, record):
        self.say(bucket=bucket, key=key, value=record if isinstance(record, str) else compact(record))

    def commit(self):
        self.say()

    def hold(self):
        """Commits, and keeps the file open."""
        self.say(hold=True)
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "held\n"

    def close(self):
        self.process.stdin.close()
        assert self.process.wait() == 0


def bcrypt(password):
    """The hash by Apache's htpasswd, with the prefix that InfluxDB writes."""
    made = subprocess.run(["htpasswd", "-nbBC", "4", "x", password], capture_output=True, text=True, check=True)
    return made.stdout.strip().removeprefix("x:").replace("$2y$", "$2a$")


def permission(action, kind, org=None, id=None):
    resource = {"type": kind}
    if id is not None:
        resource["id"] = id
    if org is not None:
        resource["orgID"] = org
    return {"action": action, "resource": resource}


class Expected:
    """What is written, and what it is to become."""

    def __init__(self):
        self.random = random.Random(22)
        self.orgs = {identifier(0x100 + n): f"org {n}" for n in range(3)}
        self.users = {identifier(0x200 + n): f"user-{n}" for n in range(4)}
        self.buckets, self.system = {}, {}
        for number, org in enumerate(self.orgs):
            for bucket in range(20):
                self.buckets[identifier(0x1000 + number * 0x100 + bucket)] = (org, f"bucket-{bucket}")
            for system, name in enumerate(["_tasks", "_monitoring"]):
                self.system[identifier(0x1080 + number * 0x100 + system)] = (org, name)
        self.hashes = {password: bcrypt(password) for password in ["correct horse", "short"]}
        self.credentials, self.passwords = {}, {}
        for number in range(CREDENTIALS):
            id = identifier(0x9000_0000 + self.random.randrange(0x1000_0000) * 8)
            org = self.random.choice(list(self.orgs))
            own = [bucket for bucket, (its_org, _) in self.buckets.items() if its_org == org]
            # A long description needs overflow pages.
            description = self.random.choice(["", "for tests", "ä" * 3000 if number % 50 == 0 else "x"])
            self.credentials[id] = {
                "id": id,
                "token": f"client {number} ü",
                "status": "active" if number % 7 else "inactive",
                "description": description,
                "orgID": org,
                "userID": self.random.choice(list(self.users)),
                "permissions": [
                    permission(self.random.choice(["read", "write"]), "buckets", org, bucket)
                    for bucket in self.random.sample(own, self.random.randrange(1, 6))
                ],
                **TIMES,
            }
            if number % 11:
                self.passwords[id] = self.random.choice(list(self.hashes))

    def write(self, file):
        for org, name in self.orgs.items():
            file.put("organizationsv1", org, {"id": org, "name": name, "description": "", **TIMES})
        for user, name in self.users.items():
            file.put("usersv1", user, {"id": user, "name": name, "status": "active"})
            file.put("userspasswordv1", user, bcrypt("user interface"))
            mapping = {"userID": user, "userType": "owner", "mappingType": "user", "resourceType": "orgs"}
            org = next(iter(self.orgs))
            file.put("userresourcemappingsv1", org + user, {**mapping, "resourceID": org})
        for kind, buckets in enumerate([self.buckets, self.system]):
            for bucket, (org, name) in buckets.items():
                record = {"id": bucket, "orgID": org, "type": kind, "name": name, "description": ""}
                file.put("bucketsv1", bucket, {**record, "retentionPeriod": 0, "shardGroupDuration": 0, **TIMES})
        for name in ["dbrpbyorgv1", "tasksv1", "legacy/authorizationindexv1"]:
            file.say(bucket=name, key="")
        self.write_mappings(file)
        self.write_tokens(file)
        self.write_credentials(file)

    def write_mappings(self, file):
        org, (first, second) = next(iter(self.orgs)), list(self.buckets)[:2]
        for number, (policy, bucket) in enumerate([("year", first), ("week", second)]):
            id = identifier(0x300 + number)
            mapping = {"id": id, "database": "metrics", "retention_policy": policy, "default": number == 0}
            file.put("dbrpv1", id, {**mapping, "virtual": False, "orgID": org, "bucketID": bucket})
        # `week` became the default later.
        file.put("dbrpdefaultv1", f"{org}metrics", identifier(0x301))

    def write_tokens(self, file):
        org, user = next(iter(self.orgs)), next(iter(self.users))
        types = ["authorizations", "buckets", "dashboards", "orgs", "users", "remotes"]
        grants = [permission(action, kind) for kind in types for action in ["read", "write"]]
        base = {"status": "active", "orgID": org, "userID": user, "permissions": grants, **TIMES}
        self.tokens = {"plain": "my-super-secret-auth-token", "sha256": "hashed-" + "x" * 80, "sha512": "y" * 80}
        secrets = {"plain": {"token": self.tokens["plain"]}}
        for name in ["sha256", "sha512"]:
            digest = base64.urlsafe_b64encode(hashlib.new(name, self.tokens[name].encode()).digest()).decode()
            secrets[name] = {"hashedToken": f"$influxdb2-{name}${digest}"}
        for number, (name, secret) in enumerate(secrets.items()):
            id = identifier(0x400 + number)
            file.put("authorizationsv1", id, {"id": id, "description": name, **secret, **base})

    def write_credentials(self, file):
        order = list(self.credentials)
        self.random.shuffle(order)
        gone = [identifier(0x5000_0000 + n) for n in range(400)]
        for number, id in enumerate(order):
            file.put("legacy/authorizationsv1", id, {**self.credentials[id], "description": "before"})
            if number < len(gone):
                file.put("legacy/authorizationsv1", gone[number], {**self.credentials[id], "token": f"gone {number}"})
                file.put("legacy/authorizationPasswordv1", gone[number], self.hashes["short"])
            if number % 97 == 0:
                file.commit()
        for number, id in enumerate(order):
            file.put("legacy/authorizationsv1", id, self.credentials[id])
            if id in self.passwords:
                file.put("legacy/authorizationPasswordv1", id, self.hashes[self.passwords[id]])
            if number % 101 == 0:
                file.commit()
        # InfluxDB leaves the passwords of deleted credentials.
        for id in gone:
            file.say(bucket="legacy/authorizationsv1", key=id)


class Portcullis:
    def __init__(self, binary, store):
        self.binary, self.store = binary, store

    def run(self, *arguments, status=0, text=None):
        command = [self.binary, *arguments, "--store", self.store]
        done = subprocess.run(command, capture_output=True, text=True, input=text)
        assert done.returncode == status, (arguments, done.returncode, done.stdout[-2000:], done.stderr[-2000:])
        return done

    def export(self):
        lines = map(json.loads, self.run("export").stdout.splitlines())
        records = {}
        for line in lines:
            records.setdefault(line.pop("type"), {})[line.get("id")] = line
        return records


def check_records(expected, records):
    assert {id: record["name"] for id, record in records["org"].items()} == expected.orgs
    assert {id: record["name"] for id, record in records["user"].items()} == expected.users
    buckets = {id: (record["orgID"], record["name"]) for id, record in records["bucket"].items()}
    assert buckets == expected.buckets
    (database,) = records["dbrp"].values()
    mappings = {mapping["retentionPolicy"]: mapping.get("default", False) for mapping in database["mappings"]}
    assert (database["database"], mappings) == ("metrics", {"year": False, "week": True})
    assert {record["description"] for record in records["apiToken"].values()} == {"plain", "sha256"}
    credentials = records["authorization"]
    assert credentials.keys() == expected.credentials.keys(), len(credentials)
    for id, written in expected.credentials.items():
        record = credentials[id]
        for member in ["token", "status", "description", "orgID", "userID", "permissions"]:
            assert record[member] == written[member], (record, written)
        assert record["createdAt"] == "2021-09-28T12:55:25.75109Z", record
        assert record["updatedAt"] == "2025-02-05T21:01:39.331257096Z", record
        password = expected.passwords.get(id)
        assert record.get("passwordHash") == (expected.hashes[password] if password else None), record


def check_logins(expected, portcullis):
    chosen = {}
    for id, password in expected.passwords.items():
        chosen.setdefault((password, expected.credentials[id]["status"]), id)
    assert len(chosen) == 4
    for (password, status), id in chosen.items():
        credential = expected.credentials[id]
        granted = credential["permissions"][0]
        wanted = f"{granted['action']}:orgs/{credential['orgID']}/buckets/{granted['resource']['id']}"
        arguments = ["check", "--username", credential["token"], "--permission", wanted, "--password-stdin"]
        portcullis.run(*arguments, text=password, status=0 if status == "active" else 1)
        portcullis.run(*arguments, text=password + "x", status=1)


def check_tokens(expected, binary, directory):
    """The secrets of API tokens work over HTTP."""
    with running(binary, directory=directory) as server:
        for name, status in [("plain", "200"), ("sha256", "200"), ("sha512", "401")]:
            header = f"Authorization: Token {expected.tokens[name]}"
            command = ["curl", "-s", "-o", os.devnull, "-w", "%{http_code}", "-H", header]
            url = f"{server.url}/private/legacy/authorizations"
            answer = subprocess.run([*command, url], capture_output=True, text=True, check=True).stdout
            assert answer == status, (name, answer)


def check_import(binary, program, directory, page_size):
    expected = Expected()
    path = directory / "influxd.bolt"
    file = BoltFile(program, path, page_size)
    expected.write(file)
    file.hold()
    portcullis = Portcullis(binary, f"sqlite:{directory}/portcullis.db")
    source = ["import", "--from", "influxdb-2x", str(path)]
    refused = portcullis.run(*source, status=1).stderr
    assert "stop it, or import a copy" in refused, refused
    file.close()

    # A token with SHA-512 is skipped.
    portcullis.run(*source, status=1)
    assert not (directory / "portcullis.db").exists()
    dry = json.loads(portcullis.run(*source, "--allow-skipped", "--dry-run", "--json").stdout)
    assert not (directory / "portcullis.db").exists()
    report = json.loads(portcullis.run(*source, "--allow-skipped", "--json").stdout)
    assert report["counts"] == dry["counts"] and report["imported"] and not dry["imported"]
    skipped = [entry for entry in report["entries"] if entry["outcome"] == "skipped"]
    assert [entry["name"] for entry in skipped] == ["sha512"], skipped
    assert report["counts"]["credential"] == {"taken": CREDENTIALS}, report["counts"]
    assert report["counts"]["system bucket"] == {"not carried": 6}, report["counts"]
    left = [entry["name"] for entry in report["entries"] if entry["kind"] == "passwords without credential"]
    assert left == ["400"], left
    check_records(expected, portcullis.export())

    again = json.loads(portcullis.run(*source, "--allow-skipped", "--json").stdout)
    assert again["newRecords"] == 0, again["counts"]
    assert again["counts"]["credential"] == {"already there": CREDENTIALS}, again["counts"]
    check_logins(expected, portcullis)
    check_tokens(expected, binary, directory)
    print(f"pages of {page_size} bytes, {path.stat().st_size} bytes: {report['counts']}")
    return path


def check_damaged(binary, path, directory):
    """A file that is cut off or damaged is refused, and nothing is stored."""
    whole, draw = path.read_bytes(), random.Random(5)
    refused = 0
    for number in range(60):
        damaged = bytearray(whole)
        if number % 3 == 0:
            del damaged[draw.randrange(len(whole)) :]
        else:
            page = draw.randrange(2, len(whole) // 4096) * 4096
            for _ in range(4):
                damaged[page + draw.randrange(64)] = draw.randrange(256)
        path = directory / "damaged.bolt"
        path.write_bytes(damaged)
        portcullis = Portcullis(binary, f"sqlite:{directory}/new.db")
        command = [portcullis.binary, "import", "--from", "influxdb-2x", str(path), "--allow-skipped", "--dry-run"]
        done = subprocess.run([*command, "--store", portcullis.store], capture_output=True, text=True, timeout=120)
        # A page that is in no bucket is not read.
        assert done.returncode in (0, 1), done
        if done.returncode == 1:
            refused += 1
            assert "damaged.bolt" in done.stderr and "panicked" not in done.stderr, done.stderr
        assert not (directory / "new.db").exists()
    assert refused > 20, refused
    print(f"{refused} of 60 damaged files refused")


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("binary")
    binary = pathlib.Path(arguments.parse_args().binary).resolve()
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        program = directory / "bolt"
        source = pathlib.Path(__file__).with_name("bolt")
        env = {**os.environ, **GO, "GOCACHE": str(directory / "go-cache")}
        subprocess.run(["go", "build", "-o", program, "."], cwd=source, env=env, check=True)
        for page_size in [4096, 1024, 65536]:
            own = directory / str(page_size)
            own.mkdir()
            path = check_import(binary, program, own, page_size)
            if page_size == 4096:
                check_damaged(binary, path, own)


main()
