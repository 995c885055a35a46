"""dry_run: a step by shapes alone, to see how much memory it would take.

torch's meta tensors have a shape and no numbers: a step on them costs neither memory nor
arithmetic. A model also reads numbers as it is built and trained (an order of elements, a table of
noise levels, a counter), which a meta tensor has not; so what is small stays real here, and where
both kinds meet the result is a meta tensor. Who asks a meta tensor for its number is told 1: it may
end a loop early or pass a check, and seldom changes what is kept in memory.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter, tree_map_only

from pofx.batch import Batch
from pofx.objective import Objective

META = torch.device("meta")
_NUMBERS = 2**12
"""Elements up to which new floats are real: a table of noise levels has no more."""
_INDICES = 2**22
"""Elements up to which new whole numbers and masks are real: orders, places, permutations."""


OPERATIONS = 40_000
"""More of them in one block would take longer to follow than to try."""


class TooLarge(Exception):
    """More bytes than the ceiling would be alive at once."""


class TooLong(Exception):
    """More operations than can be followed."""


class Meter(TorchDispatchMode):
    """Counts the bytes of tensors that are made while it is entered, until they are freed.

    Args:
        ceiling: bytes at which it gives up.

    Raises:
        TooLarge: that many are alive.

    >>> with Meter() as meter:
    ...     x = torch.zeros(1000)
    ...     y = (x + 1).sum()
    >>> meter.live, meter.peak
    (4004, 8004)
    """

    def __init__(self, ceiling: float = math.inf) -> None:
        super().__init__()
        self.live = self.peak = 0
        self.ceiling = ceiling
        self._alive: dict[int, weakref.ref[Any]] = {}

    def __torch_dispatch__(
        self, op: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = self.call(op, args, kwargs or {})
        given = {v.untyped_storage()._cdata for v in _tensors((args, kwargs))}
        for value in _tensors(out):
            if value.untyped_storage()._cdata not in given:  # a view of what was there is not new
                self._count(value)
        return out

    def call(self, op: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """What an operation returns."""
        return op(*args, **kwargs)

    def _count(self, value: Tensor) -> None:
        storage = value.untyped_storage()
        key, n = storage._cdata, storage.nbytes()
        if key in self._alive:
            return
        self._alive[key] = weakref.ref(storage, self._freed(key, n))
        self.live += n
        self.peak = max(self.peak, self.live)
        if self.peak > self.ceiling:
            raise TooLarge

    def _freed(self, key: int, n: int) -> Callable[[Any], None]:
        def freed(_: Any) -> None:
            self.live -= n
            del self._alive[key]

        return freed


def _tensors(tree: Any) -> Iterator[Tensor]:
    return (v for v in tree_iter(tree) if isinstance(v, Tensor))


class _Shapes(Meter):
    """Makes large tensors without their numbers.

    Args:
        ceiling: as for `Meter`.
        most: operations after which it gives up.

    Raises:
        TooLong: that many came.
    """

    def __init__(self, ceiling: float, most: int) -> None:
        super().__init__(ceiling)
        self.operations, self.most = 0, most

    def call(self, op: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        self.operations += 1
        if self.operations > self.most:
            raise TooLong
        tensors = list(_tensors((args, kwargs)))
        if not tensors:
            return _new(op, args, kwargs)
        if all(t.device != META for t in tensors):
            return op(*args, **kwargs)
        if op is torch.ops.aten._local_scalar_dense.default:
            return torch.ones((), dtype=args[0].dtype).item()
        meta, named = tree_map_only(Tensor, _shape, (args, kwargs))
        if named.get("device") is not None:
            named["device"] = META
        out, written = op(*meta, **named), _written(op)
        if written is None:
            return out
        return args[written] if isinstance(written, int) else kwargs[written]


def _new(op: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """A tensor that is made of none; a large one is a meta tensor."""
    if not any(a.name == "device" for a in op._schema.arguments):
        return op(*args, **kwargs)
    shape = op(*args, **{**kwargs, "device": META})
    most = _NUMBERS if shape.is_floating_point() else _INDICES
    return op(*args, **kwargs) if shape.numel() <= most else shape


def _shape(x: Tensor) -> Tensor:
    return x if x.device == META else x.to(META)


def _written(op: Any) -> int | str | None:
    """The place or the name of the argument that an operation writes into."""
    for place, argument in enumerate(op._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            return argument.name if argument.kwarg_only else place
    return None


class _Attention(TorchFunctionMode):
    """Attention as processors do it, block by block; without numbers torch would take the plain
    way, whose memory is the square of the length.
    """

    def __torch_function__(
        self, f: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        plain = f is F.scaled_dot_product_attention and len(args) == 3 and args[0].device == META
        if plain and set(kwargs) <= {"is_causal"}:
            flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
            return flash(*args, 0.0, kwargs.get("is_causal", False))[0]
        return f(*args, **kwargs)


class DryRun(ExitStack):
    """A block in which large tensors have no numbers; `with DryRun() as meter` counts them.

    Args:
        ceiling: as for `Meter`.
        most: operations after which it gives up.

    >>> with DryRun() as meter:
    ...     x = torch.randn(10**9, 100)
    >>> meter.live, x.device.type
    (400000000000, 'meta')
    """

    def __init__(self, ceiling: float = math.inf, most: int = OPERATIONS) -> None:
        super().__init__()
        self._meter = _Shapes(ceiling, most)

    def __enter__(self) -> Meter:  # type: ignore[override]
        super().__enter__()
        self.enter_context(_Attention())
        return self.enter_context(self._meter)


def without_numbers(objective: Objective) -> None:
    """Takes the numbers of all parameters, in place; buffers keep those that they have."""
    taken: dict[int, nn.Parameter] = {}
    for module in objective.modules():
        for name, p in module._parameters.items():
            if p is not None:
                bare = nn.Parameter(p.detach().to(META), p.requires_grad)
                module._parameters[name] = taken.setdefault(id(p), bare)


def take_step(objective: Objective, batch: Batch) -> None:
    """Computes every gradient of a step, and applies none."""
    objective.train()
    players: Mapping[str, list[nn.Parameter]] = {
        name: [p for p in module.parameters() if p.requires_grad]
        for name, module in objective.players.items()
    }
    for update in objective.updates(batch):
        torch.autograd.grad(update.loss, players[update.player], materialize_grads=True)
