"""A proxy between the bot and Supabase's gateway that loses, cuts, delays and garbles on order."""
import collections, http.client, http.server, random, threading, time

# Longer than the bot waits for a reply.
HANG_S = 90
DRIP_S = 1


class Faults(http.server.ThreadingHTTPServer):
    """`fault(request number, method, path)` names a fault or none; the log keeps what came."""
    daemon_threads = True

    def __init__(self, upstream_port):
        super().__init__(("127.0.0.1", 0), Handler)
        self.upstream_port = upstream_port
        self.fault = lambda number, method, path: None
        self.log, self.late, self.lock = [], [], threading.Lock()
        # Requests that met a fault, by its kind.
        self.met = collections.Counter()
        # Bodies are kept only where a bench wants to send them again.
        self.bodies = None
        self.released = threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        pass

    def forward(self, method, path, headers, body):
        connection = http.client.HTTPConnection("127.0.0.1", self.upstream_port, timeout=60)
        try:
            connection.request(method, path, body or None, headers)
            reply = connection.getresponse()
            return reply.status, reply.getheaders(), reply.read()
        finally:
            connection.close()

    def settle(self):
        """Lets go of whoever hangs, and waits until every late request has committed."""
        self.released.set()
        self.released = threading.Event()
        for thread in self.late:
            thread.join()
        self.late.clear()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body of a reply are two writes: without this each waits for an acknowledgement.
    disable_nagle_algorithm = True

    def log_message(self, *args):
        pass

    def answer(self, status, body, headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def cut(self):
        self.close_connection = True
        self.connection.close()

    def handle_any(self):
        proxy = self.server
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        with proxy.lock:
            number = len(proxy.log)
            proxy.log.append((self.command, self.path, len(body), dict(self.headers)))
            if proxy.bodies is not None:
                proxy.bodies.append(body)
        headers = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "content-length", "connection")}
        fault = proxy.fault(number, self.command, self.path.removeprefix("/rest/v1"))
        with proxy.lock:
            proxy.met.update([] if fault is None else [str(fault)])
        send = lambda: proxy.forward(self.command, self.path, headers, body)
        if fault == "cut":
            return self.cut()
        if fault == "lost":
            send()
            return self.cut()
        if fault == "late":
            def later():
                time.sleep(random.uniform(0.5, 3))
                send()
            thread = threading.Thread(target=later)
            proxy.late.append(thread)
            thread.start()
            return self.cut()
        if fault == "hang":
            # Taken, carried out, and never answered.
            send()
            proxy.released.wait(HANG_S)
            return self.cut()
        if fault == "drip":
            # A reply that always goes on and never ends.
            status, _, reply = send()
            self.send_response(status)
            self.send_header("content-length", str(len(reply) + HANG_S))
            self.end_headers()
            for _ in range(HANG_S):
                if proxy.released.wait(DRIP_S):
                    break
                self.wfile.write(b" ")
                self.wfile.flush()
            return self.cut()
        if fault == "truncated":
            status, _, reply = send()
            self.send_response(status)
            self.send_header("content-length", str(len(reply) + 100))
            self.end_headers()
            self.wfile.write(reply[: len(reply) // 2])
            return self.cut()
        if fault == "html200":
            return self.answer(200, b"<html>sign in to this hotel's network</html>", [("content-type", "text/html")])
        if fault == "429":
            return self.answer(429, b'{"message":"rate limited"}', [("retry-after", "1")])
        if isinstance(fault, int):
            return self.answer(fault, b"<html><h1>%d</h1></html>" % fault, [("content-type", "text/html")])
        if fault == "timeout57014":
            return self.answer(500, b'{"code":"57014","message":"canceling statement due to statement timeout","details":null,"hint":null}')
        status, reply_headers, reply = send()
        keep = [(k, v) for k, v in reply_headers if k.lower() in ("content-type", "content-range", "retry-after")]
        self.answer(status, reply, keep)

    do_GET = do_POST = do_PATCH = do_DELETE = handle_any
