"""Our GPT against transformers' GPT-2 of equal size, in turn in one process.

    python benchmarks/gpt.py

Four layers of width 128 with four heads and learned positions, over 65 tokens; in float32 unless
said, on one thread. Generation writes one sequence of 256 tokens with kept keys and values, by
draws from the model, and eight sequences at once. A training step takes 12 sequences of 64:
forward, backward and AdamW; ours is the training loop's, which also clips and looks for what is not
finite; theirs has torch's default AdamW, as its users have it, and then the fused one, with nothing
besides.
"""

from __future__ import annotations

import argparse
import sys

import torch
from side_by_side import ratio, status

from pofx import catalogue
from pofx.recipe import Adam
from pofx.spec import Categorical, DataSpec
from pofx.training.loop import Options, Training

VOCABULARY, WIDTH, LAYERS, HEADS = 65, 128, 4, 4


def ours(length: int):
    return catalogue.build(
        "gpt", DataSpec((length,), Categorical(VOCABULARY)), width=WIDTH, layers=LAYERS,
        heads=HEADS, positions="learned", gated=False,
    )  # fmt: skip


def theirs(length: int) -> torch.nn.Module:
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCABULARY, n_positions=length, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS,
            resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=None,
        )
    )  # fmt: skip


def size(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def generation(length: int, rounds: int) -> None:
    model, peer = ours(length).model.eval(), theirs(length).eval()
    print(f"parameters: ours {size(model):,}, transformers {size(peer):,}")
    for n, bar in ((1, 1.8), (8, None)):
        begun = torch.zeros(n, 1, dtype=torch.int64)

        def write(n=n):
            model.sample(n)

        def their_write(begun=begun):
            peer.generate(
                begun, max_new_tokens=length - 1, min_new_tokens=length - 1, do_sample=True,
                top_k=0, use_cache=True, pad_token_id=0, attention_mask=torch.ones_like(begun),
            )  # fmt: skip

        name = f"writing {n} x {length} tokens, keys and values kept"
        ratio(name, write, their_write, bar=bar, rounds=rounds)


def steps_of_training(batch: int, length: int, rounds: int) -> None:
    x = torch.randint(0, VOCABULARY, (batch, length))
    steps = {}
    for precision in ("float32", "bfloat16"):
        own = Training(ours(length), options=Options(precision=precision))

        def step(own=own):
            for _ in range(5):
                own.train_step(x.float(), None, 0.5)

        steps[precision] = step
    for name, precision, bar in (
        ("", "float32", 1.25),
        (", theirs fused too", "float32", None),
        (", ours in bfloat16, theirs fused too", "bfloat16", None),
    ):
        peer = theirs(length).train()
        optimizer = torch.optim.AdamW(peer.parameters(), 1e-3)
        if bar is None:
            optimizer = Adam(1e-3, weight_decay=0.01).build(peer.parameters())

        def their_step(peer=peer, optimizer=optimizer):
            for _ in range(5):
                optimizer.zero_grad()
                peer(x, labels=x).loss.backward()
                optimizer.step()

        name = f"5 training steps, {batch} x {length}{name}"
        ratio(name, steps[precision], their_step, bar=bar, rounds=rounds)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    sys.modules["torchvision"] = None  # that of another peer does not fit a CPU build of torch
    try:
        import transformers
    except ImportError:
        print("GPT against transformers: skipped; pip install transformers")
        return
    transformers.logging.set_verbosity_error()
    torch.manual_seed(0)
    generation(256, arguments.rounds)
    steps_of_training(12, 64, arguments.rounds)


if __name__ == "__main__":
    main()
    sys.exit(status())
