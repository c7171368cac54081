# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reconcile one server, or all servers of a host.

The lock of every server is held from the first look to the end, so a plan is never carried out on something else than
it was made for. Planning is sequential, so that each server knows which GPUs the ones before it take; changes are
carried out in parallel, except for servers that share a GPU.
"""

from __future__ import annotations

import contextlib
import os
import platform
import threading
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor

from ... import _ports
from ..._engine import _life, _lock
from ..._engine._client import Engine
from ..._engine._logs import epoch
from ..._gpu import _look
from ..._gpu._select import select_gpus
from ..._progress import Progress
from ..api import _drain
from ..api._probe import Server as Api
from ..container import _cache, _host, _image, _keys, _labels, _model_files, _network, _spec, _timeouts
from ..declaration import _instances, _rows
from ..diagnosis import _saved_logs
from ..options._argv import serve_arguments
from ..options._options import check
from ..options._release import Release, release_of, tag_of
from ..question import _ask
from . import _gpu_lock, _lifecycle, _measurements, _readiness
from ._result import container_facts, server_of

LOCK_KIND = "vllm_server"
PROGRESS_KIND = "vllm_server"
TOKEN_TIMEOUT = 10.0  # seconds in which a server that works generates a token; one at work on much may not
LOOK_TIMEOUT = 20.0  # seconds for nvidia-smi, which can hang with its GPU
_UNKNOWN_GPUS = "because the memory or the compute capability of its GPUs is not known"
AT_ONCE = 16  # servers that are carried out side by side; more GPUs than that are rare in one host

ARGUMENTS = _rows.module_arguments()
REQUIRED_IF = _rows.required_if()


class Host:
    """What the servers of one host have in common, and how the module that runs here is told things."""

    def __init__(
        self,
        check_mode: bool,
        nvidia_smi: t.Callable[[], str | None],
        warn: t.Callable[[str], None] = lambda text: None,
        hide: t.Callable[[t.Iterable[str]], None] = lambda secrets: None,
    ) -> None:
        self.check_mode = check_mode
        self.warn = warn
        self.hide = hide
        self._nvidia_smi = nvidia_smi
        self._found: dict[str, t.Any] | None = None
        self._info: dict[str, t.Any] | None = None
        # GPUs that servers dealt with before hold or are about to hold, by the server's name.
        self.claimed: dict[str, set[str]] = {}

    def info(self, engine: Engine) -> dict[str, t.Any]:
        if self._info is None:
            self._info = engine.info()
        return self._info

    def gpus(self) -> list[dict[str, t.Any]]:
        """Return the GPUs of this host; raise ValueError with the reason when none can be used."""
        if self._found is None:
            program = self._nvidia_smi()
            self._found = _look.look(_look.asker(program, LOOK_TIMEOUT) if program else None, LOOK_TIMEOUT)
        if not self._found["gpus"]:
            raise ValueError(str(self._found["message"]))
        return list(self._found["gpus"])


class Server:
    """One server, from its options to its result. ``engine`` is None on a host that has none to ask."""

    def __init__(self, params: t.Mapping[str, t.Any], host: Host) -> None:
        self.params = params
        self.host = host
        self.name: str = params["name"]
        self.state: str = params["state"]
        self.directory = _instances.secrets_directory(self.name)
        self.result: dict[str, t.Any] = {
            "changed": False,
            "actions": [],
            "changes": [],
            "settled": False,
            "container": {},
            "ready": _readiness.nothing_measured(),
            "key_file": "",
            "rolled_back": False,
            "outage_seconds": None,
            "asked": {},
            "diagnosis": {},
            "log_tail": [],
            "log_file": "",
            "diff": {"before": {}, "after": {}},
        }
        self.gpus: list[dict[str, t.Any]] = []
        self.image: dict[str, t.Any] | None = None
        self.release: Release | None = release_of(params["image"] or "")
        self.found = _lifecycle.Found(None, None)
        self.plan = _lifecycle.Plan((), ())
        self.spec: _spec.ServerSpec | None = None
        self.files: dict[str, str] = {}
        self.lock: _lock.Lock | None = None
        self.devices: tuple[str, ...] = ()

    # --- what is wanted ---

    def check_options(self) -> None:
        """Raise ValueError for what is wrong with the options, before the host is looked at."""
        problems = _instances.option_problems(self.params)
        if problems:
            raise ValueError("; ".join(problems))
        serve_arguments(self.params["engine"])
        if self.release is not None:
            self.check_engine()

    def check_engine(self) -> None:
        """Hold the options of vLLM against the release that the image holds, as far as it is known."""
        found = check(self.params["engine"], self.release)
        if found.problems:
            raise ValueError("; ".join(f"engine.{name}: {text}" for name, text in found.problems.items()))
        for name, text in found.remarks.items():
            self.host.warn(f"engine.{name} of {self.name} {text}")

    def wanted_keys(self) -> list[str]:
        """Return the keys to serve with: those given, those kept on the host, or a new one."""
        if self.params["api_keys"] is not None:
            return list(self.params["api_keys"])
        kept = _keys.parse_key_file(_keys.read_directory(self.directory).get(_keys.KEY_FILE, ""))
        keys = kept or [_keys.generate()]
        # Whatever the module prints from here on, these are struck out of it.
        self.host.hide(keys)
        return keys

    def wanted_model(self) -> str:
        path = str(self.params["model"])
        try:
            return _host.resolve_model(path)
        except _host.ModelError:
            if self.host.check_mode and not os.path.exists(path):
                # The download that comes before this in a real run has not happened.
                return path
            raise

    def wanted_gpus(self, engine: Engine | None, current: t.Mapping[str, t.Any] | None) -> list[str]:
        """Return the UUIDs of the GPUs to use. A count keeps what the server has, as long as the GPUs are still there.

        A count keeps what the server has, as long as the GPUs are still there.
        """
        wanted = self.params["gpus"]
        if not wanted:
            return []
        try:
            self.gpus = self.host.gpus()
        except ValueError as error:
            raise ValueError(f"gpus of {self.name} cannot be given: {error}") from error
        here = {str(gpu["uuid"]) for gpu in self.gpus}
        if isinstance(wanted, int) and current is not None:
            have = [_host.uuid_of(gpu, self.gpus) for gpu in _spec.spec_of(current).gpus]
            if len(have) == wanted and here.issuperset(have):
                return have
        taken = self.taken_gpus(engine) if isinstance(wanted, int) else ()
        return select_gpus(wanted, self.gpus, taken)

    def taken_gpus(self, engine: Engine | None) -> set[str]:
        """Return the GPUs of the other servers on this host, and of those that are about to start."""
        taken = set().union(*(uuids for name, uuids in self.host.claimed.items() if name != self.name))
        for row in engine.containers(stopped=False) if engine is not None else []:
            names = [name.lstrip("/") for name in row.get("Names") or []]
            container = None if self.name in names or engine is None else engine.inspect(str(row["Id"]))
            if container is not None and _labels.is_managed(container):
                taken |= {_host.uuid_of(gpu, self.gpus) for gpu in _spec.spec_of(container).gpus}
        return taken

    def wanted_spec(
        self, engine: Engine, keys: t.Sequence[str], current: t.Mapping[str, t.Any] | None
    ) -> _spec.ServerSpec:
        uuids = self.wanted_gpus(engine, current)
        self.host.claimed[self.name] = set(uuids)
        self.devices = _gpu_lock.devices_of(uuids)
        info = self.host.info(engine)
        driver, devices = _host.choose_driver(uuids, self.gpus, _host.cdi_devices(info) if uuids else ())
        options = {
            **self.params,
            "served_model_names": self.params["served_model_names"] or [self.name],
            "env": {**self.member_env(), **self.params["env"]},
        }
        model = self.wanted_model()
        return _spec.desired_spec(
            options,
            model=model,
            gpus=devices,
            keys=_keys.delivery(len(keys), self.release),
            secrets_directory=self.directory,
            cache_directory=_cache.directory_of(
                self.name,
                tag_of(self.params["image"]),
                str((self.image or {}).get("Id") or ""),
                [str(gpu["name"]) for gpu in self.gpus if gpu["uuid"] in uuids],
            ),
            gpu_driver=driver,
            nofile=_host.nofile_limit(_host.read_init_status()),
            image_env=_spec.env_of((self.image or {}).get("Config")),
            release=self.release,
            weight_bytes=_model_files.weights_in(model) or 0,
            pids_limit=0 if info.get("PidsLimit") is False else _spec.PIDS_LIMIT,
        )

    def member_env(self) -> dict[str, str]:
        """Return the environment that a member of a server over several hosts needs; empty for any other server."""
        member = self.params.get("member")
        if not member:
            return {}
        found = self.place()
        if member.get("rdma") and not os.path.isdir(_spec.RDMA_DEVICES):
            raise _network.NetworkError(
                f"there is no {_spec.RDMA_DEVICES} on {platform.node()}, and vllm_server_group_rdma asks for it; load "
                "the driver of the adapter with ib_uverbs and rdma_ucm, or set vllm_server_group_rdma to false"
            )
        return _network.environment(found, self.params["env"], member.get("rdma"), member.get("hcas") or "")

    def place(self) -> _network.Place:
        """Return where this host speaks to the other nodes of a server over several hosts."""
        member = self.params["member"]
        return _network.place(
            member["address"],
            member["interface"],
            member["private"],
            _network.interfaces_here(),
            _network.resolve_here,
        )

    # --- the difference ---

    def compare(
        self, engine: Engine, spec: _spec.ServerSpec, files: t.Mapping[str, str]
    ) -> t.Callable[[t.Mapping[str, t.Any]], list[_life.Change]]:
        def compare(container: t.Mapping[str, t.Any]) -> list[_life.Change]:
            own_image = engine.inspect_image(str(container.get("Image") or ""))
            before = _spec.spec_of(container, _spec.env_of((own_image or {}).get("Config")))
            changes = _spec.differences(before, spec, lambda device: _host.uuid_of(device, self.gpus))
            if self.image is not None and self.image.get("Id") != container.get("Image") and before.image == spec.image:
                old, new = (_short(str(one)) for one in (container.get("Image"), self.image.get("Id")))
                changes.append(_life.Change("image", f"{spec.image} ({old})", f"{spec.image} ({new})"))
            changes += _spec.drift(container, self.name, own_image)
            if self.runs_with_other_keys(container, files) or _keys.read_directory(self.directory) != files:
                changes.append(_life.Change("api_keys", "(hidden)", "(hidden, other keys)"))
            return changes

        return compare

    def runs_with_other_keys(self, container: t.Mapping[str, t.Any], files: t.Mapping[str, str]) -> bool:
        """Return whether vLLM has read other keys than those that are there now.

        The container's label tells. One that was made before there was such a label is judged by when the keys were
        written, and a time that has not come yet says nothing: the host's clock was set back.
        """
        label = ((container.get("Config") or {}).get("Labels") or {}).get(_labels.LABEL_KEYS)
        if label:
            return bool(files) and not _keys.matches(str(label), files)
        running = (container.get("State") or {}).get("Running")
        return bool(running) and _readiness.started_at(container) < _keys.changed_at(self.directory) <= time.time()

    def check_port(self, engine: Engine | None) -> None:
        """Fail, naming who it is, when something else listens where the server is to listen."""
        member, current = self.params.get("member"), self.found.current
        if member and (member["rank"] or (current is not None and _life.is_running(current))):
            # A worker serves nothing. A head is in the host's network, where the one that listens is itself.
            return
        except_names = (self.name, _lifecycle.previous_name(self.name), self.found.renamed)
        bind, port = self.params["bind"], self.params["port"]
        rows = engine.containers() if engine is not None else []
        held_by = _ports.holder(bind, port, rows, except_names)
        if held_by is None:
            return
        lost = held_by == _ports.LOST
        message = f"port {port} on {platform.node()} is taken by {held_by}; change port of {self.name}, or " + (
            "restart the engine, as the role docker_engine does for this" if lost else "stop what listens there"
        )
        if lost and self.host.check_mode:
            self.host.warn(message)
            return
        if self.host.check_mode:
            # Another server of the fleet may be gone by the time of a real run; that is for the declaration to say.
            servers = [
                str(name).lstrip("/")
                for row in rows
                if _labels.is_managed({"Config": {"Labels": row.get("Labels")}})
                for name in row.get("Names") or []
            ]
            if _ports.holder(bind, port, rows, (*except_names, *servers)) is None:
                self.host.warn(message)
                return
        raise ValueError(message)

    # --- the run ---

    def predict_on_bare_host(self) -> None:
        """Plan for a host without an engine, and so without a container of ours; still report what it cannot give.
        same.
        """
        if self.state != "absent":
            self.wanted_model()
            self.host.claimed[self.name] = set(self.wanted_gpus(None, None))
            if self.state == "started":
                self.check_port(None)
            self.set_plan(_lifecycle.plan(self.state, self.found, lambda container: ()))
            self.result["diff"]["after"] = _spec.declared(self.params)

    def set_plan(self, plan: _lifecycle.Plan) -> None:
        self.plan = plan
        self.result["changed"] = plan.changed
        self.result["actions"] = list(plan.actions)
        self.result["changes"] = [change._asdict() for change in plan.changes]

    def prepare(self, engine: Engine) -> None:
        """Look and decide; changes nothing."""
        self.found = _lifecycle.look(engine, self.name)
        if self.state == "absent":
            self.set_plan(_lifecycle.plan("absent", self.found, lambda container: ()))
            kept = _keys.kept_in(self.directory) or _measurements.kept(self.name)
            self.result["changed"] = self.plan.changed or kept
            self.result["diff"]["before"] = self.shown(engine, self.found.current)
            return
        self.image = engine.inspect_image(self.params["image"])
        if self.release is None:
            self.release = _image.release_in(engine, self.params["image"], self.image, not self.host.check_mode)
            if self.release is None and self.image is not None and self.host.check_mode:
                self.host.warn(
                    f"the release of vLLM in {self.params['image']} of {self.name} is not known, because check mode "
                    "starts no container to ask the image; a real run may change options that depend on it"
                )
            self.check_engine()
        keys = self.wanted_keys()
        self.files = _keys.files_of(keys)
        self.spec = spec = self.wanted_spec(engine, keys, self.found.current or self.found.previous)
        self.result["key_file"] = os.path.join(self.directory, _keys.KEY_FILE) if keys else ""
        plan = _lifecycle.plan(self.state, self.found, self.compare(engine, spec, self.files))
        if _lifecycle.START in plan.actions:
            self.check_port(engine)
        if self.makes(plan) and self.image is None and not self.host.check_mode:
            raise ValueError(
                f"the image {spec.image} is not on this host; get it first, for instance with the role "
                "private_llm.fleet.container_image, or correct image"
            )
        self.set_plan(plan)
        self.result["diff"] = {
            "before": self.shown(engine, self.found.current),
            "after": {**_spec.as_options(spec), "state": self.state},
        }
        if self.host.check_mode:
            self.result["container"] = container_facts(self.found.current, self.image_env(engine, self.found.current))

    def settle(self, engine: Engine) -> None:
        """Find out in check mode whether a run could be left out; one that has to wait for the server could not."""
        if self.result["changed"] or _lock.holder_of(LOCK_KIND, self.name) is not None:
            return
        current = self.found.current
        if self.spec is None or self.state != "started" or not self.params["wait"] or self.spec.headless:
            self.result["settled"] = True
        elif current is not None:
            api = reach(self.spec, self.files)
            ready = _readiness.working(engine, self.name, current, api, self.spec.served_model_names, TOKEN_TIMEOUT)
            if ready is not None and self.measured(ready) in (None, _measurements.read(self.name)):
                self.result.update(ready=ready, settled=True)

    def measured(self, ready: t.Mapping[str, t.Any]) -> dict[str, t.Any] | None:
        """Return what the next plan is to know of the start that measured this; None for nothing certain."""
        facts = self.result["container"]
        return _measurements.record(facts, ready, epoch(facts.get("started_at", "")))

    @staticmethod
    def makes(plan: _lifecycle.Plan) -> bool:
        return plan.makes

    def carry_out(self, engine: Engine) -> None:
        """Do what was decided, wait, and look at what there is now; StartError when the server does not get ready."""
        with Progress(PROGRESS_KIND, self.name) as progress:

            def report(text: str) -> None:
                progress.update(text)
                if self.lock is not None:
                    self.lock.note(text)

            lifecycle = self.lifecycle(engine, report)
            if self.spec is None:
                lifecycle.remove(self.plan, self.found)
                with self.courtesy("the measurements that were kept of it could not be removed"):
                    _measurements.remove(self.name)
                self.result["settled"] = True
                return
            if self.makes(self.plan):
                cache = next(one for one in self.spec.volumes if one.split(":")[1] == _spec.CACHE_MOUNT)
                _cache.make(cache.split(":")[0])
            try:
                if self.plan.starts:
                    devices = ", ".join(self.devices)
                    with _gpu_lock.turn(self.devices, lambda: report(f"waiting for its turn on {devices}")):
                        self.ask_image(engine, self.spec, report)
                        ready = lifecycle.carry_out(self.plan, self.spec, self.found)
                else:
                    ready = lifecycle.carry_out(self.plan, self.spec, self.found)
            except _lifecycle.StartError as error:
                if self.result["asked"].get("verdict") == _ask.REFUSED:
                    lifecycle.outage = 0.0
                self.result.update(
                    diagnosis=error.diagnosis._asdict(),
                    log_tail=error.log[-_readiness.LOG_TAIL :],
                    rolled_back=error.rolled_back,
                )
                with self.courtesy("its log could not be kept"):
                    self.result["log_file"] = _saved_logs.keep(self.name, error.begun, error.log)
                raise
            finally:
                self.result["outage_seconds"] = lifecycle.outage
                with self.courtesy("its container could not be looked at afterwards"):
                    self.result["container"] = self.container_now(engine)
        self.result["ready"] = ready or _readiness.nothing_measured()
        with self.courtesy("what it measured could not be kept for the next plan"):
            measured = self.measured(self.result["ready"])
            if measured is not None:
                _measurements.write(self.name, measured)
        self.result["settled"] = True

    @contextlib.contextmanager
    def courtesy(self, what: str) -> t.Iterator[None]:
        """Turn what goes wrong with something that no client depends on into a warning."""
        try:
            yield
        except Exception as error:
            self.host.warn(f"{self.name}: {what}: {_plainly(error)}")

    def ask_image(self, engine: Engine, spec: _spec.ServerSpec, report: t.Callable[[str], None]) -> None:
        """Ask the image whether it takes the change, before the server that runs is stopped; StartError if it refuses.

        A change that concerns neither the options nor the model asks nothing: the server runs with them.
        """
        current = self.found.current
        if _lifecycle.RECREATE not in self.plan.actions or current is None or not _life.is_running(current):
            return
        if self.params.get("member"):
            return  # an image by itself cannot tell what several hosts will do
        gpus = _ask.gpus_of(sorted(self.host.claimed[self.name]), self.gpus)
        if gpus is None:
            self.host.warn(f"{self.name}: the image was not asked about the change, {_UNKNOWN_GPUS}")
            return
        question = _ask.question_of(spec, str((self.image or {}).get("Id") or ""), gpus)
        before = _spec.spec_of(current, self.image_env(engine, current))
        if question == _ask.question_of(before, str(current.get("Image") or ""), gpus) or _ask.has_passed(question):
            return
        report("asking the image whether it takes the change")
        begun = time.time()
        answer = _ask.ask(engine, question, self.name, self.release)
        self.result["asked"] = {"verdict": answer.verdict, "seconds": answer.seconds}
        if answer.verdict == _ask.PASSED:
            _ask.remember(question)
        elif answer.diagnosis is not None:
            raise _lifecycle.StartError(
                f"the vLLM server {self.name} was not touched, because its image refuses the change: "
                f"{answer.diagnosis.cause}. It said: {answer.diagnosis.evidence}. "
                f"What to do: {answer.diagnosis.fix}. The container that runs serves on",
                answer.diagnosis,
                answer.log,
                begun,
                rolled_back=False,
            )
        else:
            self.host.warn(
                f"{self.name}: the image could not say beforehand whether it takes the change, which goes on: "
                f"{answer.why}"
            )

    def lifecycle(self, engine: Engine, report: t.Callable[[str], None]) -> _lifecycle.Lifecycle:
        def wait(spec: _spec.ServerSpec, files: t.Mapping[str, str]) -> dict[str, t.Any]:
            waiter = self.waiter(engine, spec, files, report)
            if spec.headless:
                waiter.check_runs()
                return _readiness.nothing_measured()
            return waiter.wait()

        def drain(spec: _spec.ServerSpec, files: t.Mapping[str, str]) -> int:
            return self.let_finish(spec, files, report)

        return _lifecycle.Lifecycle(
            engine,
            self.name,
            self.directory,
            self.files,
            self.params["rollback"],
            self.state == "started" and self.params["wait"],
            _lifecycle.Hooks(wait, drain),
        )

    def waiter(
        self,
        engine: Engine,
        spec: _spec.ServerSpec,
        files: t.Mapping[str, str],
        report: t.Callable[[str], None] = lambda text: None,
    ) -> _readiness.Waiter:
        """Return who waits for a container of this specification."""
        limit = self.params["timeout"] or _timeouts.time_limit(_model_files.weights_in(spec.model) or 0)
        return _readiness.Waiter(engine, self.name, reach(spec, files), spec.served_model_names, limit, report)

    def let_finish(
        self, spec: _spec.ServerSpec, files: t.Mapping[str, str], report: t.Callable[[str], None] = lambda text: None
    ) -> int:
        """Let running requests finish, in limited time; return how many are left. vLLM does so itself from 0.18 on."""
        own = _spec.shutdown_timeout(spec.engine)
        if spec.headless:
            return 0
        if own:
            report(f"letting running requests finish, {own} seconds at most")
            return 0
        return _drain.drain(reach(spec, files), self.params["drain_timeout"], report)

    def container_now(self, engine: Engine) -> dict[str, t.Any]:
        container = engine.inspect(self.name)
        return container_facts(container, self.image_env(engine, container))

    def image_env(self, engine: Engine, container: t.Mapping[str, t.Any] | None) -> dict[str, str]:
        image = engine.inspect_image(str(container.get("Image") or "")) if container is not None else None
        return _spec.env_of((image or {}).get("Config"))

    def shown(self, engine: Engine, container: t.Mapping[str, t.Any] | None) -> dict[str, t.Any]:
        """Return a container as a diff shows it."""
        if container is None:
            return {}
        running = (container.get("State") or {}).get("Running")
        return {
            **_spec.as_options(_spec.spec_of(container, self.image_env(engine, container))),
            "state": "started" if running else "stopped",
        }


def reach(spec: _spec.ServerSpec, files: t.Mapping[str, str]) -> Api:
    """Return the API of a server with these keys, as this host reaches it."""
    keys = _keys.parse_key_file(files.get(_keys.KEY_FILE, ""))
    return server_of(spec, keys[0] if keys else None)


def _short(image_id: str) -> str:
    return image_id.rpartition(":")[2][:12]


def status_of(server: Server) -> str:
    """Return how a server was left, as vllm_server_info says it; empty where that has to be asked."""
    if not server.result["settled"] or (server.state == "started" and not server.params["wait"]):
        return ""
    if not server.result["container"]:
        return "absent"
    return "ready" if server.state == "started" else "stopped"


# --- several servers --------------------------------------------------------------------------------------------------


class Outcome(t.NamedTuple):
    """How one server ended; ``problem`` is empty when it is as declared."""

    server: Server
    problem: str


def check_all(servers: t.Sequence[Server]) -> None:
    """Raise ValueError with all that is wrong with the options of any server, before anything is touched."""
    problems = []
    names: set[str] = set()
    for server in servers:
        if server.name in names:
            problems.append(f"{server.name} is the name of two servers; a name is a container of the host")
        names.add(server.name)
        try:
            server.check_options()
        except ValueError as error:
            problems.append(f"{server.name}: {error}")
    if problems:
        raise ValueError("\n".join(problems))


def summary(outcomes: t.Sequence[Outcome]) -> dict[str, t.Any]:
    """Return the result for several servers, with the differences in a form that Ansible shows one after another."""
    results = []
    diffs = []
    for server, problem in outcomes:
        result = dict(server.result)
        diff = result.pop("diff")
        if server.result["changed"]:
            diffs.append({**diff, "before_header": server.name, "after_header": server.name})
        told = {"name": server.name, "failed": bool(problem), "msg": problem, "status": status_of(server)}
        results.append({**told, **result})
    return {"changed": any(result["changed"] for result in results), "servers": results, "diff": diffs}


def run(servers: t.Sequence[Server], connect: t.Callable[[], Engine] | None) -> list[Outcome]:
    """Bring each server to its state; a failing server does not stop the others.

    ``connect`` is None in check mode on a host without an engine. Servers that leave go first: what they hold, a port
    or a GPU, is then free for the others.
    """
    engine = connect() if connect is not None else None
    check_mode = bool(servers) and servers[0].host.check_mode
    with contextlib.ExitStack() as stack:
        if engine is not None and not check_mode:
            locks = stack.enter_context(_locked(servers))
            for server in servers:
                server.lock = locks[server.name]
        elif check_mode:
            _tell_who_is_at_work(servers)
        outcomes: dict[str, Outcome] = {}
        leaving = [server for server in servers if server.state != "started"]
        staying = [server for server in servers if server.state == "started"]
        for group in (leaving, staying):
            decided = []
            for server in group:
                problem = _problem_of(server, engine)
                if problem is None:
                    decided.append(server)
                outcomes[server.name] = Outcome(server, problem or "")
            if engine is None or connect is None or not decided:
                continue
            if check_mode:
                _settle(decided, engine)
                continue
            for outcome in _side_by_side(decided, connect):
                outcomes[outcome.server.name] = outcome
        made = any(Server.makes(outcome.server.plan) for outcome in outcomes.values())
        if engine is not None and made and not check_mode:
            with servers[0].courtesy("compiled kernels of images that have gone could not be removed"):
                _cache.prune(engine.image_ids())
    return [outcomes[server.name] for server in servers]


@contextlib.contextmanager
def _locked(servers: t.Sequence[Server]) -> t.Iterator[dict[str, _lock.Lock]]:
    """Hold the locks of all servers, saying for whom this run waits."""
    with contextlib.ExitStack() as stack:
        progress: dict[str, Progress] = {}

        def waiting(name: str, holder: _lock.Holder) -> None:
            if name not in progress:
                progress[name] = stack.enter_context(Progress(PROGRESS_KIND, name))
            progress[name].update(f"waiting for {holder}")

        names = [server.name for server in servers]
        locks = stack.enter_context(_lock.hold_all(LOCK_KIND, names, "looking at the host", waiting))
        for one in progress.values():
            one.close()
        yield locks


def _tell_who_is_at_work(servers: t.Sequence[Server]) -> None:
    """Say in check mode that what is seen is about to change."""
    for server in servers:
        holder = _lock.holder_of(LOCK_KIND, server.name)
        if holder is not None:
            server.host.warn(f"{server.name} is being changed by {holder}; what is foretold may not hold")


def _settle(servers: t.Sequence[Server], engine: Engine) -> None:
    """Find out side by side which servers a run could leave alone."""

    def settle(server: Server) -> None:
        with server.courtesy("it could not be asked whether it works"):
            server.settle(engine)

    with ThreadPoolExecutor(min(AT_ONCE, len(servers))) as pool:
        list(pool.map(settle, servers))


def _problem_of(server: Server, engine: Engine | None) -> str | None:
    """Return why the server cannot be brought to its state, as far as that is seen without changing anything."""
    try:
        if engine is None:
            server.predict_on_bare_host()
        else:
            server.prepare(engine)
    except Exception as error:
        return _plainly(error)
    return None


def _plainly(error: Exception) -> str:
    """Return an error as a sentence; of one that nobody expected, its type and its place as well."""
    if isinstance(error, ValueError) and not isinstance(error, UnicodeError):
        return str(error)
    if isinstance(error, OSError):
        where = f" ({error.filename})" if error.filename else ""
        return f"{error.strerror or error}{where}"
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    where = f" in {os.path.basename(place.tb_frame.f_code.co_filename)}, line {place.tb_lineno}" if place else ""
    return f"an error of the collection itself{where}: {type(error).__name__}: {error}; please report it"


def _side_by_side(servers: t.Sequence[Server], connect: t.Callable[[], Engine]) -> list[Outcome]:
    """Carry out what was decided: each after those before it that share a GPU with it."""
    done = {server.name: threading.Event() for server in servers}

    def carry_out(index: int) -> Outcome:
        server = servers[index]
        try:
            if server.plan.starts:
                for other in servers[:index]:
                    if other.plan.starts and set(other.devices) & set(server.devices):
                        done[other.name].wait()
            server.carry_out(connect())
        except Exception as error:
            return Outcome(server, _plainly(error))
        finally:
            done[server.name].set()
        return Outcome(server, "")

    # Threads start in order, so a server waits only for such as are running already.
    with ThreadPoolExecutor(min(AT_ONCE, len(servers))) as pool:
        return list(pool.map(carry_out, range(len(servers))))
