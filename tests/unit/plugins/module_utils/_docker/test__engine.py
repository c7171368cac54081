# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._docker._engine_state import (
    describe_engine,
    mask,
    pending,
    uses_gpu,
)

# What Debian 12's engine answers to GET /info, without what is of no interest here.
INFO: dict[str, t.Any] = {
    "ContainersRunning": 1,
    "LoggingDriver": "json-file",
    "CgroupDriver": "cgroupfs",
    "CgroupVersion": "1",
    "RegistryConfig": {
        "InsecureRegistryCIDRs": ["127.0.0.0/8"],
        "IndexConfigs": {
            "docker.io": {"Name": "docker.io", "Mirrors": [], "Secure": True, "Official": True},
            "registry.lab:5000": {"Name": "registry.lab:5000", "Mirrors": [], "Secure": False, "Official": False},
        },
        "Mirrors": ["https://mirror.example.com/"],
    },
    "DockerRootDir": "/var/lib/docker",
    "HttpProxy": "http://proxy:3128",
    "HttpsProxy": "",
    "NoProxy": "",
    "ServerVersion": "20.10.24+dfsg1",
    "Runtimes": {
        "io.containerd.runc.v2": {"path": "runc"},
        "io.containerd.runtime.v1.linux": {"path": "runc"},
        "nvidia": {"path": "nvidia-container-runtime"},
        "runc": {"path": "runc"},
    },
    "DefaultRuntime": "runc",
    "Swarm": {"LocalNodeState": "inactive"},
    "LiveRestoreEnabled": False,
    "SecurityOptions": ["name=seccomp,profile=default"],
}


def test_describe_engine() -> None:
    engine = describe_engine(INFO, ["b", "a"], ["dockerd", "--http-proxy=http://me:secret@proxy"], ["[::]:80/tcp"])
    assert engine == {
        "running": True,
        "version": "20.10.24+dfsg1",
        "runtimes": ["io.containerd.runc.v2", "io.containerd.runtime.v1.linux", "nvidia", "runc"],
        "default_runtime": "runc",
        "live_restore": False,
        "cgroup_driver": "cgroupfs",
        "cgroup_version": "1",
        "data_root": "/var/lib/docker",
        "cdi_spec_dirs": [],
        "containers_running": 1,
        "gpu_containers": ["a", "b"],
        "command_line": ["dockerd", "--http-proxy=http://********@proxy"],
        "stale_ports": ["[::]:80/tcp"],
        "network_problem": None,
        "rootless": False,
        "swarm": False,
    }


def test_describe_engine_without_one_has_the_same_keys() -> None:
    nothing = describe_engine(None)
    assert nothing.keys() == describe_engine(INFO).keys()
    assert not nothing["running"]
    assert describe_engine({"SecurityOptions": ["name=rootless"], "Swarm": {"LocalNodeState": "active"}})["rootless"]
    assert describe_engine({"Swarm": {"LocalNodeState": "active"}})["swarm"]


NVIDIA = {"nvidia": {"path": "nvidia-container-runtime"}}


