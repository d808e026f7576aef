"""What most of these tests start from: a data set in a file, and a folder."""

import pathlib
import tempfile
import unittest

from oracle_process import regression_data, write_csv


class WithData(unittest.TestCase):
  """`data`, a file with `features` and `targets`, in the folder `shared` of the class; `folder`, one for each test."""

  shape = {}  # what regression_data() is asked for

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    folder = tempfile.TemporaryDirectory()
    cls.addClassCleanup(folder.cleanup)
    cls.shared = pathlib.Path(folder.name)
    cls.data = cls.shared / "data.csv"
    cls.features, cls.targets = regression_data(**cls.shape)
    write_csv(cls.data, cls.features, cls.targets)

  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.folder = pathlib.Path(folder.name)
