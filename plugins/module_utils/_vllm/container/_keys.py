# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""API keys of a server: how they lie on the host, and how they reach vLLM without a trace in argv, inspect or logs."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import secrets
import stat
import tempfile
import typing as t

from ..._regular import regular
from ..options._release import Release, as_text

# Inside the container; the server's own directory under /etc/private_llm is mounted there, read-only.
MOUNT = "/run/private_llm"
KEY_FILE = "api_keys"
_TEMPORARY = "."  # how the names of files begin that are not whole yet; nothing else does in this directory
CONFIG_FILE = "config.yaml"

# How keys are delivered.
NONE = "none"
CONFIG = "config"  # vllm serve --config FILE
ENVIRONMENT = "environment"  # a shell exports VLLM_API_KEY from the file and becomes vllm

# From here on vLLM shows *** for keys when it logs its arguments at start; before, it shows the keys.
_REDACTING = (0, 29, 0)

# Only built-ins of the shell, so that the key is never an argument of anything.
EXPORT_SCRIPT = f'IFS= read -r VLLM_API_KEY < {MOUNT}/{KEY_FILE} && export VLLM_API_KEY && exec vllm serve "$@"'


class KeyDeliveryError(ValueError):
    """There is no way to hand these keys to this release without showing them."""


def delivery(count: int, release: Release | None) -> str:
    """Return how ``count`` keys reach a vLLM of this release; None is a release that the image's tag does not tell."""
    if not count:
        return NONE
    if release is not None and release >= _REDACTING:
        return CONFIG
    if count == 1:
        return ENVIRONMENT
    if release is None:
        return CONFIG
    raise KeyDeliveryError(
        f"vLLM {as_text(release)} writes keys from its configuration into its log, so it can be given one key, not "
        f"{count}; reduce api_keys, or use an image of vLLM {as_text(_REDACTING)} or newer"
    )


class KeyFileError(ValueError):
    """The files of a server's keys cannot be read or written."""


def generate() -> str:
    """Return a new key of 192 random bits; OpenAI clients expect its prefix."""
    return "sk-" + secrets.token_hex(24)


def render_key_file(keys: t.Sequence[str]) -> str:
    return "".join(key + "\n" for key in keys)


def parse_key_file(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def render_config(keys: t.Sequence[str]) -> str:
    """Return vLLM's configuration file with the keys alone; JSON strings are YAML strings."""
    return "api-key:\n" + "".join(f"  - {json.dumps(key)}\n" for key in keys)


def files_of(keys: t.Sequence[str]) -> dict[str, str]:
    """Return the text of each file of a server's key directory, by name."""
    if not keys:
        return {}
    return {KEY_FILE: render_key_file(keys), CONFIG_FILE: render_config(keys)}


# --- which keys a container was made with ---------------------------------------------------------------------------

# A label of a container can be read by whoever may talk to the engine; keys that people choose may be weak.
_ROUNDS = 50_000


def fingerprint(files: t.Mapping[str, str], salt: str = "") -> str:
    """Return a salted hash of the keys for a label; empty where there are none."""
    if KEY_FILE not in files:
        return ""
    salt = salt or secrets.token_hex(8)
    digest = hashlib.pbkdf2_hmac("sha256", files[KEY_FILE].encode("utf-8"), salt.encode("utf-8"), _ROUNDS)
    return f"{salt}:{digest.hex()[:32]}"


def matches(label: str, files: t.Mapping[str, str]) -> bool:
    """Return whether a label tells these keys."""
    return hmac.compare_digest(label.encode("utf-8"), fingerprint(files, label.partition(":")[0]).encode("utf-8"))


# --- the directory on the host ----------------------------------------------------------------------------------------


def read_directory(directory: str) -> dict[str, str]:
    """Return the text of each of our files that is in the directory now, by name."""
    contents = {}
    for name in _present(directory):
        path = os.path.join(directory, name)
        try:
            with open(path, encoding="utf-8", opener=regular) as stream:
                contents[name] = stream.read()
        except UnicodeDecodeError as error:
            raise KeyFileError(
                f"{path} is damaged: it holds something that is not text; put a copy of it back, or remove it, "
                "and the server gets a new key with the next run"
            ) from error
    return contents


def changed_at(directory: str) -> float:
    """Return when the newest of the files was written, in seconds since the epoch; 0 when there is none."""
    return max((os.stat(os.path.join(directory, name)).st_mtime for name in _present(directory)), default=0.0)


def kept_in(directory: str) -> bool:
    """Return whether anything of ours is in the directory, half-written files included."""
    if _present(directory):
        return True
    try:
        return any(name.startswith(_TEMPORARY) for name in os.listdir(directory))
    except OSError:
        return False


def _present(directory: str) -> list[str]:
    return [name for name in (KEY_FILE, CONFIG_FILE) if os.path.isfile(os.path.join(directory, name))]


def write_directory(directory: str, contents: t.Mapping[str, str]) -> None:
    """Make the directory hold exactly these of our files, readable by root alone. What is right stays untouched.

    A directory without any of them is removed, unless somebody else keeps something there. What a run that was killed
    left behind goes. KeyFileError when that cannot be done.
    """
    try:
        _sweep(directory)
        _write_directory(directory, contents)
    except OSError as error:
        raise KeyFileError(
            f"the keys in {directory} cannot be written: {error.strerror or error}; make room on that disk, or see why "
            "root may not write there, and run again"
        ) from error


def _sweep(directory: str) -> None:
    """Remove files that were being written when their run was killed. They may hold keys."""
    if not os.path.isdir(directory):
        return
    for name in os.listdir(directory):
        path = os.path.join(directory, name)
        if name.startswith(_TEMPORARY) and stat.S_ISREG(os.lstat(path).st_mode):
            os.unlink(path)


def _write_directory(directory: str, contents: t.Mapping[str, str]) -> None:
    if not contents:
        for name in _present(directory):
            os.unlink(os.path.join(directory, name))
        with contextlib.suppress(OSError):
            os.rmdir(directory)
        return
    # /etc/private_llm and what is under it is closed to everyone else, whoever made it first.
    for path in (os.path.dirname(os.path.dirname(directory)), os.path.dirname(directory), directory):
        os.makedirs(path, mode=0o700, exist_ok=True)
    os.chmod(directory, 0o700)
    present = read_directory(directory)
    for name, text in contents.items():
        path = os.path.join(directory, name)
        if present.get(name) != text:
            _write_private(path, text)
        elif os.stat(path).st_mode & 0o777 != 0o600:
            os.chmod(path, 0o600)
    for name in present:
        if name not in contents:
            os.unlink(os.path.join(directory, name))


def _write_private(path: str, text: str) -> None:
    descriptor, temporary = tempfile.mkstemp(prefix=_TEMPORARY, dir=os.path.dirname(path))
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
