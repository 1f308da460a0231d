"""Random projects, random edits, and a judge: see smoke.sh."""

import concurrent.futures
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time

CACHEWARM, WORK, TREES = sys.argv[1:4]
EDITS, SEED = int(sys.argv[4]), int(sys.argv[5])
EDITS_PER_PROJECT = 20
WORKERS = 2
# What is taken of a file tree.
MOST_FILES, MOST_BYTES = 60, 200_000


def tree(rng, into):
    """Copies a part of somebody's file tree."""
    candidates = []
    for name in sorted(os.listdir(os.path.join(TREES, "github.com"))):
        owner = os.path.join(TREES, "github.com", name)
        candidates += [os.path.join(owner, module) for module in sorted(os.listdir(owner)) if "@" in module]
    source = rng.choice(candidates)
    left = MOST_FILES
    for folder, folders, files in os.walk(source):
        folders.sort()
        for name in sorted(files):
            path = os.path.join(folder, name)
            if left == 0 or os.path.islink(path) or os.path.getsize(path) > MOST_BYTES:
                continue
            left -= 1
            to = os.path.join(into, os.path.relpath(path, source))
            os.makedirs(os.path.dirname(to), exist_ok=True)
            shutil.copyfile(path, to)
            os.chmod(to, 0o755 if rng.random() < 0.1 else 0o644)
    for name in ("Dockerfile", ".dockerignore"):
        if os.path.lexists(os.path.join(into, name)):
            os.remove(os.path.join(into, name))
    os.makedirs(os.path.join(into, "own/inner"))
    for name in ("own/a.txt", "own/b.txt", "own/inner/c.txt", "top.txt"):
        with open(os.path.join(into, name), "w") as file:
            file.write(name + "\n")
    os.symlink("a.txt", os.path.join(into, "own/link"))


def dockerfile(rng, context):
    """A random Dockerfile: a list of stages, each a list of lines."""
    folders = [name for name in sorted(os.listdir(context)) if os.path.isdir(os.path.join(context, name))]
    stages = []
    for number in range(rng.randint(3, 9)):
        named = rng.random() < 0.85
        bases = ["busybox:1.35"] + [stage["name"] for stage in stages if stage["name"] and stage["shell"]]
        base = "scratch" if rng.random() < 0.12 else rng.choice(bases)
        stage = {"name": f"s{number}" if named else "", "number": number, "base": base, "shell": base != "scratch"}
        lines = [f"COPY top.txt /out{number}/top.txt"] if base == "scratch" else [
            f"RUN mkdir -p /out{number} && echo {number} >/out{number}/top.txt"]
        for _ in range(rng.randint(1, 5)):
            lines.append(line(rng, stage, stages, folders))
        stage["lines"] = lines
        stages.append(stage)
    last = {"name": "last", "number": len(stages), "base": "busybox:1.35", "shell": True, "lines": []}
    for stage in rng.sample(stages, rng.randint(1, len(stages))):
        link = "--link " if rng.random() < 0.4 else ""
        last["lines"].append(f"COPY {link}--from={stage['name'] or stage['number']} /out{stage['number']} /from{stage['number']}")
    last["lines"].append("RUN cat /from*/top.txt >/all")
    return stages + [last]


