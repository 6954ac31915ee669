"""The mapping templates of openapi.yaml, with what no client of the local stack can cause."""

import json
import pathlib
import unittest

import mapping_templates
import yaml

ROOT = pathlib.Path(__file__).parents[2]
DOCUMENT = yaml.safe_load((ROOT / "openapi.yaml").read_text(encoding="utf-8"))
QUEUE = DOCUMENT["paths"]["/queue/{id}"]["put"]["x-amazon-apigateway-integration"]
BULK = DOCUMENT["paths"]["/queue"]["post"]["x-amazon-apigateway-integration"]
# SQS rejects this delay with the code of a message that is too long, and this character with one of its own.
TOO_LONG = "Action=SendMessage&DelaySeconds=901&MessageBody=-"
NO_BULK = "Action=SendMessage&MessageBody=%EF%BF%BE"
CONTEXT = {"authorizer": {"principalId": "alice & bob", "group": "4f2a"}, "extendedRequestId": "Uf3k2Gx7liAEWKg="}


def request(body='{"a":1}', message_id="m-1", context=CONTEXT, **headers):
    # A parameter that only looks like a header.
    parameters = mapping_templates.Input(body, {"id": message_id}, {"Content-Type": "text/plain"}, headers)
    text, _ = mapping_templates.render(QUEUE["requestTemplates"]["application/json"], parameters, context)
    return text


def bulk(body, context=CONTEXT, **headers):
    parameters = mapping_templates.Input(body, {}, {}, headers)
    text, _ = mapping_templates.render(BULK["requestTemplates"]["application/json"], parameters, context)
    return text


def response_to_error(error, message_id="m-1", integration=QUEUE):
    parameters = mapping_templates.Input(json.dumps(error), {"id": message_id}, {}, {})
    mapped = integration["responses"]["400"]
    text, override = mapping_templates.render(mapped["responseTemplates"]["application/json"], parameters, CONTEXT)
    return override["status"] or int(mapped["statusCode"]), json.loads(text), override["header"]


class RequestToTheQueue(unittest.TestCase):
    def test_has_the_message_if_it_is_declared_as_json_in_utf_8(self):
        for name in ("Content-Type", "content-type", "CONTENT-TYPE"):
            for json_in_utf_8 in (
                "application/json",
                "Application/JSON",
                "application/json ",
                "application/json;",
                "application/json;charset=utf-8",
                "application/json; charset=UTF-8",
                'application/json ; charset = "utf-8"',
                "application/json; profile=orders; charset=utf-8; v=1",
            ):
                self.assertTrue(request(**{name: json_in_utf_8}).endswith("&MessageBody=%7B%22a%22%3A1%7D"), json_in_utf_8)
            for other in (
                "text/plain",
                "text/json",
                "application/jsonp",
                "application/json; charset=latin1",
                "application/json;  charset=utf-16",
                "application/json; charset=utf-8; charset=latin1",
                "application/json; charset=",
                "application/json, text/plain",
                "",
            ):
                self.assertEqual(request(**{name: other}), "Action=SendMessage", other)
        self.assertIn("&MessageBody=", request())

    def test_has_nothing_of_a_message_that_is_compressed(self):
        for name in ("Content-Encoding", "content-encoding"):
            self.assertEqual(request(**{"Content-Type": "application/json", name: "gzip"}), "Action=SendMessage")

    def test_has_nothing_of_a_message_with_an_illegal_id(self):
        self.assertIn("StringValue=A-z_09&", request(message_id="A-z_09"))
        self.assertIn("&MessageBody=", request(message_id="x" * 64))
        for illegal in ("", "a b", "a&b", "a\n", "\u00e4", "a.b", "x" * 65):
            self.assertEqual(request(message_id=illegal), "Action=SendMessage", illegal)

    def test_has_the_group_that_the_authorizer_names_if_it_names_one(self):
        self.assertIn("&MessageGroupId=4f2a&", request())
        cached = {**CONTEXT, "authorizer": {"principalId": "alice"}}
        self.assertNotIn("MessageGroupId", request(context=cached))


    def test_has_no_message_of_more_than_256_kib(self):
        self.assertIn("&MessageBody=xxx", request(body="x" * 262144))
        self.assertEqual(request(body="x" * 262145), TOO_LONG)


