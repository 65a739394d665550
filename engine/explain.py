"""Explain a network's prediction: the activations of its layers, and HiResCAM on a photo."""

import numpy as np
import torch
from torch import nn

from engine.inference import Classifier
from models.googlenet import SameMaxPool

# The stages whose activations are shown, from low-level to high-level features.
STAGES = {
    "vgg16": tuple(f"block{number}" for number in range(1, 6)),
    "googlenet": ("conv1", "conv2", "inception3b", "inception4c", "inception4e", "inception5b"),
}
STAGES["torchvision_googlenet"] = STAGES["padded_googlenet"] = STAGES["googlenet"]

ALIKE = 0.9  # maps whose correlation is at least this look alike


def activations(
    classifier: Classifier, images: np.ndarray, names: tuple[str, ...] = ()
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The calibrated logits of a batch, N x classes, and the outputs of the named modules.

    Args:
        images: uint8, N x C x stored_size x stored_size.
        names: of modules in the model, such as "inception3b".
    """
    outputs = {}
    hooks = [
        classifier.model.get_submodule(name).register_forward_hook(
            lambda _module, _inputs, output, name=name: outputs.update({name: output})
        )
        for name in names
    ]
    try:
        batch = torch.tensor(images, device=classifier.device)
        return classifier.model(classifier.transform(batch)) / classifier.temperature, outputs
    finally:
        for hook in hooks:
            hook.remove()


def strongest(maps: torch.Tensor, count: int) -> list[int]:
    """The channels with the largest means, without those that look like a stronger one.

    If too few are left, the strongest of the others follow them.

    Args:
        maps: of one image, C x H x W.
    """
    order = maps.mean((1, 2)).argsort(descending=True, stable=True).tolist()
    shapes = nn.functional.normalize(maps.flatten(1) - maps.mean((1, 2))[:, None], dim=1)
    chosen = []
    for channel in order:
        if len(chosen) < count and bool((shapes[chosen] @ shapes[channel] < ALIKE).all()):
            chosen.append(channel)
    return [*chosen, *(channel for channel in order if channel not in chosen)][:count]


def evidence(classifier: Classifier, image: np.ndarray) -> tuple[np.ndarray, int, float]:
    """HiResCAM (Draelos and Carin 2020): where in the image the evidence for its class lies.

    It uses the last stage before the final one whose maps are 4 x 4 or larger. Every activation is
    weighted by its own gradient of the class's log odds. Grad-CAM (Selvaraju et al. 2017) averages
    the gradients over each map, which is wrong here since further layers follow.

    Args:
        image: uint8, C x S x S.

    Returns:
        The map, S x S, from 0 to 1; the index of the predicted class; its probability.
    """
    stages = STAGES[classifier.metadata["model"]]
    logits, outputs = activations(classifier, image[None], stages)
    stage = [name for name in stages[:-1] if min(outputs[name].shape[2:]) >= 4][-1]
    maps, predicted = outputs[stage], int(logits.argmax())
    others = torch.cat([logits[0, :predicted], logits[0, predicted + 1 :]]).logsumexp(0)
    (gradient,) = torch.autograd.grad(logits[0, predicted] - others, maps)
    heat = (gradient * maps).sum(1, keepdim=True).relu().detach()
    heat = (heat / heat.max().clamp(min=1e-6))[0, 0].cpu().numpy()
    probability = logits.softmax(1)[0, predicted].item()
    # Interpolate bilinearly between the centres of the cells; beyond the outermost, repeat it.
    first, step = cell_centres(classifier, stage, image.shape[1])
    cells = (np.arange(image.shape[1]) - first) / step
    weights = np.array([np.interp(cells, range(len(heat)), cell) for cell in np.eye(len(heat))])
    return weights.T @ heat @ weights, predicted, probability


def cell_centres(classifier: Classifier, stage: str, size: int) -> tuple[float, float]:
    """The centre of the first cell of a stage's maps, and the step to the next, in pixels.

    A cell depends on a window around its centre that is larger than the step: its receptive field.

    Args:
        size: height and width of the image in pixels.
    """
    model, centre, step = classifier.model, 0.0, 1
    side = classifier.transform.image_size  # height and width of the current map
    *_, last = model.get_submodule(stage).modules()
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.MaxPool2d):
            window, stride, padding = (
                value if isinstance(value, int) else value[0]
                for value in (module.kernel_size, module.stride, module.padding)
            )
            if isinstance(module, SameMaxPool):
                padding = side % 2
            if stride > 1:  # at stride 1, "same" padding centres the window on the cell
                centre += step * ((window - 1) / 2 - padding)
                step, side = step * stride, -(-side // stride)
        if module is last:
            break
    scale = size / classifier.transform.image_size
    return (centre + 0.5) * scale - 0.5, step * scale
