"""What the operating system says of a file or a disk, as a sentence with what to do about it."""

from __future__ import annotations

import errno
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
ELSEWHERE = "set paths.store and paths.runs to a folder"


def refusal(error: BaseException) -> OSError | None:
    """The operating system's error that is at the bottom of another, which may say less; None where there is none.

    Of what a library made of it, only what concerns the whole disk is looked for.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return error
    seen, under = {id(error)}, error.__cause__ or error.__context__
    while under is not None and id(under) not in seen:
        if isinstance(under, OSError) and under.errno in (*FULL, errno.EROFS, errno.EIO):
            return under
        seen.add(id(under))
        under = under.__cause__ or under.__context__
    return None


def sentence(error: OSError, roots: tuple[str, str]) -> str:
    """What is wrong, where, and what to do.

    Args:
        error: of the operating system.
        roots: paths.store and paths.runs, for errors that name no file.
    """
    where = str(error.filename) if error.filename else f"{roots[0]} or {roots[1]}"
    if error.errno in FULL:
        return (
            f"no room to write {where} ({error.strerror}): make space, or {ELSEWHERE} on a larger disk, and run the "
            "same command again, which goes on with what is done."
        )
    if error.errno == errno.EROFS:
        return f"{where} lies on a disk that is read-only: {ELSEWHERE} that can be written."
    if error.errno in (errno.EACCES, errno.EPERM):
        return (
            f"{where} is closed to this user ({error.strerror}): change its permissions ({_what(where)}), or "
            f"{ELSEWHERE} of your own."
        )
    if error.errno == errno.ENOENT:
        return (
            f"{where} is not there ({error.strerror}): check the path; if it was removed just now, run the same "
            "command again."
        )
    if error.errno == errno.EIO:
        return f"the disk fails at {where} ({error.strerror}): look after the disk, or {ELSEWHERE} on another one."
    return f"{error.strerror}: {where}."


def _what(where: str) -> str:
    """What the user may do with the nearest folder that there is."""
    path = Path(where)
    near = next((one for one in (path, *path.parents) if _exists(one)), path)
    return f"chmod u+rwX {near}"


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False
