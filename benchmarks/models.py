# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What models cost: nothing to do on a big one, reading all of one, and fetching one.

Each part runs the two ways turn about, by one clock. Only the work is compared: the module runs as a process of
Python, as Ansible starts it on a host, and so does the SDK.

- no-op: a model of 60 GB in 200 files that is there. `modelscope download` against the module. The files are holes.
- verify: `sha256sum` in as many processes as there are processors against `verify: full`.
- download: the SDK alone, which hashes as it fetches, against the module, which also resolves the commit, lists the
  files, writes them through to the disk and publishes them in one step. On a disk the SDK's run is followed by `sync`
  of its file system, for only then has it done as much; and in memory, where neither waits for a disk.
"""

from __future__ import annotations

import argparse
import dataclasses
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
from pathlib import Path

from second_run import ROOT, TOOLS, make_model, run

sys.path.insert(0, str(ROOT / "scripts" / "lab"))

from hub import Blob, Commit, Hub

MODEL = "acme/big"
MEMORY = "/dev/shm"  # noqa: S108 (a folder with a name of its own is made in there)

# Runs the module in a process of its own, and says what of that the module itself took, and what it read.
RUN_MODULE = """
import io, json, sys, time
def read():
    return int(next(line for line in open('/proc/self/io') if line.startswith('rchar')).split()[1])
from ansible.module_utils.testing import patch_module_args
from ansible_collections.private_llm.fleet.plugins.modules import model_snapshot
out, sys.stdout = sys.stdout, io.StringIO()
before, started = read(), time.monotonic()
with patch_module_args(json.loads(sys.argv[1])):
    try:
        model_snapshot.main()
    except SystemExit as end:
        failed = end.code
took, text = time.monotonic() - started, sys.stdout.getvalue()
result = json.loads(text)
if failed:
    sys.exit(result['msg'])
json.dump({'seconds': took, 'read': read() - before, 'changed': result['changed'], 'path': result['path']}, out)
"""

# What Ansible's own library takes for a module that does nothing at all.
RUN_NOTHING = """
import io, sys
from ansible.module_utils.testing import patch_module_args
from ansible.module_utils.basic import AnsibleModule
sys.stdout = io.StringIO()
with patch_module_args({}):
    AnsibleModule(argument_spec={}).exit_json()
"""

RUN_SDK = """
import sys
from modelscope_hub import HubApi
HubApi(endpoint=sys.argv[1], token='').download_repo(sys.argv[2], 'model', local_dir=sys.argv[3], max_workers=4)
"""


@dataclasses.dataclass
class Cost:
    """What a run took: the clock, the processors, and what it says of itself."""

    seconds: float
    cpu: float
    said: str


def cost_of(argv: list[str], env: dict[str, str]) -> Cost:
    """Run a command to its end."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    said = run(argv, {"NO_PROXY": "127.0.0.1", **env})
    after, ended = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(ended - started, cpu, said)


def module(store: Path, url: str, **options: object) -> Cost:
    """Measure a run of the module."""
    given = {"repo": MODEL, "root": str(store), "endpoint": url, "_ansible_remote_tmp": str(store / "tmp"), **options}
    return cost_of([sys.executable, "-c", RUN_MODULE, json.dumps(given)], {"PYTHONPATH": str(ROOT / ".collections")})


def nothing() -> Cost:
    """Measure a module that only exits."""
    return cost_of([sys.executable, "-c", RUN_NOTHING], {})


def sdk(folder: Path, url: str) -> Cost:
    """Measure a run of the SDK alone."""
    env = {"MODELSCOPE_CACHE": str(folder.parent / "cache"), "MODELSCOPE_LOG_LEVEL": "CRITICAL", "TQDM_DISABLE": "1"}
    return cost_of([sys.executable, "-c", RUN_SDK, url, MODEL, str(folder)], env)


