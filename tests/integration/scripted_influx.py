#!/usr/bin/env python3
"""A server of InfluxDB's write API that misbehaves as it is told.

scripted_influx.py API STEP...: API is 1 or 2. Prints "port N". Steps are taken one by one by writes, then all is well:
  503:2          two writes get a 503 (any status; 429 and 503 with Retry-After: 0 unless STATUS/SECONDS:N)
  die:2          two writes are read, stored, and the connection is closed without an answer
  slow:1         a write is answered after 1.5 s
Conditions that hold all the time:
  poison         a batch with a line that has "poison" in it is refused as a whole (400)
  partial        lines with "poison" in them are refused, the others stored (400 partial write)
  large=N        a body of more than N lines is refused (413)
  token=T        another Authorization than "Token T" is refused (401)
GET /stored: {"points": distinct points, "lines": [...], "writes": N, "statuses": [...], "gzip": N, "largest": lines,
"buckets": [...]}
"""
import gzip
import http.server
import json
import sys
import threading
import time

api = sys.argv[1]
steps, conditions = [], {}
for arg in sys.argv[2:]:
    name, _, value = arg.partition("=")
    if name in ("poison", "partial", "large", "token"):
        conditions[name] = value
        continue
    what, _, count = arg.partition(":")
    steps += [what] * int(count or 1)

lock = threading.Lock()
points, statuses, buckets = {}, [], []
counts = {"writes": 0, "gzip": 0, "largest": 0}


def split_line(line):
    """Measurement with tags, fields, time: at spaces that are neither escaped nor quoted."""
    parts, part, quoted, value, i = [], "", False, False, 0
    while i < len(line):
        c = line[i]
        if c == "\\" and i + 1 < len(line):
            part += line[i:i + 2]
            i += 2
            continue
        if c == '"' and value:
            quoted = not quoted
        if len(parts) == 1 and not quoted and c in "=,":  # quotes mean something in values only
            value = c == "="
        if c == " " and not quoted:
            parts.append(part)
            part = ""
        else:
            part += c
        i += 1
    return parts + [part]


def store(lines):
    for line in lines:
        parts = split_line(line)
        assert len(parts) == 3 and parts[2].isdigit(), line
        points[(parts[0], parts[2])] = line


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, status, body=None, headers=()):
        data = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        path = self.path.split("?")[0]
        if path == "/stored":
            with lock:
                self.answer(200, dict(counts, points=len(points), lines=list(points.values()), statuses=statuses, buckets=buckets))
        elif path == "/health" and api == "2":
            self.answer(200, {"status": "pass"})
        elif path == "/ping":
            self.answer(204)
        elif path == "/api/v2/orgs":
            self.answer(200, {"orgs": [{"id": "0123456789abcdef", "name": "o"}]})
        else:
            self.answer(404, {"error": "not found"})

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = self.path.split("?")[0]
        if path == "/api/v2/buckets":
            buckets.append(json.loads(body))
            self.answer(422, {"code": "conflict", "message": "bucket with name b already exists"})
        elif path == "/query":
            buckets.append(body.decode())
            self.answer(200, {"results": [{"statement_id": 0}]})
        elif path == ("/write" if api == "1" else "/api/v2/write"):
            self.write(body)
        else:
            self.answer(404, {"error": "not found"})

    def write(self, body):
        zipped = self.headers.get("Content-Encoding") == "gzip"
        lines = (gzip.decompress(body) if zipped else body).decode().splitlines()
        with lock:
            counts["writes"] += 1
            counts["gzip"] += zipped
            step = steps.pop(0) if steps else None
            answer = self.judge(step, lines)
            statuses.append(answer[0] if answer else 0)
        if step == "slow":
            time.sleep(1.5)
        if answer:
            self.answer(*answer)
        else:
            self.close_connection = True
            self.connection.close()

    def judge(self, step, lines):
        if step == "die":
            store(lines)
            return None
        if step and step != "slow":
            status, _, wait = step.partition("/")
            return int(status), {"code": "scripted", "message": "as told"}, [("Retry-After", wait or "0")]
        if "token" in conditions and self.headers.get("Authorization") != "Token " + conditions["token"]:
            return 401, {"code": "unauthorized", "message": "unauthorized access"}
        if "large" in conditions and len(lines) > int(conditions["large"]):
            return 413, {"code": "request too large", "message": "request body too large"}
        bad = [line for line in lines if "poison" in line]
        if bad and "poison" in conditions:
            return 400, {"code": "invalid", "message": "unable to parse '%s': invalid number" % bad[0]}
        if bad and "partial" in conditions:
            store([line for line in lines if "poison" not in line])
            return 400, {"error": "partial write: points beyond retention policy dropped=%d" % len(bad)}
        counts["largest"] = max(counts["largest"], len(lines))
        store(lines)
        return 204, None


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *args):
        pass


server = Server(("127.0.0.1", 0), Handler)
print("port", server.server_address[1], flush=True)
server.serve_forever()
