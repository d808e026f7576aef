"""`estimate --shrinkage`, `--form` and `--trim` on recorded gradients against scikit-learn and NumPy."""

import json
import os
import pathlib
import subprocess
import tempfile
import unittest

import numpy as np
import sklearn.covariance

from oracle_process import PATIENCE_SECONDS, clean_environment

CLIENT = os.environ["GRADORACLE_TEST_CLIENT"]
BATCH_SIZE, TOTAL_NOISE_VARIANCE = 128, 32
SCALE = BATCH_SIZE / TOTAL_NOISE_VARIANCE


def ledoit_wolf_2020(covariance, degrees):
  """Analytical nonlinear shrinkage, transcribed from the formulas of the Annals of Statistics 48 (2020), 3043-3065."""
  dimension = len(covariance)
  ratio = dimension / degrees
  null = max(0, dimension - degrees)
  eigenvalues, vectors = np.linalg.eigh(covariance)
  l = eigenvalues[null:]
  h = degrees ** (-1 / 3)
  x = (l[:, None] - l[None, :]) / (h * l)[None, :]
  root5 = np.sqrt(5)
  f = (3 / (4 * root5) * np.maximum(1 - x**2 / 5, 0) / (h * l)).mean(axis=1)
  hilbert = -3 / (10 * np.pi) * x + 3 / (4 * root5 * np.pi) * (1 - x**2 / 5) * np.log(np.abs((root5 - x) / (root5 + x)))
  hf = (hilbert / (h * l)).mean(axis=1)
  if null == 0:
    shrunk = l / ((np.pi * ratio * l * f) ** 2 + (1 - ratio - np.pi * ratio * l * hf) ** 2)
  else:
    h0 = (1 / np.pi * (3 / 10 / h**2 + 3 / 4 / root5 / h * (1 - 1 / 5 / h**2) *
                       np.log((1 + root5 * h) / (1 - root5 * h))) * (1 / l).mean())
    zero = 1 / (np.pi * (dimension - degrees) / degrees * h0)
    shrunk = np.concatenate([np.full(null, zero), 1 / (np.pi**2 * l * (f**2 + hf**2))])
  return (vectors * shrunk) @ vectors.T


