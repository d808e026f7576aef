"""Stopping: SIGTERM and SIGINT, calls in flight, delays and bounds, exit codes."""

import os
import signal
import time
import unittest

import grpc
import numpy as np

from gradoracle.v1 import oracle_pb2
from oracle_process import (HEALTH_SERVICE, ORACLE_SERVICE, PATIENCE_SECONDS, OracleProcess, message, stream_request,
                            wait_until)
from with_data import WithData

DIMENSION = 20
# 40 MB: far more than flow control lets the server send ahead, so the stream stays in flight until it is read.
COUNT = 250_000


class DrainTest(WithData):
  shape = {"dimension": DIMENSION}

  def start_stream(self, server):
    """A stream whose first chunk has been read."""
    call = server.stub.StreamGradients(stream_request([0.1] * DIMENSION, 40, COUNT), timeout=4 * PATIENCE_SECONDS)
    return call, next(call).gradient_count

  # Would catch: calls in flight cut off, health still SERVING, new calls taken while draining, another exit code.
  def test_sigterm_lets_calls_in_flight_finish(self):
    for number in (signal.SIGTERM, signal.SIGINT):
      with self.subTest(number), OracleProcess("--data", self.data) as server:
        call, received = self.start_stream(server)
        server.signal(number)
        wait_until(lambda: "draining" in server.log(), "drain")
        with self.assertRaises(grpc.RpcError) as raised:
          server.stub.GetGradient(oracle_pb2.GetGradientRequest(weights=[0.1] * DIMENSION, batch_size=40),
                                  timeout=PATIENCE_SECONDS)
        self.assertEqual(raised.exception.code(), grpc.StatusCode.UNAVAILABLE)
        received += sum(chunk.gradient_count for chunk in call)
        self.assertEqual(received, COUNT)
        self.assertEqual(server.wait(), 0)
        self.assertNotIn("cut short", server.log())

  # Would catch a shutdown that waits for its slowest reader.
  def test_a_reader_that_never_ends_is_bounded(self):
    with OracleProcess("--data", self.data, "--shutdown-timeout", "500ms") as server:
      call, _ = self.start_stream(server)
      server.signal()
      self.assertEqual(server.wait(), 0)
      self.assertIn("cut short", server.log())
      with self.assertRaises(grpc.RpcError) as raised:
        for _ in call:
          pass
      self.assertIn(raised.exception.code(), (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED))

  # Would catch a delay during which calls are refused, or which health does not announce.
  def test_shutdown_delay_keeps_serving(self):
    with OracleProcess("--data", self.data, "--shutdown-delay", "3s") as server:
      watch = server.channel.unary_stream(
          f"/{HEALTH_SERVICE}/Watch",
          request_serializer=lambda request: request.SerializeToString(),
          response_deserializer=message("grpc.health.v1.HealthCheckResponse").FromString,
      )(message("grpc.health.v1.HealthCheckRequest")(service=ORACLE_SERVICE), timeout=PATIENCE_SECONDS)
      self.assertEqual(next(watch).status, 1)  # SERVING
      begin = time.monotonic()
      server.signal()
      self.assertEqual(next(watch).status, 2)  # NOT_SERVING
      self.assertEqual(server.health(), "NOT_SERVING")
      self.assertEqual(server.health(""), "NOT_SERVING")
      self.assertEqual(server.info().dimension, DIMENSION)
      gradient = server.stub.GetGradient(oracle_pb2.GetGradientRequest(weights=[0.1] * DIMENSION, batch_size=40),
                                         timeout=PATIENCE_SECONDS).gradient
      self.assertTrue(np.isfinite(np.frombuffer(gradient)).all())
      self.assertEqual(server.wait(), 0)
      self.assertGreaterEqual(time.monotonic() - begin, 3)

  def test_a_second_signal_exits_at_once(self):
    with OracleProcess("--data", self.data, "--shutdown-delay", "1h") as server:
      server.signal()
      wait_until(lambda: "still serving" in server.log(), "first signal")
      server.signal()
      self.assertEqual(server.wait(), 1)
      self.assertIn("at once", server.log())

  def test_idle_server_stops_though_clients_stay_connected_and_watch(self):
    with OracleProcess("--data", self.data) as server:
      watch = server.channel.unary_stream(
          f"/{HEALTH_SERVICE}/Watch",
          request_serializer=lambda request: request.SerializeToString(),
          response_deserializer=message("grpc.health.v1.HealthCheckResponse").FromString,
      )(message("grpc.health.v1.HealthCheckRequest")(service=""), timeout=PATIENCE_SECONDS)
      self.assertEqual(next(watch).status, 1)
      server.signal()
      self.assertEqual(server.wait(), 0)

  # A pipe nobody writes to stands for data that take long to load.
  def test_sigterm_while_loading(self):
    pipe = self.folder / "slow.csv"
    os.mkfifo(pipe)
    with OracleProcess("--data", pipe, wait=False) as server:
      wait_until(lambda: "loading" in server.log(), "loading")
      server.signal()
      self.assertEqual(server.wait(), 0)
      self.assertFalse(server.port_file.exists())


if __name__ == "__main__":
  unittest.main()
