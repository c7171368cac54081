# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every kind of secret, and every place where none may show; the table is tests/support/canaries.py.

The plays are real: ansible-playbook, the real modules, as loud as it gets, against servers on this machine.
"""

from __future__ import annotations

import ast
import importlib
import json
import re
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml

from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.declaration._rows import module_arguments
from ansible_collections.private_llm.fleet.tests.support import canaries, fake_open_webui, playbooks

ROOT = Path(__file__).resolve().parents[3]

# Options that are named like secrets and take none, or whose secret part another row has.
NO_SECRETS = {
    "module open_webui_user: update_password": "says when the password is set",
    "module open_webui_chat: max_tokens": "a number",
    "module model_snapshot: no_proxy": "networks and hosts",
    "role model_download: model_download_no_proxy": "networks and hosts",
    "role open_webui: open_webui_users.update_password": "public, or the same secret as in another row",
    "role vllm_server: vllm_server_env": "the row for a server's environment has it, which this is merged into",
    "module nvidia_runtime: set_as_default": "a switch",
    "module nvidia_toolkit_info: repository.key": "the path of a public key",
}
LOOKS_SECRET = re.compile(
    r"(^|_)(passwords?|token|tokens|secrets?|api_keys?|key|proxy|env|index_url|database_url|credentials?)$"
)


# -- the table against what there is -----------------------------------------------------------------------------------


def options_of(specs: t.Mapping[str, t.Any] | None, before: str = "") -> t.Iterator[tuple[str, dict[str, t.Any]]]:
    """Every option of a specification, those inside others included."""
    for name, option in (specs or {}).items():
        yield before + name, option
        yield from options_of(option.get("options") or option.get("suboptions"), f"{before}{name}.")


def hidden_by_modules() -> set[str]:
    """The options with no_log in a module's own code, whose documentation does not say it."""
    found = {name for name, option in module_arguments().items() if option.get("no_log")}
    for path in sorted((ROOT / "plugins").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Dict):
                continue
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(value, ast.Dict):
                    said = {
                        inner.value: kept.value
                        for inner, kept in zip(value.keys, value.values, strict=True)
                        if isinstance(inner, ast.Constant) and isinstance(kept, ast.Constant)
                    }
                    if said.get("no_log") is True:
                        found.add(str(key.value))
    return found


def documented_options() -> t.Iterator[tuple[str, dict[str, t.Any]]]:
    """Every option of every module, with those of its documentation fragments, and of every role."""
    for path in sorted((ROOT / "plugins/modules").glob("*.py")):
        said = yaml.safe_load(ast_constant(path, "DOCUMENTATION"))
        wanted = said.get("extends_documentation_fragment") or []
        options = dict(said.get("options") or {})
        for name in [wanted] if isinstance(wanted, str) else wanted:
            for option, details in (fragment(name).get("options") or {}).items():
                options.setdefault(option, details)
        for option, details in options_of(options):
            yield f"module {path.stem}: {option}", details
    for path in sorted((ROOT / "roles").glob("*/meta/argument_specs.yml")):
        for entry in yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"].values():
            for option, details in options_of(entry.get("options")):
                yield f"role {path.parts[-3]}: {option}", details


def fragment(name: str) -> dict[str, t.Any]:
    """A documentation fragment by its full name, some of which are put together when they are imported."""
    _namespace, _collection, file, *part = name.split(".")
    held = importlib.import_module(f"ansible_collections.private_llm.fleet.plugins.doc_fragments.{file}")
    found: dict[str, t.Any] = yaml.safe_load(getattr(held.ModuleDocFragment, (part or ["documentation"])[0].upper()))
    return found


