#!/usr/bin/python3
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A local model hub that speaks Hugging Face's HTTP protocol; models, faults, log and command line are those of hub.py.

It serves what huggingface_hub asks for: the commit of a revision, the tree of a commit in pages, the metadata of a file
(HEAD) and its content (big ones by a redirect to a storage path with ranges). As on the real hub, small files are kept
in git itself and are listed by the SHA-1 of their blob alone, an unknown revision is a 404 with a code in a header,
and a private repository that is asked for without a token looks like a missing one.
"""

from __future__ import annotations

import re
import sys
import typing as t
import urllib.parse

import hub as lab

PAGE = 1000


class HuggingFaceHub(lab.Hub):
    """The model hub. What other hubs call master is `main` here."""

    def __init__(self, *arguments: t.Any, page: int = PAGE, **options: t.Any) -> None:
        super().__init__(*arguments, **options)
        self.page = page

    def handle(self, request: t.Any) -> None:
        """Answer by the path of the request."""
        for pattern, answer in (
            (r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", self._revision),
            (r"/api/models/([^/]+/[^/]+)/tree/([^/]+)", self._tree),
            (r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self._content),
        ):
            if match := re.fullmatch(pattern, request.route):
                self._answer(request, t.cast(t.Callable[..., None], answer), match)
                return
        if match := re.fullmatch(r"/lfs-data/([0-9a-f]{64})", request.route):
            self._storage(request, match[1])
        else:
            request.send_json({"error": "no such route"}, status=404)

    def _answer(self, request: t.Any, answer: t.Callable[..., None], match: re.Match[str]) -> None:
        model = self._find(match[1])
        if model is None or (model.private and not self._knows_token(request)):
            anonymous = not request.headers.get("Authorization")
            self._refuse(request, "RepoNotFound", 401 if anonymous else 404)
            return
        revision = match[2]
        commit = model.resolve(None if revision in (None, "main") else revision)
        if commit is None:
            self._refuse(request, "RevisionNotFound", 404)
        else:
            answer(request, model, commit, *match.groups()[2:])

    def _refuse(self, request: t.Any, code: str, status: int) -> None:
        request.send_json({"error": code}, status=status, headers={"X-Error-Code": code, "X-Error-Message": code})

    def _revision(self, request: t.Any, model: lab.Model, commit: lab.Commit) -> None:
        files = [{"rfilename": path} for path in sorted(commit.files)]
        request.send_json(
            {"id": model.id, "sha": commit.id, "private": model.private, "gated": False, "tags": [], "siblings": files}
        )

    def _tree(self, request: t.Any, model: lab.Model, commit: lab.Commit) -> None:
        rows = [self._item(row) for row in model.entries(commit, self.lfs_threshold)]
        start = int(request.query.get("cursor", "0"))
        headers = {}
        if start + self.page < len(rows):
            query = urllib.parse.urlencode({**request.query, "cursor": start + self.page})
            host = request.headers.get("Host")
            headers["Link"] = f'<http://{host}{urllib.parse.quote(request.route)}?{query}>; rel="next"'
        request.send_json(rows[start : start + self.page], headers=headers)

    @staticmethod
    def _item(row: dict[str, t.Any]) -> dict[str, t.Any]:
        item = {"type": "file", "oid": row.get("Id", ""), "size": row["Size"], "path": row["Path"]}
        if row["Type"] != "blob":
            item["type"] = "directory"
        elif row.get("IsLFS"):
            item["lfs"] = {"oid": row["Sha256"], "size": row["Size"], "pointerSize": 135}
        return item

    def _content(self, request: t.Any, model: lab.Model, commit: lab.Commit, path: str) -> None:
        blob = commit.files.get(path)
        if blob is None or not blob.available():
            self._refuse(request, "EntryNotFound", 404)
            return
        headers = {"X-Repo-Commit": commit.id}
        if blob.size < self.lfs_threshold:
            request.send_blob(blob, headers={**headers, "ETag": f'"{blob.git_id}"'}, ranges=True)
            return
        name, _colon, port = request.headers.get("Host", "").partition(":")
        location = (
            f"http://{self.cdn_host or name}:{port or self.port}/lfs-data/{blob.sha256}?signature=of-{commit.id[:8]}"
        )
        linked = {"X-Linked-ETag": f'"{blob.sha256}"', "X-Linked-Size": str(blob.size)}
        request.send_blob(lab.Blob.of(b""), status=302, headers={**headers, **linked, "Location": location})


class FolderHub(lab.FolderHub, HuggingFaceHub):
    """A hub over a folder: models can be added and changed while it runs."""


if __name__ == "__main__":
    sys.exit(lab.main(hub_class=FolderHub))
