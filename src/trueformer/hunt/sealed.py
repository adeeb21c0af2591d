"""Runs a hunter's command where no answer can be reached: in a root of its own, with no network and no other process.

Inside are the workspace (writable), this Python with its packages but for trueformer, the system's programs and
libraries (all read-only), an empty home and /tmp. Not inside: the installed package with the catalogue and the sound
sources, its checkout, caches, records, and the grader, which runs outside after the command has ended. Built of Linux
namespaces with util-linux's `unshare`; leaves out other systems, and limits of memory and time, which are the caller's.
"""

import ctypes
import os
import shutil
import signal
import site
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path

import trueformer

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc")
DEVICES = ("null", "zero", "full", "random", "urandom")
INSIDE = "/workspace"
PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)
NEW_ROOT = r"""
set -eu
mount --make-rprivate /
mount -t tmpfs -o mode=755,size=1m none "$SEAL"
show() {  # a path as it is outside, read-only
    [ ! -e "$SEAL$1" ] || return 0  # it lies in one that is shown
    if [ -L "$1" ]; then mkdir -p "$SEAL${1%/*}"; cp -P "$1" "$SEAL$1"; return; fi
    if [ -d "$1" ]; then mkdir -p "$SEAL$1"; else mkdir -p "$SEAL${1%/*}"; : > "$SEAL$1"; fi
    mount --bind "$1" "$SEAL$1"
    mount -o remount,bind,ro "$SEAL$1"
}
hide() {  # nothing in its place
    if [ ! -d "$SEAL$1" ]; then mount --bind /dev/null "$SEAL$1"; return; fi
    mount -t tmpfs -o ro,mode=755,size=4k none "$SEAL$1"
}
mkdir -p "$SEAL/dev" "$SEAL/proc" "$SEAL/tmp" "$SEAL/home" "$SEAL/workspace" "$SEAL/outside"
for name in $DEVICES; do : > "$SEAL/dev/$name"; mount --bind "/dev/$name" "$SEAL/dev/$name"; done
mkdir "$SEAL/dev/shm"
mount -t tmpfs -o mode=1777,size=1g none "$SEAL/dev/shm"
mount -t tmpfs -o mode=1777,size=1g none "$SEAL/tmp"
mount -t tmpfs -o mode=1777,size=256m none "$SEAL/home"
printf '%s\n' "$SHOWN" | while IFS= read -r path; do [ -z "$path" ] || show "$path"; done
printf '%s\n' "$HIDDEN" | while IFS= read -r path; do [ ! -e "$SEAL$path" ] || hide "$path"; done
mount --bind "$WORKSPACE" "$SEAL/workspace"
mount -t proc none "$SEAL/proc"
cd "$SEAL"
pivot_root . outside
umount -l /outside
rmdir /outside
mount -o remount,ro /
cd /workspace
unset SEAL SHOWN HIDDEN DEVICES WORKSPACE OLDPWD
exec unshare --user --map-user="$HUNTER" --map-group="$HUNTER" -- "$@"
"""


def sealed(
    workspace: Path,
    command: Sequence[str],
    *,
    network: bool = False,
    allow: Sequence[Path] = (),
    environment: Mapping[str, str] | None = None,
) -> tuple[list[str], dict[str, str]]:
    """The command line and the environment that run `command` in a seal around `workspace`: /workspace to it.

    `allow` are paths to show beside the usual ones, read-only: the hunter's own program. `environment` is added to the
    few variables that are inside.
    """
    namespaces = ["--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child", "--ipc", "--uts"]
    unshare = ["unshare", *namespaces, *([] if network else ["--net"])]
    seal = Path(workspace).resolve().parent / f".seal-{os.getpid()}-{workspace.name}"
    seal.mkdir(exist_ok=True)
    shown = dict.fromkeys([*SYSTEM, *_python(), *(str(path.resolve()) for path in allow)])
    inside = {
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
        "HOME": "/home",
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "HUNTER": "1000",
        "SEAL": str(seal),
        "SHOWN": "\n".join(path for path in shown if Path(path).exists()),
        "HIDDEN": "\n".join(_answers()),
        "DEVICES": " ".join(DEVICES),
        "WORKSPACE": str(workspace.resolve()),
        **(environment or {}),
    }
    return [*unshare, "--", "/bin/sh", "-c", NEW_ROOT, "seal", *command], inside


def _python() -> list[str]:
    """Where this Python and its packages lie, the shortest path first so that what is in another is shown once."""
    found = {sys.prefix, sys.base_prefix, *site.getsitepackages(), sysconfig.get_path("stdlib")}
    kept: list[str] = []
    for path in sorted(str(Path(p).resolve()) for p in found):
        if not any(path == other or path.startswith(f"{other}/") for other in [*kept, *SYSTEM]):
            kept.append(path)
    return kept


def _answers() -> list[str]:
    """What must not be seen: the package wherever it is installed, and what its installation says of its files."""
    folders = [*map(Path, site.getsitepackages()), Path(trueformer.__file__).parent.parent]
    found = [Path(trueformer.__file__).parent]
    for folder in folders:
        found += [path for path in folder.glob("*trueformer*") if path not in found]
    return [str(path.resolve()) for path in found]


def end_with_us() -> None:
    """In a child, before it becomes another program: the kernel ends it when the thread that started it ends, however."""
    if sys.platform == "linux":
        _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def why_not_sealed() -> str:
    """Why this machine cannot seal a hunter in; empty where it can."""
    missing = [
        name
        for name in ("unshare", "mount", "pivot_root")
        if shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin") is None
    ]
    if missing:
        return f"there is no {missing[0]} here: it is of util-linux, and seals work on Linux only"
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder) / "probe"
        workspace.mkdir()
        command, environment = sealed(workspace, ["true"])
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    if done.returncode == 0:
        return ""
    said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
    return f"this machine does not let a user make namespaces ({said})"