def line(rng, stage, stages, folders):
    word = f"{rng.randrange(10**6)}"
    folder = rng.choice(folders)
    copies = [
        "COPY own/a.txt /own/a.txt", "COPY own /own/", f"COPY {folder}/ /f/{folder}/", "COPY own/*.txt /texts/",
        "COPY --link own/inner /inner", "COPY --chmod=750 own/b.txt /b.txt", "COPY --chown=7:8 own /chowned",
        f"COPY <<END /here{word}\nhere {word}\nEND", "COPY . /everything/", "ADD own/b.txt /added/",
    ]
    if stages:
        other = rng.choice(stages)
        copies.append(f"COPY --from={other['name'] or other['number']} /out{other['number']}/top.txt /t{word}")
    if not stage["shell"]:
        return rng.choice([copy for copy in copies if "*" not in copy])
    runs = [
        f"RUN echo {word} >/r{word}", f"RUN <<END\nset -e\necho {word} >/h{word}\nEND",
        f"RUN --mount=type=cache,target=/cache echo {word} >/c{word}",
        f"RUN --mount=type=bind,source=own,target=/mnt cat /mnt/a.txt >/m{word}",
        f"RUN --mount=type=tmpfs,target=/scratch echo {word} >/t{word}", f"RUN --network=none echo {word} >/n{word}",
        f"ENV E{word}={word}", f"ARG A{word}={word}\nRUN echo $A{word} >/a{word}", f"WORKDIR /w{word}",
        f"LABEL l{word}={word}",
    ]
    named = [other for other in stages if other["name"]]
    if named:
        # A mount knows a stage by its name alone.
        other = rng.choice(named)
        runs.append(f"RUN --mount=type=bind,from={other['name']},source=/out{other['number']},target=/o "
                    f"cat /o/top.txt >/b{word}")
    return rng.choice(copies + runs)


def written(stages):
    text = "# syntax=docker/dockerfile:1\n"
    for stage in stages:
        name = f" AS {stage['name']}" if stage["name"] else ""
        text += "\n".join([f"FROM {stage['base']}{name}"] + stage["lines"]) + "\n\n"
    return text


def edit(rng, context, stages):
    """Changes something at random; says what, and which flags the build gets."""
    flags = []
    stages = json.loads(json.dumps(stages))
    files = [os.path.join(folder, name) for folder, _, names in os.walk(context) for name in names if name != "Dockerfile"]
    files = sorted(path for path in files if not os.path.islink(path))
    said = []
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        kind = rng.choice(["content", "mode", "remove", "add", "link", "run", "env", "arg", "line", "flag", "label", "nothing",
                           "swap", "workdir", "text"])
        said.append(kind)
        path = rng.choice(files)
        stage = rng.choice(stages)
        if kind == "content" and os.path.exists(path):
            with open(path, "ab") as file:
                file.write(b"\nchanged")
        elif kind == "mode" and os.path.exists(path):
            os.chmod(path, rng.choice([0o600, 0o664, 0o755, 0o644]))
        elif kind == "remove" and os.path.exists(path) and "own" not in path and not path.endswith("top.txt"):
            # A folder that a line names stays.
            if len(os.listdir(os.path.dirname(path))) > 1:
                os.remove(path)
        elif kind == "add":
            with open(os.path.join(os.path.dirname(path), f"new{rng.randrange(1000)}"), "w") as file:
                file.write("new")
        elif kind == "link":
            os.remove(os.path.join(context, "own/link"))
            os.symlink(rng.choice(["b.txt", "inner"]), os.path.join(context, "own/link"))
        elif kind == "run":
            runs = [at for at, text in enumerate(stage["lines"]) if text.startswith("RUN ") and "<<" not in text]
            if runs:
                stage["lines"][rng.choice(runs)] += " && true"
        elif kind == "text":
            texts = [(stage, at) for stage in stages for at, text in enumerate(stage["lines"]) if text.startswith("COPY <<")]
            if texts:
                stage, at = rng.choice(texts)
                stage["lines"][at] = stage["lines"][at].replace("\nhere", "\nthere")
        elif kind == "env" and stage["shell"]:
            stage["lines"].insert(rng.randint(0, len(stage["lines"])), f"ENV NEW=1")
        elif kind == "arg" and stage["shell"]:
            stage["lines"].insert(rng.randint(0, len(stage["lines"])), f"ARG GIVEN=0")
            if rng.random() < 0.5:
                flags += ["--build-arg", "GIVEN=1"]
        elif kind == "line" and stage["shell"]:
            stage["lines"].insert(rng.randint(0, len(stage["lines"])), f"RUN echo inserted >/i{rng.randrange(1000)}")
        elif kind == "flag":
            flags += rng.choice([["--network", "none"], ["--shm-size", "64m"], ["--add-host", "a:10.0.0.1"],
                                 ["--ulimit", "nofile=100:100"], ["--build-arg", "UNUSED=1"], ["--target", "last"]])
        elif kind == "label":
            stage["lines"].append("LABEL new=label")
        elif kind == "workdir" and stage["shell"]:
            stage["lines"].append("WORKDIR /new")
        elif kind == "swap" and len(stage["lines"]) > 2:
            at = rng.randint(1, len(stage["lines"]) - 2)
            stage["lines"][at], stage["lines"][at + 1] = stage["lines"][at + 1], stage["lines"][at]
    with open(os.path.join(context, "Dockerfile"), "w") as file:
        file.write(written(stages))
    return "+".join(said), flags


