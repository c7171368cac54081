# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where things are kept on a host. Root alone may write to all of these.

What is declared is below /etc, keys included; what was found out below /var/lib; what can be made again below
/var/cache; what ends with the machine's run below /run; programs of ours below /opt.
"""

from __future__ import annotations

SERVER_SECRETS = "/etc/private_llm/vllm_server"
WATCH_CONFIG = "/etc/private_llm/server_watch"
FIREWALL = "/etc/private_llm/firewall"

MEASURED = "/var/lib/private_llm/measured"
# Where it was kept first; it is read from there until it is written anew.
MEASURED_BEFORE = "/etc/private_llm/vllm"
METRICS = "/var/lib/private_llm/metrics"
WATCH_MEMORY = "/var/lib/private_llm/server_watch"

COMPILED = "/var/cache/private_llm/vllm"
FAILED_LOGS = "/var/log/private_llm/vllm_server"

LOCKS = "/run/private_llm/locks"
GPU_TURNS = "/run/private_llm/turns"
PROGRESS = "/run/private_llm/progress"
SPREAD = "/run/private_llm/spread"
DRY_FIT = "/run/private_llm/dry_fit"

WATCH_PROGRAM = "/opt/private_llm/server_watch"
