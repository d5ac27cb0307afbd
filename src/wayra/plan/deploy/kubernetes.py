"""Kubernetes: Deployment, Service, autoscaler, volume, disruption budget and network policy of a service."""

import math

from wayra.plan.deploy.containers import environment, ready_path
from wayra.plan.deploy.service import CACHE, DRAIN_S, KEYS_FILE, PORT, USER_ID, Service
from wayra.plan.deploy.yaml_text import yaml_text

PROBE_S = 10
LIVENESS_S = 30
# A health check of ours computes a step, for which the server gives itself ten seconds.
PATIENCE_S = 15
METRIC = "vllm_num_requests_running"
CLIENT_LABEL = "may-use-model"
CPU_PERCENT = 80


def manifests(service: Service) -> str:
    """All objects as one YAML stream; the Secret is only referred to."""
    documents = [_volume(service), _deployment(service), _service(service), _budget(service), _network(service)]
    if service.max_machines > service.min_machines:
        documents.append(_autoscaler(service))
    return yaml_text(
        *documents,
        comments=(
            service.title,
            f"Needs the Secret {service.name}-keys; DEPLOY.md says how to make it.",
            f"Pods labelled {CLIENT_LABEL}: {service.name} may reach it, in the same namespace.",
        ),
    )


def _labels(service: Service) -> dict[str, str]:
    return {"app.kubernetes.io/name": service.engine, "app.kubernetes.io/instance": service.name}


def _meta(service: Service, name: str | None = None) -> dict[str, object]:
    return {"name": name or service.name, "labels": _labels(service)}


def _is_shared(service: Service) -> bool:
    return service.max_machines > 1


