"""Large bodies through the gateway, outages of the database, and the end of the server.

    python3 tests/gateway/transfers_run.py target/release/portcullis [--bytes 1000000000]

Writes 25 MB, and reads a chunked response of 1 GB, of a stub: compares the times with those without the
gateway and with those through nginx, if it is installed, and measures the gateway's memory. A real InfluxDB is
not needed.
"""

import argparse
import contextlib
import http.client
import http.server
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

from deployment import DATABASE, PASSWORD, gateway
from proxies import free_port, listening

CHUNK = b"x" * 65_536
WRITE = b"cpu,host=a value=1 1000000000\n" * 830_000
MIB = 1024 * 1024


class Large(http.server.BaseHTTPRequestHandler):
    """Takes writes, and sends long responses in chunks."""

    protocol_version = "HTTP/1.1"
    response_bytes = 0
    received = []
    break_off = threading.Event()

    def do_POST(self):
        left, count = int(self.headers.get("Content-Length") or 0), 0
        while left > 0 and (part := self.rfile.read(min(left, MIB))):
            left, count = left - len(part), count + len(part)
        self.received.append(count)
        self.send_response(204)
        self.end_headers()

    def do_GET(self):
        if self.path.startswith("/ping"):
            self.send_response(204)
            return self.end_headers()
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        chunk = b"%x\r\n%s\r\n" % (len(CHUNK), CHUNK)
        for _ in range(self.response_bytes // len(CHUNK)):
            self.wfile.write(chunk)
            if self.break_off.is_set():
                self.close_connection = True
                return
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_):
        pass


def memory(pid):
    """The resident memory of the process, in bytes."""
    fields = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    values = {name: value for name, _, value in (field.partition(":") for field in fields)}
    return int(values["VmRSS"].split()[0]) * 1024


