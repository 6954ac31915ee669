"""Settings of the local emulator's process. Python imports a module of this name by itself; this one is on the path
of that process only."""

import os
import signal
import socketserver
import sys
import threading


def _end_with_the_parent():
    """Ends this process when its parent has ended, however that happened: standard input is a pipe, which is closed
    then."""
    # Not sys.stdin: a thread that reads from it blocks the end of the interpreter.
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if any("run_emulator" in argument for argument in sys.orig_argv):
    # The emulator's runtime API writes a response in two small parts. With Nagle's algorithm the second one waits for
    # the acknowledgement of the first, 40 ms for every invocation.
    socketserver.StreamRequestHandler.disable_nagle_algorithm = True

    # Removed from the environment, so that neither the functions nor other children inherit them.
    os.environ.pop("PYTHONPATH", None)
    if os.environ.pop("INTAKE_WATCH_STDIN", None) == "1":
        threading.Thread(target=_end_with_the_parent, name="end-with-the-parent", daemon=True).start()
