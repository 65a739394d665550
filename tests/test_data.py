"""From files to batches: FashionMNIST's files, the split, the loader, augmentation, photos."""

import gzip
import hashlib
import shutil
import urllib.error
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from data import augment, fashionmnist, photos
from data.images import DataError, ImageSet, eval_loader, stratified_split, train_loader


@pytest.fixture(scope="module")
def sample():
    return fashionmnist.load_train_val(fashionmnist.find(sample=True), sample=True)


def numbered(count: int) -> ImageSet:
    """Images each of whose pixels is its own number."""
    images = np.broadcast_to(
        np.arange(count, dtype=np.uint8)[:, None, None, None], (count, 1, 4, 4)
    )
    return ImageSet(images, np.arange(count, dtype=np.int64), ["one"])


# ---------------------------------------------------------------- FashionMNIST


def test_sample_is_real_and_stratified(sample):
    train, val = sample
    test = fashionmnist.load_test(fashionmnist.SAMPLE, sample=True)
    assert (len(train), len(val), len(test)) == (5500, 500, 1000)
    assert np.bincount(train.labels).tolist() == [550] * 10
    assert np.bincount(val.labels).tolist() == [50] * 10
    assert np.bincount(test.labels).tolist() == [100] * 10
    assert train.images.dtype == np.uint8 and train.images.shape[1:] == (1, 28, 28)


needs_full_set = pytest.mark.skipif(
    not (fashionmnist.DEBIAN / "train-images-idx3-ubyte.gz").exists(),
    reason="the full set (apt-get install dataset-fashion-mnist) is not on this machine",
)


@needs_full_set
def test_full_set_and_sample_made_from_it(tmp_path):
    train, val = fashionmnist.load_train_val(fashionmnist.find(fashionmnist.DEBIAN))
    assert (len(train), len(val)) == (55_000, 5_000)
    assert np.bincount(val.labels).tolist() == [500] * 10
    pixels = np.concatenate([train.images, val.images]) / 255
    assert pixels.mean() == pytest.approx(fashionmnist.MEAN[0], abs=5e-5)
    assert pixels.std() == pytest.approx(fashionmnist.STD[0], abs=5e-5)
    fashionmnist.write_sample(fashionmnist.DEBIAN, tmp_path)
    fashionmnist.check(tmp_path, sample=True)
    digest = hashlib.sha256(val.images.tobytes()).hexdigest()
    assert digest.startswith("afd6d6350531582c")


@pytest.fixture
def small_files(tmp_path, monkeypatch):
    """A stand-in for the full set (the sample's files), and no other place to find one."""
    folder = tmp_path / "here"
    shutil.copytree(fashionmnist.SAMPLE, folder)
    monkeypatch.setattr(fashionmnist, "DOWNLOADED", tmp_path / "none")
    monkeypatch.setattr(fashionmnist, "DEBIAN", tmp_path / "nor here")
    monkeypatch.setattr(fashionmnist, "DATA", tmp_path)
    monkeypatch.setattr(fashionmnist, "SHA256", fashionmnist.SAMPLE_SHA256)
    return folder


def test_order_in_which_it_is_looked_for(small_files, tmp_path, monkeypatch):
    monkeypatch.setattr(fashionmnist, "DEBIAN", small_files)
    assert fashionmnist.find() == small_files
    downloaded = tmp_path / "none"
    shutil.copytree(small_files, downloaded)
    assert fashionmnist.find() == downloaded
    named = tmp_path / "named"
    shutil.copytree(small_files, named)
    assert fashionmnist.find(named) == named
    assert fashionmnist.find(sample=True) == fashionmnist.SAMPLE


def test_plain_files_are_accepted(small_files):
    for path in small_files.glob("*.gz"):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    assert fashionmnist.find(small_files) == small_files
    assert len(fashionmnist.load_test(small_files)) == 1000


@pytest.mark.parametrize("name", fashionmnist.SHA256)
@pytest.mark.parametrize("damage", ["truncated", "html", "other content", "empty", "missing"])
def test_damaged_file_is_named_and_not_used(small_files, name, damage):
    path = small_files / f"{name}.gz"
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "html":
        path.write_bytes(b"<!DOCTYPE html><html>404</html>")
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        plain = bytearray(gzip.decompress(content))
        plain[-1] ^= 1
        path.write_bytes(gzip.compress(bytes(plain)))
    with pytest.raises(DataError) as caught:
        fashionmnist.find(small_files)
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_no_files_and_no_network(small_files, monkeypatch):
    def refuse(*_args, **_kwargs):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", refuse)
    with pytest.raises(DataError) as caught:
        fashionmnist.find()
    for way_out in ("apt-get install dataset-fashion-mnist", "--data-dir", "--sample"):
        assert way_out in str(caught.value)
    assert not list(fashionmnist.DATA.glob(".download-*"))


