# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run `ansible-test sanity` on the collection and its tests, with no container.

ansible-test wants the collection at a real path .../ansible_collections/private_llm/fleet, so its tracked files are
mirrored there, below .cache, as a git repository of its own: otherwise the checkout around it would be asked for the
files, and answer that there are none, for .cache is ignored. ansible-test gets a home folder of its own there too:
with pip's effective configuration (it drops pip's environment variables), and, where the script by which it installs
pip cannot be downloaded, one that installs the pip that comes with Python.
"""

from __future__ import annotations

import argparse
import ast
import configparser
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import urllib.error
import urllib.request
from pathlib import Path

from mirror import mirror, tracked_files
from results import ARTIFACTS, RESULTS, ROOT, duration, run_logged, total

LIMIT_SECONDS = 900.0
DOWNLOAD_SECONDS = 10.0

# Programs for the machine on which one works on the collection. They follow its rules (a shebang of python3, say), not
# those of what Ansible carries to hosts; `make lint` looks after them.
NOT_OF_THE_COLLECTION = (
    ".collections/",
    "benchmarks/",
    "molecule/",
    "scripts/",
    "tests/support/",
    "tests/unit/scripts/",
)

# Tests about which ansible-test only warns when a program is missing, and the program. Nobody shall think they ran.
PROGRAMS = {"shellcheck": "shellcheck"}

STAND_IN = '''\
"""Installs pip as ansible-test asks, out of the wheel that comes with Python, where get-pip cannot be downloaded."""
import os
import subprocess
import sys
import ensurepip

ensurepip.bootstrap(upgrade=True)
# ensurepip points pip at an empty configuration; from here on the user's own counts.
os.environ.pop("PIP_CONFIG_FILE", None)
# ensurepip brings what these two would leave out or in; the rest are pip's own options and requirements.
arguments = [word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel")]
sys.exit(subprocess.call([sys.executable, "-m", "pip", "install", "--upgrade", *arguments]))
'''


def write_pip_configuration(python: str, path: Path) -> None:
    """Write down what pip is configured to do here, whether by files or by the environment."""
    listed = subprocess.run(
        [python, "-m", "pip", "config", "list"], stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    settings: dict[str, str] = {}
    # Lines read global.cert='/path' or :env:.cert='/path'. The environment goes before any file.
    for line in sorted(listed.splitlines(), key=lambda text: text.startswith(":env:")):
        key, separator, value = line.partition("=")
        if separator:
            settings[key.rpartition(".")[2]] = str(ast.literal_eval(value))
    settings.pop("user", None)
    parser = configparser.RawConfigParser()
    parser["global"] = settings
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        parser.write(file)


def provide_get_pip(home: Path) -> None:
    """Put the script by which ansible-test installs pip where it looks first: its own, or else the stand-in."""
    package = Path(sysconfig.get_path("purelib")) / "ansible_test"
    script = (package / "_util" / "target" / "setup" / "requirements.py").read_text(encoding="utf-8")
    url = re.search(r"'(https://[^']*get-pip-%s\.py)'", script)
    version = re.search(
        r"\bpip='([\d.]+)'", (package / "_internal" / "python_requirements.py").read_text(encoding="utf-8")
    )
    if url is None or version is None:
        raise SystemExit(
            "this ansible-test installs pip in another way: adapt provide_get_pip in scripts/run_sanity.py"
        )
    path = home / ".ansible" / "test" / "cache" / f"get_pip_{version[1].replace('.', '_')}.py"
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with urllib.request.urlopen(url[1] % version[1], timeout=DOWNLOAD_SECONDS) as answer:
            path.write_bytes(answer.read())
    except (urllib.error.URLError, TimeoutError):
        path.write_text(STAND_IN, encoding="utf-8")


def real_pythons() -> list[str]:
    """Find folders of real Python programs: a version manager's shims fail for versions that are not selected."""
    folders = [str(Path(sys.base_prefix) / "bin")]
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    if pyenv.is_dir():
        folders += sorted(str(path / "bin") for path in pyenv.glob("3.*") if (path / "bin").is_dir())
    return folders


def main() -> int:
    """Mirror, prepare, run, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", default="sanity", help="of its folders below .cache; runs at the same time need two")
    parser.add_argument("arguments", nargs="*", help="arguments for ansible-test sanity, such as --test pep8, after --")
    options = parser.parse_args()
    cache = ROOT / ".cache" / options.name
    home, collection = cache / "home", cache / "ansible_collections" / "private_llm" / "fleet"
    tools = str(Path(sys.executable).parent)
    path = os.pathsep.join(
        [tools, *real_pythons(), *(p for p in os.environ["PATH"].split(os.pathsep) if "shims" not in p)]
    )
    missing = sorted(test for test, program in PROGRAMS.items() if shutil.which(program, path=path) is None)
    if missing:
        print(
            f"not found, so that these tests would be passed without being run: {', '.join(missing)}", file=sys.stderr
        )
        return 1

    mirror([name for name in tracked_files() if not name.startswith(NOT_OF_THE_COLLECTION)], collection)
    if not (collection / ".git").is_dir():
        subprocess.run(["git", "init", "--quiet", str(collection)], check=True)
    write_pip_configuration(sys.executable, home / ".config" / "pip" / "pip.conf")
    provide_get_pip(home)
    output = collection / "tests" / "output" / "junit"
    shutil.rmtree(output, ignore_errors=True)
    log = ARTIFACTS / f"{options.name}.log"
    argv = [
        str(Path(tools) / "ansible-test"),
        "sanity",
        "--venv",
        "--python",
        "default",
        "--junit",
        "--color",
        "no",
        *options.arguments,
    ]
    status, seconds = run_logged(
        ["env", "--chdir", str(collection), *argv],
        log,
        LIMIT_SECONDS,
        {"HOME": str(home), "PATH": path, "LC_ALL": "C.UTF-8"},
        show=False,
    )
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith(("ERROR", "FATAL", "WARNING: Skipping")):
            print(line)
    results = RESULTS / options.name
    shutil.rmtree(results, ignore_errors=True)
    if output.is_dir():
        shutil.copytree(output, results)
    ran = total(results)
    print(f"sanity: {ran}, {ran.skipped} skipped, in {duration(seconds)}", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
