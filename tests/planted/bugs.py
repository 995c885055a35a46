"""Plausible slips in the mathematics, planted one at a time in a copy of the sources by `run.py`.

Each is a snippet that occurs exactly once in its file, the snippet that takes its place, the tests
that ought to see it, and its kind. A third or more are of the kinds that tests tend to miss: what
is zero or constant in every case that the tests chose.

A group of tests is the arguments of one call of pytest, paths from the folder of the repository;
the doctests of the file itself are run besides, first of all.
"""

from dataclasses import dataclass

KINDS = {
    "constant": "a term that is zero or constant in every case that tests choose",
    "one value": "a parameter of which tests know one value",
    "order": "right steps in a wrong order, or what a later step should not see",
    "ranks": "processes that should differ and do not",
    "units": "examples that are no vectors: a sum over too few axes",
    "ends": "the ends of time, of a grid or of a bin",
    "last": "the last part of a loop",
    "weights": "parts of unequal size that weigh alike",
    "schedule": "what should change from step to step",
    "tail": "a series whose tail matters",
    "codes": "codes or columns that are not standard",
    "bias": "n against n - 1, and other denominators",
    "axis": "the wrong axis of what is square in tests",
    "dtype": "what only another type of numbers reaches",
    "labels": "labels where tests have one class, or none",
    "plain": "an ordinary slip in a formula",
}


@dataclass(frozen=True)
class Bug:
    """One slip.

    Args:
        file: path below `src/pofx`.
        find: text that occurs exactly once in it.
        replace: what takes its place.
        tests: groups of arguments of pytest, cheapest first.
        kind: a key of `KINDS`.
    """

    file: str
    find: str
    replace: str
    tests: tuple[str, ...]
    kind: str


def contract(names: str) -> str:
    """What every recipe must do, of some recipes: `names` is an expression of `-k`."""
    return f"tests/contracts/test_recipes.py -k '({names}) and (accumulation or model_is_what)'"


VAE = "tests/oracles/test_vae.py tests/oracles/test_vae_family.py"
FLOW = "tests/oracles/test_flow_layers.py tests/oracles/test_flow.py"
LOOP = "tests/training/test_loop.py tests/training/test_ema.py"
TRAINING = (
    "tests/training/test_validation.py tests/training/test_resume.py "
    "tests/training/test_old_runs.py tests/training/test_symptoms.py"
)
PROCESSES = "tests/contracts/test_processes.py"

