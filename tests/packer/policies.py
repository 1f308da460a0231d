#!/usr/bin/env python3
"""Holds what was asked of AWS against the policies of packer/iam: policies.py CALLS FOLDER.

CALLS has a line `SERVICE:ACTION KEY` per call, as front.py writes it. Whatever Packer and its scripts asked must be allowed by
packer-caller.json, whatever the instance asked by instance-profile.json.
"""
import json
import sys

calls = [line.split() for line in open(sys.argv[1])]


def allowed(file):
    statements = json.load(open(f"{sys.argv[2]}/{file}"))["Statement"]
    actions = [statement["Action"] for statement in statements]
    return {one for action in actions for one in ([action] if isinstance(action, str) else action)}


json.load(open(f"{sys.argv[2]}/trust.json"))
# What a person does before Packer runs is an administrator's business.
ADMINISTRATION = {"iam:CreateRole", "iam:PutRolePolicy", "iam:CreateInstanceProfile", "iam:AddRoleToInstanceProfile",
                  "ssm:PutParameter", "ec2:CreateLaunchTemplate"}
failed = False
for who, key, file in [("Packer", "lab-caller-key", "packer-caller.json"),
                       ("the instance", "lab-role-key", "instance-profile.json")]:
    asked = {action for action, *by in calls if by == [key]} - ADMINISTRATION
    missing = asked - allowed(file)
    print(f"{who} asked for {', '.join(sorted(asked))}")
    print(f"  allowed and not asked for: {', '.join(sorted(allowed(file) - asked))}")
    if missing or not asked:
        print(f"NOT SO: something was asked for, and {file} allows it; it lacks: {', '.join(sorted(missing))}")
        failed = True
sys.exit(failed)
