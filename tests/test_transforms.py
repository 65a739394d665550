"""Augmentation and normalisation."""

import pytest
import torch
import torch.nn.functional as F

from data import fashionmnist, transforms
from data.transforms import Augmentation, BatchTransform


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def draws(count, images, seed=0):
    return torch.rand(count, images, generator=seeded(seed))


def test_transform_normalises_and_resizes(sample):
    images = torch.from_numpy(sample[0].images[:500])
    transform = BatchTransform(fashionmnist.MEAN, fashionmnist.STD, 28).eval()
    x = transform(images)
    expected = (images / 255 - fashionmnist.MEAN[0]) / fashionmnist.STD[0]
    torch.testing.assert_close(x, expected, rtol=1e-4, atol=1e-5)
    larger = BatchTransform(fashionmnist.MEAN, fashionmnist.STD, 56).eval()(images)
    assert larger.shape == (500, 1, 56, 56)
    torch.testing.assert_close(larger.mean(), x.mean(), rtol=0, atol=1e-3)


def test_augmentation_is_off_in_evaluation_and_seeded_in_training(sample):
    images = torch.from_numpy(sample[0].images[:64])
    augmentation = Augmentation(flip=True, translate=2, erase=0.5)
    transform = BatchTransform((0.3,), (0.3,), 32, augmentation)
    plain = BatchTransform((0.3,), (0.3,), 32).eval()(images)
    assert torch.equal(transform.eval()(images), plain)
    transform.train()
    none = BatchTransform((0.3,), (0.3,), 32).train()
    assert torch.equal(none(images, none.draw(64)), plain)  # none asked for
    one, same, other = (transform(images, transform.draw(64, seeded(s))) for s in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert not torch.equal(one, plain)


@pytest.mark.parametrize("crop", [1.0, 0.5])
def test_everything_is_drawn_on_the_images_device(crop):
    """ "meta" stands for a GPU: what was drawn on the CPU would not fit its images."""
    augmentation = Augmentation(True, 2, crop, jitter=0.2, erase=0.5, train_size=24)
    transform = BatchTransform((0.3,), (0.3,), 32, augmentation).to("meta")
    x = transform(torch.zeros(2, 3, 40, 40, dtype=torch.uint8, device="meta"), transform.draw(2))
    assert x.device.type == "meta" and x.shape == (2, 3, 24, 24)


def test_flip_is_drawn_for_each_image():
    images = torch.arange(6, dtype=torch.uint8).view(1, 1, 2, 3).expand(2000, -1, -1, -1)
    flipped = transforms.random_flip(images, draws(1, 2000))
    changed = (flipped != images).flatten(1).any(1)
    assert 900 < changed.sum() < 1100
    assert torch.equal(flipped[changed][0], images[0].flip(2))


def test_translate_moves_each_image_by_its_own_offset():
    images = torch.zeros(3000, 2, 7, 7, dtype=torch.uint8)
    images[:, 0, 3, 3], images[:, 1, 3, 3] = 9, 5
    moved = transforms.random_translate(images, 2, draws(2, 3000))
    assert moved.shape == images.shape
    assert torch.equal(moved[:, 0] * 5, moved[:, 1] * 9)  # channels move together
    places = (moved[:, 0] == 9).nonzero()
    assert len(places) == 3000
    counts = torch.bincount((places[:, 1] - 1) * 5 + places[:, 2] - 1, minlength=25)
    assert len(counts) == 25 and counts.min() > 70  # all 25 offsets, evenly: 120 each


def test_erase_blanks_one_rectangle_within_its_bounds():
    images = torch.ones(2000, 1, 40, 40)
    erased = transforms.random_erase(images, 0.25, draws(5, 2000))
    areas = (erased == 0).sum((1, 2, 3))
    assert 400 < (areas > 0).sum() < 600
    for image in erased[areas > 0][:100, 0]:
        rows, columns = (image == 0).nonzero(as_tuple=True)
        box = (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)
        assert box == len(rows)
    assert areas.max() < 0.4 * 1600


@pytest.mark.parametrize(("source", "size"), [(48, 32), (48, 64), (48, 48)])
def test_resampling_is_that_of_validation(source, size):
    x = torch.rand(3, 3, source, source, generator=seeded(0))
    start = torch.zeros(3)
    matrix = transforms.resampling_matrices(start, start + source, source, size)[:, None]
    expected = F.interpolate(x, (size, size), mode="bilinear", antialias=True)
    assert torch.allclose(matrix @ x @ matrix.transpose(2, 3), expected, atol=1e-5)


def test_crop_is_drawn_for_each_image_within_its_bounds():
    ramp = torch.arange(40.0) + 0.5
    x = torch.stack([ramp.expand(40, 40), ramp[:, None].expand(40, 40)]).expand(400, 2, 40, 40)
    cropped = transforms.random_resized_crop(x, 20, 0.25, draws(4, 400))
    # On a ramp, the distance of new pixels tells the size of the crop.
    width = (cropped[:, 0, 0, 15] - cropped[:, 0, 0, 5]) * 2
    height = (cropped[:, 1, 15, 0] - cropped[:, 1, 5, 0]) * 2
    area, aspect = width * height / 1600, height / width
    assert 0.24 < area.min() < 0.3 and 0.9 < area.max() < 1.03
    assert 0.73 < aspect.min() < 0.8 and 1.25 < aspect.max() < 1.36
    assert cropped.min() >= 0.5 and cropped.max() <= 39.5
    left = cropped[:, 0, 0, 0]
    assert left.std() > 2  # not all from the same place


def test_crop_mirrors_half_of_the_images():
    x = torch.rand(400, 3, 24, 20, generator=seeded(0))
    plain, mirrored = (
        BatchTransform((0,), (1,), 16, Augmentation(flip=flip, crop=0.25))(x, draws(15, 400))
        for flip in (False, True)
    )
    is_mirrored = torch.isclose(mirrored, plain.flip(3), atol=1e-4).all((1, 2, 3))
    assert 150 < is_mirrored.sum() < 250
    assert torch.equal(mirrored[~is_mirrored], plain[~is_mirrored])


@pytest.mark.parametrize(("dtype", "most"), [(torch.bfloat16, 2.5), (torch.float16, 0.3)])
def test_crop_in_16_bits_is_as_fine_as_photos(dtype, most):
    x = torch.randint(256, (8, 3, 48, 40), generator=seeded(0)).float()
    expected = transforms.random_resized_crop(x, 32, 0.25, draws(4, 8))
    with torch.autocast("cpu", dtype):
        cropped = transforms.random_resized_crop(x, 32, 0.25, draws(4, 8))
    assert cropped.dtype == torch.float32
    error = cropped - expected
    assert 0 < error.abs().max() < most
    assert error.std() < 0.5 and error.mean().abs() < 0.05


def test_colour_jitter_is_drawn_for_each_image():
    x = torch.rand(50, 3, 8, 8, generator=seeded(0)) * 100 + 70
    varied = transforms.colour_jitter(x, 0.2, draws(3, 50))
    brightness = varied.mean((1, 2, 3)) / x.mean((1, 2, 3))
    assert 0.79 < brightness.min() < 0.86 and 1.14 < brightness.max() < 1.21
    contrast = varied.std((1, 2, 3)) / x.std((1, 2, 3))
    assert contrast.max() > 1.2 and contrast.min() < 0.8
    assert varied.min() >= 0 and varied.max() <= 255
    assert torch.allclose(transforms.colour_jitter(x, 0.0, draws(3, 50)), x, atol=1e-4)


def test_colour_jitter_at_once_is_that_of_three_steps():
    x = torch.rand(9, 3, 8, 8, generator=seeded(0)) * 255
    brightness, contrast, saturation = 0.8 + 0.4 * draws(3, 9).view(3, 9, 1, 1, 1)
    expected = x * brightness
    expected = expected.mean((1, 2, 3), keepdim=True).lerp(expected, contrast)
    expected = expected.mean(1, keepdim=True).lerp(expected, saturation)
    varied = transforms.colour_jitter(x, 0.2, draws(3, 9))
    assert expected.max() > 260
    torch.testing.assert_close(varied, expected.clamp(0, 255))
