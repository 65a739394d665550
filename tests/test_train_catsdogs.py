"""Photos from the split to the answer: train_catsdogs.py, test.py, predict.py."""

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import models

import compute_mean_std
import predict
import test as test_script
import train_catsdogs
import train_fashionmnist
from data import photo_folder, transforms
from data.loaders import eval_loader
from data.transforms import Augmentation
from engine import checkpoint, evaluate, inference
from engine.calibration import fit_temperature
from engine.errors import Interrupted, UserError
from models import create_model
from tests.conftest import KAGGLE, interrupt_at, needs_kaggle, photo, write_photos

SMALL = ("--image-size", "32", "-b", "8", "--epochs", "1", "--warmup-epochs", "0")


@pytest.fixture
def train(run, ready, tmp_path):
    """Run train_catsdogs.py on the small split: train(…) -> best.pth."""

    def call(*arguments: object, folder: str = "run") -> Path:
        output = ("--output-dir", tmp_path / folder)
        run(train_catsdogs, "--data-dir", ready, *SMALL, *output, *arguments)
        return tmp_path / folder / "best.pth"

    return call


def test_train_test_predict(run, ready, train, monkeypatch):
    path = train("--epochs", "6")
    saved = checkpoint.load(path)
    assert saved["classes"] == ["Cat", "Dog"] and saved["channels"] == 3
    assert (saved["mean"], saved["std"]) == photo_folder.read_mean_std(ready)
    out = run(test_script, "--checkpoint", path).out
    assert "4 test images" in out
    summary = json.loads((path.parent / "best_test" / "summary.json").read_text())
    assert summary["classes"]["Dog"]["support"] == 2

    # A photo alone gets the logits that it got in validation.
    val = photo_folder.load_split(ready, "val", saved["stored_size"])
    model = create_model(saved["model"], **saved["model_args"])
    checkpoint.load_weights(model, saved, path)
    transform = transforms.BatchTransform(
        saved["mean"], saved["std"], saved["image_size"], Augmentation(flip=saved["flip"])
    )
    expected, _ = evaluate.predict_logits(model, eval_loader(val, 4), transform)
    temperature = fit_temperature(expected, torch.tensor(val.labels))
    assert saved["temperature"] == pytest.approx(temperature, rel=0.01)
    assert "temperature" not in checkpoint.load(path.with_name("last.pth"))
    manifest = photo_folder.read_manifest(ready)
    files = manifest[manifest["split"] == "val"].sort_values(["sha256", "file"])["file"]
    found = []

    def remember(*arguments):
        logits, labels = evaluate.predict_logits(*arguments)
        found.append(logits[0])
        return logits, labels

    monkeypatch.setattr(inference, "predict_logits", remember)
    for file in files:
        assert file.split("/")[-1] in run(predict, ready / file, "--checkpoint", path).out
    assert torch.allclose(torch.stack(found), expected, rtol=1e-5, atol=1e-5)


def test_googlenet_trains_on_smaller_crops_than_it_judges(train, monkeypatch):
    sizes = {True: set(), False: set()}
    forward = transforms.BatchTransform.forward

    def remember(transform, *arguments):
        x = forward(transform, *arguments)
        sizes[transform.training].add(tuple(x.shape[1:]))
        return x

    monkeypatch.setattr(transforms.BatchTransform, "forward", remember)
    for arguments, train_size in (((), 48), (("--train-size", "40"), 40), (("--no-augment",), 64)):
        sizes[True].clear()
        best = checkpoint.load(train("--image-size", "64", *arguments))
        assert (best["image_size"], best["config"]["train_size"]) == (64, train_size)
        assert sizes == {True: {(3, train_size, train_size)}, False: {(3, 64, 64)}}
    with pytest.raises(UserError, match="vgg16 has no argument train_size"):
        train("--model", "vgg16", "--image-size", "64", "--train-size", "32")