class BulkRequestToTheQueue(unittest.TestCase):
    def test_has_the_body_as_it_is_the_mark_of_a_bulk_and_no_id(self):
        body = '{"messages": [{"id":"a", "payload":{"n":1.0}}]}'
        self.assertEqual(
            bulk(body, **{"content-type": "application/json; charset=UTF-8"}),
            "Action=SendMessage"
            "&MessageAttribute.1.Name=bulk"
            "&MessageAttribute.1.Value.DataType=String"
            "&MessageAttribute.1.Value.StringValue=true"
            "&MessageAttribute.2.Name=owner"
            "&MessageAttribute.2.Value.DataType=String"
            "&MessageAttribute.2.Value.StringValue=alice+%26+bob"
            "&MessageAttribute.3.Name=correlation_id"
            "&MessageAttribute.3.Value.DataType=String"
            "&MessageAttribute.3.Value.StringValue=Uf3k2Gx7liAEWKg%3D"
            "&MessageGroupId=4f2a"
            "&MessageBody=%7B%22messages%22%3A+%5B%7B%22id%22%3A%22a%22%2C+%22payload%22%3A%7B%22n%22%3A1.0%7D%7D%5D%7D",
        )
        self.assertNotIn("MessageGroupId", bulk(body, {**CONTEXT, "authorizer": {"principalId": "alice"}}))

    def test_has_1_to_100_messages(self):
        for count, accepted in ((0, False), (1, True), (100, True), (101, False)):
            body = json.dumps({"messages": [{"id": "a", "payload": {}}] * count})
            self.assertEqual("MessageAttribute" in bulk(body), accepted, count)
            self.assertEqual(bulk(body) == NO_BULK, not accepted, count)
        for body in ("{}", '{"messages":null}', '{"messages":"text"}', '{"messages":12}', "[]"):
            self.assertEqual(bulk(body), NO_BULK, body)

    def test_has_at_most_1_000_000_characters(self):
        body = '{"messages":[{"id":"a","payload":{}}]}'
        self.assertIn("&MessageAttribute", bulk(body.ljust(1000000)))
        self.assertEqual(bulk(body.ljust(1000001)), TOO_LONG)

    def test_has_nothing_of_what_is_not_declared_as_json(self):
        body = '{"messages":[{"id":"a","payload":{}}]}'
        for headers in ({"Content-Type": "text/plain"}, {"Content-Encoding": "gzip"}):
            self.assertEqual(bulk(body, **headers), "Action=SendMessage", headers)


class ResponseToAnErrorOfTheQueue(unittest.TestCase):
    def test_tells_faults_of_the_message_by_their_code(self):
        for code, status in (("InvalidParameterValue", 413), ("InvalidMessageContents", 400), ("MissingParameter", 415)):
            for integration in (QUEUE, BULK):
                error = {"Error": {"Code": code, "Message": "x", "Type": "Sender"}}
                got, problem, headers = response_to_error(error, integration=integration)
                self.assertEqual((got, problem["status"], headers), (status, status, {}), code)

    def test_names_the_id_if_that_is_why_the_message_was_left_out(self):
        missing = {"Error": {"Code": "MissingParameter"}}
        got, problem, headers = response_to_error(missing, message_id="a b")
        self.assertEqual((got, problem["type"], headers), (400, "urn:intake:problem:invalid-id", {}))
        # Whatever the id is, a fault of the queue is none of the client's.
        self.assertEqual(response_to_error({"Error": {"Code": "Throttling"}}, message_id="a b")[0], 503)

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
            for integration in (QUEUE, BULK):
                got, problem, headers = response_to_error(error, integration=integration)
                self.assertEqual((got, problem["status"], headers), (503, 503, {"Retry-After": "1"}), error)
