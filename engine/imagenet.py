"""Download torchvision's ImageNet weights."""

from http.client import HTTPException

import torch

from engine.errors import as_user_error


def download_imagenet(model: str, batch_norm: bool) -> dict[str, torch.Tensor]:
    """Download torchvision's state dict of ImageNet weights, or read it from torch's cache.

    Raises:
        UserError: the download failed.
    """
    from torchvision import models

    weights = {
        ("vgg16", False): models.VGG16_Weights,
        ("vgg16", True): models.VGG16_BN_Weights,
        ("googlenet", True): models.GoogLeNet_Weights,
    }
    with as_user_error(
        OSError, RuntimeError, HTTPException, prefix="--init imagenet: download failed: "
    ):
        chosen = weights[model, batch_norm].IMAGENET1K_V1
        return chosen.get_state_dict(progress=True, check_hash=True)
