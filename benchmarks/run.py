"""Runs the benchmarks that time ours beside a peer's, each in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SIDE_BY_SIDE = ("loop", "evaluation", "unet")


def main() -> int:
    """The largest exit status of them."""
    here = Path(__file__).parent
    return max(subprocess.run([sys.executable, here / f"{n}.py"]).returncode for n in SIDE_BY_SIDE)


if __name__ == "__main__":
    sys.exit(main())