class RecordedGradients(unittest.TestCase):

  def setUp(self):
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.folder = pathlib.Path(folder.name)
    self.generator = np.random.default_rng(11)

  def gradients(self, count, dimension):
    """Correlated, heavier-tailed than Gaussian, with a mean of several deviations."""
    mixing = self.generator.standard_normal((dimension, dimension)) / np.arange(1, dimension + 1)
    radius = np.sqrt(8 / self.generator.chisquare(8, count))[:, None]
    return self.generator.standard_normal((count, dimension)) @ mixing * radius + 3

  def estimate(self, gradients, *arguments, exit_code=0):
    """JSON and what was written of an estimate from these gradients."""
    np.save(self.folder / "gradients.npy", gradients)
    out = self.folder / "out.npy"
    out.unlink(missing_ok=True)
    result = subprocess.run(
        [CLIENT, "estimate", "--json", "--from", self.folder / "gradients.npy", "--batch-size", str(BATCH_SIZE),
         "--total-noise-variance", str(TOTAL_NOISE_VARIANCE), "--out", out, *map(str, arguments)],
        env=clean_environment(), capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    self.assertEqual(result.returncode, exit_code, result.stdout + result.stderr)
    return json.loads(result.stdout), np.load(out) if exit_code == 0 else None

  def assert_close(self, found, expected, tolerance):
    self.assertLess(np.linalg.norm(found - expected), tolerance * np.linalg.norm(expected))

  # Catches: any deviation from scikit-learn's Ledoit-Wolf, which knows nothing of our moments gathered in a stream; the
  # mean not taken out (it dominates here). scikit-learn's covariance has divisor m, ours m - 1.
  def test_ledoit_wolf_is_scikit_learns(self):
    for count, dimension in ((12, 30), (50, 30), (2000, 30)):
      gradients = self.gradients(count, dimension)
      report, hessian = self.estimate(gradients, "--shrinkage", "ledoit_wolf")
      expected, intensity = sklearn.covariance.ledoit_wolf(gradients)
      self.assertEqual(report["shrinkage"]["method"], "ledoit_wolf")
      self.assertAlmostEqual(report["shrinkage"]["intensity"] / intensity, 1, delta=1e-9)
      self.assert_close(hessian, SCALE * count / (count - 1) * expected, 1e-9)
      # What is reported is of the matrix that is written; the relative error is the plain estimate's.
      np.testing.assert_allclose(report["eigenvalues"], np.linalg.eigvalsh(hessian)[::-1], rtol=1e-8)
      self.assertAlmostEqual(report["trace"] / np.trace(hessian), 1, delta=1e-10)

  # scikit-learn's OAS leaves the paper's 2/d out and counts m where the mean's degree of freedom is lost: equal up to
  # these, and to rounding with both put back.
  def test_oas_is_the_papers_and_nearly_scikit_learns(self):
    for count, dimension in ((40, 60), (500, 60)):
      gradients = self.gradients(count, dimension)
      report, hessian = self.estimate(gradients, "--shrinkage", "oas")
      theirs = sklearn.covariance.oas(gradients)[1]
      intensity = report["shrinkage"]["intensity"]
      self.assertAlmostEqual(intensity / theirs, 1, delta=3 / dimension + 2 / count)
      s, degrees = np.cov(gradients.T), count - 1
      square, trace_square = np.sum(s**2), np.trace(s) ** 2
      expected = (((1 - 2 / dimension) * square + trace_square) /
                  ((degrees + 1 - 2 / dimension) * (square - trace_square / dimension)))
      self.assertAlmostEqual(intensity / expected, 1, delta=1e-9)
      target = np.trace(s) / dimension * np.eye(dimension)
      self.assert_close(hessian, SCALE * ((1 - expected) * s + expected * target), 1e-9)

  # Catches: any deviation from the published formulas, below and above m = d; where they are not themselves lost in
  # rounding, that is for a condition number of some hundreds.
  def test_nonlinear_is_ledoit_and_wolfs(self):
    for count, dimension in ((20, 45), (400, 45)):
      gradients = self.generator.standard_normal((count, dimension)) / np.sqrt(np.arange(1, dimension + 1)) + 3
      report, hessian = self.estimate(gradients, "--shrinkage", "nonlinear")
      self.assertEqual(report["shrinkage"], {"method": "nonlinear"})
      self.assert_close(hessian, SCALE * ledoit_wolf_2020(np.cov(gradients.T), count - 1), 1e-7)

  # Catches: spikes not told from noise, a bulk that is not flat.
  def test_spiked_finds_the_spikes(self):
    gradients = self.generator.standard_normal((900, 60))
    gradients[:, :3] *= np.sqrt([30, 20, 10])
    report, hessian = self.estimate(gradients, "--shrinkage", "spiked")
    self.assertEqual(report["shrinkage"], {"method": "spiked", "spikes": 3})
    eigenvalues = np.linalg.eigvalsh(hessian)[::-1] / SCALE
    np.testing.assert_allclose(eigenvalues[3:], 1, rtol=0.05)  # the median's own deviation is about 1 %
    np.testing.assert_allclose(eigenvalues[:3], [30, 20, 10], rtol=0.3)  # 6 deviations of sqrt(2/900)

  # Catches: a factor of another matrix. The dense estimate is NumPy's covariance.
  def test_forms_are_factors_of_the_dense_hessian(self):
    gradients = self.gradients(60, 200)
    expected = SCALE * np.cov(gradients.T)
    dense, hessian = self.estimate(gradients)
    self.assertEqual(dense["form"], "dense")
    self.assert_close(hessian, expected, 1e-10)
    report, factor = self.estimate(gradients, "--form", "row_space")
    self.assertEqual((report["form"], report["left_out"], factor.shape), ("row_space", 0, (59, 200)))
    self.assert_close(factor.T @ factor, expected, 1e-10)
    report, factor = self.estimate(gradients, "--form", "sketch", "--sketch-rows", 10)
    self.assertEqual((report["form"], factor.shape), ("sketch", (10, 200)))
    spectrum = np.linalg.eigvalsh(expected - factor.T @ factor)
    self.assertGreater(spectrum[0], -1e-9 * spectrum[-1])
    self.assertLessEqual(spectrum[-1], report["left_out"] * (1 + 1e-9))
    self.assertAlmostEqual(report["trace"] / np.trace(expected), 1, delta=1e-10)
    self.assertEqual(len(report["eigenvalues"]), 10)

  # Catches: trimming that does not help against what it is for. 2 % of the gradients times ten add .02 * 99 to the
  # plain covariance; trimmed, what is left is sampling error (about 2 sqrt(30/3000) = .2 for white gradients).
  def test_trimming_helps_against_faulty_gradients(self):
    gradients = self.generator.standard_normal((3000, 30))
    gradients[::50] *= 10
    truth = SCALE * np.eye(30)
    error = lambda hessian: np.linalg.norm(hessian - truth, 2) / np.linalg.norm(truth, 2)
    self.assertGreater(error(self.estimate(gradients)[1]), 1.5)
    report, hessian = self.estimate(gradients, "--trim", 0.05)
    self.assertEqual(report["trimmed"], 150)
    self.assertLess(error(hessian), 0.3)

  def test_what_does_not_fit_together_is_refused(self):
    gradients = self.gradients(20, 4)
    for arguments, reason, field in (
        (("--form", "wide"), "FORM_UNKNOWN", "form"),
        (("--sketch-rows", 5), "FORM_CONFLICT", "sketch_rows"),
        (("--form", "sketch", "--sketch-rows", 0), "SKETCH_ROWS_OUT_OF_RANGE", "sketch_rows"),
        (("--shrinkage", "stein"), "SHRINKAGE_UNKNOWN", "shrinkage"),
        (("--form", "sketch", "--shrinkage", "oas"), "ESTIMATOR_CONFLICT", "shrinkage"),
        (("--form", "sketch", "--trim", 0.1), "ESTIMATOR_CONFLICT", "trim"),
        (("--estimator", "corrected", "--shrinkage", "oas"), "ESTIMATOR_CONFLICT", "shrinkage"),
        (("--trim", 0.5), "TRIM_OUT_OF_RANGE", "trim"),
        (("--trim", 0), "TRIM_OUT_OF_RANGE", "trim"),
    ):
      report, _ = self.estimate(gradients, *arguments, exit_code=2)
      self.assertEqual((report["error"]["reason"], report["error"]["field"]), (reason, field), arguments)


if __name__ == "__main__":
  unittest.main()
