"""The comparison of permissions."""

import unittest

from samtranslator.yaml_helper import yaml_parse
from template import difference, permissions

TEMPLATE = """
Resources:
  Role:
    Type: AWS::IAM::Role
    Properties:
      ManagedPolicyArns: [arn:aws:iam::aws:policy/AdministratorAccess]
      AssumeRolePolicyDocument:
        Statement:
          - { Effect: Allow, Principal: { Service: [lambda.amazonaws.com] }, Action: sts:AssumeRole }
      Policies:
        - PolicyDocument:
            Statement: { Effect: Allow, Action: [sqs:A, sqs:B], Resource: !GetAtt Queue.Arn }
  Policy:
    Type: AWS::SQS::QueuePolicy
    Properties:
      PolicyDocument:
        Statement:
          - { Effect: Deny, Principal: "*", NotAction: sqs:A, Resource: "*", Condition: { Bool: { a: !Ref B } } }
  Permission:
    Type: AWS::Lambda::Permission
    Properties: { Principal: p, Action: a, FunctionName: !Ref F, SourceArn: !Sub "arn:${X}" }
"""
PERMISSIONS = """
lambda.amazonaws.com  sts:AssumeRole  Role
Role  managed-policy  arn:aws:iam::aws:policy/AdministratorAccess
Role  sqs:A  Queue.Arn
Role  sqs:B  Queue.Arn
deny  *  not:sqs:A  *  if {"Bool":{"a":"B"}}
p  a  F  if arn:${X}
"""


class Permissions(unittest.TestCase):
    def test_are_found_in_every_form(self):
        self.assertEqual(difference(PERMISSIONS, permissions(yaml_parse(TEMPLATE))), [])

    def test_differ_by_what_is_missing_and_what_is_more(self):
        found = ["A b c", "A b c", "D e f"]
        self.assertEqual(difference("# comment\nA  b  c\nG  h  i\n", found), ["- G h i", "+ A b c", "+ D e f"])
