# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How dockerd is started: its command line, and the settings that it must not be given twice."""

from __future__ import annotations

import os
import re
import shlex
import typing as t

DEFAULT_CONFIG_FILE = "/etc/docker/daemon.json"
PID_FILES = ("/var/run/docker.pid", "/run/docker.pid")
# dockerd --validate came with this major version.
VALIDATE_SINCE = 23

_VERSION = re.compile(r"\bversion\s+v?(\d+)\.")
_EXEC_START = re.compile(r"argv\[\]=(.*?)\s;")
# Flags whose name is not the key's name in the file.
_KEY_OF_FLAG = {
    "D": "debug",
    "G": "group",
    "H": "hosts",
    "add-runtime": "runtimes",
    "authorization-plugin": "authorization-plugins",
    "cdi-spec-dir": "cdi-spec-dirs",
    "default-address-pool": "default-address-pools",
    "default-ulimit": "default-ulimits",
    "dns-opt": "dns-opts",
    "exec-opt": "exec-opts",
    "feature": "features",
    "g": "data-root",
    "graph": "data-root",
    "host": "hosts",
    "http-proxy": "proxies",
    "https-proxy": "proxies",
    "insecure-registry": "insecure-registries",
    "l": "log-level",
    "label": "labels",
    "log-opt": "log-opts",
    "no-proxy": "proxies",
    "p": "pidfile",
    "registry-mirror": "registry-mirrors",
    "s": "storage-driver",
    "storage-opt": "storage-opts",
}


def key_of_flag(argument: str) -> str | None:
    """The key of daemon.json that a command line argument stands for; None for what is not a flag."""
    if not argument.startswith("-") or argument in ("-", "--"):
        return None
    name = argument.lstrip("-").split("=", 1)[0]
    if not argument.startswith("--"):
        name = name[:1]
    return _KEY_OF_FLAG.get(name, name)


def flag_conflicts(argv: t.Sequence[str], keys: t.Iterable[str]) -> list[tuple[str, str]]:
    """Which of the keys are on the command line already, each with its argument: dockerd does not start with both."""
    wanted = set(keys)
    found = []
    for argument in argv[1:]:
        key = key_of_flag(argument)
        if key in wanted:
            found.append((str(key), argument))
    return found


def config_file_of(argv: t.Sequence[str]) -> str:
    """The configuration file that a dockerd with this command line reads."""
    for number, argument in enumerate(argv):
        if argument == "--config-file" and number + 1 < len(argv):
            return argv[number + 1]
        if argument.startswith("--config-file="):
            return argument.split("=", 1)[1]
    return DEFAULT_CONFIG_FILE


def parse_exec_start(shown: str) -> list[str]:
    """The command line in the answer to ``systemctl show --property=ExecStart docker.service``."""
    match = _EXEC_START.search(shown)
    if not match:
        return []
    try:
        return shlex.split(match.group(1))
    except ValueError:
        return match.group(1).split()


def parse_major(version: str) -> int | None:
    """The major version in ``Docker version 26.1.5+dfsg1, build a72d7cd``."""
    match = _VERSION.search(version)
    return int(match.group(1)) if match else None


def running(pid_files: t.Sequence[str] = PID_FILES, proc: str = "/proc") -> tuple[int | None, list[str]]:
    """The process id and the command line of the running dockerd; None and an empty one when none runs."""
    for pid_file in pid_files:
        try:
            with open(pid_file, encoding="ascii") as stream:
                pid = int(stream.read().strip())
            with open(os.path.join(proc, str(pid), "cmdline"), "rb") as stream_of_bytes:
                argv = [part.decode("utf-8", "replace") for part in stream_of_bytes.read().split(b"\0") if part]
        except (OSError, ValueError):
            continue
        if argv and os.path.basename(argv[0]) == "dockerd":
            return pid, argv
    return None, []


def dockerd_runs(proc: str = "/proc") -> bool:
    """Whether any process of this machine is a dockerd."""
    for name in os.listdir(proc):
        if not name.isdigit():
            continue
        try:
            with open(os.path.join(proc, name, "comm"), encoding="utf-8", errors="replace") as stream:
                if stream.read().strip() == "dockerd":
                    return True
        except OSError:
            continue
    return False
