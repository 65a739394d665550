"""Writing files whole."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

UMASK = os.umask(0o077)  # can be read only by setting it: here, before there are threads
os.umask(UMASK)
MODE = 0o666 & ~UMASK  # of new files


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
    temporary = None
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        with os.fdopen(descriptor, mode, **text) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, MODE)  # mkstemp makes it 0600
        os.replace(temporary, path)
    except OSError as error:
        if temporary is None or error.filename == temporary:  # a name that means nothing to users
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
