# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One run for one model: its release is brought to the store, or its releases are removed."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import typing as t

from ansible.module_utils.basic import AnsibleModule

from .. import _units
from .._progress import Progress
from ._apply import apply_plan, needed_bytes
from ._candidates import Candidate, Fetcher
from ._files import HubError, Selection, check_endpoint, check_path, check_patterns, total_size
from ._kinds import KINDS
from ._line import keep_rate, read_rate
from ._mounts import users_of
from ._plan import Plan, Target, make_plan
from ._proxy import check_no_proxy, check_proxy, environment, secrets_of
from ._source import Throttle, is_full_disk
from ._sources import Host, described, make_candidates
from ._store import ModelStore
from ._targets import Finder, Unlisted

if t.TYPE_CHECKING:
    from ._spread._source import Peers

# What only some runs need is imported where it is needed: importing is most of what a run costs that changes nothing.

# The least and the most that a number may be. The most is what a timer, a lock or a pool of threads can still take.
BOUNDS = {
    "keep": (0, 1_000_000),
    "workers": (1, 256),
    "retries": (1, 1_000),
    "timeout": (1, 86_400),
    "lock_timeout": (0, 7 * 86_400),
    "bandwidth": (0, 2**60),
}


class Snapshot:
    """One run of the module."""

    def __init__(self, module: AnsibleModule, progress: Progress) -> None:
        self.module = module
        self.progress = progress
        self.check = bool(module.check_mode)
        options = module.params
        # Nobody should write a password into a URL; where somebody has, it is told to nobody.
        for given in [options, *described(options)]:
            for name in ("endpoint", "proxy"):
                module.no_log_values.update(secrets_of(given.get(name)))
        for name, (least, most) in BOUNDS.items():
            if not least <= options[name] <= most:
                raise HubError(f"{name} is {options[name]}, it cannot be less than {least} or more than {most}")
        for name in ("root", "archive", "export", "ca_path"):
            check_path(name, options[name])
        if options["release"] and not re.fullmatch("[0-9a-f]{64}", options["release"]):
            raise HubError(f"release {options['release']!r} is not a digest of 64 digits; the key releases tells them")
        self.options = options
        self.store = ModelStore(options["root"], options["repo"])
        self.store.refuse_linked_folders()
        self.throttle = Throttle(options["bandwidth"])
        self.selection = Selection(
            check_patterns("include", options["include"]), check_patterns("exclude", options["exclude"])
        )
        self._use_proxy()
        host = Host(self.store, module.tmpdir, self.check, self._require, module.get_bin_path)
        hide = module.no_log_values.add
        self.candidates = make_candidates(options, host, self.selection, self.throttle, hide)
        self.finder = Finder(
            self.store, self.candidates, self.selection, check=self.check, require_hub=options["require_hub"]
        )
        self.result: dict[str, t.Any] = {
            "changed": False,
            "path": None,
            "current": self.store.current_link,
            "revision": options["revision"],
            "commit": None,
            "digest": None,
            "files": [],
            "bytes_total": 0,
            "missing": [],
            "bytes_missing": 0,
            "bytes_needed": 0,
            "bytes_downloaded": 0,
            "bytes_from_peers": 0,
            "bytes_per_second": read_rate(),
            "source": None,
            "endpoint": None,
            "file_system": self.store.file_system(),
            "bytes_free": self.store.free_space(),
            "releases": self._digests(),
            "in_use": [],
            "actions": [],
            "settled": False,
            "revision_checked": True,
            "diff": {"before": self._state(), "after": self._state()},
        }

    def run(self) -> dict[str, t.Any]:
        """Do what the state asks for."""
        if self.options["state"] == "absent":
            self.absent()
        else:
            self.present()
        self.result.setdefault("config", None)
        return self.result

    def absent(self) -> None:
        """Remove the model, or one release of it."""
        digest = self.options["release"]
        if not self.store.exists() or (digest and self.store.release(digest) is None):
            self.result["settled"] = True
            return
        path = self.store.release_path(digest) if digest else self.store.path
        self._refuse_used(digest, path)
        left = [known for known in self._digests() if digest and known != digest]
        self.result.update(changed=True, actions=[f"remove {path}"], releases=left)
        after = {} if digest else {"current": None}
        self.result["diff"]["after"] = self._state(releases=left, **after)
        if self.check:
            return
        with self._locked():
            self._refuse_used(digest, path)  # while this run waited, a server may have started
            release = self.store.release(digest) if digest else None
            if release:
                self.store.remove_release(release)
                self.store.clear_trash()
            elif not digest:
                self.store.remove_model()

    def _refuse_used(self, digest: str | None, path: str) -> None:
        if digest and self.store.current() == digest:
            raise HubError(
                f"{self.store.current_link} names the release {digest}; let it name another one first, or leave out "
                "release to remove the whole model"
            )
        used = {path} if digest and digest in self._mounted() else users_of(path)
        if used:
            raise HubError(
                f"a container has {', '.join(sorted(used))} mounted; stop the server that uses {self.store.repo} first"
            )

    def present(self) -> None:
        """Have the release in the store."""
        prepared = not self.check and not self.store.releases()
        if prepared:
            self._prepare()  # something will have to be fetched, and to start again now costs no request
        try:
            listed = self.options["listed"]
            chosen, target = self.finder.told(listed) if listed else self.finder.find()
        except Unlisted as error:
            self.result.update(
                changed=True,
                revision=error.resolution.revision,
                commit=error.resolution.commit,
                source=error.candidate.source.name,
                endpoint=error.candidate.endpoint,
                bytes_missing=None,
                actions=[f"download commit {error.resolution.commit}; its files are not known yet: {error}"],
            )
            self.result["diff"]["after"] = {**self._state(), "commit": error.resolution.commit}
            return
        self.result.update(source=chosen.source.name, endpoint=chosen.endpoint)
        if self.store.root_is_open():
            self.module.warn(
                f"root {self.store.root} belongs to another user, or others can write it, and who can may exchange "
                "models that servers read; give it to root, with mode 0755"
            )
        if self.check:
            plan = self._plan(target)
            self._refuse_unchecked(plan)
            self.store.check_free_space(needed_bytes(self.store, target, plan.missing, plan.copied))
            self._describe(chosen, target, plan)
            return
        peers = self._peers(target)
        fetcher = Fetcher(chosen, self.candidates, self.selection, peers)
        while True:
            with self._locked():
                plan = self._plan(target)
                self._refuse_unchecked(plan)
                # What is on the host may turn out to be damaged, so any broken file may have to be fetched.
                if prepared or not plan.broken:
                    self._describe(chosen, target, plan)
                    with self._told_to_peers(target):
                        came = apply_plan(self.store, fetcher, target, plan, self.progress.update, self.module.warn)
                    brought = peers.brought if peers else 0
                    self.result.update(bytes_downloaded=max(0, came - brought), bytes_from_peers=brought)
                    keep_rate(fetcher.line_bytes, fetcher.line_seconds)
                    self.result["releases"] = self._digests()
                    self._export(target.digest)
                    return
            # Not under the lock: the module may start again in another interpreter, which takes the lock itself.
            self._prepare()
            prepared = True

    def _peers(self, target: Target) -> Peers | None:
        """Return the source that asks the hosts which serve the release."""
        options = self.options
        if not options["peers"]:
            return None
        from ._spread._source import Peers

        if not options["peer_token"]:
            raise HubError("peers needs peer_token, which the hosts that serve know this one by")
        return Peers(
            options["peers"],
            options["peer_token"],
            target.digest,
            target.entries,
            options["workers"],
            options["timeout"],
            self.throttle,
        )

    def _told_to_peers(self, target: Target) -> t.ContextManager[None]:
        """Let the server of this run know that the release is being fetched, so that nobody waits for it in vain."""
        if not self.options["peer_token"]:
            return contextlib.nullcontext()
        from ._spread._run import RunFolder

        return RunFolder(self.options["peer_token"]).fetching(target.digest)

    def _refuse_unchecked(self, plan: Plan) -> None:
        """Tell that the revision could not be checked; raise when the hub is needed for more than that."""
        unchecked = self.finder.unchecked
        if unchecked is None:
            return
        if plan.missing:
            raise HubError(
                f"{unchecked}; {self.store.repo} is on the host, but {len(plan.missing)} of its files are missing "
                "or damaged and have to come from there"
            )
        self.result["revision_checked"] = False

    def _use_proxy(self) -> None:
        """Let everything that this module starts or imports use the proxy; hosts in no_proxy are reached without it."""
        options = self.options
        proxy, direct = check_proxy(options["proxy"]), check_no_proxy(options["no_proxy"])
        urls = [given["endpoint"] or KINDS[given["source"]].endpoint for given in described(options)]
        os.environ.update(environment(proxy, direct, [check_endpoint(url) for url in urls if url], os.environ))

    def _require(self, library: str) -> None:
        from .. import _respawn

        _respawn.require(self.module, library)

    def _prepare(self) -> None:
        for candidate in self.candidates:
            candidate.source.prepare()

    def _to_export(self, digest: str) -> str | None:
        """Return the tar file that is to hold the release and does not."""
        path = t.cast("str | None", self.options["export"])
        if not path:
            return None
        from ._archive import exported_digest

        return None if exported_digest(path) == digest else path

    def _export(self, digest: str) -> None:
        """Write the release to a tar file, unless it is in there."""
        path, release = self._to_export(digest), self.store.release(digest)
        if path is None or release is None:
            return
        from ._archive import export

        total, done = self.result["bytes_total"], 0

        def seen(count: int) -> None:
            nonlocal done
            done += count
            self.progress.update(f"exporting {self.store.repo}", done, total)

        export(release, path, seen)

    def _plan(self, target: Target) -> Plan:
        return make_plan(
            self.store,
            target,
            full=self.options["verify"] == "full",
            keep=self.options["keep"],
            in_use=self._mounted,
            seen=lambda count: self.progress.update("verifying"),
        )

    def _mounted(self) -> set[str]:
        """Return the releases that a container has mounted; all of them, if it has the folder above."""
        names = {os.path.relpath(path, os.path.realpath(self.store.path)) for path in users_of(self.store.path)}
        return set(self._digests()) if os.curdir in names else {name.split(os.sep)[0] for name in names}

    def _describe(self, chosen: Candidate, target: Target, plan: Plan) -> None:
        """Say what the plan does; the same for check mode and for real."""
        release = self.store.release_path(target.digest)
        broken = {entry.path for entry in plan.broken}
        releases = [digest for digest in self._digests() if digest not in plan.prune]
        if not plan.published:
            releases.insert(0, target.digest)
        actions = plan.actions(target)
        export = self._to_export(target.digest)
        if export:
            actions.append(f"export release {target.digest[:12]} to {export}")
        self.result.update(
            changed=bool(actions),
            path=release,
            revision=target.resolution.revision,
            commit=target.resolution.commit,
            digest=target.digest,
            files=[vars(entry) for entry in target.entries],
            bytes_total=total_size(target.entries),
            missing=[entry.path for entry in plan.missing],
            bytes_missing=total_size(plan.missing),
            bytes_needed=needed_bytes(self.store, target, plan.missing, plan.copied),
            releases=releases,
            in_use=list(plan.held),
            actions=actions,
            settled=plan.settled and not actions,
        )
        before = self._state()
        before["broken"] = sorted(broken) if plan.published else []
        after = self._state(current=target.digest, releases=releases, files=[e.path for e in target.entries])
        self.result["diff"] = {"before": before, "after": {**after, "broken": []}}
        if self.options["config"]:
            from ._model_config import model_config

            self.result["config"] = model_config(
                release, target.entries, lambda path: chosen.source.small_file(target.resolution, path)
            )

    def _digests(self) -> list[str]:
        return [release.digest for release in self.store.releases()]

    def _state(self, **changes: t.Any) -> dict[str, t.Any]:
        """Return what a diff shows of the model's folder, with some of it as it will be."""
        current = self.store.current()
        release = self.store.release(current) if current else None
        files = [entry.path for entry in release.manifest.entries] if release and release.manifest else []
        return {"current": current, "releases": self._digests(), "files": files, **changes}

    def _locked(self) -> t.ContextManager[None]:
        waiting = f"waiting for another run that works on {self.store.repo}"
        return self.store.locked(self.options["lock_timeout"], lambda: self.progress.update(waiting))


def explain(error: OSError) -> str:
    """Return why a file could not be read or written, for a person."""
    place = f" ({error.filename})" if error.filename else ""
    if not is_full_disk(error):
        return str(error)
    try:
        free = f", which has {_units.size(shutil.disk_usage(os.path.dirname(error.filename)).free)} free"
    except (OSError, TypeError, ValueError):
        free = ""
    return f"no space is left on the disk{place}{free}; make room and run again, which goes on from what was fetched"
