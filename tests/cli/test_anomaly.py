"""`pofx anomaly` on a table with labels."""

import csv

import numpy as np
import pytest

import pofx
from pofx.cli import main
from pofx.run import Run


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("anomaly")
    rng = np.random.default_rng(0)
    normal, strange = rng.normal(0, 1, (300, 3)), rng.normal(6, 1, (20, 3))
    rows = [*((*r, "good") for r in normal), *((*r, "bad") for r in strange)]
    path = folder / "rows.csv"
    with path.open("w") as file:
        writer = csv.writer(file)
        writer.writerow(["a", "b", "c", "kind"])
        writer.writerows(rows)
    run = folder / "run"
    pofx.fit("ppca", path, out=run, data_options={"label": "kind", "classes": ["good"]}, quiet=True)
    return path, run


def test_anomalies_are_found_and_written(data, tmp_path, capsys):
    path, run = data
    out = tmp_path / "scores.csv"
    with pytest.raises(SystemExit) as ended:
        main(["anomaly", str(run), "--data", str(path), "--out", str(out)])
    assert not ended.value.code
    said = capsys.readouterr().out
    assert "AUROC 1.0000, average precision 1.0000 (20 anomalies of 320)" in said
    rows = list(csv.DictReader(out.open()))
    assert list(rows[0]) == ["example", "score", "anomaly", "label"]
    assert [r["anomaly"] for r in rows[300:]] == ["1"] * 20
    assert 2 < sum(int(r["anomaly"]) for r in rows[:300]) < 40


def test_without_data_the_runs_own_test_examples_are_scored(data, tmp_path, capsys):
    out = tmp_path / "own.csv"
    with pytest.raises(SystemExit):
        main(["anomaly", str(data[1]), "--out", str(out)])
    assert "AUROC" not in capsys.readouterr().out
    assert len(list(csv.DictReader(out.open()))) == 30


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--score", "energy"], "choose likelihood"),
        (["--data", "nowhere.csv"], "nowhere.csv"),
        (["--out", "scores.txt"], ".csv"),
        (["--quantile", "1.5"], "1.5"),
        (["--data", "digits"], "no table"),
    ],
)
def test_mistakes_are_one_sentence(data, refused, arguments, word):
    refused(["anomaly", data[1], *arguments], word)


def test_a_class_that_is_not_there_is_named(data, refused):
    refused(["anomaly", data[1], "--data", data[0], "--normal", "goood"], "did you mean 'good'")


@pytest.mark.parametrize(
    ("kinds", "told"),
    [((0, 1), "(20 anomalies of 320)"), ((3, 8), None), ((0, 1, 2), None)],
)
def test_only_labels_of_0_and_1_say_themselves_which_are_strange(tmp_path, capsys, kinds, told):
    x = np.random.default_rng(0).normal(size=(320, 2)).astype(np.float32)
    y = np.array([kinds[0]] * 300 + [kinds[1 + i % (len(kinds) - 1)] for i in range(20)])
    np.savez(tmp_path / "x.npz", x=x, y=y)
    run = pofx.fit("ppca", tmp_path / "x.npz", out=tmp_path / "run", quiet=True)
    asked = ["anomaly", str(run.path), "--data", str(tmp_path / "x.npz")]
    for more, said in (([], told), (["--normal", str(kinds[0])], "(20 anomalies of 320)")):
        with pytest.raises(SystemExit) as ended:
            main([*asked, *more])
        assert not ended.value.code
        out = capsys.readouterr().out
        assert "above it" in out
        assert ("AUROC" in out) == (said is not None)
        assert (said or "") in out


def test_a_class_may_have_a_comma_in_its_name(data, tmp_path, capsys):
    path = tmp_path / "rows.csv"
    path.write_text(data[0].read_text().replace("good", '"good, dry"'))
    keep = ["--label", "kind", "--only-class", "good, dry", "--out", str(tmp_path / "run")]
    with pytest.raises(SystemExit) as ended:
        main(["train", "ppca", "--data", str(path), *keep, "--quiet"])
    assert not ended.value.code
    assert Run("run").spec.class_names == ("good, dry",)

    def said(normal, *options):
        capsys.readouterr()
        with pytest.raises(SystemExit):
            main(["anomaly", "run", "--normal", normal, "--out", "s.csv", *options])
        return "".join(capsys.readouterr())

    assert "has no" not in said("good, dry")
    assert "(20 anomalies of 320)" in said("good, dry", "--data", str(path))
    assert "(300 anomalies of 320)" in said("bad", "--data", str(path))
    assert "has no class 'none'" in said("bad, none", "--data", str(path))
