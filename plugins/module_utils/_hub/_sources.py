# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Makes the sources that the options of a run describe."""

from __future__ import annotations

import dataclasses
import os
import typing as t

from .._secret import header_secret
from ._candidates import Candidate
from ._files import HubError, Selection, check_endpoint, check_path, check_repo, check_revision
from ._kinds import KINDS
from ._manifest import Origin
from ._source import Access, Source, Throttle
from ._store import ModelStore

# Requests to a hub that are made when its model is on the host and can be used without an answer.
FEW_ATTEMPTS = 3


class Host(t.NamedTuple):
    """What a source may use of the host."""

    store: ModelStore
    scratch: str  # folder that is gone after the run
    check: bool  # nothing may be written outside of the scratch folder
    require: t.Callable[[str], None]  # have a Python library, or start the module again where it is
    find_program: t.Callable[[str], str | None]


# Each is imported where it is needed: importing is most of what a run costs that changes nothing.
def _modelscope(access: Access, host: Host) -> Source:
    from ._modelscope_source import ModelScope

    return ModelScope(access, host.scratch, host.require)


def _huggingface(access: Access, host: Host) -> Source:
    from ._huggingface_source import HuggingFace

    return HuggingFace(access, host.scratch, host.require, None if host.check else host.store.shelf())


def _git_lfs(access: Access, host: Host) -> Source:
    from ._git_source import GitLfs

    return GitLfs(access, host.scratch, os.path.join(host.store.staging_root, "lfs"), host.find_program)


def _archive(access: Access, host: Host) -> Source:
    from ._archive import Archive

    return Archive(access.endpoint)


MAKERS: dict[str, t.Callable[[Access, Host], Source]] = {
    "modelscope": _modelscope,
    "huggingface": _huggingface,
    "git_lfs": _git_lfs,
    "archive": _archive,
}


def described(options: t.Mapping[str, t.Any]) -> list[t.Mapping[str, t.Any]]:
    """Return what describes each source: the elements of ``sources``, or else the options of the module itself."""
    return list(options["sources"] or [options])


def make_candidates(
    options: t.Mapping[str, t.Any], host: Host, selection: Selection, throttle: Throttle, hide: t.Callable[[str], None]
) -> list[Candidate]:
    """Make all sources of a run; ``hide`` is told of each token in the form in which it is sent."""
    return [_candidate(given, options, host, selection, throttle, hide) for given in described(options)]


def _candidate(
    given: t.Mapping[str, t.Any],
    options: t.Mapping[str, t.Any],
    host: Host,
    selection: Selection,
    throttle: Throttle,
    hide: t.Callable[[str], None],
) -> Candidate:
    name = given["source"]
    kind = KINDS[name]
    repo = check_repo(given["repo"] or options["repo"])
    revision = check_revision(given["revision"] or options["revision"])
    if not kind.endpoint and not given["archive"]:
        raise HubError(f"source {name} needs archive, the folder or tar file that holds the release")
    check_path("archive", given["archive"])
    if options["bandwidth"] and not kind.limits_bandwidth:
        raise HubError(f"bandwidth cannot be limited with source {name}; use another source, or leave it out")
    access = Access(
        endpoint=check_endpoint(given["endpoint"] or kind.endpoint) if kind.endpoint else given["archive"],
        repo=repo,
        token=_token(given, hide) if kind.endpoint else None,
        timeout=options["timeout"],
        retries=options["retries"],
        workers=options["workers"],
        ca_path=options["ca_path"],
        throttle=throttle,
    )
    asked = Origin(name, access.endpoint, repo, revision or "", None, selection.include, selection.exclude)
    if not options["require_hub"] and host.store.last_known(asked):
        access = dataclasses.replace(access, attempts=FEW_ATTEMPTS)
    return Candidate(MAKERS[name](access, host), access.endpoint, repo, revision)


def _token(given: t.Mapping[str, t.Any], hide: t.Callable[[str], None]) -> str | None:
    """Return the token of a source, as a header can carry it."""
    if not (given["token"] or "").strip():
        return None
    try:
        token = header_secret(given["token"], "token")
    except ValueError as error:
        raise HubError(str(error)) from None
    # Masked in this form, too: blanks around it are gone.
    hide(token)
    return token
