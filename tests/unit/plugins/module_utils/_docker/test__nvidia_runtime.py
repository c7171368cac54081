# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import pathlib
import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._docker._daemon_json import (
    DaemonJson,
    DaemonJsonError,
    same,
)
from ansible_collections.private_llm.fleet.plugins.module_utils._docker._needs import needs_between
from ansible_collections.private_llm.fleet.plugins.module_utils._docker._nvidia_runtime import (
    plan_runtime,
    same_command,
)

FIXTURES = pathlib.Path(__file__).parents[3] / "fixtures"
GOLDEN = {case["name"]: case for case in json.loads((FIXTURES / "nvidia_ctk/docker.json").read_text("utf-8"))["cases"]}
NVIDIA = {"path": "nvidia-container-runtime", "args": []}

AGREE = "nvidia-ctk writes the same by meaning"
LOSES = "nvidia-ctk loses data that dockerd uses, and we do not"
STRICT = "nvidia-ctk gives up or makes a file that dockerd does not start with, and we do what dockerd would"
BOTH_REFUSE = "both refuse a file that dockerd refuses"
NOT_OURS = "about an option of nvidia-ctk that we have not, or that writes nothing"

# For every recorded case: who is right, and what we make of it (the whole data, or the error).
VERDICTS: dict[str, tuple[str, t.Any]] = {
    "02-empty-file": (STRICT, {"runtimes": {"nvidia": NVIDIA}}),
    "04-empty-object": (AGREE, None),
    "06-other-keys": (AGREE, None),
    "08-equivalent-different-format": (AGREE, None),
    "10-existing-nvidia-with-args": (
        LOSES,
        {
            "runtimes": {
                "nvidia": {
                    "path": "nvidia-container-runtime",
                    "args": ["--debug"],
                    "runtimeType": "io.containerd.runc.v2",
                    "options": {"BinaryName": "x"},
                }
            }
        },
    ),
    "12-existing-default-nvidia-no-flag": (AGREE, None),
    "14-set-as-default-other-default": (AGREE, None),
    "16-cdi-missing": (AGREE, None),
    "18-cdi-with-other-features": (
        LOSES,
        {
            "features": {"containerd-snapshotter": True, "buildkit": False, "cdi": True},
            "runtimes": {"nvidia": NVIDIA},
        },
    ),
    "20-cdi-false-in-file-no-flag": (AGREE, None),
    "22-cdi-spec-dirs-kept": (AGREE, None),
    "24-invalid-json-trailing-comma": (BOTH_REFUSE, 'line 1 column 28: a comma before "}"; remove the comma'),
    "26-invalid-json-truncated": (
        BOTH_REFUSE,
        'line 2 column 1: expected "," or "}" after the value of "log-driver", found the end of the file',
    ),
    "28-two-objects": (
        LOSES,
        'line 2 column 1: there is more after the end of the configuration ("{"); dockerd refuses such a file',
    ),
    "30-top-level-null": (STRICT, {"runtimes": {"nvidia": NVIDIA}}),
    "32-tabs": (AGREE, None),
    "34-unicode": (AGREE, None),
    "36-html-chars": (AGREE, None),
    "38-numbers": (
        LOSES,
        {
            "max-concurrent-downloads": 3,
            "mtu": 1450,
            "shutdown-timeout": 15,
            "big": 9007199254740993,
            "huge": 1e21,
            "exp": 1000,
            "small": 1e-7,
            "neg": 0,
            "runtimes": {"nvidia": NVIDIA},
        },
    ),
    "40-key-case": (AGREE, None),
    "42-runtimes-list": (
        STRICT,
        'line 1: "runtimes" must be an object in braces, not a list; dockerd refuses it',
    ),
    "44-features-null": (AGREE, None),
    "46-default-runtime-number": (
        STRICT,
        'line 1: "default-runtime" must be a name, not a number; dockerd would not start',
    ),
    "48-runtime-name": (AGREE, None),
    "50-dry-run-rich": (NOT_OURS, None),
    "52-dry-run-invalid": (BOTH_REFUSE, 'line 1 column 6: expected a value, found "}"'),
    "54-drop-in-docker": (NOT_OURS, None),
    "56-nested-deep-order": (AGREE, None),
    "58-cdi-features-string-values": (
        LOSES,
        {"features": {"cdi": True, "x": "y"}, "runtimes": {"nvidia": NVIDIA}},
    ),
}


def options_of(args: list[str]) -> dict[str, t.Any]:
    """What nvidia-ctk was asked for, in our words."""
    given = dict(argument.lstrip("-").partition("=")[::2] for argument in args[2:])
    return {
        "name": given.get("nvidia-runtime-name", "nvidia"),
        "runtime_path": given.get("nvidia-runtime-path", "nvidia-container-runtime"),
        "set_as_default": True if "nvidia-set-as-default" in given else None,
        "cdi": True if "cdi.enabled" in given else None,
    }


