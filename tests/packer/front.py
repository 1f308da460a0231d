#!/usr/bin/env python3
"""What stands at the real names of AWS and GitHub in the lab of tests/packer.sh: front.py FOLDER.

On 169.254.169.254:80 the metadata of an instance, by IMDSv2 only. On 127.0.0.1:443, by host name: ECR's tokens, ECR's
registry (a docker-registry at port 5610, whose redirects then lead to S3's host name), S3 (moto's), git and BuildKit's
release on github.com, and for every other name moto at port 5600. moto's tokens expired in 2015 and its metadata has no TTL
header, hence ours. FOLDER has the certificate `front.pem` with its key `front.key`, `git/` and `release/`; `calls` there gets
one line per call of an API. While `token-expired` is there, ECR takes no token: 403, as it answers then.
"""
import base64
import http.client
import http.server
import json
import os
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse

FOLDER = sys.argv[1]
ACCOUNT, REGION = "123456789012", "eu-west-1"
REGISTRY = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
BUCKET = f"prod-{REGION}-starport-layer-bucket"
MOTO, BACKEND = ("127.0.0.1", 5600), ("127.0.0.1", 5610)
ROLE = {"Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": "lab-role-key", "SecretAccessKey": "lab-role-secret",
        "Token": "lab-session"}
EXPIRED = '{"errors":[{"code":"DENIED","message":"Your authorization token has expired. Reauthenticate and try again."}]}'
HOP = {"connection", "transfer-encoding", "content-length", "keep-alive"}
LOCK = threading.Lock()


