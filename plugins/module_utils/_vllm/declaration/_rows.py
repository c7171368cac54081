# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Everything that can be declared of a vLLM server, one row each.

What follows from a row: which keys an instance has, how each is checked and what it is when it is left out; the options
of the modules with their documentation; and, written by `make docs`, the specification, the defaults and the README of
the role vllm_server.
"""

from __future__ import annotations

import typing as t

from . import _checks as checks

RESTART_POLICIES = ("no", "always", "on-failure", "unless-stopped")
IPC = ("private", "shareable", "host")
SOURCES = ("modelscope", "huggingface", "git_lfs", "archive")

Text = t.Tuple[str, ...]


class Row(t.NamedTuple):
    """One thing that can be declared. Each of the three texts says that it can be declared there."""

    name: str
    type: str
    check: t.Optional[checks.Check] = None  # noqa: UP045 - evaluated by Python 3.8
    # The value in the normal form where nobody says one; None where one is then found or made.
    default: t.Any = None
    choices: Text = ()
    elements: str = ""
    secret: bool = False
    suboptions: t.Mapping[str, t.Any] = {}
    required: bool = False
    # True where the modules demand it of a server that is to be there: the default is the role's, not theirs.
    needed: bool = False
    # Paragraphs for a key of `vllm_server_instances`, for the role's variable `vllm_server_NAME`, for the modules.
    instance: Text = ()
    variable: Text = ()
    module: Text = ()
    # An instance's key that says where its model comes from, for the role model_download.
    download: bool = False


def text(*paragraphs: str) -> Text:
    """Return the paragraphs of a description."""
    return paragraphs


ROWS = (
    Row(
        "name",
        "str",
        checks.check_name,
        required=True,
        instance=text(
            "Name of the server, of its container, and of the model it serves unless "
            "O(vllm_server_instances[].served_model_names) says otherwise.",
        ),
        module=text("Name of the server and of its container."),
    ),
    Row(
        "state",
        "str",
        checks.check_choice(("started", "stopped", "absent")),
        "started",
        ("started", "stopped", "absent"),
        instance=text("Whether the server runs, is there without running, or is not there."),
        module=text(
            "V(started) runs the server and, with O(wait), waits until it is ready.",
            "V(stopped) has the container, not running.",
            "V(absent) removes the container, and the keys and measurements that were kept for it. The model and "
            "compiled kernels stay.",
        ),
    ),
    Row(
        "model",
        "str",
        checks.check_model,
        needed=True,
        instance=text(
            "A hub id (organization/name) below O(vllm_server_models_root), or an absolute path on the host. "
            "Required unless the server is absent.",
        ),
        module=text(
            "Absolute path of the model on the host. Links are followed, and the folder they lead to is mounted "
            "read-only, so a link that moves to another release of the model is a change. Required unless "
            "O(state=absent).",
        ),
    ),
    Row(
        "source",
        "str",
        checks.check_choice(SOURCES),
        "",
        SOURCES,
        download=True,
        instance=text(
            "Where the model comes from, when that is not "
            "O(private_llm.fleet.model_download#role:main:model_download_source).",
        ),
    ),
    Row(
        "revision",
        "str",
        checks.check_revision,
        "",
        download=True,
        instance=text("Branch, tag or commit of the model."),
    ),
    Row(
        "endpoint",
        "str",
        checks.check_endpoint,
        "",
        download=True,
        instance=text(
            "Base URL of the hub or git server of this model, when that is not "
            "O(private_llm.fleet.model_download#role:main:model_download_endpoint).",
        ),
    ),
    Row(
        "token",
        "str",
        checks.check_token,
        secret=True,
        download=True,
        instance=text(
            "Access token for this model, when that is not "
            "O(private_llm.fleet.model_download#role:main:model_download_token). Of a server over several hosts "
            "only the first uses it.",
        ),
    ),
    Row(
        "archive",
        "str",
        checks.check_absolute,
        "",
        download=True,
        instance=text(
            "Folder or tar file that holds the model's release, with O(vllm_server_instances[].source=archive).",
        ),
    ),
    Row(
        "archive_on",
        "str",
        checks.check_choice(("host", "controller")),
        "",
        ("host", "controller"),
        download=True,
        instance=text(
            "Where that archive is, when it is not on the host. From the controller only files are copied that "
            "the host lacks.",
        ),
    ),
    Row(
        "include",
        "list",
        checks.check_patterns,
        elements="str",
        download=True,
        instance=text(
            "Shell patterns of the model's files to take, when these are not "
            "O(private_llm.fleet.model_download#role:main:model_download_include).",
        ),
    ),
    Row(
        "exclude",
        "list",
        checks.check_patterns,
        elements="str",
        download=True,
        instance=text(
            "Shell patterns of the model's files to leave out, when these are not "
            "O(private_llm.fleet.model_download#role:main:model_download_exclude).",
        ),
    ),
    Row(
        "models_root",
        "str",
        checks.check_root,
        "/srv/models",
        variable=text(
            "Folder of the models on the host, as C(<root>/<organization>/<name>/current); a server's model "
            "may also be an absolute path.",
        ),
    ),
    Row(
        "image",
        "str",
        checks.check_image,
        "vllm/vllm-openai:v0.32.0",
        needed=True,
        instance=text("Image of vLLM; see O(vllm_server_image)."),
        variable=text(
            "Image of vLLM for servers that name none, with a tag that names a release.",
            "On a host without GPUs use V(vllm/vllm-openai-cpu:v0.32.0).",
        ),
        module=text(
            "Image of vLLM. Options are held against its release, which the tag names; where it does not, as with "
            "V(latest) or a digest, the image is asked. Required unless O(state=absent).",
        ),
    ),
    Row(
        "gpus",
        "raw",
        checks.check_gpus,
        [],
        instance=text(
            "Indices, GPU UUIDs and MIG UUIDs in a list, or how many GPUs as a number. An empty list is CPU."
        ),
        module=text(
            "Indices, GPU UUIDs and MIG UUIDs in a list, or how many GPUs as a number. An empty list is CPU.",
            "Several GPUs and no parallel size in O(engine) means C(tensor_parallel_size) over all of them.",
        ),
    ),
    Row(
        "port",
        "int",
        checks.check_port,
        needed=True,
        instance=text("TCP port on the host. Required unless the server is absent."),
        module=text("TCP port on the host. Required unless O(state=absent)."),
    ),
    Row(
        "bind",
        "str",
        checks.check_bind,
        "0.0.0.0",  # noqa: S104 - a server of a fleet is there to be reached; it has a key by default
        instance=text("Address of the host to listen on; see O(vllm_server_bind)."),
        variable=text("Address of the host on which servers can be reached; V(127.0.0.1) for this host alone."),
        module=text("IP address of the host to listen on."),
    ),
    Row(
        "url",
        "str",
        checks.check_url,
        instance=text(
            "Base URL by which clients reach the server where a proxy stands in front of it, such as "
            "C(https://llm.example.com/qwen), with C(/v1) at its end or without. Open WebUI, the report and "
            "the table of servers use it in place of the host's address.",
            "The server itself may then listen on a loopback address.",
        ),
    ),
    Row(
        "share",
        "float",
        checks.check_share,
        instance=text(
            "Behind a gateway, this server's part of the requests for its model, above 0 and up to 1, such as "
            "V(0.1) for a canary. The servers of the model that name none have what is left, in equal parts.",
            "It changes no container. A server with a share may serve a name from another model than the others do.",
        ),
    ),
    Row(
        "engine",
        "dict",
        checks.check_engine,
        {},
        instance=text("vLLM's own options by their names with underscores, laid over O(vllm_server_engine)."),
        variable=text(
            "Options of vLLM for all servers, by their names with underscores; a server's own are laid over them.",
            "Empty means vLLM's own defaults throughout, which choose the data type, compile the model, and "
            "take 92 % of a GPU's memory.",
        ),
        module=text(
            "vLLM's own options by their names with underscores, such as C(max_model_len).",
            "V(true) and V(false) switch an option on and off, V(null) leaves it to vLLM, mappings are given as JSON.",
            "The model, the served names, the address, the port and the keys have options of their own.",
        ),
    ),
    Row(
        "served_model_names",
        "list",
        checks.check_names,
        elements="str",
        instance=text("Names by which clients ask for the model. Left out, the name of the server."),
        module=text("Names by which clients ask for the model. The default is O(name)."),
    ),
    Row(
        "api_keys",
        "list",
        checks.check_api_keys,
        elements="str",
        secret=True,
        instance=text(
            "Keys that clients may use. Left out, one key is made on the host and kept there.",
            "An empty list serves without a key, which must be allowed in O(vllm_server_allow_unauthenticated) "
            "unless only the host itself can connect.",
        ),
        module=text(
            "Keys that clients may use. They reach vLLM through a file that only root can read, and are not "
            "part of the container.",
            "When left out, one key is made on the host and kept; V([]) serves without a key.",
        ),
    ),
    Row(
        "allow_unauthenticated",
        "bool",
        default=False,
        module=text(
            "Whether a server that other hosts can reach may be without a key. Otherwise an empty O(api_keys) is "
            "refused, unless O(bind) is a loopback address.",
        ),
    ),
    Row(
        "env",
        "dict",
        checks.check_env,
        {},
        instance=text("Environment variables, laid over O(vllm_server_env)."),
        variable=text(
            "Environment variables of all servers. They are visible to whoever may inspect containers, so no "
            "place for secrets.",
        ),
        module=text(
            "Environment variables. They are visible to whoever may inspect the container, so no place for secrets.",
        ),
    ),
    Row(
        "volumes",
        "list",
        checks.check_volumes,
        [],
        elements="str",
        instance=text("More bind mounts, in addition to O(vllm_server_volumes)."),
        variable=text("More bind mounts of all servers, as C(/on/the/host:/in/the/container[:ro])."),
        module=text(
            "More bind mounts, each as C(/on/the/host:/in/the/container), with C(:ro) or C(:rw) at the end if you "
            "like.",
        ),
    ),
    Row(
        "shm_size",
        "str",
        checks.check_size,
        "",
        instance=text("Size of C(/dev/shm); see O(vllm_server_shm_size)."),
        variable=text("Size of C(/dev/shm), such as V(16g). Empty means what the number of GPUs and the options need."),
        module=text("Size of C(/dev/shm), such as V(16g). The default follows from the number of GPUs and O(engine)."),
    ),
    Row(
        "ipc",
        "str",
        checks.check_choice(IPC),
        "private",
        IPC,
        instance=text("IPC namespace; see O(vllm_server_ipc)."),
        variable=text("IPC namespace of the containers."),
        module=text("IPC namespace of the container."),
    ),
    Row(
        "restart_policy",
        "str",
        checks.check_restart_policy(RESTART_POLICIES),
        "unless-stopped",
        RESTART_POLICIES,
        instance=text("When the engine starts the container again; see O(vllm_server_restart_policy)."),
        variable=text("When the engine starts a container again."),
        module=text("When the Docker Engine starts the container again. This can change while the server runs."),
    ),
    Row(
        "nodes",
        "list",
        checks.check_nodes,
        [],
        elements="str",
        instance=text(
            "Hosts of the inventory that run this server together, two or more, this one first. C(gpus) are "
            "those of each of them.",
            "The playbooks start, change and remove it on all of them as a whole; the role by itself leaves it "
            "as it is.",
        ),
    ),
    Row(
        "member",
        "dict",
        module=text(
            "The place of this container in a server over several hosts. It is then in the host's network, "
            "where it speaks to the others, and O(engine) has to hold C(nnodes), C(node_rank) and "
            "C(master_addr). With C(headless) in O(engine) it serves no API, and is ready when it runs.",
        ),
        suboptions={
            "nodes": {
                "description": "Names of the hosts, the head first; they become a label of the container.",
                "type": "list",
                "elements": "str",
                "required": True,
            },
            "rank": {"description": "Place of this host among them, 0 for the head.", "type": "int", "required": True},
            "address": {
                "description": "Address of this host at which the others reach it, or a name that this host resolves "
                "to it.",
                "type": "str",
                "required": True,
            },
            "interface": {
                "description": "Network interface that has to have the address; empty for any.",
                "type": "str",
                "default": "",
            },
            "rdma": {
                "description": "Give the container the host's RDMA devices, C(/dev/infiniband), with C(IPC_LOCK) and "
                "no limit on locked memory. Without it C(NCCL_IB_DISABLE) keeps NCCL on sockets.",
                "type": "bool",
                "default": False,
            },
            "hcas": {
                "description": "RDMA adapters to use, as C(NCCL_IB_HCA) takes them; empty for all.",
                "type": "str",
                "default": "",
            },
            "private": {
                "description": "Refuse an address that can be reached from the internet, for nothing between nodes is "
                "authenticated.",
                "type": "bool",
                "default": True,
            },
        },
    ),
    Row("wait", "bool", default=True, module=text("Wait until the server has generated a token.")),
    Row(
        "timeout",
        "int",
        module=text(
            "Seconds to wait for that. The default grows with the size of the weights, 20 minutes and a second for "
            "each 50 MB.",
        ),
    ),
    Row(
        "drain_timeout",
        "int",
        default=60,
        module=text(
            "Seconds that running requests get to finish before a server is stopped, replaced or removed. V(0) "
            "drops them.",
            "From vLLM 0.18 on this is given to vLLM as C(shutdown_timeout), unless O(engine) sets that, so "
            "that the Docker Engine and the host stop the server as gently.",
        ),
    ),
    Row(
        "rollback",
        "bool",
        default=True,
        module=text(
            "Keep a replaced container until the new one is ready, and put it back when it does not become "
            "ready. Has no meaning without O(wait).",
        ),
    ),
)

KEYS = tuple(row.name for row in ROWS if row.instance)
# What stands for a key that neither an instance nor the role's variable of that name says.
DEFAULTS: dict[str, t.Any] = {
    row.name: row.default for row in ROWS if (row.instance or row.variable) and row.default is not None
}
VARIABLES = tuple(row.name for row in ROWS if row.variable)
CHECKS: dict[str, checks.Check] = {row.name: row.check for row in ROWS if row.check is not None}
DOWNLOAD_KEYS = tuple(row.name for row in ROWS if row.download)
MAPPINGS = tuple(row.name for row in ROWS if row.instance and row.type == "dict")
LISTS = tuple(row.name for row in ROWS if row.instance and row.type == "list")
# What a module takes from an instance under the same name; its model is a path by then.
OPTIONS = tuple(
    row.name for row in ROWS if row.module and (row.instance or row.name == "member") and row.name != "model"
)


def described(row: Row, text: Text, default: t.Any) -> dict[str, t.Any]:
    """Return an option as Ansible documents it, in a module's documentation and in a role's argument specification."""
    found: dict[str, t.Any] = {"type": row.type}
    found.update({"elements": row.elements} if row.elements else {})
    found.update({"required": True} if row.required else {})
    found.update({"choices": list(row.choices)} if row.choices else {})
    found.update({"default": default} if default is not None else {})
    found.update({"no_log": True} if row.secret else {})
    return {**found, "description": list(text)}


def required_if() -> list[tuple[str, str, Text]]:
    """Return what a module has to be told of a server that is to be there, as Ansible checks it."""
    needed = tuple(row.name for row in ROWS if row.needed)
    return [("state", state, needed) for state in ("started", "stopped")]


def module_arguments() -> dict[str, dict[str, t.Any]]:
    """Return the argument specification of a module for one server."""
    arguments = {}
    for row in ROWS:
        if row.module:
            argument = described(row, row.module, None if row.needed else row.default)
            del argument["description"]
            if row.suboptions:
                argument["options"] = {
                    name: {key: value for key, value in one.items() if key != "description"}
                    for name, one in row.suboptions.items()
                }
            arguments[row.name] = argument
    return arguments


def module_documentation() -> dict[str, dict[str, t.Any]]:
    """Return the documentation of the same options."""
    documented = {}
    for row in ROWS:
        if row.module:
            option = described(row, row.module, None if row.needed else row.default)
            option.pop("no_log", None)
            documented[row.name] = {**option, **({"suboptions": dict(row.suboptions)} if row.suboptions else {})}
    return documented


def instance_options() -> dict[str, dict[str, t.Any]]:
    """Return the keys of an instance as the role's argument specification has them.

    Where the role has a variable of the same name, or what is left out is not told by a value, there is no default.
    """
    return {
        row.name: described(row, row.instance, None if row.variable or row.default == "" else row.default)
        for row in ROWS
        if row.instance
    }


def role_options() -> dict[str, dict[str, t.Any]]:
    """Return the role's variables that stand for keys that instances leave out, by their full names."""
    return {f"vllm_server_{row.name}": described(row, row.variable, row.default) for row in ROWS if row.variable}
