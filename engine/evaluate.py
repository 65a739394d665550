"""Compute the logits of a whole dataset, with the network in evaluation mode."""

import copy
from collections.abc import Iterable
from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from engine.device import kind


@torch.inference_mode()
def predict_logits(
    model: nn.Module, loader: Iterable, transform: nn.Module, amp: torch.dtype | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (float32, N x classes) and labels (int64, N) of all batches, on the CPU.

    If ``transform.flip`` is set, the class probabilities of each image and its mirror image are
    averaged (VGG, Section 3.2), and the logits are the logarithm of that average plus a constant.

    Args:
        loader: batches of uint8 images, N x C x S x S, and labels; it may be empty.
        transform: maps uint8 images to the model's input. Left in evaluation mode.
        amp: the dtype of autocast; None: float32.
    """
    transform.eval()
    device = next(model.parameters()).device
    network = fuse_conv_bn(model)
    logits, labels = [], []
    for images, batch_labels in loader:
        x = transform(images.to(device, non_blocking=kind(device).pins))
        if transform.flip:
            x = torch.cat([x, x.flip(3)])  # both views in one batch
        with torch.autocast(device.type, amp, enabled=amp is not None):
            outputs = network(x).float()
        outputs = outputs.unflatten(0, (-1, len(images))).log_softmax(2)
        # The log of the sum of both probabilities; its softmax is their mean.
        logits.append(outputs.logsumexp(0))  # on the device: a copy would wait for it
        labels.append(batch_labels)
    if not logits:  # there are more processes than images
        return torch.empty(0, 1), torch.empty(0, dtype=torch.int64)
    return torch.cat(logits).cpu(), torch.cat(labels).cpu()


def fuse_conv_bn(model: nn.Module) -> nn.Module:
    """Fuse each batch normalisation into the convolution before it, for inference.

    With fixed statistics, batch-norm scales and shifts each channel. The convolution's weights and
    bias can do the same in less time. Returns a copy; without batch-norm, the model itself.
    """
    if any(isinstance(module, nn.BatchNorm2d) for module in model.modules()):
        model = copy.deepcopy(model)
    model.eval()
    for module in model.modules():
        for (name, conv), (norm_name, norm) in pairwise(list(module.named_children())):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(conv, norm))
                setattr(module, norm_name, nn.Identity())
    return model
