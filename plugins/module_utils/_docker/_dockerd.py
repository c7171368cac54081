# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How dockerd is started: its command line, and the settings that it must not be given twice."""

from __future__ import annotations

import os
import re
import shlex
import typing as t

from .._regular import regular

DEFAULT_CONFIG_FILE = "/etc/docker/daemon.json"
PID_FILES = ("/var/run/docker.pid", "/run/docker.pid")
# dockerd --validate came with this major version.
VALIDATE_SINCE = 23

# Engines older than this do not start with "runtimes" in the file and --add-runtime on the command line.
MERGES_RUNTIMES_SINCE = 19

_VERSION = re.compile(r"(?:\bversion\s+|^\s*)v?([0-9]{1,4})\.")
_HELP_FLAG = re.compile(r"^\s+(?:-\w,\s+)?--([a-z0-9-]+)", re.MULTILINE)
# The settings whose keys are not settings of their own: dockerd flattens all other objects before it compares.
_FLAT = frozenset(
    (
        "builder",
        "cluster-store-opts",
        "default-network-opts",
        "default-ulimits",
        "features",
        "log-opts",
        "runtimes",
    )
)
# Settings that have no flag.
_WITHOUT_FLAG = frozenset(("builder", "deprecated-key-path", "features"))
_BOOLEAN_SHORTHANDS = "Dv"
_EXEC_START = re.compile(r"argv\[\]=(.*?)\s;")
# Flags whose name is not the key's name in the file; some are, too, in older releases.
_KEYS_OF_FLAG = {
    "D": ("debug",),
    "G": ("group",),
    "H": ("hosts",),
    "add-runtime": ("runtimes",),
    "authorization-plugin": ("authorization-plugins",),
    "b": ("bridge",),
    "cdi-spec-dir": ("cdi-spec-dirs",),
    "cluster-store-opt": ("cluster-store-opts",),
    "default-address-pool": ("default-address-pools",),
    "default-network-opt": ("default-network-opts",),
    "default-ulimit": ("default-ulimits",),
    "dns-opt": ("dns-opts",),
    "exec-opt": ("exec-opts",),
    "feature": ("features",),
    "g": ("data-root", "graph"),
    "graph": ("data-root", "graph"),
    "host": ("hosts",),
    "host-gateway-ip": ("host-gateway-ip", "host-gateway-ips"),
    "insecure-registry": ("insecure-registries",),
    "l": ("log-level",),
    "label": ("labels",),
    "log-opt": ("log-opts",),
    "node-generic-resource": ("node-generic-resources",),
    "p": ("pidfile",),
    "registry-mirror": ("registry-mirrors",),
    "s": ("storage-driver",),
    "storage-opt": ("storage-opts",),
}


def keys_of_flag(argument: str) -> tuple[str, ...]:
    """Return the keys of daemon.json that a command line argument stands for; none for what is not a flag."""
    if not argument.startswith("-") or argument in ("-", "--"):
        return ()
    if argument.startswith("--"):
        name = argument[2:].split("=", 1)[0]
        return _KEYS_OF_FLAG.get(name, (name,))
    found: tuple[str, ...] = ()
    # Shorthands of switches can stand together, and one with a value after them: -Db none.
    for letter in argument[1:]:
        found += _KEYS_OF_FLAG.get(letter, (letter,))
        if letter not in _BOOLEAN_SHORTHANDS:
            break
    return found


def settings_in(data: t.Mapping[str, t.Any]) -> set[str]:
    """Return the settings in a configuration as dockerd compares them with its flags: "proxies" is its three keys."""
    found: set[str] = set()
    for key, value in data.items():
        found.update(map(str, value) if isinstance(value, dict) and key not in _FLAT else [key])
    return found


def flag_conflicts(
    argv: t.Sequence[str], settings: t.Iterable[str], release: int | None = None
) -> list[tuple[str, str]]:
    """Return which settings are on the command line already, each with its argument: dockerd does not start with both.

    Runtimes may be in both: dockerd takes them together.
    """
    wanted = set(settings)
    if release is None or release >= MERGES_RUNTIMES_SINCE:
        wanted.discard("runtimes")
    return [(key, argument) for argument in argv[1:] for key in keys_of_flag(argument) if key in wanted]


def added_runtimes(argv: t.Sequence[str]) -> set[str]:
    """Return the names of the runtimes that a command line adds."""
    found = set()
    for number, argument in enumerate(argv):
        flag, equals, value = argument.partition("=")
        if flag == "--add-runtime":
            value = value if equals else "".join(argv[number + 1 : number + 2])
            found.add(value.partition("=")[0].strip())
    return found - {""}


def known_settings(help_text: str) -> set[str]:
    """Return the settings that a dockerd knows, by what it prints for --help; empty when that is no such text."""
    flags = _HELP_FLAG.findall(help_text)
    if "config-file" not in flags:
        return set()
    return {key for flag in flags for key in keys_of_flag(f"--{flag}")}.union(flags, _WITHOUT_FLAG)


def config_file_of(argv: t.Sequence[str]) -> str:
    """Return the configuration file that a dockerd with this command line reads."""
    for number, argument in enumerate(argv):
        if argument == "--config-file" and number + 1 < len(argv):
            return argv[number + 1]
        if argument.startswith("--config-file="):
            return argument.split("=", 1)[1]
    return DEFAULT_CONFIG_FILE


def parse_exec_start(shown: str) -> list[str]:
    """Parse the command line in the answer to ``systemctl show --property=ExecStart docker.service``."""
    match = _EXEC_START.search(shown)
    if not match:
        return []
    try:
        return shlex.split(match.group(1))
    except ValueError:
        return match.group(1).split()


def parse_major(version: str) -> int | None:
    """Parse the major version in ``Docker version 26.1.5+dfsg1, build a72d7cd``, and in ``26.1.5``.

    None for one that has none: builds from moby's sources call themselves 0.0.0.
    """
    match = _VERSION.search(version)
    return (int(match.group(1)) or None) if match else None


def running(pid_files: t.Sequence[str] = PID_FILES, proc: str = "/proc") -> tuple[int | None, list[str]]:
    """Return the process id and the command line of the running dockerd; None and an empty one when none runs."""
    for pid_file in pid_files:
        try:
            with open(pid_file, encoding="ascii", opener=regular) as stream:
                pid = int(stream.read().strip())
            with open(os.path.join(proc, str(pid), "cmdline"), "rb") as stream_of_bytes:
                argv = [part.decode("utf-8", "replace") for part in stream_of_bytes.read().split(b"\0") if part]
        except (OSError, ValueError):
            continue
        if argv and os.path.basename(argv[0]) == "dockerd":
            return pid, argv
    return None, []


def dockerd_runs(proc: str = "/proc") -> bool:
    """Say whether any process of this machine is a dockerd."""
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
