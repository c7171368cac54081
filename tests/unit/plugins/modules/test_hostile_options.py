# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every module, in check mode, with hostile values at every place of its options: it ends with a result or a message.

Nothing outside of the test's folder is written meanwhile, whatever path an option names. The modules that ask an Open
WebUI are in test_open_webui_hostile.py, with a server that answers; model_snapshot meets more in a test of its own.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import sys
import time
import typing as t
from pathlib import Path

import pytest
from ansible.module_utils import basic
from ansible.module_utils.testing import patch_module_args

from ansible_collections.private_llm.fleet.plugins.module_utils import _progress
from ansible_collections.private_llm.fleet.plugins.module_utils._fleet_module import FleetModule
from ansible_collections.private_llm.fleet.tests.support import hostile

MODULES = sorted(
    path.stem
    for path in (Path(__file__).parents[4] / "plugins" / "modules").glob("[!_]*.py")
    if "_client.COMMON_ARGUMENTS" not in path.read_text(encoding="utf-8")
)

FILE = {"path": "a.bin", "size": 5, "sha256": "0" * 64}
SERVER = {
    "name": "alpha",
    "image": "vllm/vllm-openai:v0.32.0",
    "model": "/srv/models/o/m/current",
    "gpus": [0],
    "port": 18005,
    "engine": {"max_model_len": 1024},
    "env": {"A": "1"},
    "api_keys": ["sk-0123456789"],
    "volumes": ["/a:/b"],
    "member": {"nodes": ["gpu-01"], "rank": 0, "address": "10.0.0.1"},
}
DOOR = {"bind": "127.0.0.1", "port": 1}
LOOK = {
    "names": ["alpha"],
    "models": ["FOLDER/m"],
    "images": ["a:1"],
    "folders": ["FOLDER"],
    "paths": ["FOLDER/p"],
}
WEB = {
    "image": "127.0.0.1:1/open-webui:v0.12.4",
    "data_dir": "FOLDER/data",
    "config_dir": "FOLDER/config",
    "backup_dir": "FOLDER/backup",
    "secret_key": "s",
    "admin_password": "p",
    "env": {"A": "1"},
}
# Options of a run that is as it should be; FOLDER is the test's.
RUNS: dict[str, dict[str, t.Any]] = {
    "bundle_collections": {
        "collections": ["a.b"],
        "dest": "FOLDER/dest",
        "found": [{"path": "FOLDER/found", "info": {"namespace": "a", "name": "b"}, "ignore": ["*.pyc"]}],
    },
    "bundle_files": {"dest": "FOLDER/dest", "bundle": "FOLDER/b", "kind": "model", "name": "o/m", "files": [FILE]},
    "bundle_image": {
        "name": "a:1",
        "bundle": "FOLDER/b",
        "config": "sha256:" + "0" * 64,
        "layers": ["sha256:" + "0" * 64],
        "files": [FILE],
        "work_dir": "FOLDER/work",
        "timeout": 1,
    },
    "bundle_make": {
        "path": "FOLDER/b",
        "content": [{"kind": "model", "name": "o/m", "folder": "FOLDER/m", "source": "modelscope"}],
    },
    "bundle_packages": {"packages": ["docker.io"], "dest": "FOLDER/dest"},
    "bundle_platform": {"work": "FOLDER/work", "image": "127.0.0.1:1/debian:13", "timeout": 1},
    "bundle_verify": {
        "path": "FOLDER/b",
        "wanted": [{"kind": "model", "name": "o/m"}],
        "cache": "FOLDER/cache",
    },
    "dcgm_exporter": {"image": "127.0.0.1:1/dcgm:1", "timeout": 1},
    "docker_daemon_config": {"path": "FOLDER/daemon.json", "settings": {"a": {"b": [1]}}, "absent": ["c"]},
    "docker_engine_info": {"path": "FOLDER/daemon.json", "settings": {"a": {"b": [1]}}, "socket": "FOLDER/s"},
    "gateway_check": {"port": 1, "key_file": "FOLDER/key", "timeout": 0.05, "socket": "FOLDER/s"},
    "gateway_config": {
        "path": "FOLDER/gateway",
        "files": {"haproxy.cfg": "global\n", "errors/503.http": "x"},
        "user_keys": {"ann": ["k" * 40], "bob": []},
        "server_keys": {"gpu-01:alpha": "sk-1"},
        "certificate_files": ["FOLDER/cert.pem"],
        "rotate": ["bob"],
        "socket": "FOLDER/s",
    },
    "gateway_server": {"servers": ["a"], "state": "drain", "socket": "FOLDER/s", "timeout": 1},
    "gpu_container_check": {"image": "127.0.0.1:1/a:1", "socket": "FOLDER/s", "timeout": 1},
    "gpu_info": {"path": "FOLDER/bin/nvidia-smi", "socket": "FOLDER/s", "timeout": 5},
    "host_firewall": {
        "rules": [{"name": "a", "ports": [1], "open_ports": [22], "sources": ["10.0.0.1"]}],
        "units_dir": "FOLDER/units",
    },
    "image_release": {
        "name": "a:1",
        "listed": {
            "digest": "sha256:" + "0" * 64,
            "config": "sha256:" + "0" * 64,
            "layers": ["sha256:" + "0" * 64],
            "diff_ids": ["sha256:" + "0" * 64],
            "files": [FILE],
        },
        "root": "FOLDER/images",
        "peers": ["http://127.0.0.1:1"],
        "peer_token": "t" * 32,
        "timeout": 1,
    },
    "model_peer": {
        "token": "t" * 32,
        "address": "127.0.0.1",
        "root": "FOLDER/models",
        "releases": [{"repo": "o/m", "digest": "d" * 64, "files": [FILE]}],
        "members": ["127.0.0.1"],
    },
    "model_snapshot": {
        "repo": "o/m",
        "root": "FOLDER/models",
        "sources": [{"source": "modelscope", "endpoint": "http://127.0.0.1:1", "token": "t"}],
        "listed": {
            "source": "modelscope",
            "endpoint": "http://127.0.0.1:1",
            "revision": "main",
            "digest": "d" * 64,
            "files": [FILE],
        },
        "retries": 1,
        "timeout": 1,
    },
    "monitoring_config": {
        "path": "FOLDER/prometheus",
        "files": {"prometheus.yml": "a", "rules/a.yml": "b"},
        "secret_files": {"alertmanager.yml": "s"},
        "owner": "root",
    },
    "nvidia_cdi": {"path": "FOLDER/nvidia.yaml", "spec_dirs": ["FOLDER/cdi"], "timeout": 5},
    "nvidia_runtime": {"path": "FOLDER/daemon.json"},
    "nvidia_toolkit_info": {
        "path": "FOLDER/daemon.json",
        "socket": "FOLDER/s",
        "repository": {
            "file": "FOLDER/list",
            "lines": ["deb a"],
            "key": "FOLDER/key",
            "fingerprints": ["0" * 40],
            "others": ["a"],
            "pattern": "a",
        },
        "paths": ["FOLDER/a"],
        "timeout": 5,
    },
    "open_webui_backup": {key: WEB[key] for key in ("data_dir", "config_dir", "backup_dir")},
    "open_webui_data_info": {"data_dir": "FOLDER/data"},
    "open_webui_restore": {**WEB, "archive": "FOLDER/a.tar.gz"},
    "open_webui_server": WEB,
    "repository_key": {"dest": "FOLDER/key", "content": "a", "fingerprints": ["0" * 40], "timeout": 1},
    "server_watch": {
        "servers": [{"name": "alpha"}],
        "webs": [{"name": "chat", **DOOR}],
        "gateway": DOOR,
        "units_dir": "FOLDER/units",
        "metrics_dir": "FOLDER/metrics",
    },
    "server_watch_info": {},
    "systemd_unit": {"name": "a.service", "files": ["FOLDER/a"]},
    "vllm_dry_fit": {
        "servers": [SERVER],
        "models": {"o/m": {"config": {"a": 1}}},
        "repos": {"/srv/models/o/m/current": "o/m"},
    },
    "vllm_group_member": {
        **SERVER,
        "step": "look",
        "peers": [{"node": "gpu-01", "address": "10.0.0.1", "port": 1}],
    },
    "vllm_host_info": LOOK,
    "vllm_server": SERVER,
    "vllm_server_info": {"names": ["alpha"], "timeout": 1},
    "vllm_servers": {"servers": [SERVER], "host": LOOK},
}
# Each place gets one value of so many, where a module has that many places.
SHARES = 24


