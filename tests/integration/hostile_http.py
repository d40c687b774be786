"""An HTTP server that misbehaves: the path says how. Prints "port N"."""
import gzip
import socket
import struct
import threading
import time

END = time.time() + 60


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
        body = gzip.compress(b"\0" * (32 << 20))
        conn.sendall(ok + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    elif what == "reset":
        conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    elif what == "good":
        conn.sendall(ok + b"Content-Length: 4\r\n\r\ngood")


def guarded(conn):
    try:
        serve(conn)
    except OSError:
        pass
    finally:
        conn.close()


listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen(64)
print("port", listener.getsockname()[1], flush=True)
while True:
    peer, _ = listener.accept()
    threading.Thread(target=guarded, args=(peer,), daemon=True).start()
