#!/usr/bin/env python3
"""Builds this release's exhibits into tests/museum/RELEASE, once, when it is made.

    $ tests/museum/collect.py 0.1.0

Needs cargo, cc and Zig (`zig` or `python3 -m ziglang`) on x86_64-unknown-linux-gnu.
A release that is there already is left as it is.
"""

import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
INCLUDE = ROOT / "plugin-api/include"
SOURCES = [
    "plugin-api/include/aegis_plugin.h",
    "examples/c-plugin/c_plugin.c",
    "examples/zig-plugin/aegis_plugin.zig",
    "examples/zig-plugin/zig_plugin.zig",
    "examples/hello-plugin/Cargo.toml",
    "examples/hello-plugin/src/lib.rs",
    "examples/hello-plugin/src/wait.rs",
    "examples/hello-plugin/src/count.rs",
]
CALLS = {
    "hello-plugin": [
        ("hello", {"name": "Ada"}, {"text": "hello, Ada"}),
        ("hello.wait", {"seconds": 0, "steps": 2}, {"steps": 2}),
        ("hello.count", {"to": 3}, {"counted_to": 3, "resumed_from": 0}),
    ],
    "c-plugin": [
        ("c-echo", [1, None, "x"], [1, None, "x"]),
        ("c-count", {"to": 1}, {"counted": 1}),
    ],
    "zig-plugin": [
        ("zig-crc32", 123456789, {"crc32": "cbf43926"}),
        ("zig-primes", {"to": 100}, {"primes": 25}),
    ],
}


def run(*command, **options):
    return subprocess.run([str(part) for part in command], check=True, cwd=ROOT, **options)


def hello(out):
    with tempfile.TemporaryDirectory() as target:
        target = os.environ.get("AEGIS_MUSEUM_TARGET", target)
        run("cargo", "build", "--quiet", "--release", "--locked", "-p", "hello-plugin",
            "--target-dir", target, "--config", 'profile.release.opt-level="z"',
            "--config", "profile.release.lto=true",
            "--config", "profile.release.codegen-units=1")
        shutil.copy(pathlib.Path(target) / "release/libhello_plugin.so", out)


def c(out):
    run("cc", "-std=c11", "-Os", "-s", "-shared", "-fPIC", "-fvisibility=hidden", "-pthread",
        f"-I{INCLUDE}", "-o", out, "examples/c-plugin/c_plugin.c")


def zig(out):
    tool = ["zig"] if shutil.which("zig") else ["python3", "-m", "ziglang"]
    with tempfile.TemporaryDirectory() as scratch:
        built = pathlib.Path(scratch) / out.name
        run(*tool, "build-lib", "-dynamic", "-O", "ReleaseSmall", "-fPIC", "-fstrip", "-lc",
            f"-femit-bin={built}", "examples/zig-plugin/zig_plugin.zig")
        shutil.copy(built, out)


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def manifest(path):
    """The document in the section, as `objcopy` finds it."""
    with tempfile.NamedTemporaryFile() as dump:
        run("objcopy", "-O", "binary", "--only-section=.aegis.plugin", path, dump.name)
        return json.loads(pathlib.Path(dump.name).read_bytes().split(b"\0")[0])


def main():
    (release,) = sys.argv[1:]
    hall = ROOT / "tests/museum" / release
    hall.mkdir()
    exhibits = []
    for name, build in [("libhello_plugin.so", hello), ("libc_plugin.so", c),
                        ("libzig_plugin.so", zig)]:
        path = hall / name
        build(path)
        path.chmod(0o644)
        said = manifest(path)
        exhibits.append({
            "file": name, "sha256": sha256(path), "plugin": said["id"],
            "toolchain": said["toolchain"],
            "abi": f'{said["abi"]["major"]}.{said["abi"]["minor"]}',
            "calls": [{"command": command, "payload": payload, "response": response}
                      for command, payload, response in CALLS[said["id"]]],
        })
    sources = {}
    for source in SOURCES:
        kept = hall / "sources" / source
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / source, kept)
        sources[f"sources/{source}"] = sha256(kept)
    museum = {"release": release, "target": "x86_64-unknown-linux-gnu",
              "exhibits": exhibits, "sources": sources}
    (hall / "museum.json").write_text(json.dumps(museum, indent=2) + "\n")


main()
