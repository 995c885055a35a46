"""Noise that belongs to an example, not to the batch that it happens to be in.

`noise(seed, n)` is a context in which torch's random functions give example i the values that the
key (use, seed, i, draw) fixes, whatever the size of the batch around it. Sampling in it gives the
same examples for any batch split; training in it gives the same step for any number of processes
and any accumulation. What is scored is keyed by its content instead of its number: one example has
one score, wherever it stands.

The stream is counter-based: the SplitMix64 finalizer of a key and a counter. A hash makes the key
of what the noise is for and of the seed, so that no two uses and no two seeds share any.

References:
    Parallel random numbers: as easy as 1, 2, 3 (Salmon et al., 2011).
    Fast splittable pseudorandom number generators (Steele et al., 2014), figure 16.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed integer
_MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_2 = -7723592293110705685  # 0x94D049BB133111EB
_HASHED = 1 << 20
"""Elements that are hashed at a time, which bounds the memory that it takes."""


def _shift(x: Tensor, bits: int) -> Tensor:
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift(x, 30)) * _MIX_1
    x = (x ^ _shift(x, 27)) * _MIX_2
    return x ^ _shift(x, 31)


def stream(use: str, seed: int, *counters: int) -> int:
    """Hashes what noise is for, its seed and any counters into a seed of 63 bits.

    >>> len({stream(use, seed) for use in ("split", "toy") for seed in range(1000)})
    2000
    """
    words = "/".join(map(str, (use, seed, *counters)))
    return int.from_bytes(blake2b(words.encode(), digest_size=8).digest(), "little") >> 1


_FORMER: ContextVar[bool] = ContextVar("former streams", default=False)


@contextmanager
def streams_of(format: int) -> Iterator[None]:
    """A block whose streams are those of a run's format: before 2, a seed was added to the number
    of an example, whatever the use, and neighboring seeds shared their noise.
    """
    token = _FORMER.set(format < 2)
    try:
        yield
    finally:
        _FORMER.reset(token)


def former() -> bool:
    """Whether streams are those of the first format."""
    return _FORMER.get()


def content(x: Tensor) -> Tensor:
    """Hashes the values of each example, int64 `(n,)`: equal examples have equal hashes.

    >>> content(torch.tensor([[0.0, 1.0], [1.0, 0.0], [-0.0, 1.0]])).unique().numel()
    2
    """
    rows = max(1, _HASHED // max(1, x[:1].numel()))
    return (
        torch.cat([_content(part) for part in x.split(rows)]) if len(x) else x.new_zeros(0).long()
    )


def _content(x: Tensor) -> Tensor:
    flat = x.detach().reshape(len(x), -1)
    if flat.is_floating_point():
        flat = torch.where(flat.isnan(), math.nan, flat.float() + 0.0)  # one zero, and one NaN
        flat = flat.view(torch.int32)
    place = torch.arange(1, flat.shape[1] + 1, device=x.device) * _GOLDEN
    return _mix(_mix(_mix(flat.long()) + place).sum(1))


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
        use: what the noise is for; two uses of one seed share none.
        first: the index of the batch's first example in the whole.
        rows: a key for each example, int64 `(n,)`, in place of its index.

    >>> with noise(0, 4): whole = torch.randn(4, 2)
    >>> with noise(0, 2, first=2): half = torch.randn(2, 2)
    >>> torch.equal(whole[2:], half)
    True
    """

    def __init__(
        self,
        seed: int,
        n: int,
        *,
        use: str = "sample",
        first: int = 0,
        rows: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.n, self.first, self.rows = n, first, rows
        self.draw = 0
        self.seed = _former_key(seed) if former() else stream(use, seed)

    @classmethod
    def of(cls, x: Tensor, seed: int = 0, *, use: str = "score") -> noise:
        """Noise that depends on what each example is, and not on where it stands.

        >>> x = torch.tensor([[1.0], [2.0], [1.0]])
        >>> with noise.of(x): z = torch.randn(3, 4)
        >>> torch.equal(z[0], z[2]), torch.equal(z[0], z[1])
        (True, False)
        """
        return cls(seed, len(x), use=use, rows=content(x))

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
        row = self._rows(rows, device)
        key = _mix(_mix(row * _GOLDEN + self.seed) + self.draw * 0x2545F4914F6CDD1D % (1 << 63))
        column = torch.arange(1, width + 1, device=device) * _GOLDEN
        return _shift(_mix(key[:, None] + column), 1).reshape(shape)

    def _rows(self, count: int, device: torch.device | str | None) -> Tensor:
        if self.rows is None or count % max(1, self.n):
            return torch.arange(self.first, self.first + count, device=device)
        rows = self.rows.to(device or self.rows.device)
        if count == self.n:
            return rows
        turn = torch.arange(count // self.n, device=rows.device) * _MIX_1
        return (rows + turn[:, None]).flatten()

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


def _former_key(seed: int) -> int:
    return (seed * 0x9E3779B97F4A7C15 + 0x5851F42D4C957F2D) % (1 << 63)


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
