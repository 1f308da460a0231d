#!/usr/bin/env python3
"""Reads secrets from AWS Systems Manager with the role of the instance.

SECRET_PARAMETERS has lines VARIABLE=NAME. For each, VARIABLE=VALUE is written to standard output, ended by a zero byte, where
VALUE is that of the parameter NAME in AWS_REGION, decrypted. Only Python's own modules are used: a stock image has neither
AWS's tools nor its libraries.
"""
import hashlib
import hmac
import json
import os
import sys
import time
import urllib.error
import urllib.request

METADATA = "http://169.254.169.254/latest/"
# The role's credentials come over plain HTTP from the machine itself, and are for no proxy.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def fetch(url, data=None, headers={}, method=None):
    request = urllib.request.Request(url, data, headers, method=method)
    open_url = DIRECT.open if url.startswith(METADATA) else urllib.request.urlopen
    with open_url(request, timeout=20) as answer:
        return answer.read().decode()


def role():
    """The credentials of the instance's role, by IMDSv2."""
    token = fetch(METADATA + "api/token", b"", {"X-aws-ec2-metadata-token-ttl-seconds": "60"}, "PUT")
    headers = {"X-aws-ec2-metadata-token": token}
    folder = METADATA + "meta-data/iam/security-credentials/"
    return json.loads(fetch(folder + fetch(folder, headers=headers), headers=headers))


def signed(body, headers, keys, region, host, now):
    """The headers with AWS's signature, version 4, of a POST to / of Systems Manager."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", now)
    headers = {**headers, "Host": host, "X-Amz-Date": stamp, "X-Amz-Security-Token": keys["Token"]}
    ordered = sorted((name.lower(), value) for name, value in headers.items())
    names = ";".join(name for name, _ in ordered)
    canonical = "\n".join(["POST", "/", "", *(f"{name}:{value}" for name, value in ordered), "", names,
                           hashlib.sha256(body).hexdigest()])
    scope = [stamp[:8], region, "ssm", "aws4_request"]
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, "/".join(scope), hashlib.sha256(canonical.encode()).hexdigest()])
    key = b"AWS4" + keys["SecretAccessKey"].encode()
    for part in [*scope, text]:
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    credential = "/".join([keys["AccessKeyId"], *scope])
    authorization = f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={key.hex()}"
    return {**headers, "Authorization": authorization}


def parameter(name, keys, region):
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    host = f"ssm.{region}.{domain}"
    body = json.dumps({"Name": name, "WithDecryption": True}).encode()
    headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "AmazonSSM.GetParameter"}
    try:
        answer = fetch(f"https://{host}/", body, signed(body, headers, keys, region, host, time.gmtime()))
    except urllib.error.HTTPError as error:
        raise OSError(f"{error.code} {error.read().decode(errors='replace')}") from error
    return json.loads(answer)["Parameter"]["Value"]


def main():
    pairs = [line.partition("=") for line in os.environ.get("SECRET_PARAMETERS", "").splitlines()]
    if not pairs:
        return
    region = os.environ["AWS_REGION"]
    try:
        keys = role()
    except (OSError, ValueError) as problem:
        sys.exit(f"secrets: the instance has no role's credentials: {problem}\nhint: give iam_instance_profile")
    for variable, _, name in pairs:
        try:
            value = parameter(name, keys, region)
        except (OSError, ValueError, KeyError) as problem:
            sys.exit(f"secrets: could not read the parameter {name} in {region}: {problem}\n"
                     "hint: the instance profile's role needs ssm:GetParameter on it (iam/instance-profile.json)")
        sys.stdout.write(f"{variable}={value}\0")


if __name__ == "__main__":
    main()
