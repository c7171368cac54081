#!/usr/bin/env python3
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A private chat on this machine, without a GPU: engine, images, model, and then the collection's own site.yml.

Takes what is published where a registry and a hub answer, and makes the images and a tiny model on the spot where they
do not. Running it again changes nothing; --clean takes away what it made, and only that.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / ".cache" / "demo"
STATE = HOME / "made.json"  # what was not there before, so that --clean can tell
REPORT = HOME / "report.json"
INVENTORY = ROOT / "inventory.example" / "demo"
BIN = Path(sys.executable).parent

PUBLISHED = {
    "demo_vllm_image": "vllm/vllm-openai-cpu:v0.32.0",
    "demo_open_webui_image": "ghcr.io/open-webui/open-webui:v0.12.4-slim",
}
BUILT = {
    "demo_vllm_image": ("vllm", "private-llm-lab/vllm-openai-cpu:v0.32.0"),
    "demo_open_webui_image": ("open-webui", "private-llm-lab/open-webui:v0.12.4-slim"),
}
PUBLISHED_MODEL = "Qwen/Qwen3-0.6B"
HUB_LISTING = f"https://modelscope.cn/api/v1/models/{PUBLISHED_MODEL}/repo/files?Revision=master&Recursive=True"
TINY_MODEL = "private-llm/tiny"
TINY_SAYS = "Hello! I am a tiny demo model, served by vLLM on your own machine."
PROBE_SECONDS = 15
FOLDERS = ("/srv/private-llm-demo",)


def main() -> int:
    """Run the demo, or clean up after it."""
    parser = argparse.ArgumentParser(description="A private chat on this machine, without a GPU.")
    parser.add_argument("--clean", action="store_true", help="take away what the demo made, and only that")
    arguments = parser.parse_args()
    os.chdir(ROOT)
    HOME.mkdir(parents=True, exist_ok=True)
    try:
        if arguments.clean:
            clean()
        else:
            demo()
    except subprocess.CalledProcessError as error:
        print(
            f"\nthe demo stopped: {' '.join(map(str, error.cmd[:4]))} … ended with status {error.returncode}; see above"
        )
        return 1
    return 0


def demo() -> None:
    """Bring this machine to a chat."""
    engine = "packages" if has_engine() else "engine_packages"
    with step("Docker engine"), remember_packages(engine):
        playbook("playbooks/hosts.yml")
    with step("Images"), remember_packages("packages"):
        variables = images()
    with step("Model"):
        chosen = model()
    with hub(chosen) as endpoint, step("Site: the collection's own playbook"), remember_packages("packages"):
        variables |= chosen | endpoint
        playbook("playbooks/site.yml", {**variables, "fleet_report_file": str(REPORT)})
    print()
    for line in json.loads(REPORT.read_text(encoding="utf-8"))["lines"]:
        print(line)


def clean() -> None:
    """Take away what the demo made."""
    made = read_state()
    with step("Servers, web, models"):
        playbook("playbooks/remove.yml", {"fleet_remove_data": True, "fleet_remove_models": True})
        as_root("rm", "-rf", *FOLDERS)
    if made.get("images") and has_engine():
        with step("Images"):
            # The one that others are made from goes last.
            for reference in sorted(made["images"], key=lambda name: "/python:" in name):
                if on_this_machine(reference):
                    as_root("docker", "image", "rm", reference, check=False)
            print("downloaded packages stay in ~/.cache/private-llm-lab for the next time")
    if made.get("engine_packages"):
        with step("Docker engine"):
            clean_engine(made["engine_packages"])
    if made.get("packages"):
        with step("Packages"):
            purge(made["packages"])
    shutil.rmtree(HOME)


# --- the engine, and other packages -----------------------------------------------------------------------------------


def has_engine() -> bool:
    """Say whether an engine is installed here."""
    return shutil.which("dockerd", path=f"{os.environ['PATH']}:/usr/local/sbin:/usr/sbin:/sbin") is not None


def installed_packages() -> set[str]:
    """Return the names of all Debian packages here."""
    return set(capture("dpkg-query", "--show", "--showformat", "${binary:Package}\n").split())


@contextlib.contextmanager
def remember_packages(key: str) -> Iterator[None]:
    """Note which packages come in the meantime, even when something goes wrong then."""
    before = installed_packages()
    try:
        yield
    finally:
        note(key, installed_packages() - before)


def clean_engine(packages: Sequence[str]) -> None:
    """Remove the engine that the demo installed, unless somebody else's containers are in it by now."""
    others = capture(*root("docker"), "ps", "--all", "--format", "{{.Names}}").split()
    if others:
        print(f"the engine stays, for there are other containers in it: {', '.join(others)}")
        return
    as_root("service", "docker", "stop", check=False)
    purge(packages)
    for folder in ("/var/lib/docker", "/var/lib/containerd", "/etc/docker"):
        # What is in it; the folder itself may be a mount point, and then it stays.
        if Path(folder).exists():
            as_root("find", folder, "-mindepth", "1", "-delete")
            as_root("rmdir", folder, check=False)


def purge(packages: Sequence[str]) -> None:
    """Remove packages with their configuration."""
    gone = sorted(set(packages) & installed_packages())
    if gone:
        as_root("env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--yes", "--quiet", "--quiet", "purge", *gone)


