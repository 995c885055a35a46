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
    "ratios": (
        "loop",
        "evaluation",
        "rbm",
        "flows",
        "unet",
        "gpt",
        "vae",
        "energy langevin",
        "solvers",
    ),
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
        "energy toys",
        "families",
    ),
}


def main(asked: list[str]) -> int:
    """The largest exit status of those asked for."""
    here = Path(__file__).parent
    every = [benchmark for group in GROUPS.values() for benchmark in group]
    wanted: list[str] = []
    for word in asked or ["ratios"]:
        named = GROUPS.get(word, tuple(b for b in every if b.split()[0] == word))
        if not named:
            print(f"there is no benchmark {word}; {__doc__}", file=sys.stderr)
            return 2
        wanted += named
    status = 0
    for benchmark in wanted:
        print(f"# {benchmark}", flush=True)
        name, *arguments = benchmark.split()
        command = [sys.executable, here / f"{name}.py", *arguments]
        status = max(status, subprocess.run(command).returncode)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
