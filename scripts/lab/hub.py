#!/usr/bin/python3
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A local model hub that speaks ModelScope's HTTP protocol, with faults on demand.

It serves what the ModelScope SDK asks for: repository info, revisions, the file listing, files (big ones by a redirect
to a storage path with ranges, small ones at once), and it has the quirks of the real hub: an unknown revision is
answered with HTTP 200 and no files, a private repository looks like a missing one, a listing is cut at a number of
entries.

As a class, for tests:

    hub = Hub()
    model = hub.add_model("acme/tiny")
    commit = model.commit({"config.json": b"{}"}, tag="v1")
    with hub:
        ...  # hub.url, hub.log, hub.faults

As a command, every `<root>/<org>/<name>/` folder is a model whose branch `master` is a commit over its content; a
change on disk is a new commit:

    python3 hub.py --root DIR --host 127.0.0.1 --port 0 --port-file FILE

While it runs, `/_lab/` steers it: GET and DELETE `/_lab/log`, PUT `/_lab/faults` (a list), PUT
`/_lab/models/<org>/<name>` (private, tags, branches, extra_entries), PUT `/_lab/stop`. A fault is an object:

    match   a part of the path and query it applies to ("" is all)
    kind    cut       close the connection after `at` bytes of the body
            corrupt   change the byte at `at`
            truncate  answer with only the first `keep` bytes, and a Content-Length that fits them
            status    answer with `status` (and `retry_after`)
            json200   answer HTTP 200 with a JSON error in place of the file
            html200   answer HTTP 200 with a page for people in place of it
            norange   ignore the Range header
            slow      wait `delay` seconds first, send `rate` bytes a second
            redirect  answer 302 to `to`
    times   how many requests it applies to (default 1; -1 is all of them)
    skip    how many matching requests it lets pass first (default 0)
