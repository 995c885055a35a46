"""A DDPM on Fashion-MNIST in twenty CPU-minutes: what guidance, steps, order, noise and averaged
weights are worth.

    POFX_DATA=... python benchmarks/ladder.py [--minutes 20] [--out FOLDER] [--weights FOLDER]

The table is that of `pofx ladder`: samplers and counts of steps, each with the Frechet distance of
its samples to test images in the features of the project's classifier; all settings share their
seed. Five relations must hold, which are those of the papers' tables:

- at the strength of guidance of least distance the classifier gives 90% of samples the class asked
  for;
- DDIM's distance falls as the steps grow;
- the best solver of second order beats DDIM where both ask the network 15 to 20 times;
- the averaged weights beat the last ones, in the midst of training, where the learning rate is
  high, and are no worse at its end, where it is 0;
- at 10 and 20 steps eta 0 beats eta 1.

References:
    Denoising diffusion implicit models (Song et al., 2021), table 1.
    DPM-Solver: a fast ODE solver for diffusion probabilistic model sampling in around 10 steps (Lu
    et al., 2022), table 1.
    Elucidating the design space of diffusion-based generative models (Karras et al., 2022).
"""

from __future__ import annotations

import argparse
import copy
import os
import sys
import tempfile
from pathlib import Path

import torch
from fashion import Judge, build, train
from safetensors.torch import load_file, save_file
from torch import nn

from pofx.data.dataset import Dataset
from pofx.data.pictures import displayed, grid
from pofx.data.source import load
from pofx.data.write import write
from pofx.evaluation.ladder import Ladder, Rung, recommended
from pofx.functional.draw import draw

GUIDANCE = (0.0, 0.5, 1.0, 2.0, 4.0)
STEPS = (5, 10, 20, 50)
SECOND = {"heun": (8, 10), "dpm-2": (8, 10), "dpmpp-2m": (15, 20), "unipc": (15, 20)}
"""Steps of 15 to 20 evaluations."""
AGREEMENT = 0.9
KEPT = ("half", "half-averaged", "last", "last-averaged")


def trained(data: Dataset, minutes: float) -> dict[str, nn.Module]:
    """The model halfway and at the end, its last weights and the averaged ones."""
    kept: dict[str, nn.Module] = {}

    def halfway(training) -> None:
        kept["half"] = copy.deepcopy(training.model)
        kept["half-averaged"] = copy.deepcopy(training.sampled)

    training = train("ddpm", data, minutes, halfway)
    return kept | {"last": training.model, "last-averaged": training.sampled}


def loaded(data: Dataset, folder: Path) -> dict[str, nn.Module]:
    """What `trained` has made before."""
    found = {}
    for name in KEPT:
        found[name] = build("ddpm", data).model
        found[name].load_state_dict(load_file(folder / f"{name}.safetensors"))
    return found


def guided(model: nn.Module, data: Dataset, n: int, folder: Path) -> bool:
    """Whether the best strength of guidance gives the classes that are asked for."""
    judge, cond = Judge(data), torch.arange(n) % data.spec.classes
    rows = torch.arange(data.spec.classes).repeat_interleave(10)
    found: dict[float, tuple[float, float]] = {}
    for w in GUIDANCE:
        options = {"sampler": "dpmpp-2m", "steps": 20, "guidance": w}
        found[w] = judge(f"guidance {w:g}", draw(model, n, cond=cond, **options), cond)
        picture = draw(model, len(rows), cond=rows, **options)
        print(write(picture, data.schema, folder / f"guidance-{w:g}.png"), flush=True)
    best = min(GUIDANCE[1:], key=lambda w: found[w][1])
    agreement, distance = found[best]
    return _said(
        agreement >= AGREEMENT,
        f"guidance {best:g}, of least distance {distance:.3f}: {agreement:.1%} of samples of the "
        f"class asked, bar {AGREEMENT:.0%}",
    )


