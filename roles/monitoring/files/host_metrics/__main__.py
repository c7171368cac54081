# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write what node_exporter does not know of a host of the fleet, for its textfile collector.

Run by a timer as `python3 host_metrics CONFIG.json`. The configuration names `output` (the file), `state` (what was
counted), `model_store`, `certificates`, `gateway` (whether one runs here), `nvidia_smi` and `seconds` (of each
question).
"""

from __future__ import annotations

import json
import os
import sys
import typing as t

import certificates
import gateway_log
import gpus
from exposition import Metrics, write


def collect(config: t.Mapping[str, t.Any]) -> Metrics:
    """Return what can be known of this host."""
    metrics = Metrics()
    gpus.add(metrics, config["nvidia_smi"], config["seconds"])
    if config["model_store"]:
        add_model_store(metrics, config["model_store"])
    certificates.add(metrics, config["certificates"])
    if config["gateway"]:
        gateway_log.add(metrics, config["state"], config["seconds"])
    return metrics


def add_model_store(metrics: Metrics, path: str) -> None:
    """Add the space of the disk that the models are on, or will be on."""
    path = os.path.abspath(path)
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    disk = os.statvfs(path)
    metrics.add(
        "private_llm_model_store_bytes", "gauge", "Size of the model store's disk.", disk.f_blocks * disk.f_frsize
    )
    metrics.add(
        "private_llm_model_store_free_bytes",
        "gauge",
        "Free space of the model store's disk.",
        disk.f_bavail * disk.f_frsize,
    )


def main() -> None:
    """Collect and write."""
    with open(sys.argv[1], encoding="utf-8") as stream:
        config = json.load(stream)
    write(config["output"], collect(config).text())


if __name__ == "__main__":
    main()