def _volume(service: Service) -> dict[str, object]:
    """The model's files. Several pods share them, which needs a storage class that can."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": _meta(service, f"{service.name}-cache"),
        "spec": {
            "accessModes": ["ReadWriteMany" if _is_shared(service) else "ReadWriteOnce"],
            "resources": {"requests": {"storage": f"{math.ceil(service.disk_bytes / 2**30)}Gi"}},
        },
    }


def _deployment(service: Service) -> dict[str, object]:
    # One pod at a time may hold a volume that is not shared, so the old one goes first.
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    spec: dict[str, object] = {
        "selector": {"matchLabels": _labels(service)},
        "strategy": rolling if _is_shared(service) else {"type": "Recreate"},
        # A first start downloads the model; only then is a rollout stuck.
        "progressDeadlineSeconds": service.start_s + 60,
        "template": {"metadata": {"labels": _labels(service), "annotations": _scraping()}, "spec": _pod(service)},
    }
    if service.max_machines == service.min_machines:
        # Where there is an autoscaler, a fixed number would undo its work each time this file is applied.
        spec = {"replicas": service.min_machines, **spec}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": _meta(service), "spec": spec}


def _scraping() -> dict[str, str]:
    return {"prometheus.io/scrape": "true", "prometheus.io/port": str(PORT), "prometheus.io/path": "/metrics"}


def _pod(service: Service) -> dict[str, object]:
    volumes: list[dict[str, object]] = [
        {"name": "cache", "persistentVolumeClaim": {"claimName": f"{service.name}-cache"}},
        {"name": "tmp", "emptyDir": {}},
    ]
    if service.engine == "wayra":
        # 0440: the key file belongs to root and to the pod's group, which the server is in.
        volumes.append({"name": "keys", "secret": {"secretName": f"{service.name}-keys", "defaultMode": 0o440}})
    else:
        volumes.append({"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": "8Gi"}})
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": DRAIN_S + 30,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "fsGroup": USER_ID,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(service)],
        "volumes": volumes,
    }


def _container(service: Service) -> dict[str, object]:
    mounts: list[dict[str, object]] = [
        {"name": "cache", "mountPath": CACHE},
        {"name": "tmp", "mountPath": "/tmp"},
    ]
    if service.engine == "wayra":
        folder = KEYS_FILE.rpartition("/")[0]
        mounts.append({"name": "keys", "mountPath": folder, "readOnly": True})
    else:
        mounts.append({"name": "shared-memory", "mountPath": "/dev/shm"})
    ready = {"httpGet": {"path": ready_path(service), "port": "http"}, "timeoutSeconds": PATIENCE_S}
    health = {"httpGet": {"path": "/health", "port": "http"}, "timeoutSeconds": PATIENCE_S}
    return {
        "name": service.engine,
        "image": service.image,
        "command": [service.command[0]],
        "args": list(service.command[1:]),
        "ports": [{"name": "http", "containerPort": PORT}],
        "env": _environment(service),
        "resources": _resources(service),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "startupProbe": {**ready, "periodSeconds": PROBE_S, "failureThreshold": math.ceil(service.start_s / PROBE_S)},
        "readinessProbe": {**ready, "periodSeconds": PROBE_S, "failureThreshold": 2},
        "livenessProbe": {**health, "periodSeconds": LIVENESS_S, "failureThreshold": 3},
        "volumeMounts": mounts,
    }


def _environment(service: Service) -> list[dict[str, object]]:
    found: list[dict[str, object]] = [{"name": k, "value": v} for k, v in environment(service).items()]
    if service.engine == "vllm":
        found.append(_secret_variable(service, "VLLM_API_KEY", "key"))
    if service.gated:
        found.append(_secret_variable(service, "HF_TOKEN", "hub-token"))
    return found


def _secret_variable(service: Service, name: str, key: str) -> dict[str, object]:
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": f"{service.name}-keys", "key": key}}}


def _resources(service: Service) -> dict[str, object]:
    memory = f"{service.memory_bytes >> 20}Mi"
    requests: dict[str, object] = {"cpu": str(service.cpus), "memory": memory}
    # No limit of cores for cards' hosts: throttling a few busy threads would idle a card.
    limits: dict[str, object] = {"memory": memory} if service.gpus else {"cpu": str(service.cpus), "memory": memory}
    if service.gpus:
        requests["nvidia.com/gpu"] = str(service.gpus)
        limits["nvidia.com/gpu"] = str(service.gpus)
    return {"requests": requests, "limits": limits}


def _service(service: Service) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _meta(service),
        "spec": {
            "type": "ClusterIP",
            "selector": _labels(service),
            "ports": [{"name": "http", "port": 80, "targetPort": "http"}],
        },
    }


def _budget(service: Service) -> dict[str, object]:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": _meta(service),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": _labels(service)}},
    }


def _network(service: Service) -> dict[str, object]:
    """In: its own port, from pods with the label. Out: names, and HTTPS for the model's files."""
    names = [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": _meta(service),
        "spec": {
            "podSelector": {"matchLabels": _labels(service)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                {
                    "from": [{"podSelector": {"matchLabels": {CLIENT_LABEL: service.name}}}],
                    "ports": [{"protocol": "TCP", "port": "http"}],
                }
            ],
            "egress": [{"ports": names}, {"ports": [{"protocol": "TCP", "port": 443}]}],
        },
    }


def _autoscaler(service: Service) -> dict[str, object]:
    """By requests under way, which the plan counted; on a CPU by its load too, which needs no adapter."""
    metrics: list[dict[str, object]] = [
        {
            "type": "Pods",
            "pods": {
                "metric": {"name": METRIC},
                "target": {"type": "AverageValue", "averageValue": str(service.target_requests)},
            },
        }
    ]
    if service.engine == "wayra":
        target = {"type": "Utilization", "averageUtilization": CPU_PERCENT}
        metrics.append({"type": "Resource", "resource": {"name": "cpu", "target": target}})
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": _meta(service),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": service.name},
            "minReplicas": service.min_machines,
            "maxReplicas": service.max_machines,
            "metrics": metrics,
            "behavior": {
                "scaleUp": {"stabilizationWindowSeconds": 0},
                "scaleDown": {"stabilizationWindowSeconds": 600},
            },
        },
    }
