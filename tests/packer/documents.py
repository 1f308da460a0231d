#!/usr/bin/env python3
"""Are the documents of the other ways sound? documents.py image-builder|cloud-init FILE [NAME=VALUE...]

A component of Image Builder is held against the rules of AWSTOE's schema 1.0 that it uses, user data against cloud-init's own
schema (CLOUD_INIT_SCHEMA), and every shell text in them is parsed by bash. What they do on the machine is then printed as one
script, with the values of the component's parameters, or of the settings in the user data.
"""
import json
import os
import re
import subprocess
import sys

import jsonschema
import yaml

TEXT = {"type": "string", "minLength": 1}
NAME = {"type": "string", "pattern": "^[A-Za-z][A-Za-z0-9_-]*$"}


def exactly(required, **properties):
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False}


PARAMETER = exactly(["type"], type={"enum": ["string"]}, default={"type": "string"}, description=TEXT)
BASH = exactly(["commands"], commands={"type": "array", "minItems": 1, "items": TEXT})
DOWNLOAD = {"type": "array", "minItems": 1, "items": exactly(["source", "destination"], source=TEXT, destination=TEXT)}
STEP = {**exactly(["name", "action", "inputs"], name=NAME, action={"enum": ["ExecuteBash", "S3Download"]},
                  timeoutSeconds={"type": "integer", "minimum": 1}, maxAttempts={"type": "integer", "minimum": 1},
                  onFailure={"enum": ["Abort", "Continue", "Ignore"]}, inputs={}),
        "if": {"properties": {"action": {"const": "ExecuteBash"}}},
        "then": {"properties": {"inputs": BASH}}, "else": {"properties": {"inputs": DOWNLOAD}}}
PHASE = exactly(["name", "steps"], name={"enum": ["build", "validate", "test"]},
                steps={"type": "array", "minItems": 1, "items": STEP})
COMPONENT = exactly(["schemaVersion", "phases"], name=TEXT, description=TEXT, schemaVersion={"const": 1.0},
                    parameters={"type": "array", "items": {"type": "object", "minProperties": 1, "maxProperties": 1,
                                                           "additionalProperties": PARAMETER}},
                    phases={"type": "array", "minItems": 1, "items": PHASE})


def parses(shell):
    subprocess.run(["bash", "-n"], input=shell, text=True, check=True)


def image_builder(text, values):
    document = yaml.safe_load(text)
    jsonschema.validate(document, COMPONENT)
    names = [step["name"] for phase in document["phases"] for step in phase["steps"] if phase["name"] == "build"]
    assert names[-1] == "Seal", "the seal is the last step"
    given = {name for parameter in document["parameters"] for name in parameter}
    used = set(re.findall(r"{{ *(\w+) *}}", text))
    assert given == used, f"parameters that are given and not used, or used and not given: {given ^ used}"
    for parameter in document["parameters"]:
        for name, about in parameter.items():
            text = re.sub("{{ *" + name + " *}}", lambda _: values.get(name, about.get("default", "")), text)
    for phase in yaml.safe_load(text)["phases"]:
        for step in phase["steps"]:
            if step["action"] == "ExecuteBash":
                parses("\n".join(step["inputs"]["commands"]))
                if phase["name"] != "test":
                    print("bash <<'STEP'", *step["inputs"]["commands"], "STEP", sep="\n")


def cloud_init(text, values):
    assert text.startswith("#cloud-config\n"), "without this first line it is no user data of cloud-init"
    assert len(text) < 16384, "EC2 takes no more"
    document = yaml.safe_load(text)
    with open(os.environ["CLOUD_INIT_SCHEMA"]) as schema:
        jsonschema.validate(document, json.load(schema))
    for file in document["write_files"]:
        parses(file["content"])
        # The machine of the test stays on, and has no console.
        content = file["content"].replace("poweroff", "true").replace("/dev/console", "/dev/stdout")
        content = re.sub(r"^(\w+)=(.*)$", lambda m: f"{m[1]}={values.get(m[1], m[2])}", content, flags=re.M)
        print(f"install -D -m {file['permissions']} /dev/stdin {file['path']} <<'FILE'", content + "FILE", sep="\n")
    for command in document["runcmd"]:
        print(*command)


way, file, *values = sys.argv[1:]
with open(file) as opened:
    {"image-builder": image_builder, "cloud-init": cloud_init}[way](opened.read(), dict(value.split("=", 1) for value in values))
