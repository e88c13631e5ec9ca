"""The machine-readable Bot API: does a value have the type that the documentation says?"""

import json

from standin import SPEC

# Methods of a later Bot API than the stored description; judged by nothing but their name.
NEWER_FIELDS = {"sendMessageDraft": {"can_stop", "keep_on_stop"}}


class Spec:
    def __init__(self):
        spec = json.loads(SPEC.read_text(encoding="utf-8"))
        self.types = spec["types"]
        self.methods = {name.lower(): method for name, method in spec["methods"].items()}

    def value(self, value, names, at, closed=True):
        """Problems of a value that must be of one of these types."""
        found = None
        for name in names:
            problems = self.one(value, name, at, closed)
            if not problems:
                return []
            if found is None or len(problems) < len(found):
                found = problems
        return found or []

    def one(self, value, name, at, closed):
        wrong = [f"{at}: {value!r} is no {name}"]
        if name.startswith("Array of "):
            if not isinstance(value, list):
                return wrong
            inner = name.removeprefix("Array of ")
            return [
                problem
                for index, item in enumerate(value)
                for problem in self.value(item, [inner], f"{at}[{index}]", closed)
            ]
        if name == "Integer":
            return [] if isinstance(value, int) and not isinstance(value, bool) else wrong
        if name == "Float":
            return [] if isinstance(value, (int, float)) and not isinstance(value, bool) else wrong
        if name in ("Boolean", "True", "False"):
            return [] if isinstance(value, bool) and (name != "True" or value) else wrong
        if name in ("String", "InputFile"):
            return [] if isinstance(value, str) else wrong
        kind = self.types.get(name)
        if kind is None:
            return [f"{at}: unknown type {name}"]
        if kind.get("subtypes"):
            return self.value(value, kind["subtypes"], at, closed)
        if not isinstance(value, dict):
            return wrong
        return self.fields(value, kind.get("fields", []), at, closed)

    def fields(self, value, fields, at, closed):
        known = {field["name"]: field for field in fields}
        problems = [
            f"{at}: required {name} is missing"
            for name, field in known.items()
            if field["required"] and name not in value
        ]
        for name, inner in value.items():
            if name in known:
                problems += self.value(inner, known[name]["types"], f"{at}.{name}", closed)
            elif closed:
                problems.append(f"{at}: unknown field {name}")
        return problems

    def request(self, method, fields):
        """Problems of a call; `fields` are texts, as the Bot API server sees them."""
        known = self.methods.get(method.lower())
        if known is None:
            return [f"{method}: unknown method"]
        fields = {
            name: text
            for name, text in fields.items()
            if name not in NEWER_FIELDS.get(known["name"], ())
        }
        typed = {}
        for field in known.get("fields", []):
            if field["name"] not in fields:
                continue
            text = fields[field["name"]]
            if "String" in field["types"] or "InputFile" in field["types"]:
                # A file, a name, or a number where both are taken.
                typed[field["name"]] = text
                continue
            try:
                typed[field["name"]] = json.loads(text)
            except ValueError:
                typed[field["name"]] = text
        for name in fields:
            typed.setdefault(name, fields[name])
        return self.fields(typed, known.get("fields", []), known["name"], True)

    def reply(self, method, result):
        known = self.methods.get(method.lower())
        if known is None:
            return [f"{method}: unknown method"]
        return self.value(result, known["returns"], known["name"] + " reply")
