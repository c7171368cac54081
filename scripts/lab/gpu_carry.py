#!/usr/bin/env python3
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring the scenario `gpu` to a machine that has a GPU and no network.

    gpu_carry.py make DIR [--vllm 0.23.0] [--there FILE]    where there is a line, with that machine's version of Python
    gpu_carry.py ready DIR [--model 0.6b]                   on that machine, as root, with Docker running

`make` downloads into DIR what pip installs: DIR/tools holds what `make tools` and the roles want, DIR/vllm holds vLLM
and what it wants, less the packages named in FILE, one a line, which that machine has. Package files of the NVIDIA
container toolkit go into DIR/packages by hand.

`ready` makes the image vllm/vllm-openai of that machine's own Python, which must have PyTorch, and DIR/vllm; a Qwen3
model of real size with made-up weights; and starts a model hub that serves it, which ends with the machine or by its
process id in DIR/hub.pid. It writes DIR/variables.yml, the site's variables for all of this, and prints what to run.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import tiny_model
from gpu_starts import SAFE

ROOT = Path(__file__).resolve().parents[2]
ORGANIZATION = "lab"
PIP = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")

# Of each model's configuration on the hub, what differs: hidden size, of the MLP, layers, heads, tied embeddings.
SIZES = {"0.6b": (1024, 3072, 28, 16, True), "8b": (4096, 12288, 36, 32, False)}
VOCABULARY = 151936
HEAD_SIZE, KV_HEADS = 128, 8

# Kernels that are compiled or fetched at their first use: a server starts without them.
UNNEEDED = {
    "flashinfer-cubin",
    "flashinfer-python",
    "humming-kernels",
    "nvidia-cudnn-frontend",
    "nvidia-cutlass-dsl",
    "quack-kernels",
    "tilelang",
    "tokenspeed-mla",
}

# Folders of the machine that no server needs; /usr/local/nvidia is the driver's, which the CDI specification brings.
NOT_IN_THE_IMAGE = (
    "dev",
    "home",
    "mnt",
    "opt/nvidia",
    "proc",
    "root",
    "run",
    "srv",
    "sys",
    "tmp",
    "usr/local/cuda*",
    "usr/local/nvidia",
    "usr/share/doc",
    "var/cache",
    "var/lib/containerd",
    "var/lib/docker",
    "work",
)
SITE = "opt/private-llm-vllm"


def run(*argv: str) -> str:
    """Run a program and return what it printed; end with its complaint when it fails."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{shlex.join(argv)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def normalized(name: str) -> str:
    """Write a package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def find_wheel(folder: Path, name: str) -> Path | None:
    """Find the wheel of a package."""
    return next((one for one in folder.glob("*.whl") if normalized(one.name.split("-")[0]) == name), None)


def pins(resolved: list[dict[str, Any]], there: set[str]) -> list[str]:
    """Pin vLLM and what it wants of the packages that pip resolved, less those that are there or not needed.

    Each package is its metadata in pip's report. What only a package that is left out wants is left out too.
    """
    packages = {normalized(one["name"]): one for one in resolved}
    left, pinned = ["vllm"], dict[str, str]()
    while left:
        name = left.pop()
        if name in packages and name not in there | UNNEEDED | set(pinned):
            pinned[name] = packages[name]["version"]
            wanted = packages[name].get("requires_dist", [])
            left += [normalized(re.split(r"[^\w.-]", line, maxsplit=1)[0]) for line in wanted]
    return [f"{name}=={version}" for name, version in sorted(pinned.items())]


def download_vllm(folder: Path, version: str, there: set[str]) -> None:
    """Download vLLM and all that it wants, in versions that go together, less what is on the machine."""
    report = json.loads(run(*PIP, "install", "--dry-run", "--ignore-installed", "--report=-", f"vllm=={version}"))
    wanted = pins([item["metadata"] for item in report["install"]], there)
    run(*PIP, "wheel", "--no-deps", f"--wheel-dir={folder}", *wanted)


