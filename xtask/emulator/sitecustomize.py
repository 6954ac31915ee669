"""What the local emulator needs to be told before it starts. Python imports a module of this name by itself;
this one is on the path of the emulator's process alone."""

import os
import signal
import socketserver
import sys
import threading


def _follow_the_starter():
    """Ends this process when whoever started it is gone, however that happened: its end of the pipe that is
    our standard input is closed then."""
    # Not sys.stdin: a thread that is inside of it holds up the end of the interpreter.
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if any("ministack" in argument for argument in sys.orig_argv):
    # The emulator serves Lambda's runtime API in two small writes an answer. With Nagle's algorithm the second
    # waits for the acknowledgement of the first, 40 ms for every invocation.
    socketserver.StreamRequestHandler.disable_nagle_algorithm = True

    # Taken out of the environment, so that neither the functions nor any other child sees them.
    os.environ.pop("PYTHONPATH", None)
    if os.environ.pop("INTAKE_WATCH_STDIN", None) == "1":
        threading.Thread(target=_follow_the_starter, name="follow-the-starter", daemon=True).start()
