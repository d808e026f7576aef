"""Every example report against the published schema, by an implementation of JSON Schema that is not ours."""

import copy
import json
import os
import pathlib
import unittest

import jsonschema  # Debian: python3-jsonschema

SCHEMA = json.loads(pathlib.Path(os.environ["GRADORACLE_TEST_SCHEMA"]).read_text())
REPORTS = sorted(pathlib.Path(os.environ["GRADORACLE_TEST_REPORTS"]).glob("*.json"))


class SchemaTest(unittest.TestCase):
    def test_schema_is_one(self):
        jsonschema.Draft202012Validator.check_schema(SCHEMA)

    def test_examples_fit(self):
        self.assertGreaterEqual(len(REPORTS), 3)
        for path in REPORTS:
            with self.subTest(path.name):
                jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(path.read_text()))

    def test_it_can_refuse(self):
        """Catches a schema that allows everything."""
        validator = jsonschema.Draft202012Validator(SCHEMA)
        full = json.loads((REPORTS[0].parent / "full.json").read_text())
        for key in SCHEMA["required"]:
            report = copy.deepcopy(full)
            del report[key]
            self.assertFalse(validator.is_valid(report), key)
            report[key] = {"not": "this"} if key not in ("dataset", "policy", "findings") else []
            self.assertFalse(validator.is_valid(report), key)


if __name__ == "__main__":
    unittest.main()