def test_every_module_is_fed() -> None:
    assert sorted(RUNS) == MODULES
    assert len(hostile.VALUES) >= 150


def test_every_module_is_one_of_ours() -> None:
    plugins = (Path(__file__).parents[4] / "plugins" / "modules").glob("[!_]*.py")
    assert [one.stem for one in plugins if "module = FleetModule(" not in one.read_text(encoding="utf-8")] == []


def test_a_nul_is_refused_by_its_place_and_never_quoted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = {**RUNS["gateway_config"], "user_keys": {"ann": ["k" * 40, "sec\0ret-of-ann"]}}
    said = run("gateway_config", folder, capsys, given).result
    assert said["msg"].startswith("user_keys.ann[1] holds a NUL character (U+0000)")
    assert "ret-of-ann" not in said["msg"]


class _Wrote(BaseException):
    """A module in check mode changes something outside of the test's folder."""


# Events by which Python tells that it is about to change a file, and the place of the path among their arguments.
CHANGES = {
    **dict.fromkeys(
        ("open", "os.mkdir", "os.remove", "os.rmdir", "os.chmod", "os.chown", "os.utime", "os.truncate"), 0
    ),
    **dict.fromkeys(("os.symlink", "os.rename", "os.link", "shutil.move", "shutil.copyfile"), 1),
}
# The last argument of these is the folder that the path is relative to, as a descriptor.
RELATIVE = (
    "os.mkdir",
    "os.remove",
    "os.rmdir",
    "os.chmod",
    "os.chown",
    "os.utime",
    "os.symlink",
    "os.rename",
    "os.link",
)
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
# The folder in which alone something may be changed; or that nothing can be changed at all.
_guarded: list[str] = []
READ_ONLY = "read-only"


