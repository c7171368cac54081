# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""vLLM servers, as the watch asks and starts them."""

from __future__ import annotations

import os
import typing as t

from .. import _paths
from .._vllm.api._probe import Server
from .._vllm.container import _host, _keys, _labels, _model_files, _spec, _timeouts
from .._vllm.lifecycle import _gpu_lock
from .._vllm.options._suggestions import whole_number
from . import _needs, _probing, _seen, _ties
from ._kind import Containers, Found

if t.TYPE_CHECKING:
    from .._engine._client import Engine
    from .._vllm.diagnosis._diagnosis import Diagnosis
    from ._config import Limits
    from ._memory import Memory
    from ._seen import Seen

SECRETS_ROOT = _paths.SERVER_SECRETS


class Ways(t.NamedTuple):
    """How a pass learns of the other members of a server over several hosts; tests have other ways."""

    read: t.Callable[[int, bool], _ties.Ties] = _ties.read
    knock: t.Callable[[str, int], str] = _ties.knock
    replicas: t.Callable[[str, t.Container[int], str], t.Sequence[_ties.Row]] = _ties.replicas


class Servers(Containers):
    """The servers of one host."""

    lock = "vllm_server"  # what the module vllm_server locks as well

    def __init__(
        self,
        engine: Engine | None,
        limits: Limits,
        ask: t.Callable[..., _probing.Probe],
        secrets: str,
        ways: Ways,
        trouble: str = "",
    ) -> None:
        super().__init__(engine, _labels.is_managed, trouble)
        self._limits, self._ask, self._secrets, self._ways = limits, ask, secrets, ways

    # --- look ---

    def seen(self, found: Found | None, at: float) -> Seen:
        if found is None:
            return _seen.seen_of(None, at)
        gpus = [_host.uuid_of(device, ()) for device in _spec.spec_of(found).gpus]
        return _seen.seen_of(found, at, _gpu_lock.devices_of(gpus))

    def asked(self, name: str, found: Found, seen: Seen, memory: Memory) -> Seen:
        spec = _spec.spec_of(found)
        if seen.member:
            seen = self._tied(seen, spec, joined=bool(memory.ties))
        # A head that has lost a worker generates nothing, and a pass would wait for that as long as a limit says.
        if seen.worker or _ties.lost(memory.ties, seen.ties or {}):
            return seen
        server = self._server(name, spec)
        probe = self._ask(server, (spec.served_model_names or (name,))[0], self._limits, memory.requests)
        seen = seen._replace(probe=probe)
        if memory.worked and probe.outcome in (_probing.DEAF, _probing.DOWN):
            seen = seen._replace(broken_way=self._broken_way(name, found, server))
        return seen

    def _tied(self, seen: Seen, spec: _spec.ServerSpec, joined: bool) -> Seen:
        """Return the look with what is known of the other members of a server over several hosts."""
        port = int(spec.engine.get("master_port") or _ties.DEFAULT_PORT)
        ties: _ties.Ties
        if (whole_number(spec.engine.get("data_parallel_size")) or 1) > 1:
            rows = self._replicas(seen, spec, port)
            ties, doors = {row.there[0]: _ties.ANY for row in rows}, sorted(row.there for row in rows)
        else:
            ties, doors = self._ways.read(port, not spec.headless), [(str(spec.engine.get("master_addr")), port)]
        knock = self._ways.knock(*doors[0]) if spec.headless and joined and doors else _ties.THERE
        return seen._replace(worker=spec.headless, ties=ties, knock=knock)

    def _replicas(self, seen: Seen, spec: _spec.ServerSpec, master_port: int) -> t.Sequence[_ties.Row]:
        """Return the connections between data parallel replicas."""
        meeting = whole_number(spec.engine.get("data_parallel_rpc_port")) or _ties.DEFAULT_MEETING_PORT
        head = str(spec.engine.get("data_parallel_address") or spec.engine.get("master_addr"))
        return self._ways.replicas(seen.container, {spec.port, meeting, master_port}, head if spec.headless else "")

    def _server(self, name: str, spec: _spec.ServerSpec) -> Server:
        key = None
        if spec.keys != _keys.NONE:
            files = _keys.read_directory(os.path.join(self._secrets, name))
            key = next(iter(_keys.parse_key_file(files.get(_keys.KEY_FILE, ""))), None)
        return Server(spec.bind, spec.port, key, tls=isinstance(spec.engine.get("ssl_certfile"), str))

    def _broken_way(self, name: str, found: Found, server: Server) -> str:
        """Return why a server that is up in its container is not reached; empty where that is not so."""
        from .._vllm.lifecycle import _readiness

        finding = _readiness.examine(self.engine, name, found, server)
        return "" if finding.verdict is None else f"{finding.verdict.cause}. What to do: {finding.verdict.fix}"

    def start_limit(self, found: Found | None, seen: Seen) -> float:
        declared = self._limits.start
        if declared or found is None or seen.at - seen.started_at < _timeouts.BASE_SECONDS:
            return declared or _timeouts.BASE_SECONDS
        return _timeouts.time_limit(_model_files.weights_in(_spec.spec_of(found).model) or 0)

    def missing(self, found: Found) -> str:
        return _needs.missing(self.engine, found)

    # --- falls, whose table of known failures is large ---

    def hung(self, name: str, found: Found, cause: str, text: str) -> Diagnosis:
        from . import _falls

        return _falls.hung(self.engine, name, found, cause, text)

    def ended(self, name: str, found: Found, seen: Seen, began: float, worked: bool) -> Diagnosis:
        from . import _falls

        return _falls.ended(self.engine, name, found, seen, began, worked)

    def refused(self, name: str, error: str) -> Diagnosis:
        from . import _falls

        return _falls.refused(name, error)

    def keep(self, name: str, began: float) -> str:
        from . import _falls

        return _falls.keep(self.engine, name, began)