def test_download_is_whole_and_checked(small_files, monkeypatch):
    def download(_url, download_root, filename, md5):
        assert md5  # torchvision checks it, then unpacks beside the archive
        content = gzip.decompress((small_files / filename).read_bytes())
        (Path(download_root) / filename.removesuffix(".gz")).write_bytes(content)

    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", download)
    folder = fashionmnist.find()
    assert folder == fashionmnist.DOWNLOADED
    assert len(list(folder.iterdir())) == 4


# ---------------------------------------------------------------- split and loader


def test_split_is_stratified_and_fixed():
    labels = np.repeat(np.arange(3), (24, 120, 60))
    train, val = stratified_split(labels, 1 / 12, seed=1)
    assert np.bincount(labels[val]).tolist() == [2, 10, 5]
    assert sorted([*train, *val]) == list(range(len(labels)))
    again = stratified_split(labels, 1 / 12, seed=1)
    assert np.array_equal(val, again[1])
    assert not np.array_equal(val, stratified_split(labels, 1 / 12, seed=2)[1])


def test_split_of_fashionmnist_is_the_recorded_one(sample):
    """Results are comparable only while every run is judged on the same images."""
    digest = hashlib.sha256(sample[1].images.tobytes()).hexdigest()
    assert digest.startswith("88c5899cf5f13e48")


@pytest.mark.parametrize("workers", [0, 2])
def test_loader_shuffles_whole_batches(workers):
    loader = train_loader(numbered(50), 8, 1, seed=3, num_workers=workers)
    epochs = []
    for epoch in (0, 1):
        loader.batch_sampler.epoch = epoch
        batches = list(loader)
        assert [tuple(images.shape) for images, _ in batches] == [(8, 1, 4, 4)] * 6
        seen = torch.cat([labels for _, labels in batches])
        assert torch.equal(seen, torch.cat([images[:, 0, 0, 0] for images, _ in batches]).long())
        assert len(seen.unique()) == 48
        epochs.append(seen)
    assert not torch.equal(*epochs)
    loader.batch_sampler.epoch, loader.batch_sampler.start = 1, 4
    assert torch.equal(torch.cat([labels for _, labels in loader]), epochs[1][32:])


def test_processes_share_the_batches_of_one():
    def batches(rank, world_size):
        loader = train_loader(numbered(50), 8, 2, seed=3, rank=rank, world_size=world_size)
        return [labels for _, labels in loader]

    alone = batches(0, 1)
    shared = zip(batches(0, 2), batches(1, 2), strict=True)
    for one, (first, second) in zip(alone, shared, strict=True):
        assert sorted(one.tolist()) == sorted([*first.tolist(), *second.tolist()])

    parts = [torch.cat([y for _, y in eval_loader(numbered(7), 2, r, 3)]) for r in range(3)]
    assert sorted(torch.cat(parts).tolist()) == list(range(7))


def test_loader_of_few_images():
    assert len(train_loader(numbered(5), 128, 2, seed=0)) == 2
    with pytest.raises(DataError, match="too few"):
        train_loader(numbered(1), 128, 2, seed=0)
    with pytest.raises(DataError, match="evenly"):
        train_loader(numbered(50), 9, 1, seed=0, world_size=2)


# ---------------------------------------------------------------- augmentation


def test_preprocess_normalises_and_resizes(sample):
    images = torch.from_numpy(sample[0].images[:500])
    preprocess = augment.Preprocess(fashionmnist.MEAN, fashionmnist.STD, 28).eval()
    x = preprocess(images)
    expected = (images / 255 - fashionmnist.MEAN[0]) / fashionmnist.STD[0]
    torch.testing.assert_close(x, expected, rtol=1e-4, atol=1e-5)
    larger = augment.Preprocess(fashionmnist.MEAN, fashionmnist.STD, 56).eval()(images)
    assert larger.shape == (500, 1, 56, 56)
    torch.testing.assert_close(larger.mean(), x.mean(), rtol=0, atol=1e-3)


