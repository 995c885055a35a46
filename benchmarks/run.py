"""Runs benchmarks, each in a process of its own, and fails if one of them misses its bar.

    python benchmarks/run.py [ratios | figures | NAME ...]

`ratios` time ours beside the peers'; `figures` train models and hold them against known results,
which takes more than an hour of one core.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

GROUPS = {
    "ratios": ("loop", "evaluation", "rbm", "flows", "unet", "gpt", "vae"),
    "figures": (
        "toys",
        "modes",
        "made",
        "mnist",
        "dbn",
        "pixelcnn",
        "fashion",
        "text",
        "anomaly",
        "tables",
    ),
}


def main(asked: list[str]) -> int:
    """The largest exit status of those asked for."""
    here = Path(__file__).parent
    names = [name for word in asked or ["ratios"] for name in GROUPS.get(word, (word,))]
    unknown = [n for n in names if n not in {k for group in GROUPS.values() for k in group}]
    if unknown:
        print(f"there is no benchmark {', '.join(unknown)}; {__doc__}", file=sys.stderr)
        return 2
    status = 0
    for name in names:
        print(f"# {name}", flush=True)
        status = max(status, subprocess.run([sys.executable, here / f"{name}.py"]).returncode)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
