# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The systemd units that run the watch: a pass every so many seconds, and a start of what the engine did not start."""

from __future__ import annotations

import re
import typing as t

from .. import _systemd

FOLDER = "/etc/systemd/system"
WATCH = "private-llm-watch"
BOOT = "private-llm-watch-boot"

_HEAD = "# Written by private_llm.fleet (server_watch), which writes it anew.\n"
_SERVICE = """\
[Service]
Type=oneshot
ExecStart={command}
TimeoutStartSec={limit}
SyslogIdentifier=private-llm-watch
# Only what a pass tells, and not that there was one.
SyslogLevel=notice
LogLevelMax=notice
NoNewPrivileges=true
ProtectHome=true
ProtectSystem=full
PrivateTmp=true
"""


PROPERTIES = ("Id", *_systemd.PROPERTIES)


def at_work(shown: str, runs_old_files: t.Callable[[_systemd.Unit], bool]) -> bool:
    """Tell by what ``systemctl show`` prints whether all units are read and enabled, and the timer runs as it says."""
    blocks = shown.strip().split("\n\n")
    found = {name: _systemd.parse(block) for block in blocks for name in re.findall("^Id=(.+)$", block, re.MULTILINE)}
    timer, boot = found.get(f"{WATCH}.timer"), found.get(f"{BOOT}.service")
    if timer is None or boot is None or f"{WATCH}.service" not in found:
        return False
    return (
        not any(unit.unread for unit in found.values())
        and (timer.enabled and boot.enabled)
        and (timer.running and not runs_old_files(timer))
    )


def units(python: str, program: str, interval: int) -> dict[str, str]:
    """Return the text of each unit, by the name of its file; ``interval`` is in seconds."""

    def service(step: str, limit: str) -> str:
        return _SERVICE.format(command=f"{python} -I {program} {step}", limit=limit)

    return {
        f"{WATCH}.service": f"""{_HEAD}[Unit]
Description=One pass over the vLLM servers of this host
After=docker.service

{service("pass", "15min")}""",
        f"{WATCH}.timer": f"""{_HEAD}[Unit]
Description=Look at the vLLM servers of this host every {interval} seconds

[Timer]
OnActiveSec={interval}
OnUnitActiveSec={interval}
AccuracySec=1

[Install]
WantedBy=timers.target
""",
        f"{BOOT}.service": f"""{_HEAD}[Unit]
Description=Start the vLLM servers of this host that the engine did not start
After=docker.service nvidia-persistenced.service nvidia-cdi-refresh.service
PartOf=docker.service

{service("boot", "infinity")}
[Install]
WantedBy=docker.service
""",
    }
