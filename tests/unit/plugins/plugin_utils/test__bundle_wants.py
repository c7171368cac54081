# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleFilterError

from ansible_collections.private_llm.fleet.plugins.filter.with_bundle import with_bundle
from ansible_collections.private_llm.fleet.plugins.plugin_utils._bundle_wants import (
    NO_PACKAGES,
    content,
    lines,
    wanted,
)

WANTS: dict[str, t.Any] = {
    "platform": "debian:13",
    "architecture": "x86_64",
    "packages": ["docker.io"],
    "libraries": ["requests==2.32.5"],
    "images": {"vllm/vllm-openai:v0.32.0": "mirror:5000/vllm/vllm-openai:v0.32.0"},
    "plain": ["mirror:5000"],
    "models": ["acme/one"],
}
HOST: dict[str, t.Any] = {
    "wants": WANTS,
    "platform": "registry/debian:13",
    "releases": {"acme/one": {"path": "/w/models/acme/one/0123", "bytes_total": 5_000_000, "digest": "0123"}},
}


def test_a_host_wants_things_by_kind_and_name() -> None:
    assert wanted(WANTS) == [
        {"kind": "image", "name": "vllm/vllm-openai:v0.32.0"},
        {"kind": "model", "name": "acme/one"},
        {"kind": "packages", "name": "debian:13"},
        {"kind": "wheels", "name": "debian:13"},
    ]
    assert wanted({**WANTS, "packages": [], "libraries": [], "images": {}, "models": []}) == []


def test_a_bundle_has_each_thing_once() -> None:
    other = {**HOST, "wants": {**WANTS, "images": {"web:1": "web:1"}}}
    found = content([HOST, HOST, other], "/b.work")
    assert [(one["kind"], one["name"]) for one in found] == [
        ("collections", "collections"),
        ("image", "vllm/vllm-openai:v0.32.0"),
        ("image", "web:1"),
        ("model", "acme/one"),
        ("packages", "debian:13"),
        ("wheels", "debian:13"),
    ]
    assert [one["plain"] for one in found[1:3]] == [True, False]
    assert [one["folder"] for one in found[3:]] == [
        "/w/models/acme/one/0123",
        "/b.work/registry_debian_13/packages",
        "/b.work/registry_debian_13/wheels",
    ]


def test_hosts_of_two_architectures_want_two_of_each_thing_but_models() -> None:
    other = {**HOST, "wants": {**WANTS, "architecture": "aarch64"}, "platform": "debian-arm64:13"}
    found = content([HOST, other], "/b.work")
    assert [(one["name"], one["architecture"]) for one in found if one["kind"] == "image"] == [
        ("vllm/vllm-openai:v0.32.0", "amd64"),
        ("vllm/vllm-openai:v0.32.0", "arm64"),
    ]
    assert [(one["kind"], one["name"], one["folder"]) for one in found if one["kind"] != "image"][1:] == [
        ("model", "acme/one", "/w/models/acme/one/0123"),
        ("packages", "debian:13", "/b.work/registry_debian_13/packages"),
        ("packages", "debian:13 linux/arm64", "/b.work/debian-arm64_13/packages"),
        ("wheels", "debian:13", "/b.work/registry_debian_13/wheels"),
        ("wheels", "debian:13 linux/arm64", "/b.work/debian-arm64_13/wheels"),
    ]
    assert [one["name"] for one in wanted(other["wants"])] == [
        "vllm/vllm-openai:v0.32.0 linux/arm64",
        "acme/one",
        "debian:13 linux/arm64",
        "debian:13 linux/arm64",
    ]


def test_packages_that_are_not_carried_are_named() -> None:
    rocky = {**HOST, "platform": "rockylinux:9", "wants": {**WANTS, "packages": []}}
    made = {"content": [], "root": "0123", "bytes_own": 5}
    assert NO_PACKAGES.format("rockylinux:9") in lines(made, [rocky, rocky, HOST], {})
    assert not any("not in the bundle" in line for line in lines(made, [HOST], {}))


def test_before_anything_was_fetched_only_images_can_be_asked_for() -> None:
    assert [one["kind"] for one in content([HOST], "")] == ["image"]


def test_what_was_not_fetched_has_the_sizes_of_lists() -> None:
    made = {"content": [{"kind": "image", "name": "web:1", "bytes": 216_000_000}]}
    assert lines(made, [HOST], {"debian:13": {"bytes_total": 71_400_000, "files": []}}) == [
        "image web:1: 216.0 MB",
        "model acme/one: 5.0 MB",
        "packages debian:13: 71.4 MB",
        "to be fetched, at most: 292.4 MB",
    ]
    assert lines({**made, "root": "0123", "bytes_own": 5}, [], {}) == [
        "image web:1: 216.0 MB",
        "in this folder: 5 B",
        "root hash: 0123",
    ]


def test_models_come_from_the_bundle_and_nowhere_else() -> None:
    models = [{"repo": "acme/one", "revision": "v1", "source": "huggingface", "token": "secret"}]
    assert with_bundle(models, {"acme/one": "/cache/acme/one"}) == [
        {
            "repo": "acme/one",
            "revision": "v1",
            "source": "archive",
            "archive": "/cache/acme/one",
            "archive_on": "controller",
        }
    ]
    assert with_bundle(models, None) == models
    with pytest.raises(AnsibleFilterError, match="lacks model acme/one"):
        with_bundle(models, {})


@pytest.mark.parametrize("odd", [{}, [], {"platform": []}, {**WANTS, "images": []}])
def test_odd_wants_are_refused(odd: t.Any) -> None:
    with pytest.raises(AnsibleFilterError):
        wanted(odd)
