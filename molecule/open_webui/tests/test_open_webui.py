# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The converged host, used and disturbed as in real life; the tests run in this order."""

from __future__ import annotations

import json
import re
import typing as t
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.support import playbooks
from tests.support.open_webui import CONFIG, call, changed, identity, password, run, sign_ins


@pytest.fixture(scope="module")
def token(host: t.Any) -> str:
    """One sign-in for all tests: Open WebUI limits them to 15 in about three minutes."""
    body = {"email": "admin@example.com", "password": password(host)}
    status, answer = call(host, "/api/v1/auths/signin", body=body)
    assert (status, answer["role"]) == (200, "admin")
    return answer["token"]


def test_it_is_ready_and_has_its_administrator(host: t.Any) -> None:
    assert call(host, "/ready") == (200, {"status": True})
    status, config = call(host, "/api/config")
    assert status == 200
    assert config["version"] == "0.12.4"
    assert "onboarding" not in config
    assert config["features"]["enable_signup"] is False
    assert len(password(host)) == 32


def test_nobody_signs_up(host: t.Any) -> None:
    body = {"name": "Eve", "email": "eve@example.com", "password": "let me in"}
    status, _answer = call(host, "/api/v1/auths/signup", body=body)
    assert status == 403


def models_of(host: t.Any, token: str) -> list[str]:
    """The ids that one account sees."""
    _status, listing = call(host, "/api/models", token)
    return [model["id"] for model in listing["data"]]


def test_the_connection_is_there_and_its_models_are_for_everybody_but_for_one(host: t.Any, token: str) -> None:
    _status, config = call(host, "/openai/config", token)
    assert config["OPENAI_API_BASE_URLS"] == ["https://api.openai.com/v1", "http://host.docker.internal:18005/v1"]
    assert config["OPENAI_API_KEYS"] == ["", "key-of-the-backend"]
    # What Open WebUI puts first by itself is switched off from its first start on, so that nothing outside is asked.
    assert config["OPENAI_API_CONFIGS"]["0"] == {"enable": False}

    body = {"name": "Ann", "email": "ann@example.com", "password": "anns password", "role": "user"}
    status, ann = call(host, "/api/v1/auths/add", token, body)
    assert status == 200
    assert models_of(host, ann["token"]) == ["small"]
    status, bea = call(
        host, "/api/v1/auths/signin", body={"email": "bea@example.com", "password": "beas first password"}
    )
    assert (status, bea["role"]) == (200, "user")
    assert models_of(host, bea["token"]) == ["small", "large"]
    question = {"model": "large", "messages": [{"role": "user", "content": "Hello?"}], "stream": False}
    assert call(host, "/api/chat/completions", ann["token"], question)[0] == 400
    status, answer = call(host, "/api/chat/completions", bea["token"], question)
    assert status == 200
    assert answer["choices"][0]["message"]["content"] == "large heard: Hello?"


def test_settings_and_sign_on_by_others_are_as_declared(host: t.Any, token: str) -> None:
    _status, settings = call(host, "/api/v1/configs/export", token)
    assert settings["rag.top_k"] == 5
    assert settings["ui.default_models"] == "small"
    assert settings["webui.url"] == "https://chat.example.com"
    assert settings["ldap.server.app_password"] == "secret-of-the-directory"
    assert settings["ldap.server.port"] == 636
    assert settings["ldap.server.users_dn"] == "ou=people,dc=example,dc=com"
    assert settings["oauth.client_secret"] == "secret-of-the-client"
    _status, config = call(host, "/api/config")
    assert config["oauth"]["providers"] == {"oidc": "Lab"}
    assert config["features"]["enable_ldap"] is True


def test_what_the_image_has_in_its_data_folder_is_not_hidden_by_the_hosts(host: t.Any) -> None:
    folder = "/app/backend/data/cache/embedding/models"
    assert host.check_output(f"docker exec open-webui cat {folder}/snapshot/model.safetensors") == "weights"
    assert host.check_output("ls /srv/open-webui/cache/embedding/models").split() == ["blob", "snapshot"]


