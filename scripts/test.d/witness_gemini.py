#!/usr/bin/env python3
"""google-genai as a witness: Google's own models accept the stand-in's replies, nothing extra.

With --journal FILE: also every request body that the bot sent has only fields that Google knows.
Needs: pip install google-genai
"""

import argparse
import json
import sys
import urllib.request

from google.genai import errors, types
from standin import StandIn, post

MODEL = "gemini-3.5-flash-lite"
ASK = {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}
SCRIPTS = [
    {"say": "plain"},
    {"think": ["first", "then"]},
    {"block_prompt": "SAFETY"},
    {"block_prompt": "PROHIBITED_CONTENT"},
    {"finish": ["SAFETY", ""]},
    {"finish": ["MAX_TOKENS", "half of a"]},
    {"finish": ["RECITATION", ""]},
    {"finish": ["STOP", ""]},
    {},
]
FAILURES = (
    "api_key_invalid expired retired_key leaked suspended service_blocked ip_blocked "
    "service_disabled no_key two_credentials location bad_request model_not_found model_closed "
    "not_found too_large per_minute per_day tokens limit_zero minute_and_day no_details spend_cap "
    "overloaded high_demand deadline internal"
).split()


class Strict(types.GenerateContentResponse):
    """The same model; `extra` is forbidden in google-genai already, which the first check proves."""


def events(url, body):
    request = urllib.request.Request(
        f"{url}?alt=sse", json.dumps(body).encode(), {"x-goog-api-key": "k"}
    )
    with urllib.request.urlopen(request, timeout=30) as reply:
        for line in reply.read().decode().splitlines():
            if line.startswith("data: "):
                yield json.loads(line.removeprefix("data: "))


def check_replies(standin):
    url = f"{standin.gemini}/v1beta/models/{MODEL}"
    key = {"x-goog-api-key": "k"}
    seen = 0
    for script in SCRIPTS:
        for stream in (False, True):
            if script:
                post(f"{standin.gemini}/control/script", script)
            if stream:
                replies = list(events(f"{url}:streamGenerateContent", ASK))
            else:
                status, reply = post(f"{url}:generateContent", ASK, key)
                assert status == 200, reply
                replies = [reply]
            for reply in replies:
                Strict.model_validate(reply)
                seen += 1
    for kind in FAILURES:
        post(f"{standin.gemini}/control/script", {"fail": kind})
        status, reply = post(f"{url}:generateContent", ASK, key)
        error = errors.APIError(status, reply)
        assert (error.code, bool(error.status), bool(error.message)) == (status, True, True), kind
        seen += 1
    return seen


def check_client(standin):
    """The SDK itself, with nothing but its base URL changed."""
    from google import genai

    options = types.HttpOptions(base_url=standin.gemini)
    client = genai.Client(api_key="k", http_options=options)
    answer = client.models.generate_content(model=MODEL, contents="你好")
    assert "你好" in answer.text, answer
    streamed = client.models.generate_content_stream(model=MODEL, contents="你好")
    assert "".join(part.text or "" for part in streamed) == answer.text
    assert client.models.count_tokens(model=MODEL, contents="你好").total_tokens
    assert any(model.name == f"models/{MODEL}" for model in client.models.list())


def check_journal(path):
    class Request(types.GenerateContentConfig):
        pass

    bad = seen = 0
    for line in open(path, encoding="utf-8"):
        call = json.loads(line)
        if call["service"] != "gemini" or call["status"] != 200:
            continue
        body = dict(call["request"])
        seen += 1
        try:
            for content in body.pop("contents"):
                types.Content.model_validate(content)
            config = body.pop("generationConfig", {})
            body = {**config, **body}
            Request.model_validate(body)
        except Exception as error:  # pylint: disable=broad-exception-caught
            bad += 1
            print(f"google-genai refuses: {error}")
    print(f"gemini journal: {seen} requests, {bad} refused by google-genai")
    return bad


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--journal")
    args = parser.parse_args()
    try:
        Strict.model_validate({"nonsense": 1})
        print("google-genai takes unknown fields: this witness would see nothing")
        return 1
    except ValueError:
        pass
    if args.journal:
        return check_journal(args.journal)
    with StandIn("--unlimited") as standin:
        seen = check_replies(standin)
        check_client(standin)
    print(f"gemini: {seen} replies accepted by google-genai, and the SDK works")
    return 0


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
