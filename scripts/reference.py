# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The reference of modules, filters and roles as pages, made from the installed collection; any warning is an error."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

COLLECTION = "private_llm.fleet"

# Headings of Ansible's own documentation, which is not at hand where this is built.
ELSEWHERE = re.compile(
    r"undefined label: '(?:common_return_values|action_plugins|ansible_configuration_settings"
    r"|ansible_collections\.(?!private_llm\.)[\w.]+)'"
)

Run = Callable[[list[str], Path, Mapping[str, str]], str]


def warnings_of(output: str) -> list[str]:
    """Give the warnings and errors of sphinx-build, less those about headings that are elsewhere."""
    return [
        line
        for line in output.splitlines()
        if re.search(r"\b(?:WARNING|ERROR|CRITICAL|SEVERE)\b", line) and not ELSEWHERE.search(line)
    ]


def build(run: Run, env: Mapping[str, str], pages: Path, work: Path) -> list[str]:
    """Make the pages of an installed collection in `pages`, by way of `work`; give one line for each thing wrong.

    `run` runs a tool with an environment and raises when it fails.
    """
    installed = Path(env["ANSIBLE_COLLECTIONS_PATH"]) / "ansible_collections" / "private_llm" / "fleet"
    run(
        ["antsibull-docs", "lint-collection-docs", "--plugin-docs", "--validate-collection-refs", "self", "."],
        installed,
        env,
    )
    work.mkdir(mode=0o755, parents=True)
    sources = work / "sources"
    sources.mkdir(mode=0o755)
    options = ["--use-current", "--fail-on-error", "--squash-hierarchy", "--dest-dir", str(sources)]
    run(["antsibull-docs", "collection", *options, COLLECTION], work, env)
    settings = {
        "project": COLLECTION,
        "extensions": "sphinx_antsibull_ext",
        "html_theme": "alabaster",
        "html_copy_source": "0",
    }
    defined = [word for name, value in settings.items() for word in ("-D", f"{name}={value}")]
    shutil.rmtree(pages, ignore_errors=True)
    output = run(
        ["sphinx-build", "-C", "-q", "-d", str(work / "doctrees"), *defined, str(sources), str(pages)], work, env
    )
    return warnings_of(output)
