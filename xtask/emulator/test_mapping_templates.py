"""The mapping templates of openapi.yaml, with what no client of the local stack can cause."""

import json
import pathlib
import unittest

import mapping_templates
import yaml

ROOT = pathlib.Path(__file__).parents[2]
DOCUMENT = yaml.safe_load((ROOT / "openapi.yaml").read_text(encoding="utf-8"))
QUEUE = DOCUMENT["paths"]["/queue/{id}"]["put"]["x-amazon-apigateway-integration"]
CONTEXT = {"authorizer": {"principalId": "alice & bob", "group": "4f2a"}, "extendedRequestId": "Uf3k2Gx7liAEWKg="}


def request(body='{"a":1}', context=CONTEXT, **headers):
    # A parameter that only looks like a header.
    parameters = mapping_templates.Input(body, {"id": "m-1"}, {"Content-Type": "application/json"}, headers)
    text, _ = mapping_templates.render(QUEUE["requestTemplates"]["application/json"], parameters, context)
    return text


def response_to_error(error):
    parameters = mapping_templates.Input(json.dumps(error), {"id": "m-1"}, {}, {})
    mapped = QUEUE["responses"]["400"]
    text, override = mapping_templates.render(mapped["responseTemplates"]["application/json"], parameters, CONTEXT)
    return override["status"] or int(mapped["statusCode"]), json.loads(text), override["header"]


class RequestToTheQueue(unittest.TestCase):
    def test_has_no_body_if_its_content_type_is_spelled_in_another_way(self):
        for name in ("Content-Type", "content-type", "CONTENT-TYPE"):
            self.assertIn("&MessageBody=%7B%22a%22%3A1%7D", request(**{name: "application/json"}))
            for other in ("Application/JSON", "application/json;charset=utf-8", "application/json ", "text/plain"):
                self.assertNotIn("MessageBody", request(**{name: other}))
        self.assertIn("&MessageBody=", request())

    def test_has_the_group_that_the_authorizer_names_if_it_names_one(self):
        self.assertTrue(request().endswith("&MessageGroupId=4f2a"))
        cached = {**CONTEXT, "authorizer": {"principalId": "alice"}}
        self.assertNotIn("MessageGroupId", request(context=cached))


class ResponseToAnErrorOfTheQueue(unittest.TestCase):
    def test_tells_faults_of_the_message_by_their_code(self):
        for code, status in (("InvalidParameterValue", 413), ("InvalidMessageContents", 400), ("MissingParameter", 415)):
            got, problem, headers = response_to_error({"Error": {"Code": code, "Message": "x", "Type": "Sender"}})
            self.assertEqual((got, problem["status"], headers), (status, status, {}), code)

    def test_is_503_with_retry_after_for_everything_else(self):
        codes = (
            "RequestThrottled",
            "Throttling",
            "KmsDisabled",
            "KmsThrottled",
            "AWS.SimpleQueueService.NonExistentQueue",
            "InvalidParameterValueX",
            "",
            None,
        )
        for error in [{"Error": {"Code": code}} for code in codes] + [{}, {"Error": "x"}, [], "x"]:
            got, problem, headers = response_to_error(error)
            self.assertEqual((got, problem["status"], headers), (503, 503, {"Retry-After": "1"}), error)
