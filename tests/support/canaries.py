# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One table of secrets and of the places where none of them may show: which test holds each cell.

A canary is a secret with a value that occurs nowhere else, so that it is found wherever it gets to. A row is a kind of
secret, with every option that takes it. A cell names the test that looks for it there, as "file::test" or, for the
tasks of an integration test, "file::name of the task"; HERE is test_canaries.py, which looks itself; and
nothing(...) says why there is nothing to look for. test_canaries.py holds the table against the specifications: an
option that hides its value needs a row.
"""

from __future__ import annotations

import threading
import time
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

SURFACES = (
    "argv",  # command lines of all processes, over the whole run
    "inspect",  # what the engine shows of a container
    "output",  # what Ansible prints with -vvv, its log included
    "facts",  # what tasks leave behind for later ones: facts and registered results
    "diff",  # what --diff shows
    "result",  # what modules return, failures included
    "files",  # files that others than root may read, and files that are left behind
    "page",  # the page of the fleet
    "plan",  # the plan's file
    "async",  # the files of jobs in the background
)

HERE = "here"
UNIT = "tests/unit/plugins"
TARGETS = "tests/integration/targets"
ROLE = "molecule/open_webui/tests/test_open_webui.py::test_secrets_are_for_root_only_and_nowhere_else"
SERVER = f"{TARGETS}/vllm_server/tasks/changed.yml::The change is there, and the keys are nowhere"
READABLE = f"{TARGETS}/vllm_server/tasks/changed.yml::Look for the keys in new files that everyone may read"
HUB = f"{UNIT}/action/test_model_snapshot.py::test_progress_is_told_and_secrets_are_not"
_DATABASE = f"{UNIT}/module_utils/_open_webui/test__postgres.py"
DATABASE = f"{_DATABASE}::test_a_password_is_in_no_argument_and_in_no_error_wherever_the_url_has_it"


class nothing(str):  # noqa: N801 - it is written into the table like a word
    """Why a secret cannot get to a place."""

    __slots__ = ()


NO_CONTAINER = nothing("it is given to no container")
NO_JOB = nothing("no task that runs in the background takes it")
NOT_PLANNED = nothing("the plan and the page look at servers and hosts, and no task of theirs takes it")
REGISTRY = (
    "molecule/container_image/tests/test_container_image.py::"
    "test_a_password_of_the_registry_is_nowhere_but_in_the_file_of_logins"
)
PIP = "tests/unit/playbooks/test_pip_index.py::test_password_of_the_index_is_nowhere"


@dataclass(frozen=True)
class Secret:
    """A kind of secret: the value that stands for it, the options that take it, and what holds each cell."""

    value: str
    options: tuple[str, ...]
    cells: t.Mapping[str, str]


def _web(inspect: str = NO_CONTAINER, files: str = HERE, **others: str) -> dict[str, str]:
    """Return what is alike for all secrets that only the modules of Open WebUI's API take."""
    here = dict.fromkeys(("argv", "output", "facts", "diff", "result", "async"), HERE)
    return {**here, "inspect": inspect, "files": files, "page": NOT_PLANNED, "plan": NOT_PLANNED, **others}


def _declared(**others: str) -> dict[str, str]:
    """Return what is declared in an inventory, which the plan and the page read."""
    return {**dict.fromkeys(("argv", "output", "facts", "diff", "result", "files", "page", "plan"), HERE), **others}


GATEWAY = (
    f"{TARGETS}/gateway/tasks/main.yml::"
    "A configuration is put in place once, by the same prediction, and nobody else can read it"
)
PEER = f"{TARGETS}/model_peer/tasks/main.yml::The token is nowhere"
_PROXY = nothing("the gateway's process is started with the path of a file alone")

MONITORING = (
    f"{TARGETS}/monitoring_config/tasks/main.yml::"
    "Files are put in place once, by the same prediction, and secrets are nowhere but in files of their owner"
)
MONITORED = "molecule/monitoring/tests/test_monitoring.py::test_secrets_are_for_their_owner_and_nowhere_else"

