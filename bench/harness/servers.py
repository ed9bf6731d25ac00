"""A server of scripts/services, and the slow line to it."""
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from . import ROOT

LINE = Path(__file__).resolve().parent / "slow_line.py"
# The name of each store's service, and the setting that holds its address.
SERVICES = {"swift": ("swift", "S3_ENDPOINT"), "s3": ("ceph", "AWS_ENDPOINT_URL")}


def free_ports(count=10):
    """The first of as many free ports in a row."""
    for first in range(14_000, 31_000, count):
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            return first
        except OSError:
            continue
    raise SystemExit("bench: no free ports")


class Server:
    """Runs from here to `stop`. Its data is not in memory, as it keeps extended attributes."""

    def __init__(self, store, size_bytes):
        name, address = SERVICES[store]
        self.folder = tempfile.mkdtemp(prefix="bench-", dir="/var/tmp")
        command = [ROOT / "scripts/services" / name, "run", self.folder, str(free_ports())]
        # Ceph keeps all in memory: what two programs store, and some air.
        room = {"CEPH_BYTES": str(4 * size_bytes + (1 << 30))}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env={**os.environ, **room})
        self.settings = {}
        for line in self.process.stdout:
            if line == "ready\n":
                break
            key, _, value = line.rstrip("\n").partition("=")
            self.settings[key] = value
        else:
            raise SystemExit(f"bench: scripts/services/{name} does not start")
        self.address = self.settings[address].removeprefix("http://")

    def stop(self):
        self.process.stdin.close()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Line:
    """A slow line to a server, for one program."""

    def __init__(self, server, milliseconds):
        self.process = subprocess.Popen([sys.executable, LINE, server.address, str(milliseconds)], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.address = f"127.0.0.1:{int(self.process.stdout.readline())}"

    def counted(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def stop(self):
        self.process.stdin.close()
        self.process.wait()


def line_throughput():
    """What the line can pass on, in MB/s, with and without its delay."""
    text = subprocess.run([sys.executable, LINE, "--test"], capture_output=True, text=True, check=True).stdout
    return json.loads(text)
