"""Flags, environment, configuration file, exit codes: the program as the shell sees it."""

import json
import os
import signal
import socket
import unittest

from oracle_process import OracleProcess, run
from with_data import WithData


class SettingsTest(WithData):

  def write(self, name, text):
    path = self.folder / name
    path.write_text(text)
    return path

  def assert_refused(self, completed, *words, code=2):
    self.assertEqual(completed.returncode, code, completed.stderr)
    self.assertEqual(completed.stdout, "")
    for word in words:
      self.assertIn(word, completed.stderr)

  # Would catch: any source not reaching the served limits, or their order.
  def test_flag_beats_environment_beats_file_beats_default(self):
    config = self.write("order.toml", "min_batch_size = 40\nmax_count = 111\nmax_weights_norm = 11\n")
    environment = {"GRADORACLE_MAX_COUNT": "222", "GRADORACLE_MAX_WEIGHTS_NORM": "22", "GRADORACLE_DATA": str(self.data)}
    with OracleProcess("--config", config, "--max-weights-norm", "33", environment=environment) as server:
      limits = server.info().limits
    self.assertEqual(limits.max_weights_norm, 33)  # flag over environment and file
    self.assertEqual(limits.max_count, 222)  # environment over file
    self.assertEqual(limits.min_batch_size, 40)  # file over default
    self.assertEqual(limits.max_batch_size, 500)  # default: N for iid

  def test_defaults_are_the_contract(self):
    with OracleProcess("--data", self.data) as server:
      info = server.info()
    self.assertEqual((info.limits.min_batch_size, info.limits.max_batch_size, info.limits.max_count), (32, 500, 10**6))
    self.assertEqual(info.limits.max_weights_norm, 100)
    self.assertEqual(info.scaling, "standardised")
    self.assertEqual(info.noise.rule, 1)  # calibrated
    self.assertFalse(info.noise.curvature_probe)
    self.assertEqual(list(info.noise.extra_variances), [])
    self.assertEqual(info.sampling, 1)  # iid
    self.assertEqual(list(info.feature_names), [])
    self.assertEqual((info.row_count, info.dimension), (500, 4))

  def test_served_settings_are_those_asked_for(self):
    with OracleProcess("--data", self.data, "--noise-rule", "scaled", "--noise-scale", "2.5", "--sampling",
                       "without_replacement", "--extra-noise-variances", "40,80", "--curvature-probe",
                       "--publish-feature-names", "--dataset-version", "v7", "--no-standardise", "--target", "f0",
                       "--threads", "1") as server:
      info = server.info()
    self.assertEqual((info.noise.rule, info.noise.scale), (2, 2.5))
    self.assertEqual(list(info.noise.extra_variances), [40, 80])
    self.assertTrue(info.noise.curvature_probe)
    self.assertEqual((info.sampling, info.limits.max_batch_size), (2, 250))
    self.assertEqual(list(info.feature_names), ["f1", "f2", "f3", "y"])
    self.assertEqual((info.dataset_version, info.scaling), ("v7", "raw"))

  def test_unknown_key_and_wrong_type_name_file_and_line(self):
    config = self.write("typo.toml", "# mine\ndata = 'x.csv'\nmax_cuont = 5\n")
    self.assert_refused(run("--config", config), f"{config}:3: ", "max_cuont", "max_count")
    config = self.write("type.toml", "data = 'x.csv'\nmax_count = 'many'\n")
    self.assert_refused(run("check-config", "--config", config), f"{config}:2: ", "max_count", "'many'")
    config = self.write("syntax.toml", "data = 'x.csv'\n\nmax_count == 5\n")
    self.assert_refused(run("inspect", "--config", config), f"{config}:3: ", "TOML")

  def test_bad_values_name_flag_or_variable_and_value(self):
    self.assert_refused(run("--data", self.data, "--max-count", "99999999999999999999"), "--max-count", "9" * 20)
    self.assert_refused(run("--data", self.data, environment={"GRADORACLE_LOG_LEVEL": "loud"}),
                        "GRADORACLE_LOG_LEVEL", "'loud'", "debug, info, warning, error")
    self.assert_refused(run("--data", self.data, "--noise-scale", "2"), "--noise-scale 2", "calibrated")
    self.assert_refused(run("--data", self.data, "--noise-rule", "scaled", "--noise-scale", "-1"), "--noise-scale", "-1")
    self.assert_refused(run("--data", self.data, "--noise-rule", "fixed", "--noise-variance", "nan"), "--noise-variance")
    self.assert_refused(run("--data", self.data, "--min-batch-size", "300", "--max-batch-size", "200"), "200", "300")
    self.assert_refused(run("--data", self.data, "--max-batch-size", "501"), "--max-batch-size", "501", "500")
    self.assert_refused(run("--data", self.data, "--sampling", "bernoulli"), "--sampling", "'bernoulli'")
    self.assert_refused(run("--data", self.data, "--target", "price"), "price")

  def test_check_config_accepts_the_defaults_written_out(self):
    completed = run("check-config", "--data", self.data, "--auth", "none", "--ledger", "memory")
    self.assertEqual(completed.returncode, 0, completed.stderr)

  def test_usage_errors(self):
    self.assert_refused(run("srve"), "srve", "--help")
    self.assert_refused(run("--dta", "x"), "--dta")
    self.assert_refused(run("--data"), "--data")
    self.assert_refused(run(), "--data FILE", "GRADORACLE_DATA")
    self.assert_refused(run("--data", "no/such.csv"), "--data", "no/such.csv")
    self.assert_refused(run("--data", self.folder), "--data", "directory")
    self.assert_refused(run("--data", self.data, "--scaling", self.folder), "--scaling", "directory")
    self.assert_refused(run("--config", "no/such.toml"), "no/such.toml")

  def test_json_errors_are_one_object_on_stdout(self):
    for arguments in (["--json", "--max-count", "0"], ["inspect", "--json"], ["check-config", "--json", "--dta", "x"],
                      ["serve", "--json", "--data", "no/such.csv", "--log-format", "json"]):
      with self.subTest(arguments=arguments):
        completed = run(*arguments)
        self.assertEqual(completed.returncode, 2)
        error = json.loads(completed.stdout)["error"]
        self.assertLessEqual({"code", "reason", "message"}, set(error))
    self.assertEqual(json.loads(run("--json", "--max-count", "0").stdout)["error"]["field"], "max_count")

  def test_help_and_version(self):
    for verb in ([], ["serve"], ["inspect"], ["healthcheck"], ["check-config"]):
      completed = run(*verb, "--help")
      self.assertEqual((completed.returncode, completed.stderr), (0, ""))
      self.assertIn("Example", completed.stdout)
      self.assertIn("--max-count", completed.stdout)
      self.assertIn("Exit codes", completed.stdout)
    version = run("--version")
    self.assertEqual(version.returncode, 0)
    for word in ("gradoracle-server 0.", "gRPC 1.", "protobuf 3.", "Eigen 3."):
      self.assertIn(word, version.stdout)

  # Would catch: a private data set served to the network by a forgotten flag.
  def test_refuses_other_than_loopback_unless_insecure(self):
    for address in ("0.0.0.0:0", "[::]:0", "192.0.2.1:0", "example.org:0"):
      with self.subTest(address=address):
        self.assert_refused(run("--data", self.data, "--listen", address), address, "--insecure")
        self.assert_refused(run("check-config", "--data", self.data, "--listen", address), address)
    with OracleProcess("--data", self.data, "--insecure", listen="0.0.0.0:0") as server:
      self.assertTrue(server.address.startswith("0.0.0.0:"))
      port = server.address.rsplit(":", 1)[1]
      self.assertIn("--insecure", server.log())  # warned
      self.assertEqual(run("healthcheck", "--listen", f"0.0.0.0:{port}").returncode, 0)

  # Would catch: gRPC's SO_REUSEPORT, with which two servers share one port and callers reach either.
  def test_taken_port_is_a_failure(self):
    with OracleProcess("--data", self.data) as server:
      completed = run("--data", self.data, "--listen", server.address)
      self.assertEqual(completed.returncode, 1)
      self.assertIn(server.address, completed.stderr)
      self.assertIn("taken", completed.stderr)
      self.assertEqual(server.health(), "SERVING")
    with socket.socket() as other:
      other.bind(("127.0.0.1", 0))
      other.listen()
      completed = run("--data", self.data, "--listen", f"127.0.0.1:{other.getsockname()[1]}", "--json")
      self.assertEqual(completed.returncode, 1)
      self.assertEqual(json.loads(completed.stdout)["error"]["reason"], "LISTEN_FAILED")

  # Would catch: the owner's data set, or any file, deleted or overwritten by a mistyped name.
  def test_no_file_of_the_owner_is_destroyed(self):
    data = self.data.parent / "precious.csv"
    data.write_bytes(self.data.read_bytes())
    notes = self.data.parent / "notes.txt"
    notes.write_text("remember the milk\n")
    for arguments, reason, field in (
        (["--data", data, "--port-file", data], "SAME_FILE", "port_file"),
        (["--data", data, "--listen", "127.0.0.1:0", "--port-file", notes], "PORT_FILE", "port_file"),
        (["inspect", "--data", data, "--hessian-out", data], "SAME_FILE", "hessian_out"),
        (["inspect", "--data", data, "--compare", notes, "--scaling-out", notes], "SAME_FILE", "scaling_out")):
      with self.subTest(arguments=arguments):
        completed = run("--json", *map(str, arguments)) if arguments[0] != "inspect" else run(*map(str, arguments), "--json")
        self.assertEqual(completed.returncode, 2, completed.stderr)
        error = json.loads(completed.stdout)["error"]
        self.assertEqual((error["reason"], error["field"]), (reason, field))
        self.assertEqual(data.read_bytes(), self.data.read_bytes())
        self.assertEqual(notes.read_text(), "remember the milk\n")

  def test_port_file(self):
    stale = self.write("stale", "127.0.0.1:1\n")
    with OracleProcess("--data", self.data, "--port-file", stale) as server:  # the last --port-file counts
      self.assertEqual(stale.read_text(), "127.0.0.1:1\n")
      self.assertRegex(server.port_file.read_text(), r"\A127\.0\.0\.1:[1-9][0-9]*\n\Z")
      self.assertEqual(os.listdir(server.port_file.parent).count("port"), 1)
      self.assertFalse([name for name in os.listdir(server.port_file.parent) if name.endswith(".tmp")])
    completed = run("--data", self.data, "--listen", "127.0.0.1:0", "--port-file", "no/such/folder/port")
    self.assertEqual(completed.returncode, 1)
    self.assertIn("no/such/folder/port", completed.stderr)
    # A server that fails to start must not leave the address of an earlier one.
    completed = run("--data", self.data, "--max-batch-size", "501", "--port-file", stale)
    self.assertEqual(completed.returncode, 2)
    self.assertFalse(stale.exists())

  def test_healthcheck_reads_the_address_as_serve_does(self):
    with OracleProcess("--data", self.data) as server:
      address = server.address
      config = self.write("listen.toml", f"listen = '{address}'\n")
      self.assertEqual(run("healthcheck", "--listen", address).returncode, 0)
      self.assertEqual(run("healthcheck", environment={"GRADORACLE_LISTEN": address}).returncode, 0)
      self.assertEqual(run("healthcheck", "--config", config).returncode, 0)
      self.assertEqual(run("healthcheck", "--listen", "127.0.0.1:0", "--port-file", server.port_file).returncode, 0)
      # A wildcard host is probed on loopback; a proxy in the environment is not for this machine.
      port = address.rsplit(":", 1)[1]
      completed = run("healthcheck", "--json", environment={"GRADORACLE_LISTEN": f"0.0.0.0:{port}",
                                                            "http_proxy": "http://127.0.0.1:1"})
      self.assertEqual((completed.returncode, completed.stdout), (0, '{"status":"SERVING"}\n'))
      server.signal(signal.SIGTERM)
      self.assertEqual(server.wait(), 0)
      completed = run("healthcheck", "--listen", address)
      self.assertEqual((completed.returncode, completed.stdout), (1, ""))
    # Never 2, which a container's HEALTHCHECK reserves.
    self.assertEqual(run("healthcheck", "--listen", "nonsense").returncode, 1)
    self.assertEqual(run("healthcheck", "--listen", "127.0.0.1:0").returncode, 1)

  def test_check_config_prints_settings_with_their_origin(self):
    config = self.write("check.toml", f"data = '{self.data}'\nmax_count = 5\n")
    completed = run("check-config", "--config", config, "--sampling", "iid", environment={"GRADORACLE_TARGET": "f0"})
    self.assertEqual(completed.returncode, 0, completed.stderr)
    self.assertIn(f"max_count = 5  # file {config}:2\n", completed.stdout)
    self.assertIn('sampling = "iid"  # flag --sampling\n', completed.stdout)
    self.assertIn('target = "f0"  # environment GRADORACLE_TARGET\n', completed.stdout)
    self.assertIn("min_batch_size = 32  # default\n", completed.stdout)
    # The output is a configuration file that says the same.
    again = run("check-config", "--json", "--config", self.write("again.toml", completed.stdout))
    self.assertEqual(again.returncode, 0, again.stderr)
    settings = json.loads(again.stdout)["settings"]
    self.assertEqual((settings["max_count"]["value"], settings["target"]["value"]), (5, "f0"))
    self.assert_refused(run("check-config"), "--data")
    self.assert_refused(run("check-config", "--data", "no/such.csv"), "no/such.csv")


if __name__ == "__main__":
  unittest.main()