# --- images -----------------------------------------------------------------------------------------------------------


def images() -> dict[str, Any]:
    """Return the images to run: published ones where a registry answers, or else built here."""
    chosen: dict[str, Any] = {}
    for variable, reference in PUBLISHED.items():
        if on_this_machine(reference):
            chosen[variable] = reference
        elif registry_has(reference):
            chosen[variable] = reference
            note("images", [reference])
        else:
            chosen[variable] = build(*BUILT[variable])
    return chosen


def on_this_machine(reference: str) -> bool:
    """Say whether the engine has the image."""
    done = subprocess.run([*root("docker"), "image", "inspect", reference], capture_output=True, check=False)
    return done.returncode == 0


def registry_has(reference: str) -> bool:
    """Say whether the image's registry answers, and soon."""
    print(f"asking for {reference}", flush=True)
    try:
        done = subprocess.run(
            [*root("docker"), "manifest", "inspect", reference], capture_output=True, timeout=PROBE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def build(key: str, reference: str) -> str:
    """Build one of the lab's images; nothing is done when it is there and its recipe did not change."""
    print(f"no registry answers; building {reference} from packages", flush=True)
    subprocess.run(["sh", "scripts/setup_machine.sh", "images"], check=True)
    before = lab_images()
    try:
        subprocess.run([*root(sys.executable), "scripts/lab/images.py", "--only", key], check=True)
    finally:
        note("images", sorted(lab_images() - before))
    return reference


def lab_images() -> set[str]:
    """Return the lab's images that the engine has."""
    return set(
        capture(*root("docker"), "image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "private-llm-lab/*").split()
    )


# --- the model --------------------------------------------------------------------------------------------------------


def model() -> dict[str, Any]:
    """Return the model to serve: a small real one where the hub answers, or else a tiny one made here."""
    print(f"asking the hub for {PUBLISHED_MODEL}", flush=True)
    try:
        with urllib.request.urlopen(HUB_LISTING, timeout=PROBE_SECONDS) as answer:
            json.load(answer)
    except (OSError, ValueError):
        folder = HOME / "hub" / TINY_MODEL
        print(f"no hub answers; making the model {TINY_MODEL}", flush=True)
        if not (folder / "config.json").exists():
            subprocess.run(
                [sys.executable, "scripts/lab/tiny_model.py", "--out", str(folder), "--says", TINY_SAYS], check=True
            )
        return {"demo_model": TINY_MODEL}
    return {"demo_model": PUBLISHED_MODEL}


@contextlib.contextmanager
def hub(chosen: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """Run a local hub that speaks ModelScope's protocol, for as long as the play needs one."""
    if chosen["demo_model"] != TINY_MODEL:
        yield {}
        return
    port_file = HOME / "hub.port"
    port_file.unlink(missing_ok=True)
    with open(HOME / "hub.log", "w", encoding="utf-8") as log:
        server = subprocess.Popen(
            [sys.executable, "scripts/lab/hub.py", "--root", str(HOME / "hub"), "--port-file", str(port_file)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield {"model_download_endpoint": f"http://127.0.0.1:{wait_for(port_file, server)}"}
    finally:
        server.terminate()
        server.wait(timeout=10)


def wait_for(port_file: Path, server: subprocess.Popen[bytes]) -> str:
    """Return the port on which the hub listens."""
    for _attempt in range(100):
        if port_file.exists() and port_file.read_text(encoding="utf-8").strip():
            return port_file.read_text(encoding="utf-8").strip()
        if server.poll() is not None:
            break
        time.sleep(0.1)
    sys.exit(f"the local hub does not start; see {HOME / 'hub.log'}")


# --- running things ---------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def step(title: str) -> Iterator[None]:
    """Say what begins, and how long it took."""
    print(f"\n== {title}", flush=True)
    started = time.monotonic()
    yield
    print(f"== {title}: {time.monotonic() - started:.0f} s", flush=True)


def playbook(path: str, variables: Mapping[str, Any] | None = None) -> None:
    """Run a playbook on the demo's inventory."""
    argv = [str(BIN / "ansible-playbook"), path, "-i", str(INVENTORY)]
    if variables is not None:
        chosen = HOME / "vars.json"
        chosen.write_text(json.dumps(variables, indent=2), encoding="utf-8")
        argv += ["-e", f"@{chosen}"]
    if os.geteuid() != 0 and subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False).returncode != 0:
        argv.append("--ask-become-pass")
    subprocess.run(argv, check=True)


def root(program: str) -> list[str]:
    """Return the start of a command that has to run as root."""
    return [program] if os.geteuid() == 0 else ["sudo", program]


def as_root(program: str, *arguments: str, check: bool = True) -> None:
    """Run a command as root."""
    subprocess.run([*root(program), *arguments], check=check)


def capture(*argv: str) -> str:
    """Return what a command prints."""
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def read_state() -> dict[str, Any]:
    """Return what the demo made so far."""
    try:
        found: dict[str, Any] = json.loads(STATE.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    return found


def note(key: str, names: Iterable[str]) -> None:
    """Note things that the demo made; what was noted before stays first."""
    state = read_state()
    state[key] = list(dict.fromkeys([*state.get(key, []), *names]))
    STATE.write_text(json.dumps(state, indent=2), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
