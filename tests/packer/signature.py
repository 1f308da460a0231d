#!/usr/bin/env python3
"""Is the signature of packer/files/parameters.py AWS's? Held against botocore's: moto looks at none. signature.py FILES"""
import datetime
import sys
import time
from unittest import mock

import botocore.auth
import botocore.awsrequest
import botocore.credentials

sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
import parameters

NOW = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
BODY = b'{"Name": "/ci/git-token", "WithDecryption": true}'
HOST, REGION = "ssm.eu-west-1.amazonaws.com", "eu-west-1"
HEADERS = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "AmazonSSM.GetParameter"}
KEYS = {"AccessKeyId": "lab-key", "SecretAccessKey": "lab-secret/+=", "Token": "lab-session=="}

ours = parameters.signed(BODY, HEADERS, KEYS, REGION, HOST, NOW.timetuple())

request = botocore.awsrequest.AWSRequest("POST", f"https://{HOST}/", data=BODY, headers={**HEADERS, "Host": HOST})
credentials = botocore.credentials.Credentials(KEYS["AccessKeyId"], KEYS["SecretAccessKey"], KEYS["Token"])
with mock.patch("botocore.auth.get_current_datetime", return_value=NOW.replace(tzinfo=None)):
    botocore.auth.SigV4Auth(credentials, "ssm", REGION).add_auth(request)
theirs = request.headers["Authorization"]

print(f"ours:   {ours['Authorization']}\ntheirs: {theirs}")
sys.exit(ours["Authorization"] != theirs or time.strftime("%Y%m%d", NOW.timetuple()) not in theirs)
