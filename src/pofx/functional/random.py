"""Noise that belongs to an example, not to the batch that it happens to be in.

`noise(seed, n)` is a context in which torch's random functions give example i the values that the
key (seed, i, draw) fixes, whatever the size of the batch around it. Sampling in it gives the same
examples for any batch split; training in it gives the same step for any number of processes and any
accumulation.

The stream is counter-based: the SplitMix64 finaliser of a key and a counter.

References:
    Parallel random numbers: as easy as 1, 2, 3 (Salmon et al., 2011).
    Fast splittable pseudorandom number generators (Steele et al., 2014), figure 16.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed integer
_MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_2 = -7723592293110705685  # 0x94D049BB133111EB


def _shift(x: Tensor, bits: int) -> Tensor:
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift(x, 30)) * _MIX_1
    x = (x ^ _shift(x, 27)) * _MIX_2
    return x ^ _shift(x, 31)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """A block whose draws begin at a seed, after which every device's random state is what it was.

    >>> before = torch.get_rng_state()
    >>> with seeded(0): x = torch.rand(())
    >>> torch.equal(torch.get_rng_state(), before)
    True
    """
    used = torch.cuda.is_available() and torch.cuda.is_initialized()
    with torch.random.fork_rng(range(torch.cuda.device_count()) if used else []):
        torch.manual_seed(seed)
        yield


class noise(TorchFunctionMode):
    """Keys torch's random functions by example.

    Every random tensor drawn inside must have the example as its leading axis, of length `n`; one
    whose leading axis has another length is keyed by its rows all the same.

    Args:
        seed: any integer.
        n: how many examples the batch has.
        first: the index of the batch's first example in the whole.

    >>> with noise(0, 4): whole = torch.randn(4, 2)
    >>> with noise(0, 2, first=2): half = torch.randn(2, 2)
    >>> torch.equal(whole[2:], half)
    True
    """

    def __init__(self, seed: int, n: int, *, first: int = 0) -> None:
        super().__init__()
        self.n = n
        self.first = first
        self.draw = 0
        self.seed = (seed * 0x9E3779B97F4A7C15 + 0x5851F42D4C957F2D) % (1 << 63)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        draw = _DRAWS.get(func)
        if draw is None:
            return func(*args, **(kwargs or {}))
        return draw(self, *args, **(kwargs or {}))

    def bits(self, shape: Sequence[int], device: torch.device | str | None) -> Tensor:
        """63 random bits for every element of `shape`."""
        self.draw += 1
        rows = shape[0] if len(shape) else 1
        width = math.prod(shape[1:])
        row = torch.arange(self.first, self.first + rows, device=device)
        key = _mix(_mix(row * _GOLDEN + self.seed) + self.draw * 0x2545F4914F6CDD1D % (1 << 63))
        column = torch.arange(1, width + 1, device=device) * _GOLDEN
        return _shift(_mix(key[:, None] + column), 1).reshape(shape)

    def uniform(self, shape: Sequence[int], options: Mapping[str, Any]) -> Tensor:
        """Uniform on (0, 1), open at both ends."""
        dtype = options.get("dtype") or torch.get_default_dtype()
        bits = self.bits(shape, options.get("device"))
        if dtype == torch.float64:
            return ((bits >> 11).double() + 0.5) * 2.0**-52
        return (((bits >> 40).float() + 0.5) * 2.0**-23).to(dtype)

    def normal(self, shape: Sequence[int], options: Mapping[str, Any]) -> Tensor:
        """Standard normal, by Box and Muller's transform."""
        dtype = options.get("dtype") or torch.get_default_dtype()
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        bits = self.bits(shape, options.get("device"))
        radius = ((bits >> 32).to(wide) + 0.5) * 2.0**-31
        angle = (bits & 0xFFFFFFFF).to(wide) * (2 * math.pi * 2.0**-32)
        radius = radius.clamp(max=1 - 2.0**-24) if wide == torch.float32 else radius
        return ((-2 * radius.log()).sqrt() * angle.cos()).to(dtype)


