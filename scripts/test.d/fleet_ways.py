"""The ways to a Redis that real ones have: sentinels, of which the boxes hear where the master is when it dies; a cluster
whose masters die and whose slots move; TLS with a certificate that fits, is of another host or is over; a user of few rights."""

import os
import pathlib
import subprocess
import tempfile
import time

import fleet
import relay
from bot import Bot, until
from fleet import PASSWORD, Redis, free_port
from standin import StandIn

WAIT_S = 60
# The line of docs/scaling.md.
RIGHTS = "ACL SETUSER svs-bot on >few-rights-5 ~svs-bot:* -@all +@read +@write +@scripting +@connection -@dangerous +time +info".split()


def sentinels_lead():
    """The master is killed under load: the boxes find the new one by themselves, and each question is answered."""
    folder = tempfile.TemporaryDirectory(prefix="svs-bot-sentinel-")
    quick = ("--appendonly", "yes", "--appendfsync", "always", "--masterauth", PASSWORD, "--repl-diskless-sync-delay", "0")
    with Redis(*quick) as master, Redis(*quick) as replica, StandIn("--unlimited") as outside:
        replica.say("REPLICAOF", "127.0.0.1", str(master.port))
        until(WAIT_S, "the replica has all", lambda: b"master_link_status:up" in replica.say("INFO", "replication"))
        ports = [free_port() for _ in range(3)]
        watching = []
        boxes = []
        try:
            for port in ports:
                path = pathlib.Path(folder.name) / f"{port}.conf"
                path.write_text(f"port {port}\nbind 127.0.0.1\ndir {folder.name}\nsentinel monitor mine 127.0.0.1 {master.port} 2\n"
                                f"sentinel auth-pass mine {PASSWORD}\nsentinel down-after-milliseconds mine 1000\n"
                                "sentinel failover-timeout mine 5000\n")
                watching.append(subprocess.Popen(["redis-sentinel", str(path)], stdout=subprocess.DEVNULL))
            until(WAIT_S, "the sentinels know each other and the replica", lambda: all(
                all(words in ask(port) for words in (b"slaves=1", b"sentinels=3")) for port in ports))
            hosts = ",".join(f"127.0.0.1:{port}" for port in [free_port(), *ports])
            url = f"redis+sentinel://:{PASSWORD}@{hosts}/mine/0"
            boxes = [relay.Shared(outside, url) for _ in range(2)]
            for it in boxes:
                it.__enter__()
            until(WAIT_S, "each has its part", lambda: relay.spread(boxes))
            door = relay.Door(boxes)
            chats = list(relay.CHATS)[:8]
            relay.begin(outside, boxes[0].hook, chats)
            with relay.Load(door, chats) as load:
                time.sleep(3)
                master.stop()
                died = time.monotonic()
                until(WAIT_S, "the replica is master", lambda: b"role:master" in replica.say("INFO", "replication"))
                elected = time.monotonic() - died
                until(WAIT_S, "a delivery is taken", lambda: relay.Door.post(door, boxes[0], relay.update(90_001)) == 200)
                took = time.monotonic() - died
                time.sleep(3)
            until(WAIT_S, "every question is answered", lambda: relay.answered(outside, load))
            count, doubled = relay.judge(outside, load, doubled_most=len(chats))
            assert all(PASSWORD not in it.log() for it in boxes)
            print(f"master killed: another elected after {elected:.1f} s, deliveries taken after {took:.1f} s; {count} questions, "
                  f"none lost, all in order, {doubled} answered twice")
            for port, words in ((ports[0], "no master of this name"), (free_port(), "sentinel: not reachable")):
                told(outside, f"redis+sentinel://:{PASSWORD}@127.0.0.1:{port}/other", words)
        finally:
            for it in boxes:
                fleet.kill(it)
                it.folder.cleanup()
            for it in watching:
                it.kill()
                it.wait()
            folder.cleanup()


