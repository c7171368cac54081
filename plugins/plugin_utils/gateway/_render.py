# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A gateway's files, from its fleet: HAProxy's configuration, its maps, and its answers. Pure, and without a secret.

Secrets are in two maps that the host itself writes: ``users.map`` (the SHA-256 of a key, and whose it is) and
``server_keys.map`` (a server, and its key).
"""

from __future__ import annotations

import hashlib
import ipaddress
import typing as t

from ...module_utils._endpoint import Endpoint
from . import _errors
from ._errors import JSON, Refusal
from ._model import (
    EVERY_MODEL,
    HOP,
    Fleet,
    Pool,
    Replica,
    User,
)
from ._web import Web

# The host puts in their place the folder that it writes the files to, and its name.
FOLDER_MARK = "@FOLDER@"
RELEASE_MARK = "@RELEASE@"
# The host puts the number in its place that is in use.
UNMEASURED_MARK = "  # not measured"
RUN_DIRECTORY = "/run/private_llm_gateway"
CONFIG = "haproxy.cfg"
CERTIFICATE = "certificate.pem"
HOLD = "hold.lua"
USERS_MAP = "users.map"
WEBS_MAP = "webs.map"
SERVER_KEYS_MAP = "server_keys.map"
LISTS = "lists"

PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/rerank", "/v1/responses")
# What a request's beginning may take besides its headers until the model in it must have been seen.
BUFFER_RESERVE = 16 * 1024
# Characters of a conversation's beginning that choose among replicas.
PREFIX = 2048
LONGEST_STREAM = 3600  # seconds without a byte


class Settings(t.NamedTuple):
    """What a gateway's administrator chooses."""

    bind: str = "0.0.0.0"  # noqa: S104 - a gateway is there for others
    port: int = 8000
    tls: bool = False
    max_body_bytes: int = 64 * 1024 * 1024
    buffer_bytes: int = 256 * 1024
    queue_seconds: int = 300
    max_connections: int = 4000
    metrics_bind: str = "127.0.0.1"
    metrics_port: int = 0  # none
    directory: str = FOLDER_MARK
    run_directory: str = RUN_DIRECTORY
    account: str = "haproxy"
    webs: tuple[Web, ...] = ()


# Requests for a model wait here while its servers are being changed: each of them is drained or in maintenance, which
# is an administrator's doing and not a failure. What comes first ends the wait: a server, or the time that is set.
HOLD_LUA = r"""-- Hold a request while every server of its backend is being changed.
local function changing(backend)
  for _, server in pairs(backend.servers) do
    local status = server:get_stats()["status"] or ""
    -- MAINT with a reason, such as "MAINT (resolution)", is not an administrator's.
    if status == "MAINT" or status == "DRAIN" then return true end
  end
  return false
end

core.register_action("hold", { "http-req" }, function(txn)
  local name = txn.f:be_name()
  local backend = core.backends[name]
  local waited, limit = 0, 1000 * (tonumber(txn:get_var("txn.hold")) or 0)
  while waited < limit and txn.f:nbsrv(name) == 0 and changing(backend) do
    core.msleep(200)
    waited = waited + 200
  end
end)

-- Return a body in which characters stand for themselves that clients wrote as \u4e2d or \/; json_query reads neither.
core.register_converters("decoded", function(body)
  local function pair(slashes, high, low)
    if #slashes % 2 == 0 then return nil end
    return slashes:sub(2) .. utf8.char(0x10000 + (tonumber(high, 16) - 0xD800) * 0x400 + tonumber(low, 16) - 0xDC00)
  end
  local function one(slashes, hex)
    local code = tonumber(hex, 16)
    if #slashes % 2 == 0 or code < 0x80 then return nil end
    return slashes:sub(2) .. utf8.char(code)
  end
  local function slash(slashes)
    if #slashes % 2 == 0 then return nil end
    return slashes:sub(2) .. "/"
  end
  body = body:gsub("(\\+)u([dD][89abAB]%x%x)\\u([dD][c-fC-F]%x%x)", pair)
  body = body:gsub("(\\+)/", slash)
  return (body:gsub("(\\+)u(%x%x%x%x)", one))
end)

-- Return the first content or prompt of a body as it is written: what json_query cannot read, such as a list of parts.
core.register_converters("beginning", function(body)
  local _, at = body:find('"content"%s*:%s*')
  if not at then _, at = body:find('"prompt"%s*:%s*') end
  if not at then return body end
  return body:match('^".-[^\\]"', at + 1) or body:match("^%b[]", at + 1) or body:sub(at + 1)
end)
"""