def test_three_classes_split_in_other_ratios(run, split, tmp_path):
    """Any number of classes, names with spaces, and ratios of one's own."""
    source = write_photos(tmp_path / "photos")
    for number in range(20):
        path = source / "Great tit" / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(photo(2000 + number))
    folder = split(source, "--ratios", "0.5", "0.25", "0.25")
    manifest = photo_folder.read_manifest(folder)
    counts = manifest.groupby(["class", "split"]).size()
    assert counts.unstack().loc[:, ["train", "val", "test"]].values.tolist() == [[10, 5, 5]] * 3
    run(compute_mean_std, folder)
    output = ("--output-dir", tmp_path / "run")
    printed = run(train_catsdogs, "--data-dir", folder, *SMALL, *output).out
    assert "30 photos of Cat, Dog, Great tit for training, at 32 px, 15 for validation" in printed
    out = run(predict, folder / "test", "--checkpoint", tmp_path / "run" / "best.pth").out
    assert len(out.splitlines()) == 15 and "Great tit" in out


def test_training_learns_red_from_blue(train):
    best = checkpoint.load(train("--epochs", "8", "--no-augment", "--lr", "1e-3"))
    assert best["metrics"]["val_accuracy"] == 1.0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--freeze-features",), "needs trained weights"),
        (("--freeze-features", "--init", "imagenet", "--aux-heads"), "nothing to train below"),
    ],
)
def test_options_that_would_do_nothing_are_refused(train, arguments, words):
    with pytest.raises(UserError, match=words):
        train(*arguments)


def test_rare_classes_weigh_more(run, error_of, split, monkeypatch, tmp_path):
    """16 cats and 4 dogs to train on, with and without; resumed as begun."""
    photos = write_photos(tmp_path / "photos")
    for file in sorted((photos / "Dog").iterdir())[6:]:
        file.unlink()
    folder = split(photos)
    run(compute_mean_std, folder)
    losses = []
    build = train_catsdogs.AuxiliaryLoss
    monkeypatch.setattr(
        train_catsdogs, "AuxiliaryLoss", lambda loss: losses.append(loss) or build(loss)
    )
    arguments = ("--data-dir", folder, *SMALL, "--output-dir")
    run(train_catsdogs, *arguments, tmp_path / "run", "--class-weights")
    run(train_catsdogs, "--resume", tmp_path / "run" / "last.pth")
    run(train_catsdogs, *arguments, tmp_path / "even")
    for loss in losses[:2]:
        assert loss.weight.tolist() == pytest.approx([20 / 2 / 16, 20 / 2 / 4])
    assert losses[2].weight is None
    again = ("--resume", tmp_path / "even" / "last.pth", "--class-weights")
    assert "--class-weights True does not fit" in error_of(train_catsdogs, *again)
    assert "unrecognized" in error_of(train_fashionmnist, "--class-weights")  # has even classes


def test_mirror_images_may_be_other_classes(run, split, tmp_path):
    """Red on the left or on the right: what ``--no-flip`` is for."""
    for number in range(40):
        pixels = np.random.default_rng(number).integers(0, 80, (32, 32, 3), np.uint8)
        class_name, columns = ("left", slice(0, 16)) if number % 2 else ("right", slice(16, 32))
        pixels[:, columns, 0] += 150
        path = tmp_path / "arrows" / class_name / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    folder = split(tmp_path / "arrows", "--ratios", "0.5", "0.25", "0.25")
    run(compute_mean_std, folder)
    accuracy = {}
    for option, said, epochs in (("--flip", True, 2), ("--no-flip", False, 12)):
        arguments = ("--data-dir", folder, *SMALL, "--epochs", epochs, "--no-augment", option)
        printed = run(train_catsdogs, *arguments, "--lr", "1e-3", "--output-dir", tmp_path / option)
        assert ("use --no-flip" in printed.out) == said
        saved = checkpoint.load(tmp_path / option / "best.pth")
        assert saved["flip"] == said
        accuracy[option] = saved["metrics"]["val_accuracy"]
    # Seen from both sides, an arrow and its mirror image are the same: noise is all that is left.
    assert accuracy["--no-flip"] == 1.0 and accuracy["--flip"] < 0.9