def ladder(model: nn.Module, data: Dataset, n: int, folder: Path) -> bool:
    """Whether the distance falls with the steps, with the order, and without noise."""
    found = Ladder(model, data, steps=STEPS, n=n)
    print(f"{n} real images as samples: {found.floor:.3f}")
    rungs = [_told(r) for r in found]
    best = recommended(rungs)
    print(f"recommended: {best.sampler}, {best.steps} steps")
    sheet = displayed(torch.cat([r.shown for r in rungs]), data.schema)
    grid(sheet, len(rungs[0].shown)).save(folder / "ladder.png")
    at = {(r.sampler, r.steps): r for r in rungs}
    falls = [at["ddim", k].frechet for k in STEPS]
    met = [_said(falls == sorted(falls, reverse=True), f"DDIM falls: {_row(falls)}")]
    rivals = [_told(found.rung(s, k)) for s, both in SECOND.items() for k in both if k != 20]
    rivals += [at[s, 20] for s in ("dpmpp-2m", "unipc")]
    for least, most in ((13, 15), (16, 20)):
        line = found.rung("ddim", most).frechet
        second = min((r for r in rivals if least <= r.evaluations <= most), key=lambda r: r.frechet)
        met.append(
            _said(
                second.frechet < line,
                f"{second.sampler} {second.frechet:.3f} with {second.evaluations:.0f} evaluations, "
                f"DDIM {line:.3f} with {most}",
            )
        )
    for steps in (10, 20):
        one = {"samplers": ["ddim"], "steps": [steps], "options": {"eta": 1.0}}
        (noisy,) = Ladder(model, data, n=n, **one)
        still = at["ddim", steps].frechet
        met.append(
            _said(
                still < noisy.frechet,
                f"{steps} steps: eta 0 {still:.3f}, eta 1 {noisy.frechet:.3f}",
            )
        )
    return all(met)


def averaged(models: dict[str, nn.Module], data: Dataset, n: int) -> bool:
    """Whether averaged weights beat the last ones."""
    found = {k: Ladder(m, data, n=n).rung("dpmpp-2m", 20).frechet for k, m in models.items()}
    half, end = ((found[k], found[f"{k}-averaged"]) for k in ("half", "last"))
    return _said(half[1] < half[0], f"halfway: averaged {half[1]:.3f}, last {half[0]:.3f}") & _said(
        end[1] <= 1.02 * end[0], f"at the end: averaged {end[1]:.3f}, last {end[0]:.3f}"
    )


def _told(rung: Rung) -> Rung:
    print(
        f"{rung.sampler:16s} {rung.steps:3d} steps {rung.evaluations:6.1f} evaluations "
        f"{1000 * rung.seconds:7.2f} ms a sample  Frechet distance {rung.frechet:8.3f}",
        flush=True,
    )
    return rung


def _said(met: bool, what: str) -> bool:
    print(f"{what}: {'met' if met else 'MISSED'}", flush=True)
    return met


def _row(values: list[float]) -> str:
    return " ".join(f"{v:.3f}" for v in values)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("-n", type=int, default=2000)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--weights", type=Path, help="a folder that --out has filled before")
    asked = parser.parse_args()
    if not os.environ.get("POFX_DATA"):
        print("POFX_DATA names no folder of data sets: skipped")
        return 0
    torch.set_num_threads(1)
    folder = asked.out or asked.weights or Path(tempfile.mkdtemp(prefix="pofx-ladder-"))
    folder.mkdir(parents=True, exist_ok=True)
    data = load("fashion-mnist")
    models = loaded(data, asked.weights) if asked.weights else trained(data, asked.minutes)
    if not asked.weights:
        for name, model in models.items():
            whole = {k: v.clone() for k, v in model.state_dict().items()}
            save_file(whole, folder / f"{name}.safetensors")
    for model in models.values():
        model.eval()
    best = models["last-averaged"]
    met = [guided(best, data, asked.n, folder), ladder(best, data, asked.n, folder)]
    met.append(averaged(models, data, asked.n))
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