def _guard(event: str, arguments: tuple[t.Any, ...]) -> None:
    if not _guarded or event not in CHANGES or (event == "open" and not int(arguments[2] or 0) & WRITES):
        return
    path = arguments[CHANGES[event]]
    if isinstance(path, (str, bytes, os.PathLike)):
        within = f"/proc/self/fd/{arguments[-1]}" if event in RELATIVE and arguments[-1] not in (-1, None) else ""
        told = os.path.realpath(os.path.join(within, os.fsdecode(path)))
        if f"{told}/".startswith("/dev/null/") or "ansible-moduletmp-" in told:
            return
        if _guarded[0] == READ_ONLY:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), told)
        if not f"{told}/".startswith((f"{_guarded[0]}/", "/proc/")):
            raise _Wrote(f"{event} {told}")


sys.addaudithook(_guard)


class Ended(t.NamedTuple):
    """The end of a module: its output, and whether it came so far as to look at its options."""

    result: dict[str, t.Any]
    options_were_taken: bool


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[Path]:
    """A host on which every program does nothing, and where no Docker engine answers."""
    environment = dict(os.environ)  # model_snapshot sets the SDK's settings in its own
    (tmp_path / "bin").mkdir()
    for name in (
        *(
            "systemctl",
            "journalctl",
            "nft",
            "ip",
            "unshare",
            "haproxy",
            "promtool",
            "amtool",
            "nvidia-smi",
            "nvidia-ctk",
        ),
        *("dockerd", "docker", "dpkg-query", "apt-mark", "rpm", "gpg", "ssh-keygen", "psql", "pg_dump", "pg_restore"),
    ):
        (tmp_path / "bin" / name).symlink_to("/bin/true")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_progress, "DIRECTORY", str(tmp_path / "progress"))
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    yield tmp_path
    os.environ.clear()
    os.environ.update(environment)


def run(
    module: str, folder: Path, capsys: pytest.CaptureFixture[str], options: dict[str, t.Any], read_only: bool = False
) -> Ended:
    """Run a module's main in check mode; or for real, where the file system takes no change."""
    main = importlib.import_module(f"ansible_collections.private_llm.fleet.plugins.modules.{module}").main
    made: list[basic.AnsibleModule] = []
    initialized = basic.AnsibleModule.__init__

    def remember(self: basic.AnsibleModule, *arguments: t.Any, **named: t.Any) -> None:
        initialized(self, *arguments, **named)
        made.append(self)

    ansible = {"check_mode": not read_only, "diff": True, "remote_tmp": str(folder), "keep_remote_files": True}
    given = {**options, **{f"_ansible_{name}": value for name, value in ansible.items()}}
    _guarded.append(READ_ONLY if read_only else str(folder))
    try:
        with pytest.MonkeyPatch.context() as patch, patch_module_args(given):
            patch.setattr(basic.AnsibleModule, "__init__", remember)
            try:
                main()
            except SystemExit:
                pass
            except (ValueError, OverflowError, TypeError):
                if made:
                    raise
                return Ended({}, False)
    finally:
        _guarded.clear()
    return Ended(json.loads(capsys.readouterr().out), bool(made))


def options_of(module: str, folder: Path) -> dict[str, t.Any]:
    """The options of a run that is as it should be."""
    return t.cast("dict[str, t.Any]", json.loads(json.dumps(RUNS[module]).replace("FOLDER", str(folder))))


