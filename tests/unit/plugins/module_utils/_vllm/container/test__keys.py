# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import pathlib
import subprocess

import pytest
import yaml

from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.container import _keys
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.options._release import Release


@pytest.mark.parametrize(
    ("count", "release", "way"),
    [
        (0, (0, 32, 0), "none"),
        (1, (0, 32, 0), "config"),
        (3, (0, 29, 0), "config"),
        (1, (0, 26, 0), "environment"),
        (1, None, "environment"),
        (2, None, "config"),
    ],
)
def test_how_keys_reach_a_release(count: int, release: Release | None, way: str) -> None:
    assert _keys.delivery(count, release) == way


def test_several_keys_would_be_logged_by_an_old_release() -> None:
    with pytest.raises(_keys.KeyDeliveryError) as error:
        _keys.delivery(2, (0, 26, 0))
    assert str(error.value) == (
        "vLLM 0.26.0 writes keys from its configuration into its log, so it can be given one key, not 2; reduce "
        "api_keys, or use an image of vLLM 0.29.0 or newer"
    )


def test_files_say_what_they_are_to_say() -> None:
    keys = ["sk-one", 'odd"\\key#: {x}']
    files = _keys.files_of(keys)
    assert _keys.parse_key_file(files["api_keys"]) == keys
    assert yaml.safe_load(files["config.yaml"]) == {"api-key": keys}
    assert _keys.files_of([]) == {}


def test_a_new_key_is_long_and_new() -> None:
    first, second = _keys.generate(), _keys.generate()
    assert first != second
    assert len(first) == 51
    assert first.startswith("sk-")


def test_the_shell_reads_the_first_key(tmp_path: pathlib.Path) -> None:
    (tmp_path / "api_keys").write_text("sk-one\nsk-two\n")
    script = _keys.EXPORT_SCRIPT.replace(_keys.MOUNT, str(tmp_path)).replace("exec vllm serve", "exec /bin/sh -c")
    shown = subprocess.run(
        ["/bin/sh", "-c", script, "vllm-serve", 'echo "$VLLM_API_KEY"'], capture_output=True, text=True, check=True
    )
    assert shown.stdout == "sk-one\n"


def test_directory_is_private_and_written_only_when_it_differs(tmp_path: pathlib.Path) -> None:
    directory = str(tmp_path / "private_llm" / "vllm_server" / "alpha")
    assert _keys.read_directory(directory) == {}
    assert _keys.changed_at(directory) == 0
    files = _keys.files_of(["sk-one"])
    _keys.write_directory(directory, files)
    assert _keys.read_directory(directory) == files
    for path in (tmp_path / "private_llm", tmp_path / "private_llm" / "vllm_server", pathlib.Path(directory)):
        assert path.stat().st_mode & 0o777 == 0o700
    for path in pathlib.Path(directory).iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
        os.utime(path, (1, 1))
    _keys.write_directory(directory, files)
    assert _keys.changed_at(directory) == 1
    _keys.write_directory(directory, _keys.files_of(["sk-two"]))
    assert _keys.changed_at(directory) > 1
    _keys.write_directory(directory, {})
    assert not pathlib.Path(directory).exists()
    _keys.write_directory(directory, {})
    assert not pathlib.Path(directory).exists()


def test_a_mode_that_was_opened_is_closed_again(tmp_path: pathlib.Path) -> None:
    directory = str(tmp_path / "private_llm" / "vllm_server" / "alpha")
    files = _keys.files_of(["sk-one"])
    _keys.write_directory(directory, files)
    (pathlib.Path(directory) / "note").write_text("somebody else's")
    key_file = pathlib.Path(directory) / "api_keys"
    key_file.chmod(0o644)
    _keys.write_directory(directory, files)
    assert key_file.stat().st_mode & 0o777 == 0o600
    _keys.write_directory(directory, {})
    assert [path.name for path in pathlib.Path(directory).iterdir()] == ["note"]


def test_what_a_killed_run_left_half_written_goes(tmp_path: pathlib.Path) -> None:
    directory = tmp_path / "private_llm" / "vllm_server" / "alpha"
    _keys.write_directory(str(directory), _keys.files_of(["sk-1"]))
    (directory / ".abc123").write_text("sk-half", encoding="utf-8")
    (directory / ".folder").mkdir()
    assert _keys.kept_in(str(directory))
    _keys.write_directory(str(directory), _keys.files_of(["sk-1"]))
    assert sorted(path.name for path in directory.iterdir()) == [".folder", "api_keys", "config.yaml"]
    (directory / ".folder").rmdir()
    (directory / ".abc123").write_text("sk-half", encoding="utf-8")
    _keys.write_directory(str(directory), {})
    assert not directory.exists()
    assert not _keys.kept_in(str(directory))


def test_a_fingerprint_tells_keys_apart_and_not_what_they_are() -> None:
    one, two = _keys.files_of(["sk-1"]), _keys.files_of(["sk-2"])
    assert _keys.fingerprint(one) != _keys.fingerprint(one)
    assert _keys.matches(_keys.fingerprint(one), one)
    assert not _keys.matches(_keys.fingerprint(one), two)
    assert not _keys.matches("odd \u2713", one)
    assert _keys.fingerprint({}) == ""
    assert "sk-1" not in _keys.fingerprint(one)


def test_a_damaged_file_is_named(tmp_path: pathlib.Path) -> None:
    (tmp_path / "api_keys").write_bytes(b"\xff\xfe")
    with pytest.raises(_keys.KeyFileError, match=r"api_keys is damaged: .* put a copy of it back, or remove it"):
        _keys.read_directory(str(tmp_path))
