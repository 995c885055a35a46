"""inception: Rethinking the Inception architecture for computer vision (Szegedy et al., 2016).

Inception-v3 as the Frechet inception distance uses it: the network of the TensorFlow graph of
2015-12-05, with 1,008 logits, whose average pools leave the padding out of the mean, whose last
block pools by maximum, and whose input is resized as TensorFlow 1 did, without aligned pixel
centres. No weights come with this project: the user names a `.safetensors` file with the parameter
names of the widely used port of that graph (`Conv2d_1a_3x3.conv.weight` ... `fc.bias`).

References:
    Rethinking the Inception architecture for computer vision (Szegedy et al., 2016), figures 5-7
    and table 1.
    https://arxiv.org/abs/1512.00567
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

from pofx.errors import UserError

_Size = int | tuple[int, int]


class Conv(nn.Module):
    """A convolution without bias, batch normalisation and a rectifier."""

    def __init__(
        self, inputs: int, outputs: int, size: _Size, stride: int = 1, padding: _Size = 0
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


_Across = partial(Conv, size=(1, 7), padding=(0, 3))
_Down = partial(Conv, size=(7, 1), padding=(3, 0))


def _mean_pool(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


def _max_pool(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, 1, 1)


class BlockA(nn.Module):
    """35 x 35: branches of 1 x 1, 5 x 5 and two 3 x 3 convolutions and a pool."""

    def __init__(self, inputs: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = Conv(inputs, 64, 1)
        self.branch5x5_1 = Conv(inputs, 48, 1)
        self.branch5x5_2 = Conv(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = Conv(inputs, 64, 1)
        self.branch3x3dbl_2 = Conv(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Conv(96, 96, 3, padding=1)
        self.branch_pool = Conv(inputs, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        five = self.branch5x5_2(self.branch5x5_1(x))
        three = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch1x1(x), five, three, self.branch_pool(_mean_pool(x))], 1)


class BlockB(nn.Module):
    """35 x 35 to 17 x 17."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3 = Conv(inputs, 384, 3, stride=2)
        self.branch3x3dbl_1 = Conv(inputs, 64, 1)
        self.branch3x3dbl_2 = Conv(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Conv(96, 96, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        three = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), three, F.max_pool2d(x, 3, 2)], 1)


class BlockC(nn.Module):
    """17 x 17: convolutions of 7 factored into rows and columns."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.branch1x1 = Conv(inputs, 192, 1)
        self.branch7x7_1 = Conv(inputs, width, 1)
        self.branch7x7_2 = _Across(width, width)
        self.branch7x7_3 = _Down(width, 192)
        self.branch7x7dbl_1 = Conv(inputs, width, 1)
        self.branch7x7dbl_2 = _Down(width, width)
        self.branch7x7dbl_3 = _Across(width, width)
        self.branch7x7dbl_4 = _Down(width, width)
        self.branch7x7dbl_5 = _Across(width, 192)
        self.branch_pool = Conv(inputs, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        twice = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        twice = self.branch7x7dbl_5(self.branch7x7dbl_4(twice))
        return torch.cat([self.branch1x1(x), seven, twice, self.branch_pool(_mean_pool(x))], 1)


class BlockD(nn.Module):
    """17 x 17 to 8 x 8."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3_1 = Conv(inputs, 192, 1)
        self.branch3x3_2 = Conv(192, 320, 3, stride=2)
        self.branch7x7x3_1 = Conv(inputs, 192, 1)
        self.branch7x7x3_2 = _Across(192, 192)
        self.branch7x7x3_3 = _Down(192, 192)
        self.branch7x7x3_4 = Conv(192, 192, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        three = self.branch3x3_2(self.branch3x3_1(x))
        seven = self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x)))
        return torch.cat([three, self.branch7x7x3_4(seven), F.max_pool2d(x, 3, 2)], 1)


