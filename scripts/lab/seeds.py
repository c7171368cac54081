# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes with an inner engine's /var/lib/docker in which images are loaded already.

Loading vLLM's image into the engine of a lab host takes most of a minute each time. A seed is loaded once and kept
under a name made of the hashes of all that is in it; each host then gets its own copy, in two seconds: files of image
layers are linked, for an engine never writes into a file of a layer.
"""

from __future__ import annotations

import functools
import hashlib
import json
import pathlib
import subprocess
import time
from collections.abc import Sequence
from typing import Any

import docker.errors
import images
import network
from machines import Hosts, Platform
from network import LABEL, LabError

# Copies one volume's folder into another one's. Both must be seen through one mount, or nothing can be linked.
COPY = """
set -eu
from="/volumes/$1/_data" to="/volumes/$2/_data"
for entry in $(ls -A "$from"); do
    [ "$entry" = overlay2 ] || cp -a --sparse=always "$from/$entry" "$to/"
done
cp -al "$from/overlay2" "$to/"
"""


def seed_name(engine: str, preload: Sequence[str]) -> str:
    """Return the name of the volume for an engine's image and the images in it."""
    content = [images.RECIPES[key].digest for key in (engine, *sorted(preload))]
    return f"{network.NAME}-seed-{hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]}"


def load(container: str, recipe: images.Recipe) -> None:
    """Load an image of this machine's engine into the engine of a lab host, under the published name as well."""
    with subprocess.Popen(["docker", "save", recipe.reference], stdout=subprocess.PIPE) as save:
        loaded = subprocess.run(
            ["docker", "exec", "-i", container, "docker", "load", "-q"],
            stdin=save.stdout,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    if loaded.returncode or save.returncode:
        raise LabError(f"loading {recipe.reference} into {container} failed: {loaded.stdout.strip()}")
    if recipe.published:
        argv = ["docker", "exec", container, "docker", "tag", recipe.reference, recipe.published]
        subprocess.run(argv, check=True)


def _mark(name: str) -> pathlib.Path:
    return images.CACHE / "seeds" / name


def is_complete(client: Any, name: str) -> bool:
    """Say whether the volume is there and is the one that was filled to the end."""
    try:
        created = client.volumes.get(name).attrs["CreatedAt"]
    except docker.errors.NotFound:
        return False
    return _mark(name).exists() and _mark(name).read_text(encoding="utf-8") == created


def ensure(hosts: Hosts, engine: str, preload: Sequence[str]) -> str:
    """Return the seed volume, made now if it is missing."""
    name = seed_name(engine, preload)
    with images.locked("seeds"):
        if not is_complete(hosts.client, name):
            _make(hosts, engine, preload, name)
    return name


def _make(hosts: Hosts, engine: str, preload: Sequence[str], name: str) -> None:
    client = hosts.client
    start = time.monotonic()
    print(f"[seed] loading {', '.join(preload)} into an engine of {engine}", flush=True)
    # Older seeds of the same kind have no use any more, and a broken one of this name is in the way.
    kind = " ".join((engine, *sorted(preload)))
    for volume in client.volumes.list(filters={"label": f"{LABEL}.seed={kind}"}):
        volume.remove(force=True)
    prefix = f"seeding-{name.rsplit('-', 1)[1]}"
    hosts.down(prefix)
    client.volumes.create(name, labels={f"{LABEL}.seed": kind})
    try:
        platform = Platform(name="seed", image=engine)
        hosts.up([platform], prefix, name)
        container = client.containers.get(platform.container(prefix))
        for key in sorted(preload):
            load(container.name, images.RECIPES[key])
        for unit in ("docker.socket", "docker.service", "containerd.service"):
            container.exec_run(["systemctl", "stop", unit])
    finally:
        hosts.down(prefix)
    mark = _mark(name)
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.write_text(client.volumes.get(name).attrs["CreatedAt"], encoding="utf-8")
    print(f"[seed] {name} is ready after {time.monotonic() - start:.0f} s", flush=True)


def fill(client: Any, platform: Platform, volume: str) -> None:
    """Give a host's empty volume the images that its engine is to have."""
    seed = ensure(Hosts(client), platform.image, platform.preload)
    volumes = pathlib.Path(client.info()["DockerRootDir"]) / "volumes"
    try:
        client.containers.run(
            images.RECIPES["debian:12"].reference,
            ["sh", "-c", COPY, "sh", seed, volume],
            volumes={str(volumes): {"bind": "/volumes", "mode": "rw"}},
            network_mode="none",
            # Without it, layers lose the marks of the folders that they replace as a whole.
            cap_add=["SYS_ADMIN"],
            remove=True,
        )
    except docker.errors.ContainerError as error:
        raise LabError(f"copying the volume {seed} to {volume} failed: {error}") from error


def hosts(client: Any) -> Hosts:
    """Return hosts that take their images from seeds."""
    return Hosts(client, functools.partial(fill, client))