def ast_constant(path: Path, name: str) -> str:
    """A text that a Python file gives a name, at its top or in a class."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
            if name in names:
                return str(node.value.value)
    return "{}"


COVERED = {option for secret in canaries.SECRETS.values() for option in secret.options}


def test_every_option_that_hides_its_value_has_a_row() -> None:
    in_code = hidden_by_modules()
    assert {"webui_password", "token", "api_keys", "key"} <= in_code
    without = []
    for option, details in documented_options():
        kind, name = option.split(" ")[0], option.rsplit(".", 1)[-1].rsplit(" ", 1)[-1]
        hides = details.get("no_log") is True or (kind == "module" and name in in_code)
        if (hides or LOOKS_SECRET.search(name)) and option not in COVERED and option not in NO_SECRETS:
            without.append(option)
    assert without == [], "give each a row in tests/support/canaries.py, or a reason in NO_SECRETS"


def test_every_option_of_the_table_is_there() -> None:
    there = {option for option, _details in documented_options()}
    assert sorted(COVERED - there) == []
    assert sorted(set(NO_SECRETS) - there) == []


def test_every_cell_is_held_or_has_a_reason() -> None:
    assert len({secret.value for secret in canaries.SECRETS.values()}) == len(canaries.SECRETS)
    for name, secret in canaries.SECRETS.items():
        assert set(secret.cells) == set(canaries.SURFACES), name
        for surface, cell in secret.cells.items():
            if isinstance(cell, canaries.nothing):
                assert len(cell) > 20, (name, surface)
            elif cell != canaries.HERE:
                file, _colons, test = cell.partition("::")
                text = (ROOT / file).read_text(encoding="utf-8")
                assert test in text or test == "*", f"{name} in {surface}: {file} has no {test!r}"


# -- the plays ---------------------------------------------------------------------------------------------------------


class Evidence(t.NamedTuple):
    """What a run showed, by surface. The plays say in says what has to stand in them, so that a play that did nothing
    proves nothing."""

    shown: dict[str, str]


def value(name: str) -> str:
    return canaries.SECRETS[name].value


def play(
    folder: Path, playbook: str, *arguments: str, secrets: dict[str, t.Any], status: tuple[int, ...] = (0,)
) -> Evidence:
    """Run a playbook as loudly as possible, and keep everything that it shows."""
    (folder / "secrets").mkdir(mode=0o700)
    (folder / "secrets" / "vars.json").write_text(json.dumps(secrets), encoding="utf-8")
    (folder / "jobs").mkdir()
    with canaries.Watch(folder) as watch:
        done = subprocess.run(
            [
                *(str(playbooks.ANSIBLE_PLAYBOOK), "-vvv", "--diff", "-e", f"@{folder}/secrets/vars.json"),
                *(*arguments, playbook),
            ],
            cwd=ROOT,
            env={
                **playbooks.environment(),
                "ANSIBLE_STDOUT_CALLBACK": "default",
                "ANSIBLE_LOG_PATH": str(folder / "log"),
                "ANSIBLE_ASYNC_DIR": str(folder / "jobs"),
                "ANSIBLE_LOCAL_TEMP": str(folder / "local"),
                "ANSIBLE_REMOTE_TEMP": str(folder / "remote"),
            },
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    said = done.stdout + done.stderr
    assert done.returncode in status, said[-6000:]
    assert "PLAY RECAP" in said
    assert any(b"ansible-playbook" in line for line in watch.lines)
    left = {
        path: path.read_bytes() for part in ("local", "remote") for path in (folder / part).rglob("*") if path.is_file()
    }
    files = {**watch.readable, **left}

    def text(*names: str) -> str:
        return "\n".join((folder / name).read_text(encoding="utf-8") for name in names if (folder / name).exists())

    return Evidence(
        {
            "argv": "\n".join(line.decode("utf-8", "replace") for line in watch.lines),
            "output": said + text("log"),
            "diff": said,
            "facts": text("facts.json"),
            "result": text("facts.json"),
            "files": "\n".join(f"{path}: {held.decode('utf-8', 'replace')}" for path, held in files.items()),
            "page": text("page.html"),
            "plan": text("plan.json"),
            "async": "\n".join(held.decode("utf-8", "replace") for held in watch.jobs.values()),
        }
    )


KEEP = {
    "name": "Keep what tasks leave behind",
    "ansible.builtin.copy": {
        "content": "{{ [hostvars[inventory_hostname]['ansible_facts'] | default({}), registered] | to_nice_json }}",
        "dest": "{{ playbook_dir }}/facts.json",
        "mode": "0600",
    },
}


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """Every module of Open WebUI's API, with good and bad secrets, one of them in the background."""
    folder = tmp_path_factory.mktemp("web")
    server = fake_open_webui.FakeOpenWebUi()
    server.passwords[fake_open_webui.ADMIN["email"]] = value("administrator's password")
    by_password = {"webui_email": fake_open_webui.ADMIN["email"], "webui_password": "{{ password }}"}
    by_token = {"webui_token": "{{ token }}"}
    connection = {"url": "http://gpu-02:18005/v1", "key": "{{ key }}"}
    works = {
        "open_webui_connection": {**by_token, **connection, "verify": True},
        "open_webui_config": {**by_token, "secret_settings": {"rag.openai.api_key": "{{ setting }}"}},
        "open_webui_user": {**by_password, "email": "eve@example.com", "password": "{{ person }}"},
        "open_webui_group": {**by_password, "name": "new", "members": ["eve@example.com"]},
        "open_webui_model_access": {**by_token, "model": "qwen", "public": True},
        "open_webui_chat": {**by_token, "model": "qwen"},
        "open_webui_info": {
            **by_password,
            "gather": ["connections", "models", "users", "groups", "settings"],
        },
    }
    fails = {
        # A newline at the end is what a file gives; inside, no header can carry it.
        "open_webui_connection": {**by_token, "url": "http://gpu-03", "key": "{{ key }}\nX: {{ key }}"},
        "open_webui_info": {"webui_token": "{{ token }}\nX-Evil: {{ token }}"},
        "open_webui_group": {**by_password, "webui_password": "{{ password }}-old", "name": "x"},
        "open_webui_user": {**by_token, "email": "not an address", "password": "{{ person }}"},
        "open_webui_config": {**by_token, "settings": {"rag.openai.api_key": "{{ setting }}"}},
    }
    tasks: list[dict[str, t.Any]] = []
    for number, (module, options) in enumerate([*works.items(), *fails.items()]):
        task: dict[str, t.Any] = {
            f"private_llm.fleet.{module}": {"webui_url": server.url, **options},
            "register": f"result_{number}",
        }
        if number >= len(works):
            # The option for what is no secret shows its value, as Ansible shows every option.
            task.update(ignore_errors=True, no_log=module == "open_webui_config")
        tasks.append(task)
    tasks += [
        {
            f"private_llm.fleet.{module}": {"webui_url": server.url, **works[module]},
            "async": 60,
            "poll": 1,
            "register": f"job_{module}",
        }
        for module in ("open_webui_connection", "open_webui_user", "open_webui_config")
    ]
    # The container's own modules: what a run would do, and one that is refused for what it was given.
    own = {
        "image": "127.0.0.1:1/open-webui:v0.12.4",
        **{f"{part}_dir": str(folder / part) for part in ("data", "config", "backup")},
        "secret_key": "{{ secret_key }}",
        "admin_password": "{{ password }}",
        "env": {"OPENAI_API_KEY": "{{ setting }}"},
    }
    tasks += [
        {"private_llm.fleet.open_webui_server": own, "check_mode": True, "register": "would_run"},
        {
            "private_llm.fleet.open_webui_restore": {**own, "archive": str(folder / "missing.tar.gz")},
            "register": "nothing_restored",
            "ignore_errors": True,
        },
    ]
    names = [task["register"] for task in tasks]
    keep = {**KEEP, "vars": {"registered": "{{ [" + ", ".join(names) + "] }}"}}
    plays = [{"hosts": "localhost", "gather_facts": False, "tasks": [*tasks, keep]}]
    (folder / "play.yml").write_text(yaml.safe_dump(plays), encoding="utf-8")
    secrets = {
        "password": value("administrator's password"),
        "token": value("administrator's token") + "\n",
        "key": value("key of a connection") + "\n",
        "person": value("password of a person"),
        "setting": value("secret settings of Open WebUI"),
        "secret_key": value("key that signs Open WebUI's sessions"),
    }
    try:
        evidence = play(folder, str(folder / "play.yml"), *HERE_ONLY, secrets=secrets)
    finally:
        server.close()
    kept = json.loads(evidence.shown["facts"])[1]
    failed = [False] * len(works) + [True] * len(fails) + [False] * 4 + [True]
    assert [bool(one.get("failed")) for one in kept] == failed
    assert server.connections["OPENAI_API_KEYS"][1] == value("key of a connection")
    assert server.passwords["eve@example.com"] == value("password of a person")
    assert evidence.shown["async"].count("webui_version") >= 3
    return evidence


