"""What people would use instead: torchvision's networks, trained as tutorials do.

    python tests/benchmarks/peers.py --model vgg16 --image-size 224 -b 32 --limit 128
    python tests/benchmarks/peers.py --model vgg16 --image-size 224 -b 32 --limit 128 --timm-style

The plain recipe: datasets.FashionMNIST, Resize and ToTensor with Pillow, two worker processes,
float32, Adam. --timm-style: the same with channels-last and bfloat16 autocast. Trains on so many
images once and prints the images a second, from the first batch asked for to the last step.
"""

import argparse
import json
import time
from contextlib import nullcontext

import torch
import torchvision
from torch import nn
from torchvision import datasets, transforms


def build(name: str, channels: int, classes: int) -> nn.Module:
    """torchvision's network, its first convolution for so many channels; no auxiliary loss."""
    if name == "vgg16":
        model = torchvision.models.vgg16(num_classes=classes)
        model.features[0] = nn.Conv2d(channels, 64, 3, padding=1)
    else:
        model = torchvision.models.googlenet(
            num_classes=classes, aux_logits=False, init_weights=False
        )
        model.conv1.conv = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
    return model


def loader(root: str, image_size: int, batch_size: int, limit: int) -> torch.utils.data.DataLoader:
    """FashionMNIST's training images as tutorials read them."""
    transform = transforms.Compose(
        [
            transforms.Resize((image_size, image_size)),
            transforms.ToTensor(),
            transforms.Normalize((0.286,), (0.353,)),
        ]
    )
    images = datasets.FashionMNIST(root, train=True, transform=transform)
    images = torch.utils.data.Subset(images, range(limit))
    return torch.utils.data.DataLoader(images, batch_size, shuffle=True, num_workers=2)


def main() -> None:
    parser = argparse.ArgumentParser()
    add = parser.add_argument
    add("--model", choices=["vgg16", "googlenet"], required=True)
    add("--image-size", type=int, required=True)
    add("-b", "--batch-size", type=int, required=True)
    add("--limit", type=int, required=True)
    add("--data-dir", required=True)
    add("--timm-style", action="store_true")
    args = parser.parse_args()

    model = build(args.model, channels=1, classes=10).train()
    if args.timm_style:
        model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    criterion = nn.CrossEntropyLoss()
    batches = loader(args.data_dir, args.image_size, args.batch_size, args.limit)

    started, seen = time.perf_counter(), 0
    for images, labels in batches:
        if args.timm_style:
            images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16) if args.timm_style else nullcontext():
            loss = criterion(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seen += len(labels)
    print(json.dumps({"images_per_second": seen / (time.perf_counter() - started)}))


if __name__ == "__main__":
    main()
