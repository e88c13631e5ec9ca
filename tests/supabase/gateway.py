"""Plays Supabase's gateway before PostgREST, and every fault between it and the bot."""
import http.client, http.server, random, threading, time

SECRET_KEY = "sb_secret_0123456789abcdef"


class Gateway(http.server.ThreadingHTTPServer):
    """`fault(request number, method, path)` names a fault or none; the log keeps what came."""
    daemon_threads = True

    def __init__(self, upstream_port, jwt):
        super().__init__(("127.0.0.1", 0), Handler)
        self.upstream_port, self.jwt = upstream_port, jwt
        self.fault = lambda number, method, path: None
        self.log, self.late, self.lock = [], [], threading.Lock()
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
        """Waits until every late request has committed."""
        for thread in self.late:
            thread.join()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

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
        gateway = self.server
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        with gateway.lock:
            number = len(gateway.log)
            gateway.log.append((self.command, self.path, len(body), dict(self.headers)))
        if not self.path.startswith("/rest/v1/"):
            return self.answer(404, b"<html>no such page</html>", [("content-type", "text/html")])
        headers = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "content-length", "connection")}
        key = self.headers.get("apikey")
        if not key:
            return self.answer(401, b'{"message":"No API key found in request","hint":"..."}')
        if key.startswith("sb_"):
            if self.headers.get("authorization") or key != SECRET_KEY:
                return self.answer(401, b'{"message":"Invalid API key"}')
            headers["Authorization"] = "Bearer " + gateway.jwt
        path = self.path[len("/rest/v1"):]
        fault = gateway.fault(number, self.command, path)
        send = lambda: gateway.forward(self.command, path, headers, body)
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
            gateway.late.append(thread)
            thread.start()
            return self.cut()
        if fault == "hang":
            time.sleep(25)
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
