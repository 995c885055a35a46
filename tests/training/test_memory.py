"""What a step frees serves the next one; in a process of its own, whose memory nobody has used."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, torch
from pofx.batch import Batch
from pofx.spec import Binary, DataSpec
from pofx.training.loop import Training
from pofx import catalogue

torch.set_num_threads(1)
training = Training(catalogue.build("vae", DataSpec((784,), Binary()), hidden=(512,), latent=16))
x = torch.ones(128, 784)

def faults(steps):
    for _ in range(steps):
        training.train_step(Batch(x))
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

print((faults(20) - faults(30)) / -30)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc alone")
def test_a_step_is_given_hardly_a_new_page():
    found = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, check=True)
    assert float(found.stdout) < 50