def make(folder: Path, vllm: str, there: set[str]) -> None:
    """Download what is carried."""
    tools = folder / "tools"
    requirements = ROOT / "requirements-dev.txt"
    run(*PIP, "wheel", f"--wheel-dir={tools}", f"--requirement={requirements}")
    download_vllm(folder / "vllm", vllm, there | {"torch"})
    (folder / "packages").mkdir(exist_ok=True)


def tensors(size: str) -> dict[str, tuple[int, ...]]:
    """Name a Qwen3 model's tensors, with their shapes, as the hub's files do."""
    hidden, mlp, layers, heads, tied = SIZES[size]
    named: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (VOCABULARY, hidden),
        "model.norm.weight": (hidden,),
    }
    if not tied:
        named["lm_head.weight"] = (VOCABULARY, hidden)
    for layer in range(layers):
        at = f"model.layers.{layer}"
        named |= {f"{at}.{norm}.weight": (hidden,) for norm in ("input_layernorm", "post_attention_layernorm")}
        named |= {f"{at}.self_attn.{norm}.weight": (HEAD_SIZE,) for norm in ("q_norm", "k_norm")}
        named |= {f"{at}.self_attn.{part}_proj.weight": (KV_HEADS * HEAD_SIZE, hidden) for part in "kv"}
        named[f"{at}.self_attn.q_proj.weight"] = (heads * HEAD_SIZE, hidden)
        named[f"{at}.self_attn.o_proj.weight"] = (hidden, heads * HEAD_SIZE)
        named |= {f"{at}.mlp.{part}_proj.weight": (mlp, hidden) for part in ("gate", "up")}
        named[f"{at}.mlp.down_proj.weight"] = (hidden, mlp)
    return named


def configuration(size: str) -> dict[str, Any]:
    """Give a Qwen3 model's config.json."""
    hidden, mlp, layers, heads, tied = SIZES[size]
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "hidden_size": hidden,
        "intermediate_size": mlp,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD_SIZE,
        "tie_word_embeddings": tied,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 40960,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000,
        "attention_bias": False,
        "torch_dtype": "bfloat16",
        "bos_token_id": 0,
        "eos_token_id": 2,
    }


def write_weights(path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    """Write made-up weights: small numbers, the same ones again and again, and ones for the norms."""
    random = Random(0)
    pool = tiny_model.bfloat16([random.randrange(-64, 65) / 2048 for _ in range(2**20)])
    ones = tiny_model.bfloat16([1.0]) * 2**16
    with path.open("wb") as file:
        file.write(tiny_model.safetensors_head(shapes))
        for name, shape in shapes.items():
            source, left = ones if "norm" in name else pool, 2 * math.prod(shape)
            while left > 0:
                left -= file.write(source[:left])


def write_model(folder: Path, size: str) -> None:
    """Write a model of real size, with the tokenizer of the lab's tiny one."""
    folder.mkdir(parents=True, exist_ok=True)
    tiny_model.write_model(folder, "Count", 0)
    config = configuration(size)
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    write_weights(folder / "model.safetensors", tensors(size))


def make_image(folder: Path, reference: str) -> None:
    """Make an image of this machine's Python with PyTorch, and vLLM beside it."""
    site = Path("/") / SITE
    wheels = sorted(map(str, (folder / "vllm").glob("*.whl")))
    options = ("--no-index", "--no-deps", "--no-compile", "--upgrade", f"--target={site}")
    run(*PIP, "install", *options, *wheels)
    left_out = [f"--exclude=./{name}" for name in (*NOT_IN_THE_IMAGE, str(folder.resolve())[1:], str(ROOT)[1:])]
    path = f"/{SITE}/bin:{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    changes = [
        'ENTRYPOINT ["vllm", "serve"]',
        f"ENV PATH={path}",
        f"ENV PYTHONPATH=/{SITE}",
        "ENV LD_LIBRARY_PATH=/usr/local/nvidia/lib64",
        "ENV VLLM_USE_FLASHINFER_SAMPLER=0",
        # As in the published image: by these one sees that it is made for GPUs.
        "ENV NVIDIA_VISIBLE_DEVICES=all",
        "ENV NVIDIA_DRIVER_CAPABILITIES=compute,utility",
        "WORKDIR /",
    ]
    tar = ["tar", "--create", "--directory=/", *left_out, "--ignore-failed-read", "--warning=no-file-changed", "."]
    with subprocess.Popen(tar, stdout=subprocess.PIPE) as packing:
        told = [word for change in changes for word in ("--change", change)]
        done = subprocess.run(["docker", "import", *told, "-", reference], stdin=packing.stdout, check=False)
    if done.returncode:
        sys.exit(f"docker import of {reference} failed; is the engine running, and is there room for about 12 GB?")


