"""Mean and standard deviation, against NumPy and against the usual mistakes."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import compute_mean_std
from data import fashionmnist, photo_folder


def photo_folder_of(folder: Path, arrays: list[np.ndarray]) -> Path:
    """A split folder whose training photos are these (H x W x 3), and one of each other split."""
    rows = []
    splits = ["train"] * len(arrays) + ["val", "test"]
    for number, (split, array) in enumerate(
        zip(splits, [*arrays, arrays[0], arrays[0]], strict=True)
    ):
        path = folder / split / "Cat" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array.astype(np.uint8)).save(path)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        file = path.relative_to(folder).as_posix()
        rows.append((file, "Cat", split, sha256, array.shape[1], array.shape[0]))
    photo_folder.write_manifest(folder, rows)
    return folder


def by_numpy(arrays: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation with each photo (H x W x 3) weighted alike, as NumPy has them."""
    pixels = np.concatenate([array.reshape(-1, 3) for array in arrays]) / 255
    sizes = [array.shape[0] * array.shape[1] for array in arrays]
    weights = np.repeat(1 / np.array(sizes), sizes)
    mean = np.average(pixels, axis=0, weights=weights)
    return mean, np.sqrt(np.average((pixels - mean) ** 2, axis=0, weights=weights))


def test_mean_and_std_are_numpys_with_each_photo_weighted_alike(ready):
    files = sorted((ready / "train").rglob("*.jpg"))
    arrays = [np.asarray(Image.open(file)) for file in files]
    mean, std = map(np.array, photo_folder.read_mean_std(ready))
    expected_mean, expected_std = by_numpy(arrays)
    assert np.abs(mean - expected_mean).max() < 1e-9
    assert np.abs(std - expected_std).max() < 1e-9
    photos = np.array([array.mean((0, 1)) for array in arrays]) / 255
    assert np.abs(mean - photos.mean(0)).max() < 1e-9
    # The well-known mistakes give other numbers, all of them.
    pixels = np.concatenate([array.reshape(-1, 3) for array in arrays]) / 255
    assert np.abs(mean - pixels.mean(0)).min() > 1e-6  # large photos count more
    assert np.abs(mean - pixels.sum(0) / pixels.size).min() > 1e-3  # by pixels x channels
    assert np.abs(std - expected_std**2).min() > 1e-3  # the variance
    of_each = np.array([array.std((0, 1)) for array in arrays]).mean(0) / 255
    assert np.abs(std - of_each).min() > 1e-6  # mean of each photo's deviation
    everything = [np.asarray(Image.open(file)) for file in ready.rglob("*.jpg")]
    assert np.abs(mean - by_numpy(everything)[0]).min() > 1e-6


def test_a_large_photo_counts_as_a_small_one_does(run, tmp_path):
    small = [np.full((2, 3, 3), value) for value in range(40)]
    huge = np.full((1200, 1000, 3), 255)
    folder = photo_folder_of(tmp_path, [*small, huge])
    written = run(compute_mean_std, folder).out
    assert "41 training images, all with the same weight" in written
    mean, std = map(np.array, photo_folder.read_mean_std(folder))
    assert mean == pytest.approx((sum(range(40)) + 255) / 41 / 255, abs=1e-9)  # not 0.998
    assert std == pytest.approx(by_numpy([*small, huge])[1], abs=1e-9)


def test_photos_that_differ_by_one_value(run, tmp_path):
    """Squares whose difference is taken in the end would leave nothing of so small a deviation."""
    first = np.full((50, 50, 3), 200)
    second = first.copy()
    second[0, 0] = 201
    folder = photo_folder_of(tmp_path, [first, second, first[:7]])
    run(compute_mean_std, folder)
    mean, std = map(np.array, photo_folder.read_mean_std(folder))
    assert mean == pytest.approx(by_numpy([first, second, first[:7]])[0], abs=1e-12)
    assert std == pytest.approx(by_numpy([first, second, first[:7]])[1], rel=1e-9)


def test_photos_without_a_colour(run, error_of, tmp_path):
    green = np.zeros((4, 4, 3))
    green[:2, :, 1] = 204  # as from a microscope
    folder = photo_folder_of(tmp_path / "green", [green, green[1:]])
    assert "red, blue: constant in all training photos" in run(compute_mean_std, folder).out
    mean, std = photo_folder.read_mean_std(folder)
    assert (mean[0], mean[2], std[0], std[2]) == (0, 0, 1, 1)
    expected = by_numpy([green, green[1:]])
    assert (mean[1], std[1]) == pytest.approx((expected[0][1], expected[1][1]), abs=1e-9)
    folder = photo_folder_of(tmp_path / "one", [green[:2], green[:1]])
    assert "all training photos are of one colour" in error_of(compute_mean_std, folder)
    assert not (folder / "mean_std.json").exists()


def test_split_without_training_photos(error_of, tmp_path):
    folder = photo_folder_of(tmp_path, [np.zeros((2, 2, 3))])
    table = folder / "manifest.csv"
    lines = [line for line in table.read_text().splitlines() if ",train," not in line]
    table.write_text("\n".join(lines) + "\n")
    next((folder / "train").rglob("*.png")).unlink()
    assert "lists no photos of train: split again" in error_of(compute_mean_std, folder)


def test_mean_and_std_of_one_value():
    counts = np.zeros((1, 256), np.int64)
    counts[0, 51] = 10**12  # more than float32 can count
    mean, std = compute_mean_std.mean_and_std(counts)
    assert mean[0] == pytest.approx(0.2, abs=1e-15) and std[0] < 1e-9


def test_mean_and_std_of_fashionmnist(run, monkeypatch):
    sample = fashionmnist.SAMPLE
    monkeypatch.setattr(fashionmnist, "find", lambda: sample)
    load = fashionmnist.load_train_val
    monkeypatch.setattr(fashionmnist, "load_train_val", lambda folder: load(folder, sample=True))
    printed = run(compute_mean_std, "--dataset", "fashionmnist").out.split()
    pixels = load(sample, sample=True)[0].images / 255
    assert f"{pixels.mean():.6f}" in printed and f"{pixels.std():.6f}" in printed
