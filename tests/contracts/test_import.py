"""What an import costs and changes."""

import subprocess
import sys

import pytest

COMMANDS = [
    ["--help"],
    ["list"],
    ["show", "vae"],
    ["train", "vae", "--help"],
    ["runs"],
    ["cite", "vae"],
]


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_command_that_only_describes_does_not_import_torch(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom pofx.cli import main\n"
        f"try: main({arguments!r})\nexcept SystemExit as e: assert not e.code, e.code\n"
        "print('torch' in sys.modules, 'numpy' in sys.modules)"
    )
    assert python(code).splitlines()[-1] == "False False"


def test_importing_everything_changes_no_global_state() -> None:
    code = (
        "import torch, random, numpy, warnings, signal\n"
        "def state(): return (torch.get_num_threads(), torch.get_default_dtype(), "
        "torch.is_grad_enabled(),"
        " torch.get_float32_matmul_precision(), torch.backends.cudnn.benchmark,"
        " torch.initial_seed(), torch.get_rng_state().sum().item(), random.getstate(),"
        " len(warnings.filters), signal.getsignal(signal.SIGINT))\n"
        "before = state()\n"
        "import pofx\n"
        "[getattr(pofx, n) for n in pofx.__all__]\n"
        "assert state() == before\n"
        "print('same')"
    )
    assert python(code) == "same"