def files(fleet: Fleet, settings: Settings) -> dict[str, str]:
    """Return the gateway's files without its secrets, by their paths below its directory."""
    lists = _lists(fleet)
    return {
        CONFIG: configuration(fleet, settings),
        HOLD: HOLD_LUA,
        "models.map": _map((name, pool.label) for pool in fleet.pools for name in pool.names),
        "allowed.map": _map(line for user in fleet.users for line in _allowed(user, fleet)),
        "requests_per_minute.map": _map((user.name, str(user.requests_per_minute)) for user in fleet.users),
        "concurrent_requests.map": _map((user.name, str(user.concurrent_requests)) for user in fleet.users),
        WEBS_MAP: _map((web.name, web.label) for web in settings.webs),
        "lists.map": _map((user.name, _list_of(user, fleet)) for user in fleet.users),
        **{f"models/{name}.json": _errors.models_body(names) for name, names in sorted(lists.items())},
    }


def configuration(fleet: Fleet, settings: Settings) -> str:
    """Return HAProxy's configuration."""
    sections = [
        _global(settings),
        _defaults(settings),
        [
            "backend users",
            f"  stick-table type string len 64 size {max(1000, 2 * len(fleet.users))} expire 10m {_COUNTED}",
        ],
        _frontend(settings),
        _model_lists(fleet, settings),
    ]
    if settings.metrics_port:
        sections.append(_metrics(settings))
    for pool in fleet.pools:
        sections += _pool(pool, settings)
    sections += [_web(web, settings) for web in settings.webs]
    return "\n".join("\n".join(section) + "\n" for section in sections)


def _map(lines: t.Iterable[tuple[str, str]]) -> str:
    return "".join(f"{key} {value}\n" for key, value in sorted(set(lines)))


def _allowed(user: User, fleet: Fleet) -> t.Iterator[tuple[str, str]]:
    if EVERY_MODEL in user.models:
        yield f"{user.name}|{EVERY_MODEL}", "1"
        return
    for pool in fleet.pools:
        if user.may_ask(pool):
            yield f"{user.name}|{pool.label}", "1"


def _names_of(user: User, fleet: Fleet) -> tuple[str, ...]:
    return tuple(sorted(name for pool in fleet.pools if user.may_ask(pool) for name in pool.names))


def _list_of(user: User, fleet: Fleet) -> str:
    """Return the name of the list of models that a user sees; users who see the same have the same list."""
    return hashlib.sha256("\n".join(_names_of(user, fleet)).encode()).hexdigest()[:12]


def _lists(fleet: Fleet) -> dict[str, tuple[str, ...]]:
    return {_list_of(user, fleet): _names_of(user, fleet) for user in fleet.users}


# --- sections ---------------------------------------------------------------------------------------------------------


def _global(settings: Settings) -> list[str]:
    return [
        "# Written by private_llm.fleet; changes made here are lost.",
        "global",
        # The running proxy tells by it which configuration it has.
        f"  description {RELEASE_MARK}",
        f"  user {settings.account}",
        f"  maxconn {settings.max_connections}",
        f"  stats socket {settings.run_directory}/admin.sock mode 600 level admin expose-fd listeners",
        "  stats timeout 2m",
        f"  lua-load {settings.directory}/{HOLD}",
        f"  tune.bufsize {settings.buffer_bytes}",
        # A frame of HTTP/2 is otherwise as large as the buffer, which clients refuse.
        "  tune.h2.max-frame-size 16384",
        "  ssl-default-bind-options ssl-min-ver TLSv1.2",
        f"  hard-stop-after {LONGEST_STREAM}s",
        "  log stdout format raw local0 info",
    ]


_COUNTED = "store http_req_rate(60s),conn_cur"
_CHECKS = "check inter 2s fastinter 500ms downinter 1s fall 3 rise 1"
_PASSIVE = "observe layer7 error-limit 10 on-error fail-check"