def command(folder: Path, url: str) -> Cost:
    """Measure a run of the command that a person types."""
    env = {"MODELSCOPE_CACHE": str(folder.parent / "cache"), "MODELSCOPE_ENDPOINT": url}
    return cost_of([str(TOOLS / "modelscope"), "download", MODEL, "--local-dir", str(folder)], env)


def median(costs: list[Cost], what: Callable[[Cost], float] = lambda cost: cost.seconds) -> float:
    """Return the median."""
    return statistics.median(map(what, costs))


def serve_copies(folder: Path, files: int, size: int) -> Hub:
    """Serve a model of many files with one content, which is hashed once; holes, so it takes no space."""
    folder.mkdir(parents=True)
    paths = [folder / f"model-{number:05d}-of-{files:05d}.bin" for number in range(files)]
    for path in paths:
        with path.open("wb") as stream:
            stream.truncate(size)
    first = Blob.of(paths[0])
    hub = Hub()
    model = hub.add_model(MODEL)
    commit = model.commit({"config.json": b"{}"})
    blobs = {path.name: dataclasses.replace(first, file=path, stat=(size, path.stat().st_mtime_ns)) for path in paths}
    held = model.commits[commit]
    touched = {**held.touched, **dict.fromkeys(blobs, commit)}
    model.commits[commit] = Commit(commit, {**held.files, **blobs}, touched, held.message, held.time)
    return hub


def copy_holes(source: Path, target: Path) -> None:
    """Copy a folder of holes."""
    target.mkdir(parents=True)
    for path in source.iterdir():
        with (target / path.name).open("wb") as stream:
            stream.truncate(path.stat().st_size)
    (target / "config.json").write_bytes(b"{}")


def bench_no_op(work: Path, gigabytes: float, files: int, runs: int) -> dict[str, float]:
    """Measure a model that is there."""
    served, by_hand, store = work / "served", work / "by-hand", work / "store"
    hub = serve_copies(served, files, int(gigabytes * 1e9 / files))
    copy_holes(served, by_hand)
    copy_holes(served, store / MODEL)
    with hub:
        # Reads all of what lies there, and fetches nothing.
        taken = module(store, hub.url)
        for path in (store / MODEL).glob("*.bin"):
            path.unlink()  # what was put there by hand; the release holds the files now
        module(store, hub.url)
        commit = next(iter(hub.models[MODEL].branches.values()))
        hand: list[Cost] = []
        ours: list[Cost] = []
        pinned: list[Cost] = []
        empty: list[Cost] = []
        for _turn in range(runs):
            hand.append(command(by_hand, hub.url))
            hub.log.clear()
            ours.extend(module(store, hub.url) for _ in range(5))
            requests = len(hub.log) // 5
            pinned.extend(module(store, hub.url, revision=commit) for _ in range(5))
            empty.extend(nothing() for _ in range(5))
    said = [json.loads(cost.said) for cost in ours]
    if any(json.loads(cost.said)["changed"] for cost in (*ours, *pinned)):
        raise SystemExit("the module changed something that was there")
    figures = {
        "first look s": taken.seconds,
        "by hand s": median(hand),
        "by hand cpu s": median(hand, lambda cost: cost.cpu),
        "process s": median(ours),
        "process cpu s": median(ours, lambda cost: cost.cpu),
        "module s": statistics.median(one["seconds"] for one in said),
        "read MB": statistics.median(one["read"] for one in said) / 1e6,
        "requests": requests,
        "pinned: process cpu s": median(pinned, lambda cost: cost.cpu),
        "pinned: module s": statistics.median(json.loads(cost.said)["seconds"] for cost in pinned),
        "only exits: cpu s": median(empty, lambda cost: cost.cpu),
    }
    for name in ("process cpu s", "pinned: process cpu s", "only exits: cpu s"):
        figures[f"by hand / {name}"] = figures["by hand cpu s"] / figures[name]
    return figures


