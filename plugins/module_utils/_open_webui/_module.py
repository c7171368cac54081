# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the modules of Open WebUI's API have in common: connecting, the result, and the way out.

Every message, of an error or a warning, leaves a module here; FleetModule writes it for a terminal.
"""

from __future__ import annotations

import abc
import typing as t

from .._replace import ReplaceError, read_file
from . import _client

Found = t.TypeVar("Found")

LONGEST_PASSWORD = 4096  # bytes; Open WebUI itself takes 72


class Module(t.Protocol):
    """As much of AnsibleModule as is used here."""

    params: dict[str, t.Any]
    check_mode: bool
    no_log_values: set[str]

    def warn(self, warning: str) -> None: ...

    def fail_json(self, msg: str, **kwargs: t.Any) -> t.NoReturn: ...

    def exit_json(self, **kwargs: t.Any) -> t.NoReturn: ...


class WebUiModule(abc.ABC):
    """A module of Open WebUI's API. A subclass says what its result begins as, and does its work in run."""

    # The keys of the result, with the values of a run that found nothing.
    RESULT: t.ClassVar[dict[str, t.Any]] = {}
    # Whether the result so far goes along with a failure.
    FAILS_WITH_RESULT = False
    # Whether a password file must be there.
    NEEDS_PASSWORD = True

    def __init__(self, module: Module) -> None:
        self.module = module
        self.params = module.params
        self.result: dict[str, t.Any] = {"changed": False, "webui_version": "", **_fresh(self.RESULT)}

    @abc.abstractmethod
    def run(self) -> None:
        """Do the work, and fill the result in."""

    def connect(self, admin: bool = True) -> _client.Client:
        """Return a client that is signed in."""
        client = _client.connect(self.params, admin=admin, warn=self.warn)
        self.result["webui_version"] = client.version
        return client

    def warn(self, text: str) -> None:
        """Warn of something that may hold a server's words."""
        self.module.warn(text)

    def main(self) -> t.NoReturn:
        """Run, and leave with the result or a message."""
        self._hide_trimmed_secrets()
        try:
            self._read_password()
            self.run()
        except ValueError as error:
            so_far = self.result if self.FAILS_WITH_RESULT else {}
            kept = {name: value for name, value in so_far.items() if name != "changed"}
            self.module.fail_json(msg=str(error), **kept)
        self.module.exit_json(**self.result)

    def _read_password(self) -> None:
        """Take the password from the file of this host that keeps it, unless one is given."""
        path = self.params.get("webui_password_file")
        if self.params.get("webui_password") or not path:
            return
        try:
            content = read_file(path, LONGEST_PASSWORD)
        except ReplaceError as error:
            raise ValueError(f"webui_password_file: {error}") from error
        password = (content or b"").decode("utf-8", "replace").strip()
        if not password and self.NEEDS_PASSWORD:
            raise ValueError(
                f"webui_password_file {path} is {'empty' if content is not None else 'not there'}; "
                "give the password of the administrator in webui_password"
            )
        if password:
            self.module.no_log_values.add(password)
        self.params["webui_password"] = password or None

    def _hide_trimmed_secrets(self) -> None:
        """Mask secrets as they are used, too: Ansible knows them with the newline that a file ended in."""
        self.module.no_log_values.update(
            {one.strip() for one in self.module.no_log_values if isinstance(one, str) and one.strip()}
        )


class ObjectModule(WebUiModule, t.Generic[Found]):
    """A module of one object: reads it, plans it, sends what differs, reads it back.

    A subclass says how. None stands for an object that is not there.
    """

    NAME = ""  # of the object in the result

    def __init__(self, module: Module) -> None:
        super().__init__(module)
        self.result.update({self.NAME: {}, "action": "unchanged", "diff": difference({}, {})})

    def check(self) -> None:
        """Turn away what cannot be asked for, before anything is read."""

    @abc.abstractmethod
    def called(self) -> str:
        """Return what messages call the object, such as: the group 'staff'."""

    @abc.abstractmethod
    def read(self, client: _client.Client) -> Found | None:
        """Return the object as Open WebUI has it."""

    @abc.abstractmethod
    def plan(self, client: _client.Client, before: Found | None) -> Found | None:
        """Return the object as it shall be."""

    def hides_change(self, client: _client.Client, before: Found | None, after: Found | None) -> bool:
        """Return whether something differs that cannot be read back, such as a password."""
        return False

    @abc.abstractmethod
    def describe(self, found: Found | None) -> dict[str, t.Any]:
        """Return the object as the result shows it; empty when it is not there."""

    def differ(self, before: Found | None, after: Found | None) -> dict[str, t.Any]:
        """Return the change as a diff shows it."""
        return difference(self.describe(before), self.describe(after))

    @abc.abstractmethod
    def send(self, client: _client.Client, before: Found | None, after: Found | None) -> None:
        """Bring Open WebUI from the one to the other."""

    def run(self) -> None:
        self.check()
        client = self.connect()
        before = self.read(client)
        after = self.plan(client, before)
        hidden = self.hides_change(client, before, after)
        self.result["action"] = action(before, after, before != after or hidden)
        self.result["changed"] = self.result["action"] != "unchanged"
        self.result[self.NAME] = self.describe(after)
        self.result["diff"] = self.differ(before, after)
        if self.result["changed"] and not self.module.check_mode:
            self.send(client, before, after)
            self._check_kept(client, after)

    def _check_kept(self, client: _client.Client, after: Found | None) -> None:
        kept, asked = self.describe(self.read(client)), self.describe(after)
        if kept != asked:
            raise _client.OpenWebUiError(
                f"Open WebUI at {client.url} took {self.called()} but did not keep it: "
                f"it is {kept or 'not there'} instead of {asked or 'not there'}"
            )


def difference(before: t.Any, after: t.Any) -> dict[str, t.Any]:
    """Return a change in Ansible's form."""
    return {"before": before, "after": after}


def action(before: t.Any, after: t.Any, differs: bool) -> str:
    """Return the verb for what becomes of an object; None stands for one that is not there."""
    if before is None and after is not None:
        return "created"
    if before is not None and after is None:
        return "removed"
    return "updated" if differs else "unchanged"


def _fresh(value: t.Any) -> t.Any:
    """Return a copy that shares no list or dictionary with the class."""
    if isinstance(value, t.Mapping):
        return {name: _fresh(one) for name, one in value.items()}
    return list(value) if isinstance(value, list) else value
