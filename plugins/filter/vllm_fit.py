# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: vllm_fit
short_description: Whether a model fits into the memory of a GPU, and how many tokens its KV cache holds
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Tells from a model's C(config.json), before anything is started, how large vLLM's KV cache gets, how many requests
    of the greatest length it holds, and the greatest length that fits.
  - For a given amount of memory for the KV cache, C(kv_tokens) is exactly what vLLM 0.32 reports. This is held against
    vLLM itself for the models in the collection's file C(docs/fit.md), which also says where it can differ.
  - What a GPU needs besides weights and KV cache can only be estimated before vLLM measures it, so the answer has the
    least and the most of it. A configuration is called one that does not fit only when not even the least of it leaves
    room. When the most leaves none, the verdict is V(fits), and C(reasons) says that it may not, and which length does.
  - Limits of vLLM that are no memory count, too. More requests at once than there are blocks for the states of a
    model, a batch smaller than one video, or than the requests at once, are V(does_not_fit), with the nearest value
    that works.
  - A model type or an option whose need is not known is V(cannot_predict), never a guess.
positional: _input
options:
  _input:
    description: The model's C(config.json), as a mapping.
    type: dict
    required: true
  max_model_len:
    description:
      - Length in tokens that one request may have, prompt and answer together.
      - When left out, that in O(engine), else the model's own.
    type: int
  kv_cache_memory_bytes:
    description:
      - Bytes for the KV cache on each GPU. When left out, that in O(engine), else what O(gpu_memory) leaves.
    type: int
  gpu_memory:
    description: Memory of each GPU in bytes, all that CUDA sees; with C(nvidia-smi) that is used and free together.
    type: int
  gpu_name:
    description: Name of the GPU, as C(nvidia-smi) tells it. vLLM batches less on an A100 than on others as large.
    type: str
    default: ""
  compute_capability:
    description: That of the GPU, such as V(9.0). What sparse attention keeps for a token depends on it.
    type: float
  weight_bytes:
    description: Size in bytes of all weight files of the model together.
    type: int
  draft_config:
    description:
      - The C(config.json) of the model that C(engine.speculative_config) names, as a mapping. Its layers share the KV
        cache.
      - A model's own layers for prediction (MTP) need none.
    type: dict
  draft_weight_bytes:
    description: Size in bytes of all weight files of that model together.
    type: int
  engine:
    description: Options of vLLM by their names with underscores, as in C(vllm_server_instances[].engine).
    type: dict
    default: {}
  release:
    description: vLLM's release, such as V(0.32.0). Another one than 0.32 is said in C(reasons).
    type: str
    default: 0.32.0
  device:
    description: Where vLLM runs. Sizes of blocks and batches differ.
    type: str
    choices: [cuda, cpu]
    default: cuda
"""

EXAMPLES = r"""
- name: How many tokens an 8B model has left on a 24 GiB GPU
  ansible.builtin.debug:
    msg: "{{ config | private_llm.fleet.vllm_fit(gpu_memory=24 * 1024**3, weight_bytes=16381470720) }}"
  vars:
    config: "{{ lookup('ansible.builtin.file', 'Qwen3-8B/config.json') | from_json }}"

- name: How many requests fit into 40 GB of KV cache, on two GPUs, with an fp8 KV cache
  ansible.builtin.debug:
    msg: "{{ (config | private_llm.fleet.vllm_fit(kv_cache_memory_bytes=40000000000, engine=engine)).max_concurrency }}"
  vars:
    config: "{{ lookup('ansible.builtin.file', 'Qwen3-32B/config.json') | from_json }}"
    engine: {tensor_parallel_size: 2, kv_cache_dtype: fp8}
"""

RETURN = r"""
_value:
  description:
    - C(verdict) is V(fits), V(does_not_fit) or V(cannot_predict), and C(reasons) a list of sentences that say why, and
      what the answer rests on.
    - C(kv_tokens) is what vLLM reports as the size of the KV cache, C(max_concurrency) how many requests of
      C(max_model_len) it holds, C(max_model_len_that_fits) the greatest length of which it holds one.
    - C(kv_bytes_per_token) is what each further token of a long request takes on one GPU, without rounding.
    - C(kv_cache_bytes), C(weight_bytes) and C(overhead_bytes) are the parts of one GPU's memory.
    - C(overhead_bytes_least) and C(overhead_bytes_most) are the bounds of what was estimated, C(kv_tokens_least) and
      C(kv_tokens_most) the tokens that these leave.
    - C(max_num_seqs_that_fits) and C(max_num_batched_tokens_that_fits) are set where such a limit is in the way.
    - What is not known is null.
  type: dict
"""

import typing as t

from ansible.errors import AnsibleFilterError

from ..module_utils._printable import printable
from ..module_utils._vllm.options._release import release_of
from ..module_utils._vllm.options._suggestions import shown
from ..plugin_utils._filter_input import demand, optional
from ..plugin_utils._host_vars import LINE, MAPPING, NUMBER, WHOLE
from ..plugin_utils._plan_fit import answer
from ..plugin_utils.fit._verdict import Gpu, Request


def vllm_fit(
    config: t.Mapping[str, t.Any],
    max_model_len: int | None = None,
    kv_cache_memory_bytes: int | None = None,
    gpu_memory: int | None = None,
    gpu_name: str = "",
    weight_bytes: int | None = None,
    draft_config: t.Mapping[str, t.Any] | None = None,
    draft_weight_bytes: int | None = None,
    compute_capability: float | None = None,
    engine: t.Mapping[str, t.Any] | None = None,
    release: str = "0.32.0",
    device: str = "cuda",
) -> dict[str, t.Any]:
    if not isinstance(config, t.Mapping):
        raise AnsibleFilterError("vllm_fit: the input must be a model's config.json as a mapping; use from_json")
    if draft_config is not None and not isinstance(draft_config, t.Mapping):
        raise AnsibleFilterError("vllm_fit: draft_config must be a model's config.json as a mapping; use from_json")
    if not isinstance(device, str) or device not in ("cuda", "cpu"):
        raise AnsibleFilterError(f"vllm_fit: device is {shown(device)}, which is neither cuda nor cpu")
    memory = _count(gpu_memory, "gpu_memory")
    request = Request(
        config=demand(config, MAPPING, "config"),
        engine=demand({} if engine is None else engine, MAPPING, "engine"),
        release=release_of(f":{demand(release, LINE, 'release')}"),
        device=device,
        gpu=Gpu(
            memory,
            demand(gpu_name, LINE, "gpu_name"),
            float(optional(compute_capability, NUMBER, "compute_capability") or 0),
        )
        if memory
        else None,
        weight_bytes=_count(weight_bytes, "weight_bytes"),
        kv_cache_memory_bytes=_count(kv_cache_memory_bytes, "kv_cache_memory_bytes"),
        max_model_len=_count(max_model_len, "max_model_len"),
        draft_config=None if draft_config is None else demand(draft_config, MAPPING, "draft_config"),
        draft_weight_bytes=_count(draft_weight_bytes, "draft_weight_bytes"),
    )
    result = answer(request).as_result()
    return {**result, "reasons": [printable(reason) for reason in result["reasons"]]}


def _count(value: t.Any, name: str) -> int | None:
    number: int | None = optional(value, WHOLE, name)
    if number is not None and number < 0:
        raise AnsibleFilterError(f"vllm_fit: {name} is {number}, less than nothing")
    return number


class FilterModule:
    """Ansible's entry point."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        return {"vllm_fit": vllm_fit}
