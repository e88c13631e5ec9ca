#!/usr/bin/env python3
"""Prints the list of parts (CycloneDX 1.5, JSON) of what is built for one target, always in the same bytes.

Use: cross/sbom.py TARGET [FEATURES] >FILE. Parts are the normal dependencies, without those of tests and builds; checksums
are Cargo.lock's. The C sources that crates bring (SQLite, ring's) and the standard library go by the crate or the compiler.
"""
import json
import pathlib
import subprocess
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent


def linked(target, features):
    """Name and version of all that cargo builds in; its metadata also knows what only features of the tests bring."""
    command = ["cargo", "tree", "--locked", "-e", "normal", "--target", target, "--prefix", "none", "--format", "{p}", *features]
    lines = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    return {tuple(line.split(" ")[:2]) for line in lines if line}


def reachable(metadata, wanted):
    """Per id of what is built in, what it links directly; from the root on."""
    names = {package["id"]: (package["name"], "v" + package["version"]) for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    links, todo = {}, [metadata["resolve"]["root"]]
    while todo:
        part = todo.pop()
        if part in links:
            continue
        links[part] = sorted(
            dep["pkg"]
            for dep in nodes[part]["deps"]
            if names[dep["pkg"]] in wanted and any(kind["kind"] is None for kind in dep["dep_kinds"])
        )
        todo.extend(links[part])
    return links


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit("sbom.py: one target is wanted: cross/sbom.py x86_64-unknown-linux-musl")
    features = ["--features", sys.argv[2]] if sys.argv[2:] and sys.argv[2] else []
    command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", sys.argv[1], *features]
    metadata = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
    checksums = {(part["name"], part["version"]): part.get("checksum") for part in lock["package"]}
    wanted = linked(sys.argv[1], features)
    links = reachable(metadata, wanted)
    if len(links) != len(wanted):
        sys.exit(f"sbom.py: {len(links)} parts found, cargo builds {len(wanted)}: the list would not be whole")
    purl = {part: f"pkg:cargo/{packages[part]['name']}@{packages[part]['version']}" for part in links}

    def component(part, kind):
        package = packages[part]
        found = {"type": kind, "bom-ref": purl[part], "name": package["name"], "version": package["version"]}
        checksum = checksums.get((package["name"], package["version"]))
        if checksum:
            found["hashes"] = [{"alg": "SHA-256", "content": checksum}]
        if package["license"]:
            found["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
        return found | {"purl": purl[part]}

    root = metadata["resolve"]["root"]
    parts = sorted((part for part in links if part != root), key=purl.get)
    for part in parts:
        found = component(part, "library")
        if "hashes" not in found or "licenses" not in found:
            sys.exit(f"sbom.py: {purl[part]}: no checksum or no licence: name both before it is shipped")
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": component(root, "application"),
            "properties": [{"name": "target", "value": sys.argv[1]}],
        },
        "components": [component(part, "library") for part in parts],
        "dependencies": [
            {"ref": purl[part], "dependsOn": sorted(purl[dep] for dep in links[part])} for part in [root, *parts]
        ],
    }
    json.dump(document, sys.stdout, indent=1, ensure_ascii=False)
    print()


if __name__ == "__main__":
    main()