def _defaults(settings: Settings) -> list[str]:
    return [
        "defaults",
        "  mode http",
        "  option dontlognull",
        # Without it, tokens wait up to 200 ms for each other.
        "  option http-no-delay",
        # A reload must not close a connection that a client is about to use again.
        "  option idle-close-on-response",
        "  timeout connect 2s",
        f"  timeout client {LONGEST_STREAM}s",
        f"  timeout server {LONGEST_STREAM}s",
        f"  timeout tunnel {LONGEST_STREAM}s",
        f"  timeout queue {settings.queue_seconds}s",
        "  timeout http-request 30s",
        "  timeout http-keep-alive 75s",
        "  retries 3",
        "  option redispatch 1",
        # Nobody computes an answer, and nothing waits in a queue, for a client that has gone.
        "  option abortonclose",
        # Before the first byte only: a server that broke off an answer may have been read already.
        "  retry-on conn-failure empty-response",
        f"  default-server {_CHECKS} {_PASSIVE} init-addr last,libc,none",
        *(_own_error(refusal) for refusal in _errors.OWN),
    ]


# One JSON object a request. Of what a client sent, only a model that exists is in it; never a prompt, never a key.
_LOG = (
    '  log-format \'{"time":"%[date,utime("%Y-%m-%dT%H:%M:%SZ")]","user":"%[var(txn.user)]",'
    '"model":"%[var(txn.known),json(utf8s)]",'
    '"server":"%s","status":%ST,"ms":{"request":%TR,"queue":%Tw,"connect":%Tc,"first_byte":%Tr,"total":%Ta},'
    '"bytes":%B,"client":"%ci","ended":"%tsc","retries":"%rc"}\''
)


def _own_error(refusal: Refusal) -> str:
    return f"  http-error status {refusal.status} content-type {JSON}{_headers(refusal)} string {_quoted(refusal.body)}"


def _refuse(refusal: Refusal, when: str) -> str:
    return (
        f"  http-request return status {refusal.status} content-type {JSON}{_headers(refusal)} "
        f"string {_quoted(refusal.body)} if {when}"
    )


def _headers(refusal: Refusal) -> str:
    return "".join(f" hdr {name} {_quoted(value)}" for name, value in refusal.headers)


def _quoted(text: str) -> str:
    """Return a text as one word of the configuration, in which nothing is expanded."""
    return "'" + text.replace("'", "'\\''") + "'"


def _literal(text: str) -> str:
    """Return a text as one part of a log-format, in which a % begins an expression."""
    return text.replace("%", "%%")


def _frontend(settings: Settings) -> list[str]:
    folder = settings.directory
    tls = f" ssl crt {folder}/{CERTIFICATE} alpn h2,http/1.1" if settings.tls else ""
    bind = _bracketed(settings.bind)
    paths = " ".join(PATHS)

    def mapped(sample: str, name: str, to: str = "map_str") -> str:
        return f"{sample},{to}({folder}/{name})"

    escaped = r"{ req.body -m sub '\u' '\/' }"
    routed = f"var(txn.model),map_str({folder}/models.map) -m found"
    too_long = f"req.body_size gt {settings.buffer_bytes - BUFFER_RESERVE}"  # to be read as a whole

    return [
        "frontend gateway",
        f"  bind {bind}:{settings.port}{tls}",
        "  log global",
        _LOG,
        # Pages are another program's, which knows its users itself and writes a log of its own.
        *(
            f"  http-request {action}"
            for action in (
                f"set-var(txn.web) {mapped('req.hdr(host),field(1,:),lower', WEBS_MAP)}",
                "set-log-level silent if { var(txn.web) -m found }",
                "allow if { var(txn.web) -m found }",
            )
            if settings.webs
        ),
        f"  acl asks path {paths}",
        "  acl lists path /v1/models",
        _refuse(_errors.NOT_HERE, "!asks !lists"),
        f"  http-request set-var(txn.user) {mapped('req.hdr(authorization),bytes(7),sha2(256),hex,lower', USERS_MAP)}",
        _refuse(_errors.NO_KEY, "!{ var(txn.user) -m found }"),
        # A user's key is for the gateway alone.
        "  http-request del-header Authorization",
        "  http-request allow if lists METH_GET",
        _refuse(_errors.WRONG_METHOD, "!METH_POST || lists"),
        _refuse(_errors.TOO_LARGE, f"{{ req.hdr_val(content-length) gt {settings.max_body_bytes} }}"),
        "  http-request track-sc0 var(txn.user) table users",
        f"  http-request set-var(txn.rate) {mapped('var(txn.user)', 'requests_per_minute.map', 'map_str_int')}",
        f"  http-request set-var(txn.most) {mapped('var(txn.user)', 'concurrent_requests.map', 'map_str_int')}",
        _refuse(
            _errors.TOO_MANY,
            "{ var(txn.rate) -m int gt 0 } { sc_http_req_rate(0),sub(txn.rate) gt 0 }",
        ),
        _refuse(
            _errors.TOO_MANY_AT_ONCE,
            "{ var(txn.most) -m int gt 0 } { sc_conn_cur(0),sub(txn.most) gt 0 }",
        ),
        "  http-request wait-for-body time 30s",
        _refuse(_errors.NO_LENGTH, f"!{{ req.hdr(content-length) -m found }} {{ {too_long} }}"),
        "  http-request set-var(txn.model) req.body,json_query('$.model')",
        # The look-up comes first because the search reads the whole body.
        f"  http-request set-var(txn.model) req.body,lua.decoded,json_query('$.model') if !{{ {routed} }} {escaped}",
        _refuse(
            _errors.MODEL_TOO_LATE,
            f"!{{ var(txn.model) -m found }} {{ {too_long} }}",
        ),
        _refuse(_errors.NO_MODEL, "!{ var(txn.model) -m found }"),
        f"  http-request set-var(txn.pool) {mapped('var(txn.model)', 'models.map')}",
        _refuse(_errors.UNKNOWN_MODEL, "!{ var(txn.pool) -m found }"),
        "  http-request set-var(txn.known) var(txn.model)",
        f"  http-request set-var(txn.one) {mapped('var(txn.user),concat(|,txn.pool)', 'allowed.map')}",
        _refuse(
            _errors.NOT_YOUR_MODEL,
            f"!{{ var(txn.one) -m found }} !{{ {mapped('var(txn.user),concat(|*)', 'allowed.map')} -m found }}",
        ),
        *(["  use_backend %[var(txn.web)] if { var(txn.web) -m found }"] if settings.webs else []),
        f"  use_backend {LISTS} if lists",
        "  use_backend %[var(txn.pool)]",
    ]


