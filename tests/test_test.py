"""test.py: the files that it writes, the figures in them, the images that it takes."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

import test as test_script
from data import class_folders, fashionmnist, photo_folder
from data.class_folders import ClassFolders
from data.dataset import ImageDataset
from engine import calibration, checkpoint, report
from engine.device import eval_batch_size
from engine.errors import UserError
from engine.inference import Classifier, load_classifier
from models import create_model
from tests.conftest import photo, zipped

CLASSES = fashionmnist.CLASSES


def test_test_writes_what_it_prints(run, trained, tmp_path):
    out = run(test_script, "--checkpoint", trained, "--sample", "--output-dir", tmp_path).out
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert f"accuracy {summary['accuracy']:.2%}" in out
    confusion = pd.read_csv(tmp_path / "confusion_matrix.csv", index_col=0)
    assert confusion.to_numpy().sum() == 1000 == summary["images"]
    assert np.trace(confusion.to_numpy()) / 1000 == pytest.approx(summary["accuracy"])
    assert list(confusion.columns) == list(confusion.index) == list(CLASSES)
    table = pd.read_csv(tmp_path / "classes.csv", index_col=0)
    assert list(table.columns) == ["precision", "recall", "f1", "support"]
    for name in ("confusion_matrix.png", "mistakes.png", "reliability.png"):
        assert Image.open(tmp_path / name).width > 500


@pytest.fixture
def few(monkeypatch):
    """50 images of the sample, none of ankle boots, in place of any test set."""
    images = fashionmnist.load_test(fashionmnist.SAMPLE, sample=True)
    images = images.subset(np.flatnonzero(images.labels != CLASSES.index("Ankle boot"))[:50])
    monkeypatch.setattr(test_script, "open_split", lambda *_: images)
    return images


def test_answers_are_listed_image_by_image(run, trained, few, tmp_path):
    out = run(test_script, "--checkpoint", trained, "--sample", "--output-dir", tmp_path).out
    answers = pd.read_csv(tmp_path / "predictions.csv")
    assert list(answers.columns) == ["index", "truth", "answer", *CLASSES]
    assert list(answers["index"]) == list(range(50))
    assert list(answers.truth) == [CLASSES[label] for label in few.labels]
    probabilities = answers[list(CLASSES)].to_numpy()
    assert probabilities.sum(1) == pytest.approx(np.ones(50), abs=1e-4)
    assert list(answers.answer) == [CLASSES[index] for index in probabilities.argmax(1)]
    summary = json.loads((tmp_path / "summary.json").read_text())
    for bins in (summary["reliability"], summary["reliability_uncalibrated"]):
        assert len(bins) == calibration.BINS and sum(images for images, _, _ in bins) == 50
    right = answers.truth == answers.answer
    assert right.mean() == pytest.approx(summary["accuracy"])
    # Each class counts once, whether it has 3 images or 7, and one without images does not count.
    balanced = right.groupby(answers.truth).mean().mean()
    assert summary["balanced_accuracy"] == pytest.approx(balanced)
    assert f"balanced {balanced:.2%}" in out and abs(balanced - right.mean()) > 1e-3


def test_each_kind_of_test_has_a_folder_of_its_own(run, trained, few, tmp_path):
    """The sample, or other photos, leave the results on the test set alone."""
    path = tmp_path / "best.pth"
    path.write_bytes(trained.read_bytes())
    photos = write_clothes(tmp_path / "mine")
    written = {}
    for arguments in ((), ("--sample",), ("--data-dir", photos)):
        out = run(test_script, "--checkpoint", path, *arguments).out
        new = {p.name for p in tmp_path.iterdir() if p.is_dir()} - {"mine", *written}
        summary = json.loads((tmp_path / min(new) / "summary.json").read_text())
        written[min(new)] = (len(new), summary["sample"], summary["data"])
        assert f"test images ({summary['data']})" in out
    assert written == {
        "best_test": (1, False, "FashionMNIST"),
        "best_test_sample": (1, True, "the bundled sample"),
        "best_test_mine": (1, False, photos.as_posix()),
    }


def test_validation_images_are_those_that_chose_it(run, trained, tmp_path, monkeypatch):
    looks = []
    monkeypatch.setattr(test_script, "record_look", looks.append)
    path = tmp_path / "best.pth"
    checkpoint.save(checkpoint.load(trained) | {"config": {"sample": True}}, path)
    out = run(test_script, "--checkpoint", path, "--sample", "--split", "val").out
    summary = json.loads((tmp_path / "best_val_sample" / "summary.json").read_text())
    assert "500 validation images" in out
    assert summary["split"] == "val" and summary["images"] == 500
    truth = pd.read_csv(tmp_path / "best_val_sample" / "predictions.csv").truth
    _, validation = fashionmnist.load_train_val(fashionmnist.SAMPLE, sample=True)
    assert list(truth) == [CLASSES[label] for label in validation.labels]
    with pytest.raises(UserError, match=r"--split val: .*mine is not a split"):
        photos = write_clothes(tmp_path / "mine")
        run(test_script, "--checkpoint", path, "--data-dir", photos, "--split", "val")
    with pytest.raises(UserError, match="add --sample"):
        run(test_script, "--checkpoint", path, "--split", "val")
    with pytest.raises(UserError, match="leave out --sample"):
        run(test_script, "--checkpoint", trained, "--sample", "--split", "val")
    assert not looks


def test_numbers_come_before_pictures(run, trained, few, tmp_path, monkeypatch, capsys):
    def fail(*_arguments: object) -> None:
        raise MemoryError

    monkeypatch.setattr(report, "save", fail)
    with pytest.raises(MemoryError):
        run(test_script, "--checkpoint", trained, "--sample", "--output-dir", tmp_path)
    assert "accuracy" in capsys.readouterr().out
    names = {"summary.json", "classes.csv", "predictions.csv", "confusion_matrix.csv"}
    assert {p.name for p in tmp_path.iterdir()} == names


def test_batches_follow_the_size_of_the_images(run, trained, few, monkeypatch, tmp_path):
    for pixels, images in {32: 250, 64: 250, 128: 64, 224: 20, 4096: 1}.items():
        assert eval_batch_size(pixels, torch.device("cpu")) == images
    asked = []
    loader = test_script.eval_loader
    monkeypatch.setattr(
        test_script, "eval_loader", lambda images, size: asked.append(size) or loader(images, size)
    )
    run(test_script, "--checkpoint", trained, "--sample", "--output-dir", tmp_path, "-b", 7)
    assert asked == [7]


def write_clothes(folder, layout="{class_name}/{number}.jpg", classes=("Sandal", "Dress")):
    """Write three photos of each class; return the folder."""
    for offset, class_name in enumerate(classes):
        for number in range(3):
            path = folder / layout.format(class_name=class_name, number=number)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(photo(10 * offset + number, class_name))
    return folder


@pytest.fixture
def judge(run, trained, tmp_path, monkeypatch):
    """judge(photos) -> the table of answers that test.py writes, and what it prints."""
    for module, name in (
        (report, "draw_confusion"),  # these take the most time
        (report, "draw_mistakes"),
        (calibration, "draw_reliability"),
    ):
        monkeypatch.setattr(module, name, lambda *_: None)

    def call(data_dir):
        arguments = ("--data-dir", data_dir, "--output-dir", tmp_path / "out")
        printed = run(test_script, "--checkpoint", trained, *arguments)
        return pd.read_csv(tmp_path / "out" / "predictions.csv"), printed

    return call


@pytest.mark.parametrize(
    "layout",
    [
        "{class_name}/{number}.jpg",
        "photos/of/{class_name}/more/{number}.jpg",
        "{class_name}.{number}.jpg",
        "all/{class_name}.{number}.jpg",
    ],
)
@pytest.mark.parametrize("classes", [("Sandal", "Dress"), ("Bag",)])
def test_any_folder_of_class_folders(layout, classes, judge, tmp_path):
    """Some of the classes, or one alone; labels are those of the checkpoint."""
    photos = write_clothes(tmp_path / "photos", layout, classes)
    answers, printed = judge(photos)
    assert "some of its photos may have been training photos" in printed.err
    assert f"{3 * len(classes)} test images" in printed.out
    assert sorted(answers.truth) == sorted(3 * classes)
    assert all(name in file for name, file in zip(answers.truth, answers.file, strict=True))
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert {name: row["support"] for name, row in summary["classes"].items()} == {
        name: 3 if name in classes else 0 for name in CLASSES
    }
    again, _ = judge(zipped(photos, tmp_path / "photos.zip"))
    pd.testing.assert_frame_equal(answers, again)


def test_results_for_two_folders_of_one_name_are_kept_apart(judge, run, trained, tmp_path):
    """Judging one folder again replaces its results; another's are refused before judging."""
    one, other = (write_clothes(tmp_path / above / "photos") for above in "ab")
    network = tmp_path / "best.pth"
    network.write_bytes(trained.read_bytes())
    arguments = ("--checkpoint", network, "--data-dir")
    for _ in range(2):
        run(test_script, *arguments, one)
    summary = tmp_path / "best_test_photos" / "summary.json"
    before = summary.read_bytes()
    with pytest.raises(UserError, match=r"holds the results for .*a/photos: name a folder"):
        run(test_script, *arguments, other)
    assert summary.read_bytes() == before


