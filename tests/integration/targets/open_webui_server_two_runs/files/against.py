# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Let two runs of open_webui_server want different things of one Open WebUI, and kill runs at random moments.

    meet    the second run begins at a random moment of the first
    leave   the same, and the first one's controller gets Ctrl-C at that moment
    kill    the first run's process on the host gets kill -9 at a random moment after it took the lock; then the second

The moments lie within the time that an undisturbed run takes. At the end of each round one of the two declarations must
serve as a whole, from the data of the round before, with nothing left of the other. After a kill it must be the second.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
import typing as t
import urllib.request
from pathlib import Path

LOCKS = Path("/run/private_llm/locks")
PATIENCE = 300.0  # seconds for a run, and for what goes on after its controller has gone
MODULE = "private_llm.fleet.open_webui_server"
LASTING = {"admin_password", "secret_key", "container"}


class Declaration(t.NamedTuple):
    """What a run wants, as far as the two differ."""

    image: str
    memory: int
    called: str

    def options(self, common: dict[str, t.Any]) -> dict[str, t.Any]:
        env = json.dumps({**common["env"], "WEBUI_NAME": self.called})
        return {**common, "image": self.image, "memory": f"{self.memory}m", "env": env}


def run(options: dict[str, t.Any]) -> subprocess.Popen[str]:
    """Start one run of the module, as a playbook would."""
    argv = [str(Path(sys.executable).with_name("ansible")), "localhost", "--inventory", "localhost,"]
    argv += ["--connection", "local", "--module-name", MODULE, "--args", json.dumps(options)]
    environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_PYTHON_INTERPRETER": sys.executable}
    return subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, start_new_session=True
    )


def lock_of(name: str) -> Path:
    return LOCKS / f"open_webui.{name}.lock"


def process_of(name: str) -> int:
    """Wait until a run holds the lock; returns its process on the host."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError, KeyError):
            return int(json.loads(lock_of(name).read_text(encoding="ascii"))["pid"])
        time.sleep(0.02)
    raise SystemExit(f"no run took the lock of {name}")


def settle(name: str) -> None:
    """Wait until no run is at work any more."""
    deadline = time.monotonic() + PATIENCE
    quiet = 0
    while quiet < 6:
        if time.monotonic() > deadline:
            raise SystemExit(f"{name} is still locked after {PATIENCE:g} seconds")
        quiet = 0 if lock_of(name).exists() else quiet + 1
        time.sleep(0.25)


def inspect(name: str) -> dict[str, t.Any] | None:
    done = subprocess.run(["docker", "inspect", name], capture_output=True, text=True, check=False)
    found = json.loads(done.stdout) if done.returncode == 0 else []
    return found[0] if found else None


def serving(options: dict[str, t.Any]) -> Declaration | None:
    """Return the declaration that serves; None when nothing does."""
    container = inspect(options["name"])
    if container is None or not container["State"]["Running"]:
        return None
    with urllib.request.urlopen(f"http://127.0.0.1:{options['port']}/api/config", timeout=30) as answer:
        # Open WebUI puts its own name behind the one that is declared.
        called = str(json.load(answer)["name"]).partition(" (")[0]
    return Declaration(container["Config"]["Image"], container["HostConfig"]["Memory"] >> 20, called)


def people(options: dict[str, t.Any]) -> list[str]:
    with contextlib.closing(sqlite3.connect(f"file:{options['data_dir']}/webui.db?mode=ro", uri=True)) as database:
        return [row[0] for row in database.execute("SELECT id FROM user")]


def left_over(options: dict[str, t.Any]) -> list[str]:
    """Name what a run leaves that is there for a while only."""
    found = [name for name in (options["name"] + ".previous",) if inspect(name) is not None]
    root = Path(options["data_dir"]).parent
    found += [str(path) for path in root.iterdir() if path.name not in {"data", "config", "backups", "images"}]
    config = Path(options["config_dir"])
    found += [str(path) for path in config.iterdir() if path.name not in LASTING]
    found += [str(path) for path in (config / "container").iterdir() if path.name not in {"admin", "env"}]
    if (backups := Path(options["backup_dir"])).exists():
        found += [str(path) for path in backups.iterdir() if path.name != ".lock" and not path.name.endswith(".tar.gz")]
    done = subprocess.run(
        ["docker", "ps", "--all", "--filter", "label=private_llm.fleet.once", "--format", "{{.Names}} {{.Image}}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return found + [line for line in done.stdout.splitlines() if line.endswith(tuple(options["images"]))]


class Round(t.NamedTuple):
    """What happens in a round, and when: seconds after the first run began, or took the lock."""

    number: int
    kind: str
    moment: float

    def __str__(self) -> str:
        return f"round {self.number}, {self.kind} after {self.moment:.2f} s"

    def carry_out(self, given: dict[str, t.Any]) -> None:
        images = itertools.cycle(given["images"])
        wanted = [Declaration(next(images), 1500 + 10 * self.number + i, f"r{self.number}-{i}") for i in range(2)]
        if self.number % 4 == 1:
            wanted[1] = wanted[1]._replace(image=wanted[0].image)
        common = {key: value for key, value in given.items() if key != "images"}
        before = people(given) if serving(given) else []
        first = run(wanted[0].options(common))
        if self.kind == "kill":
            killed = process_of(given["name"])
            time.sleep(self.moment)
            with contextlib.suppress(ProcessLookupError):
                os.kill(killed, signal.SIGKILL)
            said = [first.communicate(timeout=PATIENCE)[0]]
        else:
            said = []
            time.sleep(self.moment)
            if self.kind == "leave":
                os.killpg(first.pid, signal.SIGINT)
        second = run(wanted[1].options(common))
        said += [process.communicate(timeout=PATIENCE)[0] for process in (first, second)[len(said) :]]
        settle(given["name"])
        print(f"{self}: exit status {first.returncode} and {second.returncode}", flush=True)
        everything = f"{self}\n--- first:\n{said[0]}\n--- second:\n{said[1]}"
        if second.returncode != 0 or (first.returncode != 0 and self.kind == "meet"):
            raise SystemExit(f"a run failed: {everything}")
        serves = serving(given)
        if serves not in (wanted[1:] if self.kind == "kill" else wanted):
            raise SystemExit(f"{serves} serves and not one of {wanted}: {everything}")
        if before and people(given) != before:
            raise SystemExit(f"the data are others than before: {everything}")
        if left := left_over(given):
            raise SystemExit(f"left over: {left}: {everything}")


def undisturbed(given: dict[str, t.Any]) -> float:
    """Let one run end by itself; returns the seconds that it took."""
    common = {key: value for key, value in given.items() if key != "images"}
    began = time.monotonic()
    first = run(Declaration(given["images"][-1], 1400, "undisturbed").options(common))
    said = first.communicate(timeout=PATIENCE)[0]
    if first.returncode:
        raise SystemExit(f"an undisturbed run failed: {said}")
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--options", type=json.loads, required=True)
    parser.add_argument("--kinds", nargs="+", required=True, choices=["meet", "leave", "kill"])
    given = parser.parse_args()
    seed = int.from_bytes(os.urandom(4), "big")
    print(f"seed {seed}", flush=True)
    chance = random.Random(seed)
    longest = undisturbed(given.options)
    print(f"an undisturbed run takes {longest:.1f} s", flush=True)
    for number, kind in enumerate(given.kinds):
        Round(number, kind, chance.uniform(0.1, longest)).carry_out(given.options)


if __name__ == "__main__":
    main()