class BlockE(nn.Module):
    """8 x 8: branches that split into a row and a column."""

    def __init__(self, inputs: int, *, pool_by_maximum: bool) -> None:
        super().__init__()
        self.branch1x1 = Conv(inputs, 320, 1)
        self.branch3x3_1 = Conv(inputs, 384, 1)
        self.branch3x3_2a = Conv(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3_2b = Conv(384, 384, (3, 1), padding=(1, 0))
        self.branch3x3dbl_1 = Conv(inputs, 448, 1)
        self.branch3x3dbl_2 = Conv(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = Conv(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3dbl_3b = Conv(384, 384, (3, 1), padding=(1, 0))
        self.branch_pool = Conv(inputs, 192, 1)
        self.pool = _max_pool if pool_by_maximum else _mean_pool

    def forward(self, x: Tensor) -> Tensor:
        one = self.branch3x3_1(x)
        two = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        splits = [self.branch3x3_2a(one), self.branch3x3_2b(one)]
        splits += [self.branch3x3dbl_3a(two), self.branch3x3dbl_3b(two)]
        return torch.cat([self.branch1x1(x), *splits, self.branch_pool(self.pool(x))], 1)


class InceptionV3(nn.Module):
    """Images in [-1, 1], `(n, c, h, w)`, to features `(n, 2048)` and logits `(n, 1008)`."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Conv(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = Conv(32, 32, 3)
        self.Conv2d_2b_3x3 = Conv(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = Conv(64, 80, 1)
        self.Conv2d_4a_3x3 = Conv(80, 192, 3)
        self.Mixed_5b = BlockA(192, 32)
        self.Mixed_5c = BlockA(256, 64)
        self.Mixed_5d = BlockA(288, 64)
        self.Mixed_6a = BlockB(288)
        self.Mixed_6b = BlockC(768, 128)
        self.Mixed_6c = BlockC(768, 160)
        self.Mixed_6d = BlockC(768, 160)
        self.Mixed_6e = BlockC(768, 192)
        self.Mixed_7a = BlockD(768)
        self.Mixed_7b = BlockE(1280, pool_by_maximum=False)
        self.Mixed_7c = BlockE(2048, pool_by_maximum=True)
        self.fc = nn.Linear(2048, 1008)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        # The graph saw bytes, as (byte - 128) / 128.
        x = (resize(rgb(x), 299) * 127.5 + 127.5 - 128) / 128
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(F.max_pool2d(x, 3, 2))))
        x = self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))
        x = self.Mixed_7a(self.Mixed_6e(self.Mixed_6d(x)))
        features = self.Mixed_7c(self.Mixed_7b(x)).mean((2, 3))
        # The score is taken from logits without their bias, as in the graph's own evaluation.
        return features, features @ self.fc.weight.T


def load_inception(path: str | Path) -> InceptionV3:
    """The network with the weights of a `.safetensors` file.

    Raises:
        UserError: the file is missing, of another format, or holds other tensors.
    """
    path = Path(path)
    if path.suffix != ".safetensors" or not path.is_file():
        raise UserError(
            f"Inception features need a .safetensors file of weights, but {path} is "
            f"{'no such file' if not path.is_file() else 'of another kind'}; give the path of one "
            f"with --weights."
        )
    model = InceptionV3()
    wanted = model.state_dict()
    try:
        given = load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path} is no sound .safetensors file ({error}); convert or download it again."
        ) from error
    counters = {name for name in wanted if name.endswith("num_batches_tracked")}
    for name, tensor in wanted.items():
        if name not in counters and (name not in given or given[name].shape != tensor.shape):
            shape = tuple(given[name].shape) if name in given else "nothing"
            raise UserError(
                f"{path} should hold {name} of shape {tuple(tensor.shape)}, but it holds {shape}; "
                f"use the weights "
                f"of the 2015-12-05 Inception graph."
            )
    model.load_state_dict({n: given.get(n, t) for n, t in wanted.items()})
    return model.eval().requires_grad_(False)


def rgb(x: Tensor) -> Tensor:
    """Three channels: grey is repeated, an alpha channel is dropped."""
    channels = x.shape[1]
    if channels in (1, 2):
        return x[:, :1].expand(-1, 3, -1, -1)
    return x[:, :3]


def resize(x: Tensor, size: int) -> Tensor:
    """Bilinear resize to a square, as TensorFlow 1 did it: output i reads at `i * input / size`.

    >>> resize(torch.tensor([[[[0.0, 1.0], [0.0, 1.0]]]]), 4)[0, 0, 0]
    tensor([0.0000, 0.5000, 1.0000, 1.0000])
    """
    rows = _interpolation(x.shape[2], size).to(x)
    columns = _interpolation(x.shape[3], size).to(x)
    return rows @ x @ columns.T


def _interpolation(inputs: int, outputs: int) -> Tensor:
    """The matrix `(outputs, inputs)` of a linear interpolation."""
    at = torch.arange(outputs, dtype=torch.float64) * (inputs / outputs)
    low = at.floor().long()
    high = (low + 1).clamp(max=inputs - 1)
    weight = (at - low)[:, None]
    eye = torch.eye(inputs, dtype=torch.float64)
    return (1 - weight) * eye[low] + weight * eye[high]