def in_hours(hours):
    return time.time() + hours * 3600


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, code, body=b"", kind="text/plain", **headers):
        body = body.encode() if isinstance(body, str) else body
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def called(self, service, action):
        """Notes the call of an API; who it is that calls."""
        action = self.headers.get("X-Amz-Target", "").split(".")[-1] or action
        key = self.headers.get("Authorization", "").split("Credential=")[-1].split("/")[0]
        with LOCK, open(f"{FOLDER}/calls", "a") as log:
            log.write(f"{service}:{action} {key}\n")
        return key

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def pass_on(self, to, path=None, host=None, moved=lambda location: location, body=b""):
        """Has another server answer, piece by piece."""
        headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP | {"host"}}
        headers["Host"] = host or self.headers["Host"]
        connection = http.client.HTTPConnection(*to, timeout=60)
        connection.request(self.command, path or self.path, body or None, headers)
        answer = connection.getresponse()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in HOP:
                self.send_header(name, moved(value) if name.lower() == "location" else value)
        length = answer.getheader("Content-Length")
        whole = answer.read() if length is None and self.command != "HEAD" else None
        self.send_header("Content-Length", length or str(len(whole or b"")))
        self.end_headers()
        if whole is not None:
            self.wfile.write(whole)
        while whole is None and (piece := answer.read(1 << 18)):
            self.wfile.write(piece)
        connection.close()

    def go(self):
        host = (self.headers.get("Host") or "").split(":")[0]
        if host == "169.254.169.254":
            self.metadata()
        elif host == REGISTRY:
            self.registry()
        elif host == f"{BUCKET}.s3.{REGION}.amazonaws.com":
            if self.headers.get("Authorization"):
                self.answer(400, "<Error><Code>InvalidArgument</Code>"
                                 "<Message>Only one auth mechanism allowed</Message></Error>")
            else:
                self.pass_on(MOTO, f"/{BUCKET}{self.path}", "127.0.0.1:5600")
        elif host == f"api.ecr.{REGION}.amazonaws.com":
            self.token()
        elif host == "github.com":
            self.github()
        else:
            body = self.body()
            form = urllib.parse.parse_qs(body.decode(errors="replace"))
            self.called(host.split(".")[0], form.get("Action", ["-"])[0])
            self.pass_on(MOTO, body=body)

    def metadata(self):
        if self.path == "/latest/api/token":
            seconds = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds")
            if self.command != "PUT" or not seconds:
                return self.answer(400)
            return self.answer(200, "lab-token", X_Aws_Ec2_Metadata_Token_Ttl_Seconds=seconds)
        if self.headers.get("X-aws-ec2-metadata-token") != "lab-token":
            return self.answer(401)
        end = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(in_hours(6)))
        roles = "/latest/meta-data/iam/security-credentials"
        keys = json.dumps({**ROLE, "LastUpdated": end, "Expiration": end})
        known = {roles: "cachewarm", f"{roles}/": "cachewarm", f"{roles}/cachewarm": keys,
                 "/latest/meta-data/placement/region": REGION}
        return self.answer(200, known[self.path]) if self.path in known else self.answer(404)

    def token(self):
        self.body()
        kind = "application/x-amz-json-1.1"
        if self.called("ecr", "-") != ROLE["AccessKeyId"] or self.headers.get("X-Amz-Security-Token") != ROLE["Token"]:
            problem = {"__type": "UnrecognizedClientException", "message": "not the role of the instance"}
            return self.answer(400, json.dumps(problem), kind)
        token = base64.b64encode(f"AWS:{ACCOUNT}-auth-token".encode()).decode()
        data = {"authorizationToken": token, "expiresAt": round(in_hours(12)), "proxyEndpoint": f"https://{REGISTRY}"}
        return self.answer(200, json.dumps({"authorizationData": [data]}), kind)

    def registry(self):
        if os.path.exists(f"{FOLDER}/token-expired") and self.headers.get("Authorization"):
            return self.answer(403, EXPIRED, "application/json")
        ours = f"http://{MOTO[0]}:{MOTO[1]}/{BUCKET}/"
        theirs = f"https://{BUCKET}.s3.{REGION}.amazonaws.com/"
        return self.pass_on(BACKEND, moved=lambda location: location.replace(ours, theirs))

    def github(self):
        url = urllib.parse.urlsplit(self.path)
        if url.path.startswith("/moby/buildkit/releases/download/"):
            file = f"{FOLDER}/release/{os.path.basename(url.path)}"
            if not os.path.exists(file):
                return self.answer(404)
            with open(file, "rb") as archive:
                return self.answer(200, archive.read(), "application/gzip")
        if url.path.startswith("/private/") and not self.headers.get("Authorization"):
            return self.answer(401, WWW_Authenticate='Basic realm="GitHub"')
        # As a web server runs git's own CGI program.
        environment = {"PATH": os.environ["PATH"], "GIT_HTTP_EXPORT_ALL": "1", "GIT_PROJECT_ROOT": f"{FOLDER}/git",
                       "GIT_CONFIG_GLOBAL": "/dev/null", "REQUEST_METHOD": self.command, "REMOTE_ADDR": "127.0.0.1",
                       "PATH_INFO": url.path.replace("/private/", "/you/"), "QUERY_STRING": url.query,
                       "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                       "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                       "GIT_PROTOCOL": self.headers.get("Git-Protocol", "")}
        ran = subprocess.run(["git", "http-backend"], input=self.body(), env=environment, capture_output=True)
        head, _, body = ran.stdout.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
        return self.answer(int(fields.get("Status", "200").split()[0]), body, fields.get("Content-Type", "text/plain"))

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = go

    def log_message(self, text, *values):
        sys.stderr.write(f"{self.headers.get('Host') if hasattr(self, 'headers') else ''} {text % values}\n")


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        """A client that leaves early is none of ours."""


imds = Server(("169.254.169.254", 80), Handler)
threading.Thread(target=imds.serve_forever, daemon=True).start()
front = Server(("127.0.0.1", 443), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(f"{FOLDER}/front.pem", f"{FOLDER}/front.key")
# The handshake is made by the connection's own thread: one that hangs stops nobody.
front.socket = context.wrap_socket(front.socket, server_side=True, do_handshake_on_connect=False)
front.serve_forever()
