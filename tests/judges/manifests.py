"""Validates the manifests of examples/deploy.

Kubernetes' own schemas judge the YAML files, strictly: unknown fields are errors. botocore's model judges the requests
to ECS. parliament judges the IAM policies: unknown actions, and resources that an action does not have.
"""

import json
import pathlib
import sys

import botocore.session
import kubernetes_validate
import parliament
import yaml
from botocore.validate import ParamValidator

FOLDER = pathlib.Path(sys.argv[1])
KUBERNETES = "1.37.0"
ECS = {"ecs-task.json": "RegisterTaskDefinition", "ecs-service.json": "CreateService"}

seen = 0
for path in sorted(FOLDER.iterdir()):
    text = path.read_text()
    if path.suffix == ".yaml":
        for document in yaml.safe_load_all(text):
            kubernetes_validate.validate(document, KUBERNETES, strict=True)
            seen += 1
    elif path.name in ECS:
        model = botocore.session.get_session().get_service_model("ecs")
        report = ParamValidator().validate(json.loads(text), model.operation_model(ECS[path.name]).input_shape)
        assert not report.has_errors(), f"{path.name}: {report.generate_report()}"
        seen += 1
    elif path.name.startswith("iam-"):
        policy = parliament.analyze_policy_string(text)
        found = [f"{finding.issue}: {finding.detail} {finding.location}" for finding in policy.findings]
        assert not found, f"{path.name}: {found}"
        seen += 1
    else:
        raise AssertionError(f"nobody judges {path.name}")
assert seen >= 9, f"only {seen} documents in {FOLDER}"

# The judges do judge: each refuses what is wrong.
try:
    kubernetes_validate.validate({"apiVersion": "v1", "kind": "Pod", "spec": {"container": []}}, KUBERNETES, strict=True)
    raise AssertionError("an invalid pod passed")
except kubernetes_validate.ValidationError:
    pass
assert parliament.analyze_policy_string(
    '{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "dynamodb:Fly", "Resource": "*"}}'
).findings

print(f"{seen} documents are valid")
