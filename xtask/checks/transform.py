"""Writes template.yaml as CloudFormation deploys it, as JSON: with openapi.yaml included, and SAM's resources expanded.

Parameters remain references, except where SAM itself needs a value.
"""

import copy
import json
import sys

from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse


class NoManagedPolicies:
    """Every role in the template names its actions: SAM looks up no policy."""

    def load(self):
        return {}


def read(path):
    with open(path, encoding="utf-8") as file:
        return yaml_parse(file.read())


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


def package(template):
    """Names an object in a bucket for each function's code, as packaging does."""
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = "s3://bucket/key"
    return template


def explain_stages(transformed, source):
    """Copies an API's metadata to its stage: in the source they are one resource, and SAM drops the metadata."""
    for resource in transformed["Resources"].values():
        if resource["Type"] == "AWS::ApiGateway::Stage":
            api = source["Resources"][resource["Properties"]["RestApiId"]["Ref"]]
            resource["Metadata"] = api.get("Metadata", {})
    return transformed


def main():
    source = package(include(read("template.yaml")))
    parameters = {"AWS::Region": "us-east-1", "AWS::Partition": "aws"}
    transformed = transform(copy.deepcopy(source), parameters, NoManagedPolicies())
    explain_stages(transformed, source)
    json.dump(transformed, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
