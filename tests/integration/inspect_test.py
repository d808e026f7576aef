"""`inspect`: the owner's numbers against NumPy; and data whose own noise forbids the calibrated rule."""

import json
import math
import unittest

import grpc
import numpy as np

from oracle_process import (PATIENCE_SECONDS, Details, OracleProcess, least_squares, regression_data, run, standardise,
                            stream_request, write_csv)
from with_data import WithData


class InspectTest(WithData):

  def inspect(self, *arguments):
    completed = run("inspect", "--json", *arguments)
    self.assertEqual(completed.returncode, 0, completed.stderr)
    self.assertEqual(completed.stdout.count("\n"), 1)
    return json.loads(completed.stdout)

  def assert_close(self, actual, expected, tolerance=1e-9):
    np.testing.assert_allclose(actual, expected, rtol=tolerance)

  # Would catch other divisors (N, N - d - 1), raw for standardised units, ascending eigenvalues.
  def test_numbers_are_numpys(self):
    for flags, data in (([], standardise(self.features, self.targets)), (["--no-standardise"],
                                                                         (self.features, self.targets))):
      with self.subTest(flags=flags):
        _, residual_variance, hessian = least_squares(*data)
        result = self.inspect("--data", self.data, *flags)
        self.assertEqual((result["row_count"], result["dimension"], result["rank"]), (500, 4, 4))
        self.assert_close(result["residual_variance"], residual_variance)
        self.assert_close(result["eigenvalues"], np.sort(np.linalg.eigvalsh(hessian))[::-1])
        self.assert_close(result["effective_rank"], np.trace(hessian) / np.linalg.norm(hessian, 2))
        self.assertEqual(result["smallest_calibrated_batch_size"], max(1, math.ceil(residual_variance)))
        self.assertEqual(result["warnings"], [])

  def test_prints_json_without_the_flag_too(self):
    completed = run("inspect", "--data", self.data)
    self.assertEqual(completed.returncode, 0, completed.stderr)
    self.assertEqual(json.loads(completed.stdout), self.inspect("--data", self.data))

  def test_writes_hessian_and_scaling_and_compares(self):
    hessian_path, scaling_path = self.folder / "hessian.npy", self.folder / "scaling.json"
    self.inspect("--data", self.data, "--hessian-out", hessian_path, "--scaling-out", scaling_path)
    hessian = np.load(hessian_path)
    self.assertEqual((hessian.dtype, hessian.shape, hessian.flags["C_CONTIGUOUS"]), (np.float64, (4, 4), True))
    np.testing.assert_allclose(hessian, np.corrcoef(self.features.T), rtol=1e-10, atol=1e-12)
    # A known error: H + 0.01 ||H|| v v' is off by exactly 0.01.
    vector = np.array([1, 2, 3, 4]) / math.sqrt(30)
    estimate = hessian + 0.01 * np.linalg.norm(hessian, 2) * np.outer(vector, vector)
    np.save(self.folder / "estimate.npy", estimate)
    result = self.inspect("--data", self.data, "--compare", self.folder / "estimate.npy")
    self.assert_close(result["relative_error"], 0.01, 1e-9)
    self.assertNotIn("relative_error", self.inspect("--data", self.data))
    # The scaling read back serves the same units under another name.
    again = self.inspect("--data", self.data, "--scaling", scaling_path, "--compare", hessian_path)
    self.assertLess(again["relative_error"], 1e-12)
    self.assertRegex(again["scaling"], r"\A[0-9a-f]{64}\Z")

  def test_compare_refuses_what_it_cannot_compare(self):
    cases = {"small": np.eye(3), "nan": np.full((4, 4), np.nan), "vector": np.ones(4)}
    for name, array in cases.items():
      np.save(self.folder / f"{name}.npy", array)
    (self.folder / "text.npy").write_text("not an array")
    for name in [*cases, "text", "absent"]:
      with self.subTest(name):
        path = self.folder / f"{name}.npy"
        completed = run("inspect", "--json", "--data", self.data, "--compare", path)
        self.assertEqual(completed.returncode, 2, completed.stderr)
        error = json.loads(completed.stdout)["error"]
        self.assertEqual(error["field"], "compare")
        self.assertIn(str(path), error["message"])

  def test_unwritable_result_is_a_failure(self):
    completed = run("inspect", "--json", "--data", self.data, "--hessian-out", self.folder / "no" / "h.npy")
    self.assertNotEqual(completed.returncode, 0)
    self.assertEqual(json.loads(completed.stdout)["error"]["field"], "hessian_out")

  def test_collinear_and_constant_columns(self):
    path = self.folder / "collinear.csv"
    write_csv(path, np.column_stack([self.features, self.features[:, 0] - self.features[:, 1]]), self.targets)
    result = self.inspect("--data", path)
    self.assertEqual((result["dimension"], result["rank"]), (5, 4))
    self.assertTrue(any("rank 4 of 5" in warning for warning in result["warnings"]), result["warnings"])
    path = self.folder / "constant.csv"
    write_csv(path, np.column_stack([self.features, np.full(len(self.targets), 3.0)]), self.targets)
    completed = run("inspect", "--json", "--data", path)
    self.assertEqual(completed.returncode, 2)
    self.assertIn("f4", json.loads(completed.stdout)["error"]["message"])

  # The targets' own noise exceeds n: would catch a clamp to zero noise (which serves, uncalibrated, without a word).
  def test_impossible_rule_is_refused_naming_the_smallest_batch(self):
    features, targets = regression_data(row_count=442, dimension=10, deviation=50)
    path = self.folder / "noisy.csv"
    write_csv(path, features, targets)
    _, residual_variance, _ = least_squares(features, targets)
    smallest = str(math.ceil(residual_variance))
    self.assertGreater(residual_variance, 442)
    completed = run("--data", path, "--no-standardise", "--listen", "127.0.0.1:0")
    self.assertEqual(completed.returncode, 2)
    self.assertIn(f" {smallest} ", completed.stderr)
    # inspect tells the owner the same instead of failing.
    result = self.inspect("--data", path, "--no-standardise")
    self.assertEqual(result["smallest_calibrated_batch_size"], int(smallest))
    self.assertIn(smallest, result["warnings"][0])
    # Standardised, the variance is below 1 and everything works; other rules work in raw units.
    self.assertEqual(self.inspect("--data", path)["smallest_calibrated_batch_size"], 1)
    for flags in ([], ["--no-standardise", "--noise-rule", "none"],
                  ["--no-standardise", "--noise-rule", "scaled", "--noise-scale", "100"]):
      with OracleProcess("--data", path, *flags) as server:
        self.assertEqual(server.health(), "SERVING")

  # Between the two: possible from some n on, which becomes the limit callers see.
  def test_possible_only_for_large_batches_raises_the_limit(self):
    features, targets = regression_data(row_count=500, deviation=15)
    path = self.folder / "noisy_enough.csv"
    write_csv(path, features, targets)
    _, residual_variance, _ = least_squares(features, targets)
    smallest = math.ceil(residual_variance)
    self.assertTrue(32 < smallest < 500)
    with OracleProcess("--data", path, "--no-standardise") as server:
      self.assertEqual(server.info().limits.min_batch_size, smallest)
      self.assertIn(f"--min-batch-size is raised from 32 to {smallest}", server.log())
      ask = lambda n: list(server.stub.StreamGradients(stream_request([0] * 4, n, 1), timeout=PATIENCE_SECONDS))
      ask(smallest)
      with self.assertRaises(grpc.RpcError) as raised:
        ask(smallest - 1)
      details = Details(raised.exception)
      self.assertEqual((details.code, details.reason), ("OUT_OF_RANGE", "BATCH_SIZE_TOO_SMALL"))


if __name__ == "__main__":
  unittest.main()
