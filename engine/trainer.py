"""The training loop. ``Trainer.train_epoch`` is one epoch, on one screen."""

import time
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grad_norm_
from torch.utils.data import DataLoader
from tqdm import tqdm

from engine.checks import check_batch_size, check_finite, check_progress, check_state
from engine.device import kind
from engine.distributed import all_reduce_sum, broadcast_buffers, is_main, rank, world_size
from engine.ema import ModelEMA
from engine.errors import Interrupted, UserError, as_user_error
from engine.evaluate import predict_logits
from engine.run_folder import RunFolder
from engine.seeding import derive_seed, seed_device, seed_generator
from engine.signals import StopSignal
from engine.totals import Totals

LOOK_EVERY = 10  # batches between reads of the loss, each of which synchronises with the device
SAVE_EVERY = 600  # minimum number of seconds between two saves of last.pth within an epoch
WORTH_SAVING = 10  # seconds of training: if an epoch took more, save before validation


@dataclass(frozen=True)
class TrainSettings:
    """How to train. The model and the optimizer are arguments of ``Trainer``.

    Attributes:
        epochs: passes over the training set, in total.
        accumulate_steps: batches whose gradients are averaged for one optimizer step.
        clip_grad_norm: largest norm of all gradients together, to which they are scaled; 0: none.
        ema_decay: of the moving average of the weights. If it is not 0, the averaged weights are
            validated and saved as best; 0: no average.
        amp: the dtype of autocast in augmentation and forward pass, bfloat16 or float16;
            None: float32 throughout.
        compile: compile the network and the transform (``torch.compile``).
        seed: of dropout and augmentation (``engine.seeding``).
    """

    epochs: int
    accumulate_steps: int
    clip_grad_norm: float
    ema_decay: float
    amp: torch.dtype | None
    compile: bool
    seed: int


