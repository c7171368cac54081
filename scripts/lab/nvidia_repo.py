#!/usr/bin/env python3
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Build a repository in the form of NVIDIA's, signed with a key made for it: packages of the four real names.

    python3 scripts/lab/nvidia_repo.py DIR [--format rpm] [--versions 1.19.1,1.20.0,1.20.1]

    DIR/gpgkey                   the signing key, armored
    DIR/fingerprint              its fingerprint
    DIR/stable/deb/amd64/        Packages, InRelease, and the packages of each version
    DIR/stable/deb/arm64/
    DIR/stable/rpm/x86_64/       with --format rpm: repodata, its signature, and the packages of each version

The packages depend on each other as the real ones do, in exactly one version, and bring what is in fake_gpu/ instead of
programs that need a GPU. apt, dpkg, dnf, rpm and the signature are real. Needs gpg, and apt-ftparchive and dpkg-deb or
rpmbuild and createrepo_c.
"""

from __future__ import annotations

import argparse
import dataclasses
import gzip
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

FAKES = Path(__file__).resolve().parent / "fake_gpu"
VERSIONS = ("1.19.1", "1.20.0", "1.20.1")
ARCHITECTURES = {"deb": ("amd64", "arm64"), "rpm": (platform.machine(),)}
DESCRIPTION = "Stand-in for NVIDIA's package of this name, for hosts without a GPU"
OWNER = "Lab of private_llm.fleet <lab@example.com>"


@dataclasses.dataclass(frozen=True)
class Package:
    """One of the four, with what it brings and what it wants."""

    name: str
    programs: tuple[str, ...] = ()
    depends: tuple[str, ...] = ()


PACKAGES = (
    Package("libnvidia-container1"),
    Package("libnvidia-container-tools", depends=("libnvidia-container1 (= {version})",)),
    Package("nvidia-container-toolkit-base", programs=("nvidia-ctk", "nvidia-container-runtime")),
    Package(
        "nvidia-container-toolkit",
        programs=("nvidia-container-runtime-hook",),
        depends=("libnvidia-container-tools (= {version})", "nvidia-container-toolkit-base (= {version})"),
    ),
)


def run(command: Sequence[str], cwd: Path | None = None, env: Mapping[str, str] | None = None) -> bytes:
    """Run a tool; its output, or its complaint."""
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} fails:\n{done.stderr.decode('utf-8', 'replace')}")
    return done.stdout


def build_deb(package: Package, version: str, architecture: str, folder: Path) -> None:
    """Write one package file."""
    full = f"{version}-1"
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch) / "root"
        (root / "DEBIAN").mkdir(parents=True, mode=0o755)
        root.chmod(0o755)
        for program in package.programs:
            target = root / "usr" / "bin" / program
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(
                (FAKES / program).read_text(encoding="utf-8").replace("@VERSION@", version), encoding="utf-8"
            )
            target.chmod(0o755)
        depends = ", ".join(depend.format(version=full) for depend in package.depends)
        control = [
            f"Package: {package.name}",
            f"Version: {full}",
            f"Architecture: {architecture}",
            f"Maintainer: {OWNER}",
            *([f"Depends: {depends}"] if depends else []),
            "Section: utils",
            "Priority: optional",
            f"Description: {DESCRIPTION}",
        ]
        (root / "DEBIAN" / "control").write_text("\n".join(control) + "\n", encoding="utf-8")
        target = folder / f"{package.name}_{full}_{architecture}.deb"
        run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(root), str(target)])


def build_rpms(version: str, architecture: str, folder: Path) -> None:
    """Write the package files of one version."""
    first, *others = PACKAGES
    with tempfile.TemporaryDirectory() as scratch:
        top = Path(scratch)
        lines = [
            "%global debug_package %{nil}",
            f"Name: {first.name}",
            f"Version: {version}",
            "Release: 1",
            "License: GPL-3.0-or-later",
            f"Summary: {DESCRIPTION}",
            "AutoReqProv: no",
            f"%description\n{DESCRIPTION}",
        ]
        for package in others:
            lines += [f"%package -n {package.name}", f"Summary: {DESCRIPTION}", "AutoReqProv: no"]
            # rpm has no parentheses around the version.
            lines += [
                f"Requires: {depend.format(version=f'{version}-1').replace('(', '').replace(')', '')}"
                for depend in package.depends
            ]
            lines += [f"%description -n {package.name}\n{DESCRIPTION}"]
        lines.append("%install")
        for package in PACKAGES:
            for program in package.programs:
                source = top / program
                text = (FAKES / program).read_text(encoding="utf-8").replace("@VERSION@", version)
                source.write_text(text, encoding="utf-8")
                lines.append(f"install -D --mode=755 {source} %{{buildroot}}/usr/bin/{program}")
        for package in PACKAGES:
            lines.append("%files" if package is first else f"%files -n {package.name}")
            lines += [f"/usr/bin/{program}" for program in package.programs]
        spec = top / "lab.spec"
        spec.write_text("\n".join(lines) + "\n", encoding="utf-8")
        defines = {"_topdir": scratch, "_rpmdir": str(folder.parent), "__os_install_post": "%{nil}"}
        options = [f"--define={name} {value}" for name, value in defines.items()]
        run(["rpmbuild", "-bb", "--quiet", f"--target={architecture}", *options, str(spec)])


def make_key(home: Path) -> str:
    """Make the signing key; its fingerprint."""
    home.mkdir(mode=0o700)
    gpg = ["gpg", "--homedir", str(home), "--batch", "--quiet"]
    run([*gpg, "--passphrase", "", "--quick-generate-key", OWNER, "ed25519", "sign", "never"])
    for line in run([*gpg, "--list-keys", "--with-colons"]).decode().splitlines():
        if line.startswith("fpr:"):
            return line.split(":")[9]
    sys.exit("gpg made no key")


def index_rpms(folder: Path, home: Path) -> None:
    """Write the lists of a folder of packages, and sign them."""
    run(["createrepo_c", "--quiet", str(folder)])
    gpg = ["gpg", "--homedir", str(home), "--batch", "--yes", "--quiet"]
    run([*gpg, "--armor", "--detach-sign", "repomd.xml"], cwd=folder / "repodata")


def index_debs(folder: Path, home: Path) -> None:
    """Write the lists of a folder of packages, and sign them."""
    packages = run(["apt-ftparchive", "packages", "."], cwd=folder)
    (folder / "Packages").write_bytes(packages)
    (folder / "Packages.gz").write_bytes(gzip.compress(packages, mtime=0))
    options = [
        f"-oAPT::FTPArchive::Release::{key}={value}" for key, value in (("Codename", "stable"), ("Components", "main"))
    ]
    (folder / "Release").write_bytes(run(["apt-ftparchive", *options, "release", "."], cwd=folder))
    gpg = ["gpg", "--homedir", str(home), "--batch", "--yes", "--quiet"]
    run([*gpg, "--clearsign", "--output", "InRelease", "Release"], cwd=folder)


def build(out: Path, versions: Sequence[str], form: str, architectures: Sequence[str]) -> str:
    """Build the whole repository in place of what was in the folder; the key's fingerprint."""
    if out.exists() and any(out.iterdir()) and not (out / "fingerprint").exists():
        sys.exit(f"{out} holds something else than such a repository; name another folder")
    shutil.rmtree(out, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="gpg-") as scratch:
        home = Path(scratch) / "home"
        fingerprint = make_key(home)
        for architecture in architectures:
            folder = out / "stable" / form / architecture
            folder.mkdir(parents=True)
            for version in versions:
                if form == "rpm":
                    build_rpms(version, architecture, folder)
                else:
                    for package in PACKAGES:
                        build_deb(package, version, architecture, folder)
            (index_rpms if form == "rpm" else index_debs)(folder, home)
        key = run(["gpg", "--homedir", str(home), "--batch", "--armor", "--export"])
        run(["gpgconf", "--homedir", str(home), "--kill", "gpg-agent"])
    (out / "gpgkey").write_bytes(key)
    (out / "fingerprint").write_text(fingerprint + "\n", encoding="utf-8")
    return fingerprint


def main() -> None:
    parser = argparse.ArgumentParser(description="Build a repository in the form of NVIDIA's, for the lab.")
    parser.add_argument("out", type=Path, help="the folder to build it in; an earlier one there is replaced")
    parser.add_argument(
        "--versions", default=",".join(VERSIONS), help=f"versions, by commas (default {','.join(VERSIONS)})"
    )
    parser.add_argument("--format", choices=sorted(ARCHITECTURES), default="deb", help="of the packages (default deb)")
    parser.add_argument("--architectures", help="by commas (default: both for deb, this machine's for rpm)")
    options = parser.parse_args()
    os.umask(0o022)
    architectures = options.architectures.split(",") if options.architectures else ARCHITECTURES[options.format]
    print(build(options.out, options.versions.split(","), options.format, architectures))


if __name__ == "__main__":
    main()