def bench_verify(work: Path, gibibytes: float, runs: int) -> dict[str, float]:
    """Measure reading all of a model."""
    served, store = work / "served", work / "store"
    cores = len(os.sched_getaffinity(0))
    files = 8 * cores
    size = int(gibibytes * (1 << 30) / files)
    hub = serve_copies(served, files, size)
    copy_holes(served, store / MODEL)
    paths = sorted(map(str, served.glob("*.bin")))
    with hub:
        commit = next(iter(hub.models[MODEL].branches.values()))
        module(store, hub.url, revision=commit)
        theirs, ours = [], []
        for _turn in range(runs):
            argv = ["xargs", "-P", str(cores), "-n", "8", "sha256sum", "--"]
            started = time.monotonic()
            subprocess.run(argv, input="\n".join(paths), text=True, stdout=subprocess.DEVNULL, check=True)
            theirs.append(time.monotonic() - started)
            ours.append(json.loads(module(store, hub.url, revision=commit, verify="full").said)["seconds"])
    total = files * size / 1e9
    figures = {
        "cores": cores,
        "sha256sum GB/s": total / statistics.median(theirs),
        "module GB/s": total / statistics.median(ours),
    }
    figures["ratio"] = figures["module GB/s"] / figures["sha256sum GB/s"]
    return figures


def bench_download(work: Path, mib: int, files: int, runs: int, durable: bool) -> dict[str, float]:
    """Measure fetching a model that is not there."""
    served, folder, store = work / "served", work / "by-hand" / "model", work / "store"
    make_model(served, files, mib)
    hub = Hub()
    hub.add_model(MODEL, folder=served)
    theirs, ours = [], []
    with hub:
        for _turn in range(runs):
            alone = sdk(folder, hub.url)
            started = time.monotonic()
            if durable:
                run(["sync", "--file-system", str(folder)], {})
            alone.seconds += time.monotonic() - started
            theirs.append(alone)
            shutil.rmtree(folder.parent)
            ours.append(module(store, hub.url))
            shutil.rmtree(store)
    total = files * mib * (1 << 20) / 1e9
    figures = {
        "GB": total,
        "sdk s": median(theirs),
        "module s": median(ours),
        "sdk cpu s": median(theirs, lambda cost: cost.cpu),
        "module cpu s": median(ours, lambda cost: cost.cpu),
    }
    figures["ratio"] = figures["sdk s"] / figures["module s"]
    return figures


def main() -> int:
    """Measure, say and keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("parts", nargs="*", help="no-op, verify, download; none named means all")
    parser.add_argument(
        "--gigabytes", type=float, default=60.0, help="size of the model of which there is nothing to do"
    )
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--gibibytes", type=float, default=16.0, help="size of the model that is read")
    parser.add_argument("--mib", type=int, default=256, help="size of each of the 8 files of the model that is fetched")
    parser.add_argument("--runs", type=int, default=3)
    chosen = parser.parse_args()
    parts: dict[str, tuple[str | None, Callable[[Path], dict[str, float]]]] = {
        "no-op": (None, lambda work: bench_no_op(work, chosen.gigabytes, chosen.files, min(chosen.runs, 2))),
        "verify": (None, lambda work: bench_verify(work, chosen.gibibytes, chosen.runs)),
        "download to disk": (None, lambda work: bench_download(work, chosen.mib, 8, chosen.runs, durable=True)),
        "download to memory": (
            MEMORY,
            lambda work: bench_download(work, chosen.mib, 8, chosen.runs, durable=False),
        ),
    }
    kept = {}
    for name, (place, bench) in parts.items():
        if chosen.parts and not any(name.startswith(part) for part in chosen.parts):
            continue
        work = Path(tempfile.mkdtemp(prefix="private-llm-bench-", dir=place))
        try:
            kept[name] = bench(work)
        finally:
            shutil.rmtree(work)
        print(name, *(f"{what}: {figure:.3g}" for what, figure in kept[name].items()), sep="\n  ", flush=True)
    target = ROOT / ".cache" / "artifacts" / "bench-models.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(kept, indent=2), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
