#!/usr/bin/python

# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: vllm_server
short_description: A vLLM server as a container
version_added: "0.1.0"
author:
  - private_llm.fleet contributors (@private-llm)
description:
  - Brings one vLLM server to the declared state, as a container of the host's Docker Engine.
  - A server is ready when it has generated a token, not when its container runs. One that does not become ready fails
    the module at once, with the cause found in vLLM's log and what to change.
  - A changed option replaces the container. The previous one is kept until the new one is ready, and put back when it
    is not.
  - The image must be on the host already, and so must the model.
requirements:
  - The Python library C(docker) on the managed host; the role P(private_llm.fleet.host_python#role) installs it.
extends_documentation_fragment:
  - private_llm.fleet.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  name:
    description:
      - Name of the server and of its container.
    type: str
    required: true
  state:
    description:
      - V(started) runs the server and, with O(wait), waits until it is ready.
      - V(stopped) has the container, not running.
      - V(absent) removes the container, and the keys and measurements that were kept for it. The model and compiled
        kernels stay.
    type: str
    choices:
      - started
      - stopped
      - absent
    default: started
  image:
    description:
      - Image of vLLM, with a tag that names a release. Required unless O(state=absent).
    type: str
  model:
    description:
      - Absolute path of the model on the host. Links are followed, and the folder they lead to is mounted read-only, so
        a link that moves to another release of the model is a change. Required unless O(state=absent).
    type: str
  served_model_names:
    description:
      - Names by which clients ask for the model. The default is O(name).
    type: list
    elements: str
  gpus:
    description:
      - Indices, GPU UUIDs and MIG UUIDs in a list, or how many GPUs as a number. An empty list is CPU.
      - Several GPUs and no parallel size in O(engine) means C(tensor_parallel_size) over all of them.
    type: raw
    default: []
  port:
    description:
      - TCP port on the host. Required unless O(state=absent).
    type: int
  bind:
    description:
      - IP address of the host to listen on.
    type: str
    default: 0.0.0.0
  engine:
    description:
      - vLLM's own options by their names with underscores, such as C(max_model_len).
      - V(true) and V(false) switch an option on and off, V(null) leaves it to vLLM, mappings are given as JSON.
      - The model, the served names, the address, the port and the keys have options of their own.
    type: dict
    default: {}
  api_keys:
    description:
      - Keys that clients may use. They reach vLLM through a file that only root can read, and are not part of the
        container.
      - When left out, one key is made on the host and kept; V([]) serves without a key.
    type: list
    elements: str
  env:
    description:
      - Environment variables. They are visible to whoever may inspect the container, so no place for secrets.
    type: dict
    default: {}
  volumes:
    description:
      - More bind mounts, each as C(/on/the/host:/in/the/container), with C(:ro) or C(:rw) at the end if you like.
    type: list
    elements: str
    default: []
  shm_size:
    description:
      - Size of C(/dev/shm), such as V(16g). The default follows from the number of GPUs and O(engine).
    type: str
    default: ""
  ipc:
    description:
      - IPC namespace of the container.
    type: str
    choices:
      - private
      - shareable
      - host
    default: private
  restart_policy:
    description:
      - When the Docker Engine starts the container again. This can change while the server runs.
    type: str
    choices:
      - "no"
      - always
      - on-failure
      - unless-stopped
    default: unless-stopped
  wait:
    description:
      - Wait until the server has generated a token.
    type: bool
    default: true
  timeout:
    description:
      - Seconds to wait for that.
    type: int
    default: 1800
  rollback:
    description:
      - Keep a replaced container until the new one is ready, and put it back when it does not become ready. Has no
        meaning without O(wait).
    type: bool
    default: true
seealso:
  - module: private_llm.fleet.vllm_server_info
"""

EXAMPLES = r"""
- name: Serve a model on the first GPU
  private_llm.fleet.vllm_server:
    name: qwen3-32b
    image: vllm/vllm-openai:v0.32.0
    model: /srv/models/Qwen/Qwen3-32B/current
    gpus: [0]
    port: 18005
    engine:
      max_model_len: 81920

- name: Serve a small model on CPU, on this host only and without a key
  private_llm.fleet.vllm_server:
    name: small
    image: vllm/vllm-openai-cpu:v0.32.0
    model: /srv/models/Qwen/Qwen3-0.6B/current
    port: 18006
    bind: 127.0.0.1
    api_keys: []
    engine:
      max_model_len: 4096

- name: Take a server away
  private_llm.fleet.vllm_server:
    name: qwen3-32b
    state: absent
"""

RETURN = r"""
actions:
  description: What was done, or would be done, in this order.
  returned: always
  type: list
  elements: str
  sample: [recreate, start]
changes:
  description: Each option that differed, in vLLM's terms. Secrets are hidden.
  returned: always
  type: list
  elements: dict
  contains:
    option:
      description: Name of the option.
      type: str
    before:
      description: The value it had; null for none.
      type: raw
    after:
      description: The value it has now; null for none.
      type: raw
  sample:
    - option: max_model_len
      before: 4096
      after: 8192
container:
  description: The container afterwards; empty when there is none.
  returned: always
  type: dict
  contains:
    id:
      description: Identity of the container.
      type: str
    image:
      description: Image reference it was made from.
      type: str
    image_id:
      description: Identity of that image.
      type: str
    status:
      description: What the Docker Engine says it does, such as V(running).
      type: str
    model:
      description: Folder of the model release that is served.
      type: str
    served_model_names:
      description: Names by which clients ask for the model.
      type: list
      elements: str
    engine:
      description: Options of vLLM.
      type: dict
    gpus:
      description: Devices given to the container.
      type: list
      elements: str
    port:
      description: Port on the host.
      type: int
    bind:
      description: Address on the host.
      type: str
    authenticated:
      description: Whether clients need a key.
      type: bool
    config_hash:
      description: Fingerprint of the declared configuration.
      type: str
ready:
  description: What the ready server measured of itself. Each value is null when it is not known.
  returned: always
  type: dict
  contains:
    seconds:
      description: From the start of the container until it could answer.
      type: float
    kv_cache_tokens:
      description: Tokens that the KV cache holds.
      type: int
    max_concurrency:
      description: Requests of the longest context that fit at the same time.
      type: float
    max_model_len:
      description: Longest context in tokens.
      type: int
key_file:
  description: File on the host that holds the keys, one in a line; empty when clients need none.
  returned: always
  type: str
rolled_back:
  description: Whether the previous container was put back.
  returned: always
  type: bool
diagnosis:
  description: Why the server did not become ready; empty when it did.
  returned: always
  type: dict
  contains:
    cause:
      description: What is wrong.
      type: str
    evidence:
      description: The line of the log that shows it.
      type: str
    fix:
      description: What to change.
      type: str
    variable:
      description: The option to change first, such as V(engine.max_model_len); empty when no option is wrong.
      type: str
    value:
      description: What to change it to; null where it is to be left out, or the choice is yours.
      type: raw
    id:
      description: Short name of this kind of failure.
      type: str
log_tail:
  description: The last lines of the log of a server that did not become ready.
  returned: always
  type: list
  elements: str
"""

import os
import platform
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ansible_collections.private_llm.fleet.plugins.module_utils import _respawn
from ansible_collections.private_llm.fleet.plugins.module_utils._gpu import _look
from ansible_collections.private_llm.fleet.plugins.module_utils._gpu._select import select_gpus
from ansible_collections.private_llm.fleet.plugins.module_utils._progress import Progress
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm import (
    _container,
    _host,
    _instances,
    _keys,
    _lifecycle,
    _measured,
    _ports,
    _readiness,
)
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm._argv import serve_arguments
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm._engine import SOCKET, Engine, EngineError, epoch
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm._facts import container_facts, server_of
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm._options import check
from ansible_collections.private_llm.fleet.plugins.module_utils._vllm._release import release_of

CACHE_ROOT = "/var/cache/private_llm/vllm"
LOOK_TIMEOUT = 20.0  # seconds for nvidia-smi, which can hang with its GPU
GPU_TOOL_FOLDERS = ["/usr/lib/wsl/lib", "/run/nvidia/driver/usr/bin", "/opt/bin"]


class VllmServer:
    """One server, from its options to its result."""

    def __init__(self, module: AnsibleModule) -> None:
        self.module = module
        self.params = module.params
        self.name: str = self.params["name"]
        self.state: str = self.params["state"]
        self.directory = _instances.secrets_directory(self.name)
        self.result: dict[str, t.Any] = {
            "changed": False,
            "actions": [],
            "changes": [],
            "container": {},
            "ready": _readiness.nothing_measured(),
            "key_file": "",
            "rolled_back": False,
            "diagnosis": {},
            "log_tail": [],
            "diff": {"before": {}, "after": {}},
        }
        self.gpus: list[dict[str, t.Any]] = []
        self.info: dict[str, t.Any] = {}
        self.image: dict[str, t.Any] | None = None

    # --- what is wanted ---

    def check_options(self) -> None:
        problems = _instances.option_problems(self.params)
        if problems:
            raise ValueError("; ".join(problems))
        serve_arguments(self.params["engine"])
        for name, text in check(self.params["engine"], release_of(self.params["image"] or "")).remarks.items():
            self.module.warn(f"engine.{name} {text}")

    def wanted_keys(self) -> list[str]:
        """The keys to serve with: those given, those kept on the host, or a new one."""
        if self.params["api_keys"] is not None:
            return list(self.params["api_keys"])
        kept = _keys.parse_key_file(_keys.read_directory(self.directory).get(_keys.KEY_FILE, ""))
        keys = kept or [_keys.generate()]
        # Whatever the module prints from here on, these are struck out of it.
        self.module.no_log_values.update(keys)
        return keys

    def wanted_model(self) -> str:
        path = str(self.params["model"])
        try:
            return _host.resolve_model(path)
        except _host.ModelError:
            if self.module.check_mode and not os.path.exists(path):
                # The download that comes before this in a real run has not happened.
                return path
            raise

    def wanted_gpus(self, engine: Engine | None, current: t.Mapping[str, t.Any] | None) -> list[str]:
        """UUIDs of the GPUs to use. A count keeps what the server has, as long as the GPUs are still there."""
        wanted = self.params["gpus"]
        if not wanted:
            return []
        self.gpus = self.read_gpus()
        here = {str(gpu["uuid"]) for gpu in self.gpus}
        if isinstance(wanted, int) and current is not None:
            have = [_host.uuid_of(gpu, self.gpus) for gpu in _container.spec_of(current).gpus]
            if len(have) == wanted and here.issuperset(have):
                return have
        taken = self.taken_gpus(engine) if isinstance(wanted, int) and engine is not None else ()
        return select_gpus(wanted, self.gpus, taken)

    def read_gpus(self) -> list[dict[str, t.Any]]:
        """The GPUs of this host; ValueError, saying why, when there is none to use."""
        program = self.module.get_bin_path("nvidia-smi", opt_dirs=GPU_TOOL_FOLDERS)
        found = _look.look(_look.asker(program, LOOK_TIMEOUT) if program else None, LOOK_TIMEOUT)
        if not found["gpus"]:
            raise ValueError(f"gpus of {self.name} cannot be given: {found['message']}")
        return list(found["gpus"])

    def taken_gpus(self, engine: Engine) -> set[str]:
        """GPUs of the other servers on this host."""
        taken = set()
        for row in engine.containers(stopped=False):
            names = [name.lstrip("/") for name in row.get("Names") or []]
            container = None if self.name in names else engine.inspect(str(row["Id"]))
            if container is not None and _container.is_managed(container):
                taken |= {_host.uuid_of(gpu, self.gpus) for gpu in _container.spec_of(container).gpus}
        return taken

    def wanted_spec(self, engine: Engine, keys: t.Sequence[str], current: t.Mapping[str, t.Any] | None) -> t.Any:
        uuids = self.wanted_gpus(engine, current)
        driver, devices = _host.choose_driver(uuids, self.gpus, _host.cdi_devices(self.info) if uuids else ())
        options = {**self.params, "served_model_names": self.params["served_model_names"] or [self.name]}
        return _container.desired_spec(
            options,
            model=self.wanted_model(),
            gpus=devices,
            keys=_keys.delivery(len(keys), release_of(self.params["image"])),
            secrets_directory=self.directory,
            cache_directory=os.path.join(CACHE_ROOT, self.name),
            gpu_driver=driver,
            nofile=_host.nofile_limit(_host.read_init_status()),
            image_env=_container.env_of((self.image or {}).get("Config")),
        )

    # --- the difference ---

    def compare(
        self, engine: Engine, spec: _container.ServerSpec, files: t.Mapping[str, str]
    ) -> t.Callable[[t.Mapping[str, t.Any]], list[_container.Change]]:
        def compare(container: t.Mapping[str, t.Any]) -> list[_container.Change]:
            own_image = engine.inspect_image(str(container.get("Image") or ""))
            before = _container.spec_of(container, _container.env_of((own_image or {}).get("Config")))
            changes = _container.differences(before, spec, lambda device: _host.uuid_of(device, self.gpus))
            if self.image is not None and self.image.get("Id") != container.get("Image") and before.image == spec.image:
                old, new = (_short(str(one)) for one in (container.get("Image"), self.image.get("Id")))
                changes.append(_container.Change("image", f"{spec.image} ({old})", f"{spec.image} ({new})"))
            running = (container.get("State") or {}).get("Running")
            stale = running and _keys.changed_at(self.directory) > _readiness.started_at(container)
            if stale or _keys.read_directory(self.directory) != files:
                changes.append(_container.Change("api_keys", "(hidden)", "(hidden, other keys)"))
            return changes

        return compare

    def check_port(self, engine: Engine | None) -> None:
        """Fail, naming who it is, when something else listens where the server is to listen."""
        except_names = (self.name, _lifecycle.previous_name(self.name))
        bind, port = self.params["bind"], self.params["port"]
        rows = engine.containers() if engine is not None else []
        held_by = _ports.holder(bind, port, rows, except_names)
        if held_by is None:
            return
        lost = held_by == _ports.LOST
        message = f"port {port} on {platform.node()} is taken by {held_by}; change port of {self.name}, or " + (
            "restart the engine, as the role docker_engine does for this" if lost else "stop what listens there"
        )
        if lost and self.module.check_mode:
            self.module.warn(message)
            return
        if self.module.check_mode:
            # Another server of the fleet may be gone by the time of a real run; that is for the declaration to say.
            servers = [
                str(name).lstrip("/")
                for row in rows
                if _container.is_managed({"Config": {"Labels": row.get("Labels")}})
                for name in row.get("Names") or []
            ]
            if _ports.holder(bind, port, rows, (*except_names, *servers)) is None:
                self.module.warn(message)
                return
        raise ValueError(message)

    # --- the run ---

    def run(self) -> dict[str, t.Any]:
        self.check_options()
        bare = not os.path.exists(SOCKET) and "DOCKER_HOST" not in os.environ
        if bare and (self.module.check_mode or self.state == "absent"):
            return self.predict_on_bare_host()
        if self.module.check_mode and not _respawn.available("docker"):
            return self.predict_on_bare_host()
        _respawn.require(self.module, "docker")
        try:
            engine = Engine.connect()
        except EngineError:
            if self.module.check_mode:
                return self.predict_on_bare_host()
            raise
        found = _lifecycle.look(engine, self.name)
        if self.state == "absent":
            return self.remove(engine, found)
        return self.converge(engine, found)

    def predict_on_bare_host(self) -> dict[str, t.Any]:
        """Nothing of ours can be where there is no engine to ask. What the host cannot give is said all the same."""
        if self.state != "absent":
            self.wanted_model()
            self.wanted_gpus(None, None)
            if self.state == "started":
                self.check_port(None)
            self.set_plan(_lifecycle.plan(self.state, _lifecycle.Found(None, None), lambda container: ()))
            self.result["diff"]["after"] = _container.declared(self.params)
        return self.result

    def set_plan(self, plan: _lifecycle.Plan) -> None:
        self.result["changed"] = plan.changed
        self.result["actions"] = list(plan.actions)
        self.result["changes"] = [change._asdict() for change in plan.changes]

    def remove(self, engine: Engine, found: _lifecycle.Found) -> dict[str, t.Any]:
        plan = _lifecycle.plan("absent", found, lambda container: ())
        self.set_plan(plan)
        kept = bool(_keys.read_directory(self.directory)) or os.path.exists(_measured.path_of(self.name))
        self.result["changed"] = plan.changed or kept
        self.result["diff"]["before"] = self.shown(engine, found.current)
        if not self.module.check_mode:
            grace = _container.spec_of(found.current).stop_timeout if found.current is not None else 0
            self.lifecycle(engine, {}, _readiness.nothing_measured).remove(plan, grace)
            _measured.remove(self.name)
        return self.result

    def converge(self, engine: Engine, found: _lifecycle.Found) -> dict[str, t.Any]:
        self.info = engine.info()
        self.image = engine.inspect_image(self.params["image"])
        keys = self.wanted_keys()
        files = _keys.files_of(keys)
        spec = self.wanted_spec(engine, keys, found.current or found.previous)
        self.result["key_file"] = os.path.join(self.directory, _keys.KEY_FILE) if keys else ""
        plan = _lifecycle.plan(self.state, found, self.compare(engine, spec, files))
        if _lifecycle.START in plan.actions:
            self.check_port(engine)
        makes = {_lifecycle.CREATE, _lifecycle.RECREATE}.intersection(plan.actions)
        if makes and self.image is None and not self.module.check_mode:
            raise ValueError(
                f"the image {spec.image} is not on this host; get it first, for instance with the role "
                "private_llm.fleet.container_image, or correct image"
            )
        self.set_plan(plan)
        self.result["diff"] = {
            "before": self.shown(engine, found.current),
            "after": {**_container.as_options(spec), "state": self.state},
        }
        if self.module.check_mode:
            self.result["container"] = container_facts(found.current, self.image_env(engine, found.current))
            return self.result
        if makes:
            os.makedirs(os.path.join(CACHE_ROOT, self.name), mode=0o755, exist_ok=True)
        with Progress("vllm_server", self.name) as progress:
            wait = self.waiter(engine, spec, keys, progress)
            self.result["ready"] = self.lifecycle(engine, files, wait).carry_out(plan, spec)
        self.result["container"] = self.container_now()
        facts = self.result["container"]
        measured = _measured.record(facts, self.result["ready"], epoch(facts.get("started_at", "")))
        if measured is not None:
            _measured.write(self.name, measured)
        return self.result

    def lifecycle(
        self, engine: Engine, files: t.Mapping[str, str], wait: t.Callable[[], dict[str, t.Any]]
    ) -> _lifecycle.Lifecycle:
        return _lifecycle.Lifecycle(engine, self.name, self.directory, files, self.params["rollback"], wait)

    def waiter(
        self, engine: Engine, spec: _container.ServerSpec, keys: t.Sequence[str], progress: Progress
    ) -> t.Callable[[], dict[str, t.Any]]:
        if self.state != "started" or not self.params["wait"]:
            return _readiness.nothing_measured
        server = server_of(spec, keys[0] if keys else None)
        return _readiness.Waiter(
            engine, self.name, server, spec.served_model_names, self.params["timeout"], progress.update
        ).wait

    def container_now(self) -> dict[str, t.Any]:
        engine = Engine.connect()
        container = engine.inspect(self.name)
        return container_facts(container, self.image_env(engine, container))

    def image_env(self, engine: Engine, container: t.Mapping[str, t.Any] | None) -> dict[str, str]:
        image = engine.inspect_image(str(container.get("Image") or "")) if container is not None else None
        return _container.env_of((image or {}).get("Config"))

    def shown(self, engine: Engine, container: t.Mapping[str, t.Any] | None) -> dict[str, t.Any]:
        """A container in a diff."""
        if container is None:
            return {}
        running = (container.get("State") or {}).get("Running")
        return {
            **_container.as_options(_container.spec_of(container, self.image_env(engine, container))),
            "state": "started" if running else "stopped",
        }


def _short(image_id: str) -> str:
    return image_id.rpartition(":")[2][:12]


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["started", "stopped", "absent"], "default": "started"},
            "image": {"type": "str"},
            "model": {"type": "str"},
            "served_model_names": {"type": "list", "elements": "str"},
            "gpus": {"type": "raw", "default": []},
            "port": {"type": "int"},
            "bind": {"type": "str", "default": "0.0.0.0"},  # noqa: S104 - a server of a fleet is there to be reached
            "engine": {"type": "dict", "default": {}},
            "api_keys": {"type": "list", "elements": "str", "no_log": True},
            "env": {"type": "dict", "default": {}},
            "volumes": {"type": "list", "elements": "str", "default": []},
            "shm_size": {"type": "str", "default": ""},
            "ipc": {"type": "str", "choices": ["private", "shareable", "host"], "default": "private"},
            "restart_policy": {
                "type": "str",
                "choices": ["no", "always", "on-failure", "unless-stopped"],
                "default": "unless-stopped",
            },
            "wait": {"type": "bool", "default": True},
            "timeout": {"type": "int", "default": 1800},
            "rollback": {"type": "bool", "default": True},
        },
        required_if=[
            ("state", "started", ("image", "model", "port")),
            ("state", "stopped", ("image", "model", "port")),
        ],
        supports_check_mode=True,
    )
    server = VllmServer(module)
    try:
        module.exit_json(**server.run())
    except _lifecycle.StartError as error:
        server.result.update(
            container=server.container_now(),
            diagnosis=error.diagnosis._asdict(),
            log_tail=error.log_tail,
            rolled_back=error.rolled_back,
        )
        module.fail_json(msg=str(error), **server.result)
    except ValueError as error:
        module.fail_json(msg=str(error), **server.result)


if __name__ == "__main__":
    main()
