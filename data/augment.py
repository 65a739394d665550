"""From uint8 images to what the network sees, batched, on the device that trains.

Validation, test and prediction take the same path with augmentation off.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn


class Preprocess(nn.Module):
    """uint8 N x C x S x S to float N x C x image_size x image_size, normalised.

    Augmentation is applied in training mode only. Each image draws its own.

    Args:
        mean, std: of each channel, for pixels between 0 and 1.
        image_size: pixels a side that the network takes; images are resized bilinearly.
        train_size: the same in training mode, where that is to be another; None: image_size.
        flip: mirror left and right with probability one half. (In evaluation it is for the caller
            to judge an image from both sides, see ``engine.loop.predict``.)
        shift: move by up to this many pixels of the stored image, up to all four sides.
        crop: smallest share of the area that is cut out and resized; 1 to keep it whole
            (GoogLeNet, Section 6: from 8 % to all, aspect ratio 3/4 to 4/3).
        jitter: brightness, contrast and saturation are multiplied by 1 - jitter … 1 + jitter.
        erase: probability of blanking a rectangle (random erasing, Zhong et al. 2017).
    """

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        image_size: int,
        flip: bool = False,
        shift: int = 0,
        crop: float = 1.0,
        jitter: float = 0.0,
        erase: float = 0.0,
        train_size: int | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("mean", 255 * torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(std).view(1, -1, 1, 1))
        self.image_size, self.train_size = image_size, train_size or image_size
        self.flip, self.shift, self.crop = flip, shift, crop
        self.jitter, self.erase = jitter, erase

    def forward(
        self, images: torch.Tensor, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """The generator, on the device of the images, makes every draw of the augmentation."""
        if self.training:
            # On the small uint8 images, where moving pixels costs least. A crop mirrors by itself.
            if self.flip and self.crop == 1:
                images = random_flip(images, generator)
            if self.shift:
                images = random_shift(images, self.shift, generator)
        x = images.float()
        size = self.train_size if self.training else self.image_size
        if self.training and self.crop < 1:
            x = random_resized_crop(x, size, self.crop, self.flip, generator)
        elif x.shape[-2:] != (size, size):
            x = F.interpolate(x, (size, size), mode="bilinear", antialias=True)
        if self.training and self.jitter:
            x = colour_jitter(x, self.jitter, generator)
        x = x.sub_(self.mean).div_(self.std)
        if self.training and self.erase:
            x = random_erase(x, self.erase, generator)
        return x


def random_flip(images: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
    """Mirror each image left to right with probability one half."""
    flipped = torch.rand(len(images), device=images.device, generator=generator) < 0.5
    return torch.where(flipped.view(-1, 1, 1, 1), images.flip(3), images)


def random_shift(
    images: torch.Tensor, pixels: int, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Move each image by -pixels … pixels, drawn for each axis; what comes in is black."""
    count, _, height, width = images.shape
    padded = F.pad(images, [pixels] * 4)
    device = images.device
    offsets = torch.randint(2 * pixels + 1, (2, count, 1), device=device, generator=generator)
    rows = (offsets[0] + torch.arange(height, device=device))[:, :, None]  # N x H x 1
    columns = (offsets[1] + torch.arange(width, device=device))[:, None, :]  # N x 1 x W
    index = torch.arange(count, device=device)[:, None, None]
    # Indices on both sides of the channels put those last: N x H x W x C.
    return padded[index, :, rows, columns].permute(0, 3, 1, 2)


