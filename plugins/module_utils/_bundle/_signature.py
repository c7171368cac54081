# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Signatures of a bundle's index, made and checked by OpenSSH's ssh-keygen, which is there wherever Ansible is."""

from __future__ import annotations

import os
import subprocess
import tempfile

from .._regular import regular
from ._folder import Folder
from ._index import BundleError

NAMESPACE = "private-llm-fleet-bundle"
SECONDS = 60
_KEYS = "give a key without a passphrase, or the public key of one that ssh-agent holds"


def sign(folder: Folder, key: str) -> None:
    """Sign the index with a private key, or with the agent that holds the private part of a public one."""
    if os.path.exists(folder.signature_path):
        os.unlink(folder.signature_path)
    done = _keygen(["-Y", "sign", "-f", key, "-n", NAMESPACE, folder.index_path])
    if done.returncode or not os.path.exists(folder.signature_path):
        raise BundleError(f"{folder.index_path} could not be signed with {key}: {_said(done)}; {_KEYS}")


def try_key(key: str) -> None:
    """Raise BundleError when nothing can be signed with a key; what it signs is thrown away."""
    done = _keygen(["-Y", "sign", "-f", key, "-n", f"{NAMESPACE}-trial"], b"trial\n")
    if done.returncode:
        raise BundleError(f"no bundle can be signed with {key}: {_said(done)}; {_KEYS}")


def is_signed_by(folder: Folder, key: str) -> bool:
    """Say whether the signature fits the index and was made by a key, given as its private or its public file."""
    if not os.path.isfile(folder.signature_path) or not os.path.isfile(folder.index_path):
        return False
    public = key if key.endswith(".pub") else f"{key}.pub"
    try:
        with open(public, encoding="utf-8", opener=regular) as stream:
            kind_and_key = stream.read().split()[:2]
    except OSError:
        kind_and_key = _keygen(["-y", "-f", key]).stdout.decode("utf-8", "replace").split()[:2]
    with tempfile.NamedTemporaryFile("w", encoding="utf-8") as signers:
        signers.write(" ".join(["maker", *kind_and_key]) + "\n")
        signers.flush()
        return problem_with(folder, signers.name) == ""


def problem_with(folder: Folder, signers: str) -> str:
    """Return why the index does not bear the signature of one of the allowed signers; empty when it does."""
    if not os.path.exists(signers):
        return (
            f"there is no file {signers} of allowed signers (ssh-keygen(1), ALLOWED SIGNERS); set fleet_bundle_signers"
        )
    if not os.path.exists(folder.signature_path):
        return f"it has no signature, {folder.signature_path}; make it with fleet_bundle_key, or copy it again"
    # ssh-keygen would wait at a pipe.
    for path in (signers, folder.signature_path):
        if not os.path.isfile(path):
            return f"{path} is not a file; put the file in its place"
    found = _keygen(["-Y", "find-principals", "-f", signers, "-s", folder.signature_path])
    principal = found.stdout.decode("utf-8", "replace").splitlines()[0] if found.stdout.strip() else ""
    if found.returncode or not principal:
        return f"nobody in {signers} signed it ({_said(found)}); take it only from somebody you trust"
    done = _keygen(
        ["-Y", "verify", "-f", signers, "-I", principal, "-n", NAMESPACE, "-s", folder.signature_path],
        folder.index_bytes(),
    )
    if done.returncode:
        return f"its signature does not fit its index ({_said(done)}); it was changed, or copied in part"
    return ""


def _keygen(arguments: list[str], given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            ["ssh-keygen", *arguments],
            input=given,
            capture_output=True,
            timeout=SECONDS,
            env={**os.environ, "SSH_ASKPASS": "/bin/false", "SSH_ASKPASS_REQUIRE": "force"},
            check=False,
        )
    except FileNotFoundError as error:
        raise BundleError("ssh-keygen is not on this machine; install OpenSSH's client (openssh-client)") from error
    except subprocess.TimeoutExpired as error:
        raise BundleError(f"ssh-keygen did not end within {SECONDS} seconds") from error


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    text = (done.stderr or done.stdout).decode("utf-8", "replace").split()
    return " ".join(text)[:300] or f"ssh-keygen ended with {done.returncode}"