def _model_lists(fleet: Fleet, settings: Settings) -> list[str]:
    """Return the section that answers GET /v1/models; its rules cost a request for tokens nothing."""
    folder = settings.directory
    return [
        f"backend {LISTS}",
        f"  http-request set-var(txn.list) var(txn.user),map_str({folder}/lists.map)",
        *(
            f"  http-request return status 200 content-type {JSON} file {folder}/models/{name}.json "
            f"if {{ var(txn.list) -m str {name} }}"
            for name in sorted(_lists(fleet))
        ),
    ]


def _metrics(settings: Settings) -> list[str]:
    """Return the section that tells Prometheus how the gateway is; no user and no key is in it."""
    return [
        "frontend metrics",
        f"  bind {_bracketed(settings.metrics_bind)}:{settings.metrics_port}",
        "  http-request use-service prometheus-exporter if { path /metrics }",
        _refuse(_errors.NOT_HERE, "TRUE"),
    ]


def _pool(pool: Pool, settings: Settings) -> list[list[str]]:
    """Return the sections of one pool.

    A header of a request is written before its server is chosen. So servers with keys, names or paths of their own get
    one more hop each, inside of the proxy, in which that server is the only one.
    """
    single = len(pool.replicas) == 1
    hops = () if single else tuple(replica for replica in pool.replicas if _is_special(replica))
    lines = [
        f"backend {pool.label}",
        f"  http-request set-var(txn.hold) int({pool.hold_seconds}){'' if pool.starts_measured else UNMEASURED_MARK}",
        "  http-request lua.hold if { nbsrv eq 0 }",
        "  option httpchk",
    ]
    if not single:
        lines += [
            *_beginning(),
            # The same beginning goes to the same replica, which has it in its KV cache, as long as that one has no more
            # than a quarter over its share of the running requests.
            "  balance hash var(txn.prefix)",
            "  hash-type consistent sdbm avalanche",
            "  hash-balance-factor 125",
        ]
    if single:
        lines += _headers_for(pool.replicas[0], settings)
    # Through a hop, the path of the server itself is laid before that.
    path = pool.replicas[0].endpoint.path if single else ""
    lines.append(f"  http-check send meth GET uri {_quoted(path + '/health')}")
    lines.append("  http-check expect status 200")
    sections = [lines]
    weights = dict(zip(pool.replicas, pool.weights, strict=False))
    for replica in pool.replicas:
        rest = f" weight {weights[replica]}" if replica in weights else ""
        rest += "" if replica.max_concurrency else UNMEASURED_MARK
        if replica in hops:
            lines.append(_server(replica, replica.label, f"unix@{_socket(replica, pool, settings)}", hop=True) + rest)
            sections += _hop(replica, pool, settings)
        else:
            lines.append(_server(replica, replica.label, _address(replica.endpoint)) + rest)
    return sections


