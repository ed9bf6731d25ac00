#!/usr/bin/env python3
"""A line to a server that is far away: passes bytes on late, and counts the HTTP/1.1 requests in them.

  bench/harness/slow_line.py HOST:PORT MILLISECONDS

Listens on a free port and prints it. Every byte arrives MILLISECONDS after it was sent, in either direction; a new
connection begins a round trip late, as one does. The line is as broad as the machine: nothing but time is taken. For
each line on standard input it prints what it has counted until then, as JSON; it ends with its standard input.

  bench/harness/slow_line.py --test     prints how many MB/s it can pass on, with and without the delay
"""
import asyncio
import collections
import json
import os
import resource
import socket
import sys
import threading
import time

# More than this on its way in one direction of a connection, and the sender has to wait. At 15 ms that is 2 GB/s.
ON_ITS_WAY_MAX = 32 << 20
HEAD_BYTES_MAX = 64 << 10


class Requests:
    """Finds the requests in what one client says, by the lengths that their heads tell."""

    def __init__(self, counts):
        self.counts, self.head, self.skip, self.chunked = counts, b"", 0, False

    def feed(self, data):
        at = 0
        while at < len(data):
            if self.skip:
                taken = min(self.skip, len(data) - at)
                self.skip -= taken
                at += taken
                continue
            # Heads are short: looking for the end in what came before costs nothing.
            before = len(self.head)
            self.head += data[at:at + HEAD_BYTES_MAX]
            end = self.head.find(b"\r\n" if self.chunked == "size" else b"\r\n\r\n")
            if end < 0:
                if len(self.head) > HEAD_BYTES_MAX:
                    raise ValueError("no HTTP")
                at += len(self.head) - before
                continue
            size = 2 if self.chunked == "size" else 4
            at += end + size - before
            head, self.head = self.head[:end], b""
            if self.chunked == "size":
                chunk = int(head.split(b";")[0], 16)
                # The last chunk has no bytes; trailers would end as a head does, and nobody here sends any.
                self.skip, self.chunked = chunk + 2, "size" if chunk else False
            else:
                self.begin(head)

    def begin(self, head):
        lines = head.decode("latin-1").split("\r\n")
        self.counts[lines[0].split(" ")[0]] += 1
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        if "chunked" in headers.get("transfer-encoding", "").lower():
            self.chunked = "size"
        else:
            self.skip = int(headers.get("content-length", "0"))


END, CLOSED = object(), object()


def length(data):
    return 0 if data is END or data is CLOSED else len(data)


class End(asyncio.Protocol):
    """One end of a connection: what comes here leaves at the other end, later."""

    def __init__(self, line, seen=None):
        self.line, self.seen = line, seen
        self.transport = self.other = None
        self.late = collections.deque()  # (when, bytes), or in place of bytes END or CLOSED
        self.waiting_bytes = 0
        self.hold_until = 0.0
        self.is_armed = self.is_paused = self.is_full = False

    def connection_made(self, transport):
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def data_received(self, data):
        self.line.count(self, data)
        self.send_later(data)

    def eof_received(self):
        self.send_later(END)
        return True  # The other direction goes on.

    def connection_lost(self, _):
        self.send_later(CLOSED)

    def send_later(self, data):
        when = max(self.line.loop.time() + self.line.delay, self.hold_until)
        self.late.append((when, data))
        self.waiting_bytes += length(data)
        self.arm()
        self.balance()

    def arm(self):
        if self.late and not self.is_armed and self.other and self.other.transport:
            self.is_armed = True
            self.line.loop.call_at(self.late[0][0], self.deliver)

    def deliver(self):
        self.is_armed = False
        now = self.line.loop.time() + 0.0005
        target = self.other.transport
        while self.late and self.late[0][0] <= now:
            _, data = self.late.popleft()
            self.waiting_bytes -= length(data)
            if target.is_closing():
                continue
            if data is CLOSED:
                target.close()  # after all that was written before
            elif data is END:
                target.write_eof()
            else:
                target.write(data)
        self.arm()
        self.balance()

    # The target of our bytes tells through the other end that it takes no more, or takes them again.
    def pause_writing(self):
        self.other.is_full = True
        self.other.balance()

    def resume_writing(self):
        self.other.is_full = False
        self.other.balance()

    def balance(self):
        should_pause = self.is_full or self.waiting_bytes > ON_ITS_WAY_MAX
        if should_pause != self.is_paused and not self.transport.is_closing():
            self.is_paused = should_pause
            (self.transport.pause_reading if should_pause else self.transport.resume_reading)()


