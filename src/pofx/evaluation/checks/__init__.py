"""Checks of a model, by subject; `pofx.evaluation.check.check_model` runs them."""
