"""Random draws: other numbers for other seeds, purposes, steps and ranks; the same for the same."""

import pytest
import torch
import torch.nn.functional as F

from engine.seeding import derive_seed, seed_generator


def first_numbers(*key) -> tuple[float, ...]:
    """What a generator puts out first: 96 bits of it."""
    generator = seed_generator(torch.Generator(), derive_seed(*key))
    return tuple(torch.rand(4, generator=generator).tolist())


def test_streams_differ_pairwise():
    keys = [(seed, "dropout", step, 0) for seed in range(1000) for step in (0, 1, 999)]
    keys += [(seed, "dropout", step, 0) for seed in (0, 2) for step in range(2, 999)]
    keys += [(seed, "dropout", 7, rank) for seed in range(250) for rank in range(1, 8)]
    keys += [(seed, "augmentation", 7, rank) for seed in range(250) for rank in range(8)]
    keys += [(2**31 - 1, "dropout", 2**31, 7), (0, "order", 0), (0, "order"), (0, "weights")]
    assert len({first_numbers(*key) for key in keys}) == len(keys) == len(set(keys))


def test_seeds_of_many_streams_differ():
    seeds = {
        derive_seed(seed, "dropout", step, rank)
        for seed in range(50)
        for step in range(100)
        for rank in range(8)
    }
    assert len(seeds) == 40_000 and max(seeds).bit_length() == 63


def test_a_stream_is_the_same_whatever_was_drawn_before():
    generator, seed = torch.Generator(), derive_seed(1, "dropout", 2, 3)
    seed_generator(generator, seed)
    expected = torch.randn(5, generator=generator)  # an odd number: one is kept for later
    torch.rand(1000, generator=generator)
    seed_generator(generator, seed)
    assert torch.equal(torch.randn(5, generator=generator), expected)


def test_numbers_are_uniform():
    generator = seed_generator(torch.Generator(), derive_seed(0, "dropout"))
    counts = torch.histc(torch.rand(100_000, generator=generator), 10, 0, 1)
    assert counts.min() > 9_700 and counts.max() < 10_300


def test_the_numbers_are_those_of_every_release():
    """A recorded run can be repeated only as long as its draws stay what they were."""
    generator, seed = torch.Generator(), derive_seed(3, "order", 5)
    assert seed == 8149373445420496433
    seed_generator(generator, seed)
    assert torch.rand(3, generator=generator).tolist() == pytest.approx(
        [0.218593, 0.957698, 0.585781], abs=1e-6
    )


def test_dropout_follows_the_seed():
    masks = set()
    for seed in range(20):
        for step in range(20):
            seed_generator(torch.default_generator, derive_seed(seed, "dropout", step))
            masks.add(tuple(F.dropout(torch.ones(64)).tolist()))
    assert len(masks) == 400
