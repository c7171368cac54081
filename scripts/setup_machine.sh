#!/bin/sh
# Copyright: private_llm.fleet contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Gets this machine ready: installs the system packages that are missing, and starts the Docker engine when none
# answers. Does nothing, quickly, when all is there.
#
#   setup_machine.sh tools    what it takes to make the virtual environment with the tools
#   setup_machine.sh images   what it takes to build the lab's images
#   setup_machine.sh lab      what the demo and the tests need besides: a Docker engine, a browser, and more

set -eu

PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

say() {
    printf '%s\n' "$*" >&2
}

die() {
    say "$*"
    exit 1
}

# Runs a command as root.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "this takes root, and there is no sudo here; as root, run: $*"
    fi
}

# Prints the packages whose command is missing, from lines of "command package".
missing_packages() {
    while read -r program package; do
        command -v "$program" >/dev/null || printf '%s ' "$package"
    done
}

install_packages() {
    [ $# -gt 0 ] || return 0
    command -v apt-get >/dev/null ||
        die "these are missing here: $*. They are named as in Debian; install what your system calls them, and run this again."
    say "installing packages: $*"
    quietly as_root apt-get -o Acquire::Retries=3 update
    quietly as_root env DEBIAN_FRONTEND=noninteractive apt-get -o Acquire::Retries=3 \
        install --yes --no-install-recommends "$@"
}

# Runs a command, and shows what it said only when it fails.
quietly() {
    output=$(mktemp)
    if "$@" >"$output" 2>&1; then
        rm -f "$output"
    else
        cat "$output" >&2
        rm -f "$output"
        die "failed: $*"
    fi
}

setup_tools() {
    command -v python3 >/dev/null || install_packages python3
    if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        install_packages python3-venv
    fi
    command -v git >/dev/null || install_packages git
    python3 -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' ||
        die "$(command -v python3) is $(python3 --version); the tools need Python 3.11, 3.12 or 3.13: put one first on PATH"
}

setup_lab() {
    # shellcheck disable=SC2046  # one word for each package is what is wanted
    install_packages $(missing_packages <<LIST
dockerd docker.io
mmdebstrap mmdebstrap
docker-registry docker-registry
git git
git-lfs git-lfs
haproxy haproxy
gpg gnupg
ssh openssh-client
dpkg-scanpackages dpkg-dev
apt-ftparchive apt-utils
ip iproute2
chromium chromium
openssl openssl
pg_dump postgresql
LIST
    )
    # Its own package from Debian 13 on, part of docker.io before.
    command -v docker >/dev/null || install_packages docker-cli
    start_engine
}

engine_answers() {
    docker version --format '{{.Server.Version}}' >/dev/null 2>&1
}

start_engine() {
    engine_answers && return 0
    if [ "$(id -u)" != 0 ] && as_root docker version >/dev/null 2>&1; then
        die "the Docker engine answers root, but not $(id -un): add yourself to the group docker, log in again, and run this again"
    fi
    log=/var/log/dockerd.log
    if [ -d /run/systemd/system ]; then
        say "starting the Docker engine: systemctl start docker"
        as_root systemctl start docker
        log="journalctl -u docker"
    else
        say "starting the Docker engine: dockerd, in the background; its log is $log"
        # Without a service manager: in a session of its own, so that it stays when this shell goes. It writes /var/run/docker.pid.
        as_root sh -c "setsid nohup dockerd >>$log 2>&1 </dev/null &"
    fi
    waited=0
    until engine_answers; do
        [ "$waited" -lt 60 ] || die "the Docker engine does not answer after $waited s; see $log"
        sleep 1
        waited=$((waited + 1))
    done
}

case "${1:-}" in
tools) setup_tools ;;
images)
    # shellcheck disable=SC2046  # one word for each package is what is wanted
    install_packages $(echo mmdebstrap mmdebstrap | missing_packages)
    ;;
lab)
    setup_tools
    setup_lab
    ;;
*) die "usage: $0 tools|images|lab" ;;
esac
