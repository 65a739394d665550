"""What depends on the device, as far as a CPU can show it: test_accelerator.py has the rest."""

import numpy as np
import pytest
import torch

import train_fashionmnist
from engine import checkpoint, device
from engine.device import KINDS, pick_device, place
from engine.errors import UserError
from engine.totals import Totals
from tests.conftest import SMALL, same


@pytest.fixture
def machine(monkeypatch):
    """machine("cuda", 2): pretend to have two such GPUs."""

    def call(name: str, count: int = 1) -> None:
        monkeypatch.setattr(torch.accelerator, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device(name))
        monkeypatch.setattr(torch.accelerator, "device_count", lambda: count)

    return call


@pytest.mark.parametrize(
    ("there", "count", "chosen"),
    [
        ("cpu", 0, {"auto": "cpu", "cpu": "cpu"}),
        ("cuda", 2, {"auto": "cuda:0", "cuda": "cuda:0", "cuda:1": "cuda:1", "cpu": "cpu"}),
        ("mps", 1, {"auto": "mps", "mps": "mps", "cpu": "cpu"}),
        ("xpu", 1, {"auto": "xpu:0", "xpu:0": "xpu:0"}),
        ("mtia", 4, {"auto": "cpu"}),  # nothing is known of it
    ],
)
def test_choice(machine, there, count, chosen):
    machine(there, count)
    assert {name: str(pick_device(name)) for name in chosen} == chosen


@pytest.mark.parametrize(
    "name", ["cuda:2", "mps", "xpu", "gpu", "cuda:-1", "cuda:x", "cpu:1", "meta", "", "cuda:"]
)
def test_devices_that_are_not_there(machine, name):
    machine("cuda", 2)
    with pytest.raises(UserError, match="this machine has cpu and cuda:0 and cuda:1"):
        pick_device(name)
    machine("cuda", 0)
    with pytest.raises(UserError, match=r"this machine has cpu$"):
        pick_device(name)


def test_under_torchrun_each_process_has_its_own(machine, monkeypatch):
    machine("cuda", 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert str(pick_device("cuda:0")) == "cuda:0"  # left behind by something else
    monkeypatch.setenv("RANK", "1")
    for name in ("auto", "cuda", "cuda:0", "cuda:1"):
        assert str(pick_device(name)) == "cuda:1"
    assert str(pick_device("cpu")) == "cpu"
    for rank in ("2", "x", ""):
        monkeypatch.setenv("LOCAL_RANK", rank)
        with pytest.raises(UserError, match="this machine has"):
            pick_device("auto")


def test_types_that_devices_compute_in(monkeypatch):
    cuda = torch.device("cuda", 0)
    for capability, dtype in (((7, 5), torch.float16), ((8, 0), torch.bfloat16)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, c=capability: c)
        assert device.amp_dtype(cuda) == dtype
        assert device.has_bfloat16(cuda) == (dtype == torch.bfloat16)
    assert device.amp_dtype(torch.device("mps")) == torch.bfloat16
    assert device.amp_dtype(torch.device("cpu")) == torch.bfloat16
    assert not device.has_bfloat16(torch.device("mps"))  # only where it is asked for
    assert device.has_bfloat16(torch.device("xpu", 0))
    # Neither Apple's GPUs nor most of Intel's have float64.
    assert {name: kind.sums for name, kind in KINDS.items()} == {
        "cpu": torch.float64, "cuda": torch.float64, "mps": torch.float32, "xpu": torch.float32
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "amx", "avx512", "expected"),
    [
        ("Intel(R) Xeon(R) Processor", True, True, True),
        ("Intel(R) Xeon(R) Processor", False, True, False),  # AVX512-BF16 alone is slower there
        ("AMD EPYC", False, True, True),
        ("AMD EPYC", False, False, False),
    ],
)
def test_processors_that_gain_from_bfloat16(name, amx, avx512, expected, monkeypatch):
    monkeypatch.setattr(device, "device_name", lambda _: name)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512, raising=False)
    assert device.has_bfloat16(torch.device("cpu")) == expected


