"""Starts the emulator, with what it lacks for this stack.

It is taught a type of resource that it does not know, and every line that a function writes is copied to the
file INTAKE_FUNCTION_LOG.

The emulator hands a function's output to CloudWatch Logs when an invocation has ended, in a stream for each
invocation. To follow that is to ask for all of them over and over, and a function that hangs, or dies while it
starts, shows nothing. In the file a line is there as soon as it is written.
"""

import os
import sys

from ministack import app
from ministack.core import lambda_runtime
from ministack.services.cloudformation import provisioners


class Copied:
    """A function's output that also goes to the log file: the function's name, a tab, the line."""

    def __init__(self, stream, name, log):
        self._stream = stream
        self._name = name.encode()
        self._log = log

    def readline(self):
        line = self._stream.readline()
        if line:
            # One write for each line, at the end of the file: lines of several functions never mix.
            os.write(self._log, self._name + b"\t" + line.rstrip(b"\r\n") + b"\n")
        return line

    def close(self):
        self._stream.close()


def copy_output(path):
    """Puts the copying where the emulator reads what a function writes."""
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    pump = lambda_runtime.ProvidedWorker._pump_output

    def pump_and_copy(worker, stream, queue):
        pump(worker, Copied(stream, worker.func_name, log), queue)

    lambda_runtime.ProvidedWorker._pump_output = pump_and_copy


def know_route_responses():
    """Takes AWS::ApiGatewayV2::RouteResponse for done: the emulator passes a function's answer on to the
    client without being told to, which API Gateway does not."""
    provisioners._RESOURCE_HANDLERS["AWS::ApiGatewayV2::RouteResponse"] = {
        "create": lambda logical_id, properties, stack_name: (f"{stack_name}-{logical_id}", {}),
        "delete": lambda physical_id, properties: None,
    }


if __name__ == "__main__":
    know_route_responses()
    # Taken out of the environment, which the functions see.
    copy_output(os.environ.pop("INTAKE_FUNCTION_LOG"))
    sys.exit(app.main())
