"""The U-Net of DDPM against diffusers' `UNet2DModel` with the same weights, and folders of both."""

import json
import shutil
import sys
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pofx.diffusion import diffusers_folder
from pofx.diffusion.diffusers_folder import Chain, Folder
from pofx.errors import UserError
from pofx.nn.unet2d import Layout, UNet2D

pytestmark = pytest.mark.filterwarnings("ignore")
with pytest.MonkeyPatch.context() as patch:
    # that of another peer does not fit a CPU build of torch
    patch.setitem(sys.modules, "torchvision", None)
    diffusers = pytest.importorskip("diffusers")
    patch.setattr(diffusers.utils.import_utils, "_torchvision_available", False)
    NETWORK, PIPELINES = diffusers.UNet2DModel, (diffusers.DDPMPipeline, diffusers.DDIMPipeline)

PLAIN: dict[str, Any] = {
    "block_out_channels": (8, 16),
    "down_block_types": ("DownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "UpBlock2D"),
    "norm_num_groups": 4,
}
DDPM: dict[str, Any] = {
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
LAYOUTS: dict[str, dict[str, Any]] = {
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
    net = NETWORK(sample_size=8, **options).eval()
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
    assert (got - wanted).abs().max() < (1e-5 if dtype == torch.float32 else 1e-13)


def test_every_weight_of_a_published_size_has_its_place():
    options = DDPM | {
        "block_out_channels": (128, 256, 256, 256), "norm_num_groups": 32,
        "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    }  # fmt: skip
    with torch.device("meta"):
        nets = NETWORK(sample_size=32, **options), UNet2D(Layout(**options))
    wanted, got = ({k: v.shape for k, v in net.state_dict().items()} for net in nets)
    assert got == wanted
    assert sum(shape.numel() for shape in got.values()) == 35_746_307  # 35.7M, says appendix B


def save(folder, scheduler="DDIMScheduler", options=DDPM, **noise):
    """A folder of theirs."""
    pipeline = PIPELINES[scheduler == "DDIMScheduler"]
    made = pipeline(theirs(options), getattr(diffusers, scheduler)(**noise))
    made.save_pretrained(folder)
    return made


CHAINS = [
    ("linear, eps", {"clip_sample": False}),
    ("scaled, v", {
        "clip_sample": False, "beta_schedule": "scaled_linear", "beta_start": 8.5e-4,
        "beta_end": 0.012, "prediction_type": "v_prediction", "timestep_spacing": "trailing",
    }),
    ("cosine, x0, clipped", {
        "clip_sample": True, "beta_schedule": "squaredcos_cap_v2", "prediction_type": "sample",
        "steps_offset": 1,
    }),
    ("few, wide", {"num_train_timesteps": 100, "clip_sample_range": 1.5}),
    ("own rates", {
        "trained_betas": [0.01 * k for k in range(1, 41)], "num_train_timesteps": 40,
        "clip_sample": False,
    }),
]  # fmt: skip


@pytest.mark.parametrize("noise", [c[1] for c in CHAINS], ids=[c[0] for c in CHAINS])
def test_ddim_samples_are_those_of_the_pipeline(tmp_path, noise):
    pipeline = save(tmp_path, **noise)
    model = diffusers_folder.read(tmp_path).model()
    torch.manual_seed(2)
    got = model.sample(2, steps=10)
    pipeline.set_progress_bar_config(disable=True)
    torch.manual_seed(2)
    x = torch.randn(2, 3, 8, 8)
    pipeline.scheduler.set_timesteps(10)
    for k in pipeline.scheduler.timesteps:
        with torch.no_grad():
            said = pipeline.unet(x, k).sample
        x = pipeline.scheduler.step(said, k, x, use_clipped_model_output=True).prev_sample
    assert (got - x).abs().max() / x.abs().max().clamp(min=1) < 1e-4
    torch.manual_seed(2)
    shown = pipeline(2, num_inference_steps=10, use_clipped_model_output=True, output_type="np")
    shown = torch.from_numpy(shown.images).permute(0, 3, 1, 2)
    assert torch.allclose((got / 2 + 0.5).clamp(0, 1), shown, atol=1e-4)


@pytest.mark.parametrize("variance", ["fixed_small", "fixed_large"])
def test_ddpm_samples_are_those_of_the_scheduler(tmp_path, variance):
    noise = {"num_train_timesteps": 20, "variance_type": variance, "beta_end": 0.2}
    pipeline = save(tmp_path, "DDPMScheduler", **noise)
    torch.manual_seed(2)
    got = diffusers_folder.read(tmp_path).model().sample(2)
    torch.manual_seed(2)
    x = torch.randn(2, 3, 8, 8)
    pipeline.scheduler.set_timesteps(20)
    for k in pipeline.scheduler.timesteps:
        with torch.no_grad():
            x = pipeline.scheduler.step(pipeline.unet(x, k).sample, k, x).prev_sample
    assert (got - x).abs().max() < 1e-4


@pytest.mark.parametrize("scheduler", ["DDPMScheduler", "DDIMScheduler"])
def test_a_written_folder_opens_there_and_says_the_same(tmp_path, scheduler):
    torch.manual_seed(0)
    layout = Layout(**LAYOUTS["heads"])
    chain = Chain(50, 1e-3, 0.1, "scaled_linear", prediction_type="v_prediction")
    Folder(UNet2D(layout).eval(), (8, 12), chain, scheduler).write(tmp_path / "ours")
    peer = PIPELINES[scheduler == "DDIMScheduler"].from_pretrained(tmp_path / "ours")
    assert type(peer.scheduler).__name__ == scheduler
    again = NETWORK.from_pretrained(tmp_path / "ours" / "unet")
    back = diffusers_folder.read(tmp_path / "ours")
    assert (back.network.layout, back.chain, back.size) == (layout, chain, (8, 12))
    x, k = torch.randn(2, 3, 8, 12), torch.tensor([3, 40])
    with torch.no_grad():
        wanted = back.network(x, k)
        assert torch.allclose(peer.unet(x, k).sample, wanted, atol=1e-5)
        assert torch.allclose(again(x, k).sample, wanted, atol=1e-5)
    betas = 1 - torch.exp(2 * chain.schedule().log_alphas.diff())
    for kind in (diffusers.DDPMScheduler, diffusers.DDIMScheduler):
        other = kind.from_pretrained(tmp_path / "ours" / "scheduler")
        assert torch.allclose(other.betas.double(), betas, atol=1e-7)
        assert other.config.prediction_type == "v_prediction"
    peer.save_pretrained(tmp_path / "theirs")
    assert diffusers_folder.read(tmp_path / "theirs").chain == chain


def test_files_side_by_side_and_the_older_names_of_attention_are_read(tmp_path):
    pipeline = save(tmp_path)
    weights = load_file(tmp_path / "unet" / "diffusion_pytorch_model.safetensors")
    names = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    for new, old in names.items():
        weights = {k.replace(new, old): v for k, v in weights.items()}
    for part in ("unet", "scheduler"):
        for file in (tmp_path / part).iterdir():
            file.rename(tmp_path / file.name)
        (tmp_path / part).rmdir()
    save_file(weights, tmp_path / "diffusion_pytorch_model.safetensors")
    net, x, k = diffusers_folder.read(tmp_path).network, torch.randn(1, 3, 8, 8), torch.tensor([7])
    with torch.no_grad():
        wanted = pipeline.unet(x, k).sample
        assert (net(x, k) - wanted).abs().max() < 1e-5 * wanted.abs().max()


def test_classes_are_told(tmp_path):
    save(tmp_path, options=LAYOUTS["classes"])
    model = diffusers_folder.read(tmp_path).model()
    x = model.sample(2, torch.tensor([0, 3]), steps=2)
    assert x.shape == (2, 1, 8, 8)
    with pytest.raises(UserError, match="a class from 0 to 4"):
        model.sample(2, steps=2)


def _change(file, **changes):
    def mend(folder):
        content = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps(content | changes))

    return mend


def _only_pickled(folder):
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))


def _cut(folder):
    weights = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])


