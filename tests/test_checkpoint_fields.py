"""Impossible values in a checkpoint: each is refused in one line, before a network is built."""

import math
import zipfile

import pytest
import torch

import predict
import test as test_script
import train_catsdogs
import train_fashionmnist
from engine import checkpoint, inference
from engine.checks import check_state
from engine.errors import UserError
from engine.optim import build_optimizer, build_scheduler

NAN, INF = math.nan, math.inf
# No field may hold any of these, but for those that are named in FINE.
JUNK = [None, NAN, INF, -INF, -1, -0.5, 10**400, "x", "", b"x", True, [], {}, {"x": NAN}, [[]]]
JUNK += [torch.tensor([NAN, 1]), torch.tensor(1), {1: 2}, (), [None], ["\ud800"], {"x": INF}]
FINE = {
    "model": ["x"],
    "flip": [True],
    "metrics": [{}],
    "config": [{}],
    "state_dict": [{}],
    "ema": [None],
    "scaler": [{}],
    "history": [[]],
}


def small(**changes: object) -> dict:
    """What a best.pth holds, with weights of no network."""
    return {
        "model": "googlenet",
        "model_args": {"in_channels": 3, "num_classes": 2, "image_size": 64, "dropout": 0.2},
        "state_dict": {"bn.running_var": torch.ones(3), "weight": torch.ones(2, 2).half()},
        "dataset": "photos/0123",
        "classes": ["Cat", "Dog"],
        "image_size": 64,
        "stored_size": 85,
        "resize_mode": "stretch",
        "mean": [0.5, 0.4, 0.3],
        "std": [0.25, 0.2, 0.3],
        "flip": True,
        "channels": 3,
        "epoch": 1,
        "metrics": {"val_loss": 0.5},
        "config": {"model": "googlenet", "image_size": 64, "lr": 1e-3, "limit": None},
    } | changes


