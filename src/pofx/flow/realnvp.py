r"""realnvp: Density estimation using Real NVP (Dinh et al., 2017).

A stack of affine couplings: each scales and shifts one half of an example by what a network makes
of the other half,

.. math:: b \leftarrow b \odot e^{s(a)} + t(a),

so that the inverse and the Jacobian determinant cost one pass each. Images go through several
scales: couplings between the colours of a checkerboard, then between channels, after which half of
the channels are finished.

References:
    Density estimation using Real NVP (Dinh et al., 2017), eq. 3-8 and 13-16, section 3.6 and
    appendix E.
    https://arxiv.org/abs/1605.08803

Note:
    No batch normalisation, because an example's density would then depend on its neighbours;
    log-scales are bounded and networks start at the identity instead. Every scale begins with its
    squeeze, see `pofx.flow.squeeze`.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from pofx.flow.bijection import Bijection, Chain, Flatten
from pofx.flow.coupling import AffineCoupling, Couplings
from pofx.flow.flow import MaximumLikelihood, flow
from pofx.flow.squeeze import MultiScale, Squeeze, colours_to_rows
from pofx.nn.embeddings import ClassEmbedding
from pofx.recipe import Adam, Recipe, RecipeError
from pofx.spec import DataSpec
from pofx.typing import Cond

_EMBEDDING = 16


class VectorConditioner(nn.Module):
    """A fully connected network whose output starts at zero: `(inputs, n) -> (outputs, n)`.

    Biases of the first layer are spread wide, so that the kinks of its rectifiers cover the range
    of standardised data: with one or two inputs the usual narrow ones start all of them near the
    origin.
    """

    def __init__(
        self, inputs: int, outputs: int, hidden: tuple[int, ...] = (128, 128), classes: int = 0
    ) -> None:
        super().__init__()
        self.label = ClassEmbedding(classes, _EMBEDDING) if classes else None
        sizes = [inputs + (_EMBEDDING if classes else 0), *hidden, outputs]
        layers = [_Columns(a, b) for a, b in pairwise(sizes)]
        nn.init.uniform_(layers[0].bias, -2, 2)
        _zero(layers[-1])
        self.hidden, self.last = nn.ModuleList(layers[:-1]), layers[-1]

    def forward(self, a: Tensor, cond: Cond | None = None) -> Tensor:
        h = a if self.label is None else torch.cat([a, self.label(cond).t()])
        for layer in self.hidden:
            h = torch.addmm(layer.bias, layer.weight, h).relu_()  # type: ignore[arg-type]
        return torch.addmm(self.last.bias, self.last.weight, h)


class _Columns(nn.Module):
    """The weights of a linear layer whose examples are columns: `(inputs, n) -> (outputs, n)`."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs, 1))
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        nn.init.uniform_(self.bias, -(inputs**-0.5), inputs**-0.5)


class ImageConditioner(nn.Module):
    """A small residual network whose output starts at zero: `(n, inputs, h, w) -> (n, outputs, h,
    w)`.
    """

    def __init__(
        self, inputs: int, outputs: int, channels: int = 32, blocks: int = 2, classes: int = 0
    ) -> None:
        super().__init__()
        self.label = ClassEmbedding(classes, channels) if classes else None
        self.first = nn.Conv2d(inputs, channels, 3, padding=1)
        self.blocks = nn.ModuleList(_block(channels) for _ in range(blocks))
        self.last = nn.Sequential(nn.ReLU(), nn.Conv2d(channels, outputs, 3, padding=1))
        _zero(self.last[-1])

    def forward(self, a: Tensor, cond: Cond | None = None) -> Tensor:
        h = self.first(a)
        if self.label is not None:
            h = h + self.label(cond)[:, :, None, None]
        for block in self.blocks:
            h = h + block(h)
        return self.last(h)


def _block(channels: int) -> nn.Sequential:
    wide = nn.Conv2d(channels, channels, 3, padding=1)
    return nn.Sequential(nn.ReLU(), wide, nn.ReLU(inplace=True), nn.Conv2d(channels, channels, 1))


