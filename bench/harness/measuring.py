"""Running and measuring commands, and comparing what they left."""
import json
import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path

from . import ROOT

MIB = 1 << 20


def say(text):
    print(text, file=sys.stderr, flush=True)


def measure(command, environment=None, log=None):
    """Runs a command to its end: wall and CPU seconds, and the largest resident set of any process in it."""
    with open(log or os.devnull, "ab") as output:
        before = time.monotonic()
        process = subprocess.Popen([str(part) for part in command], env=environment, stdin=subprocess.DEVNULL,
                                   stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - before
        process.returncode = os.waitstatus_to_exitcode(status)
    return {"exit": process.returncode, "seconds": seconds, "cpu_seconds": usage.ru_utime + usage.ru_stime,
            "memory_bytes": usage.ru_maxrss * 1024}


def must(command, environment=None, log=None):
    result = measure(command, environment, log)
    if result["exit"] != 0:
        words = " ".join(str(part) for part in command)
        tail = Path(log).read_text(errors="replace")[-2000:] if log else ""
        raise SystemExit(f"bench: exit {result['exit']}: {words}\n{tail}")
    return result


def stored_bytes(folder):
    return sum(os.lstat(os.path.join(path, name)).st_size for path, _, names in os.walk(folder) for name in names)


def listing(folder):
    """Every path with its type, mode, owner, size, time and link, to compare a restored tree with its source."""
    text = subprocess.run(["find", ".", "-mindepth", "1", "(", "-type", "d", "-printf", r"%P d %m %U %G\0", "-o",
                           "-printf", r"%P %y %m %U %G %s %T@ %l\0", ")"], cwd=folder, capture_output=True, check=True)
    return sorted(text.stdout.split(b"\0"))


def restored_is_right(tool, corpus):
    """Whether the restored tree lists as the source does; programs differ in how much of the path they restore."""
    whole = tool.target / corpus.relative_to("/")
    found, expected = listing(whole if whole.exists() else tool.target), listing(corpus)
    return found == expected


def settle():
    """What one command left to be written must not slow down the next."""
    os.sync()
    time.sleep(1)


def median(values):
    values = sorted(values)
    middle = len(values) // 2
    return values[middle] if len(values) % 2 else (values[middle - 1] + values[middle]) / 2


def ratio(value, base):
    return f"{value / base:.2f}" if base else "–"


def machine():
    processor = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return {"processor": processor.group(1) if processor else platform.machine(), "cores": os.cpu_count(),
            "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), "kernel": platform.release()}


def target_folder():
    text = subprocess.run(["cargo", "metadata", "--format-version=1", "--no-deps"], cwd=ROOT, check=True,
                          capture_output=True).stdout
    return Path(json.loads(text)["target_directory"])
