# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of the lab that decide something: addresses, platforms, recipes, the package index."""

from __future__ import annotations

import ctypes
import dataclasses
import hashlib
import ipaddress
import os
import platform
import site
import subprocess
import sys
import types
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[4] / "scripts" / "lab"))

import images
import machines
import network
import seeds
import services

NET = network.Network(ipaddress.IPv4Network("10.213.77.0/24"))

ROUTES = """\
Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0
"""


def test_routes_are_read_without_the_default_route() -> None:
    assert network.parse_routes(ROUTES) == [
        ipaddress.IPv4Network("192.0.2.0/24"),
        ipaddress.IPv4Network("172.17.0.0/16"),
    ]


@pytest.mark.parametrize(
    ("used", "first"),
    [
        ([], "10.213.77.0/24"),
        (["10.213.77.128/25"], "10.214.77.0/24"),
        (["10.213.0.0/16", "10.214.77.0/24", "172.17.0.0/16"], "10.215.77.0/24"),
        (["10.0.0.0/8"], None),
    ],
)
def test_a_subnet_that_overlaps_nothing_is_chosen(used: list[str], first: str | None) -> None:
    free = network.free_subnets([ipaddress.IPv4Network(subnet) for subnet in used])
    assert (str(free[0]) if free else None) == first


def test_an_address_is_the_declared_one() -> None:
    platform = machines.Platform("a", ip=42)
    assert machines.choose_address(platform, "x", NET, {}) == "10.213.77.42"
    with pytest.raises(network.LabError, match=r"platform a: 10\.213\.77\.42 is held by other; choose another ip"):
        machines.choose_address(platform, "x", NET, {"10.213.77.42": "other"})


def test_an_address_comes_from_the_name_and_goes_round_those_that_are_held() -> None:
    platform = machines.Platform("a")
    first = machines.choose_address(platform, "x", NET, {})
    assert machines.choose_address(platform, "x", NET, {}) == first
    second = machines.choose_address(platform, "x", NET, {first: "other"})
    assert second != first
    held = {NET.address(number): "other" for number in network.HOSTS}
    with pytest.raises(network.LabError, match=r"no address is free on 10\.213\.77\.0/24"):
        machines.choose_address(platform, "x", NET, held)
    del held[NET.address(11)]
    assert machines.choose_address(platform, "x", NET, held) == NET.address(11)


def test_a_platform_leaves_what_is_molecules_own() -> None:
    raw = {
        "name": "a",
        "image": "debian:13-engine",
        "groups": ["gpu_hosts"],
        "preload": ["vllm"],
        "volumes": ["/a:/b:ro"],
    }
    assert machines.Platform.parse(raw) == machines.Platform(
        "a", "debian:13-engine", preload=("vllm",), volumes=("/a:/b:ro",)
    )


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ({"name": "a", "memory": "1g"}, "platform a: unknown key memory; known: env, image"),
        ({"name": "a", "preload": ["vllm"]}, "platform a: preload needs an image with an engine"),
        ({"name": "a", "ip": 2}, "platform a: ip is the last number of an address, from 10 to 247"),
    ],
)
def test_a_platform_that_cannot_be_says_why(raw: dict[str, object], reason: str) -> None:
    with pytest.raises(network.LabError, match=reason):
        machines.Platform.parse(raw)


def test_ports() -> None:
    assert machines.parse_ports(["8080", "127.0.0.1:13000:3000"]) == {
        "8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}],
        "3000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "13000"}],
    }


