"""Mapping templates as API Gateway renders them, in the dialect of Velocity that AWS has.

The emulator knows references and #set, which is too little for openapi.yaml: its templates also decide (#if), repeat
(#foreach) and override the status of a response ("Use API Gateway to override response status codes").
"""

import functools
import json
import urllib.parse

import airspeed


class Input:
    """$input: a body, and the parameters of the request."""

    def __init__(self, body, path, querystring, header):
        self.body = body
        self._parameters = {"path": path, "querystring": querystring, "header": header}

    def params(self, name=None):
        if name is None:
            return self._parameters
        return next((place[name] for place in self._parameters.values() if name in place), "")

    def path(self, expression):
        """The value at a path of names, such as $.Error.Code; none if the body does not have it."""
        value = json.loads(self.body)
        for name in expression.removeprefix("$").split(".")[1:]:
            value = value.get(name) if isinstance(value, dict) else None
        return value


class Util:
    """$util, as far as it is used."""

    @staticmethod
    def urlEncode(text):
        # java.net.URLEncoder, as the guide to mapping templates says.
        return urllib.parse.quote_plus(str(text), safe="*").replace("~", "%7E")


@functools.cache
def compiled(template):
    return airspeed.Template(template)


def render(template, request, context):
    """The text, and what the template overrides of the response: its status, if it does, and headers."""
    override = {"status": None, "header": {}}
    namespace = {"input": request, "util": Util(), "context": {**context, "responseOverride": override}}
    return compiled(template).merge(namespace), override