class Cluster:
    """Three masters and a replica of each, made as redis-cli makes them."""

    def __enter__(self):
        self.nodes = []
        for _ in range(6):
            self.nodes.append(Redis("--cluster-enabled", "yes", "--cluster-port", str(free_port()), "--cluster-node-timeout", "1500",
                                    "--cluster-replica-validity-factor", "0", "--masterauth", PASSWORD, "--appendonly", "yes",
                                    "--appendfsync", "always", "--repl-diskless-sync-delay", "0").start())
        made = subprocess.run(["redis-cli", "--cluster", "create", *(f"127.0.0.1:{it.port}" for it in self.nodes), "--cluster-replicas", "1",
                               "--cluster-yes"], capture_output=True, env={**os.environ, "REDISCLI_AUTH": PASSWORD}, timeout=WAIT_S, check=False)
        assert made.returncode == 0, (made.stdout + made.stderr)[-1000:]
        until(WAIT_S, "the cluster stands", lambda: all(
            b"cluster_state:ok" in it.say("CLUSTER", "INFO") and it.say("CLUSTER", "NODES").count(b" connected") == 6
            for it in self.nodes) and sum(b"master_link_status:up" in it.say("INFO", "replication") for it in self.nodes) == 3)
        return self

    def __exit__(self, *_):
        for it in self.nodes:
            it.__exit__()

    def url(self, nodes=None):
        return f"redis+cluster://:{PASSWORD}@" + ",".join(f"127.0.0.1:{it.port}" for it in nodes or self.nodes)

    def masters(self):
        return [it for it in self.nodes if it.process and b"role:master" in it.say("INFO", "replication")]

    def holder(self, key):
        """The master that has a key, and the key's slot."""
        slot = int(next(it for it in self.nodes if it.process).say("CLUSTER", "KEYSLOT", key))
        # Who has it answers without sending on.
        return next((it for it in self.masters() if not it.say("EXISTS", key).startswith(b"MOVED")), None), slot

    def move(self, key):
        """Brings the slot of a key to another master while it is used, as `--cluster reshard` does; to which one."""
        source, slot = self.holder(key)
        target = next(it for it in self.masters() if it is not source)
        ids = [it.say("CLUSTER", "MYID").decode().strip() for it in (source, target)]
        for node, words in ((target, ("IMPORTING", ids[0])), (source, ("MIGRATING", ids[1]))):
            assert node.say("CLUSTER", "SETSLOT", str(slot), *words).strip() == b"OK"
        while keys := source.say("CLUSTER", "GETKEYSINSLOT", str(slot), "100").decode().split():
            assert source.say("MIGRATE", "127.0.0.1", str(target.port), "", "0", "5000", "AUTH", PASSWORD, "KEYS", *keys).strip() == b"OK"
        for node in (target, source, *self.masters()):
            assert node.say("CLUSTER", "SETSLOT", str(slot), "NODE", ids[1]).strip() == b"OK"
        return target


def cluster_serves():
    """One bot and its quotas on a cluster: a master is killed under load, then the slots move to other masters under load."""
    with Cluster() as cluster, StandIn("--unlimited") as outside:
        boxes = [relay.Shared(outside, cluster.url()) for _ in range(2)]
        try:
            for it in boxes:
                it.__enter__()
            until(WAIT_S, "each has its part", lambda: relay.spread(boxes))
            door = relay.Door(boxes)
            chats = list(relay.CHATS)[:8]
            relay.begin(outside, boxes[0].hook, chats)
            found = {name for it in cluster.masters() for name in it.say("KEYS", "svs-bot:*:leases").decode().split()}
            assert len(found) == 1, found
            leases, epoch = found.pop(), "svs-bot:{pool}:epoch"
            slots = {name: cluster.holder(name)[1] for name in (leases, epoch)}
            assert len(set(slots.values())) == 2, "one slot for both proves nothing"
            with relay.Load(door, chats) as load:
                time.sleep(2)
                dead, _ = cluster.holder(leases)
                dead.stop()
                died = time.monotonic()
                until(WAIT_S, "a replica is master", lambda: cluster.holder(leases)[0] is not None)
                elected = time.monotonic() - died
                until(WAIT_S, "a delivery is taken", lambda: relay.Door.post(door, boxes[0], relay.update(90_001)) == 200)
                took = time.monotonic() - died
                time.sleep(2)
                for name in (leases, epoch):
                    cluster.move(name)
                    until(WAIT_S, f"{name}: both go on where it is now", lambda: all(it.metric("svs_bot_fleet_up") == 1 for it in boxes)
                          and all(it.metric("svs_bot_relay_up") == 1 for it in boxes))
                    time.sleep(2)
            until(WAIT_S, "every question is answered", lambda: relay.answered(outside, load))
            count, doubled = relay.judge(outside, load, doubled_most=len(chats))
            # Where a slot came to another node the boxes count for themselves for four seconds.
            counts = lambda: sum(it.metric("svs_bot_fleet_counted_total") for it in boxes)
            time.sleep(4.5)
            before, said = counts(), len(outside.sent())
            for chat in chats:
                outside.hears("and once more", chat)
            until(WAIT_S, "the last answers", lambda: len(outside.sent()) == said + len(chats))
            counted = counts() - before
            assert counted == len(chats), (counted, chats)
            assert all(PASSWORD not in it.log() for it in boxes)
            print(f"cluster: a master killed: a replica elected after {elected:.1f} s, deliveries taken after {took:.1f} s; two slots moved; {count} "
                  f"questions, none lost, all in order, {doubled} answered twice; after that {counted:.0f} of {len(chats)} requests counted by all")
            one = next(it for it in cluster.nodes if it.process)
            told(outside, one.url(), "redis+cluster://")
            with Redis() as single:
                told(outside, cluster.url([single]), "this is no redis cluster")
        finally:
            for it in boxes:
                fleet.kill(it)
                it.folder.cleanup()


