"""Runs inside a seal and looks for answers wherever a clever hunter would; prints what it found, as JSON."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

SECRET, PORT, CHECKOUT = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])


def tried(*command: str) -> str:
    """What a program prints; nothing where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    return done.stdout.strip() if done.returncode == 0 else ""


def imported() -> str:
    """The installed package, from a place where the workspace's copy does not hide it."""
    code = "import trueformer, os; print(os.path.dirname(trueformer.__file__))"
    return subprocess.run(
        [sys.executable, "-c", code], cwd="/tmp", capture_output=True, text=True
    ).stdout.strip()


def files_named() -> list[str]:
    """Files of the package, its catalogue, its byte code or its installation, outside the workspace."""
    found = []
    for root, folders, files in os.walk("/"):
        here = Path(root)
        folders[:] = [name for name in folders if str(here / name) not in ("/proc", "/workspace", "/sys")]
        inside = "trueformer" in root or here.name == "catalogue"
        found += [str(here / name) for name in files if inside or _ours(here / name)]
    return found


def _ours(path: Path) -> bool:
    """Named after the package and not empty; the launcher in `bin` says no more than that it would import it."""
    return "trueformer" in path.name and path.parent.name != "bin" and path.stat().st_size > 0


def texts() -> list[str]:
    """Files that hold a sentence of the catalogue, where text and byte code of packages lie."""
    places = [sys.prefix, "/etc", "/tmp", "/home", "/workspace", "/dev/shm"]
    return tried(
        "grep",
        "-rl",
        "--include=*.py",
        "--include=*.pyc",
        "--include=*.toml",
        "--include=*.json",
        SECRET,
        *places,
    ).splitlines()


def processes() -> list[str]:
    """Processes that are not this one's, and what of them can be read."""
    mine = {"1", str(os.getpid()), str(os.getppid())}
    found = []
    for name in (path.name for path in Path("/proc").iterdir() if path.name.isdigit()):
        line = Path(f"/proc/{name}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        if name not in mine and "seeker" not in line:
            found.append(line)
        try:
            if Path(f"/proc/{name}/root").resolve() != Path("/"):
                found.append(f"the root of {name}")
        except OSError:
            pass
    return found


def escapes() -> list[str]:
    """Ways out that work."""
    ways = {
        "unmount": ["umount", sys.prefix],
        "remount": ["mount", "-o", "remount,rw", "/usr"],
        "own namespace": ["unshare", "--user", "--map-root-user", "--mount", "umount", sys.prefix],
        "enter": ["nsenter", "--target", "1", "--mount", "true"],
        "checkout": ["ls", str(CHECKOUT / "src")],
        "write": ["touch", f"{sys.prefix}/written"],
    }
    return [
        name for name, command in ways.items() if subprocess.run(command, capture_output=True).returncode == 0
    ]


def network() -> bool:
    """Whether the grader's machine can be talked to."""
    try:
        socket.create_connection(("127.0.0.1", PORT), timeout=3).close()
    except OSError:
        return False
    return True


found = {
    "imported": imported(),
    "files": files_named(),
    "texts": texts(),
    "processes": processes(),
    "escapes": escapes(),
    "network": network(),
    "commits": tried("git", "-C", "/workspace", "rev-list", "--all", "--count"),
    "environment": sorted(name for name in os.environ if "TRUEFORMER" in name or "SEAL" in name),
}
Path("/workspace/found.json").write_text(json.dumps(found))