def start_hub(folder: Path) -> str:
    """Start a model hub over DIR/hub that outlives this program; its URL."""
    port, program = folder / "hub.port", str(Path(__file__).with_name("hub.py"))
    port.unlink(missing_ok=True)
    hub = [sys.executable, program, f"--root={folder / 'hub'}", "--port=0", f"--port-file={port}"]
    with (folder / "hub.log").open("wb") as log:
        process = subprocess.Popen(hub, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    (folder / "hub.pid").write_text(f"{process.pid}\n", encoding="utf-8")
    # It reads the whole model first, to know its sums.
    for _ in range(300):
        if port.exists():
            return f"http://127.0.0.1:{port.read_text(encoding='utf-8').strip()}"
        if process.poll() is not None:
            break
        time.sleep(1)
    sys.exit(f"the model hub does not answer; see {folder / 'hub.log'}")


def variables(folder: Path, image: str, hub: str) -> dict[str, Any]:
    """Give the site's variables for a machine that has all of this and nothing else."""
    found: dict[str, Any] = {
        "ansible_python_interpreter": sys.executable,
        "model_download_endpoint": hub,
        "vllm_server_image": image,
        "vllm_server_image_pull": "never",
        "vllm_server_env": SAFE,
    }
    packages = sorted(str(path.resolve()) for path in (folder / "packages").glob("*.deb"))
    if packages:
        version = re.search(r"_(\d+\.\d+\.\d+)-", packages[0])
        found |= {"nvidia_toolkit_package_files": packages, "nvidia_toolkit_version": version[1] if version else ""}
    return found


def ready(folder: Path, size: str) -> None:
    """Make of DIR all that the scenario wants on this machine."""
    wheel = find_wheel(folder / "vllm", "vllm")
    if wheel is None:
        sys.exit(f"there is no wheel of vLLM in {folder / 'vllm'}; make it with: gpu_carry.py make DIR")
    image = f"vllm/vllm-openai:v{wheel.name.split('-')[1]}"
    model = f"{ORGANIZATION}/Qwen3-{size.upper()}"
    write_model(folder / "hub" / model, size)
    hub = start_hub(folder)
    make_image(folder, image)
    path = folder / "variables.yml"
    path.write_text(json.dumps(variables(folder, image, hub), indent=2) + "\n", encoding="utf-8")
    settings = {
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": (folder / "tools").resolve(),
        "PRIVATE_LLM_GPU_CONNECTION": "local",
        "PRIVATE_LLM_GPU_MODEL": model,
        "PRIVATE_LLM_GPU_VARIABLES": path.resolve(),
        "PRIVATE_LLM_GPU_WEB_GROUP": "none",
    }
    print(" ".join(f"{name}={value}" for name, value in settings.items()), "make molecule S=gpu")


def main() -> int:
    """Make the folder, or make all ready of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=("make", "ready"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--vllm", default="0.23.0", help="release of vLLM, as its index has it")
    parser.add_argument("--there", type=Path, help="file with the packages that the machine's Python has, one a line")
    parser.add_argument("--model", choices=SIZES, default="0.6b", help="size of the model, in parameters")
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if arguments.step == "make":
        try:
            lines = arguments.there.read_text(encoding="utf-8").split() if arguments.there else []
        except OSError as error:
            sys.exit(f"--there {arguments.there} cannot be read: {error.strerror}")
        make(folder, arguments.vllm, {normalized(line.partition("==")[0]) for line in lines})
    else:
        ready(folder, arguments.model)
    return 0


if __name__ == "__main__":
    sys.exit(main())