class Line:
    def __init__(self, server, delay):
        self.server, self.delay = server, delay
        self.requests, self.connections = collections.Counter(), 0
        self.bytes_up = self.bytes_down = 0

    async def listen(self):
        self.loop = asyncio.get_running_loop()
        listening = await self.loop.create_server(self.accept, "127.0.0.1", 0)
        return listening.sockets[0].getsockname()[1]

    def accept(self):
        near = End(self, Requests(self.requests))
        self.connections += 1
        # Half a round trip each for the greeting and its answer, before which nobody far away hears anything.
        near.hold_until = self.loop.time() + 3 * self.delay
        self.loop.create_task(self.connect(near))
        return near

    async def connect(self, near):
        far = End(self)
        try:
            await self.loop.create_connection(lambda: far, *self.server)
        except OSError:
            near.transport.abort()
            return
        near.other, far.other = far, near
        near.arm()

    def count(self, end, data):
        if end.seen:
            self.bytes_up += len(data)
            end.seen.feed(data)
        else:
            self.bytes_down += len(data)

    def counted(self):
        used = resource.getrusage(resource.RUSAGE_SELF)
        return {"requests": dict(self.requests), "connections": self.connections, "bytes_up": self.bytes_up,
                "bytes_down": self.bytes_down, "cpu_seconds": used.ru_utime + used.ru_stime}


async def serve(server, delay):
    line = Line(server, delay)
    print(await line.listen(), flush=True)
    asked = asyncio.StreamReader()
    await line.loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(asked), sys.stdin)
    while await asked.readline():
        print(json.dumps(line.counted()), flush=True)


def throughput(delay, connections=4, size=256 << 20):
    """MB/s of that many uploads at once through a line of its own, to somebody who throws all away."""
    sink = socket.create_server(("127.0.0.1", 0), backlog=connections)
    got = []

    def swallow(client):
        room, total = bytearray(1 << 20), 0
        while total < size and (came := client.recv_into(room)):
            total += came
        client.sendall(b"x")
        got.append(total)

    def accept():
        for _ in range(connections):
            client, _ = sink.accept()
            threading.Thread(target=swallow, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    reading, writing = os.pipe()
    address = []
    ready = threading.Event()

    async def run():
        line = Line(sink.getsockname(), delay)
        address.append(await line.listen())
        ready.set()
        await line.loop.run_in_executor(None, os.read, reading, 1)

    # A thread, not a process: the interpreter's lock makes the figure lower than the truth, never higher.
    threading.Thread(target=lambda: asyncio.run(run()), daemon=True).start()
    ready.wait()

    def upload():
        with socket.create_connection(("127.0.0.1", address[0])) as client:
            client.sendall(b"PUT / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % size)
            block, left = bytes(1 << 20), size
            while left > 0:
                client.sendall(block[:min(left, len(block))])
                left -= len(block)
            client.recv(1)

    begun = time.monotonic()
    uploads = [threading.Thread(target=upload) for _ in range(connections)]
    for thread in uploads:
        thread.start()
    for thread in uploads:
        thread.join()
    seconds = time.monotonic() - begun
    os.write(writing, b"x")
    return connections * size / seconds / 1e6


def main():
    if sys.argv[1:] == ["--test"]:
        print(json.dumps({"delayed": throughput(0.015), "at_once": throughput(0)}))
        return
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    host, _, port = sys.argv[1].rpartition(":")
    asyncio.run(serve((host, int(port)), float(sys.argv[2]) / 1000))


if __name__ == "__main__":
    main()
