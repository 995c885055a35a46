"""Flags that are not a verb's but the model's own, which its methods that draw examples take."""

from __future__ import annotations

from typing import Any

import click

from pofx.errors import UserError, did_you_mean


def own_options(options: tuple[str, ...]) -> dict[str, Any]:
    """Words of the command line as options of a model.

    >>> own_options(("--steps", "50", "--guidance-interval=0.2,0.8"))
    {'steps': 50, 'guidance_interval': (0.2, 0.8)}
    """
    words = [w for o in options for w in (o.split("=", 1) if o.startswith("--") else [o])]
    if len(words) % 2 or not all(o.startswith("--") for o in words[::2]):
        raise UserError(
            f"sampling options come in pairs such as `--steps 50`, and '{' '.join(options)}' came."
        )
    names = [o[2:].replace("-", "_") for o in words[::2]]
    return dict(zip(names, map(_value, words[1::2]), strict=True))


def check_options(run: Any, own: dict[str, Any], method: str = "sample") -> None:
    """Refuses what the model does not take; of an unknown flag the nearest is named, be it the
    verb's that runs or the model's.

    Args:
        run: whose model it is.
        own: the model's options.
        method: of the model, that takes them.
    """
    known = run.options_of(method)
    verb = click.get_current_context().command
    for name in own:
        if name not in known:
            flags = [
                o
                for p in verb.params
                if isinstance(p, click.Option)
                for o in (*p.opts, *p.secondary_opts)
            ]
            all_flags = [*flags, *map(_flag, known)]
            flag = _flag(name)
            raise UserError(
                f"recipe '{run.job.recipe}' {method}s with no {flag}; "
                f"{did_you_mean(flag, all_flags)}"
            )
    run.check(own, method)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    if "," in text:  # several, such as the two ends of an interval
        return tuple(map(_value, text.split(",")))
    return {"true": True, "false": False}.get(text, text)
