#!/usr/bin/env python3
"""Generates realistic updates as JSON lines, the same for the same seed.

Shapes that chat bots meet are written out by hand; every other content field and update type of
the Bot API is filled in from its own description, so that nothing the description knows is missing.
"""

import argparse
import json
import random
import sys

from botapi_spec import Spec

WORDS = (
    "hello why how 你好 小爱同学 today 天气 😀 <b> & admin code please 谢谢 _x_ *y* `z` "
    "привет שלום 1+1=? https://example.org #tag e\u0301 👨‍👩‍👧 \u202e "
).split()
START = 1_795_300_000
DEEPEST = 3


class Maker:
    def __init__(self, seed):
        self.dice = random.Random(seed)
        self.spec = Spec()
        self.next = {}
        self.date = START
        self.users = [self.user(7000 + number) for number in range(40)]
        self.chats = self.make_chats()
        contents = self.spec.types["Message"]["fields"]
        envelope = (
            "message_id message_thread_id direct_messages_topic from sender_chat sender_tag "
            "sender_boost_count sender_business_bot date business_connection_id chat "
            "forward_origin is_topic_message is_automatic_forward reply_to_message external_reply "
            "quote reply_to_story reply_to_checklist_task_id via_bot edit_date entities "
            "caption_entities caption media_group_id author_signature link_preview_options text"
        ).split()
        self.contents = [
            field for field in contents if not field["required"] and field["name"] not in envelope
        ]
        self.kinds = [
            field
            for field in self.spec.types["Update"]["fields"]
            if field["name"] not in ("update_id", "message")
        ]

    def user(self, number):
        user = {"id": number, "is_bot": False, "first_name": self.dice.choice(["Ana", "小明", " ", "😀"])}
        if self.dice.random() < 0.7:
            user["username"] = f"user{number}"
        if self.dice.random() < 0.8:
            user["language_code"] = self.dice.choice(["en", "zh-hans", "de", "zh"])
        return user

    def make_chats(self):
        chats = [
            {"id": user["id"], "type": "private", "first_name": user["first_name"]}
            for user in self.users
        ]
        chats += [{"id": -500 - n, "type": "group", "title": f"Group {n}"} for n in range(5)]
        for number in range(10):
            chat = {"id": -1001234500000 - number, "type": "supergroup", "title": f"Lab {number}"}
            if number % 2:
                chat["is_forum"] = True
            chats.append(chat)
        chats += [
            {"id": -1009990000000 - n, "type": "channel", "title": f"News {n}"} for n in range(3)
        ]
        return chats

    def words(self, most=30):
        return " ".join(self.dice.choices(WORDS, k=self.dice.randint(1, most)))

    def number(self, chat):
        self.next[chat] = self.next.get(chat, 0) + self.dice.randint(1, 3)
        return self.next[chat]

    def invent(self, names, depth=0, field=""):
        """A value of one of these types, optional fields now and then."""
        name = self.dice.choice(names) if depth < DEEPEST else names[0]
        if name.startswith("Array of "):
            if depth >= DEEPEST:
                return []
            count = self.dice.randint(1, 2)
            return [self.invent([name.removeprefix("Array of ")], depth + 1) for _ in range(count)]
        if name == "Integer":
            small = {"date": START, "duration": 7, "message_id": 5, "offset": 0, "length": 1}
            return small.get(field, self.dice.choice([0, 1, 7001, 2**31, 2**52]))
        if name == "Float":
            return self.dice.choice([0.5, 48.8583, 2])
        if name in ("Boolean", "True"):
            return True
        if name == "String":
            return self.words(3)
        kind = self.spec.types[name]
        if kind.get("subtypes"):
            return self.invent(kind["subtypes"], depth + 1)
        if name == "User":
            return self.dice.choice(self.users)
        if name == "Chat":
            return self.dice.choice(self.chats)
        made = {}
        for inner in kind.get("fields", []):
            if inner["required"] or (depth < DEEPEST and self.dice.random() < 0.2):
                made[inner["name"]] = self.invent(inner["types"], depth + 1, inner["name"])
        return made

    def message(self, chat=None):
        chat = chat or self.dice.choice(self.chats)
        self.date += self.dice.randint(0, 5)
        message = {"message_id": self.number(chat["id"]), "date": self.date, "chat": chat}
        if chat["type"] == "private":
            message["from"] = next(user for user in self.users if user["id"] == chat["id"])
        elif chat["type"] == "channel":
            message["sender_chat"] = chat
        else:
            message["from"] = self.dice.choice(self.users)
            if chat.get("is_forum") and self.dice.random() < 0.7:
                message["message_thread_id"] = self.dice.choice([42, 43])
                message["is_topic_message"] = True
        self.fill(message)
        return message

    def fill(self, message):
        shape = self.dice.random()
        if shape < 0.55:
            message["text"] = self.words()
            if self.dice.random() < 0.3:
                command = self.dice.choice(["/start", "/help", "/status@other_bot", "/vip", "/x"])
                message["text"] = f"{command} {message['text']}"
                message["entities"] = [
                    {"type": "bot_command", "offset": 0, "length": len(command)}
                ]
        elif shape < 0.7:
            size = {"file_id": "p1", "file_unique_id": "u1", "width": 90, "height": 90}
            message["photo"] = [size, {**size, "file_id": "p2", "width": 1280, "file_size": 90_000}]
            message["caption"] = self.words(5)
            if self.dice.random() < 0.3:
                message["media_group_id"] = str(self.dice.randint(1, 5))
        else:
            field = self.dice.choice(self.contents)
            message[field["name"]] = self.invent(field["types"], 1, field["name"])
        if self.dice.random() < 0.15:
            told = {"message_id": 1, "date": START, "chat": message["chat"], "text": self.words(4)}
            message["reply_to_message"] = told
        if self.dice.random() < 0.1:
            message["forward_origin"] = self.invent(["MessageOrigin"], 1)
        if self.dice.random() < 0.05:
            message["via_bot"] = {"id": 99, "is_bot": True, "first_name": "Via"}

    def update(self, number):
        shape = self.dice.random()
        update = {"update_id": number}
        if shape < 0.75:
            message = self.message()
            kind = "channel_post" if message["chat"]["type"] == "channel" else "message"
            update[kind] = message
        elif shape < 0.82:
            message = self.message()
            message["edit_date"] = self.date + 1
            channel = message["chat"]["type"] == "channel"
            update["edited_channel_post" if channel else "edited_message"] = message
        elif shape < 0.9:
            update["callback_query"] = {
                "id": str(number), "from": self.dice.choice(self.users), "chat_instance": "1",
                "message": self.message(), "data": self.dice.choice(["forget:yes", "x", ""]),
            }
        else:
            field = self.dice.choice(self.kinds)
            update[field["name"]] = self.invent(field["types"], 1, field["name"])
        return update


def updates(seed=1, count=1000):
    """The updates as a list."""
    maker = Maker(seed)
    return [maker.update(500_000_000 + number) for number in range(count)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=1000)
    args = parser.parse_args()
    for update in updates(args.seed, args.count):
        sys.stdout.write(json.dumps(update, ensure_ascii=args.seed % 2 == 0) + "\n")


if __name__ == "__main__":
    main()
