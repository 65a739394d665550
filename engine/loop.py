"""The training loop. What happens in an epoch is ``Trainer.train_epoch``, on one screen."""

import argparse
import copy
import math
import signal
import tempfile
import time
from collections.abc import Iterable
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils.data import DataLoader
from tqdm import tqdm

from engine import checkpoint, options, report
from engine.distributed import any_rank, is_main, rank, share_buffers, sum_over_ranks, world_size
from engine.options import Interrupted, UsageError

SHOW_EVERY = 10  # steps between looks at the loss, each of which waits for the device
SAVE_EVERY = 600  # seconds, at least, between two writings of last.pth within an epoch


class Trainer:
    """A model, what trains it, and how far it has come.

    Args:
        model: the network, on its device.
        criterion: ``(outputs, labels) -> (loss, logits)``; the loop looks at outputs no further.
        preprocess: uint8 images (and a generator) to the model's input; augments in training mode.
        optimizer, scheduler: the scheduler steps once for each step of the optimizer.
        header: what every checkpoint of this run says beside weights and progress.
        folder: where best.pth, last.pth, log.csv and curves.png go.
        ema_decay: of the exponential moving average of the weights, which is then what is
            validated and kept as best; 0 for none.
        amp: the type that augmentation and forward pass compute in where that is safe (autocast),
            bfloat16 or float16; None: float32 throughout.
        accumulate_steps: batches whose gradients are summed for one step of the optimizer.
        seed: all random draws of a step are a function of seed, step and rank, so that a resumed
            run draws as the uninterrupted one would have, with no generator state to keep.
    """

    def __init__(
        self,
        model: nn.Module,
        criterion: nn.Module,
        preprocess: nn.Module,
        optimizer: torch.optim.Optimizer,
        scheduler: torch.optim.lr_scheduler.LRScheduler,
        header: dict[str, Any],
        folder: Path,
        ema_decay: float = 0.0,
        amp: torch.dtype | None = None,
        accumulate_steps: int = 1,
        seed: int = 0,
    ) -> None:
        self.model, self.criterion, self.preprocess = model, criterion, preprocess
        self.optimizer, self.scheduler = optimizer, scheduler
        self.header, self.folder = header, folder
        self.amp, self.accumulate_steps, self.seed = amp, accumulate_steps, seed
        self.device = next(model.parameters()).device
        self.network = DistributedDataParallel(model) if world_size() > 1 else model
        self.ema = MovingAverage(model, ema_decay) if ema_decay else None
        # In float16 small gradients would become 0: the scaler multiplies the loss, and divides the
        # gradients by as much. Otherwise it does nothing.
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=amp == torch.float16)
        self.generator = torch.Generator(self.device)

        self.epoch = 0  # epochs done
        self.step = 0  # batches done of the epoch under way
        # Of the epoch under way, in this process and in all: summed loss, correct answers, images.
        self.totals = torch.zeros(3, dtype=torch.float64, device=self.device)
        self.all_totals = self.totals.tolist()
        self.seconds = 0.0  # spent training in the epoch under way
        self.history: list[dict[str, float]] = []  # the rows of log.csv
        self.best: dict[str, float] = {}  # the row of the best epoch

    def fit(self, train_loader: DataLoader, val_loader: DataLoader, epochs: int) -> None:
        """Train until that many epochs are done, from wherever the state stands.

        Raises:
            UsageError: the loss is not a finite number, or float16 cannot hold the gradients.
                best.pth and last.pth stay as they were.
            Interrupted: by Ctrl-C or SIGTERM. last.pth has been written.
        """
        with StopSignal() as stop:
            while self.epoch < epochs:
                train_loss, train_accuracy, images = self.train_epoch(train_loader, epochs, stop)
                val_loss, val_accuracy = self.validate(val_loader)
                row = {
                    "epoch": self.epoch + 1,
                    "train_loss": train_loss,
                    "train_accuracy": train_accuracy,
                    "val_loss": val_loss,
                    "val_accuracy": val_accuracy,
                    "lr": self.scheduler.get_last_lr()[0],
                    "seconds": self.seconds,
                    "images_per_second": images / self.seconds,
                }
                self.epoch, self.step, self.seconds = self.epoch + 1, 0, 0.0
                self.totals.zero_()
                self.all_totals = self.totals.tolist()
                self.history.append(row)
                if not self.best or val_accuracy > self.best["val_accuracy"]:
                    self.best = row
                    self.save("best.pth")
                self.save("last.pth")
                if is_main():
                    report.write_log(self.history, self.folder)
                    report.print_epoch(row, epochs, is_best=self.best is row)
                if stop.asked() and self.epoch < epochs:
                    raise Interrupted(self.folder / "last.pth")

    def train_epoch(
        self, loader: DataLoader, epochs: int, stop: "StopSignal"
    ) -> tuple[float, float, int]:
        """One pass over the training set, or what is left of it after ``self.step`` batches.

        Returns mean loss, accuracy and number of the images seen.
        """
        train_mode(self.network)
        self.preprocess.train()
        batches = loader.batch_sampler
        batches.epoch, batches.start, steps = self.epoch, self.step, batches.steps
        bar = tqdm(
            total=steps,
            initial=self.step,
            desc=f"epoch {self.epoch + 1}/{epochs}",
            unit="batch",
            disable=not is_main(),
            leave=False,
        )
        started, saved = time.perf_counter() - self.seconds, time.perf_counter()
        for images, labels in loader:
            self.seed_draws(self.epoch * steps + self.step)
            images = images.to(self.device, non_blocking=True)
            labels = labels.to(self.device, non_blocking=True)
            is_update = (self.step + 1) % self.accumulate_steps == 0

            with self.gradients_exchanged(is_update):
                with torch.autocast(self.device.type, self.amp, enabled=self.amp is not None):
                    outputs = self.network(self.preprocess(images, self.generator))
                    loss, logits = self.criterion(outputs, labels)
                self.scaler.scale(loss / self.accumulate_steps).backward()
            if is_update:
                self.scaler.step(self.optimizer)
                self.scaler.update()
                self.optimizer.zero_grad()
                self.scheduler.step()
                if self.ema:
                    self.ema.update()

            self.totals[0] += loss.detach() * len(labels)
            self.totals[1] += (logits.argmax(1) == labels).sum()
            self.totals[2] += len(labels)
            self.step += 1
            self.seconds = time.perf_counter() - started
            bar.update()
            if self.step % SHOW_EVERY == 0:
                loss_so_far, accuracy, _ = self.read_totals()
                bar.set_postfix(
                    loss=f"{loss_so_far:.3f}", accuracy=f"{accuracy:.1%}", refresh=False
                )
                if is_update and time.perf_counter() - saved > SAVE_EVERY:
                    self.save("last.pth")
                    saved = time.perf_counter()
            if is_update and self.step < steps and stop.asked():
                bar.close()
                self.read_totals()  # which refuses a loss that is not finite
                self.save("last.pth")
                raise Interrupted(self.folder / "last.pth")
        bar.close()
        return self.read_totals()

    def gradients_exchanged(self, is_update: bool):
        """Under torchrun, gradients travel once for each step of the optimizer, not each batch."""
        alone = self.network is self.model
        return nullcontext() if alone or is_update else self.network.no_sync()

    def seed_draws(self, step: int) -> None:
        """Make dropout and augmentation of this step a function of seed, step and rank alone."""
        number = (self.seed * 2**31 + step) * world_size() + rank()
        torch.manual_seed(2 * number % 2**63)  # dropout
        self.generator.manual_seed((2 * number + 1) % 2**63)  # augmentation: another stream

    def read_totals(self) -> tuple[float, float, int]:
        """Mean loss, accuracy and number of images so far in this epoch, over all processes.

        Raises:
            UsageError: the loss is infinite or not a number, or float16 cannot hold the gradients.
        """
        self.all_totals = sum_over_ranks(self.totals).tolist()
        loss, correct, images = self.all_totals
        self.check_finite(loss)
        if self.scaler.get_scale() < 1:  # halved again and again: no step has been taken for long
            raise UsageError("float16 is too narrow for the gradients: start again with --no-amp")
        return loss / images, correct / images, int(images)

    def check_finite(self, loss: float) -> None:
        """Raise a UsageError with advice if the loss is infinite or not a number."""
        if not math.isfinite(loss):
            raise UsageError(
                f"the loss became {loss} in epoch {self.epoch + 1}, batch {self.step}: start again "
                "with a lower --lr, more --warmup-epochs, --batch-norm or --no-amp (what was saved "
                f"in {self.folder} before is untouched)"
            )

    def validate(self, loader: DataLoader) -> tuple[float, float]:
        """Mean cross-entropy and accuracy of ``judged_model`` over all processes."""
        model = self.judged_model()
        share_buffers(model)  # batch statistics differ between processes: the main one's count
        logits, labels = predict(model, loader, self.preprocess, self.amp)
        loss = F.cross_entropy(logits, labels, reduction="sum").item()
        correct = (logits.argmax(1) == labels).sum().item()
        sums = torch.tensor([loss, correct, len(labels)], dtype=torch.float64, device=self.device)
        loss, correct, images = sum_over_ranks(sums).tolist()
        self.check_finite(loss)
        return loss / images, correct / images

    def judged_model(self) -> nn.Module:
        """The weights that validation judges and best.pth keeps: the averaged ones if there are."""
        return self.ema.model if self.ema else self.model

    def save(self, name: str) -> None:
        """Write best.pth (for testing) or last.pth (for going on), in the main process alone."""
        if is_main():
            metrics = self.history[-1] if self.history else {}
            state = self.header | {"epoch": self.epoch, "metrics": metrics}
            if name == "last.pth":
                state |= self.state_dict()
            else:
                state["state_dict"] = self.judged_model().state_dict()
            checkpoint.save(state, self.folder / name)

    def state_dict(self) -> dict[str, Any]:
        """All that makes the rest of the run what it would have been without a break."""
        return {
            "state_dict": self.model.state_dict(),
            "ema": self.ema.model.state_dict() if self.ema else None,
            "ema_updates": self.ema.updates if self.ema else 0,
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.scaler.state_dict(),  # empty unless in float16
            "step": self.step,  # with "epoch", the place in all random draws and in the data
            "totals": self.all_totals,
            "seconds": self.seconds,
            "history": self.history,
            "best": self.best,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a run where ``state_dict`` left it."""
        self.model.load_state_dict(state["state_dict"])
        if self.ema:
            self.ema.model.load_state_dict(state["ema"])
            self.ema.updates = state["ema_updates"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        if state.get("scaler"):
            self.scaler.load_state_dict(state["scaler"])
        self.epoch, self.step = state["epoch"], state["step"]
        self.all_totals, self.seconds = state["totals"], state["seconds"]
        self.history, self.best = state["history"], state["best"]
        if is_main():  # the totals of all processes go on in one
            self.totals.copy_(torch.tensor(self.all_totals, dtype=torch.float64))


@torch.inference_mode()
def predict(
    model: nn.Module, loader: Iterable, preprocess: nn.Module, amp: torch.dtype | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits (float32, N x classes) and labels (N) of every batch, on the CPU.

    Where ``preprocess.flip`` says that mirrored images are as good, the class probabilities of each
    image and its mirror image are averaged (VGG, Section 3.2), and the logits are of the average.
    """
    preprocess.eval()
    device = next(model.parameters()).device
    network = fold_batch_norm(model)
    logits, labels = [], []
    for images, batch_labels in loader:
        x = preprocess(images.to(device, non_blocking=True))
        views = [x, x.flip(3)] if preprocess.flip else [x]
        with torch.autocast(device.type, amp, enabled=amp is not None):
            outputs = torch.stack([network(view) for view in views]).float()
        logits.append(outputs.log_softmax(2).logsumexp(0).cpu())
        labels.append(batch_labels)
    return torch.cat(logits), torch.cat(labels)


def fold_batch_norm(network: nn.Module) -> nn.Module:
    """The network for inference, each batch normalisation made part of the convolution before it.

    With its statistics fixed it multiplies each channel and adds to it, as the convolution does
    already: the same function in less time. A copy; without batch-norm, the network itself.
    """
    if any(isinstance(module, nn.BatchNorm2d) for module in network.modules()):
        network = copy.deepcopy(network)
    network.eval()
    for module in network.modules():
        for (name, conv), (norm_name, norm) in pairwise(list(module.named_children())):
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, name, fuse_conv_bn_eval(conv, norm))
                setattr(module, norm_name, nn.Identity())
    return network


