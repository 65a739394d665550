"""Write files atomically."""

import errno
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

UMASK = os.umask(0o077)  # it can be read only by setting it, which is safe before threads start
os.umask(UMASK)
MODE = 0o666 & ~UMASK  # of new files


@contextmanager
def atomic_write(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Write atomically: to a temporary file in the same folder, then fsync and rename.

    If anything fails, the path holds either all of its old content or all of the new.

    Args:
        mode: "wb", or "w" for UTF-8 text with "\\n" line ends on every system.

    Raises:
        OSError: the file cannot be written. The temporary file is removed.
    """
    path = Path(os.path.realpath(path))  # a link stays a link, and leads to the new content
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "Not a regular file", str(path))
    text = {} if "b" in mode else {"encoding": "utf-8", "newline": "\n"}
    temporary = None
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        with os.fdopen(descriptor, mode, **text) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        with suppress(PermissionError):  # Windows' disks in WSL, network disks: no modes there
            os.chmod(temporary, MODE)  # mkstemp makes it 0600
        replace(temporary, path)
    except OSError as error:
        if error.filename not in (None, temporary) and temporary:
            raise
        # The error has no file name, or that of the temporary file, which means nothing to users.
        raise OSError(error.errno, error.strerror or str(error), str(path)) from None
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)


def replace(source: str, target: Path) -> None:
    """``os.replace`` with retries: on Windows, a virus scanner may have the target open.

    Raises:
        OSError: it cannot be replaced.
    """
    for _ in range(10):
        with suppress(PermissionError):
            return os.replace(source, target)
        time.sleep(0.1)
    return os.replace(source, target)


def write_json(content: dict[str, Any], path: Path) -> None:
    """Write an indented JSON file.

    Raises:
        OSError: the file cannot be written.
    """
    with atomic_write(path, "w") as file:
        file.write(json.dumps(content, indent=2) + "\n")


def write_table(frame: "pd.DataFrame", path: Path, **options: Any) -> None:  # noqa: ANN401
    """Write a CSV file, with the same bytes on every system.

    Raises:
        OSError: the file cannot be written.
    """
    with atomic_write(path, "w") as file:
        frame.to_csv(file, lineterminator="\n", **options)
