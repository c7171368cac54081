# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read what the variables of the role open_webui say, and judge it before the host is asked for anything."""

from __future__ import annotations

import re
import typing as t

from ...module_utils._open_webui._client import MINIMUM_VERSION
from ...module_utils._version import numbers_of
from .._host_vars import ANY, FLAG, LINE, MAPPING, WHOLE

WANTED = {
    "host!": LINE,
    "image": LINE,
    "version": LINE,
    "port!": WHOLE,
    "bind": LINE,
    "name": LINE,
    "data_dir": LINE,
    "config_dir": LINE,
    "admin_email": LINE,
    "admin_password": ANY,
    "env": MAPPING,
    "reserved_env": [LINE],
    "keeps_settings": FLAG,
    "connections": [ANY],
    "settings": MAPPING,
    "secret_settings": MAPPING,
    "oidc": MAPPING,
    "ldap": MAPPING,
    "public_url": LINE,
    "database_url": LINE,
    "backup_dir": LINE,
    "backup_keep!": WHOLE,
    "other_keys": [LINE],
    "key_file": LINE,
}
# What the keys of open_webui_ldap are called in Open WebUI. The password of bind_dn is written apart, for it is secret.
LDAP_SETTINGS = {
    "attribute_for_mail": "ldap.server.attribute_for_mail",
    "attribute_for_username": "ldap.server.attribute_for_username",
    "bind_dn": "ldap.server.app_dn",
    "ca_cert_file": "ldap.server.ca_cert_file",
    "host": "ldap.server.host",
    "label": "ldap.server.label",
    "port": "ldap.server.port",
    "search_base": "ldap.server.users_dn",
    "search_filter": "ldap.server.search_filter",
    "use_tls": "ldap.server.use_tls",
    "validate_certs": "ldap.server.validate_cert",
}
LDAP = {
    key: WHOLE if key == "port" else FLAG if key in ("use_tls", "validate_certs") else LINE for key in LDAP_SETTINGS
}
# Open WebUI hashes no more of a password.
LONGEST_PASSWORD = 72

_VARIABLE = re.compile("[A-Za-z_][A-Za-z0-9_]*")

Told = t.Mapping[str, t.Any]


def problems_of(wanted: Told) -> list[str]:
    """Return a sentence for each variable that cannot be as it is."""
    return [
        *_of_the_container(wanted),
        *_of_the_environment(wanted),
        *_of_what_is_declared(wanted),
        *_of_the_data(wanted),
    ]


def settings_of(ldap: Told, public_url: str, default_models: t.Sequence[str]) -> dict[str, t.Any]:
    """Return the settings of Open WebUI, by its names for them, that these variables stand for."""
    settings = {LDAP_SETTINGS[key]: value for key, value in ldap.items() if key in LDAP_SETTINGS}
    if ldap:
        settings["ldap.enable"] = True
    if public_url:
        settings["webui.url"] = public_url
    if default_models:
        settings["ui.default_models"] = ",".join(default_models)
    return settings


def _of_the_container(wanted: Told) -> t.Iterator[str]:
    version, oldest = wanted["version"] or "", ".".join(map(str, MINIMUM_VERSION))
    if not wanted["image"]:
        yield "open_webui_image is empty; name the image to run, such as ghcr.io/open-webui/open-webui:v0.12.4"
    if version and numbers_of(version) < MINIMUM_VERSION:
        yield f"open_webui_image is of version {version}; the role needs {oldest} or newer"
    if not 0 < wanted["port"] < 65536:
        yield f"open_webui_port is {wanted['port']}; a port is between 1 and 65535"
    if not _is("[0-9a-fA-F:.]+", wanted["bind"]):
        yield f"open_webui_bind is {wanted['bind']}; give an IP address of the host, or 0.0.0.0 for all of them"
    if not _is("[a-zA-Z0-9][a-zA-Z0-9_.-]*", wanted["name"]):
        yield (
            f"open_webui_name is {wanted['name']}; Docker allows letters, digits, '_', '.' and '-' in the name of a "
            "container"
        )
    if not (_is("/.+", wanted["data_dir"]) and _is("/.+", wanted["config_dir"])):
        yield "open_webui_data_dir and open_webui_config_dir must be absolute paths"
    if not _is(r"[^@\s]+@[^@\s]+", wanted["admin_email"]):
        yield (
            f"open_webui_admin_email is {wanted['admin_email']}; give an e-mail address, which is the sign-in name of "
            "the administrator"
        )
    if len(str(wanted["admin_password"] or "")) > LONGEST_PASSWORD:
        yield (f"open_webui_admin_password is longer than {LONGEST_PASSWORD} characters, which Open WebUI cannot store")


