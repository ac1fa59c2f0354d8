"""What a RayJob and a RayCluster must look like.

No package of a registry holds the schemas of KubeRay's custom resources. The pods in them are
checked, strictly, against Kubernetes' own JSON schemas (package `kubernetes-validate`), and the
fields around the pods against the compact schema below, which follows KubeRay's API reference
(https://docs.ray.io/en/latest/cluster/kubernetes/references/api.html, fields of v1.5.1 and
later). It knows the fields that this project uses; any other is an error.
"""

from __future__ import annotations

import functools
from typing import Any

import jsonschema
from kubernetes_validate.utils import all_versions, schema_contents
from referencing import Registry, Resource

#: The oldest Kubernetes that clouds still serve, about, and the newest that is known here.
KUBERNETES = ("1.30", "1.37")
INT32 = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
STRINGS = {"type": "object", "additionalProperties": {"type": "string"}}


def fields(properties: dict[str, Any], required: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


TEMPLATE = {"type": "object"}  # against Kubernetes' own schema, below
CLUSTER = fields(
    {
        "rayVersion": {"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
        "authOptions": fields({"mode": {"enum": ["disabled", "token"]}}),
        "enableInTreeAutoscaling": {"type": "boolean"},
        "autoscalerOptions": fields(
            {
                "version": {"enum": ["v1", "v2"]},
                "idleTimeoutSeconds": INT32,
                "upscalingMode": {"enum": ["Default", "Aggressive", "Conservative"]},
            }
        ),
        "headGroupSpec": fields(
            {
                "serviceType": {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
                "rayStartParams": STRINGS,
                "template": TEMPLATE,
            },
            ("template",),
        ),
        "workerGroupSpecs": {
            "type": "array",
            "items": fields(
                {
                    "groupName": {"type": "string", "minLength": 1},
                    "replicas": INT32,
                    "minReplicas": INT32,
                    "maxReplicas": INT32,
                    "idleTimeoutSeconds": INT32,
                    "numOfHosts": INT32,
                    "rayStartParams": STRINGS,
                    "template": TEMPLATE,
                },
                ("groupName", "minReplicas", "maxReplicas", "template"),
            ),
        },
    },
    ("headGroupSpec",),
)
JOB = fields(
    {
        "activeDeadlineSeconds": {**INT32, "minimum": 1},
        "backoffLimit": INT32,
        "entrypoint": {"type": "string", "minLength": 1},
        "jobId": {"type": "string"},
        "metadata": STRINGS,
        "rayClusterSpec": CLUSTER,
        "runtimeEnvYAML": {"type": "string"},
        "shutdownAfterJobFinishes": {"type": "boolean"},
        "submissionMode": {"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
        "suspend": {"type": "boolean"},
        "ttlSecondsAfterFinished": INT32,
    },
    ("entrypoint", "rayClusterSpec"),
)
LABEL = {"type": "string", "pattern": r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$"}


def resource(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    name = {"type": "string", "pattern": "^[a-z]([-a-z0-9]*[a-z0-9])?$", "maxLength": 47}
    metadata = fields(
        {
            "name": name,
            "namespace": {"type": "string"},
            "labels": {"type": "object", "additionalProperties": LABEL},
            "annotations": STRINGS,
        },
        ("name",),
    )
    top = {"apiVersion": {"const": "ray.io/v1"}, "kind": {"const": kind}}
    return fields({**top, "metadata": metadata, "spec": spec}, ("apiVersion", "kind", "spec"))


SCHEMAS = {"RayJob": resource("RayJob", JOB), "RayCluster": resource("RayCluster", CLUSTER)}


def cluster_of(document: dict[str, Any]) -> dict[str, Any]:
    spec = document["spec"]
    return spec["rayClusterSpec"] if document["kind"] == "RayJob" else spec


def groups_of(document: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = cluster_of(document)
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


@functools.cache
def core(kind: str, version: str) -> jsonschema.Draft202012Validator:
    """What `kubernetes_validate.validate(strict=True)` checks with; it reads 10 MB every time."""
    (exact,) = {v for v in all_versions() if v.startswith(f"{version}.")}
    folder = f"kubernetes-json-schema/v{exact}-local-strict"
    schema = schema_contents(f"{folder}/{kind.lower()}-v1.json", version)
    definitions = Resource.from_contents(schema_contents(f"{folder}/_definitions.json", version))
    registry = definitions @ (Resource.from_contents(schema) @ Registry())
    return jsonschema.Draft202012Validator(schema, registry=registry)


def validate(document: dict[str, Any]) -> None:
    """Raise `jsonschema.ValidationError` unless the document is one that a cluster accepts."""
    if document["kind"] not in SCHEMAS:
        assert document["apiVersion"] == "v1"
        for version in KUBERNETES:
            core(document["kind"], version).validate(document)
        return
    jsonschema.validate(document, SCHEMAS[document["kind"]])
    for group in groups_of(document):
        check = group["template"]
        jsonschema.validate(
            check.get("metadata", {}).get("labels", {}),
            {"type": "object", "additionalProperties": LABEL},
        )
        pod = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "pod"}}
        for version in KUBERNETES:
            core("PodTemplate", version).validate({**pod, "template": check})
