r"""diffusers_folder: pixel models of the diffusers library, read and written without it.

A folder holds a `UNet2DModel` and the `DDPMScheduler` or `DDIMScheduler` that it was trained with,
each as JSON and the weights as safetensors, in `unet` and `scheduler` or side by side:

    folder = diffusers_folder.read("ddpm-cat-256")
    model = folder.model()
    x = model.sample(4, sampler="dpmpp-2m", steps=20)
    pofx.data.write.write(x, Schema(model.spec, mode="RGB"), "cats.png")
    folder.write("my-cats")  # which DDPMPipeline.from_pretrained opens

Their chain counts its steps from 0, and ours from 1: their k is the time (k + 1) / T.

References:
    Denoising diffusion probabilistic models (Ho et al., 2020), section 4.
    https://arxiv.org/abs/2006.11239
    Common diffusion noise schedules and sample steps are flawed (Lin et al., 2023), table 2: how
    steps are spaced. https://arxiv.org/abs/2305.08891

Note:
    The last step goes to the data, as it does there with `set_alpha_to_one`; a guess that is
    clipped is clipped in the noise it implies too, as with `use_clipped_model_output`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import UnionType
from typing import Any, NamedTuple, TypeVar, get_args, get_origin, get_type_hints

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pofx.diffusion.denoiser import Clip, Denoiser, NetworkDenoiser
from pofx.diffusion.grid import Grid
from pofx.diffusion.model import Diffusion
from pofx.diffusion.parameterization import X0, Eps, Parameterization, V
from pofx.diffusion.schedule import CosineVP, DiscreteVP, LinearVP, Schedule
from pofx.errors import UserError
from pofx.nn.unet2d import Layout, UNet2D
from pofx.spec import DataSpec, Interval, Real, class_spec
from pofx.typing import Cond, Data, PerExample

_WEIGHTS = "diffusion_pytorch_model"
_PREDICTIONS: dict[str, type[Parameterization]] = {
    "epsilon": Eps, "sample": X0, "v_prediction": V
}  # fmt: skip
_SAMPLERS = {
    ("DDIMScheduler", "fixed_small"): "ddim",
    ("DDPMScheduler", "fixed_small"): "ancestral-small",
    ("DDPMScheduler", "fixed_large"): "ancestral",
}
_RENAMED = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""Parts of attention, as older files call them."""
_FIXED_UNET: dict[str, Any] = {
    "time_embedding_type": "positional",
    "mid_block_type": "UNetMidBlock2D",
    "mid_block_scale_factor": 1,
    "downsample_type": "conv",
    "upsample_type": "conv",
    "act_fn": "silu",
    "attn_norm_num_groups": None,
    "resnet_time_scale_shift": "default",
    "class_embed_type": None,
}
_FIXED_CHAIN: dict[str, Any] = {"thresholding": False, "rescale_betas_zero_snr": False}


@dataclass(frozen=True)
class Chain:
    """The noise of a scheduler, and how it samples; the names are those of its configuration.

    Args:
        num_train_timesteps: T.
        beta_start: the first noise rate.
        beta_end: the last.
        beta_schedule: `linear`, `scaled_linear` (in the root of the rates) or `squaredcos_cap_v2`.
        trained_betas: the rates themselves, in the place of all these.
        prediction_type: what the network says: `epsilon`, `sample` or `v_prediction`.
        clip_sample: whether guesses are clipped to where data can be.
        clip_sample_range: how far from 0 that is.
        timestep_spacing: which steps are taken: `leading` begins at the first, `trailing` at the
            last, `linspace` takes both.
        steps_offset: added to those of `leading`.
        variance_type: of ancestral steps: `fixed_small` or `fixed_large`.
    """

    num_train_timesteps: int = 1000
    beta_start: float = 1e-4
    beta_end: float = 0.02
    beta_schedule: str = "linear"
    trained_betas: tuple[float, ...] | None = None
    prediction_type: str = "epsilon"
    clip_sample: bool = True
    clip_sample_range: float = 1.0
    timestep_spacing: str = "leading"
    steps_offset: int = 0
    variance_type: str = "fixed_small"

    def schedule(self) -> DiscreteVP:
        """The noise."""
        steps, ends = self.num_train_timesteps, (self.beta_start, self.beta_end)
        if self.trained_betas is not None:
            return DiscreteVP(torch.tensor(self.trained_betas, dtype=torch.float64))
        if self.beta_schedule == "squaredcos_cap_v2":
            return CosineVP(steps)
        if self.beta_schedule == "linear":
            return LinearVP(steps, *ends)
        first, last = (end**0.5 for end in ends)
        return DiscreteVP(torch.linspace(first, last, steps, dtype=torch.float64) ** 2)


