"""Connects to `portcullis serve` over TLS with curl and openssl, which share no code with it.

    python tests/clients/tls_run.py target/debug/portcullis
"""

import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time


def run(*command, directory, status=0):
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=60)
    if done.returncode != status:
        raise AssertionError(f"{command} ended with {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def certificate(directory):
    run(
        *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"),
        *("-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem"),
        directory=directory,
    )


def curl(*arguments, directory):
    return run("curl", "-sS", "--cacert", "cert.pem", *arguments, directory=directory)


def wait_for(pattern, log):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if found := re.search(pattern, log.read_text()):
            return found[1]
        time.sleep(0.05)
    raise AssertionError(f"no {pattern!r} in the log:\n{log.read_text()}")


def main(binary):
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        certificate(directory)
        log = directory / "log"
        process = subprocess.Popen(
            [
                *(pathlib.Path(binary).resolve(), "serve", "--store", "memory:", "--listen", "127.0.0.1:0"),
                *("--metrics-listen", "127.0.0.1:0", "--tls-cert", "cert.pem", "--tls-key", "key.pem"),
            ],
            cwd=directory,
            stdout=subprocess.PIPE,
            stderr=log.open("w"),
            text=True,
        )
        try:
            lines = [process.stdout.readline() for _ in range(2)]
            port = re.fullmatch(r"listening on https://127\.0\.0\.1:(\d+)\n", lines[1])[1]
            url = f"https://localhost:{port}"
            shown = ["-o", "/dev/null", "-w", "%{http_version} %{http_code}"]
            for version in ["--tlsv1.2", "--tlsv1.3"]:
                answer = curl(version, *shown, f"{url}/ping", directory=directory)
                assert answer == "1.1 204", answer
            run("curl", "-sS", f"{url}/ping", directory=directory, status=60)

            metrics = wait_for(r"metrics on https://127\.0\.0\.1:(\d+)/metrics", log)
            text = curl(f"https://localhost:{metrics}/metrics", directory=directory)
            assert 'portcullis_http_requests_total{route="operations",status="204"} 2\n' in text, text
            assert 'portcullis_connections_evicted_total{listener="api",reason="handshake"} 1\n' in text, text

            certificate(directory)
            process.send_signal(signal.SIGHUP)
            wait_for("(reloaded the certificate)", log)
            answer = curl(*shown, f"{url}/ping", directory=directory)
            assert answer == "1.1 204", answer
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=30) == 0
        finally:
            process.kill()
            process.wait()
    print("TLS and metrics: passed")


if __name__ == "__main__":
    main(sys.argv[1])
