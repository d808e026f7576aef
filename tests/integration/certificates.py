"""Certificates for tests, made when they run."""

import subprocess

from oracle_process import PATIENCE_SECONDS


class Authority:
  """Certificates made by the program openssl in a folder."""

  def __init__(self, folder, name):
    self.folder, self.name = folder, name
    self._openssl("req", "-x509", *self._key(name), "-days", "30", "-subj", f"/CN={name}", "-out", f"{name}.pem")

  @staticmethod
  def _key(name):
    return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key"]

  def _openssl(self, *arguments):
    subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True, timeout=PATIENCE_SECONDS)

  def issue(self, name, alternative_names, days=30):
    """NAME.pem and NAME.key; a negative number of days: expired."""
    self._openssl("req", *self._key(name), "-subj", f"/CN={name}", "-out", f"{name}.csr")
    text = f"subjectAltName={alternative_names}" if alternative_names else "basicConstraints=CA:FALSE"
    (self.folder / "extensions").write_text(text + "\n")
    self._openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{self.name}.pem", "-CAkey", f"{self.name}.key",
                  "-CAcreateserial", "-days", str(days), "-extfile", "extensions", "-out", f"{name}.pem")
    return self.folder / f"{name}.pem", self.folder / f"{name}.key"
