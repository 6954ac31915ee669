"""The parameters of template.yaml that must fit together: which values are refused, and how, when the stack is deployed.

The local stack's own CloudFormation decides, and arithmetic says what it should decide.
"""

import itertools
import pathlib
import re
import unittest

from ministack.services.cloudformation import engine
from samtranslator.yaml_helper import yaml_parse

ROOT = pathlib.Path(__file__).parents[2]
TEMPLATE = yaml_parse((ROOT / "template.yaml").read_text(encoding="utf-8"))
PARAMETERS = TEMPLATE["Parameters"]
REQUIRED = {"TokenIssuer": "https://issuer.example/", "TokenAudience": "intake", "TokenJwks": '{"keys":[]}'}
DAY = 24 * 60 * 60


def refusal(**values):
    """Why a deployment with these values is refused; None if it is not."""
    given = {**REQUIRED, **{name: str(value) for name, value in values.items()}}
    given = [{"Key": name, "Value": value} for name, value in given.items()]
    try:
        parameters = engine._resolve_parameters(TEMPLATE, given)
        engine._evaluate_rules(TEMPLATE, parameters, {})
    except ValueError as error:
        return str(error)
    return None


class Parameters(unittest.TestCase):
    def refused(self, words, **values):
        message = refusal(**values)
        self.assertIsNotNone(message, values)
        self.assertIn(words, message)

    def test_the_defaults_are_accepted(self):
        self.assertIsNone(refusal())

    def test_the_profile_for_verify_is_accepted(self):
        profile = re.findall(r'^ *"(\w+)=(\w+)"', (ROOT / "samconfig.toml").read_text(encoding="utf-8"), re.MULTILINE)
        self.assertIn(("VisibilityTimeoutSeconds", "61"), profile)
        self.assertIsNone(refusal(**dict(profile)))

    def test_every_visibility_timeout_is_longer_than_the_consumer_and_every_batch_window(self):
        consumer = TEMPLATE["Resources"]["QueueConsumerFunction"]["Properties"]["Timeout"]
        timeout, window = PARAMETERS["VisibilityTimeoutSeconds"], PARAMETERS["BatchWindowSeconds"]
        self.assertGreater(timeout["MinValue"], consumer + window["MaxValue"])
        self.assertGreaterEqual(timeout["Default"], 6 * consumer + window["Default"])
        self.refused("from 61 to 43200", VisibilityTimeoutSeconds=timeout["MinValue"] - 1)
        self.refused("from 0 to 30", BatchWindowSeconds=window["MaxValue"] + 1)
        self.assertIsNone(refusal(VisibilityTimeoutSeconds=timeout["MinValue"], BatchWindowSeconds=window["MaxValue"]))

    def test_a_large_batch_needs_a_window(self):
        self.refused("needs a BatchWindowSeconds", BatchSize=11, BatchWindowSeconds=0)
        self.assertIsNone(refusal(BatchSize=10, BatchWindowSeconds=0))

    def test_dead_letters_are_kept_for_longer_than_the_queue_keeps_messages(self):
        queues = PARAMETERS["QueueRetentionSeconds"]["AllowedValues"]
        for queue, dead in itertools.product(queues, PARAMETERS["DeadLetterRetentionSeconds"]["AllowedValues"]):
            values = {"QueueRetentionSeconds": queue, "DeadLetterRetentionSeconds": dead}
            if int(dead) > int(queue):
                self.assertIsNone(refusal(**values), values)
            else:
                self.refused("must be more than QueueRetentionSeconds", **values)

    def test_what_a_redrive_may_bring_back_is_kept_as_long_as_the_dead_letter(self):
        for dead in PARAMETERS["DeadLetterRetentionSeconds"]["AllowedValues"]:
            kept = {"QueueRetentionSeconds": DAY, "DeadLetterRetentionSeconds": dead}
            least = int(dead) // DAY
            for days in [*range(1, 16), 30, 100, 365]:
                for name in ("MessageRetentionDays", "ReceiptRetentionDays"):
                    # The one that is not asked about is long enough.
                    values = {**kept, "ReceiptRetentionDays": 14, name: days}
                    if days >= least:
                        self.assertIsNone(refusal(**values), values)
                    elif days in (1, least - 1):
                        self.refused(f"{name} must be", **values)
                    else:
                        self.assertIn(f"{name} must be", refusal(**values) or "")
            self.assertIsNone(refusal(**kept, MessageRetentionDays=0))