def test_testing_on_another_split(run, split, train, tmp_path):
    path = train()
    other = split(tmp_path / "photos", "--seed", "1", folder="other")
    printed = run(test_script, "--checkpoint", path, "--data-dir", other)
    assert "may have been training photos" in printed.err
    three = write_photos(tmp_path / "three")
    write_photos(three, "{class_name} too/{number}.jpg", count=3)
    shutil.rmtree(three / "Cat too")
    for number, file in enumerate((three / "Dog too").iterdir()):
        file.write_bytes(photo(5000 + number, "Bird"))
    with pytest.raises(UserError, match="has the classes Dog too, but"):
        run(test_script, "--checkpoint", path, "--data-dir", split(three, folder="split3"))
    with pytest.raises(UserError, match="--sample"):
        run(test_script, "--checkpoint", path, "--sample")


@pytest.mark.parametrize("frozen", [False, True])
def test_resume_of_photos(run, split, train, monkeypatch, tmp_path, frozen):
    arguments = ("--freeze-features", "--init", train(folder="init")) if frozen else ()
    whole = checkpoint.load(train(*arguments, folder="whole").with_name("last.pth"))
    with monkeypatch.context() as patch:
        interrupt_at(patch, 1)
        with pytest.raises(Interrupted):
            train(*arguments)
    last = tmp_path / "run" / "last.pth"
    stopped = checkpoint.load(last)
    assert stopped["step"] == 2 and stopped["epoch"] == 0
    folder = tmp_path / "split"
    photo_folder.write_mean_std(folder, np.full(3, 0.1), np.full(3, 0.9), 32)  # is not asked again
    run(train_catsdogs, "--resume", last)
    again = checkpoint.load(last)
    for name, tensor in whole["state_dict"].items():
        assert torch.equal(again["state_dict"][name], tensor)

    checkpoint.save(stopped, last)
    split(tmp_path / "photos", "--overwrite", "--seed", "1")
    with pytest.raises(UserError, match="another split"):
        run(train_catsdogs, "--resume", last)
    with pytest.raises(UserError, match="another script"):
        run(train_fashionmnist, "--resume", last)


@pytest.fixture(scope="module")
def fashionmnist_checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fashionmnist")
    with pytest.MonkeyPatch.context() as patch:
        arguments = ["--sample", "--limit", "64", "-b", "32", "--epochs", "1"]
        arguments += ["--image-size", "32", "--output-dir", str(folder)]
        patch.setattr("sys.argv", ["train_fashionmnist.py", *arguments])
        train_fashionmnist.main()
    return folder / "best.pth"


def test_init_from_fashionmnist(run, ready, fashionmnist_checkpoint, monkeypatch, tmp_path):
    started = {}
    transfer = train_catsdogs.transfer

    def remember(weights, model):
        left = transfer(weights, model)
        started.update({k: v.clone() for k, v in model.state_dict().items()})
        return left

    monkeypatch.setattr(train_catsdogs, "transfer", remember)
    arguments = ("--data-dir", ready, *SMALL, "--output-dir", tmp_path / "run")
    printed = run(train_catsdogs, *arguments, "--init", fashionmnist_checkpoint)
    source = checkpoint.load(fashionmnist_checkpoint)["state_dict"]
    assert "copied 342 of 344 tensors; newly initialised: linear.weight, linear.bias" in printed.out
    for name, tensor in started.items():
        if name == "conv1.conv.weight":  # one channel's weights shared out to three
            assert torch.allclose(tensor.sum(1, keepdim=True), source[name], atol=1e-6)
        elif not name.startswith("linear"):
            assert torch.equal(tensor, source[name])
    assert started["linear.weight"].shape == (2, 1024)


def test_weights_of_another_split_of_the_same_classes_are_noted(run, split, ready, train, tmp_path):
    """As after adding photos and splitting again."""
    again = ("--init", train(), "--dry-run")
    other = split(tmp_path / "photos", "--seed", "1", folder="other")
    run(compute_mean_std, other)
    for folder, is_noted in ((ready, False), (other, True)):
        out = run(train_catsdogs, "--data-dir", folder, *SMALL, *again).out
        assert ("was trained on another split of these classes" in out) == is_noted


def test_a_folder_that_cannot_be_written_to_is_noticed_before_decoding(error_of, ready, tmp_path):
    (tmp_path / "file").touch()
    output = ("--output-dir", tmp_path / "file" / "run")
    assert "file/run" in error_of(train_catsdogs, "--data-dir", ready, *SMALL, *output)
    assert not (ready / ".cache").exists()


