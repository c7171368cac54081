# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What only a real GPU can show."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

NAME, PORT = "molecule-gpu", 18095
ROOT = "/srv/private-llm-molecule/models"
TOKENS = 256

# A model of 0.6 B generates some hundred tokens in a second on the smallest GPU of a data center, and a few on a CPU.
LEAST_TOKENS_PER_SECOND = 30.0


@pytest.fixture
def root(host: Any) -> Any:
    """The machine, as root."""
    with host.sudo():
        yield host


def ask(host: Any, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Ask the server something, on its own host, with its key read from standard input."""
    folder = f"/etc/private_llm/vllm_server/{NAME}"
    data = f"--data '{json.dumps(body)}' --header 'Content-Type: application/json'" if body else ""
    done = host.run(
        f"""printf 'header = "Authorization: Bearer %s"' "$(head -n 1 {folder}/api_keys)" | """
        f"curl --silent --show-error --fail --max-time 120 --config - {data} http://127.0.0.1:{PORT}{path}"
    )
    assert done.rc == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_the_server_holds_memory_of_the_gpu(root: Any) -> None:
    container = root.check_output(f"docker inspect --format '{{{{.Id}}}}' {NAME}").strip()
    listed = root.check_output("nvidia-smi --query-compute-apps=pid,used_memory --format=csv,noheader,nounits")
    used = {pid.strip(): memory.strip() for pid, memory in (line.split(",") for line in listed.splitlines() if line)}
    ours = [pid for pid in used if container in root.run(f"cat /proc/{pid}/cgroup").stdout]
    if not ours:  # with a cgroup namespace of its own, the engine tells which processes are the container's
        ours = sorted(set(used) & set(root.check_output(f"docker top {NAME} -eo pid").split()[1:]))
    assert ours, f"no process of container {NAME} is on the GPU: {used}"
    # The KV cache alone is 2 GiB.
    assert sum(int(used[pid]) for pid in ours if used[pid].isdigit()) > 2048


def test_it_generates_as_fast_as_a_gpu(root: Any) -> None:
    body = {"model": NAME, "prompt": "Count:", "max_tokens": TOKENS, "ignore_eos": True, "temperature": 0}
    ask(root, "/v1/completions", body)
    started = time.monotonic()
    answer = ask(root, "/v1/completions", body)
    speed = TOKENS / (time.monotonic() - started)
    assert answer["usage"]["completion_tokens"] == TOKENS
    print(f"{speed:.0f} tokens per second")
    assert speed > LEAST_TOKENS_PER_SECOND


def test_the_prediction_is_what_vllm_measured(root: Any) -> None:
    from ansible_collections.private_llm.fleet.plugins.filter.vllm_fit import vllm_fit

    served = ask(root, "/v1/models")["data"][0]
    command = root.check_output(f"docker inspect --format '{{{{json .Config.Cmd}}}}' {NAME}")
    models = [Path(str(path)).parent for path in root.check_output(f"find {ROOT} -name config.json").splitlines()]
    config = json.loads(root.file(str(models[0] / "config.json")).content_string)
    measured = json.loads(root.file(f"/var/lib/private_llm/measured/{NAME}.measured.json").content_string)
    predicted = vllm_fit(config, max_model_len=served["max_model_len"], kv_cache_memory_bytes=2147483648)
    assert predicted["verdict"] == "fits", (predicted["reasons"], command)
    # For a given amount of memory the prediction is to be exact.
    assert predicted["kv_tokens"] == measured["kv_cache_tokens"]
