# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a lab host is: a container that boots systemd and runs a Docker engine of its own, on the lab's network."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import tarfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import docker.errors
import images
import network
from network import LABEL, LabError

PREFIX = network.NAME
WAIT_SECONDS = 120

# By its public half this machine's user is root on lab hosts.
SSH_KEY = images.CACHE / "ssh" / "id_ed25519"
# Hosts come and go at the same addresses, with the host keys of their image.
SSH_OPTIONS = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
# As Ansible has them, less the compression: the network is within this machine.
SSH_ARGUMENTS = "-o ControlMaster=auto -o ControlPersist=60s"


@dataclasses.dataclass(frozen=True)
class Platform:
    """One host as it is declared."""

    name: str
    image: str = "debian:12"
    ip: int | None = None
    env: dict[str, str] = dataclasses.field(default_factory=dict)
    volumes: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    preload: tuple[str, ...] = ()
    trust_registry: bool | None = None

    @classmethod
    def parse(cls, raw: dict[str, Any]) -> Platform:
        """Read a platform; keys that are Molecule's own are left alone."""
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(raw) - known - {"groups", "children"})
        if unknown:
            raise LabError(
                f"platform {raw.get('name')}: unknown key {', '.join(unknown)}; known: {', '.join(sorted(known))}"
            )
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in raw.items() if key in known
        }
        platform = cls(**values)
        if platform.preload and not platform.has_engine:
            raise LabError(f"platform {platform.name}: preload needs an image with an engine, such as debian:12-engine")
        if platform.ip is not None and platform.ip not in network.HOSTS:
            first, last = network.HOSTS[0], network.HOSTS[-1]
            raise LabError(f"platform {platform.name}: ip is the last number of an address, from {first} to {last}")
        return platform

    @property
    def has_engine(self) -> bool:
        return self.image.endswith("-engine")

    @property
    def has_ssh(self) -> bool:
        """Say whether its image is one of ours; of other images nobody knows."""
        return self.image in images.RECIPES

    @property
    def reference(self) -> str:
        return images.RECIPES[self.image].reference if self.image in images.RECIPES else self.image

    def container(self, prefix: str) -> str:
        return f"{PREFIX}-{prefix}-{self.name}"


def refuse(platform: Platform, _volume: str) -> None:
    """Refuse a caller who asks for images and has not said who loads them."""
    raise LabError(f"platform {platform.name}: nobody here preloads images")


def choose_address(platform: Platform, prefix: str, net: network.Network, taken: dict[str, str]) -> str:
    """Return the declared address, or a free one; the same one for the same name as long as nobody holds it."""
    if platform.ip is not None:
        address = net.address(platform.ip)
        if address in taken:
            raise LabError(f"platform {platform.name}: {address} is held by {taken[address]}; choose another ip")
        return address
    start = int(hashlib.sha256(platform.container(prefix).encode()).hexdigest(), 16)
    for step in range(len(network.HOSTS)):
        address = net.address(network.HOSTS[(start + step) % len(network.HOSTS)])
        if address not in taken:
            return address
    raise LabError(f"no address is free on {net.subnet}; remove hosts that are no longer needed")


def parse_ports(ports: Sequence[str]) -> dict[str, Any]:
    """Parse `8080` or `127.0.0.1:18080:8080` into the words of the engine's API."""
    bindings: dict[str, Any] = {}
    for text in ports:
        parts = str(text).split(":")
        if len(parts) == 1:
            bindings[f"{parts[0]}/tcp"] = [{"HostIp": "127.0.0.1", "HostPort": ""}]
        else:
            bindings[f"{parts[2]}/tcp"] = [{"HostIp": parts[0], "HostPort": parts[1]}]
    return bindings


