"""cross/sbom.py lists what is built in: valid CycloneDX for every target, nothing left out, nothing of the tests, always the same."""

import json
import pathlib
import subprocess
import sys

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGETS = ("x86_64-unknown-linux-musl", "aarch64-unknown-linux-musl", "armv7-unknown-linux-musleabihf")
# What the program cannot be without, and what only its tests, its build or its features know.
WITHIN = {"rustls", "ring", "rusqlite", "libsqlite3-sys", "tinyjson", "tokio", "ureq", "webpki-roots"}
WITHOUT = {"cc", "rcgen", "redis", "svs-bot"}


def listed(*arguments):
    return subprocess.run([ROOT / "cross" / "sbom.py", *arguments], check=True, capture_output=True, text=True).stdout


def names(text):
    return {part["name"] for part in json.loads(text)["components"]}


def faults(target):
    text = listed(target)
    found = [f"not valid: {JsonStrictValidator(SchemaVersion.V1_5).validate_str(text)}"]
    found = [] if found == ["not valid: None"] else found
    document = json.loads(text)
    refs = {part["bom-ref"] for part in document["components"]} | {document["metadata"]["component"]["bom-ref"]}
    pointed = {ref for entry in document["dependencies"] for ref in [entry["ref"], *entry["dependsOn"]]}
    found += [f"points at what is not listed: {sorted(pointed - refs)}"] if pointed - refs else []
    found += [f"missing: {sorted(WITHIN - names(text))}"] if WITHIN - names(text) else []
    found += [f"not built in: {sorted(WITHOUT & names(text))}"] if WITHOUT & names(text) else []
    found += ["another text the second time"] if text != listed(target) else []
    found += ["the feature redis changes nothing"] if "redis" not in names(listed(target, "redis")) else []
    return [f"{target}: {fault}" for fault in found]


def main():
    # A validator that takes everything would prove nothing.
    assert JsonStrictValidator(SchemaVersion.V1_5).validate_str('{"bomFormat": "other"}') is not None
    found = [fault for target in TARGETS for fault in faults(target)]
    print("\n".join(found) or f"{len(TARGETS)} lists of parts: valid, whole, always the same")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