UNET, NOISE = "unet/config.json", "scheduler/scheduler_config.json"
FAULTS = [
    (_only_pickled, ".bin can run code"),
    (_cut, "does not hold the weights"),
    (lambda folder: (folder / UNET).unlink(), "no JSON object"),
    (lambda folder: (folder / NOISE).write_text("{"), "no JSON object"),
    (lambda folder: (folder / NOISE).write_text("[]"), "it is a list"),
    (_change(UNET, _class_name="UNet2DConditionModel"), "UNet2DConditionModel"),
    (_change(UNET, resnet_time_scale_shift="scale_shift"), "'scale_shift'.*only 'default'"),
    (_change(UNET, down_block_types=["SkipDownBlock2D"] * 3), "AttnDownBlock2D alone"),
    (_change(UNET, block_out_channels=[8, 16]), "as many"),
    (_change(UNET, block_out_channels=[16, 16, 16]), "does not hold the weights"),
    (_change(UNET, block_out_channels=[4, 16, 16]), "multiples of norm_num_groups"),
    (_change(UNET, block_out_channels="8"), "block_out_channels '8'"),
    (_change(UNET, layers_per_block=10**9), "layers_per_block from 1"),
    (_change(UNET, norm_num_groups=None), "norm_num_groups None"),
    (_change(UNET, attention_head_dim=0), "from 1 to 100,000"),
    (_change(UNET, attention_head_dim=5), "multiples of attention_head_dim"),
    (_change(UNET, out_channels=6), "as many out_channels"),
    (_change(UNET, sample_size=None), "sample_size None"),
    (_change(UNET, sample_size=10), "multiples of 4"),
    (_change(NOISE, _class_name="FlowMatchEulerDiscreteScheduler"), "DDPMScheduler or"),
    (_change(NOISE, beta_schedule="sigmoid"), "beta_schedule linear"),
    (_change(NOISE, prediction_type="flow"), "prediction_type epsilon"),
    (_change(NOISE, beta_end=float("nan")), "noise rates"),
    (_change(NOISE, num_train_timesteps="many"), "'many'"),
    (_change(NOISE, rescale_betas_zero_snr=True), "rescale_betas_zero_snr True"),
    (_change(NOISE, trained_betas=[0.1]), "as many as trained_betas"),
]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    save(folder)
    return folder


@pytest.mark.parametrize(("spoil", "said"), FAULTS, ids=[f[1] for f in FAULTS])
def test_a_folder_that_cannot_be_read_gets_one_sentence(saved, tmp_path, spoil, said):
    folder = shutil.copytree(saved, tmp_path / "copy")
    spoil(folder)
    with pytest.raises(UserError, match=said) as error:
        diffusers_folder.read(folder)
    assert "\n" not in str(error.value)


def test_no_folder_gets_one_sentence(tmp_path):
    with pytest.raises(UserError, match="is no folder"):
        diffusers_folder.read(tmp_path / "absent")


def test_a_folder_that_cannot_be_written_gets_one_sentence(saved, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="could not be written"):
        diffusers_folder.read(saved).write(tmp_path / "file")
    with pytest.raises(UserError, match="is not an empty folder"):
        diffusers_folder.read(saved).write(saved)


def test_an_offset_beyond_the_chain_stops_at_its_last_step():
    times = diffusers_folder.Spaced("leading", 2)(Chain(10).schedule(), 10)
    assert times == [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.0]
