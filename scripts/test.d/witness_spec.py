#!/usr/bin/env python3
"""The Bot API's own description as a witness.

With --journal FILE: every call that the bot made is well-formed (known fields of the right type,
required ones present), and every reply of the stand-in has what its type requires. Without: the
same for a round of calls to a stand-in started for it, and for generated updates going through it.
"""

import argparse
import json
import sys
import tempfile

import generate_updates
from botapi_spec import Spec
from standin import StandIn, post


def check_journal(spec, path):
    problems, calls = [], 0
    for line in open(path, encoding="utf-8"):
        call = json.loads(line)
        if call["service"] != "telegram":
            continue
        calls += 1
        reply = call["reply"] or {}
        # What was refused was perhaps meant to be: only its reply is judged.
        if call["status"] == 200:
            problems += spec.request(call["call"], call["request"])
            problems += spec.reply(call["call"], reply.get("result"))
        elif reply:
            wanted = {"ok": bool, "error_code": int, "description": str}
            for name, kind in wanted.items():
                if not isinstance(reply.get(name), kind):
                    problems.append(f"{call['call']}: refusal without {name}: {reply}")
    print(f"spec: {calls} calls, {len(problems)} problems")
    for problem in problems[:20]:
        print(f"  {problem}")
    return len(problems) + (calls == 0)


def exercise(standin):
    """One of each call that a bot of this kind makes."""
    updates = generate_updates.updates(seed=3, count=300)
    every = sorted({key for update in updates for key in update if key != "update_id"})
    post(f"{standin.bot}/getUpdates", {"allowed_updates": every})
    body = "\n".join(json.dumps(update) for update in updates).encode()
    post(f"{standin.telegram}/control/push", body)
    offset, taken = 0, 0
    while True:
        _, page = post(f"{standin.bot}/getUpdates", {"offset": offset})
        if not page["result"]:
            break
        taken += len(page["result"])
        offset = page["result"][-1]["update_id"] + 1
    print(f"spec: {taken} of {len(updates)} generated updates went through")
    group = {"id": -1001, "kind": "supergroup", "is_forum": True, "topics": [7]}
    post(f"{standin.telegram}/control/chat", group)
    post(f"{standin.telegram}/control/text", {"chat": 42, "user": 42, "text": "hi"})
    html = {"parse_mode": "HTML"}
    calls = [
        ("getMe", {}),
        ("getWebhookInfo", {}),
        ("deleteWebhook", {"drop_pending_updates": False}),
        ("setMyCommands", {
            "commands": [{"command": "help", "description": "What I can do"}],
            "scope": {"type": "all_private_chats"}, "language_code": "en",
        }),
        ("getMyCommands", {"scope": {"type": "all_private_chats"}, "language_code": "en"}),
        ("sendMessage", {
            "chat_id": 42, "text": "<b>x</b> <a href='https://e.org'>y</a>", **html,
            "reply_parameters": {"message_id": 1, "allow_sending_without_reply": True},
            "link_preview_options": {"is_disabled": True},
            "reply_markup": {"inline_keyboard": [[{"text": "Yes", "callback_data": "y"}]]},
        }),
        ("editMessageText", {"chat_id": 42, "message_id": 2, "text": "<i>z</i>", **html}),
        ("sendMessage", {"chat_id": -1001, "message_thread_id": 7, "text": "in a topic"}),
        ("sendChatAction", {"chat_id": 42, "action": "typing"}),
        ("sendMessageDraft", {"chat_id": 42, "draft_id": 1, "text": "so far"}),
        ("getChat", {"chat_id": 42}),
        ("getChatMember", {"chat_id": -1001, "user_id": 42}),
        ("deleteMessage", {"chat_id": 42, "message_id": 2}),
        ("deleteMyCommands", {}),
    ]
    for method, fields in calls:
        status, reply = post(f"{standin.bot}/{method}", fields)
        if status != 200:
            print(f"  {method}: {reply}")
            return 1
    return 0 if taken == len(updates) else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--journal")
    args = parser.parse_args()
    spec = Spec()
    if args.journal:
        return check_journal(spec, args.journal)
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as journal:
        with StandIn("--journal", journal.name) as standin:
            failed = exercise(standin)
        return failed + check_journal(spec, journal.name)


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