BUGS = [
    # functional
    Bug(
        "functional/interpolation.py",
        "cosine = (a * b).sum() / (a.norm() * b.norm()).clamp(min=1e-12)",
        "cosine = (a * b).sum() / a.square().sum().clamp(min=1e-12)",
        ("tests/functional/test_interpolation.py", "tests/cli/test_latent.py"),
        "constant",
    ),
    Bug(
        "functional/noise_contrastive.py",
        "ratio * F.softplus(noise - log_ratio).mean()",
        "F.softplus(noise - log_ratio).mean()",
        ("tests/oracles/test_deep_energy.py",),
        "one value",
    ),
    Bug(
        "functional/dequantize.py",
        "for c in spec.support.columns if c.discrete)",
        "for c in set(spec.support.columns) if c.discrete)",
        (
            "tests/functional/test_dequantize.py",
            FLOW,
            "tests/oracles/test_classical.py",
        ),
        "units",
    ),
    Bug(
        "functional/splines.py",
        "within = torch.stack([k > 0, k < bins - 1]).to(raw.dtype)",
        "within = torch.stack([k > 0, k < bins]).to(raw.dtype)",
        (
            "tests/functional/test_splines.py",
            FLOW,
        ),
        "ends",
    ),
    Bug(
        "functional/score_matching.py",
        "return sum_event((score(y) + eps / scale).square()) / 2",
        "return (score(y) + eps / scale).square().sum(1) / 2",
        (
            "tests/oracles/test_score_matching.py::test_an_image_is_matched_as_the_vector_of_its_elements",
            "tests/oracles/test_score_matching.py",
            contract("score-matching and grey"),
        ),
        "units",
    ),
    # distributions
    Bug(
        "distributions/logistic.py",
        "return torch.where(x > 1 - half, -softplus(below), log_prob)",
        "return torch.where(x > 1, -softplus(below), log_prob)",
        (
            "tests/distributions/test_heads.py",
            VAE,
        ),
        "ends",
    ),
    Bug(
        "distributions/heads.py",
        "return sum_event(-0.5 * z**2 - constant)",
        "return sum_event(-0.5 * z**2) - constant.sum()",
        (
            "tests/distributions/test_heads.py",
            VAE,
        ),
        "units",
    ),
    Bug(
        "distributions/mixture.py",
        "return weights.mean(0, keepdim=True)",
        "return weights[:1]",
        (
            "tests/distributions/test_mixture.py",
            "tests/oracles/test_classical.py",
        ),
        "labels",
    ),
    # solvers
    Bug(
        "solvers/ode.py",
        "_NODES = (1 / 5, 3 / 10, 4 / 5, 8 / 9, 1.0, 1.0)",
        "_NODES = (1 / 5, 3 / 10, 4 / 5, 9 / 10, 1.0, 1.0)",
        (
            "tests/solvers/test_ode.py",
            "tests/oracles/test_samplers.py",
        ),
        "constant",
    ),
    Bug(
        "solvers/ode.py",
        "x, slope = torch.where(keep, new, x), torch.where(keep, slopes[-1], slope)",
        "x, slope = torch.where(keep, new, x), slopes[-1]",
        (
            "tests/solvers/test_ode.py",
            "tests/oracles/test_samplers.py",
        ),
        "order",
    ),
    Bug(
        "solvers/sde.py",
        "g = diffusion(t, x)\n        moved = torch.add(x, drift(t, x), alpha=h)",
        "moved = torch.add(x, drift(t, x), alpha=h)\n        g = diffusion(t, moved)",
        (
            "tests/solvers/test_sde.py::test_a_step_takes_both_slopes_where_it_starts",
            "tests/solvers/test_sde.py",
        ),
        "order",
    ),
    # mcmc
    Bug(
        "mcmc/diagnostics.py",
        "return within, within * (n - 1) / n + between",
        "return within, within + between",
        (
            "tests/oracles/test_mcmc_diagnostics.py::test_split_rhat_is_the_definition",
            "tests/oracles/test_mcmc_diagnostics.py",
            "tests/evaluation/test_chains.py",
        ),
        "bias",
    ),
    Bug(
        "mcmc/ais.py",
        "state = transition(state, before) if k else state",
        "state = transition(state, beta) if k else state",
        (
            "tests/oracles/test_ais.py",
            "tests/evaluation/test_energies.py",
        ),
        "order",
    ),
    Bug(
        "mcmc/tempering.py",
        "for i in range(first, len(betas) - 1, 2):",
        "for i in range(first, max(len(betas) - 2, 1), 2):",
        (
            "tests/oracles/test_tempering.py",
            "tests/oracles/test_harmonium.py",
        ),
        "last",
    ),
    Bug(
        "mcmc/hmc.py",
        "here = Slope(*moved)",
        "here = end.slope",
        ("tests/oracles/test_mcmc.py",),
        "order",
    ),
    Bug(
        "mcmc/langevin.py",
        "math.sqrt(step * temperature)",
        "math.sqrt(step) * temperature",
        (
            "tests/oracles/test_mcmc.py::test_a_temperature_scales_the_variance",
            "tests/oracles/test_mcmc.py",
            "tests/oracles/test_mcmc_diagnostics.py tests/oracles/test_deep_energy.py",
        ),
        "one value",
    ),
    Bug(
        "mcmc/mala.py",
        "back = sum_event((x - y - step / 2 * there.score).square()) / step",
        "back = (x - y - step / 2 * there.score).square().sum(1) / step",
        (
            "tests/oracles/test_mcmc.py::test_a_chain_of_images_is_that_of_their_vectors",
            "tests/oracles/test_mcmc.py",
            "tests/oracles/test_mcmc_diagnostics.py tests/oracles/test_deep_energy.py",
            contract("deep-energy and interval"),
        ),
        "units",
    ),
    # nn
    Bug(
        "nn/transformer.py",
        "p = torch.baddbmm(later, q, k.transpose(1, 2), alpha=1 / math.sqrt(depth)).softmax(2)",
        "p = torch.baddbmm(later, q, k.transpose(1, 2), alpha=1 / depth).softmax(2)",
        (
            "tests/oracles/test_gpt.py",
            "tests/oracles/test_flow_layers.py",
        ),
        "dtype",
    ),
    Bug(
        "nn/transformer.py",
        "return h * (torch.rand_like(h) >= p) / (1 - p)",
        "return h * (torch.rand_like(h) >= p)",
        (
            "tests/oracles/test_gpt.py::test_dropout_keeps_the_mean",
            "tests/oracles/test_gpt.py",
        ),
        "one value",
    ),
    Bug(
        "nn/masked.py",
        "hidden = [m[:, None] >= below for below, m in pairwise(degrees)]",
        "hidden = [m[:, None] > below for below, m in pairwise(degrees)]",
        (
            "tests/oracles/test_made.py",
            "tests/oracles/test_flow_layers.py",
        ),
        "ends",
    ),
    Bug(
        "nn/dit.py",
        "row, column = row.repeat_interleave(columns, 0), column.repeat(rows, 1)",
        "row, column = row.repeat(columns, 1), column.repeat_interleave(rows, 0)",
        (
            "tests/oracles/test_diffusion_networks.py",
            contract("ddpm and grey"),
        ),
        "axis",
    ),
    Bug(
        "nn/unet.py",
        "x = F.pad(x, (0, self.padding[1], 0, self.padding[0]))",
        "x = F.pad(x, (0, self.padding[0], 0, self.padding[1]))",
        (
            "tests/oracles/test_diffusion_networks.py::test_an_image_is_padded_along_the_side_that_needs_it",
            "tests/oracles/test_diffusion_networks.py",
            contract("ddpm and colour"),
        ),
        "axis",
    ),
    # classical
    Bug(
        "classical/em.py",
        "covariances = (n * self._covariances(sums) + self.nu * towards) / (n + self.nu)",
        "covariances = (n * self._covariances(sums) + self.nu * towards) / n",
        (
            "tests/oracles/test_classical.py::test_a_prior_is_so_many_examples_of_the_covariance_that_all_share",
            "tests/oracles/test_classical.py",
        ),
        "bias",
    ),
    Bug(
        "classical/em.py",
        "log_normals(u, mixture.means, mixture.roots) - noise @ cost",
        "log_normals(u, mixture.means, mixture.roots)",
        ("tests/oracles/test_classical.py",),
        "constant",
    ),
    Bug(
        "classical/covariance.py",
        "return total / len(self.y) + self.noise[:, None] * q",
        "return total / len(self.y)",
        ("tests/oracles/test_classical.py",),
        "constant",
    ),
    Bug(
        "classical/kde.py",
        "d, each = self.spec.size, n / self.classes",
        "d, each = self.spec.size, n",
        (
            "tests/oracles/test_classical.py::test_the_rules_of_a_conditional_kde_count_the_examples_of_a_class",
            "tests/oracles/test_classical.py",
        ),
        "labels",
    ),
    Bug(
        "classical/ngram.py",
        "mixed = (level.counts(place) + different * p) / (times + different).clamp(min=1)",
        "mixed = (level.counts(place) + p) / (times + 1)",
        (
            "tests/oracles/test_ngram.py",
            "tests/evaluation/test_text.py",
        ),
        "constant",
    ),
    # ae
    Bug(
        "ae/activity.py",
        "total = torch.cat([z.detach().sum(0), z.new_full((1,), len(z))])",
        "total = torch.cat([z.detach().mean(0), z.new_ones(1)])",
        (
            "tests/oracles/test_ae.py",
            contract("sparse"),
        ),
        "weights",
    ),
    Bug(
        "ae/denoising.py",
        "return relaxed * (torch.rand_like(relaxed) >= self.level)",
        "return relaxed * (torch.rand_like(relaxed[:, :1]) >= self.level)",
        (
            "tests/oracles/test_ae.py::test_each_element_is_masked_by_itself",
            "tests/oracles/test_ae.py",
            contract("denoising"),
        ),
        "units",
    ),
    Bug(
        "ae/sparse.py",
        "return z.abs().sum(1).mean()",
        "return z.abs().mean()",
        ("tests/oracles/test_ae.py",),
        "bias",
    ),
    # vae
    Bug(
        "vae/normal.py",
        "return 0.5 * (ratio.exp() + (q.mu - p.mu) ** 2 * (-p.log_var).exp() - 1 - ratio)",
        "return 0.5 * (ratio.exp() + (q.mu - p.mu) ** 2 - 1 - ratio)",
        ("tests/oracles/test_vae_family.py::test_the_combination_is_the_normalised_product", VAE),
        "constant",
    ),
    Bug(
        "vae/latent_variable.py",
        "drawn = posterior.draw(min(_DRAWS, samples - first))",
        "drawn = posterior.draw(_DRAWS)",
        (
            "tests/oracles/test_vae.py::test_at_the_exact_posterior_one_sample_gives_log_p",
            VAE,
            "tests/evaluation/test_likelihood.py",
        ),
        "last",
    ),
    Bug(
        "vae/latent_variable.py",
        "labels = None if cond is None else cond.repeat(k, *(1,) * (cond.ndim - 1))",
        "labels = None if cond is None else cond.repeat_interleave(k)",
        (
            "tests/oracles/test_vae_family.py::test_each_of_many_codes_is_of_its_own_example_and_class",
            VAE,
            "tests/evaluation/test_likelihood.py",
        ),
        "labels",
    ),
    Bug(
        "vae/inverse_autoregressive.py",
        "end, ladj = self._send(z.flatten(0, 1), self.context.repeat(k, 1))",
        "end, ladj = self._send(z.flatten(0, 1), self.context.repeat_interleave(k, 0))",
        (
            "tests/oracles/test_vae_family.py::test_each_of_many_codes_goes_through_the_steps_of_its_own_example",
            VAE,
            contract("iaf-vae"),
        ),
        "axis",
    ),
    # gan
    Bug(
        "gan/wgan_gp.py",
        "norm = gradient_norm(lambda x: self.adversary(x, cond), between(x, x_fake, u))",
        "norm = gradient_norm(lambda x: self.adversary(x, cond), x)",
        (
            "tests/oracles/test_gan.py::test_the_penalty_is_of_slopes_between_the_pairs",
            "tests/oracles/test_gan.py",
        ),
        "constant",
    ),
    Bug(
        "gan/penalties.py",
        "return (sum_event(input_gradient(critic(x), x).square()) + 1e-12).sqrt()",
        "return (input_gradient(critic(x), x).square().sum(1) + 1e-12).sqrt()",
        (
            "tests/oracles/test_gan.py::test_the_penalty_is_of_slopes_between_the_pairs",
            "tests/oracles/test_gan.py",
            contract("wgan-gp and grey"),
        ),
        "units",
    ),
    Bug(
        "gan/adversarial.py",
        "cond = torch.randint(0, self.spec.classes, (n,), device=z.device)",
        "cond = torch.randint(0, self.spec.classes - 1, (n,), device=z.device)",
        (
            "tests/oracles/test_gan.py::test_without_a_class_samples_are_of_every_class",
            "tests/oracles/test_gan.py",
            contract("gan and grey"),
        ),
        "labels",
    ),
    # autoregressive
    Bug(
        "autoregressive/decoding.py",
        "p, order = logits.softmax(1).sort(stable=True, dim=1, descending=True)",
        "p, order = (logits * self.temperature).softmax(1).sort(stable=True, dim=1, "
        "descending=True)",
        (
            "tests/oracles/test_gpt.py",
            "tests/cli/test_text.py",
        ),
        "one value",
    ),
    Bug(
        "autoregressive/tokens.py",
        "(each * known.flatten()[self.orders[0]]).sum(1)",
        "(each * known.flatten()).sum(1)",
        (
            "tests/oracles/test_gpt.py::test_what_is_known_is_counted_where_it_stands",
            "tests/oracles/test_gpt.py",
            "tests/oracles/test_wavenet.py tests/cli/test_complete.py",
        ),
        "axis",
    ),
    Bug(
        "autoregressive/nade.py",
        "a = after[:, -1]",
        "a = before[:, -1]",
        ("tests/oracles/test_nade.py",),
        "last",
    ),
    Bug(
        "autoregressive/pixels.py",
        "element = (colour * height + row) * width + column",
        "element = (colour * width + row) * height + column",
        (
            "tests/oracles/test_pixelcnn.py",
            "tests/cli/test_complete.py",
        ),
        "axis",
    ),
    # flow
    Bug(
        "flow/residual.py",
        "reached = 2.0 ** max(k - _TERMS, 0) * (further >= k - _TERMS)",
        "reached = 1.0 * (further >= k - _TERMS)",
        (
            "tests/oracles/test_flow_layers.py::test_a_long_series_cut_at_random_is_the_logarithm",
            FLOW,
        ),
        "tail",
    ),
    Bug(
        "flow/actnorm.py",
        "spread = sum_over_processes((x - _by_channel(mean, x)).square().sum(axes)) / count",
        "spread = sum_over_processes((x - _by_channel(mean, x)).square().sum(axes)) / (count - 1)",
        (FLOW,),
        "bias",
    ),
    Bug(
        "flow/actnorm.py",
        "ladj = self.log_scale.sum() * x[0, 0].numel()",
        "ladj = self.log_scale.sum() * x.shape[-1] ** (x.ndim - 2)",
        (
            "tests/oracles/test_flow_layers.py::test_a_stretch_of_channels_counts_every_pixel",
            FLOW,
            contract("glow"),
        ),
        "axis",
    ),
    Bug(
        "flow/continuous.py",
        "return rk4(lambda t, x: self.velocity(x, t, known, none)[0], z, 1.0, 0.0, "
        "self.solver_steps)",
        "return rk4(lambda t, x: -self.velocity(x, t, known, none)[0], z, 0.0, 1.0, "
        "self.solver_steps)",
        (
            FLOW,
            contract("ffjord and vector"),
        ),
        "constant",
    ),
    # ebm
    Bug(
        "ebm/contrastive_divergence.py",
        "h = block_gibbs(h, model.draw_visible, self.draw_hidden, self.k - 1)",
        "h = block_gibbs(h, model.draw_visible, self.draw_hidden, self.k)",
        (
            "tests/oracles/test_rbm.py",
            "tests/oracles/test_harmonium.py",
        ),
        "ends",
    ),
    Bug(
        "ebm/units.py",
        "return weight * self.precision",
        "return weight * self.precision.sqrt()",
        ("tests/oracles/test_harmonium.py",),
        "constant",
    ),
    Bug(
        "ebm/reference.py",
        "return whole + self.walls * math.log(self.within)",
        "return whole + (self.walls > 0) * math.log(self.within)",
        ("tests/oracles/test_deep_energy.py",),
        "units",
    ),
    Bug(
        "ebm/normalized_energy.py",
        "for end in (0, -1):",
        "for end in (0,):",
        (
            "tests/oracles/test_deep_energy.py",
            contract("deep-energy and interval"),
        ),
        "ends",
    ),
    Bug(
        "ebm/langevin_contrast.py",
        "size = (data.square() + chains.square()).mean()",
        "size = (data.mean().square() + chains.mean().square())",
        ("tests/oracles/test_deep_energy.py",),
        "order",
    ),
    # diffusion
    Bug(
        "diffusion/bound.py",
        "return sum_event(0.5 * (alpha / self.prior_scale * y) ** 2) + constant",
        "return sum_event(0.5 * (alpha / self.prior_scale * y) ** 2)",
        (
            "tests/oracles/test_diffusion.py",
            "tests/oracles/test_diffusion_recipes.py",
        ),
        "ends",
    ),
    Bug(
        "diffusion/bound.py",
        "constant = chain.constant * int(flat.expand_as(y[0]).sum())",
        "constant = chain.constant * int(flat.sum())",
        (
            "tests/oracles/test_diffusion.py::test_the_bound_of_independent_elements_is_the_sum_of_theirs",
            "tests/oracles/test_diffusion.py",
            "tests/oracles/test_diffusion_recipes.py",
        ),
        "units",
    ),
    Bug(
        "diffusion/guidance.py",
        "return torch.stack(guesses).sum(0) - (len(guesses) - 1) * base",
        "return torch.stack(guesses).sum(0) - base",
        (
            "tests/oracles/test_samplers.py::test_of_three_factors_what_is_common_is_taken_away_twice",
            "tests/oracles/test_composition.py",
            "tests/oracles/test_samplers.py tests/oracles/test_diffusion.py",
        ),
        "one value",
    ),
    Bug(
        "diffusion/guidance.py",
        "return x0 + slope * (self.scale * level.sigma**2 / level.alpha)",
        "return x0 + slope * (self.scale * level.sigma**2)",
        (
            "tests/oracles/test_samplers.py::test_a_classifier_makes_the_conditional_denoiser_by_bayes_rule",
            "tests/oracles/test_composition.py",
            "tests/oracles/test_samplers.py tests/oracles/test_diffusion.py",
        ),
        "constant",
    ),
    Bug(
        "diffusion/samplers/dpmpp_2m.py",
        "slope = h / (2 * before) if math.isfinite(h) and before else 0.0",
        "slope = 0.5 if math.isfinite(h) and math.isfinite(before) else 0.0",
        (
            "tests/oracles/test_samplers.py",
            "tests/oracles/test_schedulers_of_diffusers.py",
        ),
        "constant",
    ),
    Bug(
        "diffusion/times.py",
        "k = torch.randint(1, self.count + 1, (x0.shape[0],), device=x0.device)",
        "k = torch.randint(1, self.count, (x0.shape[0],), device=x0.device)",
        (
            "tests/oracles/test_diffusion.py",
            "tests/oracles/test_diffusion_recipes.py",
        ),
        "ends",
    ),
    Bug(
        "diffusion/likelihood.py",
        "ladj = growth + (each.sum(1) if directions is None else each.mean(1))",
        "ladj = each.sum(1) if directions is None else each.mean(1)",
        (
            "tests/oracles/test_probability_flow.py::test_the_density_between_the_ends_is_in_the_units_of_its_time",
            "tests/oracles/test_probability_flow.py",
        ),
        "constant",
    ),
    Bug(
        "diffusion/decoder.py",
        "return torch.log_softmax(mu * (2 / std**2), 1).gather(1, x.long())",
        "return torch.log_softmax(mu * (1 / std**2), 1).gather(1, x.long())",
        (
            "tests/oracles/test_diffusion.py::test_a_category_is_decoded_by_bayes_rule",
            "tests/oracles/test_diffusion.py",
        ),
        "codes",
    ),
    Bug(
        "diffusion/discrete.py",
        "away = (1 + w) * log_p - w * self.log_guess(k_t, t)",
        "away = w * log_p - (w - 1) * self.log_guess(k_t, t)",
        (
            "tests/oracles/test_diffusion.py::test_the_prior_divergence_where_signal_is_left_at_the_end",
            "tests/oracles/test_discrete_diffusion.py",
        ),
        "one value",
    ),
    # hybrids
    Bug(
        "hybrids/composition.py",
        "energies.append(w * m.energy(x, cond))",
        "energies.append(m.energy(x, cond))",
        ("tests/oracles/test_composition.py",),
        "one value",
    ),
    Bug(
        "hybrids/composition.py",
        "return score + self.scale * self._slope(x_t, t, cond)",
        "return score + self._slope(x_t, t, cond)",
        ("tests/oracles/test_composition.py",),
        "one value",
    ),
    Bug(
        "hybrids/two_stage.py",
        "z = self.prior.sample(n, cond if heeds[0] else None) * self.std + self.mean",
        "z = (self.prior.sample(n, cond if heeds[0] else None) + self.mean) * self.std",
        (
            "tests/oracles/test_two_stage.py",
            "tests/oracles/test_composition.py",
        ),
        "codes",
    ),
    # training
    Bug(
        "training/loop.py",
        "        if clip and values[1] > clip:\n            player.grad.mul_(clip / values[1])\n"
        "        player.step(self.optimizers[name])\n",
        "        player.step(self.optimizers[name])\n"
        "        if clip and values[1] > clip:\n            player.grad.mul_(clip / values[1])\n",
        (
            LOOP,
            TRAINING,
            contract("gpt and bits"),
        ),
        "order",
    ),
    Bug(
        "training/loop.py",
        "weights = [len(part) / len(batch) for part in parts]",
        "weights = [1 / len(parts) for part in parts]",
        (
            LOOP,
            TRAINING,
            contract("vae and bits"),
        ),
        "weights",
    ),
    Bug(
        "training/loop.py",
        "seed = step_seed(self.options.seed, self.step, self.world.rank)",
        "seed = step_seed(self.options.seed, self.step, 0)",
        (
            LOOP,
            TRAINING,
            f"{PROCESSES} -k 'noise or disjoint or edm'",
        ),
        "ranks",
    ),
    Bug(
        "training/ema.py",
        "decay = min(0.5 ** (1 / self.half_life), (1 + step) / (10 + step))",
        "decay = 0.5 ** (1 / self.half_life)",
        (
            LOOP,
            TRAINING,
            contract("edm and vector"),
        ),
        "schedule",
    ),
    Bug(
        "training/validation.py",
        "for first in range(0, n, block):",
        "for first in range(0, n - n % block or n, block):",
        (
            LOOP,
            TRAINING,
            "tests/contracts/test_faults.py -k best",
        ),
        "last",
    ),
    Bug(
        "training/learning_rate.py",
        "rise = (step + 1) / warmup if warmup else 1.0",
        "rise = step / warmup if warmup else 1.0",
        (
            LOOP,
            TRAINING,
            contract("gpt and bits"),
        ),
        "ends",
    ),
    # data
    Bug(
        "data/schema.py",
        'log_scale = sum(float(np.log(c.std)) for c in columns if c.kind in ("float", "int"))',
        'log_scale = sum(float(np.log(c.std)) for c in columns if c.kind == "float")',
        (
            "tests/data/test_table.py tests/data/test_write.py",
            "tests/evaluation/test_likelihood.py",
        ),
        "codes",
    ),
    Bug(
        "data/batches.py",
        'return shuffled(self.seed, len(self.split), f"epoch {epoch}")',
        'return shuffled(self.seed, len(self.split), "epoch 0")',
        ("tests/data/test_batches.py",),
        "schedule",
    ),
    Bug(
        "data/toy.py",
        "constant = 0.5 * _LOG_2PI + math.log(self.sd) + math.log(len(self.radii))",
        "constant = 0.5 * _LOG_2PI + math.log(self.sd) + math.log(4)",
        (
            "tests/data/test_toy.py::test_densities_of_other_sizes_integrate_to_one",
            "tests/data/test_toy.py",
        ),
        "one value",
    ),
    Bug(
        "data/pixels.py",
        "return image.resize(size[::-1], Image.Resampling.LANCZOS)",
        "return image.resize(size, Image.Resampling.LANCZOS)",
        (
            "tests/data/test_images.py",
            "tests/data/test_source.py",
        ),
        "axis",
    ),
    # evaluation
    Bug(
        "evaluation/frechet.py",
        "covariance = (total.tril() + total.tril(-1).T - n * torch.outer(rest, rest)) / (n - 1)",
        "covariance = (total.tril() + total.tril(-1).T - n * torch.outer(rest, rest)) / n",
        ("tests/evaluation/test_frechet.py",),
        "bias",
    ),
    Bug(
        "evaluation/kernel.py",
        "(own_b - ab.columns / n).var() / m)",
        "(own_b - ab.columns / m).var() / m)",
        (
            "tests/evaluation/test_kernel.py::test_it_is_the_same_either_way_round",
            "tests/evaluation/test_kernel.py",
        ),
        "one value",
    ),
    Bug(
        "evaluation/two_sample.py",
        "within_b = _total_distance(b, b, stop) / (m * (m - 1))",
        "within_b = _total_distance(b, b, stop) / (m * m)",
        ("tests/evaluation/test_scores.py",),
        "bias",
    ),
    Bug(
        "evaluation/precision_recall.py",
        "recalled |= (distance <= fake_radius[rows, None]).any(0)",
        "recalled |= (distance <= real_radius).any(0)",
        ("tests/evaluation/test_precision_recall.py",),
        "axis",
    ),
    Bug(
        "evaluation/likelihood.py",
        "return bits + math.log2(spec.support.levels / 2)",
        "return bits + math.log2(256 / 2)",
        ("tests/evaluation/test_likelihood.py",),
        "one value",
    ),
    Bug(
        "evaluation/disentanglement.py",
        "return float((s.diagonal().log().sum() - torch.linalg.slogdet(s).logabsdet) / 2)",
        "return float((s.diagonal().log().mean() - torch.linalg.slogdet(s).logabsdet) / 2)",
        ("tests/evaluation/test_scores.py",),
        "constant",
    ),
]