def test_every_recorded_case_has_a_verdict() -> None:
    assert set(VERDICTS) == set(GOLDEN)


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_against_nvidia_ctk(name: str) -> None:
    case = GOLDEN[name]
    verdict, expected = VERDICTS[name]
    content = None if case["input"] is None else case["input"].encode("utf-8")

    if isinstance(expected, str):
        assert (case["rc"] != 0) is (verdict == BOTH_REFUSE or name == "42-runtimes-list")
        with pytest.raises(DaemonJsonError) as error:
            plan_runtime(DaemonJson.from_bytes(content), **options_of(case["args"]))
        assert str(error.value) == expected
        return

    before = DaemonJson.from_bytes(content)
    after = plan_runtime(before, **options_of(case["args"]))
    if verdict == AGREE:
        assert case["rc"] == 0
        assert same(after.data, json.loads(case["output"]))
    elif verdict in (LOSES, STRICT):
        assert same(after.data, expected)
        assert case["rc"] != 0 or not same(after.data, json.loads(case["output"]))
    else:
        assert case["output"] == case["input"]
    # Nobody else's keys change by a byte: what was there is still there, in its place.
    for line in (case["input"] or "").splitlines():
        if line.strip() in ("", "null", "{", "}", "{}") or "nvidia" in line or "features" in line or "runtime" in line:
            continue
        assert line.rstrip("}").rstrip(",") in after.text
    assert plan_runtime(after, **options_of(case["args"])) is after


def test_the_usual_production_file_keeps_its_form() -> None:
    text = GOLDEN["06-other-keys"]["input"]
    after = plan_runtime(DaemonJson.from_bytes(text.encode()), "nvidia", "nvidia-container-runtime")
    addition = (
        ',\n  "runtimes": {\n    "nvidia": {\n      "path": "nvidia-container-runtime",\n      "args": []\n    }\n  }'
    )
    assert after.text == text.replace('"max-concurrent-downloads": 10', '"max-concurrent-downloads": 10' + addition)


def plan(data: dict[str, t.Any], **options: t.Any) -> tuple[t.Any, str]:
    before = DaemonJson.from_bytes(json.dumps(data).encode())
    settings: dict[str, t.Any] = {"name": "nvidia", "runtime_path": "nvidia-container-runtime", **options}
    after = plan_runtime(before, **settings)
    return after.data, needs_between(before.data, after.data)


RUNC = {"path": "/opt/runc"}


