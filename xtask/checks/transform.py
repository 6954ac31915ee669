"""Writes template.yaml as CloudFormation gets to see it, as JSON: with openapi.yaml in it, and with SAM's resources
turned into those that they stand for. This is what is deployed, and so what is checked.

Parameters keep being references, except where SAM itself needs a value.
"""

import copy
import json
import sys

from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse


class NoManagedPolicies:
    """Every role in the template names its actions: SAM has no policy to look up."""

    def load(self):
        return {}


def read(path):
    with open(path, encoding="utf-8") as file:
        return yaml_parse(file.read())


def include(node):
    """Puts the files there that AWS::Include names."""
    if isinstance(node, list):
        return [include(item) for item in node]
    if not isinstance(node, dict):
        return node
    transformation = node.get("Fn::Transform", {})
    if transformation.get("Name") == "AWS::Include":
        return read(transformation["Parameters"]["Location"])
    return {key: include(value) for key, value in node.items()}


def package(template):
    """Names a place in a bucket for each function's code, as packaging does."""
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = "s3://bucket/key"
    return template


def explain_stages(transformed, source):
    """Gives a stage what is said about its API: in the source they are one, but SAM hands it to neither."""
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
