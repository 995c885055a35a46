import pytest
import torch
from safetensors.torch import save_file

from pofx.data.source import load
from pofx.errors import UserError
from pofx.evaluation import classifier as classifiers
from pofx.evaluation.blocks import Stopped
from pofx.evaluation.classifier import classifier
from pofx.evaluation.features import build_features, default_features
from pofx.evaluation.inception import InceptionV3, load_inception, resize, rgb
from pofx.spec import Bytes, Categorical, DataSpec, Real, class_spec


@pytest.fixture(scope="module")
def digits():
    return load("digits")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "pofx"


def few_steps(monkeypatch):
    monkeypatch.setattr(
        classifiers, "_batches", lambda n, steps, generator: iter([torch.arange(64)])
    )


def test_the_classifier_knows_digits_and_leaves_the_random_stream_alone(digits):
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    trained = classifier(digits, cache=False)
    assert torch.equal(torch.rand(2), expected)
    assert trained.accuracy > 0.95
    x, labels = digits.test.values()
    features, logits = trained.model(x)
    assert features.shape == (len(x), 64)
    assert float((logits.argmax(1) == labels).double().mean()) == pytest.approx(trained.accuracy)
    assert torch.allclose(trained.model(x[:3])[0], features[:3], atol=1e-5)


def test_the_cache_gives_back_the_same_classifier(digits, cache, monkeypatch):
    few_steps(monkeypatch)
    first = classifier(digits)
    (file,) = cache.iterdir()
    assert file.suffix == ".safetensors"
    monkeypatch.setattr(classifiers, "_train", lambda *_: pytest.fail("trained again"))
    again = classifier(digits)
    assert again.accuracy == first.accuracy
    for name, tensor in first.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], tensor), name


def test_a_damaged_or_unwritable_cache_costs_time_only(digits, cache, monkeypatch):
    few_steps(monkeypatch)
    expected = classifier(digits)
    (file,) = cache.iterdir()
    file.write_bytes(file.read_bytes()[:500])
    assert classifier(digits).accuracy == expected.accuracy
    assert file.stat().st_size > 500
    monkeypatch.setenv("XDG_CACHE_HOME", str(file))  # a file where a folder should be
    assert classifier(digits).accuracy == expected.accuracy


def test_a_flipped_bit_of_the_cache_is_seen_and_told_of(digits, cache, monkeypatch):
    few_steps(monkeypatch)
    expected = classifier(digits)
    assert not expected.renewed
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    begin = 8 + int.from_bytes(whole[:8], "little")
    for at in (begin, begin + 1001, len(whole) - 3):
        content = bytearray(whole)
        content[at] ^= 16
        file.write_bytes(bytes(content))
        detail = build_features("classifier", digits).detail
        assert detail.endswith("made anew, as the cached one was damaged")
        assert "anew" not in build_features("classifier", digits).detail


def test_training_stops_when_asked(digits):
    with pytest.raises(Stopped):
        classifier(digits, cache=False, stop=lambda: True)


def test_defaults_suit_the_data():
    assert default_features(DataSpec((1, 8, 8), Bytes(17), cond=class_spec(10))) == "classifier"
    assert default_features(DataSpec((3, 32, 32), Bytes(256))) == "pca"
    assert default_features(DataSpec((2,), Real(), cond=class_spec(3))) == "raw"
    assert default_features(DataSpec((180,), Categorical(2))) == "pca"


def test_pca_and_raw(digits):
    x = digits.test.values()[0]
    raw = build_features("raw", digits)(x).features
    assert torch.equal(raw, x.flatten(1))
    pca = build_features("pca", digits)
    features = pca(x, batch=7).features
    assert features.shape == (len(x), 64)
    # With as many components as pixels it is a rotation.
    assert torch.allclose(torch.pdist(features), torch.pdist(raw), atol=1e-3)
    variances = pca(digits.train.values()[0]).features.var(0)
    assert (variances.diff() < 1e-4).all()
    assert pca.detail == "64 principal components, 100% of the variance"


def test_features_that_cannot_be(digits, tmp_path):
    with pytest.raises(UserError, match="did you mean 'classifier'"):
        build_features("clasifier", digits)
    with pytest.raises(UserError, match="but none was given"):
        build_features("inception", digits)
    with pytest.raises(UserError, match="no such file"):
        build_features("inception", digits, weights=tmp_path / "w.safetensors")
    with pytest.raises(UserError, match="at least two classes"):
        build_features("classifier", load("grid-25"))
    with pytest.raises(UserError, match="need images"):
        build_features("inception", load("grid-25"), weights="w.safetensors")


def test_inception_has_the_published_shape():
    with torch.device("meta"):
        model = InceptionV3()
    assert sum(p.numel() for p in model.parameters()) == 23_834_568 - 2049 * 1000 + 2049 * 1008
    names = set(model.state_dict())
    assert {"Conv2d_1a_3x3.conv.weight", "Mixed_7c.branch3x3dbl_3b.bn.running_var"} <= names
    assert {"Mixed_6e.branch7x7dbl_5.conv.weight", "fc.bias"} <= names


def test_inception_from_a_file(tmp_path):
    model = InceptionV3().eval()
    path = tmp_path / "inception.safetensors"
    save_file({k: v for k, v in model.state_dict().items() if "num_batches" not in k}, path)
    x = torch.rand(1, 1, 20, 30) * 2 - 1
    with torch.no_grad():
        features, logits = load_inception(path)(x)
        assert torch.equal(features, model(x)[0])
    assert (features.shape, logits.shape) == ((1, 2048), (1, 1008))
    save_file({"fc.bias": torch.zeros(1000)}, path)
    with pytest.raises(UserError, match=r"should hold Conv2d_1a_3x3\.conv"):
        load_inception(path)
    path.write_bytes(b"not weights")
    with pytest.raises(UserError, match="no sound"):
        load_inception(path)
    pickled = tmp_path / "inception.pth"
    pickled.write_bytes(b"")
    with pytest.raises(UserError, match="of another kind"):
        load_inception(pickled)


def test_resize_is_the_one_of_tensorflow_1():
    ramp = torch.arange(4.0).reshape(1, 1, 1, 4).expand(1, 3, 2, 4)
    out = resize(ramp, 6)
    assert out.shape == (1, 3, 6, 6)
    assert out[0, 0, 0].tolist() == pytest.approx([0, 2 / 3, 4 / 3, 2, 8 / 3, 3], abs=1e-6)
    assert torch.allclose(resize(ramp, 2)[0, 0, 0], torch.tensor([0.0, 2.0]))
    assert rgb(torch.zeros(1, 4, 2, 2)).shape == (1, 3, 2, 2)
    assert torch.equal(rgb(ramp[:, :1])[:, 2], ramp[:, 0])
