import math

import pytest
import torch

from pofx.data import DataError, load, toy

NAMES = list(toy.DENSITIES)
# reach and step of a grid that is fine enough for the narrowest part of each
GRIDS = {
    "eight-gaussians": (5.0, 0.05),
    "ring-8": (1.1, 0.004),
    "grid-25": (4.5, 0.02),
    "two-moons": (2.5, 0.04),
    "rings": (5.2, 0.04),
    "pinwheel": (5.5, 0.04),
    "checkerboard": (4.0, 0.1),
    "swiss-roll": (4.5, 0.05),
}


def grid(name):
    """Midpoints of cells, and the mass that the density puts into each."""
    reach, step = GRIDS[name]
    axis = torch.arange(-reach + step / 2, reach, step, dtype=torch.float64)
    points = torch.cartesian_prod(axis, axis)
    return points, toy.density(name).log_prob(points).exp() * step**2


@pytest.mark.parametrize("name", GRIDS)
def test_a_density_integrates_to_one_and_samples_have_its_moments(name):
    points, mass = grid(name)
    assert float(mass.sum()) == pytest.approx(1, abs=1e-5)
    x = toy.examples(name, 0, 20_000).double()
    for power in (lambda p: p, lambda p: p**2, lambda p: p.prod(1, keepdim=True)):
        drawn, expected = power(x), (mass[:, None] * power(points)).sum(0)
        z = (drawn.mean(0) - expected) / drawn.std(0) * len(x) ** 0.5
        assert float(z.abs().max()) < 5, name


def test_the_funnel_integrates_to_one_and_samples_have_its_moments():
    v, s = torch.cartesian_prod(*[torch.linspace(-9, 9, 401, dtype=torch.float64)] * 2).unbind(1)
    v = 3 * v
    points = torch.stack([v, s * (v / 2).exp()], 1)
    log_p = toy.density("funnel").log_prob(points) + v / 2  # w = s exp(v / 2)
    assert float(log_p.exp().sum() * 3 * (18 / 400) ** 2) == pytest.approx(1, abs=1e-8)
    v, w = toy.examples("funnel", 0, 20_000).double().unbind(1)
    for z, variance in ((v / 3, 1.0), (w * (-v / 2).exp(), 1.0)):
        assert abs(float(z.mean())) < 5 / 20_000**0.5
        assert float(z.square().mean()) == pytest.approx(variance, abs=5 * (2 / 20_000) ** 0.5)


@pytest.mark.parametrize("name", NAMES)
def test_the_mean_log_prob_of_samples_is_minus_the_entropy(name):
    density = toy.density(name)
    log_p = density.log_prob(toy.examples(name, 1, 20_000).double())
    slack = 5 * float(log_p.std()) / 20_000**0.5 + 1e-6
    assert -float(log_p.mean()) == pytest.approx(density.entropy(), abs=slack)


def test_densities_of_other_sizes_integrate_to_one():
    axis = torch.arange(-4 + 0.02, 4, 0.04, dtype=torch.float64)
    points = torch.cartesian_prod(axis, axis)
    for density in (
        toy.Rings((1.0, 2.5), 0.15),
        toy.Pinwheel(3, 1.5, 0.3, 0.2, 0.4),
        toy.Checkerboard(6, 3.0),
        toy.ring(3, 1.0, 0.3),
        toy.grid(1.5, 3, 0.2),
    ):
        mass = density.log_prob(points).exp() * 0.04**2
        assert float(mass.sum()) == pytest.approx(1, abs=1e-3)
        entropy = -float(torch.special.xlogy(mass, mass / 0.04**2).sum())
        assert entropy == pytest.approx(density.entropy(), abs=5e-3)


def test_entropies_that_the_literature_counts_from():
    apart = math.log(2 * math.pi * math.e)
    assert toy.density("grid-25").entropy() == pytest.approx(0.0653, abs=5e-5)
    assert toy.density("ring-8").entropy() == pytest.approx(math.log(8e-4) + apart, abs=1e-6)
    assert toy.ring(8, 1.0, 0.1).entropy() == pytest.approx(0.312, abs=1e-3)
    assert toy.density("checkerboard").entropy() == math.log(32)
    assert toy.density("funnel").entropy() == pytest.approx(apart + math.log(3), abs=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_depends_on_the_seed_and_its_number_alone(name):
    before = torch.get_rng_state()
    few, many = toy.examples(name, 3, 5), toy.examples(name, 3, 50)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(few, many[:5])
    assert not torch.equal(few, toy.examples(name, 4, 5))


def test_no_log_prob_where_a_checkerboard_is_white_or_ends():
    log_p = toy.density("checkerboard").log_prob(
        torch.tensor([[-3.0, -3.0], [-3.0, -1.0], [5.0, 5.0]])
    )
    assert log_p.tolist() == [pytest.approx(-math.log(32)), -math.inf, -math.inf]


def test_a_toy_is_loaded_in_its_own_units():
    dataset = load("grid-25", seed=2, limit=1000)
    assert sum(len(s) for s in dataset.splits.values()) == 1000
    assert (dataset.spec.shape, dataset.spec.log_scale) == ((2,), 0.0)
    x, _ = dataset.train.values()
    known = {tuple(row) for row in toy.examples("grid-25", 2).tolist()}
    assert all(tuple(row) in known for row in x.tolist())


def test_a_typo_names_the_nearest():
    with pytest.raises(DataError, match="did you mean 'two-moons'"):
        toy.density("two-moon")
