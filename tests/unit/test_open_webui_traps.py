# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Open WebUI does to those who trust it, and where it is held that this collection does not.

Each trap was met on the real server. Its test is a test function, or a task of an integration test, by its name.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UNIT = "tests/unit/plugins/module_utils/_open_webui"
REAL = "tests/integration/targets/open_webui/tasks"
ROLE = "molecule/open_webui/tests/test_open_webui.py"
DATA = "molecule/open_webui_data/tests/test_backups.py"

TRAPS: dict[str, tuple[str, str]] = {
    # Settings
    "the environment counts at the first start only": (
        f"{REAL}/restart.yml",
        "Check that the environment changed nothing, and the module did",
    ),
    "a password from the environment is never taken again": (
        f"{REAL}/restart.yml",
        "Try the password from the environment",
    ),
    "oauth settings written through the API are gone after a restart": (f"{REAL}/config.yml", "Provoke each failure"),
    "settings are forgotten at each start, by a switch": (ROLE, "test_preflight_refuses"),
    "any key is stored, known or not": (f"{REAL}/config.yml", "Provoke each failure"),
    "an old, nested export is stored as junk": (f"{REAL}/config.yml", "Provoke each failure"),
    "a value that cannot work is stored, or ignored, with 200": (f"{UNIT}/test__settings.py", "test_problems"),
    "what is left out of a form is set to null": (f"{REAL}/config.yml", "Check the four runs"),
    # Answers
    "an unknown path is a page with 200": (f"{UNIT}/test__client.py", "test_a_page_with_status_200_is_an_error"),
    "healthy is not ready": (f"{UNIT}/test__client.py", "test_judge_readiness"),
    "a refusal by a server behind it looks like one of its own": (
        f"{UNIT}/test__connections.py",
        "test_verification_says_why_not",
    ),
    # Signing in
    "whoever signs up first is the administrator": (ROLE, "test_it_is_ready_and_has_its_administrator"),
    "sign-up opens again": (ROLE, "test_nobody_signs_up"),
    "sign-ins are limited, successes too": (f"{REAL}/session.yml", "Check that it was waiting"),
    "each task would sign in": (f"{REAL}/session.yml", "Check that one sign-in was enough"),
    "another password ends all sessions, our own too": (f"{REAL}/session.yml", "Go on with the new password"),
    "a sign-in that wants a second factor is a 200 without a token": (
        f"{REAL}/second_factor.yml",
        "Sign in without one",
    ),
    "an API key is replaced by whoever asks for one": (f"{REAL}/second_factor.yml", "Use the API key"),
    "an API key may not do what a session may": (f"{REAL}/session.yml", "Try what needs a person"),
    "another secret key signs everybody out": (DATA, "test_a_restore_is_refused_before_anything_stops"),
    "a secret key that was not kept is made anew": (ROLE, "test_preflight_refuses"),
    # Connections
    "all connections are replaced at once": (f"{REAL}/connection_present.yml", "Check the four runs"),
    "two writers, of whom one loses": (
        f"{REAL}/connection_together.yml",
        "Check that each is there, and each task says what there was when it wrote",
    ),
    "and a loser without a lock in common": (
        "tests/unit/plugins/modules/test_open_webui_connection.py",
        "test_who_was_overwritten_fails_and_says_so",
    ),
    "a switch that is left out is off": (
        f"{UNIT}/test__connections.py",
        "test_to_api_always_says_whether_the_api_is_on",
    ),
    "settings belong to an index, which moves": (
        f"{REAL}/connection_traps.yml",
        "Check that settings and keys moved along",
    ),
    "a slash too many, or no /v1, and the models are gone": (f"{REAL}/connection_traps.yml", "Check the repair"),
    "what nobody knows about is kept": (f"{REAL}/connection_traps.yml", "Check the repair"),
    "its own dialog writes defaults, others leave them out": (
        f"{REAL}/connection_traps.yml",
        "Check that a missing setting is its default",
    ),
    "keys are returned in clear": (f"{UNIT}/test__connections.py", "test_a_key_is_never_shown"),
    "a server that hangs delays everybody": (f"{REAL}/connection_dead.yml", "Check that nobody had to wait for it"),
    "of two servers with one model only the first is seen": (
        "tests/unit/plugins/plugin_utils/test__fleet.py",
        "test_servers_of_one_model_are_told_apart_by_a_prefix",
    ),
    "the first connection is to the internet": (DATA, "test_nothing_was_asked_outside_of_the_host"),
    # Models
    "a new model is for administrators only": (
        f"{REAL}/model_access.yml",
        "Ask as an ordinary user, before anything is shared",
    ),
    "grants get new ids each time": (f"{REAL}/model_access.yml", "Check the four runs"),
    "an update without the rest of the row loses it": (
        f"{UNIT}/test__access.py",
        "test_an_update_keeps_what_it_does_not_know_about",
    ),
    "an update does not change who may": (f"{UNIT}/test__access.py", "test_calls"),
    # People
    "a new account comes with a live session": (f"{REAL}/user.yml", "Check the four runs"),
    "any role is taken": (f"{REAL}/user.yml", "Provoke each failure"),
    "a password of more than 72 bytes is an error": (f"{UNIT}/test__people.py", "test_check_user_refuses"),
    "the first account is nobody else's": (f"{UNIT}/test__people.py", "test_the_first_account_stays_an_administrators"),
    "two groups may have one name": (f"{REAL}/group.yml", "Provoke each failure"),
    "members that do not exist are passed over": (
        f"{UNIT}/test__people.py",
        "test_a_member_without_an_account_is_an_error",
    ),
    "an update of a group without its permissions": (f"{REAL}/group.yml", "Check the changes"),
    # Data
    "the database file lacks what was saved last": (
        f"{UNIT}/test__backup.py",
        "test_what_was_saved_last_is_in_it_although_it_is_not_in_the_database_file_yet",
    ),
    "there is no downgrade": (DATA, "test_a_downgrade_below_the_schema_is_refused_before_anything_stops"),
    "a start that fails goes on failing": (
        DATA,
        "test_an_image_that_does_not_come_up_goes_and_everything_is_as_it_was",
    ),
    "a folder of the host hides what the image has": (
        ROLE,
        "test_what_the_image_has_in_its_data_folder_is_not_hidden_by_the_hosts",
    ),
}


@pytest.mark.parametrize("trap", TRAPS)
def test_a_trap_has_its_test(trap: str) -> None:
    path, name = TRAPS[trap]
    pattern = rf"^def {name}\(" if path.endswith(".py") else rf"^ *- name: {re.escape(name)}$"
    assert re.search(pattern, (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE), f"{path} has no {name!r}"
