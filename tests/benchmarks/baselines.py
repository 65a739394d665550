"""Baselines: torchvision's networks, trained as in tutorials.

    python -m tests.benchmarks.baselines --model vgg16 --image-size 32 -b 128 --limit 2560 \\
        --data-dir D

The plain recipe: datasets.FashionMNIST, Resize and ToTensor with Pillow, worker processes, float32,
Adam. --timm-style: the same with channels-last and bfloat16 autocast. --compile: that compiled.
Trains for two epochs and prints the speed of the second, from the request of its first batch to the
end of its last step.
"""

import argparse
import json
import time
from contextlib import nullcontext

import torch
import torchvision
from torch import nn
from torchvision import datasets, transforms

from engine.device import synchronize


def build(name: str, image_size: int, small_head: bool = False) -> nn.Module:
    """Build torchvision's network for grey images of ten classes, without auxiliary loss.

    Args:
        small_head: size VGG16's first fully connected layer by the map, as here. torchvision's is
            sized for 7 x 7 whatever comes, which at 32 px are copies of one cell.
    """
    if name == "vgg16":
        model = torchvision.models.vgg16(num_classes=10)
        model.features[0] = nn.Conv2d(1, 64, 3, padding=1)
        if small_head:
            model.avgpool = nn.Identity()
            model.classifier[0] = nn.Linear(512 * (image_size // 32) ** 2, 4096)
        return model
    model = torchvision.models.googlenet(num_classes=10, aux_logits=False, init_weights=False)
    model.conv1.conv = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    return model


def loader(
    root: str, image_size: int, batch_size: int, limit: int, workers: int = 2, pin: bool = False
) -> torch.utils.data.DataLoader:
    """Read FashionMNIST's training images as in tutorials."""
    transform = transforms.Compose(
        [
            transforms.Resize((image_size, image_size)),
            transforms.ToTensor(),
            transforms.Normalize((0.286,), (0.353,)),
        ]
    )
    images = datasets.FashionMNIST(root, train=True, transform=transform)
    images = torch.utils.data.Subset(images, range(limit))
    options = {"num_workers": workers, "persistent_workers": True, "pin_memory": pin}
    return torch.utils.data.DataLoader(images, batch_size, shuffle=True, drop_last=True, **options)


def main() -> None:
    parser = argparse.ArgumentParser()
    add = parser.add_argument
    add("--model", choices=["vgg16", "googlenet"], required=True)
    add("--image-size", type=int, required=True)
    add("-b", "--batch-size", type=int, required=True)
    add("--limit", type=int, required=True)
    add("--data-dir", required=True)
    add("--timm-style", action="store_true")
    add("--compile", action="store_true")
    add("--device", type=torch.device, default="cpu")
    add("--workers", type=int, default=2)
    args = parser.parse_args()
    device = args.device

    # At 32 px torchvision's head sees copies of one cell: the smaller head is the fairer baseline.
    model = build(args.model, args.image_size, small_head=args.timm_style).train()
    model = model.to(device)
    if args.timm_style:
        model = model.to(memory_format=torch.channels_last)
        torch.backends.cudnn.benchmark = True
    if args.compile:
        model.compile()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    criterion = nn.CrossEntropyLoss()
    pin = device.type == "cuda"
    batches = loader(args.data_dir, args.image_size, args.batch_size, args.limit, args.workers, pin)

    for _ in range(2):  # the first one warms up
        started, seen = time.perf_counter(), 0
        for images, labels in batches:
            images, labels = (part.to(device, non_blocking=True) for part in (images, labels))
            if args.timm_style:
                images = images.contiguous(memory_format=torch.channels_last)
            with torch.autocast(device.type, torch.bfloat16) if args.timm_style else nullcontext():
                loss = criterion(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen += len(labels)
        synchronize(device)
        seconds = time.perf_counter() - started
    print(json.dumps({"images_per_second": seen / seconds}))


if __name__ == "__main__":
    main()