def test_a_recipe_changes_with_what_it_is_made_from(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {key: recipe.digest for key, recipe in images.RECIPES.items()}
    assert len(set(before.values())) == len(before)
    python = dataclasses.replace(images.RECIPES["python"], debs=("python3",))
    monkeypatch.setitem(images.RECIPES, "python", python)
    changed = {key for key, recipe in images.RECIPES.items() if recipe.digest != before[key]}
    assert changed == {"python", "registry", "vllm", "open-webui", "open-webui-older"}


class Libc:
    """A C library that notes which system calls are made."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, ...]] = []

    def syscall(self, *arguments: int) -> int:
        self.calls.append(arguments)
        return -1


@pytest.mark.parametrize(("machine", "calls"), [("x86_64", [(158, 0x1023, 18)]), ("aarch64", [])])
def test_each_interpreter_of_vllms_image_asks_the_kernel_for_amx(
    machine: str, calls: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert images.AMX_PERMISSION in images.RECIPES["vllm"].files
    path, text = images.AMX_PERMISSION
    assert Path(path).parent == Path("/usr/local/lib/python3.11/dist-packages")
    libc = Libc()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: libc)
    monkeypatch.setattr(os, "uname", lambda: types.SimpleNamespace(machine=machine))
    (tmp_path / Path(path).name).write_text(text, encoding="utf-8")
    site.addsitedir(str(tmp_path))
    assert libc.calls == calls


@pytest.mark.skipif(platform.machine() != "x86_64", reason="arch_prctl exists on x86_64 only")
def test_asking_for_amx_is_granted_where_the_processor_has_it_and_harmless_elsewhere(tmp_path: Path) -> None:
    path, text = images.AMX_PERMISSION
    (tmp_path / Path(path).name).write_text(text, encoding="utf-8")
    # ARCH_GET_XCOMP_PERM (0x1022) writes what the process may use; bit 18 is AMX's tile data.
    ask = (
        "import ctypes, site, sys; site.addsitedir(sys.argv[1]); mask = ctypes.c_uint64(0);"
        "ctypes.CDLL(None).syscall(158, 0x1022, ctypes.byref(mask)); print(mask.value >> 18 & 1)"
    )
    done = subprocess.run([sys.executable, "-c", ask, str(tmp_path)], capture_output=True, text=True, check=True)
    has_amx = "amx_tile" in Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    assert (done.stdout.strip(), done.stderr) == ("1" if has_amx else "0", "")


@pytest.mark.parametrize("key", ["vllm", "open-webui"])
def test_each_interpreter_of_a_large_image_looks_for_cycles_rarely(key: str, tmp_path: Path) -> None:
    assert images.COLLECT_RARELY in images.RECIPES[key].files
    path, text = images.COLLECT_RARELY
    (tmp_path / Path(path).name).write_text(text, encoding="utf-8")
    ask = "import gc, site, sys; site.addsitedir(sys.argv[1]); print(gc.get_threshold()[0], gc.isenabled())"
    done = subprocess.run([sys.executable, "-c", ask, str(tmp_path)], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("100000 True\n", "")


def test_a_seed_is_named_by_all_that_is_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    name = seeds.seed_name("debian:12-engine", ["vllm", "open-webui"])
    assert name == seeds.seed_name("debian:12-engine", ["open-webui", "vllm"])
    assert name != seeds.seed_name("debian:13-engine", ["open-webui", "vllm"])
    assert name != seeds.seed_name("debian:12-engine", ["vllm"])
    monkeypatch.setitem(images.RECIPES, "vllm", dataclasses.replace(images.RECIPES["vllm"], script="true"))
    assert name != seeds.seed_name("debian:12-engine", ["vllm", "open-webui"])


@pytest.mark.parametrize(
    ("names", "keys"),
    [
        ([], list(images.RECIPES)),
        (["vllm", "engine", "vllm"], ["vllm", "debian:12-engine", "debian:13-engine"]),
    ],
)
def test_images_are_chosen_by_name_or_group(names: list[str], keys: list[str]) -> None:
    assert images.choose(names) == keys


def test_an_image_is_built_after_the_one_it_is_based_on() -> None:
    assert images.groups_in_order([]) == []
    assert images.groups_in_order(["vllm"]) == [["python"], ["vllm"]]
    groups = images.groups_in_order(["open-webui-older", "debian:12-engine", "vllm", "debian:12"])
    assert groups == [["python", "debian:12"], ["open-webui", "debian:12-engine", "vllm"], ["open-webui-older"]]


def test_an_unknown_image_is_named() -> None:
    with pytest.raises(images.BuildError, match="there is no image 'ubuntu'; known are: debian, engine"):
        images.choose(["ubuntu"])


def test_the_index_has_a_page_for_each_project(tmp_path: Path) -> None:
    wheels = [tmp_path / "modelscope_hub-0.5.1-py3-none-any.whl", tmp_path / "PyYAML-6.0-cp311-cp311-linux_x86_64.whl"]
    for wheel in wheels:
        wheel.write_bytes(wheel.name.encode())
    services.write_index(wheels, tmp_path / "index")
    simple = tmp_path / "index" / "simple"
    assert [path.name for path in sorted(simple.iterdir())] == ["index.html", "modelscope-hub", "pyyaml"]
    digest = hashlib.sha256(wheels[0].read_bytes()).hexdigest()
    page = (simple / "modelscope-hub" / "index.html").read_text(encoding="utf-8")
    assert f'href="modelscope_hub-0.5.1-py3-none-any.whl#sha256={digest}"' in page
    assert (simple / "modelscope-hub" / wheels[0].name).read_bytes() == wheels[0].read_bytes()
    assert 'href="pyyaml/"' in (simple / "index.html").read_text(encoding="utf-8")


def test_services_have_addresses_of_their_own() -> None:
    defined = services.define(NET).values()
    numbers = [service.number for service in defined]
    assert len(set(numbers)) == len(numbers)
    assert not set(numbers) & set(network.HOSTS)
    assert services.addresses(NET) == {
        "lab_gateway": "10.213.77.1",
        "lab_registry": "10.213.77.2:5000",
        "lab_index_url": "http://10.213.77.3:8080/simple/",
        "lab_hub_url": "http://10.213.77.4:8080",
    }