@pytest.mark.parametrize(
    ("data", "options", "expected", "needs"),
    [
        pytest.param({}, {}, {"runtimes": {"nvidia": NVIDIA}}, "reload", id="new"),
        pytest.param({"runtimes": None}, {}, {"runtimes": {"nvidia": NVIDIA}}, "reload", id="runtimes-null"),
        pytest.param({"runtimes": {"nvidia": None}}, {}, {"runtimes": {"nvidia": NVIDIA}}, "reload", id="entry-null"),
        pytest.param({"runtimes": {"nvidia": {}}}, {}, {"runtimes": {"nvidia": NVIDIA}}, "reload", id="entry-empty"),
        pytest.param(
            {"runtimes": {"a": RUNC}}, {}, {"runtimes": {"a": RUNC, "nvidia": NVIDIA}}, "reload", id="others-stay"
        ),
        pytest.param(
            {"runtimes": {"nvidia": {"path": "nvidia-container-runtime"}}},
            {},
            {"runtimes": {"nvidia": {"path": "nvidia-container-runtime"}}},
            "none",
            id="args-need-not-be-there",
        ),
        pytest.param(
            {"runtimes": {"nvidia": {"path": "/usr/bin/nvidia-container-runtime"}}},
            {},
            {"runtimes": {"nvidia": {"path": "/usr/bin/nvidia-container-runtime"}}},
            "none",
            id="where-the-packages-put-it-is-the-same",
        ),
        pytest.param(
            {"runtimes": {"nvidia": {"path": "/opt/nvidia-container-runtime", "runtimeArgs": ["-x"]}}},
            {},
            {"runtimes": {"nvidia": {"path": "nvidia-container-runtime", "runtimeArgs": ["-x"]}}},
            "reload",
            id="only-the-path-is-ours",
        ),
        pytest.param(
            {
                "runtimes": {
                    "nvidia": {
                        "runtimeType": "io.containerd.runc.v2",
                        "options": {"BinaryName": "/usr/bin/nvidia-container-runtime"},
                    }
                }
            },
            {},
            {
                "runtimes": {
                    "nvidia": {
                        "runtimeType": "io.containerd.runc.v2",
                        "options": {"BinaryName": "/usr/bin/nvidia-container-runtime"},
                    }
                }
            },
            "none",
            id="the-shim-form-is-the-same",
        ),
        pytest.param(
            {"runtimes": {"nvidia": NVIDIA}},
            {"set_as_default": True},
            {"runtimes": {"nvidia": NVIDIA}, "default-runtime": "nvidia"},
            "reload",
            id="made-default",
        ),
        pytest.param(
            {"default-runtime": "nvidia", "runtimes": {"nvidia": NVIDIA}},
            {"set_as_default": False},
            {"default-runtime": "runc", "runtimes": {"nvidia": NVIDIA}},
            "reload",
            id="no-longer-default",
        ),
        pytest.param(
            {"default-runtime": "a", "runtimes": {"a": RUNC, "nvidia": NVIDIA}},
            {"set_as_default": False},
            {"default-runtime": "a", "runtimes": {"a": RUNC, "nvidia": NVIDIA}},
            "none",
            id="another-default-stays",
        ),
        pytest.param(
            {"runtimes": {"nvidia": NVIDIA}},
            {"cdi": False},
            {"runtimes": {"nvidia": NVIDIA}, "features": {"cdi": False}},
            "restart",
            id="cdi-off-is-written",
        ),
        pytest.param(
            {"runtimes": {"nvidia": NVIDIA}, "features": {"buildkit": True}},
            {"cdi": True},
            {"runtimes": {"nvidia": NVIDIA}, "features": {"buildkit": True, "cdi": True}},
            "restart",
            id="cdi-on",
        ),
        pytest.param(
            {"default-runtime": "nvidia", "runtimes": {"a": RUNC, "nvidia": NVIDIA}},
            {"present": False},
            {"default-runtime": "runc", "runtimes": {"a": RUNC}},
            "reload",
            id="absent",
        ),
        pytest.param(
            {"runtimes": {"nvidia": NVIDIA}, "debug": True},
            {"present": False},
            {"runtimes": {}, "debug": True},
            "reload",
            id="absent-leaves-an-object-that-a-reload-sees",
        ),
        pytest.param({"debug": True}, {"present": False}, {"debug": True}, "none", id="absent-already"),
        pytest.param({}, {"present": False}, {}, "none", id="absent-without-a-file"),
        pytest.param(
            {"default-runtime": "io.containerd.kata.v2"},
            {},
            {"default-runtime": "io.containerd.kata.v2", "runtimes": {"nvidia": NVIDIA}},
            "reload",
            id="a-shim-is-a-default",
        ),
    ],
)
def test_plan_runtime(
    data: dict[str, t.Any], options: dict[str, t.Any], expected: dict[str, t.Any], needs: str
) -> None:
    assert plan(data, **options) == (expected, needs)


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        pytest.param(
            {"default-runtime": "ghost", "runtimes": {"a": RUNC}},
            {},
            'line 1: "default-runtime" is ghost, which no entry of "runtimes" defines (there are: runc, a, nvidia);'
            " dockerd would not start",
            id="undefined-default",
        ),
        pytest.param(
            {"features": ["cdi"]},
            {},
            'line 1: "features" must be an object in braces, not a list; dockerd refuses it',
            id="features-list",
        ),
        pytest.param(
            {"runtimes": {"nvidia": "nvidia-container-runtime"}},
            {},
            'line 1: "runtimes.nvidia" must be an object in braces, not a text; dockerd refuses it',
            id="entry-text",
        ),
        pytest.param(
            {"runtimes": {"nvidia": {"runtimeType": "io.containerd.kata.v2"}}},
            {},
            "line 1: the runtime nvidia is of runtimeType io.containerd.kata.v2, beside which dockerd allows no path;"
            " take the entry out or choose another name",
            id="shim-of-another-kind",
        ),
        pytest.param(
            {}, {"name": "runc"}, "'runc' is dockerd's own runtime; give the NVIDIA runtime another name", id="runc"
        ),
    ],
)
def test_plan_runtime_refuses(data: dict[str, t.Any], options: dict[str, t.Any], message: str) -> None:
    with pytest.raises(DaemonJsonError) as error:
        plan(data, **options)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("has", "wanted", "resolved", "expected"),
    [
        ("nvidia-container-runtime", "nvidia-container-runtime", None, True),
        ("/usr/bin/nvidia-container-runtime", "nvidia-container-runtime", None, True),
        ("/usr/local/bin/nvidia-container-runtime", "nvidia-container-runtime", None, False),
        (
            "/usr/local/bin/nvidia-container-runtime",
            "nvidia-container-runtime",
            "/usr/local/bin/nvidia-container-runtime",
            True,
        ),
        (
            "/usr/bin/nvidia-container-runtime",
            "nvidia-container-runtime",
            "/usr/local/bin/nvidia-container-runtime",
            False,
        ),
        ("nvidia-container-runtime", "/usr/bin/nvidia-container-runtime", None, True),
        ("nvidia-container-runtime.cdi", "nvidia-container-runtime", None, False),
        (None, "nvidia-container-runtime", None, False),
        (["nvidia-container-runtime"], "nvidia-container-runtime", None, False),
    ],
)
def test_same_command(has: t.Any, wanted: str, resolved: str | None, expected: bool) -> None:
    assert same_command(has, wanted, lambda command: resolved) is expected
