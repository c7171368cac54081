#!/usr/bin/env python3
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lab hosts: containers that boot systemd and run a Docker engine of their own, on the lab's network.

    hosts.py up --prefix demo < platforms.json     make the hosts, wait until they are up, print variables for Ansible
    hosts.py down --prefix demo                    remove them with their volumes
    hosts.py up --prefix try --image debian:12-engine one     a single host named `one`

A platform is an object:

    name            what the inventory calls it; its container is private-llm-lab-PREFIX-NAME
    image           debian:12, debian:13, debian:12-engine, debian:13-engine, or any other image that boots systemd
    ip              last number of its address on the lab's network (default: one that is free, made from its name)
    env             environment of its container (a dict)
    volumes         binds, as SOURCE:TARGET[:ro]; the source is a path or a volume
    ports           publish ports of the host on this machine, as PORT or ADDRESS:PORT:PORT
    preload         images that its engine already has: vllm, open-webui (only with an -engine image)
    trust_registry  true: its engine may pull from the lab's registry, which has no TLS (default: with an -engine image)

Hosts that exist are kept as they are.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import docker
import docker.errors
import images
import seeds
from machines import Platform
from network import LabError


def build_missing(platforms: Sequence[Platform], client: Any) -> None:
    """Build the lab's images that the platforms name and that are not up to date."""
    builder = images.Builder(client)
    keys = {key for platform in platforms for key in (platform.image, *platform.preload) if key in images.RECIPES}
    missing = sorted(key for key in keys if not builder.is_current(key))
    if missing:
        with images.locked():
            for key in missing:
                builder.ensure(key)


def main() -> int:
    parser = argparse.ArgumentParser(description="Make and remove lab hosts.")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="make hosts; platforms come as a JSON list on standard input, or as arguments")
    up.add_argument("names", nargs="*", help="names of hosts that differ in nothing else")
    up.add_argument("--image", default="debian:12", help="image of the hosts that are named")
    up.add_argument("--preload", action="append", default=[], help="image that their engine already has; repeatable")
    down = commands.add_parser("down", help="remove hosts")
    for command in (up, down):
        command.add_argument(
            "--prefix", required=True, help="what the hosts belong to; part of their containers' names"
        )
    arguments = parser.parse_args()
    client = docker.from_env(timeout=300)
    hosts = seeds.hosts(client)
    try:
        if arguments.command == "down":
            with images.locked("network"):
                removed = hosts.down(arguments.prefix)
            for name in removed:
                print(f"removed {name}", flush=True)
            return 0
        raw = [{"name": name, "image": arguments.image, "preload": arguments.preload} for name in arguments.names]
        platforms = [Platform.parse(entry) for entry in raw or json.load(sys.stdin)]
        # Progress goes where it is not taken for the answer.
        with contextlib.redirect_stdout(sys.stderr), images.locked("network"):
            build_missing(platforms, client)
            variables = hosts.up(platforms, arguments.prefix)
        print(json.dumps(variables, indent=2))
    except (LabError, images.BuildError, subprocess.SubprocessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except docker.errors.DockerException as error:
        print(f"error: the Docker engine: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
