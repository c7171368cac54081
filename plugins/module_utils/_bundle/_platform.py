# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A container of a distribution that stands for its hosts while a bundle is made."""

from __future__ import annotations

import os
import re
import secrets
import time
import typing as t

from .._engine._client import Engine, EngineError
from .._run import has_ended
from ._index import BundleError

# The folder of what is fetched for a bundle, by which a later run knows the containers of an earlier one.
LABEL = "private_llm.fleet.bundle"
# The run that started it.
RUN = "private_llm.fleet.bundle.run"
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
# Seconds after which it ends by itself, when nobody removes it.
LIFETIME = 14400
# The container's program. It saves the distribution's list of packages before any is added, installs Python,
# certificates and what makes a repository where they are missing, says that it is ready, and waits.
PROGRAM = f"""
set -e
if [ -e /var/lib/dpkg/status ]; then cp /var/lib/dpkg/status /var/lib/dpkg/status.before; fi
if command -v apt-get; then
  if ! command -v python3 || ! [ -d /etc/ssl/certs ]; then
    apt-get update
    apt-get install --yes --no-install-recommends python3 ca-certificates
  fi
else
  dnf install --assumeyes --setopt=install_weak_deps=False python3 dnf-plugins-core createrepo_c
fi
touch /ready
exec sleep {LIFETIME}
"""
POLL = 1.0
FOREIGN = (
    "; the image is for another architecture, whose programs this machine can run once qemu-user-static is registered"
    " with binfmt_misc"
)
EXEC_SECONDS = 60.0
LINES_SHOWN = 5


def folder_of(image: str) -> str:
    """Return the name of the folder that keeps what was fetched for a platform."""
    return re.sub("[^a-zA-Z0-9.-]", "_", image)


def body_of(image: str, work: str, run: str, environment: t.Mapping[str, str]) -> dict[str, t.Any]:
    """Return the container as the engine is told it; its proxies are those of the environment."""
    return {
        "Image": image,
        "Entrypoint": ["/bin/sh"],
        "Cmd": ["-c", PROGRAM],
        "Env": [f"{name}={environment[name]}" for name in PROXIES if environment.get(name)],
        "Labels": {LABEL: work, RUN: run},
        "HostConfig": {
            "AutoRemove": True,
            "NetworkMode": "host",
            # Not as a text with colons, which the name of a folder may hold, too.
            "Mounts": [{"Type": "bind", "Source": os.path.join(work, folder_of(image)), "Target": "/bundle"}],
        },
    }


def find(engine: Engine, image: str, work: str, run: str) -> str:
    """Return the id of this run's container for a platform; empty when there is none, or one of an older image."""
    wanted = (engine.inspect_image(image) or {}).get("Id")
    for row in engine.containers(labels=[f"{LABEL}={work}", f"{RUN}={run}"]):
        if row.get("Image") == image and row.get("ImageID") == wanted:
            return str(row["Id"])
    return ""


def refuse_others(engine: Engine, work: str, run: str) -> None:
    """Raise BundleError when another run works in the folder, which would lose its containers to this one."""
    for row in engine.containers(labels=[f"{LABEL}={work}"]):
        other = str((row.get("Labels") or {}).get(RUN, ""))
        if other not in ("", run) and not has_ended(other):
            raise BundleError(
                f"another run ({other}) makes a bundle with {work} now; wait until it has ended, or name another "
                "folder for this one"
            )


def start(engine: Engine, image: str, work: str, run: str) -> str:
    """Start a container and return its id."""
    os.makedirs(os.path.join(work, folder_of(image)), mode=0o755, exist_ok=True)
    name = engine.create(f"private_llm-bundle-{secrets.token_hex(6)}", body_of(image, work, run, os.environ))
    try:
        engine.start(name)
    except EngineError:
        engine.remove(name)
        raise
    return name


def is_foreign(engine: Engine, image: str) -> bool:
    """Return whether an image is made for another architecture than the engine's machine has."""
    return (engine.inspect_image(image) or {}).get("Architecture") not in (None, engine.ping().get("Arch"))


def wait(engine: Engine, name: str, image: str, seconds: float, sleep: t.Callable[[float], None] = time.sleep) -> None:
    """Wait until it is ready; BundleError with its last words when it ends before that, or takes too long."""
    deadline, said = time.monotonic() + seconds, ""
    while True:
        said = "; ".join(line.text for line in engine.log(name)[-LINES_SHOWN:]) or said
        state = (engine.inspect(name) or {}).get("State") or {}
        if not state.get("Running"):
            hint = FOREIGN if is_foreign(engine, image) else ""
            raise BundleError(f"the container of {image} ended before it was ready: {said or 'it said nothing'}{hint}")
        try:
            if engine.execute(name, ["test", "-e", "/ready"], EXEC_SECONDS).exit_code == 0:
                return
        except EngineError:
            pass  # it ended meanwhile, and the next look says so
        if time.monotonic() > deadline:
            raise BundleError(f"the container of {image} was not ready within {seconds:.0f} seconds: {said}")
        sleep(POLL)


def remove(engine: Engine, work: str) -> list[str]:
    """Remove all containers that stand for platforms; return their ids."""
    found = [str(row["Id"]) for row in engine.containers(stopped=True, labels=[f"{LABEL}={work}"])]
    for name in found:
        engine.remove(name)
    return found