HERE_ONLY = ("-i", "localhost,", "-c", "local", "-e", f"ansible_python_interpreter={sys.executable}")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """The plan and the page of a fleet whose inventory holds every kind of secret that one can declare."""
    folder = tmp_path_factory.mktemp("fleet")
    server = {
        "name": "qwen",
        "model": "acme/tiny",
        "gpus": [],
        "port": 18005,
        "bind": "127.0.0.1",
        "api_keys": [value("API key of a vLLM server")],
        "token": value("token of one model"),
        "env": {
            "HF_TOKEN": value("environment of a vLLM server"),
            "AWS_ACCESS_KEY_ID": f"{value('environment of a vLLM server')}-aws",
            "https_proxy": f"http://me:{value('environment of a vLLM server')}@127.0.0.1:1",
        },
    }
    index = f"http://me:{value('password of a package index')}@127.0.0.1:1/simple"
    secrets = {
        "ansible_become": False,
        "fleet_plan_file": str(folder / "plan.json"),
        "fleet_page_file": str(folder / "page.html"),
        "vllm_server_instances": [server],
        "vllm_server_image": "127.0.0.1:1/vllm:v0.32.0",
        "model_download_root": str(folder / "models"),
        "model_download_endpoint": "http://127.0.0.1:1",
        "model_download_token": value("token of a hub"),
        "model_download_proxy": f"http://me:{value('password of a proxy')}@127.0.0.1:1",
        "model_download_index_url": index,
        "host_python_index_url": index,
        "open_webui_port": 1,
        "open_webui_database_url": f"postgresql://me:{value('password of a database')}@127.0.0.1:1/webui",
        "open_webui_admin_email": fake_open_webui.ADMIN["email"],
        "open_webui_admin_password": value("administrator's password"),
        "open_webui_secret_key": value("key that signs Open WebUI's sessions"),
        "open_webui_connections": [{"url": "http://127.0.0.1:1/v1", "key": value("key of a connection")}],
        "open_webui_users": [{"email": "eve@example.com", "password": value("password of a person")}],
        "open_webui_secret_settings": {"rag.openai.api_key": value("secret settings of Open WebUI")},
    }
    here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    inventory = {"gpu_hosts": {"hosts": {"box": here}}, "webui_hosts": {"hosts": {"box": None}}}
    (folder / "hosts.yml").write_text(yaml.safe_dump(inventory), encoding="utf-8")
    books = ["private_llm.fleet.plan", "private_llm.fleet.report"]
    keep = {
        **KEEP,
        "vars": {
            "registered": "{{ hostvars[inventory_hostname] | dict2items | selectattr('key', 'search', "
            "'^(fleet|__|.*_plan_|.*_inputs)') | items2dict }}"
        },
    }
    last = {"hosts": "box", "gather_facts": False, "tasks": [keep]}
    shown: dict[str, str] = {}
    for number, book in enumerate(books):
        part = folder / str(number)
        part.mkdir()
        plays: list[dict[str, t.Any]] = [{"import_playbook": book}, last]
        (part / "play.yml").write_text(yaml.safe_dump(plays), encoding="utf-8")
        run = play(part, str(part / "play.yml"), "-i", str(folder / "hosts.yml"), secrets=secrets, status=(0, 2))
        shown = {name: shown.get(name, "") + text for name, text in run.shown.items()}
    shown["plan"] = (folder / "plan.json").read_text(encoding="utf-8")
    shown["page"] = (folder / "page.html").read_text(encoding="utf-8")
    assert "http://box:1" in shown["page"]
    assert "TASK [Write the plan to fleet_plan_file]" in shown["output"]
    assert not (folder / "plan.json").stat().st_mode & 0o077
    return Evidence(shown)


