"""Other people's bake files, by buildx and by cachewarm: see bake.sh."""

import gzip
import hashlib
import http.server
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import threading
import time

CACHEWARM, RECORD, WORK, DIRECTORY = sys.argv[1:5]
PLATFORMS = ["linux/amd64", "linux/arm64", "linux/arm/v5", "linux/arm/v6", "linux/arm/v7", "linux/386", "linux/ppc64le", "linux/s390x", "linux/riscv64", "linux/loong64", "linux/mips64le", "linux/mips64", "darwin/amd64", "darwin/arm64", "windows/amd64", "windows/arm64", "freebsd/amd64", "freebsd/arm64"]
# The files that buildx reads when none is named.
USUAL = ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml", "docker-bake.json", "docker-bake.hcl", "docker-bake.override.json", "docker-bake.override.hcl"]
SHELLS = ["sh", "bash", "ash", "env", "pwsh", "python", "python3", "zsh"]
# Options of a question that change no graph: sessions, what an image attests, where a cache is imported from.
NOT_IN_GRAPH = re.compile(r"^(local-sessionid|attest:|vcs:|cache-imports$|cache-from$)")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
NO_CACHE = "cachewarm/none:latest"
# How many wrong graphs of a call are shown.
SHOWN = 3


class Registry:
    """Has every image that anybody names: the same one, but for frontends and for a cache that has nothing."""

    def __init__(self):
        self.blobs = {}
        frontend = {"bin/dockerfile-frontend": open(os.environ["DOCKERFILE_FRONTEND"], "rb").read()}
        caps = "moby.buildkit.frontend.inputs,moby.buildkit.frontend.subrequests,moby.buildkit.frontend.contexts"
        self.frontend = self.image(frontend, ["linux/amd64"], {
            "Entrypoint": ["/bin/dockerfile-frontend"],
            "Labels": {"moby.buildkit.frontend.network.none": "true", "moby.buildkit.frontend.caps": caps}})
        config = self.put({"layers": [], "records": []}, "application/vnd.buildkit.cacheconfig.v0")
        self.nothing = self.put({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json",
                                 "manifests": [config]}, "application/vnd.oci.image.index.v1+json")
        self.base = None
        registry = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self, body=True):
                found = re.fullmatch(r"/v2/(?:(.+)/(manifests|blobs)/([^/]+))?", self.path.split("?")[0])
                kind, content = registry.answer(*found.groups()) if found else (None, None)
                self.send_response(200 if content is not None else 404)
                content = content or b"{}"
                self.send_header("Content-Type", kind or "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.send_header("Docker-Content-Digest", digest(content))
                self.end_headers()
                if body:
                    self.wfile.write(content)

            def do_HEAD(self):
                self.do_GET(body=False)

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        # A client that goes is no error.
        server.handle_error = lambda *_: None
        self.address = f"127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def put(self, content, kind):
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.blobs[digest(content)] = (kind, content)
        return {"mediaType": kind, "digest": digest(content), "size": len(content)}

    def image(self, files, platforms, configuration):
        """An index for the platforms, of these files: programs, but for what lies in etc."""
        plain = io.BytesIO()
        with tarfile.open(fileobj=plain, mode="w") as tar:
            folders = {os.path.dirname(name) for name in files} | {"tmp", "root", "home"}
            for folder in sorted({"/".join(name.split("/")[:n]) for name in folders for n in range(1, 9)} - {""}):
                entry = tarfile.TarInfo(folder)
                entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755
                tar.addfile(entry)
            for name, content in sorted(files.items()):
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(content), 0o755
                tar.addfile(entry, io.BytesIO(content))
        layer = self.put(gzip.compress(plain.getvalue(), mtime=0), "application/vnd.oci.image.layer.v1.tar+gzip")
        manifests = []
        for platform in platforms:
            machine = dict(zip(("os", "architecture", "variant"), platform.split("/")))
            config = self.put({**machine, "config": {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin"], **configuration},
                               "rootfs": {"type": "layers", "diff_ids": [digest(plain.getvalue())]},
                               "history": [{"created_by": "made up"}]}, "application/vnd.oci.image.config.v1+json")
            kind = "application/vnd.oci.image.manifest.v1+json"
            manifest = {"schemaVersion": 2, "mediaType": kind, "config": config, "layers": [layer]}
            manifests.append({**self.put(manifest, kind), "platform": machine})
        kind = "application/vnd.oci.image.index.v1+json"
        return self.put({"schemaVersion": 2, "mediaType": kind, "manifests": manifests}, kind)

    def answer(self, name, section, reference):
        if name is None:
            return "application/json", b"{}"
        if reference.startswith("sha256:"):
            return self.blobs.get(reference, (None, None))
        if f"{name}:{reference}" == NO_CACHE:
            return self.blobs[self.nothing["digest"]]
        frontend = "dockerfile" in name.rsplit("/", 1)[-1]
        return self.blobs[(self.frontend if frontend else self.base)["digest"]]


def digest(content):
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def instructions(text):
    """A Dockerfile's lines, those that go on joined; of a here-document each is one."""
    at, lines = [], text.split("\n")
    for line in lines:
        at.append(line)
        comment = line.lstrip().startswith("#")
        if not (line.rstrip().endswith("\\") or (comment and len(at) > 1)):
            yield "\n".join(at)
            at = []
    if at:
        yield "\n".join(at)


def harmless(text, wanted):
    """The Dockerfile with nothing in it that needs a network or what a command would have made."""
    made = []
    for line in instructions(re.sub(r"@sha256:[0-9a-f]{64}", "", text)):
        word = line.split(None, 1)[0].upper() if line.strip() else ""
        if word == "ADD" and re.search(r"[\s\"'](https?://|git@|git://|\$\{?\w*URL)", line):
            continue
        if word in ("COPY", "ADD") and "--from=" in line and "<<" not in line:
            line = re.sub(r"\\\n", " ", line)
            flags, places = re.match(r"(\s*\w+(?:\s+--\S+)*)\s+(.*)", line).groups()
            if not places.startswith("["):
                *sources, into = places.split()
                # Of a pattern, where it looks.
                plain = [re.sub(r"[^/]*[*?\[].*", "", source) for source in sources]
                wanted.update("/" + source.lstrip("/") for source in plain if "$" not in source)
                line = " ".join([flags, *map(wild, sources), into])
        if word == "RUN":
            line = re.sub(r"(--mount=\S*)", plain_mount, line)
        made.append(line)
    return "\n".join(made)


def wild(source):
    """The same path as a pattern, which may match nothing."""
    found = re.fullmatch(r"(.*[^/.}\w]|.*?)([\w-]+)?(/?)", source)
    name = found.group(2)
    if source.strip("/.") == "" or not name or source.endswith("}") or re.search(r"\$\w+$", source):
        return source
    return f"{source[:-len(found.group(3)) or None][:-1]}[{name[-1]}]{found.group(3)}"


def plain_mount(found):
    mount = re.sub(r",required(=\w+)?", "", found.group(1))
    return re.sub(r"(?<=[=,])(source|src)=[^,\s]+,?", "", mount).rstrip(",") if "from=" in mount else mount


def prepared(registry, name):
    """A copy of the checkout that builds here, and a configuration of BuildKit's."""
    copy = os.path.join(WORK, name, "checkout")
    shutil.copytree(os.path.join(DIRECTORY, name), copy, symlinks=True)
    wanted, words, hosts = set(), {"root", "nobody"}, {"docker.io"}
    for folder, folders, files in os.walk(copy):
        folders[:] = [one for one in folders if one != ".git"]
        for file in files:
            path = os.path.join(folder, file)
            if file.endswith("file.rego"):
                # A policy asks for signatures of images, and those here have none.
                os.remove(path)
                continue
            is_dockerfile = re.search(r"(docker|container)file", file, re.IGNORECASE) and not file.endswith((".go", ".md"))
            if os.path.islink(path) or not (is_dockerfile or re.search(r"\.(hcl|ya?ml|json)$", file)):
                continue
            with open(path, "rb") as opened:
                text = opened.read().decode(errors="surrogateescape")
            if is_dockerfile:
                words |= set(re.findall(r"^\s*(?:USER\s+|ARG\s+\w+=)\"?([\w-]+)", text, re.MULTILINE))
                words |= {word for pair in re.findall(r"--chown=(\S+)", text) for word in re.findall(r"[\w-]+", pair)}
                text = harmless(text, wanted)
            else:
                text = re.sub(r"@sha256:[0-9a-f]{64}", "", text)
            hosts |= set(re.findall(r"\b((?:[a-z0-9-]+\.)+[a-z]{2,})/", text))
            with open(path, "wb") as opened:
                opened.write(text.encode(errors="surrogateescape"))
    shell = open(f"{WORK}/shell", "rb").read()
    users = [word for word in sorted(words) if not word.isdigit()]
    entries = lambda shape: "".join(shape.format(word, at if word != "root" else 0) for at, word in enumerate(users, 1000))
    files = {f"{folder}/{shell_name}": shell for folder in ("bin", "usr/bin") for shell_name in SHELLS}
    files |= {"etc/passwd": entries("{0}:x:{1}:{1}::/home/{0}:/bin/sh\n").encode(),
              "etc/group": entries("{0}:x:{1}:\n").encode(), ".wanted": "".join(f"{path}\n" for path in sorted(wanted)).encode()}
    for path in sorted(path.strip("/") for path in wanted):
        # As shell.c has it.
        is_file = "." in path.rsplit("/", 1)[-1][1:]
        if path and not any(f"{file}/".startswith(f"{path}/") or f"{path}/".startswith(f"{file}/") for file in files):
            files[path if is_file else f"{path}/.made"] = path.encode()
    registry.base = registry.image(files, PLATFORMS, {})
    config = os.path.join(WORK, name, "buildkitd.toml")
    with open(config, "w") as file:
        file.write('insecure-entitlements = ["network.host", "security.insecure"]\n')
        for host in sorted(hosts):
            file.write(f'[registry."{host}"]\n  mirrors = ["{registry.address}"]\n')
        file.write(f'[registry."{registry.address}"]\n  http = true\n')
    return copy, config


class Builder:
    """A daemon on a root, behind a recording proxy."""

    def __init__(self, folder, root, config):
        os.makedirs(folder)
        self.address, self.lines = f"unix://{folder}/proxy.sock", f"{folder}/questions"
        log = open(f"{folder}/log", "w")
        own = f"unix://{folder}/buildkitd.sock"
        self.processes = [subprocess.Popen([os.environ["BUILDKITD"], "--root", root, "--config", config, "--addr", own,
                                            "--otel-socket-path", f"{folder}/traces.sock", "--containerd-worker=false",
                                            "--oci-worker-gc=false"], stdout=log, stderr=log),
                          subprocess.Popen([RECORD, f"{folder}/proxy.sock", f"{folder}/buildkitd.sock", self.lines])]
        while not all(os.path.exists(f"{folder}/{name}.sock") for name in ("buildkitd", "proxy")):
            time.sleep(0.05)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.terminate()
            process.wait()

    def questions(self):
        with open(self.lines) as file:
            asked = [json.loads(line) for line in file]
        for question in asked:
            # Bake files name the time in labels.
            question["options"] = {key: TIME.sub("TIME", value) for key, value in question["options"].items() if not NOT_IN_GRAPH.match(key)}
        return asked


def is_step(name):
    label, closes, line = name[1:].partition("] ")
    return name.startswith("[") and closes and "/" in label.rsplit(" ", 1)[-1] and not line.startswith("FROM ")


def done(output):
    """What a build of buildx had to do: steps that ran, and blobs that it fetched."""
    vertices, fetched = {}, set()
    for message in filter(lambda line: line.startswith("{"), output.splitlines()):
        message = json.loads(message)
        for vertex in message.get("vertexes") or []:
            name, cached = vertices.get(vertex["digest"], (vertex["name"], False))
            vertices[vertex["digest"]] = (name, cached or bool(vertex.get("cached")))
        fetched |= {status["id"] for status in message.get("statuses") or [] if status["id"].startswith(("sha256:", "extracting"))}
    return sorted({name for name, cached in vertices.values() if is_step(name) and not cached}), sorted(fetched)


def flagged(words, folder):
    """The call as flags of ours; none when it has what only a line can say."""
    flags, words = [], list(words)
    while words:
        word = words.pop(0)
        flag, given, value = word.partition("=")
        if flag in ("-f", "--file", "--allow"):
            flags += ["--allow" if flag == "--allow" else "--bake", value if given else words.pop(0)]
        elif word.startswith("-"):
            return None
        else:
            flags += ["--bake-target", word]
    if "--bake" not in flags:
        flags += [word for name in USUAL if os.path.exists(f"{folder}/{name}") for word in ("--bake", name)]
    return flags


def graphs(questions):
    """Each graph, with the question that it answers, and its platform."""
    return [(json.dumps([question["options"], {name: graph[-1:] for name, graph in question["inputs"].items()}], sort_keys=True), platform,
             graph) for question in questions for platform, graph in question["results"].items()]


def compared(title, ours, theirs):
    """How many graphs of theirs ours has; says what is different."""
    ours, theirs, same = graphs(ours), graphs(theirs), 0
    wrong = 0
    for question, platform, graph in theirs:
        if (question, platform, graph) in ours:
            same += 1
            continue
        wrong += 1
        if wrong > SHOWN:
            continue
        options, inputs = json.loads(question)
        print(f"WRONG: {title}: no such graph, platform {platform!r}, target {options.get('target')!r} of {options.get('filename')!r}", flush=True)
        alike = lambda other: (sum(pair in json.loads(other[0])[0].items() for pair in options.items()), other[1] == platform, len(set(graph) & set(other[2])))
        if ours:
            near, near_inputs = json.loads((nearest := max(ours, key=alike))[0])
            print(f"  nearest: platform {nearest[1]!r}; only buildx: {sorted(set(options.items()) - set(near.items()))}; only cachewarm: "
                  f"{sorted(set(near.items()) - set(options.items()))}; inputs equal: {inputs == near_inputs}; "
                  f"operations not the same: {len(set(graph) - set(nearest[2]))} of {len(graph)}", flush=True)
    return same, len(theirs), len(ours) - same


def campaign(registry, name):
    copy, config = prepared(registry, name)
    os.makedirs(f"{WORK}/bin", exist_ok=True)
    if not os.path.lexists(f"{WORK}/bin/buildx"):
        os.symlink(os.environ["BUILDX"], f"{WORK}/bin/buildx")
    environment = {"PATH": f"{WORK}/bin:{os.environ['PATH']}", "HOME": f"{WORK}/home", "DOCKER_CONFIG": f"{WORK}/home", "BUILDX_CONFIG": f"{WORK}/buildx"}
    totals = []
    with open(os.path.join(DIRECTORY, f"{name}.bake")) as file:
        calls = [shlex.split(line) for line in file if line.strip() and not line.startswith("#")]
    for number, words in enumerate(calls):
        given = dict(environment)
        while words and re.match(r"\w+=", words[0]):
            given.update([words.pop(0).split("=", 1)])
        totals.append(call(registry, f"{name}/{number}", copy, config, words, given))
    return [sum(column) for column in zip(*totals)]


def call(registry, name, copy, config, words, environment):
    """One call: graphs that were the same by flags and by the line, of how many; steps that buildx ran."""
    folder = os.path.join(WORK, name)
    root, none = f"{folder}/root", f"{registry.address}/{NO_CACHE}"
    run = lambda command: subprocess.run(command, capture_output=True, text=True, cwd=copy, env=environment)
    bake = lambda *flags: run([os.environ["BUILDX"], "bake", *sum(flags, [])])

    def created(name, builder):
        name = f"b{name.replace('/', '-')}"
        run([os.environ["BUILDX"], "create", f"--name={name}", "--driver=remote", builder.address]).check_returncode()
        return [f"--builder={name}"]

    own = [CACHEWARM, "warm", "--root", root, "--buildkitd-config", config, "--manifest", f"{folder}/manifest.json", "--quiet", "--cache-from", none, "--min-hit-rate", "0"]
    asked, wrong, began = {}, 0, time.monotonic()
    ways = {"flags": flagged(words, copy), "line": ["--", "docker", "buildx", "bake", *words]}
    for way, flags in ((way, flags) for way, flags in ways.items() if flags is not None):
        with Builder(f"{folder}/{way}", root, config) as builder:
            warmed = run([*own, "--builder", builder.address, *flags])
            if warmed.returncode != 0:
                print(f"WRONG: {name} by {way}: exit {warmed.returncode}: {warmed.stdout[-300:]}{warmed.stderr[-1200:]}", flush=True)
                wrong += 1
            asked[way] = builder.questions() if os.path.exists(builder.lines) else []
    warm = f"{folder}/warm"
    subprocess.run(["cp", "-a", "--reflink=auto", root, warm], check=True)
    with Builder(f"{folder}/buildx", root, config) as builder:
        flags = ["--progress=rawjson", "--provenance=false", "--sbom=false",
                 "--set=*.output=type=cacheonly", "--set=*.cache-to=", f"--set=*.cache-from=type=registry,ref={none}"]
        built = bake(created(name, builder), flags, words)
        theirs = builder.questions() if os.path.exists(builder.lines) else []
        ran, fetched = done(built.stdout + built.stderr)
        targets = json.loads(bake([], ["--print"], words).stdout)["target"] if built.returncode == 0 else []
    together = len(ran)
    if built.returncode == 0 and ran:
        # What several targets have in common BuildKit does once, and says of the others that they are not cached. So each is
        # built by itself, on a root that knows nothing of the build of all.
        named = [at for at, word in enumerate(words) if not word.startswith("-") and (at == 0 or words[at - 1] not in ("-f", "--file", "--allow", "--set"))]
        rest = [word for at, word in enumerate(words) if at not in named]
        ran, fetched = [], []
        for number, target in enumerate(targets):
            alone = f"{folder}/alone-{number}"
            subprocess.run(["cp", "-a", "--reflink=auto", warm, f"{alone}-root"], check=True)
            with Builder(alone, f"{alone}-root", config) as builder:
                one = bake(created(f"{name}-{number}", builder), flags, [*rest, target])
            if one.returncode != 0:
                print(f"WRONG: {name}: buildx refuses {target} alone: {one.stderr[-300:]}", flush=True)
            did = done(one.stdout + one.stderr)
            ran, fetched = sorted({*ran, *did[0]}), sorted({*fetched, *did[1]})
            shutil.rmtree(f"{alone}-root", ignore_errors=True)
    if built.returncode != 0:
        errors = [line for line in (built.stdout + built.stderr).splitlines() if not line.startswith("{")]
        print(f"buildx refuses {name}: {' '.join(errors)[-700:]}", flush=True)
    if ran or fetched:
        print(f"WRONG: {name}: buildx did {len(ran)} steps and fetched {len(fetched)}: {[text[:150] for text in ran[:8]]} {fetched[:3]}", flush=True)
    counts = [compared(f"{name} by {way}", asked[way], theirs) for way in asked]
    for way, (same, all_of_them, more) in zip(asked, counts):
        print(f"{name} by {way}: {same} of {all_of_them} graphs are the same, {more} more were asked for", flush=True)
    print(f"{name}: buildx ran {together} steps of all targets together, {len(ran)} of each by itself; {time.monotonic() - began:.0f} s", flush=True)
    if "KEEP" not in os.environ:
        [shutil.rmtree(left, ignore_errors=True) for left in (root, warm)]
    return len(theirs), sum(same for same, _, _ in counts), sum(others for _, others, _ in counts), len(ran) + len(fetched), wrong + (built.returncode != 0)


def main():
    names = sys.argv[5:] or sorted(name[:-5] for name in os.listdir(DIRECTORY) if name.endswith(".bake"))
    registry, totals = Registry(), []
    for name in names:
        totals.append(campaign(registry, name))
    questions, same, compared_graphs, ran, failed = (sum(column) for column in zip(*totals))
    print(f"{len(names)} projects, {questions} targets: {same} of {compared_graphs} graphs were the same; buildx had {ran} things to do; {failed} calls failed.")
    sys.exit(0 if same == compared_graphs and not ran and not failed else 1)


main()
