# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from docker_repo import rename

CONTROL = """\
Package: docker.io
Version: 26.1.5+dfsg1-9+deb13u1
Conflicts: docker-ce
Built-Using: golang-1.24 (= 1.24.4-1),
 runc (= 1.1.15+ds1-2)
Depends: adduser, containerd (>= 1.7.24~ds1), libc6 (>= 2.34), runc (>= 1.1.15)
Recommends: docker-cli
Description: Linux container runtime
 Docker complements kernel namespacing.
"""


def test_a_package_of_debian_under_the_name_of_docker() -> None:
    assert rename(CONTROL, "docker-ce") == (
        "Package: docker-ce\nVersion: 26.1.5-1~lab\n"
        "Depends: adduser, containerd.io, docker-ce-cli, libc6 (>= 2.34)\n"
        "Description: Linux container runtime\n Docker complements kernel namespacing.\n"
    )


def test_a_package_does_not_depend_on_itself() -> None:
    control = "Package: containerd\nVersion: 1.7.24~ds1-6\nDepends: runc (>= 1.1.15), libc6 (>= 2.34)\n"
    assert "Depends: libc6 (>= 2.34)\n" in rename(control, "containerd.io")
