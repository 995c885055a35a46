"""Normal noise drawn block by block: the transform against its formula, the law, and the seed."""

import math
from itertools import islice

import numpy as np
import pytest
import torch

from pofx.functional.random import noise
from pofx.functional.white_noise import box_muller, white_noise
from pofx.mcmc.chains import take
from pofx.mcmc.langevin import langevin


def drawn(n, *shape, skip=32):
    """Steps `skip` to `skip + n` of the noise, `(n, *shape)`; blocks have begun by 32."""
    return torch.stack([z.clone() for z in islice(white_noise(torch.empty(shape)), skip, skip + n)])


def test_the_transform_is_that_of_box_and_muller():
    words = np.random.default_rng(0).integers(0, 2**64, 5000, dtype=np.uint64)
    words[:4] = 0, 2**64 - 1, 2**31, 2**63  # the least u, and angles of half a turn
    ints = words.view(np.int32).astype(np.float64)
    u, theta = (np.abs(ints[:5000]) + 0.5) / 2**31, ints[5000:] * math.pi / 2**31
    expected = np.sqrt(-2 * np.log(np.minimum(u, 1)))
    found = np.empty(10_000, np.float32)
    box_muller(words, found)
    assert np.isfinite(found).all()
    assert np.abs(found).max() < 6.67
    assert np.allclose(found[:5000], expected * np.cos(theta), rtol=1e-5, atol=5e-4)
    assert np.allclose(found[5000:], expected * np.sin(theta), rtol=1e-5, atol=5e-4)


def test_the_numbers_are_normal():
    z = drawn(200, 5000, 2).double()
    n = z.numel()
    for power, moment in enumerate([0, 1, 0, 3, 0, 15], start=1):
        spread = math.prod(range(1, 2 * power, 2)) ** 0.5
        assert abs(float((z**power).mean()) - moment) < 5 * spread / n**0.5, power
    for cut in (1.0, 2.0, 3.0, 4.0, 4.5):
        p = math.erfc(cut / 2**0.5)
        assert abs(float((z.abs() > cut).double().mean()) - p) < 5 * (p / n) ** 0.5, cut
    ranks = torch.distributions.Normal(0.0, 1.0).cdf(z.flatten()).sort().values
    gap = (ranks - (torch.arange(n, dtype=torch.float64) + 0.5) / n).abs().max()
    assert gap < (math.log(2e6) / (2 * n)) ** 0.5, "Dvoretzky-Kiefer-Wolfowitz at 1e-6"


def test_no_number_tells_another():
    z = drawn(13, 32_768).double()  # the numbers of a word are two steps apart
    for a, b in ((z[:-1], z[1:]), (z[:-2], z[2:]), (z[:, :-1], z[:, 1:])):
        for f in (torch.Tensor.clone, torch.square, torch.abs):
            r = float(torch.corrcoef(torch.stack([f(a).flatten(), f(b).flatten()]))[0, 1])
            assert abs(r) < 5 / a.numel() ** 0.5


@pytest.mark.parametrize("shape", [(4096,), (99, 101), (65_537,), (3, 70_001)])
def test_every_shape_is_filled_anew(shape):
    z = drawn(9, *shape)
    assert z.shape == (9, *shape)
    assert z.flatten().unique().numel() > 0.9 * z.numel(), "but for equal ones of single precision"


def test_a_seed_fixes_the_noise():
    first, other = drawn(3, 5000), drawn(3, 5000)
    torch.manual_seed(0)
    assert torch.equal(drawn(3, 5000), first)
    assert not torch.equal(other, first)


@pytest.mark.parametrize("like", [torch.empty(100, 2), torch.empty(5000, 2, dtype=torch.float64)])
def test_other_noise_is_that_of_torch(like):
    z = next(islice(white_noise(like), 40, None))
    torch.manual_seed(0)
    assert torch.equal(z, torch.stack([torch.empty_like(like).normal_() for _ in range(41)])[-1])


def test_short_walks_leave_no_block_unused():
    z = drawn(32, 4096, skip=0)
    torch.manual_seed(0)
    assert torch.equal(z, torch.stack([torch.empty(4096).normal_() for _ in range(32)]))


@pytest.mark.parametrize("default", [torch.float64, torch.bfloat16])
def test_the_default_type_of_numbers_is_not_asked(default):
    before = torch.get_default_dtype()
    torch.set_default_dtype(default)
    try:
        z = list(islice(white_noise(torch.empty(5000, dtype=torch.float32)), 40))[-1]
    finally:
        torch.set_default_dtype(before)
    assert z.dtype == torch.float32
    assert abs(float(z.std()) - 1) < 0.06


def test_transforms_of_functions_draw_as_torch_does():
    def walk(x):
        return take(langevin(torch.neg, x, 0.1), 20)

    x = torch.func.vmap(walk, randomness="different")(torch.zeros(3, 5000))
    variance = (1 - (1 - 0.05) ** 40) / (1 - 0.1 / 4)
    assert torch.allclose(x.var(1), torch.tensor(variance), rtol=0.12)
    assert not torch.equal(x[0], x[1])


def test_chains_keep_their_keyed_noise():
    def chains(n, first):
        with noise(0, n, first=first):
            return take(langevin(torch.neg, torch.zeros(n, 3), 0.1), 20)

    assert torch.equal(chains(4000, 0)[3000:], chains(1000, 3000))


def test_fast_chains_have_the_variance_of_the_closed_form():
    n, step = 200_000, 0.5
    x = take(langevin(torch.neg, torch.randn(n), step), 40)
    assert abs(float(x.var()) * (1 - step / 4) - 1) < 5 * (2 / n) ** 0.5