def random_resized_crop(
    x: torch.Tensor,
    size: int,
    smallest: float,
    flip: bool = False,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """Cut a rectangle out of each image and resize it to size x size, bilinearly, antialiased.

    Area ``smallest`` to all of the image, aspect ratio 3/4 to 4/3 (GoogLeNet, Section 6). flip:
    mirror it left to right with probability one half.
    """
    count, _, height, width = x.shape
    draws = torch.rand(5, count, device=x.device, generator=generator)
    area = smallest + (1 - smallest) * draws[0]
    aspect = (4 / 3) ** (2 * draws[1] - 1)
    box_height = (area * aspect).sqrt().clamp(max=1) * height
    box_width = (area / aspect).sqrt().clamp(max=1) * width
    rows = resampling(draws[2] * (height - box_height), box_height, height, size)
    left = draws[3] * (width - box_width)
    if flip:  # then from right to left
        mirrored = draws[4] < 0.5
        left = torch.where(mirrored, left + box_width, left)
        box_width = torch.where(mirrored, -box_width, box_width)
    columns = resampling(left, box_width, width, size)
    # One product resizes along the width, for all channels at once, the other along the height.
    # Under autocast to bfloat16 weights and results have 8 significant bits: a pixel is less than
    # half a grey level off as a rule, 2.5 at most.
    x = (x.flatten(1, 2) @ columns.transpose(1, 2)).unflatten(1, x.shape[1:3])
    return (rows[:, None] @ x).float()  # N x C x size x size


def resampling(start: torch.Tensor, length: torch.Tensor, source: int, size: int) -> torch.Tensor:
    """The matrices, N x size x source, that resize ``length`` pixels from ``start`` on to ``size``.

    A negative length goes back from there, which mirrors.

    Each row holds the weights of one new pixel: a triangle about its centre, as wide as a new
    pixel or an old one, whichever is the wider. It is the filter of ``F.interpolate`` (bilinear,
    antialias) and Pillow, so that what is seen in training and in validation is equally sharp.
    """
    scale = (length / size)[:, None, None]  # old pixels a new one
    new = torch.arange(size, device=start.device)[None, :, None] + 0.5
    old = torch.arange(source, device=start.device) + 0.5
    distance = (old - (start[:, None, None] + new * scale)).abs_().div_(scale.abs().clamp(min=1))
    weights = (1 - distance).clamp_(min=0)
    return weights.div_(weights.sum(2, keepdim=True))


def colour_jitter(
    x: torch.Tensor, strength: float, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Vary brightness, contrast and saturation of each image by up to ``strength``; 0 … 255."""
    draws = torch.rand(3, len(x), 1, 1, 1, device=x.device, generator=generator)
    brightness, contrast, saturation = 1 + strength * (2 * draws - 1)
    # One after the other they multiply, move towards the image's mean, and towards each pixel's
    # grey. All three at once, and clipped once, at the end:
    grey = x.mean(1, keepdim=True)
    mean = grey.mean((2, 3), keepdim=True)
    rest = contrast * (1 - saturation) * grey + (1 - contrast) * mean
    return torch.addcmul(brightness * rest, brightness * contrast * saturation, x).clamp_(0, 255)


def random_erase(
    x: torch.Tensor, probability: float, generator: torch.Generator | None = None
) -> torch.Tensor:
    """Set, in place, a rectangle of each image to 0, the mean, with this probability.

    Area 2 % to 33 % of the image and aspect ratio 0.3 to 3.3, as torchvision has it (the paper's
    Section 3: up to 40 %, and random values).
    """
    count, _, height, width = x.shape
    draws = torch.rand(5, count, device=x.device, generator=generator)
    area = (0.02 + 0.31 * draws[0]) * height * width
    aspect = 3.3 ** (2 * draws[1] - 1)
    box_height = (area * aspect).sqrt().clamp(max=height)
    box_width = (area / aspect).sqrt().clamp(max=width)
    top, left = draws[2] * (height - box_height), draws[3] * (width - box_width)
    chosen = draws[4] < probability

    def inside(start: torch.Tensor, length: torch.Tensor, size: int) -> torch.Tensor:
        position = torch.arange(size, device=x.device) + 0.5
        return (position >= start[:, None]) & (position < (start + length)[:, None])

    rows, columns = inside(top, box_height, height), inside(left, box_width, width)
    box = rows[:, :, None] & columns[:, None, :] & chosen[:, None, None]
    return x.masked_fill_(box[:, None], 0.0)
