"""HTTP/2 servers (prior knowledge, no TLS) that misbehave, one a port. Prints "NAME PORT" lines, then "ready".

Frames are made by hand (RFC 9113, 4.1); header blocks use literals without indexing (RFC 7541, 6.2.2), so that what is
sent is what stands here.
"""
import gzip
import socket
import struct
import threading
import time

DATA, HEADERS, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = 0, 1, 3, 4, 5, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS, PADDED = 1, 1, 4, 8
END = time.time() + 120
BOMB = gzip.compress(b"\0" * (32 << 20))
OK = b"\x88"  # :status 200, of the static table


def frame(kind, flags, stream, payload=b"", length=None):
    n = len(payload) if length is None else length
    return struct.pack(">I", n)[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def text(value):
    n, out = len(value), b""
    if n < 127:
        return bytes([n]) + value
    n -= 127
    while n >= 128:
        out += bytes([n % 128 + 128])
        n //= 128
    return b"\x7f" + out + bytes([n]) + value


def field(name, value):
    return b"\x00" + text(name) + text(value)


def headers(block=b"", flags=END_HEADERS, status=OK, stream=1):
    return frame(HEADERS, flags, stream, status + block)


def data(body, flags=END_STREAM, stream=1):
    return frame(DATA, flags, stream, body)


def flood(conn, piece, pause=0):
    while time.time() < END:
        conn.sendall(piece)
        time.sleep(pause)


def endless_continuation(conn):
    conn.sendall(headers(flags=0))
    flood(conn, frame(CONTINUATION, 0, 1, field(b"x-more", b"y" * 200)))


def slow_body(conn):
    conn.sendall(headers())
    for _ in range(200):
        conn.sendall(data(b"y", 0))
        time.sleep(0.05)


def gzip_bomb(conn):
    conn.sendall(headers(field(b"content-encoding", b"gzip")))
    for i in range(0, len(BOMB), 16384):
        conn.sendall(data(BOMB[i:i + 16384], 0))
    conn.sendall(data(b""))


def hpack_bomb(conn):
    # One entry of 4,000 bytes in the dynamic table, named again and again by one byte each.
    conn.sendall(headers(b"\x40" + text(b"x") + text(b"y" * 3900) + b"\xbe" * 12000))
    conn.sendall(data(b""))


def early_hints(conn):
    flood(conn, headers(field(b"link", b"</x>"), status=b"\x08" + text(b"103")))


CASES = {
    "good": lambda c: c.sendall(headers() + data(b"good")),
    # of a stream
    "rst_refused": lambda c: c.sendall(frame(RST, 0, 1, struct.pack(">I", 7))),
    "rst_cancel": lambda c: c.sendall(frame(RST, 0, 1, struct.pack(">I", 8))),
    "rst_middle": lambda c: c.sendall(headers() + data(b"half", 0) + frame(RST, 0, 1, struct.pack(">I", 2))),
    "rst_no_error": lambda c: c.sendall(frame(RST, 0, 1, struct.pack(">I", 0))),
    # of a connection
    "goaway_unseen": lambda c: c.sendall(frame(GOAWAY, 0, 0, struct.pack(">II", 0, 0))),
    "goaway_middle": lambda c: c.sendall(headers() + data(b"half", 0) + frame(GOAWAY, 0, 0, struct.pack(">II", 1, 11))),
    "goaway_complete": lambda c: c.sendall(frame(GOAWAY, 0, 0, struct.pack(">II", 1, 0)) + headers() + data(b"good")),
    "cut_middle": lambda c: c.sendall(headers() + data(b"half", 0)),
    "cut_first": lambda c: None,
    "silent": lambda c: time.sleep(3),
    # too much
    "endless_continuation": endless_continuation,
    "header_of_1mb": lambda c: c.sendall(headers(flags=0) + b"".join(
        frame(CONTINUATION, 0, 1, field(b"x-%d" % i, b"y" * 16000)) for i in range(64)) + frame(CONTINUATION, 4, 1)),
    "many_headers": lambda c: c.sendall(headers(b"".join(field(b"x-%d" % i, b"y") for i in range(300))) + data(b"")),
    "hpack_bomb": hpack_bomb,
    "gzip_bomb": gzip_bomb,
    "endless_body": lambda c: (c.sendall(headers()), flood(c, data(b"y" * 16384, 0))),
    "endless_1xx": early_hints,
    "ping_flood": lambda c: flood(c, frame(PING, 0, 0, b"12345678") * 50),
    "settings_flood": lambda c: flood(c, frame(SETTINGS, 0, 0) * 50),
    "empty_data_flood": lambda c: (c.sendall(headers()), flood(c, data(b"", 0) * 1000, 0.001)),
    "slow_body": slow_body,
    # broken frames
    "frame_too_large": lambda c: c.sendall(frame(DATA, 0, 1, b"y" * 100, 0xffffff)),
    "data_on_0": lambda c: c.sendall(data(b"x", 0, 0)),
    "data_on_idle": lambda c: c.sendall(data(b"x", 0, 99)),
    "data_first": lambda c: c.sendall(data(b"x")),
    "headers_on_2": lambda c: c.sendall(headers(stream=2)),
    "push": lambda c: c.sendall(frame(PUSH, 4, 1, struct.pack(">I", 2) + b"\x82\x86\x84")),
    "padding": lambda c: c.sendall(headers() + frame(DATA, PADDED, 1, b"\xffx")),
    "settings_length": lambda c: c.sendall(frame(SETTINGS, 0, 0, b"12345")),
    "settings_on_1": lambda c: c.sendall(frame(SETTINGS, 0, 1)),
    "window_zero": lambda c: c.sendall(frame(WINDOW, 0, 0, struct.pack(">I", 0))),
    "window_overflow": lambda c: c.sendall(frame(WINDOW, 0, 0, struct.pack(">I", 0x7fffffff)) * 2),
    "continuation_alone": lambda c: c.sendall(frame(CONTINUATION, 4, 1, OK)),
    "hpack_index": lambda c: c.sendall(headers(b"\xff\xff\xff\xff\x07")),
    "hpack_cut": lambda c: c.sendall(headers(b"\x00\x7f\xff")),
    "no_status": lambda c: c.sendall(headers(field(b"x", b"y"), status=b"")),
    "status_of_letters": lambda c: c.sendall(headers(status=b"\x08" + text(b"abc"))),
    "upper_case": lambda c: c.sendall(headers(field(b"X-Upper", b"y")) + data(b"")),
    "nul_in_value": lambda c: c.sendall(headers(field(b"x-nul", b"a\0b")) + data(b"")),
    "crlf_in_value": lambda c: c.sendall(headers(field(b"x-split", b"a\r\nset-cookie: b")) + data(b"")),
    "connection_header": lambda c: c.sendall(headers(field(b"connection", b"close")) + data(b"")),
    "length_too_long": lambda c: c.sendall(headers(field(b"content-length", b"100")) + data(b"few")),
    "length_too_short": lambda c: c.sendall(headers(field(b"content-length", b"1")) + data(b"more")),
    "data_after_end": lambda c: c.sendall(headers() + data(b"good") + data(b"more")),
    "http_1": lambda c: c.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
    "garbage": lambda c: c.sendall(b"\xde\xad\xbe\xef" * 64),
}


def serve(case, conn):
    try:
        conn.settimeout(20)
        if case not in ("http_1", "garbage"):
            conn.sendall(frame(SETTINGS, 0, 0))
        seen = b""
        while len(seen) < 24 or not asked(seen[24:]):
            more = conn.recv(65536)
            if not more:
                return
            seen += more
        CASES[case](conn)
        if not case.startswith("cut"):
            conn.settimeout(5)
            while conn.recv(65536):
                pass
    except OSError:
        pass
    finally:
        conn.close()


def asked(frames):
    """Whether a HEADERS frame is among what came."""
    while len(frames) >= 9:
        if frames[3] == HEADERS:
            return True
        frames = frames[9 + int.from_bytes(frames[:3], "big"):]
    return False


def accept(case, listener):
    while True:
        conn, _ = listener.accept()
        threading.Thread(target=serve, args=(case, conn), daemon=True).start()


for name in CASES:
    s = socket.socket()
    s.bind(("127.0.0.1", 0))
    s.listen(64)
    print(name, s.getsockname()[1], flush=True)
    threading.Thread(target=accept, args=(name, s), daemon=True).start()
print("ready", flush=True)
while True:
    time.sleep(60)
