"""Each defence: the server starts with it, answers, and tells it; what is refused; what is remembered."""

import json
import math
import os
import subprocess
import unittest

import grpc
import numpy as np

from gradoracle.v1 import oracle_pb2
from oracle_process import (PATIENCE_SECONDS, OracleProcess, clean_environment, collect, regression_data, run,
                            stream_request)
from with_data import WithData

CLIENT = os.environ["GRADORACLE_TEST_CLIENT"]


class DefencesTest(WithData):

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.dimension = cls.features.shape[1]

  def serve(self, *flags):
    return OracleProcess("--data", self.data, *flags)

  def stream(self, server, weights, batch_size, count, **more):
    call = server.stub.StreamGradients(stream_request(weights, batch_size, count, **more), timeout=PATIENCE_SECONDS)
    return collect(call, len(weights))

  def info(self, server):
    return server.stub.GetInfo(oracle_pb2.GetInfoRequest(), timeout=PATIENCE_SECONDS)

  def client(self, server, *arguments):
    return subprocess.run([CLIENT, *map(str, arguments), "--oracle", server.address, "--json"],
                          env=clean_environment(), capture_output=True, text=True, timeout=PATIENCE_SECONDS)

  def inspect(self, *flags):
    result = run("inspect", "--data", self.data, *flags)
    self.assertEqual(result.returncode, 0, result.stderr)
    return json.loads(result.stdout)

  # Would catch: a mask that is not isotropic, of the wrong size, or under which target noise went on.
  def test_a_mask_makes_the_covariance_isotropic(self):
    variance, count, d = 4.0, 6000, self.dimension
    with self.serve("--mask-variance", variance) as server:
      told = self.info(server)
      self.assertTrue(told.noise.isotropic)
      self.assertEqual(told.defence.mask_variance, variance)
      gradients = self.stream(server, [0.0] * d, 64, count)
      centred = gradients - gradients.mean(axis=0)
      covariance = centred.T @ centred / (count - 1)
      # The rows' own part at w = 0 is E xx'y^2 / n. Its share is bounded by max |x|^2 y^2 / n, taken from the data here;
      # the rest deviates as a sample covariance of Gaussians (Davidson and Szarek), with probability 1e-6 of more.
      features, targets = regression_data()
      x = (features - features.mean(axis=0)) / features.std(axis=0)
      y = (targets - targets.mean()) / targets.std()
      rows = np.linalg.norm((x * y[:, None]).T @ (x * y[:, None]) / len(y), 2) / 64
      eta = math.sqrt(d / count) + math.sqrt(2 * math.log(2 / 1e-6) / count)
      allowed = (variance + rows) * (2 * eta + eta**2) + rows
      self.assertLess(np.linalg.norm(covariance - variance * np.eye(d), 2), allowed)
      self.assertLess(allowed, variance / 2, "the bound says something")
      printed = json.loads(self.client(server, "info").stdout)
      self.assertEqual(printed["defence"], {"mask_variance": variance})
      self.assertTrue(printed["noise"]["isotropic"])
      # A covariance of this oracle rescaled to a unit diagonal would pass for a Hessian.
      for estimator in ("auto", "covariance"):
        estimate = self.client(server, "estimate", "--weights", "zeros", "--batch-size", 64, "--count", 2000,
                               "--estimator", estimator, "--out", self.folder / "hessian.npy")
        self.assertEqual(estimate.returncode, 2, "nothing is asked of the oracle: " + estimate.stdout + estimate.stderr)
        self.assertEqual(json.loads(estimate.stdout)["error"]["reason"], "ISOTROPIC_NOISE")
      slopes = self.client(server, "estimate", "--weights", "zeros", "--batch-size", 64, "--count", 2000,
                           "--estimator", "active", "--out", self.folder / "hessian.npy")
      self.assertEqual(slopes.returncode, 0, slopes.stdout + slopes.stderr)

  def test_a_mask_from_a_budget_is_not_told(self):
    flags = ("--mask-budget", 10000, "--mask-error", 0.5, "--max-weights-norm", 2)
    with self.serve(*flags) as server:
      told = self.info(server)
      self.assertTrue(told.noise.isotropic)
      self.assertFalse(told.defence.HasField("mask_variance"))
    self.assertGreater(self.inspect(*flags)["mask_variance"], 0)

  # Would catch: gradients longer than clipping and noise allow, accountants that do not know of it.
  def test_clipping(self):
    flags = ("--clip-norm", 0.5, "--gradient-noise-multiplier", 1.0, "--sampling", "poisson")
    with self.serve(*flags) as server:
      told = self.info(server)
      self.assertTrue(told.noise.isotropic)
      self.assertEqual((told.defence.clip_norm, told.defence.gradient_noise_multiplier), (0.5, 1.0))
      self.assertEqual(told.sampling, oracle_pb2.SAMPLING_POISSON)
      far = [told.limits.max_weights_norm / math.sqrt(self.dimension) * 0.999] * self.dimension
      mean = self.stream(server, far, 64, 500).mean(axis=0)
      # At most c rows/n, and rows/n is 1 in the mean; unclipped it would be near 100.
      self.assertLess(np.linalg.norm(mean), 0.75)
    epsilons = self.inspect(*flags)["gradient_privacy"]["epsilons"]
    self.assertEqual([e["gradients"] for e in epsilons], [100, 1000, 10000, 100000])
    self.assertLess(epsilons[0]["epsilon"], epsilons[3]["epsilon"])
    for flags in (("--sampling", "poisson"), ("--clip-norm", 1, "--gradient-noise-multiplier", 1),
                  ("--clip-norm", 1, "--sampling", "poisson")):
      refused = run("check-config", "--data", self.data, *flags)
      self.assertEqual(refused.returncode, 2, flags)

  # Would catch: a repeat that teaches, callers told apart, a cell's neighbours told apart.
  def test_answers_stick_to_a_grid(self):
    with self.serve("--weights-grid", 0.5) as server:
      self.assertEqual(self.info(server).defence.weights_grid, 0.5)
      first = self.stream(server, [0.5] * self.dimension, 64, 10)
      np.testing.assert_array_equal(self.stream(server, [0.6] * self.dimension, 64, 10), first)
      np.testing.assert_array_equal(self.stream(server, [0.5] * self.dimension, 64, 4), first[:4])
      self.assertFalse(np.array_equal(self.stream(server, [1.0] * self.dimension, 64, 10), first))
      self.assertFalse(np.array_equal(self.stream(server, [0.5] * self.dimension, 65, 10), first))
      self.assertEqual(server.stub.GetBudget(oracle_pb2.GetBudgetRequest()).spent, 44, "charged all the same")

  # Would catch: a count of uses that a restart forgets, or that other callers do not share.
  def test_participation_is_remembered(self):
    ledger = f"sqlite:{self.folder / 'uses.db'}"
    flags = ("--sampling", "shuffled_epochs", "--max-participation", 5, "--ledger", ledger)
    with self.serve(*flags) as server:
      told = self.info(server)
      self.assertEqual(told.defence.max_participation, 5)
      batches = told.row_count // 64
      self.stream(server, [0.0] * self.dimension, 64, 2 * batches + 1)  # three epochs are begun
    with self.serve(*flags) as server:
      with self.assertRaises(grpc.RpcError) as caught:
        self.stream(server, [0.0] * self.dimension, 64, 2 * batches + 1)
      self.assertEqual(caught.exception.code(), grpc.StatusCode.RESOURCE_EXHAUSTED)
      self.assertIn("limit 5, spent 3, requested 3, remaining 2 uses", caught.exception.details())
      self.stream(server, [0.0] * self.dimension, 64, 2 * batches)
    listed = json.loads(run("token", "list", "--ledger", ledger, "--json").stdout)
    self.assertNotIn("participation", json.dumps(listed))

  # Would catch: a floor that is not in force, or not shown where callers look.
  def test_the_curvature_floor(self):
    flags = ("--curvature-floor", 0.05, "--max-weights-norm", 1)
    recommended = self.inspect(*flags)["recommended_budget"]
    self.assertEqual(recommended["relative_error"], 0.05)
    count = recommended["gradients"]
    self.assertGreater(count, 10)
    with self.serve(*flags) as server:
      budget = json.loads(self.client(server, "budget").stdout)
      self.assertEqual((budget["limit"], budget["spent"]), (count, 0))
      self.stream(server, [0.0] * self.dimension, 64, count - 1)
      with self.assertRaises(grpc.RpcError) as caught:
        self.stream(server, [0.0] * self.dimension, 64, 2)
      self.assertEqual(caught.exception.code(), grpc.StatusCode.RESOURCE_EXHAUSTED)
      refused = self.client(server, "query", "--weights", "zeros", "--batch-size", 64, "--count", 2, "--out",
                            self.folder / "g.npy")
      self.assertEqual(refused.returncode, 3)
      self.stream(server, [0.0] * self.dimension, 64, 1)

  def test_replies_are_rounded(self):
    with self.serve("--reply-grid", 0.25) as server:
      self.assertEqual(self.info(server).defence.reply_grid, 0.25)
      gradients = self.stream(server, [0.0] * self.dimension, 64, 50)
      np.testing.assert_array_equal(gradients * 4, np.rint(gradients * 4))

  def test_defences_can_be_kept_from_callers(self):
    with self.serve("--mask-variance", 4, "--no-publish-defences") as server:
      told = self.info(server)
      self.assertTrue(told.noise.isotropic)
      self.assertFalse(told.defence.HasField("mask_variance"))

  # Would catch: an epsilon where the scale looks at the labels; predictions without assumptions, or that grow.
  def test_inspect_tells_the_owner(self):
    report = self.inspect()
    errors = [prediction["relative_error"] for prediction in report["leakage"]]
    self.assertEqual(errors, sorted(errors, reverse=True))
    for prediction in report["leakage"]:
      self.assertTrue(prediction["assumptions"])
      self.assertLessEqual(prediction["lower"], prediction["relative_error"])
      self.assertLessEqual(prediction["relative_error"], prediction["upper"])
    self.assertIn("standardised by its own labels", report["label_privacy"]["refused"])
    self.assertIn("refused", report["gradient_privacy"])
    scaling = self.folder / "scaling.json"
    self.inspect("--scaling-out", scaling)
    label = self.inspect("--scaling", scaling, "--noise-rule", "fixed", "--noise-variance", 64, "--reply-grid", 2**-10,
                         "--label-width", 2, "--sampling", "shuffled_epochs", "--max-participation", 8)["label_privacy"]
    self.assertAlmostEqual(label["rho"], 8 * 4 / (2 * 64))
    self.assertGreater(label["zcdp_epsilon"], label["epsilon"])
    self.assertTrue(label["assumptions"])


if __name__ == "__main__":
  unittest.main()
