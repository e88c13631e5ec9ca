"""One bot on several boxes as it stands in the world: behind nginx that speaks TLS and knows all of them, one killed and one
added; and boxes whose clocks are minutes, a day and years apart."""

import pathlib
import re
import ssl
import tempfile
import time
import urllib.error
import urllib.request

import fleet
import relay
from bot import until, wall_clock
from fleet import Redis, kill
from relay import WAIT_S
from standin import StandIn, free_port
from webhook import HOST, Authority, Nginx, in_telegrams_place, shipped_example

# A box may grow by so much while 100 MB are offered to it.
GROWTH_KIB = 1_024
# Apart by minutes, by a day, by years.
CLOCKS = (None, "+300", "-1d", "+1000d")


def peak_kib(it):
    return int(re.search(r"VmHWM:\s+(\d+)", pathlib.Path(f"/proc/{it.process.pid}/status").read_text())[1])


def blocks(folder, front, tls, hooks):
    """The shipped example with all boxes, and what docs/scaling.md says besides."""
    text = shipped_example(tls, hooks[0], folder).replace("location = /svs-bot-hook", "location = /hook")
    servers = "\n".join(f"    server 127.0.0.1:{hook};" for hook in hooks)
    for old, new in ((f"    server 127.0.0.1:{hooks[0]};", servers),
                     ("proxy_next_upstream off;", "proxy_next_upstream error timeout http_503 non_idempotent;")):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text + in_telegrams_place(front, tls, folder)


class Front:
    """nginx in the place of a box, for `relay.Door`."""

    def __init__(self, hook):
        self.hook = hook


def behind_nginx():
    with tempfile.TemporaryDirectory(prefix="svs-bot-front-") as scratch, Redis(*relay.DURABLE) as redis, StandIn("--unlimited") as outside:
        folder = pathlib.Path(scratch)
        folder.chmod(0o755)
        Authority(folder).issue()
        boxes = [relay.Shared(outside, redis.url()) for _ in range(4)]
        front, tls = free_port(), free_port()
        with Nginx(folder, blocks(folder, front, tls, [it.hook for it in boxes])), boxes[0], boxes[1]:
            boxes[2].__enter__()
            until(WAIT_S, "each has its part", lambda: relay.spread(boxes[:3]))
            door = relay.Door([Front(front)])
            assert door.post(door.boxes[0], b"{}", secret="forged") == 401
            assert plainly(tls, "/status.json") == 404, "only the path of the webhook is passed on"
            relay.begin(outside, front, relay.CHATS)
            with relay.Load(door, relay.CHATS) as load:
                time.sleep(3)
                kill(boxes[2])
                died = time.monotonic()
                until(WAIT_S, "its part is taken over", lambda: relay.spread(boxes[:2]))
                took = time.monotonic() - died
                boxes[3].__enter__()
                living = [boxes[0], boxes[1], boxes[3]]
                until(WAIT_S, "the new one has its part", lambda: relay.spread(living))
                before = [peak_kib(it) for it in living]
                # nginx takes 4 MB; past it a box is asked itself, and takes no more.
                large = b"x" * (100 << 20)
                assert door.post(Front(front), large) in (0, 413)
                assert door.post(boxes[0], large) in (0, 413)
                grown = max(peak_kib(it) - was for it, was in zip(living, before))
                time.sleep(3)
            until(WAIT_S, "every question is answered", lambda: relay.answered(outside, load))
            until(WAIT_S, "nothing is left", lambda: boxes[0].metric("svs_bot_relay_backlog") == 0)
            count, doubled = relay.judge(outside, load, doubled_most=len(relay.CHATS))
            assert grown < GROWTH_KIB, f"{grown} KiB more while 100 MB were offered"
            assert took < 15, took
            print(f"behind nginx, one killed, one added: {count} questions, none lost, all in order, {doubled} answered twice; taken over after "
                  f"{took:.1f} s; {door.twice} delivered twice, nginx refused {dict(door.refused)}; 100 MB: {grown} KiB more")
            boxes[3].__exit__(None)


def plainly(tls, path):
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    request = urllib.request.Request(f"https://127.0.0.1:{tls}{path}", headers={"Host": HOST})
    try:
        with urllib.request.urlopen(request, context=context, timeout=10) as reply:
            return reply.status
    except urllib.error.HTTPError as error:
        return error.code


def told(at):
    return {"environment": wall_clock(FAKETIME=at)} if at else {}


def clocks_apart():
    """Boxes that agree about no day share one bot and one key: order and take-over go by Redis' clock, and so do the quotas."""
    limit = f"{fleet.MODEL}=20/40/1000000"
    limits = {"KEY_RPM": "20", "LITE_RPD": "40", "KEY_DAILY_SHARE": "1", "GEMINI_API_KEY": f"{fleet.KEY}@p", "PATIENCE": "3m"}
    with Redis() as redis, StandIn("--key", f"{fleet.KEY}@p", "--limit", limit) as outside:
        boxes = [relay.Shared(outside, redis.url(), **limits, **told(at)) for at in CLOCKS]
        for it in boxes:
            it.__enter__()
        until(WAIT_S, "each has its part", lambda: relay.spread(boxes))
        fleet.joined(boxes, len(boxes))
        fleet.post(f"{outside.telegram}/control/deliver", {"to": f"127.0.0.1:{boxes[0].hook}"})
        for chat in range(100, 154):
            outside.hears("question 0000", chat)
        until(WAIT_S, "some are answered", lambda: fleet.state(outside) and fleet.state(outside)[0]["taken"] >= 12)
        kill(boxes[3])
        died = time.monotonic()
        until(WAIT_S, "its part is taken over", lambda: relay.spread(boxes[:3]))
        took = time.monotonic() - died
        until(180, "everyone has heard", lambda: len(relay.order(outside)) == 54
              and boxes[0].metric("svs_bot_relay_backlog") == 0 and all(it.metric("svs_bot_inbox_pending") == 0 for it in boxes[:3]))
        quota = fleet.state(outside)[0]
        assert quota["refused"] == 0 and 30 <= quota["taken"] <= 36, quota
        assert took < 15, took
        for it in boxes[:3]:
            it.__exit__(None)
        boxes[3].folder.cleanup()
        print(f"clocks apart by {CLOCKS[1:]}: one key of 20 a minute and 36 a day: {quota}; one killed, taken over after {took:.1f} s")
    with Redis(*relay.DURABLE) as redis, StandIn("--unlimited") as outside:
        boxes = [relay.Shared(outside, redis.url(), **told(at)) for at in CLOCKS]
        for it in boxes:
            it.__enter__()
        until(WAIT_S, "each has its part", lambda: relay.spread(boxes))
        door = relay.Door(boxes)
        relay.begin(outside, boxes[0].hook, relay.CHATS)
        with relay.Load(door, relay.CHATS) as load:
            time.sleep(3)
            kill(boxes[2])
            door.boxes = living = [boxes[0], boxes[1], boxes[3]]
            until(WAIT_S, "its part is taken over", lambda: relay.spread(living))
            boxes[2].__enter__()
            door.boxes = boxes
            until(WAIT_S, "it has its part again", lambda: relay.spread(boxes))
            time.sleep(2)
        until(WAIT_S, "every question is answered", lambda: relay.answered(outside, load))
        count, doubled = relay.judge(outside, load, doubled_most=len(relay.CHATS))
        for it in boxes:
            it.__exit__(None)
        print(f"clocks apart, one killed and started again: {count} questions, none lost, all in order, {doubled} answered twice")


def main():
    fleet.build()
    behind_nginx()
    clocks_apart()


if __name__ == "__main__":
    main()
