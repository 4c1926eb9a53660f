"""Installing what is missing on Debian and Ubuntu, without letting a package start a service."""

import os
import shutil
import subprocess

from turnout.router.nodes.errors import NodeError

# While a package is being installed, `invoke-rc.d` and `deb-systemd-invoke` ask policy-rc.d whether
# they may start its service; 101 forbids it
# (https://people.debian.org/~hmh/invokerc.d-policyrc.d-specification.txt). One shell process does
# all of it, so that what was there before comes back however the installation ends. What a killed
# installation left behind is put right by the next one.
_SCRIPT = r"""
set -eu
policy=/usr/sbin/policy-rc.d
saved=$policy.before-turnout
restore() {
    if [ -e "$saved" ]; then mv -f "$saved" "$policy"
    elif grep -qs 'written by turnout' "$policy"; then rm -f "$policy"
    fi
}
exec 9>/run/lock/turnout-packages
flock 9
restore
trap restore EXIT
trap 'exit 130' INT
trap 'exit 143' HUP TERM
if [ -e "$policy" ]; then mv "$policy" "$saved"; fi
printf '#!/bin/sh\n# written by turnout while it installs packages\nexit 101\n' >"$policy"
chmod 755 "$policy"

export DEBIAN_FRONTEND=noninteractive
before=" $(dpkg-query -W -f '${Package} ' 2>/dev/null) "
apt-get update -q || true   # a broken foreign source need not stop us: the next line decides
apt-get install -q -y --no-install-recommends -o DPkg::Lock::Timeout=120 "$@"
if command -v systemctl >/dev/null; then
    for package in $(dpkg-query -W -f '${Package} '); do
        case "$before" in *" $package "*) continue ;; esac
        for unit in $(dpkg -L "$package" | grep -E '/systemd/system/[^@]+\.(service|socket)$'); do
            systemctl --root=/ --quiet disable "${unit##*/}" || true   # no running systemd needed
        done
    done
fi
"""

_INSTALL_SECONDS = 600


def command(*packages: str) -> str:
    """Return the command with which a person installs `packages` on Debian and Ubuntu."""
    return "sudo apt-get install " + " ".join(packages)


def can_install() -> bool:
    """Tell whether apt-get is here and may be run: as root, or by sudo without a password."""
    if shutil.which("apt-get") is None:
        return False
    if os.geteuid() == 0:
        return True
    if shutil.which("sudo") is None:
        return False
    return _run(["sudo", "-n", "true"], seconds=10).returncode == 0


def install(*packages: str) -> None:
    """Install Debian packages; no service of theirs is started, or enabled by this installation.

    Raises:
        NodeError: apt-get failed; the last lines of its output are in the text.
    """
    sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
    try:
        done = _run([*sudo, "sh", "-c", _SCRIPT, "sh", *packages], seconds=_INSTALL_SECONDS)
    except subprocess.TimeoutExpired:
        raise NodeError(
            f"apt-get did not finish within {_INSTALL_SECONDS} s: {command(*packages)}"
        ) from None
    if done.returncode != 0:
        tail = "\n".join(done.stdout.strip().splitlines()[-8:])
        raise NodeError(f"{command(*packages)} failed:\n{tail}")


def _run(arguments: list[str], *, seconds: float) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        arguments,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        check=False,
    )
