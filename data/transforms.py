"""Turn batches of uint8 images into the network's input, on the device of the network.

Validation, test and prediction use the same code without augmentation.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

# How many random numbers each kind of augmentation needs per image. All are drawn at once.
DRAWS = {"flip": 1, "translate": 2, "crop": 4, "jitter": 3, "erase": 5}


@dataclass(frozen=True)
class Augmentation:
    """How training images are augmented. Each image has its own random draws.

    Attributes:
        flip: mirror left to right with probability one half. (In evaluation, the caller averages
            an image and its mirror image: ``engine.evaluate.predict_logits``.)
        translate: shift by up to this many pixels of the stored image, along each axis.
        crop: smallest share of the image's area in a random crop; 1: no crop
            (GoogLeNet, Section 6: 8 % to 100 %, aspect ratio 3/4 to 4/3).
        jitter: multiply brightness, contrast and saturation by 1 - jitter … 1 + jitter.
        erase: probability of blanking a rectangle (random erasing, Zhong et al. 2017).
        train_size: height and width in training, in pixels; None: as in evaluation.
    """

    flip: bool = False
    translate: int = 0
    crop: float = 1.0
    jitter: float = 0.0
    erase: float = 0.0
    train_size: int | None = None


class BatchTransform(nn.Module):
    """Map uint8 N x C x H x W to normalised float32 N x C x image_size x image_size.

    Images are resized bilinearly with antialiasing. In training mode, they are also augmented, and
    their size is ``augmentation.train_size``.

    Args:
        mean, std: of each channel, for pixels between 0 and 1.
        image_size: height and width of the network's input, in pixels.
        augmentation: None: no augmentation.
    """

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        image_size: int,
        augmentation: Augmentation | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("mean", 255 * torch.tensor(mean).view(1, -1, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(std).view(1, -1, 1, 1))
        self.image_size = image_size
        self.augmentation = augmentation or Augmentation()

    @property
    def flip(self) -> bool:
        """Whether a mirror image has the same class."""
        return self.augmentation.flip

    def draw(self, images: int, generator: torch.Generator | None = None) -> torch.Tensor:
        """Draw the random numbers that ``forward`` needs: 15 x images, uniform in [0, 1)."""
        size = (sum(DRAWS.values()), images)
        return torch.rand(size, generator=generator, device=self.mean.device)

    def forward(self, images: torch.Tensor, draws: torch.Tensor | None = None) -> torch.Tensor:
        """Transform a batch; in training mode, augment it with the random numbers of ``draw``."""
        if not self.training:
            return self.normalise(resize(images.float(), self.image_size))
        flip, translate, crop, jitter, erase = draws.split(list(DRAWS.values()))
        augmentation = self.augmentation
        size = augmentation.train_size or self.image_size
        crops = augmentation.crop < 1
        # First the operations on small uint8 images, where moving pixels is cheapest.
        if augmentation.flip and not crops:  # a crop includes the flip at no extra cost
            images = random_flip(images, flip)
        if augmentation.translate:
            images = random_translate(images, augmentation.translate, translate)
        x = images.float()
        if crops:
            mirrored = flip[0] < 0.5 if augmentation.flip else None
            x = random_resized_crop(x, size, augmentation.crop, crop, mirrored)
        else:
            x = resize(x, size)
        if augmentation.jitter:
            x = colour_jitter(x, augmentation.jitter, jitter)
        x = self.normalise(x)
        if augmentation.erase:
            x = random_erase(x, augmentation.erase, erase)
        return x

    def normalise(self, x: torch.Tensor) -> torch.Tensor:
        """Subtract the mean and divide by the standard deviation, in place."""
        return x.sub_(self.mean).div_(self.std)


def resize(x: torch.Tensor, size: int) -> torch.Tensor:
    """Resize to size x size, bilinearly, antialiased; return images of that size unchanged."""
    if x.shape[-2:] == (size, size):
        return x
    return F.interpolate(x, (size, size), mode="bilinear", antialias=True)


# In these functions, ``draws`` are uniform random numbers between 0 and 1, a column per image.


def random_flip(images: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
    """Mirror each image left to right with probability one half. Draws: 1 x N."""
    return torch.where(draws.view(-1, 1, 1, 1) < 0.5, images.flip(3), images)


def random_translate(images: torch.Tensor, pixels: int, draws: torch.Tensor) -> torch.Tensor:
    """Shift each image by -pixels … pixels along each axis, filling in black. Draws: 2 x N."""
    count, _, height, width = images.shape
    padded = F.pad(images, [pixels] * 4)
    device = images.device
    offsets = (draws * (2 * pixels + 1)).long()[:, :, None]  # rounded down: 0 … 2 * pixels
    rows = (offsets[0] + torch.arange(height, device=device))[:, :, None]  # N x H x 1
    columns = (offsets[1] + torch.arange(width, device=device))[:, None, :]  # N x 1 x W
    index = torch.arange(count, device=device)[:, None, None]
    # Indices on both sides of the channel slice move the channels to the end: N x H x W x C.
    return padded[index, :, rows, columns].permute(0, 3, 1, 2)


def random_resized_crop(
    x: torch.Tensor,
    size: int,
    smallest: float,
    draws: torch.Tensor,
    mirrored: torch.Tensor | None = None,
) -> torch.Tensor:
    """Crop a random rectangle of each image and resize it to size x size, bilinearly, antialiased.

    The area of the rectangle is ``smallest`` to 1 of the image's, its aspect ratio 3/4 to 4/3
    (GoogLeNet, Section 6). Draws: 4 x N.

    Args:
        mirrored: bool, N: which images to mirror left to right; None: none of them.
    """
    height, width = x.shape[2:]
    area = smallest + (1 - smallest) * draws[0]
    aspect = (4 / 3) ** (2 * draws[1] - 1)
    box_height = (area * aspect).sqrt().clamp(max=1) * height
    box_width = (area / aspect).sqrt().clamp(max=1) * width
    rows = resampling_matrices(draws[2] * (height - box_height), box_height, height, size)
    left = draws[3] * (width - box_width)
    if mirrored is not None:  # sample from right to left
        left = torch.where(mirrored, left + box_width, left)
        box_width = torch.where(mirrored, -box_width, box_width)
    columns = resampling_matrices(left, box_width, width, size)
    # One matrix product resizes all channels along the width, another one along the height. In
    # bfloat16 autocast, with 8 significant bits, the error of most pixels is below half a grey
    # level, and no error is above 2.5.
    x = (x.flatten(1, 2) @ columns.transpose(1, 2)).unflatten(1, x.shape[1:3])
    return (rows[:, None] @ x).float()  # N x C x size x size


def resampling_matrices(
    start: torch.Tensor, length: torch.Tensor, source: int, size: int
) -> torch.Tensor:
    """The matrices, N x size x source, that resize ``length`` pixels from ``start`` to ``size``.

    A negative length runs backwards from ``start``, which mirrors the image.

    Each row holds the weights of one new pixel: a triangle around its centre. Its half-width is one
    new or one old pixel, whichever is larger. ``F.interpolate`` (bilinear, antialias) and Pillow
    use the same filter, so training and validation images are equally sharp.
    """
    scale = (length / size)[:, None, None]  # old pixels per new pixel
    new = torch.arange(size, device=start.device)[None, :, None] + 0.5
    old = torch.arange(source, device=start.device) + 0.5
    distance = (old - (start[:, None, None] + new * scale)).abs_().div_(scale.abs().clamp(min=1))
    weights = (1 - distance).clamp_(min=0)
    return weights.div_(weights.sum(2, keepdim=True))


def colour_jitter(x: torch.Tensor, strength: float, draws: torch.Tensor) -> torch.Tensor:
    """Vary brightness, contrast and saturation of each image by up to ``strength``.

    Pixels are between 0 and 255. Draws: 3 x N.
    """
    brightness, contrast, saturation = 1 + strength * (2 * draws.view(3, -1, 1, 1, 1) - 1)
    # One by one, they would scale the pixels, blend them with the image's mean, and blend them with
    # each pixel's grey. All three are linear: one weighted sum does it, clipped once at the end.
    grey = x.mean(1, keepdim=True)
    mean = grey.mean((2, 3), keepdim=True)
    rest = contrast * (1 - saturation) * grey + (1 - contrast) * mean
    return torch.addcmul(brightness * rest, brightness * contrast * saturation, x).clamp_(0, 255)


def random_erase(x: torch.Tensor, probability: float, draws: torch.Tensor) -> torch.Tensor:
    """With this probability, set a rectangle of each image to 0, the mean, in place. Draws: 5 x N.

    Its area is 2 % to 33 % of the image's and its aspect ratio 0.3 to 3.3, as in torchvision (in
    Zhong et al. 2017, Section 3, up to 40 %, filled with random values).
    """
    height, width = x.shape[2:]
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
