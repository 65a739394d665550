"""Mean and standard deviation, against NumPy and against the usual mistakes."""

import numpy as np
import pytest
from PIL import Image

import compute_mean_std
from data import fashionmnist, photo_folder


def test_mean_and_std_are_numpys_over_all_training_pixels(ready):
    files = sorted((ready / "train").rglob("*.jpg"))
    arrays = [np.asarray(Image.open(file), np.float64).reshape(-1, 3) / 255 for file in files]
    pixels = np.concatenate(arrays)
    mean, std = map(np.array, photo_folder.read_mean_std(ready))
    assert np.abs(mean - pixels.mean(0)).max() < 1e-9
    assert np.abs(std - pixels.std(0)).max() < 1e-9
    # The well-known mistakes give other numbers, all of them.
    assert np.abs(mean - pixels.sum(0) / pixels.size).min() > 1e-3  # by pixels x channels
    assert np.abs(std - pixels.var(0)).min() > 1e-3  # the variance
    of_each = np.array([array.std(0) for array in arrays]).mean(0)
    assert np.abs(std - of_each).min() > 1e-6  # mean of each photo's deviation
    of_each = np.array([array.mean(0) for array in arrays]).mean(0)
    assert np.abs(mean - of_each).min() > 1e-6  # each photo counted alike, whatever its size
    everything = [np.asarray(Image.open(file)).reshape(-1, 3) for file in ready.rglob("*.jpg")]
    assert np.abs(mean - np.concatenate(everything).mean(0) / 255).min() > 1e-6


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
