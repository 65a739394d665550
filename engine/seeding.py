"""Derive the seeds of all streams of random numbers."""

import hashlib

import numpy as np
import torch


def derive_seed(seed: int, purpose: str, *place: int) -> int:
    """A seed of 63 well-mixed bits, the same on every system, for one stream of random numbers.

    Generators do not mix the bits of their seeds, and torch's CPU generator uses only the low 32
    bits: ``seed * 2**31 + step`` would be ``step`` for every even seed.

    Args:
        seed: of the run.
        purpose: what the stream is for, such as "dropout"; each purpose has its own streams.
        place: the position in the run, such as epoch, or step and rank.
    """
    code = int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "big")
    # 64 bits for each number, and their count, so that no two streams give the same words.
    numbers = (seed, code, len(place), *place)
    words = [number >> shift & 0xFFFFFFFF for number in numbers for shift in (0, 32)]
    return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0]) >> 1


def seed_generator(generator: torch.Generator, seed: int) -> torch.Generator:
    """Like ``generator.manual_seed(seed)``, but use all bits of the seed; return the generator.

    On a CPU, ``manual_seed`` fills the 624 words of a Mersenne Twister from 32 bits only: among a
    thousand steps of a thousand seeds, some would share streams. NumPy uses all bits.
    """
    generator.manual_seed(seed)
    if generator.device.type == "cpu":
        state = generator.get_state()
        # torch stores each word in 64 bits, after three numbers: seed, words left, next word.
        words = state[24 : 24 + 624 * 8].view(torch.int64)
        key = np.random.MT19937(seed).state["state"]["key"]
        words.copy_(torch.from_numpy(key.astype(np.int64)))
        generator.set_state(state)
    return generator


def seed_device(device: torch.device, seed: int) -> None:
    """Seed the device's default generator, which dropout uses."""
    if device.type == "cpu":
        seed_generator(torch.default_generator, seed)
    else:
        torch.manual_seed(seed)  # on all devices


def order_generator(seed: int, epoch: int) -> torch.Generator:
    """The generator of the order of the images in this epoch."""
    return seed_generator(torch.Generator(), derive_seed(seed, "order", epoch))
