"""Closed forms are held in float64."""

import pytest
import torch


@pytest.fixture
def double():
    """New tensors are float64, until the test ends or says otherwise."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)
