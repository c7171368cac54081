# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import typing as t
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
TOKEN = "token-of-the-git-server"
EVERYTHING = {
    "README.md",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
}
SOME = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}


class Store(t.NamedTuple):
    """What a host is to have: for each model its files, and the sentence it says."""

    root: str
    models: dict[str, tuple[set[str], str]]


STORES = {
    "from-hub": Store(
        "/srv/models",
        {
            "private-llm-lab/tiny-alpha": (EVERYTHING, "Hello from the alpha model."),
            "private-llm-lab/tiny-beta": (SOME, "Hello from the beta model."),
            # From an archive on the controller.
            "acme/carried": (EVERYTHING, "Hello from the alpha model."),
        },
    ),
    "from-peer": Store(
        "/data/models",
        {
            "private-llm-lab/tiny-alpha": (EVERYTHING, "Hello from the alpha model."),
            "private-llm-lab/tiny-beta": (SOME, "Hello from the beta model."),
            # From an archive on the controller.
            "acme/carried": (EVERYTHING, "Hello from the alpha model."),
        },
    ),
    "from-git": Store(
        "/data/models",
        {
            "acme/tiny": (EVERYTHING, "Hello from git."),
            # From an archive on the controller.
            "private-llm-lab/tiny-alpha": ({"config.json", "model.safetensors"}, "Hello from the alpha model."),
        },
    ),
}


def name_of(host: t.Any) -> str:
    return str(host.ansible.get_variables()["inventory_hostname"])


@pytest.fixture
def store(host: t.Any) -> Store:
    return STORES[name_of(host)]


def only_on(host: t.Any, name: str) -> None:
    """One host is enough for what does not depend on where the models come from."""
    if name_of(host) != name:
        pytest.skip(f"tried on {name}")


def played(host: t.Any, *arguments: str, limit: str = "") -> subprocess.CompletedProcess[str]:
    """Run the scenario's playbook once more, as a user would, on the host or on those that are named."""
    argv = [
        str(Path(sys.executable).with_name("ansible-playbook")),
        "-i",
        str(Path(os.environ["MOLECULE_INVENTORY_FILE"]).parent),
        "--limit",
        limit or name_of(host),
        str(Path(__file__).parents[1] / "converge.yml"),
        *arguments,
    ]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


def hub_log(host: t.Any, clear: bool = False) -> list[dict[str, t.Any]]:
    url = host.ansible.get_variables()["lab_hub_url"] + "/_lab/log"
    with urllib.request.urlopen(urllib.request.Request(url, method="DELETE" if clear else "GET"), timeout=10) as answer:
        found: list[dict[str, t.Any]] = json.load(answer)
    return found


def fetched_from_hub(host: t.Any) -> set[str]:
    """Return the files that a host fetched from the hub.

    Whichever host is the first to ask speaks for all of them: it asks for the list, and for the model's configuration,
    which the look needs.
    """
    # Hosts of another scenario may use the same hub meanwhile.
    address = host.ansible.get_variables()["lab_ip"]
    own = [entry for entry in hub_log(host) if entry["client"] == address]
    return {str(entry["query"]["FilePath"]) for entry in own if entry["path"].endswith("/repo")}


def test_models_are_what_their_hub_has(host: t.Any, store: Store, tmp_path: Path) -> None:
    for repo, (names, sentence) in store.models.items():
        written = tmp_path / repo
        subprocess.run(
            [sys.executable, ROOT / "scripts/lab/tiny_model.py", "--out", written, "--says", sentence],
            check=True,
            capture_output=True,
        )
        release = f"{store.root}/{repo}/current"
        listing = host.check_output(f"find {release}/ -type f ! -name .manifest.json -printf '%P\\n'")
        assert set(listing.split()) == names
        for name in names:
            assert host.file(f"{release}/{name}").content == (written / name).read_bytes(), name


def test_releases_are_complete_and_nothing_else_is_there(host: t.Any, store: Store) -> None:
    organizations = {repo.split("/")[0] for repo in store.models}
    assert set(host.file(store.root).listdir()) == organizations
    for organization in organizations:
        wanted = {repo.split("/")[1] for repo in store.models if repo.startswith(f"{organization}/")}
        assert set(host.file(f"{store.root}/{organization}").listdir()) == wanted
    for repo in store.models:
        folder = host.file(f"{store.root}/{repo}")
        current = host.file(f"{store.root}/{repo}/current")
        assert current.is_symlink
        digest = current.linked_to.rsplit("/", 1)[-1]
        assert set(folder.listdir()) == {"current", digest}
        manifest = json.loads(host.file(f"{current.linked_to}/.manifest.json").content_string)
        assert manifest["digest"] == digest
        assert host.file(current.linked_to).mode == 0o755
        assert host.file(f"{current.linked_to}/model.safetensors").mode == 0o644