def train_mode(network: nn.Module) -> None:
    """Training mode, save for what is frozen: its batch-norm statistics stay as they are, too."""
    network.train()
    for module in network.modules():
        parameters = list(module.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            module.eval()


class MovingAverage:
    """Exponential moving average of a model's weights and batch-norm statistics.

    GoogLeNet's own final model is a Polyak average (Section 6); an exponential one forgets the
    early weights. ``decay`` is reached slowly, as (1 + t) / (10 + t), so that short runs gain too.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False)
        self.decay, self.updates = decay, 0
        # Collected once, since that takes longer than averaging: steps change tensors in place.
        averages, currents = self.model.state_dict().values(), model.state_dict().values()
        self.pairs = list(zip(averages, currents, strict=True))

    @torch.no_grad()
    def update(self) -> None:
        """Move the averages towards the model as it now is."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        floats = [pair for pair in self.pairs if pair[0].is_floating_point()]
        torch._foreach_lerp_([a for a, _ in floats], [c for _, c in floats], 1 - decay)
        for average, current in self.pairs:  # batch normalisation's count of batches
            if not average.is_floating_point():
                average.copy_(current)


class StopSignal:
    """Turns the first Ctrl-C or SIGTERM into a question that the loop asks between steps.

    A second Ctrl-C stops at once, as usual.
    """

    def __enter__(self) -> "StopSignal":
        self.received = False
        self.before = {s: signal.signal(s, self.note) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def note(self, number: int, _frame: object) -> None:
        if self.received and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.received = True

    def asked(self) -> bool:
        """Whether any of the processes was asked to stop; the same answer in all of them."""
        return any_rank(self.received)


def train_model(
    args: argparse.Namespace,
    model: nn.Module,
    criterion: nn.Module,
    preprocess: nn.Module,
    train_loader: DataLoader,
    val_loader: DataLoader,
    header: dict[str, Any],
    folder: Path,
    resumed: dict[str, Any] | None = None,
) -> None:
    """Train as the options say, a new run or the rest of a resumed one, and say where it led.

    Args:
        args: the options of ``engine.options.training_parser``.
        header: what the checkpoints say beside weights and progress; the options are added to it.
        folder: where the run's files go; with --dry-run nothing stays there.
        resumed: the content of the last.pth to go on from.

    Raises:
        UsageError, Interrupted: as ``Trainer.fit``.
    """
    if not args.checkpoint_activations:  # else memory counts for more than speed
        options.keep_freed_memory()
    device = next(model.parameters()).device
    batches = train_loader.batch_sampler
    if args.batch_norm and batches.batch_size // world_size() < 2:
        raise UsageError(
            "batch normalisation needs at least 2 images a batch in each process: "
            "raise --batch-size (or --limit), or use --no-batch-norm"
        )
    steps = batches.steps // args.accumulate_steps
    optimizer = options.build_optimizer(args, model)
    recipe = {k: str(v) if isinstance(v, Path) else v for k, v in vars(args).items()}
    with tempfile.TemporaryDirectory() as nowhere:
        trainer = Trainer(
            model,
            criterion,
            preprocess.to(device),
            optimizer,
            options.build_scheduler(args, optimizer, steps),
            header | {"recipe": recipe},
            Path(nowhere) if args.dry_run else folder,
            ema_decay=args.ema_decay,
            amp=options.amp_dtype(device) if args.amp else None,
            accumulate_steps=args.accumulate_steps,
            seed=args.seed,
        )
        if resumed:
            try:
                trainer.load_state_dict(resumed)
            except (KeyError, RuntimeError, TypeError, ValueError) as error:
                raise UsageError(
                    f"--resume {args.resume}: the state does not fit: {error}"
                ) from None
        else:
            options.prepare_folder(trainer.folder)
        if is_main():
            count = sum(p.numel() for p in model.parameters())
            precision = str(trainer.amp or torch.float32).removeprefix("torch.")
            print(
                f"{args.model}: {count:,} parameters, {args.image_size} px, {precision} on {device}"
                f", {steps} steps an epoch"
            )
        trainer.fit(train_loader, val_loader, args.epochs)
    if is_main() and not args.dry_run:
        best, minutes = trainer.best, sum(row["seconds"] for row in trainer.history) / 60
        print(
            f"\nBest: {best['val_accuracy']:.2%} validation accuracy in epoch {best['epoch']}, "
            f"after {minutes:.1f} minutes of training in all.\n"
            f"{folder}/: best.pth (weights), last.pth (to go on), log.csv, curves.png"
        )
