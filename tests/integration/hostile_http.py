"""An HTTP server that misbehaves: the path says how. Prints "port N"."""
import gzip
import socket
import struct
import threading
import time

END = time.time() + 60
BOMB = gzip.compress(b"\0" * (32 << 20))


def endless(conn, head, piece):
    conn.sendall(head)
    while time.time() < END:
        conn.sendall(piece)


def slowly(conn, text):
    for byte in text:
        conn.sendall(bytes([byte]))
        time.sleep(0.05)


def serve(conn):
    data = b""
    while b"\r\n\r\n" not in data:
        more = conn.recv(65536)
        if not more:
            return
        data += more
    what = data.split(b" ")[1].strip(b"/").decode()
    ok = b"HTTP/1.1 200 OK\r\n"
    if what == "endless-headers":
        endless(conn, ok, b"X-Header: " + b"y" * 200 + b"\r\n")
    elif what == "endless-1xx":
        endless(conn, b"", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
    elif what == "endless-body":
        endless(conn, ok + b"\r\n", b"y" * 4096)
    elif what == "slow-body":
        slowly(conn, ok + b"Content-Length: 10000\r\n\r\n" + b"y" * 10000)
    elif what == "slow-head":
        slowly(conn, ok + b"X: " + b"y" * 10000)
    elif what == "silent":
        time.sleep(2)
    elif what == "short":
        conn.sendall(ok + b"Content-Length: 100\r\n\r\nfew")
    elif what == "bad-chunk":
        conn.sendall(ok + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n")
    elif what == "not-http":
        conn.sendall(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
    elif what == "bad-gzip":
        conn.sendall(ok + b"Content-Encoding: gzip\r\nContent-Length: 8\r\n\r\nnot gzip")
    elif what == "bomb":
        body = BOMB
        conn.sendall(ok + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    elif what == "reset":
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    elif what == "endless-chunks":
        endless(conn, ok + b"Transfer-Encoding: chunked\r\n\r\n", b"10;ext=" + b"e" * 200 + b"\r\n" + b"y" * 16 + b"\r\n")
    elif what == "endless-trailer":
        endless(conn, ok + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X-Trailer: " + b"y" * 200 + b"\r\n")
    elif what == "huge-chunk":
        conn.sendall(ok + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nfew\r\n")
    elif what == "endless-line":
        endless(conn, b"HTTP/1.1 200 ", b"O" * 4096)
    elif what == "nul-header":
        conn.sendall(ok + b"X-Nul: a\0b\r\nContent-Length: 4\r\n\r\ngood")
    elif what == "negative-length":
        conn.sendall(ok + b"Content-Length: -5\r\n\r\nmore")
    elif what == "layers":
        body = b"\0" * 65536
        for _ in range(8):
            body = gzip.compress(body)
        conn.sendall(ok + b"Content-Encoding: " + b", ".join([b"gzip"] * 8) + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    elif what == "only-103":
        conn.sendall(b"HTTP/1.1 103 Early Hints\r\n\r\n")
    elif what == "switch":
        conn.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nbytes")
        time.sleep(2)
    elif what.startswith("to-"):
        where = {"to-file": "file:///etc/hostname", "to-gopher": "gopher://127.0.0.1:%d/x" % other, "to-itself": "/to-itself",
                 "to-nothing": "", "to-elsewhere": "http://127.0.0.1:%d/show" % other,
                 "to-userinfo": "http://good:good@127.0.0.1:%d/show" % other, "to-scheme": "//127.0.0.1:%d/show" % other,
                 "to-at": "http://127.0.0.1:%d@127.0.0.1:%d/show" % (port, other), "to-long": "/" + "x" * 20000}[what]
        conn.sendall(b"HTTP/1.1 307 Over there\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % where.encode())
    elif what == "show":
        conn.sendall(ok + b"Content-Length: %d\r\n\r\n" % len(data) + data)
    elif what == "good":
        conn.sendall(ok + b"Content-Length: 4\r\n\r\ngood")


def guarded(conn):
    try:
        serve(conn)
    except OSError:
        pass
    finally:
        conn.close()


def listen():
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(64)
    return listener


def accept(listener):
    while True:
        peer, _ = listener.accept()
        threading.Thread(target=guarded, args=(peer,), daemon=True).start()


here, there = listen(), listen()  # two origins: the second one is where redirects lead
port, other = here.getsockname()[1], there.getsockname()[1]
print("port", port, flush=True)
threading.Thread(target=accept, args=(there,), daemon=True).start()
accept(here)
