"""Descriptions of clusters: valid for their readers, scaled down to zero, and closed to everyone else.

KubeRay publishes its schema with the operator only, and no package registry carries it. The part of a RayJob that is
KubeRay's is therefore checked with the records below, and every pod and the network policy with Kubernetes' own schema.
"""

import json
import re
import shlex
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.runtime_env import RuntimeEnv

from raypipe.experiment.load import load_experiment
from raypipe.experiment.schema import Experiment

ROOT = Path(__file__).parents[1]
CLOUD, ONPREMISE = ROOT / "cluster.yaml", ROOT / "cluster-onpremise.yaml"
COUNT = Annotated[int, Field(ge=0, strict=True)]


def description(file: Path) -> dict[str, Any]:
    return yaml.safe_load(file.read_text())


@pytest.mark.parametrize("file", [CLOUD, ONPREMISE], ids=lambda file: file.stem)
def test_it_is_valid_for_the_cluster_launcher(file: Path) -> None:
    validate_config(prepare_config(description(file)))


@pytest.mark.parametrize(
    ("file", "section", "value"),
    [
        (CLOUD, "max_wokers", 3),
        (CLOUD, "head_node_type", "nobody"),
        (ONPREMISE, "worker_start_ray_comands", []),
        (ONPREMISE, "auth", {"ssh_usr": "me"}),
    ],
)
def test_the_launcher_s_validation_would_notice_a_mistake(file: Path, section: str, value: object) -> None:
    named = next(iter(value)) if isinstance(value, dict) else section.split("_", maxsplit=1)[0]
    with pytest.raises(Exception, match=named):
        validate_config(prepare_config({**description(file), section: value}))


@pytest.mark.parametrize("file", [CLOUD, ONPREMISE], ids=lambda file: file.stem)
def test_the_dashboard_stays_on_the_head_s_loopback_and_no_key_is_written_down(file: Path) -> None:
    (start,) = (line for line in description(file)["head_start_ray_commands"] if "--head" in line)
    assert "--dashboard-host=127.0.0.1" in shlex.split(start)
    assert not re.search(r"(?i)secret|password|AKIA|BEGIN .*KEY", file.read_text())


