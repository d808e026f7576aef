"""What the oracle refuses over the wire: code, stable reason and field of each, and that it goes on serving."""

import math
import unittest

import grpc
import numpy as np

from gradoracle.v1 import oracle_pb2
from oracle_process import PATIENCE_SECONDS, Details, OracleProcess, collect, stream_request
from with_data import WithData

ROWS = 500
GOOD = dict(weights=[0.5, -0.5, 0.25, 0.0], batch_size=32, count=2)
SUBNORMAL = 5e-324
BIG = 2**63 - 1


def with_weight(value):
  return dict(weights=[0.5, value, 0.25, 0.0])


# name: (changes to GOOD, code, reason, field, words of the message)
REFUSALS = {
    "dimension d-1": (dict(weights=[0.5] * 3), "INVALID_ARGUMENT", "WEIGHTS_DIMENSION", "weights", ["3", "4"]),
    "dimension d+1": (dict(weights=[0.5] * 5), "INVALID_ARGUMENT", "WEIGHTS_DIMENSION", "weights", ["5", "4"]),
    "dimension 0": (dict(weights=[]), "INVALID_ARGUMENT", "WEIGHTS_DIMENSION", "weights", ["0", "4"]),
    "NaN": (with_weight(math.nan), "INVALID_ARGUMENT", "WEIGHTS_NOT_FINITE", "weights", []),
    "infinity": (with_weight(math.inf), "INVALID_ARGUMENT", "WEIGHTS_NOT_FINITE", "weights", []),
    "-infinity": (with_weight(-math.inf), "INVALID_ARGUMENT", "WEIGHTS_NOT_FINITE", "weights", []),
    "smallest subnormal": (with_weight(SUBNORMAL), "INVALID_ARGUMENT", "WEIGHTS_SUBNORMAL", "weights", []),
    "largest subnormal": (with_weight(-np.nextafter(2.0**-1022, 0)), "INVALID_ARGUMENT", "WEIGHTS_SUBNORMAL",
                          "weights", []),
    "norm just above": (dict(weights=[100 * (1 + 1e-12), 0, 0, 0]), "OUT_OF_RANGE", "WEIGHTS_NORM", "weights", ["100"]),
    "norm overflows": (dict(weights=[1e308] * 4), "OUT_OF_RANGE", "WEIGHTS_NORM", "weights", ["100"]),
    "batch below": (dict(batch_size=31), "OUT_OF_RANGE", "BATCH_SIZE_TOO_SMALL", "batch_size", ["31", "32"]),
    "batch 1": (dict(batch_size=1), "OUT_OF_RANGE", "BATCH_SIZE_TOO_SMALL", "batch_size", ["1", "32"]),
    "batch above": (dict(batch_size=ROWS + 1), "OUT_OF_RANGE", "BATCH_SIZE_TOO_LARGE", "batch_size", ["501", "500"]),
    "batch 2^63-1": (dict(batch_size=BIG), "OUT_OF_RANGE", "BATCH_SIZE_TOO_LARGE", "batch_size", [str(BIG)]),
    "batch 0": (dict(batch_size=0), "INVALID_ARGUMENT", "BATCH_SIZE_NOT_POSITIVE", "batch_size", ["0"]),
    "batch negative": (dict(batch_size=-1), "INVALID_ARGUMENT", "BATCH_SIZE_NOT_POSITIVE", "batch_size", ["-1"]),
    "count 0": (dict(count=0), "INVALID_ARGUMENT", "COUNT_NOT_POSITIVE", "count", ["0"]),
    "count negative": (dict(count=-BIG - 1), "INVALID_ARGUMENT", "COUNT_NOT_POSITIVE", "count", [str(-BIG - 1)]),
    "count above": (dict(count=1_000_001), "OUT_OF_RANGE", "COUNT_TOO_LARGE", "count", ["1000001", "1000000"]),
    "count 2^63-1": (dict(count=BIG), "OUT_OF_RANGE", "COUNT_TOO_LARGE", "count", [str(BIG)]),
    "variance not offered": (dict(noise=oracle_pb2.NoiseChoice(total_noise_variance=64)), "FAILED_PRECONDITION",
                             "NOISE_VARIANCE_NOT_OFFERED", None, []),
    "probe not offered": (dict(noise=oracle_pb2.NoiseChoice(curvature_probe=True)), "FAILED_PRECONDITION",
                          "CURVATURE_PROBE_NOT_OFFERED", None, []),
    "long request id": (dict(request_id="x" * 129), "INVALID_ARGUMENT", "REQUEST_ID_INVALID", "request_id", ["128"]),
    "request id of control characters": (dict(request_id="a\nb"), "INVALID_ARGUMENT", "REQUEST_ID_INVALID",
                                         "request_id", []),
    "element type": (dict(element_type=7), "INVALID_ARGUMENT", "ELEMENT_TYPE_UNKNOWN", "element_type", ["7"]),
    "negative first": (dict(first_gradient=-1), "INVALID_ARGUMENT", "FIRST_GRADIENT_NEGATIVE", "first_gradient", []),
    "first beyond": (dict(first_gradient=2, request_id="r"), "OUT_OF_RANGE", "FIRST_GRADIENT", "first_gradient", ["2"]),
    "resuming the unknown": (dict(first_gradient=1, request_id="never asked"), "ALREADY_EXISTS", "REQUEST_LOST",
                             "request_id", []),
    "negative chunk": (dict(max_chunk_gradients=-1), "INVALID_ARGUMENT", "MAX_CHUNK_GRADIENTS_NEGATIVE",
                       "max_chunk_gradients", []),
}
STREAM_ONLY = ("count", "first_gradient", "max_chunk_gradients")


