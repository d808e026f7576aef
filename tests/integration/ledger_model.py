"""What a ledger must hold, and what callers saw: for tests that break things under load."""

import pathlib
import sqlite3
import threading

from gradoracle.v1 import oracle_pb2

DIMENSION = 4
WEIGHTS = [0.1] * DIMENSION


def unary(request_id=""):
  return oracle_pb2.GetGradientRequest(weights=WEIGHTS, batch_size=40, request_id=request_id)


class SqliteLedger:
  """A ledger in a file, looked at while no server has it."""

  def __init__(self, folder):
    self.path = pathlib.Path(folder) / "ledger.db"
    self.location = f"sqlite:{self.path}"

  def query(self, sql):
    connection = sqlite3.connect(self.path)
    try:
      return connection.execute(sql).fetchone()[0]
    finally:
      connection.close()

  def spent(self):
    return self.query("SELECT spent FROM account WHERE principal = ''")

  def check(self, test):
    test.assertEqual(self.query("PRAGMA integrity_check"), "ok")
    test.assertEqual(self.query("SELECT sum(spent) FROM account WHERE principal NOT IN ('', char(31) || 'participation')"), self.spent())


class PostgresqlLedger:

  def __init__(self, server):
    self.server = server
    self.location = server.url

  def spent(self):
    return int(self.server.sql("SELECT spent FROM gradoracle_account WHERE principal = ''"))

  def check(self, test):
    test.assertEqual(int(self.server.sql(
      "SELECT sum(spent) FROM gradoracle_account WHERE principal NOT IN ('', chr(31) || 'participation')")), self.spent())


class History:
  """What callers saw: every gradient that came, and every one that was asked for."""

  def __init__(self):
    self.lock = threading.Lock()
    self.attempted = 0
    self.answered = {}  # request id -> gradients that came
    self.seen = set()  # bytes of gradients

  def ask(self, count):
    with self.lock:
      self.attempted += count

  def answer(self, request_id, payload):
    size = 8 * DIMENSION
    with self.lock:
      for at in range(0, len(payload), size):
        self.seen.add(payload[at:at + size])
      self.answered[request_id] = self.answered.get(request_id, 0) + len(payload) // size
