"""Where a network looks: the output of its layers, and where on a photo its evidence lies."""

import numpy as np
import torch
from torch import nn

from engine.inference import Classifier
from models.googlenet import SameMaxPool

# The stages that show how a network sees, from pixels to things.
STAGES = {
    "vgg16": tuple(f"block{number}" for number in range(1, 6)),
    "googlenet": ("conv1", "conv2", "inception3b", "inception4c", "inception4e", "inception5b"),
}
STAGES["torchvision_googlenet"] = STAGES["padded_googlenet"] = STAGES["googlenet"]


def activations(
    classifier: Classifier, images: np.ndarray, names: tuple[str, ...] = ()
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The calibrated logits of a batch, and the outputs of the modules of these names.

    Args:
        images: uint8, N x C x stored_size x stored_size.
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


def evidence(classifier: Classifier, image: np.ndarray) -> tuple[np.ndarray, int, float]:
    """Grad-CAM (Selvaraju et al. 2017): where in the image the evidence for its class lies.

    Taken from the last stage but one whose maps are 4 x 4 or more. Every cell of every map counts
    as much as the log odds of the class rise with it: cell by cell, not averaged over the map, as
    further layers follow (Draelos and Carin 2020).

    Args:
        image: uint8, C x S x S.

    Returns:
        The map, 0 to 1, S x S; the index of the predicted class; its probability.
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
    # Between the centres of four cells, bilinearly; beyond the outermost, as there.
    first, step = cell_centres(classifier, stage, image.shape[1])
    cells = (np.arange(image.shape[1]) - first) / step
    weights = np.array([np.interp(cells, range(len(heat)), cell) for cell in np.eye(len(heat))])
    return weights.T @ heat @ weights, predicted, probability


def cell_centres(classifier: Classifier, stage: str, size: int) -> tuple[float, float]:
    """The centre of the first cell of a stage's maps, and the step to the next, in pixels.

    A cell looks at the window around its centre, larger than the step: its receptive field.

    Args:
        size: height and width of the image that the pixels are of.
    """
    model, centre, step = classifier.model, 0.0, 1
    side = classifier.transform.image_size  # of the maps so far
    *_, last = model.get_submodule(stage).modules()
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.MaxPool2d):
            window, stride, padding = (
                value if isinstance(value, int) else value[0]
                for value in (module.kernel_size, module.stride, module.padding)
            )
            if isinstance(module, SameMaxPool):
                padding = side % 2
            if stride > 1:  # the others are centred on the cell: "same" padding
                centre += step * ((window - 1) / 2 - padding)
                step, side = step * stride, -(-side // stride)
        if module is last:
            break
    scale = size / classifier.transform.image_size
    return (centre + 0.5) * scale - 0.5, step * scale