def _of_the_environment(wanted: Told) -> t.Iterator[str]:
    env = wanted["env"]
    odd = [str(name) for name in env if not _VARIABLE.fullmatch(str(name))]
    if odd:
        yield f"open_webui_env has keys that cannot be variables: {', '.join(odd)}"
    empty = [str(name) for name, value in env.items() if value is None]
    if empty:
        yield (
            f"open_webui_env gives no value to {', '.join(empty)}: write '' for an empty text, or leave the name out"
        )
    reserved = [name for name in env if name in wanted["reserved_env"]]
    if reserved:
        yield (
            f"open_webui_env may not set {', '.join(reserved)}: the role has variables of its own for the "
            "administrator, the secret key, the port, the data and the database, and signs in with a password"
        )
    declared = wanted["connections"] or wanted["settings"] or wanted["secret_settings"]
    if declared and not wanted["keeps_settings"]:
        yield (
            "open_webui_env sets ENABLE_PERSISTENT_CONFIG to false or RESET_CONFIG_ON_START to true, with which Open "
            "WebUI forgets its connections and settings at each restart; remove it, or give them all in open_webui_env "
            "and leave open_webui_connections, open_webui_settings and their like empty"
        )


def _of_what_is_declared(wanted: Told) -> t.Iterator[str]:
    for name, needed in (("oidc", ("provider_url", "client_id", "client_secret")), ("ldap", ("host", "search_base"))):
        lacking = [key for key in needed if key not in wanted[name]]
        if wanted[name] and lacking:
            yield f"open_webui_{name} lacks {', '.join(lacking)}"
    if wanted["public_url"] and not _is(r"https?://[^/\s]+.*", wanted["public_url"]):
        yield f"open_webui_public_url is {wanted['public_url']}; write it as https://chat.example.com"
    oauth = [str(name) for name in wanted["settings"] if str(name).startswith("oauth.")]
    if oauth:
        yield f"open_webui_settings may not set {', '.join(oauth)}: use open_webui_oidc, or open_webui_env"


def _of_the_data(wanted: Told) -> t.Iterator[str]:
    if wanted["database_url"] and not _is(r"postgresql(\+[a-z0-9]+)?://.+", wanted["database_url"]):
        yield "open_webui_database_url must begin with postgresql://, or be empty for SQLite in open_webui_data_dir"
    within = f"{wanted['backup_dir']}/".startswith(f"{wanted['data_dir']}/")
    if not _is("/.+", wanted["backup_dir"]) or within:
        yield "open_webui_backup_dir must be an absolute path outside of open_webui_data_dir"
    if wanted["other_keys"]:
        yield (
            f"{wanted['host']} and {', '.join(wanted['other_keys'])} have one database (open_webui_database_url), and "
            "no secret key in common, without which a session of the one is refused by the other: set "
            "open_webui_secret_key to one value for all of them, which for data that are there is the one in "
            f"{wanted['key_file']} of the host that ran first; nothing was changed"
        )
    if wanted["backup_keep"] < 0:
        yield f"open_webui_backup_keep is {wanted['backup_keep']}; give the number of backups to keep, or 0 for all"


def _is(pattern: str, text: str | None) -> bool:
    return re.fullmatch(pattern, text or "") is not None
