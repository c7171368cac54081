# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.plugin_utils._plan import fleet_plan
from ansible_collections.private_llm.fleet.plugins.plugin_utils._plan_images import web_images

IMAGE = "ghcr.io/open-webui/open-webui:v0.12.4-slim"
TOLD: dict[str, t.Any] = {"image": IMAGE, "source": IMAGE, "missing": True, "bytes": 771_000_000, "reason": ""}


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({}, f"web-01: the image {IMAGE} comes from {IMAGE}, 771.0 MB"),
        ({"source": "the bundle", "bytes": 0}, f"web-01: the image {IMAGE} comes from the bundle"),
        (
            {"bytes": 0, "reason": "ghcr.io does not answer"},
            f"web-01: the image {IMAGE} comes from {IMAGE}; its size is not known: ghcr.io does not answer",
        ),
    ],
)
def test_a_missing_image_is_told_with_its_source_and_size(change: dict[str, t.Any], line: str) -> None:
    hostvars = {"web-01": {"open_webui_plan": {**TOLD, **change}}}
    assert [one.sentence() for one in web_images(["web-01"], hostvars)] == [line]
    assert line in fleet_plan([], hostvars, image_hosts=["web-01"])["lines"]


@pytest.mark.parametrize("told", [{**TOLD, "missing": False}, None, [], {"image": 5}, "text"])
def test_what_is_there_or_was_not_told_is_left_out(told: t.Any) -> None:
    assert web_images(["web-01", "web-02"], {"web-01": {"open_webui_plan": told}, "web-02": {}}) == []


def test_programs_get_it_as_data() -> None:
    plan = fleet_plan([], {"web-01": {"open_webui_plan": TOLD}}, image_hosts=["web-01"])
    assert plan["web_images"] == [{"host": "web-01", "image": IMAGE, "source": IMAGE, "bytes": 771_000_000}]
