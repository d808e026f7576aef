"""Budgets and counts at the ends of their ranges, over the wire (threats 27)."""

import sqlite3
import unittest

import grpc

from gradoracle.v1 import oracle_pb2
from ledger_model import DIMENSION, WEIGHTS, SqliteLedger, unary
from oracle_process import PATIENCE_SECONDS, Details, OracleProcess, run, stream_request
from with_data import WithData

MOST = 2**63 - 1


class OverflowTest(WithData):
  shape = {"dimension": DIMENSION}

  def setUp(self):
    super().setUp()
    self.ledger = SqliteLedger(self.folder)

  def serve(self, spent, limit, *flags):
    """A server whose only caller has spent so much before."""
    made = run("token", "cap", "--ledger", self.ledger.location, "--limit", "unlimited")
    self.assertEqual(made.returncode, 0, made.stderr)
    with sqlite3.connect(self.ledger.path) as connection:
      connection.execute("INSERT INTO account (principal, budget, spent) VALUES ('anonymous', ?, ?)", (limit, spent))
      connection.execute("UPDATE account SET spent = ? WHERE principal = ''", (spent,))
    connection.close()
    server = OracleProcess("--data", self.data, "--ledger", self.ledger.location, *flags)
    self.addCleanup(server.close)
    return server

  def budget(self, server):
    return server.stub.GetBudget(oracle_pb2.GetBudgetRequest(), timeout=PATIENCE_SECONDS)

  def ask(self, server):
    """The details of a refusal, or None."""
    try:
      server.stub.GetGradient(unary(), timeout=PATIENCE_SECONDS)
      return None
    except grpc.RpcError as error:
      return Details(error)

  def refused(self, server, count):
    with self.assertRaises(grpc.RpcError) as raised:
      list(server.stub.StreamGradients(stream_request(WEIGHTS, 40, count), timeout=PATIENCE_SECONDS))
    return Details(raised.exception)

  # Would catch: spent + cost that wraps around to less than any limit, with a limit and without.
  def test_the_last_gradient_there_is(self):
    for limit in (MOST, None):
      with self.subTest(limit=limit):
        server = self.serve(MOST - 1, limit)
        self.assertIsNone(self.ask(server))
        for _ in range(2):
          details = self.ask(server)
          self.assertEqual(details.code, "RESOURCE_EXHAUSTED", details)
          self.assertIn(str(MOST), details.message)
        self.assertEqual(self.refused(server, 1000).code, "RESOURCE_EXHAUSTED")
        self.assertEqual(self.budget(server).spent, MOST)
        server.close()
        self.assertEqual(self.ledger.spent(), MOST)
        self.ledger.path.unlink()

  # Would catch: a counter that passes through a double, which has no 2^53 + 1.
  def test_counts_are_exact_where_doubles_are_not(self):
    server = self.serve(2**53 - 1, 2**53 + 1)
    for spent in (2**53, 2**53 + 1):
      self.assertIsNone(self.ask(server))
      self.assertEqual(self.budget(server).spent, spent)
    details = self.ask(server)
    self.assertEqual(details.reason, "BUDGET_EXHAUSTED")
    self.assertIn(f"limit {2**53 + 1}, spent {2**53 + 1}, requested 1, remaining 0", details.message)
    self.assertEqual(self.budget(server).limit, 2**53 + 1)

  # Would catch: a count below one that adds to a budget, and one that overflows on its way to the refusal.
  def test_counts_that_are_none(self):
    for flags in ((), ("--max-count", str(2**53))):
      server = self.serve(5, 10, *flags)
      for count in (0, -1, -MOST - 1, MOST, MOST - 1, 2**53 + 1, 2**53, 2**53 - 1):
        with self.subTest(count=count, flags=flags):
          details = self.refused(server, count)
          if count < 1:
            self.assertEqual((details.code, details.field), ("INVALID_ARGUMENT", "count"))
          elif flags and count <= 2**53:
            self.assertEqual(details.reason, "BUDGET_EXHAUSTED", details)
          else:
            self.assertEqual((details.code, details.field), ("OUT_OF_RANGE", "count"))
          self.assertEqual(self.budget(server).spent, 5)
      server.close()
      self.ledger.path.unlink()


if __name__ == "__main__":
  unittest.main()