def _zero(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


def vector_couplings(
    size: int,
    layers: int = 8,
    hidden: tuple[int, ...] = (128, 128),
    bound: float = 1.0,
    classes: int = 0,
) -> Couplings:
    """Couplings between the halves of a vector, each with a network of its own."""
    halves = ((size + 1) // 2, size // 2)
    sizes = [halves if i % 2 == 0 else halves[::-1] for i in range(layers)]
    nets = [VectorConditioner(a, 2 * b, hidden, classes) for a, b in sizes]
    return Couplings([AffineCoupling(net, bound) for net in nets], halves[0])


def image_scales(
    shape: tuple[int, int, int],
    layers: int = 4,
    *,
    scales: int = 3,
    channels: int = 32,
    blocks: int = 2,
    bound: float = 1.0,
    classes: int = 0,
) -> Bijection:
    """Couplings between the colours of a checkerboard and between rows, half as large a picture at
    each scale.

    It ends after `scales` scales, or where a side is odd or below 4; its latent is a vector.
    """
    c, h, w = 4 * shape[0], shape[1] // 2, shape[2] // 2

    def couplings(number: int) -> Couplings:
        nets = [ImageConditioner(c // 2, c, channels, blocks, classes) for _ in range(number)]
        return Couplings([AffineCoupling(net, bound) for net in nets], c // 2)

    here = [Squeeze(), couplings(layers - layers // 2), colours_to_rows(c), couplings(layers // 2)]
    if scales == 1 or h % 2 or w % 2 or min(h, w) < 4:
        return Chain([*here, Flatten((c, h, w))])
    rest = image_scales(
        (c // 2, h, w), layers,
        scales=scales - 1, channels=channels, blocks=blocks, bound=bound, classes=classes,
    )  # fmt: skip
    return MultiScale(Chain(here), rest, (c, h, w))


def recipe(  # noqa: PLR0913
    spec: DataSpec,
    *,
    layers: int | None = None,
    hidden: tuple[int, ...] = (64, 64),
    channels: int = 32,
    blocks: int = 2,
    scales: int = 3,
    bound: float = 1.0,
    conditional: bool = False,
    lr: float | None = None,
    batch_size: int | None = None,
    steps: int = 8_000,
) -> Recipe:
    """A RealNVP: couplings of halves for vectors, of several scales for images.

    Args:
        spec: what the data is; an image with an odd side is served as a vector.
        layers: couplings; of an image, at each scale. By default 16 for vectors, 4 for images.
        hidden: widths of the hidden layers of a vector's coupling networks.
        channels: channels of an image's coupling networks; 0 treats an image as a vector.
        blocks: residual blocks of an image's coupling networks.
        scales: at most so many scales of an image.
        bound: largest log-scale of one coupling, nats.
        conditional: condition every coupling on the class.
        lr: learning rate of Adam, decayed to 0 by a cosine; by default 3e-3 for vectors, 1e-3 for
            images.
        batch_size: examples in a step; by default 1,024 for vectors, 64 for images.
        steps: optimizer steps.
    """
    convolves = spec.is_image and bool(channels) and spec.shape[1] % 2 == spec.shape[2] % 2 == 0
    layers = layers if layers is not None else 4 if convolves else 16
    lr = lr if lr is not None else 1e-3 if convolves else 3e-3
    batch_size = batch_size if batch_size is not None else 64 if convolves else 1024
    if spec.size < 2:
        raise RecipeError(
            "realnvp couples one half of an example to the other and needs 2 elements, but 1 "
            "came; use gmm."
        )
    if conditional and not spec.classes:
        raise RecipeError(
            "realnvp: --conditional needs data with classes, and this has none; leave it out."
        )
    for name, value in {"layers": layers, "scales": scales}.items():
        if value < 1:
            raise RecipeError(f"realnvp: --{name} is at least 1, and {value} came.")
    if not bound > 0:
        raise RecipeError(f"realnvp: --bound is a positive number of nats, and {bound} came.")
    classes = spec.classes if conditional else 0
    if convolves:
        bijection: Bijection = image_scales(
            spec.shape, layers,  # type: ignore[arg-type]
            scales=scales, channels=channels, blocks=blocks, bound=bound, classes=classes,
        )  # fmt: skip
    else:
        bijection = vector_couplings(spec.size, layers, hidden, bound, classes)
        if len(spec.shape) > 1:
            bijection = Chain([Flatten(spec.shape), bijection])
    model = flow(bijection, spec, conditional=conditional)
    return Recipe(
        model=model,
        objective=MaximumLikelihood(model),
        optimizers={"model": Adam(lr)},
        batch_size=batch_size,
        steps=steps,
        warmup=100,
        decay="cosine",
        clip=1.0,  # of any norm: now and then an example far out has a million times the usual one
    )
