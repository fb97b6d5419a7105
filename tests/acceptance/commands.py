"""Commands as a user runs them: in processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
MAGPIE = str(Path(sys.executable).with_name("dria-magpie"))
PERSONAS = ["--instructor", "A curious scientist", "--responder", "An AI assistant"]


def environment(**more: str) -> dict[str, str]:
    """This process's environment without what would send dialogues elsewhere."""
    unwanted = {"DRIA_NETWORK", "DRIA_ENDPOINT", "DRIA_API_KEY"}
    kept = {name: value for name, value in os.environ.items() if name not in unwanted}
    # Whatever goes wrong, nothing may be fetched.
    return {**kept, "PIP_NO_INDEX": "1", "HF_HUB_OFFLINE": "1", **more}


def run(
    *command: str, timeout: float = 120, cwd: Path = ROOT, **more: Any
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=cwd,
        env=environment(**more),
        check=False,
    )