def test_a_folder_in_a_zip(judge, tmp_path):
    photos = write_clothes(tmp_path / "photos", "all/{class_name}/{number}.jpg")
    answers, _ = judge(photos)
    again, _ = judge(zipped(photos, tmp_path / "photos.zip") / "all")
    pd.testing.assert_frame_equal(answers.drop(columns="file"), again.drop(columns="file"))


def test_a_full_disk_costs_no_numbers(judge, tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(test_script, "write_json", full)
    with pytest.raises(OSError, match="No space left"):
        judge(write_clothes(tmp_path / "photos"))
    assert "test images" in capsys.readouterr().out


def test_photos_are_treated_as_predict_treats_them(judge, trained, tmp_path):
    photos = write_clothes(tmp_path / "photos")
    answers, _ = judge(photos)
    classifier = load_classifier(trained)
    for _, row in answers.iterrows():
        for name, probability in classifier.predict([photos / row.file], top_k=10)[0]:
            assert row[name] == pytest.approx(probability, rel=1e-3)


def test_what_is_no_photo_is_skipped_and_counted(judge, tmp_path):
    photos = write_clothes(tmp_path / "photos")
    (photos / "Dress" / "notes.txt").write_text("no photo")
    (photos / "Dress" / "cut.jpg").write_bytes(photo(1)[:300])
    (photos / "Dress" / "empty.jpg").write_bytes(b"")
    (photos / "beside.jpg").write_bytes(photo(1))
    (photos / "Dress" / ".hidden.jpg").write_bytes(photo(2))
    (photos / "Dress" / "Thumbs.db").write_bytes(b"left by Windows")
    (photos / "Coat").mkdir()
    answers, printed = judge(photos)
    assert len(answers) == 6 and "4 files skipped" in printed.err
    for name in ("notes.txt", "cut.jpg", "empty.jpg", "beside.jpg"):
        assert name in printed.err


def test_classes_by_any_spelling(judge, tmp_path):
    classes = ("dress", "T-shirt_top", "ANKLE BOOT")
    answers, _ = judge(write_clothes(tmp_path / "photos", classes=classes))
    assert set(answers.truth) == {"Dress", "T-shirt/top", "Ankle boot"}


def test_folders_that_the_network_cannot_judge_are_refused(judge, run, trained, tmp_path):
    (tmp_path / "nothing").mkdir()
    split = write_clothes(tmp_path / "split", "train/{class_name}/{number}.jpg")
    write_clothes(split, "test/{class_name}/{number}.jpg")
    damaged = write_clothes(tmp_path / "damaged")
    for file in damaged.rglob("*.jpg"):
        file.write_bytes(b"no photo")
    for folder, words in (
        (write_clothes(tmp_path / "cats", classes=("Cat", "Dress")), "the classes Cat, but"),
        (split, "the classes test, train, but"),
        (damaged, "no images to test on"),
        (tmp_path / "nothing", "no train-images-idx3-ubyte"),
        (tmp_path / "missing", "no train-images-idx3-ubyte"),
    ):
        with pytest.raises(UserError, match=words):
            judge(folder)
    with pytest.raises(SystemExit):
        run(test_script, "--checkpoint", trained, "--sample", "--data-dir", split)
    assert not list((tmp_path / "out").glob("*"))


@pytest.fixture
def knows_cats(ready, tmp_path):
    """A checkpoint of a network with random weights for the split in ``ready``."""
    torch.manual_seed(0)
    model_args = {"num_classes": 2, "in_channels": 3, "image_size": 32, "batch_norm": True}
    saved = {
        "model": "googlenet",
        "model_args": model_args,
        "state_dict": create_model("googlenet", **model_args).state_dict(),
        "dataset": photo_folder.dataset_name(ready),
        "classes": ["Cat", "Dog"],
        "image_size": 32,
        "stored_size": 32,
        "resize_mode": "stretch",
        "mean": [0.5] * 3,
        "std": [0.25] * 3,
        "flip": False,
        "channels": 3,
        "epoch": 1,
        "metrics": {},
        "config": {"data_dir": str(ready)},
    }
    checkpoint.save(saved, tmp_path / "best.pth")
    return tmp_path / "best.pth"


def test_photos_of_a_split_have_names(run, ready, split, knows_cats, tmp_path, monkeypatch):
    figures, other = (
        [],
        split(write_clothes(tmp_path / "b", classes=["Cat", "Dog"]), folder="other"),
    )
    monkeypatch.setattr(report, "save", lambda figure, path: figures.append((figure, path.name)))
    for arguments, results, note in (
        ((), "best_test", False),
        (("--data-dir", ready), "best_test", False),
        (("--data-dir", ready, "--split", "val"), "best_val", False),
        (("--data-dir", other), "best_test_other", True),
        (("--data-dir", ready / "test"), "best_test_test", True),
    ):
        printed = run(test_script, "--checkpoint", knows_cats, *arguments)
        assert ("may have been training photos" in printed.err) == note
        folder = arguments[1] if arguments else ready
        answers = pd.read_csv(tmp_path / results / "predictions.csv")
        below = "" if folder.name == "test" else "val/" if "val" in arguments else "test/"
        there = {p.relative_to(folder).as_posix() for p in folder.glob(f"{below}*/*.jpg")}
        assert set(answers.file) == there and len(there) >= 2
        for file, truth in zip(answers.file, answers.truth, strict=True):
            assert file.startswith(f"{below}{truth}/")
        wrong = answers[answers.truth != answers.answer]
        figure = next(f for f, name in reversed(figures) if name == "mistakes.png")
        titles = [axes.get_title().split("\n") for axes in figure.axes if axes.get_title()]
        assert sorted(title[2] for title in titles) == sorted(Path(f).name for f in wrong.file)


def test_split_of_some_of_the_classes(run, split, knows_cats, tmp_path):
    """Labels are the checkpoint's, whose second class is alone in it."""
    source = write_clothes(tmp_path / "dogs", classes=["Dog", "Cow"])
    with pytest.raises(UserError, match="has the classes Cow, but"):
        run(
            test_script, "--checkpoint", knows_cats, "--data-dir", split(source, folder="dogs-only")
        )
    images = ImageDataset(np.zeros((2, 3, 4, 4), np.uint8), np.array([0, 0]), ["Dog"], ["a", "b"])
    found = images.labelled_as(["Cat", "Dog"], tmp_path)
    assert found.labels.tolist() == [1, 1] and found.classes == ["Cat", "Dog"]
    assert found.files == ["a", "b"]


def test_classes_that_differ_in_case_only_are_not_guessed(tmp_path):
    with pytest.raises(UserError, match="'Cat' and 'cat' are too similar"):
        ClassFolders(write_clothes(tmp_path / "photos"), ["Cat", "Dog", "cat"], 28, 1, "pad")


def test_memory_holds_a_batch_of_photos(tmp_path, monkeypatch):
    photos = write_clothes(tmp_path / "photos")
    images = ClassFolders(photos, CLASSES, 28, 1, "pad")
    shapes = [(tuple(batch.shape), labels.tolist()) for batch, labels in images.batches(4)]
    assert shapes == [((4, 1, 28, 28), [3, 3, 3, 5]), ((2, 1, 28, 28), [5, 5])]
    assert images.files[3] == "Sandal/0.jpg" and not images.skipped
    first = next(iter(images.batches(1)))[0]
    assert np.array_equal(first[0], images.images[0])
    decoded = []
    decode = class_folders.decode
    monkeypatch.setattr(class_folders, "decode", lambda file: decoded.append(1) or decode(file))
    images.images[2]
    assert len(decoded) == 1  # not all of them for one


def test_checkpoint_of_other_images_than_it_says_is_refused(run, trained, tmp_path):
    saved = checkpoint.load(trained)
    swapped = [*CLASSES[1:], CLASSES[0]]
    for changes in ({"classes": swapped}, {"stored_size": 30}):
        checkpoint.save(saved | changes, tmp_path / "bad.pth")
        with pytest.raises(UserError, match="has a wrong description of FashionMNIST"):
            run(test_script, "--checkpoint", tmp_path / "bad.pth", "--sample")


def test_answers_that_are_no_numbers_are_refused(run, trained, few, tmp_path):
    saved = checkpoint.load(trained)
    weights = saved["state_dict"]
    huge = {"linear.weight": torch.full_like(weights["linear.weight"], 3e38)}
    checkpoint.save(saved | {"state_dict": weights | huge}, tmp_path / "bad.pth")
    with pytest.raises(UserError, match="NaN"):
        run(test_script, "--checkpoint", tmp_path / "bad.pth", "--sample")


def test_class_table_by_hand():
    labels, predictions = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 0, 1])
    confusion = report.confusion_matrix(labels, predictions, 3)
    assert confusion.tolist() == [[2, 1, 0], [1, 1, 0], [0, 1, 0]]
    table = report.class_table(confusion, ["a", "b", "c"])
    assert table.precision.tolist() == pytest.approx([2 / 3, 1 / 3, 0])
    assert table.recall.tolist() == pytest.approx([2 / 3, 1 / 2, 0])
    assert table.f1.tolist() == pytest.approx([2 / 3, 2 / 5, 0])
    assert table.support.tolist() == [3, 2, 1]


def test_a_page_without_mistakes(tmp_path):
    images, labels = np.zeros((3, 1, 4, 4), np.uint8), np.array([0, 1, 0])
    report.draw_mistakes(images, labels, np.eye(2)[labels], ["a", "b"], tmp_path / "none.png")
    assert (tmp_path / "none.png").exists()


def test_a_folder_that_cannot_be_written_is_noticed_first(error_of, trained, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(Classifier, "logits", lambda *_: pytest.fail("judged"))
    folders = {tmp_path / "file" / "out": "Not a directory"}
    if Path("/proc").exists():  # a folder that is there, as in a read-only checkout
        folders[Path("/proc")] = "cannot write there"
    for folder, why in folders.items():
        options = ("--checkpoint", trained, "--sample", "--output-dir", folder)
        error = error_of(test_script, *options)
        assert why in error and "name another --output-dir" in error