class Hosts:
    """Makes and removes hosts on one engine; `preload` fills the volume of one that is to have images already."""

    def __init__(self, client: Any, preload: Callable[[Platform, str], None] | None = None) -> None:
        self.client = client
        self.preload = preload or refuse
        self._privileged: bool | None = None

    def can_privileged(self, image: str) -> bool:
        """Say whether this machine can give a container every capability; found out by trying."""
        if self._privileged is None:
            container = self.client.containers.create(image, command=["true"], privileged=True, labels={LABEL: "probe"})
            try:
                container.start()
                self._privileged = container.wait(timeout=30)["StatusCode"] == 0
            except docker.errors.APIError:
                self._privileged = False
            finally:
                container.remove(force=True)
        return self._privileged

    def host_config(self, image: str, binds: Sequence[str], ports: dict[str, Any]) -> Any:
        """Return what a container needs so that systemd boots in it and an engine runs in it."""
        options: dict[str, Any] = {
            "binds": list(binds),
            "port_bindings": ports,
            "tmpfs": {"/run": "", "/run/lock": "", "/tmp": "exec"},  # noqa: S108  # a mount point
            "network_mode": network.NAME,
        }
        privileged = self.can_privileged(image)
        if privileged:
            options["privileged"] = True
        else:
            options["cap_add"] = ["ALL"]
            options["cap_drop"] = ["SYS_RESOURCE"]
            options["security_opt"] = ["seccomp=unconfined", "apparmor=unconfined"]
            options["device_cgroup_rules"] = ["a *:* rwm"]
        if self.client.info().get("CgroupVersion", "1") == "1" or not privileged:
            options["cgroupns"] = "host"
            options["binds"].append("/sys/fs/cgroup:/sys/fs/cgroup:rw")
        else:
            options["cgroupns"] = "private"
        config = self.client.api.create_host_config(**options)
        if not privileged:
            # What `docker run --security-opt systempaths=unconfined` means; the SDK has no name for it.
            config["MaskedPaths"] = []
            config["ReadonlyPaths"] = []
        return config

    def find(self, name: str) -> Any:
        try:
            return self.client.containers.get(name)
        except docker.errors.NotFound:
            return None

    def start(self, platform: Platform, prefix: str, net: network.Network, volume: str = "") -> Any:
        """Make one host unless it is there, and start it; its engine keeps its data in the volume given or its own."""
        name = platform.container(prefix)
        found = self.find(name)
        if found:
            if found.status != "running":
                found.start()
            return found
        try:
            self.client.images.get(platform.reference)
        except docker.errors.ImageNotFound:
            raise LabError(
                f"platform {platform.name}: there is no image {platform.reference}; run scripts/lab/images.py"
            ) from None
        if not volume:
            volume = f"{name}-docker"
            self.client.volumes.create(volume, labels={LABEL: prefix})
            if platform.preload:
                self.preload(platform, volume)
        address = choose_address(platform, prefix, net, network.taken(self.client))
        ports = parse_ports(platform.ports)
        created = self.client.api.create_container(
            platform.reference,
            name=name,
            hostname=platform.name,
            environment=platform.env,
            labels={LABEL: prefix},
            stop_signal="SIGRTMIN+3",
            ports=[int(port.split("/")[0]) for port in ports],
            host_config=self.host_config(platform.reference, [f"{volume}:/var/lib/docker", *platform.volumes], ports),
            networking_config=self.client.api.create_networking_config(
                {network.NAME: self.client.api.create_endpoint_config(ipv4_address=address, aliases=[platform.name])}
            ),
        )
        container = self.client.containers.get(created["Id"])
        trusts = platform.has_engine if platform.trust_registry is None else platform.trust_registry
        if trusts:
            settings = {"insecure-registries": [f"{net.address(network.REGISTRY)}:5000"]}
            put_file(container, "etc/docker/daemon.json", json.dumps(settings, indent=2) + "\n")
        if platform.has_ssh:
            put_file(container, "root/.ssh/authorized_keys", public_key())
        container.start()
        return container

    def wait(self, container: Any, engine: bool, seconds: float = WAIT_SECONDS) -> None:
        """Wait until systemd has started all it wants, and the engine answers where there is one."""
        end = time.monotonic() + seconds
        state = "no answer"
        while time.monotonic() < end:
            _code, output = container.exec_run(["systemctl", "is-system-running"])
            state = output.decode(errors="replace").strip()
            # degraded: one of the units that concern hardware failed, such as loading kernel modules
            if state in {"running", "degraded"}:
                break
            time.sleep(0.3)
        else:
            raise LabError(f"{container.name} is not up after {seconds:.0f} s; systemd says: {state}")
        if engine:
            while container.exec_run(["docker", "version"])[0]:
                if time.monotonic() > end:
                    raise LabError(f"the engine of {container.name} does not answer; see: journalctl -u docker in it")
                time.sleep(0.3)

    def up(self, platforms: Sequence[Platform], prefix: str, volume: str = "") -> dict[str, dict[str, str]]:
        """Make the hosts that are missing, wait until all are up, and return their variables for an inventory."""
        net = network.ensure(self.client)
        started = [(platform, self.start(platform, prefix, net, volume)) for platform in platforms]
        variables = {}
        for platform, container in started:
            self.wait(container, platform.has_engine)
            container.reload()
            address = container.attrs["NetworkSettings"]["Networks"][network.NAME]["IPAddress"]
            variables[platform.name] = {
                **(way_by_ssh(address) if platform.has_ssh else way_by_engine(container.name)),
                # Looked for, it would be found, by two more questions to each host for each playbook.
                "ansible_python_interpreter": "/usr/bin/python3",
                "lab_ip": address,
                "lab_container": container.name,
            }
        return variables

    def down(self, prefix: str) -> list[str]:
        """Remove every host made under a prefix, and its volumes."""
        removed = []
        for container in self.client.containers.list(all=True, filters={"label": f"{LABEL}={prefix}"}):
            container.remove(force=True, v=True)
            removed.append(container.name)
        for volume in self.client.volumes.list(filters={"label": f"{LABEL}={prefix}"}):
            volume.remove(force=True)
            removed.append(volume.name)
        return removed


def public_key() -> str:
    """Return the public half of the key for lab hosts, which is made when it is first asked for."""
    if not SSH_KEY.exists():
        SSH_KEY.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", PREFIX, "-f", str(SSH_KEY)]
        images.run(argv, "the key for lab hosts")
    return SSH_KEY.with_suffix(".pub").read_text(encoding="utf-8")


def way_by_ssh(address: str) -> dict[str, str]:
    """Return variables by which Ansible reaches a host by SSH, at less than `docker exec` costs for each task."""
    return {
        "ansible_connection": "ssh",
        "ansible_host": address,
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(SSH_KEY),
        "ansible_ssh_common_args": SSH_OPTIONS,
        "ansible_ssh_args": SSH_ARGUMENTS,
    }


def way_by_engine(container: str) -> dict[str, str]:
    """Return variables by which Ansible reaches a host of which nobody knows whether it has an SSH server."""
    return {"ansible_connection": "community.docker.docker", "ansible_host": container}


def put_file(container: Any, path: str, text: str) -> None:
    """Write one file, and the folders above it, into a container that need not run."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo(path)
        entry.size, entry.mode = len(text.encode()), 0o644
        archive.addfile(entry, io.BytesIO(text.encode()))
    container.put_archive("/", buffer.getvalue())
