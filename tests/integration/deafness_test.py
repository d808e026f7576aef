"""A server goes on hearing whatever connects to it, ends itself when it does not, and does not let strangers fill its log."""

import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import unittest

import http2_frames as h2
from callers import DIMENSION, ask
from certificates import Authority
from http2_frames import RawConnection
from oracle_process import SERVER, OracleProcess
from with_data import WithData

FEW_DESCRIPTORS = ("prlimit", "--nofile=128:128")  # the soft limit and the hard one
STOCK_SERVER = """
from concurrent import futures
import grpc
import time
server = grpc.server(futures.ThreadPoolExecutor(2))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(port, flush=True)
time.sleep(600)
"""


# CVE-2023-4785: many connections at once on a process with few descriptors.
class DescriptorsTest(WithData):
  shape = {"dimension": DIMENSION}

  def flood(self, address):
    host, port = address.rsplit(":", 1)
    idle = []
    for _ in range(300):
      caller = socket.socket()
      caller.setblocking(False)
      caller.connect_ex((host, int(port)))
      idle.append(caller)
    time.sleep(1)
    for caller in idle:
      caller.close()

  def probes_answered(self, address):
    """Of five, each on a connection of its own."""
    answered = 0
    for _ in range(5):
      with RawConnection(address, source="127.0.0.1", patience=2) as probe:
        try:
          answered += probe.await_frame(h2.SETTINGS) is not None
        except TimeoutError:
          pass
    return answered

  def survive_a_flood(self, server, reason):
    self.flood(server.address)
    self.assertEqual(self.probes_answered(server.address), 5)
    self.assertEqual(ask(server.address, request_id="r"), self.expected)
    self.assertIn(reason, server.log())
    self.assertIsNone(server.process.poll())

  # Would catch a server that goes deaf: descriptors all taken by idle callers, and none heard after they are gone.
  def test_idle_flood(self):
    with OracleProcess("--data", self.data, program=(*FEW_DESCRIPTORS, SERVER)) as server:
      self.assertIn("limit of open files", server.log())  # and the limits of connections follow from it
      self.expected = ask(server.address, request_id="r")
      self.survive_a_flood(server, "connections refused")

  # The same with a limit that is lowered behind its back, so that descriptors do run out.
  def test_idle_flood_without_descriptors(self):
    with OracleProcess("--data", self.data, "--max-connections-per-address", "1000") as server:
      self.expected = ask(server.address, request_id="r")
      subprocess.run(["prlimit", f"--pid={server.process.pid}", "--nofile=128:128"], check=True)
      self.survive_a_flood(server, "descriptors")

  # What keeps the two above honest: gRPC's own listener does not survive the same flood. When this fails, the flood is
  # too weak, or gRPC has been mended and the accept loop may be reconsidered.
  def test_the_flood_silences_the_stock_listener(self):
    with tempfile.TemporaryDirectory() as folder:
      script = pathlib.Path(folder) / "stock.py"
      script.write_text(STOCK_SERVER)
      with subprocess.Popen([*FEW_DESCRIPTORS, sys.executable, script], stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL, text=True) as stock:
        try:
          address = f"127.0.0.1:{int(stock.stdout.readline())}"
          self.assertEqual(self.probes_answered(address), 5)
          self.flood(address)
          self.assertEqual(self.probes_answered(address), 0)
          self.assertIsNone(stock.poll())
        finally:
          stock.kill()


# The server's own probe.
class SelfProbeTest(WithData):
  shape = {"dimension": DIMENSION}

  # Would catch a process that lives on though it can hear nobody: here it has no descriptor left for a connection.
  def test_a_deaf_server_ends_itself(self):
    with OracleProcess("--data", self.data, "--self-probe-interval", "100ms") as server:
      ask(server.address)
      time.sleep(0.5)
      self.assertIsNone(server.process.poll(), server.log())
      self.assertNotIn("self-probe failed", server.log())
      subprocess.run(["prlimit", f"--pid={server.process.pid}", "--nofile=3:3"], check=True)
      self.assertEqual(server.wait(), 1)
      self.assertIn("in_a_row=3", server.log())
      self.assertIn("hears nobody", server.log())

  # Would catch a server that ends itself because it is full, or while it drains.
  def test_full_or_draining_is_not_deaf(self):
    with OracleProcess("--data", self.data, "--self-probe-interval", "20ms", "--max-connections", "1", "--shutdown-delay",
                       "1s") as server:
      with RawConnection(server.address) as only:
        self.assertIsNotNone(only.await_frame(h2.SETTINGS))
        with RawConnection(server.address) as other:
          self.assertIsNone(other.await_frame(h2.SETTINGS))
        time.sleep(1)
        self.assertIsNone(server.process.poll(), server.log())
        server.signal()
        self.assertEqual(server.wait(), 0)
      self.assertNotIn("self-probe failed", server.log())

  # Would catch a probe that TLS refuses, or that the log tells of each time.
  def test_a_server_that_demands_certificates_answers_its_probe(self):
    authority = Authority(self.folder, "ca")
    certificate, key = authority.issue("server", "IP:127.0.0.1")
    with OracleProcess("--data", self.data, "--self-probe-interval", "10ms", "--auth", "mtls", "--tls-cert", certificate,
                       "--tls-key", key, "--client-ca", self.folder / "ca.pem", "--ledger",
                       f"sqlite:{self.folder / 'ledger.db'}") as server:
      time.sleep(1)
      self.assertIsNone(server.process.poll(), server.log())
      self.assertNotIn("self-probe failed", server.log())
      self.assertNotIn("source=grpc", server.log())


class PortScanTest(WithData):
  shape = {"dimension": DIMENSION}

  # Would catch a log that strangers can fill: gRPC has an error for each handshake that fails.
  def test_failed_handshakes_do_not_fill_the_log(self):
    authority = Authority(self.folder, "scanned-ca")
    certificate, key = authority.issue("scanned", "IP:127.0.0.1")
    with OracleProcess("--data", self.data, "--tls-cert", certificate, "--tls-key", key) as server:
      before = len(server.log().splitlines())
      for said in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x00\x05hello", h2.PREFACE) * 30:
        with RawConnection(server.address, hello=False) as scanner:
          scanner.send(said)
          scanner.drain()
      lines = server.log().splitlines()[before:]
      self.assertTrue(any("Handshake failed" in line for line in lines), "the scan was not seen at all")
      self.assertLess(len(lines), 10, "\n".join(lines))


if __name__ == "__main__":
  unittest.main()
