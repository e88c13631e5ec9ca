"""One bot on two real boxes through the real Redis: a person meets the same conversation on either, whatever happens to
the other and to Redis; roles given on one hold on both."""

import json
import time

import fleet
from bot import until
from fleet import Redis, kill, post
from relay import DURABLE, SECRET, WAIT_S, Shared, spread
from standin import StandIn

assert SECRET
CHATS = range(300, 312)
ROUNDS = {"ROUNDS_NORMAL": "9"}


def aim(outside, box):
    """Telegram delivers there from now on."""
    post(f"{outside.telegram}/control/deliver", {"to": f"127.0.0.1:{box.hook}"})


def asked(outside, words):
    """The texts of the request that ends with these words, oldest first."""
    for it in reversed(post(f"{outside.gemini}/control/asked", {})[1]["asked"]):
        texts = [part.get("text", "") for content in it["body"]["contents"] for part in content["parts"]]
        if words in texts[-1]:
            return texts[:-1]
    return None


def say(outside, words, chats=CHATS):
    """Each person says it, with their number, and is answered."""
    for chat in chats:
        outside.hears(f"{words} of {chat}", chat)
    until(WAIT_S, f"answers to {words}", lambda: all(asked(outside, f"{words} of {chat}") is not None for chat in chats))
    until(WAIT_S, "all is settled", lambda: all(f"{words} of {chat}" in said(outside) for chat in chats))


def said(outside):
    return json.dumps(outside.sent(), ensure_ascii=False)


def remembers(outside, words, before, chats=CHATS):
    """What was asked with these words: everything before and nothing else."""
    for chat in chats:
        texts = [text for text in asked(outside, f"{words} of {chat}") if text.endswith(f"of {chat}")]
        assert texts == [f"{it} of {chat}" for it in before], (chat, words, texts)


def sessions(redis):
    keys = redis.say("KEYS", "svs-bot:*:sessions:*").decode().split()
    for key in keys:
        assert int(redis.say("PTTL", key)) != -1, key
    return sum(int(redis.say("HLEN", key)) for key in keys)


def handed_over():
    """A person talks to one box; another joins, the first is killed, Redis is emptied: the conversation goes on."""
    with Redis(*DURABLE) as redis, StandIn("--unlimited") as outside:
        boxes = [Shared(outside, redis.url(), **ROUNDS) for _ in range(2)]
        with boxes[0]:
            until(WAIT_S, "one has all", lambda: boxes[0].partitions() == 16)
            aim(outside, boxes[0])
            say(outside, "first")
            say(outside, "second")
            remembers(outside, "second", ["first"])
            until(WAIT_S, "redis has them", lambda: sessions(redis) == len(CHATS))
            boxes[1].__enter__()
            until(WAIT_S, "each has its part", lambda: spread(boxes))
            say(outside, "third")
            remembers(outside, "third", ["first", "second"])
            time.sleep(0.5)
            kill(boxes[0])
            died = time.monotonic()
            aim(outside, boxes[1])
            until(WAIT_S, "the other has all", lambda: boxes[1].partitions() == 16)
            took = time.monotonic() - died
            say(outside, "fourth")
            remembers(outside, "fourth", ["first", "second", "third"])
            # What is ended stays so.
            for chat in CHATS[:3]:
                outside.hears("/reset", chat)
            until(WAIT_S, "three are ended", lambda: sessions(redis) == len(CHATS) - 3)
            # Redis loses everything: what a box has is there again.
            redis.say("FLUSHALL")
            until(WAIT_S, "all is there again", lambda: sessions(redis) == len(CHATS) - 3)
            boxes[0].__enter__()
            until(WAIT_S, "each has its part", lambda: spread(boxes))
            # Emptied once more with two boxes: nobody's conversation is lost on the way.
            redis.say("FLUSHALL")
            until(WAIT_S, "all is there once more", lambda: sessions(redis) == len(CHATS) - 3)
            until(WAIT_S, "each has its part", lambda: spread(boxes))
            say(outside, "fifth")
            remembers(outside, "fifth", [], CHATS[:3])
            remembers(outside, "fifth", ["first", "second", "third", "fourth"], CHATS[3:])
            assert not any(f"of {chat}" in redis.say("KEYS", "*").decode() for chat in CHATS)
            print(f"{len(CHATS)} conversations went on after a box joined, one was killed (taken over after {took:.1f} s), Redis emptied twice")
            boxes[1].__exit__(None)


def main():
    fleet.build()
    handed_over()


if __name__ == "__main__":
    main()
