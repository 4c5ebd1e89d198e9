"""`portcullis import --from htpasswd` and `--from vmauth`, of files that the real programs write and read.

    python3 tests/import/others.py target/debug/portcullis

Apache's htpasswd hashes the passwords, with bcrypt and in every other way that it has. vmauth admits the same clients
as Portcullis does afterwards.
"""

import argparse
import base64
import contextlib
import http.server
import json
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "forward-auth"))

from proxies import free_port  # noqa: E402


def run(binary, store, *arguments, status=0, text=None):
    done = subprocess.run([binary, *arguments, "--store", store], capture_output=True, text=True, input=text)
    assert done.returncode == status, (arguments, done.returncode, done.stdout, done.stderr)
    return done


def admitted(binary, store, username, password, permission):
    command = [binary, "check", "--username", username, *permission, "--password-stdin", "--store", store]
    done = subprocess.run(command, input=password, capture_output=True, text=True)
    assert done.returncode in (0, 1), done
    return done.returncode == 0


def htpasswd(path, *arguments):
    create = [] if path.exists() else ["-c"]
    subprocess.run(["htpasswd", "-b", *create, *arguments[:-2], path, *arguments[-2:]], check=True, capture_output=True)


def check_htpasswd(binary, directory):
    path, store = directory / "users", f"sqlite:{directory}/htpasswd.db"
    htpasswd(path, "-B", "ada", "correct horse")
    htpasswd(path, "-B", "-C", "10", "zoë b", "short")
    htpasswd(path, "-B", "-C", "12", "cy", "battery staple")
    with path.open("a") as file:
        file.write("# the others\n")
    for option, name in [("-m", "md5"), ("-s", "sha1"), ("-d", "crypt"), ("-p", "plain"), ("-5", "sha512")]:
        htpasswd(path, option, name, "old")
    # Such a hash takes a minute: its text is made from another one.
    with path.open("a") as file:
        file.write(path.read_text().splitlines()[0].replace("ada:$2y$05$", "costly:$2y$20$") + "\n")
    source = ["import", "--from", "htpasswd", "--org", "acme", "--user", "web", str(path)]
    grants = ["--write-bucket", "telemetry", "--read-bucket", "telemetry"]
    report = json.loads(run(binary, store, *source, *grants, "--json", status=1).stdout)
    skipped = {entry["name"]: " ".join(entry["notes"]) for entry in report["entries"] if entry["outcome"] == "skipped"}
    assert skipped.keys() == {"md5", "sha1", "crypt", "plain", "sha512", "costly"}, skipped
    for name, part in [
        ("md5", "line 5: its hash is MD5 of Apache"),
        ("sha1", "line 6: its hash is SHA-1"),
        ("crypt", "line 7: its hash is DES"),
        ("plain", "line 8: it is no hash"),
        ("sha512", "line 9: its hash is SHA-512"),
        ("costly", "20"),
    ]:
        assert part in skipped[name], (name, skipped[name])
    assert not (directory / "htpasswd.db").exists()
    report = run(binary, store, *source, *grants, "--allow-skipped").stdout
    print(report)
    permission = ["--write-bucket", "telemetry"]
    for name, password in [("ada", "correct horse"), ("zoë b", "short"), ("cy", "battery staple")]:
        assert admitted(binary, store, name, password, permission), name
        assert not admitted(binary, store, name, password + "x", permission), name
    again = json.loads(run(binary, store, *source, *grants, "--allow-skipped", "--json").stdout)
    assert again["newRecords"] == 0, again

    # The same users as a web.yml.
    lines = [line.split(":") for line in path.read_text().splitlines()[:3]]
    web = directory / "web.yml"
    web.write_text("basic_auth_users:\n" + "".join(f"  {name}: {value}\n" for name, value in lines))
    source[-1] = str(web)
    same = json.loads(run(binary, store, *source, *grants, "--json").stdout)
    assert same["newRecords"] == 0 and same["counts"]["credential"] == {"already there": 3}, same
    # Other permissions are another credential.
    run(binary, store, *source, status=1)


class Upstream(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def vmauth(path, upstream):
    port = free_port()
    command = ["vmauth", f"-auth.config={path}", f"-httpListenAddr=127.0.0.1:{port}"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                status(f"http://127.0.0.1:{port}/", None)
                break
            except OSError:
                assert time.monotonic() < deadline and process.poll() is None
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def status(url, authorization):
    request = urllib.request.Request(url, headers={"Authorization": authorization} if authorization else {})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code


def check_vmauth(binary, directory):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    prefix = f"http://127.0.0.1:{server.server_port}/"
    users = [("ada", "correct horse"), ("zoë", "0123"), ("cy", "short")]
    path, store = directory / "auth.yml", f"sqlite:{directory}/vmauth.db"
    # JSON is YAML.
    entries = [{"username": name, "password": password, "url_prefix": prefix} for name, password in users]
    entries.append({"bearer_token": "a-token-of-some-length-0123456789", "name": "agent", "url_prefix": prefix})
    path.write_text(json.dumps({"users": entries}))
    source = ["import", "--from", "vmauth", "--org", "acme", "--user", "web", "--write-bucket", "telemetry", str(path)]
    report = json.loads(run(binary, store, *source, "--json").stdout)
    assert report["counts"]["credential"] == {"taken": 3}, report["counts"]
    assert report["counts"]["API token"] == {"taken": 1}, report["counts"]
    routes = [entry for entry in report["entries"] if entry["name"] == "url_prefix"]
    assert len(routes) == 4 and all(entry["outcome"] == "notCarried" for entry in routes), routes
    with vmauth(path, server) as url:
        for name, password in users:
            for given in [password, password + "x"]:
                basic = "Basic " + base64.b64encode(f"{name}:{given}".encode()).decode()
                theirs = status(url, basic) == 204
                ours = admitted(binary, store, name, given, ["--write-bucket", "telemetry"])
                assert theirs == ours == (given == password), (name, given, theirs, ours)
    again = json.loads(run(binary, store, *source, "--json").stdout)
    assert again["newRecords"] == 0, again["counts"]
    print(f"vmauth: {report['counts']}")

    path.write_text("users:\n- username: ada\n  password: '%{ADA}'\n  url_prefix: http://x/\n")
    refused = json.loads(run(binary, store, *source, "--json", status=1).stdout)
    (entry,) = [entry for entry in refused["entries"] if entry["outcome"] == "skipped"]
    assert entry["name"] == "ada" and "environment" in entry["notes"][0], entry


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("binary")
    binary = pathlib.Path(arguments.parse_args().binary).resolve()
    with tempfile.TemporaryDirectory() as name:
        check_htpasswd(binary, pathlib.Path(name))
        check_vmauth(binary, pathlib.Path(name))


main()
