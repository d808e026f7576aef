"""The admin port, the log, SIGHUP: what the owner's machinery sees of a server."""

import json
import pathlib
import re
import signal
import subprocess
import time
import unittest
import urllib.error
import urllib.request

import grpc

from gradoracle.v1 import oracle_pb2
from oracle_process import PATIENCE_SECONDS, OracleProcess, collect, stream_request, wait_until
from with_data import WithData

DASHBOARD = pathlib.Path(__file__).parents[2] / "deploy/grafana/gradoracle.json"
DIMENSION = 4


def get(address, path, method="GET"):
  """Status and body, also of an error."""
  request = urllib.request.Request(f"http://{address}{path}", method=method)
  opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
  try:
    with opener.open(request, timeout=PATIENCE_SECONDS) as response:
      return response.status, response.read().decode()
  except urllib.error.HTTPError as error:
    return error.code, error.read().decode()


def samples(text):
  """{name{labels}: value} of a Prometheus exposition."""
  return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if not line.startswith("#")}


class OperationsTest(WithData):
  shape = {"dimension": DIMENSION}

  def serve(self, *arguments):
    server = OracleProcess("--data", self.data, "--admin-listen", "127.0.0.1:0", "--log-format", "json", *arguments)
    self.addCleanup(server.close)
    server.admin = next(line["address"] for line in self.lines(server) if line["msg"] == "admin port")
    return server

  def lines(self, server, message=None):
    """The log's complete lines."""
    found = [json.loads(line) for line in server.log().splitlines(keepends=True) if line.endswith("\n")]
    return [line for line in found if message is None or line["msg"] == message]

  def call_lines(self, server, method, count):
    wait_until(lambda: sum(line["method"] == method for line in self.lines(server, "call")) >= count, "log lines")
    return [line for line in self.lines(server, "call") if line["method"] == method]

  def ask(self, server, count=10, **more):
    return collect(server.stub.StreamGradients(stream_request([0.0] * DIMENSION, 64, count, **more),
                                               timeout=PATIENCE_SECONDS), DIMENSION)

  # Would catch a call that is counted or logged twice, or not, under the wrong code, or with the data in it.
  def test_every_call_is_counted_and_has_one_line(self):
    server = self.serve()
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    metadata = [("traceparent", f"00-{trace}-00f067aa0ba902b7-01")]
    weights = [0.123456789] * DIMENSION
    gradients = collect(
        server.stub.StreamGradients(stream_request(weights, 64, 25, request_id="named"), timeout=PATIENCE_SECONDS,
                                    metadata=metadata), DIMENSION)
    with self.assertRaises(grpc.RpcError):
      server.stub.GetGradient(oracle_pb2.GetGradientRequest(weights=weights, batch_size=1), timeout=PATIENCE_SECONDS)
    server.info()

    (stream,) = self.call_lines(server, "StreamGradients", 1)
    self.assertEqual((stream["code"], stream["client"], stream["request_id"], stream["trace_id"], stream["count"]),
                     ("OK", "anonymous", "named", trace, 25))
    self.assertEqual(stream["bytes"], 25 * DIMENSION * 8)
    self.assertRegex(stream["peer"], r"^ipv4:127\.0\.0\.1:\d+$")
    self.assertGreaterEqual(stream["duration_ms"], 0)
    (refused,) = self.call_lines(server, "GetGradient", 1)
    self.assertEqual((refused["code"], refused["reason"]), ("OUT_OF_RANGE", "BATCH_SIZE_TOO_SMALL"))
    self.assertNotIn("count", refused)
    self.call_lines(server, "GetInfo", 1)
    self.assertNotIn("0.123456789", server.log())
    self.assertNotIn(repr(float(gradients[0, 0]))[:8], server.log())

    status, text = get(server.admin, "/metrics")
    self.assertEqual(status, 200)
    found = samples(text)
    labels = 'grpc_method="{}",grpc_service="gradoracle.v1.OracleService",grpc_type="{}"'
    handled = lambda method, kind, code: found[f'grpc_server_handled_total{{grpc_code="{code}",'
                                               f'{labels.format(method, kind)}}}']
    self.assertEqual(handled("StreamGradients", "server_stream", "OK"), 1)
    self.assertEqual(handled("GetGradient", "unary", "OUT_OF_RANGE"), 1)
    self.assertEqual(handled("GetInfo", "unary", "OK"), 1)
    self.assertEqual(found[f'grpc_server_started_total{{{labels.format("GetInfo", "unary")}}}'], 1)
    self.assertEqual(found[f'grpc_server_handling_seconds_count{{{labels.format("GetInfo", "unary")}}}'], 1)
    self.assertEqual(found["gradoracle_gradients_charged_total"], 25)
    self.assertEqual(found["gradoracle_gradients_computed_total"], 25)
    self.assertGreaterEqual(found["gradoracle_connections_open"], 1)
    self.assertGreater(found["process_resident_memory_bytes"], 1e6)

  def test_metrics_are_well_formed(self):
    server = self.serve()
    self.ask(server)
    _, text = get(server.admin, "/metrics")
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, text=True, capture_output=True,
                             timeout=PATIENCE_SECONDS)
    self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)

  # Would catch a label or a metric by which one caller sees what another one spends (threats.md row 30).
  def test_metrics_do_not_tell_callers_apart(self):
    server = self.serve()
    self.ask(server, request_id="first-caller")
    self.ask(server, request_id="second-caller")
    _, text = get(server.admin, "/metrics")
    for word in ("first-caller", "second-caller", "anonymous", "127.0.0.1", "principal", "client"):
      self.assertNotIn(word, text)

  def test_probes_and_everything_else_on_the_admin_port(self):
    server = self.serve("--shutdown-delay", "20s")
    self.assertEqual(get(server.admin, "/livez"), (200, "ok\n"))
    self.assertEqual(get(server.admin, "/readyz"), (200, "ok\n"))
    self.assertEqual(get(server.admin, "/")[0], 404)
    self.assertEqual(get(server.admin, "/../../etc/passwd")[0], 404)
    self.assertEqual(get(server.admin, "/metrics", method="POST")[0], 405)
    server.signal()
    wait_until(lambda: get(server.admin, "/readyz")[0] == 503, "readyz while draining")
    self.assertIn("shutting down", get(server.admin, "/readyz")[1])
    self.assertEqual(get(server.admin, "/livez")[0], 200)
    self.ask(server, count=1)  # still serving for --shutdown-delay
    server.signal()  # at once

  def test_sighup_reloads_log_level_and_limits_and_keeps_the_old_when_the_file_is_broken(self):
    config = self.folder / "server.toml"
    config.write_text('max_count = 50\nlog_level = "info"\n')
    server = self.serve("--config", config)
    self.assertEqual(server.info().limits.max_count, 50)

    def reload(text, says, count):
      config.write_text(text)
      server.signal(signal.SIGHUP)
      wait_until(lambda: sum(says in line["msg"] for line in self.lines(server)) >= count, says)

    reload('max_count = 70\nmax_weights_norm = 5\ntarget = "f0"\n', "reloaded", 1)
    limits = server.info().limits
    self.assertEqual((limits.max_count, limits.max_weights_norm), (70, 5))
    self.assertEqual(self.lines(server, "changed settings that need a restart")[0]["settings"], ["--target"])
    self.assertEqual(len(self.ask(server, count=70)), 70)
    with self.assertRaises(grpc.RpcError) as refused:
      self.ask(server, count=71)
    self.assertEqual(refused.exception.code(), grpc.StatusCode.OUT_OF_RANGE)

    # What changed is told against what is in force, not against the start.
    reload('max_count = 70\nmax_weights_norm = 5\nlog_level = "info"\n', "reloaded", 2)
    self.assertEqual([sorted(line["settings"]) for line in self.lines(server, "reloaded")],
                     [["--max-count", "--max-weights-norm"], []])

    reload("max_count = 80\nmax_cuont = 90\n", "was not reloaded", 1)
    (error,) = [line for line in self.lines(server) if "was not reloaded" in line["msg"]]
    self.assertIn("server.toml:2", error["error"])
    self.assertEqual(server.info().limits.max_count, 70)

    config.write_text('max_count = 60\nlog_level = "error"\n')
    server.signal(signal.SIGHUP)
    wait_until(lambda: server.info().limits.max_count == 60, "limits of the third file")
    # The line of an earlier call may still be under way: only those of calls made from here on count.
    for _ in range(5):
      self.ask(server, count=1, request_id="silent")
    self.assertNotIn("silent", server.log())

  # The dashboard's queries against a Prometheus that really scrapes a server: would catch a renamed metric or label.
  def test_the_dashboard_finds_its_metrics(self):
    server = self.serve()
    folder = self.folder / "prometheus"
    folder.mkdir()
    (folder / "prometheus.yml").write_text(
        "global: {scrape_interval: 200ms, scrape_timeout: 200ms}\n"
        f"scrape_configs: [{{job_name: gradoracle, static_configs: [{{targets: ['{server.admin}']}}]}}]\n")
    log = open(folder / "log", "w")
    prometheus = subprocess.Popen(
        ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
         "--web.listen-address=127.0.0.1:0"], stdout=log, stderr=subprocess.STDOUT)
    self.addCleanup(log.close)
    self.addCleanup(prometheus.wait, PATIENCE_SECONDS)
    self.addCleanup(prometheus.kill)
    # Port 0: the log does not say which; the socket table of the process does.
    address = []

    def listening():
      sockets = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, timeout=PATIENCE_SECONDS).stdout
      found = re.search(rf"(127\.0\.0\.1:\d+)\s.*pid={prometheus.pid},", sockets)
      address[:] = [found.group(1)] if found else []
      return bool(found)

    wait_until(listening, "Prometheus")

    def query(expression):
      status, body = get(address[0], "/api/v1/query?query=" + urllib.request.quote(expression))
      self.assertEqual(status, 200, body)
      return json.loads(body)["data"]["result"]

    end = time.monotonic() + 3  # a rate needs two scrapes with calls before, between and after them
    while time.monotonic() < end or not query('rate(gradoracle_gradients_charged_total[10s]) > 0'):
      self.ask(server)
      with self.assertRaises(grpc.RpcError):
        server.stub.GetGradient(oracle_pb2.GetGradientRequest(), timeout=PATIENCE_SECONDS)
      self.assertLess(time.monotonic(), end + PATIENCE_SECONDS, "no rate after a minute")
    # Nothing was refused, so that this family has no member yet.
    silent = {"gradoracle_connections_refused_total"}
    panels = json.loads(DASHBOARD.read_text())["panels"]
    self.assertGreater(len(panels), 8)
    for panel in panels:
      for target in panel["targets"]:
        expression = target["expr"].replace("$job", "gradoracle").replace("$__rate_interval", "10s")
        with self.subTest(panel=panel["title"], expression=expression):
          if not any(name in expression for name in silent):
            self.assertTrue(query(expression), "no result")


if __name__ == "__main__":
  unittest.main()
