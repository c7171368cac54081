# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Configurations and command lines of dockerd as they are out there, judged as the real dockerd judges them.

What 20.10 does was seen with 20.10.24; what 23 and newer do is in moby's source.
"""

from __future__ import annotations

import contextlib
import json
import typing as t

import pytest

from ansible_collections.private_llm.fleet.plugins.module_utils._docker._daemon_json import DaemonJson, DaemonJsonError
from ansible_collections.private_llm.fleet.plugins.module_utils._docker._daemon_settings import plan_settings
from ansible_collections.private_llm.fleet.plugins.module_utils._docker._dockerd import (
    added_runtimes,
    flag_conflicts,
    known_settings,
    parse_major,
    settings_in,
)
from ansible_collections.private_llm.fleet.plugins.module_utils._docker._engine_state import (
    describe_engine,
    holds_secret,
    mask,
    pending,
    secrets_in,
    uses_gpu,
)
from ansible_collections.private_llm.fleet.plugins.module_utils._docker._nvidia_runtime import plan_runtime

NVIDIA = {"nvidia": {"path": "/usr/bin/nvidia-container-runtime"}}
BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"
# The beginning of what dockerd --help prints, with names of flags that its keys differ from.
HELP = """
Usage:  dockerd [OPTIONS]

Options:
      --add-runtime runtime                     Register an additional OCI compatible runtime
      --config-file string                      Daemon configuration file
  -D, --debug                                   Enable debug mode
      --dns list                                DNS server to use
      --insecure-registry list                  Enable insecure registry communication
      --log-opt map                             Default log driver options for containers
