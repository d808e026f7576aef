"""Callers that do not take what they asked for."""

import struct
import time
import unittest

import http2_frames as h2
from callers import DIMENSION, STREAM, UNARY, stream_request, unary_request
from http2_frames import RawConnection
from oracle_process import OracleProcess
from with_data import WithData


class WriteTimeoutTest(WithData):
  shape = {"dimension": DIMENSION}

  # Would catch a caller that stops reading and keeps its stream, two chunks and its place for ever; also a deadline for
  # the whole of a stream, or for one that is read.
  def test_a_stream_that_is_not_read_is_cancelled(self):
    with OracleProcess("--data", self.data, "--write-timeout", "2s") as server:
      with RawConnection(server.address) as reader, RawConnection(server.address) as unread:
        for connection, window in ((unread, 0), (reader, 1 << 30)):
          connection.send(h2.settings((h2.INITIAL_WINDOW_SIZE, window)) + h2.call(1, STREAM, stream_request(30_000)))
        # One is read little by little: longer than the timeout, but each message within it.
        received = 0
        while received < 30_000 * DIMENSION * 8:
          kind, _, _, payload = reader.read_frame()
          self.assertNotEqual(kind, h2.RST_STREAM)
          if kind == h2.DATA and payload:
            received += len(payload)
            reader.send(h2.frame(h2.WINDOW_UPDATE, 0, 0, struct.pack(">I", len(payload))))
            time.sleep(0.04)
        self.assertIsNotNone(unread.await_frame(h2.RST_STREAM, 1))
        # The other's connection is as good as before.
        unread.send(h2.settings((h2.INITIAL_WINDOW_SIZE, 65_535)))
        unread.send(h2.call(3, UNARY, unary_request().SerializeToString()))
        self.assertIsNotNone(unread.await_frame(h2.DATA, 3))


if __name__ == "__main__":
  unittest.main()
