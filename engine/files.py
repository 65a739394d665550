"""Writing files whole."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any


@contextmanager
def atomic_write(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Write atomically: temporary file beside the target, fsync, rename.

    Whatever fails on the way, the path holds its old content or all of the new.

    Args:
        mode: "wb", or "w" for UTF-8 text with "\\n" line ends on every system.

    Raises:
        OSError: the file cannot be written. The temporary file is removed.
    """
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, mode, **text) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)  # mkstemp makes it 0600
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
