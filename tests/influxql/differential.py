#!/usr/bin/env python3
"""What is allowed here is allowed by a real InfluxDB 1.x.

Usage: differential.py NEEDS [--influxd PATH] [--pairs N] [--seed N] [--verbose]

NEEDS is the example `needs` of portcullis-influxql. Statements are made from the grammar and asked of
InfluxDB, with authentication on, by users with different grants. InfluxDB must allow what the needs allow,
and where it allows more, one of the reasons below must apply.
"""

import argparse
import collections
import json
import random
import re
import subprocess
import sys
import tempfile

from grammar import Grammar
from influxd import Influx

GRANTS = {
    "reader": {"read telemetry"},
    "writer": {"write telemetry"},
    "both": {"read telemetry", "write telemetry"},
    "split": {"read telemetry", "write events"},
    "other": {"read events"},
    "full": {"read telemetry", "write telemetry", "read events", "write events"},
    "none": set(),
}

# Where InfluxDB allows more than the needs do: why, and which statements.
REASONS = [
    ("counts and names need read on the database that they are of",
     re.compile(r"^SHOW (SERIES|MEASUREMENT|TAG KEY|TAG VALUES|FIELD KEY) CARDINALITY$")),
    ("a database that is named in FROM or WITH needs read as well",
     re.compile(r"^SHOW (SERIES|MEASUREMENTS|TAG KEYS|TAG VALUES|FIELD KEYS)$")),
    ("what the server does is not shown to readers of a database",
     re.compile(r"^SHOW (QUERIES|CONTINUOUS QUERIES)$")),
    ("a continuous query reads, writes and stays", re.compile(r"^CREATE CONTINUOUS QUERY$")),
]
# What InfluxDB refuses without looking at rights, and is not wrong to be allowed.
UNKNOWN_ZONE = re.compile(r"unable to find time zone")
REFUSED_TEXTS = [
    ("an unusual regular expression", re.compile(r"error parsing regexp")),
    ("a NUL character", re.compile(r"NUL")),
    ("nested deeply", re.compile(r"levels deep")),
]


class Needs:
    """The needs of statements, from the example."""

    def __init__(self, path):
        self.process = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def of(self, query):
        self.process.stdin.write(json.dumps(query) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def is_met(need, database, grants):
    if isinstance(need, str):
        return need == "the names of databases"
    [(access, (name, _))] = need.items()
    return f"{access} {database if name is None else name}" in grants


def decision(status, body):
    if status == 200:
        return "allowed"
    if status == 400 and "error parsing query" in body:
        return "unparsable"
    if status == 400 and "missing required parameter" in body:
        return "unparsable"
    if status == 403:
        return "refused"
    raise SystemExit(f"InfluxDB answered {status}: {body}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("needs")
    parser.add_argument("--influxd", default="influxd")
    parser.add_argument("--pairs", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    print(f"seed {options.seed}, {options.pairs} pairs")
    grammar = Grammar(random.Random(options.seed))
    needs = Needs(options.needs)
    counts, reasons, failures = collections.Counter(), collections.Counter(), []
    messages = collections.Counter()
    with tempfile.TemporaryDirectory() as directory:
        influx = Influx(options.influxd, directory)
        try:
            influx.set_up(GRANTS)
            for _ in range(options.pairs):
                query = grammar.query()
                user = grammar.random.choice(list(GRANTS))
                database = grammar.random.choice(["telemetry", "telemetry", "telemetry", "events", None])
                answer = needs.of(query)
                if "error" in answer:
                    ours, unmet = "unparsable", []
                else:
                    unmet = [statement["kind"] for statement in answer["statements"]
                             if not all(is_met(need, database, GRANTS[user]) for need in statement["needs"])]
                    ours = "refused" if unmet else "allowed"
                status, body = influx.ask(query, user, database)
                theirs = decision(status, body)
                counts[ours, theirs] += 1
                if ours == theirs:
                    if ours == "unparsable":
                        said = json.loads(body)["error"].removeprefix("error parsing query: ")
                        messages[said == answer["error"]] += 1
                        if options.verbose and said != answer["error"]:
                            print("message", repr(query), "\n   ", said, "\n   ", answer["error"])
                    continue
                if theirs == "allowed" and ours == "refused":
                    why = next((why for why, kinds in REASONS if kinds.match(unmet[0])), None)
                elif ours == "unparsable":
                    why = next((why for why, text in REFUSED_TEXTS if text.search(answer["error"])), None)
                elif ours == "allowed" and theirs == "unparsable" and UNKNOWN_ZONE.search(body):
                    why = "a time zone that the server does not know"
                else:
                    # Refused by both, for other reasons.
                    why = "refused by both" if ours != "allowed" else None
                if why is None:
                    failures.append((query, database, user, ours, theirs, answer, body))
                else:
                    reasons[why] += 1
        finally:
            influx.stop()
    for (ours, theirs), count in sorted(counts.items()):
        print(f"{count:8} {ours} here, {theirs} by InfluxDB")
    for why, count in reasons.most_common():
        print(f"{count:8} differ: {why}")
    print(f"{messages[True]:8} of {messages[True] + messages[False]} messages are InfluxDB's")
    for query, database, user, ours, theirs, answer, body in failures[:40]:
        print(f"WRONG {query!r} on {database} by {user}: {ours} here, {theirs} by InfluxDB\n  {answer}\n  {body.strip()}")
    if counts["allowed", "allowed"] * 20 < options.pairs:
        failures.append("too few are allowed by both for this to say anything")
        print(failures[-1])
    print("agreed" if not failures else f"{len(failures)} disagreements")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
