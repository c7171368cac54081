#!/usr/bin/python3
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A local git server with LFS: smart HTTP through `git http-backend`, the LFS batch API, and faults on demand.

As a class, for tests:

    with GitHub(folder_for_repositories) as server:
        repository = server.add_repository("acme/tiny")
        commit = repository.commit({"config.json": b"{}", "model.safetensors": weights}, tag="v1")
        ...  # server.url + "/acme/tiny.git"

As a command, every `<root>/<org>/<name>/` folder is served as `/<org>/<name>.git`; a change on disk is a new commit:

    python3 git_hub.py --root DIR --repositories DIR --port 0 --port-file FILE

The log, the faults and `/_lab/` are those of hub.py. PUT `/_lab/repositories/<org>/<name>` changes one (private, tags).
"""

from __future__ import annotations

import argparse
import base64
import fnmatch
import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import typing as t
from pathlib import Path

from hub import Blob, LabError, LabServer

if t.TYPE_CHECKING:
    from hub import _Handler

LFS_PATTERNS = ("*.safetensors", "*.bin", "*.gguf")
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n"
IDENTITY = {
    f"GIT_{role}_{what}": value
    for role in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "lab"), ("EMAIL", "lab@localhost"), ("DATE", "1700000000 +0000"))
}


class Repository:
    """A bare repository in which commits are made without a work tree."""

    def __init__(self, path: Path, *, private: bool = False, folder: Path | None = None) -> None:
        self.path = path
        self.private = private
        self.folder = folder
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[int, int]] = {}
        if not path.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._git("init", "--quiet", "--bare", "--initial-branch", "master", str(path), inside=False)

    def _git(self, *arguments: str, data: bytes = b"", inside: bool = True) -> str:
        command = ["git", *(["--git-dir", str(self.path)] if inside else []), *arguments]
        environment = {
            **os.environ,
            **IDENTITY,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_INDEX_FILE": str(self.path.absolute() / "index"),
        }
        done = subprocess.run(command, input=data, capture_output=True, env=environment, check=False, timeout=60)
        if done.returncode:
            raise LabError(f"{' '.join(command)}: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout.decode().strip()

    def lfs_path(self, oid: str) -> Path:
        """Return where the object of that hash is kept."""
        return self.path / "lfs" / "objects" / oid[:2] / oid[2:4] / oid

    def commit(
        self,
        changes: t.Mapping[str, bytes | Path | None],
        *,
        branch: str = "master",
        tag: str | None = None,
        message: str = "update",
        lfs: t.Sequence[str] = LFS_PATTERNS,
        mode: str = "100644",
    ) -> str:
        """Add a commit on a branch: new or changed files, None for a file that goes away. Returns its id."""
        head = self._git("for-each-ref", "--format=%(objectname)", f"refs/heads/{branch}")
        self._git("read-tree", head or "--empty")
        lines = []
        for path, content in changes.items():
            if content is None:
                lines.append(f"0 {'0' * 40}\t{path}")
                continue
            data = content if isinstance(content, bytes) else content.read_bytes()
            if any(fnmatch.fnmatch(path.rsplit("/", 1)[-1], pattern) for pattern in lfs):
                oid = hashlib.sha256(data).hexdigest()
                self.lfs_path(oid).parent.mkdir(parents=True, exist_ok=True)
                self.lfs_path(oid).write_bytes(data)
                data = POINTER.format(oid=oid, size=len(data)).encode()
            lines.append(f"{mode} {self._git('hash-object', '-w', '--stdin', data=data)}\t{path}")
        self._git("update-index", "--add", "-z", "--index-info", data="\0".join([*lines, ""]).encode())
        tree = self._git("write-tree")
        commit = self._git("commit-tree", tree, *(["-p", head] if head else []), "-m", message)
        self._git("update-ref", f"refs/heads/{branch}", commit)
        if tag:
            self._git("update-ref", f"refs/tags/{tag}", commit)
        return commit

    def set_tag(self, tag: str, revision: str) -> None:
        """Point a tag, made with a message of its own, at a revision."""
        self._git("tag", "--annotate", "--force", "--message", tag, tag, revision)

    def refresh(self) -> None:
        """Turn what changed in the folder behind this repository, if it has one, into a commit."""
        if self.folder is None:
            return
        with self._lock:
            seen: dict[str, tuple[int, int]] = {}
            for path in sorted(self.folder.rglob("*")):
                if path.is_file():
                    status = path.stat()
                    seen[path.relative_to(self.folder).as_posix()] = (status.st_size, status.st_mtime_ns)
            if seen == self._seen:
                return
            changes: dict[str, bytes | Path | None] = {
                name: self.folder / name for name, status in seen.items() if self._seen.get(name) != status
            }
            changes.update(dict.fromkeys(set(self._seen) - set(seen)))
            self.commit(changes, message="content of the folder")
            self._seen = seen


class GitHub(LabServer):
    """The server."""

    def __init__(
        self,
        folder: Path,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        token: str | None = None,
        root: Path | None = None,
    ) -> None:
        super().__init__(host, port)
        self.folder = folder
        self.token = token
        self.root = root
        self.repositories: dict[str, Repository] = {}
        self._find("")

    def add_repository(self, name: str, *, private: bool = False, folder: Path | None = None) -> Repository:
        """Add a repository; a private one is served only to who sends the server's token."""
        repository = Repository(self.folder / f"{name}.git", private=private, folder=folder)
        repository.refresh()
        self.repositories[name] = repository
        return repository

    def _find(self, name: str) -> Repository | None:
        if self.root is not None:
            with self._lock:
                for path in sorted(self.root.glob("*/*")):
                    known = path.relative_to(self.root).as_posix()
                    if path.is_dir() and known not in self.repositories:
                        self.add_repository(known, folder=path)
        repository = self.repositories.get(name)
        if repository is not None:
            repository.refresh()
        return repository

    def steer(self, request: _Handler, path: str, body: t.Any) -> t.Any:
        """Change a repository, on top of what every lab server knows."""
        match = re.fullmatch(r"repositories/([^/]+/[^/]+)", path)
        if request.command != "PUT" or not match:
            return super().steer(request, path, body)
        repository = self._find(match[1])
        if repository is None:
            raise LabError(f"no repository {match[1]}; there are {', '.join(sorted(self.repositories)) or 'none'}")
        for tag, revision in body.pop("tags", {}).items():
            repository.set_tag(tag, revision)
        repository.private = bool(body.pop("private", repository.private))
        if body:
            raise LabError(f"a repository has no {', '.join(sorted(body))}")
        return {"private": repository.private}

    def handle(self, request: _Handler) -> None:
        """Answer by the path of the request."""
        match = re.fullmatch(r"/([^/]+/[^/]+?)\.git/(.*)", request.route)
        repository = self._find(match[1]) if match else None
        if match is None or repository is None:
            request.send_json({"message": "no such repository"}, status=404)
        elif repository.private and not self._knows_token(request):
            headers = {"WWW-Authenticate": 'Basic realm="lab"', "LFS-Authenticate": 'Basic realm="lab"'}
            request.send_json({"message": "who are you"}, status=401, headers=headers)
        elif request.faults.keys() & {"status", "redirect"}:
            request.send_blob(Blob.of(b""))
        elif match[2] == "info/lfs/objects/batch":
            self._batch(request, repository, match[1])
        elif storage := re.fullmatch(r"info/lfs/objects/([0-9a-f]{64})", match[2]):
            path = repository.lfs_path(storage[1])
            if path.is_file():
                request.send_blob(Blob.of(path), ranges=True)
            else:
                request.send_json({"message": "no such object"}, status=404)
        else:
            self._backend(request, match[1], match[2])

    def _knows_token(self, request: _Handler) -> bool:
        scheme, _space, value = (request.headers.get("Authorization") or "").partition(" ")
        if scheme == "Basic":
            value = base64.b64decode(value).decode().partition(":")[2]
        return self.token is not None and value == self.token

    def _batch(self, request: _Handler, repository: Repository, name: str) -> None:
        wanted = json.loads(request.body())
        base = f"http://{request.headers['Host']}/{name}.git/info/lfs/objects"
        objects: list[dict[str, t.Any]] = []
        for item in wanted["objects"]:
            row: dict[str, t.Any] = {"oid": item["oid"], "size": item["size"]}
            if repository.lfs_path(item["oid"]).is_file():
                row["actions"] = {"download": {"href": f"{base}/{item['oid']}", "expires_in": 600}}
            else:
                row["error"] = {"code": 404, "message": "Object does not exist"}
            objects.append(row)
        request.send_json(
            {"transfer": "basic", "objects": objects, "hash_algo": "sha256"},
            headers={"Content-Type": "application/vnd.git-lfs+json"},
        )

    def _backend(self, request: _Handler, name: str, service: str) -> None:
        body = request.chunked_body() if request.headers.get("Transfer-Encoding") == "chunked" else request.body()
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "GIT_PROJECT_ROOT": str(self.folder.absolute()),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
            "PATH_INFO": f"/{name}.git/{service}",
            "QUERY_STRING": "&".join(f"{key}={value}" for key, value in request.query.items()),
            "REQUEST_METHOD": request.command,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
            "REMOTE_ADDR": request.client_address[0],
        }
        done = subprocess.run(
            ["git", "http-backend"], input=body, capture_output=True, env=environment, check=False, timeout=60
        )
        head, _blank, content = done.stdout.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode("latin-1").split("\r\n") if line)
        status = int(headers.pop("Status", "200").split(" ")[0]) if head else 500
        request.send_blob(Blob.of(content), status=status, headers=headers)


def main(argv: list[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="A local git server with LFS.")
    parser.add_argument("--root", required=True, type=Path, help="folder with one <org>/<name>/ folder a model")
    parser.add_argument("--repositories", required=True, type=Path, help="folder for the bare repositories it makes")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 takes a free one")
    parser.add_argument("--port-file", help="file to write the port into once the server answers")
    parser.add_argument("--token-file", type=Path, help="file with the token that opens private repositories")
    arguments = parser.parse_args(argv)
    if not arguments.root.is_dir():
        parser.error(f"{arguments.root} is no folder")
    server = GitHub(
        arguments.repositories,
        arguments.host,
        arguments.port,
        token=arguments.token_file.read_text(encoding="utf-8").strip() if arguments.token_file else None,
        root=arguments.root,
    )
    server.serve(arguments.port_file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
