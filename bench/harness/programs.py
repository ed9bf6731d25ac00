"""The backup programs: what they are called with, and where they are found."""
import os
import shutil
import subprocess
import sys
from pathlib import Path

from . import BENCH, ROOT
from .measuring import target_folder

PASSPHRASE = "correct horse battery staple"


class Tool:
    """A backup program: its commands, and where it keeps things."""

    def __init__(self, name, program):
        self.name, self.program = name, str(program)
        self.version = subprocess.run([self.program, *self.version_arguments], capture_output=True, text=True,
                                      check=True).stdout.split("\n")[0]

    version_arguments = ["--version"]

    def place(self, scratch):
        self.scratch = scratch / self.name
        self.vault, self.target, home = self.scratch / "vault", self.scratch / "restored", self.scratch / "home"
        home.mkdir(parents=True)
        # Nothing of the user's configuration or caches takes part.
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", **self.secrets()}

    def secrets(self):
        return {}

    def clear_target(self):
        shutil.rmtree(self.target, ignore_errors=True)
        self.target.mkdir()


class Strongroom(Tool):
    def secrets(self):
        return {"STRONGROOM_PASSPHRASE": PASSPHRASE}

    def command(self, verb, corpus):
        arguments = {"init": ["init"], "backup": ["backup", corpus],
                     "restore": ["restore", "latest", "--target", self.target], "check": ["check", "--read-data"]}
        return [self.program, "--vault", self.vault, *arguments[verb]]


class Restic(Tool):
    version_arguments = ["version"]

    def secrets(self):
        return {"RESTIC_PASSWORD": PASSPHRASE}

    def command(self, verb, corpus):
        arguments = {"init": ["init"], "backup": ["backup", corpus],
                     "restore": ["restore", "latest", "--target", self.target], "check": ["check", "--read-data"]}
        return [self.program, "-r", self.vault, *arguments[verb]]


class Rustic(Tool):
    def secrets(self):
        return {"RUSTIC_PASSWORD": PASSPHRASE}

    def command(self, verb, corpus):
        arguments = {"init": ["init"], "backup": ["backup", corpus], "restore": ["restore", "latest", self.target],
                     "check": ["check", "--read-data"]}
        return [self.program, "-r", self.vault, "--no-progress", *arguments[verb]]


def find_tools(options):
    """The programs that are there, and a line for each that is not."""
    found, not_run = [], []
    if options.no_strongroom:
        not_run.append("strongroom, left out by --no-strongroom")
    elif options.strongroom:
        found.append(Strongroom("strongroom", options.strongroom.resolve()))
    else:
        subprocess.run(["cargo", "build", "--release", "-q", "-p", "strongroom"], cwd=ROOT, check=True)
        found.append(Strongroom("strongroom", target_folder() / "release" / "strongroom"))
    wanted = [name for name in options.tools.split(",") if name]
    for name in wanted:
        if name == "restic":
            subprocess.run([BENCH / "get-restic"], check=True, stdout=sys.stderr)
            found.append(Restic("restic", BENCH / "tools" / "restic"))
        elif name == "rustic":
            program = next((path for path in [BENCH / "tools" / "rustic", shutil.which("rustic")]
                            if path and Path(path).exists()), None)
            if program:
                found.append(Rustic("rustic", program))
            else:
                not_run.append("rustic, not installed (cargo install rustic-rs --locked; takes long)")
        else:
            raise SystemExit(f"bench: unknown program {name}: restic and rustic are known")
    not_run += [f"{name}, not asked for" for name in ("restic", "rustic") if name not in wanted]
    return found, not_run
