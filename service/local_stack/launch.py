"""Becomes another program after tying its life to its parent's and, if asked, shedding root.

Run as a script, `python -I -S launch.py PARENT_PID SIGNAL UID:GID COMMAND...` (UID:GID may be "-"), by
`spawn` in processes.py. A step of its own instead of Popen's `preexec_fn`, which is unsafe beside
threads. It imports nothing of the project, so that it costs some 15 ms.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
MISUSED = 126  # the shell's number for a command that is there but cannot be run


def main(arguments: list[str]) -> None:
    parent, death_signal, identity, *command = arguments
    if identity != "-":
        uid, gid = (int(number) for number in identity.split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":
        # After setuid, which would clear it.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
    if os.getppid() != int(parent):
        sys.exit(f"The process {parent} that wanted {command[0]} is gone.")
    # A shell's background job has SIGINT ignored, Python ignores SIGPIPE: a server expects neither.
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    try:
        os.execv(command[0], command)
    except OSError as error:
        print(f"{command[0]} cannot be run: {error.strerror}.", file=sys.stderr)
        sys.exit(MISUSED)


if __name__ == "__main__":
    main(sys.argv[1:])
