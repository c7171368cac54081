# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The toolkit is there in one version, and the engine gives containers GPUs in each of the ways there are."""

from __future__ import annotations

import json
from typing import Any

import pytest

PACKAGES = (
    "libnvidia-container1",
    "libnvidia-container-tools",
    "nvidia-container-toolkit-base",
    "nvidia-container-toolkit",
)


def distribution(host: Any) -> str:
    return str(host.system_info.distribution)


def run_in_container(host: Any, *options: str) -> Any:
    """Start a container that ends at once."""
    return host.run(f"docker run --rm --network none {' '.join(options)} sleeper /usr/bin/sleep 0")


@pytest.mark.parametrize("name", PACKAGES)
def test_package(host: Any, name: str) -> None:
    assert host.package(name).version.split("-")[0] == "1.20.1"


@pytest.mark.parametrize("name", PACKAGES)
def test_general_upgrades_leave_the_package_alone(host: Any, name: str) -> None:
    if distribution(host) == "debian":
        assert host.check_output(f"dpkg-query --show --showformat '${{db:Status-Want}}' {name}") == "hold"
    elif distribution(host) == "opensuse-leap":
        assert f"solvable_name: {name}\n" in host.file("/etc/zypp/locks").content_string
    else:
        assert "private-llm-nvidia-container-toolkit" not in host.check_output("dnf --quiet repolist --enabled")


def test_entries_from_old_guides_are_gone(host: Any) -> None:
    if distribution(host) != "debian":
        assert not host.file("/etc/yum.repos.d/nvidia-docker.repo").exists
        assert not host.file("/etc/zypp/repos.d/nvidia-docker.repo").exists
        return
    assert not host.file("/etc/apt/sources.list.d/nvidia-container-toolkit.list").exists
    ours = host.file("/etc/apt/sources.list.d/ours.list").content_string
    assert ours == "# of operations\ndeb [trusted=yes] copy:/srv/ours ./\n"
    more = host.file("/etc/apt/sources.list.d/more.sources").content_string
    assert more == (
        "Types: deb\nURIs: https://packages.example.com/ours\nSuites: stable\nComponents: main\nEnabled: no\n"
    )
    assert host.run("apt-get update").rc == 0


def test_dnf_takes_lists_with_the_pinned_signature_only(host: Any) -> None:
    if distribution(host) != "rocky":
        return
    repository = host.file("/etc/yum.repos.d/private-llm-nvidia-container-toolkit.repo").content_string
    assert "repo_gpgcheck = 1" in repository
    refused = host.run(
        "sed 's/^gpgkey.*/gpgkey = file:\\/\\/\\/srv\\/repository\\/deb\\/gpgkey/; s/^enabled.*/enabled = 1/;"
        " s/private-llm-nvidia/other/' /etc/yum.repos.d/private-llm-nvidia-container-toolkit.repo >/root/other.repo &&"
        " dnf --setopt=reposdir=/root --repo=other-container-toolkit --assumeyes makecache"
    )
    assert "Bad GPG signature" in refused.stderr + refused.stdout


def test_dnf_has_docker_s_own_packages(host: Any) -> None:
    if distribution(host) != "rocky":
        return
    assert host.package("docker-ce").is_installed
    assert host.package("containerd.io").is_installed
    repository = host.file("/etc/yum.repos.d/docker-ce-stable.repo").content_string
    assert "baseurl = http://127.0.0.1:8080/docker/linux/centos/$releasever/$basearch/stable" in repository
    assert "gpgcheck = 1" in repository


def test_engine_knows_the_runtime(host: Any) -> None:
    info = json.loads(host.check_output("docker info --format '{{json .}}'"))
    assert info["Runtimes"]["nvidia"]["path"] == "nvidia-container-runtime"
    assert info["DefaultRuntime"] == "runc"
    assert info["Labels"] == ["owner=ops"]


def test_keys_of_others_stay(host: Any) -> None:
    data = json.loads(host.file("/etc/docker/daemon.json").content_string)
    assert data["live-restore"] is True
    assert data["features"]["buildkit"] is True
    assert data["insecure-registries"]


def test_a_container_with_the_runtime_starts(host: Any) -> None:
    assert run_in_container(host, "--runtime nvidia").rc == 0


def test_a_container_with_a_gpu_by_option_starts(host: Any) -> None:
    assert run_in_container(host, "--gpus device=0").rc == 0


def test_a_container_gets_a_gpu_by_cdi(host: Any) -> None:
    if int(host.check_output("docker version --format '{{.Server.Version}}'").split(".")[0]) < 25:
        assert "cdi" not in json.loads(host.file("/etc/docker/daemon.json").content_string)["features"]
        return
    assert run_in_container(host, "--device nvidia.com/gpu=0").rc == 0
    refused = run_in_container(host, "--device nvidia.com/gpu=7")
    assert refused.rc != 0
    assert "nvidia.com/gpu=7" in refused.stderr


def test_a_running_container_lived_through_all_of_it(host: Any) -> None:
    before = host.file("/root/sleeper_pid").content_string.strip()
    assert host.check_output("docker inspect --format '{{.State.Pid}}' keep") == before
