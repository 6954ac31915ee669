"""Starts the emulator with what template.yaml and `cargo xtask up` need and it does not have: a type of resource,
and a log of the functions that can be followed.
"""

import os
import sys

from ministack import app
from ministack.core import lambda_runtime
from ministack.services import apigateway
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
    """Has every line that a function writes copied to a file.

    The emulator hands a function's output to CloudWatch Logs when an invocation has ended, in a stream for
    each invocation. To follow that is to ask for all of them over and over, and a function that hangs, or dies
    while it starts, shows nothing. In the file a line is there as soon as it is written.
    """
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    pump = lambda_runtime.ProvidedWorker._pump_output

    def pump_and_copy(worker, stream, queue):
        pump(worker, Copied(stream, worker.func_name, log), queue)

    lambda_runtime.ProvidedWorker._pump_output = pump_and_copy


def create_route_response(logical_id, properties, stack_name):
    # The emulator's reference to a route has the API's id in front.
    route = properties["RouteId"].rpartition("/")[2]
    status, _, body = apigateway._create_route_response(
        properties["ApiId"], route, {"routeResponseKey": properties["RouteResponseKey"]}
    )
    if status >= 400:
        raise ValueError(f"{logical_id}: {body!r}")
    return f"{properties['ApiId']}/{route}/{properties['RouteResponseKey']}", {}


def delete_route_response(physical_id, properties):
    """Nothing to do: it goes with its route."""


def know_route_responses():
    """Without these a template with a route response is refused, although the API has them."""
    provisioners._RESOURCE_HANDLERS.setdefault(
        "AWS::ApiGatewayV2::RouteResponse", {"create": create_route_response, "delete": delete_route_response}
    )


if __name__ == "__main__":
    know_route_responses()
    # Taken out of the environment, which the functions see.
    copy_output(os.environ.pop("INTAKE_FUNCTION_LOG"))
    sys.exit(app.main())
