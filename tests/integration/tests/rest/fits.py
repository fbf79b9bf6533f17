"""Checks answers against the schemas of an OpenAPI document.

    fits.py DOCUMENT ANSWERS      ANSWERS: a JSON list of {"schema": name, "value": answer}
"""

import json
import sys

from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

document, answers = (json.load(open(path, encoding="utf-8")) for path in sys.argv[1:])
validate(document)
faults = []
for answer in answers:
    schema = {"$ref": f"#/components/schemas/{answer['schema']}", "components": document["components"]}
    for fault in Draft202012Validator(schema).iter_errors(answer["value"]):
        faults.append(f"{answer['schema']}: {fault.json_path}: {fault.message}")
print(len(answers), "answers checked")
sys.exit("\n".join(faults) or 0)