"""

from __future__ import annotations

import abc
import argparse
import contextlib
import dataclasses
import hashlib
import http.server
import json
import os
import re
import signal
import socket
import sys
import threading
import time
import typing as t
import urllib.parse
import uuid
from pathlib import Path

MIB = 1 << 20
CHUNK = 64 * 1024
FAULT_KINDS = ("cut", "corrupt", "truncate", "status", "json200", "html200", "norange", "slow", "redirect")


class LabError(ValueError):
    """A request to the lab itself (not to the hub) that makes no sense; the text says why."""


def _git_hash(data: bytes) -> hashlib._Hash:
    """Return the hash that names things in git."""
    return hashlib.sha1(data)  # noqa: S324 - git names objects so; Python 3.8 knows no "usedforsecurity"


@dataclasses.dataclass(frozen=True)
class Blob:
    """The content of a file: in memory, or on disk as long as nobody changes it there."""

    size: int
    sha256: str
    git_id: str
    data: bytes | None = None
    file: Path | None = None
    stat: tuple[int, int] | None = None

    @classmethod
    def of(cls, content: bytes | Path) -> Blob:
        """Describe bytes, or the file at a path."""
        if isinstance(content, bytes):
            git = _git_hash(b"blob %d\0" % len(content) + content)
            return cls(len(content), hashlib.sha256(content).hexdigest(), git.hexdigest(), data=content)
        status = content.stat()
        sha256, git = hashlib.sha256(), _git_hash(b"blob %d\0" % status.st_size)
        with content.open("rb") as stream:
            while block := stream.read(MIB):
                sha256.update(block)
                git.update(block)
        return cls(
            status.st_size,
            sha256.hexdigest(),
            git.hexdigest(),
            file=content,
            stat=(status.st_size, status.st_mtime_ns),
        )

    def available(self) -> bool:
        """Say whether the content can still be read as it was."""
        if self.file is None:
            return True
        try:
            status = self.file.stat()
        except OSError:
            return False
        return (status.st_size, status.st_mtime_ns) == self.stat

    def read(self, start: int, length: int) -> t.Iterator[bytes]:
        """Yield the content from `start` on, `length` bytes of it, in chunks."""
        if self.data is not None:
            for offset in range(start, start + length, CHUNK):
                yield self.data[offset : min(offset + CHUNK, start + length)]
            return
        if self.file is None:
            return
        with self.file.open("rb") as stream:
            stream.seek(start)
            while length > 0 and (block := stream.read(min(CHUNK, length))):
                length -= len(block)
                yield block


@dataclasses.dataclass(frozen=True)
class Commit:
    """A state of a repository; `touched` says which commit last changed each file."""

    id: str
    files: dict[str, Blob]
    touched: dict[str, str]
    message: str
    time: int


class Model:
    """A repository: its commits, branches and tags."""

    def __init__(self, model_id: str, *, private: bool = False, folder: Path | None = None) -> None:
        if not re.fullmatch(r"[^/\s]+/[^/\s]+", model_id):
            raise LabError(f"{model_id!r} is no <org>/<name>")
        self.id = model_id
        self.private = private
        self.folder = folder
        self.default_branch = "master"
        self.commits: dict[str, Commit] = {}
        self.branches: dict[str, str] = {}
        self.tags: dict[str, str] = {}
        self.extra_entries: list[dict[str, t.Any]] = []
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[int, int]] = {}

    def commit(
        self,
        changes: t.Mapping[str, bytes | Path | None],
        *,
        branch: str = "master",
        tag: str | None = None,
        message: str = "update",
    ) -> str:
        """Add a commit on a branch: new or changed files, None for a file that goes away. Returns its id."""
        parent = self.commits.get(self.branches.get(branch, ""))
        files = dict(parent.files) if parent else {}
        touched = dict(parent.touched) if parent else {}
        changed = []
        for path, content in changes.items():
            if content is None:
                files.pop(path)
                touched.pop(path)
            else:
                files[path] = Blob.of(content)
                changed.append(path)
        state = json.dumps([parent and parent.id, branch, message, sorted((p, b.sha256) for p, b in files.items())])
        commit_id = _git_hash(f"{self.id} {state}".encode()).hexdigest()
        touched.update(dict.fromkeys(changed, commit_id))
        when = parent.time + 60 if parent else 1_700_000_000
        self.commits[commit_id] = Commit(commit_id, files, touched, message, when)
        self.branches[branch] = commit_id
        if tag:
            self.tags[tag] = commit_id
        return commit_id

    def refresh(self) -> None:
        """Turn what changed in the folder behind this model, if it has one, into a commit."""
        if self.folder is None:
            return
        with self._lock:
            seen: dict[str, tuple[int, int]] = {}
            for path in sorted(self.folder.rglob("*")):
                if path.is_file():
                    status = path.stat()
                    seen[path.relative_to(self.folder).as_posix()] = (status.st_size, status.st_mtime_ns)
            if seen == self._seen and self.commits:
                return
            changes: dict[str, bytes | Path | None] = {
                name: self.folder / name for name, status in seen.items() if self._seen.get(name) != status
            }
            changes.update(dict.fromkeys(set(self._seen) - set(seen)))
            self.commit(changes, message="content of the folder")
            self._seen = seen

    def resolve(self, revision: str | None) -> Commit | None:
        """Return the commit of a branch, a tag or a full commit id; None if it does not exist."""
        name = revision or self.default_branch
        return self.commits.get(self.branches.get(name) or self.tags.get(name) or name)

    def entries(self, commit: Commit, lfs_threshold: int) -> list[dict[str, t.Any]]:
        """Return the rows of a recursive listing: folders and files in order of their paths."""
        rows: dict[str, dict[str, t.Any]] = {}
        for path, blob in commit.files.items():
            parts = path.split("/")
            for depth in range(1, len(parts)):
                folder = "/".join(parts[:depth])
                rows.setdefault(folder, self._row(commit, folder, None, lfs_threshold))
            rows[path] = self._row(commit, path, blob, lfs_threshold)
        return [rows[path] for path in sorted(rows)] + self.extra_entries

    def _row(self, commit: Commit, path: str, blob: Blob | None, lfs_threshold: int) -> dict[str, t.Any]:
        last = commit.touched.get(path, commit.id)
        return {
            "CommitMessage": self.commits[last].message,
            "CommittedDate": self.commits[last].time,
            "CommitterName": "lab",
            "Id": blob.git_id if blob else _git_hash(path.encode()).hexdigest(),
            "InCheck": False,
            "IsLFS": bool(blob and blob.size >= lfs_threshold),
            "Mode": "33188" if blob else "16384",
            "Name": path.rsplit("/", 1)[-1],
            "Path": path,
            "Revision": last,
            "Sha256": blob.sha256 if blob else "",
            "Size": blob.size if blob else 0,
            "Tag": "",
            "Type": "blob" if blob else "tree",
        }


@dataclasses.dataclass
class Fault:
    """Something that goes wrong for some requests."""

    match: str
    kind: str
    times: int = 1
    skip: int = 0
    at: int = 0
    keep: int = 0
    status: int = 503
    retry_after: int | None = None
    rate: int = 0
    delay: float = 0.0
    to: str = ""

    def __post_init__(self) -> None:
        if self.kind not in FAULT_KINDS:
            raise LabError(f"no fault {self.kind!r}; there are {', '.join(FAULT_KINDS)}")

    @classmethod
    def of(cls, data: t.Mapping[str, t.Any]) -> Fault:
        """Return a fault from its JSON form."""
        known = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(set(data) - known)
        if unknown or not {"match", "kind"} <= set(data):
            raise LabError(f"a fault has match and kind, and knows {', '.join(sorted(known))}; got {sorted(data)}")
        return cls(**data)


class LabServer(abc.ABC):
    """An HTTP server in threads, with a log of its requests, faults, and a `/_lab/` of its own."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self.log: list[dict[str, t.Any]] = []
        self.faults: list[Fault] = []
        self._lock = threading.Lock()
        self._server = _Listener((host, port), _Handler, self)
        self._thread: threading.Thread | None = None
        self._kept: socket.socket | None = None
        self._asked_to_stop = threading.Event()

    @property
    def port(self) -> int:
        """Return the port it listens on, known before it starts."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Return its base URL, without a slash at the end."""
        return f"http://{self._server.server_address[0]!s}:{self.port}"

    def start(self) -> str:
        """Serve in the background; returns the base URL."""
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        return self.url

    def stop(self) -> None:
        """Stop serving: connections are refused from now on. Nobody else gets the port before `close`."""
        if self._thread is None:
            return
        self._server.shutdown()
        self._thread.join()
        self._thread = None
        self._server.server_close()
        self._kept = socket.socket()
        self._kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Whoever was quicker has it; then nothing can be kept.
        with contextlib.suppress(OSError):
            self._kept.bind(self._server.server_address)

    def close(self) -> None:
        """Stop serving and give the port back."""
        self.stop()
        self._server.server_close()
        if self._kept is not None:
            self._kept.close()

    def __enter__(self) -> t.Self:
        self.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    def serve(self, port_file: str | None) -> None:
        """Serve until a signal or request to stop; the port is written into a file once requests can be made."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *unused: self._asked_to_stop.set())
        self.start()
        if port_file:
            temporary = Path(f"{port_file}.{os.getpid()}")
            temporary.write_text(f"{self.port}\n", encoding="ascii")
            temporary.replace(port_file)
        print(f"serving on {self.url}", flush=True)
        self._asked_to_stop.wait()
        self.close()

    def ask_to_stop(self) -> None:
        """End `serve`."""
        self._asked_to_stop.set()

    def reset_log(self) -> None:
        """Forget the requests so far."""
        with self._lock:
            self.log.clear()

    def record(self, entry: dict[str, t.Any]) -> None:
        """Note a request; its status and bytes are filled in while it is answered."""
        with self._lock:
            self.log.append(entry)

    def take_faults(self, target: str) -> dict[str, Fault]:
        """Return the faults for this request, at most one of a kind, and count them down."""
        chosen: dict[str, Fault] = {}
        with self._lock:
            for fault in self.faults:
                if fault.match not in target or not fault.times or fault.kind in chosen:
                    continue
                if fault.skip > 0:
                    fault.skip -= 1
                    continue
                fault.times -= 1 if fault.times > 0 else 0
                chosen[fault.kind] = fault
        return chosen

    @abc.abstractmethod
    def handle(self, request: _Handler) -> None:
        """Answer a request of a client."""

    def steer(self, request: _Handler, path: str, body: t.Any) -> t.Any:
        """Answer a request under `/_lab/`; the answer is sent as JSON."""
        if (request.command, path) == ("GET", "log"):
            return list(self.log)
        if (request.command, path) == ("DELETE", "log"):
            self.reset_log()
            return []
        if (request.command, path) == ("PUT", "faults"):
            faults = [Fault.of(item) for item in body]
            with self._lock:
                self.faults[:] = faults
            return body
        if (request.command, path) == ("PUT", "stop"):
            request.last = True
            return {}
        raise LabError(f"nothing at {request.command} /_lab/{path}")


class _Listener(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], handler: type[_Handler], lab: LabServer) -> None:
        self.lab = lab
        super().__init__(address, handler)

    def handle_error(self, request: t.Any, client_address: t.Any) -> None:
        """Report an error, unless it is a client that went away."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "lab-hub"
    timeout = 60
    # The server stops after the answer to this request.
    last = False

    def log_message(self, *unused: object) -> None:
        """Log nothing: `LabServer.record` keeps the log."""

    def _any(self) -> None:
        lab = t.cast(_Listener, self.server).lab
        split = urllib.parse.urlsplit(self.path)
        self.route = urllib.parse.unquote(split.path)
        self.query = dict(urllib.parse.parse_qsl(split.query, keep_blank_values=True))
        self.entry: dict[str, t.Any] = {}
        if self.route.startswith("/_lab/"):
            self._steer(lab)
            return
        self.faults = lab.take_faults(urllib.parse.unquote_plus(self.path))
        self.entry = {
            "method": self.command,
            "path": self.route,
            "query": self.query,
            "range": self.headers.get("Range"),
            "host": self.headers.get("Host"),
            "client": self.client_address[0],
            "authorization": self.headers.get("Authorization"),
            "cookie": self.headers.get("Cookie"),
            "faults": sorted(self.faults),
            "status": 0,
            "bytes": 0,
        }
        # Before the answer: whoever has read it finds the request in the log.
        lab.record(self.entry)
        lab.handle(self)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _any  # noqa: N815 (the names are the base class's)

    def finish(self) -> None:
        """Let the server end now that the answers of this connection are out."""
        super().finish()
        if self.last:
            t.cast(_Listener, self.server).lab.ask_to_stop()

    def _steer(self, lab: LabServer) -> None:
        self.faults = {}
        try:
            body = self.body()
            answer = lab.steer(self, self.route[len("/_lab/") :], json.loads(body) if body else None)
        except (LabError, ValueError, TypeError, KeyError) as error:
            self.send_json({"error": str(error)}, status=400)
        else:
            self.send_json(answer, headers={"Connection": "close"} if self.last else None)

    def body(self) -> bytes:
        """Return the body of the request."""
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def chunked_body(self) -> bytes:
        """Return the body of a request that comes in chunks."""
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def send_json(self, value: t.Any, status: int = 200, headers: t.Mapping[str, str] | None = None) -> None:
        """Answer with a JSON document."""
        self.send_blob(
            Blob.of(json.dumps(value).encode()),
            status=status,
            headers={"Content-Type": "application/json; charset=utf-8", **(headers or {})},
        )

    def send_blob(
        self,
        blob: Blob,
        status: int = 200,
        headers: t.Mapping[str, str] | None = None,
        ranges: bool = False,
    ) -> None:
        """Answer with content, or with the part of it that is asked for if `ranges` is on, and with the faults."""
        sent = {"Content-Type": "application/octet-stream", **(headers or {})}
        delay, rate = 0.0, 0
        if slow := self.faults.get("slow"):
            delay, rate = slow.delay, slow.rate
        if redirect := self.faults.get("redirect"):
            status, sent["Location"], blob, ranges = 302, redirect.to, Blob.of(b""), False
        if failure := self.faults.get("status"):
            status, blob, ranges = failure.status, Blob.of(b'{"Code":%d,"Message":"fault"}' % failure.status), False
            if failure.retry_after is not None:
                sent["Retry-After"] = str(failure.retry_after)
        if "json200" in self.faults:
            status, ranges = 200, False
            blob = Blob.of(b'{"Code":10990101007,"Message":"the file is not there","RequestId":"","Success":false}')
        if "html200" in self.faults:
            status, ranges = 200, False
            blob = Blob.of(b"<!doctype html><title>Sign in</title><p>Sign in to your network to go on.")
        if short := self.faults.get("truncate"):
            blob = Blob.of(b"".join(blob.read(0, min(short.keep, blob.size))))
        start, length = 0, blob.size
        if ranges and "norange" not in self.faults and (wanted := self.headers.get("Range")):
            match = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted)
            if not match or int(match[1]) >= blob.size:
                status, length = 416, 0
                sent["Content-Range"] = f"bytes */{blob.size}"
            else:
                start = int(match[1])
                end = min(int(match[2]) if match[2] else blob.size - 1, blob.size - 1)
                status, length = 206, end - start + 1
                sent["Content-Range"] = f"bytes {start}-{end}/{blob.size}"
        if ranges:
            sent["Accept-Ranges"] = "bytes"
        time.sleep(delay)
        self.entry.update(status=status, bytes=0)
        self.send_response(status)
        for name, value in {**sent, "Content-Length": str(length)}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self._send_body(blob, start, length, rate)

    def _send_body(self, blob: Blob, start: int, length: int, rate: int) -> None:
        cut, corrupt = self.faults.get("cut"), self.faults.get("corrupt")
        offset = start
        for chunk in blob.read(start, length):
            block = chunk
            if corrupt and offset <= corrupt.at < offset + len(block):
                position = corrupt.at - offset
                block = block[:position] + bytes([block[position] ^ 0xFF]) + block[position + 1 :]
            if cut and offset + len(block) > cut.at:
                block = block[: max(0, cut.at - offset)]
            self.entry["bytes"] += len(block)
            self.wfile.write(block)
            offset += len(block)
            if rate:
                time.sleep(len(block) / rate)
            if cut and offset >= cut.at:
                self.close_connection = True
                return