class RefusalsTest(WithData):
  shape = {"row_count": ROWS}

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.server = OracleProcess("--data", cls.data)
    cls.addClassCleanup(cls.server.close)

  def refusal(self, call):
    with self.assertRaises(grpc.RpcError) as raised:
      call()
    return Details(raised.exception)

  def check(self, details, code, reason, field, words):
    self.assertEqual((details.code, details.reason), (code, reason), details)
    if field is not None:
      self.assertEqual(details.field, field, details)
      self.assertIn(field, details.message)
    else:
      self.assertTrue(details.field, details)
    for word in words:
      self.assertIn(word, details.message)

  # Would catch: a limit off by one, a check missing on one of the two calls, a changed reason, the wrong field named.
  def test_streams(self):
    for name, (changes, *expected) in REFUSALS.items():
      with self.subTest(name):
        request = stream_request(**{**GOOD, **changes})
        self.check(self.refusal(lambda: list(self.server.stub.StreamGradients(request, timeout=PATIENCE_SECONDS))),
                   *expected)

  def test_unary(self):
    for name, (changes, *expected) in REFUSALS.items():
      if any(key in changes for key in STREAM_ONLY):
        continue
      with self.subTest(name):
        fields = {key: value for key, value in {**GOOD, **changes}.items() if key not in STREAM_ONLY}
        request = oracle_pb2.GetGradientRequest(**fields)
        self.check(self.refusal(lambda: self.server.stub.GetGradient(request, timeout=PATIENCE_SECONDS)), *expected)

  # The edges themselves are allowed: would catch limits that are too strict, -0.0 or tiny normal numbers refused.
  def test_edges_are_served(self):
    for changes in (dict(batch_size=32), dict(batch_size=ROWS), dict(weights=[100, 0, 0, 0]), dict(weights=[0] * 4),
                    with_weight(-0.0), with_weight(2.0**-1022), dict(count=1), dict(request_id="x" * 128)):
      with self.subTest(str(changes)[:60]):
        fields = {**GOOD, **changes}
        call = self.server.stub.StreamGradients(stream_request(**fields), timeout=PATIENCE_SECONDS)
        gradients = collect(call, 4)
        self.assertEqual(len(gradients), fields["count"])
        self.assertTrue(np.isfinite(gradients).all())

  def test_reused_request_id_is_refused(self):
    ask = lambda **changes: list(
        self.server.stub.StreamGradients(stream_request(**{**GOOD, **changes}, request_id="mine"),
                                         timeout=PATIENCE_SECONDS))
    ask()
    self.check(self.refusal(lambda: ask(batch_size=33)), "ALREADY_EXISTS", "REQUEST_ID_REUSED", "request_id", ["mine"])

  def test_oversized_message_is_refused_and_the_server_goes_on(self):
    request = stream_request([0.5] * 1_000_000, 32, 1)
    details = self.refusal(lambda: list(self.server.stub.StreamGradients(request, timeout=PATIENCE_SECONDS)))
    self.assertIn(details.code, ("RESOURCE_EXHAUSTED", "INVALID_ARGUMENT"))
    self.assertEqual(self.server.health(), "SERVING")

  def test_offered_noise_is_served(self):
    with OracleProcess("--data", self.data, "--extra-noise-variances", "64", "--curvature-probe") as server:
      for noise in (oracle_pb2.NoiseChoice(total_noise_variance=64), oracle_pb2.NoiseChoice(curvature_probe=True)):
        call = server.stub.StreamGradients(stream_request(**GOOD, noise=noise), timeout=PATIENCE_SECONDS)
        self.assertEqual(collect(call, 4).shape, (2, 4))
      wrong = stream_request(**GOOD, noise=oracle_pb2.NoiseChoice(total_noise_variance=63))
      details = self.refusal(lambda: list(server.stub.StreamGradients(wrong, timeout=PATIENCE_SECONDS)))
      self.assertEqual(details.reason, "NOISE_VARIANCE_NOT_OFFERED")


if __name__ == "__main__":
  unittest.main()