def test_sdk_is_in_the_environment_of_the_collection_only(host: t.Any) -> None:
    if name_of(host) != "from-git":
        version = host.check_output(
            "/opt/private_llm/venv/bin/python -c 'import importlib.metadata as m; print(m.version(\"modelscope-hub\"))'"
        )
        assert version == "0.5.1"
    else:
        assert not host.file("/opt/private_llm").exists
        assert host.package("git-lfs").is_installed
    assert host.run("/usr/bin/python3 -c 'import modelscope_hub'").rc == 1
    assert not host.file("/root/.modelscope").exists
    assert not host.file("/root/.cache/modelscope").exists


def test_token_is_left_nowhere(host: t.Any, store: Store) -> None:
    encoded = base64.b64encode(b"oauth2:" + TOKEN.encode()).decode()
    found = host.run(f"grep -rlF -e {TOKEN} -e {encoded} {store.root} /root /etc /tmp /run /var/log")
    assert found.stdout == ""


def test_other_host_got_every_file_without_the_hub(host: t.Any, store: Store) -> None:
    only_on(host, "from-peer")
    assert fetched_from_hub(host) <= {"config.json"}


def test_what_another_host_has_is_fetched_from_there(host: t.Any, store: Store) -> None:
    only_on(host, "from-peer")
    hub_log(host, clear=True)
    host.check_output(f"rm -r {store.root}/acme {store.root}/private-llm-lab/tiny-beta")
    done = played(host, limit="from-hub,from-peer")
    assert done.returncode == 0, done.stdout
    # Neither from the controller nor from the hub.
    assert "carrying" not in done.stdout
    assert fetched_from_hub(host) <= {"config.json"}
    assert host.file(f"{store.root}/acme/carried/current/model.safetensors").exists
    assert host.file(f"{store.root}/private-llm-lab/tiny-beta/current/model.safetensors").exists


def test_nothing_serves_after_the_run(host: t.Any) -> None:
    assert host.run("ls -A /run/private_llm/spread").stdout == ""
    assert "879" not in host.check_output("ss --tcp --listening --numeric --no-header || cat /proc/net/tcp")


def test_second_run_asks_for_each_list_once(host: t.Any) -> None:
    only_on(host, "from-hub")
    hub_log(host, clear=True)
    done = played(host)
    assert done.returncode == 0, done.stdout
    assert "changed=0" in done.stdout
    # Hosts of another scenario may use the same hub meanwhile.
    address = host.ansible.get_variables()["lab_ip"]
    paths = [entry["path"] for entry in hub_log(host) if entry["client"] == address]
    assert sorted(paths) == [
        "/api/v1/models/private-llm-lab/tiny-alpha/repo/files",
        "/api/v1/models/private-llm-lab/tiny-beta/repo/files",
    ]


def test_damage_is_seen_and_repaired(host: t.Any, store: Store) -> None:
    only_on(host, "from-hub")
    path = f"{store.root}/private-llm-lab/tiny-alpha/current/config.json"
    before = host.file(path).content
    host.check_output(f"sh -c 'echo damage >> {path}'")
    looked = played(host, "--check")
    assert looked.returncode == 0, looked.stdout
    assert "changed=1" in looked.stdout
    assert host.file(path).content != before
    done = played(host)
    assert done.returncode == 0, done.stdout
    assert "changed=1" in done.stdout
    assert host.file(path).content == before


def test_failures_are_told_and_the_token_is_not(host: t.Any, store: Store) -> None:
    only_on(host, "from-git")
    wrong = [{"repo": "acme/tiny", "revision": "typo"}, {"repo": "acme/none"}]
    done = played(host, "-vvv", "--extra-vars", json.dumps({"model_download_models": wrong}))
    assert done.returncode == 2, done.stdout
    told = done.stdout + done.stderr
    assert "does not have a revision 'typo'; it has master, v1" in told
    assert "there is no such repository" in told
    assert TOKEN not in told
    assert host.file(f"{store.root}/acme/tiny/current").is_symlink
    assert not host.file(f"{store.root}/acme/none").exists


def test_two_entries_for_one_model_are_refused(host: t.Any) -> None:
    only_on(host, "from-git")
    twice = [{"repo": "acme/tiny"}, {"repo": "acme/tiny", "revision": "v1"}]
    done = played(host, "--check", "--extra-vars", json.dumps({"model_download_models": twice}))
    assert done.returncode == 2
    assert "model_download_models names acme/tiny more than once" in done.stdout + done.stderr
