#!/usr/bin/env python3
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What lab hosts find on the lab's network in place of the open internet.

    services.py up registry index hub     start them and print their addresses as JSON
    services.py down                      remove them; what they hold stays in the cache

registry   a container registry with the lab's images, as ADDRESS:5000/vllm/vllm-openai-cpu:v0.32.0 and
           ADDRESS:5000/open-webui/open-webui:v0.12.4-slim
index      a package index for pip with the pinned libraries of managed hosts, for the Pythons of the lab's Debians
hub        the model hub of hub.py; its models are private-llm-lab/tiny-alpha and private-llm-lab/tiny-beta, which
           answer "Hello from the alpha model." and "Hello from the beta model."
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import hashlib
import html
import json
import pathlib
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

import docker
import docker.errors
import docker.types
import images
import network
from network import LABEL, LabError

HERE = pathlib.Path(__file__).resolve().parent
PREFIX = network.NAME
INDEX_PACKAGES = (*images.HOST_PACKAGES, "modelscope==1.40.2", "modelscope-hub==0.5.1")
INDEX_PYTHONS = ("3.11", "3.13")
MODELS = {
    "private-llm-lab/tiny-alpha": "Hello from the alpha model.",
    "private-llm-lab/tiny-beta": "Hello from the beta model.",
}
IN_REGISTRY = ("vllm", "open-webui")


@dataclasses.dataclass(frozen=True)
class Service:
    """A container with a fixed address on the lab's network."""

    name: str
    number: int
    port: int
    image: str
    probe: str
    command: tuple[str, ...] = ()
    binds: tuple[str, ...] = ()
    # what its program is made of: a change starts it anew
    content: str = ""

    @property
    def container(self) -> str:
        return f"{PREFIX}-{self.name}"

    @property
    def digest(self) -> str:
        content = json.dumps([dataclasses.asdict(self), images.RECIPES[self.image].digest])
        return hashlib.sha256(content.encode()).hexdigest()[:16]


def define(net: network.Network) -> dict[str, Service]:
    """Return all services."""
    index = images.CACHE / "index"
    models = images.CACHE / "models"
    program = (HERE / "hub.py").read_bytes()
    services = (
        Service(
            name="registry",
            number=network.REGISTRY,
            port=5000,
            image="registry",
            probe="/v2/",
            binds=(f"{PREFIX}-registry:/var/lib/registry",),
        ),
        Service(
            name="index",
            number=network.INDEX,
            port=8080,
            image="python",
            probe="/simple/",
            command=("python3", "-m", "http.server", "8080", "--directory", "/srv/index"),
            binds=(f"{index}:/srv/index:ro",),
        ),
        Service(
            name="hub",
            number=network.HUB,
            port=8080,
            image="python",
            probe="/_lab/log",
            command=(
                *(
                    "python3",
                    "/srv/lab/hub.py",
                    "--root",
                    "/srv/models",
                    "--host",
                    "0.0.0.0",
                    "--port",
                    "8080",
                ),  # inside a container
                *("--cdn-host", net.address(network.HUB)),
            ),
            binds=(f"{HERE}:/srv/lab:ro", f"{models}:/srv/models:ro"),
            content=hashlib.sha256(program).hexdigest(),
        ),
    )
    return {service.name: service for service in services}


def addresses(net: network.Network) -> dict[str, str]:
    """Return how lab hosts reach this machine and the services, whether those run or not."""
    return {
        "lab_gateway": net.gateway,
        "lab_registry": f"{net.address(network.REGISTRY)}:5000",
        "lab_index_url": f"http://{net.address(network.INDEX)}:8080/simple/",
        "lab_hub_url": f"http://{net.address(network.HUB)}:8080",
    }


def write_index(wheels: Sequence[pathlib.Path], folder: pathlib.Path) -> None:
    """Lay out wheels as a package index: one page for each project, with the hash of each file."""
    projects: dict[str, dict[str, pathlib.Path]] = {}
    for wheel in wheels:
        project = re.sub(r"[-_.]+", "-", wheel.name.split("-")[0]).lower()
        projects.setdefault(project, {})[wheel.name] = wheel
    for project, files in projects.items():
        page = folder / "simple" / project
        page.mkdir(parents=True)
        links = []
        for name, wheel in sorted(files.items()):
            shutil.copyfile(wheel, page / name)
            digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
            links.append(f'<a href="{html.escape(name)}#sha256={digest}">{html.escape(name)}</a><br>')
        (page / "index.html").write_text("<!DOCTYPE html>\n" + "\n".join(links) + "\n", encoding="utf-8")
    listing = "\n".join(f'<a href="{project}/">{project}</a><br>' for project in sorted(projects))
    (folder / "simple" / "index.html").write_text(f"<!DOCTYPE html>\n{listing}\n", encoding="utf-8")


def prepare_index() -> None:
    """Fill the index's folder, unless it holds what it should."""
    folder = images.CACHE / "index"
    mark = folder / ".complete"
    wanted = json.dumps([INDEX_PACKAGES, INDEX_PYTHONS])
    if mark.exists() and mark.read_text(encoding="utf-8") == wanted:
        return
    step = images.Step("index")
    sources = [
        images.fetch_wheels(images.Wheels(f"index-{python}", INDEX_PACKAGES, python), step) for python in INDEX_PYTHONS
    ]
    # Its content only: the folder itself may be mounted in a running container.
    folder.mkdir(parents=True, exist_ok=True)
    mark.unlink(missing_ok=True)
    shutil.rmtree(folder / "simple", ignore_errors=True)
    write_index([wheel for source in sources for wheel in sorted(source.glob("*.whl"))], folder)
    mark.write_text(wanted, encoding="utf-8")


