# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.private_llm.fleet.plugins.filter.model_needs import model_needs

DEFAULTS: dict[str, t.Any] = {
    "source": "modelscope",
    "sources": [],
    "token": "",
    "proxy": "",
    "packages": {"modelscope": ["modelscope==1.0"], "huggingface": ["huggingface_hub==1.0"]},
}
ONE = {"repo": "Qwen/Qwen3-8B"}


def needs(*models: dict[str, t.Any], **defaults: t.Any) -> dict[str, t.Any]:
    return model_needs(list(models), {**DEFAULTS, **defaults})


def test_models_that_are_to_be_absent_need_nothing() -> None:
    gone = {"repo": "acme/gone", "state": "absent", "source": "git_lfs"}
    there = {"repo": "acme/there", "state": "present", "include": ["*.json"]}
    found = needs(gone, ONE, there)
    assert found["present"] == [ONE, there]
    assert found["kinds"] == ["modelscope"]
    assert needs(gone)["kinds"] == []
    assert needs(gone)["packages"] == []


@pytest.mark.parametrize(
    ("model", "defaults", "kinds"),
    [
        ({}, {}, ["modelscope"]),
        ({}, {"source": "git_lfs"}, ["git_lfs"]),
        ({}, {"sources": [{"source": "huggingface"}, {"source": "archive"}]}, ["archive", "huggingface"]),
        ({"source": "archive"}, {"sources": [{"source": "huggingface"}]}, ["archive"]),
        ({"source": "archive", "sources": [{"source": "git_lfs"}]}, {}, ["git_lfs"]),
        ({"sources": ["odd", {}]}, {}, ["None"]),
    ],
)
def test_a_model_comes_from_its_own_sources_or_else_from_those_of_the_role(
    model: dict[str, t.Any], defaults: dict[str, t.Any], kinds: list[str]
) -> None:
    assert needs({**ONE, **model}, **defaults)["kinds"] == kinds


def test_each_kind_of_source_has_its_packages() -> None:
    both = [{"source": "huggingface"}, {"source": "modelscope"}]
    assert needs({**ONE, "sources": both})["packages"] == ["modelscope==1.0", "huggingface_hub==1.0"]
    assert needs({**ONE, "source": "git_lfs"})["packages"] == []
    assert model_needs([ONE], {"source": "modelscope"})["packages"] == []


@pytest.mark.parametrize(
    ("model", "defaults", "secret"),
    [
        ({}, {}, False),
        ({}, {"token": "t"}, True),
        ({}, {"proxy": "http://me:secret@proxy:3128"}, True),
        ({"token": "t"}, {}, True),
        ({"sources": [{"source": "modelscope", "token": "t"}]}, {}, True),
        ({}, {"sources": [{"source": "modelscope", "token": "t"}]}, True),
        # A model that goes may have one all the same.
        ({"state": "absent", "token": "t"}, {}, True),
    ],
)
def test_a_token_and_a_proxy_are_secrets(model: dict[str, t.Any], defaults: dict[str, t.Any], secret: bool) -> None:
    assert needs({**ONE, **model}, **defaults)["secret"] is secret


def test_what_is_wrong_is_told_all_at_once() -> None:
    found = needs(ONE, {"repo": "odd"}, {"repo": "acme/"}, {**ONE, "state": "absent"}, {"repo": "a/b\n"})
    assert found["problems"] == [
        "repo of model_download_models is odd, acme/, a/b\n, which is not organization/name such as Qwen/Qwen3-8B",
        "model_download_models names Qwen/Qwen3-8B more than once, and a host has one release of a model in use; leave "
        "one entry for each, or put the other into another model_download_root",
    ]
    assert needs(ONE, {"repo": "Qwen/Qwen3-4B"})["problems"] == []
    assert needs({"source": "git_lfs"})["problems"][0].startswith("repo of model_download_models is ,")


def test_a_value_of_another_shape_is_refused_without_being_shown() -> None:
    with pytest.raises(AnsibleFilterError, match=r"token: is a list, not a text") as caught:
        needs(ONE, token=["hidden"])
    assert "hidden" not in str(caught.value)
    with pytest.raises(AnsibleFilterError, match=r"models\[0\]: is a string, not a mapping"):
        model_needs(["Qwen/Qwen3-8B"], DEFAULTS)
