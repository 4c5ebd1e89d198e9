"""The unmodified npm package `@influxdata/influxdb-client-apis` manages a running server.

    python tests/clients/apis_run.py target/debug/portcullis --npm target/ci-npm
"""

import argparse
import os
import pathlib
import subprocess

from server import running

HERE = pathlib.Path(__file__).parent


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--npm", type=pathlib.Path, required=True, help="where the packages are installed")
    arguments = parser.parse_args()
    environment = {**os.environ, "NODE_PATH": str(arguments.npm.resolve() / "node_modules")}
    with running(arguments.binary) as server:
        command = ["node", HERE / "apis.cjs", server.url, server.token]
        subprocess.run(command, check=True, env=environment, timeout=60)


if __name__ == "__main__":
    main()