class Folder(NamedTuple):
    """What a folder holds.

    Args:
        network: with its weights.
        size: height and width of an image.
        chain: its noise.
        scheduler: `DDPMScheduler` or `DDIMScheduler`.
    """

    network: UNet2D
    size: tuple[int, int]
    chain: Chain
    scheduler: str = "DDPMScheduler"

    def model(self) -> Diffusion:
        """The model, which shares the network's weights; it samples as the scheduler does."""
        layout, chain = self.network.layout, self.chain
        schedule, classes = chain.schedule(), layout.num_class_embeds or 0
        network = _Steps(self.network, schedule.steps, classes)
        prediction = _PREDICTIONS[chain.prediction_type]()
        denoiser: Denoiser = NetworkDenoiser(network, schedule, prediction, class_spec(classes))
        bounded = chain.clip_sample and chain.clip_sample_range == 1
        if chain.clip_sample and not bounded:
            denoiser = Clip(denoiser, chain.clip_sample_range)
        return Diffusion(
            denoiser,
            DataSpec(
                (layout.in_channels, *self.size),
                Interval() if bounded else Real(),
                class_spec(classes),
            ),
            sampler=_SAMPLERS[self.scheduler, chain.variance_type],
            steps=schedule.steps if self.scheduler == "DDPMScheduler" else min(50, schedule.steps),
            grid=Spaced(chain.timestep_spacing, chain.steps_offset),
            chain=schedule.steps,
        )

    def write(self, path: str | Path) -> Path:
        """Writes the folder, in float32, which diffusers' own classes and pipelines open.

        Raises:
            UserError: there is something in it, or the disk refuses.
        """
        if Path(path).is_dir() and any(Path(path).iterdir()):
            raise UserError(
                f"'{path}' is not an empty folder, and another model may be in it; choose another."
            )
        path, name = Path(path), f"{self.scheduler.removesuffix('Scheduler')}Pipeline"
        unet = {"_class_name": "UNet2DModel", "sample_size": self.size}
        chain = {"_class_name": self.scheduler, **asdict(self.chain), **_FIXED_CHAIN}
        if self.scheduler == "DDIMScheduler":
            del chain["variance_type"]
        weights = {k: v.detach().float().contiguous() for k, v in self.network.state_dict().items()}
        index = {
            "_class_name": name,
            "unet": ["diffusers", "UNet2DModel"],
            "scheduler": ["diffusers", self.scheduler],
        }
        try:
            _write(path / "unet" / "config.json", unet | asdict(self.network.layout) | _FIXED_UNET)
            _write(path / "scheduler" / "scheduler_config.json", chain)
            _write(path / "model_index.json", index)
            save_file(weights, path / "unet" / f"{_WEIGHTS}.safetensors", {"format": "pt"})
        except (OSError, SafetensorError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UserError(
                f"'{path}' could not be written ({reason}); name a folder that may be."
            ) from error
        return path


class Spaced(Grid):
    """Steps of a chain as diffusers spaces them.

    Args:
        spacing: `leading`, `trailing` or `linspace`.
        offset: added to the steps of `leading`.

    >>> [round(1000 * t) for t in Spaced("leading")(LinearVP(), 4)]
    [751, 501, 251, 1, 0]
    >>> [round(1000 * t) for t in Spaced("trailing")(LinearVP(), 4)]
    [1000, 750, 500, 250, 0]
    """

    def __init__(self, spacing: str = "leading", offset: int = 0) -> None:
        self.spacing, self.offset = spacing, offset

    def __call__(self, schedule: Schedule, steps: int) -> list[float]:
        times = schedule.grid(steps)  # all that linspace means
        count = round(1 / schedule.first)
        if self.spacing == "leading":
            last = count - 1
            places = [min(i * (count // steps) + self.offset, last) for i in range(steps)][::-1]
            times = [(k + 1) / count for k in dict.fromkeys(places)] + [0.0]
        if self.spacing == "trailing":
            times = [round(count - i * count / steps) / count for i in range(steps)] + [0.0]
        return times


def read(path: str | Path) -> Folder:
    """Opens a folder.

    Raises:
        UserError: something is missing or damaged, or is of a kind that pofx does not compute.
    """
    path = Path(path)
    if not path.is_dir():
        raise UserError(f"'{path}' is no folder; name one that diffusers saved a pipeline in.")
    unet, scheduler = (path / p if (path / p).is_dir() else path for p in ("unet", "scheduler"))
    about, source = _json(unet / "config.json"), unet / "config.json"
    if about.get("_class_name") != "UNet2DModel":
        raise UserError(
            f"'{source}' is of a {about.get('_class_name')}, and pofx reads a UNet2DModel."
        )
    layout = _settings(Layout, about, _FIXED_UNET, source)
    _check_layout(layout, source)
    network = _loaded(layout, unet)
    noise, source = _json(scheduler / "scheduler_config.json"), scheduler / "scheduler_config.json"
    chain = _settings(Chain, noise, _FIXED_CHAIN, source)
    name = str(noise.get("_class_name"))
    _check_chain(name, chain, source)
    return Folder(network, _size(about.get("sample_size"), layout, unet), chain, name)


class _Steps(nn.Module):
    """`(x, t, cond) -> y` of a network that is told steps, counted from 0.

    Where t is a step but for rounding the network is told that step.
    """

    def __init__(self, network: UNet2D, steps: int, classes: int) -> None:
        super().__init__()
        self.network, self.steps, self.classes = network, steps, classes

    def forward(self, x: Data, t: PerExample, cond: Cond | None = None) -> Tensor:
        k = t * self.steps - 1
        whole = k.round()
        if self.classes and (cond is None or bool(((cond < 0) | (cond >= self.classes)).any())):
            raise UserError(
                f"this network knows {self.classes} classes and nothing without one; give each "
                f"sample a class from 0 to {self.classes - 1}, and no guidance."
            )
        return self.network(x, torch.where((k - whole).abs() < 1e-3, whole, k), cond)


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
        reason = f"it is a {type(found).__name__}"
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
    raise UserError(
        f"'{path}' is no JSON object ({reason}); name a folder that diffusers saved a pipeline in."
    )


Settings = TypeVar("Settings", Layout, Chain)


def _settings(
    kind: type[Settings], found: Mapping[str, Any], fixed: Mapping[str, Any], source: Path
) -> Settings:
    """What a configuration says, in the types that it is declared in."""
    for key, value in fixed.items():
        given = found.get(key, value)
        if given != value and (key, given) != ("act_fn", "swish"):
            raise UserError(f"'{source}' has {key} {given!r}, and pofx computes only {value!r}.")
    hints = get_type_hints(kind)
    values: dict[str, Any] = {}
    for name in (f.name for f in fields(kind) if f.name in found):
        value = found[name]
        values[name] = tuple(value) if isinstance(value, list) else value
        if not _fits(values[name], hints[name]):
            wanted = getattr(hints[name], "__name__", None) or hints[name]
            raise UserError(f"'{source}' has {name} {value!r}, which is no {wanted}; mend it.")
    return kind(**values)


def _fits(value: object, hint: Any) -> bool:
    if get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(_fits(v, get_args(hint)[0]) for v in value)
    if get_origin(hint) is UnionType:
        return any(_fits(value, h) for h in get_args(hint))
    if hint in (int, float) and isinstance(value, bool):
        return False
    return isinstance(value, int | float if hint is float else hint)


def _check_layout(layout: Layout, source: Path) -> None:
    widths, groups = layout.block_out_channels, layout.norm_num_groups
    head, count = layout.attention_head_dim, len(layout.block_out_channels)
    sizes = [
        layout.in_channels, layout.out_channels, *widths, groups, layout.embedding,
        1 if head is None else head, layout.num_class_embeds or 1,
    ]  # fmt: skip
    downs, ups = layout.down_block_types, layout.up_block_types
    attends = {w for w, kind in zip(widths, downs, strict=False) if "Attn" in kind}
    attends |= {w for w, kind in zip(widths[::-1], ups, strict=False) if "Attn" in kind}
    attends |= {*widths[-1:]} if layout.add_attention else set()
    _demand(source, {
        "as many block_out_channels as down_block_types and up_block_types, from 1 to 16":
            1 <= count <= 16 and count == len(downs) == len(ups),
        "down_block_types DownBlock2D and AttnDownBlock2D alone":
            {*downs} <= {"DownBlock2D", "AttnDownBlock2D"},
        "up_block_types UpBlock2D and AttnUpBlock2D alone":
            {*ups} <= {"UpBlock2D", "AttnUpBlock2D"},
        "numbers of channels, groups and classes from 1 to 100,000":
            all(1 <= size <= 100_000 for size in sizes),
        "layers_per_block from 1 to 64": 1 <= layout.layers_per_block <= 64,
        "downsample_padding 0 or 1": layout.downsample_padding in (0, 1),
        "dropout from 0 to 1, and norm_eps above 0":
            0 <= layout.dropout <= 1 and layout.norm_eps > 0,
    })  # fmt: skip
    _demand(source, {
        "block_out_channels that are multiples of norm_num_groups":
            all(w % groups == 0 for w in widths),
        "channels with attention that are multiples of attention_head_dim":
            head is None or all(w % head == 0 for w in attends),
        "as many out_channels as in_channels, since no variance is learned":
            layout.out_channels == layout.in_channels,
        "a freq_shift below half of the first of block_out_channels":
            layout.freq_shift < widths[0] // 2,
    })  # fmt: skip


def _check_chain(name: str, chain: Chain, source: Path) -> None:
    betas = chain.trained_betas or (chain.beta_start, chain.beta_end)
    _demand(source, {
        "the _class_name DDPMScheduler or DDIMScheduler": name in {n for n, _ in _SAMPLERS},
        "the variance_type fixed_small or fixed_large": (name, chain.variance_type) in _SAMPLERS,
        "a prediction_type epsilon, sample or v_prediction":
            chain.prediction_type in _PREDICTIONS,
        "a beta_schedule linear, scaled_linear or squaredcos_cap_v2":
            chain.beta_schedule in ("linear", "scaled_linear", "squaredcos_cap_v2"),
        "a timestep_spacing leading, trailing or linspace":
            chain.timestep_spacing in ("leading", "trailing", "linspace"),
        "num_train_timesteps from 1 to 100,000, as many as trained_betas if there are any":
            1 <= chain.num_train_timesteps <= 100_000
            and len(chain.trained_betas or ()) in (0, chain.num_train_timesteps),
        "noise rates above 0 and below 1": all(0 < beta < 1 for beta in betas),
        "a clip_sample_range above 0": chain.clip_sample_range > 0,
        "a steps_offset of at least 0": chain.steps_offset >= 0,
    })  # fmt: skip


def _demand(source: Path, rules: Mapping[str, bool]) -> None:
    for rule, kept in rules.items():
        if not kept:
            raise UserError(f"'{source}' should have {rule}, and has not; pofx cannot read it.")


def _size(found: object, layout: Layout, folder: Path) -> tuple[int, int]:
    sides = (found, found) if isinstance(found, int) else found
    multiple = 2 ** (len(layout.block_out_channels) - 1)
    if isinstance(sides, list | tuple) and len(sides) == 2:
        height, width = sides
        if all(_fits(s, int) and 0 < s <= 100_000 and s % multiple == 0 for s in (height, width)):
            return height, width
    raise UserError(
        f"'{folder / 'config.json'}' has sample_size {found!r}, and height and width are "
        f"multiples of {multiple}; write what the network was trained on."
    )


def _loaded(layout: Layout, folder: Path) -> UNet2D:
    """The network with its weights, whose shapes are compared before anything is made of them."""
    path = folder / f"{_WEIGHTS}.safetensors"
    if not path.is_file():
        pickled = (folder / f"{_WEIGHTS}.bin").is_file()
        raise UserError(
            f"'{path}' is missing"
            + (
                ", and a .bin can run code of its maker, so pofx does not open it"
                if pickled
                else ""
            )
            + "; save the model with safe_serialization=True."
        )
    with torch.device("meta"):
        network = UNet2D(layout)
    try:
        network.load_state_dict({_name(k): v for k, v in load_file(path).items()}, assign=True)
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise UserError(
            f"'{path}' does not hold the weights of its config.json ({reason}); download or save "
            "it again."
        ) from error
    return network.float().eval()


def _name(key: str) -> str:
    parts = key.split(".")
    if "attentions" in parts:
        parts = [_RENAMED.get(p, p) for p in parts]
    return ".".join(parts)
