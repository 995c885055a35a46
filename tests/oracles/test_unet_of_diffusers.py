"""The U-Net of DDPM against diffusers' `UNet2DModel` with the same weights."""

import pytest
import torch

from pofx.nn.unet2d import Layout, UNet2D

diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.filterwarnings("ignore")

PLAIN = {
    "block_out_channels": (8, 16),
    "down_block_types": ("DownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "UpBlock2D"),
    "norm_num_groups": 4,
}
DDPM = {
    "block_out_channels": (8, 16, 16),
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    "attention_head_dim": None,
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
    "norm_eps": 1e-6,
    "norm_num_groups": 8,
}
LAYOUTS = {
    "plain": PLAIN,
    "ddpm": DDPM,
    "classes": {**PLAIN, "num_class_embeds": 5, "in_channels": 1, "out_channels": 1},
    "heads": {
        **DDPM, "attention_head_dim": 4, "layers_per_block": 1, "time_embedding_dim": 12,
        "freq_shift": 0, "block_out_channels": (16, 24, 8),
    },
    "no attention": {
        **PLAIN, "add_attention": False, "center_input_sample": True, "layers_per_block": 3
    },
    "one resolution": {
        **PLAIN, "block_out_channels": (12,), "down_block_types": ("AttnDownBlock2D",),
        "up_block_types": ("AttnUpBlock2D",), "attention_head_dim": 6,
    },
}  # fmt: skip


def theirs(options):
    torch.manual_seed(0)
    net = diffusers.UNet2DModel(sample_size=8, **options).eval()
    for weight in net.parameters():  # theirs begin with ones and zeros, which tell little apart
        torch.nn.init.normal_(weight, std=0.3)
    return net


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("options", LAYOUTS.values(), ids=LAYOUTS)
def test_same_weights_give_the_same_output(options, dtype):
    peer = theirs(options).to(dtype)
    net = UNet2D(Layout(**options)).to(dtype).eval()
    net.load_state_dict(peer.state_dict())
    x = torch.randn(3, net.layout.in_channels, 8, 12, dtype=dtype)
    k, cond = torch.tensor([0, 417, 999]), torch.tensor([4, 0, 2])
    labels = cond if "num_class_embeds" in options else None
    with torch.no_grad():
        wanted, got = peer(x, k, class_labels=labels).sample, net(x, k, labels)
    error = (got - wanted).abs().max() / wanted.abs().max().clamp(min=1)
    assert error < (1e-5 if dtype == torch.float32 else 1e-13)