def test_totals_without_float64(monkeypatch):
    monkeypatch.setitem(KINDS, "cpu", KINDS["mps"])
    totals = Totals(torch.device("cpu"))
    labels = torch.arange(100) % 10
    for _ in range(600):  # an epoch of FashionMNIST
        totals.add(torch.tensor(0.3), torch.eye(10)[labels], labels)
    assert totals.here.dtype == torch.float32
    loss, accuracy, images = totals.read()
    assert (accuracy, images) == (1, 60_000)
    assert loss == pytest.approx(0.3, rel=1e-6)


def test_data_goes_to_the_device_where_it_fits(sample, monkeypatch):
    train, val = (part.first(100) for part in sample)
    size = train.images.nbytes + val.images.nbytes
    cpu, gpu = torch.device("cpu"), torch.device("cuda", 0)
    moved = []
    monkeypatch.setattr(type(train), "to", lambda self, where: moved.append(where) or self)
    for where, free, wanted, count in (
        (cpu, 10 * size, None, 0),
        (gpu, 4 * size, None, 2),
        (gpu, 4 * size - 4, None, 0),
        (gpu, 0, True, 2),
        (gpu, 9 * size, False, 0),
    ):
        moved.clear()
        monkeypatch.setattr(device, "free_memory", lambda _, free=free: free)
        assert list(place((train, val), where, wanted)) == [train, val]
        assert moved == [where] * count


def test_batches_from_the_device_are_those_from_the_host(train, monkeypatch):
    """Bit for bit, however many workers there are, also when a run is resumed."""
    host = train(*SMALL, "-j", "1", folder="host")
    on_device = []
    monkeypatch.setattr(
        train_fashionmnist,
        "place",
        lambda datasets, where, _: on_device.extend(d.to(where) for d in datasets) or on_device,
    )
    folder = train(*SMALL, folder="device")
    assert all(torch.is_tensor(dataset.images) for dataset in on_device)
    for name in ("best.pth", "last.pth"):
        one, other = (checkpoint.load(path / name) for path in (host, folder))
        assert same(one, other)


def test_a_dataset_moves_whole(sample):
    dataset = sample[0].first(2345)
    moved = dataset.to(torch.device("cpu"))
    assert np.array_equal(moved.images.numpy(), dataset.images)
    assert np.array_equal(moved.labels.numpy(), dataset.labels)
    moved.images.zero_()  # a copy
    assert dataset.images.any()


def test_data_on_device_needs_a_gpu(error_of, train):
    cpu = ("--device", "cpu")
    assert "no GPU here" in error_of(train_fashionmnist, "--sample", "--data-on-device", *cpu)
    last = train(*SMALL, *cpu, "--epochs", "1") / "last.pth"
    begun = checkpoint.load(last)  # as if it had begun on a GPU
    checkpoint.save(begun | {"config": begun["config"] | {"data_on_device": True}}, last)
    assert "use --no-data-on-device" in error_of(train_fashionmnist, "--resume", last)
    train("--resume", last, "--no-data-on-device")


def test_training_as_on_another_kind_of_device(train, monkeypatch):
    """The layout, the sums and the writing of an Apple GPU give what a CPU's give."""
    plain = train(*SMALL, "--no-amp", folder="plain")
    monkeypatch.setitem(KINDS, "cpu", KINDS["mps"])
    unsafe = []

    def record(name):
        original = getattr(torch.Tensor, name)

        def recorded(tensor, *arguments, **options):
            unsafe.extend([name] * options.get("non_blocking", False))
            return original(tensor, *arguments, **options)

        monkeypatch.setattr(torch.Tensor, name, recorded)

    record("to")
    record("copy_")
    other = train(*SMALL, "--no-amp", folder="other")
    assert {p.name for p in plain.iterdir()} == {p.name for p in other.iterdir()}
    one, two = (checkpoint.load(folder / "last.pth") for folder in (plain, other))
    assert one["totals"] == two["totals"]
    for first, second in zip(one["history"], two["history"], strict=True):
        assert first["train_loss"] == pytest.approx(second["train_loss"], rel=1e-3)
    assert two["state_dict"]["conv2.conv.conv.weight"].is_contiguous()
    assert not one["state_dict"]["conv2.conv.conv.weight"].is_contiguous()
    assert not unsafe  # MPS may read the memory of a batch after it was freed
