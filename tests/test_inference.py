"""load_classifier: what a program of one's own gets from a checkpoint."""

import numpy as np
import pytest
import torch
from PIL import Image

from data import fashionmnist
from data.loaders import eval_loader
from engine import checkpoint
from engine.errors import UserError
from engine.inference import BATCH_SIZE, load_classifier, open_split


@pytest.fixture
def classifier(trained):
    return load_classifier(trained)


@pytest.fixture
def images():
    """More test images than a batch takes."""
    return fashionmnist.load_test(fashionmnist.SAMPLE, sample=True).first(BATCH_SIZE + 3)


def test_paths_arrays_and_pillow_images_give_the_same(classifier, images, tmp_path):
    arrays = [image[0] for image in images.images[:3]]
    pictures = [Image.fromarray(array) for array in arrays]
    for number, picture in enumerate(pictures):
        picture.save(tmp_path / f"{number}.png")
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    as_rgb = [np.stack([array] * 3, axis=2) for array in arrays]
    expected = classifier.predict(arrays)
    assert len(expected) == 3 and all(len(row) == 5 for row in expected)
    for given in (paths, list(map(str, paths)), pictures, as_rgb, iter(arrays)):
        assert classifier.predict(given) == expected


def test_predictions_are_the_logits_of_the_loader(classifier, images):
    logits, labels = classifier.logits(eval_loader(images, 8))
    assert np.array_equal(labels, images.labels)
    rows = classifier.predict([image[0] for image in images.images], top_k=99)
    for row, expected in zip(rows, logits.softmax(1), strict=True):
        assert sorted(name for name, _ in row) == sorted(classifier.classes)
        assert [p for _, p in row] == sorted((p for _, p in row), reverse=True)
        for name, probability in row:
            index = classifier.classes.index(name)
            assert probability == pytest.approx(expected[index].item(), rel=1e-4)


def test_no_image_is_no_prediction(classifier):
    assert classifier.predict([]) == []


def test_memory_holds_a_batch_at_a_time(classifier, images):
    """Images are read as they are needed, no more than a batch ahead."""
    read, judged = [], []
    logits = classifier.logits

    def watch(loader):
        def counted():
            for batch in loader:
                judged.append((len(read), len(batch[0])))
                yield batch

        return logits(counted())

    classifier.logits = watch
    classifier.predict(read.append(1) or image[0] for image in images.images)
    assert judged == [(BATCH_SIZE, BATCH_SIZE), (BATCH_SIZE + 3, 3)]


def test_a_prepared_image_is_as_validation_images_are(classifier, images, tmp_path):
    Image.fromarray(images.images[7][0]).save(tmp_path / "item.png")
    assert np.array_equal(classifier.prepare(tmp_path / "item.png"), images.images[7])
    inverted = classifier.prepare(tmp_path / "item.png", invert=True)
    assert np.array_equal(inverted, 255 - images.images[7])


def test_what_cannot_be_read_is_said(classifier, tmp_path):
    with pytest.raises(UserError, match=r"missing\.png"):
        classifier.predict([tmp_path / "missing.png"])
    with pytest.raises(ValueError, match="uint8"):
        classifier.predict([np.zeros((8, 8))])


def test_checkpoints_that_cannot_be_built_are_one_line(trained, tmp_path):
    saved = checkpoint.load(trained)
    for changes, words in (
        ({"model": "resnet"}, "no model named 'resnet'"),
        ({"model_args": saved["model_args"] | {"depth": 3}}, "takes no depth"),
        ({"model_args": saved["model_args"] | {"image_size": "large"}}, "bad.pth"),
        ({"state_dict": {}}, "weights do not fit"),
    ):
        checkpoint.save(saved | changes, tmp_path / "bad.pth")
        with pytest.raises(UserError, match=words) as caught:
            load_classifier(tmp_path / "bad.pth")
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="--device tpu"):
        load_classifier(trained, device="tpu")


def test_splits_are_those_of_the_training(classifier):
    train, val = fashionmnist.load_train_val(fashionmnist.SAMPLE, sample=True)
    for name, expected in (("train", train), ("val", val)):
        found = open_split(classifier.metadata, name, sample=True)
        assert torch.equal(torch.tensor(found.images), torch.tensor(expected.images))
    assert len(open_split(classifier.metadata, "test", sample=True)) == 1000
