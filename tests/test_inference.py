"""load_classifier: what a program of one's own gets from a checkpoint."""

import numpy as np
import pytest
import torch
from PIL import Image

from data import fashionmnist, photo_folder
from data.loaders import eval_loader
from engine import checkpoint
from engine.errors import UserError
from engine.inference import BATCH_SIZE, Classifier, batched, load_classifier, open_split
from models import create_model


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


def odd_photos(folder):
    """Cats and dogs of all kinds: turned, of 16 bits, floats, transparent, oblong, CMYK."""
    random = np.random.default_rng(0)
    turned = Image.Exif()
    turned[274] = 6
    for class_name in ("Cat", "Dog"):
        (folder / class_name).mkdir(parents=True)
        for number in range(12):
            width, height = random.integers(20, 90, 2)
            pixels = random.integers(0, 256, (height, width, 4), dtype=np.uint8)
            rgb, path = Image.fromarray(pixels[..., :3]), folder / class_name / str(number)
            grey = pixels[..., 0]
            match number % 6:
                case 0:
                    rgb.save(path, "JPEG", exif=turned)
                case 1:
                    Image.fromarray(grey.astype(np.uint16) * 250).save(path, "PNG", exif=turned)
                case 2:
                    Image.fromarray((grey / 255).astype(np.float32)).save(path, "TIFF")
                case 3:
                    Image.fromarray(pixels).save(path, "PNG")
                case 4:
                    rgb.resize((1200, 20)).save(path, "WEBP")
                case 5:
                    rgb.convert("CMYK").save(path, "JPEG")
    return folder


@pytest.mark.parametrize("size", [24, 56])
def test_prediction_is_validation_to_the_last_bit(split, tmp_path, size):
    folder = split(odd_photos(tmp_path / "photos"), "--ratios", "0.2", "0.6", "0.2")
    images = photo_folder.load_split(folder, "val", size)
    rows = photo_folder.read_manifest(folder).query("split == 'val'")
    files = rows.sort_values(["sha256", "file"])["file"]
    metadata = {"classes": images.classes, "mean": [0.5] * 3, "std": [0.25] * 3, "flip": True}
    metadata |= {"channels": 3, "stored_size": size, "resize_mode": photo_folder.RESIZE_MODE}
    model = create_model("googlenet", num_classes=2, image_size=32, batch_norm=True)
    classifier = Classifier(model, metadata | {"image_size": 32}, torch.device("cpu"))
    prepared = np.stack([classifier.prepare(folder / file) for file in files])
    assert len(files) >= 12 and np.array_equal(prepared, images.images)
    opened = np.stack([classifier.prepare(Image.open(folder / file)) for file in files])
    assert np.array_equal(opened, prepared)
    of_files, _ = classifier.logits(batched(iter(prepared)))
    of_split, _ = classifier.logits(eval_loader(images, BATCH_SIZE))
    assert torch.equal(of_files, of_split)


def test_what_cannot_be_read_is_said(classifier, tmp_path):
    with pytest.raises(UserError, match=r"missing\.png"):
        classifier.predict([tmp_path / "missing.png"])
    with pytest.raises(ValueError, match="uint8"):
        classifier.predict([np.zeros((8, 8))])
    for shape in ((3, 28, 28), (28, 28, 1), (0, 28)):
        with pytest.raises(ValueError, match=f"got uint8 of {shape[0]} x 28"):
            classifier.prepare(np.zeros(shape, np.uint8))
    with pytest.raises(ValueError, match="got uint8 of 500"):  # a file's bytes, not decoded
        classifier.prepare(np.zeros(500, np.uint8))


def test_checkpoints_that_cannot_be_built_are_one_line(trained, tmp_path):
    saved = checkpoint.load(trained)
    for changes, words in (
        ({"model": "resnet"}, "no model named 'resnet'"),
        ({"model_args": saved["model_args"] | {"depth": 3}}, "no network has an argument depth"),
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


def test_splits_of_photos_are_those_of_the_training(ready):
    metadata = {"dataset": "photos/0", "classes": ["Cat", "Dog"], "stored_size": 16}
    metadata["config"] = {"data_dir": str(ready)}
    val = photo_folder.load_split(ready, "val", 16)
    for data_dir in (None, ready):
        assert np.array_equal(open_split(metadata, "val", data_dir).images, val.images)
    with pytest.raises(UserError, match="has the classes Cat, Dog, but the checkpoint knows Cow"):
        open_split(metadata | {"classes": ["Cow"]}, "val")
    with pytest.raises(UserError, match="not trained on FashionMNIST"):
        open_split(metadata, "val", sample=True)