def test_init_that_does_not_fit(train, fashionmnist_checkpoint, monkeypatch):
    with pytest.raises(UserError, match="holds a googlenet, not vgg16"):
        train("--model", "vgg16", "--init", fashionmnist_checkpoint)
    with pytest.raises(UserError, match="was trained with --batch-norm"):
        train("--no-batch-norm", "--init", fashionmnist_checkpoint)
    with pytest.raises(UserError, match=r"nowhere\.pth"):
        train("--init", "nowhere.pth")

    def refuse(*_args, **_kwargs):
        raise OSError("no network")

    monkeypatch.setattr("torchvision.models.GoogLeNet_Weights.get_state_dict", refuse)
    with pytest.raises(UserError, match="no network"):
        train("--init", "imagenet")


@pytest.mark.parametrize("model", ["googlenet", "vgg16"])
def test_init_from_imagenet(run, train, monkeypatch, model):
    """With the layout of torchvision's weights, not their values, which would be a download."""
    torch.manual_seed(0)
    build, weights = {
        "googlenet": (models.googlenet, models.GoogLeNet_Weights),
        "vgg16": (models.vgg16_bn, models.VGG16_BN_Weights),
    }[model]
    theirs = build(weights=None, **({"init_weights": False} if model == "googlenet" else {}))
    monkeypatch.setattr(weights, "get_state_dict", lambda *_, **__: theirs.state_dict())
    path = train("--model", model, "--init", "imagenet", "--freeze-features")
    saved = checkpoint.load(path)
    first = {"googlenet": "conv1.conv.weight", "vgg16": "block1.conv1_1.weight"}[model]
    original = {"googlenet": "conv1.conv.weight", "vgg16": "features.0.weight"}[model]
    assert torch.equal(saved["state_dict"][first], theirs.state_dict()[original])
    assert saved["mean"] != [0.5, 0.5, 0.5] or model == "googlenet"
    assert "4 test images" in run(test_script, "--checkpoint", path).out
    if model == "googlenet":  # a checkpoint of torchvision's GoogLeNet starts another of its kind
        again = checkpoint.load(train("--init", path, folder="again"))
        assert again["model"] == "torchvision_googlenet"


@pytest.mark.parametrize("model", ["googlenet", "vgg16"])
def test_frozen_features_stay_as_they_are(train, monkeypatch, model):
    built = {}
    freeze = train_catsdogs.freeze_features

    def remember(network):
        freeze(network)
        built.update({k: v.clone() for k, v in network.state_dict().items()})

    monkeypatch.setattr(train_catsdogs, "freeze_features", remember)
    init = train("--model", model, folder="init")
    arguments = ("--init", init, "--freeze-features", "--lr", "1e-2")
    path = train("--model", model, *arguments).with_name("last.pth")
    trained = checkpoint.load(path)["state_dict"]
    changed = {name for name, tensor in trained.items() if not torch.equal(tensor, built[name])}
    assert changed and all(name.startswith(("linear", "classifier")) for name in changed)


def test_dry_run(script, run, ready):
    arguments = ("--image-size", "32", "-b", "8", "--data-dir", ready, "--dry-run")
    script("train_catsdogs.py", *arguments)
    run(train_catsdogs, "--model", "vgg16", *arguments)
    assert "split_dataset.py" in script("train_catsdogs.py", "--data-dir", "no", code=2).stderr


@needs_kaggle
def test_shipped_checkpoint_judges_photos_that_it_never_saw(run, root, tmp_path):
    """Those of the Kaggle sample that are, smaller, in the test set of its training."""
    unseen = {"cat": (4, 8, 12, 32, 34, 42, 46, 48), "dog": (15, 17, 32, 37, 41, 51, 55, 56)}
    with zipfile.ZipFile(KAGGLE) as archive:
        for kind, numbers in unseen.items():
            for number in numbers:
                archive.extract(f"train/{kind}.{number}.jpg", tmp_path)
    path = root / "checkpoints" / "catsdogs_googlenet.pth"
    found = json.loads(run(predict, tmp_path, "--checkpoint", path, "--json").out)
    assert len(found) == 16 and path.stat().st_size < 15e6
    right = [Path(p["file"]).name.startswith(p["predictions"][0]["class"].lower()) for p in found]
    assert sum(right) >= 15