def _beginning() -> list[str]:
    """Return the rules that set `txn.prefix` to the beginning of a conversation and its user."""
    beginning = f"bytes(0,{PREFIX}),concat(|,txn.user)"
    unset = "!{ var(txn.prefix) -m found }"
    written = """{ req.body -m sub '"content"' '"prompt"' }"""
    return [
        f"  http-request set-var(txn.prefix) req.body,json_query('$.messages[0].content'),{beginning}",
        f"  http-request set-var(txn.prefix) req.body,json_query('$.prompt'),{beginning} if {unset}",
        f"  http-request set-var(txn.prefix) req.body,lua.beginning,{beginning} if {unset} {written}",
        f"  http-request set-var(txn.prefix) rand(1000000) if {unset}",
    ]


def _web(web: Web, settings: Settings) -> list[str]:
    """Return the section of an Open WebUI; WebSockets need none of their own."""
    server = f"  server open-webui {_address(web.endpoint)}"
    if web.endpoint.scheme == "https":
        server += " ssl verify required ca-file @system-ca"
    return [
        f"backend {web.label}",
        # What a browser says of these is not believed.
        "  http-request set-header X-Forwarded-For %[src]",
        f"  http-request set-header X-Forwarded-Proto {'https' if settings.tls else 'http'}",
        "  http-request set-header X-Forwarded-Host %[req.hdr(host)]",
        "  retry-on conn-failure",
        "  option httpchk",
        "  http-check send meth GET uri /health",
        "  http-check expect status 200",
        f"  http-error status 503 content-type text/plain string {_quoted(_errors.WEB_DOWN)}",
        server,
    ]


def _is_special(replica: Replica) -> bool:
    return replica.keyed or bool(replica.endpoint.path)


def _headers_for(replica: Replica, settings: Settings) -> list[str]:
    lines = []
    if replica.keyed:
        key = f"str({replica.label}),map_str({settings.directory}/{SERVER_KEYS_MAP})"
        lines.append(f'  http-request set-header Authorization "Bearer %[{key}]"')
    if replica.endpoint.path:
        lines.append(f"  http-request set-path {_quoted(_literal(replica.endpoint.path) + '%[path]')}")
    if not _is_address(replica.endpoint.host):
        lines.append(f"  http-request set-header Host {replica.endpoint.host}")
    return lines


def _server(replica: Replica, name: str, address: str, hop: bool = False, checked: bool = True) -> str:
    words = ["  server", name, address]
    endpoint = replica.endpoint
    if endpoint.scheme == "https" and not hop:
        words += ["ssl", "verify", "required", "ca-file", "@system-ca"]
        if not _is_address(endpoint.host):
            words += ["sni", f"str({endpoint.host})", "check-sni", endpoint.host, "verifyhost", endpoint.host]
    if not checked:
        return " ".join([*words, "no-check"])
    words += ["maxconn", str(replica.most_requests)]
    return " ".join(words)


def _hop(replica: Replica, pool: Pool, settings: Settings) -> list[list[str]]:
    name = f"{pool.label}/{replica.label}".replace("/", HOP)
    front = [
        f"frontend {name}",
        f"  bind unix@{_socket(replica, pool, settings)} user {settings.account} mode 600",
        f"  default_backend {name}",
    ]
    back = [
        f"backend {name}",
        # A server that cannot be reached is a connection that ends, so that the request goes to another one.
        "  errorfile 502 /dev/null",
        "  errorfile 503 /dev/null",
        "  retries 0",
        *_headers_for(replica, settings),
        _server(replica, replica.label, _address(replica.endpoint), checked=False),
    ]
    return [front, back]


def _socket(replica: Replica, pool: Pool, settings: Settings) -> str:
    """Return where a hop listens: a short path, for that of a socket holds 107 bytes."""
    name = hashlib.sha256(f"{pool.label} {replica.label}".encode()).hexdigest()[:16]
    return f"{settings.run_directory}/{name}.sock"


def _address(endpoint: Endpoint) -> str:
    return f"{_bracketed(endpoint.host)}:{_port(endpoint)}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _port(endpoint: Endpoint) -> int:
    return endpoint.port or (443 if endpoint.scheme == "https" else 80)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
