"""Servers that are no HTTP servers, or have no TLS. Prints "NAME at PORT" lines, then "port 0"."""
import socket
import threading
import time

CASES = {
    "ssh": b"SSH-2.0-OpenSSH_9.2\r\n",
    "http": b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    "mqtt": b"\x20\x02\x00\x00",
    "close": b"",
    "alert": b"\x15\x03\x01\x00\x02\x02\x46",  # TLS: fatal, protocol_version
}


def answer(conn, text):
    try:
        conn.recv(65536)
        conn.sendall(text)
        conn.shutdown(socket.SHUT_WR)
        conn.settimeout(2)
        while conn.recv(65536):
            pass
    except OSError:
        pass
    conn.close()


def accept(listener, text):
    while True:
        conn, _ = listener.accept()
        threading.Thread(target=answer, args=(conn, text), daemon=True).start()


for name, words in CASES.items():
    s = socket.socket()
    s.bind(("127.0.0.1", 0))
    s.listen(16)
    print(name, "at", s.getsockname()[1], flush=True)
    threading.Thread(target=accept, args=(s, words), daemon=True).start()
print("port 0", flush=True)
while True:
    time.sleep(60)