def test_augmentation_is_off_in_evaluation_and_seeded_in_training(sample):
    images = torch.from_numpy(sample[0].images[:64])
    preprocess = augment.Preprocess((0.3,), (0.3,), 32, flip=True, shift=2, erase=0.5)
    plain = augment.Preprocess((0.3,), (0.3,), 32).eval()(images)
    assert torch.equal(preprocess.eval()(images), plain)
    preprocess.train()
    one, same, other = (preprocess(images, torch.Generator().manual_seed(s)) for s in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert not torch.equal(one, plain)


def test_flip_is_drawn_for_each_image():
    images = torch.arange(6, dtype=torch.uint8).view(1, 1, 2, 3).expand(2000, -1, -1, -1)
    flipped = augment.random_flip(images, torch.Generator().manual_seed(0))
    changed = (flipped != images).flatten(1).any(1)
    assert 900 < changed.sum() < 1100
    assert torch.equal(flipped[changed][0], images[0].flip(2))


def test_shift_moves_each_image_by_its_own_offset():
    images = torch.zeros(3000, 2, 7, 7, dtype=torch.uint8)
    images[:, 0, 3, 3], images[:, 1, 3, 3] = 9, 5
    moved = augment.random_shift(images, 2, torch.Generator().manual_seed(0))
    assert moved.shape == images.shape
    assert torch.equal(moved[:, 0] * 5, moved[:, 1] * 9)  # channels move together
    places = (moved[:, 0] == 9).nonzero()
    assert len(places) == 3000
    counts = torch.bincount((places[:, 1] - 1) * 5 + places[:, 2] - 1, minlength=25)
    assert len(counts) == 25 and counts.min() > 70  # all 25 offsets, evenly: 120 each


def test_erase_blanks_one_rectangle_within_its_bounds():
    images = torch.ones(2000, 1, 40, 40)
    erased = augment.random_erase(images, 0.25, torch.Generator().manual_seed(0))
    areas = (erased == 0).sum((1, 2, 3))
    assert 400 < (areas > 0).sum() < 600
    for image in erased[areas > 0][:100, 0]:
        rows, columns = (image == 0).nonzero(as_tuple=True)
        box = (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)
        assert box == len(rows)
    assert areas.max() < 0.4 * 1600


# ---------------------------------------------------------------- photos


def gradient() -> Image.Image:
    values = np.linspace(0, 255, 60, dtype=np.uint8)[None, :].repeat(40, 0)
    return Image.fromarray(values)


@pytest.mark.parametrize(
    ("suffix", "convert"),
    [
        ("png", lambda i: i),
        ("png", lambda i: i.convert("RGB")),
        ("png", lambda i: i.convert("RGBA")),
        ("png", lambda i: i.convert("LA")),
        ("png", lambda i: i.convert("RGB").quantize(256)),
        ("tiff", lambda i: i.convert("RGB").convert("CMYK")),
        ("png", lambda i: Image.fromarray(np.asarray(i).astype(np.uint16) * 257)),
        ("tiff", lambda i: Image.fromarray(np.asarray(i).astype(np.int32) * 257)),
        ("tiff", lambda i: Image.fromarray(np.asarray(i).astype(np.float32) / 255)),
        ("gif", lambda i: i),
        ("webp", lambda i: i.convert("RGB")),
    ],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_kind_of_image_gives_the_same_pixels(tmp_path, suffix, convert, channels):
    path = tmp_path / f"photo.{suffix}"
    image = convert(gradient())
    image.save(path, **({"lossless": True} if suffix == "webp" else {}))
    pixels = np.asarray(photos.open_photo(path, channels)).astype(int)
    expected = np.asarray(gradient().convert("L" if channels == 1 else "RGB")).astype(int)
    assert pixels.shape == expected.shape
    assert abs(pixels - expected).max() <= 2


def test_photo_is_upright_and_keeps_its_shape(tmp_path):
    image = gradient()
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: the first row is the right side, from the top
    image.save(tmp_path / "turned.jpg", exif=exif)
    assert photos.open_photo(tmp_path / "turned.jpg", 1).size == (40, 60)
    array = photos.read_photo(tmp_path / "turned.jpg", 1, 30, "pad")
    assert array.shape == (1, 30, 30) and array.dtype == np.uint8
    assert array[0, 3, 15] < 40 and array[0, -3, 15] > 215  # left to right became top to bottom
    assert not array[0, :, :5].any() and not array[0, :, 25:].any()  # bars left and right
    squashed = photos.read_photo(tmp_path / "turned.jpg", 1, 30, "squash")
    assert squashed[0, -3].min() > 215 and squashed[0, 3].max() < 40  # from edge to edge


def test_transparency_is_over_white_and_invert_swaps(tmp_path):
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    assert photos.read_photo(tmp_path / "clear.png", 1, 4, "pad").min() == 255
    assert photos.read_photo(tmp_path / "clear.png", 1, 4, "pad", invert=True).max() == 0


def test_stored_size_is_passed_through(tmp_path, sample):
    image = sample[1].images[7]
    Image.fromarray(image[0]).save(tmp_path / "item.png")
    assert np.array_equal(photos.read_photo(tmp_path / "item.png", 1, 28, "pad"), image)


def test_unreadable_photo_is_named(tmp_path):
    (tmp_path / "text.jpg").write_text("not an image")
    gradient().save(tmp_path / "cut.png")
    content = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    for name in ("text.jpg", "cut.png", "missing.jpg"):
        with pytest.raises(DataError, match=name):
            photos.open_photo(tmp_path / name, 3)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no photos"):
        photos.photos_at(tmp_path / "empty")