def _shape(size: Sequence[Any]) -> tuple[int, ...]:
    return tuple(size[0]) if len(size) == 1 and not isinstance(size[0], int) else tuple(size)


def _like(x: Tensor, options: Mapping[str, Any]) -> dict[str, Any]:
    return {"dtype": options.get("dtype") or x.dtype, "device": options.get("device") or x.device}


def _finish(x: Tensor, options: Mapping[str, Any]) -> Tensor:
    return x.requires_grad_() if options.get("requires_grad") else x


def _rand(mode: noise, *size: Any, **options: Any) -> Tensor:
    return _finish(mode.uniform(_shape(options.pop("size", None) or size), options), options)


def _randn(mode: noise, *size: Any, **options: Any) -> Tensor:
    return _finish(mode.normal(_shape(options.pop("size", None) or size), options), options)


def _rand_like(mode: noise, x: Tensor, **options: Any) -> Tensor:
    return _finish(mode.uniform(x.shape, _like(x, options)), options)


def _randn_like(mode: noise, x: Tensor, **options: Any) -> Tensor:
    return _finish(mode.normal(x.shape, _like(x, options)), options)


def _randint(mode: noise, *args: Any, **options: Any) -> Tensor:
    low, high, size = args if len(args) == 3 else (0, *args) if len(args) == 2 else (
        options.get("low", 0), options["high"], options["size"]
    )  # fmt: skip
    draws = low + mode.bits(tuple(size), options.get("device")) % (high - low)
    return draws.to(options.get("dtype") or torch.int64)


def _bernoulli(mode: noise, p: Tensor, **_: Any) -> Tensor:
    return (mode.uniform(p.shape, _like(p, {})) < p).to(p.dtype)


def _multinomial(
    mode: noise, p: Tensor, num_samples: int, replacement: bool = False, **_: Any
) -> Tensor:
    """Rows of `p` are examples; a single row is one distribution for `num_samples` examples."""
    if p.ndim == 1:
        u = mode.uniform((num_samples,), _like(p, {}))
        cdf = p.cumsum(0) / p.sum()
        return torch.searchsorted(cdf, u).clamp(max=p.shape[0] - 1)
    if num_samples > 1 and not replacement:
        raise NotImplementedError("keyed draws without replacement")
    u = mode.uniform((p.shape[0], num_samples), _like(p, {}))
    cdf = p.cumsum(1) / p.sum(1, keepdim=True)
    return torch.searchsorted(cdf, u).clamp(max=p.shape[1] - 1)


def _fill_uniform(mode: noise, x: Tensor, low: float = 0.0, high: float = 1.0, **_: Any) -> Tensor:
    return x.copy_(mode.uniform(x.shape, _like(x, {})) * (high - low) + low)


def _fill_normal(mode: noise, x: Tensor, mean: float = 0.0, std: float = 1.0, **_: Any) -> Tensor:
    return x.copy_(mode.normal(x.shape, _like(x, {})) * std + mean)


def _fill_exponential(mode: noise, x: Tensor, lambd: float = 1.0, **_: Any) -> Tensor:
    return x.copy_(-mode.uniform(x.shape, _like(x, {})).log() / lambd)


def _fill_bernoulli(mode: noise, x: Tensor, p: Any = 0.5, **_: Any) -> Tensor:
    return x.copy_(mode.uniform(x.shape, {"device": x.device}) < p)


_DRAWS: dict[Any, Callable[..., Tensor]] = {
    torch.rand: _rand,
    torch.randn: _randn,
    torch.rand_like: _rand_like,
    torch.randn_like: _randn_like,
    torch.randint: _randint,
    torch.bernoulli: _bernoulli,
    torch.Tensor.bernoulli: _bernoulli,
    torch.multinomial: _multinomial,
    torch.Tensor.multinomial: _multinomial,
    torch.Tensor.uniform_: _fill_uniform,
    torch.Tensor.normal_: _fill_normal,
    torch.Tensor.exponential_: _fill_exponential,
    torch.Tensor.bernoulli_: _fill_bernoulli,
}
