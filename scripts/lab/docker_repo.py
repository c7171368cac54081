#!/usr/bin/env python3
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build a repository in the form of Docker's own for Debian or, with rpm, CentOS, signed with a key made for it.

    python3 scripts/lab/docker_repo.py DIR [--format rpm]

    DIR/fingerprint                             the signing key's fingerprint
    DIR/linux/debian/gpg                        the signing key, armored
    DIR/linux/debian/dists/trixie/              InRelease, stable/binary-amd64/Packages, pool/stable/amd64/
    DIR/linux/centos/9/x86_64/stable/           with --format rpm: repodata, and packages that are signed themselves

The Debian packages are Debian's under the names of Docker's, beside which Debian's cannot be installed, as in the real
world; those for rpm are empty. Package managers, signatures and the engine are real. Needs nvidia_repo.py beside it,
gpg, and apt, apt-ftparchive and dpkg-deb, or rpmbuild, rpmsign and createrepo_c.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from nvidia_repo import ARCHITECTURES, OWNER, make_key, run

# Docker's packages, and Debian's that have the same in them; the scripts are those of the first.
PACKAGES = {
    "docker-ce": ("docker.io",),
    "docker-ce-cli": ("docker-cli",),
    "containerd.io": ("containerd", "runc"),
}
REVISION = "1~lab"
DESCRIPTION = "Stand-in for Docker's package of this name"
OTHER_NAMES = {old: name for name, olds in PACKAGES.items() for old in olds}
RELATIONS = ("Breaks", "Built-Using", "Conflicts", "Enhances", "Provides", "Recommends", "Replaces", "Suggests")


def rename(control: str, name: str) -> str:
    """Return the description of one of Debian's packages as one of Docker's."""
    fields = [line for line in re.split(r"\n(?! )", control.strip()) if not line.startswith(RELATIONS)]
    described = dict(line.split(":", 1) for line in fields)
    described["Package"] = f" {name}"
    described["Version"] = f"{described['Version'].split('-', maxsplit=1)[0].split('+', maxsplit=1)[0]}-{REVISION}"
    wanted = [depend.strip() for depend in described.get("Depends", "").split(",") if depend.strip()]
    others = {OTHER_NAMES.get(depend.split()[0], depend) for depend in wanted} - {name}
    if name == "docker-ce":
        others |= {"docker-ce-cli", "containerd.io"}
    described["Depends"] = f" {', '.join(sorted(others))}"
    return "".join(f"{field}:{value}\n" for field, value in described.items())


def build_deb(name: str, debs: Path, pool: Path) -> None:
    """Write one package file."""
    root = debs / name
    first, *others = (next(debs.glob(f"{old}_*.deb")) for old in PACKAGES[name])
    run(["dpkg-deb", "--raw-extract", str(first), str(root)])
    for other in others:
        run(["dpkg-deb", "--extract", str(other), str(root)])
    control = root / "DEBIAN" / "control"
    control.write_text(rename(control.read_text(encoding="utf-8"), name), encoding="utf-8")
    run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(root), str(pool)])


def build_debs(archive: Path, release: str, architecture: str, gpg: Sequence[str]) -> None:
    """Build the packages and their lists, and sign the lists."""
    suite = archive / "dists" / release
    pool = suite / "pool" / "stable" / architecture
    pool.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as scratch:
        debs = Path(scratch)
        run(["apt-get", "download", "-o=APT::Sandbox::User=root", *OTHER_NAMES], cwd=debs)
        for name in PACKAGES:
            build_deb(name, debs, pool)
    lists = suite / "stable" / f"binary-{architecture}"
    lists.mkdir(parents=True)
    (lists / "Packages").write_bytes(run(["apt-ftparchive", "packages", str(pool.relative_to(archive))], cwd=archive))
    about = {"Suite": release, "Codename": release, "Components": "stable", "Architectures": architecture}
    options = [f"-oAPT::FTPArchive::Release::{key}={value}" for key, value in about.items()]
    (suite / "Release").write_bytes(run(["apt-ftparchive", *options, "release", "."], cwd=suite))
    run([*gpg, "--clearsign", "--output", "InRelease", "Release"], cwd=suite)


def build_rpms(archive: Path, release: str, architecture: str, home: Path) -> None:
    """Build the packages, sign them, and write their lists."""
    folder = archive / release / architecture / "stable"
    folder.mkdir(parents=True)
    common = f"Summary: {DESCRIPTION}\nAutoReqProv: no"
    needs = {"docker-ce": "Requires: containerd.io docker-ce-cli\n"}
    signer = [f"--define=__gpg {shutil.which('gpg')}", f"--define=_gpg_path {home}", f"--define=_gpg_name {OWNER}"]
    for name in PACKAGES:
        with tempfile.TemporaryDirectory() as scratch:
            spec = Path(scratch) / "lab.spec"
            spec.write_text(
                f"Name: {name}\nVersion: 26.1.5\nRelease: 1\nLicense: GPL-3.0-or-later\n{common}\n"
                f"{needs.get(name, '')}%description\n{DESCRIPTION}\n%files\n",
                encoding="utf-8",
            )
            defines = [f"--define=_topdir {scratch}", f"--define=_rpmdir {scratch}/out"]
            run(["rpmbuild", "-bb", "--quiet", f"--target={architecture}", *defines, str(spec)])
            for package in Path(scratch).glob("out/*/*.rpm"):
                run(["rpmsign", "--addsign", *signer, str(package)])
                shutil.move(package, folder)
    run(["createrepo_c", "--quiet", str(folder)])


def build(out: Path, form: str) -> str:
    """Build the whole repository in place of what was in the folder; the key's fingerprint."""
    if out.exists() and any(out.iterdir()) and not (out / "fingerprint").exists():
        sys.exit(f"{out} holds something else than such a repository; name another folder")
    shutil.rmtree(out, ignore_errors=True)
    archive = out / "linux" / {"deb": "debian", "rpm": "centos"}[form]
    archive.mkdir(parents=True)
    with tempfile.TemporaryDirectory(prefix="gpg-") as scratch:
        home = Path(scratch) / "home"
        fingerprint = make_key(home)
        gpg = ["gpg", "--homedir", str(home), "--batch", "--yes", "--quiet"]
        if form == "deb":
            release = platform.freedesktop_os_release()["VERSION_CODENAME"]
            build_debs(archive, release, run(["dpkg", "--print-architecture"]).decode().strip(), gpg)
        else:
            build_rpms(archive, "9", platform.machine(), home)
        (archive / "gpg").write_bytes(run([*gpg, "--armor", "--export"]))
        run(["gpgconf", "--homedir", str(home), "--kill", "gpg-agent"])
    (out / "fingerprint").write_text(fingerprint + "\n", encoding="utf-8")
    return fingerprint


def main() -> None:
    parser = argparse.ArgumentParser(description="Build a repository in the form of Docker's own, for the lab.")
    parser.add_argument("out", type=Path, help="the folder to build it in; an earlier one there is replaced")
    parser.add_argument("--format", choices=sorted(ARCHITECTURES), default="deb", help="of the packages (default deb)")
    options = parser.parse_args()
    os.umask(0o022)
    print(build(options.out, options.format))


if __name__ == "__main__":
    main()