SECRETS: dict[str, Secret] = {
    "addresses and secrets of those who are told of alerts": Secret(
        "canary-hook-8d1f",
        ("module monitoring_config: secret_files",),
        {
            **dict.fromkeys(("output", "facts", "diff", "result"), MONITORING),
            **dict.fromkeys(("argv", "files"), MONITORED),
            "inspect": NO_CONTAINER,
            "page": NOT_PLANNED,
            "plan": NOT_PLANNED,
            "async": NO_JOB,
        },
    ),
    "keys of a gateway": Secret(
        "canary-gateway-key-71c",
        ("module gateway_config: user_keys", "module gateway_config: server_keys"),
        {
            **dict.fromkeys(("output", "facts", "diff", "result", "files"), GATEWAY),
            "argv": _PROXY,
            "inspect": NO_CONTAINER,
            "page": NOT_PLANNED,
            "plan": NOT_PLANNED,
            "async": NO_JOB,
        },
    ),
    "token of the hosts that spread a model": Secret(
        "canarypeertoken8f20123456789abcdef",
        ("module model_peer: token", "module model_snapshot: peer_token", "module image_release: peer_token"),
        {
            **dict.fromkeys(("argv", "facts", "result", "files"), PEER),
            "output": nothing("its options hide their values, and what they return is looked at in the cell result"),
            "diff": nothing("neither module shows a diff of what it serves or fetches from"),
            "inspect": NO_CONTAINER,
            "page": NOT_PLANNED,
            "plan": NOT_PLANNED,
            "async": nothing("it is an option of the job, whose file has the result alone"),
        },
    ),
    "API key of a vLLM server": Secret(
        "canary-vllm-api-key-5e1",
        (
            "module vllm_server: api_keys",
            "module vllm_group_member: api_keys",
            "module vllm_servers: servers.api_keys",
            "module vllm_dry_fit: servers.api_keys",
            "role vllm_server: vllm_server_instances.api_keys",
        ),
        {
            **_declared(**dict.fromkeys(("argv", "diff", "result"), SERVER)),
            "inspect": SERVER,
            "files": READABLE,
            "async": SERVER,
        },
    ),
    "environment of a vLLM server": Secret(
        "canary-hf-token-in-env-9b2",
        (
            "module vllm_server: env",
            "module vllm_group_member: env",
            "module vllm_servers: servers.env",
            "module vllm_dry_fit: servers.env",
            "role vllm_server: vllm_server_instances.env",
        ),
        {
            **_declared(),
            "inspect": nothing(
                "a container's environment is shown by its engine; the role's README says so, and where keys go"
            ),
            "async": nothing("results hide the values, see the cell result; the job's file is the result"),
        },
    ),
    "token of a hub": Secret(
        "canary-hub-token-7c3",
        (
            "module model_snapshot: token",
            "module model_snapshot: sources.token",
            "role model_download: model_download_token",
            "role model_download: model_download_sources.token",
            "role model_download: model_download_models.token",
            "role model_download: model_download_models.sources.token",
        ),
        {
            **dict.fromkeys(("argv", "output", "diff", "result", "files", "async", "facts"), HUB),
            **dict.fromkeys(("page", "plan"), HERE),
            "inspect": NO_CONTAINER,
        },
    ),
    "token of one model": Secret(
        "canary-model-token-9b2",
        ("role vllm_server: vllm_server_instances.token",),
        _declared(inspect=NO_CONTAINER, **{"async": NO_JOB}),
    ),
    "password of a proxy": Secret(
        "canary-proxy-password-1d4",
        ("module model_snapshot: proxy", "role model_download: model_download_proxy"),
        {
            **dict.fromkeys(("argv", "output", "diff", "result", "files", "async", "facts"), HUB),
            **dict.fromkeys(("page", "plan"), HERE),
            "inspect": NO_CONTAINER,
        },
    ),
    "password of a package index": Secret(
        "canary-index-password-3f5",
        ("role host_python: host_python_index_url", "role model_download: model_download_index_url"),
        {
            **_declared(inspect=NO_CONTAINER, **{"async": NO_JOB}),
            **dict.fromkeys(("argv", "output", "diff", "files"), PIP),
        },
    ),
    "password of a registry": Secret(
        "canary-registry-password-8a6",
        (),
        {
            **dict.fromkeys(SURFACES, nothing("no option takes one: `docker login` leaves it with the engine's user")),
            **dict.fromkeys(("argv", "output", "diff", "result", "files"), REGISTRY),
        },
    ),
    "password of a database": Secret(
        "canary-database-password-2b7",
        (
            "module open_webui_backup: database_url",
            "module open_webui_restore: database_url",
            "module open_webui_data_info: database_url",
            "module open_webui_server: database_url",
            "role open_webui: open_webui_database_url",
        ),
        {
            **_declared(),
            "argv": DATABASE,
            "result": DATABASE,
            "inspect": ROLE,
            "async": NO_JOB,
        },
    ),
    "administrator's password": Secret(
        "canary-admin-password-6c8",
        (
            "module open_webui_chat: webui_password",
            "module open_webui_config: webui_password",
            "module open_webui_connection: webui_password",
            "module open_webui_group: webui_password",
            "module open_webui_info: webui_password",
            "module open_webui_model_access: webui_password",
            "module open_webui_user: webui_password",
            "module open_webui_restore: admin_password",
            "module open_webui_server: admin_password",
            "role open_webui: open_webui_admin_password",
        ),
        _web(inspect=ROLE, page=HERE, plan=HERE),
    ),
    "administrator's token": Secret(
        "canary-webui-token-4d9",
        (
            "module open_webui_chat: webui_token",
            "module open_webui_config: webui_token",
            "module open_webui_connection: webui_token",
            "module open_webui_group: webui_token",
            "module open_webui_info: webui_token",
            "module open_webui_model_access: webui_token",
            "module open_webui_user: webui_token",
        ),
        _web(),
    ),
    "key that signs Open WebUI's sessions": Secret(
        "canary-webui-secret-key-0e1",
        (
            "module open_webui_restore: secret_key",
            "module open_webui_server: secret_key",
            "role open_webui: open_webui_secret_key",
        ),
        {**_declared(argv=ROLE, files=ROLE, inspect=ROLE), "async": NO_JOB},
    ),
    "key of a connection": Secret(
        "canary-connection-key-7f2",
        (
            "module open_webui_connection: key",
            "module open_webui_connection: connections.key",
            "role open_webui: open_webui_connections.key",
        ),
        _web(page=HERE, plan=HERE),
    ),
    "password of a person": Secret(
        "canary-person-password-1a3",
        ("module open_webui_user: password", "role open_webui: open_webui_users.password"),
        _web(page=HERE, plan=HERE),
    ),
    "secret settings of Open WebUI": Secret(
        "canary-secret-setting-9b4",
        (
            "module open_webui_config: secret_settings",
            "module open_webui_restore: env",
            "module open_webui_server: env",
            "role open_webui: open_webui_secret_settings",
            "role open_webui: open_webui_oidc.client_secret",
            "role open_webui: open_webui_ldap.bind_password",
            "role open_webui: open_webui_env",
        ),
        _web(inspect=ROLE, page=HERE, plan=HERE),
    ),
}


