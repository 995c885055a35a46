"""DDPM on Fashion-MNIST in CPU-minutes: class agreement and Frechet distance of its samples.

    POFX_DATA=/path/to/data python benchmarks/ddpm.py --minutes 15
    python benchmarks/ddpm.py --recipe vae --set conditional=True --minutes 15

One thread; the budget is CPU time of the whole process, training alone. Samples are drawn evenly
from the classes and judged by the project's classifier: how many it gives the class that was asked
for, and the Frechet distance of its features to those of the test images. The floor is what as
many real images score.
"""

from __future__ import annotations

import argparse
import ast
import itertools
import time
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from pofx import catalogue
from pofx.data.batches import batches
from pofx.data.source import load
from pofx.data.write import write
from pofx.evaluation.features import Features, build_features
from pofx.evaluation.frechet import frechet_distance
from pofx.functional.draw import draw
from pofx.training.loop import Options, Training


def train(recipe, data, minutes: float, precision: str = "float32", seed: int = 0) -> Training:
    """Trains until so many CPU-minutes are spent."""
    torch.manual_seed(seed)
    training = Training(recipe, options=Options(seed=seed, precision=precision))
    stream = batches(data.train, recipe.batch_size, seed=seed)
    start, total, shown = time.process_time(), 0.0, 0
    while (spent := (time.process_time() - start) / (60 * minutes)) < 1:
        metrics = training.train_step(*next(stream), spent)
        total = 0.99 * total + 0.01 * float(metrics["loss"])
        if int(10 * spent) > shown:
            shown = int(10 * spent)
            loss = total / (1 - 0.99**training.step)
            print(f"  {spent:4.0%}  step {training.step:6d}  loss {loss:.4f}", flush=True)
    stream.close()
    images = training.step * recipe.batch_size
    rate = images / (60 * minutes)
    print(f"  {training.step} steps of {recipe.batch_size}, {rate:.0f} images a CPU-second")
    return training


def judge(
    name: str, x: Tensor, cond: Tensor, features: Features, real: Tensor
) -> tuple[float, float]:
    """Class agreement and Frechet distance to the real features."""
    embedding = features(x)
    agreement = (embedding.logits.argmax(1) == cond).float().mean().item()
    distance = frechet_distance(embedding.features, real)
    print(
        f"{name:44s} class as asked {agreement:6.1%}   Frechet distance {distance:8.4f}", flush=True
    )
    return agreement, distance


def picture(model, data, path: Path, options: dict, each: int = 10) -> None:
    """Ten of each class, a class a row."""
    cond = torch.arange(data.spec.classes).repeat_interleave(each)
    write(draw(model, len(cond), cond=cond, **options), data.schema, path)


def assignment(text: str) -> tuple[str, object]:
    """`lr=1e-3` as ("lr", 0.001)."""
    key, value = text.split("=", 1)
    try:
        return key, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return key, value


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--recipe", default="ddpm")
    parser.add_argument("--data", default="fashion-mnist")
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--out", type=Path, default=Path("ddpm.png"))
    parser.add_argument("--save", type=Path, help="where to keep the weights, a .safetensors file")
    parser.add_argument(
        "--set", nargs="*", type=assignment, default=[], help="arguments of the recipe"
    )
    parser.add_argument("--steps", nargs="*", type=int, help="sampling steps to try")
    parser.add_argument("--guidance", nargs="*", type=float, help="guidance weights to try")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = load(arguments.data)
    features = build_features("classifier", data)
    real = features(data.test.values()[0]).features
    recipe = catalogue.build(arguments.recipe, data.spec, **dict(arguments.set))
    size = sum(p.numel() for p in recipe.model.parameters())
    print(f"{arguments.recipe}, {size:,} parameters, {arguments.minutes:g} CPU-minutes")
    training = train(recipe, data, arguments.minutes, arguments.precision)
    if arguments.save:
        save_file(
            {k: v.contiguous() for k, v in training.sampled.state_dict().items()}, arguments.save
        )
    cond = torch.arange(arguments.samples) % data.spec.classes
    x, y = (v[: arguments.samples] for v in data.train.values())
    judge(f"floor: {arguments.samples} real images", x, y, features, real)
    tries = (
        [("steps", s) for s in arguments.steps or []],
        [("guidance", g) for g in arguments.guidance or []],
    )
    for options in map(dict, itertools.product(*(t for t in tries if t))):
        start = time.process_time()
        x = draw(training.sampled, arguments.samples, cond=cond, **options)
        each = (time.process_time() - start) / arguments.samples
        told = " ".join(f"{k} {v:g}" for k, v in options.items())
        judge(f"{arguments.recipe} {told} ({each * 1e3:.1f} ms each)", x, cond, features, real)
        picture(training.sampled, data, arguments.out, options)


if __name__ == "__main__":
    main()
