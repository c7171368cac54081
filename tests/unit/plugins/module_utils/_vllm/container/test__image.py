# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pathlib
import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._engine._api import EngineError
from ansible_collections.private_llm.fleet.plugins.module_utils._engine._driver import Ran
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm.container._image import release_in


class Engine:
    """Answers for an image, and counts how often it is asked."""

    def __init__(self, says: str | None) -> None:
        self.says = says
        self.asked = 0

    def run_once(self, image: str, command: t.Sequence[str], seconds: float) -> Ran:
        self.asked += 1
        if self.says is None:
            raise EngineError('exec: "python3": executable file not found in $PATH')
        return Ran(0, self.says, "")


def image(env: t.Sequence[str] = (), labels: dict[str, str] | None = None) -> dict[str, t.Any]:
    return {"Id": "sha256:1", "Config": {"Env": list(env), "Labels": labels}}


@pytest.mark.parametrize(
    ("reference", "there", "says", "release", "asked"),
    [
        ("vllm/vllm-openai:v0.31.2", image(), "vllm 0.1.0", (0, 31, 2), 0),
        ("vllm/vllm-openai:latest", None, "vllm 0.1.0", None, 0),
        ("vllm/vllm-openai:latest", image(["VLLM_IMAGE_TAG=v0.33.0-cu129"]), "", (0, 33, 0), 0),
        ("vllm/vllm-openai:latest", image(["VLLM_IMAGE_TAG=vllm/vllm-openai:v0.33.0"]), "", (0, 33, 0), 0),
        ("mine:1", image(labels={"org.opencontainers.image.version": "0.30.1"}), "", (0, 30, 1), 0),
        ("mine:1", image(labels={"org.opencontainers.image.version": "main"}), "vllm 0.32.0+cpu\n", (0, 32, 0), 1),
        ("mine@sha256:0", image(), "some warning\nvllm 0.29.1.dev3\n", (0, 29, 1), 1),
        ("mine:1", image(), None, None, 2),
        ("mine:1", image(), "PackageNotFoundError: vllm", None, 2),
    ],
)
def test_the_release(
    reference: str,
    there: dict[str, t.Any] | None,
    says: str | None,
    release: tuple[int, ...] | None,
    asked: int,
    tmp_path: pathlib.Path,
) -> None:
    engine: t.Any = Engine(says)
    assert release_in(engine, reference, there, root=str(tmp_path)) == release
    assert release_in(engine, reference, there, root=str(tmp_path)) == release
    assert engine.asked == asked


def test_an_image_that_could_not_be_asked_once_is_asked_again(tmp_path: pathlib.Path) -> None:
    engine: t.Any = Engine(None)
    # A failure that an older release of the collection remembered is none, either.
    (tmp_path / "releases.json").write_text('{"sha256:1": null, "sha256:2": "x"}', encoding="utf-8")
    assert release_in(engine, "mine:1", image(), root=str(tmp_path)) is None
    engine.says = "vllm 0.32.0"
    assert release_in(engine, "mine:1", image(), root=str(tmp_path)) == (0, 32, 0)
    engine.says = None
    assert release_in(engine, "mine:1", image(), root=str(tmp_path)) == (0, 32, 0)
    assert engine.asked == 2


def test_check_mode_starts_no_container_and_keeps_nothing(tmp_path: pathlib.Path) -> None:
    engine: t.Any = Engine("vllm 0.32.0")
    assert release_in(engine, "mine:1", image(), may_ask=False, root=str(tmp_path / "x")) is None
    assert engine.asked == 0
    assert not (tmp_path / "x").exists()
    assert release_in(engine, "mine:1", image(), root=str(tmp_path / "x")) == (0, 32, 0)
    assert release_in(engine, "mine:1", image(), may_ask=False, root=str(tmp_path / "x")) == (0, 32, 0)
