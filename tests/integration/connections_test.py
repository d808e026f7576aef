"""Callers that break the rules of TCP, HTTP/2 and gRPC. After each one, an honest caller on a connection of its own is served
correctly by the same process, whose memory stays within bounds.

Bad callers come from 127.0.0.2, so that limits per address do not touch the honest one.
"""

import os
import pathlib
import socket
import ssl
import struct
import threading
import time
import unittest

import grpc

import http2_frames as h2
from callers import DIMENSION, INFO, STREAM, UNARY, WEIGHTS, ask, stream_request, unary_request
from gradoracle.v1 import oracle_pb2, oracle_pb2_grpc
from http2_frames import RawConnection
from oracle_process import PATIENCE_SECONDS, OracleProcess, channel_to, wait_until
from with_data import WithData

# The quota of gRPC's buffers (256 MB) and what a process that computes needs besides.
# Sanitizers keep what is freed for a while, so that their memory says nothing.
LARGEST_RESIDENT_MEGABYTES = float("inf") if os.environ.get("GRADORACLE_TEST_SANITIZER") else 400


class ConnectionsTest(WithData):
  shape = {"dimension": DIMENSION}

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.server = OracleProcess("--data", cls.data)
    cls.addClassCleanup(cls.server.close)
    cls.expected = ask(cls.server.address, request_id="reference")

  def setUp(self):
    super().setUp()
    self.address = self.server.address

  def tearDown(self):
    # The same process (the reference is a function of its secret) gives a right and whole answer.
    self.assertIsNone(self.server.process.poll(), self.server.log())
    self.assertEqual(ask(self.address, request_id="reference"), self.expected)
    status = pathlib.Path(f"/proc/{self.server.process.pid}/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
    self.assertLess(peak, LARGEST_RESIDENT_MEGABYTES)

  def connect(self, **more):
    connection = RawConnection(self.address, patience=PATIENCE_SECONDS, **more)
    self.addCleanup(connection.close)
    return connection

  def say(self, *data, **more):
    """A connection on which all this was said; it stays open while the honest caller asks."""
    connection = self.connect(**more)
    for piece in data:
      if not connection.send(piece):
        break
    return connection

  def assert_closed(self, *data, **more):
    """The server ends a connection on which this is said."""
    self.say(*data, **more).drain()

  def headers(self, stream=1, path=UNARY, *extra, flags=h2.END_HEADERS, **more):
    return h2.frame(h2.HEADERS, flags, stream, h2.request_headers(path, *extra, **more))

  # The beginning of a connection.

  # Would catch a missing handshake timeout, at each of the places where a caller can stop talking.
  def test_silent_and_slow_callers_are_closed(self):
    said = [b"", h2.PREFACE[:10], h2.PREFACE, h2.PREFACE + h2.settings()[:5], b"\x16\x03\x01\x02\x00\x01"]
    silent = [self.say(data, hello=False) for data in said]
    slow = self.connect(hello=False)
    for byte in h2.PREFACE:
      if not slow.send(bytes([byte])):
        break
      time.sleep(0.3)  # 7 s for the preface
    for connection in [*silent, slow]:
      connection.drain()

  def test_wrong_preface(self):
    self.assert_closed(b"PRI * HTTP/3.0\r\n\r\nSM\r\n\r\n" + h2.settings(), hello=False)

  def test_http1(self):
    self.assert_closed(b"GET / HTTP/1.1\r\nHost: oracle\r\n\r\n", hello=False)

  def test_tls_to_a_plaintext_port(self):
    connection = self.connect(hello=False)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with self.assertRaises(OSError):
      context.wrap_socket(connection.socket)

  def test_garbage(self):
    self.assert_closed(bytes(range(256)) * 1000, hello=False)
    self.assert_closed(bytes((i * 197 + 13) % 256 for i in range(100_000)))

  def test_connections_reset_at_every_stage(self):
    for data in (b"", h2.PREFACE[:7], h2.PREFACE + h2.settings(), h2.PREFACE + h2.settings() + self.headers()):
      for _ in range(50):
        connection = self.connect(hello=False)
        connection.send(data)
        connection.reset()

  def test_half_closed_caller(self):
    connection = self.say(h2.call(1, STREAM, stream_request()))
    connection.socket.shutdown(socket.SHUT_WR)
    connection.drain()

  # Frames.

  def test_frame_above_the_maximum(self):
    self.assert_closed(h2.frame(h2.DATA, 0, 1, b"x" * 100, length=(1 << 24) - 1) + b"x" * 200_000)
    self.assert_closed(self.headers(), h2.frame(h2.DATA, 0, 1, b"x" * 20_000))

  def test_frames_of_the_wrong_length(self):
    for kind in (h2.RST_STREAM, h2.PING, h2.WINDOW_UPDATE, h2.SETTINGS, h2.GOAWAY):
      with self.subTest(kind=kind):
        self.assert_closed(self.headers(), h2.frame(kind, 0, 1 if kind == h2.RST_STREAM else 0, b"xyz"))

  def test_padding_longer_than_the_frame(self):
    self.assert_closed(h2.frame(h2.HEADERS, h2.PADDED | h2.END_HEADERS, 1, b"\xff\x00"))
    self.say(self.headers(), h2.frame(h2.DATA, h2.PADDED, 1, b"\xff\x00"))

  def test_frames_on_streams_where_they_cannot_be(self):
    self.say(h2.frame(h2.DATA, 0, 0, b"x"))
    self.say(h2.frame(h2.HEADERS, h2.END_HEADERS, 0, h2.request_headers(UNARY)))
    self.say(h2.frame(h2.HEADERS, h2.END_HEADERS, 2, h2.request_headers(UNARY)))  # even: the server's
    self.say(self.headers(9), self.headers(7))  # decreasing
    self.say(h2.frame(h2.DATA, 0, 99, b"x") * 1000)
    self.say(h2.frame(h2.SETTINGS, 0, 1))
    self.say(h2.frame(h2.PING, 0, 1, bytes(8)))
    self.say(h2.frame(h2.PUSH_PROMISE, h2.END_HEADERS, 1, struct.pack(">I", 2) + h2.request_headers(UNARY)))
    self.say(h2.frame(h2.GOAWAY, 0, 0, bytes(8)), h2.call(1, UNARY, unary_request().SerializeToString()))

  def test_resets_of_unknown_streams(self):
    self.say(b"".join(h2.frame(h2.RST_STREAM, 0, 2 * i + 1, struct.pack(">I", 8)) for i in range(20_000)))
    self.say(h2.frame(h2.RST_STREAM, 0, 0, struct.pack(">I", 8)))

  def test_window_updates_out_of_range(self):
    largest = struct.pack(">I", 0x7FFFFFFF)
    self.say(h2.frame(h2.WINDOW_UPDATE, 0, 0, largest) * 3)
    self.say(self.headers(), h2.frame(h2.WINDOW_UPDATE, 0, 1, largest) * 3)
    self.say(h2.frame(h2.WINDOW_UPDATE, 0, 0, bytes(4)), self.headers(), h2.frame(h2.WINDOW_UPDATE, 0, 1, bytes(4)))
    self.say(h2.frame(h2.WINDOW_UPDATE, 0, 0, struct.pack(">I", 1)) * 100_000)

  def test_settings_out_of_range(self):
    for key, value in ((h2.INITIAL_WINDOW_SIZE, 0xFFFFFFFF), (h2.MAX_FRAME_SIZE, 0), (h2.MAX_FRAME_SIZE, 0xFFFFFFFF),
                       (2, 7), (1, 0xFFFFFFFF), (0xFE03, 7)):
      with self.subTest(key=key, value=value):
        self.say(h2.settings((key, value)), h2.call(1, UNARY, unary_request().SerializeToString()))
    connection = self.say(h2.call(1, STREAM, stream_request()))
    for window in (0, 0x7FFFFFFF, 0, 1, 65535) * 20:
      connection.send(h2.settings((h2.INITIAL_WINDOW_SIZE, window)))

  # Floods. What is not read is held by the server: memory is what these are after.

  def test_settings_flood(self):
    self.say(*[h2.settings() * 1000] * 100)
    self.say(*[h2.settings(*[(h2.INITIAL_WINDOW_SIZE, i) for i in range(2000)])] * 100)

  # Would catch pings that are not policed.
  def test_ping_flood(self):
    self.assert_closed(*[h2.frame(h2.PING, 0, 0, bytes(8)) * 1000] * 100)

  def test_priority_and_unknown_frames_flood(self):
    self.say(*[h2.frame(h2.PRIORITY, 0, 1, bytes(5)) * 1000] * 100)
    self.say(*[h2.frame(0xEE, 0xFF, 1, bytes(100)) * 1000] * 50)

  def test_empty_data_flood(self):
    self.say(self.headers(), *[h2.frame(h2.DATA, 0, 1) * 1000] * 100)

  def test_empty_headers_and_continuation_flood(self):
    self.say(h2.frame(h2.HEADERS, 0, 1), *[h2.frame(h2.CONTINUATION, 0, 1) * 1000] * 100)

  # CVE-2024-27316 and its kin: headers that never end.
  def test_continuation_flood(self):
    piece = h2.frame(h2.CONTINUATION, 0, 1, h2.header("x", "y" * 1000) * 10)
    self.say(h2.frame(h2.HEADERS, 0, 1, h2.request_headers(UNARY)), *[piece] * 1000)

  def test_broken_header_blocks(self):
    self.say(h2.frame(h2.CONTINUATION, h2.END_HEADERS, 1, h2.request_headers(UNARY)))
    self.say(self.headers(flags=0), h2.frame(h2.DATA, 0, 1, b"x"))
    self.say(self.headers(flags=0), h2.frame(h2.CONTINUATION, h2.END_HEADERS, 3, h2.header("x", "y")))

  # CVE-2023-44487. Would catch a server that starts work for all of them: measured without the budget, 20 000 handlers.
  def test_rapid_reset(self):
    request = unary_request().SerializeToString()
    for path in (UNARY, INFO, STREAM, "/no.such/Method"):
      with self.subTest(path=path):
        aborted = self.server.log().count("connection aborted")
        connection = self.connect()
        block = h2.request_headers(path)
        frames = []
        for stream in range(1, 40_001, 2):
          frames.append(h2.frame(h2.HEADERS, h2.END_HEADERS, stream, block))
          frames.append(h2.frame(h2.DATA, h2.END_STREAM, stream, h2.message(request)))
          frames.append(h2.frame(h2.RST_STREAM, 0, stream, struct.pack(">I", 8)))
        connection.send(b"".join(frames))
        connection.drain()
        if path != "/no.such/Method":  # may be answered before its reset is seen
          wait_until(lambda: self.server.log().count("connection aborted") > aborted, "the connection aborted")

  def test_streams_beyond_the_limit(self):
    self.say(*[self.headers(stream) for stream in range(1, 4001, 2)])
    self.say(*[h2.call(stream, STREAM, stream_request()) for stream in range(1, 1001, 2)])

  # HPACK.

  def test_hpack(self):
    for name, block in {
        "index 0": b"\x80",
        "index beyond the tables": b"\xfe",
        "index of 2^62": h2.hpack_integer(1 << 62, 7, 0x80),
        "integer without end": b"\xff" + b"\x80" * 10_000,
        "integer of zeros": b"\xff" + b"\x80" * 9 + b"\x01",
        "table size of 2^31": h2.hpack_integer(1 << 31, 5, 0x20),
        "table sizes over and over": b"\x20\x3f\xe1\x1f" * 3000,
        "string longer than the frame": b"\x00" + h2.hpack_integer(100_000, 7) + b"x",
        "string of 2^60": b"\x00" + h2.hpack_integer(1 << 60, 7) + b"x",
        "Huffman of the end mark": b"\x00\x84\xff\xff\xff\xff\x00",
        "Huffman padding of zeros": b"\x00\x81\x00\x00",
        "empty name": b"\x00\x00\x00",
        "name in capitals": h2.header("Upper", "x"),
        "control characters": h2.header("x", b"\x00\r\n\x7f\xff"),
        "only half a block": h2.request_headers(UNARY)[:-7],
    }.items():
      with self.subTest(name):
        connection = self.say(h2.frame(h2.HEADERS, h2.END_HEADERS | h2.END_STREAM, 1, block))
        connection.send(h2.call(3, UNARY, unary_request().SerializeToString()))

  # CVE-2023-33953: entries that fill the dynamic table and are named again and again.
  def test_hpack_bomb(self):
    entry = b"\x40" + h2.hpack_string("x") + h2.hpack_string("y" * 3000)
    connection = self.say(h2.frame(h2.HEADERS, h2.END_HEADERS, 1, h2.request_headers(UNARY) + entry))
    for stream in range(3, 203, 2):
      if not connection.send(h2.frame(h2.HEADERS, h2.END_HEADERS, stream, b"\xbe" * 16_000)):
        break

  # Headers of gRPC.

  def test_strange_request_headers(self):
    request = unary_request().SerializeToString()
    for path, extra in ((None, []), ("", []), ("x", []), ("/" * 5000, []), (UNARY, [(":path", INFO)]),
                        (UNARY, [(":status", "200")]), (UNARY, [("connection", "close")]),
                        (UNARY, [("content-length", "-1")]), (UNARY, [("grpc-timeout", "99999999999999999999H")]),
                        (UNARY, [("grpc-timeout", "-5m")]), (UNARY, [("grpc-encoding", "no-such")]),
                        (UNARY, [("grpc-accept-encoding", "," * 4000)]), (UNARY, [("authorization", "\x80" * 100)]),
                        (UNARY, [("x-bin", "!!!not base64!!!")]), (UNARY, [("grpc-trace-bin", "=")]),
                        (UNARY, [("grpc-tags-bin", "A" * 5)])):
      with self.subTest(path=path, extra=extra):
        self.say(h2.frame(h2.HEADERS, h2.END_HEADERS, 1, h2.request_headers(path, *extra)),
                 h2.frame(h2.DATA, h2.END_STREAM, 1, h2.message(request)))
    self.say(h2.frame(h2.HEADERS, h2.END_HEADERS, 1, h2.header("content-type", "text/html")))

  # CVE-2023-1428 names gRPC 1.51; its recipe in four variants.
  def test_invalid_te_and_scheme_with_large_headers(self):
    large = [(f"x-{i}", "y" * 1000) for i in range(9)]
    for extra, more in (([], {"te": "x"}), ([], {"scheme": "x"}), ([("grpclb_client_stats", "x")], {}),
                        ([("grpclb_client_stats", "x")], {"te": "x", "scheme": "x"})):
      with self.subTest(extra=extra, more=more):
        self.say(self.headers(1, UNARY, *extra, *large, **more), self.headers(3, UNARY, *extra, **more))

  # Would catch a limit of metadata that is not in force.
  def test_too_much_metadata_is_refused(self):
    connection = self.say(self.headers(1, UNARY, *[(f"x-{i}", "y" * 1000) for i in range(12)]),
                          h2.frame(h2.DATA, h2.END_STREAM, 1, h2.message(unary_request().SerializeToString())))
    with channel_to(self.address) as channel:
      stub = oracle_pb2_grpc.OracleServiceStub(channel)
      with self.assertRaises(grpc.RpcError) as raised:
        stub.GetGradient(unary_request(), timeout=PATIENCE_SECONDS, metadata=[("x", "y" * 9000)])
      self.assertEqual(raised.exception.code(), grpc.StatusCode.RESOURCE_EXHAUSTED)
    self.assertIsNotNone(connection)

  # Messages.

  # grpc/grpc#43012: the limit of a message is applied only when it is complete. The quota is what holds.
  def test_giant_messages_are_held_by_the_quota(self):
    data = h2.message(b"", length=1 << 30) + b"x" * (272 << 20)  # beyond the quota of 256 MiB
    sent = []

    def attack():
      with RawConnection(self.address, patience=5) as connection:
        connection.send(self.headers())
        sent.append(connection.send_within_windows(1, data))

    attackers = [threading.Thread(target=attack) for _ in range(8)]
    for attacker in attackers:
      attacker.start()
    for attacker in attackers:
      attacker.join()
    self.assertLess(max(sent), len(data))  # each was cut off before its end

  def test_messages_without_end(self):
    for _ in range(30):
      self.say(self.headers(), h2.frame(h2.DATA, 0, 1, h2.message(b"x" * 1000, length=2000)))

  def test_broken_messages(self):
    request = unary_request().SerializeToString()
    for data in (h2.message(request, compressed=1), h2.message(request, compressed=7), h2.message(request)[:-3],
                 h2.message(b"\xff" * 100), h2.message(request) * 2, b"", b"\x00\x00", h2.message(b"", length=0xFFFFFFFF)):
      with self.subTest(data=data[:10]):
        self.say(self.headers(), h2.frame(h2.DATA, h2.END_STREAM, 1, data))

  # Readers.

  # Would catch chunks that pile up for readers which do not read.
  def test_streams_that_are_never_read(self):
    for _ in range(5):
      connection = self.connect(receive_buffer=4096)
      for stream in range(1, 20, 2):
        connection.send(h2.call(stream, STREAM, stream_request()))
    connection = self.say(h2.settings((h2.INITIAL_WINDOW_SIZE, 0)))
    for stream in range(1, 101, 2):
      connection.send(h2.call(stream, STREAM, stream_request()))
    time.sleep(1)

  # Limits of connections.

  # Would catch a limit per address that is not in force, or that is not given back.
  def test_one_address_has_its_share(self):
    for _ in range(2):
      connections = [self.connect() for _ in range(100)]
      served = 0
      for connection in connections:
        served += connection.await_frame(h2.SETTINGS) is not None
      self.assertLessEqual(served, 64)
      self.assertGreaterEqual(served, 32)  # some of the last test's may not have ended yet
      self.assertEqual(ask(self.address, request_id="reference"), self.expected)
      for connection in connections:
        connection.close()

      def full():
        with self.connect() as one:
          return one.await_frame(h2.SETTINGS) is None
      wait_until(lambda: not full(), "room again")

  # Would catch settings of gRPC that do not reach connections which it did not accept itself.
  def test_settings_are_in_force(self):
    _, _, _, payload = self.connect().await_frame(h2.SETTINGS)
    told = {key: value for key, value in struct.iter_unpack(">HI", payload)}
    self.assertEqual(told[h2.MAX_CONCURRENT_STREAMS], 100)
    self.assertEqual(told[h2.MAX_HEADER_LIST_SIZE], 8192)
    with channel_to(self.address) as channel:
      stub = oracle_pb2_grpc.OracleServiceStub(channel)
      largest = 16 * DIMENSION + 65_536
      for count, code in ((largest // 8 - 10, "INVALID_ARGUMENT"), (largest // 8 + 10, "RESOURCE_EXHAUSTED")):
        with self.assertRaises(grpc.RpcError) as raised:
          stub.GetGradient(oracle_pb2.GetGradientRequest(weights=[0.1] * count, batch_size=32), timeout=PATIENCE_SECONDS)
        self.assertEqual(raised.exception.code().name, code)

  # Reflection is served by threads, one for each of its streams.
  def test_streams_of_reflection_do_not_take_all_threads(self):
    for _ in range(3):
      connection = self.connect()
      for stream in range(1, 200, 2):
        connection.send(self.headers(stream, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"))
      self.assertIsNotNone(connection.await_frame(h2.SETTINGS))
    self.assertEqual(ask(self.address, request_id="reference"), self.expected)
    status = pathlib.Path(f"/proc/{self.server.process.pid}/status").read_text()
    self.assertLess(int(status.split("Threads:")[1].split()[0]), 100)

  # An honest caller at full speed is no attacker.
  def test_thousands_of_calls_on_one_connection(self):
    with channel_to(self.address) as channel:
      stub = oracle_pb2_grpc.OracleServiceStub(channel)
      for _ in range(30):
        calls = [stub.GetGradient.future(unary_request(), timeout=PATIENCE_SECONDS) for _ in range(100)]
        for call in calls:
          self.assertEqual(len(call.result().gradient), 8 * DIMENSION)
      # Nor is one that changes its mind, a hundred calls at a time.
      calls = [stub.StreamGradients(oracle_pb2.StreamGradientsRequest(weights=WEIGHTS, batch_size=32, count=10**6))
               for _ in range(100)]
      for call in calls:
        call.cancel()
      self.assertEqual(stub.GetGradient(unary_request(request_id="reference"), timeout=PATIENCE_SECONDS).gradient,
                       self.expected)


if __name__ == "__main__":
  unittest.main()
