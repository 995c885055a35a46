"""Right models of every support, with a place for one defect each."""

import math

import torch
from torch import nn
from torch.nn import functional as F

from pofx.functional.dequantize import values
from pofx.spec import Bytes, Mixed

LOG_2PI = math.log(2 * math.pi)


class Normal(nn.Module):
    """A correlated normal distribution; `scale` and `shift` are a defect of its samples."""

    def __init__(self, spec, shift=0.0, scale=1.0):
        super().__init__()
        d, g = spec.size, torch.Generator().manual_seed(spec.size)
        self.d, self.shift, self.scale = d, shift, scale
        root = torch.eye(d) + 0.6 * torch.randn(d, d, generator=g) / d**0.5
        self.register_buffer("mean", 0.5 * torch.randn(d, generator=g))
        self.register_buffer("root", root)
        self.register_buffer("ladj", torch.linalg.slogdet(root).logabsdet)

    def sample(self, n, cond=None):
        return self.mean + self.shift + self.scale * torch.randn(n, self.d) @ self.root.T

    def log_prob(self, x, cond=None):
        z = torch.linalg.solve(self.root, (x - self.mean).T).T
        return -(z**2).sum(1) / 2 - self.d * LOG_2PI / 2 - self.ladj


class Triangular(nn.Module):
    """Independent numbers in [-1, 1] with a density that rises from one end to the other."""

    def __init__(self, spec, shift=0.0, scale=1.0):
        super().__init__()
        self.shape, self.power = spec.shape, 0.5 * scale + shift

    def sample(self, n, cond=None):
        return 2 * torch.rand(n, *self.shape) ** self.power - 1

    def log_prob(self, x, cond=None):
        return ((x.flatten(1) + 1) / 2).clamp(min=1e-30).log().sum(1)


class Independent(nn.Module):
    """Independent discrete elements; `scale` is the temperature that samples are drawn at."""

    def __init__(self, spec, shift=0.0, scale=1.0):
        super().__init__()
        g = torch.Generator().manual_seed(spec.size)
        self.spec, self.temperature = spec, scale + shift
        width = max(c.levels for c in spec.columns)
        logits = torch.randn(spec.size, width, generator=g)
        for j, c in enumerate(spec.columns):
            logits[j, c.levels :] = -1e9
        self.register_buffer("logits", logits)

    def sample(self, n, cond=None):
        cdf = (self.logits / self.temperature).softmax(1).cumsum(1)
        k = (torch.rand(n, self.spec.size, 1) > cdf).sum(2).clamp(max=cdf.shape[1] - 1)
        each = [values(k[:, j], c).float() for j, c in enumerate(self.spec.columns)]
        return torch.stack(each, 1).reshape(n, *self.spec.shape)

    def log_prob(self, x, cond=None):
        x = x.flatten(1)
        each = [
            (x[:, j] + 1) * (c.levels - 1) / 2 if isinstance(c, Bytes) else x[:, j]
            for j, c in enumerate(self.spec.columns)
        ]
        k = torch.stack(each, 1).round().long()
        return self.logits.log_softmax(1).T.gather(0, k).sum(1)


class Table(nn.Module):
    """Normal and discrete columns, in this order, half of them of each kind."""

    def __init__(self, spec, shift=0.0, scale=1.0):
        super().__init__()
        half = spec.size // 2
        numbers, words = spec.support.columns[:half], spec.support.columns[half:]
        spec_of = type(spec)
        self.half = half
        self.numbers = Normal(spec_of((half,), numbers[0]), shift, scale)
        self.words = Independent(spec_of((spec.size - half,), Mixed(words)), 0.0, scale)

    def sample(self, n, cond=None):
        return torch.cat([self.numbers.sample(n), self.words.sample(n)], 1)

    def log_prob(self, x, cond=None):
        x, k = x[:, : self.half], x[:, self.half :]
        return self.numbers.log_prob(x) + self.words.log_prob(k)


