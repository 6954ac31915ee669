"""Checks what template.yaml allows, and prepares it for checkov.

Writes the template as CloudFormation deploys it, as JSON: with openapi.yaml included, SAM's resources expanded, and
the checks that checkov-skips.yaml names marked. Then it compares all permissions with permissions.txt: one cannot be
added, or become wider, unless the list says so, too.
"""

import collections
import itertools
import json
import pathlib
import sys

from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

HERE = pathlib.Path(__file__).parent


class NoManagedPolicies:
    """Every role in the template names its actions: SAM looks up no policy."""

    def load(self):
        return {}


def read(path):
    return yaml_parse(pathlib.Path(path).read_text(encoding="utf-8"))


def include(node):
    """Replaces AWS::Include by the file that it names."""
    if isinstance(node, list):
        return [include(item) for item in node]
    if not isinstance(node, dict):
        return node
    transformation = node.get("Fn::Transform", {})
    if transformation.get("Name") == "AWS::Include":
        return read(transformation["Parameters"]["Location"])
    return {key: include(value) for key, value in node.items()}


def transformed():
    """Parameters remain references, except where SAM itself needs a value."""
    template = include(read("template.yaml"))
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            # As packaging does it.
            resource["Properties"]["CodeUri"] = "s3://bucket/key"
    return transform(template, {"AWS::Region": "us-east-1", "AWS::Partition": "aws"}, NoManagedPolicies())


def mark_skipped(template):
    for check, reasons in read(HERE / "checkov-skips.yaml").items():
        for reason, names in reasons.items():
            for name in names:
                metadata = template["Resources"][name].setdefault("Metadata", {}).setdefault("checkov", {"skip": []})
                metadata["skip"].append({"id": check, "comment": reason})


def permissions(template):
    """Every permission in the template, as a line of the list."""
    for name, resource in template["Resources"].items():
        properties = resource.get("Properties", {})
        if resource["Type"] == "AWS::Lambda::Permission":
            parts = ("Principal", "Action", "FunctionName", "SourceArn")
            principal, action, function, source = (text(properties.get(part)) for part in parts)
            yield f"{principal} {action} {function} if {source}"
        for policy in texts(properties.get("ManagedPolicyArns")):
            # What these allow is written elsewhere.
            yield f"{name} managed-policy {policy}"
        for statement in statements(properties):
            # One without a principal is about the role that it belongs to; one without a resource, too.
            parts = (part(statement, kind) or [name] for kind in ("Principal", "Action", "Resource"))
            effect = "" if statement["Effect"] == "Allow" else "deny "
            condition = f" if {text(statement['Condition'])}" if "Condition" in statement else ""
            for combination in itertools.product(*parts):
                yield effect + " ".join(combination) + condition


def statements(value):
    """The statements of all policies, wherever they are in a resource."""
    if isinstance(value, dict):
        yield from as_list(value.get("Statement"))
        value = list(value.values())
    for child in value if isinstance(value, list) else []:
        yield from statements(child)


def part(statement, kind):
    return texts(statement.get(kind)) + [f"not:{excluded}" for excluded in texts(statement.get(f"Not{kind}"))]


def as_list(value):
    """A list, or the one element that stands in its place."""
    return value if isinstance(value, list) else [] if value is None else [value]


def texts(value):
    """The texts in a list; of principals, whatever their kind."""
    if isinstance(value, dict) and value.keys() & {"AWS", "Service", "Federated"}:
        return [text(principal) for principals in value.values() for principal in as_list(principals)]
    return [text(element) for element in as_list(value)]


def text(value):
    """A text as the template has it, with references in a short form."""
    value = short(value)
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), sort_keys=True)


def short(value):
    if isinstance(value, list):
        return [short(element) for element in value]
    if not isinstance(value, dict):
        return value
    if "Fn::GetAtt" in value:
        return ".".join(value["Fn::GetAtt"])
    return value.get("Ref") or value.get("Fn::Sub") or {name: short(member) for name, member in value.items()}


def difference(listed, found):
    """What is in one of the two only. White space is only layout."""
    lines = (" ".join(line.split()) for line in listed.splitlines())
    listed = collections.Counter(line for line in lines if line and not line.startswith("#"))
    found = collections.Counter(found)
    missing, more = (listed - found).elements(), (found - listed).elements()
    return [f"- {line}" for line in missing] + [f"+ {line}" for line in more]


def main(output):
    template = transformed()
    mark_skipped(template)
    pathlib.Path(output).write_text(json.dumps(template, indent=1), encoding="utf-8")
    path = HERE / "permissions.txt"
    different = difference(path.read_text(encoding="utf-8"), permissions(template))
    if different:
        sys.exit("\n".join([f"- is only in {path}, + only in the template", *different]))


if __name__ == "__main__":
    main(sys.argv[1])
