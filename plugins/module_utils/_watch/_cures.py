# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which failures of a server a restart can cure, by the identifiers of their diagnosis.

What follows from options, files, drivers or a lack of room comes again at the next start, so a restart only adds an
outage. What is not listed here is not cured by a restart.
"""

from __future__ import annotations

# What the watch itself finds.
HUNG = "hung"  # it answers, and generates nothing
SILENT = "silent"  # it ran, and answers nothing any more
NOT_STARTED = "not_started"  # the engine could not start the container
STUCK = "stuck_in_start"  # it was not ready within the time for a start
PARTED = "parted"  # a member of a server over several hosts lost the others

CURABLE = frozenset(
    {
        HUNG,
        SILENT,
        STUCK,
        PARTED,
        # A process is stuck, or lost the others.
        "worker_hangs",
        "worker_timeout",
        "engine_ready_timeout",
        "timeout",
        "nccl",
        "no_meeting",
        "meeting_port",
        # A process died.
        "killed",
        "crashed",
        "died_silently",
        "ended_from_outside",
        "cuda_memory_access",
        "cuda_out_of_memory",
        "host_out_of_memory",
        # Something else was on the GPU while it measured.
        "gpu_shared",
        "gpu_memory_shared",
        "kv_cache_refused",
        "profiling_disturbed",
        # Nobody knows; the number of restarts is bounded.
        "engine_refused",
        "not_working",
        "unknown",
    }
)

# What keeps the engine from starting a container, and can pass by itself while a host comes up.
PASSING = frozenset(
    {
        NOT_STARTED,
        "cdi_off",
        "cdi_unresolvable",
        "no_gpu_runtime",
        "nvidia_hook",
        "nvidia_hook_no_driver",
        "unknown_device",
        "nvml_lost",
        "port_allocated",
        "port_in_use",
        "mount_denied",
        "engine_refused",
    }
)


def is_curable(cause: str) -> bool:
    """Say whether a restart can cure this cause."""
    return cause in CURABLE
