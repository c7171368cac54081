#!/usr/bin/env python3
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask a release of vLLM how many tokens its KV cache holds for tiny models, for the unit tests of the fit.

    fit_fixtures.py IMAGE            ask all cases of the newest fixture, and write that of the image's release
    fit_fixtures.py IMAGE NAME…      ask these alone

IMAGE is a local image of vLLM for CPUs, such as private-llm-lab/vllm-openai-cpu:v0.32.0, with the release as its tag.
Cases are in tests/unit/fixtures/vllm/kv_cache_RELEASE.json: a config.json with tiny sizes, options, bytes and a length.
To add one, write it there without `tokens`, and run this with its name. To take on a release, build its image and run
this; then run the unit tests, which say where the arithmetic of plugins/plugin_utils/fit is not that release's.
It takes half a minute, and about six seconds of a processor for each case; on a busy machine name a few at a time.
A case that the release refuses keeps its error.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import subprocess
import sys
import typing as t

ROOT = pathlib.Path(__file__).resolve().parents[1]
FIXTURES = ROOT / "tests" / "unit" / "fixtures" / "vllm"
PLANNER = ROOT / "scripts" / "lab" / "plan_kv_cache.py"
MARK = "RESULT "
ANSWERS = ("tokens", "concurrency", "error")
ABOUT = (
    "What vLLM {release} on a CPU (with AVX512-BF16, without AMX) reports, started as a server or planning in one "
    "process, for tiny models with made-up weights and this config.json, this many bytes of KV cache and this "
    'max_model_len: "CPU KV cache size: TOKENS tokens, Maximum concurrency for MAX_MODEL_LEN tokens per request: '
    'CONCURRENCYx". Made by scripts/fit_fixtures.py.'
)


def release_key(path: pathlib.Path) -> tuple[int, ...]:
    return tuple(int(part) for part in path.stem.removeprefix("kv_cache_").split("."))


def ask(image: str, cases: t.Mapping[str, t.Mapping[str, t.Any]]) -> dict[str, dict[str, t.Any]]:
    """Return what the image's vLLM says of each case."""
    command = ["docker", "run", "--rm", "-i", "--network", "none", "--cap-add", "SYS_NICE"]
    command += ["--security-opt", "seccomp=unconfined", "-v", f"{PLANNER}:/plan_kv_cache.py:ro"]
    command += ["--entrypoint", "python3", image, "/plan_kv_cache.py"]
    run = subprocess.run(command, input=json.dumps(cases), capture_output=True, text=True, check=False)
    found: dict[str, dict[str, t.Any]] = {}
    for line in run.stdout.splitlines():
        if line.startswith(MARK):
            found.update(json.loads(line[len(MARK) :]))
    if set(found) != set(cases):
        raise SystemExit(f"vLLM in {image} did not answer all cases (exit {run.returncode}):\n{run.stderr[-2000:]}")
    return found


def written(about: str, cases: t.Mapping[str, t.Mapping[str, t.Any]]) -> str:
    """Return the cases as text with one line for each key, so that a change is seen as one."""
    blocks = []
    for name, case in sorted(cases.items()):
        lines = [f"   {json.dumps(key)}: {json.dumps(value, sort_keys=key == 'config')}" for key, value in case.items()]
        blocks.append(f"  {json.dumps(name)}: {{\n" + ",\n".join(lines) + "\n  }")
    return f'{{\n "about": {json.dumps(about)},\n "cases": {{\n' + ",\n".join(blocks) + "\n }\n}\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image")
    parser.add_argument("names", nargs="*", metavar="NAME")
    arguments = parser.parse_args()
    release = arguments.image.rpartition(":")[2].removeprefix("v")
    newest = max(FIXTURES.glob("kv_cache_*.json"), key=release_key)
    known = json.loads(newest.read_text("utf-8"))["cases"]
    unknown = sorted(set(arguments.names) - set(known))
    if unknown:
        raise SystemExit(f"{newest} has no case {', '.join(unknown)}")
    wanted = {name: known[name] for name in arguments.names or known}
    target = FIXTURES / f"kv_cache_{release}.json"
    kept = json.loads(target.read_text("utf-8"))["cases"] if target.exists() else {}
    for name, answer in ask(arguments.image, wanted).items():
        question = {key: value for key, value in wanted[name].items() if key not in ANSWERS}
        config = question.pop("config")
        kept[name] = {**question, **answer, "config": config}
        print(f"{name}: {answer.get('tokens', answer.get('error'))}")
    target.write_text(written(ABOUT.format(release=release), kept), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