def prepare_hub() -> None:
    """Write the models that are missing."""
    for model, says in MODELS.items():
        folder = images.CACHE / "models" / model
        if not (folder / "config.json").exists():
            folder.mkdir(parents=True, exist_ok=True)
            argv = [sys.executable, str(HERE / "tiny_model.py"), "--out", str(folder), "--says", says]
            images.run(argv, f"the model {model}")


def push(client: Any) -> None:
    """Put the lab's images into the registry; layers that are there are not sent again."""
    builder = images.Builder(client)
    with images.locked():
        for key in IN_REGISTRY:
            if not builder.is_current(key):
                builder.ensure(key)
    container = client.containers.get(f"{PREFIX}-registry")
    port = container.attrs["NetworkSettings"]["Ports"]["5000/tcp"][0]["HostPort"]
    step = images.Step("registry")
    for key in IN_REGISTRY:
        recipe = images.RECIPES[key]
        path = recipe.published.removeprefix("ghcr.io/")
        if _pushed(port, path) == client.images.get(recipe.reference).id:
            continue
        step(f"pushing {path}")
        # Through loopback, which every engine trusts without TLS.
        name = f"127.0.0.1:{port}/{path}"
        client.images.get(recipe.reference).tag(name)
        try:
            for line in client.images.push(name, stream=True, decode=True):
                if "error" in line:
                    raise LabError(f"pushing {name} failed: {line['error']}")
        finally:
            client.images.remove(name, noprune=True)


def _pushed(port: str, path: str) -> str:
    """Return the id of the image that the registry has under a name; empty when it has none."""
    repository, tag = path.rsplit(":", 1)
    url = f"http://127.0.0.1:{port}/v2/{repository}/manifests/{tag}"
    accept = {"Accept": "application/vnd.docker.distribution.manifest.v2+json"}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=accept), timeout=10) as answer:
            return str(json.load(answer)["config"]["digest"])
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return ""
        raise


def start(client: Any, service: Service, net: network.Network) -> None:
    """Start one service unless it runs as it should."""
    builder = images.Builder(client)
    if not builder.is_current(service.image):
        with images.locked():
            builder.ensure(service.image)
    try:
        found = client.containers.get(service.container)
        if found.labels.get(f"{LABEL}.service") == service.digest and found.status == "running":
            return
        found.remove(force=True)
    except docker.errors.NotFound:
        pass
    api = client.api
    created = api.create_container(
        images.RECIPES[service.image].reference,
        command=list(service.command) or None,
        name=service.container,
        labels={LABEL: "service", f"{LABEL}.service": service.digest},
        ports=[service.port],
        host_config=api.create_host_config(
            binds=list(service.binds),
            init=True,
            network_mode=network.NAME,
            port_bindings={service.port: ("127.0.0.1",)},
        ),
        networking_config=api.create_networking_config(
            {network.NAME: api.create_endpoint_config(ipv4_address=net.address(service.number))}
        ),
    )
    container = client.containers.get(created["Id"])
    container.start()
    container.reload()
    port = container.attrs["NetworkSettings"]["Ports"][f"{service.port}/tcp"][0]["HostPort"]
    url = f"http://127.0.0.1:{port}{service.probe}"
    end = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5):  # made two lines above
                return
        except (urllib.error.URLError, OSError) as error:
            if time.monotonic() > end:
                log = container.logs(tail=20).decode(errors="replace")
                raise LabError(f"{service.container} does not answer at {url}: {error}\n{log}") from error
            time.sleep(0.2)


def up(client: Any, names: Sequence[str]) -> dict[str, str]:
    """Start services and return all addresses."""
    net = network.ensure(client)
    services = define(net)
    unknown = sorted(set(names) - set(services))
    if unknown:
        raise LabError(f"there is no service {', '.join(unknown)}; known are: {', '.join(services)}")
    if "index" in names:
        prepare_index()
    if "hub" in names:
        prepare_hub()
    for name in names:
        start(client, services[name], net)
    if "registry" in names:
        push(client)
    return addresses(net)


def down(client: Any) -> list[str]:
    """Remove the services and the network, unless a lab host still needs them; the cached content stays."""
    net = network.find(client)
    if net is None:
        return []
    services = {service.container for service in define(net).values()}
    attached = {container.name for container in client.containers.list(all=True, filters={"network": network.NAME})}
    if attached - services:
        return []
    for name in sorted(attached):
        client.containers.get(name).remove(force=True)
    client.networks.get(network.NAME).remove()
    return [*sorted(attached), network.NAME]


def main() -> int:
    parser = argparse.ArgumentParser(description="Start and remove the lab's services.")
    commands = parser.add_subparsers(dest="command", required=True)
    parser_up = commands.add_parser("up", help="start services, print all addresses as JSON")
    parser_up.add_argument("names", nargs="*", metavar="NAME", help="registry, index, hub")
    commands.add_parser("down", help="remove the services and the network, unless lab hosts are left on it")
    arguments = parser.parse_args()
    client = docker.from_env(timeout=600)
    try:
        if arguments.command == "up":
            with contextlib.redirect_stdout(sys.stderr), images.locked("network"):
                answer = up(client, arguments.names)
            print(json.dumps(answer, indent=2))
        else:
            # Not while somebody makes hosts that are about to need them.
            with images.locked("network"):
                removed = down(client)
            for name in removed:
                print(f"removed {name}", flush=True)
    except (LabError, images.BuildError, subprocess.SubprocessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except docker.errors.DockerException as error:
        print(f"error: the Docker engine: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
