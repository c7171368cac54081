# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What runs in a container of an Open WebUI image, by the image's own Python, as text: nothing else of this collection
is there.

    revisions         print the revisions of the database's schema that the image knows
    cache FROM TO     copy what the image brings for the data folder, without what is there already
"""

from __future__ import annotations

import importlib.util
import os
import pathlib
import re
import shutil
import sys


def revisions(package: pathlib.Path) -> list[str]:
    """Return the revisions for which a package has a migration."""
    texts = (path.read_text(encoding="utf-8") for path in (package / "migrations" / "versions").glob("*.py"))
    found = (re.search(r"^revision\b[^=]*=\s*['\"](\w+)", text, re.MULTILINE) for text in texts)
    return sorted(match.group(1) for match in found if match)


def bring_cache(source: str, target: str) -> None:
    """Copy a folder into another one; each file appears whole, and what is there stays."""
    for folder, _folders, files in os.walk(source):
        place = os.path.join(target, os.path.relpath(folder, source))
        os.makedirs(place, exist_ok=True)
        for name in files:
            there = os.path.join(place, name)
            if not os.path.lexists(there):
                shutil.copy2(os.path.join(folder, name), there + ".partial", follow_symlinks=False)
                os.rename(there + ".partial", there)


def main(arguments: list[str]) -> None:
    if arguments[0] == "cache":
        bring_cache(*arguments[1:])
        return
    found = importlib.util.find_spec("open_webui")
    places = list(found.submodule_search_locations or []) if found else []
    sys.stdout.write("\n".join(revisions(pathlib.Path(places[0])) if places else []) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