def frontend_options(flags):
    """buildctl's spelling of buildx's flags."""
    options = {}
    ulimits, hosts = [], []
    for flag, value in zip(flags[::2], flags[1::2]):
        if flag == "--build-arg":
            name, text = value.split("=", 1)
            options[f"build-arg:{name}"] = text
        elif flag == "--network":
            options["force-network-mode"] = value
        elif flag == "--shm-size":
            options["shm-size"] = str(int(value[:-1]) << 20)
        elif flag == "--add-host":
            hosts.append(value.replace(":", "=", 1))
        elif flag == "--ulimit":
            ulimits.append(value)
        elif flag == "--target":
            options["target"] = value
    if hosts:
        options["add-hosts"] = ",".join(dict.fromkeys(hosts))
    if ulimits:
        options["ulimit"] = ",".join(dict.fromkeys(ulimits))
    return [part for name, value in options.items() for part in ("--opt", f"{name}={value}")]


def is_step(name):
    label, closes, line = name[1:].partition("] ")
    return name.startswith("[") and closes and "/" in label.rsplit(" ", 1)[-1] and not line.startswith("FROM ")


def judged(folder, root, context, flags):
    """What BuildKit runs on a copy of the root: the names of the steps; none when the build fails."""
    copy, daemon = os.path.join(folder, "copy"), os.path.join(folder, "judge")
    subprocess.run(["cp", "-a", "--reflink=auto", root, copy], check=True)
    os.makedirs(daemon)
    socket = f"unix://{daemon}/buildkitd.sock"
    with open(os.path.join(daemon, "log"), "w") as log:
        process = subprocess.Popen([os.environ["BUILDKITD"], "--root", copy, "--config", f"{WORK}/buildkitd.toml", "--addr",
                                    socket, "--otel-socket-path", f"{daemon}/traces.sock", "--containerd-worker=false",
                                    "--oci-worker-gc=false"], stdout=log, stderr=log)
    try:
        ready = [os.environ["BUILDCTL"], "--addr", socket, "debug", "workers"]
        while subprocess.run(ready, capture_output=True).returncode != 0:
            time.sleep(0.05)
        build = [os.environ["BUILDCTL"], "--addr", socket, "build", "--progress=rawjson", "--frontend=dockerfile.v0",
                 "--local", f"context={context}", "--local", f"dockerfile={context}"] + frontend_options(flags)
        built = subprocess.run(build, capture_output=True, text=True)
        if built.returncode != 0:
            return None, built.stderr[-2000:]
        vertices = {}
        for message in (built.stdout + built.stderr).splitlines():
            if message.startswith("{"):
                for vertex in json.loads(message).get("vertexes") or []:
                    name, cached = vertices.get(vertex["digest"], (vertex["name"], False))
                    vertices[vertex["digest"]] = (name, cached or bool(vertex.get("cached")))
        return {name for name, cached in vertices.values() if is_step(name) and not cached}, ""
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(copy, ignore_errors=True)


def smoke(folder, root, context, manifest, flags):
    report = os.path.join(folder, "smoke.json")
    command = [CACHEWARM, "smoke", "--context", context, "-f", f"{context}/Dockerfile", "--root", root, "--buildkitd-config",
               f"{WORK}/buildkitd.toml", "--builder", f"spawn:{os.environ['BUILDKITD']}", "--manifest", manifest, "--report",
               f"json={report}", "--quiet"] + flags
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode not in (0, 5):
        return run.returncode, None, run.stderr
    with open(report) as file:
        return run.returncode, json.load(file), run.stderr


