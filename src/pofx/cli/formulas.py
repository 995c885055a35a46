r"""formulas: the mathematics of docstrings, LaTeX in the source, as plain text for a terminal.

>>> print(plain(r"\log p(x) \ge \mathbb{E}_q \frac{\sigma_i^2}{2} \|\hat x - x\|^2"))
log p(x) ≥ E_q σ_i²/2 ‖x̂ - x‖²
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

WIDTH = 72
"""Columns of a formula, beside its four of indentation."""

_SYMBOLS = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ε", "varepsilon": "ε",
    "zeta": "ζ", "eta": "η", "theta": "θ", "kappa": "κ", "lambda": "λ", "mu": "μ", "nu": "ν",
    "xi": "ξ", "pi": "π", "rho": "ρ", "sigma": "σ", "tau": "τ", "phi": "φ", "varphi": "φ",
    "chi": "χ", "psi": "ψ", "omega": "ω", "Gamma": "Γ", "Delta": "Δ", "Theta": "Θ",
    "Lambda": "Λ", "Sigma": "Σ", "Phi": "Φ", "Psi": "Ψ", "Omega": "Ω", "sum": "∑", "prod": "∏",
    "int": "∫", "partial": "∂", "nabla": "∇", "infty": "∞", "odot": "⊙", "cdot": "·",
    "times": "×", "leftarrow": "←", "rightarrow": "→", "to": "→", "sim": "~", "approx": "≈",
    "ge": "≥", "geq": "≥", "le": "≤", "leq": "≤", "ne": "≠", "neq": "≠", "in": "∈",
    "setminus": "-", "langle": "⟨", "rangle": "⟩", "ldots": "…", "dots": "…", "cdots": "…",
    "top": "T", "propto": "∝", "pm": "±", "mid": "|", "quad": " ", "qquad": " ",
    "big": "", "Big": "", "bigg": "", "Bigg": "", "left": "", "right": "",
    ",": " ", ";": " ", ":": " ", " ": " ", "!": "", "|": "‖", "{": "{", "}": "}", "\\": " ",
}  # fmt: skip
_FUNCTIONS = frozenset(
    ("log", "exp", "tanh", "sin", "cos", "min", "max", "sup", "inf", "det", "arg", "lim")
)
_ACCENTS = {"hat": "\u0302", "tilde": "\u0303", "bar": "\u0304", "dot": "\u0307"}
_UPRIGHT = frozenset(("text", "mathrm", "mathbb", "mathcal", "mathbf", "operatorname", "mathit"))
_RAISED = str.maketrans("0123456789+-T", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ᵀ")
_WORD = r"[\w\u0302-\u0307]"
_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|[{}^_&]|\s+|[A-Za-z]|[0-9.]+|.", re.DOTALL)


def plain(latex: str) -> str:
    """A formula as one line of Unicode."""
    text = " ".join(_row(list(_TOKEN.findall(latex))).split())
    return re.sub(r" (?=[,.;)\]⟩])|(?<=[(\[⟨∂∇]) ", "", text)


def _row(tokens: list[str], end: str = "") -> str:
    """Atoms with their indices and powers, up to the token `end`, which is taken too."""
    parts: list[str] = []
    while tokens:
        token = tokens.pop(0)
        if token == end:
            break
        if token in ("^", "_"):
            parts.append(_script(token, _argument(tokens), "".join(parts)))
            continue
        text = _atom(token, tokens)
        named = token[1:] in _FUNCTIONS or (bool(parts) and parts[-1] in _FUNCTIONS)
        if named and text[:1].isalpha() and "".join(parts)[-1:].isalpha():
            parts.append(" ")  # two words would run into one
        parts += [text] if text else []
    return "".join(parts)


def _atom(token: str, tokens: list[str]) -> str:
    name = token[1:] if token.startswith("\\") and len(token) > 1 else ""
    if token == "{":
        return _row(tokens, "}")
    if name in _ACCENTS:
        return unicodedata.normalize("NFC", _argument(tokens) + _ACCENTS[name])
    if name in _UPRIGHT:
        return _argument(tokens)
    if name in ("frac", "tfrac", "dfrac"):
        return f"{_grouped(_argument(tokens))}/{_grouped(_argument(tokens))}"
    if name == "sqrt":
        return f"√{_grouped(_argument(tokens))}"
    if name:
        return _SYMBOLS.get(name, name)
    return " " if token.isspace() else "" if token == "&" else token


def _argument(tokens: list[str]) -> str:
    """The next atom, as an argument: a group, a command, or one sign."""
    while tokens and tokens[0].isspace():
        tokens.pop(0)
    if not tokens:
        return ""
    token = tokens.pop(0)
    if len(token) > 1 and not token.startswith("\\"):  # `\\tfrac12` is one half
        tokens.insert(0, token[1:])
        token = token[0]
    text = _atom(token, tokens).strip()
    return re.sub(r"(?<=[∂∇]) ", "", text)


def _grouped(text: str) -> str:
    """What is more than one sign or call, in parentheses."""
    simple = re.fullmatch(rf"∂|√?∂?{_WORD}+[²³ᵀ]?", text) or _is_enclosed(text)
    return text if simple else f"({text})"


def _is_enclosed(text: str) -> bool:
    """Whether one pair of parentheses, or of a call, holds it all."""
    opened = re.match(r"[√\w]*\(", text)
    if not opened:
        return False
    depth = 1
    for i, sign in enumerate(text[opened.end() :], opened.end() + 1):
        depth += (sign == "(") - (sign == ")")
        if not depth:
            return i == len(text)
    return False


def _script(sign: str, text: str, before: str) -> str:
    text = re.sub(r" ?([=<~]) ?|^(-) ", r"\1\2", text)
    of_a_sum = re.search(rf"[∑∏∫]_(\([^()]*\)|{_WORD}+)$", before)
    if sign == "^" and not of_a_sum and re.fullmatch(r"-?[0-9]|T", text):
        return text.translate(_RAISED)
    single = re.fullmatch(rf"[<-]?(?:(?!_){_WORD}|[…∞'*])+", text)
    return f"{sign}{text}" if single else f"{sign}({text})"


def paragraphs(docstring: str) -> Iterator[str | list[str]]:
    r"""Paragraphs of a docstring as text, and its displayed formulas as lists of lines.

    >>> list(paragraphs("The bound\n\n.. math:: a \\le b\n\nof :math:`\\sigma`."))
    ['The bound', ['a ≤ b'], 'of σ.']
    """
    for paragraph in re.split(r"\n\s*\n", docstring):
        if paragraph.lstrip().startswith(".. math::"):
            yield list(_lines(paragraph.partition(".. math::")[2]))
        else:
            yield inline(paragraph)


def inline(text: str) -> str:
    r"""Prose without its marks: formulas as plain text, emphasis as bare words.

    >>> inline(r"a variance of :math:`\tfrac{\gamma}{2} \sigma^2`, *no less*")
    'a variance of γ/2 σ², no less'
    """
    text = re.sub(r":math:`([^`]*)`", lambda m: plain(m[1]), text)
    text = re.sub(r"`([^`]*\\[^`]*)`", lambda m: plain(m[1]), text)
    return re.sub(r"(?<![\w*])\*(\w[^*\n]*\w)\*(?![\w*])", r"\1", text)


def _lines(latex: str) -> Iterator[str]:
    """A displayed formula in lines: as many of its clauses in each as there is room for."""
    for row in re.sub(r"&\s*\\q?quad", " ", latex).split("\\\\"):
        clauses = [plain(c) for c in re.split(r"\\q?quad", row)]
        line = ""
        for clause in filter(None, clauses):
            joined = f"{line}   {clause}" if line else clause
            if line and len(joined) > WIDTH:
                yield from _broken(line)
                joined = clause
            line = joined
        yield from _broken(line)


def _broken(line: str) -> Iterator[str]:
    """A line in pieces that are not too long, cut before signs that stand in no parentheses, or in
    few.
    """
    while len(line) > WIDTH:
        cuts = [m.start() for m in re.finditer(r"(?<![-+=≤≥]) (?=[-+=≤≥~] |∑)", line[:WIDTH])]
        late = [c for c in cuts if c > WIDTH // 3]
        if not late:
            break
        cut = min(late, key=lambda c: (_depth(line[:c]), -c))
        yield line[:cut]
        line = "    " + line[cut + 1 :]
    yield line


def _depth(text: str) -> int:
    opened = sum(text.count(o) - text.count(c) for o, c in ("()", "[]", "⟨⟩"))
    return opened + text.count("‖") % 2