def test_secrets_are_for_root_only_and_nowhere_else(host: t.Any) -> None:
    for path in ("admin_password", "secret_key", "container/env", "container/admin"):
        file = host.file(f"{CONFIG}/{path}")
        assert (oct(file.mode), file.user) == ("0o600", "root"), path
    for path in ("/etc/private_llm", CONFIG, f"{CONFIG}/container", "/srv/open-webui"):
        assert oct(host.file(path).mode) == "0o700", path
    shown = host.check_output("docker inspect open-webui") + host.check_output("docker logs open-webui 2>&1")
    shown += host.check_output("ps -eo args")
    own = (password(host), host.file(f"{CONFIG}/secret_key").content_string.strip())
    for secret in (
        *own,
        "key-of-the-backend",
        "secret-of-the-client",
        "secret-of-the-directory",
        "beas first password",
    ):
        assert len(secret) > 16
        assert secret not in shown
    assert "WEBUI_SECRET_KEY" not in host.check_output("docker exec open-webui env")


def test_the_environment_arrives_as_it_was_written(host: t.Any) -> None:
    environment = host.check_output("docker exec open-webui cat /proc/1/environ").split("\0")
    assert 'QUOTED=it\'s "$1" & more' in environment
    assert "ENABLE_SIGNUP=false" in environment
    assert "OFFLINE_MODE=true" in environment