def project(number, edits):
    """One project: what is wrong, how many edits were judged, how many of them missed, how many misses had a reason."""
    rng = random.Random(SEED * 1000 + number)
    folder = os.path.join(WORK, f"project{number}")
    original, root, manifest = (os.path.join(folder, name) for name in ("original", "root", "manifest.json"))
    tree(rng, original)
    stages = dockerfile(rng, original)
    with open(os.path.join(original, "Dockerfile"), "w") as file:
        file.write(written(stages))
    warm = [CACHEWARM, "warm", "--context", original, "-f", f"{original}/Dockerfile", "--root", root, "--buildkitd-config",
            f"{WORK}/buildkitd.toml", "--builder", f"spawn:{os.environ['BUILDKITD']}", "--manifest", manifest, "--quiet"]
    warmed = subprocess.run(warm, capture_output=True, text=True)
    if warmed.returncode != 0:
        return [f"project {number}: warm failed: {warmed.stdout[-500:]}{warmed.stderr[-1500:]}"], 0, 0, 0, 0
    wrong, judged_edits, missing, reasons, unexplained = [], 0, 0, 0, 0
    for at in range(edits):
        where = os.path.join(folder, f"edit{at}")
        context = os.path.join(where, "context")
        shutil.copytree(original, context, symlinks=True)
        what, flags = edit(rng, context, stages)
        ran, failure = judged(where, root, context, flags)
        if ran is None:
            # An edit that does not build: two lines that cannot change places, say.
            shutil.rmtree(where)
            continue
        judged_edits += 1
        code, report, said = smoke(where, root, context, manifest, flags)
        name = f"project {number} edit {at} ({what}; {' '.join(flags)})"
        if report is None:
            wrong.append(f"{name}: smoke failed with {code}: {said[-1500:]}")
        else:
            steps = [step for step in report["steps"] if is_step(step["name"])]
            state = lambda wanted: {step["name"] for step in steps if step["state"] == wanted}
            if state("miss") - ran:
                wrong.append(f"{name}: would run, and did not: {sorted(state('miss') - ran)}")
            if state("hit") & ran:
                wrong.append(f"{name}: hits, and ran: {sorted(state('hit') & ran)}")
            if (code == 0) != (not ran):
                wrong.append(f"{name}: exit {code}, and BuildKit ran {sorted(ran)}: {report['reasons']}")
            if bool(ran) != bool(state("miss")):
                wrong.append(f"{name}: misses {sorted(state('miss'))}, and BuildKit ran {sorted(ran)}")
            missing += bool(ran)
            missed = [step for step in steps if step["state"] == "miss"]
            reasons += len(missed)
            nameless = [step for step in missed if step["reason"]["kind"] == "not-in-cache"]
            unexplained += len(nameless)
            for step in nameless:
                print(f"{name}: no reason for {step['name']}", flush=True)
        if not wrong or not wrong[-1].startswith(name):
            shutil.rmtree(where)
    shutil.rmtree(root, ignore_errors=True)
    return wrong, judged_edits, missing, reasons, unexplained


def main():
    began = time.monotonic()
    totals, all_wrong, number = [0, 0, 0, 0], [], 0
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        while totals[0] < EDITS:
            running = [pool.submit(project, number + offset, EDITS_PER_PROJECT) for offset in range(WORKERS)]
            number += WORKERS
            for future in running:
                wrong, *counts = future.result()
                totals = [total + count for total, count in zip(totals, counts)]
                all_wrong += wrong
                for text in wrong:
                    print("WRONG:", text, flush=True)
            print(f"{number} projects, {totals[0]} edits, {len(all_wrong)} wrong, {time.monotonic() - began:.0f} s", flush=True)
    print(f"{totals[0]} edits of {number} projects were judged; {totals[1]} of them made steps run. "
          f"{len(all_wrong)} wrong words; of {totals[2]} steps that missed, {totals[3]} had no reason.")
    sys.exit(1 if all_wrong else 0)


main()