class Trainer:
    """Trains a model, and holds the whole state of the run.

    Args:
        model: the network, on its device.
        criterion: ``(outputs, labels) -> (loss, logits)``; only it looks inside the outputs.
        transform: maps uint8 images to the model's input; in training mode, with random ``draw``s.
        optimizer, scheduler: the scheduler steps after each optimizer step.
    """

    def __init__(
        self,
        model: nn.Module,
        criterion: nn.Module,
        transform: nn.Module,
        optimizer: torch.optim.Optimizer,
        scheduler: torch.optim.lr_scheduler.LRScheduler,
        settings: TrainSettings,
    ) -> None:
        self.model, self.criterion = model, criterion
        self.optimizer, self.scheduler, self.settings = optimizer, scheduler, settings
        self.device = next(model.parameters()).device
        self.transform = transform.to(self.device)
        # The training loop calls these: the model and the transform, or wrappers of them.
        self.network, self.augment = model, self.transform
        if world_size() > 1:
            ids = None if self.device.type == "cpu" else [self.device]
            self.network = DistributedDataParallel(model, device_ids=ids)
        if settings.compile:
            self.network, self.augment = torch.compile(self.network), torch.compile(self.transform)
        self.ema = ModelEMA(model, settings.ema_decay) if settings.ema_decay else None
        # In float16, small gradients would become 0, so the scaler multiplies the loss and divides
        # the gradients by the same factor. For other dtypes it does nothing.
        is_float16 = settings.amp == torch.float16
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=is_float16)
        self.generator = torch.Generator(self.device)
        # Read the loss only after an optimizer step, where the run can be saved: round up.
        self.look_every = -(-LOOK_EVERY // settings.accumulate_steps) * settings.accumulate_steps

        self.epoch = 0  # epochs completed
        self.step = 0  # batches completed in the current epoch
        self.totals = Totals(self.device)
        self.seconds = 0.0  # of training in the current epoch
        self.history: list[dict[str, float]] = []  # the rows of log.csv
        self.best: dict[str, float] = {}  # the row of the best epoch

    def fit(self, train_loader: DataLoader, val_loader: DataLoader, run: RunFolder) -> None:
        """Train to the last epoch, from the current state.

        Raises:
            UserError: loss or weights are not finite, float16 cannot hold the gradients, or the
                batches are too small for batch-norm. best.pth and last.pth are not changed.
            Interrupted: a signal stopped the run (``engine.signals``), after last.pth was written.
        """
        batches = train_loader.sampler
        epochs, steps = self.settings.epochs, batches.steps
        check_batch_size(self.model, batches.batch_size // world_size())
        done, accumulated = self.epoch * steps + self.step, self.settings.accumulate_steps
        check_progress(self.scheduler, done // accumulated)
        counted = self.totals.everywhere[2] and self.seconds  # images and time of the epoch so far
        if self.step > steps or (self.step and not counted):
            raise UserError(f"--resume: there is no batch {self.step} in an epoch of {steps}")
        run.begin(self, batches.batch_size, steps // accumulated)
        with run, StopSignal(None if run.dry_run else run.folder / "last.pth") as stop:
            while self.epoch < epochs:
                train_loss, train_accuracy, images = self.train_epoch(train_loader, run, stop)
                if self.seconds > WORTH_SAVING:
                    run.save_last(self)
                try:
                    stop.check()
                    val_loss, val_accuracy, *answers = self.validate(stop.watch(val_loader))
                except Interrupted:
                    run.save_last(self)
                    raise
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
                self.totals.start_from([0.0, 0.0, 0.0])
                self.history.append(row)
                kept = self.best.get("val_accuracy", -1.0), -self.best.get("val_loss", 0.0)
                if (val_accuracy, -val_loss) > kept:  # the loss decides between equal accuracies
                    self.best = row
                    run.save_best(self, *answers)
                run.save_last(self)
                run.log(self)
                if self.epoch < epochs:
                    stop.check()

    def train_epoch(
        self, loader: DataLoader, run: RunFolder, stop: StopSignal
    ) -> tuple[float, float, int]:
        """Train for one epoch; if ``self.step`` batches are done already, for the rest of it.

        Returns the epoch's mean loss, accuracy and number of images.
        """
        accumulate_steps, amp = self.settings.accumulate_steps, self.settings.amp
        batches = loader.sampler
        batches.epoch, batches.start, steps = self.epoch, self.step, batches.steps
        set_train_mode(self.network)
        self.transform.train()
        started, saved = time.perf_counter() - self.seconds, self.seconds
        with self.progress_bar(steps) as bar:
            for images, labels in loader:
                self.seed_draws(self.epoch * steps + self.step)
                images = images.to(self.device, non_blocking=kind(self.device).pins)
                labels = labels.to(self.device, non_blocking=kind(self.device).pins)
                is_update = (self.step + 1) % accumulate_steps == 0

                with self.gradients_exchanged(is_update):
                    with torch.autocast(self.device.type, amp, enabled=amp is not None):
                        x = self.augment(images, self.transform.draw(len(images), self.generator))
                        outputs = self.network(x)
                        loss, logits = self.criterion(outputs, labels)
                    self.scaler.scale(loss / accumulate_steps).backward()
                if is_update:
                    if self.settings.clip_grad_norm:
                        self.scaler.unscale_(self.optimizer)  # clip the true gradients
                        clip_grad_norm_(self.model.parameters(), self.settings.clip_grad_norm)
                    self.scaler.step(self.optimizer)
                    self.scaler.update()
                    self.optimizer.zero_grad()
                    self.scheduler.step()
                    if self.ema:
                        self.ema.update()

                self.totals.add(loss, logits, labels)
                self.step += 1
                bar.update()
                is_look = self.step % self.look_every == 0 or self.step == steps
                if is_look:
                    mean_loss, accuracy, _ = self.read_totals()
                    shown = {"loss": f"{mean_loss:.3f}", "accuracy": f"{accuracy:.1%}"}
                    bar.set_postfix(shown, refresh=False)
                self.seconds = time.perf_counter() - started
                if is_look and self.seconds - saved > SAVE_EVERY:
                    run.save_last(self)
                    saved = self.seconds
                # To agree on a stop, processes must communicate: do so only where they wait anyway.
                can_stop = is_look or (is_update and world_size() == 1)
                if can_stop and stop.asked():
                    self.read_totals()  # raises an error if the loss is not finite
                    run.save_last(self)
                    stop.check()
        return self.read_totals()

    def progress_bar(self, steps: int) -> tqdm:
        """A tqdm bar over the batches of the current epoch, in the main process only."""
        title = f"epoch {self.epoch + 1}/{self.settings.epochs}"
        options = {"unit": "batch", "leave": False, "disable": not is_main()}
        return tqdm(total=steps, initial=self.step, desc=title, **options)

    def gradients_exchanged(self, is_update: bool) -> AbstractContextManager:
        """Exchange gradients between processes once per optimizer step, not once per batch."""
        alone = world_size() == 1
        return nullcontext() if alone or is_update else self.network.no_sync()

    def seed_draws(self, step: int) -> None:
        """Make this step's dropout and augmentation depend only on seed, step and rank."""
        seed, place = self.settings.seed, (step, rank())
        seed_device(self.device, derive_seed(seed, "dropout", *place))
        seed_generator(self.generator, derive_seed(seed, "augmentation", *place))

    def read_totals(self) -> tuple[float, float, int]:
        """Mean loss, accuracy and number of images so far in this epoch, over all processes.

        Raises:
            UserError: the loss is not finite, or float16 cannot hold the gradients.
        """
        if self.scaler.get_scale() < 1:  # halved many times: the scaler skipped as many steps
            raise UserError("float16 cannot hold the gradients: start again with --no-amp")
        return self.totals.read()

    def validate(self, loader: Iterable) -> tuple[float, float, torch.Tensor, torch.Tensor]:
        """Mean loss and accuracy over all processes; logits and labels of this process."""
        broadcast_buffers(self.eval_model)  # batch-norm's differ: use those of the main process
        logits, labels = predict_logits(self.eval_model, loader, self.transform, self.settings.amp)
        loss = F.cross_entropy(logits, labels, reduction="sum").item()
        correct = (logits.argmax(1) == labels).sum().item()
        sums = torch.tensor([loss, correct, len(labels)], dtype=kind(self.device).sums)
        loss, correct, images = all_reduce_sum(sums.to(self.device)).tolist()
        check_finite(loss)
        return loss / images, correct / images, logits, labels

    @property
    def eval_model(self) -> nn.Module:
        """The model that is validated and saved as best: with EMA weights if there are any."""
        return self.ema.module if self.ema else self.model

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to resume bit for bit."""
        return {
            "state_dict": self.model.state_dict(),
            "ema": self.ema.module.state_dict() if self.ema else None,
            "ema_updates": self.ema.updates if self.ema else 0,
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.scaler.state_dict(),  # empty except in float16
            "step": self.step,  # with "epoch", determines all random draws and the next batch
            "totals": self.totals.everywhere,
            "seconds": self.seconds,
            "history": self.history,
            "best": self.best,
        }

    def load_state_dict(self, state: dict[str, Any], path: Path) -> None:
        """Resume the run saved at ``path``.

        Raises:
            UserError: the state belongs to another network or optimizer.
        """
        kinds = (KeyError, RuntimeError, TypeError, ValueError)
        with as_user_error(*kinds, prefix=f"--resume {path}: the state does not fit: "):
            check_state(state, self.optimizer, self.scheduler)
            self.model.load_state_dict(state["state_dict"])
            if self.ema:
                self.ema.module.load_state_dict(state["ema"])
                self.ema.updates = state["ema_updates"]
            self.optimizer.load_state_dict(state["optimizer"])
            self.scheduler.load_state_dict(state["scheduler"])
            if state.get("scaler"):
                self.scaler.load_state_dict(state["scaler"])
            self.epoch, self.step = state["epoch"], state["step"]
            self.totals.start_from(state["totals"])
            self.seconds, self.history = state["seconds"], state["history"]
            self.best = state["best"]


def set_train_mode(network: nn.Module) -> None:
    """Set training mode, except in frozen modules, so that their batch-norm statistics stay too."""
    network.train()
    for module in network.modules():
        parameters = list(module.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            module.eval()
