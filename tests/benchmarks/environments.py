"""A virtual environment for each peer, made when it is first needed, in a folder that git ignores."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.benchmarks.catalogue import Peer

INSTALL_TIMEOUT = 600
LAST_WORDS = 400


class NotInstalled(Exception):
    """A peer could not be installed, or may not be; the message is shown in its rows."""


def interpreter(peer: Peer, cache: Path, *, install: bool) -> Path:
    """The Python of the peer's environment. Raises NotInstalled when it is missing and cannot be made."""
    home = cache / "environments" / f"{peer.name}-{sys.version_info.major}.{sys.version_info.minor}"
    python, stamp = home / "bin" / "python", home / "installed.txt"
    wanted = hashlib.sha256("\n".join(peer.requirements).encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted and python.exists():
        return python
    if not install:
        raise NotInstalled("not installed; --install-peers installs it")
    shutil.rmtree(home, ignore_errors=True)
    home.parent.mkdir(parents=True, exist_ok=True)
    if uv := shutil.which("uv"):
        _run(uv, "venv", "--quiet", "--python", sys.executable, str(home))
        _run(uv, "pip", "install", "--quiet", "--python", str(python), *peer.requirements)
    else:
        _run(sys.executable, "-m", "venv", str(home))
        _run(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *peer.requirements)
    stamp.write_text(wanted)
    return python


def _run(*command: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=INSTALL_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotInstalled(f"not installed: {error}") from error
    if done.returncode != 0:
        raise NotInstalled(f"not installed: {' '.join(done.stderr.split())[-LAST_WORDS:]}")