# Which plays meet a secret.
PLAYS: dict[str, tuple[str, ...]] = {
    "API key of a vLLM server": ("fleet",),
    "environment of a vLLM server": ("fleet",),
    "token of a hub": ("fleet",),
    "token of one model": ("fleet",),
    "password of a proxy": ("fleet",),
    "password of a package index": ("fleet",),
    "password of a database": ("fleet",),
    "administrator's password": ("web", "fleet"),
    "administrator's token": ("web",),
    "key that signs Open WebUI's sessions": ("web", "fleet"),
    "key of a connection": ("web", "fleet"),
    "password of a person": ("web", "fleet"),
    "secret settings of Open WebUI": ("web", "fleet"),
}
CELLS = [
    (name, surface)
    for name, secret in canaries.SECRETS.items()
    for surface in canaries.SURFACES
    if secret.cells[surface] == canaries.HERE
]


@pytest.mark.parametrize(("name", "surface"), CELLS, ids=[f"{name} in {surface}" for name, surface in CELLS])
def test_the_canary_is_not_there(name: str, surface: str, request: pytest.FixtureRequest) -> None:
    met = 0
    for used in PLAYS[name]:
        if surface in {"page", "plan"} and used != "fleet":
            continue
        shown = request.getfixturevalue(used).shown[surface]
        if surface == "async" and used == "fleet":
            continue
        met += 1
        at = shown.find(value(name))
        assert at < 0, f"{used}: …{shown[max(0, at - 300) : at + 80]}…"
    assert met