@pytest.mark.parametrize(
    ("configuration", "changes", "expected"),
    [
        pytest.param({}, {}, {}, id="nothing-declared"),
        pytest.param({"debug": True, "never-heard-of": 1}, {}, {}, id="what-info-does-not-tell"),
        pytest.param({"runtimes": NVIDIA}, {}, {}, id="runtime-there"),
        pytest.param({"runtimes": {**NVIDIA, "a": {"path": "a"}}}, {}, {"runtimes": "reload"}, id="runtime-missing"),
        pytest.param({"runtimes": {"nvidia": {"path": "/x"}}}, {}, {"runtimes": "reload"}, id="runtime-elsewhere"),
        pytest.param(
            {"runtimes": {"nvidia": {"runtimeType": "x.y.v2"}}},
            {"Runtimes": {"nvidia": {"runtimeType": "x.y.v2"}}},
            {},
            id="shim",
        ),
        pytest.param({"default-runtime": "nvidia"}, {}, {"default-runtime": "reload"}, id="default-runtime"),
        pytest.param({"default-runtime": ""}, {}, {}, id="default-runtime-empty"),
        pytest.param({"live-restore": True}, {}, {"live-restore": "reload"}, id="live-restore"),
        pytest.param({"live-restore": False}, {}, {}, id="live-restore-off"),
        pytest.param({"registry-mirrors": ["https://mirror.example.com"]}, {}, {}, id="mirror-with-a-slash-at-the-end"),
        pytest.param({"registry-mirrors": ["https://other"]}, {}, {"registry-mirrors": "reload"}, id="mirror"),
        pytest.param({"insecure-registries": ["registry.lab:5000", "127.0.0.0/8"]}, {}, {}, id="insecure"),
        pytest.param({"insecure-registries": ["127.0.0.1/8"]}, {}, {}, id="network-written-loosely"),
        pytest.param(
            {"insecure-registries": ["10.0.0.1:5000"]}, {}, {"insecure-registries": "reload"}, id="insecure-missing"
        ),
        pytest.param({"data-root": "/var/lib/docker/"}, {}, {}, id="data-root"),
        pytest.param(
            {"data-root": "/var/lib/docker"}, {"DockerRootDir": "/var/lib/docker/1000.1000"}, {}, id="user-namespaces"
        ),
        pytest.param({"data-root": "/data"}, {}, {"data-root": "restart"}, id="data-root-elsewhere"),
        pytest.param({"log-driver": "local"}, {}, {"log-driver": "restart"}, id="log-driver"),
        pytest.param({"features": {"cdi": True}}, {"CDISpecDirs": []}, {"features": "restart"}, id="cdi"),
        pytest.param({"features": {"cdi": True}}, {"CDISpecDirs": ["/etc/cdi"]}, {}, id="cdi-on"),
        pytest.param(
            {"features": {"cdi": False}}, {"CDISpecDirs": ["/etc/cdi"]}, {"features": "restart"}, id="cdi-still-on"
        ),
        pytest.param({"features": {"cdi": True}}, {}, {}, id="cdi-with-an-engine-that-does-not-tell"),
        pytest.param({"features": {"buildkit": True}}, {"CDISpecDirs": []}, {}, id="other-features"),
        pytest.param({"exec-opts": ["native.cgroupdriver=systemd"]}, {}, {"exec-opts": "restart"}, id="cgroup-driver"),
        pytest.param({"exec-opts": ["native.cgroupdriver=cgroupfs"]}, {}, {}, id="cgroup-driver-there"),
        pytest.param({"proxies": {"http-proxy": "http://proxy:3128"}}, {}, {}, id="proxy"),
        pytest.param({"proxies": {"https-proxy": "http://proxy:3128"}}, {}, {"proxies": "restart"}, id="proxy-missing"),
        pytest.param(
            {"proxies": {"http-proxy": "http://me:secret@proxy:3128"}}, {}, {}, id="proxy-that-the-engine-masks"
        ),
        pytest.param({"runtimes": None, "features": None}, {}, {}, id="nulls"),
    ],
)
def test_pending(configuration: dict[str, t.Any], changes: dict[str, t.Any], expected: dict[str, str]) -> None:
    assert pending(configuration, {**INFO, **changes}) == expected


def test_pending_follows_links_to_the_data_root() -> None:
    info = {**INFO, "DockerRootDir": "/mnt/disk/docker"}
    assert pending({"data-root": "/data"}, info, {"/data": "/mnt/disk/docker"}.__getitem__) == {}


@pytest.mark.parametrize(
    ("host_config", "expected"),
    [
        ({}, False),
        ({"Runtime": "runc", "DeviceRequests": None, "Devices": []}, False),
        ({"Runtime": "nvidia"}, True),
        ({"DeviceRequests": [{"Driver": "", "Count": -1, "DeviceIDs": None, "Capabilities": [["gpu"]]}]}, True),
        ({"DeviceRequests": [{"Driver": "nvidia", "DeviceIDs": ["0"], "Capabilities": None}]}, True),
        ({"DeviceRequests": [{"Driver": "cdi", "DeviceIDs": ["nvidia.com/gpu=0"]}]}, True),
        ({"DeviceRequests": [{"Driver": "cdi", "DeviceIDs": ["example.com/net=0"]}]}, False),
        ({"Devices": [{"PathOnHost": "/dev/nvidia0"}]}, True),
        ({"Devices": [{"PathOnHost": "/dev/fuse"}]}, False),
    ],
)
def test_uses_gpu(host_config: dict[str, t.Any], expected: bool) -> None:
    assert uses_gpu({"HostConfig": host_config}) is expected


def test_mask() -> None:
    assert mask('"http-proxy": "http://me:p%40ss@proxy:1"') == '"http-proxy": "http://********@proxy:1"'
    assert mask('"labels": ["mail=a@b"], "m": "https://m/x@y"') == '"labels": ["mail=a@b"], "m": "https://m/x@y"'