@dataclass
class Watch:
    """Command lines of all processes, and files of a folder that others may read, for as long as a block runs."""

    folder: Path
    lines: set[bytes] = field(default_factory=set)
    readable: dict[Path, bytes] = field(default_factory=dict)
    jobs: dict[Path, bytes] = field(default_factory=dict)
    _ended: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Watch:
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ended.set()
        self._thread.join()
        self._files()

    def _look(self) -> None:
        while not self._ended.is_set():
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    self.lines.add((process / "cmdline").read_bytes())
                except OSError:  # it has ended
                    continue
            self._files()
            time.sleep(0.02)

    def _files(self) -> None:
        for path in self.folder.rglob("*"):
            try:
                found = path.lstat()
                if not path.is_file() or found.st_size > 10_000_000:
                    continue
                if "jobs" in path.relative_to(self.folder).parts:
                    self.jobs[path] = path.read_bytes()
                elif found.st_mode & 0o044 and not closed(path.parent, self.folder):
                    self.readable[path] = path.read_bytes()
            except OSError:  # it has gone
                continue


def closed(path: Path, top: Path) -> bool:
    """Say whether a folder between a path and the top lets nobody but its owner in."""
    while path not in (top, path.parent):
        if not path.stat().st_mode & 0o011:
            return True
        path = path.parent
    return False
