# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a second run costs, when the model is there and nothing has changed: `modelscope download` and `model_snapshot`.

Both get the same model from the same hub on this machine, then run again several times, turn about, by one clock, as
a user runs them: the command with its start, and the module with Ansible's start, which a third row shows alone. At
the end one byte of each copy is changed in place, and both must bring it back: being quick by not looking would not
count.

The model is holes in place of weights, and so are the copies once they are there. Reading it is a matter of memory,
never of a disk: the best case for whoever reads all of it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = Path(sys.executable).parent
sys.path.insert(0, str(ROOT / "scripts" / "lab"))

from hub import Hub

MODEL = "acme/many"


@dataclass
class Way:
    """One way to have a model, and what its runs took."""

    name: str
    run: Callable[[], None]
    folder: Path
    first: float = 0.0
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    requests: list[int] = field(default_factory=list)

    def measure(self, hub: Hub) -> None:
        """Run once more and keep the wall clock, the processor time of everything started, and the requests."""
        hub.log.clear()
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        started = time.monotonic()
        self.run()
        self.seconds.append(time.monotonic() - started)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        self.cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        self.requests.append(len(hub.log))


def make_model(folder: Path, files: int, mib: int) -> None:
    """Write a model of many files that differ; holes in place of weights, so that it takes no space here."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"architectures": ["Sparse"]}), encoding="utf-8")
    for number in range(files):
        with (folder / f"model-{number:05d}-of-{files:05d}.bin").open("wb") as file:
            file.write(f"part {number}\n".encode())
            file.truncate(mib << 20)


def run(argv: list[str], env: dict[str, str]) -> str:
    """Run a command to its end; stop with all it said when it fails."""
    done = subprocess.run(
        argv,
        env={**os.environ, **env},
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=1800,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(argv)} failed with status {done.returncode}:\n{done.stdout}")
    return done.stdout


def by_hand(work: Path, url: str) -> Way:
    """Return the way of the command that a person types."""
    folder = work / "by-hand"
    argv = [str(TOOLS / "modelscope"), "download", MODEL, "--local-dir", str(folder)]
    env = {"MODELSCOPE_ENDPOINT": url, "MODELSCOPE_CACHE": str(work / "cache"), "NO_PROXY": "127.0.0.1"}

    def once() -> None:
        run(argv, env)

    return Way("modelscope download", once, folder)


def by_module(work: Path, url: str) -> Way:
    """Return the way of this collection."""
    store = work / "store"
    arguments = json.dumps({"repo": MODEL, "root": str(store), "endpoint": url})
    argv = [
        *(str(TOOLS / "ansible"), "localhost", "--inventory", "localhost,", "--connection", "local"),
        *("--extra-vars", f"ansible_python_interpreter={sys.executable}"),
        *("--module-name", "private_llm.fleet.model_snapshot", "--args", arguments),
    ]

    def once() -> None:
        run(argv, {"NO_PROXY": "127.0.0.1", "ANSIBLE_NOCOLOR": "1"})

    return Way("model_snapshot", once, store / MODEL / "current")


def by_nothing() -> Way:
    """Return the way of Ansible's own start, with a module that does nothing."""
    argv = [*(str(TOOLS / "ansible"), "localhost", "--inventory", "localhost,", "--connection", "local")]
    argv += ["--extra-vars", f"ansible_python_interpreter={sys.executable}", "--module-name", "ansible.builtin.ping"]

    def once() -> None:
        run(argv, {"ANSIBLE_NOCOLOR": "1"})

    return Way("Ansible alone (ping)", once, Path())


def dig_holes(folder: Path) -> None:
    """Give back the space of a copy's zeros; its content stays what it was."""
    for path in folder.glob("*.bin"):
        resolved = path.resolve()
        mode = resolved.stat().st_mode
        resolved.chmod(mode | 0o200)
        run(["fallocate", "--dig-holes", str(resolved)], {})
        resolved.chmod(mode)


def damage(folder: Path) -> tuple[Path, bytes]:
    """Change one byte of a file in place; give the file and what it held before."""
    path = min(folder.glob("*.bin")).resolve()
    before = path.read_bytes()
    mode = path.stat().st_mode
    path.chmod(mode | 0o200)
    with path.open("r+b") as file:
        file.seek(len(before) // 2)
        file.write(b"\x01")
    path.chmod(mode)
    return path, before


def report(ways: list[Way], gib: float, files: int) -> str:
    """Say it in a table, and in one sentence."""
    lines = [
        f"{files} files, {gib:.1f} GiB, nothing changed; median of {len(ways[0].seconds)} runs, turn about",
        "",
        f"{'':<22}{'first run':>12}{'second run':>12}{'processor':>12}{'requests':>10}",
    ]
    for way in ways:
        first = f"{way.first:.2f} s" if way.first else "-"
        wall, cpu = statistics.median(way.seconds), statistics.median(way.cpu)
        lines.append(f"{way.name:<22}{first:>12}{wall:>10.2f} s{cpu:>10.2f} s{way.requests[-1]:>10}")
    hand, module = (statistics.median(way.seconds) for way in ways[:2])
    lines += ["", f"second run: {ways[0].name} takes {hand / module:.1f} times as long as {ways[1].name}", ""]
    return "\n".join(lines)


def figures_of(way: Way) -> dict[str, object]:
    """Give what a way took, for keeping."""
    return {"name": way.name, "first": way.first, "seconds": way.seconds, "cpu": way.cpu, "requests": way.requests}


def bench(files: int, mib: int, runs: int) -> dict[str, object]:
    """Make a model, run both ways, damage and repair, and report; give the figures."""
    work = Path(tempfile.mkdtemp(prefix="private-llm-bench-"))
    try:
        source = work / "hub" / MODEL
        make_model(source, files, mib)
        hub = Hub()
        hub.add_model(MODEL, folder=source)
        with hub:
            pair = [by_hand(work, hub.url), by_module(work, hub.url)]
            for way in pair:
                way.measure(hub)
                way.first = way.seconds[0]
                dig_holes(way.folder)
                # The holes changed the files' times; whoever goes by those looks closely once.
                way.run()
                way.seconds, way.cpu, way.requests = [], [], []
            ways = [*pair, by_nothing()]
            for _turn in range(runs):
                for way in ways:
                    way.measure(hub)
            for way in pair:
                path, before = damage(way.folder)
                way.run()
                again = way.folder / path.name
                if again.read_bytes() != before:
                    raise SystemExit(f"{way.name} did not bring back {again}, of which one byte had changed")
        gib = files * mib / 1024
        print(report(ways, gib, files), flush=True)
        return {"files": files, "gib": gib, "ways": [figures_of(way) for way in ways]}
    finally:
        shutil.rmtree(work)


def main() -> int:
    """Measure models of several sizes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--mib", type=int, nargs="+", default=[10, 80], help="size of each file, for each model")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    figures = [bench(arguments.files, mib, arguments.runs) for mib in arguments.mib]
    kept = ROOT / ".cache" / "artifacts" / "bench-second-run.json"
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(figures, indent=2), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
