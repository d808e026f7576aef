"""Serving: health, reflection, streams, and the numbers against NumPy."""

import json
import math
import unittest

import grpc
import numpy as np

from gradoracle.v1 import oracle_pb2
from oracle_process import (HEALTH_SERVICE, ORACLE_SERVICE, PATIENCE_SECONDS, OracleProcess, collect, least_squares,
                            message, regression_data, standardise, stream_request, write_csv)
from with_data import WithData


def spectral_bound(dimension, count, failure=1e-6):
  """Relative spectral error of the sample covariance of `count` Gaussians, exceeded with probability <= failure
  (Davidson and Szarek: singular values within sqrt(d/m) + t, probability 2 exp(-m t^2 / 2))."""
  delta = math.sqrt(dimension / count) + math.sqrt(2 * math.log(2 / failure) / count)
  return 2 * delta + delta**2


class ServingTest(WithData):

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.weights, cls.residual_variance, cls.hessian = least_squares(*standardise(cls.features, cls.targets))
    cls.server = OracleProcess("--data", cls.data, "--log-format", "json")
    cls.addClassCleanup(cls.server.close)

  def stream(self, weights, batch_size, count, **more):
    call = self.server.stub.StreamGradients(stream_request(weights, batch_size, count, **more), timeout=PATIENCE_SECONDS)
    return collect(call, len(weights))

  # Would catch, end to end: noise left out or doubled, the data's own variance not subtracted (tau^2 off by more than
  # 11 %), other units than announced, the 1/2 of the loss, transposed or reordered elements.
  def test_covariance_at_the_optimum_is_the_hessian(self):
    count = 20_000
    gradients = self.stream(self.weights, 64, count)
    self.assertEqual(gradients.shape, (count, 4))
    error = np.linalg.norm(np.cov(gradients.T) - self.hessian, 2) / np.linalg.norm(self.hessian, 2)
    self.assertLess(error, spectral_bound(4, count))
    # The mean is zero there: m mean' H^-1 mean is chi^2 with 4 degrees of freedom; P(> 33.4) = 1e-6.
    mean = gradients.mean(axis=0)
    self.assertLess(count * mean @ np.linalg.solve(self.hessian, mean), 33.4)

  # Would catch a wrong sign, or weights read in another order.
  def test_mean_elsewhere_is_the_gradient(self):
    count = 20_000
    weights = self.weights + np.array([0.5, -0.25, 0.125, 1.0])
    gradients = self.stream(weights, 256, count)
    expected = self.hessian @ (weights - self.weights)
    covariance = np.cov(gradients.T)
    deviation = gradients.mean(axis=0) - expected
    self.assertLess(count * deviation @ np.linalg.solve(covariance, deviation), 33.4)

  def test_unary_float32_named_and_fresh_answers(self):
    weights = list(self.weights)
    ask = lambda **more: self.server.stub.GetGradient(
        oracle_pb2.GetGradientRequest(weights=weights, batch_size=32, **more), timeout=PATIENCE_SECONDS).gradient
    named = ask(request_id="again")
    self.assertEqual(len(named), 4 * 8)
    self.assertEqual(ask(request_id="again"), named)  # a retry gives the same bytes
    self.assertNotEqual(ask(request_id="other"), named)  # other requests share nothing
    self.assertNotEqual(ask(), ask())
    single = ask(request_id="again", element_type=oracle_pb2.ELEMENT_TYPE_FLOAT32)
    np.testing.assert_array_equal(np.frombuffer(single, "<f4"), np.frombuffer(named, "<f8").astype("<f4"))
    np.testing.assert_array_equal(self.stream(self.weights, 32, 3, request_id="s")[1:],
                                  self.resume(self.weights, 32, 3, "s", 1))

  def resume(self, weights, batch_size, count, request_id, first):
    call = self.server.stub.StreamGradients(
        stream_request(weights, batch_size, count, request_id=request_id, first_gradient=first),
        timeout=PATIENCE_SECONDS)
    return np.concatenate([np.frombuffer(chunk.gradients, "<f8").reshape(-1, len(weights)) for chunk in call])

  def test_chunks_are_bounded(self):
    sizes = [
        len(chunk.gradients)
        for chunk in self.server.stub.StreamGradients(stream_request(self.weights, 32, 50_000), timeout=PATIENCE_SECONDS)
    ]
    self.assertEqual(sum(sizes), 50_000 * 4 * 8)
    self.assertLessEqual(max(sizes), 256 * 1024)
    sizes = [
        chunk.gradient_count for chunk in self.server.stub.StreamGradients(
            stream_request(self.weights, 32, 10, max_chunk_gradients=4), timeout=PATIENCE_SECONDS)
    ]
    self.assertEqual((sum(sizes), max(sizes)), (10, 4))

  def test_health(self):
    self.assertEqual(self.server.health(), "SERVING")
    self.assertEqual(self.server.health(""), "SERVING")
    with self.assertRaises(grpc.RpcError) as raised:
      self.server.health("no.such.Service")
    self.assertEqual(raised.exception.code(), grpc.StatusCode.NOT_FOUND)

  def reflect(self, channel, **question):
    request = message("grpc.reflection.v1alpha.ServerReflectionRequest")(**question)
    call = channel.stream_stream(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        request_serializer=lambda m: m.SerializeToString(),
        response_deserializer=message("grpc.reflection.v1alpha.ServerReflectionResponse").FromString,
    )
    return next(call(iter([request]), timeout=PATIENCE_SECONDS))

  def test_reflection_describes_oracle_and_health(self):
    services = self.reflect(self.server.channel, list_services="").list_services_response.service
    self.assertLessEqual({ORACLE_SERVICE, HEALTH_SERVICE}, {service.name for service in services})
    for symbol in (ORACLE_SERVICE, HEALTH_SERVICE):
      answer = self.reflect(self.server.channel, file_containing_symbol=symbol)
      self.assertTrue(answer.file_descriptor_response.file_descriptor_proto, symbol)

  def test_reflection_can_be_switched_off(self):
    with OracleProcess("--data", self.data, "--no-reflection") as server:
      with self.assertRaises(grpc.RpcError) as raised:
        self.reflect(server.channel, list_services="")
      self.assertEqual(raised.exception.code(), grpc.StatusCode.UNIMPLEMENTED)
      self.assertEqual(server.health(), "SERVING")

  def test_json_log_lines(self):
    lines = [json.loads(line) for line in self.server.log().splitlines()]
    for line in lines:
      self.assertLessEqual({"ts", "level", "msg"}, set(line))
    serving = [line for line in lines if line["msg"] == "serving"]
    self.assertEqual([line["address"] for line in serving], [self.server.address])

  def test_dataset_version_follows_the_file(self):
    with OracleProcess("--data", self.data) as again:
      self.assertEqual(again.info().dataset_version, self.server.info().dataset_version)
    features, targets = regression_data(seed=2)
    other = self.data.with_name("other.csv")
    write_csv(other, features, targets)
    with OracleProcess("--data", other) as server:
      self.assertNotEqual(server.info().dataset_version, self.server.info().dataset_version)


if __name__ == "__main__":
  unittest.main()