"""


# --- the command line ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "argv",
    [
        ["/usr/bin/dockerd", "--add-runtime", "oci=/usr/sbin/runc"],
        ["/usr/bin/dockerd", "--add-runtime=oci=/usr/sbin/docker-runc", "-H", "fd://"],
    ],
)
def test_a_runtime_on_the_command_line_is_no_conflict_and_never_pending(argv: list[str]) -> None:
    assert flag_conflicts(argv, settings_in({"runtimes": NVIDIA}), 20) == []
    assert flag_conflicts(argv, settings_in({"runtimes": NVIDIA})) == []
    info = {"Runtimes": {"oci": {"path": "/usr/sbin/runc"}, **NVIDIA, "runc": {"path": "runc"}}}
    assert added_runtimes(argv) == {"oci"}
    assert pending({"runtimes": NVIDIA}, info, command_line=argv) == {}
    default = DaemonJson('{"default-runtime": "oci"}')
    assert plan_settings(default, {}, also_known=added_runtimes(argv)) is default


def test_a_runtime_on_the_command_line_of_a_very_old_engine_is_a_conflict() -> None:
    assert flag_conflicts(["dockerd", "--add-runtime", "a=b"], ["runtimes"], 18) == [("runtimes", "--add-runtime")]


@pytest.mark.parametrize(
    ("command_line", "taken_out", "expected"),
    [
        pytest.param(None, [], {}, id="whose-it-is-cannot-be-known"),
        pytest.param(["dockerd"], [], {"runtimes": "reload"}, id="it-was-in-the-file"),
        pytest.param(["dockerd", "--add-runtime=kata=/k"], [], {}, id="the-command-line-adds-it"),
        pytest.param(None, ["kata"], {"runtimes": "reload"}, id="this-run-takes-it-out"),
        pytest.param(["dockerd", "--add-runtime=kata=/k"], ["kata"], {}, id="taken-out-of-the-file-alone"),
        pytest.param(None, ["other"], {}, id="another-is-taken-out"),
    ],
)
def test_a_foreign_runtime_is_pending_only_where_it_came_from_the_file(
    command_line: list[str] | None, taken_out: list[str], expected: dict[str, str]
) -> None:
    info = {"Runtimes": {"kata": {"path": "/k"}, **NVIDIA, "runc": {}, "io.containerd.runc.v2": {}}}
    found = pending({"runtimes": NVIDIA}, info, command_line=command_line, taken_out=taken_out)
    assert found == expected


@pytest.mark.parametrize(
    ("argv", "data", "conflicts"),
    [
        (["dockerd", "-b", "none"], {"bridge": "none"}, ["bridge"]),
        (["dockerd", "-Db", "none"], {"bridge": "none"}, ["bridge"]),
        (["dockerd", "-Db", "none"], {"debug": True}, ["debug"]),
        (["dockerd", "--node-generic-resource", "gpu=1"], {"node-generic-resources": []}, ["node-generic-resources"]),
        (["dockerd", "--default-network-opt=a=b=c"], {"default-network-opts": {"a": {}}}, ["default-network-opts"]),
        (["dockerd", "--cluster-store-opt", "a=b"], {"cluster-store-opts": {"a": "b"}}, ["cluster-store-opts"]),
        (["dockerd", "--host-gateway-ip", "10.0.0.1"], {"host-gateway-ips": ["10.0.0.1"]}, ["host-gateway-ips"]),
        (["dockerd", "--host-gateway-ip", "10.0.0.1"], {"host-gateway-ip": "10.0.0.1"}, ["host-gateway-ip"]),
        (["dockerd", "--http-proxy", "http://p"], {"proxies": {"https-proxy": "http://p"}}, []),
        (["dockerd", "--http-proxy", "http://p"], {"proxies": {"http-proxy": "http://p"}}, ["http-proxy"]),
        (["dockerd", "--log-opt", "max-size=1m"], {"log-opts": {"max-file": "3"}}, ["log-opts"]),
        (["dockerd", "--max-size"], {"log-opts": {"max-size": "3"}}, []),
    ],
)
def test_flags_whose_name_differs_from_their_key(argv: list[str], data: dict[str, t.Any], conflicts: list[str]) -> None:
    assert [key for key, _argument in flag_conflicts(argv, settings_in(data))] == conflicts


def test_the_settings_of_an_old_dockerd_come_from_its_own_help() -> None:
    known = known_settings(HELP)
    assert known >= {"runtimes", "debug", "dns", "insecure-registries", "log-opts", "features", "builder"}
    assert "cdi-spec-dirs" not in known
    assert "proxies" not in known
    assert known_settings("something else") == set()


@pytest.mark.parametrize(
    ("text", "major"),
    [("Docker version 20.10.24+dfsg1, build 5d6db84", 20), ("26.1.5+dfsg1", 26), ("v29.0.0-rc.1", 29), ("dev", None)],
)
def test_parse_major_of_a_program_and_of_an_engine(text: str, major: int | None) -> None:
    assert parse_major(text) == major


# --- objects under one key, twice ------------------------------------------------------------------------------------

TWICE = '{"runtimes": {"kata": {"path": "/k"}}, "default-runtime": "kata", "runtimes": {"nvidia": {"path": "/n"}}}'


def test_objects_under_a_repeated_key_are_merged_as_dockerd_merges_them() -> None:
    document = DaemonJson(TWICE)
    assert document.data["runtimes"] == {"kata": {"path": "/k"}, "nvidia": {"path": "/n"}}
    assert plan_settings(document, {}) is document


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"log-opts": {"a": "1"}, "log-opts": {"a": "2", "b": "3"}}', {"log-opts": {"a": "2", "b": "3"}}),
        (
            '{"runtimes": {"a": {"path": "/a", "args": []}}, "runtimes": {"a": {"path": "/b"}}}',
            {"runtimes": {"a": {"path": "/b"}}},
        ),
        ('{"runtimes": {"a": {}}, "runtimes": null}', {"runtimes": None}),
        ('{"runtimes": {"a": {}}, "runtimes": null, "runtimes": {"b": {}}}', {"runtimes": {"b": {}}}),
        ('{"dns": ["1"], "dns": ["2"]}', {"dns": ["2"]}),
        (
            '{"builder": {"gc": {"enabled": true}}, "builder": {"gc": {"x": 1}}}',
            {"builder": {"gc": {"enabled": True, "x": 1}}},
        ),
    ],
)
def test_what_go_makes_of_repeated_keys(text: str, expected: dict[str, t.Any]) -> None:
    assert DaemonJson(text).data == expected


@pytest.mark.parametrize(
    "text",
    [
        '{"runtimes": {"nvidia": {"path": "/n"}, "kata": {"path": "/k"}}, "runtimes": {"gvisor": {"path": "/g"}}}',
        '{"runtimes": {"nvidia": {"path": "/n"}}, "runtimes": {"nvidia": {"path": "/m"}, "gvisor": {"path": "/g"}}}',
    ],
)
def test_a_runtime_is_taken_out_of_every_block_that_has_it(text: str) -> None:
    after = plan_runtime(DaemonJson(text), "nvidia", "/n", present=False)
    assert "nvidia" not in after.data["runtimes"]
    assert "gvisor" in after.data["runtimes"]
    assert "nvidia" not in after.text


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        (TWICE, ["runtimes", "kata", "path"], "/new"),
        (TWICE, ["runtimes", "nvidia"], {"path": "/new"}),
        (TWICE, ["runtimes", "third"], {"path": "/new"}),
        (TWICE, ["runtimes"], {"only": {"path": "/new"}}),
        ('{"runtimes": {"a": {}}, "runtimes": null}', ["runtimes", "b"], {"path": "/b"}),
        ('{"runtimes": {"a": {}}, "runtimes": {"a": {}}}', ["runtimes"], None),
    ],
)
def test_a_change_among_repeated_keys_means_what_it_should(text: str, path: list[str], value: t.Any) -> None:
    before = DaemonJson(text)
    after = before.set(path, value)
    assert after.get(path) == value
    others = {key for key in before.data if key != path[0]}
    assert all(after.data[key] == before.data[key] for key in others)


# --- one reader, two programs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "starts_20", "starts_23"),
    [
        pytest.param(b"", False, True, id="empty"),
        pytest.param(b" \n", False, True, id="blank"),
        pytest.param(b'\xef\xbb\xbf{"debug": true}', False, True, id="byte-order-mark"),
        pytest.param(b'{"debug": true}\n{"x": 1}\n', True, False, id="two-objects"),
        pytest.param(b'{"debug": true} trailing', True, False, id="trailing-text"),
        pytest.param(b'{"labels": ["\xbb\xfa\xb7\xbf=1"]}', True, False, id="not-utf-8"),
        pytest.param('\u00a0{"debug": true}\u3000'.encode(), False, True, id="wide-blanks-around"),
        pytest.param(b'{"debug": true}', True, True, id="plain"),
        pytest.param(b'{"debug": true,}', False, False, id="comma-at-the-end"),
    ],
)
def test_a_file_is_judged_as_the_release_at_hand_judges_it(content: bytes, starts_20: bool, starts_23: bool) -> None:
    for release, starts in ((20, starts_20), (23, starts_23), (29, starts_23), (None, starts_23)):
        try:
            problem = DaemonJson.from_bytes(content, release).problem()
        except DaemonJsonError as error:
            problem = str(error)
        assert (problem is None) is starts, (release, problem)


def test_what_an_old_engine_ignores_after_the_end_is_kept() -> None:
    after = DaemonJson.from_bytes(b'{"debug": true}\n{"x": 1}\n', 20).set(["dns"], ["1.1.1.1"])
    assert after.to_bytes() == b'{"debug": true, "dns": ["1.1.1.1"]}\n{"x": 1}\n'


def test_a_byte_that_is_not_utf_8_is_found_by_its_line() -> None:
    with pytest.raises(DaemonJsonError, match=r"^line 2: a byte that is not UTF-8 \(0xBB\)"):
        DaemonJson.from_bytes(b'{\n "labels": ["\xbb\xfa"]}', 26)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('{\n\u00a0\u00a0"dns": []}', "U+00A0, NO-BREAK SPACE"),
        ('{"dns":\u200b []}', "U+200B, ZERO WIDTH SPACE"),
        ('{"dns": [], ' + BOM + '"debug": true}', "U+FEFF, ZERO WIDTH NO-BREAK SPACE"),
        ('{"d\u00a0ns": []}', "U+00A0, NO-BREAK SPACE"),
        ('{"dns": []\u2028}', "U+2028, LINE SEPARATOR"),
        ('{"dns": \u202e[]}', "U+202E, RIGHT-TO-LEFT OVERRIDE"),
    ],
)
def test_an_invisible_character_is_named(text: str, named: str) -> None:
    with pytest.raises(DaemonJsonError) as error:
        DaemonJson(text)
    assert named in str(error.value)
    assert str(error.value).isascii()


# --- secrets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "http://me:canary@proxy:3128",
        "http://me:can@ary@proxy:3128",
        "http://me:can/ary@proxy:3128",
        "https://canary@proxy",
        "me:canary@proxy:3128",
    ],
)
def test_no_part_of_a_password_in_an_address_is_shown(address: str) -> None:
    text = json.dumps({"proxies": {"http-proxy": address}})
    assert holds_secret(text)
    for shown in (mask(text), mask(f"--http-proxy={address}"), mask(f"proxy {address} refused")):
        assert "can" not in shown
        assert "proxy" in shown
    assert all(secret in address for secret in secrets_in({"proxies": {"http-proxy": address}}))
    assert secrets_in({"proxies": {"http-proxy": address}})


@pytest.mark.parametrize(
    "text", ["https://m/x@y", "mail=a@b", '"dns": ["1.1.1.1"]', "unix:///run/docker.sock", "fd://"]
)
def test_what_is_no_secret_is_not_masked(text: str) -> None:
    assert mask(text) == text
    assert secrets_in(text) == set()


# --- never a traceback -----------------------------------------------------------------------------------------------

DEEP: t.Any = 1
for _level in range(3000):
    DEEP = {"a": DEEP}
HOSTILE: list[t.Any] = [
    None,
    True,
    0,
    -1,
    10**400,
    1e308,
    float("inf"),
    float("nan"),
    "",
    " ",
    "\0",
    "\n",
    "x" * 100_000,
    "\ud800",
    "\udc80",
    "\u202e",
    BOM,
    "²",
    "../../etc",
    "a.b.c",
    "{{ 7*7 }}",
    "$(id)",
    "runc",
    "io.containerd.runc.v2",
    "-rf",
    [],
    [[]],
    [None],
    [{"a": [1, {"b": None}]}],
    {},
    {"": {}},
    {"\0": 1},
    {"\ud800": 1},
    {"path": 5},
    {"path": None, "runtimeType": []},
    {"nvidia": []},
    {"nvidia": None},
    {"nvidia": {"path": ["x"]}},
    {"nvidia": {"runtimeType": 5, "options": 7}},
    {"a": {"b": {"c": {"d": {}}}}},
    DEEP,
]
KEYS = ["runtimes", "default-runtime", "features", "log-opts", "proxies", "registry-mirrors", "data-root", "exec-opts"]


@pytest.mark.parametrize("key", [*KEYS, "", "\ud800", "a.b"])
@pytest.mark.parametrize("value", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_settings_are_written_as_they_mean_or_refused(key: str, value: t.Any) -> None:
    for text in ("{}", TWICE, '{"runtimes": null, "log-opts": {"a": "b"}, "features": 5}'):
        for plan in (
            lambda before: plan_settings(before, {key: value}),
            lambda before: plan_settings(before, {"runtimes": {key: value}}, ["default-runtime"]),
            lambda before: plan_runtime(before, key, value if isinstance(value, str) else "/n", True, True),
        ):
            with contextlib.suppress(DaemonJsonError):
                after = plan(DaemonJson(text))
                assert DaemonJson.from_bytes(after.to_bytes(), 26).data == after.data


@pytest.mark.parametrize("key", KEYS)
# Nothing so deep comes out of a parser of JSON.
@pytest.mark.parametrize("value", HOSTILE[:-1], ids=range(len(HOSTILE) - 1))
def test_hostile_configurations_and_answers_of_an_engine_are_borne(key: str, value: t.Any) -> None:
    names = ("Runtimes", "RegistryConfig", "DockerRootDir", "CDISpecDirs", "HttpProxy", "Swarm", "SecurityOptions")
    info = dict.fromkeys((*names, "ContainersRunning", "DefaultRuntime", "ServerVersion"), value)
    for configuration, answer in (
        ({key: value}, info),
        ({key: value}, {"Runtimes": NVIDIA}),
        ({key: {"a": "b"}}, info),
    ):
        assert isinstance(pending(configuration, answer, command_line=["dockerd", "--add-runtime"]), dict)
    assert describe_engine(info).keys() == describe_engine(None).keys()
    host = dict.fromkeys(("Runtime", "DeviceRequests", "Devices"), value)
    assert uses_gpu({"HostConfig": host}) in (True, False)
    assert uses_gpu({"HostConfig": value}) is False


FILES = [
    b"\0",
    b"\xff",
    b"\xff\xfe",
    b"\xfe\xff\0",
    b"\xef\xbb\xbf",
    b"null",
    b"[]",
    b"5",
    b'"',
    b"{",
    b"}",
    b'{"',
    b'{"a"',
    b'{"a":',
    b'{"a":1',
    b'{"a":1,',
    b'{"a":1,}',
    b'{"a":01}',
    b'{"a":-}',
    b'{"a":1e}',
    b'{"a":' + b"9" * 5000 + b"}",
    b'{"a":1e999}',
    b'{"a":NaN}',
    b'{"a":"\\ud800"}',
    b'{"\\ud800":1}',
    b'{"a":"\\x"}',
    b'{"a":"\n"}',
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b"{}" * 3,
    b"// x\n{}",
    b"/* x */{}",
    b"# x\n{}",
    b"<html></html>",
    "{\u201ca\u201d: 1}".encode(),
    '{"a"\uff1a1}'.encode(),
    b'{"a":tru}',
    b'{"a":True}',
    b"{'a':1}",
    b'{"a":1 "b":2}',
    b"\x1f\x8b\x08",
    b"\x7fELF",
    b'{"a":1}\0',
    b" " * 100_000,
]


@pytest.mark.parametrize("release", [19, 20, 23, 29, None])
@pytest.mark.parametrize("content", FILES, ids=range(len(FILES)))
def test_hostile_files_are_read_or_refused(content: bytes, release: int | None) -> None:
    with contextlib.suppress(DaemonJsonError):
        document = DaemonJson.from_bytes(content, release)
        for after in (document.set(["runtimes", "nvidia"], {"path": "/n"}), document.delete(["a"]), document):
            assert isinstance(after.text, str)
            assert isinstance(after.data, dict)
            DaemonJson.from_bytes(after.to_bytes(), release)


@pytest.mark.parametrize("content", [b"\0" * 64, b'{"debug": true}\0\0', '{"debug": true}'.encode("utf-16-le")])
def test_a_damaged_file_is_not_told_as_copied_from_a_page(content: bytes) -> None:
    with pytest.raises(DaemonJsonError, match=r"a NUL byte \(U\+0000\): the file was damaged") as caught:
        DaemonJson.from_bytes(content)
    assert "copied" not in str(caught.value)


@pytest.mark.parametrize("number", ["1e999", "-1e999"])
def test_a_number_that_no_program_can_hold_is_refused(number: str) -> None:
    with pytest.raises(DaemonJsonError, match="is too large"):
        DaemonJson.from_bytes(f'{{"mtu": {number}}}'.encode())


def test_a_build_of_the_sources_is_not_taken_for_an_old_release() -> None:
    assert parse_major("Docker version 0.0.0-20250101000000-abcdef, build abcdef") is None


@pytest.mark.parametrize("name", ["splunk-token", "logentries-token", "registry_password", "api-key"])
def test_a_setting_that_is_named_a_secret_is_not_shown(name: str) -> None:
    """Log drivers take tokens, in "log-opts" and after --log-opt."""
    text = json.dumps({"log-driver": "splunk", "log-opts": {name: 't0ken "of" x', "splunk-url": "https://h"}}, indent=2)
    for shown in (mask(text), mask(f"{BOM}{text}"), mask(f"--log-opt={name}=t0ken"), mask(f"{name}=t0ken")):
        assert "t0ken" not in shown
        assert name in shown
    assert json.loads(mask(text))["log-opts"]["splunk-url"] == "https://h"
    assert secrets_in({"log-opts": {name: "t0ken", "tag": "plain"}}) == {"t0ken"}


def test_the_path_of_a_key_is_shown() -> None:
    text = '{"tlskey": "/etc/docker/key.pem", "splunk-token": ""}'
    assert mask(text) == text
    assert secrets_in({"tlskey": "/etc/docker/key.pem", "splunk-token": ""}) == set()