def specification(module: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, t.Any]:
    """The options that a module takes."""
    found: list[dict[str, t.Any]] = []

    def remember(_self: basic.AnsibleModule, argument_spec: dict[str, t.Any], **_named: t.Any) -> None:
        found.append(argument_spec)
        raise SystemExit

    main = importlib.import_module(f"ansible_collections.private_llm.fleet.plugins.modules.{module}").main
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(basic.AnsibleModule, "__init__", remember)
        with pytest.raises(SystemExit):
            main()
    return found[0]


def places(spec: t.Mapping[str, t.Any], value: t.Any, path: tuple[t.Any, ...] = ()) -> t.Iterator[tuple[t.Any, ...]]:
    """Every place of a module's options: those that are given, those that are not, and what is within."""
    for name, option in spec.items():
        yield (*path, name)
        given = value.get(name)
        if "options" in option:
            inner, below = (given[0], (0,)) if isinstance(given, list) else (given, ())
            assert inner is not None, f"give {name} in RUNS, so that what is within is tried"
            yield from places(option["options"], inner, (*path, name, *below))
        else:
            yield from hostile.places(given, (*path, name))


@pytest.mark.parametrize("module", MODULES)
def test_a_hostile_value_at_any_place(module: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ended = run(module, folder, capsys, options_of(module, folder))
    assert ended.options_were_taken, "the options as they should be are taken"
    wrong = []
    everywhere = sorted(set(places(specification(module, folder, capsys), options_of(module, folder))), key=repr)
    for index, place in enumerate(everywhere):
        step = min(SHARES, len(everywhere))
        for value in hostile.VALUES[index % step :: step]:
            given = hostile.replaced(options_of(module, folder), place, value)
            try:
                problem = complaint(run(module, folder, capsys, given))
            except (Exception, _Wrote) as error:  # all of them are told at once
                capsys.readouterr()
                problem = f"{type(error).__name__}: {ascii(str(error))[:200]}"
            if problem:
                wrong.append(f"{place}: {hostile.short(value)}: {problem}")
    assert not wrong, "\n".join([f"{len(wrong)} times", *wrong[:60]])


def complaint(ended: Ended) -> str:
    """Return the faults in the way a module ended; empty where there are none."""
    if not ended.options_were_taken:
        return ""  # in Ansible's own words, about an option of the wrong type
    said = [str(ended.result.get(name, "")) for name in ("msg", "message")]
    for text in said:
        if set(text) & hostile.OBEYED:
            return f"a terminal obeys {ascii(text)[:200]}"
        if "Traceback" in text or hostile.PYTHON.search(text):
            return f"Python's words {ascii(text)[:200]}"
    if ended.result.get("failed") and len(said[0]) < 15:
        return f"says little: {said[0]!r}"
    return "changed, and failed" if ended.result.get("failed") and ended.result.get("changed") else ""


@pytest.mark.parametrize("module", ["docker_daemon_config", "docker_engine_info", "nvidia_runtime"])
def test_a_broken_file_is_told_without_its_passwords(
    module: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A quote that is missing makes a key of what was a value, and the message names the key."""
    (folder / "daemon.json").write_text('{"log-opts": {"gelf-address": "x", "udp://me:canary@log"}}', encoding="utf-8")
    ended = run(module, folder, capsys, options_of(module, folder))
    assert "line 1 column" in ended.result["msg"]
    assert "canary" not in json.dumps(ended.result)


def test_what_a_program_says_is_written_out_in_a_result(capsys: pytest.CaptureFixture[str]) -> None:
    with patch_module_args({}), pytest.raises(SystemExit):
        FleetModule({}).exit_json(message="a\x1b[2Jb", servers=[{"message": "\x1b]0;t\x07", "answer": "\x1b"}])
    ended = json.loads(capsys.readouterr().out)
    assert ended["message"] == "a\\x1b[2Jb"
    assert ended["servers"] == [{"message": "\\x1b]0;t\\x07", "answer": "\x1b"}], "data stays as it is"


@pytest.mark.parametrize("state", ["as it is", "absent"])
@pytest.mark.parametrize("module", MODULES)
def test_a_file_system_that_takes_no_change_is_told(
    module: str, state: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = options_of(module, folder)
    if state == "absent":
        if "absent" not in specification(module, folder, capsys).get("state", {}).get("choices", ()):
            pytest.skip("takes nothing away")
        options["state"] = state
    ended = run(module, folder, capsys, options, read_only=True)
    assert not complaint(ended)
    # systemd_unit has its changes made by systemctl, which does nothing here.
    assert ended.result.get("failed") or not ended.result.get("changed") or module == "systemd_unit"