def told(it, url, words, **settings):
    """One line says what is wrong; the box runs on."""
    with Bot(TELEGRAM_API_URL=it.telegram, GEMINI_API_URL=it.gemini, REDIS_URL=url, **settings) as bot:
        line = until(WAIT_S, words, lambda: [line for line in bot.log().splitlines() if "fleet.away" in line])
        assert words in line[0] and len(line) == 1, (words, line)
        assert PASSWORD not in bot.log()


def works(outside, url, **settings):
    """A box of one bot and one of the shared quotas: both count and answer."""
    box = relay.Shared(outside, url, **settings)
    with box:
        until(WAIT_S, f"it takes its part: {box.log()[-600:]}", lambda: box.partitions() == 16 and box.metric("svs_bot_fleet_up") == 1)
        fleet.post(f"{outside.telegram}/control/deliver", {"to": f"127.0.0.1:{box.hook}"})
        before = len(outside.sent())
        outside.hears("hello", 300)
        until(WAIT_S, "an answer", lambda: len(outside.sent()) > before)
        assert "fleet.away" not in box.log() and "relay.away" not in box.log(), box.log()[-2000:]


def certificates(folder):
    """A root, and certificates of this host, of another, and one that is over; each as `name.pem` and `name.key`."""
    def openssl(*words):
        subprocess.run(["openssl", *words], check=True, cwd=folder, capture_output=True)

    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl("req", "-x509", *curve, "-days", "2", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=root",
            "-addext", "keyUsage=critical,keyCertSign")
    for name, host, days in (("good", "IP:127.0.0.1", "2"), ("other", "DNS:other.example.org", "2"), ("over", "IP:127.0.0.1", "-1")):
        openssl("req", *curve, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        (pathlib.Path(folder) / f"{name}.ext").write_text(f"subjectAltName={host}\n")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", days, "-CAcreateserial",
                "-extfile", f"{name}.ext", "-out", f"{name}.pem")


def sealed():
    with tempfile.TemporaryDirectory(prefix="svs-bot-tls-") as folder, StandIn("--unlimited") as outside:
        certificates(folder)
        for name, words in (("good", None), ("other", "TLS fails"), ("over", "TLS fails")):
            port = free_port()
            of = {"--tls-port": port, "--tls-cert-file": f"{folder}/{name}.pem", "--tls-key-file": f"{folder}/{name}.key",
                  "--tls-ca-cert-file": f"{folder}/ca.pem", "--tls-auth-clients": "no"}
            with Redis(*(str(word) for pair in of.items() for word in pair)):
                url = f"rediss://:{PASSWORD}@127.0.0.1:{port}/0"
                if words:
                    told(outside, url, words, TLS_CA_FILE=f"{folder}/ca.pem")
                else:
                    works(outside, url, TLS_CA_FILE=f"{folder}/ca.pem")
                    told(outside, url, "TLS fails")
    print("TLS: works with its root; without it, of another host, and when it is over: refused, one line each")


def few_rights():
    with Redis() as redis, StandIn("--unlimited") as outside:
        assert redis.say(*RIGHTS).strip() == b"OK"
        works(outside, f"redis://svs-bot:few-rights-5@127.0.0.1:{redis.port}/0")
        redis.say("ACL", "SETUSER", "svs-bot", "-evalsha")
        told(outside, f"redis://svs-bot:few-rights-5@127.0.0.1:{redis.port}/0", "the user may not run what is needed")
    print("a user of few rights: works, and one right fewer is one line")


def ask(port):
    return subprocess.run(["redis-cli", "-p", str(port), "INFO", "sentinel"], capture_output=True, check=False).stdout


def main():
    fleet.build()
    few_rights()
    sealed()
    sentinels_lead()
    cluster_serves()


if __name__ == "__main__":
    main()
