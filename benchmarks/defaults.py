"""Every recipe at its defaults for half a minute of one thread, as its user would run it.

    python benchmarks/defaults.py
    python benchmarks/defaults.py --recipes vae made --data digits --out runs/defaults

`pofx train RECIPE --data two-moons` and `--data digits`, then `pofx evaluate`. No run may show a
warning of torch; one that ends worse than `gmm` (by its likelihood where both are exact or a bound,
else by the interval of the Frechet distance) must name a symptom or a warning; and each must say
what to type next.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from pofx import catalogue

SETS = ("two-moons", "digits")
EXAMPLES = "1000"


class Outcome(NamedTuple):
    """What became of one run."""

    recipe: str
    data: str
    refused: str = ""
    nats: float | None = None
    kind: str = ""
    stderr: float = 0.0
    frechet: float | None = None
    frechet_low: float | None = None
    symptoms: tuple[str, ...] = ()
    warned: str = ""
    next_line: str = ""


def pofx(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pofx", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def outcome(recipe: str, data: str, minutes: float, folder: Path) -> Outcome:
    out = folder / f"{recipe}-{data}"
    budget = () if recipe in FITTED else ("--minutes", str(minutes))
    trained = pofx("train", recipe, "--data", data, "--out", str(out), "--threads", "1", *budget)
    if trained.returncode:
        return Outcome(recipe, data, refused=trained.stderr.strip().splitlines()[-1])
    told = trained.stdout + trained.stderr
    measured = pofx("evaluate", str(out), "-n", EXAMPLES, "--json")
    told += measured.stderr
    torch_warned = next((line for line in told.splitlines() if "Warning" in line), "")
    report = json.loads(measured.stdout) if not measured.returncode else {}
    stated = report.get("likelihood") or {}
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    named = [line["symptom"] for line in lines if "symptom" in line]
    named += [word.split(":")[0][:40] for word in report.get("warnings", ())]
    if measured.returncode:
        named.append(measured.stderr.strip().splitlines()[-1][:60])
    following = [line for line in told.splitlines() if "pofx evaluate" in line]
    return Outcome(
        recipe,
        data,
        nats=stated.get("nats"),
        kind=stated.get("kind", ""),
        stderr=stated.get("stderr") or 0.0,
        frechet=report.get("frechet", {}).get("value"),
        frechet_low=report.get("frechet", {}).get("low"),
        symptoms=tuple(named),
        warned=torch_warned,
        next_line=following[-1].strip() if following else "",
    )


FITTED = ("gmm", "kde", "ppca", "ngram")


def worse(one: Outcome, gmm: Outcome) -> bool:
    """Whether a run ends worse than the yardstick, beyond what 1,000 examples tell: by two standard
    errors of likelihoods that are exact or a bound, else where all of the 95% interval of the
    Frechet distance lies above the yardstick's.
    """
    stated = {one.kind, gmm.kind} <= {"exact", "bound"}
    if stated and one.nats is not None and gmm.nats is not None:
        return one.nats < gmm.nats - max(0.02 * abs(gmm.nats), 2 * one.stderr)
    if one.frechet_low is None or gmm.frechet is None:
        return False
    return one.frechet_low > gmm.frechet


def faults(one: Outcome, gmm: Outcome) -> list[str]:
    found = []
    if one.warned:
        found.append(f"warning: {one.warned[:60]}")
    if worse(one, gmm) and not one.symptoms:
        found.append("worse than gmm and no symptom")
    if not one.next_line:
        found.append("no next line")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipes", nargs="+", default=list(catalogue.entries()))
    parser.add_argument("--data", nargs="+", default=list(SETS))
    parser.add_argument("--minutes", type=float, default=0.5)
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs at a time")
    parser.add_argument("--out", type=Path, default=Path(tempfile.mkdtemp()))
    asked = parser.parse_args()
    missed = 0
    for data in asked.data:
        gmm = outcome("gmm", data, asked.minutes, asked.out)
        recipes = [r for r in asked.recipes if r != "gmm"]
        print(f"# {data}: gmm {gmm.nats} nats ({gmm.kind}), Frechet {gmm.frechet}", flush=True)
        with ThreadPoolExecutor(asked.jobs) as pool:
            jobs = [pool.submit(outcome, r, data, asked.minutes, asked.out) for r in recipes]
            for job in jobs:
                one = job.result()
                if one.refused:
                    print(f"{one.recipe:15s} refused: {one.refused}", flush=True)
                    continue
                wrong = faults(one, gmm)
                missed += bool(wrong)
                nats = "" if one.nats is None else f"{one.nats:.3f} {one.kind}"
                frechet = "" if one.frechet is None else f"Frechet {one.frechet:.3f}"
                verdict = "; ".join(wrong).upper() or "ok"
                than = "worse" if worse(one, gmm) else "as good"
                print(
                    f"{one.recipe:15s} {nats:18s} {frechet:15s} {than:8s} "
                    f"[{', '.join(one.symptoms)}] {verdict}",
                    flush=True,
                )
    print(f"{missed} runs miss the bar" if missed else "all runs meet the bar")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
