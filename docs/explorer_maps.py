"""Feature maps and HiResCAM of the trained networks, as small pictures for the explorer's page."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib import colormaps
from PIL import Image

from data import fashionmnist
from data.dataset import ImageDataset
from data.loaders import eval_loader
from docs.networks import FILES
from docs.style import EXAMPLES
from engine.explain import activations, evidence, strongest
from engine.inference import Classifier, load_classifier
from engine.provenance import sha256
from models.googlenet import GoogLeNet

ROOT = Path(__file__).parent.parent
CHECKPOINTS = ("fashionmnist_googlenet.pth", "catsdogs_googlenet.pth", "clothing_googlenet.pth")
CHANNELS = 8  # number shown for each layer
PALETTE = (255 * colormaps["magma"](np.arange(256))[:, :3]).astype(np.uint8).tobytes()


def seen() -> dict[str, Any]:
    """For each checkpoint its photos, with maps, evidence and answer."""
    clothing, pets, photos = (ROOT / "checkpoints" / name for name in CHECKPOINTS)
    classifier = load_classifier(clothing, "cpu")
    _, images = fashionmnist.load_train_val(fashionmnist.SAMPLE, sample=True)
    firsts = [int(np.argmax(images.labels == label)) for label in range(len(images.classes))]
    shown = [(images.classes[images.labels[i]], np.array(images.images[i])) for i in firsts]
    # Not on the sample's validation images: networks of the full set were trained on most of them.
    tested = fashionmnist.load_test(fashionmnist.SAMPLE, sample=True)
    judgement = {"judged": judged(classifier, tested)}
    return {
        "clothing": network(clothing, classifier, shown) | judgement,
        "pets": of_examples(pets, ("cat",)),
        "photos": of_examples(photos, ("dress", "shoes")),
    }


def of_examples(path: Path, names: tuple[str, ...]) -> dict[str, Any]:
    """What a network sees on photos of docs/examples/."""
    classifier = load_classifier(path, "cpu")
    shown = [(name, classifier.prepare(EXAMPLES / f"{name}.jpg")) for name in names]
    return network(path, classifier, shown)


def network(
    path: Path, classifier: Classifier, photos: list[tuple[str, np.ndarray]]
) -> dict[str, Any]:
    return {
        "checkpoint": path.name,
        "sha256": sha256(path),
        "classes": classifier.classes,
        "channels": classifier.metadata["channels"],
        "size": classifier.metadata["image_size"],
        "photos": [{"name": name, **look(classifier, image)} for name, image in photos],
    }


def look(classifier: Classifier, image: np.ndarray) -> dict[str, Any]:
    """A photo, the maps of each row that has maps, the HiResCAM map, and the prediction."""
    rows = FILES[GoogLeNet].table_rows(classifier.model)
    names = [
        modules[0] for _, modules in rows if modules[0] in dict(classifier.model.named_modules())
    ]
    names = [name for name in names if not name.startswith("aux")]
    with torch.inference_mode():
        logits, outputs = activations(classifier, image[None], tuple(names))
    layers = {}
    for name, output in outputs.items():
        if output.dim() != 4 or output.shape[-1] == 1:
            continue
        maps = output[0].float()
        channels = strongest(maps, CHANNELS)
        chosen = maps[channels].clamp(min=0)
        scaled = (255 * chosen / chosen.max().clamp(min=1e-6)).round().byte().numpy()
        strip = np.concatenate(list(scaled), axis=1)  # side by side
        layers[name] = {"channels": channels, "of": len(maps), "maps": png(strip, PALETTE)}
    heat, _, _ = evidence(classifier, image)
    probabilities = logits[0].softmax(0).tolist()
    return {
        "photo": png(image[0] if len(image) == 1 else image.transpose(1, 2, 0)),
        "evidence": png((255 * heat).round().astype(np.uint8), PALETTE),
        "probabilities": [round(p, 4) for p in probabilities],
        "layers": layers,
    }


def judged(classifier: Classifier, images: ImageDataset) -> dict[str, Any]:
    """All images in one picture, 25 per row; their classes, predictions and confidences."""
    logits, labels = classifier.logits(eval_loader(images, 100))
    sure, answers = logits.softmax(1).max(1)
    rows = -(-len(images.images) // 25)
    sheet = np.zeros((rows * 25, *images.images.shape[2:]), np.uint8)
    sheet[: len(images.images)] = images.images[:, 0]
    size = images.images.shape[-1]
    sheet = (
        sheet.reshape(rows, 25, size, size).transpose(0, 2, 1, 3).reshape(rows * size, 25 * size)
    )
    return {
        "sheet": png(sheet),
        "labels": labels.tolist(),
        "answers": answers.tolist(),
        "sure": [round(p, 3) for p in sure.tolist()],
    }


def png(pixels: np.ndarray, palette: bytes | None = None) -> str:
    """A picture as a data URL."""
    image = Image.fromarray(pixels)
    if palette:
        image.putpalette(palette)
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