@pytest.mark.parametrize("file", [CLOUD, ONPREMISE], ids=lambda file: file.stem)
def test_every_node_requires_the_token_of_whoever_calls_ray_up(file: Path) -> None:
    cluster = description(file)
    starts = [
        line for kind in ("head", "worker") for line in cluster[f"{kind}_start_ray_commands"] if " start " in line
    ]
    assert len(starts) == 2
    for line in starts:
        assert "RAY_AUTH_MODE=token" in shlex.split(line)
    assert cluster["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"


def test_without_work_the_head_alone_is_paid_for() -> None:
    cluster = prepare_config(description(CLOUD))
    workers = {name: kind for name, kind in cluster["available_node_types"].items() if name != "head"}
    assert all(kind["min_workers"] == 0 for kind in workers.values())
    assert sum(kind["max_workers"] for kind in workers.values()) <= cluster["max_workers"], (
        "none waits for another's end"
    )
    assert cluster["provider"]["cache_stopped_nodes"] is False, "a stopped node's disk is paid for"


def test_only_attacks_run_where_a_node_may_be_taken_away() -> None:
    kinds = description(CLOUD)["available_node_types"]
    spot = {name for name, kind in kinds.items() if "InstanceMarketOptions" in kind["node_config"]}
    assert spot == {name for name, kind in kinds.items() if "spot" in kind["resources"]}
    assert {name for name, kind in kinds.items() if "on_demand" in kind["resources"]} == set(kinds) - spot - {"head"}


def test_nodes_have_roles_and_a_firewall_of_their_own() -> None:
    """Check roles and firewalls: without them Ray gives the head all of EC2 and S3, and opens port 22 to the world."""
    nodes = {name: kind["node_config"] for name, kind in description(CLOUD)["available_node_types"].items()}
    assert all(node["SecurityGroupIds"] for node in nodes.values())
    assert all(node["ImageId"] for node in nodes.values()), "the driver of Ray's default image is too old"
    assert {node["MetadataOptions"]["HttpTokens"] for node in nodes.values()} == {"required"}
    assert all(disk["Ebs"]["Encrypted"] for node in nodes.values() for disk in node["BlockDeviceMappings"])
    roles = {name: node["IamInstanceProfile"]["Arn"].split("/")[1] for name, node in nodes.items()}
    assert roles.pop("head") not in roles.values(), "only the head may start machines"


@pytest.mark.parametrize("kind", ["gpu_on_demand", "gpu_spot"])
def test_a_worker_of_the_paper_s_experiment_fits_on_each_gpu_node(kind: str) -> None:
    has = description(CLOUD)["available_node_types"][kind]["resources"]
    wanted = load_experiment(ROOT / "jobs" / "paper.yaml").resources
    assert wanted.gpu
    assert has["GPU"] == 1
    assert has["CPU"] >= wanted.cpus_per_worker


def test_the_runtime_environment_is_one_that_ray_takes() -> None:
    environment = RuntimeEnv(**description(ROOT / "jobs" / "runtime_env.yaml"))
    assert "${RAY_RUNTIME_ENV_CREATE_WORKING_DIR}" in environment.pip_config()["packages"]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Head(_Record):
    rayStartParams: dict[str, str]  # noqa: N815  KubeRay's spelling, here and below
    template: dict[str, Any]


class _Workers(_Head):
    groupName: str  # noqa: N815
    minReplicas: COUNT  # noqa: N815
    maxReplicas: COUNT  # noqa: N815
    replicas: COUNT = 0


class _Autoscaler(_Record):
    idleTimeoutSeconds: COUNT = 60  # noqa: N815
    upscalingMode: Literal["Default", "Aggressive", "Conservative"] = "Default"  # noqa: N815


class _Auth(_Record):
    mode: Literal["disabled", "token"]


class _Cluster(_Record):
    rayVersion: str  # noqa: N815
    authOptions: _Auth  # noqa: N815
    enableInTreeAutoscaling: bool = False  # noqa: N815
    autoscalerOptions: _Autoscaler = _Autoscaler()  # noqa: N815
    headGroupSpec: _Head  # noqa: N815
    workerGroupSpecs: list[_Workers]  # noqa: N815


class _Spec(_Record):
    entrypoint: str
    runtimeEnvYAML: str  # noqa: N815
    rayClusterSpec: _Cluster  # noqa: N815
    backoffLimit: COUNT = 0  # noqa: N815
    shutdownAfterJobFinishes: bool = False  # noqa: N815
    ttlSecondsAfterFinished: COUNT = 0  # noqa: N815
    submissionMode: Literal["K8sJobMode", "HTTPMode", "InteractiveMode"] = "K8sJobMode"  # noqa: N815


class _RayJob(_Record):
    apiVersion: Literal["ray.io/v1"]  # noqa: N815
    kind: Literal["RayJob"]
    metadata: dict[str, Any]
    spec: _Spec


def kubernetes() -> tuple[_RayJob, dict[str, Any]]:
    job, policy = yaml.safe_load_all((ROOT / "jobs" / "rayjob.yaml").read_text())
    return _RayJob.model_validate(job), policy


def pods() -> dict[str, dict[str, Any]]:
    cluster = kubernetes()[0].spec.rayClusterSpec
    return {"head": cluster.headGroupSpec.template} | {
        each.groupName: each.template for each in cluster.workerGroupSpecs
    }


def test_the_job_for_kubernetes_goes_away_and_its_workers_come_when_asked_for() -> None:
    spec = kubernetes()[0].spec
    assert spec.shutdownAfterJobFinishes
    assert spec.rayClusterSpec.enableInTreeAutoscaling
    assert spec.rayClusterSpec.authOptions.mode == "token"
    assert {group.minReplicas for group in spec.rayClusterSpec.workerGroupSpecs} == {0}
    image = pods()["head"]["spec"]["containers"][0]["image"]
    assert image.split(":")[1].startswith(spec.rayClusterSpec.rayVersion)
    assert f"ray=={spec.rayClusterSpec.rayVersion}" in (ROOT / "constraints.txt").read_text().splitlines()


def test_the_job_for_kubernetes_runs_an_experiment_that_can_be_read() -> None:
    spec = kubernetes()[0].spec
    python, script, file, *options = shlex.split(spec.entrypoint)
    assert (python, (ROOT / script).is_file()) == ("python", True)
    experiment = experiment_of(file, options)
    parameters = [group.rayStartParams["resources"] for group in spec.rayClusterSpec.workerGroupSpecs]
    offered = [set(json.loads(json.loads(each))) for each in parameters]  # quoted once for the shell that starts Ray
    assert {experiment.resources.train_on} in offered
    assert {experiment.resources.attack_on} in offered
    assert experiment.resources.wait_minutes > 0, "there are no workers when it begins"
    submitted = description(ROOT / "jobs" / "runtime_env.yaml")
    assert RuntimeEnv(**yaml.safe_load(spec.runtimeEnvYAML)).pip_config()["packages"] == submitted["pip"]["packages"]


def experiment_of(file: str, options: list[str]) -> Experiment:
    pairs = list(zip(options[::2], options[1::2], strict=True))
    overrides = [value for option, value in pairs if option == "--set"]
    return load_experiment(ROOT / file, [*overrides, *(f"storage={v}" for option, v in pairs if option == "--storage")])


@pytest.mark.parametrize(
    ("written", "mistaken"),
    [("minReplicas: 0", "minReplica: 0"), ("K8sJobMode", "K8SJobMode"), ("backoffLimit: 2", "backoffLimit: two")],
)
def test_a_mistake_in_kuberay_s_part_would_be_noticed(written: str, mistaken: str) -> None:
    text = (ROOT / "jobs" / "rayjob.yaml").read_text()
    assert written in text
    job, _ = yaml.safe_load_all(text.replace(written, mistaken))
    with pytest.raises(ValidationError, match=r"minReplica|submissionMode|backoffLimit"):
        _RayJob.model_validate(job)


@pytest.mark.parametrize("name", ["head", "on-demand", "spot"])
def test_a_pod_is_valid_for_kubernetes_and_has_no_privileges(name: str) -> None:
    schemas = pytest.importorskip("kubernetes_validate")
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, **pods()[name]}
    pod["metadata"] = {"name": name, **pod["metadata"]}
    schemas.validate(pod, schemas.latest_version(), strict=True)
    assert pod["spec"]["securityContext"]["runAsNonRoot"]
    (container,) = pod["spec"]["containers"]
    assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert ("nvidia.com/gpu" in container["resources"]["limits"]) == (name != "head")
    with pytest.raises(schemas.ValidationError, match="imge"):
        schemas.validate({**pod, "spec": {"containers": [{"name": "ray", "imge": "ray"}]}}, "1.30", strict=True)


def test_no_pod_but_the_job_s_own_and_the_operator_s_reaches_the_dashboard() -> None:
    schemas = pytest.importorskip("kubernetes_validate")
    job, policy = kubernetes()
    schemas.validate(policy, schemas.latest_version(), strict=True)
    chosen = policy["spec"]["podSelector"]["matchLabels"]
    assert all(chosen.items() <= pod["metadata"]["labels"].items() for pod in pods().values())
    (rule,) = policy["spec"]["ingress"]
    labels = [peer["podSelector"]["matchLabels"] for peer in rule["from"]]
    assert {"job-name": job.metadata["name"]} in labels
    assert all(labels), "an empty selector would let in everybody"
