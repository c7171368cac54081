#!/usr/bin/env python3
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure what the plan of a large fleet costs where no server fits: the usual outcome of one wrong line in group_vars.

    benchmarks/plan.py [--hosts 1000] [--servers 4]

It prints one line of JSON: the processor time of the hosts' plans, of the fleet's plan, and of both.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import typing as t
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / ".collections"))

from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.declaration._instances import normal_instances
from ansible_collections.private_llm.fleet.plugins.plugin_utils._plan import fleet_plan, host_plan

MODEL = "Qwen/Qwen3-32B"
CONFIG = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "torch_dtype": "bfloat16",
    "hidden_size": 5120,
    "intermediate_size": 25600,
    "num_hidden_layers": 64,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 40960,
    "vocab_size": 151936,
}
# Kinds of GPU that fleets mix; none holds one of these servers by itself.
KINDS = (("NVIDIA L4", 23034, "8.9"), ("NVIDIA L40S", 46068, "8.9"), ("NVIDIA A100-SXM4-40GB", 40960, "8.0"))


def host_info(number: int, servers: int) -> dict[str, t.Any]:
    """Return what vllm_host_info tells of a host with a GPU for each server."""
    name, memory, capability = KINDS[number % len(KINDS)]
    gpus = [
        {
            "index": index,
            "uuid": f"GPU-{number}-{index}",
            "name": name,
            # No two GPUs of a kind tell the same number to the last MiB.
            "memory": {"total": memory, "used": 4, "free": memory - 600 - number % 7},
            "compute_capability": capability,
        }
        for index in range(servers)
    ]
    return {"gpu": {"gpus": gpus, "driver_version": "580.65.06", "processes": [], "topology": []}}


def measure(hosts: int = 1000, servers: int = 4) -> dict[str, float]:
    """Return the processor seconds of the plan of so many hosts with so many servers each, of which none fits."""
    files = [{"path": "model.safetensors", "size": 65_527_752_704}, {"path": "tokenizer.json", "size": 11_422_654}]
    models = {MODEL: {"config": CONFIG, "files": files, "bytes_missing": 0}}
    declared = normal_instances(
        [{"name": f"s{one}", "model": MODEL, "port": 18000 + one, "gpus": [one]} for one in range(servers)]
    )
    hostvars = {}
    problems: list[t.Any] = []
    began = time.process_time()
    for number in range(hosts):
        name = f"gpu-{number:04}"
        plan = host_plan(declared, [], host_info(number, servers), models)
        hostvars[name] = {"vllm_server_plan": plan, "ansible_host": name, "vllm_server_instances": []}
        problems += [{**problem, "host": name} for problem in plan["problems"]]
    middle = time.process_time()
    found = fleet_plan(list(hostvars), hostvars, problems, ["web"])
    ended = time.process_time()
    if len(found["problems"]) != hosts * servers:
        raise SystemExit(f"{len(found['problems'])} problems were found in place of {hosts * servers}")
    return {"hosts_s": round(middle - began, 2), "fleet_s": round(ended - middle, 2), "cpu_s": round(ended - began, 2)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--servers", type=int, default=4)
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.hosts, arguments.servers)))


if __name__ == "__main__":
    main()