class Spikes(nn.Module):
    """A mixture of narrow normal distributions at scattered places."""

    def __init__(self, d, count, sd):
        super().__init__()
        g = torch.Generator().manual_seed(0)
        self.register_buffer("centers", 3 * torch.randn(count, d, generator=g))
        self.sd = sd

    def sample(self, n, cond=None):
        m, d = self.centers.shape
        return self.centers[torch.randint(0, m, (n,))] + self.sd * torch.randn(n, d)

    def log_prob(self, x, cond=None):
        m, d = self.centers.shape
        square = ((x[:, None] - self.centers) / self.sd).square().sum(2)
        constant = math.log(m) + d * (LOG_2PI / 2 + math.log(self.sd))
        return (-square / 2).logsumexp(1) - constant


class Alone(nn.Module):
    """A density and nothing else."""

    def __init__(self, log_prob):
        super().__init__()
        self.of = log_prob

    def log_prob(self, x):
        return self.of(x)


def normal(mean, sd=1.0, total=1.0):
    """The log-density of independent normal numbers, with an integral of `total`."""

    def log_prob(x):
        constant = x.shape[1] * (LOG_2PI / 2 + math.log(sd)) - math.log(total)
        return -((x - mean) / sd).square().sum(1) / 2 - constant

    return log_prob


class Restated(nn.Module):
    """A model's samples with something else in place of its log-density, under any name."""

    def __init__(self, model, **methods):
        super().__init__()
        self.model = model
        self.sample = model.sample
        for name, change in methods.items():
            setattr(self, name, self._changed(change))

    def _changed(self, change):
        return lambda x, cond=None: change(self.model.log_prob(x), x)


class Bounded(Normal):
    """A bound that is tight, or nearly so, with noise whose mean is not above 0."""

    def __init__(self, spec, noise):
        super().__init__(spec)
        self.noise = noise

    def elbo(self, x, cond=None):
        return self.log_prob(x) + self.noise(len(x))


class Weighted(Normal):
    """Importance weights that are log-normal with the mean p(x), or their sum."""

    def __init__(self, spec, sd, *, divides=True):
        super().__init__(spec)
        self.sd, self.divides = sd, divides

    def importance_bound(self, x, cond=None, *, samples=500):
        noise = self.sd * torch.randn(len(x), samples) - self.sd**2 / 2
        total = (self.log_prob(x)[:, None] + noise).logsumexp(1)
        return total - math.log(samples) if self.divides else total


class Dropping(Normal):
    """Dropout that stays on in one of the methods."""

    def __init__(self, spec, where):
        super().__init__(spec)
        self.where = where

    def sample(self, n, cond=None):
        return self._dropped(super().sample(n), "sample")

    def log_prob(self, x, cond=None):
        return super().log_prob(self._dropped(x, "log_prob"))

    def elbo(self, x, cond=None):
        return super().log_prob(self._dropped(x, "elbo")) - 9

    def energy(self, x, cond=None):
        return -super().log_prob(self._dropped(x, "energy"))

    def _dropped(self, x, where):
        return F.dropout(x, 0.2, training=True) if where == self.where else x


class OfAClass(nn.Module):
    """A normal distribution about a mean of each class, which each method may heed or not."""

    def __init__(self, conditional, heeds):
        super().__init__()
        self.conditional, self.heeds = conditional, heeds
        self.means = nn.Parameter(torch.arange(12.0).reshape(3, 4) / 4)

    def _mean(self, cond, method):
        return self.means[cond] if method in self.heeds else self.means[:1]

    def sample(self, n, cond=None):
        if cond is None:
            cond = torch.randint(0, 3, (n,))
        return self._mean(cond, "sample") + torch.randn(n, 4)

    def log_prob(self, x, cond=None, method="log_prob"):
        if cond is None:
            each = [self.log_prob(x, torch.full((len(x),), k), method) for k in range(3)]
            return torch.stack(each).logsumexp(0) - math.log(3)
        return -((x - self._mean(cond, method)) ** 2).sum(1) / 2 - 2 * LOG_2PI

    def elbo(self, x, cond=None):
        return self.log_prob(x, cond, "elbo") - torch.rand(len(x))