class Peak(threading.Thread):
    """The peak of the process's memory."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.peak, self.ended = pid, memory(pid), threading.Event()

    def run(self):
        while not self.ended.wait(0.02):
            self.peak = max(self.peak, memory(self.pid))

    def end(self):
        self.ended.set()
        self.join()
        return self.peak


def request(address, method, target, body=None):
    """Sends it, and returns the status and the number of bytes, or the error."""
    connection = http.client.HTTPConnection(address, timeout=120)
    try:
        connection.request(method, f"{target}&u=both&p={PASSWORD}", body)
        response = connection.getresponse()
        buffer, count = memoryview(bytearray(MIB)), 0
        while read := response.readinto(buffer):
            count += read
        return response.status, count
    except (http.client.HTTPException, OSError) as error:
        return type(error).__name__, 0
    finally:
        connection.close()


def timed(work):
    begun = time.perf_counter()
    result = work()
    return time.perf_counter() - begun, result


@contextlib.contextmanager
def stub_process(count):
    """The stub in a process of its own, whose responses have so many bytes; yields its address."""
    address = f"127.0.0.1:{free_port()}"
    process = subprocess.Popen([sys.executable, __file__, "--stub", address, "--bytes", str(count)])
    try:
        wait_for(address)
        yield address
    finally:
        process.kill()
        process.wait()


def compare_times(options):
    """Compares the times of curl with the direct way, the gateway and nginx, which take turns. Returns what
    takes longer than the limit."""
    wrong = []
    with contextlib.ExitStack() as around:
        directory = around.enter_context(tempfile.TemporaryDirectory())
        stub = around.enter_context(stub_process(options.bytes))
        running = around.enter_context(gateway(options.binary, f"http://{stub}", directory))
        contenders = {"direct": stub, "gateway": running.gateway.removeprefix("http://")}
        if proxy := around.enter_context(nginx(directory, stub)):
            contenders["nginx"] = proxy
        points = pathlib.Path(directory, "points")
        points.write_bytes(WRITE)
        for what, target, arguments in [
            ("25 MB write", f"/write?db={DATABASE}", ["-H", "Expect:", "--data-binary", f"@{points}"]),
            ("response in chunks", f"/query?db={DATABASE}&q=SHOW+SERIES&chunked=true", []),
        ]:
            def transfer(address):
                url = f"http://{address}{target}&u=both&p={PASSWORD}"
                subprocess.run(["curl", "-sf", "-o", "/dev/null", *arguments, url], check=True, timeout=120)

            transfer(contenders["gateway"])
            times = {name: [] for name in contenders}
            for _ in range(options.runs):
                for name, address in contenders.items():
                    times[name].append(timed(lambda: transfer(address))[0])
            medians = {name: sorted(kept)[len(kept) // 2] for name, kept in times.items()}
            direct = medians["direct"]
            print(f"{what}: " + ", ".join(
                f"{name} {median:.3f} s ({median / direct:.2f})" for name, median in medians.items()))
            if options.ratio and medians["gateway"] / direct > options.ratio:
                wrong.append(f"{what} takes longer")
    return wrong


@contextlib.contextmanager
def nginx(directory, upstream):
    """nginx that passes everything on as it comes; yields its address, or None if it is not installed."""
    program = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin")
    if program is None:
        yield None
        return
    address, conf = f"127.0.0.1:{free_port()}", pathlib.Path(directory, "nginx.conf")
    paths = "\n".join(f"{kind}_temp_path {directory}/{kind};"
                      for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    conf.write_text(f"daemon off; worker_processes 1; pid {directory}/nginx.pid; error_log {directory}/nginx.log;\n"
                    f"events {{}}\nhttp {{ {paths} access_log off; client_max_body_size 100m;\n"
                    f"server {{ listen {address}; location / {{ proxy_pass http://{upstream};\n"
                    "proxy_http_version 1.1; proxy_set_header Connection '';\n"
                    "proxy_buffering off; proxy_request_buffering off; }} }} }}\n".replace("}}", "}"))
    process = subprocess.Popen([program, "-c", str(conf)], stderr=subprocess.DEVNULL)
    try:
        wait_for(address)
        yield address
    finally:
        process.terminate()
        process.wait()


def wait_for(address):
    """Waits until the address accepts connections."""
    host, port = address.split(":")
    ends = time.monotonic() + 15
    while True:
        try:
            return socket.create_connection((host, int(port))).close()
        except ConnectionRefusedError:
            if time.monotonic() > ends:
                raise
            time.sleep(0.01)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary", type=pathlib.Path, nargs="?")
    parser.add_argument("--stub", metavar="ADDRESS", help=argparse.SUPPRESS)
    parser.add_argument("--bytes", type=int, default=1_000_000_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--ratio", type=float, default=None, help="fail if the gateway takes longer than this")
    options = parser.parse_args()
    if options.stub:
        Large.response_bytes = options.bytes
        with listening(Large, int(options.stub.rsplit(":", 1)[1])):
            threading.Event().wait()
    wrong = []
    query, write = f"/query?db={DATABASE}&q=SHOW+SERIES&chunked=true", f"/write?db={DATABASE}"
    Large.response_bytes = options.bytes
    whole = options.bytes // len(CHUNK) * len(CHUNK)
    with tempfile.TemporaryDirectory() as directory, listening(Large) as stub:
        with gateway(options.binary, f"http://{stub}", directory) as running:
            address = running.gateway.removeprefix("http://")
            assert request(address, "POST", write, b"cpu value=1\n")[0] == 204
            idle = memory(running.pid)

            def is_right(expected, got, what):
                if got != expected:
                    wrong.append(f"{what}: {got}, and not {expected}")

            peak = Peak(running.pid)
            peak.start()
            is_right((204, 0), request(address, "POST", write, WRITE), "a write of 25 MB")
            is_right(len(WRITE), Large.received[-1], "what arrived of it")
            is_right((200, whole), request(address, "GET", query), "a response of 1 GB")
            grown = peak.end() - idle
            print(f"memory: idle {idle / MIB:.1f} MiB, {grown / MIB:.2f} MiB more with one connection")
            if grown > 2 * MIB:
                wrong.append("the memory of one connection")

            # Sixteen at once.
            peak = Peak(running.pid)
            peak.start()
            Large.response_bytes = options.bytes // 16
            threads = [threading.Thread(target=request, args=(address, "GET", query)) for _ in range(16)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            grown = (peak.end() - idle) / 16
            print(f"memory: {grown / MIB:.2f} MiB more for each of 16 connections")
            if grown > 2 * MIB:
                wrong.append("the memory of 16 connections")
            Large.response_bytes = options.bytes

            Large.break_off.set()
            broken, _ = request(address, "GET", query)
            if broken not in ("IncompleteRead", "RemoteDisconnected"):
                wrong.append(f"a response that breaks off is {broken}")
            Large.break_off.clear()

            # The end of the server: what is under way is finished.
            Large.response_bytes = 50_000_000
            slow = socket.create_connection(address.split(":"))
            slow.sendall(f"GET {query}&u=both&p={PASSWORD} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            begin = slow.recv(1000)
            os.kill(running.pid, signal.SIGTERM)
            time.sleep(0.5)
            try:
                socket.create_connection(address.split(":")).close()
                wrong.append("the server takes connections after SIGTERM")
            except ConnectionRefusedError:
                pass
            received = begin
            while part := slow.recv(MIB):
                received = received[-10:] + part
            if not received.endswith(b"0\r\n\r\n"):
                wrong.append("a response was not finished after SIGTERM")
            slow.close()
            # A second signal would end it at once.
            ended = time.monotonic() + 15
            while "State:\tZ" not in pathlib.Path(f"/proc/{running.pid}/status").read_text():
                if time.monotonic() > ended:
                    wrong.append("the server has not ended after SIGTERM")
                    break
                time.sleep(0.05)
            print("SIGTERM: the response under way was finished")
    wrong += compare_times(options)
    print("\n".join([*wrong, "right" if not wrong else f"{len(wrong)} wrong"]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
