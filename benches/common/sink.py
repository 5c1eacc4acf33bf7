"""An upstream that takes and gives large bodies as fast as it can, and answers a few of MLflow's questions. Usage: sink.py PORT BYTES"""

import json
import socket
import sys
import threading

PIECE = memoryview(b"\x5a" * (256 * 1024))
ANSWERS = {
    "/version": b"3.18.0",
    "/api/2.0/mlflow/experiments/get": json.dumps({"experiment": {"experiment_id": "1", "name": "bench"}}).encode(),
    "/api/2.0/mlflow/runs/get": json.dumps({"run": {"info": {"run_id": "a" * 32, "experiment_id": "1"}}}).encode(),
}


def serve(connection, size):
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    room, rest = memoryview(bytearray(1 << 20)), b""
    while True:
        while b"\r\n\r\n" not in rest:
            more = connection.recv(65536)
            if not more:
                return
            rest += more
        head, rest = rest.split(b"\r\n\r\n", 1)
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        headers = {name.strip().lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
        if headers.get("expect", "").lower() == "100-continue":
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if headers.get("transfer-encoding", "").lower() == "chunked":
            rest = drop_chunks(connection, rest)
        else:
            left = int(headers.get("content-length", 0))
            taken, rest = len(rest[:left]), rest[left:]
            while taken < left:
                got = connection.recv_into(room[: min(len(room), left - taken)])
                if not got:
                    return
                taken += got
        path = target.split("?")[0]
        if method == "GET" and path.startswith("/api/2.0/mlflow-artifacts/"):
            connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {size}\r\n\r\n".encode())
            for _ in range(size // len(PIECE)):
                connection.sendall(PIECE)
        else:
            body = ANSWERS.get(path, b"{}")
            connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)


def drop_chunks(connection, rest):
    while True:
        while b"\r\n" not in rest:
            rest += connection.recv(1 << 20)
        line, rest = rest.split(b"\r\n", 1)
        left = int(line.split(b";")[0], 16) + 2
        while len(rest) < left:
            left -= len(rest)
            rest = connection.recv(1 << 20)
        rest = rest[left:]
        if line == b"0":
            return rest


def main(port, size):
    listener = socket.create_server(("127.0.0.1", port), backlog=128)
    while True:
        threading.Thread(target=serve, args=(listener.accept()[0], size), daemon=True).start()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
