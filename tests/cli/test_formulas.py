"""Formulas of docstrings read as plain text, in every recipe."""

import re

import click
import pytest

from pofx import catalogue
from pofx.cli.formulas import WIDTH, inline, paragraphs, plain
from pofx.cli.train import train


@pytest.mark.parametrize(
    ("latex", "text"),
    [
        (r"\log p(x) = \sum_d \log p(x_d | x_{<d})", "log p(x) = ∑_d log p(x_d | x_<d)"),
        (r"\mathbb{E}_{q(z|x)} \log p", "E_(q(z|x)) log p"),
        (r"\frac{1}{n} \sum_{k=1}^T a_k^2", "1/n ∑_(k=1)^T a_k²"),
        (r"\frac{a + b}{c} - \tfrac12 s^\top J", "(a + b)/c - 1/2 sᵀ J"),
        (r"\sqrt{\bar\alpha_k} x + \sqrt{1 - \sigma^2}\, \epsilon", "√ᾱ_k x + √(1 - σ²) ε"),
        (r"\hat v_i^{-1} \odot \tilde x", "v̂_i⁻¹ ⊙ x̃"),
        (r"e^{s_d} e^{-E(v, h)} e^s", "e^(s_d) e^(-E(v, h)) e^s"),
        (r"\exp\big(u \log\beta\big), \|x\|", "exp(u log β), ‖x‖"),
        (r"\frac{\partial}{\partial J_{ij}} \mathrm{tr} A", "∂/∂J_ij tr A"),
        (r"x_{\setminus M} \in \{1, \ldots, d\}", "x_-M ∈ {1, …, d}"),
        (r"\text{if } x \ge \max_i x_i", "if x ≥ max_i x_i"),
    ],
)
def test_a_formula_reads_as_it_is_written_on_a_board(latex, text):
    assert plain(latex) == text


def test_long_formulas_are_cut_between_terms_and_clauses():
    (lines,) = paragraphs(
        r".. math:: a = b, \qquad c = \sum_i (d_i + e_i + f_i + g_i + h_i) + "
        + r"\sum_i (k_i + l_i + m_i + n_i + o_i + p_i + q_i) \\ z = 1"
    )
    assert lines == [
        "a = b,",
        "c = ∑_i (d_i + e_i + f_i + g_i + h_i)",
        "    + ∑_i (k_i + l_i + m_i + n_i + o_i + p_i + q_i)",
        "z = 1",
    ]


MARKS = re.compile(r"\\|\.\. math|:math:|[{}]")


@pytest.mark.parametrize("name", catalogue.entries())
def test_no_recipe_shows_its_marks_or_stops_at_a_formula(name):
    entry = catalogue.describe(name)
    for part in paragraphs(entry.description):
        lines = [part] if isinstance(part, str) else part
        assert not any(MARKS.search(line.replace("U{1..d}", "")) for line in lines), lines
        assert isinstance(part, str) or all(len(line) <= WIDTH for line in part)
    assert not any(MARKS.search(inline(p.meaning)) for p in entry.parameters)
    command = train.get_command(click.Context(train), name)
    with click.Context(command, info_name=name) as ctx:
        page = command.get_help(ctx)
    assert not MARKS.search(page.replace("U{1..d}", "").replace("\b", ""))
    about, options = page.split("\nOptions:\n")
    assert about.rstrip()[-1] not in ":,", about  # else its end is missing
    assert "(None)" not in options
    assert not re.search(r"default:\s+\(", options)
    assert max(map(len, page.splitlines())) <= 80


@pytest.mark.parametrize("name", catalogue.entries())
def test_every_recipe_says_what_it_is_good_for_and_when_a_default_is_left_out(name):
    entry = catalogue.describe(name)
    assert 10 < len(entry.use) <= 80
    assert entry.paper
    assert not entry.description.startswith("Good for")
    for p in entry.parameters:
        assert p.default_text or re.search("default|[Ll]eave it out", p.meaning), p.name
