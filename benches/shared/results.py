"""The results of a bench that is a script, in the form that `report` reads."""

import json
import os
import pathlib
import re
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]


def said(*command):
    """What a command prints on standard output, or None if it fails."""
    try:
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    except OSError:
        return None
    return run.stdout.strip() if run.returncode == 0 else None


def begin():
    """The time and the load at the begin of a run."""
    return {"begun": now(), "load_begun": load()}


def row(what, here, peer, there, ratio=None, target="", reached=None):
    """A row of the report. A row without a target is for information."""
    return {
        "what": what, "here": here, "peer": peer, "there": there, "ratio": ratio,
        "target": target, "reached": reached, "run": 0,
    }


def save(bench, rows, began, peer, setup):
    """Prints the rows, and saves them in `PORTCULLIS_BENCH_RESULTS`, or else target/bench-results."""
    for of in rows:
        verdict = "" if of["reached"] is None else "reached" if of["reached"] else "MISSED"
        ratio = "" if of["ratio"] is None else f"{of['ratio']:.2f}"
        print(
            f"{of['what']:<66} {of['here']:<30} {of['peer']} {of['there']:<30} {ratio:<6} "
            f"{of['target']} {verdict}".rstrip()
        )
    run = {
        **began, "ended": now(), "load_ended": load(), "commit": commit(), "records": None,
        "machine": machine(), "peer": peer, "setup": setup,
    }
    directory = pathlib.Path(
        os.environ.get("PORTCULLIS_BENCH_RESULTS", ROOT / "target" / "bench-results")
    )
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{bench}.json"
    saved = {"bench": bench, "runs": [run], "rows": rows, "points": []}
    path.write_text(json.dumps(saved, indent=2, ensure_ascii=False) + "\n")
    print(f"\nsaved in {path}")


def machine():
    cpus = pathlib.Path("/proc/cpuinfo").read_text()
    memory = pathlib.Path("/proc/meminfo").read_text()
    model = re.search(r"model name\s*:\s*(.*)", cpus)
    return {
        "cpu": model and model[1],
        "cores": len(re.findall(r"^processor", cpus, re.M)),
        "memory_kib": int(re.search(r"MemTotal:\s*(\d+)", memory)[1]),
        "kernel": os.uname().release,
        "rustc": said("rustc", "--version"),
    }


def now():
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())


def load():
    return " ".join(f"{of:.2f}" for of in os.getloadavg())


def commit():
    name = said("git", "rev-parse", "--short=12", "HEAD")
    changed = said("git", "status", "--porcelain", "--", ".", ":!docs/performance*")
    return f"{name} with changes" if name and changed else name