def test_the_container_is_as_declared(host: t.Any) -> None:
    inspected = json.loads(host.check_output("docker inspect open-webui"))[0]
    assert inspected["HostConfig"]["Memory"] == 1500 * 1024 * 1024
    assert inspected["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
    assert inspected["HostConfig"]["SecurityOpt"] == ["no-new-privileges"]
    assert inspected["HostConfig"]["CapDrop"] == ["ALL"]
    assert inspected["HostConfig"]["PidsLimit"] == 4096
    # Nothing of root's but the rights over files of others: CHOWN, DAC_OVERRIDE, FOWNER.
    status = host.check_output("docker exec open-webui cat /proc/1/status")
    assert re.search(r"^CapEff:\s+000000000000000b$", status, re.MULTILINE)
    assert re.search(r"^NoNewPrivs:\s+1$", status, re.MULTILINE)
    labels = inspected["Config"]["Labels"]
    assert labels["private_llm.fleet.managed-by"] == "private_llm.fleet"
    assert labels["private_llm.fleet.name"] == "open-webui"


DECLARED = """
import hashlib, sqlite3
database = sqlite3.connect("file:/srv/open-webui/webui.db?mode=ro", uri=True)
for table in ("config", "model", "access_grant", "group", "group_member", "auth"):
    rows = database.execute(f'SELECT * FROM "{table}" ORDER BY 1').fetchall()
    print(table, len(rows), hashlib.sha256(repr(rows).encode()).hexdigest())
"""


def declared(host: t.Any) -> str:
    """What the database has of all that can be declared, down to the time of each row; no content of it is shown."""
    return host.check_output("python3 -c %s", DECLARED)


def test_a_second_run_leaves_container_database_and_what_was_added_by_hand_alone(host: t.Any, token: str) -> None:
    _status, config = call(host, "/openai/config", token)
    config["OPENAI_API_BASE_URLS"].append("http://by-hand.invalid/v1")
    config["OPENAI_API_CONFIGS"]["2"] = {"enable": False}
    assert call(host, "/openai/config/update", token, config)[0] == 200
    before = identity(host), host.file(f"{CONFIG}/container/env").mtime, declared(host)
    # No session of an earlier play is left, so that this one has to sign in: once for all of its tasks.
    host.check_output("rm -r /run/private_llm-0")
    signed_in = sign_ins(host)
    outcome = run()
    assert (outcome.returncode, outcome.changes()) == (0, 0), outcome.text
    assert (identity(host), host.file(f"{CONFIG}/container/env").mtime, declared(host)) == before
    assert sign_ins(host) == signed_in + 1
    assert call(host, "/openai/config", token)[1]["OPENAI_API_BASE_URLS"][2] == "http://by-hand.invalid/v1"


# What the preflight must refuse: the variables, and a pattern of what it says.
REFUSED: dict[str, tuple[dict[str, t.Any], str]] = {
    "wrong password": (
        {"open_webui_admin_password": "not the password"},
        "does not accept webui_password for admin@example.com: The email or password provided is incorrect",
    ),
    "lost password": ({"open_webui_config_dir": "/etc/private_llm/elsewhere"}, "admin_password is not there"),
    "lost key": (
        {"open_webui_config_dir": "/etc/private_llm/elsewhere", "open_webui_admin_password": "PASSWORD"},
        "restore it, or set open_webui_secret_key",
    ),
    "port": ({"open_webui_port": 18005}, "port 18005 on web is taken"),
    "older version": (
        {"open_webui_image": "open-webui:v0.11.9"},
        "its database cannot go back to an older version",
    ),
    "options": (
        {
            "open_webui_image": "open-webui:v0.6.5",
            "open_webui_env": {"WEBUI_SECRET_KEY": "x", "not a name": 1, "RESET_CONFIG_ON_START": True},
            "open_webui_bind": "localhost",
        },
        "needs 0.11.4 .* for all of them; .* variables: not a name; .* set WEBUI_SECRET_KEY: .* RESET_CONFIG_ON_START",
    ),
}


@pytest.fixture(scope="module")
def refusals(host: t.Any) -> dict[str, playbooks.Outcome]:
    """All of them at once, for none of them may change anything."""
    known = password(host)

    def attempt(variables: dict[str, t.Any]) -> playbooks.Outcome:
        return run(**{name: known if value == "PASSWORD" else value for name, value in variables.items()})

    with ThreadPoolExecutor(3) as pool:
        return dict(zip(REFUSED, pool.map(attempt, (case[0] for case in REFUSED.values())), strict=True))


@pytest.mark.parametrize("case", REFUSED)
def test_preflight_refuses(case: str, refusals: dict[str, playbooks.Outcome]) -> None:
    outcome = refusals[case]
    assert outcome.returncode != 0
    assert re.search(REFUSED[case][1], "\n".join(outcome.failures().values()))
    assert outcome.changes() == 0
    assert "not the password" not in outcome.text


def test_check_mode_predicts_another_container_and_makes_none(host: t.Any) -> None:
    before = identity(host)
    outcome = run("--check", open_webui_port=3001, open_webui_memory="1600m")
    assert outcome.returncode == 0, outcome.text
    assert changed(outcome) == {"Run Open WebUI", "Declare the connections", "Predict what would be declared"}
    assert identity(host) == before


def test_a_password_changed_in_the_browser_is_noticed_and_taken_over(host: t.Any, token: str) -> None:
    body = {"password": password(host), "new_password": "chosen in the browser"}
    assert call(host, "/api/v1/auths/update/password", token, body)[0] == 200
    refused = run()
    assert refused.returncode != 0
    assert f"That is the password in {CONFIG}/admin_password" in "\n".join(refused.failures().values())

    # A run that was cut off after it wrote the environment is made up for by the next one.
    host.check_output(f"touch -d 'now + 2 seconds' {CONFIG}/container/env")
    before = identity(host)
    outcome = run(open_webui_admin_password="chosen in the browser")
    assert outcome.returncode == 0, outcome.text
    assert changed(outcome) == {"Run Open WebUI"}
    assert set(outcome.result("web", "Run Open WebUI")["written"]) == {"admin_password", "admin"}
    after = identity(host)
    assert after[0] == before[0]
    assert after[1] > before[1]
    assert password(host) == "chosen in the browser"
    assert "chosen in the browser" not in outcome.text


def test_a_start_that_fails_shows_the_log_and_is_mended_by_the_next_run(host: t.Any) -> None:
    broken = {"CORS_ALLOW_ORIGIN": "http://"}
    outcome = run(open_webui_env=broken, open_webui_ready_timeout=60)
    assert outcome.returncode != 0
    message = list(outcome.failures().values())[-1]
    assert "Open WebUI on web is not ready, for which it has 60 seconds (open_webui_ready_timeout)" in message
    assert "Invalid URL structure in CORS_ALLOW_ORIGIN" in message
    mended = run()
    assert mended.returncode == 0, mended.text
    assert changed(mended) == {"Run Open WebUI"}
    assert mended.result("web", "Run Open WebUI")["written"] == ["env"]


def test_a_second_factor_is_an_error_before_anything_changes(host: t.Any) -> None:
    """Last of all, for wanting one of everybody ends every session."""
    body = {"email": "admin@example.com", "password": password(host)}
    token = call(host, "/api/v1/auths/signin", body=body)[1]["token"]
    assert call(host, "/api/v1/configs/import", token, {"config": {"auth.mfa.enable": True}})[0] == 200
    outcome = run()
    assert outcome.returncode != 0
    message = "\n".join(outcome.failures().values())
    assert "admin@example.com needs a second factor" in message
    assert "name an administrator who needs no more than that in open_webui_admin_password" in message
    assert outcome.changes() == 0
