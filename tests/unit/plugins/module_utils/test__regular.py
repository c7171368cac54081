# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import socket
import typing as t
from pathlib import Path

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._bundle._index import BundleError
from ansible_collections.private_llm.fleet.plugins.module_utils._bundle._login import login_for
from ansible_collections.private_llm.fleet.plugins.module_utils._hub import _model_config, _weights
from ansible_collections.private_llm.fleet.plugins.module_utils._hub._files import Entry
from ansible_collections.private_llm.fleet.plugins.module_utils._open_webui._private_folder import SessionStore
from ansible_collections.private_llm.fleet.plugins.module_utils._regular import regular
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.container import _keys
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.lifecycle import _gpu_lock, _measurements
from ansible_collections.private_llm.fleet.plugins.module_utils._watch import _program

URL, EMAIL, PASSWORD = "http://127.0.0.1:3000", "admin@example.com", "of-this-test"


def put_pipe(path: Path) -> None:
    os.mkfifo(path)


def put_socket(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"/proc/self/fd/{folder}/{path.name}")  # the name of a socket is short
    os.close(folder)


Put = t.Callable[[Path], None]
ODD = pytest.mark.parametrize("put", [put_pipe, put_socket])


@pytest.mark.parametrize("put", [put_pipe, put_socket, Path.mkdir])
@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY | os.O_APPEND | os.O_CREAT, os.O_RDWR])
def test_what_is_not_a_file_is_not_opened(tmp_path: Path, put: Put, flags: int) -> None:
    put(tmp_path / "odd")
    with pytest.raises(OSError, match=r"it is not a file; remove what is in its place: '.*/odd'"):
        regular(str(tmp_path / "odd"), flags)


def test_a_file_is_opened_and_made(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with open(path, "w", encoding="ascii", opener=regular) as stream:
        stream.write("text")
    with open(path, encoding="ascii", opener=regular) as stream:
        assert stream.read() == "text"


@ODD
def test_servers_take_no_turn_on_it(tmp_path: Path, put: Put) -> None:
    with _gpu_lock.turn(["cpu"], directory=str(tmp_path)):
        (lock,) = tmp_path.iterdir()
    lock.unlink()
    put(lock)
    with pytest.raises(ValueError, match=f"servers cannot take turns, because {lock} cannot be opened"), _gpu_lock.turn(
        ["cpu"], directory=str(tmp_path)
    ):
        pass


@ODD
def test_a_session_is_not_read_from_it_and_replaces_it(tmp_path: Path, put: Put) -> None:
    store = SessionStore(str(tmp_path))
    store.save(URL, EMAIL, PASSWORD, "token")
    (session,) = tmp_path.iterdir()
    session.unlink()
    put(session)
    assert store.load(URL, EMAIL, PASSWORD) is None
    store.save(URL, EMAIL, PASSWORD, "token")
    assert store.load(URL, EMAIL, PASSWORD) == "token"


@ODD
def test_the_program_of_the_watch_replaces_it(tmp_path: Path, put: Put) -> None:
    put(tmp_path / "a.py")
    assert _program.installed(str(tmp_path)) == {"a.py": ""}
    _program.install({"a.py": "one\n"}, str(tmp_path))
    assert _program.installed(str(tmp_path)) == {"a.py": "one\n"}


@ODD
def test_a_login_is_not_read_from_it(tmp_path: Path, put: Put) -> None:
    put(tmp_path / "config.json")
    with pytest.raises(BundleError, match=r"config.json cannot be read: it is not a file"):
        login_for("registry.example.com", str(tmp_path / "config.json"))


@ODD
def test_keys_replace_it(tmp_path: Path, put: Put) -> None:
    folder = tmp_path / "etc" / "vllm" / "server"
    folder.mkdir(parents=True)
    put(folder / _keys.KEY_FILE)
    assert _keys.read_directory(str(folder)) == {}
    _keys.write_directory(str(folder), {_keys.KEY_FILE: "sk-1\n"})
    assert _keys.read_directory(str(folder)) == {_keys.KEY_FILE: "sk-1\n"}


@ODD
def test_a_measurement_replaces_it(tmp_path: Path, put: Put) -> None:
    put(tmp_path / "alpha.measured.json")
    assert _measurements.read("alpha", str(tmp_path), str(tmp_path)) is None
    _measurements.write("alpha", {"release": "0.32.0"}, str(tmp_path), str(tmp_path / "before"))
    assert _measurements.read("alpha", str(tmp_path)) == {"release": "0.32.0"}


@ODD
def test_weights_are_not_read_from_it(tmp_path: Path, put: Put) -> None:
    put(tmp_path / "model.safetensors")
    with pytest.raises(OSError, match="it is not a file"):
        _weights.problem_of(str(tmp_path / "model.safetensors"))


@ODD
def test_a_configuration_is_asked_for_instead_of_read_from_it(tmp_path: Path, put: Put) -> None:
    put(tmp_path / "config.json")
    entries = [Entry("config.json", 2, "")]
    assert _model_config.model_config(str(tmp_path), entries, lambda _path: b'{"a": 1}') == {"a": 1}
