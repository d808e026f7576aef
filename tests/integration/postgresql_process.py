"""A PostgreSQL server of a test's own: a temporary folder, a unix socket, no TCP. It refuses to run as root: then it runs as
the user postgres, whom Debian's package makes."""

import os
import shutil
import signal
import subprocess
import tempfile

_PROGRAMS = "/usr/lib/postgresql/15/bin/"


class PostgresqlProcess:

  def __init__(self, primary=None):
    """A server of its own or, given another one, a hot standby of that."""
    self.folder = tempfile.mkdtemp(prefix="gradoracle-pg-")
    if os.geteuid() == 0:
      shutil.chown(self.folder, "postgres")
    if primary is None:
      self._run("initdb", "-D", f"{self.folder}/data", "-U", "owner", "-A", "trust", "-E", "UTF8", "--locale=C")
    else:
      self._run("pg_basebackup", "-D", f"{self.folder}/data", "-d", f"host={primary.folder} user=owner", "-c", "fast", "-R")
    self.url = f"postgresql://owner@/postgres?host={self.folder}"
    self.start()

  def start(self):
    self._running = True
    self._run("pg_ctl", "-D", f"{self.folder}/data", "-w", "-t", "60", "-l", f"{self.folder}/log", "-o",
              f"-c listen_addresses='' -k {self.folder}", "start")

  def stop(self, mode="immediate"):
    self._run("pg_ctl", "-D", f"{self.folder}/data", "-w", "-m", mode, "stop")

  def kill(self):
    """As when the machine goes: every process of it at once, without a word to anybody."""
    with open(f"{self.folder}/data/postmaster.pid") as file:
      postmaster = int(file.readline())
    for process in [postmaster, *self._children(postmaster)]:
      os.kill(process, signal.SIGKILL)
    self._running = False

  def promote(self):
    self._run("pg_ctl", "-D", f"{self.folder}/data", "-w", "-t", "60", "promote")

  def commit_only_with_standby(self):
    """From now on a commit returns when a standby has it, too."""
    self.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
    self.sql("SELECT pg_reload_conf()")

  def sql(self, text):
    """The first column of the first row, as text."""
    return self._run("psql", "-qAtX", "-v", "ON_ERROR_STOP=1", self.url, "-c", text).strip()

  def __enter__(self):
    return self

  def __exit__(self, *exception):
    if self._running:
      self.stop()
    shutil.rmtree(self.folder)

  @staticmethod
  def _children(parent):
    for name in filter(str.isdigit, os.listdir("/proc")):
      try:
        with open(f"/proc/{name}/stat") as file:
          if int(file.read().rsplit(")", 1)[1].split()[1]) == parent:
            yield int(name)
      except OSError:
        pass  # gone meanwhile

  def _run(self, program, *arguments):
    who = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
    with tempfile.TemporaryFile("w+") as output:  # a pipe would stay open in the server's hands
      completed = subprocess.run([*who, _PROGRAMS + program, *arguments], cwd="/", stdout=output,
                                 stderr=subprocess.STDOUT, timeout=120)
      output.seek(0)
      text = output.read()
    if completed.returncode != 0:
      raise AssertionError(f"{program}: {text}")
    return text