class Hub(LabServer):
    """The model hub."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        token: str | None = None,
        cdn_host: str | None = None,
        lfs_threshold: int = MIB,
        list_limit: int = 3000,
    ) -> None:
        super().__init__(host, port)
        self.models: dict[str, Model] = {}
        self.token = token
        self.cdn_host = cdn_host
        self.lfs_threshold = lfs_threshold
        self.list_limit = list_limit

    def add_model(self, model_id: str, *, private: bool = False, folder: Path | None = None) -> Model:
        """Add a repository; a private one is seen only by who sends the hub's token."""
        model = Model(model_id, private=private, folder=folder)
        model.refresh()
        self.models[model_id] = model
        return model

    def add_folder(self, root: Path) -> None:
        """Add every `<root>/<org>/<name>/` folder that is not there yet; forget the ones that are gone."""
        for path in sorted(root.glob("*/*")):
            model_id = path.relative_to(root).as_posix()
            if path.is_dir() and model_id not in self.models:
                self.add_model(model_id, folder=path)
        for model_id, model in list(self.models.items()):
            if model.folder is not None and not model.folder.is_dir():
                del self.models[model_id]

    def steer(self, request: _Handler, path: str, body: t.Any) -> t.Any:
        """Change a model, on top of what every lab server knows."""
        match = re.fullmatch(r"models/([^/]+/[^/]+)", path)
        if request.command != "PUT" or not match:
            return super().steer(request, path, body)
        model = self._find(match[1])
        if model is None:
            raise LabError(f"no model {match[1]}; there are {', '.join(sorted(self.models)) or 'none'}")
        for kind in ("tags", "branches"):
            for name, revision in body.pop(kind, {}).items():
                commit = model.resolve(revision)
                if commit is None:
                    raise LabError(f"{model.id} has no revision {revision!r}")
                getattr(model, kind)[name] = commit.id
        model.private = bool(body.pop("private", model.private))
        model.extra_entries = list(body.pop("extra_entries", model.extra_entries))
        if body:
            raise LabError(f"a model has no {', '.join(sorted(body))}")
        return {"id": model.id, "branches": model.branches, "tags": model.tags, "private": model.private}

    def _find(self, model_id: str) -> Model | None:
        model = self.models.get(model_id)
        if model is not None:
            model.refresh()
        return model

    def handle(self, request: _Handler) -> None:
        """Answer by the path of the request."""
        for pattern, answer in (
            (r"/api/v1/models/([^/]+/[^/]+)", self._info),
            (r"/api/v1/models/([^/]+/[^/]+)/revisions", self._revisions),
            (r"/api/v1/models/([^/]+/[^/]+)/repo/files", self._files),
            (r"/api/v1/models/([^/]+/[^/]+)/repo", self._file),
            (r"/models/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self._file),
            (r"/openapi/v1/models/([^/]+/[^/]+)", self._probe),
        ):
            if match := re.fullmatch(pattern, request.route):
                model = self._find(match[1])
                if model is None or (model.private and not self._knows_token(request)):
                    self._not_found(request)
                else:
                    t.cast(t.Callable[..., None], answer)(request, model, *match.groups()[1:])
                return
        if request.route == "/api/v1/repos/internalAccelerationInfo":
            self._data(request, {"InternalRegionQueryAddress": ""})
        elif match := re.fullmatch(r"/lfs-data/([0-9a-f]{64})", request.route):
            self._storage(request, match[1])
        else:
            request.send_json({"Code": 404, "Message": "no such route", "Success": False}, status=404)

    def _knows_token(self, request: _Handler) -> bool:
        if self.token is None:
            return False
        cookies = (request.headers.get("Cookie") or "").split("; ")
        bearer = request.headers.get("Authorization")
        return bearer == f"Bearer {self.token}" or f"m_session_id={self.token}" in cookies

    def _data(self, request: _Handler, data: t.Any) -> None:
        request.send_json(
            {"Code": 200, "Data": data, "Message": "success", "RequestId": _request_id(), "Success": True}
        )

    def _not_found(self, request: _Handler) -> None:
        answer = {"Code": 10010205001, "Message": "record not found", "RequestId": _request_id(), "Success": False}
        request.send_json(answer, status=404)

    def _no_file(self, request: _Handler) -> None:
        answer = {"Code": 10990101007, "Message": "the file is not there", "RequestId": _request_id(), "Success": False}
        request.send_json(answer, status=404)

    def _info(self, request: _Handler, model: Model) -> None:
        organization, name = model.id.split("/")
        head = model.resolve(None)
        data = {
            "Id": int(_git_hash(model.id.encode()).hexdigest()[:8], 16),
            "Path": organization,
            "Name": name,
            "Revision": model.default_branch,
            "Visibility": 1 if model.private else 5,
            "License": "",
            "CreatedTime": 1_700_000_000,
            "LastUpdatedTime": head.time if head else 1_700_000_000,
        }
        self._data(request, data)

    def _probe(self, request: _Handler, model: Model) -> None:
        data = {"id": model.id, "private": model.private, "gated": False}
        request.send_json({"success": True, "data": data, "request_id": _request_id()})

    def _revisions(self, request: _Handler, model: Model) -> None:
        def rows(names: t.Mapping[str, str]) -> list[dict[str, t.Any]]:
            return [{"Revision": name, "CreatedAt": model.commits[commit].time} for name, commit in names.items()]

        self._data(request, {"RevisionMap": {"Branches": rows(model.branches), "Tags": rows(model.tags)}})

    def _files(self, request: _Handler, model: Model) -> None:
        commit = model.resolve(request.query.get("Revision"))
        if commit is None:
            self._data(request, {"Files": None, "LatestCommitter": None, "IsVisual": 0})
            return
        root = request.query.get("Root", "").strip("/")
        rows = model.entries(commit, self.lfs_threshold)
        if root:
            rows = [row for row in rows if row["Path"].startswith(root + "/")]
        if request.query.get("Recursive", "False").lower() != "true":
            depth = root.count("/") + 1 if root else 0
            rows = [row for row in rows if row["Path"].count("/") == depth]
        committer = {
            "Id": "",
            "ShortId": commit.id[:8],
            "Title": commit.message,
            "Message": commit.message,
            "AuthorName": "lab",
            "CommittedDate": commit.time,
        }
        self._data(request, {"Files": rows[: self.list_limit], "LatestCommitter": committer, "IsVisual": 0})

    def _file(self, request: _Handler, model: Model, revision: str = "", path: str = "") -> None:
        commit = model.resolve(revision or request.query.get("Revision"))
        blob = commit.files.get(path or request.query.get("FilePath", "")) if commit else None
        if blob is None or not blob.available():
            self._no_file(request)
        elif blob.size < self.lfs_threshold:
            request.send_blob(blob)
        else:
            name, _colon, port = request.headers.get("Host", "").partition(":")
            host = f"{self.cdn_host or name}:{port or self.port}"
            location = f"http://{host}/lfs-data/{blob.sha256}?signature={uuid.uuid4().hex}"
            request.send_blob(Blob.of(b""), status=302, headers={"Location": location})

    def _storage(self, request: _Handler, sha256: str) -> None:
        for model in list(self.models.values()):
            for commit in list(model.commits.values()):
                for blob in commit.files.values():
                    if blob.sha256 == sha256 and blob.available():
                        request.send_blob(blob, headers={"X-Linked-ETag": f'"{sha256}"'}, ranges=True)
                        return
        self._no_file(request)


class FolderHub(Hub):
    """A hub over a folder: models can be added and changed while it runs."""

    def __init__(self, root: Path, host: str, port: int, **options: t.Any) -> None:
        super().__init__(host, port, **options)
        self.root = root
        self.add_folder(root)

    def _find(self, model_id: str) -> Model | None:
        with self._lock:
            self.add_folder(self.root)
        return super()._find(model_id)


def _request_id() -> str:
    return str(uuid.uuid4())


def main(argv: list[str] | None = None, hub_class: type[FolderHub] = FolderHub) -> int:
    """Run the command line, of other kinds of hub, too."""
    parser = argparse.ArgumentParser(description="A local model hub that serves what is in a folder.")
    parser.add_argument("--root", required=True, type=Path, help="folder with one <org>/<name>/ folder a model")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 takes a free one")
    parser.add_argument("--port-file", help="file to write the port into once the hub answers")
    parser.add_argument("--cdn-host", help="name by which the redirects of big files call this machine")
    parser.add_argument("--token-file", type=Path, help="file with the token that opens private models")
    parser.add_argument("--lfs-threshold", type=int, default=MIB, help="size in bytes from which a file is a big one")
    arguments = parser.parse_args(argv)
    if not arguments.root.is_dir():
        parser.error(f"{arguments.root} is no folder")
    hub = hub_class(
        arguments.root,
        arguments.host,
        arguments.port,
        token=arguments.token_file.read_text(encoding="utf-8").strip() if arguments.token_file else None,
        cdn_host=arguments.cdn_host,
        lfs_threshold=arguments.lfs_threshold,
    )
    hub.serve(arguments.port_file)
    return 0


if __name__ == "__main__":
    sys.exit(main())
