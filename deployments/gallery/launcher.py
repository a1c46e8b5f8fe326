"""Executes a command that ends with its parent process, as another user if need be.

    python -I launcher.py UID GID PARENT COMMAND [ARGUMENT ...]

PostgreSQL refuses to run as root. For root, the command runs as UID, and keeps the one capability
that lets it pass folders which only root may enter, as those of a virtual environment in /root.
It runs as a file: importing FaceGraph would take longer than PostgreSQL takes to start.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG, _PR_SET_KEEPCAPS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE = 1, 8, 47, 2
_CAP_DAC_OVERRIDE = 1
_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def _become(uid: int, gid: int) -> None:
    """Change the user. Without the capability, folders of root stay closed: the command says so."""
    _libc.prctl(_PR_SET_KEEPCAPS, 1, 0, 0, 0)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    kept = 1 << _CAP_DAC_OVERRIDE
    header, data = _Header(_CAPABILITY_VERSION_3, 0), (_Data * 2)(_Data(kept, kept, kept), _Data())
    if _libc.capset(ctypes.byref(header), data) == 0:
        _libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_OVERRIDE, 0, 0)


def main() -> None:
    uid, gid, parent = (int(argument) for argument in sys.argv[1:4])
    if uid != os.geteuid():
        _become(uid, gid)
    # SIGINT is PostgreSQL's fast shutdown. Set after the change of user, which clears it.
    _libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGINT), 0, 0, 0)
    if os.getppid() != parent:  # the parent died before
        sys.exit(1)
    os.execv(sys.argv[4], sys.argv[4:])


if __name__ == "__main__":
    main()