def with_state(**changes: object) -> dict:
    """What a last.pth holds."""
    names = ("train_loss", "train_accuracy", "val_loss", "val_accuracy", "lr", "seconds")
    row = {"epoch": 1, "images_per_second": 100.0} | dict.fromkeys(names, 0.5)
    state = {"step": torch.tensor(1.0), "exp_avg": torch.ones(2), "exp_avg_sq": torch.ones(2)}
    group = {"params": [0], "lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "foreach": None}
    weights = small()["state_dict"]
    return small(
        ema=weights,
        ema_updates=3,
        optimizer={"state": {0: state}, "param_groups": [group]},
        scheduler={"last_epoch": 3, "_schedulers": [{"base_lrs": [1e-3]}]},
        scaler={"scale": 1024.0},
        step=2,
        totals=[1.5, 10.0, 64.0],
        seconds=3.5,
        history=[row],
        best=row,
    ) | (changes)


def specific() -> list[tuple[str, object]]:
    """A field, and a value of the right type that it cannot have."""
    good, weights = with_state(), small()["state_dict"]
    row, group = good["best"], good["optimizer"]["param_groups"][0]
    state = good["optimizer"]["state"][0]
    arguments = {
        "in_channels": (0, 2, 4, "3", 1.0, True, None),
        "num_classes": (0, -2, 2.0, "2", 3, 10**9, None),
        "image_size": (0, -64, 8193, 64.0, "64", None, 128),
        "batch_norm": (1, "yes", None),
        "dropout": (1, 1.5, -0.1, NAN, INF, "0.2", None, True),
        "aux_heads": (1, "no"),
        "train_size": (0, -1, 8193, 48.0, "48"),
        "depth": (3,),
    }
    cases = [("model_args", good["model_args"] | {k: v}) for k in arguments for v in arguments[k]]
    cases += [("model_args", {k: v for k, v in good["model_args"].items() if k != "image_size"})]
    cases += [("model", name) for name in ("vgg 16", "../x", "a" * 65)]
    cases += [("dataset", name) for name in ("photos/", "photos/../x", "cats")]
    cases += [("classes", names) for names in (["Cat", "Cat"], ["Cat"], ["Cat", ""], ["Cat", 1])]
    cases += [("classes", ["Cat", "Dog", "Cow"]), ("classes", ["Cat", "\udc80"])]
    cases += [("classes", ["Cat", "\x1b[2J"])]  # would clear the terminal that prints it
    cases += [("channels", value) for value in (1, 3.0, "3")]
    cases += [("image_size", value) for value in (32, 64.0, 10**9)]
    cases += [("stored_size", value) for value in (0, 8193, 85.0)]
    cases += [("resize_mode", "crop")]
    for name, edges in (("mean", (NAN, INF, -0.1, 1.1, "0.5")), ("std", (0, 9e-10, NAN, 1.1, "1"))):
        cases += [(name, [0.5, 0.5, edge]) for edge in edges] + [(name, [0.5]), (name, [0.5] * 4)]
    cases += [("temperature", value) for value in (*JUNK, 0, 0.0499, 20.01, "1")]
    cases += [("flip", 1), ("epoch", 1.0), ("epoch", 10**30)]
    cases += [("metrics", {"val_loss": value}) for value in (NAN, "0.5", None, [1])]
    cases += [("config", value) for value in ({"lr": NAN}, {"lr": [1]}, {"image_size": 32})]
    cases += [("config", {"model": "vgg16"}), ("config", {"dropout": 0.5})]
    cases += [("config", {"data_dir": name}) for name in ("\0", "\ud800", 1.5)]
    bad = {
        "NaN": torch.tensor([1, NAN]),
        "infinite": torch.tensor([INF]).half(),
        "too large": torch.tensor([1e300], dtype=torch.float64),
        "whole numbers": torch.ones(3, dtype=torch.int64),
        "complex": torch.ones(3, dtype=torch.complex64),
        "sparse": torch.eye(3).to_sparse(),
        "absent": torch.ones(3, device="meta"),
        "empty": torch.ones(0),
        "one number, repeated": torch.ones(1).expand(10**13),
    }
    for field in ("state_dict", "ema"):
        cases += [(field, weights | {"weight": tensor}) for tensor in bad.values()]
        cases += [(field, weights | {"bn.running_var": -torch.ones(3)})]
    shared = torch.ones(10**5).half()  # in the file once; in float32, once for each name
    cases += [("state_dict", dict.fromkeys(weights, shared))]
    cases += [("ema", {"weight": torch.ones(2, 2)}), ("state_dict", weights | {"weight": 1})]
    for key, value in (("exp_avg", bad["NaN"]), ("step", 3), ("exp_avg", bad["absent"])):
        changed = good["optimizer"] | {"state": {0: state | {key: value}}}
        cases += [("optimizer", changed)]
    cases += [("optimizer", good["optimizer"] | {"state": {0: {"step": state["step"]}}})]
    for key, value in (("lr", NAN), ("lr", "x"), ("lr", -1), ("betas", None), ("eps", INF)):
        cases += [("optimizer", good["optimizer"] | {"param_groups": [group | {key: value}]})]
    cases += [("scheduler", good["scheduler"] | {"last_epoch": value}) for value in (-1, 1.5, NAN)]
    cases += [("scheduler", good["scheduler"] | {"_schedulers": [{"base_lrs": [NAN]}]})]
    cases += [("scaler", {"scale": NAN}), ("step", 2.0), ("seconds", NAN), ("ema_updates", 1.0)]
    cases += [("totals", value) for value in ([1, 2], [1, 2, NAN], [-1, 0, 0], [1, 2, "3"])]
    cases += [
        (field, wrap(row | {"lr": NAN})) for field, wrap in (("best", dict), ("history", list))
    ]
    return cases


def cases() -> list[tuple[str, object]]:
    general = [
        (field, value)
        for field in with_state()
        for value in JUNK
        if not any(type(value) is type(fine) and value == fine for fine in FINE.get(field, ()))
    ]
    return general + specific()


@pytest.fixture
def no_network(monkeypatch):
    """Nothing may be built."""

    def fail(*_arguments: object, **_options: object) -> None:
        raise AssertionError("a network is built")

    for module in (inference, train_catsdogs, train_fashionmnist):
        monkeypatch.setattr(module, "create_model", fail)


def test_what_training_writes_is_accepted(tmp_path):
    first = {"epoch": 0, "best": {}, "history": [], "step": 0, "totals": [0.0] * 3, "seconds": 0.0}
    arguments = {"in_channels": 1, "num_classes": 1, "image_size": 8192, "dropout": 0}
    arguments |= {"aux_heads": None, "train_size": 1, "batch_norm": False}
    edges = {"model": "a" * 64, "model_args": arguments, "classes": ["x"], "channels": 1}
    edges |= {"mean": [0], "std": [1e-9], "image_size": 8192, "stored_size": 1, "config": {}}
    others = arguments | {"aux_heads": True, "train_size": None, "batch_norm": True}
    others = edges | {"model_args": others, "mean": [1], "std": [1], "stored_size": 8192}
    for number, good in enumerate(
        (
            small(),
            small(temperature=0.05),
            small(temperature=20),
            with_state(),
            with_state(**first, ema_updates=0, scheduler={"last_epoch": 0}),
            with_state(best={}, config={"epochs": 2}),  # best.pth was lost
            small(**edges),
            small(**others),
            small(std=[0.2, 0.2, 4.5e-5]),  # test_photos_that_differ_by_one_value
            small(config={"data_dir": "birds \udcff"}),  # a folder whose name is no UTF-8
        )
    ):
        checkpoint.save(good, tmp_path / f"{number}.pth")
        assert checkpoint.load(tmp_path / f"{number}.pth").keys() == {*good, "format"}


def test_impossible_values_are_refused_before_a_network_is_built(tmp_path, no_network):
    path = tmp_path / "bad.pth"
    for field, value in cases():
        checkpoint.save(with_state(**{field: value}), path)
        with pytest.raises(UserError, match=r"bad\.pth") as caught:
            inference.load_classifier(path)
        message = str(caught.value)
        assert "\n" not in message and len(message) < 400, message
        # What does not fit the network's arguments is noticed there.
        depend = ("classes", "image_size") if field == "model_args" else ()
        assert any(f"checkpoint's {name}" in message for name in (field, *depend)), message


def test_each_field_must_be_there(tmp_path, no_network):
    for field in with_state():
        last = {key: value for key, value in with_state().items() if key != field}
        checkpoint.save(last, tmp_path / "bad.pth")
        if field == "optimizer":  # a best.pth, as far as anyone can tell
            continue
        with pytest.raises(UserError, match=f"lacks {field}"):
            checkpoint.load(tmp_path / "bad.pth")


@pytest.mark.parametrize("field", ["std", "state_dict", "classes", "model_args", "optimizer"])
def test_every_script_refuses_them(field, error_of, tmp_path, ready, no_network):
    path = tmp_path / "bad.pth"
    value = next(value for name, value in specific() if name == field)
    checkpoint.save(with_state(**{field: value}), path)
    for module, arguments in (
        (test_script, ("--checkpoint", path)),
        (predict, (ready / "test", "--checkpoint", path)),
        (train_fashionmnist, ("--resume", path)),
        (train_catsdogs, ("--resume", path)),
        (train_catsdogs, ("--init", path, "--data-dir", ready, "--output-dir", tmp_path / "run")),
    ):
        error = error_of(module, *arguments)
        assert "bad.pth" in error and field in error and error.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("scheduler", ["onecycle", "cosine", "step", "constant"])
def test_a_state_must_go_on_where_the_new_one_begins(optimizer, scheduler, tmp_path):
    def begin(size=4, steps=10):
        model = torch.nn.Linear(3, size)
        chosen = build_optimizer(model, optimizer, 0.1, 0.01)
        return model, chosen, build_scheduler(chosen, scheduler, 0.1, steps, 2)

    model, started, schedule = begin()
    for _ in range(5):
        model(torch.ones(2, 3)).sum().backward()
        started.step()
        schedule.step()
    state = {"optimizer": started.state_dict(), "scheduler": schedule.state_dict()}
    torch.save(state, tmp_path / "state.pth")
    saved = torch.load(tmp_path / "state.pth", weights_only=True)
    check_state(saved, *begin()[1:])

    averages, (group, *rest) = saved["optimizer"]["state"], saved["optimizer"]["param_groups"]
    other = {name: torch.ones(9) for name in averages[0]}
    for part, changes in (
        ("optimizer", {"state": averages | {0: other}}),  # which torch would write beyond
        ("optimizer", {"state": averages | {0: dict.fromkeys(other, torch.tensor(0.0))}}),
        ("optimizer", {"state": averages | {7: averages[0]}}),
        ("optimizer", {"state": averages | {"x": averages[0]}}),
        ("optimizer", {"param_groups": [group]}),
        ("optimizer", {"param_groups": [group | {"weight_decay": 0.5}, *rest]}),
        ("optimizer", {"param_groups": [group | {"lr": "0.1"}, *rest]}),
        ("optimizer", {"param_groups": [group | {"params": [5]}, *rest]}),
        ("scheduler", {"last_epoch": "5"}),
        ("scheduler", {"_last_lr": [0.1]}),
    ):
        with pytest.raises(ValueError, match=r"weights|a different one"):
            check_state(saved | {part: saved[part] | changes}, *begin()[1:])
    if scheduler != "constant":
        with pytest.raises(ValueError, match="a different one"):
            check_state(saved, *begin(steps=100)[1:])
    if scheduler == "onecycle":
        ended = {"scheduler": saved["scheduler"] | {"last_epoch": 11}}
        with pytest.raises(ValueError, match="past its end"):
            check_state(saved | ended, *begin()[1:])


def test_what_cannot_be_built_takes_no_memory(trained, tmp_path):
    """A network is built without memory first: VGG16 for 8192 px would take a terabyte."""
    saved = checkpoint.load(trained)
    for model, changes in (
        ("vgg16", {"image_size": 8192}),
        ("googlenet", {"aux_heads": True, "train_size": 8192}),
        ("googlenet", {"train_size": 16}),
        ("resnet", {}),
    ):
        size = changes.get("image_size", saved["image_size"])
        changed = {"model": model, "model_args": saved["model_args"] | changes, "image_size": size}
        checkpoint.save(saved | changed, tmp_path / "bad.pth")
        with pytest.raises(UserError, match=r"bad\.pth"):
            inference.load_classifier(tmp_path / "bad.pth")


def test_file_that_unpacks_to_more_than_it_holds(tmp_path):
    """torch.save compresses nothing, but torch.load unpacks what is compressed."""
    checkpoint.save(small(state_dict={"weight": torch.zeros(10**6)}), tmp_path / "good.pth")
    checkpoint.load(tmp_path / "good.pth")
    path = tmp_path / "bomb.pth"
    with (
        zipfile.ZipFile(tmp_path / "good.pth") as good,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for member in good.infolist():
            bomb.writestr(member.filename, good.read(member))
    with pytest.raises(UserError, match="not a checkpoint"):
        checkpoint.load(path)
