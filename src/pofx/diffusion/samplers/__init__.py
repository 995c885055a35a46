"""Ways from noise to data, one a file; `SAMPLERS` has their names."""

from __future__ import annotations

from collections.abc import Callable

from pofx.diffusion.sampler import Sampler
from pofx.diffusion.samplers.ancestral import Ancestral
from pofx.diffusion.samplers.annealed_langevin import AnnealedLangevin
from pofx.diffusion.samplers.ddim import DDIM
from pofx.diffusion.samplers.deis import DEIS
from pofx.diffusion.samplers.dpm_solver import DPMSolver
from pofx.diffusion.samplers.dpmpp_2m import DPMpp2M
from pofx.diffusion.samplers.euler import Euler
from pofx.diffusion.samplers.heun import EDM, Heun
from pofx.diffusion.samplers.learned import LearnedAncestral
from pofx.diffusion.samplers.predictor_corrector import PredictorCorrector
from pofx.diffusion.samplers.reverse_sde import ReverseSDE
from pofx.diffusion.samplers.rk45 import RK45
from pofx.diffusion.samplers.unipc import UniPC
from pofx.errors import UserError, did_you_mean

SAMPLERS: dict[str, Callable[[], Sampler]] = {
    "ddim": DDIM,
    "ancestral": lambda: Ancestral("large"),
    "ancestral-small": lambda: Ancestral("small"),
    "ancestral-learned": LearnedAncestral,
    "annealed-langevin": AnnealedLangevin,
    "euler": Euler,
    "heun": Heun,
    "edm": EDM,
    "dpm-1": lambda: DPMSolver(1),
    "dpm-2": lambda: DPMSolver(2),
    "dpm-3": lambda: DPMSolver(3),
    "dpmpp-2m": DPMpp2M,
    "dpmpp-2m-sde": lambda: DPMpp2M(1.0),
    "deis": DEIS,
    "unipc": UniPC,
    "predictor-corrector": PredictorCorrector,
    "reverse-sde": ReverseSDE,
    "rk45": RK45,
}
_WITH_ETA: dict[str, Callable[[float], Sampler]] = {"ddim": DDIM, "dpmpp-2m": DPMpp2M}


def choose(sampler: Sampler | str, eta: float | None = None) -> Sampler:
    """The sampler of a name, or the sampler itself.

    Args:
        sampler: which.
        eta: how much noise it adds, where it may add any.

    Raises:
        UserError: there is none of that name, or it takes no eta.
    """
    if isinstance(sampler, str) and sampler not in SAMPLERS:
        raise UserError(f"there is no sampler '{sampler}'; {did_you_mean(sampler, SAMPLERS)}")
    if eta is not None:
        if sampler not in _WITH_ETA:
            name = sampler if isinstance(sampler, str) else type(sampler).__name__
            raise UserError(
                f"eta belongs to the samplers {' and '.join(_WITH_ETA)}, and the sampler is "
                f"{name}; leave eta out."
            )
        return _WITH_ETA[sampler](eta)
    return SAMPLERS[sampler]() if isinstance(sampler, str) else sampler
